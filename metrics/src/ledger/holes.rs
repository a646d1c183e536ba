//! Where the counts of lost workers are missing.

use barrage_model::delta::INTERVAL;
use barrage_model::ids::WorkerId;
use barrage_model::time::whole_micros;

use super::{Ledger, Loss};
use crate::summary::WorkerState;

impl Loss {
    /// Arrivals that were left, of both kinds.
    pub(crate) fn arrivals(&self) -> u64 {
        self.unknown.saturating_add(self.unsent)
    }
}

impl Ledger {
    /// The intervals that the load touches, up to the run's end. Where all workers are lost nobody has reported the last ones, and
    /// the run's end is not the load's.
    pub(crate) fn load_intervals(&self) -> u32 {
        let end = self.load_end().min(self.end());
        let end = self.timed_end().filter(|_| self.nobody_left()).unwrap_or(end);
        u32::try_from(end.as_micros().div_ceil(whole_micros(INTERVAL))).unwrap_or(u32::MAX)
    }

    /// The intervals after the last one of a lost process, or from the one on in which it left the first arrival unsent, up to the
    /// first one of its successor or the end. A process that was lost and comes back reports intervals in which it did nothing.
    pub(crate) fn holes(&self, worker: WorkerId) -> Vec<(u32, u32)> {
        let lost = self
            .processes(worker)
            .filter(|(_, member)| member.state == Some(WorkerState::Lost));
        let ranges = lost.filter_map(|(incarnation, member)| {
            let unsent = self
                .losses()
                .filter(|loss| (loss.worker, loss.incarnation) == (worker, incarnation))
                .filter_map(|loss| loss.unsent_from)
                .map(|from| u32::try_from(from.as_micros() / whole_micros(INTERVAL)).unwrap_or(u32::MAX));
            let silent = member.last_interval.map_or(0, |last| last.saturating_add(1));
            let from = unsent.chain([silent]).min().unwrap_or(silent);
            let others = self.processes(worker).filter(|(other, _)| *other != incarnation);
            let successors = others.filter_map(|(_, other)| other.first_interval);
            let to = successors
                .filter(|first| *first >= from)
                .min()
                .unwrap_or(self.intervals().max(self.load_intervals()));
            (from < to).then_some((from, to))
        });
        ranges.collect()
    }
}
