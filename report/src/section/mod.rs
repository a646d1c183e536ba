//! What a report is made of, before it has a format: titled sections of sentences and tables.
//!
//! Strings in here are as they came; the format that shows them cleans and escapes every one.

mod errors;
mod fleet;
mod head;
mod latency;
mod ledger;
mod sla;
mod steps;
mod time;

use barrage_metrics::summary::Summary;
use barrage_model::expr::PhaseSelector;
use barrage_model::phase::Phase;

pub(crate) use head::{Head, head};
pub(crate) use latency::censored;
pub(crate) use ledger::equations;
pub(crate) use sla::{judged, scope, words};

/// How much of a long list a format shows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Rows of a table.
    pub(crate) rows: usize,
    /// Sampled errors.
    pub(crate) errors: usize,
    /// Events.
    pub(crate) events: usize,
    /// Ranges of run time in one cell.
    pub(crate) ranges: usize,
}

/// For terminals.
pub(crate) const TERMINAL: Limits = Limits {
    rows: 60,
    errors: 10,
    events: 30,
    ranges: 3,
};
/// For pages.
pub(crate) const PAGE: Limits = Limits {
    rows: 1_000,
    errors: 100,
    events: 500,
    ranges: 20,
};

/// A titled part of a report.
#[derive(Clone, Debug, Default)]
pub(crate) struct Section {
    /// Its heading.
    pub(crate) title: &'static str,
    /// Sentences above the tables.
    pub(crate) notes: Vec<Note>,
    /// Its tables, none empty.
    pub(crate) tables: Vec<Table>,
}

/// A sentence.
#[derive(Clone, Debug)]
pub(crate) struct Note {
    pub(crate) tone: Tone,
    pub(crate) text: String,
}

/// How a row or a sentence is meant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Tone {
    /// Neither good nor bad.
    #[default]
    Plain,
    /// As it should be.
    Good,
    /// To be looked at.
    Warn,
    /// Not as it should be.
    Bad,
}

/// A table.
#[derive(Clone, Debug, Default)]
pub(crate) struct Table {
    /// A heading of its own, where a section has several.
    pub(crate) caption: &'static str,
    /// Its columns.
    pub(crate) columns: Vec<Column>,
    /// Its rows; each has a cell for every column.
    pub(crate) rows: Vec<Row>,
    /// Rows that are not shown.
    pub(crate) left_out: usize,
}

/// A column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Column {
    /// Words, on the left; may be cut to fit.
    Text(&'static str),
    /// A number, on the right; never cut.
    Number(&'static str),
}

impl Column {
    /// Its heading.
    pub(crate) fn head(self) -> &'static str {
        match self {
            Self::Text(head) | Self::Number(head) => head,
        }
    }
}

/// A row.
#[derive(Clone, Debug, Default)]
pub(crate) struct Row {
    pub(crate) tone: Tone,
    pub(crate) cells: Vec<String>,
    /// A sentence below the cells.
    pub(crate) note: Option<String>,
}

impl Section {
    fn new(title: &'static str) -> Self {
        Self {
            title,
            ..Self::default()
        }
    }

    fn note(&mut self, tone: Tone, text: impl Into<String>) {
        self.notes.push(Note {
            tone,
            text: text.into(),
        });
    }

    /// Adds a table, unless it has no rows.
    fn table(&mut self, table: Table) {
        if !table.rows.is_empty() {
            self.tables.push(table);
        }
    }

    /// Whether there is nothing to show.
    pub(crate) fn is_empty(&self) -> bool {
        self.notes.is_empty() && self.tables.is_empty()
    }
}

impl Table {
    /// A table of the first `most` of `items`.
    fn of<T>(columns: &[Column], items: &[T], most: usize, row: impl Fn(&T) -> Row) -> Self {
        Self {
            caption: "",
            columns: columns.to_vec(),
            rows: items.iter().take(most).map(row).collect(),
            left_out: items.len().saturating_sub(most),
        }
    }
}

impl Row {
    fn new(tone: Tone, cells: impl IntoIterator<Item = String>) -> Self {
        Self {
            tone,
            cells: cells.into_iter().collect(),
            note: None,
        }
    }
}

/// Every section that has something to say, the important ones first.
pub(crate) fn sections(summary: &Summary, limits: &Limits) -> Vec<Section> {
    let all = [
        sla::section(summary, limits),
        latency::section(summary),
        steps::rates(summary),
        steps::steps(summary, limits),
        steps::scenarios(summary, limits),
        errors::section(summary, limits),
        time::stages(summary, limits),
        time::phases(summary, limits),
        fleet::section(summary, limits),
        ledger::section(summary),
        time::faults(summary, limits),
        time::events(summary, limits),
    ];
    all.into_iter().filter(|section| !section.is_empty()).collect()
}

/// A phase as expressions write it: `steady`, `stage(peak)`, `stage("hold 1")`.
pub(crate) fn phase_name(phase: &Phase) -> String {
    let selector = match phase {
        Phase::WarmUp => PhaseSelector::WarmUp,
        Phase::Steady => PhaseSelector::Steady,
        Phase::Stage(name) => PhaseSelector::Stage(name.clone()),
        Phase::Baseline(fault) => PhaseSelector::Baseline(fault.clone()),
        Phase::Fault(fault) => PhaseSelector::Fault(fault.clone()),
        Phase::Recovery(fault) => PhaseSelector::Recovery(fault.clone()),
        Phase::Undoing => return "undoing".to_owned(),
    };
    selector.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_phase_is_written_as_during_takes_it() {
        for name in ["peak", "hold 1", "a)b", "quo\"te", "\u{e4}"] {
            let phase = Phase::Stage(name.to_owned());
            let read = PhaseSelector::parse(&phase_name(&phase)).unwrap();
            assert!(read.covers(&phase), "{name}");
        }
    }
}
