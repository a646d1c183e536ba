//! What a shard hands to the control side for one interval, and how the shards' parts become one delta.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use barrage_model::delta::{
    Delta, ERROR_SAMPLES_MAX, ErrorSample, Health, IterationRow, Measure, Progress, Shortages, SketchKey, SketchRow,
    StepRow, Subject,
};
use barrage_model::ids::{LoadId, ScenarioId, SegmentId, StepId, TagId};
use barrage_model::ledger::{IterationCounts, Open, StepCounts};
use barrage_model::outcome::OutcomeGroup;
use barrage_model::sketch::Sketch;
use barrage_model::time::Moment;

use super::lag::Lags;
use super::table::Interval;
use crate::net::PortsUsed;

/// The connections of a shard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Connected {
    /// Those that are open.
    pub open: u32,
    /// What they use of the local ports.
    pub ports: PortsUsed,
}

/// One closed interval of one shard.
#[derive(Debug)]
pub struct Part {
    /// Number of the interval.
    pub interval: u32,
    /// What is open at its end.
    pub open: Open,
    /// The shard's place in its schedules at its end.
    pub progress: Vec<Progress>,
    /// Longest time that the shard's loop went unpolled, µs; filled in by the shard.
    pub poll_delay_max_us: u64,
    /// Time for which the shard stood still, µs; filled in by the shard.
    pub stood_us: u64,
    /// Time that the shard spent looking at the clock, µs; filled in by the shard.
    pub spun_us: u64,
    /// Run time from which on the shard has begun nothing, since it was told to stand down; filled in by the shard.
    pub left: Option<Moment>,
    /// The lag (p99) of arrivals that fell due in the interval and were noticed after it, µs; filled in by the shard.
    pub unseen_lag_us: u64,
    /// Open connections to targets; filled in by the shard.
    pub connected: Connected,
    /// Slots that exist; filled in by the shard.
    pub slots: u32,
    counts: Interval,
}

impl Part {
    pub(super) fn new(interval: u32, counts: Interval, open: Open, progress: Vec<Progress>) -> Self {
        Self {
            interval,
            open,
            progress,
            poll_delay_max_us: 0,
            stood_us: 0,
            unseen_lag_us: 0,
            spun_us: 0,
            left: None,
            connected: Connected::default(),
            slots: 0,
            counts,
        }
    }
}

/// The parts of all shards for one interval, or for several that were closed together.
#[derive(Debug)]
pub struct Merged {
    interval: u32,
    open: Open,
    progress: Vec<Progress>,
    poll_delay_max_us: u64,
    stood_us: u64,
    unseen_lag_us: u64,
    connected: Connected,
    slots: u32,
    own_lag: Lags,
    held_lag: Option<Lags>,
    spun_us: u64,
    shortages: Shortages,
    iterations: BTreeMap<(LoadId, ScenarioId, SegmentId), IterationCounts>,
    steps: BTreeMap<(StepId, TagId, SegmentId), StepCounts>,
    sketches: BTreeMap<SketchKey, Sketch>,
    errors: Vec<ErrorSample>,
    ended: Option<Moment>,
    left: Option<Moment>,
}

impl Merged {
    /// Nothing yet, for the interval with this number.
    pub fn new(interval: u32) -> Self {
        Self {
            interval,
            open: Open::default(),
            progress: Vec::new(),
            poll_delay_max_us: 0,
            stood_us: 0,
            unseen_lag_us: 0,
            connected: Connected::default(),
            slots: 0,
            own_lag: Lags::new(),
            held_lag: None,
            spun_us: 0,
            shortages: Shortages::default(),
            iterations: BTreeMap::new(),
            steps: BTreeMap::new(),
            sketches: BTreeMap::new(),
            errors: Vec::new(),
            ended: None,
            left: None,
        }
    }

    /// Adds one shard's part.
    pub fn add(&mut self, part: Part) {
        self.open.waiting += part.open.waiting;
        self.open.in_progress += part.open.in_progress;
        self.open.in_flight += part.open.in_flight;
        self.progress.extend(part.progress);
        self.poll_delay_max_us = self.poll_delay_max_us.max(part.poll_delay_max_us);
        self.stood_us = self.stood_us.max(part.stood_us);
        self.unseen_lag_us = self.unseen_lag_us.max(part.unseen_lag_us);
        self.connected.open += part.connected.open;
        self.connected.ports.add(part.connected.ports);
        self.slots += part.slots;
        self.own_lag.add(&part.counts.own_lag);
        if let Some(held) = &part.counts.held_lag {
            self.held_lag.get_or_insert_with(Lags::new).add(held);
        }
        self.spun_us = self.spun_us.max(part.spun_us);
        self.shortages.add(&part.counts.shortages);
        self.ended = self.ended.max(part.counts.ended);
        self.left = self.left.into_iter().chain(part.left).min();
        let scenarios = part.counts.scenarios_max();
        for cells in part.counts.segments {
            let segment = cells.segment;
            for (at, counts) in cells.iterations.into_iter().enumerate() {
                if counts != IterationCounts::default() {
                    let key = (
                        LoadId((at / scenarios) as u16),
                        ScenarioId((at % scenarios) as u16),
                        segment,
                    );
                    self.iterations.entry(key).or_default().add(&counts);
                }
            }
            for (scenario, sketches) in cells.scenarios.into_iter().enumerate() {
                let subject = Subject::Scenario(ScenarioId(scenario as u16));
                self.add_sketches(sketches.into_iter(), subject, TagId(0), segment);
            }
            for (step, tags) in cells.steps.into_iter().enumerate() {
                for (tag, cells) in tags
                    .into_iter()
                    .enumerate()
                    .filter_map(|(tag, cell)| Some((tag, cell?)))
                {
                    let (step, tag) = (StepId(step as u32), TagId(tag as u16));
                    if cells.counts != StepCounts::default() {
                        self.steps.entry((step, tag, segment)).or_default().add(&cells.counts);
                    }
                    self.add_sketches(cells.sketches.into_iter(), Subject::Step(step), tag, segment);
                }
            }
        }
        let room = ERROR_SAMPLES_MAX.saturating_sub(self.errors.len());
        self.errors.extend(part.counts.errors.into_iter().take(room));
    }

    /// The delta, with the worker's own state beside it.
    pub fn into_delta(mut self, seq: u64, last: bool, health: Health) -> Delta {
        self.shortages.add(&health.shortages);
        let health = Health {
            shard_busy_max_us: health.shard_busy_max_us.saturating_sub(self.spun_us),
            ..health
        };
        // Whoever waits for a slot of a shard that has no time left waits for the shard.
        if let Some(held) = self.held_lag.filter(|_| health.is_saturated()) {
            self.own_lag.add(&held);
        }
        let Connected {
            open: connections,
            ports,
        } = self.connected;
        // Those that wait are of all addresses alike.
        let waiting = health.ports.div_ceil(ports.addresses.max(1));
        let rows = self.iterations.into_iter();
        let steps = self.steps.into_iter();
        let sketches = self.sketches.into_iter();
        Delta {
            seq,
            interval: self.interval,
            last,
            iterations: rows
                .map(|((load, scenario, segment), counts)| IterationRow {
                    load,
                    scenario,
                    segment,
                    counts,
                })
                .collect(),
            steps: steps
                .map(|((step, tag, segment), counts)| StepRow {
                    step,
                    tag,
                    segment,
                    counts,
                })
                .collect(),
            sketches: sketches
                .map(|(key, sketch)| SketchRow {
                    key,
                    sketch: sketch.pack(),
                })
                .collect(),
            open: self.open,
            progress: self.progress,
            errors: self.errors,
            health: Health {
                dispatch_lag_p99_us: self.own_lag.p99_us().max(self.unseen_lag_us),
                poll_delay_max_us: self.poll_delay_max_us,
                stood_us: self.stood_us,
                connections,
                slots: self.slots,
                // One that the system would not give says that all are taken, those included that it could use again soon.
                ports: if ports.ran_out {
                    health.ports_max.max(ports.fullest)
                } else {
                    // Those that wait may be somebody else's, and lead to where this worker does not.
                    let used = waiting.saturating_add(ports.fullest);
                    used.min(health.ports_max.max(ports.fullest))
                },
                // Where the kernel does not say how many are open, they are counted up to a limit only.
                descriptors: health.descriptors.max(connections),
                shortages: self.shortages,
                ..health
            },
            ended: self.ended,
            left: self.left,
        }
    }

    fn add_sketches(
        &mut self,
        sketches: impl Iterator<Item = (Measure, OutcomeGroup, Sketch)>,
        subject: Subject,
        tag: TagId,
        segment: SegmentId,
    ) {
        for (measure, group, sketch) in sketches {
            let key = SketchKey {
                subject,
                measure,
                group,
                tag,
                segment,
            };
            match self.sketches.entry(key) {
                Entry::Vacant(place) => {
                    place.insert(sketch);
                }
                Entry::Occupied(mut sum) => {
                    let merged = sum.get_mut().merge(&sketch.pack());
                    merged.expect("the samples of a few intervals stay far below the limit of a sketch");
                }
            }
        }
    }
}
