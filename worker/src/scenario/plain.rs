//! An iteration that is one constant request, which is what most load is made of.
//!
//! It does what the walk does for such a scenario, without what others need: no text to render, no variable, no group. Under
//! full load the walk is a fifth of the time that a request takes outside the kernel.

use std::cell::RefCell;

use barrage_model::outcome::{IterationEnd, Outcome};

use super::cancel::Cancelled;
use super::compile::{Program, Request};
use super::connections::RENEWAL_WAIT;
use super::context::{IterationEnded, IterationStart};
use super::exchange::{after, end_of, exchange, record, settle};
use super::user::User;
use crate::clock::Stamp;
use crate::engine::Terms;
use crate::recorder::Recorder;

/// Sends a request that is plain ([`Request::is_plain`]) and counts what comes of it, again and again for as long as `next`
/// gives another iteration of the same scenario. Returns one of another scenario, if that is what it gives.
///
/// # Cancel safety
/// Not cancel safe: dropping the future leaves a step that was counted as sent without an end. Use `cancel`.
pub(super) async fn plain(
    program: &Program,
    user: &mut User,
    request: &Request,
    mut start: IterationStart,
    (recorder, cancel): (&RefCell<Recorder>, &mut Cancelled),
    mut next: impl FnMut(IterationEnded) -> Option<IterationStart>,
) -> Option<IterationStart> {
    let Some(constant) = request.constant() else {
        return next(IterationEnd::BrokenOff.into());
    };
    let scenario = start.scenario;
    let User {
        engines,
        answer,
        values,
        shard,
        ..
    } = user;
    let (body_bytes, clock) = (constant.body.len(), shard.clock);
    let terms = Terms {
        keep_body: false,
        want_headers: false,
        deadline: Stamp::FAR,
        send_by: Some(&*shard.send_by),
        awake: Some(&*shard.awake),
    };
    let mut asked = constant.for_engine(program, request, terms);
    let mut now = clock.now();
    loop {
        if cancel.is_fired() {
            if !start.closed {
                let at = clock.now();
                recorder
                    .borrow_mut()
                    .never_sent(request.id, start.segment, start.due, at);
            }
            return next(IterationEnd::Cancelled.into());
        }
        recorder.borrow_mut().step_sent(request.id, start.segment, now);
        answer.clear(now);
        asked.terms_mut().deadline = now + request.timeout;
        let result = exchange(engines, (&asked, answer), (shard, cancel), RENEWAL_WAIT).await;
        after(result.as_ref()).await;
        let about = (start.load, request);
        let judged = settle(program, about, result, (answer, values), (shard, recorder));
        let due = (start.due, start.segment);
        record(program, request, answer, due, (&judged, body_bytes), recorder);
        let end = end_of(judged.outcome, request).unwrap_or(IterationEnd::Completed);
        let at = (judged.outcome == Outcome::Ok).then_some(answer.done_at);
        start = next(IterationEnded { end, at, ran: true })?;
        // Where one iteration has ended the next begins.
        now = at.unwrap_or_else(|| clock.now());
        if start.scenario != scenario {
            return Some(start);
        }
    }
}
