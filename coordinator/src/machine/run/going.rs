//! From the start to the end: renewals, evaluations, losses, stops, draining, teardown.

use std::sync::Arc;
use std::time::Duration;

use barrage_metrics::StopCause;
use barrage_model::ids::WorkerId;
use barrage_model::plan::{Load, LoadModel, OnLoss};
use barrage_model::time::Moment;

use super::effects::Effect;
use super::{
    Book, CANCEL_LIMIT, Command, DRAIN_SLACK, GRANT, How, Life, ONCE_LIMIT, Outcome, Output, RENEWAL, Record, Run,
    SETTLE_LIMIT, State, Stopped, TOLD_MAX,
};

impl<B: Book> Run<B> {
    pub(super) fn tick(&mut self, now: Moment) {
        self.ticked = now;
        self.store_patience(now);
        loop {
            let before = self.state.clone();
            self.step(now);
            if self.state == before {
                return;
            }
        }
    }

    fn step(&mut self, now: Moment) {
        match self.state {
            State::Preparing { deadline } if deadline <= now => {
                let late = self
                    .seats
                    .iter()
                    .filter(|seat| !seat.prepared)
                    .map(|seat| seat.name.as_str());
                let reason = format!("not prepared in time: {}", late.collect::<Vec<_>>().join(", "));
                self.fail(now, reason);
            }
            State::SettingUp { deadline, .. } if deadline <= now => {
                self.failed = Some(Outcome::CouldNotStart(format!(
                    "setup did not end within {ONCE_LIMIT:?}"
                )));
                self.tear_down(now);
            }
            State::TearingDown { worker, deadline } if deadline <= now => {
                let text = format!("teardown did not end within {ONCE_LIMIT:?}");
                self.note(now, "teardown-failed", Some(worker), text);
                self.settle(now);
            }
            State::Running => self.running(now),
            State::Draining { deadline, how } => self.draining(now, deadline, how),
            _ => {}
        }
        if let State::Settling { not_before, deadline } = self.state
            && (deadline <= now || not_before <= now && self.effects.is_empty())
        {
            if !self.effects.is_empty() {
                let text = format!(
                    "the store has not taken everything within {SETTLE_LIMIT:?}: what it has of this run is not whole, but this report is"
                );
                self.note(now, "not-stored", None, text);
            }
            self.finish(now);
        }
    }

    fn running(&mut self, now: Moment) {
        self.renew(now);
        self.evaluate(now);
        if !matches!(self.state, State::Running) {
            return;
        }
        if let Some((load, rows, asked)) = self.blocks.out_of_rows(&self.seats) {
            let load = &self.spec.plan.loads[usize::from(load.0)].name;
            let text =
                format!("a data set has been used up: load {load} has rows for {rows} of its {asked} iterations");
            return self.stop(now, How::Graceful, StopCause::DataEnded, text);
        }
        if self.seats.iter().all(|seat| seat.is_over(now)) {
            return self.tear_down(now);
        }
        let run_now = self.run_now(now);
        if self.has_begun(now) && self.seats.iter().all(|seat| seat.is_done() || seat.is_lost()) {
            let left = self.spec.compiled.end > run_now;
            let note = left && self.stopped.is_none() && self.seats.iter().any(super::Seat::is_lost);
            self.drain(now, How::Graceful);
            if note {
                self.note(now, "stop", None, "every worker that was left has halted".to_owned());
            }
        } else if run_now >= self.spec.compiled.end && self.has_begun(now) {
            self.drain(now, How::Graceful);
        } else if self.counted_loads_are_all() && self.blocks.is_used_up(&self.seats) {
            self.tell_to_stop(now, How::Graceful, "every iteration has been started");
            self.drain(now, How::Graceful);
        }
    }

    fn draining(&mut self, now: Moment, deadline: Moment, how: How) {
        // A drain at the plan's end still starts what is due; one after a stop does not.
        match (how, &self.stopped) {
            (How::Graceful, None) => self.renew(now),
            (How::Graceful, Some(_)) => self.prolong(now),
            (How::Now, _) => {}
        }
        self.evaluate(now);
        if self.seats.iter().all(|seat| seat.is_over(now)) {
            return self.tear_down(now);
        }
        if deadline > now {
            return;
        }
        match how {
            How::Graceful => {
                self.note(
                    now,
                    "stop",
                    None,
                    "draining took too long: what is in flight is cancelled".to_owned(),
                );
                self.cancel(now, "draining took too long");
            }
            How::Now => {
                let late: Vec<WorkerId> = self.ids().filter(|worker| self.is_open(*worker)).collect();
                for worker in late {
                    self.lost(now, worker, format!("did not halt within {CANCEL_LIMIT:?} of the stop"));
                }
                self.state = State::Draining {
                    deadline: now + GRANT + CANCEL_LIMIT,
                    how,
                };
            }
        }
    }

    /// Whether it drains because the plan has come to its end, so that nobody has been told to stop.
    pub(super) fn drains_at_the_end(&self) -> bool {
        let graceful = matches!(self.state, State::Draining { how: How::Graceful, .. });
        let used_up = self.counted_loads_are_all() && self.blocks.is_used_up(&self.seats);
        graceful && self.stopped.is_none() && !used_up
    }

    fn is_open(&self, worker: WorkerId) -> bool {
        let seat = &self.seats[worker.0 as usize];
        !seat.is_lost() && !seat.is_done()
    }

    fn has_begun(&self, now: Moment) -> bool {
        self.start.is_some_and(|start| start <= now)
    }

    /// Whether nothing but counted loads is left to do: they end when they are used up, not by time.
    fn counted_loads_are_all(&self) -> bool {
        let mut counted = false;
        for load in &self.spec.plan.loads {
            match load.model {
                LoadModel::Iterations(_) => counted = true,
                LoadModel::Open(_) | LoadModel::Users(_) => return false,
            }
        }
        counted
    }

    /// A renewal each second: stored first, then sent.
    fn renew(&mut self, now: Moment) {
        let Some(due) = self.next_renewal.filter(|due| *due <= now) else {
            return;
        };
        self.note_lapse(now);
        self.renewals += 1;
        let last = self.spec.compiled.end + self.spec.plan.graceful_stop + GRANT;
        let until = (self.run_now(now) + GRANT).min(last);
        // Renewals that were missed, in a stall, are not made up.
        self.next_renewal = Some((due + RENEWAL).max(now + RENEWAL / 2));
        for worker in self.ids() {
            let seat = &self.seats[worker.0 as usize];
            if seat.present && !seat.is_done() && !seat.is_lost() {
                self.blocks.hand_out(worker, seat);
            }
        }
        self.let_end(now, self.renewals);
        let record = Record::Granted(until, self.blocks.handed_out());
        self.store(now, record, Effect::Grant(self.renewals, until));
    }

    /// What is in progress after a stop needs grants for each further request. Nothing begins on them, so they need not be
    /// stored.
    fn prolong(&mut self, now: Moment) {
        let Some(due) = self.next_renewal.filter(|due| *due <= now) else {
            return;
        };
        self.next_renewal = Some((due + RENEWAL).max(now + RENEWAL / 2));
        self.renewals += 1;
        let (number, until) = (self.renewals, self.run_now(now) + GRANT);
        for worker in self.ids().filter(|worker| self.is_open(*worker)).collect::<Vec<_>>() {
            let seat = &mut self.seats[worker.0 as usize];
            if seat.present {
                seat.goes_on_until = until;
                let blocks = Vec::new();
                self.outputs
                    .push_back(Output::Send(worker, Command::Grant { number, until, blocks }));
            }
        }
        self.let_end(now, number);
    }

    /// The same for lost workers that are back. They begin nothing either, and the run's end waits for them meanwhile.
    fn let_end(&mut self, now: Moment, number: u64) {
        let until = self.run_now(now) + GRANT;
        for (worker, seat) in (0..).map(WorkerId).zip(&mut self.seats) {
            if !seat.present || seat.is_done() {
                continue;
            }
            let slack = seat.slack(GRANT);
            if let Life::Lost { released, .. } = &mut seat.life {
                *released = (*released).max(now + GRANT + slack);
                seat.goes_on_until = until;
                let blocks = Vec::new();
                self.outputs
                    .push_back(Output::Send(worker, Command::Grant { number, until, blocks }));
            }
        }
    }

    /// Says for the report that workers have had to stand still, whoever held the renewals up: in their readings it is lag
    /// of their own.
    fn note_lapse(&mut self, now: Moment) {
        let run_now = self.run_now(now);
        let load_end = self.spec.compiled.end;
        let mut since: Option<Moment> = None;
        let mut lapsed = Vec::new();
        for worker in self.ids() {
            let seat = &mut self.seats[worker.0 as usize];
            let stands = seat.present && !seat.is_done() && !seat.is_lost() && seat.granted > Moment::ZERO;
            if stands && seat.granted < run_now.min(load_end) && seat.lapse_told != seat.granted {
                seat.lapse_told = seat.granted;
                since = Some(since.map_or(seat.granted, |since| since.min(seat.granted)));
                lapsed.push(worker);
            }
        }
        let Some(since) = since.filter(|_| self.stopped.is_none()) else {
            return;
        };
        let (worker, who) = match lapsed.as_slice() {
            [one] => (Some(*one), format!("worker {}", self.name(*one))),
            all => (None, format!("{} workers", all.len())),
        };
        let text = format!(
            "{who} had no grant from {since} to {run_now}, for the coordinator gave none in time: what fell due then was late"
        );
        self.note(now, "no-grant", worker, text);
    }

    /// Each second, and as soon as there is something new to judge.
    fn evaluate(&mut self, now: Moment) {
        match self.next_evaluation.filter(|due| *due <= now) {
            Some(due) => self.next_evaluation = Some((due + RENEWAL).max(now + RENEWAL / 2)),
            None if self.book.is_due() => {}
            None => return,
        }
        let run_now = self.run_now(now);
        if let Some(reason) = self.book.evaluate(run_now).filter(|_| self.stopped.is_none()) {
            self.stop(now, How::Graceful, StopCause::SlaBreached, reason);
        }
        if let Some(text) = self.book.strained() {
            self.note(now, "generator", None, text);
        }
    }

    pub(super) fn halted(&mut self, now: Moment, worker: WorkerId, last_seq: u64, reason: &str) {
        let needed = !matches!(
            self.state,
            State::TearingDown { .. } | State::Settling { .. } | State::Finished
        );
        let run_now = self.run_now(now);
        let Some(seat) = self.seats.get_mut(worker.0 as usize) else {
            return;
        };
        let first = seat.last_seq.is_none();
        seat.last_seq = seat.last_seq.max(Some(last_seq));
        seat.note_done(run_now);
        if seat.applied < last_seq {
            let from = seat.applied + 1;
            self.outputs
                .push_back(Output::Reply(worker, super::Answer::ResendFrom(from)));
        }
        if first && needed && !reason.is_empty() {
            // It stops of its own accord, so the rest of its share is nobody's.
            self.lose(now, worker, format!("it has halted: {reason}"));
        }
    }

    pub(super) fn lost(&mut self, now: Moment, worker: WorkerId, reason: String) {
        let Some(seat) = self.seats.get_mut(worker.0 as usize) else {
            return;
        };
        seat.present = false;
        let tearing_down = matches!(self.state, State::TearingDown { worker: busy, .. } if busy == worker);
        let over = seat.is_done() || seat.is_lost();
        if matches!(self.state, State::Settling { .. } | State::Finished) {
            return;
        }
        if !over {
            self.lose(now, worker, reason);
        }
        if tearing_down {
            self.tear_down(now);
            if matches!(self.state, State::TearingDown { .. }) {
                let text = "lost while it did teardown: another does it from the beginning, and what this one sent is counted if it comes back";
                self.note(now, "teardown-again", Some(worker), text.to_owned());
            }
        }
    }

    /// A worker of its own accord begins nothing from some instant on. It counts as lost once it is done with what it had begun;
    /// the fleet is short of its share before that.
    pub(super) fn leaves(&mut self, now: Moment, worker: WorkerId, from: Moment) {
        let secs = from.as_micros() as f64 / 1e6;
        let text = format!(
            "worker {} leaves: it has begun nothing since {secs:.3} s",
            self.name(worker)
        );
        self.note(now, "worker-leaves", Some(worker), text.clone());
        if matches!(self.state, State::Running) && self.spec.plan.workers.on_loss == OnLoss::Abort {
            self.stop(now, How::Graceful, StopCause::WorkerLost, text);
        }
    }

    fn lose(&mut self, now: Moment, worker: WorkerId, reason: String) {
        let at = self.run_now(now);
        let start = self.start;
        let Some(seat) = self.seats.get_mut(worker.0 as usize).filter(|seat| !seat.is_lost()) else {
            return;
        };
        let may_send_until = seat.granted.max(seat.goes_on_until);
        let grant_end = start.map_or(now, |start| start + may_send_until.since(Moment::ZERO));
        let released = grant_end.max(now) + seat.slack(GRANT);
        let text = format!("worker {} is lost: {reason}", seat.name);
        seat.life = Life::Lost { at, released, reason };
        self.any_lost = true;
        if start.is_some() {
            self.book.lost(worker, at);
        }
        self.note(now, "worker-lost", Some(worker), text.clone());
        match self.state {
            State::Preparing { .. } => self.fail(now, text),
            State::SettingUp { .. } => self.stop_before_start(now, StopCause::WorkerLost, text),
            State::Running if self.spec.plan.workers.on_loss == OnLoss::Abort => {
                self.stop(now, How::Graceful, StopCause::WorkerLost, text);
            }
            _ => {}
        }
    }

    /// A worker tells of something; data that has run out stops the run.
    pub(super) fn told(&mut self, now: Moment, worker: WorkerId, kind: &str, text: String) {
        if kind == "data-ended" && self.stopped.is_none() && matches!(self.state, State::Running) {
            return self.stop(now, How::Graceful, StopCause::DataEnded, text);
        }
        let Some(seat) = self.seat(worker) else { return };
        seat.told += 1;
        match seat.told {
            ..TOLD_MAX => self.note(now, kind, Some(worker), text),
            TOLD_MAX => self.note(
                now,
                "told",
                Some(worker),
                format!("what it tells beyond {TOLD_MAX} events is not kept"),
            ),
            _ => {}
        }
    }

    /// Stops the run. While load drains, a second stop is `Now`, whatever it says. Teardown, which cleans up, is cut short by
    /// nothing but a `Now`.
    pub(super) fn stop(&mut self, now: Moment, how: How, cause: StopCause, reason: String) {
        match self.state {
            State::Preparing { .. } | State::SettingUp { .. } => self.stop_before_start(now, cause, reason),
            State::Running => {
                self.set_stopped(now, cause, &reason);
                self.note(now, "stop", None, reason.clone());
                if how == How::Now {
                    return self.cancel(now, &reason);
                }
                self.drain(now, How::Graceful);
                self.tell_to_stop(now, How::Graceful, &reason);
            }
            State::Draining { how: How::Graceful, .. } => {
                let again = self.stopped.is_some();
                if !again {
                    self.set_stopped(now, cause, &reason);
                }
                self.note(now, "stop", None, reason.clone());
                if again || how == How::Now {
                    return self.cancel(now, &reason);
                }
                self.drain(now, How::Graceful);
                self.tell_to_stop(now, How::Graceful, &reason);
            }
            State::TearingDown { .. } if how == How::Now => {
                self.note(now, "stop", None, format!("teardown was cut short: {reason}"));
                self.settle(now);
            }
            State::TearingDown { .. } => {
                let text = format!("{reason}: only teardown is left, and it goes on");
                self.note(now, "stop", None, text);
            }
            State::Draining { .. } | State::Settling { .. } | State::Finished => {}
        }
    }

    fn set_stopped(&mut self, now: Moment, cause: StopCause, reason: &str) {
        let at = self.run_now(now);
        self.stopped = Some(Stopped {
            at,
            cause,
            reason: reason.to_owned(),
        });
        self.book.stopped(at);
    }

    fn cancel(&mut self, now: Moment, reason: &str) {
        self.state = State::Draining {
            deadline: now + CANCEL_LIMIT,
            how: How::Now,
        };
        self.tell_to_stop(now, How::Now, reason);
    }

    fn tell_to_stop(&mut self, now: Moment, how: How, reason: &str) {
        let stop = self.stop_command(now, how, reason);
        self.tell_all(|_| stop.clone());
    }

    /// Whoever hears of a stop late has to behave as if it had heard of it in time.
    pub(super) fn stop_command(&self, now: Moment, how: How, reason: &str) -> Command {
        Command::Stop {
            how,
            at: self.stopped.as_ref().map_or(self.run_now(now), |stopped| stopped.at),
            reason: reason.to_owned(),
        }
    }

    fn drain(&mut self, now: Moment, how: How) {
        let limit = self.spec.plan.graceful_stop.saturating_add(DRAIN_SLACK);
        self.state = State::Draining {
            deadline: now + limit,
            how,
        };
    }

    /// Teardown on the worker that did setup, else on any that is there; also after a stop.
    pub(super) fn tear_down(&mut self, now: Moment) {
        let never_set_up = self.setup_begun.is_none() && self.start.is_none();
        if self.spec.plan.teardown.is_empty() || never_set_up {
            return self.settle(now);
        }
        let able = |worker: &WorkerId| {
            let seat = &self.seats[worker.0 as usize];
            seat.present && !seat.is_lost()
        };
        let chosen = self
            .setup_begun
            .filter(|worker| able(worker))
            .or_else(|| self.ids().find(able));
        let Some(worker) = chosen else {
            self.note(
                now,
                "teardown-failed",
                None,
                "no worker is left to do teardown".to_owned(),
            );
            return self.settle(now);
        };
        self.state = State::TearingDown {
            worker,
            deadline: now + ONCE_LIMIT,
        };
        let values = Arc::clone(&self.values);
        self.outputs
            .push_back(Output::Send(worker, Command::DoTeardown(values)));
    }

    /// Everything is merged: the run ends once the store has it, too.
    pub(super) fn settle(&mut self, now: Moment) {
        self.state = State::Settling {
            not_before: now,
            deadline: now + SETTLE_LIMIT,
        };
    }

    fn finish(&mut self, now: Moment) {
        self.note_holes(now);
        self.state = State::Finished;
        let outcome = self.failed.clone().unwrap_or(Outcome::Ended);
        for worker in self.ids() {
            if self.seats[worker.0 as usize].present {
                self.outputs.push_back(Output::Send(worker, Command::Release));
            }
        }
        self.outputs.push_back(Output::Finished(outcome));
    }

    /// What a run's length is: the run time at which its last iteration ended, and no less than that of its timed loads and
    /// of the counted ones that their limit has ended, as far as they came.
    ///
    /// It is not the time at which the coordinator heard of that end: the way of the last counts is none of the target's.
    pub fn length(&self) -> Moment {
        let heard = self.seats.iter().map(|seat| match seat.life {
            Life::Lost { at, .. } => seat.done_at.unwrap_or(at.max(seat.heard_at)),
            Life::Alive => seat.done_at.unwrap_or(self.run_now(self.ticked)),
        });
        let heard = heard.max().unwrap_or(Moment::ZERO);
        // A worker's clock may be ahead, and what it says may be false: its iterations ended before it was heard of.
        let ended = self.seats.iter().filter_map(|seat| seat.ended).max();
        let ended = ended.map(|ended| ended.min(heard));
        // The plan's end is no word of a worker: who was done by then, but for the error of the clocks, was there until then.
        let reached = |at: Moment| {
            let done = self.seats.iter().filter(|seat| !seat.is_lost());
            let mut latest = done.filter_map(|seat| Some(seat.done_at? + seat.slack(Duration::ZERO)));
            latest.any(|latest| at <= latest)
        };
        let timed = self.timed_end().map(|at| if reached(at) { at } else { at.min(heard) });
        let limit = self.limit_that_ended().filter(|at| reached(*at));
        ended.max(timed).max(limit).unwrap_or(heard)
    }

    /// The limit of the counted loads that had iterations left, if nobody has stopped them: their users would have begun them
    /// until then, even if nothing let them.
    fn limit_that_ended(&self) -> Option<Moment> {
        let limits = self.blocks.left_over(&self.seats).map(|load| {
            let load = self.spec.plan.loads.get(usize::from(load.0));
            load.map_or(Moment::ZERO, Load::end)
        });
        limits.max().filter(|_| self.stopped.is_none())
    }

    /// Where the timed loads end, or were stopped.
    fn timed_end(&self) -> Option<Moment> {
        let planned = self.spec.plan.timed_end()?;
        Some(self.stopped.as_ref().map_or(planned, |stopped| planned.min(stopped.at)))
    }
}
