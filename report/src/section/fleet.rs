//! The workers: how each ended, how well its clock is known, and where its counts are missing.

use barrage_metrics::summary::{GeneratorVerdict, Summary, WorkerState, WorkerSummary};

use super::{Column, Limits, Row, Section, Table, Tone};
use crate::number::{ABSENT, bytes, count, micros, percent, ranges};

pub(super) fn section(summary: &Summary, limits: &Limits) -> Section {
    let mut section = Section::new("Workers");
    let columns = [
        Column::Number("#"),
        Column::Text("worker"),
        Column::Text("state"),
        Column::Text("generator"),
        Column::Number("shards"),
        Column::Number("started"),
        Column::Number("sent"),
        Column::Number("ok"),
        Column::Number("worst lag"),
        Column::Number("shard cpu"),
        Column::Number("memory"),
        Column::Number("clock offset"),
    ];
    section.table(Table::of(&columns, &summary.workers, limits.rows, |worker| {
        row(worker, limits)
    }));
    section
}

fn row(worker: &WorkerSummary, limits: &Limits) -> Row {
    let tone = match (worker.state, worker.generator) {
        (WorkerState::Lost, _) | (_, GeneratorVerdict::Invalid) => Tone::Bad,
        (_, GeneratorVerdict::Degraded) => Tone::Warn,
        _ => Tone::Plain,
    };
    let counts = &worker.steps.counts;
    let cells = [
        worker.id.to_string(),
        worker.name.clone(),
        worker.state.word().to_owned(),
        worker.generator.word().to_owned(),
        worker.shards.to_string(),
        count(worker.iterations.started),
        count(counts.sent),
        count(counts.ok),
        micros(worker.health.dispatch_lag_p99_max_us),
        percent(Some(worker.health.shard_cpu_max)),
        bytes(worker.health.rss_max_bytes),
        offset(worker),
    ];
    let holes =
        (!worker.holes.is_empty()).then(|| format!("hole: no counts for {}", ranges(&worker.holes, limits.ranges)));
    Row {
        note: holes,
        ..Row::new(tone, cells)
    }
}

/// The clock's offset with its uncertainty: `+1.2 ms ± 85 µs`.
fn offset(worker: &WorkerSummary) -> String {
    let Some(offset) = worker.offset_us else {
        return ABSENT.to_owned();
    };
    let sign = if offset < 0 { '−' } else { '+' };
    let uncertainty = worker.offset_uncertainty_us.map_or_else(|| "?".to_owned(), micros);
    format!("{sign}{} ± {uncertainty}", micros(offset.unsigned_abs()))
}
