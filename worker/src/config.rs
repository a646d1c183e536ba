//! What a worker is told when it is started, and what can go wrong with it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use barrage_model::units::Rate;
use tokio_util::sync::CancellationToken;

use crate::control::{self, LinkError};
use crate::recorder::TraceError;

/// A worker's settings.
#[derive(Clone, Debug)]
pub struct Config {
    /// The coordinator's URL: `http://host:port`.
    pub coordinator: String,
    /// Shown in reports; need not be unique.
    pub name: String,
    /// What runs choose workers by.
    pub labels: BTreeMap<String, String>,
    /// Load threads to offer, at least 1.
    pub shards: usize,
    /// Most iterations per second that this worker makes, whatever it is told.
    pub max_rate: Option<Rate>,
    /// Write every sample to this file as a line of text. A debugging aid: the load threads wait for the disk.
    pub trace_samples: Option<PathBuf>,
    /// End after one run.
    pub once: bool,
}

/// Why a worker ended that was not told to.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// The coordinator's URL is none.
    #[error("the coordinator's URL {url:?} cannot be used")]
    BadUrl {
        /// As given.
        url: String,
        /// What is wrong.
        #[source]
        source: tonic::transport::Error,
    },
    /// No coordinator has welcomed the worker within 10 s of its start.
    #[error("no coordinator can be reached at {url}")]
    CoordinatorUnreachable {
        /// Where it should be.
        url: String,
        /// How the last attempt ended.
        source: Option<LinkError>,
    },
    /// The coordinator refuses this worker, most often for its version.
    #[error("the coordinator refused this worker: {reason}")]
    Refused {
        /// What the coordinator said.
        reason: String,
    },
    /// The trace file cannot be made.
    #[error("the samples cannot be traced")]
    Trace(#[from] TraceError),
    /// The system has no random numbers.
    #[error("could not draw a random number")]
    Entropy(#[source] std::io::Error),
    /// The system gives no thread or runtime for the control side.
    #[error("could not start the control thread")]
    Thread(#[source] std::io::Error),
    /// The control side has ended without a word.
    #[error("the control thread has died")]
    Died,
}

impl WorkerError {
    /// Whether the worker has never begun to work: an error of its surroundings or settings, not of its own.
    pub fn is_start(&self) -> bool {
        !matches!(self, Self::Died)
    }
}

/// Joins the coordinator and works for it until `stop`, then makes no new arrivals, drains, flushes and leaves.
///
/// The control side runs on a thread of its own, whatever runtime the caller has.
///
/// # Errors
/// See [`WorkerError`]. After the first welcome a lost coordinator is no error: the worker tries to reach it again for as
/// long as it lives.
///
/// # Cancel safety
/// Dropping the future ends the worker at once: nothing is drained, and counts that have not been sent are lost.
pub async fn run(config: Config, stop: CancellationToken) -> Result<(), WorkerError> {
    let abandoned = CancellationToken::new();
    let _guard = abandoned.clone().drop_guard();
    let (say, said) = tokio::sync::oneshot::channel();
    let work = move || {
        let result = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(WorkerError::Thread);
        let result = result.and_then(|runtime| {
            let ended = runtime.block_on(abandoned.run_until_cancelled(control::run(config, stop)));
            runtime.shutdown_background();
            ended.unwrap_or(Ok(()))
        });
        // Nobody listens when the caller has dropped the future.
        let _gone = say.send(result);
    };
    std::thread::Builder::new()
        .name("worker-control".to_owned())
        .spawn(work)
        .map_err(WorkerError::Thread)?;
    said.await.unwrap_or(Err(WorkerError::Died))
}
