//! Counts and rates.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A ledger of iterations.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Iterations {
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
    /// Open when last heard of.
    pub in_progress: u64,
    /// Due arrivals that never started, by reason.
    pub dropped: Dropped,
    /// Sum of `dropped`.
    pub dropped_total: u64,
    /// Due after a loss or a stop, known not to have been sent.
    pub unsent: u64,
    /// In a lost worker's hands: sent or not, nobody knows.
    pub unknown: u64,
    /// Due but not yet started or dropped; 0 once the run has ended.
    pub waiting: u64,
}

/// Dropped arrivals by reason.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
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

/// A ledger of steps.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StepTotals {
    /// Steps that were due to be sent.
    pub attempted: u64,
    /// Steps handed to an engine.
    pub sent: u64,
    /// Answered as expected.
    pub ok: u64,
    /// Failures by class.
    pub failed: Failed,
    /// Sum of `failed`.
    pub failed_total: u64,
    /// No complete answer in time.
    pub timeout: u64,
    /// Given up at the end of the run.
    pub cancelled: u64,
    /// Sent and not ended when last heard of; `null` where it is not known.
    pub in_flight: Option<u64>,
    /// Refused by an open circuit breaker.
    pub shed: u64,
    /// Answered by a circuit breaker's fallback.
    pub fallback: u64,
    /// Answered by a fault injected in the worker.
    pub injected: u64,
    /// Requests on the wire: those that reached a connection, plus redirect hops.
    pub wire_requests: u64,
    /// Bytes of answer bodies.
    pub body_bytes_in: u64,
    /// Bytes of request bodies.
    pub body_bytes_out: u64,
    /// Bytes read from connections, heads, framing and TLS included; `null` where a part of them went through an engine that
    /// cannot see them (`reqwest`).
    pub wire_bytes_in: Option<u64>,
    /// Bytes written to connections, heads, framing and TLS included; `null` as above.
    pub wire_bytes_out: Option<u64>,
}

/// Failed steps by class. The first cause that applies wins, in this order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Failed {
    /// The name could not be resolved.
    pub dns: u64,
    /// No TCP connection could be made.
    pub connect: u64,
    /// The TLS handshake failed.
    pub tls: u64,
    /// The connection broke after the request had begun.
    pub reset: u64,
    /// A kept-alive connection had been closed by the server before the request was answered at all.
    pub closed_on_reuse: u64,
    /// The answer was not valid HTTP or went over a limit.
    pub protocol: u64,
    /// The status is not among the expected ones.
    pub status: u64,
    /// An `expect` other than the status did not hold.
    pub check: u64,
    /// An `extract` found nothing.
    pub extract: u64,
}

/// Rates of what happened in the whole seconds of a stretch of run time, up to the end of the load, and ratios of counts;
/// `null` = there was no such second or nothing to divide by.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Rates {
    /// Length of the seconds that the rates are over, µs.
    pub covered_us: u64,
    /// Arrivals that fell due, 1/s; `null` where nothing has a schedule (closed models, a step), and where a lost worker
    /// has left arrivals behind.
    pub offered_per_s: Option<f64>,
    /// Iterations begun, 1/s; `null` in the rates of a step.
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

/// Both ledgers, checked at the end of the run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Conservation {
    /// Whether every equation holds.
    pub consistent: bool,
    /// Every equation that does not hold, with both sides.
    pub mismatches: Vec<String>,
    /// The iteration ledger.
    pub iterations: Iterations,
    /// The step ledger, setup and teardown included.
    pub steps: StepTotals,
    /// By worker.
    pub per_worker: Vec<WorkerLedger>,
}

/// One worker's part of both ledgers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WorkerLedger {
    /// The worker's number.
    pub worker: u32,
    /// Its iterations.
    pub iterations: Iterations,
    /// Its steps.
    pub steps: StepTotals,
}
