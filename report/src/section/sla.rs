//! Every SLA with what was seen.

use barrage_metrics::summary::{SlaResult, SlaVerdict, Summary};
use barrage_model::units::format_duration;

use super::{Column, Limits, Row, Section, Table, Tone};
use crate::number::moment;

pub(super) fn section(summary: &Summary, limits: &Limits) -> Section {
    let mut section = Section::new("SLA");
    let columns = [
        Column::Text(""),
        Column::Text("that"),
        Column::Text("during"),
        Column::Text("observed"),
        Column::Text("verdict"),
    ];
    section.table(Table::of(&columns, &judged(summary), limits.rows, |sla| row(sla)));
    section
}

/// The SLAs, those that did not pass first when there are so many that some may be left out.
pub(crate) fn judged(summary: &Summary) -> Vec<&SlaResult> {
    /// More than any plan that is read by people has.
    const MANY: usize = 20;
    let mut all: Vec<&SlaResult> = summary.sla.iter().collect();
    if all.len() > MANY {
        all.sort_by_key(|sla| sla.verdict == SlaVerdict::Passed);
    }
    all
}

fn row(sla: &SlaResult) -> Row {
    let (tone, mark) = match sla.verdict {
        SlaVerdict::Passed => (Tone::Good, "✓"),
        SlaVerdict::Failed => (Tone::Bad, "✗"),
        SlaVerdict::NotEnoughSamples | SlaVerdict::NotJudged => (Tone::Warn, "?"),
        SlaVerdict::Provisional => (Tone::Plain, "…"),
    };
    let cells = [
        mark.to_owned(),
        sla.that.clone(),
        scope(sla),
        sla.observed.clone(),
        words(sla.verdict),
    ];
    Row {
        note: (sla.verdict != SlaVerdict::Passed).then(|| why(sla)).flatten(),
        ..Row::new(tone, cells)
    }
}

/// A verdict in words.
pub(crate) fn words(verdict: SlaVerdict) -> String {
    verdict.word().replace('_', " ")
}

/// The run time that an SLA covers, in words.
pub(crate) fn scope(sla: &SlaResult) -> String {
    let mut parts = vec![sla.during.clone().unwrap_or_else(|| "run".to_owned())];
    if let Some(over) = sla.over {
        parts.push(format!("over {}", format_duration(over)));
    }
    if sla.in_a_row > 1 {
        parts.push(format!("for {}", sla.in_a_row));
    }
    if sla.stop {
        parts.push("stop".to_owned());
    }
    if sla.implicit {
        parts.push("implicit".to_owned());
    }
    parts.join(", ")
}

fn why(sla: &SlaResult) -> Option<String> {
    let mut parts = Vec::new();
    if !sla.reason.is_empty() {
        parts.push(sla.reason.clone());
    }
    if let Some(at) = sla.breached_at {
        parts.push(format!("first breached at {}", moment(at)));
    }
    if let Some((line, column)) = sla.at {
        parts.push(format!("plan {line}:{column}"));
    }
    (!parts.is_empty()).then(|| parts.join("; "))
}
