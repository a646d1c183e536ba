//! `barrage demo`: the whole thing at work, as a new user sees it first.

use std::time::Duration;

use serde_json::Value;

use crate::support::barrage::{Process, home};
use crate::support::quiet;
use crate::support::report::{assert_iterations_balance, assert_steps_balance, at, named, sum, whole};

#[test]
fn the_demo_passes() {
    let _quiet = quiet::quiet();
    let mut code = 0;
    let demo = || {
        let home = home();
        let out = home.path().join("out");
        let out = out.to_str().expect("temporary folders are UTF-8");
        let ended = Process::start(&home, ["demo", "--out", out]).wait(Duration::from_mins(3));
        code = ended.code;
        let report = std::fs::read_to_string(format!("{out}/report.json"))
            .unwrap_or_else(|error| panic!("no report: {error}\n{}\n{}", ended.stdout, ended.stderr));
        let report: Value = serde_json::from_str(&report).expect("report.json is JSON");
        assert_merged(&report);
        assert_eq!(report["exit_code"], ended.code);
        let page = std::fs::read_to_string(format!("{out}/report.html")).expect("an HTML file is written");
        assert!(page.contains("<svg") && page.contains("mcp-mix"), "the page has charts");
        assert!(
            ended.stdout.contains(&format!("HTML report: {out}/report.html")),
            "{}",
            ended.stdout
        );
        assert!(
            ended.stdout.contains("demo-1") && ended.stdout.contains("demo-2"),
            "{}",
            ended.stdout
        );
        assert!(ended.stderr.contains("running"), "progress is shown: {}", ended.stderr);
        report
    };
    quiet::measured("the_demo_passes", demo, |report| {
        if report["verdict"] == "passed" {
            return Ok(());
        }
        Err(format!(
            "{}: {:#} {:#}",
            report["verdict"], report["reasons"], report["sla"]
        ))
    });
}

/// Holds however busy the machine is: the report is one of both workers, and nothing vanished.
fn assert_merged(report: &Value) {
    assert_iterations_balance(report, "iterations");
    assert_steps_balance(report, "steps_total");
    let workers = at(report, "workers").as_array().expect("workers is a list");
    assert_eq!(workers.len(), 2, "{workers:#?}");
    for count in ["steps.ok", "iterations.completed"] {
        let parts: u64 = workers.iter().map(|worker| whole(worker, count)).sum();
        let total = count.replace("steps.", "steps_total.");
        assert_eq!(parts, whole(report, &total), "{count}: the sum of the workers");
        assert!(
            workers.iter().all(|worker| whole(worker, count) > 0),
            "{count}: both work"
        );
    }
    // 5 s up to 500/s and 10 s at it.
    assert_eq!(whole(report, "iterations.scheduled"), 6_250);
    assert_eq!(sum(report, "steps_total.failed"), 0);
    for step in ["list tools", "call tool", "GET /health", "GET /metrics"] {
        let sent = whole(named(report, "steps", step), "totals.sent");
        // Four equal parts: 5 standard deviations around a quarter.
        assert!(
            (1_391..=1_734).contains(&sent) || whole(report, "iterations.dropped_total") > 0,
            "{step}: {sent}"
        );
    }
}
