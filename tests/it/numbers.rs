//! Numbers of `report.json` that a target with known behaviour leaves no choice about.

use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use crate::support::barrage::{Ended, Fleet, Process, home, run};
use crate::support::report::{assert_iterations_balance, assert_steps_balance, at, sum, whole};
use crate::support::server::{Reply, Seen, Server};
use crate::support::wait;

const LIMIT: Duration = Duration::from_mins(1);

/// `/wait/MS` answers after so many milliseconds; `x-backend` says blue for every third answer, red for the others.
fn handler(seen: &Seen) -> Result<Reply, String> {
    let millis = seen.path.strip_prefix("/wait/").and_then(|millis| millis.parse().ok());
    let millis = millis.ok_or_else(|| format!("a path that no test asks for: {}", seen.path))?;
    let backend = if seen.query == "to=blue" { "blue" } else { "red" };
    Ok(Reply::text("ok")
        .with("x-backend", backend)
        .after(Duration::from_millis(millis)))
}

fn plan(home: &TempDir, server: &Server, text: &str) -> String {
    let file = home.path().join("plan.yaml");
    let text = format!("name: numbers\ntarget: {}\n{text}", server.url);
    std::fs::write(&file, text).expect("a plan can be written");
    file.to_str().expect("temporary folders are UTF-8").to_owned()
}

fn start(home: &TempDir, server: &Server, threads: &str, text: &str) -> Process {
    let plan = plan(home, server, text);
    let args = [
        "run",
        "--format",
        "json",
        "--accept-invalid",
        "--threads",
        threads,
        &plan,
    ];
    Process::start(home, args)
}

#[track_caller]
fn balanced(ended: &Ended, server: &Server) -> Value {
    let report = ended.json();
    assert_iterations_balance(&report, "iterations");
    assert_steps_balance(&report, "steps_total");
    assert_eq!(whole(&report, "steps_total.wire_requests"), server.seen().len() as u64);
    report
}

fn number(report: &Value, path: &str) -> f64 {
    at(report, path)
        .as_f64()
        .unwrap_or_else(|| panic!("{path} is no number: {:#}", at(report, path)))
}

#[test]
fn a_timed_load_is_as_long_as_planned_however_early_its_last_arrival_is() {
    let check = |text: &str, arrivals: u64, seconds: f64| {
        let (home, server) = (home(), Server::start(handler));
        let text = format!("{text}\nscenarios:\n  - name: s\n    steps: [ get: /wait/0 ]\n");
        let ended = start(&home, &server, "2", &text).wait(LIMIT);
        let report = balanced(&ended, &server);
        assert_eq!(whole(&report, "steps_total.ok"), arrivals, "{text}");
        let lasted = number(&report, "run.duration_us") / 1e6;
        assert!((seconds..seconds + 0.5).contains(&lasted), "{text}: {lasted} s");
        let want = arrivals as f64 / seconds;
        let rate = number(&report, "rate_per_s");
        assert!((want * 0.95..=want * 1.001).contains(&rate), "{text}: {rate}/s");
    };
    check("load: { stages: [ hold: { rate: 1/s, for: 3s } ] }", 3, 3.0);
    check(
        "load: { stages: [ hold: { rate: 20/s, for: 1s }, pause: 1s ] }",
        20,
        2.0,
    );
}

#[test]
fn a_counted_load_cut_short_has_neither_drops_nor_censored_samples() {
    let (home, server) = (home(), Server::start(handler));
    let text = "iterations: { count: 5000, users: 2, at_most: 1s }\n\
                scenarios:\n  - name: s\n    steps: [ get: /wait/40 ]\n";
    let ended = start(&home, &server, "2", text).wait(LIMIT);
    let report = balanced(&ended, &server);
    let seen = server.seen().len() as u64;
    assert_eq!(whole(&report, "iterations.scheduled"), seen);
    assert_eq!(sum(&report, "iterations.dropped"), 0);
    let response = at(&report, "latency.response");
    assert_eq!(
        (whole(response, "count"), whole(response, "censored")),
        (seen, 0),
        "{response:#}"
    );
}

#[test]
fn an_early_stop_ends_the_time_that_rates_are_over() {
    let (home, server) = (home(), Server::start(handler));
    let text = "graceful_stop: 2s\nload: { stages: [ hold: { rate: 50/s, for: 60s } ] }\n\
                scenarios:\n  - name: s\n    steps: [ get: /wait/1500 ]\n";
    let process = start(&home, &server, "1", text);
    // Run time of the stop: at least 2 s.
    wait::until("load", LIMIT, || (server.seen().len() >= 110).then_some(()));
    process.signal(Signal::INT);
    let report = balanced(&process.wait(LIMIT), &server);
    let seconds = number(&report, "covered_us") / 1e6;
    let stopped = number(&report, "stopped_early.at_us") / 1e6;
    assert!(seconds <= stopped, "rates over {seconds} s, stopped at {stopped} s");
    let rate = number(&report, "rate_per_s");
    assert!((45.0..=50.1).contains(&rate), "{rate}/s");
    assert!(
        number(&report, "run.duration_us") / 1e6 > stopped,
        "the drain belongs to the run"
    );
}

#[test]
fn the_rates_of_a_second_that_was_cut_short_are_not_judged() {
    let (home, server) = (home(), Server::start(handler));
    let text = "load: { stages: [ hold: { rate: 50/s, for: 60s } ] }\n\
                sla: [ { that: throughput > 20/s, over: 1s, stop: true } ]\n\
                scenarios:\n  - name: s\n    steps: [ get: /wait/0 ]\n";
    let process = start(&home, &server, "1", text);
    wait::until("load", LIMIT, || (server.seen().len() >= 102).then_some(()));
    process.signal(Signal::INT);
    let ended = process.wait(LIMIT);
    let report = balanced(&ended, &server);
    assert_eq!(at(&report, "sla")[0]["verdict"], "passed", "{}", at(&report, "sla"));
    assert_eq!(ended.code, 130);
    assert_eq!(run(&home, ["report", "--format", "json"]).json(), report);
}

#[test]
fn the_report_of_a_run_that_an_sla_has_stopped_is_the_same_from_the_store() {
    let (home, server) = (home(), Server::start(handler));
    let text = "load: { stages: [ hold: { rate: 50/s, for: 60s } ] }\n\
                sla: [ { that: p50 < 1us, over: 2s, stop: true }, { that: error_rate < 50%, stop: true } ]\n\
                scenarios:\n  - name: s\n    steps: [ { get: /wait/0, expect: { status: 418 } } ]\n";
    let ended = start(&home, &server, "1", text).wait(LIMIT);
    let report = balanced(&ended, &server);
    assert_eq!(ended.code, 99);
    let reason = at(&report, "stopped_early.reason").as_str().unwrap_or_default();
    assert!(reason.starts_with("error_rate = 100%"), "{reason}");
    assert_eq!(run(&home, ["report", "--format", "json"]).json(), report);
}

#[test]
fn what_was_sent_before_it_was_cancelled_counts_on_the_wire() {
    let (home, server) = (home(), Server::start(handler));
    let text = "graceful_stop: 300ms\nload: { stages: [ hold: { rate: 10/s, for: 1s } ] }\n\
                scenarios:\n  - name: s\n    steps: [ get: /wait/9000 ]\n";
    let report = balanced(&start(&home, &server, "1", text).wait(LIMIT), &server);
    assert_eq!(whole(&report, "steps_total.cancelled"), 10);
    let host = server.address.to_string().len();
    let least = 10 * ("GET /wait/9000 HTTP/1.1\r\nhost: \r\n\r\n".len() + host) as u64;
    assert!(
        whole(&report, "steps_total.wire_bytes_out") >= least,
        "{:#}",
        at(&report, "steps_total")
    );
}

#[test]
fn what_was_sent_to_a_tag_is_what_came_back_from_it() {
    let (home, server) = (home(), Server::start(handler));
    let text = "tags: { backend: { header: x-backend, values: [blue, red] } }\n\
                load: { stages: [ hold: { rate: 20/s, for: 1s } ] }\n\
                scenarios:\n  - name: s\n    steps:\n      - get: \"/wait/0?to=blue\"\n      - get: /wait/1\n\
                sla: [ 'sent(backend=\"blue\") == 20', 'sent(backend=\"red\") == 20', 'sent == 40' ]\n";
    let ended = start(&home, &server, "1", text).wait(LIMIT);
    balanced(&ended, &server);
    assert_eq!(ended.code, 0, "{}", ended.stdout);
}

#[test]
fn bodies_out_are_counted_also_on_a_connection_that_is_shared() {
    let home = home();
    for (users, streams) in [(1, 1), (8, 8)] {
        let text = format!(
            "iterations: {{ count: 400, users: {users} }}\ndefaults: {{ engine: http2 }}\n\
             network: {{ streams_per_connection: {streams} }}\n\
             steps: [ post: {{ url: /wait/1, body: '{}' }} ]\n",
            "x".repeat(10_000)
        );
        let server = Server::start(handler);
        let report = balanced(&start(&home, &server, "1", &text).wait(LIMIT), &server);
        let received: usize = server.seen().iter().map(|seen| seen.body.len()).sum();
        assert_eq!((received, whole(&report, "steps_total.ok")), (4_000_000, 400));
        assert_eq!(
            whole(&report, "steps_total.body_bytes_out"),
            4_000_000,
            "{streams} streams"
        );
    }
}

#[test]
fn workers_of_a_counted_load_do_not_wait_for_its_indices() {
    let (home, server) = (home(), Server::start(handler));
    let fleet = Fleet::start(&home, 2, |_| Vec::new());
    let text = "workers: { min: 2 }\niterations: { count: 601, users: 7 }\n\
                scenarios:\n  - name: s\n    steps: [ get: /wait/5 ]\n";
    let plan = plan(&home, &server, text);
    let url = &fleet.coordinator.url;
    let args = [
        "submit",
        "--coordinator",
        url,
        "--format",
        "json",
        "--accept-invalid",
        &plan,
    ];
    let report = balanced(&Process::start(&home, args).wait(LIMIT), &server);
    assert_eq!(whole(&report, "steps_total.ok"), 601);
    // 601 of at least 5 ms on 7 users take half a second; with indices once a second it was nine.
    let lasted = number(&report, "run.duration_us") / 1e6;
    assert!((0.43..4.0).contains(&lasted), "{lasted} s");
}

#[test]
fn a_counted_load_ends_with_its_last_row_whoever_has_it() {
    let home = home();
    let rows: Vec<String> = (0..20).map(|row| row.to_string()).collect();
    std::fs::write(home.path().join("rows.csv"), format!("row\n{}\n", rows.join("\n"))).expect("a file can be written");
    let text = "iterations: { count: 1000, users: 4 }\ndata:\n  ids: { csv: rows.csv, on_end: stop }\n\
                steps: [ get: '/wait/1?row=${ids.row}' ]\n";
    for threads in ["1", "2"] {
        let server = Server::start(handler);
        let report = balanced(&start(&home, &server, threads, text).wait(LIMIT), &server);
        assert_eq!(whole(&report, "iterations.scheduled"), 20);
        assert_eq!(
            whole(&report, "iterations.completed"),
            20,
            "{:#}",
            at(&report, "iterations")
        );
        let reason = at(&report, "stopped_early.reason").as_str().unwrap_or_default();
        assert!(reason.starts_with("a data set has been used up"), "{reason}");
        let mut rows: Vec<String> = server.seen().into_iter().map(|seen| seen.query).collect();
        rows.sort();
        rows.dedup();
        assert_eq!(rows.len(), 20, "every row is used once");
    }
}

#[test]
fn poisson_arrivals_are_the_same_whatever_the_number_of_shards() {
    let home = home();
    let text = "seed: 11\nload: { arrivals: poisson, rate: 200/s, for: 2s }\nsteps: [get: /wait/1]\n";
    let counts = ["1", "2"].map(|threads| {
        let server = Server::start(handler);
        let ended = start(&home, &server, threads, text).wait(LIMIT);
        let report = balanced(&ended, &server);
        assert_eq!(
            whole(&report, "iterations.scheduled"),
            whole(&report, "iterations.started")
        );
        whole(&report, "iterations.scheduled")
    });
    assert_eq!(counts[0], counts[1]);
    // 400 on average with a standard deviation of 20; an even load would make exactly 400.
    assert!((300..500).contains(&counts[0]) && counts[0] != 400, "{counts:?}");
}
