//! The generator judges itself: starved, it says so while the run goes on; healthy, it keeps quiet; and what fails for
//! want of something on its own host is not laid to the target's charge.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use crate::support::barrage::{Ended, Process, home, run};
use crate::support::quiet::{Pressure, Standstill, Stolen};
use crate::support::report::{assert_exit, assert_steps_balance, at, whole};
use crate::support::strain::{Competitor, Group, barrage, cores, on_core, worker_args, wrapped, yield_to_others};
use crate::support::target::{Answer, Target};
use crate::support::{network, plan, quiet, skip, wait};

/// How long a strained run goes on quietly before.
const CALM: Duration = Duration::from_secs(4);
/// Two intervals, and what a starved worker's news and a busy machine may take beyond them.
const SEEN_WITHIN: Duration = Duration::from_secs(2 + 2);
const LIMIT: Duration = Duration::from_mins(2);
/// A second of which the hypervisor took this share of a core was not healthy, and an alarm in it is none that is false.
const STOLEN_SECOND: f64 = 0.05;
/// What a core's standstill has to last to be told as the generator's lag.
const STOOD_STILL: Duration = Duration::from_millis(10);

fn at_once(_: &str) -> Answer {
    Answer {
        status: 200,
        headers: "",
        delay: Duration::ZERO,
    }
}

fn slowly(_: &str) -> Answer {
    Answer {
        delay: Duration::from_secs(1),
        ..at_once("")
    }
}

#[expect(clippy::disallowed_methods, reason = "a test's own clock")]
fn now() -> Instant {
    Instant::now()
}

/// A coordinator with one worker, and a run that somebody watches.
struct Watched {
    coordinator: Process,
    worker: Process,
    run: String,
    watch: Process,
}

impl Watched {
    /// Starts the run on a worker that `enclose` has changed the command of.
    fn start(home: &TempDir, text: &str, more: &[&str], enclose: impl FnOnce(&Command) -> Process) -> Self {
        let store = home.path().join("store").display().to_string();
        let coordinator = Process::server(home, ["coordinator", "--listen", "127.0.0.1:0", "--store", &store]);
        let worker = enclose(&barrage(home, worker_args(&coordinator.url, "w1")));
        let plan = plan::write(home, text);
        let mut args = vec!["submit", &plan, "--detach", "--coordinator", &coordinator.url];
        args.extend(more);
        let submitted = run(home, args);
        assert_eq!(submitted.code, 0, "{}", submitted.stderr);
        let run = submitted.stdout.trim().to_owned();
        let args = [
            "watch",
            &run,
            "--coordinator",
            &coordinator.url,
            "--no-progress",
            "--format",
            "json",
        ];
        let watch = Process::start(home, args);
        Self {
            coordinator,
            worker,
            run,
            watch,
        }
    }

    /// The report of the run as it is now; absent before its start.
    fn report(&self) -> Option<Value> {
        let address = self.coordinator.url.strip_prefix("http://").expect("plain HTTP");
        let mut stream = TcpStream::connect(address).expect("the coordinator listens");
        stream
            .set_read_timeout(Some(Duration::from_secs(10)))
            .expect("a limit can be set");
        let path = format!("/api/runs/{}", self.run);
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n"
        )
        .expect("it can be asked");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("it answers");
        let (head, body) = answer.split_once("\r\n\r\n").expect("an answer has a head");
        head.starts_with("HTTP/1.1 200")
            .then(|| serde_json::from_str(body).expect("a report is JSON"))
    }

    /// Waits until the run has been going on for so long. Gives its report.
    fn going_for(&self, time: Duration) -> Value {
        wait::until("the run", LIMIT, || {
            let report = self.report()?;
            (whole(&report, "run.duration_us") >= time.as_micros() as u64).then_some(report)
        })
    }

    /// Waits until the generator is not valid any more, and says how long that took.
    fn strained_after(&self, since: Instant) -> (Duration, Value) {
        let report = wait::until("a strained generator", LIMIT, || {
            self.report().filter(|report| report["generator"]["verdict"] != "valid")
        });
        (now().duration_since(since), report)
    }
}

/// The reasons of a report, by kind.
fn kinds(report: &Value) -> Vec<&str> {
    let reasons = at(report, "generator.reasons").as_array().expect("reasons is a list");
    reasons
        .iter()
        .map(|reason| reason["kind"].as_str().expect("a word"))
        .collect()
}

/// The first strained second of a reason of this kind.
fn begin_of(report: &Value, kind: &str) -> Option<u64> {
    let reasons = at(report, "generator.reasons").as_array()?;
    let reason = reasons.iter().find(|reason| reason["kind"] == kind)?;
    reason["intervals_s"][0][0].as_u64()
}

/// Strains a worker in the middle of a run, and looks when that is seen. Ends with the report of the whole run.
fn strain(test: &str, started: Watched, begin: impl FnOnce(&Process) -> Option<Competitor>, allowed: &[&str]) -> Ended {
    let before = started.going_for(CALM);
    let calm = before["generator"].clone();
    let (since, second) = (now(), whole(&before, "run.duration_us") / 1_000_000);
    let competitor = begin(&started.worker);
    let (took, seen) = started.strained_after(since);
    let found = kinds(&seen);
    // A busy machine may have strained it already.
    if calm["verdict"] == "valid" {
        assert!(
            took <= SEEN_WITHIN,
            "{test}: seen after {took:?}: {}",
            seen["generator"]
        );
        assert!(
            found.iter().any(|kind| allowed.contains(kind)),
            "{test}: {}",
            seen["generator"]
        );
        let first = found.iter().filter_map(|kind| begin_of(&seen, kind)).min();
        assert!(
            first.is_some_and(|first| first <= second + 2),
            "{test}: {}",
            seen["generator"]
        );
    } else {
        skip::skipped(
            test,
            &format!("the machine is busy: strained before it was to be: {calm}"),
        );
    }
    let Watched {
        watch,
        coordinator,
        worker,
        ..
    } = started;
    let ended = watch.wait(LIMIT);
    drop((competitor, worker, coordinator));
    ended
}

fn steady(target: &Target, rate: u64, seconds: u64) -> String {
    format!(
        "
name: strained
target: {}
load: {{ rate: {rate}/s, for: {seconds}s, max_active: 200 }}
steps: [ get: / ]
",
        target.url
    )
}

#[test]
fn a_throttled_worker_says_so_within_two_intervals() {
    let test = "a_throttled_worker_says_so_within_two_intervals";
    let group = match Group::make() {
        Ok(group) => group,
        Err(reason) => return skip::skipped(test, &reason),
    };
    let _quiet = quiet::quiet();
    let (home, target) = (home(), Target::start(at_once, None));
    let started = Watched::start(&home, &steady(&target, 2_000, 14), &[], |command| {
        Process::spawn(group.enclose(command))
    });
    let begin = |_: &Process| {
        group.squeeze(5);
        None
    };
    let ended = strain(test, started, begin, &["throttled", "dispatch_lag", "poll_delay"]);
    assert_exit(&ended, 95);
    let report = ended.json();
    assert_eq!(report["generator"]["verdict"], "invalid", "{}", report["generator"]);
    assert!(kinds(&report).contains(&"throttled"), "{}", report["generator"]);
    assert!(whole(&report["workers"][0], "health.throttled_us") > 1_000_000);
    assert!(ended.stderr.contains("generator invalid "), "{}", ended.stderr);
    let noted = at(&report, "events").as_array().expect("events is a list").iter();
    let noted: Vec<&Value> = noted.filter(|event| event["kind"] == "generator").collect();
    assert!(
        noted.iter().any(|event| event["text"].to_string().contains("invalid ")),
        "{noted:?}"
    );
}

#[test]
fn a_worker_that_is_moved_into_a_group_is_throttled_there() {
    let test = "a_worker_that_is_moved_into_a_group_is_throttled_there";
    let group = match Group::make() {
        Ok(group) => group,
        Err(reason) => return skip::skipped(test, &reason),
    };
    let _quiet = quiet::quiet();
    let (home, target) = (home(), Target::start(at_once, None));
    let started = Watched::start(&home, &steady(&target, 2_000, 8), &[], |command| {
        Process::spawn(again(command))
    });
    let begin = |worker: &Process| {
        group.squeeze(5);
        group.take(worker);
        None
    };
    let ended = strain(test, started, begin, &["throttled", "dispatch_lag", "poll_delay"]);
    let report = ended.json();
    assert!(kinds(&report).contains(&"throttled"), "{}", report["generator"]);
    assert!(whole(&report["workers"][0], "health.throttled_us") > 1_000_000);
}

#[test]
fn a_worker_whose_core_is_taken_says_so_within_two_intervals() {
    let test = "a_worker_whose_core_is_taken_says_so_within_two_intervals";
    let cores = cores();
    let [core, _, ..] = cores[..] else {
        return skip::skipped(test, "this machine has one core");
    };
    let _quiet = quiet::quiet();
    let (home, target) = (home(), Target::start(at_once, None));
    let started = Watched::start(&home, &steady(&target, 2_000, 12), &[], |command| {
        on_core(core, || Process::spawn(again(command)))
    });
    let begin = |worker: &Process| {
        yield_to_others(worker);
        Some(Competitor::on(core))
    };
    let ended = strain(test, started, begin, &["run_queue", "dispatch_lag", "poll_delay"]);
    let report = ended.json();
    assert_ne!(report["generator"]["verdict"], "valid", "{}", report["generator"]);
    let waited = report["workers"][0]["health"]["shard_wait_max_ratio"].as_f64();
    assert!(waited.is_some_and(|share| share > 0.2), "{}", report["workers"]);
    let invalid = report["generator"]["verdict"] == "invalid";
    assert_exit(&ended, if invalid { 95 } else { 0 });
}

#[test]
fn a_healthy_run_of_a_minute_raises_no_alarm() {
    let test = "a_healthy_run_of_a_minute_raises_no_alarm";
    let cores = cores();
    let [core, other, ..] = cores[..] else {
        return skip::skipped(test, "this machine has one core");
    };
    let _quiet = quiet::quiet();
    let (meter, taken, stood) = (Pressure::now(), Stolen::from(core), Standstill::from(core));
    let (home, target) = (home(), on_core(other, || Target::start(at_once, None)));
    let started = Watched::start(&home, &steady(&target, 1_000, 60), &[], |command| {
        on_core(core, || Process::spawn(again(command)))
    });
    let ended = started.watch.wait(LIMIT);
    let report = ended.json();
    let generator = &report["generator"];
    let alarmed = generator["verdict"] != "valid" || ended.stderr.contains("generator degraded");
    if alarmed {
        // One core of time over the run is 60 s.
        let stolen = whole(&report["workers"][0], "health.steal_us") as f64 / 60e6;
        let (pressure, worst, stood) = (meter.share(), taken.worst_share(), stood.longest());
        let seen = format!(
            "{:.1} % stolen, {:.0} % in the worst second, pressure {:.0} %, the core stood still for {stood:?}",
            stolen * 100.0,
            worst * 100.0,
            pressure * 100.0
        );
        let busy = stolen >= 0.01 || worst >= STOLEN_SECOND || pressure > quiet::PRESSURE_MAX;
        assert!(
            busy || stood >= STOOD_STILL,
            "a false alarm ({seen}): {generator}\n{}",
            ended.stderr
        );
        skip::skipped(test, &format!("the machine is busy: {seen}: {generator}"));
        return;
    }
    assert_exit(&ended, 0);
    assert_eq!(generator["reasons"], Value::Array(Vec::new()));
    let health = &report["workers"][0]["health"];
    for read in [
        "rss_anon_max_bytes",
        "memory_available_min_bytes",
        "ports_limit",
        "descriptors_max",
    ] {
        assert!(health[read].as_u64().is_some_and(|value| value > 0), "{read}: {health}");
    }
    let busy = health["core_busy_max_ratio"].as_f64().expect("a number");
    assert!(busy > 0.0 && busy <= 1.2, "{health}");
}

/// The same command again: processes are started from what commands are made of.
fn again(command: &Command) -> Command {
    wrapped("true", command)
}

#[test]
fn a_worker_without_descriptors_blames_itself() {
    let (home, target) = (home(), Target::start(slowly, None));
    let text = format!(
        "
name: short
target: {}
load: {{ rate: 100/s, for: 4s, max_active: 400 }}
steps: [ get: / ]
sla: [ 'error_rate < 1%' ]
",
        target.url
    );
    let started = Watched::start(&home, &text, &[], |command| {
        Process::spawn(wrapped("ulimit -n 64", command))
    });
    let ended = started.watch.wait(LIMIT);
    assert_exit(&ended, 95);
    let report = ended.json();
    assert_steps_balance(&report, "steps_total");
    assert_eq!(
        (&report["verdict"], &report["generator"]["verdict"]),
        (&"invalid".into(), &"invalid".into())
    );
    assert!(kinds(&report).contains(&"no_descriptor"), "{}", report["generator"]);
    let short = whole(&report["workers"][0], "health.short_of_descriptors");
    assert!(short > 0);
    // Every connection that failed did so for this.
    assert_eq!(whole(&report, "steps_total.failed.connect"), short);
    assert_eq!(whole(&report["workers"][0], "health.descriptors_limit"), 64);
    let errors = at(&report, "errors").as_array().expect("errors is a list");
    let blamed = |error: &Value| {
        error["message"]
            .to_string()
            .contains("the generator has no descriptor left")
    };
    assert!(!errors.is_empty() && errors.iter().all(blamed), "{errors:?}");

    // Whoever accepts that is told of the SLA, which has failed for it.
    let url = &started.coordinator.url;
    let accepting = run(
        &home,
        [
            "watch",
            &started.run,
            "--coordinator",
            url,
            "--accept-invalid",
            "--format",
            "markdown",
        ],
    );
    assert_eq!(accepting.code, 99, "{}", accepting.stderr);
    assert!(accepting.stdout.contains("generator INVALID"), "{}", accepting.stdout);
    // Each rendering says it at its top.
    for (format, said) in [
        ("text", "generator INVALID"),
        ("html", "generator INVALID"),
        ("junit", "name=\"generator\" value=\"invalid\""),
        (
            "junit",
            "name=\"generator_reason\" value=\"invalid no_descriptor, worker 0: ",
        ),
    ] {
        let shown = run(
            &home,
            ["report", &started.run, "--coordinator", url, "--format", format],
        );
        assert_eq!(shown.code, 0, "{}", shown.stderr);
        assert!(shown.stdout.contains(said), "{format}: {}", shown.stdout);
    }
}

/// A target and a run in a network of their own that has 32 local ports.
const FEW_PORTS: &str = "\
    echo '40000 40031' > /proc/sys/net/ipv4/ip_local_port_range
    \"$0\" target --listen 127.0.0.1:8080 > target.txt & target=$!
    while ! \"$0\" health --url http://127.0.0.1:8080/health; do sleep 0.1; done
    \"$0\" run http://127.0.0.1:8080/health -c 100 -n 400 --threads 1 --format json --quiet; code=$?
    kill $target; exit $code";

/// Two targets that have the only two local ports, and a run that finds none.
const NO_PORT: &str = "\
    ip link set lo up && echo '40000 40001' > /proc/sys/net/ipv4/ip_local_port_range || exit 77
    \"$0\" target --listen 127.0.0.1:0 > one.txt & one=$!
    \"$0\" target --listen 127.0.0.1:0 > two.txt & two=$!
    until [ -s one.txt ] && [ -s two.txt ]; do sleep 0.1; done
    \"$0\" run http://127.0.0.1:40000/health -n 1 --quiet; code=$?
    kill $one $two; exit $code";

#[test]
fn a_run_that_finds_no_local_port_says_so_before_it_starts() {
    let test = "a_run_that_finds_no_local_port_says_so_before_it_starts";
    let home = home();
    let ended = match network::alone(&home, NO_PORT) {
        Ok(ended) => ended,
        Err(reason) => return skip::skipped(test, reason),
    };
    assert_exit(&ended, 4);
    assert!(
        ended.stderr.contains("no local port is left on 127.0.0.1"),
        "{}",
        ended.stderr
    );
}

#[test]
fn a_worker_without_local_ports_blames_itself() {
    let test = "a_worker_without_local_ports_blames_itself";
    let home = home();
    let ended = match network::alone(&home, FEW_PORTS) {
        Ok(ended) => ended,
        Err(reason) => return skip::skipped(test, reason),
    };
    assert_exit(&ended, 95);
    let report = ended.json();
    assert!(kinds(&report).contains(&"no_port"), "{}", report["generator"]);
    let health = &report["workers"][0]["health"];
    assert_eq!(health["ports_limit"], 32, "{health}");
    let short = whole(health, "short_of_ports");
    assert!(short > 0);
    assert_eq!(whole(&report, "steps_total.failed.connect"), short);
}

/// A worker in a group in which it may have so many threads more than an idle one, and a run on it.
fn with_threads_more(home: &TempDir, group: &Group, target: &Target, more: usize) -> Ended {
    let store = home.path().join("store").display().to_string();
    let coordinator = Process::server(home, ["coordinator", "--listen", "127.0.0.1:0", "--store", &store]);
    let worker = Process::start(home, worker_args(&coordinator.url, "w1"));
    wait::until("the worker", LIMIT, || {
        let asked = run(home, ["doctor", "--coordinator", &coordinator.url]);
        asked.stdout.contains(", 1 workers").then_some(())
    });
    group.take_with_threads(&worker, more);
    let named = target.url.replace("127.0.0.1", "localhost");
    let text = format!(
        "{{ name: narrow, target: '{named}', load: {{ rate: 50/s, for: 1s, max_active: 50 }}, steps: [ get: / ] }}"
    );
    let plan = plan::write(home, &text);
    let begun = now();
    let args = [
        "submit",
        &plan,
        "--coordinator",
        &coordinator.url,
        "--no-progress",
        "--format",
        "json",
    ];
    let ended = run(home, args);
    let took = now().duration_since(begun);
    assert!(took < Duration::from_secs(20), "{took:?}: {}", ended.stderr);
    drop((worker, coordinator));
    ended
}

#[test]
fn a_worker_without_threads_blames_itself() {
    let group = match Group::of_threads() {
        Ok(group) => group,
        Err(reason) => return skip::skipped("a_worker_without_threads_blames_itself", &reason),
    };
    let (home, target) = (home(), Target::start(at_once, None));
    // None to compile the plan on.
    let ended = with_threads_more(&home, &group, &target, 0);
    assert_exit(&ended, 4);
    let why = "could not start a thread that compiles the plan: the system gives no thread";
    assert!(ended.stderr.contains(why), "{}", ended.stderr);
    // One for that and then for the load, and none for a name lookup.
    let ended = with_threads_more(&home, &group, &target, 1);
    assert_exit(&ended, 95);
    let report = ended.json();
    assert!(kinds(&report).contains(&"no_thread"), "{}", report["generator"]);
    let short = whole(&report["workers"][0], "health.short_of_threads");
    assert!(short > 0);
    assert_eq!(whole(&report, "steps_total.failed.dns"), short);
    assert_eq!(whole(&report, "steps_total.timeout"), 0);
}

#[test]
fn an_invalid_run_that_is_accepted_counts_by_its_slas() {
    let (home, target) = (home(), Target::start(slowly, None));
    let text = format!(
        "{{ name: short, target: '{}', load: {{ rate: 100/s, for: 3s, max_active: 300 }}, steps: [ get: / ] }}",
        target.url
    );
    let accept = ["--accept-invalid"];
    let started = Watched::start(&home, &text, &accept, |command| {
        Process::spawn(wrapped("ulimit -n 64", command))
    });
    let ended = started.watch.wait(LIMIT);
    assert_exit(&ended, 0);
    assert_eq!(ended.json()["verdict"], "invalid");
}

#[test]
fn the_preflight_says_what_stops_this_machine() {
    let home = home();
    let found = run(&home, ["doctor", "--format", "json"]);
    let json = found.json();
    let checks = at(&json, "checks").as_array().expect("checks is a list");
    let level = |name: &str| {
        checks
            .iter()
            .find(|check| check["name"] == name)
            .map(|check| &check["level"])
    };
    for name in ["descriptors", "ports", "cores", "cpu quota", "timer", "clock", "memory"] {
        assert!(level(name).is_some(), "no {name}: {json:#}");
    }
    assert_eq!(level("coordinator"), None);
    let fails = checks.iter().any(|check| check["level"] == "fail");
    assert_eq!(found.code, if fails { 4 } else { 0 }, "{json:#}");
    assert!(whole(&json, "capacity.connections_per_target") > 0);

    let poor = Process::spawn(wrapped("ulimit -n 200", &barrage(&home, ["doctor"]))).wait(LIMIT);
    assert_eq!(poor.code, 4, "{}", poor.stdout);
    assert!(
        poor.stdout.contains("fail  descriptors   200 (hard limit 200)"),
        "{}",
        poor.stdout
    );
    assert!(
        poor.stdout.contains("up to 100 connections to one target address"),
        "{}",
        poor.stdout
    );
    assert!(
        poor.stderr
            .starts_with("error: this machine is not fit to make load: descriptors"),
        "{}",
        poor.stderr
    );
}

#[test]
fn the_preflight_says_how_many_threads_there_may_be() {
    let group = match Group::of_threads() {
        Ok(group) => group,
        Err(reason) => return skip::skipped("the_preflight_says_how_many_threads_there_may_be", &reason),
    };
    let home = home();
    group.allow_threads(6);
    let poor = Process::spawn(group.enclose(&barrage(&home, ["doctor"]))).wait(LIMIT);
    assert_eq!(poor.code, 4, "{}{}", poor.stdout, poor.stderr);
    assert!(
        poor.stdout.contains("fail  threads       3 more allowed"),
        "{}",
        poor.stdout
    );
}

#[test]
fn without_threads_nothing_begins() {
    let group = match Group::of_threads() {
        Ok(group) => group,
        Err(reason) => return skip::skipped("without_threads_nothing_begins", &reason),
    };
    let home = home();
    let says = "the system does not give 5 threads more (pids.max, TasksMax=, ulimit -u)";
    for most in 1..6 {
        group.allow_threads(most);
        for args in [&["worker"][..], &["doctor"], &["run", "http://127.0.0.1:9"]] {
            let ended = Process::spawn(group.enclose(&barrage(&home, args.iter().copied()))).wait(LIMIT);
            assert_eq!(ended.code, 4, "{most} {args:?}: {}", ended.stderr);
            assert!(ended.stderr.contains(says), "{most} {args:?}: {}", ended.stderr);
        }
    }
}

#[test]
fn without_descriptors_nothing_begins() {
    let home = home();
    for (most, code) in [(6, 4), (31, 4), (32, 0)] {
        let limited = wrapped(&format!("ulimit -n {most}"), &barrage(&home, ["man"]));
        let ended = Process::spawn(limited).wait(LIMIT);
        assert_eq!(ended.code, code, "{most}: {}", ended.stderr);
        let says = format!("{most} open descriptors are allowed; expected 32 at least (ulimit -n)");
        assert_eq!(ended.stderr.contains(&says), code != 0, "{most}: {}", ended.stderr);
    }
}

#[test]
fn the_preflight_asks_a_coordinator() {
    let home = home();
    let store = home.path().join("store").display().to_string();
    let coordinator = Process::server(&home, ["coordinator", "--listen", "127.0.0.1:0", "--store", &store]);
    let well = run(&home, ["doctor", "--coordinator", &coordinator.url]);
    let line = well
        .stdout
        .lines()
        .find(|line| line.contains("coordinator "))
        .unwrap_or_default();
    assert!(
        line.starts_with("ok    coordinator   ") && line.ends_with(", 0 workers"),
        "{}",
        well.stdout
    );
    drop(coordinator);
    let gone = run(&home, ["doctor", "--coordinator", "127.0.0.1:1"]);
    assert_eq!(gone.code, 4, "{}", gone.stdout);
    assert!(
        gone.stdout
            .contains("fail  coordinator   could not reach a coordinator"),
        "{}",
        gone.stdout
    );
    let nonsense = run(&home, ["doctor", "--coordinator", "ftp://x"]);
    assert_eq!((nonsense.code, nonsense.stdout.as_str()), (2, ""));
}
