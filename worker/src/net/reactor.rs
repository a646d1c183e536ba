//! The sockets of one shard: which of them have something to say, and what is to be written to them, a batch at a time.
//!
//! The runtime can tell a task that its socket is ready, at the price of a dozen atomic operations for each answer. Here
//! nothing but this thread is concerned, and three steps are kept apart:
//!
//! 1. [`Reactor::look`] asks the kernel once for all that has happened, and reads every awaited answer at once, with the
//!    instant at which it was there: an answer does not look later because another one was worked on first.
//! 2. The slots go on: they take what was read, and hand in what they send next ([`Owned::gather`]).
//! 3. [`Reactor::flush`] sends it.
//!
//! # Invariants
//!
//! - What was handed in is given to the kernel once, or, when its connection is gone by then, not at all.
//! - Bytes that were read ahead stay where they are until the line's owner has taken them or is gone.
//! - Readiness is edge-triggered: what the kernel has said is forgotten only when a call has found nothing more.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::io::{self, IoSlice};
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};
use rustix::time::Timespec;
use slab::Slab;
use tokio::io::unix::AsyncFd;
use tokio::net::TcpStream;

use crate::clock::{Clock, Stamp};

/// Most events that one look takes, and most requests that wait to be sent.
pub(crate) const BATCH: usize = 64;
/// Bytes that can be read ahead.
const AHEAD_BYTES: usize = 64 * 1024;
/// Nothing is read ahead with less room than this.
const AHEAD_LEAST: usize = 4 * 1024;
/// A longer request is not copied, but written by its slot.
const GATHERED_MOST: usize = 4 * 1024;

/// What one shard's sockets share. Stays on the shard's thread.
pub struct Reactor {
    clock: Clock,
    epoll: AsyncFd<OwnedFd>,
    lines: RefCell<Slab<Rc<Line>>>,
    events: RefCell<Vec<epoll::Event>>,
    ahead: RefCell<Box<[u8]>>,
    /// Bytes of `ahead` in use.
    filled: Cell<usize>,
    /// Lines whose bytes are in `ahead`.
    held: Cell<usize>,
    bytes: RefCell<Vec<u8>>,
    writes: RefCell<Vec<Write>>,
    /// Whether the slots have their turn, so that what they send waits for the others.
    gathering: Cell<bool>,
}

/// What one line is to be sent: a part of the gathered bytes.
#[derive(Clone, Copy, Debug)]
struct Write {
    line: usize,
    end: usize,
    latest: Stamp,
}

/// One socket of a reactor.
#[derive(Debug)]
pub(crate) struct Line {
    socket: OwnedFd,
    readable: Cell<bool>,
    writable: Cell<bool>,
    /// The other side has ended or broken the connection: there is always something to read, if only the end.
    ended: Cell<bool>,
    /// Somebody waits for bytes.
    awaited: Cell<bool>,
    ahead: Cell<Option<Ahead>>,
    written: Cell<Option<Written>>,
    waker: RefCell<Option<Waker>>,
    received: Cell<u64>,
    sent: Cell<u64>,
}

/// What was read before it was asked for.
#[derive(Clone, Copy, Debug)]
struct Ahead {
    at: Stamp,
    from: usize,
    /// 0 = the end of the connection.
    count: Result<usize, Errno>,
}

/// What has come of a request that was handed in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Written {
    /// The instant before it was sent, or was not.
    pub(crate) at: Stamp,
    /// Bytes that the kernel has taken; `None` = it was too late to send any.
    pub(crate) count: Option<Result<usize, Errno>>,
}

/// A socket of a reactor in the hands of its owner, with whom it goes.
pub(crate) struct Owned {
    reactor: Rc<Reactor>,
    line: Rc<Line>,
    key: usize,
}

/// Puts a descriptor under the runtime's eyes.
///
/// # Errors
/// What the system says; outside of a runtime it panics.
#[expect(
    deprecated,
    reason = "the successor is `unsafe`, which this workspace forbids; what it asks for, a descriptor that stays open \
              as long as its registration, an `OwnedFd` that is never taken out keeps by its type"
)]
pub(crate) fn watch(descriptor: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::with_interest(descriptor, tokio::io::Interest::READABLE)
}

impl Reactor {
    /// A reactor without sockets. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// When the system has no descriptor for it.
    pub fn new(clock: Clock) -> io::Result<Rc<Self>> {
        let epoll = watch(epoll::create(CreateFlags::CLOEXEC)?)?;
        Ok(Rc::new(Self {
            clock,
            epoll,
            lines: RefCell::default(),
            events: RefCell::new(Vec::with_capacity(BATCH)),
            ahead: RefCell::new(vec![0; AHEAD_BYTES].into_boxed_slice()),
            filled: Cell::new(0),
            held: Cell::new(0),
            bytes: RefCell::default(),
            writes: RefCell::new(Vec::with_capacity(BATCH)),
            gathering: Cell::new(false),
        }))
    }

    /// Takes a connected socket from the runtime.
    pub(crate) fn adopt(self: &Rc<Self>, stream: TcpStream) -> io::Result<Owned> {
        let line = Rc::new(Line {
            socket: stream.into_std()?.into(),
            readable: Cell::new(false),
            writable: Cell::new(true),
            ended: Cell::new(false),
            awaited: Cell::new(false),
            ahead: Cell::new(None),
            written: Cell::new(None),
            waker: RefCell::new(None),
            received: Cell::new(0),
            sent: Cell::new(0),
        });
        let mut lines = self.lines.borrow_mut();
        let entry = lines.vacant_entry();
        let key = entry.key();
        let flags = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
        epoll::add(
            self.epoll.get_ref(),
            &line.socket,
            EventData::new_u64(key as u64),
            flags,
        )?;
        entry.insert(Rc::clone(&line));
        Ok(Owned {
            reactor: Rc::clone(self),
            line,
            key,
        })
    }

    /// Has the task of `cx` woken when something happens that no [`Reactor::look`] has seen.
    pub(crate) fn listen(&self, cx: &mut Context<'_>) {
        // What the runtime knows is older than the look that follows.
        while let Poll::Ready(Ok(mut known)) = self.epoll.poll_read_ready(cx) {
            known.clear_ready();
        }
    }

    /// Takes note of what has happened, at most [`BATCH`] things, reads what is awaited, and wakes those concerned. How much
    /// has happened.
    pub(crate) fn look(&self) -> usize {
        let lines = self.lines.borrow();
        if lines.is_empty() {
            return 0;
        }
        let mut events = self.events.borrow_mut();
        events.clear();
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        // It fails for want of a descriptor only, which there is.
        let _ = epoll::wait(self.epoll.get_ref(), spare_capacity(&mut *events), Some(&now));
        if self.held.get() == 0 {
            self.filled.set(0);
        }
        for event in events.iter() {
            let (key, flags) = (event.data.u64(), event.flags);
            let Some(line) = lines.get(key as usize) else { continue };
            line.note(flags);
            if line.awaited.get() {
                self.read_ahead(line);
            }
            line.wake();
        }
        events.len()
    }

    fn read_ahead(&self, line: &Line) {
        let mut ahead = self.ahead.borrow_mut();
        let from = self.filled.get();
        let room = &mut ahead[from..];
        if room.len() < AHEAD_LEAST || line.ahead.get().is_some() {
            return;
        }
        if let Some(count) = line.receive(room) {
            self.filled.set(from + count.unwrap_or(0));
            self.held.set(self.held.get() + 1);
            line.awaited.set(false);
            let at = self.clock.now();
            line.ahead.set(Some(Ahead { at, from, count }));
        }
    }

    /// From here until [`Reactor::flush`] what is handed in waits for the others.
    pub(crate) fn gather(&self) {
        self.gathering.set(true);
    }

    /// Sends what was handed in, and wakes those of whom not everything was sent.
    pub(crate) fn flush(&self) {
        self.gathering.set(false);
        let (lines, mut bytes) = (self.lines.borrow(), self.bytes.borrow_mut());
        let mut from = 0;
        for write in self.writes.borrow_mut().drain(..) {
            let bytes = &bytes[from..write.end];
            from = write.end;
            let Some(line) = lines.get(write.line) else { continue };
            let at = self.clock.now();
            let count = (at <= write.latest).then(|| line.send(bytes));
            line.written.set(Some(Written { at, count }));
            if count != Some(Ok(bytes.len())) {
                line.wake();
            }
        }
        bytes.clear();
    }

    fn forget(&self, key: usize) {
        let line = self.lines.borrow_mut().remove(key);
        if line.ahead.take().is_some() {
            self.held.set(self.held.get() - 1);
        }
        for write in self.writes.borrow_mut().iter_mut() {
            // Its bytes stay, for others come after them; the place may be another line's soon.
            if write.line == key {
                write.line = usize::MAX;
            }
        }
    }
}

impl Line {
    /// Takes note of what the kernel has said.
    fn note(&self, flags: EventFlags) {
        let end = EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR;
        if flags.intersects(end) {
            self.ended.set(true);
        }
        if flags.intersects(end | EventFlags::IN) {
            self.readable.set(true);
        }
        if flags.intersects(end | EventFlags::OUT) {
            self.writable.set(true);
        }
    }

    /// Reads what is there; `None` when nothing is.
    fn receive(&self, into: &mut [u8]) -> Option<Result<usize, Errno>> {
        if !self.readable.get() {
            return None;
        }
        loop {
            match rustix::net::recv(&self.socket, &mut *into, RecvFlags::empty()) {
                Ok((count, _)) => {
                    // Less than there was room for: nothing more is there, unless it is the end.
                    self.readable.set(count == into.len() || self.ended.get());
                    self.received.set(self.received.get() + count as u64);
                    return Some(Ok(count));
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => {
                    self.readable.set(false);
                    return None;
                }
                Err(error) => return Some(Err(error)),
            }
        }
    }

    fn send(&self, bytes: &[u8]) -> Result<usize, Errno> {
        self.count(|| rustix::net::send(&self.socket, bytes, SendFlags::NOSIGNAL))
    }

    /// Does a write and counts its bytes.
    fn count(&self, mut write: impl FnMut() -> Result<usize, Errno>) -> Result<usize, Errno> {
        loop {
            match write() {
                Ok(count) => {
                    self.sent.set(self.sent.get() + count as u64);
                    return Ok(count);
                }
                Err(Errno::INTR) => {}
                Err(error) => {
                    self.writable.set(error != Errno::AGAIN);
                    return Err(error);
                }
            }
        }
    }

    /// Notes who is polling, to be woken when something happens.
    fn register(&self, cx: &Context<'_>) {
        let mut waker = self.waker.borrow_mut();
        if !waker.as_ref().is_some_and(|known| known.will_wake(cx.waker())) {
            *waker = Some(cx.waker().clone());
        }
    }

    fn wake(&self) {
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
    }
}

impl Owned {
    /// Bytes received and sent.
    pub(crate) fn bytes(&self) -> (u64, u64) {
        (self.line.received.get(), self.line.sent.get())
    }

    /// Gives `take` the bytes that were read ahead, with the instant at which they were there.
    pub(crate) fn take_ahead<T>(&self, take: impl FnOnce(Stamp, io::Result<&[u8]>) -> T) -> Option<T> {
        let Ahead { at, from, count } = self.line.ahead.take()?;
        self.reactor.held.set(self.reactor.held.get() - 1);
        let ahead = self.reactor.ahead.borrow();
        let bytes = count.map(|count| &ahead[from..][..count]);
        Some(take(at, bytes.map_err(io::Error::from)))
    }

    /// Reads what is there; `None` when nothing is. Nobody is woken when that changes.
    pub(crate) fn try_read(&self, into: &mut [u8]) -> Option<io::Result<usize>> {
        let line = &*self.line;
        let Some(ahead) = line.ahead.get() else {
            return line.receive(into).map(|read| read.map_err(io::Error::from));
        };
        self.take_ahead(|_, read| {
            let bytes = read?;
            let (taken, left) = bytes.split_at(bytes.len().min(into.len()));
            into[..taken.len()].copy_from_slice(taken);
            if !left.is_empty() {
                self.reactor.held.set(self.reactor.held.get() + 1);
                let (from, count) = (ahead.from + taken.len(), Ok(left.len()));
                line.ahead.set(Some(Ahead { from, count, ..ahead }));
            }
            Ok(taken.len())
        })
    }

    /// As [`Owned::try_read`]; whoever polls is woken when there is something.
    pub(crate) fn poll_read(&self, cx: &Context<'_>, into: &mut [u8]) -> Poll<io::Result<usize>> {
        if let Some(read) = self.try_read(into) {
            return Poll::Ready(read);
        }
        self.line.awaited.set(true);
        self.line.register(cx);
        Poll::Pending
    }

    /// Writes as much as the socket takes.
    pub(crate) fn poll_write(&self, cx: &Context<'_>, parts: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let line = &*self.line;
        if line.writable.get() {
            let written = match parts {
                [one] => line.send(one),
                several => line.count(|| rustix::io::writev(&line.socket, several)),
            };
            match written {
                Err(Errno::AGAIN) => {}
                done => return Poll::Ready(Ok(done?)),
            }
        }
        line.register(cx);
        Poll::Pending
    }

    /// Hands in a whole request that is sent after the other slots have had their turn, if it is not later than `latest`
    /// then. Whether it was taken; if so, [`Owned::take_written`] tells what came of it, and the line's waker is woken if it
    /// was not sent as a whole.
    pub(crate) fn gather(&self, cx: &Context<'_>, parts: [&[u8]; 2], latest: Stamp) -> bool {
        let reactor = &*self.reactor;
        let length = parts[0].len() + parts[1].len();
        if !reactor.gathering.get()
            || !self.line.writable.get()
            || length > GATHERED_MOST
            || reactor.writes.borrow().len() >= BATCH
        {
            return false;
        }
        self.line.register(cx);
        let mut bytes = reactor.bytes.borrow_mut();
        bytes.extend_from_slice(parts[0]);
        bytes.extend_from_slice(parts[1]);
        let mut writes = reactor.writes.borrow_mut();
        writes.push(Write {
            line: self.key,
            end: bytes.len(),
            latest,
        });
        true
    }

    /// What has come of what was handed in; `None` while it waits.
    pub(crate) fn take_written(&self) -> Option<Written> {
        self.line.written.take()
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        self.reactor.forget(self.key);
    }
}

impl fmt::Debug for Reactor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reactor")
            .field("lines", &self.lines.borrow().len())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Owned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.line.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::io::Read;
    use std::net::TcpListener;
    use std::time::Duration;

    use super::*;

    /// A line and the other end of its connection, which never blocks.
    async fn pair(reactor: &Rc<Reactor>) -> (Owned, std::net::TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (peer, _) = listener.accept().unwrap();
        peer.set_nonblocking(true).unwrap();
        (reactor.adopt(stream).unwrap(), peer)
    }

    fn say(mut peer: &std::net::TcpStream, bytes: &[u8]) {
        std::io::Write::write_all(&mut peer, bytes).unwrap();
    }

    /// What has arrived at the other end; waits for so many bytes.
    async fn heard(mut peer: &std::net::TcpStream, count: usize) -> Vec<u8> {
        let mut all = Vec::new();
        for _ in 0..5_000 {
            let mut some = [0; 4_096];
            match peer.read(&mut some) {
                Ok(more) => all.extend_from_slice(&some[..more]),
                Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
            }
            if all.len() >= count {
                break;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        all
    }

    /// Looks, as a shard does, until `reached` says so; the waker is that of the test.
    async fn look_until(reactor: &Reactor, mut reached: impl FnMut(&mut Context<'_>) -> bool) {
        let waiting = poll_fn(|cx| {
            reactor.listen(cx);
            reactor.look();
            if reached(cx) { Poll::Ready(()) } else { Poll::Pending }
        });
        tokio::time::timeout(Duration::from_secs(20), waiting).await.unwrap();
    }

    fn pending(line: &Owned, cx: &Context<'_>) -> bool {
        line.poll_read(cx, &mut [0; 16]).is_pending()
    }

    #[tokio::test]
    async fn awaited_bytes_are_there_with_their_instant_before_they_are_asked_for() {
        let clock = Clock::boot();
        let reactor = Reactor::new(clock).unwrap();
        let (awaited, others) = (pair(&reactor).await, pair(&reactor).await);
        look_until(&reactor, |cx| pending(&awaited.0, cx)).await;
        say(&awaited.1, b"one");
        say(&others.1, b"two");
        look_until(&reactor, |_| {
            awaited.0.line.ahead.get().is_some() && others.0.line.readable.get()
        })
        .await;
        assert!(others.0.line.ahead.get().is_none(), "nobody waits for it");
        let later = clock.now();
        tokio::time::sleep(Duration::from_millis(2)).await;
        let (at, bytes) = awaited.0.take_ahead(|at, read| (at, read.unwrap().to_vec())).unwrap();
        assert_eq!(bytes, b"one");
        assert!(at <= later, "stamped when it was read");
        assert_eq!((awaited.0.bytes(), others.0.bytes()), ((3, 0), (0, 0)));
        let mut into = [0; 16];
        assert_eq!(others.0.try_read(&mut into).unwrap().unwrap(), 3);
        assert!(others.0.try_read(&mut into).is_none());
        assert_eq!(reactor.held.get(), 0);
    }

    #[tokio::test]
    async fn bytes_read_ahead_stay_until_they_are_taken_however_much_comes_after_them() {
        let reactor = Reactor::new(Clock::boot()).unwrap();
        let (kept, other) = (pair(&reactor).await, pair(&reactor).await);
        look_until(&reactor, |cx| pending(&kept.0, cx)).await;
        say(&kept.1, b"keep this");
        look_until(&reactor, |_| kept.0.line.ahead.get().is_some()).await;
        // More than there is room for: what no longer fits is left to be read by whoever waits for it.
        let (mut said, mut got) = (0, 0);
        while got < 3 * AHEAD_BYTES {
            if said == got {
                say(&other.1, &[b'x'; 8 * 1024]);
                said += 8 * 1024;
            }
            look_until(&reactor, |cx| match other.0.poll_read(cx, &mut [0; 1_000]) {
                Poll::Ready(read) => {
                    got += read.unwrap();
                    true
                }
                Poll::Pending => false,
            })
            .await;
        }
        let mut all = Vec::new();
        while let Some(read) = kept.0.try_read(&mut [0; 4]).map(Result::unwrap) {
            all.push(read);
        }
        assert_eq!(all, [4, 4, 1], "piece by piece");
        assert_eq!(kept.0.bytes(), (9, 0));
        drop(other);
        assert_eq!(reactor.held.get(), 0);
        // A line that goes away with something read ahead gives its room back.
        look_until(&reactor, |cx| pending(&kept.0, cx)).await;
        say(&kept.1, b"more");
        look_until(&reactor, |_| kept.0.line.ahead.get().is_some()).await;
        drop(kept);
        assert_eq!((reactor.held.get(), reactor.lines.borrow().len()), (0, 0));
    }

    #[tokio::test]
    async fn the_end_of_a_connection_is_seen_although_bytes_came_with_it() {
        let reactor = Reactor::new(Clock::boot()).unwrap();
        for awaited in [false, true] {
            let (line, peer) = pair(&reactor).await;
            if awaited {
                look_until(&reactor, |cx| pending(&line, cx)).await;
            }
            say(&peer, b"bye");
            drop(peer);
            let mut reads = Vec::new();
            look_until(&reactor, |cx| {
                while let Poll::Ready(read) = line.poll_read(cx, &mut [0; 16]) {
                    reads.push(read.unwrap());
                    if reads.last() == Some(&0) {
                        return true;
                    }
                }
                false
            })
            .await;
            assert_eq!(reads, [3, 0]);
        }
    }

    #[tokio::test]
    async fn what_is_handed_in_is_sent_together_and_only_for_those_who_are_still_there() {
        let reactor = Reactor::new(Clock::boot()).unwrap();
        let (first, gone, last) = (pair(&reactor).await, pair(&reactor).await, pair(&reactor).await);
        let cx = Context::from_waker(Waker::noop());
        let hand_in = |line: &Owned, text: &str| line.gather(&cx, [text.as_bytes(), b"!"], Stamp::FAR);
        assert!(!hand_in(&first.0, "early"), "nobody gathers yet");
        reactor.gather();
        assert!(hand_in(&first.0, "first") && hand_in(&gone.0, "gone") && hand_in(&last.0, "last"));
        assert!(
            !first.0.gather(&cx, [&[0; GATHERED_MOST], b"!"], Stamp::FAR),
            "too long"
        );
        assert_eq!((first.0.bytes().1, first.0.take_written().is_some()), (0, false));
        let (line, old) = gone;
        let key = line.key;
        drop(line);
        let heir = pair(&reactor).await;
        assert_eq!(heir.0.key, key, "a place is used again");
        reactor.flush();
        assert_eq!(heard(&first.1, 6).await, b"first!");
        assert_eq!(heard(&last.1, 5).await, b"last!");
        assert!(matches!(first.0.take_written().unwrap().count, Some(Ok(6))));
        assert!(first.0.take_written().is_none(), "told once");
        assert_eq!(first.0.bytes().1, 6);
        assert_eq!(heard(&old, 0).await, b"");
        assert_eq!((heir.0.bytes().1, heir.0.take_written().is_some()), (0, false));
        reactor.flush();
        assert_eq!(first.0.bytes().1, 6, "nothing is sent twice");
    }

    #[tokio::test]
    async fn what_is_too_late_or_more_than_the_socket_takes_is_told() {
        let clock = Clock::boot();
        let reactor = Reactor::new(clock).unwrap();
        let (line, peer) = pair(&reactor).await;
        let cx = Context::from_waker(Waker::noop());
        reactor.gather();
        assert!(line.gather(&cx, [b"late", b""], Stamp::from_us(0)));
        reactor.flush();
        assert!(line.take_written().unwrap().count.is_none());
        assert_eq!(line.bytes().1, 0);

        let block = vec![b'x'; 256 * 1024];
        let mut sent = 0;
        while let Poll::Ready(count) = line.poll_write(&cx, &[IoSlice::new(&block)]) {
            sent += count.unwrap();
        }
        assert!(!line.line.writable.get());
        reactor.gather();
        assert!(
            !line.gather(&cx, [b"more", b""], Stamp::FAR),
            "it would only have to wait"
        );
        reactor.flush();
        assert_eq!(heard(&peer, sent).await.len(), sent);
        look_until(&reactor, |cx| {
            line.poll_write(cx, &[IoSlice::new(b"on"), IoSlice::new(b"!")])
                .is_ready()
        })
        .await;
        assert_eq!(heard(&peer, 3).await, b"on!");
        assert_eq!(line.bytes().1, sent as u64 + 3);
    }
}
