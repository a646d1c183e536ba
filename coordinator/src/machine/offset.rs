//! How far a worker's clock is off, by four timestamps and the shortest round trips.

use std::collections::VecDeque;
use std::time::Duration;

use barrage_model::time::{Moment, whole_micros};

/// Samples kept.
pub const SAMPLES: usize = 16;
/// Probes on their way at once; an older one is forgotten.
const OUTSTANDING: usize = 8;
/// How far two clocks may drift apart, parts per million.
pub const DRIFT_PPM: u64 = 500;

/// `coordinator clock − worker clock`, with the half width of the interval that holds the true value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offset {
    /// Estimate, µs.
    pub offset_us: i64,
    /// How far off the estimate may be, µs.
    pub uncertainty_us: u64,
}

#[derive(Clone, Copy, Debug)]
struct Sample {
    at: Moment,
    offset_us: i64,
    round_trip_us: u64,
}

impl Sample {
    fn uncertainty_us(&self, now: Moment) -> u64 {
        let age = whole_micros(now.since(self.at));
        (self.round_trip_us / 2).saturating_add(age / 1_000_000 * DRIFT_PPM + age % 1_000_000 * DRIFT_PPM / 1_000_000)
    }
}

/// The last [`SAMPLES`] exchanges with one worker.
#[derive(Clone, Debug, Default)]
pub struct OffsetFilter {
    next: u64,
    outstanding: VecDeque<(u64, Moment)>,
    samples: VecDeque<Sample>,
}

impl OffsetFilter {
    /// Begins an exchange and returns its number.
    pub fn probe(&mut self, now: Moment) -> u64 {
        self.next += 1;
        if self.outstanding.len() == OUTSTANDING {
            self.outstanding.pop_front();
        }
        self.outstanding.push_back((self.next, now));
        self.next
    }

    /// Exchanges begun so far.
    pub fn probes(&self) -> u64 {
        self.next
    }

    /// Takes an answer: the worker's clock when the probe came and when the answer left. An answer to no probe of ours,
    /// or one that claims to have taken longer than the round trip, is left out.
    pub fn answer(&mut self, now: Moment, number: u64, received_us: u64, replied_us: u64) {
        let Some(place) = self.outstanding.iter().position(|(sent, _)| *sent == number) else {
            return;
        };
        let (_, sent) = self.outstanding[place];
        self.outstanding.drain(..=place);
        let Some(held) = replied_us.checked_sub(received_us) else {
            return;
        };
        let Some(round_trip_us) = whole_micros(now.since(sent)).checked_sub(held) else {
            return;
        };
        let ours = i128::from(sent.as_micros()) + i128::from(now.as_micros());
        let theirs = i128::from(received_us) + i128::from(replied_us);
        let Ok(offset_us) = i64::try_from((ours - theirs) / 2) else {
            return;
        };
        if self.samples.len() == SAMPLES {
            self.samples.pop_front();
        }
        self.samples.push_back(Sample {
            at: now,
            offset_us,
            round_trip_us,
        });
    }

    /// The estimate with the least uncertainty now; `None` before the first answer.
    pub fn estimate(&self, now: Moment) -> Option<Offset> {
        self.samples
            .iter()
            .map(|sample| Offset {
                offset_us: sample.offset_us,
                uncertainty_us: sample.uncertainty_us(now),
            })
            .min_by_key(|offset| offset.uncertainty_us)
    }

    /// Worst-case time that has to be added to a bound on the worker's clock, for a stretch of `length`.
    pub fn slack(offset: Option<Offset>, length: Duration) -> Duration {
        let uncertainty = Duration::from_micros(offset.map_or(0, |offset| offset.uncertainty_us));
        uncertainty + length * DRIFT_PPM as u32 / 1_000_000 + Duration::from_millis(100)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs exchanges (sent, way there, held, way back; all µs) against a worker whose clock is `behind` µs behind.
    fn exchanges(behind: u64, list: &[(u64, u64, u64, u64)]) -> OffsetFilter {
        let mut filter = OffsetFilter::default();
        for (sent, there, held, back) in list {
            let number = filter.probe(Moment::from_micros(*sent));
            let received = sent + there - behind;
            filter.answer(
                Moment::from_micros(sent + there + held + back),
                number,
                received,
                received + held,
            );
        }
        filter
    }

    #[test]
    fn the_shortest_round_trip_wins_and_the_truth_lies_within() {
        for (list, want) in [
            (vec![(1_000_000, 100, 50, 100)], (700_000, 100)),
            (vec![(1_000_000, 100, 0, 300)], (700_100, 200)),
            (
                vec![(1_000_000, 9_000, 0, 100), (1_100_000, 150, 10, 100)],
                (699_975, 125),
            ),
        ] {
            let filter = exchanges(700_000, &list);
            let last = list
                .iter()
                .map(|(sent, there, held, back)| sent + there + held + back)
                .max()
                .unwrap();
            let got = filter.estimate(Moment::from_micros(last)).unwrap();
            assert_eq!((got.offset_us, got.uncertainty_us), want);
            assert!(got.offset_us.abs_diff(700_000) <= got.uncertainty_us);
        }
    }

    #[test]
    fn an_estimate_grows_uncertain_with_age() {
        let filter = exchanges(0, &[(1_000_000, 100, 0, 100)]);
        let later = filter.estimate(Moment::from_micros(11_000_200)).unwrap();
        assert_eq!(later.uncertainty_us, 100 + 5_000);
    }

    #[test]
    fn false_answers_change_nothing() {
        let mut filter = OffsetFilter::default();
        let number = filter.probe(Moment::from_secs(1));
        filter.answer(Moment::from_secs(2), number + 1, 5, 6);
        filter.answer(Moment::from_secs(2), number, 6, 5);
        filter.answer(Moment::from_secs(2), number, 5, 6);
        assert_eq!(
            filter.estimate(Moment::from_secs(2)),
            None,
            "the second answer used the probe up"
        );
        let number = filter.probe(Moment::from_secs(3));
        filter.answer(Moment::from_secs(4), number, 0, 5_000_000);
        assert_eq!(
            filter.estimate(Moment::from_secs(4)),
            None,
            "held for longer than the round trip"
        );
    }
}
