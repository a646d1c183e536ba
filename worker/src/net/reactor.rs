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
//! A shard whose every request waits for an answer here has nothing else to look at until its timer rings. It sleeps on its own
//! sockets then ([`Reactor::wait`]) and not on the runtime's, which would cost it a second system call, and the runtime's way
//! to its tasks, for each wake-up.
//!
//! # Invariants
//!
//! - What was handed in is given to the kernel once, or, when its connection is gone by then, not at all.
//! - Bytes that were read ahead stay where they are until the line's owner has taken them or is gone.
//! - Readiness is edge-triggered: what the kernel has said is forgotten only when a call has found nothing more.
//! - It is slept on these sockets only while a timer is set that ends the sleep, and no timer of the runtime's that a request
//!   depends on ends before it.

use std::cell::{Cell, RefCell};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fmt;
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};
use rustix::time::Timespec;
use slab::Slab;
use tokio::io::unix::AsyncFd;
use tokio::net::TcpStream;

use crate::clock::{Clock, Stamp};

/// Most events that one call takes, and most requests that wait to be sent.
pub(crate) const BATCH: usize = 64;
/// Bytes that can be read ahead.
const AHEAD_BYTES: usize = 64 * 1024;
/// Nothing is read ahead with less room than this.
const AHEAD_LEAST: usize = 4 * 1024;
/// A longer request is not copied, but written by its slot.
const GATHERED_MOST: usize = 4 * 1024;
/// What the timer is known by, where lines have their places.
const BELL: u64 = u64::MAX;
/// A sleep that nothing ends is over after this. Longer than what is between two ticks of any kernel: a sleep with a limit
/// within the present tick has the kernel set its clock for it, which takes longer than the rest of the sleep does.
const SLEEP_MOST: Duration = Duration::from_millis(50);

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
    /// Lines whose bytes somebody waits for.
    awaited: Cell<usize>,
    /// When the timer rings that somebody sleeps on.
    bell: Cell<Option<Stamp>>,
    /// When timers of the runtime's end that requests depend on, the next first; perhaps some that ended not long ago.
    alarms: RefCell<BinaryHeap<Reverse<Stamp>>>,
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
    /// When the bytes were there that its owner has read last, if they were read ahead.
    read_at: Cell<Option<Stamp>>,
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
            awaited: Cell::new(0),
            bell: Cell::new(None),
            alarms: RefCell::default(),
        }))
    }

    /// Makes `timer` end a sleep on these sockets, once for each time it is set.
    pub(crate) fn mount_bell(&self, timer: impl AsFd) -> io::Result<()> {
        let flags = EventFlags::IN | EventFlags::ET;
        Ok(epoll::add(
            self.epoll.get_ref(),
            timer,
            EventData::new_u64(BELL),
            flags,
        )?)
    }

    /// The timer is set to ring at an instant, and there is nothing to do for whoever set it before then; or there is, so that
    /// it must not be waited for.
    pub(crate) fn set_bell(&self, at: Option<Stamp>) {
        self.bell.set(at);
    }

    /// A timer of the runtime's, on which a request depends, ends at `at`.
    pub(crate) fn set_alarm(&self, now: Stamp, at: Stamp) {
        let mut alarms = self.alarms.borrow_mut();
        forget_past(&mut alarms, now);
        alarms.push(Reverse(at));
    }

    /// Whether nothing concerns this thread but its sockets and the timer: each of `busy` slots waits for bytes, and no alarm
    /// comes before the bell.
    pub(crate) fn may_wait(&self, busy: usize) -> bool {
        let Some(bell) = self.bell.get().filter(|_| busy > 0 && busy == self.awaited.get()) else {
            return false;
        };
        let mut alarms = self.alarms.borrow_mut();
        let first = |alarms: &BinaryHeap<Reverse<Stamp>>| alarms.peek().is_some_and(|Reverse(at)| *at < bell);
        if first(&alarms) {
            forget_past(&mut alarms, self.clock.now());
        }
        !first(&alarms)
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
            read_at: Cell::new(None),
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

    /// Takes note of all that has happened, reads what is awaited, and wakes those concerned. How much has happened.
    pub(crate) fn look(&self) -> usize {
        self.see(Duration::ZERO)
    }

    /// The same, but sleeps until something has happened, or the timer rings, if it [may](Reactor::may_wait).
    pub(crate) fn wait(&self) -> usize {
        self.see(SLEEP_MOST)
    }

    fn see(&self, mut within: Duration) -> usize {
        let lines = self.lines.borrow();
        if lines.is_empty() {
            return 0;
        }
        let mut seen = 0;
        // Everything, and not a batch: after a standstill there are timers that have fired, and slots that they have woken must
        // not have their turn before what lies in their sockets is known. As many batches as the lines and the timer can fill.
        for first in (0..=lines.len()).step_by(BATCH) {
            let (count, full) = self.see_batch(&lines, within, first == 0);
            seen += count;
            if !full {
                break;
            }
            within = Duration::ZERO;
        }
        seen
    }

    /// Takes note of at most [`BATCH`] things. How many of them are not the timer, and whether there may be more.
    fn see_batch(&self, lines: &Slab<Rc<Line>>, within: Duration, is_first: bool) -> (usize, bool) {
        let mut events = self.events.borrow_mut();
        events.clear();
        let within = Timespec {
            tv_sec: 0,
            tv_nsec: within.subsec_nanos().into(),
        };
        // It fails for want of a descriptor, which there is, or when a signal ends the sleep, which is as if nothing had come.
        let _ = epoll::wait(self.epoll.get_ref(), spare_capacity(&mut *events), Some(&within));
        if is_first && self.held.get() == 0 {
            self.filled.set(0);
        }
        let mut seen = events.len();
        for event in events.iter() {
            let (key, flags) = (event.data.u64(), event.flags);
            if key == BELL {
                seen -= 1;
                self.bell.set(None);
                continue;
            }
            let Some(line) = lines.get(key as usize) else { continue };
            line.note(flags);
            if line.awaited.get() {
                self.read_ahead(line);
            }
            line.wake();
        }
        (seen, events.len() == BATCH)
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
            self.set_awaited(line, false);
            let at = self.clock.now();
            line.ahead.set(Some(Ahead { at, from, count }));
        }
    }

    fn set_awaited(&self, line: &Line, awaited: bool) {
        let before = usize::from(line.awaited.replace(awaited));
        self.awaited.set(self.awaited.get() - before + usize::from(awaited));
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

    /// Lines of which something was read ahead that nobody has taken.
    #[cfg(test)]
    pub(crate) fn held(&self) -> usize {
        self.held.get()
    }

    fn forget(&self, key: usize) {
        let line = self.lines.borrow_mut().remove(key);
        self.set_awaited(&line, false);
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

fn forget_past(alarms: &mut BinaryHeap<Reverse<Stamp>>, now: Stamp) {
    while alarms.peek().is_some_and(|Reverse(at)| *at <= now) {
        alarms.pop();
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

    /// The instant at which the bytes were there that the latest read has given, if they had been read ahead. Told once.
    pub(crate) fn take_read_at(&self) -> Option<Stamp> {
        self.line.read_at.take()
    }

    /// Whether there are bytes that were read ahead and nobody has taken.
    pub(crate) fn is_ahead(&self) -> bool {
        self.line.ahead.get().is_some()
    }

    /// Reads what is there; `None` when nothing is. Nobody is woken when that changes.
    pub(crate) fn try_read(&self, into: &mut [u8]) -> Option<io::Result<usize>> {
        let line = &*self.line;
        // Whoever reads is not waiting, whatever comes of it.
        self.reactor.set_awaited(line, false);
        let Some(ahead) = line.ahead.get() else {
            line.read_at.set(None);
            return line.receive(into).map(|read| read.map_err(io::Error::from));
        };
        line.read_at.set(Some(ahead.at));
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
        self.reactor.set_awaited(&self.line, true);
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
mod tests;
