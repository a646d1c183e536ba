//! The closed model: user u lives while U(t) > u, and begins its next iteration when the last one has ended.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use barrage_model::ids::ShardId;
use barrage_model::plan::{Delay, UsersLoad};
use barrage_model::rng::{Purpose, Rng, stream};
use barrage_model::schedule::{CurveError, UserCurve, Wheel};
use barrage_model::time::{Moment, whole_micros};

use super::{BATCH, Choice, Gate, Held, Output, Shared, SlotId, SlotOwner, Start};

#[derive(Debug)]
struct User {
    number: u32,
    /// Its own stream: scenario choices and think times.
    rng: Rng,
    /// Iterations begun.
    begun: u64,
    slot: Option<SlotId>,
}

/// When users that live and are idle begin next, and when others are born; by place in the table of users.
#[derive(Debug, Default)]
struct Ready {
    /// Before all others: a user that has ended begins again at once more often than not.
    first: Option<(Moment, u32)>,
    rest: BinaryHeap<Reverse<(Moment, u32)>>,
}

impl Ready {
    fn push(&mut self, new: (Moment, u32)) {
        let last = match self.first {
            Some(first) if new < first => self.first.replace(new),
            None if self.rest.peek().is_none_or(|Reverse(next)| new < *next) => self.first.replace(new),
            _ => Some(new),
        };
        if let Some(last) = last {
            self.rest.push(Reverse(last));
        }
    }

    fn peek(&self) -> Option<(Moment, u32)> {
        self.first.or_else(|| self.rest.peek().map(|Reverse(next)| *next))
    }

    fn pop(&mut self) {
        if self.first.take().is_none() {
            self.rest.pop();
        }
    }

    fn is_empty(&self) -> bool {
        self.peek().is_none()
    }
}

#[derive(Debug)]
pub(super) struct Users {
    choice: Choice,
    curve: UserCurve,
    start_at: Moment,
    /// The curve's end.
    end: Moment,
    think: Option<Delay>,
    pace: Option<std::time::Duration>,
    /// Users that exist anywhere in the fleet: the stride of iteration numbers.
    peak: u32,
    all: Vec<User>,
    ready: Ready,
    running: u32,
    stopped: Option<Moment>,
    /// A ceiling holds the first one back.
    held: Option<Held>,
    /// Since when no ceiling but the worker's own has held back the first one.
    unheld_since: Moment,
    /// When a user was last kept from beginning by what is the generator's own: a grant that had ended, or its own ceiling.
    kept_at: Option<Moment>,
    more: bool,
}

impl Users {
    pub(super) fn new(
        choice: Choice,
        shard: ShardId,
        wheel: &Wheel,
        model: &UsersLoad,
        start_at: Moment,
        seed: u64,
    ) -> Result<Self, CurveError> {
        let curve = UserCurve::new(model.stages.iter().flat_map(|stage| stage.shape.pieces()).collect())?;
        let peak = curve.peak();
        let owned = std::iter::successors(wheel.next_owned(shard, 0), |last| wheel.next_owned(shard, last + 1));
        let numbers = owned.map_while(|number| u32::try_from(number).ok().filter(|number| *number < peak));
        let users: Vec<User> = numbers
            .map(|number| User {
                number,
                rng: stream(seed, choice.load, u64::from(number), Purpose::User),
                begun: 0,
                slot: None,
            })
            .collect();
        let mut closed = Self {
            choice,
            end: start_at + curve.duration(),
            curve,
            start_at,
            think: model.think,
            pace: model.pace,
            peak,
            all: users,
            ready: Ready::default(),
            running: 0,
            stopped: None,
            held: None,
            unheld_since: Moment::ZERO,
            kept_at: None,
            more: false,
        };
        for place in 0..closed.all.len() {
            closed.queue(place as u32, start_at);
        }
        Ok(closed)
    }

    /// When the next one begins that may; in the past where something keeps it from that.
    pub(super) fn waits_from(&self) -> Option<Moment> {
        let next = self.ready.peek().filter(|_| self.stopped.is_none());
        next.map(|(due, _)| due).filter(|due| *due < self.end)
    }

    pub(super) fn done(&mut self, owner: &SlotOwner, now: Moment) {
        self.running -= 1;
        let think = self.think;
        let Some(user) = self.all.get_mut(owner.place as usize) else {
            return;
        };
        let mut next = now;
        if let Some(think) = think {
            let (min, max) = (whole_micros(think.min), whole_micros(think.max));
            next += std::time::Duration::from_micros(min + user.rng.below(max.saturating_sub(min) + 1));
        }
        if let Some(pace) = self.pace {
            next = next.max(owner.began + pace);
        }
        if self.stopped.is_none() {
            self.queue(owner.place, next);
        }
    }

    /// Starts a user again whose iteration has just ended, if no other is due and nothing holds it back.
    pub(super) fn again(
        &mut self,
        place: u32,
        now: Moment,
        start: &mut Start,
        shared: &mut Shared,
        gate: &mut dyn Gate,
    ) -> bool {
        let pauses = self.think.is_some() || self.pace.is_some();
        let held = self.stopped.is_some() || self.held.is_some() || !shared.may_send(now);
        let others = self.more || self.ready.peek().is_some_and(|(due, _)| due <= now);
        let Some(User { number, .. }) = self.all.get(place as usize) else {
            return false;
        };
        if pauses || held || others || !self.curve.alive(*number, now.relative_to(self.start_at)) {
            return false;
        }
        match self.begin(place, now, now, shared, gate) {
            Ok(next) => *start = next,
            Err(_) => return false,
        }
        true
    }

    pub(super) fn advance(&mut self, now: Moment, shared: &mut Shared, gate: &mut dyn Gate) {
        if let Some(held) = self.held.take_if(|held| held.until <= now)
            && !held.own
        {
            self.unheld_since = held.until;
        }
        if now >= self.end {
            // Nobody lives any more who could be held back.
            self.held = None;
        }
        self.more = false;
        for _ in 0..BATCH {
            if let Some(held) = self.held {
                self.keep(held, now);
                return;
            }
            if !self.start(now, shared, gate) {
                return;
            }
        }
        self.more = self.ready.peek().is_some_and(|(due, _)| due <= now);
    }

    pub(super) fn stop(&mut self, cancel_at: Moment) {
        self.ready = Ready::default();
        self.stopped = Some(self.stopped.map_or(cancel_at, |before| before.min(cancel_at)));
    }

    pub(super) fn deadline(&self, last: Moment, shared: &Shared) -> Option<Moment> {
        if self.more {
            return Some(last);
        }
        let Some((due, _)) = self.ready.peek() else {
            return (self.stopped.is_none() && last < self.end()).then(|| self.end());
        };
        // Without a grant only its renewal changes anything, and that is an input.
        shared
            .may_send(last)
            .then(|| self.held.map_or(due, |held| held.until.max(due)))
    }

    pub(super) fn cancel_at(&self, shared: &Shared) -> Option<Moment> {
        let end = self.end() + shared.graceful_stop;
        (self.running > 0).then(|| self.stopped.map_or(end, |stopped| stopped.min(end)))
    }

    /// Not before the curve's end: a load whose users have nothing left to do lasts as planned.
    pub(super) fn is_over(&self, now: Moment) -> bool {
        let no_more = self.stopped.is_some() || now >= self.end();
        no_more && self.ready.is_empty() && self.running == 0
    }

    fn end(&self) -> Moment {
        self.end
    }

    /// Starts the first user that is ready; `false` when there is none, or something holds it back.
    fn start(&mut self, now: Moment, shared: &mut Shared, gate: &mut dyn Gate) -> bool {
        let Some((due, place)) = self.ready.peek().filter(|(due, _)| *due <= now) else {
            return false;
        };
        let local = now.relative_to(self.start_at);
        let number = self.all[place as usize].number;
        if !self.curve.alive(number, local) {
            self.ready.pop();
            self.queue(place, now);
            return true;
        }
        if !shared.may_send(now) {
            self.kept_at = Some(now);
            return false;
        }
        match self.begin(place, due, now, shared, gate) {
            Ok(start) => shared.outputs.push_back(Output::Start(start)),
            Err(held) => {
                self.held = Some(held.after(now));
                self.keep(held, now);
                return false;
            }
        }
        self.ready.pop();
        self.running += 1;
        true
    }

    /// Notes who holds back whatever is ready.
    fn keep(&mut self, held: Held, now: Moment) {
        if held.own {
            self.kept_at = Some(now);
        }
    }

    /// The next iteration of a user, if the ceilings let it pass; if not, what holds it back.
    #[inline]
    fn begin(
        &mut self,
        place: u32,
        due: Moment,
        now: Moment,
        shared: &mut Shared,
        gate: &mut dyn Gate,
    ) -> Result<Start, Held> {
        let user = &mut self.all[place as usize];
        let number = user.number;
        // Drawn only once for each iteration, whatever the ceilings say: the stream must not depend on time.
        let mut rng = user.rng.clone();
        let scenario = self.choice.ids[rng.pick_weighted(&self.choice.weights)];
        let load = self.choice.load;
        gate.admit(load, scenario, now)?;
        user.rng = rng;
        let index = user
            .begun
            .saturating_mul(u64::from(self.peak))
            .saturating_add(u64::from(number));
        // One that begins again as soon as it has ended is late only where the generator has kept it from that.
        let was_kept = self.kept_at.is_some_and(|at| due <= at);
        let may_be_late = user.begun == 0 || self.think.is_some() || self.pace.is_some() || was_kept;
        let own_lag = may_be_late.then(|| now.since(due.max(self.unheld_since)));
        user.begun += 1;
        let slots = &mut shared.slots;
        let slot = *user
            .slot
            .get_or_insert_with(|| Shared::make_slot(slots, load, u64::from(number), place));
        slots[slot.0 as usize].began = now;
        shared.begun_at = now;
        Ok(Start {
            slot,
            load,
            scenario,
            index,
            user: u64::from(number),
            due,
            at: now,
            segment: shared.marks.segment_at(due),
            own_lag,
        })
    }

    /// Has the user begin at `next`, or at its next birth if it does not live then.
    fn queue(&mut self, place: u32, next: Moment) {
        let number = self.all[place as usize].number;
        let local = next.relative_to(self.start_at);
        let begins = if self.curve.alive(number, local) {
            Some(next.max(self.start_at))
        } else {
            let lives = self.curve.lives(number);
            lives
                .iter()
                .find(|(begin, _)| *begin > local)
                .map(|(begin, _)| self.start_at + begin.since(Moment::ZERO))
        };
        if let Some(begins) = begins {
            self.ready.push((begins, place));
        }
    }
}

#[cfg(test)]
mod tests {
    use barrage_model::rng::Rng;

    use super::*;

    #[test]
    fn they_are_ready_in_order() {
        let mut rng = Rng::from_seed(1);
        let (mut ready, mut all) = (Ready::default(), Vec::new());
        for place in 0..1_000 {
            let new = (Moment::from_micros(rng.below(50)), place);
            ready.push(new);
            all.push(new);
            if rng.below(3) == 0 {
                all.sort_unstable();
                assert_eq!(ready.peek(), Some(all.remove(0)));
                ready.pop();
            }
        }
        all.sort_unstable();
        for next in all {
            assert_eq!(ready.peek(), Some(next));
            ready.pop();
        }
        assert!(ready.is_empty());
    }
}
