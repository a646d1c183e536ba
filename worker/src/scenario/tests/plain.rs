//! Iterations of one constant request: the short way counts what the walk counts.

use barrage_model::delta::{Delta, Measure};
use barrage_model::ids::SegmentId;
use barrage_model::outcome::{IterationEnd, OutcomeGroup};
use barrage_model::plan::Check;

use super::server::{Server, reply};
use super::walking::Bench;
use super::*;

/// The same request, once as it is and once with a check that asks for more than the status and always holds.
fn both(port: u16, request: &Request) -> [Bench; 2] {
    let always = Check::BodySize { min: 0, max: u64::MAX };
    let walked = Request {
        expect: request.expect.iter().cloned().chain([always]).collect(),
        ..request.clone()
    };
    let [plain, walked] = [request.clone(), walked].map(|request| {
        let mut plan = plan(port, vec![ask(request)]);
        // What a plan has besides must not matter to a request that uses none of it.
        plan.variables = vec![variable("unused", "${uuid()}")];
        Bench::new(plan, &Files::new())
    });
    assert!(plain.plan.program.scenarios[0].plain.is_some());
    assert!(walked.plan.program.scenarios[0].plain.is_none());
    [plain, walked]
}

/// Bytes in and out, of bodies and on the wire.
fn bytes(delta: &Delta) -> [u64; 4] {
    let counts = &delta.steps[0].counts;
    [
        counts.body_bytes_in,
        counts.body_bytes_out,
        counts.wire_bytes_in,
        counts.wire_bytes_out,
    ]
}

/// How many samples of what there are.
fn measures(delta: &Delta) -> Vec<String> {
    let rows = delta.sketches.iter();
    rows.map(|row| format!("{:?} {}", row.key, row.sketch.count()))
        .collect()
}

#[tokio::test]
async fn arrivals_that_are_cancelled_before_their_request_are_censored() {
    let server = Server::start(|_, _| reply(200, "", "")).await;
    for bench in both(server.port, &get("/")) {
        bench.cancel.cancel();
        for closed in [false, true] {
            let mut start = bench.start(0);
            start.closed = closed;
            assert_eq!(bench.iterate(&mut bench.user(), start).await, IterationEnd::Cancelled);
        }
        let delta = bench.delta();
        assert_eq!(delta.steps.len(), 0, "nothing was attempted");
        let censored = delta
            .sketches
            .iter()
            .map(|row| (row.key.measure, row.key.group, row.sketch.count()));
        let want = [(Measure::Response, OutcomeGroup::Censored, 1)];
        assert_eq!(
            censored.collect::<Vec<_>>(),
            want,
            "a user that begins late is no arrival"
        );
    }
    assert_eq!(server.lines(), [""; 0]);
}

#[tokio::test]
async fn the_short_way_counts_what_the_walk_counts() {
    let server = Server::start(|asked, _| match asked.line.split(' ').nth(1) {
        Some("/ok") => reply(200, "x-a: 1\r\n", "ok"),
        Some("/gone") => reply(404, "", "no"),
        Some("/broken") => "HTTP/9.9 nonsense\r\n\r\n".to_owned(),
        Some("/half") => "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 9\r\n\r\nhalf".to_owned(),
        _ => String::new(),
    })
    .await;
    let short = Duration::from_millis(30);
    let cases = [
        (get("/ok"), IterationEnd::Completed, "ok 3"),
        (
            request(Method::Post, "/ok", Body::Json(text("{\"a\":1}"))),
            IterationEnd::Completed,
            "ok 3",
        ),
        (get("/gone"), IterationEnd::BrokenOff, "status 3"),
        (
            Request {
                on_failure: OnFailure::Continue,
                ..get("/gone")
            },
            IterationEnd::Completed,
            "status 3",
        ),
        (get("/broken"), IterationEnd::BrokenOff, "protocol 3"),
        (get("/half"), IterationEnd::BrokenOff, "reset 3"),
        (
            Request {
                timeout: short,
                ..get("/silent")
            },
            IterationEnd::BrokenOff,
            "timeout 3",
        ),
    ];
    for (request, end, counted) in cases {
        let benches = both(server.port, &request);
        let mut seen = Vec::new();
        for bench in &benches {
            let mut user = bench.user();
            for index in 0..3 {
                assert_eq!(
                    bench.iterate(&mut user, bench.start(index)).await,
                    end,
                    "{}",
                    request.name
                );
            }
            let delta = bench.delta();
            seen.push((bench.ledger_of(&delta), bytes(&delta), measures(&delta)));
        }
        assert!(seen[0].0.contains(counted), "{}: {}", request.name, seen[0].0);
        assert_eq!(seen[0], seen[1], "{}", request.name);
    }
}

#[tokio::test]
async fn of_a_body_the_part_that_was_sent_is_counted() {
    // Connections are made by the system, and nobody reads from them.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let length = 32 << 20;
    let upload = Request {
        timeout: Duration::from_millis(200),
        ..request(Method::Post, "/", Body::Raw(Template::literal("x".repeat(length))))
    };
    for bench in both(listener.local_addr().unwrap().port(), &upload) {
        let mut user = bench.user();
        assert_eq!(bench.iterate(&mut user, bench.start(0)).await, IterationEnd::BrokenOff);
        let [_, body, _, wire] = bytes(&bench.delta());
        assert!(body > 0 && body < length as u64, "{body}");
        // The head is all there is besides.
        assert!((body + 1..body + 1_000).contains(&wire), "{body} of {wire}");
    }
}

#[tokio::test]
async fn what_is_cancelled_on_the_short_way_is_counted_once() {
    let server = Server::start(|_, _| String::new()).await;
    for bench in both(server.port, &get("/silent")) {
        let mut user = bench.user();
        let cancel = async {
            while server.asked().is_empty() {
                tokio::task::yield_now().await;
            }
            bench.cancel.cancel();
        };
        let (end, ()) = tokio::join!(bench.iterate(&mut user, bench.start(0)), cancel);
        assert_eq!(end, IterationEnd::Cancelled);
        // Nothing is sent any more, and nothing is counted.
        assert_eq!(bench.iterate(&mut user, bench.start(1)).await, IterationEnd::Cancelled);
        assert!(
            bench.ledger().starts_with("0: sent 1 cancelled 1 wire 1"),
            "{}",
            bench.ledger()
        );
    }
}

#[tokio::test]
async fn one_iteration_goes_on_with_the_next_whatever_its_scenario() {
    let server = Server::start(|asked, _| match asked.line.split(' ').nth(1) {
        Some("/gone") => reply(404, "", "no"),
        _ => reply(200, "", "ok"),
    })
    .await;
    let mut plan = plan(server.port, vec![ask(get("/ok"))]);
    for (name, path) in [("gone", "/gone"), ("walked", "/walked/${iteration()}")] {
        plan.scenarios.push(Scenario {
            name: name.to_owned(),
            on_start: Vec::new(),
            steps: vec![ask(get(path))],
        });
    }
    let bench = Bench::new(plan, &Files::new());
    let short = bench.plan.program.scenarios.iter().map(|it| it.plain.is_some());
    assert_eq!(short.collect::<Vec<_>>(), [true, true, false]);
    let order = [0, 0, 1, 1, 2, 2, 0, 2, 1, 0];
    let start = |index: usize| IterationStart {
        scenario: ScenarioId(order[index]),
        segment: SegmentId(index as u32 / 4),
        ..bench.start(index as u64)
    };
    let mut ends = Vec::new();
    let next = |ended: IterationEnded| {
        ends.push(ended.end);
        assert_eq!(ended.at.is_some(), ended.end == IterationEnd::Completed);
        (ends.len() < order.len()).then(|| start(ends.len()))
    };
    bench.iterations(&mut bench.user(), start(0), next).await;
    let ended = order.map(|scenario| match scenario {
        1 => IterationEnd::BrokenOff,
        _ => IterationEnd::Completed,
    });
    assert_eq!(ends, ended);
    let asked = order.iter().enumerate().map(|(index, scenario)| match scenario {
        0 => "GET /ok".to_owned(),
        1 => "GET /gone".to_owned(),
        _ => format!("GET /walked/{index}"),
    });
    assert_eq!(server.lines(), asked.collect::<Vec<_>>());
    let delta = bench.delta();
    let mut rows: Vec<(u32, u32, u64)> = delta
        .steps
        .iter()
        .map(|row| (row.segment.0, row.step.0, row.counts.sent))
        .collect();
    rows.sort_unstable();
    assert_eq!(
        rows,
        [(0, 0, 2), (0, 1, 2), (1, 0, 1), (1, 2, 3), (2, 0, 1), (2, 1, 1)],
        "each under the segment of its own iteration"
    );
}

#[tokio::test]
async fn iterations_without_requests_leave_others_their_turn() {
    let mut plan = plan(1, vec![step(Action::Set(pairs(&[("a", "x")])))]);
    plan.variables = vec![variable("a", "y")];
    let bench = Bench::new(plan, &Files::new());
    let mut user = bench.user();
    let idle = async {
        for index in 0.. {
            assert_eq!(
                bench.iterate(&mut user, bench.start(index)).await,
                IterationEnd::Completed
            );
        }
    };
    tokio::select! {
        biased;
        () = idle => {}
        () = tokio::time::sleep(Duration::from_millis(20)) => {}
    }
}

#[tokio::test]
async fn failures_that_come_at_once_leave_others_their_turn() {
    let server = Server::start(|_, _| reply(200, "", "ok")).await;
    let always = Check::BodySize { min: 0, max: u64::MAX };
    let walked = Request {
        expect: vec![always],
        ..get("/")
    };
    for request in [get("/"), walked] {
        let mut plan = plan(server.port, vec![ask(request)]);
        // An address that this host does not have: no connection can be made from it, and the system says so at once.
        plan.network.source_addresses = vec!["192.0.2.1".parse().unwrap()];
        let bench = Bench::new(plan, &Files::new());
        let mut user = bench.user();
        let fail = async {
            for index in 0.. {
                assert_eq!(
                    bench.iterate(&mut user, bench.start(index)).await,
                    IterationEnd::BrokenOff
                );
            }
        };
        tokio::select! {
            biased;
            () = fail => {}
            () = tokio::time::sleep(Duration::from_millis(20)) => {}
        }
    }
}
