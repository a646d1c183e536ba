//! Counts of the intervals that are too old to be kept apart, by series, for the rates of phases: in stretches that no border
//! of a phase or of a load divides, so that each lies in a selection or outside of it.

use std::collections::BTreeSet;
use std::ops::Range;

use barrage_model::delta::Delta;
use barrage_model::ids::{LoadId, ScenarioId, SegmentId, StepId, TagId};
use barrage_model::ledger::{IterationCounts, StepCounts};
use barrage_model::time::Moment;

use super::slot::{Detail, Totals};

/// Most rows of all stretches together, some 60 MB; a stretch that has no room for its rows keeps the totals alone.
const ROWS_MAX: usize = 200_000;

/// Consecutive intervals.
#[derive(Clone, Debug)]
pub(crate) struct OldStretch {
    pub(crate) intervals: Range<u32>,
    pub(crate) totals: Totals,
    /// By series, whatever the segment in which they fell due; `None` without room.
    pub(crate) detail: Option<Detail>,
}

/// All intervals before one, in order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Past {
    /// Intervals with which a stretch begins.
    borders: BTreeSet<u32>,
    stretches: Vec<OldStretch>,
    rows: usize,
}

impl Past {
    /// Intervals on both sides of a moment belong to different selections; one that it lies within, to none of them.
    pub(crate) fn divide(&mut self, at: Moment) {
        let micros = at.as_micros();
        for second in [micros / 1_000_000, micros.div_ceil(1_000_000)] {
            self.borders.insert(u32::try_from(second).unwrap_or(u32::MAX));
        }
    }

    pub(crate) fn stretches(&self) -> &[OldStretch] {
        &self.stretches
    }

    /// Takes in the next interval, with what there is of it.
    pub(super) fn push(&mut self, interval: u32, slot: Option<(&Totals, &Detail)>) {
        match self.stretches.last_mut() {
            Some(last) if !self.borders.contains(&interval) => last.intervals.end = interval + 1,
            _ => self.stretches.push(OldStretch {
                intervals: interval..interval + 1,
                totals: Totals::default(),
                detail: Some(Detail::default()),
            }),
        }
        let Some((totals, detail)) = slot else { return };
        self.within(interval, |to| {
            to.totals.iterations.add(&totals.iterations);
            to.totals.steps.add(&totals.steps);
            let iterations = detail
                .iterations
                .iter()
                .map(|((load, scenario, _), row)| (*load, *scenario, row));
            let steps = detail.steps.iter().map(|((step, tag, _), row)| (*step, *tag, row));
            to.add(iterations, steps);
        });
    }

    /// Takes in counts that come late; `once` says which steps belong to no totals.
    pub(super) fn add(&mut self, delta: &Delta, once: impl Fn(StepId) -> bool) {
        self.within(delta.interval, |to| {
            delta
                .iterations
                .iter()
                .for_each(|row| to.totals.iterations.add(&row.counts));
            let steps = delta.steps.iter().filter(|row| !once(row.step));
            steps.for_each(|row| to.totals.steps.add(&row.counts));
            let iterations = delta.iterations.iter().map(|row| (row.load, row.scenario, &row.counts));
            to.add(
                iterations,
                delta.steps.iter().map(|row| (row.step, row.tag, &row.counts)),
            );
        });
    }

    fn within(&mut self, interval: u32, change: impl FnOnce(&mut OldStretch)) {
        let after = self
            .stretches
            .partition_point(|stretch| stretch.intervals.start <= interval);
        let Some(to) = after.checked_sub(1).and_then(|place| self.stretches.get_mut(place)) else {
            return;
        };
        self.rows -= to.rows();
        change(to);
        if self.rows + to.rows() > ROWS_MAX {
            to.detail = None;
        }
        self.rows += to.rows();
    }
}

impl OldStretch {
    fn rows(&self) -> usize {
        let detail = self.detail.as_ref();
        detail.map_or(0, |detail| detail.iterations.len() + detail.steps.len())
    }

    fn add<'a>(
        &mut self,
        iterations: impl Iterator<Item = (LoadId, ScenarioId, &'a IterationCounts)>,
        steps: impl Iterator<Item = (StepId, TagId, &'a StepCounts)>,
    ) {
        let Some(detail) = &mut self.detail else { return };
        let any = SegmentId(0);
        for (load, scenario, row) in iterations {
            detail.iterations.entry((load, scenario, any)).or_default().add(row);
        }
        for (step, tag, row) in steps {
            detail.steps.entry((step, tag, any)).or_default().add(row);
        }
    }
}
