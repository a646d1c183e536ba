//! One worker's place in a run.

use std::collections::BTreeMap;
use std::time::Duration;

use barrage_model::delta::{Delta, INTERVAL};
use barrage_model::ids::{Incarnation, LoadId, ShardId};
use barrage_model::time::Moment;

use crate::machine::offset::Offset;

/// Whether a worker of a run lives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Life {
    /// It does, or may come back any moment.
    Alive,
    /// It does not.
    Lost {
        /// Run time of the loss.
        at: Moment,
        /// Coordinator clock from which on none of its grants can hold any more.
        released: Moment,
        /// Why it counts as lost.
        reason: String,
    },
}

/// What the run knows of one of its workers.
#[derive(Clone, Debug)]
pub struct Seat {
    /// Its process.
    pub incarnation: Incarnation,
    /// Its name.
    pub name: String,
    /// Whether it has prepared.
    pub prepared: bool,
    /// Whether its control stream is there.
    pub present: bool,
    /// Whether it lives.
    pub life: Life,
    /// Its clock's offset when it was last needed.
    pub offset: Option<Offset>,
    /// Number of the last delta that was merged.
    pub applied: u64,
    /// Number of the last delta that is stored and acknowledged.
    pub committed: u64,
    /// Whether the delta that it called its last is merged: nothing of it is unknown any more.
    pub flushed: bool,
    /// Number of its last delta of all, once it has said that it has halted.
    pub last_seq: Option<u64>,
    /// Run time at which it was done: halted, and everything merged.
    pub done_at: Option<Moment>,
    /// Run time at which its latest delta was merged.
    pub heard_at: Moment,
    /// Run time up to which it has told what it did.
    pub(super) told_until: Moment,
    /// Run time at which its latest iteration ended, by its own account.
    pub ended: Option<Moment>,
    /// Run time from which on it has begun nothing, by its own account.
    pub(super) left: Option<Moment>,
    /// Run time up to which it may offer load.
    pub granted: Moment,
    /// Run time up to which it may go on with what it had begun before a stop.
    pub(super) goes_on_until: Moment,
    /// The end of a grant after which it has stood still and that has been told.
    pub lapse_told: Moment,
    /// Events that it has told.
    pub(super) told: u32,
    /// For each load and shard the first index that is neither started nor dropped, as of the last merged delta.
    pub next_index: BTreeMap<(LoadId, ShardId), u64>,
    /// Iterations of each load that it has begun or dropped.
    pub accounted: BTreeMap<LoadId, u64>,
    /// Iterations of each load that it can begin or drop in an interval: as many as in its last one, or half of what it
    /// was before. An interval in which it had nothing to do does not make it slow.
    pub speed: BTreeMap<LoadId, u64>,
}

impl Seat {
    pub(super) fn new(incarnation: Incarnation, name: &str, (first, count): (ShardId, u32)) -> Self {
        debug_assert!(
            first.0.checked_add(count).is_some(),
            "shards are numbered within a wheel"
        );
        Self {
            incarnation,
            name: name.to_owned(),
            prepared: false,
            present: true,
            life: Life::Alive,
            offset: None,
            applied: 0,
            committed: 0,
            flushed: false,
            last_seq: None,
            done_at: None,
            heard_at: Moment::ZERO,
            told_until: Moment::ZERO,
            ended: None,
            left: None,
            granted: Moment::ZERO,
            goes_on_until: Moment::ZERO,
            lapse_told: Moment::ZERO,
            told: 0,
            next_index: BTreeMap::new(),
            accounted: BTreeMap::new(),
            speed: BTreeMap::new(),
        }
    }

    /// Whether it counts as lost.
    pub fn is_lost(&self) -> bool {
        matches!(self.life, Life::Lost { .. })
    }

    /// Whether it has halted and everything it counted is merged.
    pub fn is_done(&self) -> bool {
        self.last_seq.is_some_and(|last| self.applied >= last)
    }

    /// Whether nothing of it is unknown: it has said so, or has halted and everything it counted is merged.
    pub(super) fn has_told_all(&self) -> bool {
        self.flushed || self.is_done()
    }

    /// Keeps the run time at which it was done, if it is.
    pub(super) fn note_done(&mut self, run_now: Moment) {
        if self.is_done() {
            self.done_at.get_or_insert(run_now);
        }
    }

    /// Coordinator clock from which on a lost worker's grants hold no more.
    pub(super) fn released_at(&self) -> Option<Moment> {
        match self.life {
            Life::Lost { released, .. } if !self.has_told_all() => Some(released),
            _ => None,
        }
    }

    /// From when on it has begun nothing, as far as anybody knows, if it counts as lost.
    pub(super) fn idle_from(&self) -> Moment {
        self.left.unwrap_or(self.granted)
    }

    /// Whether the run needs to wait for it no longer.
    pub(super) fn is_over(&self, now: Moment) -> bool {
        let gone = self.released_at().is_none_or(|released| released <= now);
        self.is_done() || self.is_lost() && gone
    }

    /// Time beyond a grant's end in which the worker's clock may still say that it holds.
    pub(super) fn slack(&self, grant: Duration) -> Duration {
        crate::machine::offset::OffsetFilter::slack(self.offset, grant)
    }

    /// Keeps what a merged delta says of the worker's place.
    pub(super) fn follow(&mut self, delta: &Delta, run_now: Moment) {
        self.applied = delta.seq;
        self.heard_at = run_now;
        self.told_until = Moment::from_secs(delta.interval.into()) + INTERVAL;
        self.flushed |= delta.last;
        self.ended = self.ended.max(delta.ended);
        self.left = self.left.into_iter().chain(delta.left).min();
        for place in &delta.progress {
            self.next_index.insert((place.load, place.shard), place.next_index);
        }
        let mut recent: BTreeMap<LoadId, u64> = BTreeMap::new();
        for row in &delta.iterations {
            let begun = row.counts.started.saturating_add(row.counts.dropped_total());
            for sum in [self.accounted.entry(row.load), recent.entry(row.load)] {
                let sum = sum.or_default();
                *sum = sum.saturating_add(begun);
            }
        }
        self.speed.values_mut().for_each(|speed| *speed /= 2);
        for (load, begun) in recent {
            let speed = self.speed.entry(load).or_default();
            *speed = begun.max(*speed);
        }
    }
}
