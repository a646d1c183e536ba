//! Iterations end to end, against a server on this machine.

use std::cell::RefCell;
use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Write as _};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};

use barrage_model::condition::Condition;
use barrage_model::delta::{Delta, Health};
use barrage_model::ids::SegmentId;
use barrage_model::ledger::StepCounts;
use barrage_model::outcome::{FailureClass, IterationEnd};
use barrage_model::plan::{Check, Delay, TagRule};
use expect_test::expect;
use tokio_util::sync::CancellationToken;

use super::server::{Server, reply};
use super::*;
use crate::clock::Stamp;
use crate::engine::testing::{Do, Server as Scripted, send};
use crate::recorder::{Merged, Recorder, Shape, TraceSink};
use crate::shard::Awake;

/// A plan with everything that an iteration needs, and the raw samples that it leaves.
pub(super) struct Bench {
    pub(super) plan: CompiledPlan,
    pub(super) shard: ShardContext,
    pub(super) recorder: RefCell<Recorder>,
    pub(super) cancel: CancellationToken,
    trace: tempfile::TempDir,
}

impl Bench {
    pub(super) fn new(plan: Plan, files: &Files) -> Self {
        let plan = compile_with(plan, files).map_err(|error| said(&error)).unwrap();
        let shard = shard(&plan);
        let trace = tempfile::tempdir().unwrap();
        let sink = TraceSink::create(&trace.path().join("trace")).unwrap();
        let recorder = Recorder::new(Shape::of(plan.plan()), shard.clock.now(), Some(sink));
        Self {
            plan,
            shard,
            recorder: RefCell::new(recorder),
            cancel: CancellationToken::new(),
            trace,
        }
    }

    pub(super) fn user(&self) -> User {
        User::new(&self.plan, 7, &self.shard)
    }

    pub(super) fn start(&self, index: u64) -> IterationStart {
        IterationStart {
            load: LoadId(0),
            scenario: ScenarioId(0),
            index,
            user: 7,
            due: self.shard.clock.now(),
            segment: SegmentId(2),
            closed: false,
        }
    }

    pub(super) async fn iterate(&self, user: &mut User, start: IterationStart) -> IterationEnd {
        let mut end = None;
        let once = |ended: IterationEnded| {
            end = Some(ended.end);
            None
        };
        self.iterations(user, start, once).await;
        end.expect("an iteration ends")
    }

    pub(super) async fn iterations(
        &self,
        user: &mut User,
        start: IterationStart,
        next: impl FnMut(IterationEnded) -> Option<IterationStart>,
    ) {
        super::super::cancel::under(&self.cancel, async |cancel| {
            run_iterations(&self.plan, user, start, (&self.recorder, cancel), next).await;
        })
        .await;
    }

    /// One iteration of a new user.
    async fn once(&self) -> IterationEnd {
        self.iterate(&mut self.user(), self.start(0)).await
    }

    /// Everything counted so far.
    pub(super) fn delta(&self) -> Delta {
        let mut recorder = self.recorder.borrow_mut();
        let mut merged = Merged::new(0);
        for _ in 0..30 {
            merged.add(recorder.close(Vec::new()));
        }
        merged.into_delta(1, false, Health::default())
    }

    /// Each step's counts, and the errors: `0: sent 2 ok 1 failed status 1`.
    pub(super) fn ledger(&self) -> String {
        self.ledger_of(&self.delta())
    }

    pub(super) fn ledger_of(&self, delta: &Delta) -> String {
        let mut out = String::new();
        for step in self.plan.plan().named_steps() {
            let mut counts = StepCounts::default();
            for row in delta.steps.iter().filter(|row| row.step == step.id) {
                counts.add(&row.counts);
            }
            if counts.attempted == 0 {
                continue;
            }
            assert_eq!(counts.attempted, counts.sent);
            assert_eq!(counts.sent, counts.ended());
            write!(out, "{}: sent {}", step.id, counts.sent).unwrap();
            for (word, count) in [
                ("ok", counts.ok),
                ("timeout", counts.timeout),
                ("cancelled", counts.cancelled),
            ] {
                if count > 0 {
                    write!(out, " {word} {count}").unwrap();
                }
            }
            for class in FailureClass::ALL {
                if counts.failed_as(class) > 0 {
                    write!(out, " {} {}", class.word(), counts.failed_as(class)).unwrap();
                }
            }
            writeln!(out, " wire {}", counts.wire_requests).unwrap();
        }
        for error in &delta.errors {
            writeln!(out, "{}: {}", error.step, error.message).unwrap();
        }
        out
    }

    /// The samples of a measure of a step in µs, in order, after the counts were taken.
    fn samples(&self, measure: &str, step: u32) -> Vec<u64> {
        let _ = self.delta();
        let text = std::fs::read_to_string(self.trace.path().join("trace")).unwrap();
        let key = format!("step:{step}");
        let lines = text.lines().map(|line| line.split(' ').collect::<Vec<_>>());
        lines
            .filter(|line| line[0] == measure && line[1] == key)
            .map(|line| line[5].parse().unwrap())
            .collect()
    }
}

fn think(ms: u64) -> Step {
    let pause = Duration::from_millis(ms);
    step(Action::Think(Delay { min: pause, max: pause }))
}

fn condition(that: &str) -> Condition {
    Condition::parse(that).expect(that)
}

fn set(name: &str, value: &str) -> Step {
    step(Action::Set(pairs(&[(name, value)])))
}

fn named(name: &str, request: Request) -> Request {
    Request {
        name: name.to_owned(),
        ..request
    }
}

fn status(status: u16) -> Check {
    Check::Status(barrage_model::plan::StatusSet::new(vec![(status, status)]).unwrap())
}

#[tokio::test]
async fn an_iteration_goes_through_every_kind_of_step() {
    let server = Server::start(|asked, before| match asked.line.as_str() {
        "POST /login" => reply(201, "x-session: s1\r\n", "{\"user\":{\"id\":17}}"),
        line if line.starts_with("GET /poll") => reply(200, "", if before >= 8 { "done" } else { "busy" }),
        _ => reply(200, "", "ok"),
    })
    .await;
    let login = Request {
        expect: vec![status(201)],
        extract: vec![
            extract("session", ExtractFrom::Header("x-session".to_owned())),
            extract("id", ExtractFrom::Json("$.user.id".to_owned())),
        ],
        ..request(Method::Post, "/login", Body::Json(text(r#"{"n":"${iteration()}"}"#)))
    };
    let steps = vec![
        ask(login),
        set("label", "${session}-${id}"),
        step(Action::Repeat {
            times: 2,
            steps: vec![
                ask(get("/a/${label}?n=${random_int(0, 9)}")),
                step(Action::Repeat {
                    times: 2,
                    steps: vec![ask(get("/b"))],
                }),
            ],
        }),
        step(Action::Repeat {
            times: 0,
            steps: vec![ask(get("/never"))],
        }),
        step(Action::If {
            that: condition("id > 16 and status == 200"),
            then: vec![ask(get("/then"))],
            otherwise: vec![ask(get("/else"))],
        }),
        step(Action::If {
            that: condition("exists(nothing)"),
            then: vec![ask(get("/then2"))],
            otherwise: vec![ask(get("/else2"))],
        }),
        step(Action::If {
            that: condition("exists(nothing)"),
            then: vec![ask(get("/then3"))],
            otherwise: Vec::new(),
        }),
        step(Action::Until {
            that: condition("body contains \"done\""),
            at_most: 9,
            every: Duration::from_millis(2),
            steps: vec![ask(get("/poll"))],
        }),
        step(Action::Until {
            that: condition("status == 0"),
            at_most: 2,
            every: Duration::ZERO,
            steps: vec![ask(get("/end"))],
        }),
    ];
    let mut plan = plan(server.port, steps);
    plan.variables = vec![variable("nothing_yet", "x")];
    let bench = Bench::new(plan, &Files::new());
    assert_eq!(
        bench.iterate(&mut bench.user(), bench.start(5)).await,
        IterationEnd::Completed
    );
    let lines: Vec<String> = server
        .lines()
        .into_iter()
        .map(|line| line.split('?').next().unwrap().to_owned())
        .collect();
    let want = [
        "POST /login",
        "GET /a/s1-17",
        "GET /b",
        "GET /b",
        "GET /a/s1-17",
        "GET /b",
        "GET /b",
        "GET /then",
        "GET /else2",
        "GET /poll",
        "GET /end",
        "GET /end",
    ];
    assert_eq!(
        lines
            .iter()
            .map(String::as_str)
            .filter(|line| *line != "GET /poll")
            .collect::<Vec<_>>(),
        {
            want.iter()
                .copied()
                .filter(|line| *line != "GET /poll")
                .collect::<Vec<_>>()
        }
    );
    assert_eq!(server.asked()[0].body, "{\"n\":\"5\"}");
    let values: std::collections::BTreeSet<String> = server
        .lines()
        .into_iter()
        .filter(|line| line.starts_with("GET /a"))
        .collect();
    assert!(!values.is_empty());
    expect![[r#"
        0: sent 1 ok 1 wire 1
        1: sent 2 ok 2 wire 2
        2: sent 4 ok 4 wire 4
        4: sent 1 ok 1 wire 1
        7: sent 1 ok 1 wire 1
        9: sent 1 ok 1 wire 1
        10: sent 2 ok 2 wire 2
    "#]]
    .assert_eq(&bench.ledger());
    // One connection served them all.
    assert_eq!(bench.samples("connect", 0).len(), 1);
    let connects: usize = (1..13).map(|step| bench.samples("connect", step).len()).sum();
    assert_eq!(connects, 0);
}

#[tokio::test]
async fn failures_have_their_class_and_end_the_iteration() {
    let server = Server::start(|asked, _| match asked.line.as_str() {
        "GET /404" => reply(404, "", "no hunter2! here"),
        "GET /garbage" => "SSH-2.0-x\r\n\r\n".to_owned(),
        "GET /cut" => "HTTP/1.1 200 OK\r\ncontent-length: 10\r\nconnection: close\r\n\r\nabc".to_owned(),
        "GET /never" => String::new(),
        _ => reply(200, "", "hunter2!"),
    })
    .await;
    let quick = |request: Request| Request {
        timeout: Duration::from_millis(60),
        ..request
    };
    for (request, want, ledger) in [
        (
            get("/ok"),
            IterationEnd::Completed,
            "0: sent 1 ok 1 wire 1\n1: sent 1 ok 1 wire 1\n",
        ),
        (
            get("/404"),
            IterationEnd::BrokenOff,
            "0: sent 1 status 1 wire 1\n0: status: expected 200..399, found 404\n",
        ),
        (
            get("/garbage"),
            IterationEnd::BrokenOff,
            "0: sent 1 protocol 1 wire 1\n0: the answer does not begin like HTTP/1.1\n",
        ),
        (
            get("/cut"),
            IterationEnd::BrokenOff,
            "0: sent 1 reset 1 wire 1\n0: the server closed the connection in the middle of the answer\n",
        ),
        (
            quick(get("/never")),
            IterationEnd::BrokenOff,
            "0: sent 1 timeout 1 wire 1\n0: timed out waiting for the answer\n",
        ),
        (
            Request {
                expect: vec![Check::BodyContains(text("other ${password}"))],
                ..get("/ok")
            },
            IterationEnd::BrokenOff,
            "0: sent 1 check 1 wire 1\n0: body: expected text containing \"other ***\", found \"***\"\n",
        ),
        (
            Request {
                extract: vec![extract("v", ExtractFrom::Json("$.x".to_owned()))],
                ..get("/ok")
            },
            IterationEnd::BrokenOff,
            "0: sent 1 extract 1 wire 1\n0: extract v: json $.x gives no value: the body is no JSON that can be read\n",
        ),
        (
            get("/${late}"),
            IterationEnd::BrokenOff,
            "0: sent 1 protocol 1 wire 0\n0: the request was not sent: `${late}` has no value\n",
        ),
        (
            get("http://nowhere.invalid/"),
            IterationEnd::BrokenOff,
            "0: sent 1 dns 1 wire 0\n",
        ),
        (
            Request {
                on_failure: OnFailure::Continue,
                ..get("/404")
            },
            IterationEnd::Completed,
            "0: sent 1 status 1 wire 1\n1: sent 1 ok 1 wire 1\n0: status: expected 200..399, found 404\n",
        ),
    ] {
        let url = request.url.to_string();
        let mut last = get("/ok");
        last.extract = vec![extract("late", ExtractFrom::Header("content-length".to_owned()))];
        let plan = plan(server.port, vec![ask(request), ask(last)]);
        let bench = Bench::new(plan, &Files::new());
        assert_eq!(bench.once().await, want, "{url}");
        let got = bench.ledger();
        assert!(got.starts_with(ledger), "{url}: {got}");
    }
}

#[tokio::test]
async fn a_closed_port_is_a_connect_failure() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let bench = Bench::new(plan(port, vec![ask(get("/"))]), &Files::new());
    assert_eq!(bench.once().await, IterationEnd::BrokenOff);
    let ledger = bench.ledger();
    assert!(
        ledger.starts_with("0: sent 1 connect 1 wire 0\n0: could not connect to 127.0.0.1:"),
        "{ledger}"
    );
    assert_eq!(bench.samples("service", 0).len(), 0);
    assert_eq!(bench.samples("response", 0).len(), 1);
}

#[tokio::test]
async fn what_is_in_flight_can_be_given_up() {
    let server = Server::start(|asked, _| {
        if asked.line == "GET /never" {
            String::new()
        } else {
            reply(200, "", "")
        }
    })
    .await;
    for (steps, ledger) in [
        (
            vec![ask(get("/never")), ask(get("/"))],
            "0: sent 1 cancelled 1 wire 1\n",
        ),
        (
            vec![ask(get("/")), think(3_600_000), ask(get("/"))],
            "0: sent 1 ok 1 wire 1\n",
        ),
        (
            vec![step(Action::Until {
                that: condition("status == 1"),
                at_most: 9,
                every: Duration::from_mins(1),
                steps: vec![ask(get("/"))],
            })],
            "0: sent 1 ok 1 wire 1\n",
        ),
        (
            vec![step(Action::Repeat {
                times: 10_000,
                steps: vec![step(Action::Repeat {
                    times: 10_000,
                    steps: vec![set("a", "${a | default(\"\")}")],
                })],
            })],
            "",
        ),
    ] {
        let bench = Bench::new(plan(server.port, steps), &Files::new());
        let cancel = bench.cancel.clone();
        let stop = async move {
            tokio::time::sleep(Duration::from_millis(80)).await;
            cancel.cancel();
        };
        let (end, ()) = tokio::time::timeout(Duration::from_secs(10), async { tokio::join!(bench.once(), stop) })
            .await
            .unwrap();
        assert_eq!(end, IterationEnd::Cancelled);
        assert_eq!(bench.ledger(), ledger);
        // Nothing more is begun.
        assert_eq!(bench.once().await, IterationEnd::Cancelled);
        assert_eq!(bench.ledger(), "");
    }
}

#[tokio::test]
async fn iterations_of_nothing_but_empty_pauses_leave_the_shard_to_others() {
    let server = Server::start(|_, _| reply(200, "", "")).await;
    let bench = Bench::new(plan(server.port, vec![think(0)]), &Files::new());
    let others = std::cell::Cell::new(false);
    let mut left = 100_000;
    let mut user = bench.user();
    let walk = bench.iterations(&mut user, bench.start(0), |_| {
        left -= 1;
        (left > 0 && !others.get()).then(|| bench.start(0))
    });
    tokio::join!(walk, async { others.set(true) });
    assert!(left > 0);
}

#[tokio::test]
async fn a_group_that_is_given_up_in_a_pause_ends_there() {
    let server = Server::start(|_, _| reply(200, "", "")).await;
    let group = Action::Group {
        name: "shop".to_owned(),
        steps: vec![ask(get("/")), think(3_600_000), ask(get("/"))],
    };
    let bench = Bench::new(plan(server.port, vec![step(group)]), &Files::new());
    let cancel = bench.cancel.clone();
    let stop = async {
        while server.lines().is_empty() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        cancel.cancel();
    };
    let begun = bench.shard.clock.now();
    let (end, ()) = tokio::time::timeout(Duration::from_secs(10), async { tokio::join!(bench.once(), stop) })
        .await
        .unwrap();
    assert_eq!(end, IterationEnd::Cancelled);
    let waited = bench.shard.clock.now().us_since(begun);
    let group = bench.samples("response", 0);
    assert!(
        matches!(group.as_slice(), [us] if *us <= waited),
        "{group:?} of {waited}"
    );
}

#[tokio::test]
async fn nothing_is_sent_after_the_grant() {
    for engine in [EngineChoice::Http1, EngineChoice::Reqwest] {
        let server = Server::start(|_, _| reply(200, "", "")).await;
        let request = Request {
            timeout: Duration::from_millis(50),
            engine,
            ..get("/")
        };
        let bench = Bench::new(plan(server.port, vec![ask(request)]), &Files::new());
        bench.shard.send_by.set(Some(Stamp::from_us(1)));
        assert_eq!(bench.once().await, IterationEnd::Cancelled);
        assert_eq!(bench.ledger(), "0: sent 1 cancelled 1 wire 0\n");
        assert_eq!(server.lines().len(), 0);
    }
}

/// Settings, and the answer to the first request: `:status: 200`, and its end.
const HTTP2_OK: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 1, 1, 5, 0, 0, 0, 1, 0x88];

#[tokio::test]
async fn a_request_whose_connection_is_there_after_the_grant_is_sent_on_the_next_one() {
    let http1 = vec![Do::Read, send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"), Do::Hang];
    let http2 = vec![Do::ReadHttp2, Do::Send(HTTP2_OK.to_vec()), Do::Hang];
    let local = tokio::task::LocalSet::new();
    for (reuse, engine, script, renewed) in [
        (Reuse::Always, EngineChoice::Http1, &http1, true),
        (Reuse::Never, EngineChoice::Http1, &http1, true),
        (Reuse::Always, EngineChoice::Http2, &http2, true),
        (Reuse::Always, EngineChoice::Http1, &http1, false),
        (Reuse::Always, EngineChoice::Http2, &http2, false),
    ] {
        let server = Scripted::start(vec![script.clone()]).await;
        let timeout = Duration::from_secs(1);
        let request = Request {
            engine,
            timeout,
            ..get("/")
        };
        let mut plan = plan(server.address.port(), vec![ask(request)]);
        plan.network.reuse = reuse;
        let bench = Bench::new(plan, &Files::new());
        let shard = &bench.shard;
        shard.send_by.set(Some(Stamp::from_us(1)));
        let grant = async {
            while shard.engines.open_connections() == 0 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            // The wait is none of the target's time.
            tokio::time::sleep(timeout * 3 / 2).await;
            if engine == EngineChoice::Http1 {
                assert_eq!(server.seen().len(), 0, "nothing is sent without a grant");
            }
            if renewed {
                shard.send_by.set(None);
                shard.renewed.notify_waiters();
            }
        };
        let (ended, ()) = local.run_until(async { tokio::join!(bench.once(), grant) }).await;
        let case = format!("{reuse:?} {engine:?} {renewed}");
        assert_eq!(
            server.accepted(),
            1,
            "{case}: the connection is the one that was made without a grant"
        );
        if renewed {
            assert_eq!((ended, server.seen().len()), (IterationEnd::Completed, 1), "{case}");
            assert_eq!(bench.ledger(), "0: sent 1 ok 1 wire 1\n", "{case}");
        } else {
            assert_eq!(ended, IterationEnd::Cancelled, "{case}");
            assert_eq!(bench.ledger(), "0: sent 1 cancelled 1 wire 0\n", "{case}");
        }
        let told = usize::from(renewed);
        assert_eq!(bench.samples("connect", 0).len(), told, "{case}: told once");
    }
}

#[tokio::test]
async fn an_iteration_waits_for_the_renewal_of_the_grant() {
    let server = Server::start(|_, _| reply(200, "", "")).await;
    let think = step(Action::Think(Delay {
        min: Duration::from_millis(50),
        max: Duration::from_millis(50),
    }));
    let bench = Bench::new(
        plan(server.port, vec![ask(get("/")), think, ask(get("/"))]),
        &Files::new(),
    );
    for (renewed, end, sent) in [(true, IterationEnd::Completed, 2), (false, IterationEnd::Cancelled, 1)] {
        let before = server.lines().len();
        bench.shard.send_by.set(None);
        let grant = async {
            while server.lines().len() == before {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            bench.shard.send_by.set(Some(Stamp::from_us(1)));
            tokio::time::sleep(Duration::from_millis(150)).await;
            assert_eq!(server.lines().len(), before + 1, "nothing is sent without a grant");
            if renewed {
                bench.shard.send_by.set(None);
                bench.shard.renewed.notify_waiters();
            }
        };
        let (ended, ()) = tokio::join!(bench.once(), grant);
        assert_eq!((ended, server.lines().len() - before), (end, sent));
    }
}

#[tokio::test]
async fn latencies_count_from_the_due_instants() {
    let server = Server::start(|_, _| reply(200, "", "")).await;
    let group = step(Action::Group {
        name: "g".to_owned(),
        steps: vec![think(50), ask(get("/2"))],
    });
    let bench = Bench::new(
        plan(server.port, vec![ask(get("/1")), think(40), group, ask(get("/3"))]),
        &Files::new(),
    );
    let late = Duration::from_millis(500);
    let start = IterationStart {
        due: bench.shard.clock.now() - late,
        ..bench.start(0)
    };
    assert_eq!(bench.iterate(&mut bench.user(), start).await, IterationEnd::Completed);
    let first = bench.samples("response", 0)[0];
    assert!((500_000..900_000).contains(&first), "{first}");
    assert!(bench.samples("service", 0)[0] < 400_000);
    // Later steps do not inherit the first one's delay, and their think time is not theirs.
    for step in [2, 3] {
        let (response, service) = (bench.samples("response", step)[0], bench.samples("service", step)[0]);
        assert!(service <= response && response < 300_000, "{service} {response}");
    }
    let group = bench.samples("response", 1)[0];
    assert!((50_000..400_000).contains(&group), "{group}");
    assert!(group >= 50_000 + bench.samples("service", 2)[0]);
}

#[tokio::test]
async fn groups_end_with_what_went_wrong_in_them() {
    let server = Server::start(|asked, _| reply(if asked.line == "GET /bad" { 500 } else { 200 }, "", "")).await;
    let group = |steps: Vec<Step>| {
        step(Action::Group {
            name: "g".to_owned(),
            steps,
        })
    };
    for (inner, want) in [
        (vec![ask(get("/"))], "ok"),
        (
            vec![
                ask(Request {
                    on_failure: OnFailure::Continue,
                    ..get("/bad")
                }),
                ask(get("/")),
            ],
            "failed",
        ),
        (vec![ask(get("/bad")), ask(get("/"))], "failed"),
        (vec![think(1)], "none"),
    ] {
        let bench = Bench::new(plan(server.port, vec![group(inner)]), &Files::new());
        bench.once().await;
        let delta = bench.delta();
        let mut groups = delta
            .sketches
            .iter()
            .filter(|row| row.key.subject == barrage_model::delta::Subject::Step(StepId(0)));
        let found = groups
            .next()
            .map_or("none".to_owned(), |row| format!("{:?}", row.key.group).to_lowercase());
        assert_eq!(found, want);
        assert!(groups.next().is_none());
    }
}

#[tokio::test]
async fn variables_last_as_long_as_the_model_says() {
    let note = |url: &str, name: &str| Request {
        extract: vec![extract(name, ExtractFrom::Header("x-n".to_owned()))],
        ..get(url)
    };
    for (closed, want) in [
        (
            false,
            "GET /start/new | GET /one/new-0-base | GET /two/0-1 | GET /one/new-0-base | GET /two/0-3",
        ),
        (
            true,
            "GET /start/new | GET /one/new-0-base | GET /two/0-1 | GET /one/1-0-mine | GET /two/0-3",
        ),
    ] {
        let server = Server::start(|_, before| reply(200, &format!("x-n: {before}\r\n"), "")).await;
        let mut plan = plan(
            server.port,
            vec![
                ask(note("/one/${seen | default(\"new\")}-${started}-${kept}", "seen")),
                set("kept", "mine"),
                ask(get("/two/${started}-${seen}")),
            ],
        );
        plan.variables = vec![variable("kept", "base")];
        plan.scenarios[0].on_start = vec![ask(note("/start/${seen | default(\"new\")}", "started"))];
        let bench = Bench::new(plan, &Files::new());
        let mut user = bench.user();
        for index in 0..2 {
            let start = IterationStart {
                closed,
                ..bench.start(index)
            };
            assert_eq!(bench.iterate(&mut user, start).await, IterationEnd::Completed);
        }
        assert_eq!(server.lines().join(" | "), want, "closed: {closed}");
    }
}

#[tokio::test]
async fn a_failed_start_is_done_again() {
    let server = Server::start(|asked, before| {
        reply(
            if asked.line == "GET /start" && before == 0 {
                500
            } else {
                200
            },
            "",
            "",
        )
    })
    .await;
    let mut plan = plan(server.port, vec![ask(get("/"))]);
    plan.scenarios[0].on_start = vec![ask(get("/start"))];
    let bench = Bench::new(plan, &Files::new());
    let mut user = bench.user();
    let mut ends = Vec::new();
    for index in 0..3 {
        ends.push(bench.iterate(&mut user, bench.start(index)).await);
    }
    assert_eq!(
        ends,
        [
            IterationEnd::BrokenOff,
            IterationEnd::Completed,
            IterationEnd::Completed
        ]
    );
    assert_eq!(server.lines(), ["GET /start", "GET /start", "GET /", "GET /"]);
    assert_eq!(bench.plan.first_step(ScenarioId(0)), Some(StepId(1)));
}

#[tokio::test]
async fn rows_end_as_the_plan_says() {
    let server = Server::start(|_, _| reply(200, "", "")).await;
    for (on_end, want, ended) in [
        (OnEnd::Wrap, IterationEnd::Completed, false),
        (OnEnd::Stop, IterationEnd::Cancelled, true),
        (OnEnd::Error, IterationEnd::BrokenOff, false),
    ] {
        let mut files = Files::new();
        let mut plan = plan(server.port, vec![ask(get("/${rows.id}"))]);
        plan.data = vec![rows("id\na\nb\n", Pick::Sequential, on_end, &mut files)];
        let bench = Bench::new(plan, &files);
        let mut user = bench.user();
        assert_eq!(bench.iterate(&mut user, bench.start(1)).await, IterationEnd::Completed);
        assert!(!bench.plan.rows_ended());
        assert_eq!(bench.iterate(&mut user, bench.start(2)).await, want);
        assert_eq!(bench.plan.rows_ended(), ended);
    }
    assert_eq!(server.lines(), ["GET /b", "GET /a", "GET /b", "GET /b"]);
}

#[tokio::test]
async fn cookies_belong_to_the_iteration_or_to_the_started_user() {
    let server = Server::start(|asked, _| {
        let fields = if asked.line == "GET /login" {
            "set-cookie: sid=1\r\n"
        } else {
            ""
        };
        reply(200, fields, "")
    })
    .await;
    for (with_start, want) in [(false, "- - 1 - - 1"), (true, "- 1 1 1 - 1")] {
        let before = server.asked().len();
        let mut steps = vec![ask(get("/a")), ask(get("/login")), ask(get("/b"))];
        let mut plan = plan(server.port, Vec::new());
        if with_start {
            plan.scenarios[0].on_start = vec![steps.remove(1)];
            steps.remove(1);
            steps.push(ask(get("/b")));
            steps.remove(0);
        }
        plan.scenarios[0].steps = steps;
        plan.network.cookies = true;
        // Another scenario, that the same slot goes through now and then, has nobody logged in.
        let mut other = plan.scenarios[0].clone();
        other.on_start.clear();
        plan.scenarios.push(other);
        let bench = Bench::new(plan, &Files::new());
        let mut user = bench.user();
        for (index, scenario) in (0..).zip(if with_start { vec![0, 0, 0, 1, 0] } else { vec![0, 0] }) {
            let mut start = bench.start(index);
            start.scenario = ScenarioId(scenario);
            assert_eq!(bench.iterate(&mut user, start).await, IterationEnd::Completed);
        }
        let cookies: Vec<String> = server.asked()[before..]
            .iter()
            .map(|asked| {
                asked
                    .field("cookie")
                    .map_or("-".to_owned(), |cookie| cookie.replace("sid=", ""))
            })
            .collect();
        assert_eq!(cookies.join(" "), want);
    }
}

#[tokio::test]
async fn redirects_are_followed_where_asked() {
    let server = Server::start(|asked, _| match asked.line.as_str() {
        "GET /from" => reply(302, "location: /to\r\n", ""),
        _ => reply(200, "x-end: yes\r\n", "there"),
    })
    .await;
    let follow = Request {
        redirects: 2,
        expect: vec![status(200), Check::BodyContains(text("there"))],
        extract: vec![extract("end", ExtractFrom::Header("x-end".to_owned()))],
        ..get("/from")
    };
    let stay = Request {
        expect: vec![status(302)],
        ..named("stay", get("/from"))
    };
    let bench = Bench::new(
        plan(server.port, vec![ask(follow), ask(stay), ask(get("/${end}"))]),
        &Files::new(),
    );
    assert_eq!(bench.once().await, IterationEnd::Completed);
    assert_eq!(server.lines(), ["GET /from", "GET /to", "GET /from", "GET /yes"]);
    assert_eq!(
        bench.ledger(),
        "0: sent 1 ok 1 wire 2\n1: sent 1 ok 1 wire 1\n2: sent 1 ok 1 wire 1\n"
    );
}

#[tokio::test]
async fn answers_are_split_by_tags() {
    let server =
        Server::start(|_, before| reply(200, ["x-backend: blue\r\n", "x-backend: red\r\n", ""][before % 3], "")).await;
    let mut plan = plan(server.port, vec![ask(get("/"))]);
    let values = vec!["green".to_owned(), "blue".to_owned()];
    plan.tags = vec![TagRule {
        name: "backend".to_owned(),
        header: "x-backend".to_owned(),
        values,
    }];
    let bench = Bench::new(plan, &Files::new());
    let mut user = bench.user();
    for index in 0..6 {
        bench.iterate(&mut user, bench.start(index)).await;
    }
    let mut ok = BTreeMap::new();
    for row in bench.delta().steps.iter().filter(|row| row.counts.ok > 0) {
        let label = bench.plan.plan().tag_values(row.tag)[0].1.to_owned();
        *ok.entry(label).or_insert(0) += row.counts.ok;
    }
    let want = [("", 2), ("blue", 2), ("other", 2)].map(|(label, count)| (label.to_owned(), count));
    assert_eq!(ok, BTreeMap::from(want));
}

#[test]
fn the_first_request_says_where_connections_are_opened_before_a_run() {
    let full = || Request {
        redirects: 1,
        ..get("http://127.0.0.1:1/")
    };
    let table = [
        (vec![ask(get("/")), ask(full())], Some("127.0.0.1")),
        (vec![ask(full()), ask(get("/"))], None),
        (vec![ask(get("${uuid()}/")), ask(get("/"))], None),
        (vec![], None),
    ];
    for (steps, want) in table {
        let compiled = compile(plan(80, steps)).unwrap();
        let first = compiled.first_origin(ScenarioId(0));
        assert_eq!(first.map(|origin| &*origin.authority), want);
        assert!(compiled.first_origin(ScenarioId(9)).is_none());
    }
}

#[test]
fn a_constant_request_is_one_stretch_of_bytes() {
    let mut plan = plan(
        80,
        vec![ask(Request {
            headers: pairs(&[("x", "${v} ${worker()} ${env:TOKEN}")]),
            ..get("/${v}")
        })],
    );
    plan.variables = vec![variable("v", "1")];
    let plan = compile(plan).unwrap();
    let super::super::compile::Wire::Http1(head) = &plan.program.requests[0].wire else {
        panic!("http1")
    };
    let head = std::str::from_utf8(head.as_static().expect("one stretch")).unwrap();
    assert!(head.contains("\r\nx: 1 3 s3cret token\r\n"), "{head}");
    assert!(!format!("{plan:?} {:?}", context()).contains("hunter2"));
}

/// Whether a request has come, and whether it may be answered.
#[derive(Default)]
pub(super) struct Turns {
    pub(super) asked: AtomicBool,
    pub(super) go: AtomicBool,
}

/// Answers 40 ms after it may, on a thread of its own.
pub(super) fn slow_server(turns: Arc<Turns>) -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        let mut stream = BufReader::new(listener.accept().unwrap().0);
        let mut line = String::new();
        while line != "\r\n" {
            line.clear();
            stream.read_line(&mut line).unwrap();
        }
        turns.asked.store(true, Ordering::SeqCst);
        while !turns.go.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(1));
        }
        std::thread::sleep(Duration::from_millis(40));
        let answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok";
        // Whoever has given up may be gone.
        let _ = stream.get_mut().write_all(answer.as_bytes());
    });
    port
}

#[tokio::test]
async fn what_came_in_time_while_the_shard_stood_still_is_not_laid_to_the_target() {
    for engine in [EngineChoice::Http1, EngineChoice::Reqwest] {
        for (timeout_ms, max_time_ms, block_ms, knows, want) in [
            (5_000, None, 0, true, ("ok 1", 0)),
            (300, None, 900, true, ("timeout 1", 1)),
            // Nobody knows that it stood still.
            (300, None, 900, false, ("timeout 1", 0)),
            (5_000, Some(300), 900, true, ("check 1", 1)),
            (5_000, Some(300), 900, false, ("check 1", 0)),
            // Late in any case.
            (5_000, Some(10), 0, true, ("check 1", 0)),
        ] {
            let turns = Arc::new(Turns::default());
            let mut request = get("/");
            request.engine = engine;
            request.timeout = Duration::from_millis(timeout_ms);
            let max_time = max_time_ms.map(|ms| Check::MaxTime(Duration::from_millis(ms)));
            request.expect.extend(max_time);
            let port = slow_server(Arc::clone(&turns));
            let bench = Bench::new(plan(port, vec![ask(request)]), &Files::new());
            let block = async {
                while !turns.asked.load(Ordering::SeqCst) {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                turns.go.store(true, Ordering::SeqCst);
                if knows && block_ms > 0 {
                    bench.shard.awake.told(bench.shard.clock.now());
                }
                std::thread::sleep(Duration::from_millis(block_ms));
            };
            let (_, ()) = tokio::join!(bench.once(), block);
            let delta = bench.delta();
            let ledger = bench.ledger_of(&delta);
            let case = format!("{engine:?} {timeout_ms} {max_time_ms:?} {block_ms} {knows}: {ledger}");
            assert!(ledger.contains(want.0), "{case}");
            assert_eq!(delta.health.shortages.time, want.1, "{case}");
            assert_eq!(ledger.contains("stood still"), want.1 > 0, "{case}");
        }
    }
}

#[tokio::test]
async fn answers_and_pauses_that_a_standstill_hides_are_lag() {
    for asks in [true, false] {
        let turns = Arc::new(Turns::default());
        let steps = if asks {
            vec![ask(get("/")), think(100)]
        } else {
            vec![think(100)]
        };
        let mut bench = Bench::new(plan(slow_server(Arc::clone(&turns)), steps), &Files::new());
        let now = bench.shard.clock.now();
        bench.shard.awake = Rc::new(Awake::new(now, vec![true]));
        let block = async {
            while asks && !turns.asked.load(Ordering::SeqCst) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            turns.go.store(true, Ordering::SeqCst);
            bench.shard.awake.told(bench.shard.clock.now());
            std::thread::sleep(Duration::from_millis(900));
        };
        let (_, ()) = tokio::join!(bench.once(), block);
        // Its machine hears of it in the end.
        let over = bench.shard.clock.now();
        bench.shard.awake.stood(now, over, vec![0]);
        let lag = bench.shard.awake.take_lag(1_000);
        assert!(lag > Duration::from_millis(400), "{asks} {lag:?}");
    }
}
