//! The raw engine over TLS.

use std::pin::pin;
use std::task::{Context, Waker};
use std::time::Duration;

use barrage_model::plan::{Method, Resolve, Reuse};
use url::Url;

use crate::clock::Stamp;
use crate::engine::testing::{Do, Server, Slot, assert_times, certificate, certified, driven, send, until};
use crate::engine::{EngineOptions, Origin, Outgoing, Request};
use crate::net::TlsOptions;

const PATIENCE_MS: u64 = 20_000;
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

type Options = fn(&[u8]) -> TlsOptions;

#[tokio::test]
async fn certificates_are_checked_unless_told_otherwise() {
    let trusted = |pem: &[u8]| TlsOptions {
        extra_roots_pem: Some(pem.to_vec()),
        ..TlsOptions::default()
    };
    let insecure = |_: &[u8]| TlsOptions {
        insecure: true,
        ..TlsOptions::default()
    };
    let stranger = |_: &[u8]| TlsOptions::default();
    let table: [(&[&str], Options, &str); 5] = [
        (&["127.0.0.1"], trusted, "200 ok"),
        (&["other.test"], trusted, "failed tls"),
        (&["127.0.0.1"], stranger, "failed tls"),
        (&["127.0.0.1"], insecure, "200 ok"),
        (&["other.test"], insecure, "200 ok"),
    ];
    for (names, options, wanted) in table {
        let (config, pem) = certificate(names);
        let script = vec![Do::Read, send(OK), Do::Read, Do::Pieces(OK.into(), 1), Do::Hang];
        let server = Server::tls(vec![script], config).await;
        let origin = server.origin(0);
        let mut slot = Slot::with(EngineOptions::default(), &options(&pem), &[]);
        let result = slot.ask(&origin, Method::Get, PATIENCE_MS).await;
        assert_eq!(slot.word(&result), wanted, "{names:?}: {result:?}");
        assert_times(&slot.answer, &result);
        if result.is_err() {
            assert_eq!(
                slot.answer.sent_at, None,
                "no request went to a server that could not be trusted"
            );
            assert!(slot.answer.timings.connect.is_some() && slot.answer.timings.tls.is_none());
            continue;
        }
        assert!(slot.answer.timings.tls.is_some());
        let (first, plain) = (slot.answer.wire.unwrap(), OK.len() as u64);
        assert!(first.received > plain + 500, "the handshake counts: {first:?}");
        let result = slot.ask(&origin, Method::Get, PATIENCE_MS).await;
        assert_eq!(slot.word(&result), "200 ok", "{result:?}");
        assert!(slot.answer.reused && slot.answer.timings.tls.is_none());
        let second = slot.answer.wire.unwrap();
        // One-byte records, each with 22 bytes of TLS 1.3 around it.
        assert_eq!(second.received, plain * 23);
        assert_eq!(second.sent, server.seen()[1].len() as u64 + 22);
    }
}

#[tokio::test]
async fn a_handshake_that_comes_to_nothing_is_a_tls_failure() {
    let table = [
        (vec![send("HTTP/1.1 400 Bad Request\r\n\r\n"), Do::Hang], "failed tls"),
        (vec![Do::Cut], "failed tls"),
        (vec![Do::Wait(Duration::from_millis(30)), Do::Reset], "failed tls"),
        (vec![Do::Hang], "timeout"),
    ];
    for (script, wanted) in table {
        let server = Server::start(vec![script]).await;
        let url = format!("https://{}/", server.address);
        let origin = Origin::from_url(0, &Url::parse(&url).unwrap()).unwrap();
        let mut slot = Slot::new(EngineOptions::default());
        let timeout_ms = if wanted == "timeout" { 150 } else { PATIENCE_MS };
        let result = slot.ask(&origin, Method::Get, timeout_ms).await;
        assert_eq!(slot.word(&result), wanted, "{result:?}");
        if wanted == "timeout" {
            assert_eq!(*result.unwrap_err().message, "timed out in the TLS handshake");
        }
    }
}

#[tokio::test]
async fn an_answer_cut_off_under_tls_is_not_complete() {
    let endless = "HTTP/1.1 200 OK\r\n\r\nhello";
    let again = [Do::Read, send(OK)];
    let table = [
        (vec![Do::Read, send(endless), Do::Cut], 1, "failed reset"),
        (vec![Do::Read, send(endless)], 1, "200 hello"),
        (vec![Do::Read, Do::Cut], 1, "failed reset"),
        ([&again[..], &[Do::Read, Do::Cut]].concat(), 2, "failed closed_on_reuse"),
        ([&again[..], &[Do::Read]].concat(), 2, "failed closed_on_reuse"),
    ];
    for (script, requests, wanted) in table {
        let shown = format!("{script:?}");
        let (config, _) = certificate(&["127.0.0.1"]);
        let server = Server::tls(vec![script], config).await;
        let tls = TlsOptions {
            insecure: true,
            ..TlsOptions::default()
        };
        let mut slot = Slot::with(EngineOptions::default(), &tls, &[]);
        let mut last = String::new();
        for _ in 0..requests {
            let result = slot.ask(&server.origin(0), Method::Get, PATIENCE_MS).await;
            last = slot.word(&result);
        }
        assert_eq!(last, wanted, "{shown}");
    }
}

/// A slot with a connection to a server of this script, which it has used once.
async fn connected(script: Vec<Do>) -> (Server, Slot) {
    let (config, _) = certificate(&["127.0.0.1"]);
    let server = Server::tls(vec![script], config).await;
    let tls = TlsOptions {
        insecure: true,
        ..TlsOptions::default()
    };
    let mut slot = Slot::with(EngineOptions::default(), &tls, &[]);
    slot.ask(&server.origin(0), Method::Get, PATIENCE_MS).await.unwrap();
    (server, slot)
}

/// Asks once more; the slot has its turn only a while after the answer was there. The result, and an instant after which
/// the answer cannot have come.
async fn asked_late(server: &Server, slot: &mut Slot) -> (String, Stamp) {
    let origin = server.origin(0);
    let (reactor, terms) = (slot.reactor().unwrap(), slot.terms(PATIENCE_MS));
    let request = Request::Http1(Outgoing {
        head: b"GET / HTTP/1.1\r\n\r\n",
        body: b"",
        method: Method::Get,
        origin: &origin,
        terms,
    });
    slot.answer.clear(slot.clock.now());
    let (result, there) = {
        let mut exchange = pin!(slot.set.exchange(&request, &mut slot.answer));
        assert!(
            exchange
                .as_mut()
                .poll(&mut Context::from_waker(Waker::noop()))
                .is_pending()
        );
        until(|| {
            reactor.look();
            reactor.held() > 0
        })
        .await;
        let there = slot.clock.now();
        tokio::time::sleep(Duration::from_millis(20)).await;
        (driven(&reactor, exchange).await, there)
    };
    assert_eq!(reactor.held(), 0, "nothing stays where the shard reads ahead");
    (slot.word(&result), there)
}

#[tokio::test]
async fn an_answer_over_tls_came_when_it_was_there_and_not_when_the_slot_had_its_turn() {
    let (server, mut slot) = connected(vec![Do::Read, send(OK), Do::Read, send(OK), Do::Read, send(OK)]).await;
    for _ in 0..2 {
        let (word, there) = asked_late(&server, &mut slot).await;
        assert_eq!(word, "200 ok");
        let answer = &slot.answer;
        assert!(answer.done_at <= there, "{:?} and {there:?}", answer.done_at);
        assert!(answer.timings.first_byte.unwrap() <= there.since(answer.sent_at.unwrap()));
        assert!(answer.reused);
    }
}

#[tokio::test]
async fn what_comes_behind_an_answer_over_tls_is_never_the_next_answer() {
    // More than what is decrypted at once, so that a part of it is still there when the answer is complete.
    let more = Do::Send([OK.as_bytes(), &[b'x'; 9_000]].concat());
    let first = [Do::Read, send(OK), Do::Read, send(OK), more, Do::Hang];
    let (server, mut slot) = connected(first.to_vec()).await;
    assert_eq!(asked_late(&server, &mut slot).await.0, "200 ok");
    let result = slot.ask(&server.origin(0), Method::Get, PATIENCE_MS).await;
    assert_eq!(slot.word(&result), "200 ok");
    assert!(!slot.answer.reused, "on a new connection");
    assert_eq!(server.accepted(), 2);
}

#[tokio::test]
async fn a_large_body_passes_through_tls_both_ways() {
    let (config, _) = certificate(&["127.0.0.1"]);
    let body = vec![b'y'; 1_500_000];
    let answer = [
        format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len()).as_bytes(),
        &body,
    ]
    .concat();
    let server = Server::tls(vec![vec![Do::Read, Do::Send(answer), Do::Hang]], config).await;
    let tls = TlsOptions {
        insecure: true,
        ..TlsOptions::default()
    };
    let mut slot = Slot::with(EngineOptions::default(), &tls, &[]);
    let head = format!("PUT / HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n", body.len());
    let origin = server.origin(0);
    let terms = slot.terms(PATIENCE_MS);
    let out = Outgoing {
        head: head.as_bytes(),
        body: &body,
        method: Method::Put,
        origin: &origin,
        terms,
    };
    slot.send(&out).await.unwrap();
    assert!(slot.answer.body == body);
    assert!(server.seen()[0].ends_with(&body));
    assert_eq!(slot.set.open_connections(), 1);
}

#[tokio::test]
async fn the_name_in_the_url_is_asked_for_and_checked_wherever_it_leads() {
    let (config, pem) = certificate(&["shop.test"]);
    let server = Server::tls(vec![vec![Do::Read, send(OK), Do::Hang]], config).await;
    let url = format!("https://shop.test:{}/", server.address.port());
    let origin = Origin::from_url(0, &Url::parse(&url).unwrap()).unwrap();
    let fixed = Resolve {
        host: "shop.test".to_owned(),
        port: None,
        address: server.address.ip(),
    };
    let tls = TlsOptions {
        extra_roots_pem: Some(pem),
        ..TlsOptions::default()
    };
    let mut slot = Slot::with(EngineOptions::default(), &tls, &[fixed]);
    let result = slot.ask(&origin, Method::Get, PATIENCE_MS).await;
    assert_eq!(slot.word(&result), "200 ok", "{result:?}");
}

#[tokio::test]
async fn a_client_certificate_is_shown_to_who_asks_for_it() {
    for (shown, wanted) in [(true, "200 ok"), (false, "failed tls")] {
        let (config, identity) = certified(&["127.0.0.1"], true);
        let server = Server::tls(vec![vec![Do::Read, send(OK), Do::Hang]], config).await;
        let tls = TlsOptions {
            extra_roots_pem: Some(identity.0.clone()),
            client_identity_pem: shown.then_some(identity),
            ..TlsOptions::default()
        };
        let mut slot = Slot::with(EngineOptions::default(), &tls, &[]);
        let result = slot.ask(&server.origin(0), Method::Get, PATIENCE_MS).await;
        assert_eq!(slot.word(&result), wanted, "{result:?}");
        assert_eq!(server.seen().len(), usize::from(shown));
    }
}

#[tokio::test]
async fn a_new_connection_goes_on_with_the_session_of_the_last() {
    let (config, pem) = certificate(&["127.0.0.1"]);
    let server = Server::tls(vec![vec![Do::Read, send(OK), Do::Hang]], config).await;
    let tls = TlsOptions {
        extra_roots_pem: Some(pem),
        ..TlsOptions::default()
    };
    let options = EngineOptions {
        reuse: Reuse::Never,
        ..EngineOptions::default()
    };
    let mut slot = Slot::with(options, &tls, &[]);
    for resumed in 0..3 {
        let result = slot.ask(&server.origin(0), Method::Get, PATIENCE_MS).await;
        assert_eq!(slot.word(&result), "200 ok", "{result:?}");
        assert_eq!((server.accepted(), server.resumed()), (resumed + 1, resumed));
    }
}

#[tokio::test]
async fn what_a_handshake_leaves_behind_does_not_stay_where_the_shard_reads_ahead() {
    let (config, _) = certificate(&["127.0.0.1"]);
    let script = vec![Do::Read, send(OK), Do::Hang];
    let server = Server::tls(vec![script], config).await;
    let tls = TlsOptions {
        insecure: true,
        ..TlsOptions::default()
    };
    let mut slot = Slot::with(EngineOptions::default(), &tls, &[]);
    let (origin, reactor) = (server.origin(0), slot.reactor().unwrap());
    let later = slot.clock.now() + Duration::from_millis(PATIENCE_MS);
    driven(&reactor, slot.shared.warm(&origin, 3, later)).await;
    // The session tickets come after the handshake.
    for _ in 0..10 {
        tokio::time::sleep(Duration::from_millis(2)).await;
        reactor.look();
    }
    assert_eq!((slot.shared.open_connections(), reactor.held()), (3, 0));
    slot.ask(&origin, Method::Get, PATIENCE_MS).await.unwrap();
    let timings = slot.answer.timings;
    assert!(timings.tls.is_some() && timings.connect.is_some() && !slot.answer.reused);
}
