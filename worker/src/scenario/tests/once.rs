//! `setup`, `teardown` and the try.

use std::sync::atomic::Ordering;

use barrage_model::ids::SegmentId;
use barrage_model::outcome::IterationEnd;
use barrage_model::plan::{Auth, Check};
use expect_test::expect;

use super::server::{Server, reply};
use super::walking::{Bench, Turns, slow_server};
use super::*;

/// A plan with `setup`, two scenarios and `teardown`.
fn whole(port: u16) -> Plan {
    let login = Request {
        name: "login".to_owned(),
        auth: Some(Auth::Basic {
            user: text("me"),
            password: text("${password}"),
        }),
        extract: vec![extract("token", ExtractFrom::Json("$.token".to_owned()))],
        ..request(
            Method::Post,
            "/login",
            Body::Json(text(r#"{"p":"${password}","q":"${env:TOKEN}"}"#)),
        )
    };
    let use_it = Request {
        headers: pairs(&[("x-token", "${token}")]),
        expect: vec![Check::BodyContains(text("here")), Check::BodySize { min: 1, max: 90 }],
        ..get("/use/${iteration()}")
    };
    let mut plan = plan(port, vec![ask(use_it.clone())]);
    plan.setup = vec![
        ask(login),
        step(Action::Set(pairs(&[("made", "${token}/${random_hex(4)}")]))),
    ];
    let bad = Request {
        expect: vec![Check::BodyContains(text("${password}"))],
        ..get("/made/${made}")
    };
    plan.scenarios.push(Scenario {
        name: "second".to_owned(),
        on_start: vec![ask(get("/start"))],
        steps: vec![ask(bad)],
    });
    plan.teardown = vec![ask(request(Method::Delete, "/login/${token}", Body::Empty))];
    plan
}

async fn server() -> Server {
    Server::start(|asked, _| match asked.line.as_str() {
        "POST /login" => reply(200, "set-cookie: a=b\r\n", "{\"token\":\"t0k\"}"),
        _ => reply(200, "", "it is here, s3cret token"),
    })
    .await
}

#[tokio::test]
async fn a_setup_that_failed_because_its_thread_stood_still_says_so() {
    for (block_ms, told) in [(900, true), (0, false)] {
        let turns = Arc::new(Turns::default());
        let mut request = get("/");
        request.timeout = Duration::from_millis(300);
        let mut plan = plan(slow_server(Arc::clone(&turns)), vec![ask(get("/"))]);
        plan.setup = vec![ask(request)];
        let bench = Bench::new(plan, &Files::new());
        let setup = run_once(
            &bench.plan,
            Once::Setup,
            &bench.shard,
            SegmentId(0),
            &bench.recorder,
            &bench.cancel,
        );
        let block = async {
            while !turns.asked.load(Ordering::SeqCst) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            // It answers in time, or not at all.
            turns.go.store(told, Ordering::SeqCst);
            std::thread::sleep(Duration::from_millis(block_ms));
        };
        let (ended, ()) = tokio::join!(setup, block);
        turns.go.store(true, Ordering::SeqCst);
        let said = ended.unwrap_err().to_string();
        assert_eq!(said.contains("the generator stood still"), told, "{said}");
        assert!(said.contains("timed out"), "{said}");
    }
}

#[tokio::test]
async fn setup_gives_its_values_to_all() {
    let server = server().await;
    let mut bench = Bench::new(whole(server.port), &Files::new());
    let once = async |bench: &Bench, which| {
        run_once(
            &bench.plan,
            which,
            &bench.shard,
            SegmentId(0),
            &bench.recorder,
            &bench.cancel,
        )
        .await
    };
    let values = once(&bench, Once::Setup).await.unwrap();
    assert_eq!(
        values.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(),
        ["made", "token"]
    );
    assert_eq!(values[1].1, "t0k");
    assert_eq!(
        once(&bench, Once::Setup).await.unwrap(),
        values,
        "a function of the seed"
    );
    bench.plan = bench
        .plan
        .with_setup_values(&values)
        .with_setup_values(&[("nobody".to_owned(), "x".to_owned())]);
    assert_eq!(once(&bench, Once::Teardown).await, Ok(Vec::new()));
    assert_eq!(server.lines(), ["POST /login", "POST /login", "DELETE /login/t0k"]);
    assert_eq!(bench.ledger(), "0: sent 2 ok 2 wire 2\n4: sent 1 ok 1 wire 1\n");
    bench.cancel.cancel();
    assert_eq!(once(&bench, Once::Setup).await, Err(OnceError::Cancelled));
}

#[tokio::test]
async fn a_failed_setup_says_which_step_and_why() {
    let server = Server::start(|_, _| reply(503, "", "")).await;
    let bench = Bench::new(whole(server.port), &Files::new());
    let result = run_once(
        &bench.plan,
        Once::Setup,
        &bench.shard,
        SegmentId(0),
        &bench.recorder,
        &bench.cancel,
    )
    .await;
    let error = result.unwrap_err().to_string();
    assert_eq!(error, "step `login` failed: status: expected 200..399, found 503");
    assert_eq!(
        bench.ledger(),
        "0: sent 1 status 1 wire 1\n0: status: expected 200..399, found 503\n"
    );
}

/// Writes events down, without what differs from run to run.
#[derive(Default)]
struct Notes(String);

impl TrySink for Notes {
    fn event(&mut self, event: TryEvent) {
        use std::fmt::Write as _;
        let shown = match event {
            TryEvent::Request {
                step,
                engine,
                head,
                body,
                body_bytes,
                ..
            } => {
                let head = head
                    .lines()
                    .filter(|line| !line.starts_with("host:") && !line.starts_with("user-agent:"));
                format!(
                    "> {step} ({engine})\n{}\n{body} [{body_bytes}]",
                    head.collect::<Vec<_>>().join("\n")
                )
            }
            TryEvent::Answer {
                status,
                headers,
                body,
                body_bytes,
                ..
            } => {
                format!("< {status:?} {headers:?}\n{body} [{body_bytes}]")
            }
            other => format!("{other:?}"),
        };
        writeln!(self.0, "{shown}").unwrap();
    }
}

#[tokio::test]
async fn a_try_shows_everything_but_secrets() {
    let server = server().await;
    let bench = Bench::new(whole(server.port), &Files::new());
    let mut notes = Notes::default();
    let ends = try_plan(&bench.plan, None, &bench.shard, &bench.cancel, &mut notes).await;
    let want = [
        ("setup", IterationEnd::Completed),
        ("main", IterationEnd::Completed),
        ("second", IterationEnd::BrokenOff),
        ("teardown", IterationEnd::Completed),
    ];
    assert_eq!(ends, want.map(|(name, end)| (name.to_owned(), end)));
    for secret in ["hunter2", "s3cret", "aHVudGVy"] {
        assert!(!notes.0.contains(secret), "{}", notes.0);
    }
    expect![[r#"
        Begin { name: "setup" }
        > login (http1)
        POST /login HTTP/1.1
        authorization: ***
        content-type: application/json
        content-length: 35
        {"p":"***","q":"***"} [35]
        < Some(200) [("set-cookie", "a=b"), ("content-length", "15")]
        {"token":"t0k"} [15]
        Check { name: "status", problem: None }
        Value { name: "token", value: Some("t0k") }
        Step { step: "login", outcome: Ok, message: "" }
        Value { name: "made", value: Some("t0k/589b") }
        End { name: "setup", end: Completed }
        Begin { name: "main" }
        > GET /use/${iteration()} (http1)
        GET /use/0 HTTP/1.1
        x-token: t0k
         [0]
        < Some(200) [("content-length", "24")]
        it is here, *** [24]
        Check { name: "status", problem: None }
        Check { name: "body contains", problem: None }
        Check { name: "size", problem: None }
        Step { step: "GET /use/${iteration()}", outcome: Ok, message: "" }
        End { name: "main", end: Completed }
        Begin { name: "second" }
        > GET /start (http1)
        GET /start HTTP/1.1
         [0]
        < Some(200) [("content-length", "24")]
        it is here, *** [24]
        Check { name: "status", problem: None }
        Step { step: "GET /start", outcome: Ok, message: "" }
        > GET /made/${made} (http1)
        GET /made/t0k%2F589b HTTP/1.1
         [0]
        < Some(200) [("content-length", "24")]
        it is here, *** [24]
        Check { name: "status", problem: None }
        Check { name: "body contains", problem: Some("body: expected text containing \"***\", found \"it is here, ***\"") }
        Step { step: "GET /made/${made}", outcome: Failed(Check), message: "body: expected text containing \"***\", found \"it is here, ***\"" }
        End { name: "second", end: BrokenOff }
        Begin { name: "teardown" }
        > DELETE /login/${token} (http1)
        DELETE /login/t0k HTTP/1.1
         [0]
        < Some(200) [("content-length", "24")]
        it is here, *** [24]
        Check { name: "status", problem: None }
        Step { step: "DELETE /login/${token}", outcome: Ok, message: "" }
        End { name: "teardown", end: Completed }
    "#]].assert_eq(&notes.0);
    let before = server.lines().len();
    let ends = try_plan(
        &bench.plan,
        Some("main"),
        &bench.shard,
        &bench.cancel,
        &mut Notes::default(),
    )
    .await;
    assert_eq!(ends.len(), 3);
    assert_eq!(
        server.lines()[before..],
        ["POST /login", "GET /use/0", "DELETE /login/t0k"]
    );
}

#[tokio::test]
async fn a_try_ends_with_a_failed_setup() {
    let server = Server::start(|_, _| reply(500, "", "")).await;
    let bench = Bench::new(whole(server.port), &Files::new());
    let mut notes = Notes::default();
    let ends = try_plan(&bench.plan, None, &bench.shard, &bench.cancel, &mut notes).await;
    assert_eq!(ends, [("setup".to_owned(), IterationEnd::BrokenOff)]);
    assert_eq!(server.lines(), ["POST /login"]);
}

#[tokio::test]
async fn a_try_judges_with_the_values_from_before_the_step() {
    let server = Server::start(|asked, _| match asked.line.as_str() {
        "GET /first" => reply(200, "", r#"{"token":"one"}"#),
        _ => reply(200, "", r#"{"token":"two","before":"one"}"#),
    })
    .await;
    let token = || vec![extract("token", ExtractFrom::Json("$.token".to_owned()))];
    let first = Request {
        extract: token(),
        ..get("/first")
    };
    let second = Request {
        extract: token(),
        expect: vec![Check::BodyContains(text("\"before\":\"${token}\""))],
        ..get("/second")
    };
    let bench = Bench::new(plan(server.port, vec![ask(first), ask(second)]), &Files::new());
    let mut notes = Notes::default();
    try_plan(&bench.plan, None, &bench.shard, &bench.cancel, &mut notes).await;
    let said: Vec<&str> = notes
        .0
        .lines()
        .filter(|line| ["Check", "Value", "Step"].iter().any(|word| line.starts_with(word)))
        .collect();
    expect![[r#"
        [
            "Check { name: \"status\", problem: None }",
            "Value { name: \"token\", value: Some(\"one\") }",
            "Step { step: \"GET /first\", outcome: Ok, message: \"\" }",
            "Check { name: \"status\", problem: None }",
            "Check { name: \"body contains\", problem: None }",
            "Value { name: \"token\", value: Some(\"two\") }",
            "Step { step: \"GET /second\", outcome: Ok, message: \"\" }",
        ]
    "#]]
    .assert_debug_eq(&said);
}
