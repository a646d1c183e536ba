//! What a careless user and a bad day do: folders that cannot be written to, signals in every state, a coordinator that is
//! killed, addresses of something else.

use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::support::barrage::{Ended, Fleet, Process, command, home, run};
use crate::support::server::{Reply, Server};
use crate::support::{plan, wait};

const LIMIT: Duration = Duration::from_mins(1);
/// Long enough to tell "at once" from a hidden wait on a busy machine.
const AT_ONCE: Duration = Duration::from_secs(4);

fn steady(target: &str, seconds: u64, more: &str) -> String {
    format!(
        "
name: robust
target: {target}
load: {{ rate: 20/s, for: {seconds}s, max_active: 100 }}
steps: [ get: {{ name: one, url: /one }} ]
sla: [ error_rate < 1% ]
{more}
"
    )
}

#[track_caller]
fn assert_ended(ended: &Ended, code: i32, said: &str) {
    let all = format!("exit {}\n{}\n{}", ended.code, ended.stdout, ended.stderr);
    assert_eq!(ended.code, code, "{all}");
    assert!(ended.stderr.contains(said), "{said:?} is not in {all}");
}

#[test]
fn a_folder_that_cannot_be_written_to_is_said_before_the_run() {
    let home = home();
    let server = Server::start(|_| Ok(Reply::text("ok")));
    let file = plan::write(&home, &steady(&server.url, 1, ""));
    let out = format!("{file}/out");
    let ended = run(&home, ["run", &file, "--out", &out]);
    assert_ended(&ended, 4, "could not write to");
    assert_eq!(server.count(), 0, "nothing was sent");
}

#[test]
fn a_folder_that_goes_away_does_not_cost_the_report() {
    for (limit, code) in [("1%", 1), ("0.0001%", 99)] {
        let home = home();
        let server = Server::start(move |_| Ok(Reply::text("ok").status(if limit == "1%" { 200 } else { 500 })));
        let text =
            steady(&server.url, 2, "").replace("sla: [ error_rate < 1% ]", &format!("sla: [ error_rate < {limit} ]"));
        let file = plan::write(&home, &text);
        let out = home.path().join("out");
        let args = [
            "run",
            &file,
            "--accept-invalid",
            "--out",
            out.to_str().expect("temporary folders are UTF-8"),
        ];
        let process = Process::start(&home, args);
        wait::until("load", LIMIT, || (server.count() >= 5).then_some(()));
        std::fs::remove_dir_all(&out).expect("the folder is there");
        std::fs::write(&out, "in the way").expect("the place is free");
        let ended = process.wait(LIMIT);
        assert_ended(&ended, code, "could not write to");
        assert!(ended.stdout.contains("robust (exit code"), "{}", ended.stdout);
    }
}

#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "how long a process takes to end is what is tested"
)]
fn the_second_signal_ends_at_once_in_setup_and_teardown() {
    for state in ["setup", "teardown"] {
        let home = home();
        let server = Server::start(|seen| {
            let slow = seen.path.starts_with("/slow");
            Ok(Reply::text("ok").after(Duration::from_secs(if slow { 50 } else { 0 })))
        });
        let more = format!("{state}: [ get: /slow ]");
        let file = plan::write(&home, &steady(&server.url, 1, &more));
        let process = Process::start(&home, ["run", &file, "--no-progress"]);
        let enough = if state == "setup" { 1 } else { 21 };
        wait::until(state, LIMIT, || (server.count() >= enough).then_some(()));
        process.signal(Signal::INT);
        // In setup the first one is enough.
        if state == "teardown" {
            process.hear("stopping", LIMIT);
            process.signal(Signal::INT);
        }
        let begun = Instant::now();
        let ended = process.wait(LIMIT);
        assert!(begun.elapsed() < AT_ONCE, "{state}: {:?}", begun.elapsed());
        assert_ended(&ended, 130, "stopping");
    }
}

#[test]
fn a_coordinator_that_is_told_to_end_leaves_its_followers_the_report() {
    for (signal, code) in [(Signal::TERM, 143), (Signal::INT, 143)] {
        let home = home();
        let server = Server::start(|_| Ok(Reply::text("ok")));
        let fleet = Fleet::start(&home, 1, |_| Vec::new());
        let url = fleet.coordinator.url.clone();
        let file = plan::write(&home, &steady(&server.url, 120, ""));
        let out = home.path().join("out");
        let folder = out.to_str().expect("temporary folders are UTF-8");
        let args = [
            "submit",
            &file,
            "--coordinator",
            &url,
            "--accept-invalid",
            "--out",
            folder,
        ];
        let follower = Process::start(&home, args);
        wait::until("load", LIMIT, || (server.count() >= 20).then_some(()));
        fleet.coordinator.signal(signal);
        let ended = follower.wait(LIMIT);
        assert_ended(&ended, code, "");
        assert!(
            ended.stdout.contains("the coordinator was told to stop"),
            "{}",
            ended.stdout
        );
        for name in ["report.json", "report.html", "report.txt", "junit.xml"] {
            assert!(out.join(name).is_file(), "{name} is missing: {}", ended.stderr);
        }
        let ended = fleet.coordinator.wait(LIMIT);
        assert_ended(&ended, 0, "");
    }
}

#[test]
fn a_killed_coordinator_leaves_an_aborted_run_and_its_workers_come_back() {
    let home = home();
    let server = Server::start(|_| Ok(Reply::text("ok")));
    let mut fleet = Fleet::start(&home, 1, |_| Vec::new());
    let url = fleet.coordinator.url.clone();
    let file = plan::write(&home, &steady(&server.url, 120, ""));
    let follower = Process::start(&home, ["submit", &file, "--coordinator", &url]);
    wait::until("load", LIMIT, || (server.count() >= 40).then_some(()));
    fleet.coordinator.signal(Signal::KILL);
    let ended = follower.wait(LIMIT);
    assert_ended(&ended, 1, "lost the coordinator");
    // A worker without a grant stops: ten seconds after the last renewal, at the latest.
    let quiet = wait::until("the end of the grant", LIMIT, || {
        let before = server.count();
        std::thread::sleep(Duration::from_secs(1));
        (server.count() == before).then_some(before)
    });
    assert!(quiet <= 20 * 30, "{quiet} requests");
    let store = home.path().join("store");
    let store = store.to_str().expect("temporary folders are UTF-8");
    let listen = url.trim_start_matches("http://");
    fleet.coordinator = Process::server(&home, ["coordinator", "--listen", listen, "--store", store]);
    wait::until("the worker", LIMIT, || {
        let ended = run(&home, ["health", "--coordinator", &url, "--min-workers", "1"]);
        (ended.code == 0).then_some(())
    });
    let report = run(&home, ["report", "--coordinator", &url, "--format", "json"]).json();
    // Inconclusive, or invalid where other tests keep the cores from the generator.
    assert_eq!(report["exit_code"], 95, "{report:#}");
    let reason = report["stopped_early"]["reason"].as_str().unwrap_or_default();
    assert!(
        reason.contains("the coordinator ended before the run did"),
        "{report:#}"
    );
    let file = plan::write(&home, &steady(&server.url, 1, ""));
    let ended = run(&home, ["submit", &file, "--coordinator", &url, "--accept-invalid"]);
    assert_ended(&ended, 0, "finished");
}

#[test]
fn addresses_of_something_else_are_said() {
    let home = home();
    let server = Server::start(|_| Ok(Reply::text("I am no coordinator")));
    let file = plan::write(&home, &steady(&server.url, 1, ""));
    for (address, code, said) in [
        (server.url.as_str(), 4, "could not reach a coordinator"),
        ("http://127.0.0.1:1", 4, "Connection refused"),
        ("ftp://127.0.0.1:1", 2, "no coordinator address"),
        ("", 2, "no coordinator address"),
        ("http://", 2, "no coordinator address"),
    ] {
        let ended = run(&home, ["submit", &file, "--coordinator", address]);
        assert_ended(&ended, code, said);
    }
}

#[test]
fn flags_in_the_environment_take_the_usual_words() {
    let home = home();
    let server = Server::start(|_| Ok(Reply::text("ok")));
    let file = plan::write(&home, &steady(&server.url, 1, ""));
    for (word, quiet) in [
        ("1", true),
        ("true", true),
        ("yes", true),
        ("0", false),
        ("false", false),
        ("", false),
    ] {
        let output = command(&home)
            .args(["run", &file, "--accept-invalid"])
            .env("BARRAGE_QUIET", word)
            .output()
            .expect("the binary starts");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{word:?}: {stderr}");
        assert_eq!(!stderr.contains("robust"), quiet, "{word:?}: {stderr}");
    }
}

/// Passes connections on until it is told to cut them all; later ones are passed on again.
struct Relay {
    url: String,
    open: Arc<Mutex<Vec<TcpStream>>>,
}

impl Relay {
    fn start(to: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("it is bound"));
        let to = to.trim_start_matches("http://").to_owned();
        let open = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&open);
        std::thread::spawn(move || {
            for near in listener.incoming() {
                let (near, far) = (near.expect("accepts"), TcpStream::connect(&to).expect("it listens"));
                for (from, into) in [(&near, &far), (&far, &near)] {
                    let (mut from, mut into) = (
                        from.try_clone().expect("a descriptor"),
                        into.try_clone().expect("a descriptor"),
                    );
                    std::thread::spawn(move || {
                        // Either side may go at any time.
                        let _ended = std::io::copy(&mut from, &mut into);
                        let _gone = into.shutdown(Shutdown::Both);
                    });
                }
                kept.lock().expect("nobody panics with it").extend([near, far]);
            }
        });
        Self { url, open }
    }

    fn cut(&self) {
        for stream in self.open.lock().expect("nobody panics with it").drain(..) {
            let _gone = stream.shutdown(Shutdown::Both);
        }
    }
}

#[test]
fn a_follower_whose_connection_is_cut_follows_on() {
    let home = home();
    let server = Server::start(|_| Ok(Reply::text("ok")));
    let fleet = Fleet::start(&home, 1, |_| Vec::new());
    let relay = Relay::start(&fleet.coordinator.url);
    let file = plan::write(&home, &steady(&server.url, 4, ""));
    let out = home.path().join("out");
    let out = out.to_str().expect("temporary folders are UTF-8");
    let args = [
        "submit",
        &file,
        "--coordinator",
        &relay.url,
        "--accept-invalid",
        "--out",
        out,
    ];
    let follower = Process::start(&home, args);
    wait::until("load", LIMIT, || (server.count() >= 20).then_some(()));
    relay.cut();
    let ended = follower.wait(LIMIT);
    assert_ended(&ended, 0, "trying to reach it again");
    assert!(ended.stdout.contains("PASSED"), "{}", ended.stdout);
    assert_eq!(server.count(), 80);
    assert!(std::path::Path::new(out).join("report.json").is_file());
}
