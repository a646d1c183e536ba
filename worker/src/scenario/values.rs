//! Where the values of gaps are found while an iteration goes on.

use std::borrow::Cow;
use std::sync::Arc;

use super::data::Table;
use super::draws::{Draws, Facts};
use super::text::{Fill, Ref};
use crate::engine::Answer;

/// Everything that a value can come from, borrowed from the plan and the user.
#[derive(Clone, Copy)]
pub(super) struct Scope<'a> {
    pub(super) slots: &'a [Option<Arc<str>>],
    pub(super) tables: &'a [Table],
    /// The row of each table that belongs to this iteration.
    pub(super) rows: &'a [Option<u32>],
    pub(super) draws: &'a Draws,
    pub(super) facts: Facts,
    /// The last answer of this iteration, for conditions.
    pub(super) last: Option<&'a Answer>,
}

impl<'a> Scope<'a> {
    /// The value before any filter; `None` where there is none.
    pub(super) fn value(&self, from: &'a Ref) -> Option<Cow<'a, str>> {
        match from {
            Ref::Slot(slot) => self.slots.get(*slot as usize)?.as_deref().map(Cow::Borrowed),
            Ref::Column { source, column } => {
                let row = (*self.rows.get(usize::from(*source))?)?;
                self.tables[usize::from(*source)].cell(row, *column).map(Cow::Borrowed)
            }
            Ref::Call { function, place } => Some(Cow::Owned(self.draws.call(function, *place, self.facts))),
            Ref::Constant(text) => Some(Cow::Borrowed(text)),
            Ref::Status => self.last.map(|answer| Cow::Owned(answer.status.to_string())),
            Ref::Body => self.last.map(|answer| String::from_utf8_lossy(&answer.body)),
            Ref::Absent => None,
        }
    }

    /// The value of a gap, filters applied.
    pub(super) fn fill(&self, fill: &'a Fill) -> Option<Cow<'a, str>> {
        let value = self.value(&fill.from);
        fill.filters.iter().fold(value, |value, filter| filter.apply(value))
    }
}
