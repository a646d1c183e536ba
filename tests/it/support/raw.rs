//! A server that misbehaves on purpose, one way for each test.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use socket2::SockRef;

/// How often the server looks whether it shall end.
const TICK: Duration = Duration::from_millis(10);
/// Longest head of a request.
const HEAD_MAX: usize = 16 * 1024;
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nok\n";

/// What the server does with each connection once it has read the first request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Resets the connection.
    Reset,
    /// Closes the connection without a word.
    HangUp,
    /// Sends half an answer, then closes.
    Half,
    /// Sends something that is not HTTP.
    Garbage,
    /// Says nothing and keeps the connection open.
    Silence,
    /// Answers the first request, reads the second one, and closes.
    OnlyOnce,
}

/// A server on a thread of its own, which ends with the test.
#[derive(Debug)]
pub struct Raw {
    /// Its base URL.
    pub url: String,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Raw {
    /// Starts the server.
    pub fn start(way: Way) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has a free port");
        listener
            .set_nonblocking(true)
            .expect("a socket can be made non-blocking");
        let address = listener.local_addr().expect("a listener has an address");
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut connections = Vec::new();
            while !stopped.load(Ordering::Relaxed) {
                match listener.accept() {
                    Ok((stream, _)) => {
                        let stopped = Arc::clone(&stopped);
                        connections.push(std::thread::spawn(move || serve(stream, way, &stopped)));
                    }
                    Err(_) => std::thread::sleep(TICK),
                }
            }
            for connection in connections {
                connection.join().expect("no connection panics");
            }
        });
        Self {
            url: format!("http://{address}"),
            stop,
            thread: Some(thread),
        }
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A panic of the server shows as a failed run.
            let _panicked = thread.join();
        }
    }
}

fn serve(mut stream: TcpStream, way: Way, stopped: &AtomicBool) {
    stream.set_nonblocking(false).expect("a socket can be made blocking");
    stream.set_read_timeout(Some(TICK)).expect("a limit can be set");
    if !read_head(&mut stream, stopped) {
        return;
    }
    // Whatever fails from here on is the client's affair; the test looks at what the client saw.
    let mut send = |bytes: &[u8]| stream.write_all(bytes).is_ok();
    match way {
        Way::Reset => {
            let lingering = SockRef::from(&stream).set_linger(Some(Duration::ZERO));
            lingering.expect("the socket takes the option");
        }
        Way::HangUp => {}
        Way::Half => {
            send(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\nhalf");
        }
        Way::Garbage => {
            send(b"220 this is not the server you are looking for\r\n\r\n");
        }
        Way::Silence => {
            read_head(&mut stream, stopped);
        }
        Way::OnlyOnce => {
            if send(ANSWER) {
                read_head(&mut stream, stopped);
            }
        }
    }
}

/// Reads a request without a body; `false` when the client has gone or the server shall end.
fn read_head(stream: &mut TcpStream, stopped: &AtomicBool) -> bool {
    let (mut head, mut part) = (Vec::new(), [0; 1_024]);
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read(&mut part) {
            Ok(0) => return false,
            Ok(read) => head.extend_from_slice(&part[..read]),
            Err(error) if is_waiting(&error) && !stopped.load(Ordering::Relaxed) => {}
            Err(_) => return false,
        }
        if head.len() > HEAD_MAX {
            return false;
        }
    }
    true
}

fn is_waiting(error: &std::io::Error) -> bool {
    matches!(
        error.kind(),
        std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut | std::io::ErrorKind::Interrupted
    )
}
