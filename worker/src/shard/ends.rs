//! What somebody waited for and what ended: how late the shard has seen it.
//!
//! An answer that comes while the shard stands still is read afterwards and told as the target's, and so is a pause that is
//! over then. Where nothing falls due meanwhile (users who begin again when they have ended, a load that drains) no start
//! tells of it. See ADR 21.

use std::collections::VecDeque;
use std::time::Duration;

use barrage_model::delta::INTERVAL;
use barrage_model::ids::LoadId;
use barrage_model::time::whole_micros;

use crate::clock::Stamp;

/// Most intervals that are kept apart; a shard closes them as they pass.
const INTERVALS_MAX: u64 = 128;
/// Arrivals speak for the answers of an open load that a standstill has hidden, unless these are more than so many times as
/// many: those that are read within its length after it may be twice as many as have come during it.
const SPOKEN_FOR: u64 = 2;

/// A standstill, and how much fell due in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stood {
    pub(super) from: Stamp,
    pub(super) to: Stamp,
    /// Arrivals of each load; those of closed loads do not fall due.
    pub(super) due: Vec<u64>,
}

impl Stood {
    pub(super) fn length(&self) -> Duration {
        self.to.since(self.from)
    }

    /// Until when what it hid may still be read: what came meanwhile is read within the same time again, even where thousands
    /// wait.
    pub(super) fn hides_until(&self) -> Stamp {
        self.to + self.length()
    }

    fn due(&self, load: usize) -> u64 {
        self.due.get(load).copied().unwrap_or_default()
    }
}

/// What one standstill has hidden of one load.
#[derive(Clone, Copy, Debug)]
struct Hidden {
    /// The standstill's end; [`Stamp::FAR`] as long as it is not known.
    to: Stamp,
    length: Duration,
    count: u64,
    due: u64,
}

/// What of one load ended in one interval.
#[derive(Clone, Debug, Default)]
struct Tally {
    all: u64,
    hidden: Vec<Hidden>,
}

/// The ends of a shard, by interval and load.
#[derive(Debug, Default)]
pub(super) struct Ends {
    start: Stamp,
    /// By load of the plan.
    closed: Vec<bool>,
    /// The interval of the first ones.
    first: u64,
    intervals: VecDeque<Vec<Tally>>,
}

impl Ends {
    pub(super) fn new(start: Stamp, closed: Vec<bool>) -> Self {
        Self {
            start,
            closed,
            ..Self::default()
        }
    }

    /// Counts something of a load that has ended, in the interval of that instant, and returns where it is counted; `None` for
    /// what is of no load.
    #[inline]
    pub(super) fn add(&mut self, load: LoadId, at: Stamp) -> Option<Place<'_>> {
        let load = usize::from(load.0);
        if load >= self.closed.len() {
            return None;
        }
        let interval = at.us_since(self.start) / whole_micros(INTERVAL);
        let place = interval.saturating_sub(self.first).min(INTERVALS_MAX - 1) as usize;
        while self.intervals.len() <= place {
            self.intervals.push_back(vec![Tally::default(); self.closed.len()]);
        }
        let tally = &mut self.intervals[place][load];
        tally.all += 1;
        Some(Place { load, tally })
    }

    /// What has been hidden by a standstill that was not known is hidden by this one.
    pub(super) fn learn(&mut self, stood: &Stood) {
        for tallies in &mut self.intervals {
            for (load, tally) in tallies.iter_mut().enumerate() {
                let unknown = tally.hidden.iter_mut().filter(|hidden| hidden.to == Stamp::FAR);
                for hidden in unknown {
                    (hidden.to, hidden.length, hidden.due) = (stood.to, stood.length(), stood.due(load));
                }
            }
        }
    }

    /// How late the ends of an interval, and of those before it, were seen: the 99th percentile, of the load that has fared
    /// worst, each of those that were hidden having come at any time of its standstill. They are told once.
    pub(super) fn take_lag(&mut self, interval: u32) -> Duration {
        let mut lag = Duration::ZERO;
        while self.first <= u64::from(interval) {
            self.first += 1;
            for (tally, closed) in self.intervals.pop_front().into_iter().flatten().zip(&self.closed) {
                lag = lag.max(tally.lag(*closed));
            }
        }
        lag
    }
}

/// Where something that has ended is counted.
pub(super) struct Place<'a> {
    load: usize,
    tally: &'a mut Tally,
}

impl Place<'_> {
    /// It was hidden by a standstill of which nothing is known yet.
    #[cold]
    pub(super) fn hide(self) {
        self.tally.hide(Stamp::FAR, Duration::ZERO, 0);
    }

    /// It was hidden by this one.
    #[cold]
    pub(super) fn hide_by(self, stood: &Stood) {
        self.tally.hide(stood.to, stood.length(), stood.due(self.load));
    }
}

impl Tally {
    fn hide(&mut self, to: Stamp, length: Duration, due: u64) {
        match self.hidden.last_mut() {
            Some(last) if last.to == to => last.count += 1,
            _ => self.hidden.push(Hidden {
                to,
                length,
                count: 1,
                due,
            }),
        }
    }

    /// The 99th percentile of the time that ends have waited to be seen.
    fn lag(&self, closed: bool) -> Duration {
        let counts = |hidden: &&Hidden| closed || hidden.count > hidden.due.saturating_mul(SPOKEN_FOR);
        let hidden: Vec<(u64, u64)> = self
            .hidden
            .iter()
            .filter(counts)
            .map(|hidden| (whole_micros(hidden.length), hidden.count))
            .collect();
        let is_rare = |us: u64| {
            let later = hidden.iter().map(|(length, count)| {
                u128::from(length.saturating_sub(us)) * u128::from(*count) * 100_000 / u128::from((*length).max(1))
            });
            later.sum::<u128>() < u128::from(self.all) * 1_000
        };
        let (mut low, mut high) = (0, hidden.iter().map(|(length, _)| *length).max().unwrap_or(0));
        while low < high {
            let middle = low.midpoint(high);
            if is_rare(middle) {
                high = middle;
            } else {
                low = middle + 1;
            }
        }
        Duration::from_micros(low)
    }
}
