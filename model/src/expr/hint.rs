//! What the words of other tools mean here.

use super::metric::{ByteCount, ByteRate, Count, RateMetric, RatioMetric};
use super::{Measure, Metric, Threshold, parse};
use crate::outcome::FailureClass;
use crate::syntax::{Cursor, TEXT_MAX, nearest};

/// The whole expression that `word` and what follows it were meant to be, as far as that can be told; else the metric
/// alone. `after` is the text behind the word.
pub(super) fn meant(word: &str, after: &str) -> Option<String> {
    let lower = word.to_ascii_lowercase();
    if lower == "p" {
        return percentile_call(after);
    }
    if let Some(metric) = foreign(&lower) {
        return Some(corrected(metric, after));
    }
    if let Some(digits) = lower
        .strip_prefix('p')
        .filter(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
    {
        return percentile(digits);
    }
    if let Some(class) = lower.strip_prefix("failed.") {
        let class = nearest(class, FailureClass::ALL.iter().map(|class| class.word()));
        return Some(class.map_or_else(|| "failed".to_owned(), |class| format!("failed.{class}")));
    }
    nearest(word, known()).map(str::to_owned)
}

/// Every metric's word, without percentiles and failure classes.
fn known() -> impl Iterator<Item = &'static str> {
    ["median", "mean", "min", "max"]
        .into_iter()
        .chain(RatioMetric::ALL.iter().map(|metric| metric.word()))
        .chain(RateMetric::ALL.iter().map(|metric| metric.word()))
        .chain(Count::PLAIN.iter().map(|count| count.word()))
        .chain(ByteCount::ALL.iter().map(|metric| metric.word()))
        .chain(ByteRate::ALL.iter().map(|metric| metric.word()))
}

fn foreign(word: &str) -> Option<&'static str> {
    Some(match word {
        "http_req_duration" | "response_time" | "latency" | "duration" | "percentile" => "p95",
        "http_req_waiting" | "ttfb" => "p95(first_byte)",
        "http_req_connecting" => "p95(connect)",
        "http_req_tls_handshaking" => "p95(tls)",
        "iteration_duration" => "p95(iteration)",
        "dispatch_lag" | "lag" => "p95(dispatch_lag)",
        "avg" | "average" | "avg_response_time" => "mean",
        "med" => "median",
        "http_req_failed" | "rate" | "failure_rate" | "fail_ratio" | "errors_rate" => "error_rate",
        "checks" => "check_failure_rate",
        "http_reqs" | "rps" | "qps" | "requests_per_second" | "req_per_sec" => "throughput",
        "dropped_iterations" | "drops" => "dropped",
        "iterations" => "completed",
        "requests" | "count" => "sent",
        "errors" | "failures" | "fails" => "failed",
        "successes" => "ok",
        "timed_out" => "timeouts",
        "data_received" | "bytes_in" => "wire_bytes_in",
        "data_sent" | "bytes_out" => "wire_bytes_out",
        _ => return None,
    })
}

/// `p(95)<250`, the way k6 writes percentiles.
fn percentile_call(after: &str) -> Option<String> {
    let (digits, rest) = after.strip_prefix('(')?.split_once(')')?;
    let metric = format!("p{}", digits.trim());
    parse::kind(&metric).map(|_| corrected(&metric, rest))
}

/// `p999`, `p100`, `p99_9`, `p95th`.
fn percentile(digits: &str) -> Option<String> {
    let digits = digits.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    if parse::kind(&format!("p{digits}")).is_some() {
        return Some(format!("p{digits}"));
    }
    match digits.trim_end_matches(['0', '.']) {
        "" => return Some("min".to_owned()),
        "1" if digits.starts_with("100") => return Some("max".to_owned()),
        _ => {}
    }
    let (whole, part) = digits.split_at_checked(2)?;
    let guess = format!("p{whole}.{}", part.trim_start_matches(['.', '_', '-']));
    let guess = guess.get(..guess.len().min(8)).unwrap_or_default();
    parse::kind(guess).map(|_| guess.to_owned())
}

/// `metric` with the comparison and threshold that follow, the latter in its nearest valid spelling.
fn corrected(metric: &str, after: &str) -> String {
    let complete = || {
        let operand: Metric = parse::metric(&mut Cursor::new(metric, TEXT_MAX).ok()?).ok()?;
        let mut cursor = Cursor::new(after, TEXT_MAX).ok()?;
        let cmp = parse::cmp(&mut cursor).ok()?;
        let text = parse::threshold_text(&mut cursor);
        let threshold = Threshold::read(operand.dimension(), text)
            .or_else(|misfit| Threshold::read(operand.dimension(), &misfit.nearest.unwrap_or_default()))
            .ok()?;
        Some(format!("{metric} {cmp} {threshold}"))
    };
    complete().unwrap_or_else(|| metric.to_owned())
}

/// The words that may stand in a latency's parentheses.
pub(super) fn argument(word: &str) -> Option<&'static str> {
    match word.to_ascii_lowercase().as_str() {
        "ttfb" | "waiting" => Some("first_byte"),
        "lag" => Some("dispatch_lag"),
        "success" | "passed" => Some("ok"),
        _ => nearest(word, Measure::ALL.iter().map(|measure| measure.word()).chain(["ok"])),
    }
}
