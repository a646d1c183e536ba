//! `latency.hlog` in an independent reader: `PyPI`'s `hdrhistogram`.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::support::barrage::{Process, binary, home};
use crate::support::report::{at, whole};
use crate::support::target::{Answer, Target};
use crate::support::{plan, skip};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/it/read_hlog.py");

const PLAN: &str = "
name: hlog
load: { rate: 300/s, for: 3s }
steps: [ get: '/${iteration()}' ]
";

/// Answers between 1 ms and 200 ms, so that buckets of many widths are used.
fn answer(path: &str) -> Answer {
    let number: u64 = path.rsplit('/').next().and_then(|last| last.parse().ok()).unwrap_or(0);
    Answer {
        status: 200,
        headers: "",
        delay: Duration::from_millis(1 << (number % 8)),
    }
}

/// A Python that has the reader: what the gate has prepared, or any other.
fn python() -> Option<PathBuf> {
    let prepared = binary()
        .parent()
        .and_then(|profile| profile.parent())
        .map(|t| t.join("tools/python/bin/python3"));
    let candidates = [
        std::env::var_os("BARRAGE_PYTHON").map(PathBuf::from),
        prepared,
        Some(PathBuf::from("python3")),
    ];
    candidates.into_iter().flatten().find(|python| {
        let mut probe = Command::new(python);
        probe
            .args(["-c", "import hdrh"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        probe.status().is_ok_and(|status| status.success())
    })
}

#[test]
fn hlog_opens_elsewhere() {
    let Some(python) = python() else {
        return skip::skipped("hlog_opens_elsewhere", "no Python with the package hdrhistogram");
    };
    let home = home();
    let target = Target::start(answer, None);
    let (out, samples) = (home.path().join("out"), home.path().join("samples"));
    let plan = plan::write(&home, PLAN);
    let args = [
        "run",
        &plan,
        "--target",
        &target.url,
        "--threads",
        "1",
        "--trace-samples",
        samples.to_str().unwrap(),
        "--out",
        out.to_str().unwrap(),
        "--format",
        "json",
        "--accept-invalid",
        "--quiet",
    ];
    let ended = Process::start(&home, args).wait(Duration::from_mins(1));
    assert_eq!(ended.code, 0, "{}\n{}", ended.stdout, ended.stderr);
    let report = ended.json();

    let read = Command::new(python)
        .arg(SCRIPT)
        .arg(out.join("latency.hlog"))
        .arg(samples)
        .output()
        .expect("Python starts");
    assert!(read.status.success(), "{}", String::from_utf8_lossy(&read.stderr));
    let read: Value = serde_json::from_slice(&read.stdout).expect("the reader prints JSON");
    for measure in ["response", "service"] {
        let of = &read[measure];
        assert_eq!(of["log"], of["samples"], "{measure}: each bucket counts the same");
        let counts = at(of, "log").as_object().expect("counts by bucket");
        let total: u64 = counts.values().filter_map(Value::as_u64).sum();
        assert_eq!(total, whole(&report, &format!("latency.{measure}.count")), "{measure}");
        assert_eq!(total, 900, "{measure}: every request has a sample");
        assert!(
            counts.len() > 8,
            "{measure}: answers of eight lengths fill more than eight buckets"
        );
        assert!(
            whole(of, "intervals") >= 3,
            "{measure}: the log has a line for each second"
        );
    }
}
