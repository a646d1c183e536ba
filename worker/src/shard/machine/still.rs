//! When the shard stood still: it got no input although it had asked for one.

use std::collections::VecDeque;
use std::time::Duration;

use barrage_model::delta::INTERVAL;
use barrage_model::time::Moment;

use super::TICK;

/// A silence that is longer than [`TICK`] by this much is a standstill; shorter ones are part of every busy loop.
const MIN: Duration = Duration::from_millis(10);
/// Most that are remembered; after that the two oldest become one, with what lies between them.
const MOST: usize = 64;

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

/// The latest standstills, in order.
#[derive(Debug, Default)]
pub(super) struct Standstills(VecDeque<(Moment, Moment)>);

impl Standstills {
    /// Whether a machine that was told something at `last` has stood still when the next it is told comes at `now`.
    pub(super) fn is_one(last: Moment, now: Moment) -> bool {
        now > last + TICK + MIN
    }

    /// Notes one: what was wanted at `from` came at `to`.
    pub(super) fn note(&mut self, from: Moment, to: Moment) {
        self.0.push_back((from, to));
        if self.0.len() > MOST
            && let Some((from, _)) = self.0.pop_front()
            && let Some(next) = self.0.front_mut()
        {
            next.0 = from;
        }
    }

    /// Forgets those that were over at `moment`.
    pub(super) fn forget_before(&mut self, moment: Moment) {
        while self.0.front().is_some_and(|(_, to)| *to <= moment) {
            self.0.pop_front();
        }
    }

    /// For how long the shard stood still between two moments.
    pub(super) fn within(&self, from: Moment, to: Moment) -> Duration {
        let parts = self
            .0
            .iter()
            .map(|(begin, end)| (*end).min(to).since((*begin).max(from)));
        parts.sum()
    }

    /// What they did to the interval that ends at `end`, of whose `scheduled` arrivals `unseen` had fallen due without
    /// being noticed by then.
    pub(super) fn of_interval(&self, end: Moment, scheduled: u64, unseen: u64) -> Stood {
        let begin = end - INTERVAL;
        let touching = self.0.iter().filter(|(from, to)| *from < end && begin < *to);
        let longest = touching.map(|(from, to)| (*to).min(end).since(*from));
        let noticed = self.0.back().filter(|(from, to)| *from < end && end <= *to);
        let lag = noticed.filter(|_| unseen.saturating_mul(100) >= scheduled.max(1));
        Stood {
            longest: longest.max().unwrap_or_default(),
            total: self.within(begin, end),
            lag: lag.map_or(Duration::ZERO, |(from, to)| {
                to.since((*from).max(begin)).saturating_sub(INTERVAL / 100)
            }),
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
        assert!(!Standstills::is_one(at(100), at(130)));
        assert!(Standstills::is_one(at(100), at(131)));
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
        let of = |end, scheduled, unseen| still.of_interval(at(end), scheduled, unseen);
        let stood = |longest, total, lag| Stood {
            longest: ms(longest),
            total: ms(total),
            lag: ms(lag),
        };
        assert_eq!(of(3_000, 100, 0), Stood::default());
        assert_eq!(of(4_000, 100, 75), stood(750, 750, 2_990));
        assert_eq!(of(5_000, 100, 100), stood(1_750, 1_000, 2_240));
        assert_eq!(of(5_000, 0, 0), stood(1_750, 1_000, 0));
        assert_eq!(of(6_000, 1_000, 9), stood(2_750, 1_000, 0));
        // Its own arrivals of the last one start in it, and say themselves how late they are.
        assert_eq!(of(7_000, 100, 0), stood(3_000, 250, 0));
        assert_eq!(of(8_000, 100, 0), Stood::default());
    }

    #[test]
    fn many_are_remembered_as_few() {
        let mut still = Standstills::default();
        for n in 0..1_000 {
            still.note(at(n * 100 + 20), at(n * 100 + 60));
        }
        assert_eq!(still.0.len(), MOST);
        assert_eq!(still.0[0], (at(20), at(93_660)));
        still.forget_before(at(93_660));
        assert_eq!(still.0.len(), MOST - 1);
        assert_eq!(still.within(at(99_900), at(100_000)), ms(40));
    }
}
