//! A fleet against nginx: what we say we sent is what nginx says it answered.

use std::time::Duration;

use serde_json::Value;

use crate::support::barrage::{Fleet, Process, home};
use crate::support::nginx::{Nginx, program};
use crate::support::report::{assert_iterations_balance, assert_steps_balance, at, whole};
use crate::support::{plan, quiet, skip, wait};

const ARRIVALS: u64 = 30_000;

/// One arrival in ten asks for a page that is not there, so that `ok` and `status` are told apart.
const PLAN: &str = "
name: nginx
load: { rate: 3000/s, for: 10s, max_active: 1500 }
workers: { min: 3 }
defaults: { on_failure: continue }
scenarios:
  - name: here
    weight: 9
    steps: [ get: { name: here, url: '/here/${iteration()}' } ]
  - name: missing
    weight: 1
    steps: [ get: { name: missing, url: '/missing/${iteration()}' } ]
";

#[test]
fn nginx_log_agrees() {
    let Some(program) = program() else {
        return skip::skipped("nginx_log_agrees", "nginx is not installed");
    };
    let _quiet = quiet::quiet();
    let nginx = Nginx::start(&program);
    let home = home();
    let plan = plan::write(&home, PLAN);
    let fleet = Fleet::start(&home, 3, |_| Vec::new());
    let out = home.path().join("out");
    let args = [
        "submit",
        &plan,
        "--coordinator",
        &fleet.coordinator.url,
        "--target",
        &nginx.url,
        "--format",
        "json",
        "--out",
        out.to_str().unwrap(),
        // A busy machine makes the generator invalid, but never a count wrong: only counts are judged here.
        "--accept-invalid",
        "--quiet",
    ];
    let ended = Process::start(&home, args).wait(Duration::from_mins(2));
    assert_eq!(ended.code, 0, "{}\n{}", ended.stdout, ended.stderr);
    let report = ended.json();
    let written = std::fs::read(out.join("report.json")).expect("--out writes report.json");
    assert_eq!(
        serde_json::from_slice::<Value>(&written).unwrap(),
        report,
        "stdout and --out say the same"
    );

    let lines = wait::until("every request in nginx's log", Duration::from_secs(10), || {
        Some(nginx.lines()).filter(|lines| lines.len() as u64 >= ARRIVALS)
    });
    assert_log_agrees(&report, &lines);
    assert_workers_add_up(&report);
}

fn assert_log_agrees(report: &Value, lines: &[String]) {
    for count in ["scheduled", "started", "completed"] {
        assert_eq!(whole(report, &format!("iterations.{count}")), ARRIVALS, "{count}");
    }
    for count in ["attempted", "sent"] {
        assert_eq!(whole(report, &format!("steps_total.{count}")), ARRIVALS, "{count}");
    }
    for latency in ["response", "service", "iteration", "dispatch_lag"] {
        assert_eq!(
            whole(report, &format!("latency.{latency}.count")),
            ARRIVALS,
            "{latency}"
        );
    }
    assert_iterations_balance(report, "iterations");
    assert_steps_balance(report, "steps_total");
    let with = |status: &str| lines.iter().filter(|line| line.starts_with(status)).count() as u64;
    assert_eq!(lines.len() as u64, ARRIVALS, "not one request more");
    assert_eq!(whole(report, "steps_total.ok"), with("200 "), "nginx's 2xx lines");
    assert_eq!(
        whole(report, "steps_total.failed.status"),
        with("404 "),
        "nginx's 404 lines"
    );
    let mut numbers: Vec<u64> = lines
        .iter()
        .map(|line| {
            line.rsplit('/')
                .next()
                .and_then(|number| number.parse().ok())
                .expect("a line ends with an index")
        })
        .collect();
    numbers.sort_unstable();
    assert!(numbers.into_iter().eq(0..ARRIVALS), "each arrival came once");
}

fn assert_workers_add_up(report: &Value) {
    let workers = at(report, "workers").as_array().expect("workers is a list");
    assert_eq!(workers.len(), 3);
    let assert_sum = |of_worker: String, total: String| {
        let of_workers: u64 = workers.iter().map(|worker| whole(worker, &of_worker)).sum();
        assert_eq!(of_workers, whole(report, &total), "sum of the workers' {of_worker}");
    };
    for name in [
        "scheduled",
        "started",
        "completed",
        "broken_off",
        "cancelled",
        "unsent",
        "unknown",
    ] {
        assert_sum(format!("iterations.{name}"), format!("iterations.{name}"));
    }
    for name in [
        "attempted",
        "sent",
        "ok",
        "failed.status",
        "timeout",
        "cancelled",
        "body_bytes_in",
    ] {
        assert_sum(format!("steps.{name}"), format!("steps_total.{name}"));
    }
    for worker in workers {
        assert_eq!(
            whole(worker, "iterations.scheduled"),
            ARRIVALS / 3,
            "three equal workers have equal shares"
        );
        assert_iterations_balance(worker, "iterations");
        assert_steps_balance(worker, "steps");
    }
}
