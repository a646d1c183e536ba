//! Several requests on one slot: reuse, what the server does in between, cancellation, large bodies.

use std::cell::Cell;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use barrage_model::plan::{Method, Resolve, Reuse};
use url::Url;

use crate::clock::Stamp;
use crate::engine::testing::{Do, Server, Slot, Sockets, assert_times, driven, send, until};
use crate::engine::{EngineOptions, OnIdleClose, Outgoing, Request, Terms};
use crate::net::{Origin, PortsUsed, TlsOptions};

const PATIENCE_MS: u64 = 20_000;
const PATIENCE: Duration = Duration::from_millis(PATIENCE_MS);
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

fn answering(times: usize) -> Vec<Do> {
    let mut script: Vec<_> = (0..times).flat_map(|_| [Do::Read, send(OK)]).collect();
    script.push(Do::Hang);
    script
}

#[tokio::test]
async fn connections_are_used_as_long_as_the_policy_says() {
    let table = [
        (Reuse::Always, 1),
        (Reuse::Never, 6),
        (Reuse::MaxRequests(2), 3),
        (Reuse::MaxRequests(4), 2),
        (Reuse::MaxRequests(1), 6),
        (Reuse::MaxAge(Duration::from_hours(1)), 1),
        (Reuse::MaxAge(Duration::ZERO), 6),
    ];
    for (reuse, connections) in table {
        let server = Server::start(vec![answering(6)]).await;
        let origin = server.origin(0);
        let mut slot = Slot::new(EngineOptions {
            reuse,
            ..EngineOptions::default()
        });
        let mut reused = 0;
        for _ in 0..6 {
            let result = slot.ask(&origin, Method::Get, PATIENCE_MS).await;
            assert_eq!(slot.word(&result), "200 ok", "{reuse:?}: {result:?}");
            reused += usize::from(slot.answer.reused);
            let timings = slot.answer.timings;
            let fresh = !slot.answer.reused;
            let phases = (timings.dns.is_some(), timings.connect.is_some(), timings.tls.is_some());
            assert_eq!(phases, (fresh, fresh, false), "phases belong to new connections alone");
            assert!(timings.first_byte.is_some());
        }
        assert_eq!((server.accepted(), 6 - reused), (connections, connections), "{reuse:?}");
        assert!(slot.shared.open_connections() <= 1);
    }
}

#[tokio::test]
async fn each_new_connection_asks_again_where_the_host_is() {
    // Whoever listens on the one address' port may find it taken on the other.
    let (mut one, mut other) = (Server::start(vec![answering(1)]).await, None);
    for _ in 0..20 {
        let address = format!("127.0.0.2:{}", one.address.port());
        match Server::on(&address, vec![answering(1)], None).await {
            Ok(server) => other = Some(server),
            Err(_) => one = Server::start(vec![answering(1)]).await,
        }
        if other.is_some() {
            break;
        }
    }
    let other = other.expect("a port that is free on both addresses");
    let fixed = [&one, &other].map(|server| Resolve {
        host: "shop.test".to_owned(),
        port: None,
        address: server.address.ip(),
    });
    let options = EngineOptions {
        reuse: Reuse::Never,
        ..EngineOptions::default()
    };
    let mut slot = Slot::with(options, &TlsOptions::default(), &fixed);
    let url = format!("http://shop.test:{}/", one.address.port());
    let origin = Origin::from_url(0, &Url::parse(&url).unwrap()).unwrap();
    for requests in [(1, 0), (1, 1), (2, 1)] {
        let result = slot.ask(&origin, Method::Get, PATIENCE_MS).await;
        assert_eq!(slot.word(&result), "200 ok", "{result:?}");
        assert_eq!((one.accepted(), other.accepted()), requests);
    }
}

#[tokio::test]
async fn each_origin_has_its_own_connection() {
    let (one, two) = (
        Server::start(vec![answering(2)]).await,
        Server::start(vec![answering(2)]).await,
    );
    let mut slot = Slot::new(EngineOptions::default());
    for _ in 0..2 {
        slot.ask(&one.origin(0), Method::Get, PATIENCE_MS).await.unwrap();
        slot.ask(&two.origin(1), Method::Get, PATIENCE_MS).await.unwrap();
    }
    assert_eq!((one.accepted(), two.accepted(), slot.set.open_connections()), (1, 1, 2));
    slot.set.close();
    assert_eq!((slot.set.open_connections(), slot.shared.open_connections()), (0, 0));
}

#[tokio::test]
async fn every_origin_keeps_its_connection_however_many_there_are() {
    const ORIGINS: u32 = 40;
    let server = Server::start(vec![answering(3)]).await;
    let mut slot = Slot::new(EngineOptions::default());
    for round in 0..3 {
        // In the second round most of them rest, which must cost no connection.
        for index in (0..ORIGINS).rev().filter(|index| round != 1 || index % 3 == 0) {
            slot.ask(&server.origin(index), Method::Get, PATIENCE_MS).await.unwrap();
            assert_eq!(slot.answer.reused, round > 0, "origin {index} in round {round}");
        }
    }
    let open = (slot.set.open_connections(), slot.shared.open_connections());
    assert_eq!((server.accepted(), open), (ORIGINS as usize, (40, 40)));
    let other = Server::start(vec![answering(1)]).await;
    slot.ask(&other.origin(ORIGINS), Method::Get, PATIENCE_MS)
        .await
        .unwrap();
    let used = |fullest| PortsUsed {
        fullest,
        addresses: 2,
        ran_out: false,
    };
    assert_eq!(
        slot.shared.ports_used(),
        used(ORIGINS),
        "each address has ports of its own"
    );
    slot.set.close();
    assert_eq!(slot.shared.ports_used(), used(0));
}

#[tokio::test]
async fn a_kept_connection_that_the_server_closed_is_its_own_class() {
    let first = [Do::Read, send(OK)];
    let with = |rest: &[Do]| [&first[..], rest].concat();
    let half = "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf";
    let table = [
        // Closed when the second request is there: nobody can know before.
        (
            with(&[Do::Read, Do::Cut]),
            OnIdleClose::Report,
            "failed closed_on_reuse",
            1,
        ),
        (
            with(&[Do::Read, Do::Reset]),
            OnIdleClose::Report,
            "failed closed_on_reuse",
            1,
        ),
        (
            with(&[Do::Read, Do::Cut]),
            OnIdleClose::Redial,
            "failed closed_on_reuse",
            1,
        ),
        // Closed in between.
        (with(&[Do::Cut]), OnIdleClose::Report, "failed closed_on_reuse", 1),
        (with(&[Do::Reset]), OnIdleClose::Report, "failed closed_on_reuse", 1),
        (with(&[Do::Cut]), OnIdleClose::Redial, "200 ok", 2),
        (with(&[Do::Reset]), OnIdleClose::Redial, "200 ok", 2),
        // Broken in the middle of the answer: that is no matter of reuse.
        (
            with(&[Do::Read, send(half), Do::Cut]),
            OnIdleClose::Report,
            "failed reset",
            1,
        ),
        // Said something unasked: it must not be taken for the answer.
        (
            with(&[send("HTTP/1.1 408 Timeout\r\nContent-Length: 0\r\n\r\n"), Do::Hang]),
            OnIdleClose::Report,
            "200 ok",
            2,
        ),
    ];
    for (script, on_idle_close, wanted, connections) in table {
        let shown = format!("{script:?} {on_idle_close:?}");
        let server = Server::start(vec![script, answering(1)]).await;
        let origin = server.origin(0);
        let mut slot = Slot::new(EngineOptions {
            on_idle_close,
            ..EngineOptions::default()
        });
        slot.ask(&origin, Method::Get, PATIENCE_MS).await.unwrap();
        // What the server does after its answer has to arrive; there is no state of ours to wait for.
        tokio::time::sleep(Duration::from_millis(60)).await;
        let result = slot.ask(&origin, Method::Get, PATIENCE_MS).await;
        assert_eq!(slot.word(&result), wanted, "{shown}: {result:?}");
        assert_times(&slot.answer, &result);
        assert_eq!(server.accepted(), connections, "{shown}");
    }
}

#[tokio::test]
async fn a_failure_is_followed_by_a_new_connection_and_never_by_a_second_send() {
    let server = Server::start(vec![vec![Do::Read, Do::Cut], answering(1)]).await;
    let origin = server.origin(0);
    let mut slot = Slot::new(EngineOptions::default());
    let result = slot.ask(&origin, Method::Get, PATIENCE_MS).await;
    assert_eq!(slot.word(&result), "failed reset");
    assert_eq!(
        (server.accepted(), server.seen().len(), slot.answer.wire_requests),
        (1, 1, 1)
    );
    let result = slot.ask(&origin, Method::Get, PATIENCE_MS).await;
    assert_eq!(slot.word(&result), "200 ok");
    assert_eq!((server.accepted(), server.seen().len()), (2, 2));
}

#[tokio::test]
async fn dropping_an_exchange_closes_its_connection() {
    let server = Server::start(vec![
        vec![Do::Read, send("HTTP/1.1 200 OK\r\n"), Do::Hang],
        answering(1),
    ])
    .await;
    let origin = server.origin(0);
    let mut slot = Slot::new(EngineOptions::default());
    let dropped = tokio::time::timeout(Duration::from_millis(80), slot.ask(&origin, Method::Get, PATIENCE_MS)).await;
    assert!(dropped.is_err());
    assert_eq!((slot.set.open_connections(), slot.shared.open_connections()), (0, 0));
    let result = slot.ask(&origin, Method::Get, PATIENCE_MS).await;
    assert_eq!(
        slot.word(&result),
        "200 ok",
        "the half answer of the dropped exchange is forgotten"
    );
    assert_eq!(server.accepted(), 2);
}

#[tokio::test]
async fn a_warmed_connection_serves_the_first_request_of_whoever_comes() {
    let server = Server::start(vec![answering(2), answering(2)]).await;
    let origin = server.origin(0);
    let mut slot = Slot::over(Sockets::Runtime, EngineOptions::default(), &TlsOptions::default(), &[]);
    let later = slot.clock.now() + PATIENCE;
    slot.shared.warm(&origin, 2, later).await;
    until(|| server.accepted() == 2).await;
    assert_eq!((slot.shared.open_connections(), slot.set.open_connections()), (2, 0));
    let mut other = Slot::beside(&slot.shared);
    for reused in [false, true] {
        for slot in [&mut slot, &mut other] {
            slot.ask(&origin, Method::Get, PATIENCE_MS).await.unwrap();
            assert_eq!(slot.answer.reused, reused);
            // What it took to open it is told once, and is no part of the response time.
            assert_eq!(slot.answer.timings.connect.is_some(), !reused);
        }
    }
    assert_eq!(server.accepted(), 2);
}

#[tokio::test]
async fn what_cannot_be_warmed_is_left_to_the_first_request() {
    let server = Server::start(vec![vec![Do::Cut], answering(1)]).await;
    let origin = server.origin(0);
    let mut slot = Slot::new(EngineOptions::default());
    let later = slot.clock.now() + PATIENCE;
    slot.shared.warm(&origin, 1, later).await;
    // The server has hung up: no failure, for nothing was asked on it.
    until(|| server.accepted() == 1).await;
    let closed = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let closed = url::Url::parse(&format!("http://{closed}/")).unwrap();
    slot.shared.warm(&Origin::from_url(1, &closed).unwrap(), 3, later).await;
    slot.shared.warm(&origin, 3, slot.clock.now() - PATIENCE).await;
    slot.ask(&origin, Method::Get, PATIENCE_MS).await.unwrap();
    assert!(!slot.answer.reused);
    assert_eq!(server.accepted(), 2);
    let never = Slot::new(EngineOptions {
        reuse: Reuse::Never,
        ..EngineOptions::default()
    });
    never.shared.warm(&origin, 1, later).await;
    assert_eq!((never.shared.open_connections(), server.accepted()), (0, 2));
}

#[tokio::test]
async fn nothing_is_sent_after_the_grant_has_ended() {
    let server = Server::start(vec![answering(2)]).await;
    let origin = server.origin(0);
    let mut slot = Slot::new(EngineOptions::default());
    let mut terms = slot.terms(PATIENCE_MS);
    let granted = Cell::new(Some(slot.clock.now() - Duration::from_millis(1)));
    terms.send_by = Some(&granted);
    let out = Outgoing {
        head: b"GET / HTTP/1.1\r\n\r\n",
        body: b"",
        method: Method::Get,
        origin: &origin,
        terms,
    };
    let result = slot.send(&out).await;
    assert_eq!(slot.word(&result), "expired");
    assert_eq!((slot.answer.sent_at, slot.answer.wire_requests), (None, 0));
    assert_eq!(slot.answer.wire.unwrap().sent, 0);
    assert!(server.seen().is_empty());
    assert_eq!(result.unwrap_err().cause.outcome(), None);
}

/// Hands in a request under a grant of this length, which ends before the request is sent, and may be renewed then. The
/// result; `None` when the machine has stood still for the whole grant, so that nothing was handed in.
async fn outlived(grant: Duration, renewed: bool) -> Option<(Slot, String)> {
    let server = Server::start(vec![answering(2)]).await;
    let origin = server.origin(0);
    let mut slot = Slot::new(EngineOptions::default());
    slot.ask(&origin, Method::Get, PATIENCE_MS).await.unwrap();
    let reactor = slot.reactor().unwrap();
    let end = slot.clock.now() + grant;
    let granted = Cell::new(Some(end));
    let request = Request::Http1(Outgoing {
        head: b"GET / HTTP/1.1\r\n\r\n",
        body: b"",
        method: Method::Get,
        origin: &origin,
        terms: Terms {
            send_by: Some(&granted),
            awake: None,
            ..slot.terms(2 * PATIENCE_MS)
        },
    });
    slot.answer.clear(slot.clock.now());
    let result = {
        let mut exchange = pin!(slot.set.exchange(&request, &mut slot.answer));
        reactor.gather();
        let first = exchange.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        if first.is_ready() {
            return None;
        }
        while slot.clock.now() <= end {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        reactor.flush();
        if renewed {
            granted.set(Some(Stamp::FAR));
        }
        driven(&reactor, exchange).await
    };
    assert!(
        slot.answer.sent_at.is_none_or(|at| at > end),
        "sent after all, and later"
    );
    assert_eq!(server.seen().len(), 1 + slot.answer.wire_requests as usize);
    let word = slot.word(&result);
    Some((slot, word))
}

#[tokio::test]
async fn a_grant_that_ends_while_the_request_waits_for_the_others_holds_it_back() {
    for (renewed, wanted) in [(false, "expired"), (true, "200 ok")] {
        for grant_ms in [50, 500, 5_000] {
            if let Some((slot, word)) = outlived(Duration::from_millis(grant_ms), renewed).await {
                assert_eq!(word, wanted);
                assert_eq!(slot.answer.sent_at.is_some(), renewed);
                assert_eq!(slot.answer.wire_requests, u32::from(renewed));
                break;
            }
            assert_ne!(grant_ms, 5_000, "handing it in took longer than the grant");
        }
    }
}

#[tokio::test]
async fn a_time_limit_that_passes_before_the_slots_turn_is_kept_although_a_part_was_there_before() {
    let part = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\npart";
    let server = Server::start(vec![vec![Do::Read, send(OK), Do::Read, send(part), Do::Hang]]).await;
    let origin = server.origin(0);
    let mut slot = Slot::new(EngineOptions::default());
    slot.ask(&origin, Method::Get, PATIENCE_MS).await.unwrap();
    let (reactor, terms) = (slot.reactor().unwrap(), slot.terms(2_000));
    let request = Request::Http1(Outgoing {
        head: b"GET / HTTP/1.1\r\n\r\n",
        body: b"",
        method: Method::Get,
        origin: &origin,
        terms,
    });
    slot.answer.clear(slot.clock.now());
    let polled = {
        let mut exchange = pin!(slot.set.exchange(&request, &mut slot.answer));
        let mut cx = Context::from_waker(Waker::noop());
        reactor.gather();
        let handed_in = exchange.as_mut().poll(&mut cx);
        reactor.flush();
        assert!(handed_in.is_pending() && exchange.as_mut().poll(&mut cx).is_pending());
        while slot.clock.now() <= terms.deadline {
            tokio::time::sleep(Duration::from_millis(5)).await;
            reactor.look();
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
        exchange.as_mut().poll(&mut cx)
    };
    let Poll::Ready(result) = polled else {
        panic!("nobody would ever wake it");
    };
    assert_eq!(slot.word(&result), "timeout");
}

#[tokio::test]
async fn a_large_body_arrives_whole() {
    let server = Server::start(vec![answering(2)]).await;
    let origin = server.origin(0);
    let mut slot = Slot::new(EngineOptions::default());
    let body: Vec<u8> = (0..3_000_000_u32).map(|n| n.to_le_bytes()[1]).collect();
    let head = format!("POST / HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n", body.len());
    for _ in 0..2 {
        let terms = slot.terms(PATIENCE_MS);
        let out = Outgoing {
            head: head.as_bytes(),
            body: &body,
            method: Method::Post,
            origin: &origin,
            terms,
        };
        let result = slot.send(&out).await;
        assert_eq!(slot.word(&result), "200 ok", "{result:?}");
        assert_eq!(slot.answer.wire.unwrap().sent, (head.len() + body.len()) as u64);
        assert_eq!(slot.answer.body_bytes_unsent, 0);
    }
    let seen = server.seen();
    assert!(seen.len() == 2 && seen.iter().all(|request| request.ends_with(&body)));
    assert_eq!(server.accepted(), 1);
}

/// Sends 32 MiB to a server that goes by this script, and gives the answer's word. What was not taken of the body is what the
/// wire lacks.
async fn large(script: Vec<Do>, timeout_ms: u64) -> String {
    let server = Server::start(vec![script]).await;
    let origin = server.origin(0);
    let mut slot = Slot::new(EngineOptions::default());
    let body = vec![b'x'; 32 << 20];
    let head = format!("POST / HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n", body.len());
    let terms = slot.terms(timeout_ms);
    let out = Outgoing {
        head: head.as_bytes(),
        body: &body,
        method: Method::Post,
        origin: &origin,
        terms,
    };
    let result = slot.send(&out).await;
    assert_eq!(slot.set.open_connections(), 0, "the rest of the body is never sent");
    let unsent = slot.answer.body_bytes_unsent;
    assert!((1..=body.len() as u64).contains(&unsent), "{unsent}");
    let whole = (head.len() + body.len()) as u64;
    assert_eq!(slot.answer.wire.unwrap().sent + unsent, whole);
    slot.word(&result)
}

#[tokio::test]
async fn an_early_answer_counts_although_the_body_was_never_taken() {
    let refusal = "HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno";
    for end in [vec![Do::Wait(Duration::from_mins(1))], vec![Do::Cut]] {
        let script = [vec![Do::ReadHead, send(refusal)], end].concat();
        assert_eq!(large(script, PATIENCE_MS).await, "413 no");
    }
}

#[tokio::test]
async fn of_a_body_that_was_cut_short_the_rest_is_known() {
    for (end, timeout_ms, word) in [
        (Do::Wait(Duration::from_mins(1)), 200, "timeout"),
        (Do::Reset, PATIENCE_MS, "failed reset"),
    ] {
        assert_eq!(large(vec![Do::ReadHead, end], timeout_ms).await, word);
    }
}

#[tokio::test]
async fn an_answer_that_a_reset_cuts_off_is_not_complete_although_a_write_has_met_the_reset() {
    let endless = "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\npartial";
    let table = [
        (vec![Do::Reset], "failed reset"),
        // To close with a part of the request unread is a reset as well.
        (vec![Do::Cut], "failed reset"),
        // The end comes first, and the reset behind it.
        (Vec::new(), "200 partial"),
    ];
    let body = vec![b'x'; 32 << 20];
    let head = format!("POST / HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n", body.len());
    for sockets in [Sockets::Shard, Sockets::Runtime] {
        for (end, wanted) in &table {
            let script = [&[Do::Read, send(OK), Do::ReadHead, send(endless)], &end[..]].concat();
            let server = Server::start(vec![script]).await;
            let origin = server.origin(0);
            let mut slot = Slot::over(sockets, EngineOptions::default(), &TlsOptions::default(), &[]);
            slot.ask(&origin, Method::Get, PATIENCE_MS).await.unwrap();
            let request = Request::Http1(Outgoing {
                head: head.as_bytes(),
                body: &body,
                method: Method::Post,
                origin: &origin,
                terms: slot.terms(PATIENCE_MS),
            });
            slot.answer.clear(slot.clock.now());
            let reactor = slot.reactor();
            let result = {
                let mut exchange = pin!(slot.set.exchange(&request, &mut slot.answer));
                let first = exchange.as_mut().poll(&mut Context::from_waker(Waker::noop()));
                assert!(first.is_pending(), "the connection does not take so much at once");
                until(|| server.seen().len() == 2).await;
                // What the server does after that has to arrive; there is no state of ours to wait for.
                tokio::time::sleep(Duration::from_millis(60)).await;
                match &reactor {
                    Some(reactor) => driven(reactor, exchange).await,
                    None => exchange.await,
                }
            };
            assert_eq!(slot.word(&result), *wanted, "{end:?} {sockets:?}: {result:?}");
        }
    }
}

#[tokio::test]
async fn ipv6_works_where_the_machine_has_it() {
    let Ok(server) = Server::on("[::1]:0", vec![answering(1)], None).await else {
        return;
    };
    let mut slot = Slot::new(EngineOptions::default());
    slot.ask(&server.origin(0), Method::Get, PATIENCE_MS).await.unwrap();
    assert_eq!(slot.answer.status, 200);
}

#[tokio::test]
async fn source_addresses_are_bound() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let origin = crate::engine::Origin::from_url(0, &url::Url::parse(&url).unwrap()).unwrap();
    let sources = vec!["127.0.0.8".parse().unwrap(), "127.0.0.9".parse().unwrap()];
    let slot = Slot::new(EngineOptions {
        sources,
        ..EngineOptions::default()
    });
    let mut peers = Vec::new();
    for _ in 0..3 {
        slot.shared.warm(&origin, 1, slot.clock.now() + PATIENCE).await;
        peers.push(listener.accept().await.unwrap().1.ip().to_string());
    }
    assert_eq!(peers, ["127.0.0.8", "127.0.0.9", "127.0.0.8"]);
}
