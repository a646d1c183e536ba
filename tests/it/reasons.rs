//! Reasons for which a generator doubts itself that come without a failed request.

use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use crate::support::barrage::{Process, home};
use crate::support::report::{assert_exit, assert_steps_balance, at, whole};
use crate::support::strain::{barrage, wrapped};
use crate::support::target::{Answer, Target};
use crate::support::{plan, wait};

const LIMIT: Duration = Duration::from_mins(2);
/// How long the process stands still, each time.
const STILL: Duration = Duration::from_millis(400);

fn soon(_: &str) -> Answer {
    Answer {
        status: 200,
        headers: "",
        delay: Duration::from_millis(20),
    }
}

fn slowly(_: &str) -> Answer {
    Answer {
        delay: Duration::from_secs(1),
        ..soon("")
    }
}

fn closed(target: &Target, users: u32, seconds: u32) -> String {
    format!(
        "
name: reasons
target: {}
users: {{ stages: [ hold: {{ users: {users}, for: {seconds}s }} ] }}
steps: [ get: / ]
",
        target.url
    )
}

/// The reason of this kind.
fn reason<'a>(report: &'a Value, kind: &str) -> &'a Value {
    let reasons = at(report, "generator.reasons").as_array().expect("reasons is a list");
    let found = reasons.iter().find(|reason| reason["kind"] == kind);
    found.unwrap_or_else(|| panic!("no {kind} in {}", report["generator"]))
}

#[test]
fn a_generator_that_is_nearly_out_of_descriptors_says_so_before_a_request_fails() {
    let (home, target) = (home(), Target::start(slowly, None));
    let plan = plan::write(&home, &closed(&target, 1_900, 6));
    let command = barrage(&home, ["run", &plan, "--format", "json", "--no-progress"]);
    let ended = Process::spawn(wrapped("ulimit -n 2000", &command)).wait(LIMIT);
    let report = ended.json();
    assert_steps_balance(&report, "steps_total");
    let generator = &report["generator"];
    assert_ne!(generator["verdict"], "valid", "{generator}");
    reason(&report, "descriptors");
    let health = &report["workers"][0];
    assert_eq!(whole(health, "health.descriptors_limit"), 2_000);
    let most = whole(health, "health.descriptors_max");
    assert!((1_881..=2_000).contains(&most), "{most}");
    assert_eq!(whole(health, "health.short_of_descriptors"), 0);
    assert_exit(&ended, if generator["verdict"] == "invalid" { 95 } else { 0 });
}

#[test]
fn a_generator_that_stood_still_says_so_although_no_request_was_due() {
    let (home, target) = (home(), Target::start(soon, None));
    let plan = plan::write(&home, &closed(&target, 4, 10));
    let process = Process::start(&home, ["run", &plan, "--format", "json", "--no-progress"]);
    for _ in 0..2 {
        // A second at least, so that each stand-still is in an interval of its own.
        let from = target.requests();
        wait::until("requests", LIMIT, || (target.requests() >= from + 250).then_some(()));
        process.signal(Signal::STOP);
        std::thread::sleep(STILL);
        process.signal(Signal::CONT);
    }
    let ended = process.wait(LIMIT);
    let report = ended.json();
    assert_steps_balance(&report, "steps_total");
    let generator = &report["generator"];
    assert_ne!(generator["verdict"], "valid", "{generator}");
    let intervals = at(reason(&report, "poll_delay"), "intervals_s")
        .as_array()
        .expect("intervals is a list");
    assert!(!intervals.is_empty(), "{generator}");
    let delay = whole(&report["workers"][0], "health.poll_delay_max_us");
    assert!(delay >= 300_000, "{delay} µs");
    assert_exit(&ended, if generator["verdict"] == "invalid" { 95 } else { 0 });
}

/// The numbers of one column of `health.csv`; 0 for an empty cell.
fn column(csv: &str, name: &str) -> Vec<u64> {
    let mut lines = csv.lines().map(|line| line.split(',').collect::<Vec<_>>());
    let head = lines.next().expect("a head");
    let at = head.iter().position(|of| *of == name).expect("a column");
    let numbers: Vec<u64> = lines.map(|row| row[at].parse().unwrap_or(0)).collect();
    assert!(!numbers.is_empty(), "{csv}");
    numbers
}

#[test]
fn a_run_of_less_than_a_second_is_read_to_its_end() {
    let (home, target) = (home(), Target::start(soon, None));
    let args = [
        "run",
        &target.url,
        "-c",
        "4",
        "-d",
        "900ms",
        "--format",
        "health",
        "--no-progress",
    ];
    let process = Process::start(&home, args);
    wait::until("requests", LIMIT, || (target.requests() >= 8).then_some(()));
    process.signal(Signal::STOP);
    std::thread::sleep(STILL);
    process.signal(Signal::CONT);
    let csv = process.wait(LIMIT).stdout;
    // In two rows, should the stop have lasted beyond the second.
    let of = |name| column(&csv, name).iter().sum::<u64>();
    assert!(of("stood_us") >= 300_000, "{csv}");
    assert!(of("shard_cpu_max_us") > 0, "{csv}");
    assert!(of("connections") >= 4, "{csv}");
}

#[test]
fn many_short_stops_are_seen_like_a_long_one() {
    let (home, target) = (home(), Target::start(soon, None));
    let plan = plan::write(&home, &closed(&target, 4, 6));
    let process = Process::start(&home, ["run", &plan, "--format", "json", "--no-progress"]);
    wait::until("requests", LIMIT, || (target.requests() >= 50).then_some(()));
    for _ in 0..25 {
        process.signal(Signal::STOP);
        std::thread::sleep(Duration::from_millis(90));
        process.signal(Signal::CONT);
        std::thread::sleep(Duration::from_millis(40));
    }
    let ended = process.wait(LIMIT);
    let report = ended.json();
    let generator = &report["generator"];
    assert_ne!(generator["verdict"], "valid", "{generator}");
    reason(&report, "poll_delay");
}

#[test]
fn who_has_no_descriptor_left_does_not_look_idle() {
    let (home, target) = (home(), Target::start(soon, None));
    let plan = plan::write(&home, &closed(&target, 260, 4));
    let out = home.path().join("out");
    let out = out.to_str().expect("a name");
    let command = barrage(&home, ["run", &plan, "--format", "json", "--out", out, "--no-progress"]);
    let ended = Process::spawn(wrapped("ulimit -n 256", &command)).wait(LIMIT);
    let report = ended.json();
    reason(&report, "no_descriptor");
    let csv = std::fs::read_to_string(home.path().join("out/health.csv")).expect("health.csv");
    for row in column(&csv, "memory_bytes") {
        assert!(row > 0, "{csv}");
    }
    let busy = at(&report["workers"][0], "health.shard_cpu_max_ratio").as_f64();
    assert!(busy.is_some_and(|busy| busy > 0.2), "{busy:?}");
    let most = whole(&report["workers"][0], "health.descriptors_max");
    assert!((250..=256).contains(&most), "{most}");
    assert_exit(&ended, 95);
}
