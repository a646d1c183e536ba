//! The merged state of a run: a function of the set of deltas, whatever their order.

mod ends;
mod errors;
mod history;
mod holes;
mod member;
pub(crate) mod past;
mod record;
mod seen;
mod sketches;
pub(crate) mod slot;
mod sums;
#[cfg(test)]
pub(crate) mod tests;

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use barrage_model::delta::{Delta, SketchRow, Subject};
use barrage_model::ids::{Incarnation, LoadId, ScenarioId, SegmentId, StepId, TagId, WorkerId};
use barrage_model::ledger::{IterationCounts, StepCounts};
use barrage_model::phase::Marks;
use barrage_model::plan::{LoadModel, Plan};
use barrage_model::sketch::COUNT_MAX;
use barrage_model::time::Moment;

pub(crate) use ends::{Ends, Reach};
pub use errors::ERRORS_MAX;
pub use history::{History, Reading};
pub use member::{Inconsistency, Member, WorkerInfo};
pub use record::{Batch, IntervalRecord, WorkerPart};
pub(crate) use sketches::{FoldedKind, Sketches};
pub use slot::{DETAIL_BYTES_MAX, FINE_INTERVALS, MIDDLE_INTERVALS};
pub(crate) use sums::{Undivided, take_iterations, take_steps};

use crate::catalog::Catalog;
use crate::generator;
use crate::series::{ROWS_MAX, Series};
use crate::sla::window_length;
use crate::summary::{RunEvent, WorkerState};
use errors::Errors;
use slot::{MemberKey, Timeline};

/// Most intervals of a run: eight days.
pub const INTERVALS_MAX: u32 = 691_200;
/// Intervals for which a worker that says nothing is waited for where a run is gone through again: fewer than are kept apart
/// beyond the longest window.
const WAIT_MAX: u32 = 5;
/// Most events that a run keeps; the earliest win.
pub const EVENTS_MAX: usize = 10_000;

/// What a ledger must know beforehand.
#[derive(Clone, Debug)]
pub struct LedgerConfig {
    /// The plan: its steps, scenarios, loads and tags are the only ones a delta may name.
    pub plan: Arc<Plan>,
    /// The marks.
    pub marks: Marks,
    /// The workers that take part.
    pub workers: Vec<WorkerInfo>,
    /// Arrivals that the schedule asks for, by load, whatever the workers say; `unsent` and `unknown` ones included.
    /// For open models and counted loads only. [`Ledger::set_scheduled`] corrects it.
    pub scheduled: BTreeMap<LoadId, u64>,
}

/// What became of a delta.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applied {
    /// It is part of the state now.
    Merged,
    /// It was already: nothing has changed.
    Duplicate,
}

/// Why a delta was not taken; the state is unchanged.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejected {
    /// The run has no such worker.
    #[error("worker {0} does not take part in the run")]
    Worker(WorkerId),
    /// A delta before it is missing.
    #[error("delta {found} came where delta {expected} is due")]
    Gap {
        /// The next one in order.
        expected: u64,
        /// The one that came.
        found: u64,
    },
    /// Sequence numbers begin at 1.
    #[error("a delta has no sequence number")]
    NoSequence,
    /// Beyond [`INTERVALS_MAX`], or before the interval of the delta before.
    #[error("interval {found} is not between {least} and {most}")]
    Interval {
        /// The one that came.
        found: u32,
        /// The lowest possible.
        least: u32,
        /// The highest possible.
        most: u32,
    },
    /// A row names something that the plan or the marks do not have.
    #[error("the run has no {kind} {id}")]
    Unknown {
        /// `load`, `scenario`, `step`, `tag`, `segment` or `shard of this worker`.
        kind: &'static str,
        /// Its number.
        id: u64,
    },
    /// A group sends nothing itself, so it has no counts.
    #[error("step {0} is a group and cannot have counts")]
    Group(StepId),
    /// A stored record holds a delta that another one has held already.
    #[error("delta {seq} of worker {worker} is stored twice")]
    Repeated {
        /// Whose.
        worker: WorkerId,
        /// Which.
        seq: u64,
    },
    /// More samples than a sketch can count.
    #[error("the run would have more than 2^53 samples")]
    Samples,
}

/// A lost worker's arrivals of one load. Recorded again for the same worker and load, it replaces the earlier record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loss {
    /// The worker.
    pub worker: WorkerId,
    /// The process that was lost.
    pub incarnation: Incarnation,
    /// The load.
    pub load: LoadId,
    /// Due after its last committed delta and up to its grant's end: sent or not, nobody knows. Arrivals that it last
    /// reported as waiting are among them. None if it has told of all that it began.
    pub unknown: u64,
    /// Not sent: due later, or told by the worker itself to be left; those that it last reported as waiting are among them
    /// then.
    pub unsent: u64,
    /// When the first of those fell due, where that is known.
    pub unsent_from: Option<Moment>,
}

type IterationKey = (LoadId, ScenarioId, SegmentId);
type StepKey = (StepId, TagId, SegmentId);
/// What remains of a key in `other`: whether it stays out of the totals, and the segment.
type FoldedStep = (bool, SegmentId);
/// Everything that has been counted in a run.
#[derive(Clone, Debug)]
pub struct Ledger {
    plan: Arc<Plan>,
    catalog: Arc<Catalog>,
    marks: Marks,
    workers: BTreeMap<WorkerId, WorkerInfo>,
    scheduled: BTreeMap<LoadId, u64>,
    pub(crate) members: BTreeMap<MemberKey, Member>,
    pub(crate) iterations: Series<IterationKey, (LoadId, SegmentId), IterationCounts>,
    pub(crate) steps: Series<StepKey, FoldedStep, StepCounts>,
    pub(crate) undivided: Undivided,
    pub(crate) reach: Reach,
    pub(crate) sketches: Sketches,
    pub(crate) timeline: Timeline,
    pub(crate) errors: Errors,
    losses: BTreeMap<(MemberKey, LoadId), Loss>,
    events: Vec<RunEvent>,
    samples: u64,
    /// By interval, what [`generator::invalidating`] says of the workers that did something in it; nothing where it says nothing.
    strained: BTreeMap<u32, u32>,
    /// What has been seen of the loads that are over as soon as so many iterations are done.
    counted: BTreeMap<LoadId, Counted>,
    /// When the load ended, where that is known better than from the plan.
    load_end: Option<Moment>,
    end: Option<Moment>,
}

/// What has been seen of a counted load.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counted {
    /// Iterations that have ended.
    ended: u64,
    /// The interval after the last one in which an iteration began or ended.
    until: u32,
}

impl PartialEq for Ledger {
    /// Equal plans and equal counts.
    fn eq(&self, other: &Self) -> bool {
        self.catalog == other.catalog
            && self.marks == other.marks
            && self.workers == other.workers
            && self.scheduled == other.scheduled
            && self.members == other.members
            && self.iterations == other.iterations
            && self.steps == other.steps
            && self.undivided == other.undivided
            && self.reach == other.reach
            && self.sketches == other.sketches
            && self.timeline == other.timeline
            && self.errors == other.errors
            && self.losses == other.losses
            && self.events == other.events
            && self.samples == other.samples
            && self.strained == other.strained
            && self.counted == other.counted
            && self.load_end == other.load_end
            && self.end == other.end
    }
}

impl Ledger {
    /// An empty ledger.
    pub fn new(config: LedgerConfig) -> Self {
        let longest_window = config.plan.sla.iter().filter_map(window_length).max();
        let catalog = Arc::new(Catalog::of(&config.plan));
        let mut timeline = Timeline::new(Arc::clone(&catalog), longest_window.unwrap_or(0));
        config.marks.iter().for_each(|mark| timeline.divide(mark.at));
        config.plan.loads.iter().for_each(|load| timeline.divide(load.end()));
        Self {
            timeline,
            catalog,
            counted: BTreeMap::new(),
            load_end: None,
            plan: config.plan,
            marks: config.marks,
            workers: config.workers.into_iter().map(|worker| (worker.id, worker)).collect(),
            scheduled: config.scheduled,
            members: BTreeMap::new(),
            iterations: Series::new(ROWS_MAX),
            steps: Series::new(ROWS_MAX),
            undivided: Undivided::default(),
            reach: Reach::default(),
            sketches: Sketches::default(),
            errors: Errors::default(),
            losses: BTreeMap::new(),
            events: Vec::new(),
            samples: 0,
            strained: BTreeMap::new(),
            end: None,
        }
    }

    /// A ledger with everything that the store has kept, in the order of the commits.
    ///
    /// Losses, events, the run's end and further marks are not part of the records: they are given again.
    ///
    /// # Errors
    /// The first record that does not fit the plan or comes out of order.
    pub fn restore<'a>(
        config: LedgerConfig,
        records: impl IntoIterator<Item = &'a IntervalRecord>,
    ) -> Result<Self, Rejected> {
        Self::restore_seen(config, records, None, |_| {})
    }

    /// As [`Ledger::restore`], with a look at what there is after each record, as who was there had it: seconds that lie far
    /// back are kept together. `stopped` is when the load was cut short.
    ///
    /// # Errors
    /// As [`Ledger::restore`].
    pub fn restore_seen<'a>(
        config: LedgerConfig,
        records: impl IntoIterator<Item = &'a IntervalRecord>,
        stopped: Option<Moment>,
        mut look: impl FnMut(&Self),
    ) -> Result<Self, Rejected> {
        let mut ledger = Self::new(config);
        if let Some(at) = stopped {
            ledger.cut_load(at);
        }
        for record in records {
            ledger.check_sketches(&record.sketches)?;
            for part in &record.parts {
                let applied = ledger.apply(part.worker, part.incarnation, &part.delta)?;
                if applied == Applied::Duplicate {
                    return Err(Rejected::Repeated {
                        worker: part.worker,
                        seq: part.delta.seq,
                    });
                }
            }
            ledger.merge_sketches(record.interval, &record.sketches);
            look(&ledger);
        }
        Ok(ledger)
    }

    /// Merges one delta of one worker process. Applying it again changes nothing.
    ///
    /// # Errors
    /// Why it was not taken; the state is then unchanged.
    pub fn apply(&mut self, worker: WorkerId, incarnation: Incarnation, delta: &Delta) -> Result<Applied, Rejected> {
        let info = self.workers.get(&worker).ok_or(Rejected::Worker(worker))?;
        let key = (worker, incarnation);
        let known = self.members.get(&key);
        let expected = known.map_or(0, |member| member.high_water) + 1;
        match delta.seq {
            0 => return Err(Rejected::NoSequence),
            found if found < expected => return Ok(Applied::Duplicate),
            found if found > expected => return Err(Rejected::Gap { expected, found }),
            _ => {}
        }
        let least = known.and_then(|member| member.last_interval).unwrap_or(0);
        if !(least..INTERVALS_MAX).contains(&delta.interval) {
            return Err(Rejected::Interval {
                found: delta.interval,
                least,
                most: INTERVALS_MAX - 1,
            });
        }
        self.check_rows(info, delta)?;
        self.check_sketches(&delta.sketches)?;

        let readings_max = history::readings_max(self.workers.len());
        self.members
            .entry(key)
            .or_default()
            .apply(&self.catalog, info, &self.plan, readings_max, delta);
        let strain = generator::invalidating(&delta.health, info.cores);
        if strain != 0 && member::does_something(delta) {
            *self.strained.entry(delta.interval).or_default() |= strain;
        }
        for row in &delta.iterations {
            let key = (row.load, row.scenario, row.segment);
            self.iterations.add(key, &row.counts, |key| (key.0, key.2));
            let load = self.plan.loads.get(usize::from(row.load.0));
            let asked = load.and_then(|load| match &load.model {
                LoadModel::Iterations(asked) => Some(asked.count),
                _ => None,
            });
            if let Some(asked) = asked
                && row.counts.started.saturating_add(row.counts.ended()) > 0
            {
                let counted = self.counted.entry(row.load).or_default();
                counted.ended = counted.ended.saturating_add(row.counts.ended());
                counted.until = counted.until.max(delta.interval + 1);
                if counted.ended >= asked {
                    self.timeline.divide(Moment::from_secs(counted.until.into()));
                }
            }
        }
        let catalog = &self.catalog;
        for row in &delta.steps {
            let key = (row.step, row.tag, row.segment);
            self.steps.add(key, &row.counts, |key| {
                (
                    catalog.steps.get(&key.0).is_some_and(crate::catalog::StepInfo::once),
                    key.2,
                )
            });
        }
        self.undivided.add(delta);
        self.reach.add(delta);
        self.timeline.add_counts(key, delta);
        delta.errors.iter().for_each(|sample| self.errors.add(worker, sample));
        self.merge_sketches(delta.interval, &delta.sketches);
        Ok(Applied::Merged)
    }

    fn merge_sketches(&mut self, interval: u32, rows: &[SketchRow]) {
        for SketchRow { key, sketch } in rows {
            self.samples += sketch.count();
            self.sketches.add(&self.catalog, key, sketch);
        }
        if !rows.is_empty() {
            self.timeline.add_sketches(interval, rows);
        }
    }

    fn check_rows(&self, worker: &WorkerInfo, delta: &Delta) -> Result<(), Rejected> {
        for row in &delta.iterations {
            self.check_load(row.load)?;
            self.check_scenario(row.scenario)?;
            self.check_segment(row.segment)?;
        }
        for row in &delta.steps {
            if self.check_step(row.step)? {
                return Err(Rejected::Group(row.step));
            }
            self.check_tag(row.tag)?;
            self.check_segment(row.segment)?;
        }
        for place in &delta.progress {
            self.check_load(place.load)?;
            if !worker.shards.contains(&place.shard.0) {
                return Err(Rejected::Unknown {
                    kind: "shard of this worker",
                    id: place.shard.0.into(),
                });
            }
        }
        delta
            .errors
            .iter()
            .try_for_each(|sample| self.check_step(sample.step).map(drop))
    }

    fn check_sketches(&self, rows: &[SketchRow]) -> Result<(), Rejected> {
        let mut samples = self.samples;
        for row in rows {
            match row.key.subject {
                Subject::Step(step) => drop(self.check_step(step)?),
                Subject::Scenario(scenario) => self.check_scenario(scenario)?,
            }
            self.check_tag(row.key.tag)?;
            self.check_segment(row.key.segment)?;
            samples = samples.saturating_add(row.sketch.count());
        }
        if samples > COUNT_MAX {
            Err(Rejected::Samples)
        } else {
            Ok(())
        }
    }

    /// Whether the step is a group.
    fn check_step(&self, id: StepId) -> Result<bool, Rejected> {
        let unknown = Rejected::Unknown {
            kind: "step",
            id: id.0.into(),
        };
        self.catalog
            .steps
            .get(&id)
            .map(crate::catalog::StepInfo::group)
            .ok_or(unknown)
    }

    fn check_load(&self, id: LoadId) -> Result<(), Rejected> {
        exists("load", id.0.into(), self.plan.loads.len())
    }

    fn check_scenario(&self, id: ScenarioId) -> Result<(), Rejected> {
        exists("scenario", id.0.into(), self.plan.scenarios.len())
    }

    fn check_tag(&self, id: TagId) -> Result<(), Rejected> {
        exists("tag", id.0.into(), self.catalog.tags.len())
    }

    fn check_segment(&self, id: SegmentId) -> Result<(), Rejected> {
        exists("segment", id.0.into(), self.marks.len())
    }
}

fn exists(kind: &'static str, id: u64, known: usize) -> Result<(), Rejected> {
    if id < known as u64 {
        Ok(())
    } else {
        Err(Rejected::Unknown { kind, id })
    }
}

/// What is given besides deltas, and what is kept.
impl Ledger {
    /// The plan.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    pub(crate) fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    /// The marks.
    pub fn marks(&self) -> &Marks {
        &self.marks
    }

    /// The workers, by number.
    pub fn workers(&self) -> impl Iterator<Item = &WorkerInfo> {
        self.workers.values()
    }

    /// Corrects how many arrivals the schedule asks for: after a change of rate, or when a run stops early.
    pub fn set_scheduled(&mut self, load: LoadId, arrivals: u64) {
        self.scheduled.insert(load, arrivals);
    }

    /// Arrivals that the schedule asks for, where it is known.
    pub fn scheduled(&self, load: LoadId) -> Option<u64> {
        self.scheduled.get(&load).copied()
    }

    /// Counts of one worker process.
    pub fn member(&self, worker: WorkerId, incarnation: Incarnation) -> Option<&Member> {
        self.members.get(&(worker, incarnation))
    }

    /// Sequence number of the latest delta of a worker process; 0 before the first.
    pub fn high_water(&self, worker: WorkerId, incarnation: Incarnation) -> u64 {
        self.member(worker, incarnation).map_or(0, |member| member.high_water)
    }

    /// Records what a lost worker leaves behind. It is `lost` from then on, even if late deltas still come.
    pub fn record_loss(&mut self, loss: Loss) {
        let member = (loss.worker, loss.incarnation);
        self.losses.insert((member, loss.load), loss);
        self.set_lost(loss.worker, loss.incarnation);
    }

    /// Marks a worker process as lost; for one without open loads, of which there is nothing else to record.
    pub fn set_lost(&mut self, worker: WorkerId, incarnation: Incarnation) {
        self.members.entry((worker, incarnation)).or_default().state = Some(WorkerState::Lost);
    }

    /// What lost workers left behind.
    pub fn losses(&self) -> impl Iterator<Item = &Loss> {
        self.losses.values()
    }

    /// Adds an event; [`EVENTS_MAX`] are kept.
    pub fn add_event(&mut self, event: RunEvent) {
        let place = self.events.partition_point(|other| order_of(other) <= order_of(&event));
        self.events.insert(place, event);
        self.events.truncate(EVENTS_MAX);
    }

    /// The events in order of time.
    pub fn events(&self) -> &[RunEvent] {
        &self.events
    }

    /// Sets the run time at which the last iteration ended.
    pub fn set_end(&mut self, end: Moment) {
        self.end = Some(end);
    }

    /// The run's end, once it is known.
    pub(crate) fn ended_at(&self) -> Option<Moment> {
        self.end
    }

    /// The run's end, or that of the latest interval that anybody has reported.
    pub fn end(&self) -> Moment {
        self.end.unwrap_or(Moment::from_secs(self.timeline.next().into()))
    }

    /// The load ends here if it has not ended before: by an early stop. Rates are over the time before; what comes in after
    /// it is a drain like that after the plan's end.
    pub fn cut_load(&mut self, at: Moment) {
        self.load_end = Some(at.min(self.load_end()));
        self.timeline.divide(at);
    }

    /// When the last arrival falls due, or closed models begin no further iteration; after it only answers come in.
    pub fn load_end(&self) -> Moment {
        let ends = || {
            (0..)
                .zip(&self.plan.loads)
                .map(|(number, load)| self.end_of(LoadId(number), load))
        };
        let end = self.load_end.or_else(|| ends().max()).unwrap_or_default();
        end.min(self.end.unwrap_or(Moment::MAX))
    }

    /// The intervals of a range in which the generator was strained beyond a limit that can make a run invalid; see
    /// [`generator::invalidating`].
    pub(crate) fn strained_within(&self, range: Range<u32>) -> impl Iterator<Item = (u32, u32)> {
        self.strained.range(range).map(|(interval, bits)| (*interval, *bits))
    }

    /// Iterations of one load, as the workers counted them.
    pub fn load_counts(&self, load: LoadId) -> IterationCounts {
        let mut total = IterationCounts::default();
        self.members
            .values()
            .filter_map(|member| member.iterations.get(&load))
            .for_each(|counts| total.add(counts));
        total
    }

    /// First interval that nobody has reported yet.
    pub fn next_interval(&self) -> u32 {
        self.timeline.next()
    }

    /// The processes of one worker: more than one if it was restarted.
    pub(crate) fn processes(&self, worker: WorkerId) -> impl Iterator<Item = (Incarnation, &Member)> {
        let keys = (worker, Incarnation(0))..=(worker, Incarnation(u64::MAX));
        let found = self.members.range(keys);
        found.map(|((_, incarnation), member)| (*incarnation, member))
    }

    /// First interval that not every worker has reported, or not for so long that it is not waited for.
    pub(crate) fn complete_before(&self) -> u32 {
        let reported = |worker: &WorkerId| {
            let mut least = None;
            for (_, member) in self.processes(*worker) {
                let next = match member.state {
                    Some(WorkerState::Running) => member.last_interval.map_or(0, |last| last.saturating_add(1)),
                    _ => u32::MAX,
                };
                least = Some(least.map_or(next, |least: u32| least.min(next)));
            }
            least.unwrap_or(0)
        };
        let least = self.workers.keys().map(reported).min().unwrap_or(0);
        least
            .max(self.next_interval().saturating_sub(WAIT_MAX))
            .min(self.next_interval())
    }

    /// Before this second others are kept together, so that no window over them can be judged any more.
    pub fn forgotten_before(&self) -> u32 {
        self.timeline.fine_from()
    }

    /// First interval after the run: after its end once that is known, and after everything reported until then. The
    /// last reports of workers come in after the last iteration has ended.
    pub(crate) fn intervals(&self) -> u32 {
        let end = self.end.map(|end| end.as_micros().div_ceil(1_000_000));
        let end = end.map_or(u32::MAX, |end| u32::try_from(end).unwrap_or(u32::MAX));
        self.next_interval().min(end)
    }

    /// Every equation that did not hold after some delta.
    pub fn inconsistencies(&self) -> Vec<Inconsistency> {
        self.members
            .values()
            .flat_map(|member| member.inconsistencies.iter().cloned())
            .collect()
    }
}

fn order_of(event: &RunEvent) -> (Moment, &str, Option<WorkerId>, &str) {
    (event.at, &event.kind, event.worker, &event.text)
}
