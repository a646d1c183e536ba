//! What a run is made of: its identity, SLAs, steps, workers, errors and events.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::latency::Latency;
use super::ledger::{Failed, Iterations, Rates, StepTotals};
use super::words::{GeneratorVerdict, SlaVerdict, WorkerState};

/// Identity of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Run {
    /// 16 hexadecimal digits.
    pub id: String,
    /// The plan's name.
    pub name: String,
    /// Seed of everything random.
    pub seed: u64,
    /// SHA-256 of the normalised plan, hexadecimal.
    pub plan_hash: String,
    /// Labels given at submission.
    pub labels: BTreeMap<String, String>,
    /// Wall-clock start, RFC 3339; for display alone.
    pub started_at: String,
    /// Run time to the end of the load and its draining, µs.
    pub duration_us: u64,
    /// The same in seconds.
    pub duration_s: f64,
    /// Version of the coordinator.
    pub version: String,
    /// The targets' base URLs, without credentials.
    pub targets: Vec<String>,
}

/// Why a run ended before its plan did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EarlyStop {
    /// Run time of the decision, µs.
    pub at_us: u64,
    /// One sentence.
    pub reason: String,
}

/// One SLA with what was seen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Sla {
    /// The expression, normalised.
    pub that: String,
    /// The phases it covers, in words; `null` = the whole run without warm-up, and with it if `implicit`.
    pub during: Option<String>,
    /// Length of its sliding window, µs; `null` = the whole run.
    pub over_us: Option<u64>,
    /// Evaluations in a row that make a breach.
    pub in_a_row: u32,
    /// Whether a breach stops the run.
    pub stop: bool,
    /// Not in the plan: it stands for every open load.
    pub implicit: bool,
    /// The values seen, ready to show.
    pub observed: String,
    /// The verdict.
    pub verdict: SlaVerdict,
    /// Why, one sentence.
    pub reason: String,
    /// Where it stands in the plan.
    pub at: Option<Place>,
    /// Run time of the evaluation that breached a window first, µs.
    pub breached_at_us: Option<u64>,
}

/// A place in the plan's text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Place {
    /// From 1.
    pub line: u32,
    /// From 1.
    pub column: u32,
}

/// One request or group.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Step {
    /// Its number in the plan.
    pub id: u32,
    /// The scenario's name, `setup` or `teardown`.
    pub scenario: String,
    /// Its name.
    pub name: String,
    /// A group has latencies but sends nothing itself.
    pub group: bool,
    /// Its ledger.
    pub totals: StepTotals,
    /// Rates over the run.
    pub rates: Rates,
    /// All outcomes; `null`, like the other three, where the run had too many series to keep those of the step apart.
    pub response: Option<Latency>,
    /// All outcomes.
    pub service: Option<Latency>,
    /// Ended `ok`.
    pub response_ok: Option<Latency>,
    /// Ended `ok`.
    pub service_ok: Option<Latency>,
    /// The same by tag values; empty when there is only one combination, or all of it by tags is not known.
    pub tags: Vec<Tag>,
}

/// The part of a step whose answers carried the same tag values.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Tag {
    /// Tag names and values; an empty value = the answer had no such header.
    pub tags: BTreeMap<String, String>,
    /// Its counts; `in_flight` is not known by tag.
    pub totals: StepTotals,
    /// (failed + timeout) / (ok + failed + timeout).
    pub error_rate: Option<f64>,
    /// All outcomes.
    pub response: Latency,
    /// All outcomes.
    pub service: Latency,
}

/// One scenario.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Scenario {
    /// Its name.
    pub name: String,
    /// Its ledger, without `unsent` and `unknown`, which belong to no scenario.
    pub iterations: Iterations,
    /// Due instant to the end of the last step; `null`, like the lag, where the run had too many series to keep those of the
    /// scenario apart.
    pub iteration: Option<Latency>,
    /// Actual start − due.
    pub dispatch_lag: Option<Latency>,
}

/// How often steps failed, and why.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Failures {
    /// Failures by class.
    pub by_class: Failed,
    /// Timeouts.
    pub timeout: u64,
}

/// A sampled error.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ErrorLine {
    /// When the step ended, run time, µs.
    pub at_us: u64,
    /// The same as wall-clock time, RFC 3339, for display; `null` when the start is not known.
    pub timestamp: Option<String>,
    /// The scenario's name.
    pub scenario: String,
    /// The step's number.
    pub step_id: u32,
    /// The step's name.
    pub step: String,
    /// A failure class or `timeout`.
    pub class: String,
    /// The answer's status; `null` when none came.
    pub status: Option<u16>,
    /// From the send to the end of the step, µs; `null` when nothing was sent.
    pub service_us: Option<u64>,
    /// The worker's number.
    pub worker: u32,
    /// What went wrong.
    pub message: String,
}

/// One worker.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Worker {
    /// Its number.
    pub id: u32,
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
    pub iterations: Iterations,
    /// Its part of the step ledger.
    pub steps: StepTotals,
    /// The worst it went through.
    pub health: Health,
    /// Run time without its counts although it had load to make, `[from, to)`, s.
    pub holes_s: Vec<(u32, u32)>,
    /// Its own part of the generator verdict.
    pub generator: GeneratorVerdict,
}

/// Extremes of a worker's self-health.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Health {
    /// Worst interval's 99th percentile of the dispatch lag that the generator caused, µs.
    pub dispatch_lag_p99_max_us: u64,
    /// Longest time a shard went unpolled, µs.
    pub poll_delay_max_us: u64,
    /// Highest CPU share of the busiest shard, 0 to 1.
    pub shard_cpu_max_ratio: f64,
    /// Largest share of the time for which a shard was ready to run and had no core, 0 to 1.
    pub shard_wait_max_ratio: f64,
    /// Highest share of the time for which one of its cores was busy, whoever used it, 0 to 1.
    pub core_busy_max_ratio: f64,
    /// Mean CPU use of the process, cores.
    pub cpu_mean_cores: f64,
    /// Time throttled by the cgroup, µs.
    pub throttled_us: u64,
    /// CPU time stolen by the hypervisor, µs.
    pub steal_us: u64,
    /// Most resident memory, bytes.
    pub rss_max_bytes: u64,
    /// Most resident memory that belongs to no file, bytes.
    pub rss_anon_max_bytes: u64,
    /// Least memory that programs of its host, or of its control group, could still get, bytes; `null` where the host does not say.
    pub memory_available_min_bytes: Option<u64>,
    /// Most open descriptors.
    pub descriptors_max: u32,
    /// The limit on descriptors.
    pub descriptors_limit: u32,
    /// Most local ports in use by connections to one address.
    pub ports_max: u32,
    /// Local ports that there are for each address.
    pub ports_limit: u32,
    /// TCP segments that the host has sent again.
    pub retransmits: u64,
    /// Attempts that failed because the worker itself had no descriptor left.
    pub short_of_descriptors: u64,
    /// Attempts that failed because the worker itself had no local port left.
    pub short_of_ports: u64,
    /// Attempts that failed because the worker itself had no memory for sockets or kept bodies left.
    pub short_of_memory: u64,
    /// Name lookups for which the worker got no thread.
    pub short_of_threads: u64,
    /// Answers that were read after their deadline, or later than a check allows, because the worker stood still meanwhile.
    pub short_of_time: u64,
    /// Most connections.
    pub connections_max: u32,
    /// Most slots.
    pub slots_max: u32,
}

/// What happened or was commanded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Event {
    /// Run time, µs.
    pub at_us: u64,
    /// A short word.
    pub kind: String,
    /// The worker it is about.
    pub worker: Option<u32>,
    /// One sentence.
    pub text: String,
}

/// A fault that was injected.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Fault {
    /// Its name in the plan.
    pub name: String,
    /// What it was, in words.
    pub what: String,
    /// Run time of its begin, µs.
    pub from_us: u64,
    /// Run time at which it was observed to be undone, µs.
    pub to_us: Option<u64>,
    /// `held`, `violated`, `not enough evidence` or `invalid`.
    pub verdict: String,
}

/// The generator's verdict on itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Generator {
    /// The worst of its reasons.
    pub verdict: GeneratorVerdict,
    /// The worst first.
    pub reasons: Vec<GeneratorReason>,
}

/// Something that strained a generator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct GeneratorReason {
    /// How bad it is.
    pub verdict: GeneratorVerdict,
    /// The worker; `null` for the whole run.
    pub worker: Option<u32>,
    /// A short word.
    pub kind: String,
    /// One sentence with the numbers.
    pub text: String,
    /// Run time in which it was so, `[from, to)`, s.
    pub intervals_s: Vec<(u32, u32)>,
}

/// One stage of a load.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Stage {
    /// The load's name.
    pub load: String,
    /// The stage's name.
    pub name: String,
    /// Run time of its begin, µs.
    pub from_us: u64,
    /// Run time of its end, µs.
    pub to_us: u64,
    /// Arrivals due in it; `null` in closed models.
    pub scheduled: Option<u64>,
    /// Iterations of it that were started.
    pub started: u64,
}

/// One phase.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Phase {
    /// `warm_up`, `steady`, `stage(NAME)`, `baseline(FAULT)`, `fault(FAULT)`, `recovery(FAULT)` or `undoing`.
    pub phase: String,
    /// Iterations due in it; where other loads went on after the end of a load of `iterations`, up to that end. `null`, like steps
    /// and latencies, where that lies too far back to tell.
    pub iterations: Option<Iterations>,
    /// Steps of those iterations; `in_flight` is not known by phase.
    pub steps: Option<StepTotals>,
    /// Rates over its run time.
    pub rates: Rates,
    /// All outcomes.
    pub response: Option<Latency>,
    /// All outcomes.
    pub service: Option<Latency>,
}

/// The run time between two marks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Segment {
    /// Its number.
    pub id: u32,
    /// Run time of its begin, µs.
    pub from_us: u64,
    /// Run time of its end, µs.
    pub to_us: u64,
    /// Its phases.
    pub phases: Vec<String>,
}
