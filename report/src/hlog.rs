//! An HDR histogram interval log: one line for each interval and kind of latency, compressed V2 histograms of 1 µs to
//! 1 h with 3 digits, tagged `response` and `service`.
//!
//! Times in the log count from its `BaseTime`, the start of the run. Intervals without samples have no line.

use std::time::Duration;

use barrage_metrics::summary::{Distribution, Summary};
use hdrhistogram::Histogram;
use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::{IntervalLogWriterBuilder, Tag};
use jiff::Timestamp;

use crate::clean::{NAME_MAX, clean};
use crate::render::RenderError;
use crate::section::censored;

const LOWEST_US: u64 = 1;
const HIGHEST_US: u64 = 3_600_000_000;
const DIGITS: u8 = 3;

pub(crate) fn render(summary: &Summary) -> Result<Vec<u8>, RenderError> {
    let mut out = Vec::new();
    let mut serializer = V2DeflateSerializer::new();
    let mut builder = IntervalLogWriterBuilder::new();
    builder.add_comment("[Histogram log format version 1.3]");
    let name = clean(&summary.run.name, NAME_MAX);
    builder.add_comment(&format!("run {} of {name}, values in microseconds", summary.run.id));
    let (verdict, generator) = (summary.verdict.word(), summary.generator.verdict.word());
    builder.add_comment(&format!("verdict {verdict}, generator {generator}"));
    if let Some(text) = censored(summary) {
        builder.add_comment(&text);
    }
    if let Some(start) = start(&summary.run.started_at) {
        builder.with_start_time(start.into()).with_base_time(start.into());
    }
    let mut log = builder.begin_log_with(&mut out, &mut serializer).map_err(failed)?;
    for interval in &summary.curves.intervals {
        let from = Duration::from_secs(interval.t_s.into());
        let length = Duration::from_secs(interval.length_s.into());
        for (word, distribution) in [("response", &interval.response), ("service", &interval.service)] {
            if !distribution.buckets.is_empty() {
                let tag = Tag::new(word).expect("the tag holds no comma, space or line end");
                log.write_histogram(&histogram(distribution)?, from, length, Some(tag))
                    .map_err(failed)?;
            }
        }
    }
    Ok(out)
}

fn histogram(distribution: &Distribution) -> Result<Histogram<u64>, RenderError> {
    let mut histogram =
        Histogram::new_with_bounds(LOWEST_US, HIGHEST_US, DIGITS).expect("the bounds are constants that are valid");
    for (value_us, count) in &distribution.buckets {
        histogram
            .record_n(*value_us, *count)
            .map_err(|_| RenderError::Bucket { value_us: *value_us })?;
    }
    Ok(histogram)
}

/// The start of the run; `None` when it is not RFC 3339 or before 1970.
fn start(started_at: &str) -> Option<Timestamp> {
    let started: Timestamp = started_at.parse().ok()?;
    (started >= Timestamp::UNIX_EPOCH).then_some(started)
}

fn failed(error: impl std::error::Error + Send + Sync + 'static) -> RenderError {
    RenderError::Hlog(Box::new(error))
}
