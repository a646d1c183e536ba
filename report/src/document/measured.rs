//! From the numbers of a summary to those of its document.

use barrage_metrics::summary;
use barrage_model::delta::Measure;

use super::{Distribution, Latencies, Latency, Rates, TimelinePoint, Timings};

impl From<summary::Rates> for Rates {
    fn from(from: summary::Rates) -> Self {
        Self {
            covered_us: from.covered_us,
            offered_per_s: finite(from.offered_per_s),
            started_per_s: finite(from.started_per_s),
            attempted_per_s: finite(from.attempted_per_s),
            rate_per_s: finite(from.rate_per_s),
            throughput_per_s: finite(from.throughput_per_s),
            goodput_per_s: finite(from.goodput_per_s),
            error_rate: finite(from.error_rate),
            drop_rate: finite(from.drop_rate),
            throughput_mib_per_s: finite(from.throughput_mib_per_s),
        }
    }
}

pub(super) fn finite(number: Option<f64>) -> Option<f64> {
    number.filter(|number| number.is_finite())
}

/// The number of `…_us`.
fn value(quantile: Option<summary::Quantile>) -> Option<u64> {
    quantile.map(|quantile| quantile.value_us)
}

/// The flag of `…_at_least`.
fn bound(quantile: Option<summary::Quantile>) -> bool {
    quantile.is_some_and(|quantile| quantile.at_least)
}

impl From<summary::Latency> for Latency {
    fn from(from: summary::Latency) -> Self {
        let mean_us = finite(from.mean_us);
        Self {
            count: from.count,
            censored: from.censored,
            min_us: value(from.min),
            min_at_least: bound(from.min),
            mean_us,
            mean_at_least: mean_us.is_some() && from.mean_at_least(),
            p50_us: value(from.p50),
            p50_at_least: bound(from.p50),
            p90_us: value(from.p90),
            p90_at_least: bound(from.p90),
            p95_us: value(from.p95),
            p95_at_least: bound(from.p95),
            p99_us: value(from.p99),
            p99_at_least: bound(from.p99),
            p999_us: value(from.p999),
            p999_at_least: bound(from.p999),
            p9999_us: value(from.p9999),
            p9999_at_least: bound(from.p9999),
            max_us: value(from.max),
            max_at_least: bound(from.max),
        }
    }
}

impl From<summary::Latencies> for Latencies {
    fn from(from: summary::Latencies) -> Self {
        Self {
            response: from.response.into(),
            service: from.service.into(),
            dispatch_lag: from.dispatch_lag.into(),
            iteration: from.iteration.into(),
        }
    }
}

pub(super) fn timings(from: &[(Measure, summary::Latency)]) -> Timings {
    let of = |measure| {
        let found = from.iter().find(|(own, _)| *own == measure);
        found.map(|(_, latency)| Latency::from(*latency))
    };
    Timings {
        dns: of(Measure::Dns),
        connect: of(Measure::Connect),
        tls: of(Measure::Tls),
        first_byte: of(Measure::FirstByte),
    }
}

impl From<&summary::TimelinePoint> for TimelinePoint {
    fn from(from: &summary::TimelinePoint) -> Self {
        Self {
            t_s: from.t_s,
            length_s: from.length_s,
            offered: from.offered,
            started: from.started,
            sent: from.sent,
            ok: from.ok,
            failed: from.failed,
            timeout: from.timeouts,
            cancelled: from.cancelled,
            dropped: from.dropped,
            active: from.active,
            body_bytes_in: from.body_bytes_in,
            response_p50_us: value(from.response_p50),
            response_p50_at_least: bound(from.response_p50),
            response_p95_us: value(from.response_p95),
            response_p95_at_least: bound(from.response_p95),
            response_p99_us: value(from.response_p99),
            response_p99_at_least: bound(from.response_p99),
            service_p50_us: value(from.service_p50),
            service_p50_at_least: bound(from.service_p50),
            service_p99_us: value(from.service_p99),
            service_p99_at_least: bound(from.service_p99),
            error_rate: finite(from.error_rate),
            stage: from.stage.clone(),
            reported: from.reported,
            expected: from.expected,
            hole: from.hole,
        }
    }
}

impl From<&summary::Distribution> for Distribution {
    fn from(from: &summary::Distribution) -> Self {
        let (values_us, counts) = from.buckets.iter().copied().unzip();
        Self {
            count: from.count,
            values_us,
            counts,
        }
    }
}
