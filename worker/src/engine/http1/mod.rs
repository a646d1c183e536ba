//! The raw HTTP/1.1 engine: one slot's connections, driven from the slot's own task.
//!
//! The hot path (a kept connection, a small answer) is one `send`, one `recv`, two clock reads and no allocation. Over the
//! shard's own sockets (`net/reactor.rs`) the request goes out together with those of the slots that have their turn
//! before or after this one; over the runtime's, straight from the code that decided to send it.
//!
//! # Invariants
//!
//! - A request is written once. Whatever happens to it, it is never sent again.
//! - A connection goes back to the slot only after a complete answer with nothing behind it; a dropped exchange drops it.
//! - Memory per slot is bounded by the limits and the plan's origins, to each of which it keeps one connection at most; the
//!   read buffer belongs to the shard.

mod chunked;
mod flight;
mod parser;
mod whole;

#[cfg(test)]
mod tests;

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;

use barrage_model::outcome::FailureClass;
use barrage_model::plan::{Method, Reuse};
use futures_util::stream::{self, StreamExt};

use self::flight::{Flight, Idle};
use self::parser::KnownHeads;
pub(crate) use self::parser::{Expected, INTERIM_MAX, Parser};
pub use self::parser::{Limits, ProtocolError};
pub use self::whole::WholeAnswers;
use super::answer::{Answer, Cause, Failure, WireBytes};
use super::request::Outgoing;
use super::timer::DeadlineTimer;
use crate::clock::{Clock, Stamp};
use crate::net::wire::Wire;
use crate::net::{Connector, Origin, Timings};

/// Bytes that one read can take; shared by all slots of a shard, so it stays in the cache.
const SCRATCH_BYTES: usize = 64 * 1024;
/// Connections that are opened at the same time ahead of the first requests: a target's queue of new connections is longer.
const WARMED_AT_ONCE: usize = 32;

/// What happens when a kept connection is found closed by the server before the next request has been written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnIdleClose {
    /// The request fails as `closed_on_reuse`, as it would have if it had been written a moment earlier.
    #[default]
    Report,
    /// A new connection is made, as most clients do. Nothing had been sent, so nothing is sent twice.
    Redial,
}

/// What all slots of one shard share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) clock: Clock,
    pub(crate) connector: Connector,
    pub(crate) limits: Limits,
    pub(crate) reuse: Reuse,
    pub(crate) on_idle_close: OnIdleClose,
    scratch: RefCell<Box<[u8]>>,
    known: Rc<RefCell<KnownHeads>>,
    open: Rc<Cell<usize>>,
    /// Connections that have had no request yet and that no slot has.
    warmed: RefCell<Vec<Warmed>>,
}

/// A connection that was opened ahead of its first request, or for one that had no grant when it was there.
#[derive(Debug)]
struct Warmed {
    connection: Box<Connection>,
    /// What that took: told with the request that uses it first.
    timings: Timings,
}

impl Shared {
    pub(crate) fn new(
        clock: Clock,
        connector: Connector,
        limits: Limits,
        reuse: Reuse,
        on_idle_close: OnIdleClose,
    ) -> Self {
        let scratch = RefCell::new(vec![0; SCRATCH_BYTES].into_boxed_slice());
        Self {
            clock,
            connector,
            limits,
            reuse,
            on_idle_close,
            scratch,
            known: Rc::default(),
            open: Rc::default(),
            warmed: RefCell::default(),
        }
    }

    /// Opens so many connections for slots that have none yet, until `deadline`. What fails is left to the first requests,
    /// which will meet it and be counted. None where each request pays for its connection.
    pub(crate) async fn warm(&self, origin: &Origin, count: usize, deadline: Stamp) {
        if self.reuse == Reuse::Never {
            return;
        }
        let in_time = |_: &usize| std::future::ready(self.clock.now() < deadline);
        let opened = stream::iter(0..count).take_while(in_time).map(|_| async {
            let mut timings = Timings::default();
            let mut timer = self.timer();
            let connecting = self.connect(origin, deadline, |_| deadline, &mut timer, &mut timings);
            let mut connection = connecting.await?;
            Ok::<_, Failure>(self.is_quiet(&mut connection).then_some(Warmed { connection, timings }))
        });
        let mut opened = pin!(opened.buffer_unordered(WARMED_AT_ONCE));
        while let Some(one) = opened.next().await {
            match one {
                Ok(warmed) => self.warmed.borrow_mut().extend(warmed),
                Err(failure) => tracing::debug!(%failure, "connection not warmed"),
            }
        }
    }

    /// A warmed connection to `origin` on which nothing has happened.
    fn take_warmed(&self, origin: &Origin, now: Stamp) -> Option<Warmed> {
        loop {
            let mut warmed = self.warmed.borrow_mut();
            let at = warmed.iter().position(|one| one.connection.origin == origin.index)?;
            let mut one = warmed.swap_remove(at);
            if self.may_keep(&one.connection, now) && self.is_quiet(&mut one.connection) {
                return Some(one);
            }
        }
    }

    /// Whether nothing has come that no request has asked for; what belongs to TLS is taken.
    fn is_quiet(&self, connection: &mut Connection) -> bool {
        flight::look_at_idle(&mut connection.wire, &self.scratch) == Idle::Quiet
    }

    /// Makes a connection until `deadline`, or as long as `until` puts that off once it has passed.
    async fn connect(
        &self,
        origin: &Origin,
        deadline: Stamp,
        until: impl Fn(Stamp) -> Stamp,
        timer: &mut DeadlineTimer,
        timings: &mut Timings,
    ) -> Result<Box<Connection>, Failure> {
        let opened = {
            let mut opening = pin!(self.connector.open(origin, timings));
            poll_fn(|cx| match opening.as_mut().poll(cx) {
                Poll::Ready(opened) => Poll::Ready(Some(opened)),
                Poll::Pending => timer.poll_put_off(cx, self.clock, deadline, &until).map(|()| None),
            })
            .await
        };
        match opened {
            Some(Ok(wire)) => {
                self.open.set(self.open.get() + 1);
                Ok(Box::new(Connection {
                    wire,
                    origin: origin.index,
                    requests: 0,
                    opened_at: self.clock.now(),
                    open: Rc::clone(&self.open),
                }))
            }
            Some(Err(error)) => Err(Failure::from_error(Cause::Failed(error.class()), &error)),
            None => Err(Failure::fixed(Cause::Timeout, timings.timed_out_in())),
        }
    }

    /// A timer for one slot.
    fn timer(&self) -> DeadlineTimer {
        DeadlineTimer::known_to(self.connector.reactor().cloned())
    }

    fn may_keep(&self, connection: &Connection, now: Stamp) -> bool {
        match self.reuse {
            Reuse::Always => true,
            Reuse::Never => connection.requests == 0,
            Reuse::MaxRequests(most) => connection.requests < most,
            Reuse::MaxAge(age) => now.since(connection.opened_at) < age,
        }
    }

    /// Connections that are open at this moment, in use or kept, over all slots of the shard.
    pub(crate) fn open_connections(&self) -> usize {
        self.open.get()
    }
}

/// One connection of a slot.
#[derive(Debug)]
struct Connection {
    wire: Wire,
    origin: u32,
    requests: u32,
    opened_at: Stamp,
    /// Connections that are open, this one included.
    open: Rc<Cell<usize>>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.open.set(self.open.get() - 1);
    }
}

/// The engine's state for one slot.
#[derive(Debug)]
pub(crate) struct Http1 {
    shared: Rc<Shared>,
    /// The connection to each origin, by the origin's number; as long as the highest number so far. An origin has one at
    /// most, and a request leads to none outside of the plan, so nothing has to be closed to make room: `reuse` alone decides.
    /// Each request takes a connection out and puts it back: a pointer, not the connection.
    kept: Vec<Option<Box<Connection>>>,
    parser: Parser,
    timer: DeadlineTimer,
}

impl Http1 {
    pub(crate) fn new(shared: Rc<Shared>) -> Self {
        let parser = Parser::sharing(shared.limits, Rc::clone(&shared.known));
        let timer = shared.timer();
        Self {
            shared,
            kept: Vec::new(),
            parser,
            timer,
        }
    }

    /// Connections that this slot keeps for its next request.
    pub(crate) fn kept_connections(&self) -> usize {
        self.kept.iter().flatten().count()
    }

    /// Closes every kept connection.
    pub(crate) fn close(&mut self) {
        self.kept.clear();
    }

    /// Sends one request and reads its answer.
    ///
    /// # Cancel safety
    /// Dropping the future closes the connection it was using; the slot can go on.
    pub(crate) async fn exchange(&mut self, out: &Outgoing<'_>, answer: &mut Answer) -> Result<(), Failure> {
        let mut connection = match self.take_kept(out.origin, answer.began_at) {
            Kept::Ready(connection) => connection,
            Kept::ClosedWhileIdle if self.shared.on_idle_close == OnIdleClose::Report => {
                answer.reused = true;
                answer.done_at = self.shared.clock.now();
                let cause = Cause::Failed(FailureClass::ClosedOnReuse);
                return Err(Failure::fixed(
                    cause,
                    "the server had closed the kept connection before the request",
                ));
            }
            Kept::ClosedWhileIdle | Kept::None => {
                if let Some(warmed) = self.shared.take_warmed(out.origin, answer.began_at) {
                    answer.timings = warmed.timings;
                    warmed.connection
                } else {
                    let (terms, began) = (&out.terms, answer.began_at);
                    let until = move |now| terms.connect_by(began, now);
                    let (timer, timings) = (&mut self.timer, &mut answer.timings);
                    let connecting = self.shared.connect(out.origin, terms.deadline, until, timer, timings);
                    // In a box, so that the future of every exchange need not have room for a lookup and a handshake.
                    let connected = Box::pin(connecting).await;
                    answer.done_at = self.shared.clock.now();
                    connected?
                }
            }
        };
        answer.reused = connection.requests > 0;
        let before = if answer.reused { connection.wire.bytes() } else { (0, 0) };

        self.parser.start(Expected {
            to_head: out.method == Method::Head,
            keep_body: out.terms.keep_body,
            want_headers: out.terms.want_headers,
        });
        let mut flight = Flight::new(out, answer.reused);
        let result = poll_fn(|cx| {
            let Self {
                shared, parser, timer, ..
            } = self;
            let polled = flight.poll(cx, shared, &mut connection.wire, parser, timer, answer);
            // At each turn: the caller may give up at any of them, and what was sent by then was sent.
            let (received, sent) = connection.wire.bytes();
            answer.wire = Some(WireBytes {
                received: received - before.0,
                sent: sent - before.1,
            });
            if !out.body.is_empty() {
                // What TLS has taken and not written yet is not out.
                let unwritten = (out.body.len() as u64).saturating_sub(sent - before.1);
                answer.body_bytes_unsent = flight.body_bytes_unsent().max(unwritten);
            }
            polled
        })
        .await;

        if matches!(&result, Err(failure) if failure.cause == Cause::Expired) {
            self.give_back(connection, answer);
            return result.map(|_| ());
        }
        connection.requests = connection.requests.saturating_add(1);
        if result.is_err() && flight.wrote_nothing() && !self.parser.touched() {
            (answer.sent_at, answer.wire_requests) = (None, 0);
        }
        let clean = result?;
        if clean && self.parser.keep_alive() && self.shared.may_keep(&connection, answer.done_at) {
            self.settle(connection);
        }
        Ok(())
    }

    /// Takes the kept connection to `origin` out of the slot, so that nothing but a complete answer brings it back.
    fn take_kept(&mut self, origin: &Origin, now: Stamp) -> Kept {
        let kept = self.kept.get_mut(origin.index as usize);
        let Some(mut connection) = kept.and_then(Option::take) else {
            return Kept::None;
        };
        if !self.shared.may_keep(&connection, now) {
            return Kept::None;
        }
        // Costs no system call as long as nothing has happened on the socket since the last answer.
        let shared = &self.shared;
        match flight::look_at_idle(&mut connection.wire, &shared.scratch) {
            Idle::Quiet => Kept::Ready(connection),
            Idle::Closed => Kept::ClosedWhileIdle,
            // What an earlier answer left behind must never be read as the answer to this request.
            Idle::Noise => Kept::None,
        }
    }

    /// Keeps a connection whose answer is complete. What has come with the answer and belongs to TLS is taken from where the
    /// shard's sockets read ahead; that is no place for it to stay while the slot is idle. A connection that has been closed
    /// is kept all the same: the next request finds that out, as it does when the end comes a moment later.
    fn settle(&mut self, mut connection: Box<Connection>) {
        let shared = &self.shared;
        if !connection.wire.is_ahead() || flight::look_at_idle(&mut connection.wire, &shared.scratch) != Idle::Noise {
            self.keep(connection);
        }
    }

    /// Takes a connection back for which there was no grant, so that nothing was written on it. What it took to make it is told
    /// with the request that uses it first.
    #[cold]
    fn give_back(&mut self, mut connection: Box<Connection>, answer: &mut Answer) {
        // A look, whatever it finds, tells the shard's sockets that nobody waits for an answer any more.
        let idle = flight::look_at_idle(&mut connection.wire, &self.shared.scratch);
        if connection.requests > 0 {
            if idle != Idle::Noise {
                self.keep(connection);
            }
        } else if idle == Idle::Quiet {
            let timings = std::mem::take(&mut answer.timings);
            answer.wire = Some(WireBytes::default());
            self.shared.warmed.borrow_mut().push(Warmed { connection, timings });
        }
    }

    fn keep(&mut self, connection: Box<Connection>) {
        let at = connection.origin as usize;
        if at >= self.kept.len() {
            self.kept.resize_with(at + 1, || None);
        }
        self.kept[at] = Some(connection);
    }
}

enum Kept {
    Ready(Box<Connection>),
    ClosedWhileIdle,
    None,
}
