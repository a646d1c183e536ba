//! A run as a report shows it: plain data, every number final, no rule left to apply.
//!
//! Units stand in the names. `None` means "there is no such number" (no samples, no time), never zero.

use std::time::Duration;

use barrage_model::delta::{ErrorSample, Health, Measure, Shortages};
use barrage_model::ids::{RunId, SegmentId, StepId, WorkerId};
use barrage_model::ledger::StepCounts;
use barrage_model::outcome::FailureClass;
use barrage_model::phase::Phase;
use barrage_model::time::Moment;

use crate::exit::{ExitCode, Verdict};

/// Everything a report says about a run.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    /// What was run.
    pub run: RunInfo,
    /// What it is worth.
    pub verdict: Verdict,
    /// Why, one sentence each, the deciding one first.
    pub reasons: Vec<String>,
    /// The exit code.
    pub exit_code: ExitCode,
    /// The exit code for somebody who accepts a run whose numbers cannot be trusted.
    pub accepted_exit_code: ExitCode,
    /// Set when the run ended before its plan did.
    pub stopped_early: Option<EarlyStop>,
    /// Every SLA, the implicit ones last.
    pub sla: Vec<SlaResult>,
    /// The iteration ledger of the whole run.
    pub iterations: IterationTotals,
    /// The step ledger of the whole run, warm-up included, without setup and teardown.
    pub steps_total: StepTotals,
    /// The step ledger of setup and teardown together.
    pub once_total: StepTotals,
    /// Ratios over [`Summary::steps_total`], and rates while the load was on, warm-up included.
    pub rates: Rates,
    /// Latencies over all steps and outcomes, dropped arrivals and cancelled requests as censored samples.
    pub latency: Latencies,
    /// Latencies over the steps that ended `ok`.
    pub latency_ok: Latencies,
    /// Name resolution, connect, TLS and first byte, over all outcomes.
    pub timings: Vec<(Measure, Latency)>,
    /// Every request and group, in plan order.
    pub steps: Vec<StepSummary>,
    /// Every scenario, in plan order.
    pub scenarios: Vec<ScenarioSummary>,
    /// Failures by class, every class, and timeouts.
    pub failures: Failures,
    /// Samples of errors, at most 100, in order of time.
    pub errors: Vec<ErrorLine>,
    /// The run over time, without gaps from its beginning.
    pub timeline: Vec<TimelinePoint>,
    /// Every worker, by number.
    pub workers: Vec<WorkerSummary>,
    /// The self-health of every worker over run time, in order of time, then by worker.
    pub health: Vec<HealthPoint>,
    /// What happened and what was commanded, in order of time.
    pub events: Vec<RunEvent>,
    /// Faults that were injected.
    pub faults: Vec<FaultSummary>,
    /// Whether the load generator can be trusted.
    pub generator: GeneratorSummary,
    /// Every stage of every load, in plan order.
    pub stages: Vec<StageSummary>,
    /// Every phase with its latencies, in order of first appearance.
    pub phases: Vec<PhaseSummary>,
    /// Every segment of the run.
    pub segments: Vec<SegmentSummary>,
    /// The check of both ledgers.
    pub conservation: Conservation,
    /// Whole distributions, for percentile curves and `.hlog`.
    pub curves: Curves,
    /// Samples above one hour, recorded as one hour.
    pub clipped: u64,
    /// Samples whose series lie beyond those that a run keeps apart ([`crate::SERIES_MAX`]): they are in the totals, but in no
    /// step's or scenario's line.
    pub samples_in_other: u64,
}

/// Identity of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunInfo {
    /// The run's id.
    pub id: RunId,
    /// The plan's name.
    pub name: String,
    /// Seed of everything random.
    pub seed: u64,
    /// SHA-256 of the normalised plan, hexadecimal.
    pub plan_hash: String,
    /// Labels given at submission.
    pub labels: Vec<(String, String)>,
    /// Wall-clock start, RFC 3339; for display alone.
    pub started_at: String,
    /// Run time from the first instant to the end of the load and its draining, µs.
    pub duration_us: u64,
    /// Version of the coordinator.
    pub version: String,
    /// The targets' base URLs, without credentials.
    pub targets: Vec<String>,
}

/// Why a run ended before its plan did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EarlyStop {
    /// Run time of the decision.
    pub at: Moment,
    /// One sentence: which SLA with what it saw, who, or which guard.
    pub reason: String,
}

/// Verdict of one SLA.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SlaVerdict {
    /// It held.
    Passed,
    /// It was breached.
    Failed,
    /// Too few samples to say.
    NotEnoughSamples,
    /// It holds so far, but the run goes on.
    Provisional,
    /// Nobody can say: the generator is invalid or may have made what was seen, or some of what it is about is not known.
    NotJudged,
}

impl SlaVerdict {
    /// The word used in reports.
    pub fn word(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed => "failed",
            Self::NotEnoughSamples => "not_enough_samples",
            Self::Provisional => "provisional",
            Self::NotJudged => "not_judged",
        }
    }
}

/// One SLA with what was seen.
#[derive(Clone, Debug, PartialEq)]
pub struct SlaResult {
    /// The expression, normalised.
    pub that: String,
    /// The phases it covers, in words; `None` = the whole run without warm-up, and with it if `implicit`.
    pub during: Option<String>,
    /// Length of a sliding window.
    pub over: Option<Duration>,
    /// Evaluations in a row that make a breach.
    pub in_a_row: u32,
    /// Whether a breach stops the run.
    pub stop: bool,
    /// Not in the plan: `started ≥ min_started of scheduled`.
    pub implicit: bool,
    /// The metrics' values, ready to show: `p95 = 231.4 ms`, `p99 ≥ 10 s`; for a window the worst or the breaching one.
    pub observed: String,
    /// The verdict.
    pub verdict: SlaVerdict,
    /// One sentence.
    pub reason: String,
    /// Line and column in the plan.
    pub at: Option<(u32, u32)>,
    /// Run time of the evaluation that breached a window first.
    pub breached_at: Option<Moment>,
}

/// The iteration ledger: `scheduled = started + dropped + unsent + unknown`,
/// `started = completed + broken_off + cancelled + in_progress`. Closed models begin at `started`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IterationTotals {
    /// Arrivals that the schedule asked for; 0 in closed models.
    pub scheduled: u64,
    /// Iterations begun, all models.
    pub started: u64,
    /// Of those, begun by open models or counted loads.
    pub started_scheduled: u64,
    /// Went through every step.
    pub completed: u64,
    /// Ended early by a failed step.
    pub broken_off: u64,
    /// Ended by the end of the run.
    pub cancelled: u64,
    /// Open when last heard of; 0 unless a worker was lost or the run goes on.
    pub in_progress: u64,
    /// Due arrivals that never started.
    pub dropped: Dropped,
    /// Due after a loss or a stop, known not to have been sent.
    pub unsent: u64,
    /// In a lost worker's hands: sent or not, nobody knows.
    pub unknown: u64,
    /// Due but not yet started or dropped; 0 once the run has ended.
    pub waiting: u64,
}

/// Dropped arrivals by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dropped {
    /// The generator was behind.
    pub late: u64,
    /// `max_active` was reached.
    pub no_slot: u64,
    /// A ceiling held them back.
    pub ceiling: u64,
    /// The run stopped.
    pub stopped: u64,
}

impl Dropped {
    /// Sum over the reasons.
    pub fn total(&self) -> u64 {
        [self.late, self.no_slot, self.ceiling, self.stopped]
            .iter()
            .fold(0, |sum, n| sum.saturating_add(*n))
    }
}

/// The step ledger.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StepTotals {
    /// The counts.
    pub counts: StepCounts,
    /// Sent and not ended when last heard of.
    pub in_flight: u64,
}

/// Rates and ratios of the run, a step or a phase.
///
/// Ratios are over all iterations that fell due in it. Rates count what happened in the whole intervals of its time up
/// to the end of the load, so neither a backlog that is answered later nor a straggler in the drain changes them. They
/// are absent where there is no such interval: setup and teardown, or a phase of less than a second amid others.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Rates {
    /// Length of the intervals that the rates are over, µs; 0 = no rates.
    pub covered_us: u64,
    /// Arrivals that fell due, 1/s. Absent where nothing has a schedule: closed models, and the rates of a step. Absent
    /// as well once a lost worker has left arrivals behind, for those belong to no interval.
    pub offered_per_s: Option<f64>,
    /// Iterations begun, 1/s. Absent in the rates of a step.
    pub started_per_s: Option<f64>,
    /// Steps that were due to be sent, 1/s.
    pub attempted_per_s: Option<f64>,
    /// Steps sent, 1/s.
    pub rate_per_s: Option<f64>,
    /// Answers of any status, 1/s.
    pub throughput_per_s: Option<f64>,
    /// `ok` steps, 1/s.
    pub goodput_per_s: Option<f64>,
    /// (failed + timeout) / (ok + failed + timeout), 0 to 1.
    pub error_rate: Option<f64>,
    /// dropped / scheduled, 0 to 1.
    pub drop_rate: Option<f64>,
    /// Answer bodies, MiB/s.
    pub throughput_mib_per_s: Option<f64>,
}

/// A value of a distribution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quantile {
    /// Highest value that the sketch cannot tell from the sample at this rank, µs.
    pub value_us: u64,
    /// The value is a lower bound: the rank lies among or after censored samples. Shown as `≥ x`.
    pub at_least: bool,
}

/// One distribution in numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Latency {
    /// Samples, censored ones included.
    pub count: u64,
    /// Of those, censored: arrivals dropped and requests cancelled, at the age they had reached.
    pub censored: u64,
    /// Smallest.
    pub min: Option<Quantile>,
    /// Mean, µs; a lower bound where [`Latency::mean_at_least`] says so.
    pub mean_us: Option<f64>,
    /// 50th percentile.
    pub p50: Option<Quantile>,
    /// 90th percentile.
    pub p90: Option<Quantile>,
    /// 95th percentile.
    pub p95: Option<Quantile>,
    /// 99th percentile.
    pub p99: Option<Quantile>,
    /// 99.9th percentile.
    pub p999: Option<Quantile>,
    /// 99.99th percentile.
    pub p9999: Option<Quantile>,
    /// Largest.
    pub max: Option<Quantile>,
}

impl Latency {
    /// Whether the mean is only a lower bound, as the largest is: of censored samples and of those beyond the layout the
    /// true value is not known.
    pub fn mean_at_least(&self) -> bool {
        self.max.is_some_and(|max| max.at_least)
    }
}

/// The four latencies of semantics 3.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Latencies {
    /// From the due instant to the end of the answer.
    pub response: Latency,
    /// From the actual send to the end of the answer.
    pub service: Latency,
    /// Actual start − due instant.
    pub dispatch_lag: Latency,
    /// From the due instant to the end of the last step.
    pub iteration: Latency,
}

/// One request or group.
#[derive(Clone, Debug, PartialEq)]
pub struct StepSummary {
    /// Its number.
    pub id: StepId,
    /// The scenario's name, `setup` or `teardown`.
    pub scenario: String,
    /// Its name.
    pub name: String,
    /// A group has latencies but sends nothing itself.
    pub group: bool,
    /// Its ledger.
    pub totals: StepTotals,
    /// Whether all its bytes on the wire are known. An engine that does not tell them counts none.
    pub sees_wire: bool,
    /// Rates while the load was on.
    pub rates: Rates,
    /// All outcomes.
    pub response: Latency,
    /// All outcomes.
    pub service: Latency,
    /// Ended `ok`.
    pub response_ok: Latency,
    /// Ended `ok`.
    pub service_ok: Latency,
    /// The same by tag values; empty when the step has only one.
    pub tags: Vec<TagSummary>,
    /// Otherwise some of its samples are in the totals alone, and it has no latencies and no tags.
    pub whole: bool,
}

/// The part of a step whose answers carried the same tag values.
#[derive(Clone, Debug, PartialEq)]
pub struct TagSummary {
    /// Tag names and values; an empty value = the answer had no such header.
    pub tags: Vec<(String, String)>,
    /// Its counts.
    pub counts: StepCounts,
    /// (failed + timeout) / (ok + failed + timeout).
    pub error_rate: Option<f64>,
    /// All outcomes.
    pub response: Latency,
    /// All outcomes.
    pub service: Latency,
}

/// One scenario.
#[derive(Clone, Debug, PartialEq)]
pub struct ScenarioSummary {
    /// Its name.
    pub name: String,
    /// Its ledger, without `unsent` and `unknown`, which belong to no scenario.
    pub iterations: IterationTotals,
    /// Due instant to the end of the last step.
    pub iteration: Latency,
    /// Actual start − due.
    pub dispatch_lag: Latency,
    /// Otherwise some of its samples are in the totals alone, and it has no latencies.
    pub whole: bool,
}

/// How often steps failed, and why.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Failures {
    /// Every class in the order of [`FailureClass::ALL`].
    pub by_class: Vec<(FailureClass, u64)>,
    /// Timeouts.
    pub timeout: u64,
}

/// A sampled error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErrorLine {
    /// As the worker saw it.
    pub sample: ErrorSample,
    /// The scenario's name.
    pub scenario: String,
    /// The step's name.
    pub step: String,
    /// Who saw it.
    pub worker: WorkerId,
}

/// A stretch of the run: one interval; ten merged when older than an hour, sixty when older than ten.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TimelinePoint {
    /// Begin, run time, s.
    pub t_s: u32,
    /// Length, s: 1, 10 or 60.
    pub length_s: u32,
    /// Arrivals that fell due.
    pub offered: u64,
    /// Iterations begun.
    pub started: u64,
    /// Steps sent.
    pub sent: u64,
    /// Steps ended `ok`.
    pub ok: u64,
    /// Steps failed.
    pub failed: u64,
    /// Steps timed out.
    pub timeouts: u64,
    /// Steps cancelled.
    pub cancelled: u64,
    /// Arrivals dropped.
    pub dropped: u64,
    /// Iterations in progress at the end.
    pub active: u64,
    /// Bytes of answer bodies.
    pub body_bytes_in: u64,
    /// Response time, all outcomes and censored.
    pub response_p50: Option<Quantile>,
    /// Response time.
    pub response_p95: Option<Quantile>,
    /// Response time.
    pub response_p99: Option<Quantile>,
    /// Service time.
    pub service_p50: Option<Quantile>,
    /// Service time.
    pub service_p99: Option<Quantile>,
    /// (failed + timeout) / (ok + failed + timeout).
    pub error_rate: Option<f64>,
    /// The stage of the first load at the beginning.
    pub stage: Option<String>,
    /// Workers whose counts are in here, of those that were expected.
    pub reported: u32,
    /// Workers that were expected.
    pub expected: u32,
    /// Counts of a lost worker are missing here: a hole, not a zero.
    pub hole: bool,
}

/// How a worker ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WorkerState {
    /// Still at work.
    Running,
    /// Sent its last delta.
    Finished,
    /// Not heard of any more.
    Lost,
}

impl WorkerState {
    /// The word used in reports.
    pub fn word(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Finished => "finished",
            Self::Lost => "lost",
        }
    }
}

/// One worker.
#[derive(Clone, Debug, PartialEq)]
pub struct WorkerSummary {
    /// Its number.
    pub id: WorkerId,
    /// Its name.
    pub name: String,
    /// Its load threads.
    pub shards: u32,
    /// Its clock − the coordinator's, µs.
    pub offset_us: Option<i64>,
    /// Half width of the interval that holds the true offset, µs.
    pub offset_uncertainty_us: Option<u64>,
    /// How it ended.
    pub state: WorkerState,
    /// Its part of the iteration ledger.
    pub iterations: IterationTotals,
    /// Its part of the step ledger.
    pub steps: StepTotals,
    /// The worst it went through.
    pub health: HealthExtremes,
    /// Intervals `[from, to)` without its counts, although it had load to make.
    pub holes: Vec<(u32, u32)>,
    /// Its own part of the generator verdict.
    pub generator: GeneratorVerdict,
}

/// The self-health of one worker over one stretch of run time. A worker that was restarted within it has two.
#[derive(Clone, Debug, PartialEq)]
pub struct HealthPoint {
    /// Its begin, whole seconds of run time.
    pub t_s: u32,
    /// Its length, s; 1 unless the run is long or the fleet large.
    pub length_s: u32,
    /// The worker.
    pub worker: WorkerId,
    /// Kinds of reasons whose limit is exceeded, see [`crate::generator::RULES`]; in the warm-up as well, where most are not
    /// judged.
    pub strained: Vec<&'static str>,
    /// The readings of its seconds: times and counts added up, the worst of the rest.
    pub health: Health,
}

/// Extremes of a worker's self-health over its intervals.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct HealthExtremes {
    /// Worst interval's generator dispatch lag p99, µs.
    pub dispatch_lag_p99_max_us: u64,
    /// Longest time a shard's loop went unpolled, µs.
    pub poll_delay_max_us: u64,
    /// Highest CPU share of the busiest shard, 0 to 1.
    pub shard_cpu_max: f64,
    /// Largest share of the time for which a shard was ready to run and had no core, 0 to 1.
    pub shard_wait_max: f64,
    /// Highest share of the time for which one of its cores was busy, whoever used it, 0 to 1.
    pub core_busy_max: f64,
    /// Mean CPU use of the process, cores.
    pub cpu_mean_cores: f64,
    /// Time throttled by the cgroup, µs, sum.
    pub throttled_us: u64,
    /// CPU time stolen by the hypervisor, µs, sum.
    pub steal_us: u64,
    /// Most resident memory, bytes.
    pub rss_max_bytes: u64,
    /// Most resident memory that belongs to no file, bytes.
    pub rss_anon_max_bytes: u64,
    /// Least memory that programs of its host, or of its control group, could still get, bytes.
    pub memory_available_min_bytes: Option<u64>,
    /// Most open descriptors.
    pub descriptors_max: u32,
    /// The limit on descriptors.
    pub descriptors_limit: u32,
    /// Most local ports in use for one address.
    pub ports_max: u32,
    /// Local ports that there are for each address.
    pub ports_limit: u32,
    /// TCP segments that its host has sent again, sum.
    pub retransmits: u64,
    /// Attempts that failed for want of something on the worker, sum.
    pub shortages: Shortages,
    /// Most connections.
    pub connections_max: u32,
    /// Most slots.
    pub slots_max: u32,
}

/// What happened or was commanded during a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunEvent {
    /// Run time.
    pub at: Moment,
    /// A short word: `stage`, `pause`, `set-rate`, `stop`, `worker-lost`, `sla-breached`, …
    pub kind: String,
    /// The worker it is about.
    pub worker: Option<WorkerId>,
    /// One sentence.
    pub text: String,
}

/// A fault that was injected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FaultSummary {
    /// Its name in the plan.
    pub name: String,
    /// What it was, in words.
    pub what: String,
    /// Run time of its begin.
    pub from: Moment,
    /// Run time at which it was observed to be undone.
    pub to: Option<Moment>,
    /// `held`, `violated`, `not enough evidence` or `invalid`.
    pub verdict: String,
}

/// Whether a load generator can be trusted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum GeneratorVerdict {
    /// Yes.
    #[default]
    Valid,
    /// Yes, but it was strained; never changes an exit code.
    Degraded,
    /// No: what it measured is partly its own doing.
    Invalid,
}

impl GeneratorVerdict {
    /// The word used in reports.
    pub fn word(self) -> &'static str {
        match self {
            Self::Valid => "valid",
            Self::Degraded => "degraded",
            Self::Invalid => "invalid",
        }
    }
}

/// The generator's verdict on itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GeneratorSummary {
    /// The worst of its reasons.
    pub verdict: GeneratorVerdict,
    /// The worst first.
    pub reasons: Vec<GeneratorReason>,
}

/// Something that strained a generator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GeneratorReason {
    /// How bad it is.
    pub verdict: GeneratorVerdict,
    /// The worker; `None` for the whole run.
    pub worker: Option<WorkerId>,
    /// A short word: the kind of a rule in [`RULES`](crate::generator::RULES), `dropped_late` or `min_started`.
    pub kind: &'static str,
    /// One sentence with the numbers.
    pub text: String,
    /// Intervals `[from, to)` in which it was so: the first ten and the last ten ranges at most.
    pub intervals: Vec<(u32, u32)>,
}

impl GeneratorReason {
    /// The reason in one sentence, with its verdict and its worker.
    pub fn sentence(&self) -> String {
        let worker = self
            .worker
            .map(|worker| format!(", worker {worker}"))
            .unwrap_or_default();
        format!("{} {}{worker}: {}", self.verdict.word(), self.kind, self.text)
    }
}

/// One stage of a load.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StageSummary {
    /// The load's name.
    pub load: String,
    /// The stage's name.
    pub name: String,
    /// Run time of its begin.
    pub from: Moment,
    /// Run time of its end.
    pub to: Moment,
    /// Arrivals due in its segments, as the workers counted them; `None` in closed models.
    pub scheduled: Option<u64>,
    /// Iterations of its segments that were started.
    pub started: u64,
}

/// One phase.
#[derive(Clone, Debug, PartialEq)]
pub struct PhaseSummary {
    /// The phase.
    pub phase: Phase,
    /// Iterations due in it; where other loads went on after the end of a counted one, up to that end.
    pub iterations: IterationTotals,
    /// Steps of those iterations.
    pub counts: StepCounts,
    /// Rates of what happened in its run time, whatever fell due when.
    pub rates: Rates,
    /// All outcomes.
    pub response: Latency,
    /// All outcomes.
    pub service: Latency,
    /// Otherwise the seconds behind its end are no longer kept apart from its own: there are rates per second alone.
    pub whole: bool,
}

/// One segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentSummary {
    /// Its number.
    pub id: SegmentId,
    /// Run time of its begin.
    pub from: Moment,
    /// Run time of its end.
    pub to: Moment,
    /// Its labels.
    pub phases: Vec<Phase>,
}

/// Both ledgers, checked at the end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Conservation {
    /// The iteration ledger.
    pub iterations: IterationTotals,
    /// The step ledger, setup and teardown included.
    pub steps: StepTotals,
    /// By worker.
    pub per_worker: Vec<(WorkerId, IterationTotals, StepTotals)>,
    /// Every equation that does not hold, with both sides. Empty = consistent.
    pub mismatches: Vec<String>,
}

/// Whole distributions.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Curves {
    /// Response time, all outcomes, censored included.
    pub response: Distribution,
    /// Service time, all outcomes.
    pub service: Distribution,
    /// Response time of `ok` steps.
    pub response_ok: Distribution,
    /// By interval, for `.hlog`.
    pub intervals: Vec<IntervalCurve>,
}

/// A distribution by bucket.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Distribution {
    /// `(highest value of the bucket in µs, count)`, rising, counts above 0. Recording each value so often in a
    /// histogram of 1 µs to 1 h with 3 digits gives the same buckets.
    pub buckets: Vec<(u64, u64)>,
    /// Sum of the counts.
    pub count: u64,
}

/// The distributions of one stretch of the timeline.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct IntervalCurve {
    /// Begin, run time, s.
    pub t_s: u32,
    /// Length, s.
    pub length_s: u32,
    /// Response time, all outcomes, censored included.
    pub response: Distribution,
    /// Service time, all outcomes.
    pub service: Distribution,
}
