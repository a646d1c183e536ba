//! What has to wait until the store has caught up.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use barrage_model::delta::Delta;
use barrage_model::ids::WorkerId;
use barrage_model::time::Moment;

use super::{Answer, Book, Command, Output, Record, Run, STORE_PATIENCE};

/// What follows a commit.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Effect {
    Nothing,
    /// Acknowledge a worker's deltas up to this one.
    Acknowledge(WorkerId, u64),
    /// Send the grants of a renewal.
    Grant(u64, Moment),
}

/// Tickets handed to the store, in order.
#[derive(Debug, Default)]
pub(super) struct Effects {
    next: u64,
    waiting: VecDeque<(u64, Moment, Effect)>,
    /// Since when renewals wait, the oldest first.
    grants: VecDeque<Moment>,
    /// Whether load goes on unstored, and that has been told.
    slow: bool,
}

impl Effects {
    fn ticket(&mut self, now: Moment, effect: Effect) -> u64 {
        self.next += 1;
        if matches!(effect, Effect::Grant(..)) {
            self.grants.push_back(now);
        }
        self.waiting.push_back((self.next, now, effect));
        self.next
    }

    fn take(&mut self, stored: u64) -> Option<Effect> {
        let (ticket, _, _) = self.waiting.front()?;
        if *ticket > stored {
            return None;
        }
        let (_, _, effect) = self.waiting.pop_front()?;
        if matches!(effect, Effect::Grant(..)) {
            self.grants.pop_front();
            self.slow = false;
        }
        Some(effect)
    }

    /// Renewals that have waited too long, replaced by nothing in the queue.
    fn overdue(&mut self, now: Moment) -> Vec<Effect> {
        let late = |since: Moment| now.since(since) >= STORE_PATIENCE;
        if !self.grants.front().is_some_and(|since| late(*since)) {
            return Vec::new();
        }
        self.grants.retain(|since| !late(*since));
        let waiting = self.waiting.iter_mut();
        waiting
            .filter(|(_, since, effect)| late(*since) && matches!(effect, Effect::Grant(..)))
            .map(|(_, _, effect)| std::mem::replace(effect, Effect::Nothing))
            .collect()
    }

    pub(super) fn deadline(&self) -> Option<Moment> {
        self.grants.front().map(|since| *since + STORE_PATIENCE)
    }

    #[cfg(test)]
    pub(super) fn next_ticket(&self) -> u64 {
        self.next
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}

impl<B: Book> Run<B> {
    pub(super) fn store(&mut self, now: Moment, record: Record, effect: Effect) {
        let ticket = self.effects.ticket(now, effect);
        self.outputs.push_back(Output::Store(ticket, record));
    }

    pub(super) fn stored(&mut self, ticket: u64) {
        while let Some(effect) = self.effects.take(ticket) {
            self.carry_out(&effect);
        }
    }

    /// A store that does not answer must not end the load: grants go out unstored, and the report says so.
    pub(super) fn store_patience(&mut self, now: Moment) {
        let overdue = self.effects.overdue(now);
        if !overdue.is_empty() && !std::mem::replace(&mut self.effects.slow, true) {
            let text = format!("the store has not answered for {STORE_PATIENCE:?}; load goes on");
            self.note(now, "store-slow", None, text);
        }
        for effect in overdue {
            self.carry_out(&effect);
        }
    }

    fn carry_out(&mut self, effect: &Effect) {
        match *effect {
            Effect::Nothing => {}
            Effect::Acknowledge(worker, seq) => {
                if let Some(seat) = self.seat(worker) {
                    seat.committed = seat.committed.max(seq);
                    let committed = seat.committed;
                    self.outputs
                        .push_back(Output::Reply(worker, Answer::Committed(committed)));
                }
            }
            Effect::Grant(number, until) => self.send_grants(number, until),
        }
    }

    fn send_grants(&mut self, number: u64, until: Moment) {
        if self.stopped.is_some() {
            return;
        }
        for worker in self.ids() {
            let seat = &mut self.seats[worker.0 as usize];
            if !seat.present || seat.is_done() || seat.is_lost() || until <= seat.granted && number > 1 {
                continue;
            }
            seat.granted = seat.granted.max(until);
            let blocks = self.blocks.take(worker);
            self.outputs
                .push_back(Output::Send(worker, Command::Grant { number, until, blocks }));
        }
    }

    /// Takes a delta: the next one is merged and stored, an earlier one acknowledged again, a later one asked for again.
    pub(super) fn delta(&mut self, now: Moment, worker: WorkerId, delta: Delta) {
        let run_now = self.run_now(now);
        let ahead_max = ahead_max(run_now);
        let Some(seat) = self.seats.get_mut(worker.0 as usize) else {
            return;
        };
        if delta.seq <= seat.applied {
            // One that is merged but not stored yet is acknowledged when it is.
            if delta.seq <= seat.committed {
                let committed = seat.committed;
                self.outputs
                    .push_back(Output::Reply(worker, Answer::Committed(committed)));
            }
            return;
        }
        if delta.seq > seat.applied + 1 {
            let from = seat.applied + 1;
            self.outputs.push_back(Output::Reply(worker, Answer::ResendFrom(from)));
            return;
        }
        let incarnation = seat.incarnation;
        let interval = Moment::from_secs(delta.interval.into());
        if interval > ahead_max {
            return self.refuse(worker, "interval: it has not begun yet");
        }
        if let Err(reason) = self.book.apply(worker, incarnation, &delta) {
            return self.refuse(worker, &reason);
        }
        let goes_on = seat.left.is_none();
        seat.follow(&delta, run_now);
        seat.note_done(run_now);
        let left = seat.left.filter(|_| goes_on && !seat.is_lost());
        let seq = delta.seq;
        let record = Record::Delta(worker, incarnation, Arc::new(delta));
        self.store(now, record, Effect::Acknowledge(worker, seq));
        if let Some(left) = left {
            self.leaves(now, worker, left);
        }
    }

    /// What cannot be right is not counted, and its sender is not trusted any more.
    pub(super) fn refuse(&mut self, worker: WorkerId, reason: &str) {
        if self.seats.get(worker.0 as usize).is_none() {
            return;
        }
        self.outputs
            .push_back(Output::Reply(worker, Answer::Refused(reason.to_owned())));
        self.outputs.push_back(Output::Quarantine(worker, reason.to_owned()));
    }
}

/// The latest instant in run time that a worker's clock may show: five seconds, and a drift of a thousandth, ahead.
fn ahead_max(run_now: Moment) -> Moment {
    run_now + Duration::from_secs(5) + run_now.since(Moment::ZERO) / 1_000
}
