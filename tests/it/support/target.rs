//! A hand-written HTTP/1.1 server for load. It is no part of what is tested: it keeps books of its own.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, TcpListener as StdListener};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use socket2::{Domain, Socket, Type};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Connections that wait to be accepted while the server does nothing.
const BACKLOG: i32 = 8_192;
/// Longest head of a request.
const HEAD_MAX: usize = 16 * 1024;

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

/// What the server has seen.
#[derive(Debug, Default)]
struct Seen {
    requests: AtomicU64,
    /// How often each request with a number at the end of its path came.
    numbers: Mutex<BTreeMap<u64, u64>>,
    began: Notify,
}

/// A server on a thread of its own, which ends with the test.
#[derive(Debug)]
pub struct Target {
    /// Its base URL.
    pub url: String,
    seen: Arc<Seen>,
    stop: CancellationToken,
    thread: Option<JoinHandle<()>>,
}

impl Target {
    /// Starts a server that answers each path as `answer` says.
    pub fn start(answer: fn(&str) -> Answer, freeze: Option<Freeze>) -> Self {
        let listener = listen();
        let address = listener.local_addr().expect("a listener has an address");
        let (seen, stop) = (Arc::new(Seen::default()), CancellationToken::new());
        let (shared, stopped) = (Arc::clone(&seen), stop.clone());
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime starts");
            runtime.block_on(async {
                tokio::select! {
                    () = stopped.cancelled() => {}
                    () = accept(listener, answer, &shared) => {}
                    () = stand_still(freeze, &shared) => {}
                }
            });
        });
        Self {
            url: format!("http://{address}"),
            seen,
            stop,
            thread: Some(thread),
        }
    }

    /// Requests that have been read.
    pub fn requests(&self) -> u64 {
        self.seen.requests.load(Ordering::Relaxed)
    }

    /// The number at the end of each request's path, and how often it came.
    pub fn numbers(&self) -> BTreeMap<u64, u64> {
        self.seen.numbers.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        self.stop.cancel();
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

fn listen() -> StdListener {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket can be made");
    let any_port = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    socket.bind(&any_port.into()).expect("loopback has a free port");
    socket.listen(BACKLOG).expect("a bound socket listens");
    socket.set_nonblocking(true).expect("a socket can be made non-blocking");
    socket.into()
}

async fn accept(listener: StdListener, answer: fn(&str) -> Answer, seen: &Arc<Seen>) {
    let listener = TcpListener::from_std(listener).expect("the listener is non-blocking");
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => drop(connections.spawn(serve(stream, answer, Arc::clone(seen)))),
                Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
            },
        }
    }
}

async fn stand_still(freeze: Option<Freeze>, seen: &Seen) {
    if let Some(freeze) = freeze {
        seen.began.notified().await;
        tokio::time::sleep(freeze.after).await;
        // Blocks the only thread of the runtime, and with it everything that the server does.
        std::thread::sleep(freeze.length);
    }
    std::future::pending::<()>().await;
}

async fn serve(mut stream: TcpStream, answer: fn(&str) -> Answer, seen: Arc<Seen>) {
    // A failure of the option costs time only, and one of the connection ends it.
    let _slower = stream.set_nodelay(true);
    let mut buffer = Vec::with_capacity(1_024);
    while let Some(path) = next_request(&mut stream, &mut buffer).await {
        if seen.requests.fetch_add(1, Ordering::Relaxed) == 0 {
            seen.began.notify_one();
        }
        if let Some(number) = path.rsplit('/').next().and_then(|last| last.parse().ok()) {
            *seen
                .numbers
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .entry(number)
                .or_default() += 1;
        }
        let Answer { status, headers, delay } = answer(&path);
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        let answer = format!("HTTP/1.1 {status} Answer\r\ncontent-length: 3\r\n{headers}\r\nok\n");
        if stream.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}

/// The path of the next request; `None` when the client has gone, or sends what this server does not take: a body.
async fn next_request(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<String> {
    loop {
        if let Some(end) = buffer.windows(4).position(|four| four == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&buffer[..end]).into_owned();
            buffer.drain(..end + 4);
            return head.strip_prefix("GET ")?.split(' ').next().map(str::to_owned);
        }
        if buffer.len() > HEAD_MAX || stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    }
}
