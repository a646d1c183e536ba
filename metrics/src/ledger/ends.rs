//! Where loads, stages and steady states end: those of counted loads do so before the plan says it.

use std::collections::BTreeMap;
use std::ops::Range;

use barrage_model::delta::Delta;
use barrage_model::ids::{LoadId, SegmentId};
use barrage_model::ledger::IterationCounts;
use barrage_model::plan::{Load, LoadModel};
use barrage_model::time::Moment;

use super::{Ledger, Member};
use crate::query::Counts;

/// The time of loads or stages by the plan, and where each ends in fact if it is a counted load's; nothing where there is none.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ends(Vec<(Range<Moment>, Moment)>);

impl Ends {
    /// Where that ends at the latest which is on at this moment. Of a steady state only timed loads make it one beside counted
    /// ones.
    pub(crate) fn of(&self, from: Moment) -> Moment {
        let active = self.0.iter().filter(|(time, _)| time.contains(&from));
        active.map(|(_, until)| *until).max().unwrap_or(Moment::MAX)
    }
}

/// By segment, the interval after the last one in which something of it was counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Reach(BTreeMap<SegmentId, u32>);

impl Reach {
    pub(super) fn add(&mut self, delta: &Delta) {
        let iterations = delta.iterations.iter().map(|row| row.segment);
        let steps = delta.steps.iter().map(|row| row.segment);
        for segment in iterations.chain(steps) {
            let until = self.0.entry(segment).or_default();
            *until = (*until).max(delta.interval + 1);
        }
    }

    /// Where the last interval of a segment ends.
    pub(crate) fn of(&self, segment: SegmentId) -> Moment {
        let until = self.0.get(&segment).copied().unwrap_or(0);
        Moment::from_secs(until.into())
    }
}

impl Ledger {
    /// Where one load ends. A counted one does so with the interval of its last iteration, at its limit at the latest; and
    /// there where it was the limit that ended the run, even if nothing was begun for long before.
    pub(crate) fn end_of(&self, id: LoadId, load: &Load) -> Moment {
        let LoadModel::Iterations(asked) = &load.model else {
            return load.end();
        };
        let seen = self.counted.get(&id).copied().unwrap_or_default();
        if self.end.is_none() && seen.ended < asked.count {
            return load.end();
        }
        if seen.ended < asked.count && self.is_over_by_limit(load.end()) {
            return load.end();
        }
        load.end().min(Moment::from_secs(seen.until.into()))
    }

    /// Whether the run went on until a counted load's limit, and nothing else tells why.
    fn is_over_by_limit(&self, limit: Moment) -> bool {
        let reached = self.end.is_some_and(|end| limit <= end);
        let others = self.plan.timed_end().is_some_and(|end| limit <= end);
        reached && !others && self.load_end.is_none() && !self.members.values().any(Member::is_lost)
    }

    /// Whether a timed load was stopped before its end. Its last second is not whole then, even if nothing was left to drain.
    pub(crate) fn is_cut(&self) -> bool {
        let cut = self.load_end.zip(self.plan.timed_end());
        cut.is_some_and(|(cut, planned)| cut < planned)
    }

    /// Where the timed loads end by the plan, or were stopped, whether or not anybody was left to go on until then.
    pub(crate) fn timed_end(&self) -> Option<Moment> {
        let planned = self.plan.timed_end()?;
        Some(planned.min(self.load_end.unwrap_or(Moment::MAX)))
    }

    /// Whether the run has ended after the loss of all its workers: nobody has reported its last part.
    pub(crate) fn nobody_left(&self) -> bool {
        self.end.is_some() && !self.members.is_empty() && self.members.values().all(Member::is_lost)
    }

    /// From when on nobody has reported anything, and up to when the timed loads went on all the same.
    pub(crate) fn silence(&self) -> Option<Range<Moment>> {
        let silence = Moment::from_secs(self.next_interval().into())..self.timed_end()?;
        (self.nobody_left() && !silence.is_empty()).then_some(silence)
    }

    /// The arrivals among these counts that fell due, without those that a lost worker left waiting at the end of the run:
    /// they are among what is unknown or unsent.
    pub(crate) fn fell_due(&self, counts: &IterationCounts, started_scheduled: u64) -> u64 {
        if self.end.is_none() || !self.members.values().any(Member::is_lost) {
            return counts.scheduled;
        }
        let begun = started_scheduled.saturating_add(counts.dropped_total());
        counts.scheduled.min(begun)
    }

    /// The arrivals that the schedule asked for of these counts. With `all`, those that lost workers left unknown or unsent are
    /// among them: they belong to no part of the run.
    pub(crate) fn asked_for(&self, counts: &Counts, all: bool) -> u64 {
        let due = self.fell_due(&counts.iterations, counts.started_scheduled);
        if !all || self.end.is_none() {
            return due;
        }
        self.losses().fold(due, |sum, loss| sum.saturating_add(loss.arrivals()))
    }

    /// Where stages of a name end before the marks say so: those of counted loads.
    pub(crate) fn stage_ends(&self, name: &str) -> Ends {
        let loads = (0..).zip(&self.plan.loads);
        let stages = loads.flat_map(|(number, load)| {
            let named = load.stretches().into_iter().filter(|stretch| stretch.name == name);
            named.map(move |stretch| (stretch.from..stretch.to, self.until(LoadId(number), load)))
        });
        Ends(stages.collect())
    }

    /// Where a load ends if it is a counted one. The marks say where others do.
    fn until(&self, id: LoadId, load: &Load) -> Moment {
        match load.model {
            LoadModel::Iterations(_) => self.end_of(id, load),
            _ => Moment::MAX,
        }
    }

    /// Where steady states end before the marks say so: those of counted loads that are alone.
    pub(crate) fn steady_ends(&self) -> Ends {
        let loads = || (0..).zip(&self.plan.loads);
        if !loads().any(|(_, load)| matches!(load.model, LoadModel::Iterations(_))) {
            return Ends::default();
        }
        let time = |load: &Load| Moment::ZERO + load.start_at..load.end();
        let times = loads().map(|(number, load)| (time(load), self.until(LoadId(number), load)));
        Ends(times.collect())
    }
}
