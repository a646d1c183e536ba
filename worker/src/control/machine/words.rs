//! The words of the control side: what happens to it, and what it wants done.

use std::collections::BTreeMap;
use std::time::Duration;

use barrage_model::delta::Delta;
use barrage_model::ids::{LoadId, RunId};
use barrage_proto::v1::{self, from_worker::Frame as Say, to_worker::Frame as Told};

use crate::clock::Stamp;
use crate::shard::machine::Input as ShardInput;

/// What happens to the control side.
#[derive(Debug)]
pub(crate) enum Input {
    /// The control stream is there.
    Up,
    /// The control stream has ended.
    Down,
    /// The coordinator says something.
    Told(Box<Told>),
    /// The upload stream is there.
    UploadUp,
    /// The upload stream has ended.
    UploadDown,
    /// An answer on the upload stream.
    Reply(v1::UploadReply),
    /// The run has been prepared, or could not be.
    Prepared(RunId, Result<Prepared, String>),
    /// Setup or teardown has ended.
    OnceDone {
        /// Teardown instead of setup.
        teardown: bool,
        /// What it extracted, or why it failed.
        result: Result<Vec<(String, String)>, String>,
    },
    /// An interval is closed; the number is not set yet.
    Delta(Box<Delta>),
    /// Something of ours has failed: the run cannot go on here.
    Failed {
        /// What.
        reason: String,
        /// No delta will come any more.
        over: bool,
    },
    /// A user of the plan has found its data used up, and the plan says that this stops the run.
    DataEnded(String),
    /// The worker is to leave: no new arrivals, drain, flush.
    Leave,
    /// Time has passed.
    Tick,
}

/// What the machine needs to know of a prepared run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Prepared {
    /// Iterations of each `iterations` load, whole fleet.
    pub counted: BTreeMap<LoadId, u64>,
    /// Iterations that there are rows for, of those loads whose data stops the run before their count.
    pub rows: BTreeMap<LoadId, u64>,
    /// The plan's graceful stop.
    pub graceful_stop: Duration,
}

/// What the process has to do, in order.
#[derive(Debug)]
pub(crate) enum Output {
    /// Say something on the control stream.
    Say(Say),
    /// Send a delta.
    Upload(Box<v1::UploadFrame>),
    /// Fetch the files and compile the plan.
    Prepare(Box<v1::Prepare>),
    /// Go through setup, or through teardown with what setup extracted.
    Once {
        /// Teardown instead of setup.
        teardown: bool,
        /// What setup extracted.
        values: Vec<(String, String)>,
    },
    /// Cancel a setup or teardown that is under way.
    CancelOnce,
    /// Start the load threads; run time 0 is at this instant.
    Start {
        /// On this worker's clock.
        at: Stamp,
        /// What setup extracted.
        values: Vec<(String, String)>,
    },
    /// New epochs, as they came.
    Epochs(Vec<v1::Epoch>),
    /// All marks known so far.
    Marks(Vec<v1::Mark>),
    /// A block of indices.
    Block(LoadId, u64, u64),
    /// Tell every load thread.
    Shards(ShardInput),
    /// Forget the run; end what is left of its threads.
    Forget,
    /// End the worker.
    Exit(Exit),
}

/// Why the worker ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// It was told to leave, and has; or its one run is over.
    Done,
    /// The coordinator refused it.
    Refused(String),
}
