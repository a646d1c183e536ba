//! Fuzz targets of what servers answer, plain functions that stable tests replay.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use barrage_model::plan::DnsPolicy;
use bytes::Bytes;
use url::Url;

use super::answer::Answer;
use super::http1::{Expected, Limits, Parser, ProtocolError};
use super::request::{Http2Request, Request, Terms};
use super::set::{EngineOptions, EngineSet, EngineShared};
use crate::clock::Clock;
use crate::net::{Origin, Resolver, TlsOptions};

/// What a reader of one answer can observe.
#[derive(Debug, PartialEq)]
struct Observed {
    taken: usize,
    done: bool,
    keep_alive: bool,
    answer: (u16, Vec<u8>, u64, super::answer::HeaderBlock),
}

/// Parses `bytes` as an answer, whole, in pieces and once more, and panics when that changes what is observed: neither the
/// split nor what a parser remembers of an earlier answer may.
///
/// The first byte chooses how the request was made and how long the pieces are; the rest is what the server sends.
///
/// # Panics
/// When a split changes the result, or a limit does not hold.
pub fn parse_any(bytes: &[u8]) {
    let Some((choice, input)) = bytes.split_first() else {
        return;
    };
    let mut again = Parser::new(LIMITS);
    let whole = observe(&mut again, *choice, input, input.len().max(1));
    let once_more = observe(&mut again, *choice, input, input.len().max(1));
    assert_eq!(once_more, whole, "by a parser that knows the head");
    let mut piece = 1 + usize::from(choice >> 3);
    if input.len() > 4_096 {
        piece *= 61;
    }
    for piece in [1 + input.len() / 64, piece, piece + 1] {
        assert_eq!(
            observe(&mut again, *choice, input, piece),
            whole,
            "in pieces of {piece}"
        );
        let fresh = &mut Parser::new(LIMITS);
        assert_eq!(observe(fresh, *choice, input, piece), whole, "in pieces of {piece}");
    }
    if let Ok(whole) = &whole {
        assert!(whole.answer.2 <= LIMITS.body_bytes, "the body limit holds");
        assert!(whole.taken <= input.len(), "nothing is taken that was not given");
    }
}

const LIMITS: Limits = Limits {
    head_bytes: 1_024,
    body_bytes: 4_096,
};

fn observe(parser: &mut Parser, choice: u8, input: &[u8], piece: usize) -> Result<Observed, ProtocolError> {
    let mut answer = Answer::default();
    parser.start(Expected {
        to_head: choice & 1 != 0,
        keep_body: choice & 2 != 0,
        want_headers: choice & 4 != 0,
    });
    let mut taken = 0;
    let mut done = false;
    for part in input.chunks(piece) {
        let fed = parser.feed(part, &mut answer)?;
        taken += fed.taken;
        done = fed.done;
        if done {
            break;
        }
        assert_eq!(fed.taken, part.len(), "an incomplete answer takes everything");
    }
    let done = done || parser.finish();
    let answer = (
        answer.status,
        answer.body.to_vec(),
        answer.body_bytes_in,
        answer.headers,
    );
    Ok(Observed {
        taken,
        done,
        keep_alive: parser.keep_alive(),
        answer,
    })
}

/// Sends `bytes` as a server's answer to an HTTP/2 request and closes; the request must come to an end.
///
/// # Panics
/// When it does not end soon after the server has closed, or a limit does not hold.
pub fn answer_http2_with(bytes: &[u8]) {
    const LIMIT: Duration = Duration::from_secs(30);
    let listener = TcpListener::bind("127.0.0.1:0").expect("the loopback has a free port");
    let address = listener.local_addr().expect("a bound listener has an address");
    let answer = std::thread::scope(|scope| {
        scope.spawn(|| {
            let Ok((mut stream, _)) = listener.accept() else { return };
            let Ok(mut other) = stream.try_clone() else { return };
            scope.spawn(move || while let Ok(1..) = other.read(&mut [0; 4096]) {});
            // A client that has heard enough hangs up.
            let _ = stream.set_write_timeout(Some(LIMIT));
            let _ = stream.write_all(bytes);
            let _ = stream.shutdown(Shutdown::Write);
        });
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.expect("a runtime can be made");
        tokio::task::LocalSet::new().block_on(&runtime, async {
            let clock = Clock::boot();
            let options = EngineOptions {
                limits: LIMITS,
                ..EngineOptions::default()
            };
            let tls = TlsOptions::default().build().expect("the default settings are good");
            let resolver = Arc::new(Resolver::new(clock, DnsPolicy::Once, &[]));
            let shared = EngineShared::new(clock, resolver, tls, options, None);
            let url = Url::parse(&format!("http://{address}/")).expect("an address makes a URL");
            let origin = Origin::from_url(0, &url).expect("an http URL has an origin");
            let mut head = http::Request::new(());
            *head.uri_mut() = url.as_str().parse().expect("an address makes a URL");
            let terms = Terms {
                keep_body: true,
                want_headers: true,
                deadline: clock.now() + LIMIT,
                send_by: None,
                awake: None,
            };
            let request = Request::Http2(Http2Request {
                head: &head,
                body: &Bytes::new(),
                origin: &origin,
                terms,
            });
            let mut answer = Answer::default();
            let result = EngineSet::new(&shared).exchange(&request, &mut answer).await;
            assert_eq!(result.is_ok(), result.is_ok() && answer.status >= 200, "{result:?}");
            assert!(clock.now() < terms.deadline, "it has ended before its time");
            answer
        })
    });
    assert!(answer.body_bytes_in <= LIMITS.body_bytes, "the body limit holds");
    assert!(answer.wire_requests <= 1, "nothing is sent twice");
}
