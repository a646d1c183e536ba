//! The words of a run's machine: what it is made of, told, and wants done.

use std::sync::Arc;

use barrage_metrics::StopCause;
use barrage_model::delta::Delta;
use barrage_model::ids::{Incarnation, LoadId, RunId, WorkerId};
use barrage_model::plan::Plan;
use barrage_model::time::Moment;

use super::Block;
use crate::compile::Compiled;
use crate::machine::offset::Offset;

/// What the run's numbers are merged into and judged by.
pub trait Book {
    /// Takes a delta, exactly once each and in order of its numbers for each worker.
    ///
    /// # Errors
    /// Why it cannot be right; nothing of it counts then.
    fn apply(&mut self, worker: WorkerId, incarnation: Incarnation, delta: &Delta) -> Result<(), String>;

    /// Moves the watermark and judges the SLAs; gives the sentence of an SLA that stops the run.
    fn evaluate(&mut self, run_now: Moment) -> Option<String>;

    /// Says so when the generator has turned out to be in a worse state than was said before: the sentence for the report.
    fn strained(&mut self) -> Option<String> {
        None
    }

    /// The load has ended at `at`, before the plan's end.
    fn stopped(&mut self, at: Moment);

    /// Whether [`Book::evaluate`] has something to judge already, whatever the time.
    fn is_due(&self) -> bool {
        false
    }

    /// A worker counts as lost from `at` on.
    fn lost(&mut self, worker: WorkerId, at: Moment);

    /// A lost worker is back, to flush what it has.
    fn returned(&mut self, worker: WorkerId);

    /// Something happened that the report should tell.
    fn note(&mut self, event: &Note);
}

/// Something that happened in a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// Run time; zero before the start.
    pub at: Moment,
    /// A short word: `worker-lost`, `stop`, …
    pub kind: String,
    /// The worker it is about.
    pub worker: Option<WorkerId>,
    /// One sentence.
    pub text: String,
}

/// A name with a value that setup extracted.
pub type Value = (String, String);

/// For how many iterations of counted loads there are rows, of those whose data stops the run before their count.
pub type Rows = Vec<(LoadId, u64)>;

/// What a run is made of.
#[derive(Clone, Debug)]
pub struct Spec {
    /// The run.
    pub run: RunId,
    /// Its plan.
    pub plan: Arc<Plan>,
    /// The plan for these workers.
    pub compiled: Arc<Compiled>,
    /// The workers in order of their numbers.
    pub members: Vec<(Incarnation, String)>,
}

/// How a run is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum How {
    /// No new arrivals; what is in flight may end.
    Graceful,
    /// What is in flight is cancelled.
    Now,
}

/// A stop before the plan's end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stopped {
    /// Run time of the decision; zero before the start.
    pub at: Moment,
    /// Who.
    pub cause: StopCause,
    /// One sentence.
    pub reason: String,
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It ran; early or not, its numbers say what it is worth.
    Ended,
    /// Not one arrival was made, with the reason.
    CouldNotStart(String),
    /// It was stopped before the start.
    StoppedBeforeStart(StopCause, String),
}

/// What happens to a run. Workers go by their number.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// What the user should know of the plan on this fleet.
    Warning(String),
    /// A worker has prepared, or could not.
    Prepared(WorkerId, Result<Rows, String>),
    /// A worker has done setup (or teardown, where `teardown` is set), or failed at it.
    OnceDone {
        /// Who.
        worker: WorkerId,
        /// Teardown instead of setup.
        teardown: bool,
        /// What it extracted, or what failed.
        result: Result<Vec<Value>, String>,
    },
    /// A delta came in, its form already checked.
    Delta(WorkerId, Box<Delta>),
    /// What came in place of a delta is not one.
    BadDelta(WorkerId, String),
    /// Everything up to this ticket is stored.
    Stored(u64),
    /// A worker's shards offer no load any more; its last delta has this number.
    Halted {
        /// Who.
        worker: WorkerId,
        /// Number of its last delta.
        last_seq: u64,
        /// Why, when it was not told to.
        reason: String,
    },
    /// A worker's control stream is there (again); its clock's offset.
    Present(WorkerId, Option<Offset>),
    /// A worker's control stream is gone; it may come back.
    Away(WorkerId),
    /// A worker is lost, with the reason.
    Lost(WorkerId, String),
    /// Stop.
    Stop(How, StopCause, String),
    /// A worker tells of something.
    Told(WorkerId, String, String),
    /// Time has passed.
    Tick,
}

/// A command to a worker.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// Get ready.
    Prepare,
    /// Do setup.
    DoSetup,
    /// Begin at this instant of the coordinator's clock, with what setup extracted.
    Start(Moment, Arc<[Value]>),
    /// Load may be offered up to this run time.
    Grant {
        /// Number of the renewal.
        number: u64,
        /// Run time.
        until: Moment,
        /// More indices of counted loads.
        blocks: Vec<Block>,
    },
    /// Stop.
    Stop {
        /// What becomes of what is in progress.
        how: How,
        /// Run time of the stop: nothing falls due after it.
        at: Moment,
        /// Why.
        reason: String,
    },
    /// The worker counts as lost: it begins nothing more, and drops nothing either.
    StandDown(String),
    /// Do teardown with what setup extracted.
    DoTeardown(Arc<[Value]>),
    /// The run is over: forget it.
    Release,
}

/// An answer on a worker's upload stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Every delta up to this number is committed.
    Committed(u64),
    /// Send again from this number on.
    ResendFrom(u64),
    /// Refused for good.
    Refused(String),
}

/// What goes into the store.
#[derive(Clone, Debug, PartialEq)]
pub enum Record {
    /// A delta that has been merged.
    Delta(WorkerId, Incarnation, Arc<Delta>),
    /// Workers may be told that load is granted up to this run time, and that so many iterations of counted loads are
    /// theirs in all.
    Granted(Moment, Vec<(LoadId, WorkerId, u64)>),
    /// Something happened.
    Note(Note),
    /// The run starts at this instant of the coordinator's clock.
    Started(Moment),
}

/// What a run wants done.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// Send a command.
    Send(WorkerId, Command),
    /// Send an answer on the upload stream.
    Reply(WorkerId, Answer),
    /// Put into the store, in order; then [`Input::Stored`] with the ticket.
    Store(u64, Record),
    /// The worker broke the protocol: throw it out, with the reason.
    Quarantine(WorkerId, String),
    /// Over: judge what there is, then release the workers.
    Finished(Outcome),
}
