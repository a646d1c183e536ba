//! One request on a fresh connection: every way in which it can be answered.

use std::time::Duration;

use barrage_model::plan::Method;

use self::After::{Closed, Kept};
use crate::engine::testing::{Do, Server, Slot, Sockets, assert_times, cause_word, send};
use crate::engine::{EngineOptions, Limits, OnIdleClose, Origin, Outgoing, WireBytes};
use crate::net::{SilentListener, TlsOptions};

/// Long enough for a busy machine, short enough for a test that waits for it.
const PATIENCE_MS: u64 = 20_000;

#[derive(Clone, Copy, Debug, PartialEq)]
enum After {
    Kept,
    Closed,
}

async fn check_answer(bytes: &[u8], method: Method, wanted: &str, after: After, then: Do) {
    let ways = [
        (bytes.len(), Sockets::Shard),
        (7, Sockets::Shard),
        (1, Sockets::Shard),
        (bytes.len(), Sockets::Runtime),
        (1, Sockets::Runtime),
    ];
    for (piece, sockets) in ways {
        // One-byte packets of a long answer take long and show nothing new.
        if piece < bytes.len() && bytes.len() > 600 {
            continue;
        }
        let server = Server::start(vec![vec![
            Do::Read,
            Do::Pieces(bytes.to_vec(), piece.max(1)),
            then.clone(),
        ]])
        .await;
        let mut slot = Slot::over(sockets, EngineOptions::default(), &TlsOptions::default(), &[]);
        let result = slot.ask(&server.origin(0), method, PATIENCE_MS).await;
        let shown = String::from_utf8_lossy(bytes).chars().take(120).collect::<String>();
        let shown = format!("{shown:?} in pieces of {piece}, {sockets:?}");
        assert_eq!(slot.word(&result), wanted, "{shown}: {result:?}");
        assert_times(&slot.answer, &result);
        let kept = if slot.set.open_connections() == 1 { Kept } else { Closed };
        assert_eq!(kept, after, "{shown}");
        assert_eq!(slot.shared.open_connections(), slot.set.open_connections());
        if result.is_ok() && piece == bytes.len() && after == Kept {
            let request = server.seen()[0].len() as u64;
            assert_eq!(
                slot.answer.wire,
                Some(WireBytes {
                    received: bytes.len() as u64,
                    sent: request
                })
            );
        }
    }
}

/// What the server sends and then says no more, the request's method, the result, the connection's fate.
const COMPLETE: [(&str, Method, &str, After); 26] = [
    (
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        Method::Get,
        "200 hello",
        Kept,
    ),
    ("HTTP/1.1 200 \r\ncontent-length:0\r\n\r\n", Method::Get, "200 ", Kept),
    (
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
        Method::Get,
        "200 hello",
        Kept,
    ),
    (
        "HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\n\r\nhello",
        Method::Get,
        "200 hello",
        Kept,
    ),
    (
        "HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nok",
        Method::Get,
        "200 ok",
        Kept,
    ),
    (
        "HTTP/1.1 500 Oh\r\nContent-Length: 2\r\n\r\nno",
        Method::Get,
        "500 no",
        Kept,
    ),
    (
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n",
        Method::Get,
        "200 abcde",
        Kept,
    ),
    (
        "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, Chunked\r\n\r\n3;a=\"b\"\r\nabc\r\n0\r\nX-Sum: 1\r\n\r\n",
        Method::Get,
        "200 abc",
        Kept,
    ),
    (
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello",
        Method::Get,
        "200 hello",
        Closed,
    ),
    (
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nConnection: x, Close\r\n\r\nh",
        Method::Get,
        "200 h",
        Closed,
    ),
    (
        "HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        Method::Get,
        "200 hello",
        Closed,
    ),
    (
        "HTTP/1.0 200 OK\r\nContent-Length: 1\r\nConnection: Keep-Alive\r\n\r\nh",
        Method::Get,
        "200 h",
        Kept,
    ),
    (
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nh",
        Method::Get,
        "200 h",
        Kept,
    ),
    (
        "HTTP/1.1 103 Early\r\nLink: x\r\n\r\nHTTP/1.1 102 W\r\n\r\nHTTP/1.1 204 None\r\n\r\n",
        Method::Get,
        "204 ",
        Kept,
    ),
    ("HTTP/1.1 204 No Content\r\n\r\n", Method::Get, "204 ", Kept),
    (
        "HTTP/1.1 200 OK\r\nX: 1\r\n folded\r\n\t\r\nContent-Length:\r\n  3\r\n\r\n\n h",
        Method::Get,
        "200 \\n h",
        Kept,
    ),
    (
        "HTTP/1.1 200 OK\nContent-Length: 1\nConnection: x,\n Close\n\nh",
        Method::Get,
        "200 h",
        Closed,
    ),
    (
        "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n",
        Method::Get,
        "304 ",
        Kept,
    ),
    (
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
        Method::Head,
        "200 ",
        Kept,
    ),
    (
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        Method::Head,
        "200 ",
        Kept,
    ),
    ("HTTP/1.1 200 OK\r\n\r\n", Method::Head, "200 ", Kept),
    (
        "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        Method::Options,
        "200 ",
        Kept,
    ),
    (
        "HTTP/1.1 999 Odd\r\nContent-Length: 0\r\n\r\n",
        Method::Get,
        "999 ",
        Kept,
    ),
    ("HTTP/1.1 200 OK\nContent-Length: 2\n\nok", Method::Get, "200 ok", Kept),
    (
        "HTTP/1.1 200 OK\r\nX-Bytes: \u{e9}\r\nContent-Length: 1\r\n\r\nh",
        Method::Get,
        "200 h",
        Kept,
    ),
    (
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: \r\nContent-Length:  3 \r\n\r\nabc",
        Method::Get,
        "failed protocol",
        Closed,
    ),
];

#[tokio::test]
async fn complete_answers_keep_or_close_the_connection() {
    for (bytes, method, wanted, after) in COMPLETE {
        check_answer(bytes.as_bytes(), method, wanted, after, Do::Hang).await;
    }
}

#[tokio::test]
async fn extensions_of_many_chunks_are_no_failure_together() {
    // Signatures of chunks, for example: small each, and together more than what one line may have.
    let data = "d".repeat(1_024);
    let chunk = format!("400;chunk-signature={}\r\n{data}\r\n", "5".repeat(64));
    let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    let signed = format!("{head}{}0\r\n\r\n", chunk.repeat(1_000));
    let wanted = format!("200 {}", data.repeat(1_000));
    check_answer(signed.as_bytes(), Method::Get, &wanted, Kept, Do::Hang).await;
}

#[tokio::test]
async fn a_newer_minor_version_is_read_as_the_highest_known() {
    let table = [
        ("HTTP/1.2 200 OK\r\nContent-Length: 1\r\n\r\nh", Kept),
        (
            "HTTP/1.9 103 Early\r\n\r\nHTTP/1.9 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nh\r\n0\r\n\r\n",
            Kept,
        ),
        (
            "HTTP/1.2 200 OK\r\nConnection: close\r\nContent-Length: 1\r\n\r\nh",
            Closed,
        ),
    ];
    for (bytes, after) in table {
        check_answer(bytes.as_bytes(), Method::Get, "200 h", after, Do::Hang).await;
    }
}

#[tokio::test]
async fn a_hundred_interim_answers_may_come_before_the_final_one() {
    let interim = "HTTP/1.1 102 W\r\n\r\n".repeat(100);
    let bytes = format!("{interim}HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nh");
    check_answer(bytes.as_bytes(), Method::Get, "200 h", Kept, Do::Hang).await;
}

#[tokio::test]
async fn the_first_byte_is_that_of_the_answer_and_not_of_an_interim_one() {
    const GAP: Duration = Duration::from_millis(30);
    let (hints, ok) = (
        "HTTP/1.1 103 Early Hints\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    );
    let in_pieces = |first: &str, second: &str| {
        let send = |text: &str| Do::Send(text.as_bytes().to_vec());
        vec![Do::Read, send(first), Do::Wait(GAP), send(second), Do::Hang]
    };
    for (first, second, late) in [
        (hints, ok.to_owned(), true),
        (&hints[..9], format!("{}{ok}", &hints[9..]), true),
        (&format!("{hints}{}", &ok[..9]), ok[9..].to_owned(), false),
    ] {
        let server = Server::start(vec![in_pieces(first, &second)]).await;
        let mut slot = Slot::new(EngineOptions::default());
        let result = slot.ask(&server.origin(0), Method::Get, PATIENCE_MS).await;
        assert_eq!(slot.word(&result), "200 ", "{result:?}");
        let (first_byte, answer) = (slot.answer.timings.first_byte.unwrap(), &slot.answer);
        let whole = answer.done_at.since(answer.sent_at.unwrap());
        assert!(
            whole >= GAP && (first_byte == whole) == late,
            "{first_byte:?} of {whole:?}"
        );
    }
}

#[tokio::test]
async fn the_end_of_the_connection_can_be_the_end_of_the_answer() {
    let table = [
        ("HTTP/1.1 200 OK\r\n\r\nhello", "200 hello"),
        ("HTTP/1.0 200 OK\r\n\r\n", "200 "),
        ("HTTP/1.1 200 OK\r\nConnection: keep-alive\r\n\r\nhello", "200 hello"),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nhello", "200 hello"),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, gzip\r\n\r\nhello",
            "200 hello",
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: gzip\r\n\r\nhello",
            "200 hello",
        ),
    ];
    for (bytes, wanted) in table {
        check_answer(bytes.as_bytes(), Method::Get, wanted, Closed, Do::Cut).await;
    }
}

#[tokio::test]
async fn a_connection_that_breaks_is_a_reset() {
    let table = [
        "",
        "H",
        "HTTP/1.1 200 OK\r\nContent-Le",
        "HTTP/1.1 100 Continue\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n",
    ];
    for bytes in table {
        for end in [Do::Cut, Do::Reset] {
            check_answer(bytes.as_bytes(), Method::Get, "failed reset", Closed, end).await;
        }
    }
    // Until the connection ends is not until it breaks.
    let endless = "HTTP/1.1 200 OK\r\n\r\nhello";
    check_answer(endless.as_bytes(), Method::Get, "failed reset", Closed, Do::Reset).await;
}

#[tokio::test]
async fn what_is_not_http_is_a_protocol_failure_at_once() {
    let long_line = format!("HTTP/1.1 200 OK\r\nX-Long: {}", "x".repeat(70_000));
    let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "X: 1\r\n".repeat(257));
    let big = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", 64 * 1024 * 1024 + 1);
    let interim = "HTTP/1.1 100 Continue\r\n\r\n".repeat(101);
    let table = [
        "SSH-2.0-OpenSSH_9.2\r\n",
        "\x16\x03\x01garbage",
        "\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        "HTTP/2.0 200 OK\r\n",
        "HTTP/1.22 200 OK\r\n",
        "HTTP/1.a 200 OK\r\n",
        "HTTP/0.9 200 OK\r\n",
        "HTTP/3 200 OK\r\n",
        "HTTP/1.1 20 OK\r\n",
        "HTTP/1.1 099 Low\r\n\r\n",
        "HTTP/1.1 abc OK\r\n",
        "HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX : 1\r\n\r\n",
        "HTTP/1.1 200 OK\r\n X: 1\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX\r\n : 1\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n 2\r\n\r\nhello world!",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nContent-Length: 5, 6\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nContent-Length: 5,\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: \r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 0x5\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, gzip\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, gzip\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nfoo\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n",
        "HTTP/1.1 101 Switching\r\nUpgrade: x\r\n\r\n",
        &long_line,
        &many,
        &big,
        &interim,
    ];
    for bytes in table {
        check_answer(bytes.as_bytes(), Method::Get, "failed protocol", Closed, Do::Hang).await;
    }
}

#[tokio::test]
async fn what_is_wrong_with_the_first_line_is_told() {
    for (line, want) in [
        ("SSH-2.0-OpenSSH_9.2\r\n", "the answer does not begin like HTTP/1.1"),
        ("HTTP/1.1 1000 x\r\n", "malformed status line: invalid"),
        ("HTTP/1.1 20 OK\r\n", "malformed status line: invalid"),
    ] {
        let server = Server::start(vec![vec![Do::Read, send(line), Do::Hang]]).await;
        let mut slot = Slot::new(EngineOptions::default());
        let result = slot.ask(&server.origin(0), Method::Get, PATIENCE_MS).await;
        let message = result.unwrap_err().message;
        assert!(message.contains(want), "{line}: {message}");
    }
}

#[tokio::test]
async fn bytes_behind_an_answer_cost_the_connection_and_nothing_else() {
    let twice = "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\naHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nb";
    let server = Server::start(vec![vec![Do::Read, send(twice), Do::Hang]]).await;
    let mut slot = Slot::new(EngineOptions::default());
    let result = slot.ask(&server.origin(0), Method::Get, PATIENCE_MS).await;
    assert_eq!(slot.word(&result), "200 a");
    assert_eq!(slot.set.open_connections(), 0);
    assert_eq!(slot.answer.body_bytes_in, 1);
}

#[tokio::test]
async fn a_body_over_the_limit_is_a_protocol_failure_even_when_it_is_only_counted() {
    let limits = Limits {
        body_bytes: 4,
        ..Limits::default()
    };
    let table = [
        ("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nabcd", "200 abcd"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", "failed protocol"),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n",
            "failed protocol",
        ),
        ("HTTP/1.1 200 OK\r\n\r\nabcde", "failed protocol"),
    ];
    for (bytes, wanted) in table {
        let server = Server::start(vec![vec![Do::Read, send(bytes), Do::Hang]]).await;
        let mut slot = Slot::new(EngineOptions {
            limits,
            ..EngineOptions::default()
        });
        let result = slot.ask(&server.origin(0), Method::Get, PATIENCE_MS).await;
        assert_eq!(slot.word(&result), wanted, "{bytes:?}");
    }
}

#[tokio::test]
async fn what_is_not_wanted_is_counted_and_not_kept() {
    let bytes = "HTTP/1.1 200 OK\r\nX-Backend: blue,\r\n\tgreen\r\nContent-Length: 5\r\n\r\nhello";
    let server = Server::start(vec![vec![Do::Read, send(bytes), Do::Read, send(bytes), Do::Hang]]).await;
    let origin = server.origin(0);
    let mut slot = Slot::new(EngineOptions::default());
    slot.ask(&origin, Method::Get, PATIENCE_MS).await.unwrap();
    assert_eq!(slot.answer.headers.get("x-backend"), Some(&b"blue,   green"[..]));
    let mut terms = slot.terms(PATIENCE_MS);
    (terms.keep_body, terms.want_headers) = (false, false);
    let out = Outgoing {
        head: b"GET / HTTP/1.1\r\nhost: x\r\n\r\n",
        body: b"",
        method: Method::Get,
        origin: &origin,
        terms,
    };
    slot.send(&out).await.unwrap();
    assert!(slot.answer.headers.is_empty() && slot.answer.body.is_empty());
    assert_eq!((slot.answer.status, slot.answer.body_bytes_in), (200, 5));
}

#[tokio::test]
async fn silence_and_slowness_time_out() {
    let drip = vec![Do::Read, Do::Pieces(b"HTTP/1.1 200 OK\r\nX-Slow: 1".repeat(40), 1)];
    let table = [
        (vec![Do::Hang], "timed out waiting for the answer"),
        (drip, "timed out while receiving the answer"),
        (
            vec![
                Do::Read,
                send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell"),
                Do::Hang,
            ],
            "timed out while receiving the answer",
        ),
    ];
    for (script, message) in table {
        let server = Server::start(vec![script]).await;
        let mut slot = Slot::new(EngineOptions::default());
        let result = slot.ask(&server.origin(0), Method::Get, 150).await;
        assert_eq!(slot.word(&result), "timeout");
        assert_eq!(*result.as_ref().unwrap_err().message, message);
        assert_times(&slot.answer, &result);
        let waited = slot.answer.done_at.since(slot.answer.began_at);
        assert!(
            waited >= Duration::from_millis(150) && waited < Duration::from_secs(5),
            "{waited:?}"
        );
        assert_eq!(slot.shared.open_connections(), 0, "the connection is closed");
    }
}

#[tokio::test]
async fn an_endless_answer_times_out_although_there_is_always_something_to_read() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let flood = std::thread::spawn(move || {
        use std::io::Write;
        let (mut stream, _) = listener
            .into_std()
            .and_then(|listener| {
                listener.set_nonblocking(false)?;
                listener.accept()
            })
            .unwrap();
        let chunk = vec![b'x'; 1 << 20];
        stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
        while stream.write_all(&chunk).is_ok() {}
    });
    let origin = Origin::from_url(0, &url::Url::parse(&format!("http://{address}/")).unwrap()).unwrap();
    let limits = Limits {
        body_bytes: u64::MAX,
        ..Limits::default()
    };
    let mut slot = Slot::new(EngineOptions {
        limits,
        ..EngineOptions::default()
    });
    let mut terms = slot.terms(200);
    terms.keep_body = false;
    let out = Outgoing {
        head: b"GET / HTTP/1.1\r\n\r\n",
        body: b"",
        method: Method::Get,
        origin: &origin,
        terms,
    };
    let failure = slot.send(&out).await.unwrap_err();
    assert_eq!(cause_word(failure.cause), "timeout");
    assert!(slot.answer.body_bytes_in > 0);
    flood.join().unwrap();
}

#[tokio::test]
async fn no_connection_and_no_name_are_their_own_classes() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let table = [
        (format!("http://{closed}/"), "failed connect"),
        ("http://no-such-host.invalid/".to_owned(), "failed dns"),
    ];
    for (url, wanted) in table {
        let origin = Origin::from_url(0, &url::Url::parse(&url).unwrap()).unwrap();
        let mut slot = Slot::new(EngineOptions {
            on_idle_close: OnIdleClose::Redial,
            ..EngineOptions::default()
        });
        let result = slot.ask(&origin, Method::Get, PATIENCE_MS).await;
        assert_eq!(slot.word(&result), wanted, "{result:?}");
        assert_times(&slot.answer, &result);
        assert_eq!(
            (slot.answer.sent_at, slot.answer.wire_requests),
            (None, 0),
            "nothing was sent"
        );
    }
}

#[tokio::test]
async fn a_connection_that_nobody_accepts_times_out_while_connecting() {
    let silent = SilentListener::start("127.0.0.1:0");
    let origin = Origin::from_url(0, &url::Url::parse(&format!("http://{}/", silent.address)).unwrap()).unwrap();
    let mut slot = Slot::new(EngineOptions::default());
    let failure = slot.ask(&origin, Method::Get, 300).await.unwrap_err();
    assert_eq!(
        (cause_word(failure.cause).as_str(), &**failure.message),
        ("timeout", "timed out while connecting")
    );
    assert_eq!(slot.answer.sent_at, None);
}

#[tokio::test]
async fn what_a_reset_connection_did_not_take_was_not_sent() {
    // Before the request, amid it or after it, as it happens.
    const TIMES: usize = 300;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let resets = std::thread::spawn(move || {
        for _ in 0..TIMES {
            let stream = socket2::Socket::from(listener.accept().unwrap().0);
            stream.set_linger(Some(Duration::ZERO)).unwrap();
        }
    });
    let origin = Origin::from_url(0, &url::Url::parse(&format!("http://{address}/")).unwrap()).unwrap();
    let mut slot = Slot::new(EngineOptions::default());
    for _ in 0..TIMES {
        let result = slot.ask(&origin, Method::Get, PATIENCE_MS).await;
        assert!(
            ["failed reset", "failed connect"].contains(&&*slot.word(&result)),
            "{result:?}"
        );
        assert_times(&slot.answer, &result);
        let sent = slot.answer.wire.is_some_and(|wire| wire.sent > 0);
        assert_eq!(
            (slot.answer.sent_at.is_some(), slot.answer.wire_requests),
            (sent, u32::from(sent)),
            "{result:?}"
        );
    }
    resets.join().unwrap();
}
