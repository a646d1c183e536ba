//! The raw HTTP/2 engine: connections that the slots of a shard share, one stream for each request.
//!
//! A slot takes a *seat* on a connection to each origin that it asks, and keeps it: so many slots have a seat on one
//! connection as the plan says, and as many connections are made as that takes. With one seat for each connection every
//! slot has its own, as with the `http1` engine.
//!
//! HTTP/2 itself is the `h2` crate's. It is given a socket that counts, windows so large that an answer seldom waits for
//! one, and bounds on what a server can make it hold; and it is never given a request for which there is no stream, so
//! that what it has been given is on its way.
//!
//! # Invariants
//!
//! - A request is handed to one connection, once, and only while the grant lasts. Whatever happens to it then, it is never
//!   sent again. One that a connection refused to take has not been sent, and may go to another.
//! - Dropping an exchange gives up its stream (`RST_STREAM`), never its connection.
//! - Every byte of a connection is carried by one request: those that have passed since the last turn of any request on it
//!   by the one whose turn it is. Sums are exact; the bytes of one request on a shared connection are not its own.
//!   What passes after the last request of a connection belongs to none.

mod classify;
mod flight;
mod link;
mod pipe;

#[cfg(test)]
mod tests;

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;

use barrage_model::outcome::FailureClass;
use barrage_model::plan::Reuse;
use rustls::ClientConfig;
use tokio::task::JoinSet;

use self::classify::{Refusal, given_up};
use self::flight::{Flight, Landed};
use self::link::{Link, Phase};
use super::answer::{Answer, Cause, Failure};
use super::http1::{Limits, OnIdleClose};
use super::request::Http2Request;
use super::set::EngineOptions;
use super::timer::DeadlineTimer;
use crate::clock::Clock;
use crate::net::{Connector, Origin};

/// Bytes that one read can take; shared by all connections of a shard.
const SCRATCH_BYTES: usize = 64 * 1024;
/// Origins to which one slot keeps a seat; beyond that it leaves the one taken first.
const SEATS_MAX: usize = 256;

/// What the connections of one shard have in common.
#[derive(Debug)]
struct Core {
    clock: Clock,
    connector: Connector,
    limits: Limits,
    reuse: Reuse,
    scratch: Rc<RefCell<Box<[u8]>>>,
    open: Cell<usize>,
}

impl Core {
    /// Whether a further request may begin on a connection. A new one takes at least one.
    fn may_take(&self, link: &Link) -> bool {
        if link.is_retired() {
            return false;
        }
        link.requests() == 0
            || match self.reuse {
                Reuse::Always => true,
                Reuse::Never => false,
                Reuse::MaxRequests(most) => link.requests() < u64::from(most),
                Reuse::MaxAge(age) => self.clock.now().since(link.opened_at()) < age,
            }
    }
}

/// What all slots of one shard share.
#[derive(Debug)]
pub(crate) struct Shared {
    core: Rc<Core>,
    on_idle_close: OnIdleClose,
    /// Seats of one connection.
    seats: u32,
    /// Connections with a free seat.
    roomy: RefCell<Vec<Weak<Link>>>,
    /// The tasks of the connections; they end with the shard.
    drivers: RefCell<JoinSet<()>>,
}

impl Shared {
    /// `connector` offers HTTP/2 alone in its TLS handshakes; see [`offering`].
    pub(crate) fn new(clock: Clock, connector: Connector, options: &EngineOptions) -> Self {
        let most = match options.reuse {
            Reuse::Never => 1,
            Reuse::MaxRequests(most) => most,
            Reuse::Always | Reuse::MaxAge(_) => u32::MAX,
        };
        Self {
            core: Rc::new(Core {
                clock,
                connector,
                limits: options.limits,
                reuse: options.reuse,
                scratch: Rc::new(RefCell::new(vec![0; SCRATCH_BYTES].into_boxed_slice())),
                open: Cell::new(0),
            }),
            on_idle_close: options.on_idle_close,
            seats: options.streams_per_connection.clamp(1, most),
            roomy: RefCell::default(),
            drivers: RefCell::default(),
        }
    }

    /// Connections that are open at this moment.
    pub(crate) fn open_connections(&self) -> usize {
        self.core.open.get()
    }

    /// A seat on a connection to `origin` that has a free one, else on a new connection; and whether it is new.
    fn seat(self: &Rc<Self>, origin: &Origin) -> (Seat, bool) {
        let mut roomy = self.roomy.borrow_mut();
        let mut found = None;
        roomy.retain(|weak| {
            let link = weak
                .upgrade()
                .filter(|link| link.is_usable() && self.core.may_take(link));
            let Some(link) = link else { return false };
            if found.is_some() || link.origin != origin.index {
                return true;
            }
            let keeps_room = link.seats() + 1 < self.seats;
            found = Some(link);
            keeps_room
        });
        let dialled = found.is_none();
        let link = found.unwrap_or_else(|| {
            let link = Link::dial(&self.core, &mut self.drivers.borrow_mut(), origin);
            if self.seats > 1 {
                roomy.push(Rc::downgrade(&link));
            }
            link
        });
        link.take_seat();
        let shared = Rc::clone(self);
        (Seat { link, shared }, dialled)
    }
}

/// The TLS settings of a run with HTTP/2 as the only protocol.
pub(crate) fn offering(tls: &ClientConfig) -> Arc<ClientConfig> {
    let mut tls = tls.clone();
    tls.alpn_protocols = vec![b"h2".to_vec()];
    Arc::new(tls)
}

/// A slot's place on a connection.
#[derive(Debug)]
struct Seat {
    link: Rc<Link>,
    shared: Rc<Shared>,
}

impl Drop for Seat {
    fn drop(&mut self) {
        if self.link.seats() == self.shared.seats && self.shared.seats > 1 {
            self.shared.roomy.borrow_mut().push(Rc::downgrade(&self.link));
        }
        self.link.leave_seat();
    }
}

/// The engine's state for one slot.
#[derive(Debug)]
pub(crate) struct Http2 {
    shared: Rc<Shared>,
    seats: Vec<Seat>,
    timer: DeadlineTimer,
}

impl Http2 {
    pub(crate) fn new(shared: Rc<Shared>) -> Self {
        Self {
            shared,
            seats: Vec::new(),
            timer: DeadlineTimer::default(),
        }
    }

    /// Leaves every seat; a connection without any closes.
    pub(crate) fn close(&mut self) {
        self.seats.clear();
    }

    /// Sends one request and reads its answer.
    ///
    /// # Cancel safety
    /// Dropping the future resets the request's stream; connection and slot go on.
    pub(crate) async fn exchange(&mut self, out: &Http2Request<'_>, answer: &mut Answer) -> Result<(), Failure> {
        let mut queued = Duration::ZERO;
        loop {
            let (link, dialled) = self.take_seat(out.origin);
            let fresh = matches!(*link.phase(), Phase::Dialling);
            let Self { shared, timer, .. } = self;
            let mut flight = Flight::new(out, &shared.core, Rc::clone(&link), dialled).after_waiting(queued);
            let landed = poll_fn(|cx| flight.poll(cx, timer, answer)).await;
            queued = flight.queued();
            drop(flight);
            let refusal = match landed {
                Landed::Ended(result) => {
                    self.leave_if_used_up(&link);
                    return result;
                }
                Landed::Elsewhere(None) => continue,
                Landed::Elsewhere(Some(refusal)) => refusal,
            };
            // One that others have used since is no longer new, and its end is none of this request's doing.
            let failure = if fresh && link.requests() == 0 {
                refused_at_once(refusal)
            } else if refusal == Refusal::Gone
                && shared.on_idle_close == OnIdleClose::Report
                && link.has_answered()
                && link.tell_loss()
            {
                answer.reused = true;
                link.gauge().given_up().map_or_else(
                    || {
                        Failure::fixed(
                            Cause::Failed(FailureClass::ClosedOnReuse),
                            "the server had closed the kept connection before the request",
                        )
                    },
                    |reason| given_up(reason.into()),
                )
            } else {
                continue;
            };
            answer.done_at = shared.core.clock.now();
            return Err(failure);
        }
    }

    /// Leaves the seat on a connection that takes no further request, so that it closes at once and not when the slot asks
    /// again, which may be much later.
    fn leave_if_used_up(&mut self, link: &Rc<Link>) {
        if !self.shared.core.may_take(link) {
            self.seats.retain(|seat| !Rc::ptr_eq(&seat.link, link));
        }
    }

    /// The slot's connection to an origin, and whether this call began to make it.
    fn take_seat(&mut self, origin: &Origin) -> (Rc<Link>, bool) {
        if let Some(at) = self.seats.iter().position(|seat| seat.link.origin == origin.index) {
            let link = &self.seats[at].link;
            if self.shared.core.may_take(link) && !link.is_shunned() {
                return (Rc::clone(link), false);
            }
            self.seats.remove(at);
        }
        let (seat, dialled) = self.shared.seat(origin);
        let link = Rc::clone(&seat.link);
        if self.seats.len() >= SEATS_MAX {
            self.seats.remove(0);
        }
        self.seats.push(seat);
        (link, dialled)
    }
}

/// A connection that had only just been made took no request.
fn refused_at_once(refusal: Refusal) -> Failure {
    let (class, message) = match refusal {
        Refusal::Noise => (
            FailureClass::Protocol,
            "what the server said on the new connection is not HTTP/2",
        ),
        Refusal::Announced | Refusal::Gone => (
            FailureClass::Reset,
            "the server closed the new connection before the request",
        ),
    };
    Failure::fixed(Cause::Failed(class), message)
}
