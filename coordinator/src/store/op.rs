//! What can be written.

use std::collections::BTreeMap;

use barrage_metrics::{ClockOffset, Loss, StopCause, StopDecision, Verdict};
use barrage_model::ids::{Incarnation, LoadId, RunId, ShardId, WorkerId};
use barrage_model::phase::Marks;
use barrage_model::schedule::Epoch;
use barrage_model::time::Moment;
use barrage_proto::v1;

use super::{Hash, StoreError};
use crate::machine::run::Record;

/// A run that has been accepted.
#[derive(Clone, Debug)]
pub struct NewRun {
    /// Its id.
    pub id: RunId,
    /// The plan's name.
    pub name: String,
    /// Seed of everything random.
    pub seed: u64,
    /// SHA-256 of the plan's text, hexadecimal.
    pub plan_hash: String,
    /// Version of this program.
    pub version: String,
    /// Labels given at submission.
    pub labels: BTreeMap<String, String>,
    /// The files it names.
    pub files: Vec<Hash>,
    /// The plan, without values of secrets.
    pub plan: v1::Plan,
    /// `--accept-invalid`.
    pub accept_invalid: bool,
    /// Wall-clock seconds since 1970.
    pub submitted_s: i64,
}

/// A worker as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredWorker {
    /// Its number.
    pub id: WorkerId,
    /// Its process.
    pub incarnation: Incarnation,
    /// Its name.
    pub name: String,
    /// Its first shard.
    pub first_shard: ShardId,
    /// Its shards.
    pub shards: u32,
    /// Its cores.
    pub cores: u32,
    /// Its clock.
    pub offset: Option<ClockOffset>,
}

/// A run has got its workers.
#[derive(Clone, Debug)]
pub struct Assigned {
    /// The workers in order of their numbers.
    pub workers: Vec<StoredWorker>,
    /// The schedule.
    pub epochs: Vec<(LoadId, Epoch)>,
    /// The marks.
    pub marks: Marks,
    /// Planned totals by load; `None` for closed loads.
    pub scheduled: Vec<Option<u64>>,
}

/// A run is over.
#[derive(Clone, Debug, Default)]
pub struct Ended {
    /// `false` for a run that never made an arrival.
    pub ran: bool,
    /// One sentence when it did not run.
    pub detail: String,
    /// What it is worth.
    pub verdict: Option<Verdict>,
    /// The exit code of who followed it.
    pub exit_code: u8,
    /// Run time of its end.
    pub end: Moment,
    /// Iterations begun.
    pub started: u64,
    /// Why it ended before its plan did.
    pub stop: Option<(StopCause, Moment, String)>,
    /// The SLA that stopped it.
    pub stop_sla: Option<StopDecision>,
    /// What lost workers left behind.
    pub losses: Vec<Loss>,
    /// Lost workers, those without losses included.
    pub lost: Vec<(WorkerId, Incarnation)>,
    /// Totals by load as they are in the end.
    pub scheduled: BTreeMap<LoadId, u64>,
    /// Clock offsets at the end.
    pub offsets: BTreeMap<WorkerId, ClockOffset>,
}

/// Which finished runs to remove.
#[derive(Clone, Copy, Debug, Default)]
pub struct Prune {
    /// Keep at most this many, the newest.
    pub keep: Option<u32>,
    /// Remove those submitted before this wall-clock second.
    pub before_s: Option<i64>,
}

/// Something to be written.
pub enum Op {
    /// A new run.
    New(Box<NewRun>),
    /// A run has got its workers.
    Assigned(RunId, Box<Assigned>),
    /// A run's machine wants this kept; the number is its ticket.
    Record(RunId, u64, Record),
    /// The wall-clock time of run time zero, for display.
    Started(RunId, String),
    /// A run is over.
    Ended(RunId, Box<Ended>),
    /// Remove a run; answers whether it was there.
    Remove(RunId, Answer<bool>),
    /// Remove finished runs; answers how many.
    Prune(Prune, Answer<u32>),
    /// Answers when everything before is on the disk.
    Flush(Answer<()>),
}

/// What is called with the result once it is on the disk.
pub type Answer<T> = Box<dyn FnOnce(Result<T, StoreError>) + Send>;
