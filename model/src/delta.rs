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
    /// Run time from which on the worker has begun nothing, since it leaves the run or counts as lost; `None` while it goes on.
    pub left: Option<Moment>,
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

    /// Whether the samples of a group are lower bounds: of what was never sent, and of what was given up before it had ended.
    /// How long a connection or the first byte took is known all the same.
    pub fn is_censored(self, group: OutcomeGroup) -> bool {
        match group {
            OutcomeGroup::Ok | OutcomeGroup::Failed | OutcomeGroup::Timeout => false,
            OutcomeGroup::Cancelled => matches!(self, Self::Response | Self::Service | Self::Iteration),
            OutcomeGroup::Censored => true,
        }
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
    /// No thread was left for a name lookup.
    pub threads: u64,
    /// The generator stood still while a deadline passed, or the time that a check allows.
    pub time: u64,
}

impl Shortages {
    /// Adds those of another place or time.
    pub fn add(&mut self, more: &Self) {
        self.descriptors = self.descriptors.saturating_add(more.descriptors);
        self.ports = self.ports.saturating_add(more.ports);
        self.memory = self.memory.saturating_add(more.memory);
        self.threads = self.threads.saturating_add(more.threads);
        self.time = self.time.saturating_add(more.time);
    }
}

/// Most cores of which a worker tells how busy each was.
pub const CORES_TOLD_MAX: usize = 64;
/// A shard that is busy for more of its time is saturated.
pub const SATURATED_PERCENT: u64 = 90;
/// Shares of a covered time ([`Health::covered_us`]) that is shorter than this say nothing, µs.
pub const COVERED_MIN_US: u64 = 100_000;

/// How busy each core was, whoever used it, percent of the covered time: those that the process may use, in the order of
/// their numbers, the first [`CORES_TOLD_MAX`] of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CoresBusy {
    percents: [u8; CORES_TOLD_MAX],
    count: u8,
}

impl CoresBusy {
    /// Nothing is told of any core.
    pub const NONE: Self = Self {
        percents: [0; CORES_TOLD_MAX],
        count: 0,
    };

    /// One number for each core, 0 to 100.
    pub fn percents(&self) -> &[u8] {
        &self.percents[..usize::from(self.count)]
    }

    /// The higher of both for each core.
    #[must_use]
    pub fn highest(self, other: Self) -> Self {
        let count = usize::from(self.count.max(other.count));
        let pairs = self.percents.into_iter().zip(other.percents);
        pairs.take(count).map(|(a, b)| a.max(b)).collect()
    }
}

impl Default for CoresBusy {
    fn default() -> Self {
        Self::NONE
    }
}

impl FromIterator<u8> for CoresBusy {
    /// What is above 100 is 100; cores beyond the first [`CORES_TOLD_MAX`] are left out.
    fn from_iter<I: IntoIterator<Item = u8>>(percents: I) -> Self {
        let mut cores = Self::default();
        for (place, percent) in cores.percents.iter_mut().zip(percents) {
            *place = percent.min(100);
            cores.count += 1;
        }
        cores
    }
}

/// A worker's own state over one interval (self-health). What its system does not tell is 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// Length of the time that the readings below cover, µs: about an interval; 0 when nothing was read.
    pub covered_us: u64,
    /// 99th percentile of the dispatch lag that the generator itself caused (a slot was free, or the shard stood still or was saturated), µs: of
    /// what started in the interval, of what fell due in it while the shard stood still to its end, and of the ends of closed
    /// iterations that a standstill hid.
    pub dispatch_lag_p99_us: u64,
    /// Longest time a shard's loop went unpolled, µs. One that began before the interval counts from its begin, one that
    /// ends after it up to the interval's end.
    pub poll_delay_max_us: u64,
    /// Time for which the shard that did so longest stood still, for 10 ms or more at a time, µs.
    pub stood_us: u64,
    /// CPU time used by the process, µs.
    pub cpu_us: u64,
    /// CPU time used by the busiest shard thread, µs.
    pub shard_cpu_max_us: u64,
    /// CPU time of the shard thread for which that and its waits for a core were most together, with those and without what it
    /// spent looking at the clock until an arrival was due, µs: close to the covered time it has no time left.
    pub shard_busy_max_us: u64,
    /// Time for which the shard thread that waited longest was ready to run and had no core, µs.
    pub shard_wait_max_us: u64,
    /// Time for which ready threads of the process had no core, shards and others together, µs.
    pub run_queue_wait_us: u64,
    /// Busy time of the busiest core that the process may use, whoever used it, µs; in steps of 10 ms.
    pub core_busy_max_us: u64,
    /// How busy each core was; of none when too little time is covered.
    pub cores_busy: CoresBusy,
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
    /// Local ports that connections hold to the address that has most of them, those in `TIME_WAIT` that cannot be used again
    /// included.
    pub ports: u32,
    /// Local ports that there are for each address.
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

impl Health {
    /// Whether the busiest shard had next to no time left: whatever waits then, waits for it.
    pub fn is_saturated(&self) -> bool {
        let busy = u128::from(self.shard_busy_max_us) * 100;
        self.covered_us >= COVERED_MIN_US && busy > u128::from(self.covered_us) * u128::from(SATURATED_PERCENT)
    }

    /// The state over this time and the next: times and counts add up, the rest is the worse of both. Of the time for which
    /// a shard stood still it is the longer of both.
    #[must_use]
    pub fn joined(self, next: Self) -> Self {
        let mut shortages = self.shortages;
        shortages.add(&next.shortages);
        let memory = [self, next].map(|health| (health.memory_available_bytes, health.memory_bytes));
        // What was not told is not the worse of both.
        let told = memory.into_iter().filter(|(_, all)| *all > 0);
        let (memory_available_bytes, memory_bytes) = told.min().unwrap_or_default();
        Self {
            covered_us: self.covered_us.saturating_add(next.covered_us),
            dispatch_lag_p99_us: self.dispatch_lag_p99_us.max(next.dispatch_lag_p99_us),
            poll_delay_max_us: self.poll_delay_max_us.max(next.poll_delay_max_us),
            stood_us: self.stood_us.max(next.stood_us),
            cpu_us: self.cpu_us.saturating_add(next.cpu_us),
            shard_cpu_max_us: self.shard_cpu_max_us.saturating_add(next.shard_cpu_max_us),
            shard_busy_max_us: self.shard_busy_max_us.saturating_add(next.shard_busy_max_us),
            shard_wait_max_us: self.shard_wait_max_us.saturating_add(next.shard_wait_max_us),
            run_queue_wait_us: self.run_queue_wait_us.saturating_add(next.run_queue_wait_us),
            core_busy_max_us: self.core_busy_max_us.saturating_add(next.core_busy_max_us),
            cores_busy: self.cores_busy.highest(next.cores_busy),
            throttled_us: self.throttled_us.saturating_add(next.throttled_us),
            steal_us: self.steal_us.saturating_add(next.steal_us),
            cores: self.cores.max(next.cores),
            rss_bytes: self.rss_bytes.max(next.rss_bytes),
            rss_anon_bytes: self.rss_anon_bytes.max(next.rss_anon_bytes),
            memory_available_bytes,
            memory_bytes,
            descriptors: self.descriptors.max(next.descriptors),
            descriptors_max: next.descriptors_max,
            ports: self.ports.max(next.ports),
            ports_max: next.ports_max,
            retransmits: self.retransmits.saturating_add(next.retransmits),
            connections: self.connections.max(next.connections),
            slots: self.slots.max(next.slots),
            shortages,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn busy<const N: usize>(percents: [u8; N]) -> CoresBusy {
        percents.into_iter().collect()
    }

    #[test]
    fn cores_are_told_up_to_the_most() {
        assert_eq!(busy([7, 250]).percents(), [7, 100]);
        assert_eq!(busy([1; 70]).percents(), [1; CORES_TOLD_MAX]);
        assert_eq!(busy([9, 20]).highest(busy([10, 5, 30])).percents(), [10, 20, 30]);
        assert_eq!(CoresBusy::NONE.highest(CoresBusy::NONE), CoresBusy::default());
    }

    #[test]
    fn joined_readings_add_times_and_keep_the_worse() {
        let reading = |lag, available| Health {
            covered_us: 1_000_000,
            dispatch_lag_p99_us: lag,
            steal_us: 5,
            memory_available_bytes: available,
            memory_bytes: 100,
            ..Health::default()
        };
        let joined = reading(7, 30).joined(reading(3, 20));
        assert_eq!((joined.covered_us, joined.steal_us), (2_000_000, 10));
        assert_eq!(joined.dispatch_lag_p99_us, 7);
        assert_eq!((joined.memory_available_bytes, joined.memory_bytes), (20, 100));
        let untold = Health::default();
        for joined in [untold.joined(reading(0, 30)), reading(0, 30).joined(untold)] {
            let memory = (joined.memory_available_bytes, joined.memory_bytes);
            assert_eq!(memory, (30, 100), "memory that one does not tell is not used up");
        }
    }
}
