//! `barrage run … URL`: every flag shows in what a checking server receives, and wrong usage says so.

use std::collections::BTreeSet;
use std::time::Duration;

use http::Version;
use serde_json::Value;
use tempfile::TempDir;

use crate::support::barrage::{Ended, Process, command, home, run};
use crate::support::report::{assert_exit, assert_iterations_balance, assert_steps_balance, sum, whole};
use crate::support::server::{Reply, Seen, Server};

const LIMIT: Duration = Duration::from_mins(1);

fn handler(seen: &Seen) -> Result<Reply, String> {
    if !seen.header("transfer-encoding").is_empty() {
        return Err("a body whose length is known is sent in chunks".to_owned());
    }
    Ok(match seen.path.as_str() {
        "/slow" => Reply::text("slow").after(Duration::from_secs(1)),
        "/away" => Reply::text("").status(302).with("location", "/further"),
        "/further" => Reply::text("").status(302).with("location", "/there"),
        "/broken" => Reply::text("broken").status(500),
        _ => Reply::text("ok"),
    })
}

struct Sent {
    ended: Ended,
    report: Value,
    seen: Vec<Seen>,
    connections: u64,
}

/// Runs `barrage run ARGS` with `URL` replaced by the server's.
#[track_caller]
fn send(home: &TempDir, server: &Server, args: &[&str]) -> Sent {
    let (before, connections) = (server.seen().len(), server.connections());
    let args = args.iter().map(|arg| arg.replace("URL", &server.url));
    let fixed = ["run", "--format", "json", "--accept-invalid", "--threads", "1"].map(str::to_owned);
    let ended = Process::start(home, fixed.into_iter().chain(args)).wait(LIMIT);
    let report = ended.json();
    assert_iterations_balance(&report, "iterations");
    assert_steps_balance(&report, "steps_total");
    Sent {
        ended,
        report,
        seen: server.seen().split_off(before),
        connections: server.connections() - connections,
    }
}

/// What every request of a run must be.
type Is = fn(&Seen) -> bool;

#[track_caller]
fn each(home: &TempDir, server: &Server, count: u64, args: &[&str], is: Is) -> Sent {
    let sent = send(home, server, args);
    assert_exit(&sent.ended, 0);
    assert_eq!(sent.seen.len() as u64, count, "{args:?}");
    assert_eq!(whole(&sent.report, "steps_total.ok"), count, "{args:?}");
    if let Some(wrong) = sent.seen.iter().find(|seen| !is(seen)) {
        panic!("{args:?}: {wrong:#?}");
    }
    sent
}

#[test]
fn what_is_sent() {
    let home = home();
    let server = Server::start(handler);
    let file = home.path().join("body.bin");
    std::fs::write(&file, [0, 1, 2, 0xff, b'\r', b'\n', b'$', b'{', b'x', b'}']).expect("a file can be written");
    let file = file.to_str().expect("temporary folders are UTF-8");
    let table: [(&[&str], Is); 17] = [
        (&["URL/a/b?x=1&y=%20"], |seen| {
            seen.what() == "GET /a/b" && seen.query == "x=1&y=%20" && seen.body.is_empty()
        }),
        (&["URL"], |seen| {
            seen.what() == "GET /" && seen.query.is_empty() && seen.version == Version::HTTP_11
        }),
        (&["URL"], |seen| {
            seen.header("user-agent").starts_with("barrage/") && seen.host.starts_with("127.0.0.1:")
        }),
        (
            &["-H", "X-One: 1", "-H", "x-two:a: b", "-H", "User-Agent: mine", "URL"],
            |seen| seen.header("x-one") == "1" && seen.header("x-two") == "a: b" && seen.header("user-agent") == "mine",
        ),
        (&["-m", "PUT", "URL"], |seen| seen.method == "PUT"),
        (&["-X", "DELETE", "URL"], |seen| seen.method == "DELETE"),
        (&["-m", "head", "URL"], |seen| seen.method == "HEAD"),
        (&["--method", "OPTIONS", "URL"], |seen| seen.method == "OPTIONS"),
        (&["-b", "a=1", "URL"], |seen| {
            seen.method == "POST" && seen.text() == "a=1"
        }),
        (
            &["-b", "{\"a\":1}", "-T", "application/json", "-m", "PATCH", "URL"],
            |seen| {
                seen.method == "PATCH"
                    && seen.header("content-type") == "application/json"
                    && seen.text() == "{\"a\":1}"
            },
        ),
        (&["-D", file, "URL"], |seen| {
            seen.method == "POST" && seen.body[..] == [0, 1, 2, 0xff, b'\r', b'\n', b'$', b'{', b'x', b'}']
        }),
        (&["-a", "user:pa:ss", "URL"], |seen| {
            seen.header("authorization") == "Basic dXNlcjpwYTpzcw=="
        }),
        (&["--host", "shop.test", "URL"], |seen| seen.host == "shop.test"),
        (&["-H", "Host: other.test", "URL"], |seen| seen.host == "other.test"),
        (&["--http2", "URL/two"], |seen| {
            seen.version == Version::HTTP_2 && seen.path == "/two"
        }),
        (&["--redirects", "2", "URL/there"], |seen| seen.path == "/there"),
        (&["-e", "WHO=a b", "URL/${WHO}?q=${iteration()}"], |seen| {
            seen.path == "/a%20b" && seen.query.starts_with("q=")
        }),
    ];
    for (args, is) in table {
        let args: Vec<&str> = ["-n", "12", "-c", "2", "-q"].iter().chain(args).copied().collect();
        each(&home, &server, 12, &args, is);
    }
    server.assert_content();
}

#[test]
fn how_it_is_sent() {
    let home = home();
    let server = Server::start(handler);
    let kept = each(&home, &server, 60, &["-n", "60", "-c", "3", "-q", "URL"], |_| true);
    assert!(
        kept.connections <= 3,
        "{} connections for three users",
        kept.connections
    );
    assert_eq!(kept.ended.stderr, "", "-q is quiet");
    let fresh = each(
        &home,
        &server,
        20,
        &["-n", "20", "-c", "2", "--disable-keepalive", "URL"],
        |_| true,
    );
    assert_eq!(fresh.connections, 20);
    let all: BTreeSet<u64> = fresh.seen.iter().map(|seen| seen.connection).collect();
    assert_eq!(all.len(), 20, "no connection carries two requests");
    let multiplexed = each(&home, &server, 40, &["-n", "40", "-c", "4", "--http2", "URL"], |_| true);
    assert!(multiplexed.connections <= 4, "{} connections", multiplexed.connections);

    // Redirects are followed as far as asked, and each hop is a request on the wire.
    let stays = send(&home, &server, &["-n", "3", "-c", "1", "URL/away"]);
    assert!(stays.seen.iter().all(|seen| seen.path == "/away"), "{:?}", stays.seen);
    assert_eq!((stays.ended.code, whole(&stays.report, "steps_total.ok")), (0, 3));
    let follows = send(&home, &server, &["-n", "3", "-c", "1", "--redirects", "5", "URL/away"]);
    let paths: Vec<&str> = follows.seen.iter().map(|seen| seen.path.as_str()).collect();
    assert_eq!(paths, ["/away", "/further", "/there"].repeat(3));
    assert_eq!(whole(&follows.report, "steps_total.ok"), 3);
    assert_eq!(whole(&follows.report, "steps_total.wire_requests"), 9);

    let slow = send(&home, &server, &["-n", "4", "-c", "4", "-t", "100ms", "URL/slow"]);
    assert_eq!(whole(&slow.report, "steps_total.timeout"), 4, "{}", slow.ended.stderr);
    let broken = send(
        &home,
        &server,
        &["-n", "40", "-c", "1", "--sla", "error_rate < 1%", "URL/broken"],
    );
    assert_eq!(
        (broken.ended.code, whole(&broken.report, "steps_total.failed.status")),
        (99, 40)
    );
}

#[test]
fn through_a_proxy() {
    let home = home();
    let proxy = Server::start(handler);
    let args = ["-n", "6", "-c", "2", "--proxy", "URL", "http://shop.test/x?y=1"];
    // The name belongs to nobody: only the proxy could know it.
    each(&home, &proxy, 6, &args, |seen| {
        seen.what() == "GET /x" && seen.query == "y=1" && seen.host == "shop.test"
    });
}

#[test]
fn under_tls() {
    let home = home();
    let server = Server::tls(&["shop.test"], handler);
    let refused = send(&home, &server, &["-n", "4", "-c", "1", "URL"]);
    assert_eq!(
        whole(&refused.report, "steps_total.failed.tls"),
        4,
        "{}",
        refused.ended.stdout
    );
    assert_eq!(refused.seen.len(), 0);
    let common = ["-n", "8", "-c", "2", "URL"];
    let with = |more: &[&'static str]| -> Vec<&'static str> { more.iter().copied().chain(common).collect() };
    for args in [with(&["-k"]), with(&["--insecure"])] {
        let sent = each(&home, &server, 8, &args, |seen| seen.version == Version::HTTP_11);
        assert!(sent.connections <= 2);
    }
    each(&home, &server, 8, &with(&["-k", "--http2"]), |seen| {
        seen.version == Version::HTTP_2
    });
    each(&home, &server, 8, &with(&["-k", "--host", "shop.test"]), |seen| {
        seen.host == "shop.test" && seen.sni.as_deref() == Some("shop.test")
    });
    let port = server.address.port();
    let (resolve, url) = (
        format!("shop.test:{port}:127.0.0.1"),
        format!("https://shop.test:{port}/x"),
    );
    each(
        &home,
        &server,
        8,
        &["-n", "8", "-c", "2", "-k", "--resolve", &resolve, &url],
        |seen| seen.path == "/x" && seen.host.starts_with("shop.test:") && seen.sni.as_deref() == Some("shop.test"),
    );
}

#[test]
fn how_much_is_sent() {
    let home = home();
    let server = Server::start(handler);
    let sent = each(&home, &server, 2_500, &["-r", "500/s", "-d", "5s", "URL"], |seen| {
        seen.what() == "GET /"
    });
    for count in ["scheduled", "started", "completed"] {
        assert_eq!(whole(&sent.report, &format!("iterations.{count}")), 2_500, "{count}");
    }
    let seconds = whole(&sent.report, "run.duration_us") / 1_000_000;
    assert!((4..=40).contains(&seconds), "{seconds} s");
    // The letters of other tools mean the same.
    each(&home, &server, 60, &["-R", "30/s", "-z", "2s", "URL"], |_| true);
    each(&home, &server, 60, &["-R", "30", "-z", "2", "URL"], |_| true);
    each(
        &home,
        &server,
        50,
        &["-r", "6k/m", "-n", "50", "-c", "50", "URL"],
        |_| true,
    );
    let closed = send(&home, &server, &["-d", "1s", "-c", "2", "URL/slow"]);
    assert_eq!(closed.ended.code, 0, "{}", closed.ended.stderr);
    assert!(
        (2..=4).contains(&closed.seen.len()),
        "two users, a second each: {}",
        closed.seen.len()
    );
    assert_eq!(
        whole(&closed.report, "iterations.scheduled"),
        0,
        "a closed model schedules nothing"
    );
    let counts = || {
        let args = [
            "-r",
            "100/s",
            "-d",
            "2s",
            "--arrivals",
            "poisson",
            "--seed",
            "11",
            "URL",
        ];
        let sent = send(&home, &server, &args);
        assert_eq!(sent.seen.len() as u64, whole(&sent.report, "iterations.scheduled"));
        assert_eq!(sum(&sent.report, "iterations.dropped"), 0);
        sent.seen.len()
    };
    let (first, second) = (counts(), counts());
    assert_eq!(first, second, "the same seed makes the same arrivals");
    assert!((140..=260).contains(&first), "{first} of 200 expected");
}

#[test]
fn flags_have_twins_in_the_environment() {
    let home = home();
    let server = Server::start(handler);
    let output = command(&home)
        .args(["run", &server.url, "--accept-invalid"])
        .env("BARRAGE_REQUESTS", "5")
        .env("BARRAGE_CONNECTIONS", "1")
        .env("BARRAGE_METHOD", "PUT")
        .env("BARRAGE_HEADER", "x-a: 1\nx-b: 2")
        .env("BARRAGE_FORMAT", "json")
        .env("BARRAGE_QUIET", "true")
        .output()
        .expect("the binary starts");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    let report: Value = serde_json::from_slice(&output.stdout).expect("stdout is JSON");
    assert_eq!(whole(&report, "steps_total.ok"), 5);
    let seen = server.seen();
    assert_eq!(seen.len(), 5);
    assert!(
        seen.iter()
            .all(|seen| seen.method == "PUT" && seen.header("x-a") == "1" && seen.header("x-b") == "2")
    );
}

#[test]
fn wrong_usage() {
    let home = home();
    let server = Server::start(handler);
    std::fs::write(
        home.path().join("plan.yaml"),
        format!(
            "target: {}\nload: {{ rate: 1/s, for: 1s }}\nsteps: [ get: / ]\n",
            server.url
        ),
    )
    .expect("a plan can be written");
    for (args, says) in [
        (&["run"][..], "PLAN|URL"),
        (&["run", "--no-such-flag", "URL"], "--no-such-flag"),
        (&["run", "-r", "fast", "URL"], "fast"),
        (&["run", "-r", "0/s", "URL"], "-r"),
        (&["run", "-d", "10 parsecs", "URL"], "parsecs"),
        (&["run", "-n", "0", "URL"], "-n"),
        (&["run", "-c", "0", "URL"], "-c"),
        (&["run", "-n", "-1", "URL"], "-1"),
        (&["run", "-m", "BREW", "URL"], "BREW"),
        (&["run", "-H", "no colon", "URL"], "no colon"),
        (&["run", "-t", "soon", "URL"], "soon"),
        (&["run", "-b", "x", "-D", "plan.yaml", "URL"], "--body-file"),
        (&["run", "-D", "missing.bin", "URL"], "missing.bin"),
        (&["run", "-r", "1/s", "-n", "1", "-d", "1s", "URL"], "-n"),
        (&["run", "--arrivals", "odd", "URL"], "odd"),
        (&["run", "--sla", "p95 is fine", "URL"], "p95"),
        (&["run", "--redirects", "300", "URL"], "300"),
        (&["run", "-r", "1/s", "plan.yaml"], "rate"),
        (&["run", "http://"], "http://"),
        (&["run", "http://user:secret@127.0.0.1:1/"], "http"),
        (&["runs", "prune"], "--keep"),
        (&["stop"], "<RUN>"),
        (&["worker", "--max-rate", "much"], "much"),
        (&["worker", "--label", "zone"], "zone"),
        (&["nonsense"], "nonsense"),
    ] {
        let args: Vec<String> = args
            .iter()
            .map(|arg| arg.replace("URL", &format!("{}/", server.url)))
            .collect();
        let ended = run(&home, &args);
        assert_eq!(ended.code, 2, "{args:?}: {}\n{}", ended.stdout, ended.stderr);
        assert!(
            ended.stderr.contains(says),
            "{args:?}: {says:?} is missing: {}",
            ended.stderr
        );
        assert!(!ended.stderr.contains("secret"), "{args:?}: {}", ended.stderr);
    }
    assert_eq!(server.count(), 0, "wrong usage sends nothing");
}
