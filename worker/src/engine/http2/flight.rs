//! One request on one stream, as a state that is polled to its end.

use std::error::Error;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use barrage_model::outcome::FailureClass;
use barrage_model::plan::STREAMS_PER_CONNECTION_MAX;
use bytes::{Buf as _, Bytes};
use h2::client::ResponseFuture;
use h2::{Reason, RecvStream, SendStream};

use super::Core;
use super::classify::{Progress, Refusal, failure};
use super::link::{CONNECTION_WINDOW_BYTES, Link, Phase, Ticket};
use crate::clock::Stamp;
use crate::engine::answer::{Answer, Cause, Failure};
use crate::engine::http1::{INTERIM_MAX, ProtocolError};
use crate::engine::request::Http2Request;
use crate::engine::timer::DeadlineTimer;
use crate::net::Timings;

/// Received bytes that are given back to the server's window together. What all streams of a connection keep leaves the
/// others half of its window, or none would come to the point of giving any back.
const RELEASE_BYTES: usize = (CONNECTION_WINDOW_BYTES / 2 / STREAMS_PER_CONNECTION_MAX) as usize;

/// How far a request has come.
#[derive(Debug)]
enum Stage {
    /// Its connection is being made.
    Dialling,
    /// It waits for a stream.
    Queued,
    Asked(ResponseFuture),
    Reading(RecvStream),
}

/// The rest of a body, which is given to the library only as the server's window has room for it.
///
/// What the library holds it has to write, whatever becomes of the answer: a whole body would make the stream one that both
/// sides have ended when the answer ends early, of which neither a reset nor the place is given back as long as the server
/// grants no window. With a part of it held back here, the stream is reset when its request is dropped.
#[derive(Debug)]
struct Upload {
    stream: SendStream<Bytes>,
    rest: Bytes,
}

impl Upload {
    /// Gives what there is room for; ready when nothing is left to give.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while !self.rest.is_empty() {
            // Nothing more can be sent: the answer tells why.
            let Some(Ok(room)) = ready!(self.stream.poll_capacity(cx)) else {
                break;
            };
            if room == 0 {
                // The server has taken back what it had granted.
                continue;
            }
            let count = room.min(self.rest.len());
            let part = self.rest.slice(..count);
            if self.stream.send_data(part, count == self.rest.len()).is_err() {
                break;
            }
            self.rest.advance(count);
        }
        Poll::Ready(())
    }
}

/// What became of a request on one connection.
#[derive(Debug)]
pub(super) enum Landed {
    /// It ended there, well or not.
    Ended(Result<(), Failure>),
    /// Nothing was sent: the connection takes no further request.
    Elsewhere(Option<Refusal>),
}

/// A request from its place on a connection to the last byte in. Dropping it gives up the stream, not the connection.
#[derive(Debug)]
pub(super) struct Flight<'a> {
    out: &'a Http2Request<'a>,
    core: &'a Core,
    link: Rc<Link>,
    stage: Stage,
    /// This request began to make the connection.
    dialled: bool,
    /// Its number in the queue for a stream.
    place: Option<u64>,
    /// Since when it has waited for a stream of this connection.
    queued_since: Option<Stamp>,
    /// How long it had waited for one of others that took no further request then.
    queued_before: Duration,
    ticket: Option<Ticket>,
    /// What the server's window has no room for yet of our body.
    upload: Option<Upload>,
    /// Its stream, where the end of the answer may come before that of our body.
    watched: Option<u32>,
    /// Bytes of our body that were not given to the library, and never will be once `upload` is gone.
    held_back: usize,
    /// When there was room for a part of it last.
    given_at: Option<Stamp>,
    reused: bool,
    /// Interim answers that have come.
    interim: u8,
    /// Bytes that the connection had received when the request was sent.
    received_before: u64,
    /// The body's length as its head says, where it has to be known.
    length: Option<u64>,
    unreleased: usize,
}

impl<'a> Flight<'a> {
    pub(super) fn new(out: &'a Http2Request<'a>, core: &'a Core, link: Rc<Link>, dialled: bool) -> Self {
        let stage = if matches!(*link.phase(), Phase::Dialling) {
            link.enter_dialling();
            Stage::Dialling
        } else {
            Stage::Queued
        };
        Self {
            out,
            core,
            link,
            stage,
            dialled,
            place: None,
            queued_since: None,
            queued_before: Duration::ZERO,
            ticket: None,
            watched: None,
            upload: None,
            held_back: 0,
            given_at: None,
            reused: false,
            interim: 0,
            received_before: 0,
            length: None,
            unreleased: 0,
        }
    }

    /// Tells how long the request has waited for streams of other connections.
    pub(super) fn after_waiting(mut self, queued: Duration) -> Self {
        self.queued_before = queued;
        self
    }

    /// How long it has waited for a stream, of whatever connection.
    pub(super) fn queued(&self) -> Duration {
        let here = self.queued_since.map(|since| self.core.clock.now().since(since));
        self.queued_before + here.unwrap_or_default()
    }

    /// Carries the request on and keeps the answer's byte counts up to date: the caller may give up after any turn.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        timer: &mut DeadlineTimer,
        answer: &mut Answer,
    ) -> Poll<Landed> {
        let polled = self.advance(cx, timer, answer);
        if self.ticket.is_some() {
            let (received, sent) = self.link.gauge().attribute();
            let wire = answer.wire.get_or_insert_default();
            wire.received += received;
            wire.sent += sent;
            let body = self.out.body.len() as u64;
            let sent = self.watched.map_or(0, |id| self.link.gauge().body_sent(id));
            answer.body_bytes_unsent = body.saturating_sub(sent);
        }
        if let Poll::Ready(Landed::Ended(Ok(()))) = &polled
            && let Some(ticket) = self.ticket.take()
        {
            // Its body may not have been written whole; then the stream is given up now.
            if self.out.body.is_empty() {
                ticket.complete();
            }
        }
        polled
    }

    fn advance(&mut self, cx: &mut Context<'_>, timer: &mut DeadlineTimer, answer: &mut Answer) -> Poll<Landed> {
        if let Stage::Dialling = self.stage {
            let dialling = self.dialling(cx);
            if self.dialled {
                answer.timings = self.link.timings();
            }
            match dialling {
                Poll::Pending => return self.wait(cx, timer, answer),
                Poll::Ready(Err(failure)) => {
                    answer.done_at = self.core.clock.now();
                    return Poll::Ready(Landed::Ended(Err(failure)));
                }
                Poll::Ready(Ok(())) => {
                    self.link.leave_dialling();
                    self.stage = Stage::Queued;
                    // It is there, whoever has its first stream.
                    let now = self.core.clock.now();
                    let late = Some(now).filter(|now| *now > self.out.terms.deadline);
                    if let Some(failure) = late.and_then(|now| self.out.terms.too_late(now)) {
                        answer.done_at = now;
                        return Poll::Ready(Landed::Ended(not_sent(failure, answer)));
                    }
                }
            }
        }
        if let Stage::Queued = self.stage {
            match self.begin(cx, answer) {
                Poll::Pending => return self.wait(cx, timer, answer),
                Poll::Ready(Some(landed)) => return Poll::Ready(landed),
                Poll::Ready(None) => {}
            }
        }
        match self.receive(cx, answer) {
            Poll::Pending => self.wait(cx, timer, answer),
            Poll::Ready(result) => Poll::Ready(Landed::Ended(result)),
        }
    }

    fn dialling(&self, cx: &Context<'_>) -> Poll<Result<(), Failure>> {
        match &*self.link.phase() {
            Phase::Open(_) | Phase::Leaving(_) => Poll::Ready(Ok(())),
            Phase::Failed(failure) => Poll::Ready(Err(failure.clone())),
            Phase::Dialling => {
                self.link.wait(cx);
                Poll::Pending
            }
        }
    }

    /// Sends the request, or says why nothing was sent.
    fn begin(&mut self, cx: &Context<'_>, answer: &mut Answer) -> Poll<Option<Landed>> {
        if !self.core.may_take(&self.link) {
            return Poll::Ready(Some(Landed::Elsewhere(None)));
        }
        if self.link.poll_room(cx, &mut self.place).is_pending() {
            self.queued_since.get_or_insert_with(|| self.core.clock.now());
            return Poll::Pending;
        }
        let now = self.core.clock.now();
        answer.done_at = now;
        if let Some(failure) = self.out.terms.too_late(now) {
            return Poll::Ready(Some(Landed::Ended(not_sent(failure, answer))));
        }
        self.reused = self.link.has_answered();
        self.received_before = self.link.gauge().received();
        let body = self.out.body;
        let timings = self.link.timings_untold();
        let (response, mut stream, ticket) = match self.link.begin(self.out.head, body.is_empty()) {
            Ok(begun) => begun,
            Err(refusal) => {
                self.link.retire();
                return Poll::Ready(Some(Landed::Elsewhere(Some(refusal))));
            }
        };
        // Told once, by the request that uses the connection first, whoever has had it made.
        answer.timings = timings;
        answer.sent_at = Some(now);
        answer.wire_requests = 1;
        answer.reused = self.reused;
        self.ticket = Some(ticket);
        if let Some(place) = self.place.take() {
            self.link.leave_queue(place);
        }
        if !self.core.may_take(&self.link) {
            // Whoever waits for a stream is to wait for one of another connection.
            self.link.wake_waiting();
        }
        if !body.is_empty() {
            let id = stream.stream_id().as_u32();
            self.link.gauge().watch(id);
            self.watched = Some(id);
            self.held_back = body.len();
            stream.reserve_capacity(body.len());
            if stream.capacity() < body.len() {
                let rest = body.clone();
                self.upload = Some(Upload { stream, rest });
            } else if let Err(error) = stream.send_data(body.clone(), true) {
                return Poll::Ready(Some(Landed::Ended(Err(self.failed(&error)))));
            } else {
                self.held_back = 0;
            }
        }
        self.stage = Stage::Asked(response);
        Poll::Ready(None)
    }

    fn receive(&mut self, cx: &mut Context<'_>, answer: &mut Answer) -> Poll<Result<(), Failure>> {
        if let Some(upload) = &mut self.upload {
            let ended = upload.poll(cx).is_ready();
            if upload.rest.len() < self.held_back {
                self.given_at = Some(self.core.clock.now());
            }
            self.held_back = upload.rest.len();
            if ended {
                self.upload = None;
            }
        }
        while let Some(interim) = self.interim_answer(cx) {
            self.interim += 1;
            self.arrived(answer)?;
            if self.interim > INTERIM_MAX {
                return Poll::Ready(Err(protocol(&ProtocolError::Interim)));
            }
            if interim == http::StatusCode::SWITCHING_PROTOCOLS {
                // There is none in HTTP/2 (RFC 9113, section 8.6).
                return Poll::Ready(Err(protocol(&ProtocolError::Switched)));
            }
        }
        if let Stage::Asked(response) = &mut self.stage {
            let response = ready!(std::pin::Pin::new(response).poll(cx));
            let now = self.arrived(answer)?;
            let response = response.map_err(|error| self.failed(&error))?;
            answer.timings.first_byte = answer.sent_at.map(|sent_at| now.since(sent_at));
            self.link.answers();
            let (head, body) = response.into_parts();
            answer.status = head.status.as_u16();
            if self.out.terms.want_headers {
                for (name, value) in &head.headers {
                    answer.headers.push(name.as_str(), value.as_bytes());
                }
            }
            if self.held_back > 0 {
                let length = head.headers.get(http::header::CONTENT_LENGTH);
                self.length = length.and_then(|value| value.to_str().ok()?.parse().ok());
            }
            self.stage = Stage::Reading(body);
        }
        loop {
            let Stage::Reading(body) = &mut self.stage else {
                return Poll::Pending;
            };
            let Some(data) = ready!(body.poll_data(cx)) else {
                self.arrived(answer)?;
                return Poll::Ready(Ok(()));
            };
            let ends = body.is_end_stream();
            self.arrived(answer)?;
            match data {
                Ok(data) => self.store(&data, answer)?,
                // The answer was complete without the rest of our body; to a request that it has whole a server has no such
                // reason.
                Err(error) if error.reason() == Some(Reason::NO_ERROR) && self.is_whole_early(answer) => {
                    return Poll::Ready(Ok(()));
                }
                // The library forgets the end of an answer that came before that of our body, once the connection is gone.
                Err(error) if (error.is_io() || error.is_go_away()) && self.has_ended() => {
                    self.link.retire();
                    return Poll::Ready(Ok(()));
                }
                Err(error) => return Poll::Ready(Err(self.failed(&error))),
            }
            if ends {
                return Poll::Ready(Ok(()));
            }
        }
    }

    /// The status of the next interim answer, if one is there.
    fn interim_answer(&mut self, cx: &mut Context<'_>) -> Option<http::StatusCode> {
        let Stage::Asked(response) = &mut self.stage else {
            return None;
        };
        match response.poll_informational(cx) {
            Poll::Ready(Some(Ok(interim))) => Some(interim.status()),
            _ => None,
        }
    }

    /// Notes that something has arrived, which may be too late.
    fn arrived(&self, answer: &mut Answer) -> Result<Stamp, Failure> {
        let now = self.core.clock.now();
        answer.done_at = now;
        // Judged by the clock and not by which event came first, so that a stalled generator cannot turn a late answer
        // into a good one.
        let deadline = self.out.terms.deadline;
        if now > deadline {
            Err(self.timed_out().read_late(now.since(deadline)))
        } else {
            Ok(now)
        }
    }

    fn store(&mut self, data: &[u8], answer: &mut Answer) -> Result<(), Failure> {
        // Malformed (RFC 9113, section 8.1.1); that of an answer to HEAD is for the library to find.
        if matches!(answer.status, 204 | 304) && !data.is_empty() {
            return Err(protocol(&ProtocolError::Content));
        }
        answer.body_bytes_in = answer.body_bytes_in.saturating_add(data.len() as u64);
        if answer.body_bytes_in > self.core.limits.body_bytes {
            answer.body_bytes_in -= data.len() as u64;
            return Err(protocol(&ProtocolError::BodyTooLarge));
        }
        if self.out.terms.keep_body {
            let kept = answer.body.push(data);
            kept.map_err(|full| protocol(&full))?;
        }
        // What is not given back here is when the stream is dropped.
        self.unreleased += data.len();
        if self.unreleased >= RELEASE_BYTES
            && let Stage::Reading(body) = &mut self.stage
        {
            // Fails only when more is given back than was taken.
            let _ = body.flow_control().release_capacity(self.unreleased);
            self.unreleased = 0;
        }
        Ok(())
    }

    /// Whether this is an answer given before our body was sent, with the length that its head has announced. One that has
    /// announced none is whole only with a mark at its end.
    fn is_whole_early(&self, answer: &Answer) -> bool {
        self.held_back > 0 && self.length == Some(answer.body_bytes_in)
    }

    /// Whether everything up to the mark at the answer's end has been received.
    fn has_ended(&self) -> bool {
        self.watched.is_some_and(|id| self.link.gauge().has_ended(id))
    }

    fn failed(&self, error: &h2::Error) -> Failure {
        if !error.is_reset() {
            self.link.tell_loss();
            self.link.retire();
        }
        let progress = Progress {
            reused: self.reused,
            touched: self.interim > 0 || !matches!(self.stage, Stage::Asked(_)),
        };
        failure(error, self.link.gauge(), progress)
    }

    /// Nothing to do but to wait, for no longer than the deadline.
    fn wait(&self, cx: &mut Context<'_>, timer: &mut DeadlineTimer, answer: &mut Answer) -> Poll<Landed> {
        let (clock, terms) = (self.core.clock, &self.out.terms);
        let over = if let Stage::Dialling = self.stage {
            timer.poll_put_off(cx, clock, terms.deadline, |now| terms.connect_by(answer.began_at, now))
        } else {
            timer.poll_last(cx, clock, terms.deadline)
        };
        ready!(over);
        answer.done_at = clock.now();
        let late = if self.feeds_after(terms.deadline) {
            answer.done_at.since(terms.deadline)
        } else {
            Duration::ZERO
        };
        Poll::Ready(Landed::Ended(Err(self.timed_out().read_late(late))))
    }

    /// Whether more of our body was taken after an instant: then the target waited for us, and not we for the target.
    fn feeds_after(&self, at: Stamp) -> bool {
        let written = self.watched.and_then(|id| self.link.gauge().body_sent_at(id));
        self.given_at.max(written).is_some_and(|last| last > at)
    }

    /// Whether the connection has not taken all of our body yet.
    fn is_sending(&self) -> bool {
        let taken = |id| self.link.gauge().body_sent(id);
        self.watched.is_some_and(|id| taken(id) < self.out.body.len() as u64)
    }

    fn timed_out(&self) -> Failure {
        const QUEUED: &str = "timed out waiting for a free stream of the connection";
        const RECEIVING: &str = "timed out while receiving the answer";
        let message = match self.stage {
            // A connection that was begun in the end, because the one waited for took nothing any more, is not to blame.
            Stage::Dialling if self.queued() > self.core.clock.now().since(self.link.opened_at()) => QUEUED,
            Stage::Dialling => {
                // Users who come one after the other would keep it alive for each other, and all fail by it.
                if self.queued_before.is_zero() {
                    self.link.shun();
                }
                self.link.timings().timed_out_in()
            }
            Stage::Queued => QUEUED,
            Stage::Asked(_) => {
                if self.link.gauge().received() == self.received_before {
                    // Nothing at all has come since: nothing further is entrusted to this connection.
                    self.link.retire();
                }
                if self.interim > 0 {
                    return Failure::fixed(Cause::Timeout, RECEIVING);
                }
                if self.is_sending() {
                    "timed out while sending the request"
                } else {
                    "timed out waiting for the answer"
                }
            }
            Stage::Reading(_) => RECEIVING,
        };
        Failure::fixed(Cause::Timeout, message)
    }
}

/// The end of a request that was not sent although there was a connection: what it took to make that is told with the request that
/// uses it first.
fn not_sent(failure: Failure, answer: &mut Answer) -> Result<(), Failure> {
    answer.timings = Timings::default();
    Err(failure)
}

fn protocol(error: &(dyn Error + 'static)) -> Failure {
    Failure::from_error(Cause::Failed(FailureClass::Protocol), error)
}

impl Drop for Flight<'_> {
    fn drop(&mut self) {
        if let Stage::Dialling = self.stage {
            self.link.leave_dialling();
        }
        if let Some(place) = self.place {
            self.link.leave_queue(place);
        }
        if let Some(id) = self.watched {
            self.link.gauge().unwatch(id);
        }
    }
}
