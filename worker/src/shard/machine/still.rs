//! When the shard stood still: it got no input although it had asked for one.

use std::collections::VecDeque;
use std::time::Duration;

use barrage_model::delta::INTERVAL;
use barrage_model::time::Moment;

use super::TICK;

/// A silence that is longer than [`TICK`] by this much is a standstill; shorter ones are part of every busy loop.
pub const MIN: Duration = Duration::from_millis(5);
/// Most that are remembered, no fewer than an interval has room for; after that the two oldest become one, spread over the
/// time from the first to the last.
const MOST: usize = 128;

/// What standing still did to one interval.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stood {
    /// For how long the longest standstill that touches the interval had lasted at the interval's end, or at its own.
    pub longest: Duration,
    /// For how long the shard stood still within the interval.
    pub total: Duration,
    /// How late an arrival that fell due in the interval was at least noticed, when it was noticed after the interval: the
    /// 99th percentile, by the even schedule. Zero where fewer than 1 % of the interval's arrivals were.
    pub lag: Duration,
}

/// One standstill, or several that have become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Standstill {
    from: Moment,
    to: Moment,
    /// For how long within.
    stood: Duration,
}

impl Standstill {
    /// For how long between two moments; evenly spread where it is made of several.
    fn within(&self, from: Moment, to: Moment) -> Duration {
        let (span, part) = (self.to.since(self.from), self.to.min(to).since(self.from.max(from)));
        if self.stood == span || part.is_zero() {
            return part;
        }
        let us = part.as_micros() * self.stood.as_micros() / span.as_micros().max(1);
        Duration::from_micros(u64::try_from(us).unwrap_or(u64::MAX))
    }
}

/// The latest standstills, in order.
#[derive(Debug, Default)]
pub(super) struct Standstills {
    known: VecDeque<Standstill>,
    /// The last one, for those that were in progress meanwhile.
    last: Option<Standstill>,
}

impl Standstills {
    /// Whether a machine that was told something at `last` has stood still when the next it is told comes at `now`.
    pub(super) fn is_one(last: Moment, now: Moment) -> bool {
        now > last + TICK + MIN
    }

    /// Notes one: what was wanted at `from` came at `to`.
    pub(super) fn note(&mut self, from: Moment, to: Moment) {
        let stood = to.since(from);
        let one = Standstill { from, to, stood };
        self.last = Some(one);
        self.known.push_back(one);
        if self.known.len() > MOST
            && let Some(oldest) = self.known.pop_front()
            && let Some(next) = self.known.front_mut()
        {
            next.from = oldest.from;
            next.stood += oldest.stood;
        }
    }

    /// Forgets those that were over at `moment`.
    pub(super) fn forget_before(&mut self, moment: Moment) {
        while self.known.front().is_some_and(|one| one.to <= moment) {
            self.known.pop_front();
        }
    }

    /// For how long the shard stood still between two moments.
    pub(super) fn within(&self, from: Moment, to: Moment) -> Duration {
        self.known.iter().map(|one| one.within(from, to)).sum()
    }

    /// Whether one was going on at a moment.
    pub(super) fn is_over(&self, moment: Moment) -> bool {
        self.known.iter().any(|one| one.from < moment && moment <= one.to)
    }

    /// From when to when the last one was.
    pub(super) fn last(&self) -> Option<(Moment, Moment)> {
        self.last.map(|last| (last.from, last.to))
    }

    /// What they did to the interval that ends at `end`, but for its lag.
    pub(super) fn of_interval(&self, end: Moment) -> Stood {
        let begin = end - INTERVAL;
        let touching = self.known.iter().filter(|one| one.from < end && begin < one.to);
        let longest = touching.map(|one| one.to.min(end).since(one.from).min(one.stood));
        Stood {
            longest: longest.max().unwrap_or_default(),
            total: self.within(begin, end),
            lag: Duration::ZERO,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Moment {
        Moment::from_micros(ms * 1_000)
    }

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn a_silence_within_the_tick_and_a_little_is_none() {
        assert!(!Standstills::is_one(at(100), at(110)));
        assert!(Standstills::is_one(at(100), at(111)));
        let mut still = Standstills::default();
        still.note(at(120), at(131));
        assert_eq!(still.within(at(0), at(1_000)), ms(11));
        assert_eq!(still.within(at(125), at(1_000)), ms(6));
        assert_eq!(still.within(at(140), at(1_000)), ms(0));
    }

    #[test]
    fn every_interval_that_a_standstill_touches_says_so() {
        let mut still = Standstills::default();
        still.note(at(3_250), at(6_250));
        let of = |end| still.of_interval(at(end));
        let stood = |longest, total| Stood {
            longest: ms(longest),
            total: ms(total),
            lag: ms(0),
        };
        assert_eq!(of(3_000), Stood::default());
        assert_eq!(of(4_000), stood(750, 750));
        assert_eq!(of(5_000), stood(1_750, 1_000));
        assert_eq!(of(6_000), stood(2_750, 1_000));
        assert_eq!(of(7_000), stood(3_000, 250));
        assert_eq!(of(8_000), Stood::default());
    }

    #[test]
    fn many_are_remembered_as_few() {
        let mut still = Standstills::default();
        for n in 0..1_000 {
            still.note(at(n * 100 + 20), at(n * 100 + 60));
        }
        assert_eq!(still.known.len(), MOST);
        let (from, to, stood) = (at(20), at(87_260), ms(873 * 40));
        assert_eq!(still.known[0], Standstill { from, to, stood });
        // Most of that time it did not stand still.
        assert_eq!(
            still.within(at(40_000), at(50_000)),
            Duration::from_micros(10_000_000 * 873 * 40 / 87_240)
        );
        assert_eq!(still.of_interval(at(50_000)).longest, ms(873 * 40));
        still.forget_before(at(87_260));
        assert_eq!(still.known.len(), MOST - 1);
        assert_eq!(still.within(at(99_900), at(100_000)), ms(40));
    }
}
