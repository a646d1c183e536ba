//! What the store keeps: counts by worker, sketches merged over workers.

use std::collections::BTreeMap;

use barrage_model::delta::{Delta, SketchKey, SketchRow};
use barrage_model::ids::{Incarnation, WorkerId};

use crate::pile::Pile;
use crate::series::Sum as _;

/// One interval of one commit: everything that was committed for it together. An interval may have several records;
/// together, in the order of their commits, they say what the deltas said.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct IntervalRecord {
    /// The interval.
    pub interval: u32,
    /// Latency sketches, merged over the deltas, in order of the key.
    pub sketches: Vec<SketchRow>,
    /// Each delta without its sketches, in order of worker, incarnation and sequence number.
    pub parts: Vec<WorkerPart>,
}

/// A delta without its sketches.
#[derive(Clone, Debug, PartialEq)]
pub struct WorkerPart {
    /// Whose.
    pub worker: WorkerId,
    /// Of which process.
    pub incarnation: Incarnation,
    /// Its interval is that of the record; its `sketches` are empty.
    pub delta: Delta,
}

/// The records of one commit, as they are gathered.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    intervals: BTreeMap<u32, Gathered>,
}

#[derive(Clone, Debug, Default)]
struct Gathered {
    sketches: BTreeMap<SketchKey, Pile>,
    parts: BTreeMap<(WorkerId, Incarnation, u64), Delta>,
}

impl Batch {
    /// An empty batch.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether nothing has been gathered.
    pub fn is_empty(&self) -> bool {
        self.intervals.is_empty()
    }

    /// Adds a delta that a ledger has taken ([`super::Applied::Merged`]); one that is already here is left out.
    pub fn add(&mut self, worker: WorkerId, incarnation: Incarnation, delta: &Delta) {
        let into = self.intervals.entry(delta.interval).or_default();
        let key = (worker, incarnation, delta.seq);
        if into.parts.contains_key(&key) {
            return;
        }
        for SketchRow { key, sketch } in &delta.sketches {
            into.sketches.entry(*key).or_default().add(sketch);
        }
        into.parts.insert(key, without_sketches(delta));
    }

    /// The records in order of time.
    pub fn into_records(self) -> Vec<IntervalRecord> {
        self.intervals
            .into_iter()
            .map(|(interval, gathered)| IntervalRecord {
                interval,
                sketches: gathered
                    .sketches
                    .into_iter()
                    .map(|(key, sum)| SketchRow {
                        key,
                        sketch: sum.packed(),
                    })
                    .collect(),
                parts: gathered
                    .parts
                    .into_iter()
                    .map(|((worker, incarnation, _), delta)| WorkerPart {
                        worker,
                        incarnation,
                        delta,
                    })
                    .collect(),
            })
            .collect()
    }
}

/// Everything else of a delta. Sketches are most of it, so they are not copied first.
fn without_sketches(delta: &Delta) -> Delta {
    Delta {
        seq: delta.seq,
        interval: delta.interval,
        last: delta.last,
        iterations: delta.iterations.clone(),
        steps: delta.steps.clone(),
        sketches: Vec::new(),
        open: delta.open,
        progress: delta.progress.clone(),
        errors: delta.errors.clone(),
        health: delta.health,
        ended: delta.ended,
        left: delta.left,
    }
}
