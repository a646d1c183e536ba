//! The report against the bench's own account: figures of a run that lost or invented something are worth nothing.

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::Options;
use super::deltas::STEPS;
use super::tally::Truth;

/// Checks the report of a run.
///
/// # Errors
/// The first thing that it says otherwise.
pub(super) fn verify(report: &Value, truth: &Truth, options: &Options) -> Result<()> {
    let mismatches = at(report, "/conservation/mismatches")?.as_array().map_or(1, Vec::len);
    ensure!(mismatches == 0, "the report is inconsistent: {report:#}");
    let check = |path: &str, want: u64| -> Result<()> {
        let got = at(report, path)?.as_u64();
        ensure!(
            got == Some(want),
            "{path} of the report is {got:?}, the workers sent {want}"
        );
        Ok(())
    };
    for count in ["scheduled", "started", "completed"] {
        check(&format!("/iterations/{count}"), truth.iterations)?;
    }
    for count in ["attempted", "sent", "ok"] {
        check(&format!("/steps_total/{count}"), truth.steps)?;
    }
    for (measure, quantiles) in [("response", truth.response), ("service", truth.service)] {
        check(&format!("/latency/{measure}/count"), truth.steps)?;
        for (quantile, want) in ["p50_us", "p99_us", "p999_us"].iter().zip(quantiles) {
            check(&format!("/latency/{measure}/{quantile}"), want)?;
        }
    }
    let sums = at(report, "/timeline")?.as_array().context("the timeline is no list")?;
    let sum: u64 = sums.iter().filter_map(|point| point["ok"].as_u64()).sum();
    ensure!(
        sum == truth.steps,
        "the timeline adds up to {sum}, the workers sent {}",
        truth.steps
    );
    let length = |path| Ok::<_, anyhow::Error>(at(report, path)?.as_array().map_or(0, Vec::len));
    let (workers, steps) = (length("/workers")?, length("/steps")?);
    ensure!(
        workers == options.workers as usize && steps == STEPS as usize,
        "the report has {workers} workers and {steps} steps"
    );
    Ok(())
}

fn at<'a>(report: &'a Value, path: &str) -> Result<&'a Value> {
    report
        .pointer(path)
        .with_context(|| format!("the report has no {path}"))
}
