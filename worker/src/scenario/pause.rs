//! Pauses that end at an exact instant: what a timer is late would be counted as the target's response time.

use std::cell::RefCell;
use std::time::Duration;

use barrage_model::plan::Pacing;

use crate::clock::{Clock, Stamp};
use crate::shard::pacer::Pacer;

/// The last part of a pause, for which a precise timer is taken; tokio's is late by a millisecond or two.
const FINE: Duration = Duration::from_millis(2);
/// Precise timers that a shard keeps for later pauses.
const SPARE_MAX: usize = 64;

/// The precise timers of one shard: as many as pauses are about to end at the same time.
#[derive(Debug)]
pub struct Pauses {
    clock: Clock,
    spare: RefCell<Vec<Pacer>>,
}

impl Pauses {
    /// No timers yet.
    pub(super) fn new(clock: Clock) -> Self {
        Self {
            clock,
            spare: RefCell::default(),
        }
    }

    /// Waits until `at`; returns at once when it has passed.
    pub(super) async fn until(&self, at: Stamp) {
        loop {
            let now = self.clock.now();
            if now >= at {
                return;
            }
            let coarse = at.since(now).saturating_sub(FINE);
            if coarse > Duration::ZERO {
                tokio::time::sleep(coarse).await;
            } else {
                let spare = self.spare.borrow_mut().pop();
                let timer = spare.unwrap_or_else(|| Pacer::new(self.clock, Pacing::Timer));
                timer.until(at).await;
                let mut spare = self.spare.borrow_mut();
                if spare.len() < SPARE_MAX {
                    spare.push(timer);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn pauses_end_in_time_and_timers_are_used_again() {
        let clock = Clock::boot();
        let pauses = Pauses::new(clock);
        let mut best = Duration::MAX;
        for _ in 0..20 {
            let (near, far) = (
                clock.now() + Duration::from_millis(1),
                clock.now() + Duration::from_millis(7),
            );
            tokio::join!(pauses.until(near), pauses.until(far), pauses.until(far));
            best = best.min(clock.now().since(far));
            assert!(clock.now() >= far);
        }
        assert!(pauses.spare.borrow().len() <= 3);
        // A busy machine may be late each time, but hardly twenty times in a row.
        assert!(best < Duration::from_millis(1), "{best:?}");
        pauses.until(Stamp::from_us(0)).await;
    }
}
