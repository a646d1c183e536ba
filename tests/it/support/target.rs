//! A hand-written HTTP/1.1 server for load. It is no part of what is tested: it keeps books of its own.
//!
//! One thread, one epoll loop, as little work per request as possible: after a standstill it must answer a thousand
//! waiting requests within a few hundredths of a second, in a debug build, or it would measure itself.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::event::{Timespec, epoll};
use socket2::{Domain, Socket, Type};

use super::quiet::pressure;

/// Connections that wait to be accepted while the server does nothing.
const BACKLOG: i32 = 8_192;
/// Longest head of a request.
const HEAD_MAX: usize = 16 * 1024;
/// Events taken at once.
const EVENTS: usize = 1_024;
/// The server looks this often whether it shall end.
const STOP_LOOK: Duration = Duration::from_millis(50);
/// How long after a standstill the server may be busy with what has come up.
const CATCH_UP: Duration = Duration::from_millis(300);
/// The event of the listener; connections count from 1.
const LISTENER: u64 = 0;

/// What the server answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// Header lines, each with its line end.
    pub headers: &'static str,
    /// How long it takes.
    pub delay: Duration,
}

/// A stretch in which the whole server stands still: it neither accepts nor reads nor answers.
#[derive(Clone, Copy, Debug)]
pub struct Freeze {
    /// Begin, from the first request on.
    pub after: Duration,
    /// Length.
    pub length: Duration,
}

/// A request with a number at the end of its path.
#[derive(Clone, Copy, Debug)]
struct Numbered {
    number: u64,
    read_at: Instant,
    answered_at: Option<Instant>,
}

/// What the server has seen.
#[derive(Debug, Default)]
struct Seen {
    requests: AtomicU64,
    /// Each request with a number at the end of its path.
    numbered: Mutex<Vec<Numbered>>,
    stop: AtomicBool,
    /// How long the server waited for a processor while it caught up, in ns.
    waited_ns: AtomicU64,
    /// How long some thread of the machine waited for one meanwhile, in ns.
    pressure_ns: AtomicU64,
}

/// A server on a thread of its own, which ends with the test.
#[derive(Debug)]
pub struct Target {
    /// Its base URL.
    pub url: String,
    seen: Arc<Seen>,
    thread: Option<JoinHandle<()>>,
}

impl Target {
    /// Starts a server that answers each path as `answer` says.
    pub fn start(answer: fn(&str) -> Answer, freeze: Option<Freeze>) -> Self {
        let listener = listen();
        let address = listener.local_addr().expect("a listener has an address");
        let seen = Arc::new(Seen::default());
        let mut server = Server::new(listener, answer, freeze, Arc::clone(&seen));
        let thread = std::thread::spawn(move || server.run());
        Self {
            url: format!("http://{address}"),
            seen,
            thread: Some(thread),
        }
    }

    /// Requests that have been read.
    pub fn requests(&self) -> u64 {
        self.seen.requests.load(Ordering::Relaxed)
    }

    /// How long the server was ready and waited for a processor while it caught up after the standstill, and how long
    /// some thread of this machine did. Zero where the kernel keeps no account.
    pub fn waited(&self) -> (Duration, Duration) {
        let read = |ns: &AtomicU64| Duration::from_nanos(ns.load(Ordering::Relaxed));
        (read(&self.seen.waited_ns), read(&self.seen.pressure_ns))
    }

    /// The number at the end of each request's path, and how often it came.
    pub fn numbers(&self) -> BTreeMap<u64, u64> {
        let mut times = BTreeMap::new();
        for request in self.numbered().iter() {
            *times.entry(request.number).or_default() += 1;
        }
        times
    }

    /// The server's own account of the response times, in order: from the instant at which request n of a constant rate
    /// was due, one every `gap`, to the one at which its answer was written. Nobody can have had an answer earlier. The
    /// schedule's begin is the latest one under which no request came before it was due.
    pub fn responses(&self, gap: Duration) -> Vec<Duration> {
        let requests = self.numbered();
        let due = |request: &Numbered| gap * u32::try_from(request.number).expect("few requests");
        let begin = requests
            .iter()
            .filter_map(|request| request.read_at.checked_sub(due(request)))
            .min();
        let answered = requests
            .iter()
            .filter_map(|request| Some((request, request.answered_at?)));
        let mut responses: Vec<Duration> = answered
            .zip(begin.into_iter().cycle())
            .map(|((request, at), begin)| at.saturating_duration_since(begin + due(request)))
            .collect();
        responses.sort_unstable();
        responses
    }

    fn numbered(&self) -> MutexGuard<'_, Vec<Numbered>> {
        self.seen.numbered.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        self.seen.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A panic of the server shows as a failed run.
            let _panicked = thread.join();
        }
    }
}

/// Whether this machine lets `connections` wait to be accepted.
pub fn can_queue(connections: u32) -> bool {
    let limit = std::fs::read_to_string("/proc/sys/net/core/somaxconn").unwrap_or_default();
    limit.trim().parse::<u32>().is_ok_and(|limit| limit >= connections)
}

fn listen() -> TcpListener {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket can be made");
    let any_port = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    socket.bind(&any_port.into()).expect("loopback has a free port");
    socket.listen(BACKLOG).expect("a bound socket listens");
    socket.set_nonblocking(true).expect("a socket can be made non-blocking");
    socket.into()
}

#[expect(clippy::disallowed_methods, reason = "the clock of a test's own server")]
fn now() -> Instant {
    Instant::now()
}

/// How long this thread has been ready and waited for a processor, in ns.
fn waited_ns() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    text.split(' ').nth(1).and_then(|ns| ns.parse().ok()).unwrap_or(0)
}

struct Connection {
    stream: TcpStream,
    /// What has been read of the next request.
    head: Vec<u8>,
    answer: Option<Answer>,
    /// Place of the present request among the numbered ones.
    numbered: Option<usize>,
}

struct Server {
    epoll: OwnedFd,
    listener: TcpListener,
    answer: fn(&str) -> Answer,
    freeze: Option<Freeze>,
    seen: Arc<Seen>,
    connections: BTreeMap<u64, Connection>,
    opened: u64,
    /// When which connection is to be answered.
    due: BinaryHeap<Reverse<(Instant, u64)>>,
    /// Begin of the standstill, once the first request has come.
    freeze_at: Option<Instant>,
    /// When it will have caught up, and how long it and some thread had waited for a processor before.
    caught_up: Option<(Instant, u64, Duration)>,
}

impl Server {
    fn new(listener: TcpListener, answer: fn(&str) -> Answer, freeze: Option<Freeze>, seen: Arc<Seen>) -> Self {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).expect("an epoll can be made");
        let flags = epoll::EventFlags::IN;
        epoll::add(&epoll, &listener, epoll::EventData::new_u64(LISTENER), flags).expect("a listener can be watched");
        Self {
            epoll,
            listener,
            answer,
            freeze,
            seen,
            connections: BTreeMap::new(),
            opened: 0,
            due: BinaryHeap::new(),
            freeze_at: None,
            caught_up: None,
        }
    }

    fn run(&mut self) {
        let mut events = Vec::with_capacity(EVENTS);
        while !self.seen.stop.load(Ordering::Relaxed) {
            self.stand_still();
            events.clear();
            match epoll::wait(
                &self.epoll,
                rustix::buffer::spare_capacity(&mut events),
                Some(&self.patience()),
            ) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => panic!("waiting for events failed: {error}"),
            }
            for event in &events {
                match event.data.u64() {
                    LISTENER => self.accept(),
                    connection => self.read(connection),
                }
            }
            self.answer_due();
        }
    }

    fn stand_still(&mut self) {
        if let Some(freeze) = self.freeze.filter(|_| self.freeze_at.is_some_and(|at| at <= now())) {
            self.freeze = None;
            let waited = waited_ns();
            std::thread::sleep(freeze.length);
            self.caught_up = Some((now() + CATCH_UP, waited, pressure().unwrap_or_default()));
        }
        if let Some((_, waited, pressed)) = self.caught_up.take_if(|(at, ..)| *at <= now()) {
            let waited = waited_ns().saturating_sub(waited);
            self.seen.waited_ns.store(waited, Ordering::Relaxed);
            let pressed = pressure().unwrap_or_default().saturating_sub(pressed);
            let ns = u64::try_from(pressed.as_nanos()).unwrap_or(u64::MAX);
            self.seen.pressure_ns.store(ns, Ordering::Relaxed);
        }
    }

    /// Time to the next thing to do.
    fn patience(&self) -> Timespec {
        let next = self.due.peek().map(|Reverse((at, _))| *at);
        let freeze = self.freeze.and(self.freeze_at);
        let next = [next, freeze].into_iter().flatten().min();
        let wait = next.map_or(STOP_LOOK, |at| at.saturating_duration_since(now()).min(STOP_LOOK));
        Timespec::try_from(wait).expect("less than a second fits")
    }

    fn accept(&mut self) {
        // An error is that of a connection that has gone again, or that nothing more waits.
        while let Ok((stream, _)) = self.listener.accept() {
            self.opened += 1;
            let id = self.opened;
            let watched = stream.set_nonblocking(true).is_ok()
                && epoll::add(
                    &self.epoll,
                    &stream,
                    epoll::EventData::new_u64(id),
                    epoll::EventFlags::IN,
                )
                .is_ok();
            if watched {
                self.connections.insert(
                    id,
                    Connection {
                        stream,
                        head: Vec::new(),
                        answer: None,
                        numbered: None,
                    },
                );
                self.read(id);
                // A thousand others may wait to be accepted.
                self.answer_due();
            }
        }
    }

    fn read(&mut self, id: u64) {
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        let mut buffer = [0; 2_048];
        match connection.stream.read(&mut buffer) {
            Ok(0) => drop(self.connections.remove(&id)),
            Ok(length) => {
                connection.head.extend_from_slice(&buffer[..length]);
                // Clients send nothing after a request until it is answered.
                if connection.head.ends_with(b"\r\n\r\n") {
                    self.take_request(id);
                } else if connection.head.len() > HEAD_MAX {
                    self.connections.remove(&id);
                }
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(_) => drop(self.connections.remove(&id)),
        }
    }

    fn take_request(&mut self, id: u64) {
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        let head = std::mem::take(&mut connection.head);
        let line = head.split(|byte| *byte == b'\r').next().unwrap_or_default();
        let path = std::str::from_utf8(line)
            .ok()
            .and_then(|line| line.strip_prefix("GET ")?.split(' ').next());
        let Some(path) = path else {
            self.connections.remove(&id);
            return;
        };
        let now = now();
        if self.seen.requests.fetch_add(1, Ordering::Relaxed) == 0 {
            self.freeze_at = self.freeze.map(|freeze| now + freeze.after);
        }
        let number = path.rsplit('/').next().and_then(|last| last.parse().ok());
        connection.numbered = number.map(|number| {
            let mut numbered = self.seen.numbered.lock().unwrap_or_else(PoisonError::into_inner);
            numbered.push(Numbered {
                number,
                read_at: now,
                answered_at: None,
            });
            numbered.len() - 1
        });
        let answer = (self.answer)(path);
        self.due.push(Reverse((now + answer.delay, id)));
        connection.answer = Some(answer);
    }

    fn answer_due(&mut self) {
        while let Some(Reverse((_, id))) = self.due.peek().filter(|Reverse((at, _))| *at <= now()).copied() {
            self.due.pop();
            let Some(connection) = self.connections.get_mut(&id) else {
                continue;
            };
            let Some(Answer { status, headers, .. }) = connection.answer.take() else {
                continue;
            };
            let answer = format!("HTTP/1.1 {status} Answer\r\ncontent-length: 3\r\n{headers}\r\nok\n");
            if let Some(place) = connection.numbered.take() {
                let mut numbered = self.seen.numbered.lock().unwrap_or_else(PoisonError::into_inner);
                numbered[place].answered_at = Some(now());
            }
            // So short an answer is written as a whole, or the connection is broken.
            if !connection
                .stream
                .write(answer.as_bytes())
                .is_ok_and(|written| written == answer.len())
            {
                self.connections.remove(&id);
            }
        }
    }
}
