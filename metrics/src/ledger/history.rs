//! The self-health of one worker process over run time, in a bounded number of readings.

use barrage_model::delta::Health;

/// Most readings of all workers together, unless there are so many workers that each has no more than the least.
const READINGS_MAX: usize = 60_000;
/// Fewest and most readings of one process.
const LEAST: usize = 30;
const MOST: usize = 3_600;

/// Readings, each over a stretch of so many intervals that begins at a multiple of it. When there are too many, every two
/// become one.
#[derive(Clone, Debug, PartialEq)]
pub struct History {
    length: u32,
    readings: Vec<Reading>,
}

/// What one stretch was like.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Reading {
    /// Its first interval.
    pub from: u32,
    /// The readings of its intervals, joined.
    pub health: Health,
}

/// Most readings of each of so many workers.
pub(crate) fn readings_max(workers: usize) -> usize {
    (READINGS_MAX / workers.max(1)).clamp(LEAST, MOST)
}

impl Default for History {
    fn default() -> Self {
        Self {
            length: 1,
            readings: Vec::new(),
        }
    }
}

impl History {
    /// Intervals of each stretch.
    pub fn length(&self) -> u32 {
        self.length
    }

    /// The readings, in order of time. Stretches without any are left out.
    pub fn readings(&self) -> &[Reading] {
        &self.readings
    }

    /// Takes in the next reading. Its interval is not smaller than any before.
    pub(crate) fn add(&mut self, interval: u32, health: &Health, most: usize) {
        while self.readings.len() >= most && self.length <= u32::MAX / 2 && self.begins(interval) {
            self.coarsen();
        }
        let from = self.stretch_of(interval);
        match self.readings.last_mut() {
            Some(last) if last.from >= from => last.health = last.health.joined(*health),
            _ => self.readings.push(Reading { from, health: *health }),
        }
    }

    fn stretch_of(&self, interval: u32) -> u32 {
        interval - interval % self.length
    }

    fn begins(&self, interval: u32) -> bool {
        let last = self.readings.last();
        last.is_none_or(|last| last.from < self.stretch_of(interval))
    }

    /// In place: the memory of a fleet's readings stays where it is.
    fn coarsen(&mut self) {
        self.length = self.length.saturating_mul(2);
        let length = self.length;
        for reading in &mut self.readings {
            reading.from -= reading.from % length;
        }
        self.readings.dedup_by(|later, earlier| {
            let same = later.from == earlier.from;
            if same {
                earlier.health = earlier.health.joined(later.health);
            }
            same
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lag(us: u64) -> Health {
        Health {
            covered_us: 1_000_000,
            dispatch_lag_p99_us: us,
            ..Health::default()
        }
    }

    fn shown(history: &History) -> Vec<(u32, u64, u64)> {
        let readings = history.readings().iter();
        readings
            .map(|of| (of.from, of.health.dispatch_lag_p99_us, of.health.covered_us / 1_000_000))
            .collect()
    }

    #[test]
    fn too_many_readings_become_half_as_many() {
        let mut history = History::default();
        for interval in 1..=4 {
            history.add(interval, &lag(u64::from(interval)), 4);
        }
        assert_eq!(shown(&history), [(1, 1, 1), (2, 2, 1), (3, 3, 1), (4, 4, 1)]);
        history.add(4, &lag(9), 4);
        assert_eq!(
            (history.length(), shown(&history)[3]),
            (1, (4, 9, 2)),
            "the same interval"
        );
        history.add(5, &lag(5), 4);
        assert_eq!(history.length(), 2);
        assert_eq!(shown(&history), [(0, 1, 1), (2, 3, 2), (4, 9, 3)]);
        // A gap stays a gap.
        history.add(100, &lag(7), 4);
        assert_eq!(shown(&history)[3], (100, 7, 1));
        history.add(101, &lag(8), 4);
        assert_eq!((history.length(), shown(&history)[3]), (2, (100, 8, 2)));
    }

    #[test]
    fn there_are_never_more_than_the_most() {
        let mut history = History::default();
        for interval in 0..10_000 {
            history.add(interval, &lag(1), LEAST);
            assert!(history.readings().len() <= LEAST);
        }
        let covered: u64 = shown(&history).iter().map(|(.., covered)| covered).sum();
        assert_eq!(covered, 10_000, "no second is lost");
        // Far ahead, and more workers than before.
        history.add(4_000_000_000, &lag(2), 1);
        assert!(history.readings().len() <= 2);
    }

    #[test]
    fn a_fleet_shares_the_readings() {
        assert_eq!(
            [0, 1, 16, 100, 1_000, 9_000].map(readings_max),
            [3_600, 3_600, 3_600, 600, 60, 30]
        );
    }
}
