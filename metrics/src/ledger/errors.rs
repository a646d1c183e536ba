//! The sample of errors that a report shows.

use std::collections::BTreeMap;

use barrage_model::delta::ErrorSample;
use barrage_model::ids::{StepId, WorkerId};
use barrage_model::outcome::FailureClass;
use barrage_model::time::whole_micros;

/// Most error samples of a run; further errors are counted in the ledger alone.
pub const ERRORS_MAX: usize = 100;

type Kind = (StepId, Option<FailureClass>, Option<u16>);
type Order = (u64, WorkerId, String, Option<u64>);

/// At most [`ERRORS_MAX`] errors: the first of each (step, class, status), then the second of each, and so on.
///
/// What is kept depends on the set of errors alone, not on their order: one that is pushed out has a hundred before
/// it, and further errors never take one of those away.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Errors(BTreeMap<Kind, BTreeMap<Order, ErrorSample>>);

impl Errors {
    pub(crate) fn add(&mut self, worker: WorkerId, sample: &ErrorSample) {
        let kind = (sample.step, sample.class, sample.status);
        let service_us = sample.service.map(whole_micros);
        let order = (sample.at.as_micros(), worker, sample.message.clone(), service_us);
        self.0.entry(kind).or_default().insert(order, sample.clone());
        if self.0.values().map(BTreeMap::len).sum::<usize>() > ERRORS_MAX {
            self.push_out();
        }
    }

    /// Drops the last one by (place within its kind, order).
    fn push_out(&mut self) {
        let last_of_kind = |(kind, samples): (&Kind, &BTreeMap<Order, ErrorSample>)| {
            let (order, _) = samples.last_key_value()?;
            Some((samples.len(), order.clone(), *kind))
        };
        let Some((_, order, kind)) = self.0.iter().filter_map(last_of_kind).max() else {
            return;
        };
        if let Some(samples) = self.0.get_mut(&kind) {
            samples.remove(&order);
            if samples.is_empty() {
                self.0.remove(&kind);
            }
        }
    }

    /// In order of time.
    pub(crate) fn in_order(&self) -> Vec<(WorkerId, &ErrorSample)> {
        let mut all: Vec<_> = self.0.values().flatten().collect();
        all.sort_by(|a, b| a.0.cmp(b.0));
        all.into_iter().map(|(order, sample)| (order.1, sample)).collect()
    }
}
