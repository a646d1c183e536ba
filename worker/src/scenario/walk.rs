//! One iteration, step by step.

use std::cell::RefCell;
use std::pin::pin;
use std::time::Duration;

use barrage_model::ids::{LoadId, SegmentId, StepId};
use barrage_model::outcome::{IterationEnd, Outcome, OutcomeGroup};
use barrage_model::plan::{Delay, LoadModel};

use super::cancel::Cancelled;
use super::compile::{CompiledPlan, Op, Program, Request, Scenario, Script};
use super::connections::RENEWAL_WAIT;
use super::context::{IterationEnded, IterationStart};
use super::data::NoRow;
use super::exchange::{Judged, after, end_of, exchange, record, settle};
use super::plain::plain;
use super::tried::Observer;
use super::user::User;
use crate::clock::Stamp;
use crate::engine::Terms;
use crate::recorder::Recorder;

/// After so many steps without a pause the other slots of the shard get their turn.
const TURN: u32 = 256;
/// A user whose iteration had no row begins the next one after this, where nothing but the end of the one before starts it.
const WITHOUT_ROW: Duration = Duration::from_millis(10);

/// Goes through one iteration: `on_start` if this user has not yet done it for the scenario, then the steps. `next` is told
/// how it ended and may give another one to go on with; until it gives none.
///
/// Steps and groups are recorded as they end; the iterations themselves are the caller's to count. `cancel` fires when work
/// in flight shall be given up: the connection in use is closed and the step counts as cancelled.
///
/// # Cancel safety
/// Not cancel safe: dropping the future leaves a step that was counted as sent without an end. Use `cancel`.
pub async fn run_iterations(
    plan: &CompiledPlan,
    user: &mut User,
    start: IterationStart,
    (recorder, cancel): (&RefCell<Recorder>, &mut Cancelled),
    mut next: impl FnMut(IterationEnded) -> Option<IterationStart>,
) {
    let mut more = Some(start);
    while let Some(start) = more {
        let number = usize::from(start.scenario.0);
        let scenario = plan.program.scenarios.get(number);
        more = if let Some(request) = scenario.and_then(|scenario| scenario.plain) {
            let request = &plan.program.requests[request as usize];
            plain(&plan.program, user, request, start, (recorder, &mut *cancel), &mut next).await
        } else {
            let course = scenario.map(|scenario| Course {
                scenario,
                on_start: Some(number),
            });
            next(go(plan, user, course, &start, (recorder, &mut *cancel), None).await)
        };
    }
}

/// What is gone through.
pub(super) struct Course<'a> {
    pub(super) scenario: &'a Scenario,
    /// The scenario's number when it has an `on_start` to be done once.
    pub(super) on_start: Option<usize>,
}

/// Without a course the iteration is broken off: decided here, for every caller.
pub(super) async fn go(
    plan: &CompiledPlan,
    user: &mut User,
    course: Option<Course<'_>>,
    start: &IterationStart,
    (recorder, cancel): (&RefCell<Recorder>, &mut Cancelled),
    observer: Option<&mut Observer<'_>>,
) -> IterationEnded {
    let Some(course) = course else {
        return IterationEnd::BrokenOff.into();
    };
    user.number = start.user;
    if let Err(no_row) = user.begin(plan, course.scenario, (start.load, start.index, start.closed)) {
        if let Some(observer) = observer {
            observer.no_row();
        }
        return Box::pin(without_row(
            &plan.program,
            user,
            &course,
            start,
            (recorder, cancel),
            no_row,
        ))
        .await;
    }
    let mut walk = Walk {
        program: &plan.program,
        user,
        load: start.load,
        segment: start.segment,
        due: start.due,
        recorder,
        cancel,
        groups: Vec::new(),
        ended_at: None,
        arrived: !start.closed,
        asks_for_body: course.scenario.asks_for_body,
        observer,
    };
    let mut result = Ok(());
    if let Some(number) = walk.wants_start(&course, start.closed) {
        // In a box: most iterations have none, and none has room for it then.
        result = Box::pin(walk.script(&course.scenario.on_start)).await;
        if result.is_ok() {
            let keeps_cookies = plan.program.plan.network.cookies;
            walk.user.has_started(number, (keeps_cookies, start.closed));
        }
    }
    if result.is_ok() {
        result = walk.script(&course.scenario.steps).await;
    }
    let end = match result {
        Ok(()) => IterationEnd::Completed,
        Err(end) => end,
    };
    walk.leave_groups(end);
    let at = walk.ended_at;
    user.rest(false);
    IterationEnded { end, at, ran: true }
}

/// An iteration that a data set has no row for.
async fn without_row(
    program: &Program,
    user: &mut User,
    course: &Course<'_>,
    start: &IterationStart,
    (recorder, cancel): (&RefCell<Recorder>, &mut Cancelled),
    (no_row, data): (NoRow, u16),
) -> IterationEnded {
    let now = user.shard.clock.now();
    let end = match no_row {
        NoRow::Stop => {
            program.end_rows();
            IterationEnd::Cancelled
        }
        NoRow::Error => {
            let mut ops = course.scenario.on_start.ops.iter().chain(&course.scenario.steps.ops);
            let first = ops.find_map(|op| match op {
                Op::Request(number) => Some(&program.requests[*number as usize]),
                _ => None,
            });
            if let Some(request) = first {
                user.answer.clear(now);
                let judged = Judged::without_row(&program.plan.data[usize::from(data)].name);
                recorder.borrow_mut().step_sent(request.id, start.segment, now);
                let about = (start.due, start.segment);
                record(program, request, &user.answer, about, (&judged, 0), recorder);
            }
            IterationEnd::BrokenOff
        }
    };
    let load = program.plan.loads.get(usize::from(start.load.0));
    if load.is_some_and(|load| !matches!(load.model, LoadModel::Open(_))) {
        // There is none for the user's next iteration either, which would begin at once.
        cancel.unless(pin!(user.shard.pauses.until(now + WITHOUT_ROW))).await;
    } else {
        tokio::task::yield_now().await;
    }
    IterationEnded {
        end,
        at: None,
        ran: false,
    }
}

/// A group that has begun.
struct Group {
    id: Option<StepId>,
    due: Stamp,
    /// The first thing in it that went wrong.
    outcome: OutcomeGroup,
    requests: u32,
}

struct Walk<'a, 'o> {
    program: &'a Program,
    user: &'a mut User,
    load: LoadId,
    segment: SegmentId,
    /// When the next step is due.
    due: Stamp,
    recorder: &'a RefCell<Recorder>,
    cancel: &'a mut Cancelled,
    groups: Vec<Group>,
    /// The end of the last answer, as long as nothing that takes time has come after it.
    ended_at: Option<Stamp>,
    /// Whether the iteration is an arrival of an open load.
    arrived: bool,
    /// Whether the last body has to be kept.
    asks_for_body: bool,
    /// Nobody in a run.
    observer: Option<&'a mut Observer<'o>>,
}

impl Walk<'_, '_> {
    /// The scenario's number when its `on_start` still has to be gone through.
    fn wants_start(&mut self, course: &Course<'_>, closed: bool) -> Option<usize> {
        let number = course.on_start.filter(|_| !course.scenario.on_start.ops.is_empty())?;
        self.user.wants_start(number, closed).then_some(number)
    }

    async fn script(&mut self, script: &Script) -> Result<(), IterationEnd> {
        self.user.counters.clear();
        self.user.counters.resize(usize::from(script.counters), 0);
        let mut at = 0;
        while let Some(op) = script.ops.get(at) {
            at += 1;
            self.ended_at = None;
            match op {
                Op::Request(number) => self.request(&self.program.requests[*number as usize]).await?,
                Op::Think(delay) => {
                    let pause = self.draw(*delay);
                    if let Some(observer) = &mut self.observer {
                        observer.think(pause);
                    }
                    self.pause(pause).await?;
                    self.turn().await?;
                }
                other => {
                    if let Some(pause) = self.step(other, &mut at) {
                        self.pause(pause).await?;
                    }
                    self.turn().await?;
                }
            }
        }
        Ok(())
    }

    /// Does what needs no waiting. A pause may have to follow. Kept apart, so that the way of a request is short.
    #[inline(never)]
    fn step(&mut self, op: &Op, at: &mut usize) -> Option<Duration> {
        match op {
            Op::Request(_) | Op::Think(_) => {}
            Op::Set(values) => {
                for (slot, text) in values {
                    let value = text.value(&self.user.values.scope(self.program, None));
                    if let Some(observer) = &mut self.observer {
                        observer.set(self.program, *slot, value.as_deref());
                    }
                    self.user.values.set(*slot, value);
                }
            }
            Op::Begin { counter } => self.user.counters[usize::from(*counter)] = 0,
            Op::Again { counter, times, to } => {
                if self.rounds(*counter) < *times {
                    *at = *to as usize;
                }
            }
            Op::Unless { condition, to } => {
                if !self.holds(condition) {
                    *at = *to as usize;
                }
            }
            Op::Jump { to } => *at = *to as usize,
            Op::Until {
                condition,
                counter,
                at_most,
                every,
                to,
            } => {
                if !self.holds(condition) && self.rounds(*counter) < *at_most {
                    *at = *to as usize;
                    return Some(*every);
                }
            }
            Op::Open(id) => {
                self.groups.push(Group {
                    id: *id,
                    due: self.due,
                    outcome: OutcomeGroup::Ok,
                    requests: 0,
                });
            }
            Op::Close => {
                if let Some(group) = self.groups.pop() {
                    self.record_group(&group);
                }
            }
        }
        None
    }

    fn rounds(&mut self, counter: u16) -> u32 {
        let rounds = &mut self.user.counters[usize::from(counter)];
        *rounds += 1;
        *rounds
    }

    fn holds(&self, condition: &super::compile::Condition) -> bool {
        let user = &*self.user;
        let last = (user.answered && user.answer.status != 0).then_some(&user.answer);
        condition.is_met(&user.values.scope(self.program, last))
    }

    /// Lets others run from time to time, so that neither a loop nor iterations without requests can hold the shard.
    async fn turn(&mut self) -> Result<(), IterationEnd> {
        self.user.turns += 1;
        if self.user.turns < TURN {
            return Ok(());
        }
        self.user.turns = 0;
        tokio::task::yield_now().await;
        if self.cancel.is_fired() {
            Err(IterationEnd::Cancelled)
        } else {
            Ok(())
        }
    }

    fn draw(&mut self, delay: Delay) -> Duration {
        let spread = delay.max.saturating_sub(delay.min);
        if spread.is_zero() {
            return delay.min;
        }
        let micros = barrage_model::time::whole_micros(spread).saturating_add(1);
        delay.min + Duration::from_micros(self.user.values.think(self.program.seed).below(micros))
    }

    /// Waits until the next step is due, `pause` after the end of the one before.
    async fn pause(&mut self, pause: Duration) -> Result<(), IterationEnd> {
        if self.cancel.is_fired() {
            return Err(IterationEnd::Cancelled);
        }
        let (began, next) = (self.due, self.due + pause);
        self.user.rest(self.asks_for_body);
        let shard = &self.user.shard;
        let over = self.cancel.unless(pin!(shard.pauses.until(next))).await;
        let now = shard.clock.now();
        // A pause that is cut short has lasted until now, and not to its planned end.
        self.due = over.map_or_else(|| next.min(now), |()| next);
        over.ok_or(IterationEnd::Cancelled)?;
        // What is sent late after it is late by us.
        let hidden = shard.awake.hid(next, now);
        shard.awake.ended(self.load, if hidden { began } else { now }, now);
        Ok(())
    }

    /// Waits for the grant where it has ended or, after a standstill, has to be renewed: the iteration goes on on the next one,
    /// which comes within a second if it comes.
    /// Returns how long it may be waited for after that.
    async fn renewal(&mut self, timeout: Duration) -> Result<Duration, IterationEnd> {
        let shard = &self.user.shard;
        if !shard.lacks_grant() {
            return Ok(RENEWAL_WAIT);
        }
        let until = shard.clock.now() + timeout.min(RENEWAL_WAIT);
        let renewal = pin!(shard.renewal(until));
        self.cancel.unless(renewal).await.ok_or(IterationEnd::Cancelled)?;
        Ok(until.since(shard.clock.now()))
    }

    async fn request(&mut self, request: &Request) -> Result<(), IterationEnd> {
        if self.cancel.is_fired() {
            if self.arrived && !self.user.answered {
                let at = self.user.shard.clock.now();
                self.recorder
                    .borrow_mut()
                    .never_sent(request.id, self.segment, self.due, at);
            }
            return Err(IterationEnd::Cancelled);
        }
        let patience = if self.user.answered {
            self.renewal(request.timeout).await?
        } else {
            RENEWAL_WAIT
        };
        let (judged, body_bytes) = self.send(request, patience).await;
        record(
            self.program,
            request,
            &self.user.answer,
            (self.due, self.segment),
            (&judged, body_bytes),
            self.recorder,
        );
        self.user.answered = true;
        self.due = self.user.answer.done_at;
        // What was read of an answer took us time, which the next iteration must not find missing from its lag.
        if judged.outcome == Outcome::Ok && !request.wants.body && !request.wants.headers && self.observer.is_none() {
            self.ended_at = Some(self.due);
        }
        for group in &mut self.groups {
            group.requests += 1;
            if group.outcome == OutcomeGroup::Ok {
                group.outcome = judged.outcome.group();
            }
        }
        end_of(judged.outcome, request).map_or(Ok(()), Err)
    }

    /// Renders, counts and sends; what came back is in the user's answer. The second is the length of the body sent.
    async fn send(&mut self, request: &Request, patience: Duration) -> (Judged, usize) {
        let program = self.program;
        let User {
            engines,
            answer,
            buffers,
            values,
            shard,
            ..
        } = &mut *self.user;
        let watched = self.observer.as_ref().is_some_and(|observer| observer.looks());
        let keep_body = request.wants.body || watched;
        shard.spare.lend(keep_body.then_some(&mut answer.body), buffers);
        let rendered = buffers.render(program, request, &values.scope(program, None));
        let now = shard.clock.now();
        self.recorder.borrow_mut().step_sent(request.id, self.segment, now);
        answer.clear(now);
        let rendered = match rendered {
            Ok(rendered) => rendered,
            Err(error) => {
                let judged = Judged::not_rendered(&error);
                if let Some(observer) = &mut self.observer {
                    observer.not_sent(program, request, &judged);
                }
                // Nothing was waited for, and the next iteration may fare the same.
                tokio::task::yield_now().await;
                return (judged, 0);
            }
        };
        let terms = Terms {
            keep_body,
            want_headers: request.wants.headers || watched,
            deadline: now + request.timeout,
            send_by: Some(&*shard.send_by),
            awake: Some(&*shard.awake),
        };
        if let Some(observer) = &mut self.observer {
            observer.sending(program, request, &rendered);
        }
        let asked = rendered.for_engine(program, request, terms);
        let result = exchange(engines, (&asked, answer), (shard, self.cancel), patience).await;
        let length = rendered.body.len();
        after(result.as_ref()).await;
        let said = match &self.observer {
            Some(observer) if matches!(result, Some(Ok(()))) => observer.checks(program, request, answer, values),
            _ => Vec::new(),
        };
        let about = (self.load, request);
        let judged = settle(program, about, result, (answer, values), (shard, self.recorder));
        if let Some(observer) = &mut self.observer {
            observer.answered(program, request, (answer, values), said, &judged);
        }
        (judged, length)
    }

    /// Groups in which nothing was requested took no time of the target's and are left out.
    fn record_group(&self, group: &Group) {
        if let Some(id) = group.id.filter(|_| group.requests > 0) {
            self.recorder
                .borrow_mut()
                .group_ended(id, self.segment, group.outcome, group.due, self.due);
        }
    }

    /// Ends the groups that an iteration was in when it ended early.
    fn leave_groups(&mut self, end: IterationEnd) {
        for mut group in std::mem::take(&mut self.groups) {
            if group.outcome == OutcomeGroup::Ok && end == IterationEnd::Cancelled {
                group.outcome = OutcomeGroup::Cancelled;
            }
            self.record_group(&group);
        }
    }
}
