//! A request on a connection that takes nothing at first, or not all of it.

use std::cell::Cell;
use std::io::{self, IoSlice, Read, Write};
use std::net::TcpListener;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use barrage_model::plan::{DnsPolicy, Method, Reuse};
use url::Url;

use super::super::flight::Flight;
use super::super::{Expected, OnIdleClose, Parser, Shared};
use crate::clock::{Clock, Stamp};
use crate::engine::request::{Outgoing, Terms};
use crate::engine::testing::{assert_timed_out, cause_word, driven};
use crate::engine::timer::DeadlineTimer;
use crate::engine::{Answer, Limits};
use crate::net::wire::Wire;
use crate::net::{Connector, Origin, Reactor, Resolver, Timings, TlsOptions};

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\n\r\n";

/// Takes so many bytes and then a request, if one comes, and answers it. What has come after those bytes.
fn serve(mut peer: std::net::TcpStream, before: usize) -> io::Result<Vec<u8>> {
    io::copy(&mut Read::by_ref(&mut peer).take(before as u64), &mut io::sink())?;
    let mut rest = Vec::new();
    let mut byte = [0];
    while peer.read(&mut byte)? == 1 {
        rest.push(byte[0]);
        if rest == REQUEST {
            peer.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")?;
        }
    }
    Ok(rest)
}

fn shared(clock: Clock, reactor: &Rc<Reactor>) -> Shared {
    let resolver = Arc::new(Resolver::new(clock, DnsPolicy::Once, &[]));
    let tls = TlsOptions::default().build().unwrap();
    let connector = Connector::new(clock, resolver, tls, Vec::new()).adopted_by(Some(Rc::clone(reactor)));
    Shared::new(clock, connector, Limits::default(), Reuse::Always, OnIdleClose::Report)
}

/// A connection, and its other end.
async fn connected(shared: &Shared, reactor: &Reactor) -> (Origin, Wire, std::net::TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let origin = Origin::from_url(0, &Url::parse(&url).unwrap()).unwrap();
    let mut timings = Timings::default();
    let opening = shared.connector.open(&origin, &mut timings);
    let wire = driven(reactor, opening).await.unwrap();
    let (peer, _) = listener.accept().unwrap();
    (origin, wire, peer)
}

/// Asks on a connection that is full, under a grant that ends before there is room, or does not. The result, the answer and
/// what the server has seen of the request.
async fn asked(ends: bool) -> (String, Answer, Vec<u8>) {
    let clock = Clock::boot();
    let reactor = Reactor::new(clock).unwrap();
    let shared = shared(clock, &reactor);
    let (origin, mut wire, peer) = connected(&shared, &reactor).await;
    let mut answer = Answer::default();
    answer.clear(clock.now());
    let mut cx = Context::from_waker(Waker::noop());
    let (block, mut before) = (vec![b'x'; 256 * 1024], 0);
    while let Poll::Ready(count) = wire.poll_write(&mut cx, &[IoSlice::new(&block)]) {
        before += count.unwrap();
    }

    let granted = Cell::new(Some(Stamp::FAR));
    let out = Outgoing {
        head: REQUEST,
        body: b"",
        method: Method::Get,
        origin: &origin,
        terms: Terms {
            keep_body: true,
            want_headers: false,
            deadline: clock.now() + Duration::from_mins(1),
            send_by: Some(&granted),
            awake: None,
        },
    };
    let mut parser = Parser::new(Limits::default());
    parser.start(Expected {
        to_head: false,
        keep_body: true,
        want_headers: false,
    });
    let (mut flight, mut timer) = (Flight::new(&out, true), DeadlineTimer::default());
    reactor.gather();
    let first = flight.poll(&mut cx, &shared, &mut wire, &mut parser, &mut timer, &mut answer);
    reactor.flush();
    assert!(first.is_pending() && wire.bytes().1 == before as u64, "it is full");
    let tried = answer.sent_at.unwrap();

    if ends {
        granted.set(Some(clock.now()));
        while Some(clock.now()) <= granted.get() {}
    }
    let server = std::thread::spawn(move || serve(peer, before));
    let rest = std::future::poll_fn(|cx| flight.poll(cx, &shared, &mut wire, &mut parser, &mut timer, &mut answer));
    let result = driven(&reactor, rest).await;
    let word = match &result {
        Ok(clean) => format!("{} {clean}", answer.status),
        Err(failure) => cause_word(failure.cause),
    };
    assert!(
        answer.sent_at.is_none_or(|at| at > tried),
        "the instant is that of the write that took something"
    );
    drop(wire);
    (word, answer, server.join().unwrap().unwrap())
}

#[tokio::test]
async fn a_request_of_which_nothing_was_taken_is_sent_only_while_it_may_be() {
    let (word, answer, seen) = asked(false).await;
    assert_eq!((word.as_str(), answer.wire_requests, &*seen), ("200 true", 1, REQUEST));
    let (word, answer, seen) = asked(true).await;
    assert_eq!((word.as_str(), answer.wire_requests, &*seen), ("expired", 0, &b""[..]));
    assert_eq!(answer.sent_at, None);
}

/// Sends more than the connection takes at once, under a deadline over which this thread stands still. Meanwhile the other end
/// takes what there is, or does not.
async fn uploaded(takes: bool) {
    let clock = Clock::boot();
    let reactor = Reactor::new(clock).unwrap();
    let shared = shared(clock, &reactor);
    let (origin, mut wire, mut peer) = connected(&shared, &reactor).await;
    let body = vec![b'x'; 64 << 20];
    let mut parser = Parser::new(shared.limits);
    parser.start(Expected {
        to_head: false,
        keep_body: true,
        want_headers: false,
    });
    let mut answer = Answer::default();
    answer.clear(clock.now());
    let deadline = clock.now() + Duration::from_millis(500);
    let out = Outgoing {
        head: REQUEST,
        body: &body,
        method: Method::Post,
        origin: &origin,
        terms: Terms {
            keep_body: true,
            want_headers: false,
            deadline,
            send_by: None,
            awake: None,
        },
    };
    let (mut flight, mut timer) = (Flight::new(&out, false), DeadlineTimer::default());
    let mut cx = Context::from_waker(Waker::noop());
    let first = flight.poll(&mut cx, &shared, &mut wire, &mut parser, &mut timer, &mut answer);
    let before = wire.bytes().1;
    assert!(first.is_pending() && answer.sent_at.is_some() && before > 0);
    while clock.now() <= deadline {
        std::thread::sleep(Duration::from_millis(10));
    }
    let result = if takes {
        io::copy(&mut Read::by_ref(&mut peer).take(before), &mut io::sink()).unwrap();
        // The runtime has no turn, so its timer never fires.
        let turn = |_| {
            std::thread::sleep(Duration::from_millis(1));
            reactor.look();
            match flight.poll(&mut cx, &shared, &mut wire, &mut parser, &mut timer, &mut answer) {
                Poll::Ready(result) => Some(result),
                Poll::Pending => None,
            }
        };
        (0..5_000).find_map(turn).expect("what goes out is seen to be late")
    } else {
        let rest = std::future::poll_fn(|cx| flight.poll(cx, &shared, &mut wire, &mut parser, &mut timer, &mut answer));
        driven(&reactor, rest).await
    };
    assert_timed_out(&answer, &result.map(|_| ()), deadline, takes);
}

#[tokio::test]
async fn a_body_of_which_more_is_taken_after_a_standstill_was_late_by_us() {
    uploaded(true).await;
    uploaded(false).await;
}
