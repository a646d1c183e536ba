//! What one worker has counted in one interval: the unit that travels, is merged and is stored.

use std::time::Duration;

use crate::ids::{LoadId, ScenarioId, SegmentId, StepId, TagId};
use crate::ledger::{IterationCounts, Open, StepCounts};
use crate::outcome::{FailureClass, OutcomeGroup};
use crate::sketch::Packed;
use crate::time::Moment;

/// Length of an interval of run time.
pub const INTERVAL: Duration = Duration::from_secs(1);
/// Most error samples in one delta; further errors are counted in the ledger alone.
pub const ERROR_SAMPLES_MAX: usize = 32;

/// The counts of one worker for one interval.
#[derive(Clone, Debug, PartialEq)]
pub struct Delta {
    /// 1, 2, 3, … for each (run, worker, incarnation), without gaps.
    pub seq: u64,
    /// Number of the interval: the delta holds what happened in run time `[interval, interval + 1) × 1 s`, and, in the
    /// last one, everything after.
    pub interval: u32,
    /// The worker's last delta of the run: nothing is open any more.
    pub last: bool,
    /// Iteration counts of this interval alone.
    pub iterations: Vec<IterationRow>,
    /// Step counts of this interval alone.
    pub steps: Vec<StepRow>,
    /// Latency sketches of this interval alone.
    pub sketches: Vec<SketchRow>,
    /// What is open at the interval's end.
    pub open: Open,
    /// The worker's place in each open load's schedule at the interval's end.
    pub progress: Vec<Progress>,
    /// A sample of the errors seen, at most [`ERROR_SAMPLES_MAX`].
    pub errors: Vec<ErrorSample>,
    /// How the worker itself fared.
    pub health: Health,
    /// Run time at which the latest iteration of this interval ended; `None` when none did.
    pub ended: Option<Moment>,
}

/// Iterations of one scenario that belong to one segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IterationRow {
    /// The load that made them.
    pub load: LoadId,
    /// The scenario they went through.
    pub scenario: ScenarioId,
    /// The segment of their due instants.
    pub segment: SegmentId,
    /// The counts.
    pub counts: IterationCounts,
}

/// Executions of one step that belong to one segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StepRow {
    /// The step.
    pub step: StepId,
    /// Tag values of the answers; sends whose answer is not there yet count under the default tag.
    pub tag: TagId,
    /// The segment of the iteration's due instant.
    pub segment: SegmentId,
    /// The counts.
    pub counts: StepCounts,
}

/// Which latency a sketch holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Measure {
    /// From the instant the step was due to the end of the answer.
    Response,
    /// From the actual send to the end of the answer.
    Service,
    /// From the due instant to the actual start of an iteration.
    DispatchLag,
    /// From the due instant to the end of the last step.
    Iteration,
    /// Name resolution of a new connection.
    Dns,
    /// TCP handshake of a new connection.
    Connect,
    /// TLS handshake of a new connection.
    Tls,
    /// From the send to the first byte of the answer.
    FirstByte,
}

impl Measure {
    /// Every measure, in wire order.
    pub const ALL: [Self; 8] = [
        Self::Response,
        Self::Service,
        Self::DispatchLag,
        Self::Iteration,
        Self::Dns,
        Self::Connect,
        Self::Tls,
        Self::FirstByte,
    ];

    /// Position in [`Measure::ALL`].
    pub fn index(self) -> usize {
        self as usize
    }

    /// The word used in expressions, reports and on the wire.
    pub fn word(self) -> &'static str {
        match self {
            Self::Response => "response",
            Self::Service => "service",
            Self::DispatchLag => "dispatch_lag",
            Self::Iteration => "iteration",
            Self::Dns => "dns",
            Self::Connect => "connect",
            Self::Tls => "tls",
            Self::FirstByte => "first_byte",
        }
    }
}

/// What a sketch belongs to: a step's own latency or a scenario's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Subject {
    /// A request or a group.
    Step(StepId),
    /// A whole scenario: dispatch lag and iteration time.
    Scenario(ScenarioId),
}

/// The key of a latency series.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SketchKey {
    /// Step or scenario.
    pub subject: Subject,
    /// Which latency.
    pub measure: Measure,
    /// How the samples ended.
    pub group: OutcomeGroup,
    /// Tag values of the answers.
    pub tag: TagId,
    /// The segment of the iteration's due instant.
    pub segment: SegmentId,
}

/// One series of one interval.
#[derive(Clone, Debug, PartialEq)]
pub struct SketchRow {
    /// The series.
    pub key: SketchKey,
    /// Its samples.
    pub sketch: Packed,
}

/// How far a worker has come in one open load. Arrivals are taken in order, so one number says it all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// The load.
    pub load: LoadId,
    /// The shard, counted through the run.
    pub shard: crate::ids::ShardId,
    /// The first owned index that has been neither started nor dropped; `u64::MAX` when none is left.
    pub next_index: u64,
}

/// One error as it was seen, for the report's sample list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErrorSample {
    /// When the step ended.
    pub at: Moment,
    /// The step.
    pub step: StepId,
    /// The class; `None` for a timeout.
    pub class: Option<FailureClass>,
    /// The answer's status, if one came.
    pub status: Option<u16>,
    /// Service time; `None` where nothing was sent.
    pub service: Option<Duration>,
    /// What went wrong, at most 200 bytes, without secrets.
    pub message: String,
}

/// Attempts that failed because the generator itself had run out of something: its limits, not the target's doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shortages {
    /// No descriptor was left, of the process (`EMFILE`) or of the system (`ENFILE`).
    pub descriptors: u64,
    /// No local port was left (`EADDRNOTAVAIL`, `EADDRINUSE`).
    pub ports: u64,
    /// No memory was left for a socket (`ENOBUFS`, `ENOMEM`).
    pub memory: u64,
}

impl Shortages {
    /// Adds those of another place or time.
    pub fn add(&mut self, more: &Self) {
        self.descriptors = self.descriptors.saturating_add(more.descriptors);
        self.ports = self.ports.saturating_add(more.ports);
        self.memory = self.memory.saturating_add(more.memory);
    }
}

/// A worker's own state over one interval (self-health). What its system does not tell is 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// Length of the time that the readings below cover, µs: about an interval; 0 when nothing was read.
    pub covered_us: u64,
    /// 99th percentile of the dispatch lag that the generator itself caused (a slot was free, or the shard stood still), µs: of
    /// what started in the interval, and of what fell due in it while the shard stood still to its end.
    pub dispatch_lag_p99_us: u64,
    /// Longest time a shard's loop went unpolled, µs. One that began before the interval counts from its begin, one that
    /// ends after it up to the interval's end.
    pub poll_delay_max_us: u64,
    /// Time for which the shard that did so longest stood still, for 30 ms or more at a time, µs.
    pub stood_us: u64,
    /// CPU time used by the process, µs.
    pub cpu_us: u64,
    /// CPU time used by the busiest shard thread, µs.
    pub shard_cpu_max_us: u64,
    /// Time for which the shard thread that waited longest was ready to run and had no core, µs.
    pub shard_wait_max_us: u64,
    /// Time for which ready threads of the process had no core, shards and others together, µs.
    pub run_queue_wait_us: u64,
    /// Busy time of the busiest core that the process may use, whoever used it, µs; in steps of 10 ms.
    pub core_busy_max_us: u64,
    /// Time for which the process's cgroups were throttled, on each core on its own and added up, µs.
    pub throttled_us: u64,
    /// CPU time stolen by the hypervisor over all cores that the process may use, µs.
    pub steal_us: u64,
    /// The cores that the process may use, whatever its quota: those of `steal_us`. 0 when that is not known.
    pub cores: u32,
    /// Resident memory, bytes.
    pub rss_bytes: u64,
    /// Resident memory that belongs to no file, bytes.
    pub rss_anon_bytes: u64,
    /// Memory of the host, or of a control group with a limit, that programs could still get, bytes.
    pub memory_available_bytes: u64,
    /// Memory of the host, or of a control group with a limit, bytes.
    pub memory_bytes: u64,
    /// Open file descriptors.
    pub descriptors: u32,
    /// Limit on open file descriptors.
    pub descriptors_max: u32,
    /// Local ports that connections to the targets hold, those in `TIME_WAIT` that cannot be used again included.
    pub ports: u32,
    /// Local ports that there are for these targets.
    pub ports_max: u32,
    /// TCP segments that the host has sent again.
    pub retransmits: u64,
    /// Open connections to targets.
    pub connections: u32,
    /// Slots that exist.
    pub slots: u32,
    /// Attempts that failed for want of something here.
    pub shortages: Shortages,
}
