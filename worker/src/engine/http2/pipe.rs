//! One connection's socket, in the form that the HTTP/2 library drives, with exact byte counts.

use std::cell::{Cell, RefCell};
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::clock::{Clock, Stamp};
use crate::net::wire::{CUT, Wire, as_tls};

/// Bytes taken from the socket in one turn of a connection. Those who wait for its answers come first after that, so that
/// a flood of frames is judged in pieces, however fast it arrives.
const TURN_BYTES: usize = 256 * 1024;
/// What a server that does not know HTTP/2 begins its refusal with.
const HTTP1: &[u8] = b"HTTP/1.";

const FRAME_HEAD_BYTES: usize = 9;
/// What a client sends before its first frame (RFC 9113, section 3.4).
const PREFACE_BYTES: usize = 24;
/// Kinds of frames, and flags of them.
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const PADDED: u8 = 8;
/// Another, and what its payload begins with: the last stream that is served, and the reason.
const GO_AWAY: u8 = 7;
const GO_AWAY_BYTES: usize = 8;

/// How a socket stopped giving and taking bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum SocketEnd {
    /// The server closed in an orderly way.
    Closed,
    /// The connection broke; with TLS's own word or the system's.
    Broken {
        /// It was TLS that broke.
        tls: bool,
        /// What was said.
        text: String,
    },
}

/// Follows the frames of what is received, by their beginnings alone.
#[derive(Debug, Default)]
struct Frames {
    /// The beginning of a frame that is not told apart yet: its head, and the length of its padding or a farewell's reason.
    begun: [u8; FRAME_HEAD_BYTES + GO_AWAY_BYTES],
    have: usize,
    /// Bytes that belong to the frame told apart last.
    skip: usize,
    /// Frames of a body that held nothing and did not end it.
    empty: usize,
    /// Why the server gives up the connection, once it has named an error.
    given_up: Option<u32>,
    /// The server has announced that it will close, for no error.
    farewell: bool,
    /// The stream that ends with the frame told apart last.
    ends: Option<u32>,
}

impl Frames {
    /// Tells `ended` of every stream of which the last frame has been received whole.
    fn follow(&mut self, mut bytes: &[u8], mut ended: impl FnMut(u32)) {
        loop {
            let skipped = self.skip.min(bytes.len());
            self.skip -= skipped;
            bytes = &bytes[skipped..];
            if self.skip == 0
                && let Some(stream) = self.ends.take()
            {
                ended(stream);
            }
            if bytes.is_empty() {
                return;
            }
            let wanted = self.wanted() - self.have;
            let taken = wanted.min(bytes.len());
            self.begun[self.have..][..taken].copy_from_slice(&bytes[..taken]);
            self.have += taken;
            bytes = &bytes[taken..];
            if self.have == self.wanted() {
                self.tell_apart();
            }
        }
    }

    /// Bytes by which the frame at hand is told apart.
    fn wanted(&self) -> usize {
        if self.have < FRAME_HEAD_BYTES {
            FRAME_HEAD_BYTES
        } else if self.is_go_away() {
            FRAME_HEAD_BYTES + GO_AWAY_BYTES
        } else {
            FRAME_HEAD_BYTES + usize::from(self.is_padded())
        }
    }

    fn is_go_away(&self) -> bool {
        self.begun[3] == GO_AWAY && self.length() >= GO_AWAY_BYTES
    }

    fn is_padded(&self) -> bool {
        self.begun[3] == DATA && self.begun[4] & PADDED != 0 && self.length() > 0
    }

    fn length(&self) -> usize {
        usize::from(self.begun[0]) << 16 | usize::from(self.begun[1]) << 8 | usize::from(self.begun[2])
    }

    fn tell_apart(&mut self) {
        let length = self.length();
        self.skip = length - (self.have - FRAME_HEAD_BYTES);
        let padding = if self.is_padded() {
            usize::from(self.begun[FRAME_HEAD_BYTES]) + 1
        } else {
            0
        };
        if self.begun[3] == DATA && self.begun[4] & END_STREAM == 0 && length == padding {
            self.empty += 1;
        }
        let whole = match self.begun[3] {
            DATA => END_STREAM,
            HEADERS => END_STREAM | END_HEADERS,
            _ => 0,
        };
        if whole != 0 && self.begun[4] & whole == whole {
            let stream = [self.begun[5] & 0x7f, self.begun[6], self.begun[7], self.begun[8]];
            self.ends = Some(u32::from_be_bytes(stream));
        }
        if self.is_go_away() {
            let reason = self.begun[FRAME_HEAD_BYTES + 4..].try_into().map(u32::from_be_bytes);
            self.farewell |= reason.is_ok_and(|reason| reason == 0);
            // A farewell without an error takes nothing back.
            self.given_up = self.given_up.or(reason.ok().filter(|reason| *reason != 0));
        }
        self.have = 0;
    }
}

/// Follows the frames of what is sent: how much of the bodies among it has gone.
#[derive(Debug)]
struct Sent {
    /// The beginning of the frame's head.
    begun: [u8; FRAME_HEAD_BYTES],
    have: usize,
    /// Bytes of the frame's payload that are to come, at first of the preface.
    left: usize,
    /// Whose body they are.
    body_of: Option<u32>,
}

impl Default for Sent {
    fn default() -> Self {
        Self {
            begun: [0; FRAME_HEAD_BYTES],
            have: 0,
            left: PREFACE_BYTES,
            body_of: None,
        }
    }
}

impl Sent {
    /// Tells `body` of every part of a body, with its stream. The library pads no frame.
    fn follow(&mut self, mut bytes: &[u8], mut body: impl FnMut(u32, usize)) {
        while !bytes.is_empty() {
            let gone = self.left.min(bytes.len());
            if let Some(stream) = self.body_of.filter(|_| gone > 0) {
                body(stream, gone);
            }
            self.left -= gone;
            bytes = &bytes[gone..];
            let taken = (FRAME_HEAD_BYTES - self.have).min(bytes.len());
            self.begun[self.have..][..taken].copy_from_slice(&bytes[..taken]);
            self.have += taken;
            bytes = &bytes[taken..];
            if self.have == FRAME_HEAD_BYTES {
                let [a, b, c, kind, _, stream @ ..] = self.begun;
                self.left = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
                self.body_of = (kind == DATA).then(|| u32::from_be_bytes(stream) & 0x7fff_ffff);
                self.have = 0;
            }
        }
    }
}

/// A stream with a body of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Watched {
    stream: u32,
    /// Its answer has been received to the end.
    ended: bool,
    /// Bytes of our body that the socket has taken.
    sent: u64,
    /// When it took some last.
    sent_at: Option<Stamp>,
}

/// What is known of a socket outside of the library that drives it.
#[derive(Debug, Default)]
pub(super) struct Gauge {
    /// Bytes received and sent so far, TLS overhead included.
    bytes: Cell<(u64, u64)>,
    /// How much of them some request already carries.
    attributed: Cell<(u64, u64)>,
    /// The socket takes no bytes at present.
    blocked: Cell<bool>,
    /// Bytes that may still be taken from the socket in this turn.
    turn: Cell<usize>,
    spoke_http1: Cell<bool>,
    /// Frames of bodies that held nothing and ended nothing.
    empty_frames: Cell<usize>,
    /// Why the server gives up the connection, once it has named an error.
    given_up: Cell<Option<u32>>,
    farewell: Cell<bool>,
    /// Streams whose end is asked for, and how much of their bodies has gone.
    watched: RefCell<Vec<Watched>>,
    end: RefCell<Option<SocketEnd>>,
}

impl Gauge {
    /// Begins a turn of the connection.
    pub(super) fn begin_turn(&self) {
        self.turn.set(TURN_BYTES);
    }

    /// Bytes received so far.
    pub(super) fn received(&self) -> u64 {
        self.bytes.get().0
    }

    /// Received and sent bytes that no request carries yet; they are carried by the caller's from now on.
    pub(super) fn attribute(&self) -> (u64, u64) {
        let (bytes, before) = (self.bytes.get(), self.attributed.replace(self.bytes.get()));
        (bytes.0 - before.0, bytes.1 - before.1)
    }

    /// Whether the socket takes no bytes at present.
    pub(super) fn is_blocked(&self) -> bool {
        self.blocked.get()
    }

    /// Whether the server's first bytes were those of HTTP/1.
    pub(super) fn spoke_http1(&self) -> bool {
        self.spoke_http1.get()
    }

    /// Frames of bodies, so far, that held nothing and ended nothing.
    pub(super) fn empty_frames(&self) -> usize {
        self.empty_frames.get()
    }

    /// The error for which the server has said that it gives up the connection.
    pub(super) fn given_up(&self) -> Option<u32> {
        self.given_up.get()
    }

    /// Whether the server has announced that it will close, for no error.
    pub(super) fn has_said_farewell(&self) -> bool {
        self.farewell.get()
    }

    /// Looks out for the end of a stream and for its body, from before it has begun.
    pub(super) fn watch(&self, stream: u32) {
        self.watched.borrow_mut().push(Watched {
            stream,
            ended: false,
            sent: 0,
            sent_at: None,
        });
    }

    pub(super) fn unwatch(&self, stream: u32) {
        self.watched.borrow_mut().retain(|watched| watched.stream != stream);
    }

    /// Whether a stream that is looked out for has been received to its end.
    pub(super) fn has_ended(&self, stream: u32) -> bool {
        self.watched(stream).is_some_and(|watched| watched.ended)
    }

    /// Bytes that the socket has taken of the body of a stream that is looked out for.
    pub(super) fn body_sent(&self, stream: u32) -> u64 {
        self.watched(stream).map_or(0, |watched| watched.sent)
    }

    /// When the socket took some of them last.
    pub(super) fn body_sent_at(&self, stream: u32) -> Option<Stamp> {
        self.watched(stream)?.sent_at
    }

    fn watched(&self, stream: u32) -> Option<Watched> {
        self.watched
            .borrow()
            .iter()
            .find(|watched| watched.stream == stream)
            .copied()
    }

    fn change(&self, stream: u32, change: impl FnOnce(&mut Watched)) {
        let mut watched = self.watched.borrow_mut();
        if let Some(watched) = watched.iter_mut().find(|watched| watched.stream == stream) {
            change(watched);
        }
    }

    fn stream_ended(&self, stream: u32) {
        self.change(stream, |watched| watched.ended = true);
    }

    fn body_went(&self, stream: u32, bytes: usize, at: Stamp) {
        self.change(stream, |watched| {
            watched.sent += bytes as u64;
            watched.sent_at = Some(at);
        });
    }

    /// How the socket ended, once it has.
    pub(super) fn end(&self) -> Option<SocketEnd> {
        self.end.borrow().clone()
    }

    fn ended(&self, end: SocketEnd) {
        // What happened first is the cause of whatever follows.
        self.end.borrow_mut().get_or_insert(end);
    }

    fn broken(&self, error: &io::Error) {
        self.ended(SocketEnd::Broken {
            tls: as_tls(error).is_some(),
            text: match error.kind() {
                io::ErrorKind::UnexpectedEof => CUT.to_owned(),
                _ => error.to_string(),
            },
        });
    }
}

/// The socket. Reads take as much as there is with one system call, whatever the library's own buffer holds.
#[derive(Debug)]
pub(super) struct Pipe {
    clock: Clock,
    wire: Wire,
    gauge: Rc<Gauge>,
    /// The shard's read buffer.
    scratch: Rc<RefCell<Box<[u8]>>>,
    /// What was read and did not fit into the library's buffer, and how much of it has been given since.
    rest: Vec<u8>,
    given: usize,
    frames: Frames,
    sent: Sent,
    /// Nothing has been read yet.
    fresh: bool,
}

impl Pipe {
    pub(super) fn new(clock: Clock, wire: Wire, gauge: Rc<Gauge>, scratch: Rc<RefCell<Box<[u8]>>>) -> Self {
        let pipe = Self {
            clock,
            wire,
            gauge,
            scratch,
            rest: Vec::new(),
            given: 0,
            frames: Frames::default(),
            sent: Sent::default(),
            fresh: true,
        };
        // The handshake's.
        pipe.count();
        pipe
    }

    fn count(&self) {
        self.gauge.bytes.set(self.wire.bytes());
    }

    /// Gives what an earlier read has left.
    fn give_rest(&mut self, into: &mut ReadBuf<'_>) {
        let left = &self.rest[self.given..];
        let count = left.len().min(into.remaining());
        into.put_slice(&left[..count]);
        self.given += count;
        if self.given == self.rest.len() {
            self.rest = Vec::new();
            self.given = 0;
        }
    }

    /// Notes whether the socket took what it was offered.
    fn wrote<T>(&self, polled: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        self.count();
        self.gauge.blocked.set(polled.is_pending());
        if let Poll::Ready(Err(error)) = &polled {
            self.gauge.broken(error);
        }
        polled
    }
}

impl AsyncRead for Pipe {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if !self.rest.is_empty() {
            self.give_rest(into);
            return Poll::Ready(Ok(()));
        }
        let turn = self.gauge.turn.get();
        if turn == 0 {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let pipe = &mut *self;
        let mut scratch = pipe.scratch.borrow_mut();
        let read = ready!(pipe.wire.poll_read(cx, &mut scratch));
        pipe.gauge.bytes.set(pipe.wire.bytes());
        let count = match read {
            Ok(0) => {
                pipe.gauge.ended(SocketEnd::Closed);
                return Poll::Ready(Ok(()));
            }
            Ok(count) => count,
            Err(error) => {
                pipe.gauge.broken(&error);
                return Poll::Ready(Err(error));
            }
        };
        pipe.gauge.turn.set(turn.saturating_sub(count));
        let bytes = &scratch[..count];
        if std::mem::take(&mut pipe.fresh) {
            pipe.gauge.spoke_http1.set(bytes.starts_with(HTTP1));
        }
        let gauge = &pipe.gauge;
        pipe.frames.follow(bytes, |stream| gauge.stream_ended(stream));
        pipe.gauge.farewell.set(pipe.frames.farewell);
        pipe.gauge.empty_frames.set(pipe.frames.empty);
        pipe.gauge.given_up.set(pipe.frames.given_up);
        let (now, later) = bytes.split_at(count.min(into.remaining()));
        into.put_slice(now);
        pipe.rest.extend_from_slice(later);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Pipe {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, from: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(from)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        from: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = self.wire.poll_write(cx, from);
        if let Poll::Ready(Ok(count)) = &polled {
            let pipe = &mut *self;
            let mut left = *count;
            for slice in from {
                let taken = &slice[..left.min(slice.len())];
                let (clock, gauge) = (pipe.clock, &pipe.gauge);
                let went = |stream, bytes| gauge.body_went(stream, bytes, clock.now());
                pipe.sent.follow(taken, went);
                left -= taken.len();
            }
        }
        self.wrote(polled)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = self.wire.poll_flush(cx);
        self.wrote(polled)
    }

    /// The socket closes when it is dropped, which is what follows.
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_flush(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_of_bodies_is_counted_however_it_goes() {
        let frame = |kind: u8, stream: u8, payload: usize| {
            let head = [0, (payload >> 8) as u8, payload as u8, kind, 0, 0x80, 0, 0, stream];
            [&head[..], &vec![kind; payload]].concat()
        };
        let all = [
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
            frame(4, 0, 18),
            frame(HEADERS, 1, 30),
            frame(DATA, 1, 300),
            frame(DATA, 3, 7),
            frame(8, 0, 4),
            frame(DATA, 1, 0),
            frame(DATA, 3, 1),
        ]
        .concat();
        for length in 1..=all.len() {
            let (mut sent, mut counts) = (Sent::default(), [0; 4]);
            for piece in all.chunks(length) {
                sent.follow(piece, |stream, bytes| counts[stream as usize] += bytes);
            }
            assert_eq!(
                (counts, sent.have, sent.left),
                ([0, 300, 0, 8], 0, 0),
                "in pieces of {length}"
            );
        }
    }

    #[test]
    fn a_farewells_error_is_kept_however_it_arrives() {
        let farewell = |reason: u8| {
            vec![
                0, 0, 10, GO_AWAY, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, reason, b'h', b'i',
            ]
        };
        let too_short = vec![0, 0, 3, GO_AWAY, 0, 0, 0, 0, 0, 0, 0, 9];
        for (frames, want) in [
            (vec![farewell(0)], None),
            (vec![farewell(11)], Some(11)),
            (vec![farewell(0), farewell(11)], Some(11)),
            (vec![farewell(11), farewell(0), farewell(2)], Some(11)),
            (vec![too_short, farewell(2)], Some(2)),
        ] {
            let all = frames.concat();
            for length in 1..=all.len() {
                let mut frames = Frames::default();
                for piece in all.chunks(length) {
                    frames.follow(piece, |_| ());
                }
                assert_eq!(
                    (frames.given_up, frames.have, frames.skip),
                    (want, 0, 0),
                    "{all:?} in pieces of {length}"
                );
            }
        }
    }

    #[test]
    fn empty_frames_are_counted_however_they_arrive() {
        let frame = |kind: u8, flags: u8, payload: &[u8]| {
            let head = [0, 0, payload.len() as u8, kind, flags, 0, 0, 0, 1];
            [&head[..], payload].concat()
        };
        let table: [(&[u8], u8, u8, usize); 10] = [
            (b"", DATA, 0, 1),
            (b"", DATA, END_STREAM, 0),
            (b"hello", DATA, 0, 0),
            (b"\x00", DATA, PADDED, 1),
            (b"\x03\0\0\0", DATA, PADDED, 1),
            (b"\x02\0\0\0", DATA, PADDED, 0),
            (b"\x03\0\0\0", DATA, PADDED | END_STREAM, 0),
            // Against the rules, which is for the library to say.
            (b"", DATA, PADDED, 1),
            (b"\xff\0", DATA, PADDED, 0),
            (b"", 4, 0, 0),
        ];
        let mut all = Vec::new();
        let mut sum = 0;
        for (payload, kind, flags, empty) in table {
            let bytes = frame(kind, flags, payload);
            let mut frames = Frames::default();
            frames.follow(&bytes, |_| ());
            assert_eq!((frames.empty, frames.have, frames.skip), (empty, 0, 0), "{bytes:?}");
            all.extend(bytes);
            sum += empty;
        }
        for length in 1..=all.len() {
            let mut frames = Frames::default();
            for piece in all.chunks(length) {
                frames.follow(piece, |_| ());
            }
            assert_eq!(
                (frames.empty, frames.have, frames.skip),
                (sum, 0, 0),
                "in pieces of {length}"
            );
        }
    }
}
