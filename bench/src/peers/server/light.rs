//! A server that costs as little as possible: one thread, bare epoll, one receive and one send per request.

use std::fmt::Write as _;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::buffer::spare_capacity;
use rustix::event::epoll;
use rustix::fd::OwnedFd;

use super::request::{Parsed, REQUEST_BYTES_MAX, Request, Route, parse};
use super::spacing::{Spacing, spacing};
use super::{BODY, ITEM};
use crate::peers::{clock, say};

/// Most connections at a time; further ones are closed at once.
const CONNECTIONS_MAX: usize = 65_536;
/// Most bytes that wait for a client to take them; beyond, it is disconnected.
const UNSENT_BYTES_MAX: usize = 1 << 20;
/// Most arrivals that can be recorded.
const ARRIVALS_MAX: usize = 50_000_000;
const LISTENER: u64 = u64::MAX;

/// How the server behaves.
#[derive(Clone, Copy, Debug, Default, clap::Args)]
pub(crate) struct Behaviour {
    /// Records the arrival instants of this many requests
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) record: usize,
    /// Stands still once, this long after the first request
    #[arg(long, value_name = "MS")]
    pub(crate) freeze_at_ms: Option<u64>,
    /// How long it stands still
    #[arg(long, value_name = "MS", default_value_t = 1000)]
    pub(crate) freeze_ms: u64,
}

/// What the server says about itself on `/~/state`.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub(crate) struct State {
    /// Requests since the last `/~/reset`, without those below `/~/`.
    pub(crate) requests: u64,
    /// First to last request, s; needs recording.
    pub(crate) span_s: f64,
    /// Requests that came when the record was full.
    pub(crate) unrecorded: u64,
    /// How long it really stood still, µs.
    pub(crate) frozen_us: Option<u64>,
    /// Arrivals beside the rate asked for with `/~/state?rate=N`.
    pub(crate) spacing: Option<Spacing>,
}

/// Serves until the process is ended. Says where it listens in one line on stdout.
pub(crate) fn serve(behaviour: Behaviour) -> Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("could not listen on loopback")?;
    listener
        .set_nonblocking(true)
        .context("could not make the listener non-blocking")?;
    say::line(&format!(
        "listening on {}",
        listener.local_addr().context("no address")?
    ));
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).context("could not make an epoll")?;
    epoll::add(
        &epoll,
        &listener,
        epoll::EventData::new_u64(LISTENER),
        epoll::EventFlags::IN,
    )
    .context("could not watch the listener")?;
    let mut server = Light {
        epoll,
        listener,
        connections: Vec::new(),
        free: Vec::new(),
        scratch: vec![0; REQUEST_BYTES_MAX].into_boxed_slice(),
        out: Vec::with_capacity(REQUEST_BYTES_MAX),
        counters: Counters::new(behaviour),
    };
    let mut events = Vec::with_capacity(1024);
    loop {
        events.clear();
        match epoll::wait(&server.epoll, spare_capacity(&mut events), None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error).context("could not wait for events"),
        }
        for event in &events {
            let (data, flags) = (event.data, event.flags);
            if data.u64() == LISTENER {
                server.accept();
            } else {
                server.turn(data.u64() as usize, flags);
            }
        }
    }
}

#[derive(Debug)]
struct Light {
    epoll: OwnedFd,
    listener: TcpListener,
    connections: Vec<Option<Connection>>,
    free: Vec<usize>,
    scratch: Box<[u8]>,
    out: Vec<u8>,
    counters: Counters,
}

#[derive(Debug)]
struct Connection {
    stream: TcpStream,
    /// The beginning of a request whose rest has not come yet.
    pending: Vec<u8>,
    /// What the client has not taken yet.
    unsent: Vec<u8>,
    close: bool,
}

impl Light {
    fn accept(&mut self) {
        // An error here is either "no more" or one connection that failed to come in; the next event retries.
        while let Ok((stream, _)) = self.listener.accept() {
            if self.connections.len() - self.free.len() >= CONNECTIONS_MAX
                || stream.set_nonblocking(true).is_err()
                || stream.set_nodelay(true).is_err()
            {
                continue;
            }
            let index = self.free.pop().unwrap_or_else(|| {
                self.connections.push(None);
                self.connections.len() - 1
            });
            let data = epoll::EventData::new_u64(index as u64);
            if epoll::add(&self.epoll, &stream, data, epoll::EventFlags::IN).is_ok() {
                self.connections[index] = Some(Connection {
                    stream,
                    pending: Vec::new(),
                    unsent: Vec::new(),
                    close: false,
                });
            } else {
                self.free.push(index);
            }
        }
    }

    /// Reads and answers what one connection has; closes it when it is through.
    fn turn(&mut self, index: usize, flags: epoll::EventFlags) {
        let Some(mut connection) = self.connections.get_mut(index).and_then(Option::take) else {
            return;
        };
        let mut open = true;
        if flags.contains(epoll::EventFlags::OUT) {
            open = self.flush(index, &mut connection);
        }
        if open && flags.intersects(epoll::EventFlags::IN | epoll::EventFlags::HUP | epoll::EventFlags::ERR) {
            open = self.read(index, &mut connection);
        }
        if open {
            self.connections[index] = Some(connection);
        } else {
            self.free.push(index);
        }
    }

    fn read(&mut self, index: usize, connection: &mut Connection) -> bool {
        let count = match (&connection.stream).read(&mut self.scratch) {
            Ok(0) => return false,
            Ok(count) => count,
            Err(error) => return matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted),
        };
        self.counters.wake();
        self.out.clear();
        let alive = if connection.pending.is_empty() {
            let used = answer(
                &self.scratch[..count],
                &mut self.counters,
                &mut self.out,
                &mut connection.close,
            );
            used.is_some_and(|used| {
                connection.pending.extend_from_slice(&self.scratch[used..count]);
                true
            })
        } else {
            connection.pending.extend_from_slice(&self.scratch[..count]);
            let used = answer(
                &connection.pending,
                &mut self.counters,
                &mut self.out,
                &mut connection.close,
            );
            used.is_some_and(|used| {
                connection.pending.drain(..used);
                true
            })
        };
        self.send(index, connection) && alive && !(connection.close && connection.unsent.is_empty())
    }

    /// Sends the answers in `out`; what the client does not take waits for it.
    fn send(&mut self, index: usize, connection: &mut Connection) -> bool {
        let mut from = 0;
        if connection.unsent.is_empty() {
            match (&connection.stream).write(&self.out) {
                Ok(count) => from = count,
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
                Err(_) => return false,
            }
        }
        if from == self.out.len() {
            return true;
        }
        connection.unsent.extend_from_slice(&self.out[from..]);
        connection.unsent.len() <= UNSENT_BYTES_MAX
            && self.watch(index, connection, epoll::EventFlags::IN | epoll::EventFlags::OUT)
    }

    fn flush(&self, index: usize, connection: &mut Connection) -> bool {
        match (&connection.stream).write(&connection.unsent) {
            Ok(count) => drop(connection.unsent.drain(..count)),
            Err(error) => return matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted),
        }
        if connection.unsent.is_empty() {
            return !connection.close && self.watch(index, connection, epoll::EventFlags::IN);
        }
        true
    }

    fn watch(&self, index: usize, connection: &Connection, flags: epoll::EventFlags) -> bool {
        epoll::modify(
            &self.epoll,
            &connection.stream,
            epoll::EventData::new_u64(index as u64),
            flags,
        )
        .is_ok()
    }
}

/// Answers every whole request in `bytes` and says how many bytes that were; `None` = the client speaks nonsense.
fn answer(bytes: &[u8], counters: &mut Counters, out: &mut Vec<u8>, close: &mut bool) -> Option<usize> {
    let mut used = 0;
    while !*close && used < bytes.len() {
        match parse(&bytes[used..]) {
            Parsed::Partial => break,
            Parsed::Bad => return None,
            Parsed::Whole(request) => {
                respond(&request, counters, out);
                *close = request.close;
                used += request.length;
            }
        }
    }
    Some(used)
}

fn respond(request: &Request<'_>, counters: &mut Counters, out: &mut Vec<u8>) {
    let said;
    let (kind, body) = match request.route {
        Route::Plain => ("text/plain", BODY),
        Route::Item => ("application/json", ITEM),
        Route::Control(what) => {
            said = counters.control(what);
            ("application/json", said.as_str())
        }
    };
    if !matches!(request.route, Route::Control(_)) {
        counters.count();
    }
    let keep = if request.old && !request.close {
        "Connection: keep-alive\r\n"
    } else {
        ""
    };
    out.extend_from_slice(b"HTTP/1.1 200 OK\r\nContent-Type: ");
    out.extend_from_slice(kind.as_bytes());
    out.extend_from_slice(b"\r\nContent-Length: ");
    if body.len() == BODY.len() {
        out.extend_from_slice(b"100");
    } else {
        let mut digits = String::new();
        // Writing to a string does not fail.
        let _ = write!(digits, "{}", body.len());
        out.extend_from_slice(digits.as_bytes());
    }
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(keep.as_bytes());
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(body.as_bytes());
}

#[derive(Debug)]
struct Counters {
    behaviour: Behaviour,
    requests: u64,
    /// Written once before, so that recording meets no page fault.
    arrivals: Vec<u64>,
    unrecorded: u64,
    /// When the bytes came that are being answered; 0 = nobody asked for the time.
    woken: u64,
    first: Option<u64>,
    frozen_us: Option<u64>,
}

impl Counters {
    fn new(behaviour: Behaviour) -> Self {
        let mut arrivals = vec![1; behaviour.record.min(ARRIVALS_MAX)];
        arrivals.clear();
        Self {
            behaviour,
            requests: 0,
            arrivals,
            unrecorded: 0,
            woken: 0,
            first: None,
            frozen_us: None,
        }
    }

    /// Bytes came. Reads the clock only where somebody wants to know, and stands still when that is due.
    fn wake(&mut self) {
        if self.behaviour.record == 0 && self.behaviour.freeze_at_ms.is_none() {
            return;
        }
        self.woken = clock::monotonic_ns();
        let (Some(at_ms), Some(first), None) = (self.behaviour.freeze_at_ms, self.first, self.frozen_us) else {
            return;
        };
        if self.woken >= first + at_ms * 1_000_000 {
            clock::pause(Duration::from_millis(self.behaviour.freeze_ms));
            let awake = clock::monotonic_ns();
            self.frozen_us = Some((awake - self.woken) / 1_000);
            self.woken = awake;
        }
    }

    fn count(&mut self) {
        self.requests += 1;
        if self.woken == 0 {
            return;
        }
        self.first.get_or_insert(self.woken);
        if self.arrivals.len() < self.arrivals.capacity() {
            self.arrivals.push(self.woken);
        } else {
            self.unrecorded += 1;
        }
    }

    fn control(&mut self, what: &str) -> String {
        if what == "reset" {
            self.requests = 0;
            self.arrivals.clear();
            self.unrecorded = 0;
            self.first = None;
            self.frozen_us = None;
        }
        let rate: Option<f64> = what.strip_prefix("state?rate=").and_then(|rate| rate.parse().ok());
        let span_s = match (self.arrivals.first(), self.arrivals.last()) {
            (Some(first), Some(last)) => (last - first) as f64 / 1e9,
            _ => 0.0,
        };
        let state = State {
            requests: self.requests,
            span_s,
            unrecorded: self.unrecorded,
            frozen_us: self.frozen_us,
            spacing: rate.and_then(|rate| spacing(&self.arrivals, rate)),
        };
        serde_json::to_string(&state).expect("numbers and options always have a form in JSON")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

    fn answered(text: &str, counters: &mut Counters) -> (Option<usize>, String) {
        let mut out = Vec::new();
        let used = answer(text.as_bytes(), counters, &mut out, &mut false);
        (used, String::from_utf8(out).unwrap())
    }

    #[test]
    fn pipelined_requests_are_all_counted_and_a_half_one_is_left() {
        let mut counters = Counters::new(Behaviour::default());
        let (used, out) = answered(&format!("{GET}{GET}GET / HT"), &mut counters);
        assert_eq!(used, Some(2 * GET.len()));
        assert_eq!(counters.requests, 2);
        let one = format!("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 100\r\n\r\n{BODY}");
        assert_eq!(out, format!("{one}{one}"));
        assert_eq!(answered("nonsense\r\n\r\n", &mut counters).0, None);
    }

    #[test]
    fn what_asks_for_the_counters_is_not_counted() {
        let mut counters = Counters::new(Behaviour {
            record: 8,
            ..Behaviour::default()
        });
        counters.wake();
        for _ in 0..9 {
            answered(GET, &mut counters);
        }
        let (_, out) = answered("GET /~/state HTTP/1.1\r\n\r\n", &mut counters);
        let state: State = serde_json::from_str(out.split_once("\r\n\r\n").unwrap().1).unwrap();
        assert_eq!((state.requests, state.unrecorded, state.frozen_us), (9, 1, None));
        answered("GET /~/reset HTTP/1.1\r\n\r\n", &mut counters);
        assert_eq!(
            (counters.requests, counters.arrivals.len(), counters.first),
            (0, 0, None)
        );
    }

    #[test]
    fn it_stands_still_once_after_the_first_request() {
        let mut counters = Counters::new(Behaviour {
            record: 0,
            freeze_at_ms: Some(0),
            freeze_ms: 2,
        });
        counters.wake();
        assert_eq!(counters.frozen_us, None);
        answered(GET, &mut counters);
        counters.wake();
        assert!(counters.frozen_us.is_some_and(|frozen| frozen >= 2_000));
        let frozen = counters.frozen_us;
        counters.wake();
        assert_eq!(counters.frozen_us, frozen);
    }
}
