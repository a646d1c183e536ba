//! A target that stands still for a second: the response time says so, whatever the number of slots.
//!
//! Of the arrivals of 10 s at a constant rate those of one second wait, and their waits are spread evenly between 0 and
//! 1 s. So 1 − 0.05 of all samples lie below half a second, and 1 − 0.01 below nine tenths of one.

use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use crate::support::barrage::{Process, home};
use crate::support::quiet::Measured;
use crate::support::report::{assert_iterations_balance, assert_steps_balance, sum, whole};
use crate::support::target::{Answer, Freeze, Target, can_queue};
use crate::support::{plan, quiet, skip};

const FREEZE: Freeze = Freeze {
    after: Duration::from_secs(4),
    length: Duration::from_secs(1),
};
const ARRIVALS: u64 = 10_000;

fn answer(_: &str) -> Answer {
    Answer {
        status: 200,
        headers: "",
        delay: Duration::from_millis(2),
    }
}

fn load(home: &TempDir, target: &Target, seconds: u64, max_active: u32) -> Value {
    let text = format!(
        "
name: freeze
target: {}
load: {{ rate: 1000/s, for: {seconds}s, max_active: {max_active}, give_up_after: 10s }}
steps: [ get: '/${{iteration()}}' ]
",
        target.url
    );
    let plan = plan::write(home, &text);
    let args = [
        "run",
        &plan,
        "--threads",
        "1",
        "--format",
        "json",
        "--accept-invalid",
        "--quiet",
    ];
    let ended = Process::start(home, args).wait(Duration::from_mins(1));
    assert_eq!(ended.code, 0, "{}\n{}", ended.stdout, ended.stderr);
    let report = ended.json();
    assert_nothing_vanished(&report, target, seconds * 1_000);
    report
}

/// Holds however busy the machine is.
fn assert_nothing_vanished(report: &Value, target: &Target, arrivals: u64) {
    for count in ["scheduled", "started", "completed"] {
        assert_eq!(whole(report, &format!("iterations.{count}")), arrivals, "{count}");
    }
    assert_eq!(sum(report, "iterations.dropped"), 0);
    assert_eq!(whole(report, "steps_total.ok"), arrivals);
    assert_eq!(target.requests(), arrivals, "the target has read each request");
    assert!(
        target.numbers().into_iter().eq((0..arrivals).map(|number| (number, 1))),
        "each arrival came once"
    );
    for latency in ["response", "service", "dispatch_lag", "iteration"] {
        assert_eq!(
            whole(report, &format!("latency.{latency}.count")),
            arrivals,
            "{latency}"
        );
        assert_eq!(whole(report, &format!("latency.{latency}.censored")), 0, "{latency}");
    }
    assert_iterations_balance(report, "iterations");
    assert_steps_balance(report, "steps_total");
}

fn within(report: &Value, path: &str, least_ms: u64, most_ms: u64) -> Result<(), String> {
    let us = whole(report, path);
    if (least_ms * 1_000..=most_ms * 1_000).contains(&us) {
        return Ok(());
    }
    Err(format!(
        "{path} is {us} µs, not within {least_ms} and {most_ms} ms: {}",
        report["latency"]
    ))
}

/// A target that waited longer for a processor while it caught up was not the one that theory has in mind.
const TARGET_WAIT_MAX: Duration = Duration::from_millis(10);
/// Nor was this machine when some thread waited for so long meanwhile: client and target have one processor each.
const PRESSURE_MAX: Duration = Duration::from_millis(60);
/// Theory has the whole queue answered at once; a target that took longer has percentiles of its own.
const OWN_DEVIATION_MAX_MS: u64 = 25;

/// The target's own quantile, by the rule that the report follows.
fn own_quantile_us(responses: &[Duration], permille: usize) -> u64 {
    let rank = (responses.len() * permille).div_ceil(1_000);
    u64::try_from(responses[rank - 1].as_micros()).expect("a run takes seconds")
}

/// Holds however busy the machine is: nobody has had an answer before the target wrote it.
fn assert_nothing_hidden(report: &Value, responses: &[Duration]) {
    for (path, permille) in [
        ("p50_us", 500),
        ("p90_us", 900),
        ("p95_us", 950),
        ("p99_us", 990),
        ("max_us", 1_000),
    ] {
        let reported = whole(report, &format!("latency.response.{path}"));
        // Both ends of a latency are whole microseconds.
        let own = own_quantile_us(responses, permille).saturating_sub(2);
        assert!(
            reported >= own,
            "{path}: {reported} µs reported, {own} µs at the target"
        );
    }
}

/// Why the target was not the one that theory has in mind.
fn disturbed(target: &Target, responses: &[Duration]) -> Option<String> {
    let (waited, pressed) = target.waited();
    if waited > TARGET_WAIT_MAX {
        return Some(format!("the target waited {waited:?} for a processor"));
    }
    if pressed > PRESSURE_MAX {
        return Some(format!(
            "threads waited {pressed:?} for a processor after the standstill"
        ));
    }
    let own = |permille, theory_ms: u64| {
        let ms = own_quantile_us(responses, permille) / 1_000;
        let what = format!("the target's own quantile {permille} ‰ is {ms} ms instead of {theory_ms} ms");
        (ms.abs_diff(theory_ms) > OWN_DEVIATION_MAX_MS).then_some(what)
    };
    own(950, 500).or_else(|| own(990, 900))
}

fn frozen(test: &str, max_active: u32, service: impl Fn(&Value) -> Result<(), String>) {
    let _quiet = quiet::quiet();
    let home = home();
    let undisturbed = load(&home, &Target::start(answer, None), 3, max_active);
    let usual_ms = whole(&undisturbed, "latency.service.p50_us") / 1_000;
    let run = || {
        let target = Target::start(answer, Some(FREEZE));
        let report = load(&home, &target, ARRIVALS / 1_000, max_active);
        let responses = target.responses(Duration::from_millis(1));
        assert_nothing_hidden(&report, &responses);
        let disturbed = disturbed(&target, &responses);
        Measured { report, disturbed }
    };
    quiet::measured(test, run, |report| {
        within(report, "latency.response.p95_us", 450, 550)?;
        within(report, "latency.response.p99_us", 850, 950)?;
        within(report, "latency.response.max_us", 950, 1_300)?;
        // The half of all samples has never met the standstill.
        within(report, "latency.service.p50_us", 2, 20.min(2 * usual_ms + 5))?;
        service(report)
    });
}

#[test]
fn frozen_target_with_few_slots() {
    // Fifty requests wait in the target for a second, all others in the schedule: the service time hides the standstill
    // from its 99th percentile, the response time does not.
    frozen("frozen_target_with_few_slots", 50, |report| {
        within(report, "latency.service.p99_us", 2, 200)
    });
}

#[test]
fn frozen_target_with_many_slots() {
    if !can_queue(1_200) {
        return skip::skipped("frozen_target_with_many_slots", "net.core.somaxconn is below 1200");
    }
    // Everything is sent in time, so both latencies see the standstill.
    frozen("frozen_target_with_many_slots", 1_200, |report| {
        within(report, "latency.service.p99_us", 800, 1_000)
    });
}
