//! The run by stage and phase; faults and events.

use barrage_metrics::summary::{PhaseSummary, Summary};

use super::{Column, Limits, Row, Section, Table, Tone, phase_name};
use crate::number::{ABSENT, count, moment, percent, quantile, rate};

pub(super) fn stages(summary: &Summary, limits: &Limits) -> Section {
    let mut section = Section::new("Stages");
    let columns = [
        Column::Text("load"),
        Column::Text("stage"),
        Column::Number("from"),
        Column::Number("to"),
        Column::Number("scheduled"),
        Column::Number("started"),
    ];
    section.table(Table::of(&columns, &summary.stages, limits.rows, |stage| {
        let cells = [
            stage.load.clone(),
            stage.name.clone(),
            moment(stage.from),
            moment(stage.to),
            stage.scheduled.map_or_else(|| ABSENT.to_owned(), count),
            count(stage.started),
        ];
        Row::new(Tone::Plain, cells)
    }));
    without_lost(&mut section, summary);
    section
}

/// Says of tables that are made of what workers have counted that something is missing in them.
pub(super) fn without_lost(section: &mut Section, summary: &Summary) {
    let all = &summary.iterations;
    if all.unknown > 0 || all.unsent > 0 {
        let text = format!(
            "without what lost workers left behind: {} arrivals of which nobody knows, {} that were not sent",
            count(all.unknown),
            count(all.unsent)
        );
        section.note(Tone::Warn, text);
    }
}

pub(super) fn phases(summary: &Summary, limits: &Limits) -> Section {
    let mut section = Section::new("Phases");
    let columns = [
        Column::Text("phase"),
        Column::Number("started"),
        Column::Number("sent"),
        Column::Number("ok"),
        Column::Number("errors"),
        Column::Number("ok/s"),
        Column::Number("p50"),
        Column::Number("p95"),
        Column::Number("p99"),
        Column::Number("service p99"),
    ];
    section.table(Table::of(&columns, &summary.phases, limits.rows, phase));
    section
}

fn phase(phase: &PhaseSummary) -> Row {
    let numbers = [phase.iterations.started, phase.counts.sent, phase.counts.ok];
    let quantiles = [
        phase.response.p50,
        phase.response.p95,
        phase.response.p99,
        phase.service.p99,
    ];
    let cells = std::iter::once(phase_name(&phase.phase))
        .chain(numbers.map(|n| if phase.whole { count(n) } else { ABSENT.to_owned() }))
        .chain([
            percent(phase.rates.error_rate),
            rate(phase.rates.goodput_per_s).trim_end_matches("/s").to_owned(),
        ])
        .chain(quantiles.map(quantile));
    Row::new(Tone::Plain, cells)
}

pub(super) fn faults(summary: &Summary, limits: &Limits) -> Section {
    let mut section = Section::new("Faults");
    let columns = [
        Column::Text("fault"),
        Column::Text("what"),
        Column::Number("from"),
        Column::Number("undone"),
        Column::Text("verdict"),
    ];
    section.table(Table::of(&columns, &summary.faults, limits.rows, |fault| {
        let tone = match fault.verdict.as_str() {
            "held" => Tone::Good,
            "violated" => Tone::Bad,
            _ => Tone::Warn,
        };
        let cells = [
            fault.name.clone(),
            fault.what.clone(),
            moment(fault.from),
            fault.to.map_or_else(|| ABSENT.to_owned(), moment),
            fault.verdict.clone(),
        ];
        Row::new(tone, cells)
    }));
    section
}

pub(super) fn events(summary: &Summary, limits: &Limits) -> Section {
    let mut section = Section::new("Events");
    let columns = [
        Column::Number("at"),
        Column::Text("event"),
        Column::Number("worker"),
        Column::Text("what happened"),
    ];
    section.table(Table::of(&columns, &summary.events, limits.events, |event| {
        let cells = [
            moment(event.at),
            event.kind.clone(),
            event
                .worker
                .map_or_else(|| ABSENT.to_owned(), |worker| worker.to_string()),
            event.text.clone(),
        ];
        Row::new(Tone::Plain, cells)
    }));
    section
}
