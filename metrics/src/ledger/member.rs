//! What the ledger knows of one worker process.

use std::collections::BTreeMap;
use std::ops::Range;

use barrage_model::delta::Delta;
use barrage_model::ids::{LoadId, ShardId, WorkerId};
use barrage_model::ledger::{IterationCounts, Open, StepCounts, check_iterations, check_steps};
use barrage_model::plan::Plan;

use super::history::History;
use crate::catalog::Catalog;
use crate::generator::Tally;
use crate::summary::{GeneratorVerdict, WorkerState};

/// Imbalances kept of one worker; they repeat in every interval.
const INCONSISTENCIES_MAX: usize = 5;

/// A worker that takes part in a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkerInfo {
    /// Its number in the run.
    pub id: WorkerId,
    /// Its name, for reports.
    pub name: String,
    /// The numbers of its shards.
    pub shards: Range<u32>,
    /// Cores of its host that it may use; at least 1.
    pub cores: u32,
}

/// An equation of a ledger that did not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inconsistency {
    /// Whose ledger.
    pub worker: WorkerId,
    /// After which interval.
    pub interval: u32,
    /// The equation with both sides.
    pub text: String,
}

/// Cumulative counts of one worker process.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Member {
    /// Sequence number of its latest delta: the high-water mark. 0 before the first.
    pub high_water: u64,
    /// First interval with its counts.
    pub first_interval: Option<u32>,
    /// Last interval with its counts.
    pub last_interval: Option<u32>,
    /// Working, finished or lost.
    pub state: Option<WorkerState>,
    /// Iterations by load.
    pub iterations: BTreeMap<LoadId, IterationCounts>,
    /// Steps of scenarios.
    pub steps: StepCounts,
    /// Steps of setup and teardown.
    pub once: StepCounts,
    /// What was open after its latest delta.
    pub open: Open,
    /// First owned index that it has neither started nor dropped, by load and shard.
    pub progress: BTreeMap<(LoadId, ShardId), u64>,
    /// Self-health over run time.
    pub health: History,
    /// Self-health judged and summed up.
    pub(crate) tally: Tally,
    /// Of the warm-up alone, as if it was none.
    warm_up: Tally,
    /// It has said that it begins nothing any more.
    has_left: bool,
    /// As it was before the latest intervals, if nothing began or ended in them.
    before_idle: Option<Box<Tally>>,
    pub(crate) inconsistencies: Vec<Inconsistency>,
}

impl Member {
    pub(super) fn is_lost(&self) -> bool {
        self.state == Some(WorkerState::Lost)
    }

    /// Iterations of all loads.
    pub fn iterations_total(&self) -> IterationCounts {
        let mut total = IterationCounts::default();
        self.iterations.values().for_each(|counts| total.add(counts));
        total
    }

    /// Steps of scenarios, setup and teardown.
    pub fn steps_total(&self) -> StepCounts {
        let mut total = self.steps;
        total.add(&self.once);
        total
    }

    /// Adds the counts of one delta, and checks both ledgers.
    pub(crate) fn apply(
        &mut self,
        catalog: &Catalog,
        worker: &WorkerInfo,
        plan: &Plan,
        readings_max: usize,
        delta: &Delta,
    ) {
        self.high_water = delta.seq;
        self.first_interval.get_or_insert(delta.interval);
        self.last_interval = self.last_interval.max(Some(delta.interval));
        for row in &delta.iterations {
            self.iterations.entry(row.load).or_default().add(&row.counts);
        }
        for row in &delta.steps {
            let once = catalog.steps.get(&row.step).is_some_and(crate::catalog::StepInfo::once);
            if once { &mut self.once } else { &mut self.steps }.add(&row.counts);
        }
        self.open = delta.open;
        for place in &delta.progress {
            self.progress.insert((place.load, place.shard), place.next_index);
        }
        if !delta.last || delta.health.covered_us > 0 {
            self.health.add(delta.interval, &delta.health, readings_max);
        }
        self.has_left |= delta.left.is_some();
        if does_something(delta) {
            self.before_idle = None;
        } else if self.before_idle.is_none() {
            self.before_idle = Some(Box::new(self.tally.clone()));
        }
        let warm_up = u64::from(delta.interval) < plan.warm_up.as_secs();
        self.tally.add(delta, worker.cores, warm_up);
        if warm_up {
            self.warm_up.add(delta, worker.cores, false);
        }
        if !self.is_lost() {
            self.state = Some(if delta.last {
                WorkerState::Finished
            } else {
                WorkerState::Running
            });
        }
        self.check(catalog, worker.id, delta);
    }

    /// Self-health that says something of what was measured. A lost worker that comes back and stands down has stood still in
    /// between: what it did not begin then is unsent, and in none of the figures.
    pub(crate) fn judged(&self) -> &Tally {
        let idle = self.before_idle.as_deref().filter(|_| self.is_lost() && self.has_left);
        idle.unwrap_or(&self.tally)
    }

    /// What would be said of it if there was nothing but the warm-up, judged as the rest is.
    pub(crate) fn warm_up_verdict(&self) -> GeneratorVerdict {
        self.warm_up.verdict()
    }

    fn check(&mut self, catalog: &Catalog, worker: WorkerId, delta: &Delta) {
        let open_started = self.started_scheduled(catalog);
        let mut found: Vec<String> = Vec::new();
        let iterations = check_iterations(&self.iterations_total(), open_started, &self.open);
        found.extend(iterations.err().map(|imbalance| imbalance.to_string()));
        found.extend(
            check_steps(&self.steps_total(), &self.open)
                .err()
                .map(|imbalance| imbalance.to_string()),
        );
        // What waits may be left to the coordinator: the end of the run looks at that.
        if delta.last && (self.open.in_progress, self.open.in_flight) != (0, 0) {
            found.push(format!(
                "the last interval leaves {} iterations in progress and {} steps in flight",
                self.open.in_progress, self.open.in_flight
            ));
        }
        for text in found {
            if self.inconsistencies.len() < INCONSISTENCIES_MAX {
                self.inconsistencies.push(Inconsistency {
                    worker,
                    interval: delta.interval,
                    text,
                });
            }
        }
    }

    /// Iterations begun by open models and counted loads.
    pub(crate) fn started_scheduled(&self, catalog: &Catalog) -> u64 {
        let scheduled = |load: &LoadId| catalog.scheduled.get(usize::from(load.0)).copied().unwrap_or(false);
        let of_scheduled = self.iterations.iter().filter(|(load, _)| scheduled(load));
        of_scheduled.fold(0, |sum, (_, counts)| sum.saturating_add(counts.started))
    }
}

/// Whether anything began, ended or was given up in a delta's interval.
pub(super) fn does_something(delta: &Delta) -> bool {
    let iterations = |counts: &IterationCounts| counts.started > 0 || counts.ended() > 0 || counts.dropped_total() > 0;
    let steps = |counts: &StepCounts| counts.attempted > 0 || counts.ended() > 0;
    delta.iterations.iter().any(|row| iterations(&row.counts)) || delta.steps.iter().any(|row| steps(&row.counts))
}
