//! The watermark: up to which interval the merged counts are complete enough to be judged.

use std::collections::BTreeMap;
use std::time::Duration;

use barrage_model::ids::WorkerId;
use barrage_model::time::Moment;

/// How long after its end an interval waits for workers that have not committed it.
pub const PATIENCE: Duration = Duration::from_secs(3);

/// An interval that the watermark has passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Closed {
    /// The interval.
    pub interval: u32,
    /// Workers whose counts are in.
    pub reported: u32,
    /// Workers that were expected: all but the lost and the finished ones.
    pub expected: u32,
}

impl Closed {
    /// Whether counts are missing.
    pub fn is_partial(&self) -> bool {
        self.reported < self.expected
    }
}

/// Where one worker stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Has committed every interval before this one.
    Before(u32),
    /// Has committed its last interval, and was live before this one.
    Finished(u32),
    /// Is not waited for.
    Lost,
}

impl Place {
    /// Whether an interval waits for this worker.
    fn is_before(self, interval: u32) -> bool {
        matches!(self, Self::Before(at) if at <= interval)
    }
}

/// A machine: told what workers have committed and what time it is, it says which intervals are closed, in order.
#[derive(Clone, Debug)]
pub struct Watermark {
    workers: BTreeMap<WorkerId, Place>,
    next: u32,
    /// Workers that the next interval waits for.
    behind: usize,
}

impl Watermark {
    /// Nothing is closed. `next` is the first interval to close: 0, or where a restarted coordinator goes on.
    pub fn new(workers: impl IntoIterator<Item = WorkerId>, next: u32) -> Self {
        let workers: BTreeMap<_, _> = workers.into_iter().map(|worker| (worker, Place::Before(0))).collect();
        Self {
            behind: workers.len(),
            workers,
            next,
        }
    }

    /// A worker joins, having committed nothing.
    pub fn join(&mut self, worker: WorkerId) {
        self.workers.entry(worker).or_insert(Place::Before(0));
        self.behind = self.count_behind();
    }

    /// A worker has committed an interval, and so every one before; with `last`, there are no more.
    pub fn committed(&mut self, worker: WorkerId, interval: u32, last: bool) {
        let after = interval.saturating_add(1);
        let Some(place) = self.workers.get_mut(&worker) else {
            return;
        };
        let waited_for = place.is_before(self.next);
        *place = match *place {
            Place::Finished(at) => Place::Finished(at.max(after)),
            Place::Before(at) if last => Place::Finished(at.max(after)),
            Place::Lost if last => Place::Finished(after),
            Place::Before(at) => Place::Before(at.max(after)),
            Place::Lost => Place::Before(after),
        };
        self.behind = self.behind + usize::from(place.is_before(self.next)) - usize::from(waited_for);
    }

    /// A worker is not waited for any more, until it commits again.
    pub fn lost(&mut self, worker: WorkerId) {
        if let Some(place @ Place::Before(_)) = self.workers.get_mut(&worker) {
            self.behind -= usize::from(place.is_before(self.next));
            *place = Place::Lost;
        }
    }

    /// Whether [`Watermark::poll`] has an interval for which nobody is waited for any more.
    pub fn is_complete(&self) -> bool {
        self.behind == 0 && !self.is_over()
    }

    fn count_behind(&self) -> usize {
        let places = self.workers.values();
        places.filter(|place| place.is_before(self.next)).count()
    }

    /// The next closed interval, if one is due at `now`; to be asked until there is none.
    pub fn poll(&mut self, now: Moment) -> Option<Closed> {
        let (mut reported, mut expected) = (0, 0);
        for place in self.workers.values() {
            match *place {
                Place::Before(at) => {
                    expected += 1;
                    reported += u32::from(at > self.next);
                }
                Place::Finished(at) if at > self.next => {
                    expected += 1;
                    reported += 1;
                }
                Place::Finished(_) | Place::Lost => {}
            }
        }
        let complete = expected > 0 && reported == expected;
        if !complete && (now < self.patience_ends() || self.is_over()) {
            return None;
        }
        let closed = Closed {
            interval: self.next,
            reported,
            expected,
        };
        self.next = self.next.saturating_add(1);
        self.behind = self.count_behind();
        Some(closed)
    }

    /// When to ask again although nobody has committed anything; `None` once every worker is lost or finished.
    pub fn deadline(&self) -> Option<Moment> {
        (!self.is_over()).then(|| self.patience_ends())
    }

    /// First interval that is not closed.
    pub fn next(&self) -> u32 {
        self.next
    }

    /// Nobody will commit this interval or a later one.
    fn is_over(&self) -> bool {
        self.workers.values().all(|place| match *place {
            Place::Before(_) => false,
            Place::Finished(at) => at <= self.next,
            Place::Lost => true,
        })
    }

    fn patience_ends(&self) -> Moment {
        Moment::from_secs(u64::from(self.next) + 1) + PATIENCE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: WorkerId = WorkerId(0);
    const B: WorkerId = WorkerId(1);

    fn at(ms: u64) -> Moment {
        Moment::from_millis(ms)
    }

    fn closed(interval: u32, reported: u32, expected: u32) -> Closed {
        Closed {
            interval,
            reported,
            expected,
        }
    }

    #[test]
    fn it_advances_when_every_live_worker_has_committed() {
        let mut mark = Watermark::new([A, B], 0);
        mark.committed(A, 1, false);
        assert_eq!(mark.poll(at(2_000)), None);
        mark.committed(B, 0, false);
        assert_eq!(mark.poll(at(2_000)), Some(closed(0, 2, 2)));
        assert_eq!(mark.poll(at(2_000)), None);
        assert_eq!(mark.deadline(), Some(at(5_000)));
    }

    #[test]
    fn it_knows_without_looking_when_nobody_is_waited_for() {
        let mut mark = Watermark::new([A, B], 0);
        let mut rng = barrage_model::rng::Rng::from_seed(5);
        let mut next = [0u32; 2];
        for step in 0..2_000u64 {
            let worker = rng.below(2) as usize;
            match rng.below(20) {
                0 => mark.lost(WorkerId(worker as u32)),
                1 => {
                    let _closed = mark.poll(at(step * 40));
                }
                choice => {
                    mark.committed(WorkerId(worker as u32), next[worker], choice == 2 && step > 1_900);
                    next[worker] += 1;
                }
            }
            let complete = mark.is_complete();
            let closed = mark.clone().poll(Moment::ZERO);
            assert_eq!(complete, closed.is_some(), "step {step}: {mark:?}");
        }
    }

    #[test]
    fn it_waits_three_seconds_and_no_longer() {
        let mut mark = Watermark::new([A, B], 0);
        mark.committed(A, 5, false);
        assert_eq!(mark.poll(at(3_999)), None);
        assert_eq!(mark.poll(at(4_000)), Some(closed(0, 1, 2)));
        assert_eq!(mark.poll(at(4_999)), None);
        assert_eq!(mark.poll(at(5_000)), Some(closed(1, 1, 2)));
    }

    #[test]
    fn lost_and_finished_workers_are_not_waited_for() {
        let mut mark = Watermark::new([A, B], 0);
        mark.committed(A, 0, false);
        mark.lost(B);
        assert_eq!(mark.poll(at(1_000)), Some(closed(0, 1, 1)));
        mark.committed(B, 3, false);
        mark.committed(A, 1, true);
        assert_eq!(mark.poll(at(4_000)), Some(closed(1, 2, 2)));
        assert_eq!(mark.poll(at(4_000)), Some(closed(2, 1, 1)));
        mark.committed(B, 3, true);
        assert_eq!(mark.poll(at(4_000)), Some(closed(3, 1, 1)));
        assert_eq!(mark.poll(at(60_000)), None);
        assert_eq!(mark.deadline(), None);
    }

    #[test]
    fn a_restarted_coordinator_goes_on() {
        let mut mark = Watermark::new([A], 7);
        mark.committed(A, 7, false);
        assert_eq!(mark.poll(at(0)), Some(closed(7, 1, 1)));
        assert_eq!(mark.next(), 8);
        mark.join(B);
        assert_eq!(mark.deadline(), Some(at(12_000)));
    }
}
