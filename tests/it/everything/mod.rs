//! Plans with every feature of the language, from submit to report, against servers that assert what they receive.

mod shop;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use http::Version;
use serde_json::Value;
use tempfile::TempDir;

use crate::support::barrage::{Fleet, Process, home};
use crate::support::plan;
use crate::support::report::{assert_exit, assert_iterations_balance, assert_steps_balance, at, named, sum, whole};
use crate::support::server::{Reply, Seen, Server};

const LIMIT: Duration = Duration::from_mins(1);
/// Arrivals of the scenario `shopping`: 20 + 40 + 40 + 30; each gets a row of its own.
const ROWS: u64 = 130;
const UPLOAD: &[u8] = b"\0binary\r\n--not-a-boundary\r\n\xff${not_a_splice}";

/// The name in row `row`: all that CSV, JSON and headers find hard.
fn account(row: u64) -> String {
    format!("Ann \"{row}\", the {{}} of\n{row}\\ \u{e4}\u{1f680}")
}

const OPEN: &str = include_str!("open.yaml");

/// Writes the files that the plan names; returns the secret file's path.
fn files(home: &TempDir) -> String {
    let data = home.path().join("data");
    std::fs::create_dir(&data).expect("a folder can be made");
    let mut rows = "id,name,unused\n".to_owned();
    for row in 0..ROWS {
        writeln!(rows, "{row},\"{}\",x", account(row).replace('"', "\"\"")).expect("text grows");
    }
    let items = "{\"sku\": \"red\"}\n\n{\"sku\": \"green \\\"b\\\"\", \"more\": {}}\n{\"sku\": 3}\n";
    let secret = home.path().join("secret.txt");
    for (file, content) in [
        (data.join("accounts.csv"), rows.as_bytes()),
        (data.join("items.jsonl"), items.as_bytes()),
        (data.join("upload.bin"), UPLOAD),
        (secret.clone(), b"file-secret\n"),
    ] {
        std::fs::write(file, content).expect("a file can be written");
    }
    secret
        .into_os_string()
        .into_string()
        .expect("temporary folders are UTF-8")
}

fn submit(home: &TempDir, plan: &str, fleet: &Fleet, more: &[&str]) -> Value {
    let common = [
        "submit",
        plan,
        "--coordinator",
        &fleet.coordinator.url,
        "--format",
        "json",
        "--accept-invalid",
        "--quiet",
    ];
    let args = common.iter().chain(more).copied();
    let ended = Process::start(home, args).wait(LIMIT);
    assert_exit(&ended, 0);
    let report = ended.json();
    assert_iterations_balance(&report, "iterations");
    assert_steps_balance(&report, "steps_total");
    report
}

/// Numbers at the end of the paths of requests.
fn numbers(seen: &[Seen], before: &str) -> Vec<u64> {
    let number = |seen: &Seen| seen.path.strip_prefix(before).and_then(|rest| rest.parse().ok());
    let mut numbers: Vec<u64> = seen.iter().filter_map(number).collect();
    numbers.sort_unstable();
    numbers
}

#[test]
fn everything_in_the_open_model() {
    let home = home();
    let books = shop::Shop::default();
    let shared = Arc::clone(&books);
    let shop = Server::start(move |seen| shop::answer(&shared, seen));
    let stock = Server::start(|seen| match (seen.host.as_str(), seen.header("x-admin")) {
        ("stock.example.com", "admin-1") => Ok(Reply::text("in stock")),
        other => Err(format!("host and admin: {other:?}")),
    });
    let other = Server::start(|seen| match (seen.host.starts_with("named.test:"), seen.version) {
        (true, Version::HTTP_2) => Ok(Reply::text("named")),
        other => Err(format!("named, version: {other:?} {}", seen.host)),
    });
    let text = OPEN
        .replace("SHOP", &shop.url)
        .replace("STOCK", &stock.url)
        .replace("SECRET_FILE", &files(&home))
        .replace("NAMED_PORT", &other.address.port().to_string());
    let plan = plan::write(&home, &text);
    // The third worker is in another zone.
    let zones = |n| vec!["--label".to_owned(), format!("zone={}", if n < 3 { "a" } else { "b" })];
    let fleet = Fleet::start(&home, 3, zones);
    let fill = [
        "--set",
        "place=world",
        "--set",
        "padded= a b ",
        "-e",
        "token=token-of-test",
        "-e",
        "word=word",
    ];
    let report = submit(&home, &plan, &fleet, &fill);
    for server in [&shop, &stock, &other] {
        server.assert_content();
    }
    assert_books(&books, &report);
    assert_eq!(
        numbers(&stock.seen(), "/stock/"),
        (0..40).collect::<Vec<_>>(),
        "each number once"
    );
    assert_eq!(
        numbers(&other.seen(), "/named/"),
        (0..40).collect::<Vec<_>>(),
        "each iteration once"
    );
    assert_connections(&shop.seen());
    assert_report(&report);
}

fn assert_books(books: &shop::Shop, report: &Value) {
    let books = books.lock().unwrap_or_else(PoisonError::into_inner);
    assert_eq!(
        (books.opened, books.closed, books.late),
        (1, 1, 0),
        "once each, and nothing after the teardown"
    );
    assert_eq!(books.runs.len(), 1, "one run id: {:?}", books.runs);
    assert_eq!(books.runs.first().map(String::as_str), report["run"]["id"].as_str());
    assert!(
        books.greeted.values().all(|times| *times == 1),
        "once per user: {:?}",
        books.greeted
    );
    let once: BTreeMap<u64, u64> = (0..ROWS).map(|row| (row, 1)).collect();
    assert_eq!(books.rows, once, "each row exactly once");
    assert_eq!(books.orders.len() as u64, ROWS);
    for (id, order) in &books.orders {
        assert_eq!(
            (order.polls, order.cancelled + order.changed),
            (3, 1),
            "{id}: {order:?}"
        );
    }
    assert_eq!(
        books.workers.iter().map(String::as_str).collect::<Vec<_>>(),
        ["0", "1"],
        "two workers"
    );
    let branches = books.steps["cancel"] + books.steps["change"];
    assert_eq!(branches, ROWS, "one branch each");
    for (step, times) in [
        ("poll", 3),
        ("upload", 2),
        ("list items", 1),
        ("send parts", 1),
        ("head", 1),
        ("last", 1),
    ] {
        assert_eq!(books.steps[step], times * ROWS, "{step}");
    }
    for (step, count) in &books.steps {
        let totals = at(named(report, "steps", step), "totals");
        let ended = if *step == "fails" { "failed.status" } else { "ok" };
        assert_eq!(whole(totals, ended), *count, "{step}");
        assert_eq!(whole(totals, "sent"), *count, "{step}");
    }
    // The tag splits the step by what the answers said.
    let tags = at(named(report, "steps", "list items"), "tags")
        .as_array()
        .expect("tags is a list");
    let split: BTreeMap<&str, u64> = tags
        .iter()
        .map(|tag| {
            (
                tag["tags"]["backend"].as_str().expect("a value"),
                whole(tag, "totals.ok"),
            )
        })
        .collect();
    let mut want = books.backends.clone();
    let red = want.remove("red").expect("some came from red");
    want.insert("other", red);
    assert_eq!(split, want, "by backend");
}

/// No connection carries more than seven requests, and both local addresses are used.
fn assert_connections(seen: &[Seen]) {
    let mut carried: BTreeMap<u64, u64> = BTreeMap::new();
    for seen in seen {
        *carried.entry(seen.connection).or_default() += 1;
    }
    assert!(carried.values().all(|requests| *requests <= 7), "{carried:?}");
    assert!(
        carried.values().any(|requests| *requests == 7),
        "connections are used again: {carried:?}"
    );
    let peers: BTreeSet<String> = seen.iter().map(|seen| seen.peer.ip().to_string()).collect();
    assert_eq!(peers.into_iter().collect::<Vec<_>>(), ["127.0.0.1", "127.0.0.2"]);
}

fn assert_report(report: &Value) {
    for (scenario, iterations) in [("shopping", ROWS), ("counting", 40)] {
        assert_eq!(
            whole(named(report, "scenarios", scenario), "iterations.completed"),
            iterations,
            "{scenario}"
        );
    }
    assert_eq!(whole(report, "iterations.started"), ROWS + 40);
    let seconds = whole(report, "run.duration_us") / 1_000_000;
    assert!(
        (3..25).contains(&seconds),
        "it ends when both loads are through, not at `at_most`: {seconds} s"
    );
    assert_eq!(
        sum(report, "steps_total.failed"),
        ROWS,
        "`fails` fails each time, and the iteration goes on"
    );
    assert_eq!(whole(report, "once_total.ok"), 2, "setup and teardown");
    let group = named(report, "steps", "browse");
    assert_eq!(group["group"], true);
    assert_eq!(whole(group, "response.count"), ROWS, "a group has a latency of its own");
    let inside = named(report, "steps", "list items");
    assert!(
        whole(group, "response.p50_us") >= whole(inside, "service.p50_us") + 5_000,
        "with its pauses"
    );
    let workers = at(report, "workers").as_array().expect("workers is a list");
    assert_eq!(workers.len(), 2, "the third one carries another label: {workers:#?}");
    let stages: Vec<(&str, u64)> = at(report, "stages")
        .as_array()
        .expect("stages is a list")
        .iter()
        .filter(|stage| stage["load"] == "shopping")
        .map(|stage| (stage["name"].as_str().expect("a name"), whole(stage, "scheduled")))
        .collect();
    assert_eq!(
        stages,
        [("up", 20), ("top", 40), ("pause 3", 0), ("spike 4", 40), ("step 5", 30)]
    );
    let sla = at(report, "sla").as_array().expect("sla is a list");
    // On a machine that was too busy to make the load, latencies are not judged.
    if report["generator"]["verdict"] != "invalid" {
        assert_eq!(report["verdict"], "passed", "{:#}", report["reasons"]);
        assert!(sla.iter().all(|one| one["verdict"] == "passed"), "{sla:#?}");
    }
    assert!(
        sla.iter().filter(|one| one["implicit"] == false).count() >= 8,
        "{sla:#?}"
    );
}

const CLOSED: &str = include_str!("closed.yaml");

/// `{"packed":"hello hello hello"}` as gzip.
const PACKED: [u8; 40] = [
    31, 139, 8, 0, 0, 0, 0, 0, 2, 255, 171, 86, 42, 72, 76, 206, 78, 77, 81, 178, 82, 202, 72, 205, 201, 201, 87, 64,
    34, 149, 106, 1, 99, 239, 167, 232, 30, 0, 0, 0,
];

/// A server that gives each user a cookie and wants it back.
fn closed(seen: &Seen) -> Result<Reply, String> {
    let user = seen.header("x-user");
    let sid = format!("sid=user-{user}");
    let cookies = seen.header("cookie");
    if seen.path == "/login" {
        let (want, found) = (format!("name=login+{user}"), seen.text());
        if !cookies.is_empty() || found != want {
            return Err(format!("login: {cookies:?} {found}, not {want}"));
        }
        let reply = Reply::text("").status(303).with("location", "/me");
        return Ok(reply.with("set-cookie", format!("{sid}; Path=/; HttpOnly")));
    }
    if !cookies.split("; ").any(|cookie| cookie == sid) {
        return Err(format!("user {user} has the cookies {cookies:?}"));
    }
    let redirect = |to: &str| Ok(Reply::text("").status(302).with("location", to.to_owned()));
    match seen.path.as_str() {
        "/me" => {
            let round: u64 = seen.header("x-round").parse().map_err(|_| "no round".to_owned())?;
            Ok(Reply::json(&serde_json::json!({ "round": round + 1 })))
        }
        "/away" => redirect("/further"),
        "/further" => redirect("/there"),
        "/there" => Ok(Reply::text("arrived")),
        "/packed" if seen.header("accept-encoding").contains("gzip") => {
            let reply = Reply::text("")
                .with("content-encoding", "gzip")
                .with("content-type", "application/json");
            Ok(Reply {
                body: PACKED.to_vec().into(),
                ..reply
            })
        }
        _ => Err("no such place".to_owned()),
    }
}

#[test]
fn everything_in_the_closed_model() {
    let home = home();
    let shop = Server::start(closed);
    let plan = plan::write(&home, &CLOSED.replace("SHOP", &shop.url));
    std::fs::write(
        home.path().join("logins.csv"),
        "name\nlogin 0\nlogin 1\nlogin 2\nlogin 3\n",
    )
    .expect("a file can be written");
    let fleet = Fleet::start(&home, 2, |_| Vec::new());
    let report = submit(&home, &plan, &fleet, &["--min-workers", "2"]);
    shop.assert_content();
    let seen = shop.seen();
    let users = |path: &str| {
        let mut users: BTreeMap<String, Vec<(Instant, String)>> = BTreeMap::new();
        for seen in seen.iter().filter(|seen| seen.path == path) {
            let round = (seen.at, seen.header("x-round").to_owned());
            users.entry(seen.header("x-user").to_owned()).or_default().push(round);
        }
        users
    };
    let logins = users("/login");
    assert_eq!(
        logins.keys().map(String::as_str).collect::<Vec<_>>(),
        ["0", "1", "2", "3"]
    );
    assert!(
        logins.values().all(|logins| logins.len() == 1),
        "one login for each user: {logins:?}"
    );
    let rounds = users("/me");
    for (user, rounds) in &rounds {
        let (first, last) = (rounds.first().expect("a round"), rounds.last().expect("a round"));
        // The variables of a user live on from one iteration to the next.
        let counted: Vec<String> = (0..rounds.len()).map(|round| round.to_string()).collect();
        assert!(
            rounds.iter().map(|(_, round)| round).eq(&counted),
            "user {user}: {rounds:?}"
        );
        let pace = (last.0 - first.0) / u32::try_from(rounds.len() - 1).expect("few rounds");
        assert!(
            rounds.len() >= 3 && pace >= Duration::from_millis(240),
            "user {user} goes round every {pace:?}"
        );
    }
    let iterations = whole(&report, "iterations.completed");
    assert_eq!(rounds.values().map(Vec::len).sum::<usize>() as u64, iterations);
    for (step, hops) in [("me", 1), ("walk", 3), ("too far", 2), ("packed", 1)] {
        let totals = at(named(&report, "steps", step), "totals");
        assert_eq!(whole(totals, "ok"), iterations, "{step}");
        assert_eq!(
            whole(totals, "wire_requests"),
            hops * iterations,
            "{step}: redirect hops are on the wire"
        );
    }
    assert_eq!(
        whole(&report, "iterations.scheduled"),
        0,
        "a closed model schedules nothing"
    );
}

const TRUSTED: &str = r#"
name: trusted
target: https://shop.test:PORT
iterations: { count: 20, users: 2 }
steps:
  - get: { name: one, url: /one }
  - get: { name: two, url: /two, engine: http2 }
  - get: { name: full, url: /full, engine: reqwest }
network:
  resolve: ["shop.test:PORT:127.0.0.1"]
  tls: { ca: ca.pem }
sla: [ error_rate <= 0% ]
"#;

#[test]
fn everything_under_tls() {
    let home = home();
    let shop = Server::tls(&["shop.test"], |seen| {
        let version = if seen.path == "/two" {
            Version::HTTP_2
        } else {
            Version::HTTP_11
        };
        let right = seen.sni.as_deref() == Some("shop.test") && seen.host.starts_with("shop.test:");
        if right && (seen.version == version || seen.path == "/full") {
            return Ok(Reply::text("ok"));
        }
        Err(format!("{:?} {} {:?}", seen.version, seen.host, seen.sni))
    });
    let certificate = shop.certificate.clone().expect("the server has a certificate");
    std::fs::write(home.path().join("ca.pem"), certificate).expect("a file can be written");
    let text = TRUSTED.replace("PORT", &shop.address.port().to_string());
    let plan = plan::write(&home, &text);
    let fleet = Fleet::start(&home, 1, |_| Vec::new());
    let report = submit(&home, &plan, &fleet, &[]);
    shop.assert_content();
    assert_eq!(shop.count(), 60);
    assert!(whole(&report, "timings.tls.count") >= 2, "handshakes are timed");
    // Another certificate of the same name is not trusted.
    let other = Server::tls(&["shop.test"], |_| Ok(Reply::text("ok")));
    let text = TRUSTED.replace("PORT", &other.address.port().to_string());
    let plan = plan::write(&home, &text);
    let args = [
        "submit",
        &plan,
        "--coordinator",
        &fleet.coordinator.url,
        "--format",
        "json",
        "--quiet",
    ];
    let ended = Process::start(&home, args).wait(LIMIT);
    assert_exit(&ended, 99);
    assert_eq!(
        whole(&ended.json(), "steps_total.failed.tls"),
        20,
        "the first step ends each iteration"
    );
    assert_eq!(other.count(), 0);
}
