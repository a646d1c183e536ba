//! The parts of the measurement as processes: the light server, the bare loop, the launcher.

use std::fs::Permissions;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

const PROGRAM: &str = env!("CARGO_BIN_EXE_bench-peers");
const LIMIT: Duration = Duration::from_secs(20);

struct Light {
    child: Child,
    address: SocketAddr,
}

impl Light {
    fn start(arguments: &[&str]) -> Self {
        let mut child = Command::new(PROGRAM)
            .arg("light-server")
            .args(arguments)
            .stdout(Stdio::piped())
            .spawn()
            .expect("the light server starts");
        let out = child.stdout.take().expect("its output is a pipe");
        let mut line = String::new();
        BufReader::new(out)
            .read_line(&mut line)
            .expect("it says where it listens");
        let address = line.trim().strip_prefix("listening on ");
        let address = address.and_then(|address| address.parse().ok());
        let address = address.expect("its first line is an address");
        Self { child, address }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).expect("the light server accepts");
        stream
            .set_read_timeout(Some(LIMIT))
            .expect("a limit above zero is valid");
        stream
    }

    fn state(&self, query: &str) -> Value {
        let mut stream = self.connect();
        write!(stream, "GET /~/state{query} HTTP/1.1\r\nConnection: close\r\n\r\n").expect("a request is sent");
        let mut text = String::new();
        stream.read_to_string(&mut text).expect("an answer comes");
        let (_, body) = text.split_once("\r\n\r\n").expect("the answer has a head");
        serde_json::from_str(body).expect("the body is JSON")
    }
}

impl Drop for Light {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn requests_in_pieces_and_in_heaps_are_answered_once_each() {
    let light = Light::start(&[]);
    let mut stream = light.connect();
    // Three whole requests and a half one, then the rest of it byte by byte.
    let one = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    let (half, rest) = one.split_at(9);
    write!(stream, "{one}{one}GET /item HTTP/1.1\r\n\r\n{half}").unwrap();
    for byte in rest.bytes() {
        stream.write_all(&[byte]).unwrap();
    }
    // Closing after the last answer ends the stream, so that the end of everything is seen.
    write!(
        stream,
        "POST / HTTP/1.1\r\nContent-Length: 2\r\nConnection: close\r\n\r\nab"
    )
    .unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    assert_eq!(text.matches("HTTP/1.1 200 OK\r\n").count(), 5, "{text}");
    assert_eq!(text.matches("Content-Length: 100\r\n").count(), 4, "{text}");
    assert_eq!(text.matches("\"id\":\"item-4711\"").count(), 1, "{text}");
    assert_eq!(light.state("")["requests"], 5);
}

#[test]
fn nonsense_ends_its_own_connection_only() {
    let light = Light::start(&[]);
    let mut bad = light.connect();
    bad.write_all(b"nonsense\r\n\r\n").unwrap();
    let mut bytes = Vec::new();
    // The server may close with bytes unread, which is a reset: either way nothing is answered.
    let _ = bad.read_to_end(&mut bytes);
    assert!(bytes.is_empty(), "{bytes:?}");
    assert_eq!(light.state("")["requests"], 0);
}

#[test]
fn the_bare_loop_sends_what_its_schedule_says_and_the_server_saw_it() {
    let light = Light::start(&["--record", "1000"]);
    let url = format!("http://{}/", light.address);
    let arguments = [
        "metronome",
        "--rate",
        "500",
        "--seconds",
        "1",
        "--connections",
        "8",
        &url,
    ];
    let out = Command::new(PROGRAM).args(arguments).output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let said: Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!(said["requests"], 500);
    assert!(said["lag_p99_us"].as_f64().unwrap() >= said["lag_p50_us"].as_f64().unwrap());
    let state = light.state("?rate=500");
    assert_eq!(
        (&state["requests"], &state["unrecorded"]),
        (&Value::from(500), &Value::from(0))
    );
    assert_eq!(state["spacing"]["count"], 500);
    // From the first to the last of 500 arrivals at 500/s: 0.998 s, more on a busy machine.
    assert!(state["span_s"].as_f64().unwrap() > 0.9, "{state}");
}

#[test]
fn what_is_launched_runs_on_one_core_and_keeps_its_exit_code() {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let allowed = status
        .lines()
        .find_map(|line| line.strip_prefix("Cpus_allowed_list:"))
        .unwrap();
    let core = allowed.trim().split([',', '-']).next().unwrap();
    let script = "grep Cpus_allowed_list: /proc/self/status; exit 7";
    let out = Command::new(PROGRAM)
        .args(["launch", "--core", core, "--", "sh", "-c", script])
        .output()
        .unwrap();
    assert_eq!(out.status.code(), Some(7));
    let text = String::from_utf8(out.stdout).unwrap();
    assert_eq!(
        text.trim().strip_prefix("Cpus_allowed_list:").map(str::trim),
        Some(core)
    );
    let absent = Command::new(PROGRAM)
        .args(["launch", "--core", core, "--", "no-such-program"])
        .output()
        .unwrap();
    assert_eq!(absent.status.code(), Some(2));
}

#[test]
fn what_cannot_be_measured_or_written_is_said_before_anything_is_installed() {
    let root = tempfile::tempdir().expect("a temporary folder");
    // Whoever is asked to install something would say so.
    let python = root.path().join("python3");
    std::fs::write(&python, "#!/bin/sh\nexit 1\n").expect("a file can be written");
    std::fs::set_permissions(&python, Permissions::from_mode(0o755)).expect("a file can be made a program");
    let said = |words: &[&str]| {
        let out = Command::new(PROGRAM)
            .args(words)
            .args(["--only", "k6", "--section", "freeze", "--rounds", "1", "--root"])
            .arg(root.path())
            .env("PATH", root.path())
            .output()
            .expect("it starts");
        assert_eq!(out.status.code(), Some(2), "{words:?}");
        String::from_utf8(out.stderr).expect("it speaks UTF-8")
    };
    let missing = root.path().join("none/page.md");
    let missing = missing.to_str().expect("temporary folders are UTF-8");
    for (words, want) in [
        (["--barrage", missing].as_slice(), "there is no "),
        (&["--barrage", PROGRAM, "--wrk2", missing], "--wrk2: there is no "),
        (&["--barrage", PROGRAM, "--out", missing], "its folder does not exist"),
    ] {
        let said = said(words);
        let alone = said.contains("it takes two cores");
        assert!((said.contains(want) || alone) && said.lines().count() == 1, "{said}");
    }
}

#[test]
fn a_package_that_is_not_to_be_had_keeps_no_other_from_being_installed() {
    if !rustix::process::getuid().is_root() {
        return;
    }
    let root = tempfile::tempdir().expect("a temporary folder");
    let apt = root.path().join("apt-get");
    // Knows wrk alone.
    let script = "#!/bin/sh\nfor word; do last=$word; case $word in ab|apache2-utils|nginx|nghttp2-client|hey) exit 100;; esac; done\n\
                  [ $last = update ] || echo $last >> $(/usr/bin/dirname $0)/installed\n";
    std::fs::write(&apt, script).expect("a file can be written");
    std::fs::set_permissions(&apt, Permissions::from_mode(0o755)).expect("a file can be made a program");
    let out = Command::new(PROGRAM)
        .args([
            "--only",
            "k6",
            "--section",
            "freeze",
            "--rounds",
            "1",
            "--barrage",
            PROGRAM,
            "--root",
        ])
        .arg(root.path())
        .env("PATH", root.path())
        .output()
        .expect("it starts");
    let said = String::from_utf8_lossy(&out.stderr);
    if said.contains("it takes two cores") {
        return;
    }
    let installed = std::fs::read_to_string(root.path().join("installed"));
    assert_eq!(installed.ok().as_deref(), Some("wrk\n"), "{said}");
}

/// Where the light server of a measurement listens, once the bare loop has been started beside it.
fn measured(temporary: &Path) -> Option<SocketAddr> {
    let folder = std::fs::read_dir(temporary).ok()?.next()?.ok()?.path();
    let files: Vec<_> = std::fs::read_dir(folder).ok()?.flatten().collect();
    let mut texts = files.iter().flat_map(|file| std::fs::read_to_string(file.path()));
    let address = texts.find_map(|text| text.trim().strip_prefix("listening on ")?.parse().ok());
    address.filter(|_| files.len() > 1)
}

#[test]
fn a_signal_ends_everybody_and_leaves_no_folder() {
    for signal in [Signal::INT, Signal::TERM] {
        let (temporary, root) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let mut child = Command::new(PROGRAM)
            .args([
                "--no-install",
                "--only",
                "timerfd",
                "--section",
                "fixed",
                "--rounds",
                "1",
            ])
            .args(["--seconds", "60", "--barrage", PROGRAM, "--root"])
            .arg(root.path())
            .env("TMPDIR", temporary.path())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it starts");
        let mut address = None;
        for _ in 0..1_000 {
            address = measured(temporary.path());
            if address.is_some() || child.try_wait().unwrap().is_some() {
                break;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let found = address.inspect(|_| {
            kill_process(Pid::from_child(&child), signal).expect("it runs");
        });
        let out = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&out.stderr);
        assert_eq!(out.status.code(), Some(2), "{said}");
        assert_eq!(std::fs::read_dir(temporary.path()).unwrap().count(), 0, "{said}");
        let Some(address) = found else {
            assert!(said.contains("it takes two cores"), "{said}");
            return;
        };
        assert!(said.contains("stopped: SIG"), "{said}");
        let ended = (0..500).any(|_| {
            std::thread::sleep(Duration::from_millis(10));
            TcpStream::connect(address).is_err()
        });
        assert!(ended, "the light server still listens");
    }
}
