//! The full client against servers that send exact bytes.

use std::cell::Cell;
use std::convert::Infallible;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use barrage_model::plan::{Method, Resolve, Reuse};
use http::HeaderMap;
use http_body_util::Full;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use reqwest::cookie::CookieStore;
use reqwest::header::HeaderValue;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsAcceptor;
use tokio_util::task::AbortOnDropHandle;
use url::Url;

use super::cookies::SlotJar;
use crate::clock::Stamp;
use crate::engine::testing::{Do, Server, Slot, assert_times, certificate, certified, send, until};
use crate::engine::{EngineOptions, Failure, FullRequest, Limits, Request, Terms};
use crate::net::TlsOptions;
use crate::shard::Awake;

const PATIENCE_MS: u64 = 20_000;
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
/// `hello hello hello` through gzip.
const GZIPPED: [u8; 28] = [
    31, 139, 8, 0, 0, 0, 0, 0, 2, 3, 203, 72, 205, 201, 201, 87, 200, 64, 144, 0, 128, 136, 249, 229, 17, 0, 0, 0,
];

/// A request that differs from the usual one in a few fields.
#[derive(Clone, Copy, Default)]
struct Kind {
    redirects: u16,
    decompress: bool,
    timeout_ms: Option<u64>,
    body: &'static str,
    method: Option<Method>,
}

async fn ask(slot: &mut Slot, url: &str, kind: Kind) -> Result<(), Failure> {
    let mut headers = HeaderMap::new();
    headers.insert("x-user", "7".parse().unwrap());
    let request = FullRequest {
        method: kind.method.unwrap_or(if kind.body.is_empty() {
            Method::Get
        } else {
            Method::Post
        }),
        url,
        headers: &headers,
        body: kind.body.as_bytes(),
        decompress: kind.decompress,
        redirects: kind.redirects,
        terms: slot.terms(kind.timeout_ms.unwrap_or(PATIENCE_MS)),
    };
    let result = slot.exchange(&Request::Full(request)).await;
    assert_times(&slot.answer, &result);
    result
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).to_ascii_lowercase()
}

#[tokio::test]
async fn requests_follow_each_other_on_one_connection() {
    let mut script: Vec<_> = (0..20).flat_map(|_| [Do::Read, send(OK)]).collect();
    script.push(Do::Hang);
    for (reuse, connections) in [
        (Reuse::Always, 1),
        (Reuse::Never, 20),
        (Reuse::MaxRequests(5), 4),
        (Reuse::MaxRequests(1), 20),
        (Reuse::MaxAge(Duration::ZERO), 20),
    ] {
        let server = Server::start(vec![script.clone()]).await;
        let mut slot = Slot::new(EngineOptions {
            reuse,
            ..EngineOptions::default()
        });
        let mut reused = 0;
        for _ in 0..20 {
            let kind = Kind {
                body: "b",
                ..Kind::default()
            };
            let result = ask(&mut slot, &server.url("/p?q=1"), kind).await;
            assert_eq!(slot.word(&result), "200 ok", "{result:?}");
            reused += usize::from(slot.answer.reused);
            assert_eq!((slot.answer.wire_requests, slot.answer.wire), (1, None));
        }
        assert_eq!(
            (server.accepted(), 20 - reused),
            (connections, connections),
            "{reuse:?}"
        );
        let seen = text(&server.seen()[0]);
        assert!(
            seen.starts_with("post /p?q=1 http/1.1\r\n") && seen.contains("x-user: 7"),
            "{seen}"
        );
        assert!(
            seen.ends_with("\r\n\r\nb") && !seen.contains("accept-encoding"),
            "{seen}"
        );
    }
}

#[tokio::test]
async fn the_requests_of_one_target_do_not_wear_out_the_connection_to_another() {
    let mut script: Vec<_> = (0..20).flat_map(|_| [Do::Read, send(OK)]).collect();
    script.push(Do::Hang);
    for (reuse, connections) in [
        (Reuse::Always, 1),
        (Reuse::MaxRequests(3), 2),
        (Reuse::MaxRequests(1), 6),
        (Reuse::MaxAge(Duration::from_mins(1)), 1),
        (Reuse::MaxAge(Duration::ZERO), 6),
    ] {
        let servers = [
            Server::start(vec![script.clone()]).await,
            Server::start(vec![script.clone()]).await,
        ];
        let mut slot = Slot::new(EngineOptions {
            reuse,
            ..EngineOptions::default()
        });
        for at in 0..6 {
            for server in &servers {
                let path = ["", "/", "/p?q=1", "?q=1"][at % 4];
                let result = ask(&mut slot, &server.url(path), Kind::default()).await;
                assert_eq!(slot.word(&result), "200 ok", "{reuse:?}: {result:?}");
            }
        }
        let accepted = servers.each_ref().map(Server::accepted);
        assert_eq!(accepted, [connections; 2], "{reuse:?}");
    }
}

#[tokio::test]
async fn redirects_are_followed_and_counted_up_to_the_limit() {
    let hop = send("HTTP/1.1 302 Found\r\nLocation: /next\r\nContent-Length: 0\r\n\r\n");
    for (redirects, wanted, on_wire) in [(0, "302 ", 1), (1, "302 ", 2), (2, "200 ok", 3), (9, "200 ok", 3)] {
        let script = vec![
            Do::Read,
            hop.clone(),
            Do::Read,
            hop.clone(),
            Do::Read,
            send(OK),
            Do::Hang,
        ];
        let server = Server::start(vec![script]).await;
        let mut slot = Slot::new(EngineOptions::default());
        let result = ask(
            &mut slot,
            &server.url("/"),
            Kind {
                redirects,
                ..Kind::default()
            },
        )
        .await;
        assert_eq!(slot.word(&result), wanted, "{redirects}: {result:?}");
        assert_eq!(
            (slot.answer.wire_requests, server.seen().len()),
            (on_wire, on_wire as usize),
            "{redirects}"
        );
    }
}

#[tokio::test]
async fn a_redirect_that_cannot_be_followed_is_the_answer() {
    for location in [
        "myapp://callback",
        "ftp://127.0.0.1/x",
        "mailto:x@example.test",
        "mailto:x",
        "javascript:1",
        "javascript:void(0)",
        "data:text/plain,x",
        "about:blank",
        "http://",
        "http://[",
        "http://a b/",
    ] {
        let away = format!("HTTP/1.1 302 Found\r\nLocation: {location}\r\nContent-Length: 4\r\n\r\naway");
        let script = vec![Do::Read, send(&away), Do::Read, send(OK), Do::Hang];
        let server = Server::start(vec![script]).await;
        let mut slot = Slot::new(EngineOptions::default());
        let kind = Kind {
            redirects: 5,
            ..Kind::default()
        };
        let result = ask(&mut slot, &server.url("/"), kind).await;
        assert_eq!(slot.word(&result), "302 away", "{location}: {result:?}");
        assert_eq!(slot.answer.wire_requests, 1, "{location}");
        assert_eq!(slot.answer.headers.get("location"), Some(location.as_bytes()));
        let result = ask(&mut slot, &server.url("/"), kind).await;
        assert_eq!(slot.word(&result), "200 ok", "{location}: {result:?}");
    }
}

#[tokio::test]
async fn an_empty_body_has_a_length_where_the_method_would_have_one() {
    let hop = send("HTTP/1.1 303 See Other\r\nLocation: /next\r\nContent-Length: 0\r\n\r\n");
    for (method, lengths) in [
        (Method::Post, 1),
        (Method::Put, 1),
        (Method::Patch, 1),
        (Method::Get, 0),
        (Method::Delete, 0),
        (Method::Options, 0),
    ] {
        let server = Server::start(vec![vec![Do::Read, hop.clone(), Do::Read, send(OK), Do::Hang]]).await;
        let mut slot = Slot::new(EngineOptions::default());
        let kind = Kind {
            redirects: 1,
            method: Some(method),
            ..Kind::default()
        };
        let result = ask(&mut slot, &server.url("/"), kind).await;
        assert_eq!(slot.word(&result), "200 ok", "{method:?}: {result:?}");
        let carried: Vec<_> = server
            .seen()
            .iter()
            .map(|request| text(request).matches("\r\ncontent-length: 0\r\n").count())
            .collect();
        assert_eq!(carried, [lengths, 0], "{method:?}");
    }
}

#[tokio::test]
async fn cookies_are_the_users_and_are_forgotten_with_the_user() {
    let set = send("HTTP/1.1 200 OK\r\nSet-Cookie: id=42; Path=/\r\nContent-Length: 0\r\n\r\n");
    let script = vec![Do::Read, set, Do::Read, send(OK), Do::Read, send(OK), Do::Hang];
    for cookies in [true, false] {
        let server = Server::start(vec![script.clone()]).await;
        let mut slot = Slot::new(EngineOptions {
            cookies,
            ..EngineOptions::default()
        });
        for step in 0..3 {
            if step == 2 {
                let url = Url::parse(&server.url("/")).unwrap();
                assert_eq!(slot.set.cookies(&url), cookies.then(|| b"id=42".to_vec()));
                slot.set.replace_cookies(None);
                assert_eq!(slot.set.cookies(&url), None);
            }
            ask(&mut slot, &server.url("/"), Kind::default()).await.unwrap();
        }
        let carried: Vec<_> = server
            .seen()
            .iter()
            .map(|request| text(request).contains("cookie: id=42"))
            .collect();
        assert_eq!(carried, [false, cookies, false]);
        assert_eq!(server.accepted(), 1, "a new user keeps the connection");
    }
}

#[tokio::test]
async fn compressed_answers_are_undone_when_asked() {
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {}\r\n\r\n",
        GZIPPED.len()
    );
    let answer = [head.as_bytes(), &GZIPPED].concat();
    let mut damaged = answer.clone();
    damaged[head.len() + 12] ^= 0xff;
    for (bytes, decompress, body, asked) in [
        (&answer, true, Some(&b"hello hello hello"[..]), true),
        (&answer, false, Some(&GZIPPED[..]), false),
        (&damaged, true, None, true),
    ] {
        let server = Server::start(vec![vec![Do::Read, Do::Send(bytes.clone()), Do::Hang]]).await;
        let mut slot = Slot::new(EngineOptions::default());
        let result = ask(
            &mut slot,
            &server.url("/"),
            Kind {
                decompress,
                ..Kind::default()
            },
        )
        .await;
        match body {
            Some(body) => {
                assert_eq!(slot.answer.body, body);
                assert_eq!(slot.answer.body_bytes_in, body.len() as u64);
            }
            None => assert_eq!(slot.word(&result), "failed protocol", "{result:?}"),
        }
        assert_eq!(text(&server.seen()[0]).contains("accept-encoding: "), asked);
    }
}

#[tokio::test]
async fn a_proxy_gets_every_request() {
    let proxy = Server::start(vec![vec![Do::Read, send(OK), Do::Hang]]).await;
    let mut slot = Slot::new(EngineOptions {
        proxy: Some(proxy.url("")),
        ..EngineOptions::default()
    });
    let result = ask(&mut slot, "http://shop.invalid/x", Kind::default()).await;
    assert_eq!(slot.word(&result), "200 ok", "{result:?}");
    assert!(text(&proxy.seen()[0]).starts_with("get http://shop.invalid/x http/1.1\r\n"));
}

#[tokio::test]
async fn fixed_names_hold_here_too() {
    let server = Server::start(vec![vec![Do::Read, send(OK), Do::Hang]]).await;
    let port = server.address.port();
    let fixed = Resolve {
        host: "shop.invalid".to_owned(),
        port: Some(port),
        address: server.address.ip(),
    };
    let mut slot = Slot::with(EngineOptions::default(), &TlsOptions::default(), &[fixed]);
    let result = ask(&mut slot, &format!("http://shop.invalid:{port}/"), Kind::default()).await;
    assert_eq!(slot.word(&result), "200 ok", "{result:?}");
}

#[tokio::test]
async fn http2_is_spoken_where_the_server_chooses_it() {
    let (mut config, _) = certificate(&["127.0.0.1"]);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let accepted = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&accepted);
    let _server = AbortOnDropHandle::new(tokio::spawn(async move {
        let mut connections = tokio::task::JoinSet::new();
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            count.fetch_add(1, Ordering::SeqCst);
            let acceptor = acceptor.clone();
            connections.spawn(async move {
                let stream = acceptor.accept(stream).await.unwrap();
                let service = service_fn(|request: http::Request<hyper::body::Incoming>| {
                    let said = format!("{:?} {}", request.version(), request.uri().path());
                    std::future::ready(Ok::<_, Infallible>(http::Response::new(Full::new(bytes::Bytes::from(
                        said,
                    )))))
                });
                let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                let _ = builder.serve_connection(TokioIo::new(stream), service).await;
            });
        }
    }));
    let trusting = TlsOptions {
        insecure: true,
        ..TlsOptions::default()
    };
    let mut slot = Slot::with(EngineOptions::default(), &trusting, &[]);
    for _ in 0..3 {
        let result = ask(&mut slot, &format!("https://{address}/two"), Kind::default()).await;
        assert_eq!(slot.word(&result), "200 HTTP/2.0 /two", "{result:?}");
    }
    assert_eq!(accepted.load(Ordering::SeqCst), 1);
}

fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
    let head = [0, 0, payload.len() as u8, kind, flags, 0, 0, 0, stream];
    [&head[..], payload].concat()
}

/// A server that chooses HTTP/2 and sends frames as the script says, and a slot that trusts it.
async fn framing(script: Vec<Do>) -> (Server, Slot) {
    let (mut config, _) = certificate(&["127.0.0.1"]);
    config.alpn_protocols = vec![b"h2".to_vec()];
    let trusting = TlsOptions {
        insecure: true,
        ..TlsOptions::default()
    };
    let server = Server::tls(vec![script], config).await;
    (server, Slot::with(EngineOptions::default(), &trusting, &[]))
}

const SETTINGS: [u8; 9] = [0, 0, 0, 4, 0, 0, 0, 0, 0];
/// `:status: 200`, and the same with `content-length: 5`.
const OK_ANY: &[u8] = b"\x88";
const OK_FIVE: &[u8] = b"\x88\x0f\x0d\x015";

#[tokio::test]
async fn a_stream_that_was_cut_short_is_no_answer_though_the_reset_is_no_error() {
    let (head, data) = (
        |fields: &[u8]| frame(1, 4, 1, fields),
        |text: &[u8]| frame(0, 0, 1, text),
    );
    let no_error = || frame(3, 0, 1, &[0; 4]);
    let table = [
        (
            Method::Get,
            vec![head(OK_FIVE), data(b"hel"), no_error()],
            "failed reset",
        ),
        (
            Method::Post,
            vec![head(OK_FIVE), data(b"hel"), no_error()],
            "failed reset",
        ),
        (Method::Get, vec![head(OK_FIVE), no_error()], "failed reset"),
        (
            Method::Get,
            vec![head(OK_FIVE), data(b"hello"), no_error()],
            "200 hello",
        ),
        (
            Method::Get,
            vec![head(OK_FIVE), data(b"hel"), frame(3, 0, 1, &[0, 0, 0, 2])],
            "failed reset",
        ),
        (
            Method::Get,
            vec![head(OK_FIVE), data(b"hel"), frame(0, 1, 1, b"lo")],
            "200 hello",
        ),
        (
            Method::Get,
            vec![head(OK_ANY), data(b"hel"), frame(0, 1, 1, b"lo")],
            "200 hello",
        ),
        (
            Method::Get,
            vec![head(OK_ANY), frame(0, 1, 1, b"hello"), no_error()],
            "200 hello",
        ),
        (Method::Head, vec![frame(1, 5, 1, OK_FIVE)], "200 "),
        // `:status: 304`
        (Method::Get, vec![frame(1, 5, 1, b"\x8b\x0f\x0d\x015")], "304 "),
    ];
    for (method, frames, wanted) in table {
        for pause in [Duration::ZERO, Duration::from_millis(20)] {
            let mut script = vec![Do::ReadHttp2, Do::Send(SETTINGS.to_vec())];
            for frame in frames.clone() {
                script.extend([Do::Send(frame), Do::Wait(pause)]);
            }
            script.push(Do::Hang);
            let (server, mut slot) = framing(script).await;
            let kind = Kind {
                method: Some(method),
                ..Kind::default()
            };
            let result = ask(&mut slot, &server.url("/"), kind).await;
            assert_eq!(
                slot.word(&result),
                wanted,
                "{method:?} {frames:?} {pause:?}: {result:?}"
            );
        }
    }
}

#[tokio::test]
async fn a_farewell_with_an_error_is_no_idle_close() {
    for (reason, wanted) in [(0, "failed closed_on_reuse"), (11, "failed reset")] {
        let script = vec![
            Do::ReadHttp2,
            Do::Send([&SETTINGS[..], &frame(1, 5, 1, OK_ANY)].concat()),
            Do::ReadHttp2,
            Do::Send(frame(7, 0, 0, &[0, 0, 0, 1, 0, 0, 0, reason])),
            Do::Hang,
        ];
        let (server, mut slot) = framing(script).await;
        let result = ask(&mut slot, &server.url("/"), Kind::default()).await;
        assert_eq!(slot.word(&result), "200 ", "{result:?}");
        let result = ask(&mut slot, &server.url("/"), Kind::default()).await;
        assert_eq!(slot.word(&result), wanted, "{reason}: {result:?}");
        assert_eq!(server.accepted(), 1);
    }
}

#[tokio::test]
async fn a_connection_that_has_gone_silent_is_used_by_nobody_else() {
    let answer = |stream| Do::Send(frame(1, 5, stream, OK_ANY));
    let settings = || Do::Send(SETTINGS.to_vec());
    let (mut config, _) = certificate(&["127.0.0.1"]);
    config.alpn_protocols = vec![b"h2".to_vec()];
    let trusting = TlsOptions {
        insecure: true,
        ..TlsOptions::default()
    };
    let silent = vec![Do::ReadHttp2, settings(), answer(1), Do::Hang];
    let well = vec![Do::ReadHttp2, settings(), answer(1), Do::Hang];
    let server = Server::tls(vec![silent, well], config).await;
    let mut slot = Slot::with(EngineOptions::default(), &trusting, &[]);
    for (timeout_ms, wanted) in [(PATIENCE_MS, "200 "), (100, "timeout"), (PATIENCE_MS, "200 ")] {
        let kind = Kind {
            timeout_ms: Some(timeout_ms),
            ..Kind::default()
        };
        let result = ask(&mut slot, &server.url("/"), kind).await;
        assert_eq!(slot.word(&result), wanted, "{result:?}");
    }
    assert_eq!(server.accepted(), 2);
}

#[tokio::test]
async fn a_server_that_refuses_after_the_handshake_refuses_the_handshake() {
    for protocol in ["h2", "http/1.1"] {
        // It asks for a certificate, of which there is none, and says so when the client takes the handshake to be over.
        let (mut config, _) = certified(&["127.0.0.1"], true);
        config.alpn_protocols = vec![protocol.into()];
        let trusting = TlsOptions {
            insecure: true,
            ..TlsOptions::default()
        };
        let server = Server::tls(vec![vec![Do::Hang]], config).await;
        let mut slot = Slot::with(EngineOptions::default(), &trusting, &[]);
        let result = ask(&mut slot, &server.url("/"), Kind::default()).await;
        assert_eq!(slot.word(&result), "failed tls", "{protocol}: {result:?}");
    }
}

#[tokio::test]
async fn failures_have_the_same_classes_as_in_the_raw_engine() {
    let half = send("HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\nhalf");
    let chunk = send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nab");
    let bad_chunk = send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n");
    let long = send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\n123456789\r\n");
    let table = [
        (vec![Do::Read, Do::Cut], "failed reset"),
        (vec![Do::Read, Do::Reset], "failed reset"),
        (vec![Do::Read, send("HTTP/1.1 200 OK\r\nX"), Do::Cut], "failed reset"),
        (vec![Do::Read, half.clone(), Do::Cut], "failed reset"),
        (vec![Do::Read, half, Do::Reset], "failed reset"),
        (vec![Do::Read, chunk, Do::Cut], "failed reset"),
        (vec![Do::Read, bad_chunk, Do::Hang], "failed protocol"),
        (vec![Do::Read, send("SSH-2.0-x\r\n\r\n"), Do::Hang], "failed protocol"),
        (vec![Do::Read, long, Do::Hang], "failed protocol"),
        (
            vec![Do::Read, send("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n"), Do::Hang],
            "failed protocol",
        ),
        (vec![Do::Hang], "timeout"),
        (
            vec![
                Do::Read,
                send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell"),
                Do::Hang,
            ],
            "timeout",
        ),
    ];
    for (script, wanted) in table {
        let shown = format!("{script:?}");
        let server = Server::start(vec![script]).await;
        let limits = Limits {
            body_bytes: 8,
            ..Limits::default()
        };
        let mut slot = Slot::new(EngineOptions {
            limits,
            ..EngineOptions::default()
        });
        let limit_ms = if wanted == "timeout" { 150 } else { PATIENCE_MS };
        let kind = Kind {
            timeout_ms: Some(limit_ms),
            ..Kind::default()
        };
        let wanted = if shown.contains("Content-Length: 9\\r\\n\\r\\nhalf") {
            "failed reset"
        } else {
            wanted
        };
        let result = ask(&mut slot, &server.url("/?secret=1"), kind).await;
        assert_eq!(slot.word(&result), wanted, "{shown}: {result:?}");
        let failure = result.unwrap_err();
        assert!(!failure.message.contains("secret"), "{failure}");
        assert_eq!(
            (server.accepted(), slot.answer.wire_requests),
            (1, 1),
            "nothing is sent twice: {shown}"
        );
    }
}

#[tokio::test]
async fn failures_before_the_request_say_that_nothing_was_sent() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let plain = Server::start(vec![vec![Do::Cut]]).await;
    let garbage = Server::start(vec![vec![send("HTTP/1.1 400 Bad\r\n\r\n"), Do::Hang]]).await;
    let silent = Server::start(vec![vec![Do::Hang]]).await;
    let (config, _) = certificate(&["127.0.0.1"]);
    let stranger = Server::tls(vec![vec![Do::Read, send(OK), Do::Hang]], config).await;
    let table = [
        (format!("http://{closed}/"), "failed connect"),
        ("http://no-such-host.invalid/".to_owned(), "failed dns"),
        (stranger.url("/"), "failed tls"),
        (format!("https://{}/", plain.address), "failed tls"),
        (format!("https://{}/", garbage.address), "failed tls"),
        (format!("https://{}/", silent.address), "timeout"),
    ];
    for (url, wanted) in table {
        let mut slot = Slot::new(EngineOptions::default());
        let timeout_ms = (wanted == "timeout").then_some(150);
        let result = ask(
            &mut slot,
            &url,
            Kind {
                timeout_ms,
                ..Kind::default()
            },
        )
        .await;
        assert_eq!(slot.word(&result), wanted, "{url}: {result:?}");
        assert_eq!(
            (slot.answer.sent_at, slot.answer.wire_requests, slot.answer.reused),
            (None, 0, false)
        );
    }
}

#[tokio::test]
async fn a_kept_connection_that_breaks_before_the_answer_is_its_own_class() {
    for end in [Do::Cut, Do::Reset] {
        let server = Server::start(vec![vec![Do::Read, send(OK), Do::Read, end], vec![Do::Hang]]).await;
        let mut slot = Slot::new(EngineOptions::default());
        ask(&mut slot, &server.url("/"), Kind::default()).await.unwrap();
        let result = ask(&mut slot, &server.url("/"), Kind::default()).await;
        assert_eq!(slot.word(&result), "failed closed_on_reuse", "{result:?}");
        assert_eq!((server.accepted(), server.seen().len()), (1, 2), "never sent again");
    }
}

#[tokio::test]
async fn trusted_and_insecure_tls_work_as_in_the_raw_engine() {
    let (config, pem) = certificate(&["127.0.0.1"]);
    let server = Server::tls(vec![vec![Do::Read, send(OK), Do::Hang]], config).await;
    for tls in [
        TlsOptions {
            extra_roots_pem: Some(pem),
            ..TlsOptions::default()
        },
        TlsOptions {
            insecure: true,
            ..TlsOptions::default()
        },
    ] {
        let mut slot = Slot::with(EngineOptions::default(), &tls, &[]);
        let result = ask(&mut slot, &server.url("/"), Kind::default()).await;
        assert_eq!(slot.word(&result), "200 ok", "{result:?}");
    }
}

#[tokio::test]
async fn nothing_is_sent_after_the_grant_has_ended() {
    let server = Server::start(vec![vec![Do::Hang]]).await;
    let mut slot = Slot::new(EngineOptions::default());
    let mut terms = slot.terms(PATIENCE_MS);
    let granted = Cell::new(Some(slot.clock.now() - Duration::from_millis(1)));
    terms.send_by = Some(&granted);
    let url = server.url("/");
    let request = FullRequest {
        method: Method::Get,
        url: &url,
        headers: &HeaderMap::new(),
        body: b"",
        decompress: false,
        redirects: 0,
        terms,
    };
    let result = slot.exchange(&Request::Full(request)).await;
    assert_eq!(slot.word(&result), "expired");
    assert_eq!((server.accepted(), slot.answer.wire_requests), (0, 0));
}

fn plain<'a>(url: &'a str, headers: &'a HeaderMap, redirects: u16, terms: Terms<'a>) -> Request<'a> {
    Request::Full(FullRequest {
        method: Method::Get,
        url,
        headers,
        body: b"",
        decompress: false,
        redirects,
        terms,
    })
}

#[tokio::test]
async fn an_answer_that_is_read_after_its_deadline_is_a_timeout() {
    let server = Server::start(vec![vec![Do::Read, send(OK), Do::Hang]]).await;
    let mut slot = Slot::new(EngineOptions::default());
    let (url, headers, terms) = (server.url("/"), HeaderMap::new(), slot.terms(200));
    let request = plain(&url, &headers, 0, terms);
    let (clock, mut stalled) = (slot.clock, false);
    slot.answer.clear(clock.now());
    let result = {
        let mut work = pin!(slot.set.exchange(&request, &mut slot.answer));
        poll_fn(|cx| {
            // The generator stands still right before it looks at the answer.
            if !stalled && server.seen().len() == 1 {
                stalled = true;
                std::thread::sleep(terms.deadline.since(clock.now()) + Duration::from_millis(20));
            }
            work.as_mut().poll(cx)
        })
        .await
    };
    assert!(stalled);
    assert_eq!(slot.word(&result), "timeout", "{result:?}");
    assert_eq!((slot.answer.status, slot.answer.wire_requests), (200, 1));
    assert_times(&slot.answer, &result);
}

/// A TLS server that lets its clients wait before it shakes hands; counts the requests it has seen.
async fn hesitant(wait: Duration) -> (String, Arc<AtomicUsize>, AbortOnDropHandle<()>) {
    let (config, _) = certificate(&["127.0.0.1"]);
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}/", listener.local_addr().unwrap());
    let seen = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&seen);
    let task = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        tokio::time::sleep(wait).await;
        let Ok(mut stream) = acceptor.accept(stream).await else {
            return;
        };
        if stream.read_u8().await.is_ok() {
            count.fetch_add(1, Ordering::SeqCst);
            stream.write_all(OK.as_bytes()).await.unwrap();
            stream.flush().await.unwrap();
            std::future::pending::<()>().await;
        }
    });
    (url, seen, AbortOnDropHandle::new(task))
}

#[tokio::test]
async fn connecting_is_no_part_of_the_service() {
    const HANDSHAKE: Duration = Duration::from_millis(400);
    let trusting = TlsOptions {
        insecure: true,
        ..TlsOptions::default()
    };
    let (url, _, _server) = hesitant(HANDSHAKE).await;
    let hop = format!("HTTP/1.1 302 Found\r\nLocation: {url}\r\nContent-Length: 0\r\n\r\n");
    let first = Server::start(vec![vec![Do::Read, send(&hop), Do::Hang]]).await;
    let (direct, _, _direct) = hesitant(HANDSHAKE).await;
    // The hop of a redirect is part of what the first request was answered with.
    for (url, waits_before) in [(direct, true), (first.url("/"), false)] {
        let mut slot = Slot::with(EngineOptions::default(), &trusting, &[]);
        let kind = Kind {
            redirects: 1,
            ..Kind::default()
        };
        let result = ask(&mut slot, &url, kind).await;
        assert_eq!(slot.word(&result), "200 ok", "{result:?}");
        let answer = &slot.answer;
        let sent_at = answer.sent_at.unwrap();
        let (before, service) = (sent_at.since(answer.began_at), answer.done_at.since(sent_at));
        let waited = if waits_before { before } else { service };
        assert!(waited >= HANDSHAKE, "{url}: {before:?} {service:?}");
        assert!(before + service < HANDSHAKE * 2, "{url}: {before:?} {service:?}");
        assert!(answer.timings.first_byte.unwrap() <= service);
    }
}

#[tokio::test]
async fn a_grant_that_ends_while_connecting_is_the_end_of_the_request() {
    const HANDSHAKE: Duration = Duration::from_millis(400);
    let trusting = TlsOptions {
        insecure: true,
        ..TlsOptions::default()
    };
    // (the grant's end in milliseconds, whether it is renewed before that, the time limit, the result)
    for (granted_ms, renewed, timeout_ms, wanted) in [
        (100, false, PATIENCE_MS, "expired"),
        (100, false, 200, "expired"),
        (200, false, 100, "timeout"),
        (200, true, PATIENCE_MS, "200 ok"),
    ] {
        let (url, seen, _server) = hesitant(HANDSHAKE).await;
        let mut slot = Slot::with(EngineOptions::default(), &trusting, &[]);
        let granted = Cell::new(Some(slot.clock.now() + Duration::from_millis(granted_ms)));
        let (headers, mut terms) = (HeaderMap::new(), slot.terms(timeout_ms));
        terms.send_by = Some(&granted);
        let request = plain(&url, &headers, 0, terms);
        let renewal = async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            if renewed {
                granted.set(None);
            }
            std::future::pending::<Result<(), Failure>>().await
        };
        let result = tokio::select! {
            result = slot.exchange(&request) => result,
            never = renewal => never,
        };
        let shown = format!("{granted_ms} {renewed} {timeout_ms}: {result:?}");
        assert_eq!(slot.word(&result), wanted, "{shown}");
        assert_times(&slot.answer, &result);
        let sent = u32::from(result.is_ok());
        assert_eq!(
            (slot.answer.wire_requests, slot.answer.sent_at.is_some()),
            (sent, sent == 1),
            "{shown}"
        );
        if sent == 0 {
            let took = slot.answer.done_at.since(slot.answer.began_at);
            assert!(took < HANDSHAKE, "{shown} after {took:?}");
            tokio::time::sleep(HANDSHAKE).await;
        }
        assert_eq!(seen.load(Ordering::SeqCst), sent as usize, "{shown}");
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed_after_the_grant_has_ended() {
    const HANDSHAKE: Duration = Duration::from_millis(400);
    let trusting = TlsOptions {
        insecure: true,
        ..TlsOptions::default()
    };
    // (the end of the grant after the first request was seen, the result, the requests on the wire)
    for (left_us, wanted, on_wire) in [(i64::MAX, "200 ok", 2), (-1, "expired", 1), (100_000, "expired", 1)] {
        let (url, seen, _server) = hesitant(HANDSHAKE).await;
        let hop = format!("HTTP/1.1 302 Found\r\nLocation: {url}\r\nContent-Length: 0\r\n\r\n");
        let first = Server::start(vec![vec![Do::Read, send(&hop), Do::Hang]]).await;
        let mut slot = Slot::with(EngineOptions::default(), &trusting, &[]);
        let granted = Cell::new(Some(Stamp::FAR));
        let (headers, mut terms) = (HeaderMap::new(), slot.terms(PATIENCE_MS));
        terms.send_by = Some(&granted);
        let (to_first, clock) = (first.url("/"), slot.clock);
        let request = plain(&to_first, &headers, 1, terms);
        slot.answer.clear(clock.now());
        let result = {
            let mut work = pin!(slot.set.exchange(&request, &mut slot.answer));
            poll_fn(|cx| {
                if granted.get() == Some(Stamp::FAR) && first.seen().len() == 1 {
                    granted.set(Some(Stamp::from_us(clock.now().as_us().saturating_add_signed(left_us))));
                }
                work.as_mut().poll(cx)
            })
            .await
        };
        let shown = format!("{left_us}: {result:?}");
        assert_eq!(slot.word(&result), wanted, "{shown}");
        assert_eq!(
            (slot.answer.wire_requests, slot.answer.sent_at.is_some()),
            (on_wire, true),
            "{shown}"
        );
        if on_wire == 1 {
            let took = slot.answer.done_at.since(slot.answer.began_at);
            assert!(took < HANDSHAKE, "{shown} after {took:?}");
            tokio::time::sleep(HANDSHAKE).await;
        }
        assert_eq!(seen.load(Ordering::SeqCst) as u32, on_wire - 1, "{shown}");
    }
}

/// Asks in the place of a generator that stands still over the deadline before one of its turns.
async fn standing_still(
    slot: &mut Slot,
    request: &Request<'_>,
    deadline: Stamp,
    now_is_when: impl Fn(u32) -> bool,
) -> Result<(), Failure> {
    let (clock, mut turns, mut stood) = (slot.clock, 0, false);
    slot.answer.clear(clock.now());
    let result = {
        let mut work = pin!(slot.set.exchange(request, &mut slot.answer));
        poll_fn(|cx| {
            if !stood && now_is_when(turns) {
                stood = true;
                std::thread::sleep(deadline.since(clock.now()) + Duration::from_millis(20));
            }
            turns += 1;
            work.as_mut().poll(cx)
        })
        .await
    };
    assert!(stood, "{result:?}");
    assert_times(&slot.answer, &result);
    result
}

#[tokio::test]
async fn a_connection_that_a_standstill_hid_is_told_from_one_that_is_not_made() {
    const LATE: &str = "timed out before the request could be sent";
    let tls = |alpn: &[&[u8]]| {
        let (mut config, _) = certificate(&["127.0.0.1"]);
        config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
        Some(config)
    };
    let answers = || vec![Do::Read, send(OK), Do::Hang];
    let table = [
        ("http", answers(), None, "timeout", LATE),
        ("https", answers(), tls(&[]), "timeout", LATE),
        ("https", vec![Do::ReadHttp2, Do::Hang], tls(&[b"h2"]), "timeout", LATE),
        // These do not answer the handshake, or refuse it.
        ("https", vec![Do::Hang], None, "timeout", "timed out while connecting"),
        ("https", vec![Do::Cut], None, "failed tls", ""),
    ];
    let trusting = TlsOptions {
        insecure: true,
        ..TlsOptions::default()
    };
    for (scheme, script, config, wanted, message) in table {
        for redirected in [false, true] {
            let server = Server::on("127.0.0.1:0", vec![script.clone()], config.clone()).await;
            let server = server.unwrap();
            let target = format!("{scheme}://{}/", server.address);
            let hop = format!("HTTP/1.1 302 Found\r\nLocation: {target}\r\nContent-Length: 0\r\n\r\n");
            let first = Server::start(vec![vec![Do::Read, send(&hop), Do::Hang]]).await;
            let url = if redirected { first.url("/") } else { target };
            // The connection of a redirect in the clear may be there before anybody could stand still.
            if redirected && (scheme == "http" || wanted != "timeout") {
                continue;
            }
            let mut slot = Slot::with(EngineOptions::default(), &trusting, &[]);
            let (awake, headers, mut terms) = (Awake::default(), HeaderMap::new(), slot.terms(1_000));
            awake.told(slot.clock.now());
            terms.awake = Some(&awake);
            let request = plain(&url, &headers, 1, terms);
            let connecting = |turns| match scheme {
                "http" => turns == 1,
                _ => server.accepted() == 1,
            };
            let result = standing_still(&mut slot, &request, terms.deadline, connecting).await;
            let shown = format!("{scheme} {script:?} {redirected}: {result:?}");
            assert_eq!(slot.word(&result), wanted, "{shown}");
            let sent = u32::from(redirected);
            assert_eq!((slot.answer.wire_requests, server.seen().len()), (sent, 0), "{shown}");
            let failure = result.unwrap_err();
            assert!(failure.message.starts_with(message), "{shown}");
            let late = Duration::from_micros(failure.read_late_us.into());
            if message == LATE {
                assert_eq!(slot.answer.done_at - late, terms.deadline, "{shown}");
            } else {
                assert_eq!(late, Duration::ZERO, "{shown}");
            }
        }
    }
}

#[tokio::test]
async fn a_redirect_that_is_read_after_the_deadline_is_not_followed() {
    let hop = send("HTTP/1.1 302 Found\r\nLocation: /next\r\nContent-Length: 0\r\n\r\n");
    let server = Server::start(vec![vec![Do::Read, hop, Do::Read, send(OK), Do::Hang]]).await;
    let mut slot = Slot::new(EngineOptions::default());
    let (url, headers, terms) = (server.url("/"), HeaderMap::new(), slot.terms(200));
    let request = plain(&url, &headers, 1, terms);
    let answered = |_| server.seen().len() == 1;
    let result = standing_still(&mut slot, &request, terms.deadline, answered).await;
    assert_eq!(slot.word(&result), "timeout", "{result:?}");
    let failure = result.unwrap_err();
    assert_eq!(**failure.message, *"timed out before the redirect could be followed");
    let late = Duration::from_micros(failure.read_late_us.into());
    assert_eq!(slot.answer.done_at - late, terms.deadline);
    assert_eq!((slot.answer.wire_requests, server.seen().len()), (1, 1));
}

#[tokio::test]
async fn what_was_sent_is_counted_when_the_exchange_is_given_up() {
    let hop = send("HTTP/1.1 302 Found\r\nLocation: /next\r\nContent-Length: 0\r\n\r\n");
    let once = vec![Do::Read, Do::Hang];
    let table = [
        ("http", once.clone(), 1),
        ("http", vec![Do::Read, hop, Do::Read, Do::Hang], 2),
        // The handshake is never answered.
        ("https", vec![Do::Hang], 0),
    ];
    for (scheme, script, sent) in table {
        let server = Server::start(vec![script]).await;
        let mut slot = Slot::new(EngineOptions::default());
        let (url, headers) = (format!("{scheme}://{}/", server.address), HeaderMap::new());
        let request = plain(&url, &headers, 5, slot.terms(PATIENCE_MS));
        tokio::select! {
            result = slot.exchange(&request) => panic!("{result:?}"),
            () = until(|| server.accepted() == 1 && server.seen().len() == sent) => {}
        }
        let answer = &slot.answer;
        assert_eq!(
            (answer.wire_requests as usize, answer.sent_at.is_some()),
            (sent, sent > 0),
            "{scheme} {sent}"
        );
    }
}

#[tokio::test]
async fn names_that_are_fixed_by_port_lead_to_the_address_of_the_port() {
    let script = vec![Do::Read, send(OK), Do::Hang];
    let first = Server::start(vec![script.clone()]).await;
    let second = Server::on("127.0.0.2:0", vec![script], None).await.unwrap();
    let to_second = format!("http://shop.invalid:{}/", second.address.port());
    let hop = format!("HTTP/1.1 302 Found\r\nLocation: {to_second}\r\nContent-Length: 0\r\n\r\n");
    let leads_on = Server::start(vec![vec![Do::Read, send(&hop), Do::Hang]]).await;
    let fixed: Vec<_> = [&leads_on, &first, &second]
        .map(|server| Resolve {
            host: "shop.invalid".to_owned(),
            port: Some(server.address.port()),
            address: server.address.ip(),
        })
        .into();
    let to_first = format!("http://shop.invalid:{}/", leads_on.address.port());
    let proxy = format!("http://shop.invalid:{}", second.address.port());
    for (url, proxy, reached) in [
        (&to_second, None, 1),
        (&to_first, None, 2),
        (&"http://other.invalid/".to_owned(), Some(proxy), 3),
    ] {
        let options = EngineOptions {
            proxy,
            ..EngineOptions::default()
        };
        let mut slot = Slot::with(options, &TlsOptions::default(), &fixed);
        let kind = Kind {
            redirects: 1,
            ..Kind::default()
        };
        let result = ask(&mut slot, url, kind).await;
        assert_eq!(slot.word(&result), "200 ok", "{url}: {result:?}");
        assert_eq!(second.accepted(), reached, "{url}");
    }
    assert_eq!(first.accepted(), 0);
}

#[test]
fn cookies_may_have_letters_beyond_ascii() {
    let (jar, url) = (SlotJar::default(), Url::parse("http://shop.test/").unwrap());
    for field in ["name=Zo\u{eb}".as_bytes(), b"bad=\xff", b"id=1"] {
        let field = HeaderValue::from_bytes(field).unwrap();
        jar.set_cookies(&mut std::iter::once(&field), &url);
    }
    let sent = String::from_utf8(jar.cookies(&url).unwrap().as_bytes().to_vec()).unwrap();
    let mut sent: Vec<&str> = sent.split("; ").collect();
    sent.sort_unstable();
    assert_eq!(sent, ["id=1", "name=Zo\u{eb}"]);
}

#[test]
fn a_users_cookies_are_bounded_until_they_are_forgotten() {
    const BOUND: usize = 256 * 1024;
    let (jar, url) = (SlotJar::default(), Url::parse("http://shop.test/a/b").unwrap());
    let set = |text: String| jar.set_cookies(&mut [&HeaderValue::from_str(&text).unwrap()].into_iter(), &url);
    let carried = || {
        jar.cookies(&url)
            .map_or(String::new(), |value| value.to_str().unwrap().to_owned())
    };
    let long = "x".repeat(200);
    // What is set anew takes the place of what it replaces, however often.
    for n in 0..3_000 {
        set(format!("session={n}-{long}; Path=/"));
    }
    assert_eq!(carried(), format!("session=2999-{long}"));
    for n in 0..3_000 {
        set(format!("fresh{n}={long}"));
    }
    let full = carried();
    assert!(full.len() > BOUND / 2 && full.len() <= BOUND, "{}", full.len());
    // A full jar still learns of the cookies that it has, and takes up no other.
    set(format!("session=last-{long}; Path=/"));
    set(format!("late={long}"));
    let after = carried();
    assert!(after.contains("session=last-") && !after.contains("session=2999-") && !after.contains("late="));
    assert_eq!(after.len(), full.len());
    jar.replace(super::Cookies::default());
    set("late=1".to_owned());
    assert_eq!(carried(), "late=1");
}

/// A server that answers each connection with the address it came from.
async fn mirror(address: &str) -> (SocketAddr, AbortOnDropHandle<()>) {
    let listener = tokio::net::TcpListener::bind(address).await.unwrap();
    let address = listener.local_addr().unwrap();
    let task = tokio::spawn(async move {
        loop {
            let (mut stream, peer) = listener.accept().await.unwrap();
            let said = peer.ip().to_string();
            let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{said}", said.len());
            let mut head = [0; 4_096];
            let _ = stream.read(&mut head).await;
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    (address, AbortOnDropHandle::new(task))
}

#[tokio::test]
async fn only_source_addresses_of_the_targets_family_are_used() {
    let (four, _four) = mirror("127.0.0.1:0").await;
    let (six, _six) = mirror("[::1]:0").await;
    let fixed: Vec<_> = [
        ("four.invalid", "127.0.0.1"),
        ("both.invalid", "::1"),
        ("both.invalid", "127.0.0.1"),
    ]
    .map(|(host, address)| Resolve {
        host: host.to_owned(),
        port: None,
        address: address.parse().unwrap(),
    })
    .into();
    let to_six = format!("HTTP/1.1 302 Found\r\nLocation: http://{six}/\r\nContent-Length: 0\r\n\r\n");
    let leads_on = Server::start(vec![vec![Do::Read, send(&to_six), Do::Hang]]).await;
    let four_named = format!("four.invalid:{}", four.port());
    let (mixed, only_four, only_six) = (&["127.0.0.2", "::1", "127.0.0.3"][..], &["127.0.0.2"][..], &["::1"][..]);
    let in_turn = ["200 127.0.0.2", "200 127.0.0.3", "200 127.0.0.2"];
    let table = [
        (mixed, four.to_string(), in_turn),
        (mixed, four_named.clone(), in_turn),
        (mixed, six.to_string(), ["200 ::1"; 3]),
        (mixed, format!("both.invalid:{}", six.port()), ["200 ::1"; 3]),
        (only_four, four_named.clone(), ["200 127.0.0.2"; 3]),
        (only_four, format!("both.invalid:{}", four.port()), ["200 127.0.0.2"; 3]),
        (only_four, six.to_string(), ["failed connect"; 3]),
        (only_four, leads_on.address.to_string(), ["failed connect"; 3]),
        (only_six, four.to_string(), ["failed connect"; 3]),
        (only_six, four_named, ["failed connect"; 3]),
    ];
    for (sources, authority, wanted) in table {
        let options = EngineOptions {
            sources: sources.iter().map(|source| source.parse().unwrap()).collect(),
            ..EngineOptions::default()
        };
        let first = Slot::with(options, &TlsOptions::default(), &fixed);
        let mut found = Vec::new();
        for _ in 0..3 {
            let mut slot = Slot::beside(&first.shared);
            let kind = Kind {
                redirects: 1,
                ..Kind::default()
            };
            let result = ask(&mut slot, &format!("http://{authority}/"), kind).await;
            found.push(slot.word(&result));
        }
        assert_eq!(found, wanted, "{sources:?} {authority}");
    }
}
