//! The latencies of the whole run.

use barrage_metrics::summary::{Latency, Summary};

use super::{Column, Row, Section, Table, Tone};
use crate::number::{count, mean, quantile};

const COLUMNS: [Column; 11] = [
    Column::Text("latency"),
    Column::Number("samples"),
    Column::Number("min"),
    Column::Number("mean"),
    Column::Number("p50"),
    Column::Number("p90"),
    Column::Number("p95"),
    Column::Number("p99"),
    Column::Number("p99.9"),
    Column::Number("p99.99"),
    Column::Number("max"),
];

pub(super) fn section(summary: &Summary) -> Section {
    let mut section = Section::new("Latency");
    if let Some(text) = censored(summary) {
        section.note(Tone::Warn, text);
    }
    if summary.clipped > 0 {
        let clipped = count(summary.clipped);
        section.note(
            Tone::Warn,
            format!("{clipped} samples above one hour are recorded as one hour"),
        );
    }
    let rows = [
        ("response", summary.latency.response),
        ("response, ok", summary.latency_ok.response),
        ("service", summary.latency.service),
        ("service, ok", summary.latency_ok.service),
        ("dispatch lag", summary.latency.dispatch_lag),
        ("iteration", summary.latency.iteration),
    ];
    let timings = summary
        .timings
        .iter()
        .map(|(measure, latency)| (measure.word().replace('_', " "), *latency));
    let rows: Vec<(String, Latency)> = rows
        .into_iter()
        .map(|(name, latency)| (name.to_owned(), latency))
        .chain(timings)
        .filter(|(_, latency)| latency.count > 0)
        .collect();
    section.table(Table::of(&COLUMNS, &rows, COLUMNS.len() + 4, |(name, latency)| {
        row(name, latency)
    }));
    section
}

/// What arrivals and requests without an end mean for the percentiles; `None` when there are none.
pub(crate) fn censored(summary: &Summary) -> Option<String> {
    let censored = summary.latency.response.censored;
    let happened = if censored > summary.iterations.dropped.total() {
        "arrivals and requests were dropped or cancelled"
    } else {
        "arrivals were dropped"
    };
    (censored > 0).then(|| {
        format!(
            "{} {happened}; they are in the response time at the age they had reached, so ≥ marks a lower bound",
            count(censored)
        )
    })
}

fn row(name: &str, latency: &Latency) -> Row {
    let quantiles = [
        latency.p50,
        latency.p90,
        latency.p95,
        latency.p99,
        latency.p999,
        latency.p9999,
        latency.max,
    ];
    let numbers = [
        count(latency.count),
        quantile(latency.min),
        mean(latency.mean_us, latency.mean_at_least()),
    ];
    let cells = std::iter::once(name.to_owned())
        .chain(numbers)
        .chain(quantiles.map(quantile));
    Row::new(Tone::Plain, cells)
}
