//! As many open connections in one worker as people ask for, each of them cheap; and answers of any size.

use std::time::Duration;

use rustix::process::{Resource, getrlimit, setrlimit};
use serde_json::Value;
use tempfile::TempDir;

use crate::support::barrage::{Fleet, Process, command, home};
use crate::support::report::{assert_steps_balance, sum, whole};
use crate::support::server::{Reply, Server};
use crate::support::strain::Group;
use crate::support::target::{Answer, Target};
use crate::support::{plan, quiet, skip};

/// Connections that one worker is to hold.
const WANTED: u64 = 20_000;
/// Fewer would show nothing.
const LEAST: u64 = 2_000;
/// What an idle connection may cost the worker.
const BYTES_PER_CONNECTION_MAX: u64 = 20 * 1_024;
/// Descriptors that a process needs beside its connections.
const OTHER_DESCRIPTORS: u64 = 500;

fn answer(_: &str) -> Answer {
    Answer {
        status: 200,
        headers: "",
        delay: Duration::ZERO,
    }
}

/// The connections that this machine's limits leave room for: one descriptor here and one in the worker for each, and a
/// port on the worker's side.
fn possible() -> u64 {
    let before = getrlimit(Resource::Nofile);
    let mut limit = before;
    limit.current = limit.current.map(|now| now.max(WANTED + OTHER_DESCRIPTORS));
    limit.maximum = limit.maximum.map(|now| now.max(WANTED + OTHER_DESCRIPTORS));
    if setrlimit(Resource::Nofile, limit).is_err() {
        limit.maximum = before.maximum;
        limit.current = before.maximum;
        let _refused = setrlimit(Resource::Nofile, limit);
    }
    let descriptors = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let range = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    let ends: Vec<u64> = range
        .split_ascii_whitespace()
        .filter_map(|end| end.parse().ok())
        .collect();
    let ports = match ends.as_slice() {
        [first, last] => last.saturating_sub(*first),
        _ => 0,
    };
    WANTED
        .min(descriptors.saturating_sub(OTHER_DESCRIPTORS))
        .min(ports.saturating_sub(2 * OTHER_DESCRIPTORS))
}

/// The report of a run in which each of `users` keeps its connection and uses it from time to time.
///
/// Half of them go to another port: from half of the local ports for one target address on, the kernel looks at all of
/// that half before it finds a free one, and the processor time of that is more than that of everything else here.
fn held(home: &TempDir, fleet: &Fleet, users: u64) -> Value {
    let targets = [(); 2].map(|()| Target::start(answer, None));
    let [one, other] = &targets;
    let half = |name: &str, users: u64| {
        format!(
            "
  - name: {name}
    users:
      stages:
        - ramp: {{ from: 0, to: {users}, over: 14s }}
        - hold: {{ users: {users}, for: 4s }}
      pace: 15s
    steps: [ get: {{ url: /here, target: {name} }} ]"
        )
    };
    let text = format!(
        "
name: many
targets: {{ one: {}, other: {} }}
scenarios:{}{}
",
        one.url,
        other.url,
        half("one", users.div_ceil(2)),
        half("other", users / 2),
    );
    let plan = plan::write(home, &text);
    let args = [
        "submit",
        &plan,
        "--coordinator",
        &fleet.coordinator.url,
        "--format",
        "json",
        "--accept-invalid",
        "--quiet",
    ];
    let ended = Process::start(home, args).wait(Duration::from_mins(3));
    let report = ended.json();
    assert_steps_balance(&report, "steps_total");
    assert!(whole(&report, "steps_total.ok") <= one.requests() + other.requests());
    report
}

#[test]
fn many_connections_are_cheap() {
    let users = possible();
    if users < LEAST {
        let reason = format!("descriptors and ports allow only {users} connections");
        return skip::skipped("many_connections_are_cheap", &reason);
    }
    if users < WANTED {
        let reason = format!("descriptors and ports allow only {users} connections of {WANTED}: judged with those");
        skip::skipped("many_connections_are_cheap", &reason);
    }
    let _quiet = quiet::quiet();
    let home = home();
    let fleet = Fleet::start(&home, 1, |_| Vec::new());
    let worker = |report: &Value, what: &str| whole(&report["workers"][0], &format!("health.{what}"));
    let few = held(&home, &fleet, 100);
    quiet::measured(
        "many_connections_are_cheap",
        || held(&home, &fleet, users),
        |many| {
            let (open, ok) = (worker(many, "connections_max"), sum(many, "steps_total.failed") == 0);
            if open != users || !ok {
                return Err(format!(
                    "{open} connections of {users}; {} {}",
                    many["errors"], many["workers"]
                ));
            }
            let grown = worker(many, "rss_max_bytes").saturating_sub(worker(&few, "rss_max_bytes"));
            let each = grown / (users - 100);
            if each > BYTES_PER_CONNECTION_MAX {
                return Err(format!("{each} bytes for each connection"));
            }
            Ok(())
        },
    );
}

/// Bodies that are read by a check are kept; all of them together have no room in the worker's memory.
#[test]
fn bodies_that_have_no_room_are_the_generators_failures() {
    const MEMORY: u64 = 256 * 1024 * 1024;
    let group = match Group::of_memory(MEMORY) {
        Ok(group) => group,
        Err(reason) => return skip::skipped("bodies_that_have_no_room_are_the_generators_failures", &reason),
    };
    for engine in ["http1", "http2", "reqwest"] {
        let (home, text) = (home(), "x".repeat(16 * 1024 * 1024));
        let server = Server::start(move |_| Ok(Reply::text(text.clone())));
        let plan = plan::write(
            &home,
            &format!(
                "{{ name: large, target: '{}', users: {{ stages: [ hold: {{ users: 32, for: 2s }} ] }}, \
                 defaults: {{ engine: {engine} }}, \
                 steps: [ {{ get: /, timeout: 20s, expect: {{ body_contains: y }} }} ] }}",
                server.url
            ),
        );
        let store = home.path().join("store").display().to_string();
        let mut run = command(&home);
        run.args(["run", &plan, "--no-progress", "--format", "json", "--store", &store]);
        let ended = Process::spawn(group.enclose(&run)).wait(Duration::from_mins(1));
        assert_eq!(ended.code, 95, "{engine}: {}", ended.stderr);
        let report = ended.json();
        let short = whole(&report["workers"][0], "health.short_of_memory");
        let failed = sum(&report, "steps_total.failed");
        assert!(
            short > 0 && whole(&report, "steps_total.failed.protocol") == short,
            "{report}"
        );
        assert_eq!(failed, short + whole(&report, "steps_total.failed.check"), "{engine}");
        assert!(
            report["errors"]
                .to_string()
                .contains("the generator has no memory left"),
            "{}",
            report["errors"]
        );
    }
}
