//! One request on one connection, as a state that is polled to its end.

use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::task::{Context, Poll};
use std::time::Duration;

use barrage_model::outcome::FailureClass;
use rustix::io::Errno;

use super::{Parser, Shared};
use crate::clock::{Clock, Stamp};
use crate::engine::answer::{Answer, Cause, Failure};
use crate::engine::request::Outgoing;
use crate::engine::timer::DeadlineTimer;
use crate::net::reactor::Owned;
use crate::net::wire::{CUT, Wire, as_tls};

/// What has happened on a kept connection since its last answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Idle {
    Quiet,
    Closed,
    Noise,
}

/// Looks, without waiting, whether the server has closed or said something unasked.
pub(super) fn look_at_idle(wire: &mut Wire, scratch: &RefCell<Box<[u8]>>) -> Idle {
    match wire.try_read(&mut scratch.borrow_mut()) {
        None => Idle::Quiet,
        Some(Ok(0) | Err(_)) => Idle::Closed,
        Some(Ok(_)) => Idle::Noise,
    }
}

/// How far the writing has come.
#[derive(Debug)]
enum Sending {
    Not,
    /// It is sent together with what other slots send.
    Gathered,
    /// So many bytes of head and body have been taken by the connection.
    Part(usize),
    Done,
    /// The server no longer takes bytes, after so many; what it has answered may still be there to read.
    Broken(usize, io::Error),
}

/// A request between its first byte out and its last byte in.
#[derive(Debug)]
pub(super) struct Flight<'a> {
    out: &'a Outgoing<'a>,
    reused: bool,
    sending: Sending,
}

impl<'a> Flight<'a> {
    pub(super) fn new(out: &'a Outgoing<'a>, reused: bool) -> Self {
        Self {
            out,
            reused,
            sending: Sending::Not,
        }
    }

    /// Completes with whether the connection is clean: everything was sent, and nothing came after the answer.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        shared: &Shared,
        wire: &mut Wire,
        parser: &mut Parser,
        timer: &mut DeadlineTimer,
        answer: &mut Answer,
    ) -> Poll<Result<bool, Failure>> {
        let clock = shared.clock;
        let mut seen = None;
        let refused = match self.sending {
            Sending::Not => self.begin(cx, wire, clock, answer),
            Sending::Gathered => self.note_written(wire, clock, answer),
            // The connection took nothing the last time.
            Sending::Part(0) => self.write_now(clock, answer),
            _ => None,
        };
        if let Some(failure) = refused {
            return Poll::Ready(Err(failure));
        }
        let feeds = self.goes_on_sending(cx, wire);
        let ahead = wire.gathers().and_then(|own| {
            // The timer is not told of the instant: it is the past by now.
            own.take_ahead(|at, read| self.received(at, read, parser, answer))
        });
        if let Some(Some(done)) = ahead {
            return Poll::Ready(done);
        }
        let mut scratch = shared.scratch.borrow_mut();
        while let Poll::Ready(read) = wire.poll_read(cx, &mut scratch) {
            let at = wire.take_read_at();
            let now = at.unwrap_or_else(|| clock.now());
            seen = at.is_none().then_some(now);
            let read = read.map(|count| &scratch[..count]);
            if let Some(done) = self.received(now, read, parser, answer) {
                return Poll::Ready(done);
            }
        }
        let deadline = self.out.terms.deadline;
        // What goes out after the deadline need not wait for the timer to say so, which may be later than who has stood still.
        if (feeds && clock.now() > deadline) || timer.poll(cx, clock, seen, deadline).is_ready() {
            answer.done_at = clock.now();
            let late = if feeds {
                answer.done_at.since(deadline)
            } else {
                Duration::ZERO
            };
            return Poll::Ready(Err(self.timed_out(parser).read_late(late)));
        }
        Poll::Pending
    }

    /// Whether the first write failed, so that nothing of the request has left.
    pub(super) fn wrote_nothing(&self) -> bool {
        matches!(self.sending, Sending::Broken(0, _))
    }

    /// Bytes of the body that the connection has not taken yet.
    pub(super) fn body_bytes_unsent(&self) -> u64 {
        let sent = match self.sending {
            Sending::Done => return 0,
            Sending::Part(sent) | Sending::Broken(sent, _) => sent,
            Sending::Not | Sending::Gathered => 0,
        };
        (self.out.body.len() - sent.saturating_sub(self.out.head.len())) as u64
    }

    /// Takes what was read at an instant. The end, if that is what it was.
    fn received(
        &self,
        now: Stamp,
        read: io::Result<&[u8]>,
        parser: &mut Parser,
        answer: &mut Answer,
    ) -> Option<Result<bool, Failure>> {
        answer.done_at = now;
        let bytes = match read {
            Ok(bytes) => bytes,
            Err(error) => return Some(Err(self.broken(&error, parser))),
        };
        if bytes.is_empty() {
            return Some(self.ended(parser));
        }
        let first_byte = answer.sent_at.map(|sent_at| now.since(sent_at));
        if answer.timings.first_byte.is_none() {
            answer.timings.first_byte = first_byte;
        }
        // Judged by the clock and not by which event came first, so that a stalled generator cannot turn a late answer
        // into a good one; and an endless answer would never let the timer be asked.
        let deadline = self.out.terms.deadline;
        if now > deadline {
            return Some(Err(self.timed_out(parser).read_late(now.since(deadline))));
        }
        let interim = parser.interim();
        let fed = parser.feed(bytes, answer);
        if parser.interim() != interim {
            // The first byte is that of the answer, not of one before it.
            answer.timings.first_byte = first_byte.filter(|_| !parser.awaits_head());
        }
        match fed {
            Ok(fed) if fed.done => {
                let clean = fed.taken == bytes.len() && matches!(self.sending, Sending::Done);
                Some(Ok(clean))
            }
            Ok(_) => None,
            Err(error) => {
                let cause = Cause::Failed(FailureClass::Protocol);
                Some(Err(Failure::from_error(cause, &error)))
            }
        }
    }

    /// Has the request sent with those of other slots, or else now, unless it is too late.
    fn begin(&mut self, cx: &Context<'_>, wire: &Wire, clock: Clock, answer: &mut Answer) -> Option<Failure> {
        let (parts, latest) = ([self.out.head, self.out.body], self.out.terms.latest());
        if wire.gathers().is_some_and(|own| own.gather(cx, parts, latest)) {
            self.sending = Sending::Gathered;
            return None;
        }
        self.write_now(clock, answer)
    }

    /// Has the first byte written in this turn, unless it is too late.
    fn write_now(&mut self, clock: Clock, answer: &mut Answer) -> Option<Failure> {
        let now = clock.now();
        answer.done_at = now;
        let failure = self.out.terms.too_late(now);
        if failure.is_some() {
            (answer.sent_at, answer.wire_requests) = (None, 0);
        } else {
            self.is_sent(now, answer);
        }
        failure
    }

    /// Takes note of what has come of the request that was handed in, if it is known.
    fn note_written(&mut self, wire: &Wire, clock: Clock, answer: &mut Answer) -> Option<Failure> {
        let written = wire.gathers().and_then(Owned::take_written)?;
        let sending = match written.count {
            Some(Ok(count)) => Sending::Part(count),
            Some(Err(error)) if error != Errno::AGAIN => Sending::Broken(0, error.into()),
            // As if it had not been handed in.
            Some(Err(_)) | None => return self.write_now(clock, answer),
        };
        answer.done_at = written.at;
        self.is_sent(written.at, answer);
        self.sending = sending;
        None
    }

    /// The first byte is written at this instant.
    fn is_sent(&mut self, now: Stamp, answer: &mut Answer) {
        answer.sent_at = Some(now);
        answer.wire_requests = 1;
        self.sending = Sending::Part(0);
    }

    /// Writes as much as the connection takes. Whether it took more of what was begun in an earlier turn: then the target waited
    /// for us, and not we for the target.
    fn goes_on_sending(&mut self, cx: &mut Context<'_>, wire: &mut Wire) -> bool {
        let before = matches!(self.sending, Sending::Part(1..)).then(|| wire.bytes().1);
        self.poll_send(cx, wire);
        before.is_some_and(|before| wire.bytes().1 > before)
    }

    /// Writes as much as the connection takes; an error is kept until it is known whether an answer arrived all the same.
    fn poll_send(&mut self, cx: &mut Context<'_>, wire: &mut Wire) {
        while let Sending::Part(sent) = self.sending {
            let total = self.out.head.len() + self.out.body.len();
            let progress = if sent == total {
                wire.poll_flush(cx).map_ok(|()| None)
            } else {
                let body_at = sent.saturating_sub(self.out.head.len());
                let head = &self.out.head[sent.min(self.out.head.len())..];
                let body = &self.out.body[body_at..];
                let both = [IoSlice::new(head), IoSlice::new(body)];
                // One buffer is cheaper to send than two, and an empty one in front would look like nothing taken.
                let parts = match (head.is_empty(), body.is_empty()) {
                    (true, _) => &both[1..],
                    (_, true) => &both[..1],
                    _ => &both[..],
                };
                wire.poll_write(cx, parts).map_ok(Some)
            };
            self.sending = match progress {
                Poll::Pending => return,
                Poll::Ready(Ok(None)) => Sending::Done,
                Poll::Ready(Ok(Some(0))) => Sending::Broken(sent, io::ErrorKind::WriteZero.into()),
                Poll::Ready(Ok(Some(count))) => Sending::Part(sent + count),
                Poll::Ready(Err(error)) => Sending::Broken(sent, error),
            };
        }
    }

    /// The server closed in an orderly way.
    #[cold]
    fn ended(&self, parser: &mut Parser) -> Result<bool, Failure> {
        if !self.end_hides_a_break() && parser.finish() {
            return Ok(false);
        }
        Err(match &self.sending {
            Sending::Broken(_, error) => self.broken(error, parser),
            _ if parser.touched() => {
                let cause = Cause::Failed(FailureClass::Reset);
                Failure::fixed(cause, "the server closed the connection in the middle of the answer")
            }
            _ => Failure::fixed(self.lost(parser), "the server closed the connection without an answer"),
        })
    }

    /// The system tells of a break once. When a write has met it, the reads after it see an end that looks orderly, and an
    /// answer that goes on to the end of the connection must not be taken for complete. Not so a broken pipe: that is what
    /// a write meets after an end that was one. Nor over TLS, where nothing but the server's farewell is read as an end.
    fn end_hides_a_break(&self) -> bool {
        let plain = self.out.origin.server_name.is_none();
        matches!(&self.sending, Sending::Broken(_, error) if plain && error.kind() != io::ErrorKind::BrokenPipe)
    }

    #[cold]
    fn broken(&self, error: &io::Error, parser: &Parser) -> Failure {
        let cause = if as_tls(error).is_some() {
            Cause::Failed(FailureClass::Tls)
        } else {
            self.lost(parser)
        };
        match error.kind() {
            io::ErrorKind::UnexpectedEof => Failure::fixed(cause, CUT),
            _ => Failure::from_error(cause, error),
        }
    }

    #[cold]
    fn lost(&self, parser: &Parser) -> Cause {
        let unanswered = self.reused && !parser.touched();
        Cause::Failed(if unanswered {
            FailureClass::ClosedOnReuse
        } else {
            FailureClass::Reset
        })
    }

    #[cold]
    fn timed_out(&self, parser: &Parser) -> Failure {
        let message = match self.sending {
            _ if parser.touched() => "timed out while receiving the answer",
            Sending::Done => "timed out waiting for the answer",
            _ => "timed out while sending the request",
        };
        Failure::fixed(Cause::Timeout, message)
    }
}
