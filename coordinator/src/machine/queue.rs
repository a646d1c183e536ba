//! Runs that have been submitted and wait for workers, in order of submission.

use std::time::Duration;

use barrage_model::ids::{Incarnation, RunId};
use barrage_model::time::Moment;
use barrage_model::units::format_duration;

use super::fleet::{Demand, Fleet, Shortage};

#[derive(Clone, Debug, PartialEq, Eq)]
enum Standing {
    /// Behind another run, or its workers are held by one: that takes as long as it takes.
    Busy,
    /// Its workers are not there, since then; it gives up some time.
    Absent(Moment),
}

#[derive(Clone, Debug)]
struct Entry {
    run: RunId,
    demand: Demand,
    wait: Duration,
    standing: Standing,
    detail: String,
}

/// What became of a run that waited.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// These workers are its own now.
    Assigned(RunId, Vec<Incarnation>),
    /// It has waited for too long, with the reason.
    GaveUp(RunId, String),
}

/// The queue. A run whose workers are busy holds up those behind it, so that smaller ones do not pass it for ever; one
/// whose workers are not there does not.
#[derive(Clone, Debug, Default)]
pub struct Queue(Vec<Entry>);

impl Queue {
    /// Takes a run in. `wait` is how long its workers may be absent.
    pub fn push(&mut self, now: Moment, run: RunId, demand: Demand, wait: Duration) {
        let detail = "waiting for workers".to_owned();
        self.0.push(Entry {
            run,
            demand,
            wait,
            standing: Standing::Absent(now),
            detail,
        });
    }

    /// Takes a run out; says whether it was there.
    pub fn remove(&mut self, run: RunId) -> bool {
        let before = self.0.len();
        self.0.retain(|entry| entry.run != run);
        self.0.len() < before
    }

    /// `queued` (behind others) or `waiting` (for workers that are not there), and one phrase for the screen.
    pub fn standing(&self, run: RunId) -> Option<(&'static str, &str)> {
        let entry = self.0.iter().find(|entry| entry.run == run)?;
        let word = if entry.standing == Standing::Busy {
            "queued"
        } else {
            "waiting"
        };
        Some((word, &entry.detail))
    }

    /// Why a run with this demand would have to wait now; nothing is reserved.
    pub fn would_wait(&self, fleet: &mut Fleet, run: RunId, demand: &Demand) -> Option<String> {
        if let Some(first) = self.0.first() {
            return Some(format!("run {} waits already", first.run));
        }
        match fleet.reserve(run, demand) {
            Ok(_) => {
                fleet.release(run);
                None
            }
            Err(shortage) => Some(shortage.detail().to_owned()),
        }
    }

    /// Gives out workers, and gives up where it has taken too long.
    pub fn assign(&mut self, now: Moment, fleet: &mut Fleet) -> Vec<Output> {
        let mut outputs = Vec::new();
        let mut held_up = None;
        self.0.retain_mut(|entry| {
            if let Some(first) = held_up {
                entry.standing = Standing::Busy;
                entry.detail = format!("behind run {first}");
                return true;
            }
            match fleet.reserve(entry.run, &entry.demand) {
                Ok(members) => {
                    outputs.push(Output::Assigned(entry.run, members));
                    return false;
                }
                Err(Shortage::Busy(detail)) => {
                    (entry.standing, entry.detail) = (Standing::Busy, detail);
                    held_up = Some(entry.run);
                }
                Err(Shortage::Absent(detail)) => {
                    let since = match entry.standing {
                        Standing::Absent(since) => since,
                        Standing::Busy => now,
                    };
                    if now.since(since) >= entry.wait {
                        let reason = format!("gave up after {} {detail}", format_duration(entry.wait));
                        outputs.push(Output::GaveUp(entry.run, reason));
                        return false;
                    }
                    (entry.standing, entry.detail) = (Standing::Absent(since), detail);
                }
            }
            true
        });
        outputs
    }

    /// When [`Queue::assign`] is due at the latest, although the fleet has not changed.
    pub fn deadline(&self) -> Option<Moment> {
        let limits = self.0.iter().filter_map(|entry| match entry.standing {
            Standing::Absent(since) => Some(since + entry.wait),
            Standing::Busy => None,
        });
        limits.min()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::machine::fleet::{ConnectionId, Hello, Input};

    fn fleet(workers: &[&str]) -> Fleet {
        let mut fleet = Fleet::new(1);
        for (n, role) in (1u64..).zip(workers) {
            let hello = Hello {
                protocol: 1,
                version: String::new(),
                name: format!("w{n}"),
                incarnation: Incarnation(n),
                labels: BTreeMap::from([("role".to_owned(), (*role).to_owned())]),
                shards: 1,
                max_rate: None,
                cores: 1,
                memory_bytes: 0,
                descriptors_max: 0,
                os: String::new(),
                held: None,
            };
            fleet.handle(Moment::ZERO, Input::Hello(ConnectionId(n), Box::new(hello)));
        }
        fleet
    }

    fn demand(min: u32, role: Option<&str>) -> Demand {
        let labels = role.map(|role| ("role".to_owned(), role.to_owned()));
        Demand {
            min,
            max: Some(min),
            labels: labels.into_iter().collect(),
        }
    }

    fn runs(outputs: &[Output]) -> Vec<u64> {
        outputs
            .iter()
            .map(|output| match output {
                Output::Assigned(run, _) | Output::GaveUp(run, _) => run.0,
            })
            .collect()
    }

    fn queue(demands: &[Demand]) -> Queue {
        let mut queue = Queue::default();
        for (n, demand) in (1..).zip(demands) {
            queue.push(Moment::ZERO, RunId(n), demand.clone(), Duration::from_mins(1));
        }
        queue
    }

    #[test]
    fn first_come_first_served_one_run_at_a_time() {
        let mut fleet = fleet(&["eu", "eu"]);
        let mut queue = queue(&[demand(2, None), demand(2, None), demand(1, None)]);
        assert_eq!(runs(&queue.assign(Moment::ZERO, &mut fleet)), [1]);
        let busy = "waiting for 2 of 2 workers, held by other runs";
        assert_eq!(queue.standing(RunId(2)), Some(("queued", busy)));
        assert_eq!(
            queue.standing(RunId(3)),
            Some(("queued", "behind run 0000000000000002"))
        );
        fleet.release(RunId(1));
        assert_eq!(
            runs(&queue.assign(Moment::ZERO, &mut fleet)),
            [2],
            "the third does not pass the second"
        );
        fleet.release(RunId(2));
        assert_eq!(runs(&queue.assign(Moment::ZERO, &mut fleet)), [3]);
    }

    #[test]
    fn a_run_whose_workers_are_absent_holds_up_nobody() {
        let mut fleet = fleet(&["eu"]);
        let mut queue = queue(&[demand(1, Some("us")), demand(1, Some("eu"))]);
        assert_eq!(runs(&queue.assign(Moment::ZERO, &mut fleet)), [2]);
        assert_eq!(
            queue.standing(RunId(1)),
            Some(("waiting", "waiting for 1 of 1 worker with role=us"))
        );
        assert_eq!(queue.deadline(), Some(Moment::from_secs(60)));
        assert_eq!(queue.assign(Moment::from_secs(59), &mut fleet), []);
        let gave_up = queue.assign(Moment::from_secs(60), &mut fleet);
        let reason = "gave up after 1m waiting for 1 of 1 worker with role=us".to_owned();
        assert_eq!(gave_up, [Output::GaveUp(RunId(1), reason)]);
        assert_eq!(queue.deadline(), None);
    }

    #[test]
    fn time_behind_other_runs_does_not_count() {
        let mut fleet = fleet(&["eu"]);
        let mut queue = queue(&[demand(1, None), demand(1, None)]);
        assert_eq!(runs(&queue.assign(Moment::ZERO, &mut fleet)), [1]);
        assert_eq!(queue.assign(Moment::from_secs(500), &mut fleet), []);
        fleet.handle(Moment::from_secs(500), Input::Gone(ConnectionId(1)));
        assert_eq!(queue.assign(Moment::from_secs(500), &mut fleet), []);
        assert_eq!(queue.deadline(), Some(Moment::from_secs(560)));
    }

    #[test]
    fn who_will_not_wait_is_told_why() {
        let mut fleet = fleet(&["eu"]);
        let mut queue = Queue::default();
        assert_eq!(queue.would_wait(&mut fleet, RunId(1), &demand(1, None)), None);
        assert_eq!(
            fleet.worker(Incarnation(1)).and_then(|worker| worker.run),
            None,
            "nothing is reserved"
        );
        let absent = queue.would_wait(&mut fleet, RunId(1), &demand(2, None));
        assert_eq!(absent.as_deref(), Some("waiting for 1 of 2 workers"));
        queue.push(Moment::ZERO, RunId(9), demand(5, None), Duration::ZERO);
        let behind = queue.would_wait(&mut fleet, RunId(1), &demand(1, None));
        assert_eq!(behind.as_deref(), Some("run 0000000000000009 waits already"));
        assert!(queue.remove(RunId(9)) && !queue.remove(RunId(9)));
    }
}
