//! The open model: arrivals never wait for responses. The backlog is two places in the schedule, never a queue.

use std::sync::Arc;
use std::time::Duration;

use barrage_model::ids::ShardId;
use barrage_model::outcome::DropReason;
use barrage_model::plan::OpenLoad;
use barrage_model::schedule::{Epoch, Wheel};
use barrage_model::time::Moment;

use super::pool::Pool;
use super::walk::Walk;
use super::{BATCH, Choice, Gate, Held, Output, Shared, SlotId, Start};

const MICROSECOND: Duration = Duration::from_micros(1);
/// An arrival that is given up is late, whatever it waited for, when the shard stood still for more than one part in so many
/// of its wait.
const STOOD_PART: u32 = 10;

/// Why the first waiting arrival cannot start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Blocked {
    /// As many iterations are in progress as may be.
    NoSlot,
    /// A ceiling.
    Ceiling(Held),
    /// No valid grant.
    NoGrant,
}

#[derive(Debug)]
pub(super) struct Open {
    choice: Choice,
    pool: Pool,
    max_active: u32,
    give_up_after: Duration,
    /// The first arrival that is neither started nor dropped.
    head: Walk,
    /// The first arrival that has not been counted as scheduled.
    due: Walk,
    /// Arrivals between the two.
    waiting: u64,
    /// Those of the present interval that have been counted as scheduled.
    scheduled: u64,
    blocked: Option<Blocked>,
    /// Since when a slot has been free for the first one, as long as it is not known whether it is this shard's to start.
    freed: Option<Moment>,
    /// Since when nothing but this shard itself has held arrivals back.
    unblocked_since: Moment,
    /// Set by a stop: nothing falls due any more, and what is in progress is cancelled then.
    stopped: Option<Moment>,
    /// What waits is left as it is, for the coordinator to account for.
    left: bool,
    /// More could start now, but the batch was full.
    more: bool,
}

impl Open {
    pub(super) fn new(choice: Choice, shard: ShardId, wheel: &Wheel, model: &OpenLoad) -> Self {
        Self {
            choice,
            pool: Pool::new(shard, wheel, model.max_active),
            max_active: model.max_active,
            give_up_after: model.give_up_after,
            head: Walk::new(shard),
            due: Walk::new(shard),
            waiting: 0,
            scheduled: 0,
            blocked: None,
            freed: None,
            unblocked_since: Moment::ZERO,
            stopped: None,
            left: false,
            more: false,
        }
    }

    /// Whether the wheel gives the shard arrivals that it has no slot for.
    pub(super) fn lacks_slots(&self, epoch: &Epoch) -> bool {
        self.pool.max() == 0 && self.pool.has_share(&epoch.wheel)
    }

    pub(super) fn add_epoch(&mut self, epoch: &Arc<Epoch>) {
        // What has been counted as scheduled here stays here, so both walks change over at the same index.
        let counted = self.due.passed();
        self.head.add(epoch, counted);
        self.due.add(epoch, counted);
        self.pool.resize(&epoch.wheel, self.max_active);
        if self.blocked == Some(Blocked::NoSlot) {
            self.blocked = None;
        }
    }

    pub(super) fn next_index(&self) -> u64 {
        self.head.peek().map_or(u64::MAX, |(index, _)| index)
    }

    /// Arrivals counted as scheduled since this was asked last.
    pub(super) fn take_scheduled(&mut self) -> u64 {
        std::mem::take(&mut self.scheduled)
    }

    /// When the arrival fell due that has waited longest.
    pub(super) fn oldest(&self) -> Option<Moment> {
        let (_, due) = self.head.peek().filter(|_| self.waiting > 0)?;
        Some(due)
    }

    /// When the first arrival falls due that is neither started nor dropped, whether or not it may be sent.
    pub(super) fn next_due(&self) -> Option<Moment> {
        let (_, due) = self.head.peek().filter(|_| self.stopped.is_none())?;
        Some(due)
    }

    /// When the first arrival falls due that has not been counted.
    pub(super) fn next_uncounted(&self) -> Option<Moment> {
        self.due.peek().map(|(_, due)| due)
    }

    /// Counts what fell due before `limit`, under the grant, and says how many that were.
    pub(super) fn count_due(&mut self, limit: Moment, shared: &mut Shared) -> u64 {
        if self.stopped.is_some() {
            return 0;
        }
        let before = self.waiting;
        let limit = limit.min(shared.granted_until);
        while let Some((index, due)) = self.due.peek().filter(|(_, due)| *due < limit) {
            shared.scheduled(self.choice.load, self.choice.of(shared.seed, index), due);
            self.waiting += 1;
            self.due.advance();
        }
        let counted = self.waiting - before;
        self.scheduled += counted;
        counted
    }

    /// `since` is when the slot could have been used again, not after `now`.
    pub(super) fn done(&mut self, slot: SlotId, now: Moment, since: Moment, shared: &mut Shared) {
        // Those that have waited too long waited for a slot, not for us.
        self.give_up(now, shared);
        self.pool.free(slot);
        if shared.is_undecided(now) {
            // What has waited too long by the time that is known has waited for a slot.
            self.freed.get_or_insert(since);
        } else {
            self.unblock_slot(since);
        }
    }

    fn unblock_slot(&mut self, since: Moment) {
        let since = self.freed.take().unwrap_or(since);
        if self.blocked == Some(Blocked::NoSlot) {
            self.unblock(since);
        }
    }

    pub(super) fn advance(&mut self, now: Moment, shared: &mut Shared, gate: &mut dyn Gate) {
        if shared.is_undecided(now) {
            return;
        }
        self.count_due(now + MICROSECOND, shared);
        // First, for those that have waited too long waited for what holds them back until now.
        self.give_up(now, shared);
        if let Some(since) = self.freed {
            self.unblock_slot(since);
        }
        match self.blocked {
            Some(Blocked::Ceiling(held)) if held.until <= now && held.own => self.blocked = None,
            Some(Blocked::Ceiling(held)) if held.until <= now => self.unblock(held.until),
            // A grant is for the fleet to keep renewed, and is also what a shard lacks that has stood still.
            Some(Blocked::NoGrant) if shared.may_send(now) => self.blocked = None,
            _ => {}
        }
        if self.over_time(now, shared) {
            self.run_out(now, shared);
        }
        self.more = false;
        for _ in 0..BATCH {
            if self.waiting == 0 || !self.start(now, shared, gate) {
                return;
            }
        }
        self.more = self.waiting > 0;
    }

    pub(super) fn stop(&mut self, at: Moment, cancel_at: Moment, shared: &mut Shared) {
        self.count_due(at + MICROSECOND, shared);
        self.drop_all(at, shared);
        self.end_by(cancel_at);
    }

    /// Starts and drops nothing any more.
    pub(super) fn leave(&mut self, cancel_at: Moment) {
        self.left = true;
        self.end_by(cancel_at);
    }

    fn end_by(&mut self, cancel_at: Moment) {
        self.stopped = Some(self.stopped.map_or(cancel_at, |before| before.min(cancel_at)));
    }

    pub(super) fn deadline(&self, last: Moment, shared: &Shared) -> Option<Moment> {
        if self.stopped.is_some() {
            return None;
        }
        if let Some(until) = shared.undecided_until().filter(|until| last < *until) {
            return Some(until);
        }
        if self.more {
            return Some(last);
        }
        let due = self
            .due
            .peek()
            .map(|(_, due)| due)
            .filter(|due| *due < shared.granted_until);
        let last_one_passed = self.due.peek().is_none();
        let close = (last_one_passed && last < self.due.end()).then(|| self.due.end());
        let Some((_, oldest)) = self.head.peek().filter(|_| self.waiting > 0) else {
            return due.or(close);
        };
        let expiry = oldest + self.give_up_after;
        let end = last_one_passed.then(|| self.due.end() + shared.graceful_stop);
        // While arrivals are held back, the next one due changes nothing.
        let wake = match self.blocked {
            Some(Blocked::Ceiling(held)) => Some(held.until),
            Some(Blocked::NoSlot | Blocked::NoGrant) => None,
            None => due,
        };
        wake.into_iter().chain(end).chain([expiry]).min()
    }

    pub(super) fn cancel_at(&self, shared: &Shared) -> Option<Moment> {
        let ended = self
            .stopped
            .or_else(|| self.due.peek().is_none().then(|| self.due.end() + shared.graceful_stop));
        ended.filter(|_| self.pool.active() > 0)
    }

    /// Not before the curve's end: a load that ends with a pause, or long after its last arrival, lasts as planned.
    pub(super) fn is_over(&self, now: Moment) -> bool {
        let no_more = self.stopped.is_some() || self.due.peek().is_none() && now >= self.due.end();
        no_more && (self.waiting == 0 || self.left) && self.pool.active() == 0
    }

    fn over_time(&self, now: Moment, shared: &Shared) -> bool {
        self.waiting > 0 && self.due.peek().is_none() && now >= self.due.end() + shared.graceful_stop
    }

    /// Starts the first waiting arrival, unless something holds it back.
    fn start(&mut self, now: Moment, shared: &mut Shared, gate: &mut dyn Gate) -> bool {
        let Some((index, due)) = self.head.peek().filter(|_| self.blocked.is_none() && !self.left) else {
            return false;
        };
        if !shared.may_send(now) {
            self.blocked = Some(Blocked::NoGrant);
            return false;
        }
        let (load, scenario) = (self.choice.load, self.choice.of(shared.seed, index));
        if self.pool.active() >= self.pool.max() {
            self.blocked = Some(Blocked::NoSlot);
            return false;
        }
        if let Err(held) = gate.admit(load, scenario, now) {
            self.blocked = Some(Blocked::Ceiling(held.after(now)));
            return false;
        }
        // Only now: a slot that is made is begun at once, so slots begin in the order of their numbers.
        let slots = &mut shared.slots;
        let Some(slot) = self.pool.take(|user| Shared::make_slot(slots, load, user, 0)) else {
            self.blocked = Some(Blocked::NoSlot);
            return false;
        };
        shared.begun_at = now;
        let user = shared.slots[slot.0 as usize].user;
        let segment = shared.marks.segment_at(due);
        let stood = stood_for(due, now, shared).then(|| shared.still.within(due, self.unblocked_since));
        let own_lag = Some(now.since(due.max(self.unblocked_since)) + stood.unwrap_or_default());
        let start = Start {
            slot,
            load,
            scenario,
            index,
            user,
            due,
            at: now,
            segment,
            own_lag,
        };
        shared.outputs.push_back(Output::Start(start));
        self.pass();
        true
    }

    /// Drops the arrivals that have waited for `give_up_after`, unless a word is awaited that may leave them to others.
    fn give_up(&mut self, now: Moment, shared: &mut Shared) {
        if !shared.is_undecided(now) {
            self.expire(now, shared);
        }
    }

    fn expire(&mut self, now: Moment, shared: &mut Shared) {
        while self.waiting > 0 && !self.left {
            let Some((_, due)) = self.head.peek() else { return };
            let age = now.since(due);
            if age < self.give_up_after {
                return;
            }
            let reason = match self.blocked.filter(|_| !stood_for(due, now, shared)) {
                Some(Blocked::NoSlot) => DropReason::NoSlot,
                Some(Blocked::Ceiling(held)) if !held.own => DropReason::Ceiling,
                Some(Blocked::Ceiling(_) | Blocked::NoGrant) | None => DropReason::Late,
            };
            self.drop_head(reason, now, shared);
        }
    }

    /// Drops what the graceful stop has left no time for.
    fn run_out(&mut self, now: Moment, shared: &mut Shared) {
        self.expire(now, shared);
        while self.waiting > 0 && !self.left {
            let is_own = match self.blocked {
                Some(Blocked::NoGrant) => true,
                Some(Blocked::Ceiling(held)) => held.own,
                Some(Blocked::NoSlot) | None => false,
            };
            let late = is_own || self.head.peek().is_some_and(|(_, due)| stood_for(due, now, shared));
            let reason = if late { DropReason::Late } else { DropReason::Stopped };
            self.drop_head(reason, now, shared);
        }
    }

    fn drop_all(&mut self, now: Moment, shared: &mut Shared) {
        self.expire(now, shared);
        while self.waiting > 0 && !self.left {
            self.drop_head(DropReason::Stopped, now, shared);
        }
    }

    fn drop_head(&mut self, reason: DropReason, now: Moment, shared: &mut Shared) {
        if let Some((index, due)) = self.head.peek() {
            shared.dropped(self.choice.load, self.choice.of(shared.seed, index), reason, due, now);
        }
        self.pass();
    }

    fn pass(&mut self) {
        self.head.advance();
        self.waiting -= 1;
    }

    fn unblock(&mut self, since: Moment) {
        self.blocked = None;
        self.unblocked_since = self.unblocked_since.max(since);
    }
}

/// Whether the shard stood still for a part of an arrival's wait that counts: it has made the queue that the arrival waits in.
fn stood_for(due: Moment, now: Moment, shared: &Shared) -> bool {
    shared.still.within(due, now).saturating_mul(STOOD_PART) > now.since(due)
}
