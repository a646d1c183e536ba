//! Epochs: stretches of the run's one sequence of arrivals, each with one curve and one wheel.

use std::{ops::Range, sync::Arc};

use super::{
    curve::{ARRIVAL, Curve, CurveWalk},
    poisson::ExpStream,
    wheel::Wheel,
};
use crate::{
    ids::{EpochId, ShardId},
    time::Moment,
};

/// How arrivals are spread around the rate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Arrivals {
    /// Arrival n falls due where Λ reaches n.
    #[default]
    Even,
    /// A Poisson process of intensity λ: arrival n falls due where Λ reaches the sum of n + 1 exponential waits.
    Poisson,
}

/// A stretch of a load's arrivals. Index `first_index + k` is number k of the curve and position k of the wheel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Epoch {
    /// Its number within the load.
    pub id: EpochId,
    /// Index of its first arrival.
    pub first_index: u64,
    /// Run time at which its curve begins.
    pub first_time: Moment,
    /// Rate over time.
    pub curve: Curve,
    /// Owners.
    pub wheel: Wheel,
    /// Spread.
    pub arrivals: Arrivals,
    /// Seed of the exponential stream; even arrivals do not use it. The coordinator draws it for each epoch from
    /// `rng::stream(run_seed, load, epoch, Purpose::Poisson)`.
    pub seed: u64,
}

/// Arrivals that a set of shards owns within a stretch of indices: the first, the last and how many.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hole {
    /// Number of arrivals.
    pub count: u64,
    /// Index of the first, when there is one.
    pub first: Option<u64>,
    /// Index of the last, when there is one.
    pub last: Option<u64>,
}

impl Epoch {
    /// Number of arrivals up to the curve's end. Takes time in proportion to the number when Poisson.
    pub fn total(&self) -> u64 {
        match self.arrivals {
            Arrivals::Even => self.curve.total(),
            Arrivals::Poisson => self.counts_below([self.curve.total_phase()])[0],
        }
    }

    /// The index after its last arrival: where the curve ends.
    pub fn end_index(&self) -> u64 {
        self.first_index.saturating_add(self.total())
    }

    /// How many of its arrivals fall due before `time`. Takes time in proportion to the number when Poisson.
    pub fn count_before(&self, time: Moment) -> u64 {
        self.counts_before([time])[0]
    }

    /// How many of its arrivals fall due before `time` and belong to `shard`.
    pub fn owned_before(&self, shard: ShardId, time: Moment) -> u64 {
        self.wheel.owned_before(shard, self.count_before(time))
    }

    /// When arrival `index` falls due; `None` outside the epoch. Takes time in proportion to its number when Poisson.
    pub fn due(&self, index: u64) -> Option<Moment> {
        let offset = index.checked_sub(self.first_index)?;
        let due = match self.arrivals {
            Arrivals::Even => self.curve.due(offset)?,
            Arrivals::Poisson => {
                let mut walk = PhaseWalk::new(self);
                self.curve.due_at(walk.phase_of(offset, self.curve.total_phase())?)?
            }
        };
        Some(self.first_time + due.since(Moment::ZERO))
    }

    /// The shard that owns arrival `index`; `None` before the epoch.
    pub fn owner(&self, index: u64) -> Option<ShardId> {
        index
            .checked_sub(self.first_index)
            .map(|offset| self.wheel.owner(offset))
    }

    /// What `shards` own of the arrivals with an index of at least `from_index` that fall due at or after `due_from` and
    /// before `due_to`.
    pub fn owned_between(&self, shards: &[ShardId], from_index: u64, due_from: Moment, due_to: Moment) -> Hole {
        let [begin, end] = self.counts_before([due_from, due_to]);
        let begin = self.first_index.saturating_add(begin).max(from_index);
        self.owned_in(shards, begin..self.first_index.saturating_add(end))
    }

    /// What `shards` own of a range of indices. A shard named twice counts once. Does not look at the curve's end: see
    /// [`Epoch::end_index`].
    pub fn owned_in(&self, shards: &[ShardId], indices: Range<u64>) -> Hole {
        let begin = indices.start.saturating_sub(self.first_index);
        let end = indices.end.saturating_sub(self.first_index);
        let mut hole = Hole::default();
        if begin >= end {
            return hole;
        }
        let mut shards = shards.to_vec();
        shards.sort_unstable();
        shards.dedup();
        for shard in shards {
            let count = self.wheel.owned_before(shard, end) - self.wheel.owned_before(shard, begin);
            if count == 0 {
                continue;
            }
            let first = self
                .wheel
                .next_owned(shard, begin)
                .map(|offset| self.first_index + offset);
            let last = self
                .wheel
                .last_owned_before(shard, end)
                .map(|offset| self.first_index + offset);
            hole.first = hole.first.or(first).min(first);
            hole.last = hole.last.max(last);
            hole.count += count;
        }
        hole
    }

    fn counts_before<const N: usize>(&self, times: [Moment; N]) -> [u64; N] {
        let local = times.map(|time| Moment::ZERO + time.since(self.first_time));
        match self.arrivals {
            Arrivals::Even => local.map(|time| self.curve.count_before(time)),
            Arrivals::Poisson => self.counts_below(local.map(|time| self.curve.phase_before(time))),
        }
    }

    /// How many phases of the exponential stream lie below each bound.
    fn counts_below<const N: usize>(&self, bounds: [u128; N]) -> [u64; N] {
        let mut counts = [0; N];
        let mut stream = ExpStream::new(self.seed);
        let highest = bounds.into_iter().max().unwrap_or(0);
        loop {
            let phase = stream.next_phase();
            if phase >= highest {
                return counts;
            }
            for (count, bound) in counts.iter_mut().zip(bounds) {
                *count += u64::from(phase < bound);
            }
        }
    }
}

/// The phases of an epoch's arrivals, by rising number.
#[derive(Clone, Debug)]
enum PhaseWalk {
    Even,
    Poisson {
        stream: Box<ExpStream>,
        /// Number of the arrival that the stream gives next.
        next: u64,
        /// Phase of the arrival before that.
        last: u128,
    },
}

impl PhaseWalk {
    fn new(epoch: &Epoch) -> Self {
        match epoch.arrivals {
            Arrivals::Even => Self::Even,
            Arrivals::Poisson => Self::Poisson {
                stream: Box::new(ExpStream::new(epoch.seed)),
                next: 0,
                last: 0,
            },
        }
    }

    /// The phase of arrival `number`, which must not be below that of the call before; `None` at `end` or later.
    fn phase_of(&mut self, number: u64, end: u128) -> Option<u128> {
        let phase = match self {
            Self::Even => u128::from(number) * ARRIVAL,
            Self::Poisson { stream, next, last } => {
                while *next <= number && *last < end {
                    *last = stream.next_phase();
                    *next += 1;
                }
                *last
            }
        };
        (phase < end).then_some(phase)
    }
}

/// A walk through the arrivals of an epoch that one shard owns, in order.
///
/// Nothing is queued: the walk is a handful of integers. Even arrivals cost a division each, Poisson ones a step of the
/// stream (about 7 ns) for every arrival of the fleet.
#[derive(Clone, Debug)]
pub struct Cursor {
    epoch: Arc<Epoch>,
    shard: ShardId,
    walk: CurveWalk,
    phases: PhaseWalk,
    /// Which of the shard's positions, and the offset of position 0 in this turn of the wheel.
    place: usize,
    turn: u64,
    /// No index at or above this one is given out.
    end: u64,
    next: Option<(u64, Moment)>,
}

impl Cursor {
    /// A walk from the epoch's begin to its curve's end.
    pub fn new(epoch: &Arc<Epoch>, shard: ShardId) -> Self {
        Self::between(epoch, shard, epoch.first_index..u64::MAX)
    }

    /// A walk through the shard's arrivals within `indices`.
    pub fn between(epoch: &Arc<Epoch>, shard: ShardId, indices: Range<u64>) -> Self {
        let mut cursor = Self {
            epoch: Arc::clone(epoch),
            shard,
            walk: CurveWalk::default(),
            phases: PhaseWalk::new(epoch),
            place: 0,
            turn: 0,
            end: indices.end,
            next: None,
        };
        cursor.seek(indices.start);
        cursor.find();
        cursor
    }

    /// The next arrival: its index and when it falls due. `None` when there are no more.
    pub fn peek(&self) -> Option<(u64, Moment)> {
        self.next
    }

    /// Goes on to the arrival after.
    pub fn advance(&mut self) {
        if self.next.is_some() {
            self.place += 1;
            if self.place == self.epoch.wheel.positions(self.shard).len() {
                self.place = 0;
                self.turn = self.turn.saturating_add(self.epoch.wheel.len() as u64);
            }
            self.find();
        }
    }

    /// Goes on to the first arrival with an index of at least `index`; never back.
    pub fn skip_to(&mut self, index: u64) {
        if self.next.is_some_and(|(next, _)| next < index) {
            self.seek(index);
            self.find();
        }
    }

    /// Ends the walk before `end`: what a later epoch takes over. Never later than it ended already.
    pub fn cut(&mut self, end: u64) {
        self.end = self.end.min(end);
        self.next = self.next.filter(|(index, _)| *index < self.end);
    }

    /// The index of the next arrival.
    pub fn next_index(&self) -> Option<u64> {
        self.next.map(|(index, _)| index)
    }

    /// The epoch that is walked.
    pub fn epoch(&self) -> &Arc<Epoch> {
        &self.epoch
    }

    /// The shard whose arrivals these are.
    pub fn shard(&self) -> ShardId {
        self.shard
    }

    /// Sets place and turn to the first owned arrival at or after `index`.
    fn seek(&mut self, index: u64) {
        let len = self.epoch.wheel.len() as u64;
        let offset = index.saturating_sub(self.epoch.first_index);
        let positions = self.epoch.wheel.positions(self.shard);
        self.turn = offset - offset % len;
        self.place = positions.partition_point(|place| u64::from(*place) < offset % len);
        if self.place == positions.len() {
            self.place = 0;
            self.turn = self.turn.saturating_add(len);
        }
    }

    /// Computes the arrival at place and turn.
    fn find(&mut self) {
        self.next = self.arrival();
    }

    fn arrival(&mut self) -> Option<(u64, Moment)> {
        let epoch = &self.epoch;
        let place = *epoch.wheel.positions(self.shard).get(self.place)?;
        let offset = self.turn.checked_add(u64::from(place))?;
        let index = epoch
            .first_index
            .checked_add(offset)
            .filter(|index| *index < self.end)?;
        let phase = self.phases.phase_of(offset, epoch.curve.total_phase())?;
        let due = self.walk.due_at(&epoch.curve, phase)?;
        Some((index, epoch.first_time + due.since(Moment::ZERO)))
    }
}
