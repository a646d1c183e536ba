//! Failures by class, and a sample of them.

use barrage_metrics::summary::{ErrorLine, Summary};
use barrage_model::outcome::FailureClass;
use barrage_model::time::whole_micros;

use super::{Column, Limits, Row, Section, Table, Tone};
use crate::number::{ABSENT, count, micros, moment, percent};

pub(super) fn section(summary: &Summary, limits: &Limits) -> Section {
    let mut section = Section::new("Errors");
    let timeouts = ("timeout", summary.failures.timeout);
    let all = summary.failures.by_class.iter().map(|(class, n)| (class.word(), *n));
    let seen: Vec<(&str, u64)> = all.chain([timeouts]).filter(|(_, n)| *n > 0).collect();
    let total = seen.iter().fold(0u64, |sum, (_, n)| sum.saturating_add(*n));
    let columns = [
        Column::Text("class"),
        Column::Number("count"),
        Column::Number("of all errors"),
        Column::Text("what it means"),
    ];
    section.table(Table::of(&columns, &seen, seen.len(), |(class, n)| {
        let share = percent(Some(*n as f64 / total as f64));
        Row::new(
            Tone::Plain,
            [(*class).to_owned(), count(*n), share, meaning(class).to_owned()],
        )
    }));
    section.table(samples(summary, limits));
    section
}

fn samples(summary: &Summary, limits: &Limits) -> Table {
    let columns = [
        Column::Number("at"),
        Column::Text("step"),
        Column::Text("class"),
        Column::Number("status"),
        Column::Number("service"),
        Column::Text("message"),
        Column::Number("worker"),
    ];
    let mut table = Table::of(&columns, &summary.errors, limits.errors, sample);
    table.caption = "first samples";
    table
}

fn sample(line: &ErrorLine) -> Row {
    let sample = &line.sample;
    let cells = [
        moment(sample.at),
        format!("{} / {}", line.scenario, line.step),
        sample.class.map_or("timeout", FailureClass::word).to_owned(),
        sample
            .status
            .map_or_else(|| ABSENT.to_owned(), |status| status.to_string()),
        sample
            .service
            .map_or_else(|| ABSENT.to_owned(), |service| micros(whole_micros(service))),
        sample.message.clone(),
        line.worker.to_string(),
    ];
    Row::new(Tone::Plain, cells)
}

fn meaning(class: &str) -> &'static str {
    match class {
        "dns" => "the name could not be resolved",
        "connect" => "no TCP connection could be made",
        "tls" => "the TLS handshake failed",
        "reset" => "the connection broke after the request had begun",
        "closed_on_reuse" => "the server had closed a kept-alive connection",
        "protocol" => "not valid HTTP, or over a limit",
        "status" => "the status was not an expected one",
        "check" => "an expectation other than the status did not hold",
        "extract" => "an extraction found nothing",
        _ => "no complete answer in time",
    }
}
