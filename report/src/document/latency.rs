//! Distributions and the timeline.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One distribution in numbers, µs. Absent values are `null`: there were no samples.
///
/// `…_at_least: true` stands beside a value that is only a lower bound, because dropped arrivals and cancelled requests are in
/// the distribution at the age they had reached; it is left out where the value is exact.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each flag belongs to the number beside it, flat for readers of json"
)]
pub struct Latency {
    /// Samples, censored ones included.
    pub count: u64,
    /// Of those, censored: arrivals dropped and requests cancelled, at the age they had reached.
    pub censored: u64,
    /// Smallest.
    pub min_us: Option<u64>,
    /// `min_us` is a lower bound.
    #[serde(default, skip_serializing_if = "is_false")]
    pub min_at_least: bool,
    /// Arithmetic mean.
    pub mean_us: Option<f64>,
    /// `mean_us` is a lower bound.
    #[serde(default, skip_serializing_if = "is_false")]
    pub mean_at_least: bool,
    /// 50th percentile.
    pub p50_us: Option<u64>,
    /// `p50_us` is a lower bound.
    #[serde(default, skip_serializing_if = "is_false")]
    pub p50_at_least: bool,
    /// 90th percentile.
    pub p90_us: Option<u64>,
    /// `p90_us` is a lower bound.
    #[serde(default, skip_serializing_if = "is_false")]
    pub p90_at_least: bool,
    /// 95th percentile.
    pub p95_us: Option<u64>,
    /// `p95_us` is a lower bound.
    #[serde(default, skip_serializing_if = "is_false")]
    pub p95_at_least: bool,
    /// 99th percentile.
    pub p99_us: Option<u64>,
    /// `p99_us` is a lower bound.
    #[serde(default, skip_serializing_if = "is_false")]
    pub p99_at_least: bool,
    /// 99.9th percentile.
    pub p999_us: Option<u64>,
    /// `p999_us` is a lower bound.
    #[serde(default, skip_serializing_if = "is_false")]
    pub p999_at_least: bool,
    /// 99.99th percentile.
    pub p9999_us: Option<u64>,
    /// `p9999_us` is a lower bound.
    #[serde(default, skip_serializing_if = "is_false")]
    pub p9999_at_least: bool,
    /// Largest.
    pub max_us: Option<u64>,
    /// `max_us` is a lower bound.
    #[serde(default, skip_serializing_if = "is_false")]
    pub max_at_least: bool,
}

/// The four latencies.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
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

/// Parts of a request; `null` = not recorded.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Timings {
    /// Name resolution of new connections.
    pub dns: Option<Latency>,
    /// TCP handshake of new connections.
    pub connect: Option<Latency>,
    /// TLS handshake of new connections.
    pub tls: Option<Latency>,
    /// From the send to the first byte of the answer.
    pub first_byte: Option<Latency>,
}

/// A stretch of the run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each flag belongs to the number beside it, flat for readers of json"
)]
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
    pub timeout: u64,
    /// Steps cancelled.
    pub cancelled: u64,
    /// Arrivals dropped.
    pub dropped: u64,
    /// Iterations in progress at the end.
    pub active: u64,
    /// Bytes of answer bodies.
    pub body_bytes_in: u64,
    /// Response time, median.
    pub response_p50_us: Option<u64>,
    /// `response_p50_us` is a lower bound.
    #[serde(default, skip_serializing_if = "is_false")]
    pub response_p50_at_least: bool,
    /// Response time, 95th percentile.
    pub response_p95_us: Option<u64>,
    /// `response_p95_us` is a lower bound.
    #[serde(default, skip_serializing_if = "is_false")]
    pub response_p95_at_least: bool,
    /// Response time, 99th percentile.
    pub response_p99_us: Option<u64>,
    /// `response_p99_us` is a lower bound.
    #[serde(default, skip_serializing_if = "is_false")]
    pub response_p99_at_least: bool,
    /// Service time, median.
    pub service_p50_us: Option<u64>,
    /// `service_p50_us` is a lower bound.
    #[serde(default, skip_serializing_if = "is_false")]
    pub service_p50_at_least: bool,
    /// Service time, 99th percentile.
    pub service_p99_us: Option<u64>,
    /// `service_p99_us` is a lower bound.
    #[serde(default, skip_serializing_if = "is_false")]
    pub service_p99_at_least: bool,
    /// (failed + timeout) / (ok + failed + timeout).
    pub error_rate: Option<f64>,
    /// The stage of the first load at the beginning.
    pub stage: Option<String>,
    /// Workers whose counts are in here.
    pub reported: u32,
    /// Workers that were expected.
    pub expected: u32,
    /// Counts of a lost worker are missing here.
    pub hole: bool,
}

/// Whole distributions.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Curves {
    /// Response time, all outcomes, censored included.
    pub response: Distribution,
    /// Service time, all outcomes.
    pub service: Distribution,
    /// Response time of `ok` steps.
    pub response_ok: Distribution,
}

/// A distribution by bucket of an HDR histogram of 1 µs to 1 h with 3 digits: two lists of one length.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Distribution {
    /// Sum of the counts.
    pub count: u64,
    /// Highest value of each bucket with samples, rising, µs.
    pub values_us: Vec<u64>,
    /// Its samples.
    pub counts: Vec<u64>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands a reference")]
fn is_false(flag: &bool) -> bool {
    !flag
}
