//! The commands around a run: plans, stored runs, reports, stopping and signals, secrets.

use std::path::Path;
use std::time::Duration;

use base64::Engine as _;
use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use crate::support::barrage::{Ended, Fleet, Process, command, home, run};
use crate::support::report::{assert_exit, assert_iterations_balance, assert_steps_balance, at, sum, whole};
use crate::support::server::{Reply, Server, closed_port};
use crate::support::strain::wrapped;
use crate::support::{plan, wait};

const LIMIT: Duration = Duration::from_mins(1);

/// What `--out` writes, with something that each file contains, and the word of `--format`.
const FILES: [(&str, &str, &str); 8] = [
    ("report.json", "\"schema_version\"", "json"),
    ("report.html", "<!doctype html", "html"),
    ("report.txt", "passed", "text"),
    ("report.md", "|", "markdown"),
    ("junit.xml", "<testsuite", "junit"),
    ("timeline.csv", "t_s", "csv"),
    ("health.csv", "dispatch_lag_p99_us", "health"),
    ("latency.hlog", "#[", "hlog"),
];

fn ok_server() -> Server {
    Server::start(|_| Ok(Reply::text("ok")))
}

fn simple(target: &str, seconds: u64) -> String {
    format!(
        "
name: simple
target: {target}
load: {{ rate: 50/s, for: {seconds}s, max_active: 100 }}
steps: [ get: {{ name: one, url: /one }} ]
sla: [ error_rate < 1% ]
"
    )
}

/// Both workers tell of the first second, each with its memory and its descriptors.
#[track_caller]
fn assert_each_second_has_readings(csv: &str) {
    let mut lines = csv.lines().map(|line| line.split(',').collect::<Vec<_>>());
    let head = lines.next().expect("a head");
    let column = |name| head.iter().position(|of| *of == name).expect("a column");
    let first: Vec<_> = lines.filter(|row| row[..2] == ["0", "1"]).collect();
    let mut workers: Vec<_> = first.iter().map(|row| row[column("worker")]).collect();
    workers.dedup();
    assert_eq!(workers, ["0", "1"], "{csv}");
    for row in first {
        for told in ["rss_bytes", "descriptors", "cores"] {
            assert!(row[column(told)].parse::<u64>().expect("a number") > 0, "{told}: {csv}");
        }
        assert!(!row[column("cores_busy_percent")].is_empty(), "{csv}");
    }
}

#[track_caller]
fn assert_code(ended: &Ended, code: i32) {
    assert_eq!(ended.code, code, "{}\n{}", ended.stdout, ended.stderr);
}

#[test]
fn plan_check_says_where_and_what() {
    let home = home();
    let good = plan::write(&home, &simple("http://127.0.0.1:9", 1));
    let ended = run(&home, ["plan", "check", &good]);
    assert_code(&ended, 0);
    assert!(
        ended.stdout.contains(": ok; scenarios: 1, requests: 1, SLAs: 1"),
        "{}",
        ended.stdout
    );
    for (text, line, column, says) in [
        (simple("http://127.0.0.1:9", 1).replace("rate:", "raet:"), 4, 9, "rate"),
        (
            simple("http://127.0.0.1:9", 1).replace("50/s", "50 per s"),
            4,
            15,
            "50 per s",
        ),
        (
            simple("http://127.0.0.1:9", 1).replace("< 1%", "< often"),
            6,
            21,
            "often",
        ),
        ("name: [\n".to_owned(), 1, 7, "bracket"),
        (
            simple("http://127.0.0.1:9", 1).replace("[ get:", "[ fetch:"),
            5,
            10,
            "get",
        ),
    ] {
        let bad = plan::write(&home, &text);
        for command in [&["plan", "check"][..], &["plan", "show"], &["run"]] {
            let ended = run(&home, command.iter().copied().chain([bad.as_str()]));
            assert_code(&ended, 3);
            assert_eq!(ended.stdout, "", "{}", ended.stderr);
            assert!(ended.stderr.contains(says), "{says}: {}", ended.stderr);
            let place = format!("plan.yaml:{line}:{column}\n");
            assert!(ended.stderr.contains(&place), "{place}: {}", ended.stderr);
            assert_eq!(
                ended.stderr.matches("error: ").count(),
                1,
                "one error: {}",
                ended.stderr
            );
        }
    }
    let ended = run(&home, ["plan", "check", "no-such-plan.yaml"]);
    assert_code(&ended, 3);
    assert!(ended.stderr.contains("no-such-plan.yaml"), "{}", ended.stderr);
}

/// What is wrong with the files of a plan is known before anything is started.
#[test]
fn plan_check_looks_into_the_files() {
    let home = home();
    for (file, content) in [
        ("good.csv", "id,name\n1,a\n"),
        ("ragged.csv", "id,name\n1\n"),
        ("empty.csv", "id,name\n"),
        ("bad.jsonl", "{\"id\": 1}\n[]\n"),
        ("no.pem", "nothing\n"),
    ] {
        std::fs::write(home.path().join(file), content).expect("a file of the plan");
    }
    let with = |extra: &str, url: &str| {
        format!("target: http://127.0.0.1:9\nload: {{ rate: 1/s, for: 1s }}\n{extra}\nsteps: [ get: \"{url}\" ]\n")
    };
    for (extra, url, column, says) in [
        ("data: { d: { csv: good.csv } }", "/${d.idd}", 12, "idd"),
        ("data: { d: { csv: ragged.csv } }", "/${d.id}", 12, "ragged.csv"),
        ("data: { d: { csv: empty.csv } }", "/${d.id}", 12, "no rows"),
        ("data: { d: { jsonl: bad.jsonl } }", "/${d.id}", 12, "line 2"),
        ("data: { d: { csv: gone.csv } }", "/${d.id}", 19, "gone.csv"),
        ("network: { tls: { ca: no.pem } }", "/", 17, "PEM"),
        ("network: { tls: { ca: gone.pem } }", "/", 23, "gone.pem"),
    ] {
        let bad = plan::write(&home, &with(extra, url));
        for command in [&["plan", "check"][..], &["run"]] {
            let ended = run(&home, command.iter().copied().chain([bad.as_str()]));
            assert_code(&ended, 3);
            assert!(ended.stderr.contains(says), "{says}: {}", ended.stderr);
            let place = format!("plan.yaml:3:{column}\n");
            assert!(ended.stderr.contains(&place), "{place}: {}", ended.stderr);
        }
    }
    let few = with("workers: { min: 5 }", "/").replace("for: 1s", "for: 1s, max_active: 2");
    let ended = run(&home, ["plan", "check", &plan::write(&home, &few)]);
    assert_code(&ended, 3);
    assert!(ended.stderr.contains("max_active"), "{}", ended.stderr);
    // What only the worker knows is left to it.
    let secret = with(
        "data: { d: { csv: good.csv } }",
        "http://${env:NO_SUCH_HOST}:${env:NO_SUCH_PORT}/${d.id}",
    );
    let good = plan::write(&home, &secret);
    assert_code(&run(&home, ["plan", "check", &good]), 0);
    let asked = run(&home, ["plan", "check", &good, "--target", "nope"]);
    assert_code(&asked, 2);
    assert!(!asked.stderr.contains("plan.yaml"), "{}", asked.stderr);
}

#[test]
fn plan_from_stdin() {
    use std::io::Write as _;
    let home = home();
    let server = ok_server();
    let mut child = command(&home)
        .args(["run", "-", "--format", "json", "--accept-invalid", "--quiet"])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("the binary starts");
    let text = simple(&server.url, 1);
    let mut stdin = child.stdin.take().expect("stdin is piped");
    stdin.write_all(text.as_bytes()).expect("the plan can be written");
    drop(stdin);
    let output = child.wait_with_output().expect("the process ends");
    assert_eq!(output.status.code(), Some(0));
    let report: Value = serde_json::from_slice(&output.stdout).expect("stdout is JSON");
    assert_eq!(whole(&report, "iterations.completed"), 50);
    assert_eq!(server.count(), 50);
}

#[test]
fn plan_schema_is_the_published_one() {
    let ended = run(&home(), ["plan", "schema"]);
    assert_code(&ended, 0);
    let published = Path::new(env!("CARGO_MANIFEST_DIR")).join("../plan/plan.schema.json");
    let published = std::fs::read_to_string(published).expect("the schema is published");
    let published: Value = serde_json::from_str(&published).expect("the published schema is JSON");
    assert_eq!(ended.json(), published);
}

#[test]
fn plan_show_normalises_and_forecasts() {
    let home = home();
    let file = plan::write(&home, &simple("http://127.0.0.1:9", 3));
    let ended = run(
        &home,
        [
            "plan",
            "show",
            &file,
            "--workers",
            "3",
            "--seed",
            "5",
            "-e",
            "UNUSED=secret-canary",
        ],
    );
    assert_code(&ended, 0);
    for part in [
        "150 iterations",
        "seed: 5",
        "50 iterations",
        "give_up_after",
        "engine of one: http1",
        "memory",
    ] {
        assert!(ended.stdout.contains(part), "{part:?}: {}", ended.stdout);
    }
    assert!(!ended.stdout.contains("secret-canary"), "{}", ended.stdout);
    // What it shows is a plan that shows the same.
    let again = plan::write(&home, &ended.stdout);
    let again = run(&home, ["plan", "show", &again, "--workers", "3"]);
    assert_code(&again, 0);
    assert_eq!(again.stdout, ended.stdout);
}

const TRIED: &str = r#"
name: tried
variables: { key: "${env:API_KEY}" }
scenarios:
  - name: first
    steps:
      - post: { name: log in, url: /in, json: { user: ann, password: "${password}" }, headers: { x-key: "${key}" } }
        expect: { status: 200, json: { $.error: absent } }
        extract: { ticket: { json: $.ticket } }
      - get: { name: use, url: "/use/${ticket}" }
  - name: second
    steps: [ get: /other ]
load: { rate: 1k/s, for: 1h }
"#;

#[test]
fn plan_try_shows_each_step_once_and_no_secret() {
    let home = home();
    // The server says the secrets back, as careless servers do.
    let server = Server::start(|seen| {
        let said = format!("{}{}", seen.text().escape_default(), seen.header("x-key"));
        Ok(Reply::json(&serde_json::json!({ "ticket": "t-17", "said": said })).with("x-said", seen.header("x-key")))
    });
    let file = plan::write(&home, TRIED);
    let args = [
        "plan",
        "try",
        &file,
        "--target",
        &server.url,
        "-e",
        "password=p4ssw0rd-canary",
    ];
    let output = command(&home)
        .args(args)
        .env("API_KEY", "api-key-canary")
        .output()
        .expect("the binary starts");
    let (stdout, stderr) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert_eq!(output.status.code(), Some(0), "{stdout}\n{stderr}");
    for part in [
        "POST /in HTTP/1.1",
        "\"user\":\"ann\"",
        "GET /use/t-17",
        "GET /other",
        "ticket = t-17",
        "ok      json $.error",
    ] {
        assert!(stdout.contains(part), "{part:?}: {stdout}");
    }
    assert!(stdout.contains("***"), "{stdout}");
    assert!(
        !stdout.contains("canary") && !stderr.contains("canary"),
        "{stdout}\n{stderr}"
    );
    let paths: Vec<String> = server.seen().iter().map(crate::support::server::Seen::what).collect();
    assert_eq!(
        paths,
        ["POST /in", "GET /use/t-17", "GET /other"],
        "one iteration of each scenario"
    );
    assert!(
        server.seen()[0].text().contains("p4ssw0rd-canary"),
        "the server itself gets the secret"
    );
}

#[test]
fn plan_try_says_what_failed() {
    let home = home();
    let server = ok_server();
    let file = plan::write(&home, TRIED);
    let ended = run(
        &home,
        [
            "plan",
            "try",
            &file,
            "--target",
            &server.url,
            "--scenario",
            "nope",
            "-e",
            "password=x",
        ],
    );
    assert_code(&ended, 2);
    assert!(
        ended.stderr.contains("first") && ended.stderr.contains("second"),
        "{}",
        ended.stderr
    );
    let text = simple(&server.url, 1)
        .replace("/one } ]", "/one }, expect: { status: 404 } } ]")
        .replace("[ get:", "[ { get:");
    let failing = plan::write(&home, &text);
    let ended = run(&home, ["plan", "try", &failing]);
    assert_code(&ended, 99);
    assert!(
        ended.stdout.contains("FAILED  status") && ended.stdout.contains("BROKEN OFF"),
        "{}",
        ended.stdout
    );
}

#[track_caller]
fn read(file: &Path) -> String {
    std::fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

/// The ids that `runs ls` prints, with their lines.
fn listed(home: &TempDir, place: &[&str]) -> Vec<(String, String)> {
    let ended = run(home, ["runs", "ls"].iter().chain(place));
    assert_code(&ended, 0);
    let lines = ended.stdout.lines().skip(1);
    lines
        .map(|line| (line.split(' ').next().unwrap_or_default().to_owned(), line.to_owned()))
        .collect()
}

#[test]
fn stored_runs_live_through_a_restart() {
    let home = home();
    let server = ok_server();
    let file = plan::write(&home, &simple(&server.url, 2));
    let out = home.path().join("out");
    let out_text = out.to_str().expect("temporary folders are UTF-8");
    let store = home.path().join("store");
    let store = store.to_str().expect("temporary folders are UTF-8");
    let fleet = Fleet::start(&home, 2, |_| Vec::new());
    let url = &fleet.coordinator.url;
    let args = [
        "submit",
        &file,
        "--min-workers",
        "2",
        "--coordinator",
        url,
        "--out",
        out_text,
        "--accept-invalid",
        "--quiet",
        "--label",
        "team=a",
    ];
    let ended = Process::start(&home, args).wait(LIMIT);
    assert_code(&ended, 0);
    assert_eq!(ended.stdout, read(&out.join("report.txt")), "stdout is the text report");
    for (name, part, _) in FILES {
        assert!(
            read(&out.join(name)).to_lowercase().contains(part),
            "{name} has no {part:?}"
        );
    }
    assert_each_second_has_readings(&read(&out.join("health.csv")));
    let report: Value = serde_json::from_str(&read(&out.join("report.json"))).expect("report.json is JSON");
    assert_eq!(report["run"]["labels"]["team"], "a");
    let id = report["run"]["id"].as_str().expect("an id").to_owned();
    let lines = listed(&home, &["--coordinator", url]);
    assert_eq!(lines.len(), 1);
    assert_eq!(lines[0].0, id);
    assert!(
        lines[0].1.contains("passed") && lines[0].1.contains("simple"),
        "{}",
        lines[0].1
    );

    // A graceful end of all, and another coordinator on the same store.
    let Fleet { coordinator, workers } = fleet;
    coordinator.signal(Signal::TERM);
    assert_code(&coordinator.wait(LIMIT), 0);
    drop(workers);
    assert_rendered_anew(&home, store, &id, &out);
    assert_local(&home, store, &id, &report);
}

/// Another coordinator on the same store renders the same report.
fn assert_rendered_anew(home: &TempDir, store: &str, id: &str, out: &Path) {
    let again = Process::server(home, ["coordinator", "--listen", "127.0.0.1:0", "--store", store]);
    for (name, _, format) in FILES {
        let ended = run(home, ["report", id, "--format", format, "--coordinator", &again.url]);
        assert_code(&ended, 0);
        assert_eq!(
            ended.stdout,
            read(&out.join(name)),
            "{name} is the same after a restart"
        );
    }
    let rendered = home.path().join("rendered");
    let rendered_text = rendered.to_str().expect("temporary folders are UTF-8");
    assert_code(
        &run(
            home,
            ["report", id, "--out", rendered_text, "--coordinator", &again.url],
        ),
        0,
    );
    for (name, ..) in FILES {
        assert_eq!(read(&rendered.join(name)), read(&out.join(name)), "{name}");
    }
    let shown = run(home, ["runs", "show", id, "--coordinator", &again.url]);
    assert_eq!(shown.stdout, read(&out.join("report.txt")));
    assert_place(home, store, id, &again.url);
}

/// What is asked for goes before the environment, a coordinator before a store.
fn assert_place(home: &TempDir, store: &str, id: &str, url: &str) {
    let nobody = "http://127.0.0.1:9";
    let nothing = home.path().join("nothing").display().to_string();
    let table = [
        (Some(url), None, None, Some(nothing.as_str()), 0),
        (None, Some(store), Some(nobody), None, 0),
        (None, None, Some(url), Some(nothing.as_str()), 0),
        (None, None, None, Some(store), 0),
        (None, Some(nothing.as_str()), Some(url), Some(store), 2),
        (Some(url), Some(store), None, None, 2),
    ];
    for (coordinator, local, coordinator_env, store_env, code) in table {
        let mut command = command(home);
        for (name, value) in [("BARRAGE_COORDINATOR", coordinator_env), ("BARRAGE_STORE", store_env)] {
            command.envs(value.map(|value| (name, value)));
        }
        command.args(["runs", "show", id]);
        for (flag, value) in [("--coordinator", coordinator), ("--store", local)] {
            command.args(value.map_or_else(Vec::new, |value| vec![flag, value]));
        }
        let ended = Ended::new(&command.output().expect("the binary starts"));
        assert_code(&ended, code);
        let both = coordinator.is_some() && local.is_some();
        assert_eq!(ended.stderr.contains("expected one of them"), both, "{}", ended.stderr);
    }
}

/// A run in a fleet takes nothing that is about this process.
#[test]
fn a_run_elsewhere_has_no_threads_of_its_own() {
    let home = home();
    let nobody = "http://127.0.0.1:9";
    let table: [(&[&str], bool, i32); 5] = [
        (&["--coordinator", nobody, "--threads", "2"], false, 2),
        (&["--trace-samples", "trace.txt"], true, 2),
        (&["--store", "store"], true, 2),
        // Nobody is there.
        (&["--coordinator", nobody], false, 4),
        (&[], true, 4),
    ];
    for (flags, in_environment, code) in table {
        let mut command = command(&home);
        command.args(["run", "-n", "1", "http://127.0.0.1:9/"]).args(flags);
        command.env("BARRAGE_STORE", home.path().join("store"));
        if in_environment {
            command.env("BARRAGE_COORDINATOR", nobody);
        }
        let ended = Ended::new(&command.output().expect("the binary starts"));
        assert_code(&ended, code);
        assert_eq!(
            ended.stderr.contains("expected one of them"),
            code == 2,
            "{}",
            ended.stderr
        );
    }
}

#[test]
fn values_are_taken_whole() {
    let home = home();
    let text = "target: http://127.0.0.1:9\nload: { rate: 1/s, for: 1s }\nvariables: { a: none, b: none }\n\
                steps: [ { get: \"/${a}/${b}\" } ]\n";
    std::fs::write(home.path().join("plan.yaml"), text).expect("a plan can be written");
    let shown = |flags: &[&str], lines: &str| {
        let mut command = command(&home);
        command.args(["plan", "show", "plan.yaml"]).args(flags);
        let ended = Ended::new(&command.env("BARRAGE_SET", lines).output().expect("the binary starts"));
        assert_code(&ended, 0);
        let line = |name: &str| {
            let mut lines = ended.stdout.lines().map(str::trim);
            lines.find_map(|line| line.strip_prefix(name)).map(str::to_owned)
        };
        [line("a: "), line("b: ")].map(|value| value.unwrap_or_default().trim_matches('"').to_owned())
    };
    assert_eq!(shown(&["--set", "a=1;b=2"], ""), ["1;b=2", "none"]);
    assert_eq!(shown(&[], "a=1;2\n\nb=3"), ["1;2", "3"]);
    assert_eq!(
        shown(&["--set", "a=1"], "b=3"),
        ["1", "none"],
        "flags replace the variable"
    );
}

/// The store alone is enough.
fn assert_local(home: &TempDir, store: &str, id: &str, report: &Value) {
    let local = ["--store", store];
    let ended = run(home, ["report", id, "--format", "json", "--store", store]);
    assert_eq!(ended.json(), *report);
    assert_eq!(listed(home, &local).len(), 1);
    assert_code(&run(home, ["runs", "rm", "0000000000000001", "--store", store]), 2);
    assert_code(&run(home, ["runs", "rm", id, "--store", store]), 0);
    assert_eq!(listed(home, &local).len(), 0);
    assert_code(&run(home, ["report", id, "--store", store]), 2);
    let missing = run(home, ["runs", "ls", "--store", "no-such-folder"]);
    assert_code(&missing, 2);
    assert!(
        missing.stderr.contains("there is no store in no-such-folder"),
        "{}",
        missing.stderr
    );
}

#[test]
fn a_worker_that_no_coordinator_takes_is_told_at_once() {
    let home = home();
    let long = "w".repeat(201);
    for (flag, value) in [("--max-rate", "0/s"), ("--name", ""), ("--name", long.as_str())] {
        let ended = run(&home, ["worker", "--coordinator", "http://127.0.0.1:9", flag, value]);
        assert_code(&ended, 2);
        assert!(ended.stderr.contains(flag), "{}", ended.stderr);
    }
    for address in ["https://127.0.0.1:9", "two words", "http://"] {
        let ended = run(&home, ["worker", "--coordinator", address]);
        assert_code(&ended, 2);
        let says = format!("{address:?} is no coordinator address; expected http://HOST:PORT");
        assert!(ended.stderr.contains(&says), "{}", ended.stderr);
    }
    // As the commands of a client it takes one without the scheme.
    let nobody = format!("127.0.0.1:{}", closed_port());
    let ended = run(&home, ["worker", "--coordinator", &nobody]);
    assert_code(&ended, 4);
    let says = format!("no coordinator can be reached at http://{nobody}");
    assert!(ended.stderr.contains(&says), "{}", ended.stderr);
}

#[test]
fn runs_of_one_process_are_stored_and_pruned() {
    let home = home();
    let server = ok_server();
    for n in 0..3 {
        let name = format!("run-{n}");
        let file = plan::write(
            &home,
            &simple(&server.url, 1).replace("name: simple", &format!("name: {name}")),
        );
        assert_code(&run(&home, ["run", &file, "--accept-invalid", "--quiet"]), 0);
    }
    let names = || -> Vec<String> {
        let last = |line: String| line.rsplit(' ').next().unwrap_or_default().to_owned();
        listed(&home, &[]).into_iter().map(|(_, line)| last(line)).collect()
    };
    assert_eq!(names(), ["run-2", "run-1", "run-0"], "the newest first");
    let newest = run(&home, ["report", "--format", "json"]);
    assert_eq!(newest.json()["run"]["name"], "run-2");
    let pruned = run(&home, ["runs", "prune", "--keep", "1"]);
    assert_eq!((pruned.code, pruned.stdout.as_str()), (0, "2 removed\n"));
    assert_eq!(names(), ["run-2"]);
    assert_code(&run(&home, ["runs", "prune", "--older-than", "1h"]), 0);
    assert_eq!(names(), ["run-2"]);
}

#[test]
fn a_run_of_another_process_is_seen_and_not_removed() {
    let home = home();
    let server = ok_server();
    let file = plan::write(&home, &simple(&server.url, 60));
    let process = Process::start(&home, ["run", &file, "--quiet", "--accept-invalid"]);
    let id = wait::until("the run in the list", LIMIT, || {
        let mut lines = listed(&home, &[]).into_iter();
        lines.find(|(_, line)| line.contains(" running ")).map(|(id, _)| id)
    });
    let refused = run(&home, ["runs", "rm", &id]);
    assert_code(&refused, 2);
    assert!(refused.stderr.contains("has not ended"), "{}", refused.stderr);
    process.signal(Signal::INT);
    assert_code(&process.wait(LIMIT), 130);
    assert_code(&run(&home, ["runs", "rm", &id]), 0);
    assert!(listed(&home, &[]).is_empty());
}

#[test]
fn a_run_of_a_process_that_is_gone_has_ended_with_it() {
    let home = home();
    let server = ok_server();
    let file = plan::write(&home, &simple(&server.url, 60));
    let process = Process::start(&home, ["run", &file, "--quiet", "--accept-invalid"]);
    wait::until("load", LIMIT, || (server.count() >= 20).then_some(()));
    wait::until("the run in the list", LIMIT, || {
        listed(&home, &[])
            .iter()
            .any(|(_, line)| line.contains(" running "))
            .then_some(())
    });
    process.signal(Signal::KILL);
    process.wait(LIMIT);
    let lines = listed(&home, &[]);
    assert!(!lines[0].1.contains(" running "), "{lines:?}");
    let report = run(&home, ["report"]);
    assert!(
        report.stdout.contains("the coordinator ended before the run did"),
        "{}",
        report.stdout
    );
    assert!(!report.stdout.contains("the run goes on"), "{}", report.stdout);
}

#[test]
fn a_run_without_arrivals_has_no_report() {
    let home = home();
    let server = ok_server();
    let text = simple(&server.url, 1) + "setup: [ { get: /, expect: { status: 418 } } ]\n";
    let file = plan::write(&home, &text);
    assert_code(&run(&home, ["run", &file, "--quiet"]), 4);
    let report = run(&home, ["report", "--format", "junit"]);
    assert_code(&report, 4);
    assert_eq!(report.stdout, "");
    assert!(report.stderr.contains("made no arrival"), "{}", report.stderr);
}

/// Asserts how a run that was stopped ended: with this code, unless this machine was too busy to make the load, which
/// goes before.
#[track_caller]
fn assert_ended(ended: &Ended, code: i32) {
    let report = ended.json();
    let busy = report["generator"]["verdict"] == "invalid";
    let (verdict, code) = if busy { ("invalid", 95) } else { ("aborted", code) };
    assert_exit(ended, code);
    assert_eq!(report["verdict"], verdict);
    assert_eq!(report["exit_code"], code);
    assert!(at(&report, "stopped_early").is_object(), "{}", report["reasons"]);
}

#[test]
fn watch_and_stop() {
    let home = home();
    let server = ok_server();
    let file = plan::write(&home, &simple(&server.url, 60));
    let fleet = Fleet::start(&home, 1, |_| Vec::new());
    let url = fleet.coordinator.url.clone();
    let submitted = run(&home, ["submit", &file, "--detach", "--coordinator", &url]);
    assert_code(&submitted, 0);
    let id = submitted.stdout.trim().to_owned();
    assert_eq!(id.len(), 16, "{id:?}");
    // A watcher that leaves does not end the run. It finds the coordinator by itself.
    wait::until("load", LIMIT, || (server.count() >= 10).then_some(()));
    let leaving = Process::start(&home, ["watch", "--no-progress"]);
    wait::until("more load", LIMIT, || (server.count() >= 100).then_some(()));
    leaving.signal(Signal::INT);
    assert_code(&leaving.wait(LIMIT), 130);
    let before = server.count();
    wait::until("more load", LIMIT, || (server.count() > before + 10).then_some(()));

    let observer = Process::start(
        &home,
        ["watch", &id, "--coordinator", &url, "--format", "json", "--quiet"],
    );
    let stopped = run(&home, ["stop", &id, "--coordinator", &url]);
    assert_eq!(
        (stopped.code, stopped.stdout.trim()),
        (0, id.as_str()),
        "{}",
        stopped.stderr
    );
    let watched = observer.wait(LIMIT);
    let report = watched.json();
    assert_ended(&watched, 96);
    assert_iterations_balance(&report, "iterations");
    assert_steps_balance(&report, "steps_total");
    assert_eq!(
        whole(&report, "steps_total.ok"),
        server.count(),
        "what was sent is counted"
    );
    assert_eq!(
        whole(&report, "iterations.in_progress") + whole(&report, "iterations.unknown"),
        0
    );
    let again = run(&home, ["stop", &id, "--coordinator", &url]);
    assert_eq!(again.code, 2, "it does not run any more: {}", again.stderr);
    let all = run(&home, ["stop", "--all", "--coordinator", &url]);
    assert_eq!((all.code, all.stdout.as_str()), (0, ""));
    // The worker is free for the next one.
    let file = plan::write(&home, &simple(&server.url, 1));
    let next = [
        "submit",
        &file,
        "--coordinator",
        &url,
        "--no-wait",
        "--accept-invalid",
        "--quiet",
    ];
    assert_code(&Process::start(&home, next).wait(LIMIT), 0);
}

/// Starts a long run and signals it in the middle.
fn signalled(home: &TempDir, server: &Server, signal: Signal, out: &str) -> Ended {
    let file = plan::write(home, &simple(&server.url, 120));
    let mut barrage = command(home);
    barrage.args([
        "run",
        &file,
        "--format",
        "json",
        "--quiet",
        "--out",
        out,
        "--threads",
        "1",
    ]);
    // Whoever runs the tests may have a hangup ignored, which a process hands on to those that it starts.
    let process = Process::spawn(wrapped("exec env --default-signal=HUP \"$0\" \"$@\"", &barrage));
    wait::until("load", LIMIT, || (server.count() >= 60).then_some(()));
    process.signal(signal);
    process.wait(LIMIT)
}

#[test]
fn the_first_signal_is_graceful() {
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143), (Signal::HUP, 143)] {
        let home = home();
        let server = ok_server();
        let out = home.path().join("out");
        let ended = signalled(
            &home,
            &server,
            signal,
            out.to_str().expect("temporary folders are UTF-8"),
        );
        assert_ended(&ended, code);
        let report = ended.json();
        assert_iterations_balance(&report, "iterations");
        assert_steps_balance(&report, "steps_total");
        assert_eq!(
            whole(&report, "steps_total.ok"),
            server.count(),
            "what was sent is counted"
        );
        assert_eq!(
            sum(&report, "steps_total.failed") + whole(&report, "steps_total.cancelled"),
            0
        );
        assert_eq!(at(&report, "conservation.consistent"), true, "{report:#}");
        assert!(out.join("report.html").exists(), "the report is written");
    }
}

#[test]
fn a_hangup_that_is_to_be_ignored_ends_nothing() {
    let home = home();
    let server = ok_server();
    let mut barrage = command(&home);
    barrage.args([
        "run",
        "-r",
        "50/s",
        "-d",
        "2s",
        "--no-progress",
        "--accept-invalid",
        &server.url,
    ]);
    let process = Process::spawn(wrapped("trap '' HUP", &barrage));
    wait::until("load", LIMIT, || (server.count() >= 10).then_some(()));
    process.signal(Signal::HUP);
    assert_code(&process.wait(LIMIT), 0);
    assert_eq!(server.count(), 100);
}

#[test]
fn the_second_signal_ends_at_once() {
    let home = home();
    let server = Server::start(|_| Ok(Reply::text("late").after(Duration::from_secs(50))));
    let file = plan::write(&home, &simple(&server.url, 120));
    let process = Process::start(&home, ["run", &file, "--no-progress"]);
    wait::until("load", LIMIT, || (server.count() >= 10).then_some(()));
    process.signal(Signal::INT);
    process.hear("stopping: no new arrivals, waiting for what is in flight", LIMIT);
    process.signal(Signal::INT);
    let ended = process.wait(Duration::from_secs(15));
    assert_code(&ended, 130);
    assert!(ended.stderr.contains("second signal"), "{}", ended.stderr);
}

#[test]
fn listening_beyond_loopback_needs_a_word() {
    let home = home();
    for address in ["0.0.0.0:0", "[::]:0"] {
        let ended = Process::start(&home, ["coordinator", "--listen", address]).wait(LIMIT);
        assert_code(&ended, 5);
        assert!(
            ended.stderr.contains("--insecure") && ended.stderr.lines().count() == 1,
            "{}",
            ended.stderr
        );
    }
    let process = Process::server(&home, ["coordinator", "--listen", "0.0.0.0:0", "--insecure"]);
    process.signal(Signal::TERM);
    assert_code(&process.wait(LIMIT), 0);
}

const SECRETS: &str = r#"
name: secrets
variables: { from_env: "${env:CANARY_ENV}", from_file: "${file:CANARY_FILE}" }
load: { rate: 20/s, for: 2s }
setup:
  - get: { name: set up, url: /setup, headers: { x-one: "${from_env}" } }
steps:
  - post:
      name: tell
      url: "/tell?key=${from_flag}"
      headers: { x-env: "${from_env}" }
      form: { file: "${from_file}" }
      auth: { basic: { user: ann, password: "${from_flag}" } }
    expect: { status: 200, body_contains: never said, header: { x-said: "${from_flag}" } }
"#;

#[test]
fn secrets_stay_where_they_belong() {
    // With characters that every encoding writes differently.
    let canaries = ["canary-env &\"1", "canary-file+/=2", "canary-flag %3?"];
    let home = home();
    let server = Server::start(|seen| {
        // All that was sent comes back, and the check fails, so it ends up in error samples.
        let fields = format!("{} {}", seen.header("authorization"), seen.header("x-env"));
        let said = format!("{} {fields} {}", seen.query, seen.text());
        Ok(Reply::text(said).with("x-said", seen.query.clone()))
    });
    let secret = home.path().join("secret.txt");
    std::fs::write(&secret, format!("{}\n", canaries[1])).expect("a file can be written");
    let file = plan::write(&home, &SECRETS.replace("CANARY_FILE", &secret.display().to_string()));
    let out = home.path().join("out");
    let store = home.path().join("kept");
    let flag = format!("from_flag={}", canaries[2]);
    let mut run = command(&home);
    run.args([
        "run",
        &file,
        "--target",
        &server.url,
        "-e",
        &flag,
        "--accept-invalid",
        "--no-progress",
    ])
    .arg("--out")
    .arg(&out)
    .arg("--store")
    .arg(&store)
    .env("CANARY_ENV", canaries[0])
    .env("RUST_LOG", "trace");
    let output = run.output().expect("the binary starts");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    let report: Value = serde_json::from_str(&read(&out.join("report.json"))).expect("report.json is JSON");
    assert_eq!(whole(&report, "steps_total.failed.check"), 40, "{report:#}");
    assert!(!report["errors"].as_array().expect("a list").is_empty());
    let seen = server.seen();
    assert!(
        seen.iter().any(|seen| seen.text().contains("canary-file")),
        "the server gets the secrets"
    );

    let mut places: Vec<(String, Vec<u8>)> = vec![
        ("stdout".to_owned(), output.stdout),
        ("stderr".to_owned(), output.stderr),
    ];
    for folder in [&out, &store] {
        collect(folder, &mut places);
    }
    assert!(places.len() > 9, "outputs, store and streams: {}", places.len());
    for canary in canaries {
        let base64 = base64::engine::general_purpose::STANDARD.encode(format!("ann:{canary}"));
        // What all encodings leave as it is.
        let plain: String = canary
            .chars()
            .take_while(|c| c.is_ascii_alphanumeric() || *c == '-')
            .collect();
        for (place, content) in &places {
            for needle in [plain.as_str(), base64.as_str()] {
                let found = content.windows(needle.len()).any(|window| window == needle.as_bytes());
                assert!(!found, "{needle:?} is in {place}");
            }
        }
    }
}

fn collect(folder: &Path, places: &mut Vec<(String, Vec<u8>)>) {
    for entry in std::fs::read_dir(folder).expect("the folder is there") {
        let path = entry.expect("the folder can be read").path();
        if path.is_dir() {
            collect(&path, places);
        } else {
            places.push((
                path.display().to_string(),
                std::fs::read(&path).expect("the file can be read"),
            ));
        }
    }
}
