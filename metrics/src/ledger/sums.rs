//! Sums of counts.

use std::collections::BTreeMap;

use barrage_model::delta::Delta;
use barrage_model::ids::{LoadId, ScenarioId, StepId};
use barrage_model::ledger::{IterationCounts, StepCounts};

use crate::series::Sum;

impl Sum<Self> for IterationCounts {
    fn of(first: &Self) -> Self {
        *first
    }

    fn add(&mut self, more: &Self) {
        IterationCounts::add(self, more);
    }

    fn join(&mut self, other: &Self) {
        IterationCounts::add(self, other);
    }
}

impl Sum<Self> for StepCounts {
    fn of(first: &Self) -> Self {
        *first
    }

    fn add(&mut self, more: &Self) {
        StepCounts::add(self, more);
    }

    fn join(&mut self, other: &Self) {
        StepCounts::add(self, other);
    }
}

/// Counts that no tag or segment divides: as many rows as the plan has, so that none is ever folded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Undivided {
    pub(crate) iterations: BTreeMap<(LoadId, ScenarioId), IterationCounts>,
    pub(crate) steps: BTreeMap<StepId, StepCounts>,
}

impl Undivided {
    pub(super) fn add(&mut self, delta: &Delta) {
        for row in &delta.iterations {
            self.iterations
                .entry((row.load, row.scenario))
                .or_default()
                .add(&row.counts);
        }
        for row in &delta.steps {
            self.steps.entry(row.step).or_default().add(&row.counts);
        }
    }
}

/// Takes `less` out of `sum`, saturating.
pub(crate) fn take_iterations(sum: &mut IterationCounts, less: &IterationCounts) {
    let fields = [
        (&mut sum.scheduled, less.scheduled),
        (&mut sum.started, less.started),
        (&mut sum.completed, less.completed),
        (&mut sum.broken_off, less.broken_off),
        (&mut sum.cancelled, less.cancelled),
    ];
    for (field, less) in fields.into_iter().chain(sum.dropped.iter_mut().zip(less.dropped)) {
        *field = field.saturating_sub(less);
    }
}

/// Takes `less` out of `sum`, saturating.
pub(crate) fn take_steps(sum: &mut StepCounts, less: &StepCounts) {
    let fields = [
        (&mut sum.attempted, less.attempted),
        (&mut sum.sent, less.sent),
        (&mut sum.ok, less.ok),
        (&mut sum.timeout, less.timeout),
        (&mut sum.cancelled, less.cancelled),
        (&mut sum.shed, less.shed),
        (&mut sum.fallback, less.fallback),
        (&mut sum.injected, less.injected),
        (&mut sum.wire_requests, less.wire_requests),
        (&mut sum.body_bytes_in, less.body_bytes_in),
        (&mut sum.body_bytes_out, less.body_bytes_out),
        (&mut sum.wire_bytes_in, less.wire_bytes_in),
        (&mut sum.wire_bytes_out, less.wire_bytes_out),
    ];
    for (field, less) in fields.into_iter().chain(sum.failed.iter_mut().zip(less.failed)) {
        *field = field.saturating_sub(less);
    }
}
