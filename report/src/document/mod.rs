//! `report.json` as types: `schema_version` 1. Every number carries its unit in its name, an absent one is `null`.
//!
//! Fields are only ever added within one schema version. Run time counts from the begin of the run, in microseconds
//! (`…_us`) or whole seconds (`…_s`).

pub(crate) mod convert;
mod latency;
mod ledger;
mod measured;
mod parts;
pub(crate) mod schema;
mod words;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use latency::{Curves, Distribution, Latencies, Latency, TimelinePoint, Timings};
pub use ledger::{Conservation, Dropped, Failed, Iterations, Rates, StepTotals, WorkerLedger};
pub use parts::{
    EarlyStop, ErrorLine, Event, Failures, Fault, Generator, GeneratorReason, Health, Phase, Place, Run, Scenario,
    Segment, Sla, Stage, Step, Tag, Worker,
};
pub use words::{GeneratorVerdict, SlaVerdict, Verdict, WorkerState};

/// The version of the layout, [`Document::schema_version`].
pub const SCHEMA_VERSION: u32 = 1;

/// Everything that is known about a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Document {
    /// The layout of this document: 1.
    pub schema_version: u32,
    /// What was run.
    pub run: Run,
    /// What it is worth.
    pub verdict: Verdict,
    /// Whether the verdict is `passed`.
    pub passed: bool,
    /// Why, one sentence each, the deciding one first.
    pub reasons: Vec<String>,
    /// What a process that followed the run exits with.
    pub exit_code: u8,
    /// Set when the run ended before its plan did.
    pub stopped_early: Option<EarlyStop>,
    /// Every SLA, the implicit ones last.
    pub sla: Vec<Sla>,
    /// The ledger of iterations: `scheduled = started_scheduled + dropped + unsent + unknown`,
    /// `started = completed + broken_off + cancelled + in_progress`.
    pub iterations: Iterations,
    /// The ledger of steps, warm-up included, without setup and teardown:
    /// `attempted = sent + shed + fallback + injected`, `sent = ok + failed + timeout + cancelled + in_flight`.
    pub steps_total: StepTotals,
    /// The ledger of setup and teardown.
    pub once_total: StepTotals,
    /// Rates and ratios over `steps_total`.
    #[serde(flatten)]
    pub rates: Rates,
    /// Latencies over all steps and outcomes; what was dropped or cancelled is in them as lower bounds.
    pub latency: Latencies,
    /// Latencies over the steps that ended `ok`.
    pub latency_ok: Latencies,
    /// Parts of new connections and the first byte, over all outcomes.
    pub timings: Timings,
    /// Every request and group, in plan order.
    pub steps: Vec<Step>,
    /// Every scenario, in plan order.
    pub scenarios: Vec<Scenario>,
    /// How often steps failed, and why.
    pub failures: Failures,
    /// Samples of errors, at most 100, in order of time.
    pub errors: Vec<ErrorLine>,
    /// The run over time.
    pub timeline: Vec<TimelinePoint>,
    /// Every worker, by number.
    pub workers: Vec<Worker>,
    /// What happened and what was commanded, in order of time.
    pub events: Vec<Event>,
    /// Faults that were injected.
    pub faults: Vec<Fault>,
    /// Whether the load generator can be trusted.
    pub generator: Generator,
    /// Every stage of every load, in plan order.
    pub stages: Vec<Stage>,
    /// Every phase, in order of first appearance.
    pub phases: Vec<Phase>,
    /// Every segment: the run time between two marks.
    pub segments: Vec<Segment>,
    /// The check of both ledgers.
    pub conservation: Conservation,
    /// Whole distributions by bucket.
    pub curves: Curves,
    /// Samples above one hour, recorded as one hour.
    pub clipped: u64,
    /// Samples that are in the totals, but in no step's or scenario's line: the run had too many series.
    pub samples_in_other: u64,
}
