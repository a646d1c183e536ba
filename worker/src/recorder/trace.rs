//! Every single sample as a line of text, for checking the sketches against the truth.
//!
//! A line reads `measure subject group tag segment value_us`, for example `response step:3 ok 0 2 1534`. Nothing is
//! ever left out: a shard whose buffer is full writes it, and waits for the disk. That costs pace, so this is for
//! debugging and proofs only.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use barrage_model::delta::{Measure, Subject};
use barrage_model::ids::{SegmentId, TagId};
use barrage_model::outcome::OutcomeGroup;

/// A shard writes its buffer when it holds this much, and at each interval's end.
const BUFFER_BYTES: usize = 64 * 1024;

/// What a sample belongs to, besides its measure.
pub(super) type Key = (Subject, OutcomeGroup, TagId, SegmentId);

/// The file that all shards of a worker write to.
#[derive(Clone, Debug)]
pub struct TraceSink(Arc<Mutex<File>>);

/// The trace file cannot be made.
#[derive(Debug, thiserror::Error)]
#[error("could not create the trace file")]
pub struct TraceError(#[source] std::io::Error);

impl TraceSink {
    /// Creates (or empties) the file.
    pub fn create(path: &Path) -> Result<Self, TraceError> {
        File::create(path)
            .map(|file| Self(Arc::new(Mutex::new(file))))
            .map_err(TraceError)
    }
}

/// One shard's end of the trace.
#[derive(Debug)]
pub(super) struct Trace {
    sink: TraceSink,
    buffer: Vec<u8>,
}

impl Trace {
    pub(super) fn new(sink: TraceSink) -> Self {
        Self {
            sink,
            buffer: Vec::with_capacity(BUFFER_BYTES + 256),
        }
    }

    #[cold]
    pub(super) fn sample(&mut self, measure: Measure, (subject, group, tag, segment): Key, us: u64) {
        let (kind, id) = match subject {
            Subject::Step(step) => ("step", u64::from(step.0)),
            Subject::Scenario(scenario) => ("scenario", u64::from(scenario.0)),
        };
        let (measure, group) = (measure.word(), group_word(group));
        // Writing to a vector cannot fail.
        let _ = writeln!(self.buffer, "{measure} {kind}:{id} {group} {tag} {segment} {us}");
        if self.buffer.len() >= BUFFER_BYTES {
            self.flush();
        }
    }

    pub(super) fn flush(&mut self) {
        let written = self
            .sink
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .write_all(&self.buffer);
        if let Err(error) = written {
            tracing::error!(%error, "trace samples are lost");
        }
        self.buffer.clear();
    }
}

fn group_word(group: OutcomeGroup) -> &'static str {
    match group {
        OutcomeGroup::Ok => "ok",
        OutcomeGroup::Failed => "failed",
        OutcomeGroup::Timeout => "timeout",
        OutcomeGroup::Cancelled => "cancelled",
        OutcomeGroup::Censored => "censored",
    }
}
