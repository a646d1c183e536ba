//! One connection, shared by the slots that have a seat on it, and the task that drives it.
//!
//! The task does all reading and writing: what its slots send between two of its turns goes out in one write, and what
//! has arrived is handed to all of them before any is polled.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use barrage_model::outcome::FailureClass;
use bytes::Bytes;
use h2::client::{Builder, Connection, SendRequest};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Sleep, sleep};

use super::Core;
use super::classify::Refusal;
use super::pipe::{Gauge, Pipe};
use crate::clock::Stamp;
use crate::engine::answer::{Cause, Failure};
use crate::net::{Origin, Timings};

/// What the server may send ahead on one stream, and on all of them together.
const STREAM_WINDOW_BYTES: u32 = 4 * 1024 * 1024;
pub(super) const CONNECTION_WINDOW_BYTES: u32 = 16 * 1024 * 1024;
/// Streams given up by us of which late frames are still expected, and for how long.
const RESET_STREAMS_MAX: usize = 4_096;
const RESET_STREAMS_FOR: Duration = Duration::from_secs(30);
/// Streams that we may find broken before a connection is given up; each costs some 500 bytes until it is written off.
const BROKEN_STREAMS_MAX: usize = 16_384;
/// Empty frames of bodies that a connection may receive before a new one takes its place. The library gives a connection up
/// for the 101st over its whole life, and all streams with it; those in progress have the rest for themselves.
const EMPTY_FRAMES_MAX: usize = 64;
/// Streams of one connection: half of what their numbers allow, after that a new one is made.
const STREAMS_MAX: u64 = 1 << 29;
/// How long a connection that nobody uses may take to say farewell.
const FAREWELL: Duration = Duration::from_secs(1);

/// Where a connection is in its life.
#[derive(Debug)]
pub(super) enum Phase {
    /// Looking up, connecting, shaking hands.
    Dialling,
    /// Takes requests, or says why it does not.
    Open(SendRequest<Bytes>),
    /// Takes none any more, and ends with the streams in progress.
    Leaving(Refusal),
    /// Could not be made.
    Failed(Failure),
}

/// What slots and driver know together.
#[derive(Debug)]
struct State {
    gauge: Rc<Gauge>,
    timings: Cell<Timings>,
    /// Streams in progress.
    active: Cell<u32>,
    /// Those given up of them that the library has not written off yet.
    given_up: Cell<u32>,
    /// Streams that the server allows.
    limit: Cell<usize>,
    /// Slots that wait for the connection.
    waiting: RefCell<Vec<Waker>>,
    /// Slots that wait for a stream, by the number that each has drawn: who came first is served first.
    queue: RefCell<VecDeque<(u64, Waker)>>,
    /// Numbers drawn so far.
    drawn: Cell<u64>,
    /// The connection has come to its end; the library knows how.
    ended: Cell<bool>,
    /// The task that drives it.
    driver: RefCell<Option<Waker>>,
}

impl State {
    fn wake_waiting(&self) {
        for waker in self.waiting.take() {
            waker.wake();
        }
        for (_, waker) in &*self.queue.borrow() {
            waker.wake_by_ref();
        }
    }

    /// Streams that can begin now.
    fn room(&self) -> usize {
        self.limit.get().saturating_sub(self.active.get() as usize)
    }

    /// Wakes those in the queue whose turn it is.
    fn wake_first(&self) {
        for (_, waker) in self.queue.borrow().iter().take(self.room()) {
            waker.wake_by_ref();
        }
    }
}

/// A connection as its slots see it. When the last of them lets go it says farewell and closes.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) origin: u32,
    state: Rc<State>,
    phase: RefCell<Phase>,
    driver: RefCell<Option<AbortHandle>>,
    opened_at: Cell<Stamp>,
    seats: Cell<u32>,
    /// Slots that wait for the connection to be made.
    dialling: Cell<u32>,
    requests: Cell<u64>,
    answered: Cell<bool>,
    retired: Cell<bool>,
    /// A request has waited for it in vain for all of its time.
    shunned: Cell<bool>,
    loss_told: Cell<bool>,
}

/// A stream in progress, from the send to the end of the answer.
#[derive(Debug)]
pub(super) struct Ticket {
    state: Rc<State>,
    clean: bool,
}

impl Ticket {
    /// Gives the stream back after a complete exchange.
    pub(super) fn complete(mut self) {
        self.clean = true;
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let state = &self.state;
        if self.clean {
            state.active.set(state.active.get() - 1);
            state.wake_first();
        } else {
            // Its farewell goes out in the driver's next turn, and counts against the server's limit until then. A stream
            // that the server has ended has no farewell, so the library alone would not wake the driver.
            state.given_up.set(state.given_up.get() + 1);
            if let Some(driver) = &*state.driver.borrow() {
                driver.wake_by_ref();
            }
        }
    }
}

impl Link {
    /// Begins to make a connection, in a task of its own among `drivers`.
    pub(super) fn dial(core: &Rc<Core>, drivers: &mut JoinSet<()>, origin: &Origin) -> Rc<Self> {
        // Those that have ended are let go of; nothing is to be learnt from them.
        while drivers.try_join_next().is_some() {}
        let state = Rc::new(State {
            gauge: Rc::default(),
            timings: Cell::default(),
            active: Cell::new(0),
            given_up: Cell::new(0),
            // Until the server has said more, one stream is what every server takes.
            limit: Cell::new(1),
            waiting: RefCell::default(),
            queue: RefCell::default(),
            drawn: Cell::new(0),
            ended: Cell::new(false),
            driver: RefCell::default(),
        });
        let link = Rc::new(Self {
            origin: origin.index,
            state: Rc::clone(&state),
            phase: RefCell::new(Phase::Dialling),
            driver: RefCell::default(),
            opened_at: Cell::new(core.clock.now()),
            seats: Cell::new(0),
            dialling: Cell::new(0),
            requests: Cell::new(0),
            answered: Cell::new(false),
            retired: Cell::new(false),
            shunned: Cell::new(false),
            loss_told: Cell::new(false),
        });
        let driver = drive(Rc::downgrade(&link), state, Rc::clone(core), origin.clone());
        *link.driver.borrow_mut() = Some(drivers.spawn_local(driver));
        link
    }

    pub(super) fn phase(&self) -> std::cell::Ref<'_, Phase> {
        self.phase.borrow()
    }

    pub(super) fn gauge(&self) -> &Gauge {
        &self.state.gauge
    }

    /// Where the time of making it went, so far.
    pub(super) fn timings(&self) -> Timings {
        self.state.timings.get()
    }

    /// The same, unless a request has used it and told them.
    pub(super) fn timings_untold(&self) -> Timings {
        if self.requests.get() == 0 {
            self.timings()
        } else {
            Timings::default()
        }
    }

    pub(super) fn opened_at(&self) -> Stamp {
        self.opened_at.get()
    }

    /// Requests that it has taken.
    pub(super) fn requests(&self) -> u64 {
        self.requests.get()
    }

    /// Whether it has answered any of them.
    pub(super) fn has_answered(&self) -> bool {
        self.answered.get()
    }

    /// Notes that an answer has begun.
    pub(super) fn answers(&self) {
        self.answered.set(true);
    }

    /// Lets no further request begin on it.
    pub(super) fn retire(&self) {
        self.retired.set(true);
        self.state.wake_waiting();
    }

    /// Nobody else is to wait for it to be made. Who does may go on.
    pub(super) fn shun(&self) {
        self.shunned.set(true);
    }

    /// Whether waiting for it is not worth while: somebody has done so in vain.
    pub(super) fn is_shunned(&self) -> bool {
        self.shunned.get() && matches!(*self.phase.borrow(), Phase::Dialling)
    }

    /// Has all who wait look again.
    pub(super) fn wake_waiting(&self) {
        self.state.wake_waiting();
    }

    /// Whether it takes no further request, by our own choice.
    pub(super) fn is_retired(&self) -> bool {
        self.retired.get() || self.requests.get() >= STREAMS_MAX
    }

    /// The first to ask is told of a loss; a connection is lost once.
    pub(super) fn tell_loss(&self) -> bool {
        !self.loss_told.replace(true)
    }

    /// Whether a slot without a seat may take one.
    pub(super) fn is_usable(&self) -> bool {
        let ends = matches!(*self.phase.borrow(), Phase::Failed(_) | Phase::Leaving(_));
        !self.state.ended.get() && !ends && !self.is_shunned()
    }

    /// Whether a stream can begin now, or never again. If not, the slot has a place in the queue, and is woken when it may be
    /// worth another look. A place is to be left whatever comes of it: [`Self::leave_queue`].
    pub(super) fn poll_room(&self, cx: &Context<'_>, place: &mut Option<u64>) -> Poll<()> {
        let state = &self.state;
        if state.ended.get() || matches!(*self.phase.borrow(), Phase::Leaving(_)) {
            return Poll::Ready(());
        }
        let mut queue = state.queue.borrow_mut();
        let before = match *place {
            Some(number) => queue.partition_point(|(other, _)| *other < number),
            None => queue.len(),
        };
        if before < state.room() && !state.gauge.is_blocked() {
            return Poll::Ready(());
        }
        let number = *place.get_or_insert_with(|| state.drawn.replace(state.drawn.get() + 1));
        match queue.get_mut(before) {
            Some((_, waker)) => waker.clone_from(cx.waker()),
            None => queue.push_back((number, cx.waker().clone())),
        }
        Poll::Pending
    }

    /// Gives up a place in the queue.
    pub(super) fn leave_queue(&self, number: u64) {
        self.state.queue.borrow_mut().retain(|(other, _)| *other != number);
        self.state.wake_first();
    }

    /// Has the slot woken when something has changed.
    pub(super) fn wait(&self, cx: &Context<'_>) {
        let mut waiting = self.state.waiting.borrow_mut();
        if !waiting.iter().any(|waker| waker.will_wake(cx.waker())) {
            waiting.push(cx.waker().clone());
        }
    }

    /// Hands the head of a request to the connection, which writes it in its next turn.
    pub(super) fn begin(
        &self,
        head: &http::Request<()>,
        ends: bool,
    ) -> Result<(h2::client::ResponseFuture, h2::SendStream<Bytes>, Ticket), Refusal> {
        let mut phase = self.phase.borrow_mut();
        let sender = match &mut *phase {
            Phase::Open(sender) => sender,
            // It is not gone while it carries streams: if it breaks, they tell.
            Phase::Leaving(_) if self.state.active.get() > 0 => return Err(Refusal::Announced),
            Phase::Leaving(refusal) => return Err(*refusal),
            Phase::Dialling | Phase::Failed(_) => return Err(Refusal::Gone),
        };
        let state = &self.state;
        let begun = sender.send_request(head.clone(), ends);
        let (answer, upload) = begun.map_err(|error| Refusal::of(&error, &state.gauge))?;
        state.active.set(state.active.get() + 1);
        self.requests.set(self.requests.get() + 1);
        let ticket = Ticket {
            state: Rc::clone(state),
            clean: false,
        };
        Ok((answer, upload, ticket))
    }

    /// The library's sender holds on to a stream that has taken the last place until it is asked whether there is another;
    /// held, it would not be reset when its slot gives it up. Once the server has announced the end it has no further place,
    /// however many streams come free: those who wait for one leave at once.
    fn let_go(&self) {
        let mut phase = self.phase.borrow_mut();
        if let Phase::Open(sender) = &mut *phase
            // Whether there is a place now is known from the counts.
            && let Poll::Ready(Err(error)) = sender.poll_ready(&mut Context::from_waker(Waker::noop()))
        {
            *phase = Phase::Leaving(Refusal::of(&error, &self.state.gauge));
            drop(phase);
            self.state.wake_waiting();
        }
    }

    /// A slot begins to wait for the connection to be made.
    pub(super) fn enter_dialling(&self) {
        self.dialling.set(self.dialling.get() + 1);
    }

    /// A slot no longer waits. When nobody does, a connection that is not made yet is not made.
    pub(super) fn leave_dialling(&self) {
        self.dialling.set(self.dialling.get() - 1);
        if self.dialling.get() == 0 && matches!(*self.phase.borrow(), Phase::Dialling) {
            self.retired.set(true);
            self.abort();
        }
    }

    fn abort(&self) {
        if let Some(driver) = self.driver.take() {
            driver.abort();
        }
    }

    /// Seats taken.
    pub(super) fn seats(&self) -> u32 {
        self.seats.get()
    }

    pub(super) fn take_seat(&self) {
        self.seats.set(self.seats.get() + 1);
    }

    pub(super) fn leave_seat(&self) {
        self.seats.set(self.seats.get() - 1);
    }

    fn failed(&self, failure: Failure) {
        self.retired.set(true);
        *self.phase.borrow_mut() = Phase::Failed(failure);
        self.state.wake_waiting();
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        if matches!(*self.phase.borrow(), Phase::Dialling) {
            self.abort();
        }
    }
}

/// Counts a connection while it is open.
struct Counted(Rc<Core>);

impl Counted {
    fn new(core: Rc<Core>) -> Self {
        core.open.set(core.open.get() + 1);
        Self(core)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.open.set(self.0.open.get() - 1);
    }
}

/// Makes the connection and drives it to its end.
async fn drive(link: Weak<Link>, state: Rc<State>, core: Rc<Core>, origin: Origin) {
    // In a place of its own, which ends with it: the task lives as long as the connection.
    let made = Box::pin(connect(&state, &core, &origin)).await;
    // Nobody wants it any more.
    let Some(strong) = link.upgrade() else { return };
    let (sender, connection) = match made {
        Ok(made) => made,
        Err(failure) => return strong.failed(failure),
    };
    let _counted = Counted::new(Rc::clone(&core));
    strong.opened_at.set(core.clock.now());
    *strong.phase.borrow_mut() = Phase::Open(sender);
    state.wake_waiting();
    drop(strong);
    let mut driver = Driver {
        connection,
        state: &state,
        link: &link,
        farewell: None,
    };
    // Until the connection has ended. How it ended is known to its streams.
    std::future::poll_fn(|cx| driver.poll(cx)).await;
    state.ended.set(true);
    state.wake_waiting();
}

async fn connect(
    state: &State,
    core: &Core,
    origin: &Origin,
) -> Result<(SendRequest<Bytes>, Connection<Pipe, Bytes>), Failure> {
    let opened = core.connector.open_watched(origin, &state.timings).await;
    let wire = opened.map_err(|error| Failure::from_error(Cause::Failed(error.class()), &error))?;
    if origin.server_name.is_some() && wire.protocol() != Some(b"h2") {
        return Err(Failure::fixed(
            Cause::Failed(FailureClass::Tls),
            "the server did not choose HTTP/2 (`h2`) in the TLS handshake",
        ));
    }
    let pipe = Pipe::new(core.clock, wire, Rc::clone(&state.gauge), Rc::clone(&core.scratch));
    let mut builder = Builder::new();
    builder
        .enable_push(false)
        .initial_max_send_streams(1)
        .initial_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_header_list_size(u32::try_from(core.limits.head_bytes).unwrap_or(u32::MAX))
        .max_concurrent_reset_streams(RESET_STREAMS_MAX)
        .reset_stream_duration(RESET_STREAMS_FOR)
        .max_local_error_reset_streams(Some(BROKEN_STREAMS_MAX));
    let shaken = builder.handshake(pipe).await;
    shaken.map_err(|error| Failure::from_error(Cause::Failed(FailureClass::Reset), &error))
}

struct Driver<'d> {
    connection: Connection<Pipe, Bytes>,
    state: &'d State,
    link: &'d Weak<Link>,
    farewell: Option<std::pin::Pin<Box<Sleep>>>,
}

impl Driver<'_> {
    /// Goes on with the connection, until it has ended.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let state = self.state;
        let mut driver = state.driver.borrow_mut();
        if !driver.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            *driver = Some(cx.waker().clone());
        }
        drop(driver);
        state.gauge.begin_turn();
        let polled = std::pin::Pin::new(&mut self.connection).poll(cx);
        if polled.is_ready() {
            return Poll::Ready(());
        }
        state.limit.set(self.connection.max_concurrent_send_streams());
        if let Some(link) = self.link.upgrade() {
            link.let_go();
            // Where answers have brought some, those in progress are taken to bring one each.
            let empty = state.gauge.empty_frames();
            if empty + empty.min(state.active.get() as usize) >= EMPTY_FRAMES_MAX {
                link.retire();
            }
        }
        if !state.gauge.is_blocked() {
            // Everything has been written, so those given up are written off.
            let given_up = state.given_up.take();
            state.active.set(state.active.get() - given_up);
        }
        state.wake_first();
        if self.link.strong_count() > 0 {
            return Poll::Pending;
        }
        let farewell = self.farewell.get_or_insert_with(|| Box::pin(sleep(FAREWELL)));
        farewell.as_mut().poll(cx)
    }
}
