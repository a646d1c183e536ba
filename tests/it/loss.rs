//! A worker that is killed leaves an exact hole: what it may have sent, and what nobody has sent.
//!
//! The test knows from its own arithmetic who owns which arrival (three equal workers take turns) and when each falls due
//! (an even rate), and from the target's own books which ones came. Everything the report says is compared with that.

use std::collections::BTreeMap;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use crate::support::barrage::{Ended, Fleet, Process, home, run};
use crate::support::report::{assert_iterations_balance, assert_steps_balance, at, named, sum, whole};
use crate::support::target::{Answer, Target};
use crate::support::{plan, quiet, wait};

const WORKERS: u64 = 3;
const RATE_PER_S: u64 = 300;
/// Arrivals after which a worker is killed: a little more than three seconds.
const KILLED_AFTER: u64 = 1_000;
/// Length of a grant, in seconds, and between two renewals.
const GRANT_S: f64 = 10.0;
const RENEWAL_S: f64 = 1.0;
/// How far the test's idea of the instant of the kill may be off, and a renewal late.
const SLACK_S: f64 = 1.0;

fn answer(_: &str) -> Answer {
    Answer {
        status: 200,
        headers: "",
        delay: Duration::from_millis(2),
    }
}

struct Loss {
    ended: Ended,
    report: Value,
    /// How often each arrival came to the target.
    came: BTreeMap<u64, u64>,
}

/// Kills the second of three workers in the middle of a run.
fn lose(home: &TempDir, seconds: u64, on_loss: &str, tolerance: &str) -> Loss {
    let target = Target::start(answer, None);
    let text = format!(
        "
name: loss
target: {}
load: {{ rate: {RATE_PER_S}/s, for: {seconds}s, max_active: 300 }}
workers: {{ min: {WORKERS}, on_loss: {on_loss}, loss_tolerance: {tolerance} }}
steps: [ get: '/${{iteration()}}' ]
",
        target.url
    );
    let plan = plan::write(home, &text);
    let fleet = Fleet::start(home, WORKERS as usize, |_| Vec::new());
    let url = fleet.coordinator.url.clone();
    let submit = Process::start(
        home,
        ["submit", &plan, "--coordinator", &url, "--format", "json", "--quiet"],
    );
    wait::until("the middle of the run", Duration::from_mins(1), || {
        (target.requests() >= KILLED_AFTER).then_some(())
    });
    fleet.workers[1].signal(Signal::KILL);
    let ended = submit.wait(Duration::from_secs(seconds + 60));
    let report = ended.json();
    Loss {
        ended,
        report,
        came: target.numbers(),
    }
}

/// When arrival `number` falls due, in seconds of run time.
fn due_s(number: u64) -> f64 {
    number as f64 / RATE_PER_S as f64
}

/// Whose turn the killed worker had: the one that the last arrivals lack.
fn lost_turn(came: &BTreeMap<u64, u64>, after: u64) -> u64 {
    let mut missing = (0..WORKERS).filter(|turn| !came.range(after..).any(|(number, _)| number % WORKERS == *turn));
    let turn = missing.next().expect("one worker sends no more");
    assert_eq!(missing.next(), None, "the two others go on");
    turn
}

/// What the report says of the arrivals that are left behind.
fn hole(report: &Value) -> String {
    let events = at(report, "events").as_array().expect("events is a list");
    let mut holes = events.iter().filter(|event| event["kind"] == "hole");
    let hole = holes.next().expect("there is a hole");
    assert!(holes.next().is_none(), "one worker leaves one hole");
    hole["text"].as_str().expect("a sentence").to_owned()
}

/// What holds after a loss, whatever the plan says of it. Returns the lost worker's turn, what it is known to have begun,
/// and what is unknown.
fn assert_exact(seen: &Loss, killed_s: f64) -> (u64, u64, u64) {
    let Loss { report, came, .. } = seen;
    assert_iterations_balance(report, "iterations");
    assert_steps_balance(report, "steps_total");
    let workers = at(report, "workers").as_array().expect("workers is a list");
    assert_eq!(workers.len() as u64, WORKERS);
    for worker in workers {
        assert_iterations_balance(worker, "iterations");
        assert_steps_balance(worker, "steps");
        let killed = worker["name"] == "w2";
        assert_eq!(worker["state"], if killed { "lost" } else { "finished" }, "{worker:#}");
        if !killed {
            assert_eq!(
                whole(worker, "iterations.unknown"),
                0,
                "only a lost worker leaves anything unknown"
            );
        }
    }
    let lost = named(report, "workers", "w2");
    let turn = lost_turn(came, KILLED_AFTER + RATE_PER_S / 10);
    let known = whole(lost, "iterations.started") + sum(lost, "iterations.dropped");
    let unknown = whole(lost, "iterations.unknown");

    // Known is what it had reported: whole seconds, up to the one in which it was killed.
    let known_s = due_s(turn + WORKERS * known);
    assert!(
        known_s > killed_s - 2.5 && known_s < killed_s + SLACK_S,
        "known up to {known_s} s, killed at {killed_s} s"
    );
    // Unknown is what was due from there up to the end of its last grant.
    let grant_end_s = due_s(turn + WORKERS * (known + unknown));
    let latest = killed_s + GRANT_S + SLACK_S;
    let earliest = killed_s + GRANT_S - RENEWAL_S - SLACK_S;
    assert!(
        (earliest..latest).contains(&grant_end_s),
        "unknown up to {grant_end_s} s, not {earliest} to {latest} s"
    );

    let (from, to) = (turn + WORKERS * known, turn + WORKERS * (known + unknown - 1));
    let range = format!("{unknown} unknown, the first {from}, the last {to}");
    assert!(
        hole(report).contains(&range),
        "the report says {:?}, not {range:?}",
        hole(report)
    );

    // The target's own books.
    assert!(came.values().all(|times| *times == 1), "no arrival is made twice");
    let of_lost: Vec<u64> = came.keys().copied().filter(|number| number % WORKERS == turn).collect();
    let known_end = turn + WORKERS * known;
    let known_came = of_lost.iter().filter(|number| **number < known_end).count() as u64;
    assert_eq!(
        known_came,
        whole(lost, "iterations.started"),
        "everything it reported as begun came"
    );
    let unknown_end = turn + WORKERS * (known + unknown);
    assert!(
        of_lost.iter().all(|number| *number < unknown_end),
        "nothing came that counts as unsent"
    );
    let received = came.len() as u64;
    assert!(
        received >= whole(report, "steps_total.ok"),
        "every answer was to a request"
    );
    assert!(received <= whole(report, "iterations.started") + whole(report, "iterations.unknown"));
    (turn, known, unknown)
}

#[test]
fn lost_worker_and_the_run_goes_on() {
    const SECONDS: u64 = 17;
    let _quiet = quiet::quiet();
    let home = home();
    let seen = lose(&home, SECONDS, "continue", "0%");
    let (turn, known, unknown) = assert_exact(&seen, due_s(KILLED_AFTER));
    let report = &seen.report;
    let all = RATE_PER_S * SECONDS;
    let share = all / WORKERS;
    assert_eq!(
        whole(report, "iterations.scheduled"),
        all,
        "the schedule does not depend on who is there"
    );
    let lost = named(report, "workers", "w2");
    assert_eq!(whole(lost, "iterations.scheduled"), share);
    assert_eq!(
        whole(lost, "iterations.unsent"),
        share - known - unknown,
        "what came after its grant was not sent"
    );
    assert!(share > known + unknown, "the run is longer than the grant");
    let (from, to) = (turn + WORKERS * (known + unknown), turn + WORKERS * (share - 1));
    let range = format!("{} unsent, the first {from}, the last {to}", share - known - unknown);
    assert!(
        hole(report).contains(&range),
        "the report says {:?}, not {range:?}",
        hole(report)
    );
    assert_eq!(whole(report, "iterations.unknown"), unknown);
    assert_eq!(whole(report, "iterations.unsent"), share - known - unknown);
    for name in ["w1", "w3"] {
        let worker = named(report, "workers", name);
        assert_eq!(
            whole(worker, "iterations.scheduled"),
            share,
            "{name} goes on to the end"
        );
        assert_eq!(whole(worker, "iterations.started"), share, "{name} goes on to the end");
    }
    let others = seen.came.keys().filter(|number| **number % WORKERS != turn).count() as u64;
    assert_eq!(others, 2 * share, "all arrivals of the others came");
    let trusted = report["generator"]["verdict"] != "invalid";
    assert_eq!(report["verdict"], if trusted { "inconclusive" } else { "invalid" });
    assert_eq!(
        seen.ended.code, 95,
        "more is lost than the plan tolerates: {}",
        seen.ended.stderr
    );
    assert!(report["exit_code"] == 95);
}

#[test]
fn lost_worker_aborts_the_run() {
    const SECONDS: u64 = 60;
    let _quiet = quiet::quiet();
    let home = home();
    let seen = lose(&home, SECONDS, "abort", "0%");
    let report = &seen.report;
    assert_exact(&seen, due_s(KILLED_AFTER));
    let unsent = whole(report, "iterations.unsent");
    assert_eq!(unsent, 0, "the stop came before the lost worker's grant ended");
    let last = seen.came.keys().next_back().copied().expect("requests came");
    assert!(
        due_s(last) < due_s(KILLED_AFTER) + 6.0,
        "the others stop soon: the last arrival was {last}"
    );
    assert!(
        whole(report, "iterations.scheduled") < RATE_PER_S * SECONDS / 2,
        "what was due after the stop was never asked for"
    );
    assert_eq!(seen.ended.code, 95, "{}", seen.ended.stderr);
    assert!(
        report["stopped_early"].is_object(),
        "the report says why it ended: {:#}",
        report["stopped_early"]
    );
}

#[test]
fn what_a_frozen_worker_did_not_begin_is_unsent() {
    let home = home();
    let target = Target::start(answer, None);
    let text = format!(
        "target: {}\nload: {{ rate: 60/s, for: 25s, give_up_after: 1s }}\n\
         workers: {{ min: 3, on_loss: continue, loss_tolerance: 100% }}\nsteps: [ get: '/${{iteration()}}' ]\n",
        target.url
    );
    let plan = plan::write(&home, &text);
    let fleet = Fleet::start(&home, 3, |_| Vec::new());
    let url = fleet.coordinator.url.clone();
    let args = ["submit", &plan, "--coordinator", &url, "--format", "json", "--quiet"];
    let submit = Process::start(&home, args);
    let limit = Duration::from_mins(1);
    wait::until("the load", limit, || (target.requests() >= 100).then_some(()));
    fleet.workers[1].signal(Signal::STOP);
    let tells = |kind: &str| {
        let report = run(&home, ["report", "--coordinator", &url, "--format", "json"]).json();
        let events = at(&report, "events").as_array().expect("events is a list").clone();
        events.iter().any(|event| event["kind"] == kind).then_some(())
    };
    wait::until("the loss", limit, || tells("worker-lost"));
    // Its last grant must not look as if it had been made since.
    let then = target.requests() + 100;
    wait::until("two seconds of the others", limit, || {
        (target.requests() >= then).then_some(())
    });
    fleet.workers[1].signal(Signal::CONT);
    wait::until("its return", limit, || tells("worker-back"));
    let report = submit.wait(limit).json();
    assert_iterations_balance(&report, "iterations");
    assert_steps_balance(&report, "steps_total");
    let counts = ["scheduled", "unknown", "in_progress"].map(|name| whole(&report, &format!("iterations.{name}")));
    assert_eq!(counts, [1_500, 0, 0], "it has said itself what it has not begun");
    assert_eq!(sum(&report, "iterations.dropped"), 0, "nobody gave anything up");
    assert_eq!(whole(&report, "latency.response.censored"), 0);
    let lost = named(&report, "workers", "w2");
    let (started, unsent) = (whole(lost, "iterations.started"), whole(lost, "iterations.unsent"));
    assert_eq!(started + unsent, 500);
    // The parts leave out what is unsent.
    assert_eq!(
        whole(&at(&report, "scenarios")[0], "iterations.scheduled"),
        1_500 - unsent
    );
    assert_eq!(whole(&at(&report, "stages")[0], "scheduled"), 1_500 - unsent);
    assert_eq!(at(&report, "sla")[0]["verdict"], "passed", "{}", at(&report, "sla"));
    assert_eq!(target.numbers().len() as u64, 1_500 - unsent);
}

#[test]
fn redistribution_is_refused() {
    let home = home();
    let text = "target: http://127.0.0.1:9\nload: { rate: 1/s, for: 1s }\nworkers: { on_loss: redistribute }\nsteps: [ get: / ]\n";
    let plan = plan::write(&home, text);
    for command in ["run", "submit"] {
        // Nothing listens there: a bad plan is found before anybody is called.
        let ended = run(&home, [command, &plan, "--coordinator", "http://127.0.0.1:9"]);
        assert_eq!(ended.code, 3, "{command}: {}", ended.stderr);
        assert!(
            ended.stderr.contains("redistribute"),
            "{command} names it: {}",
            ended.stderr
        );
        assert!(
            ended.stderr.contains("plan.yaml:3:"),
            "{command} says where: {}",
            ended.stderr
        );
        assert!(
            ended.stderr.contains("continue") && ended.stderr.contains("abort"),
            "{command} says what is there: {}",
            ended.stderr
        );
    }
}
