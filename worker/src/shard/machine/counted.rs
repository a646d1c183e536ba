//! A counted number of iterations, as fast as the users can go: indices come in blocks.
//!
//! An iteration falls due when a user is free for it, not when its index is handed out: how many are handed out ahead
//! is a matter of transport and shows in no number.

use std::collections::VecDeque;

use barrage_model::ids::ShardId;
use barrage_model::plan::IterationsLoad;
use barrage_model::schedule::Wheel;
use barrage_model::time::Moment;

use super::pool::Pool;
use super::{BATCH, Choice, Gate, Held, Output, Shared, SlotId, Start};

/// Whether there are indices to ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Supply {
    /// There may be some.
    Unknown,
    /// Asked, not yet answered.
    Asked,
    /// None at present.
    Dry,
}

#[derive(Debug)]
pub(super) struct Counted {
    choice: Choice,
    pool: Pool,
    start_at: Moment,
    /// When the load ends whatever is left.
    end: Moment,
    /// Handed to this shard and not started: first index and number.
    blocks: VecDeque<(u64, u64)>,
    supply: Supply,
    /// The worker will be handed no more than it has.
    exhausted: bool,
    stopped: Option<Moment>,
    held: Option<Held>,
    /// Since when each user that is idle has been so, in order. Which of them begins next is the pool's choice; whoever begins
    /// ends the longest wait.
    idle: VecDeque<Moment>,
    /// Since when there has been something to begin that no ceiling but the worker's own has held back.
    unheld_since: Moment,
    /// When a user was last kept from beginning by what is the generator's own: a grant that had ended, or its own ceiling.
    kept_at: Option<Moment>,
    more: bool,
}

impl Counted {
    pub(super) fn new(choice: Choice, shard: ShardId, wheel: &Wheel, model: &IterationsLoad, start_at: Moment) -> Self {
        let pool = Pool::new(shard, wheel, model.users);
        Self {
            choice,
            start_at,
            end: start_at + model.at_most,
            blocks: VecDeque::new(),
            supply: Supply::Unknown,
            exhausted: false,
            stopped: None,
            held: None,
            idle: std::iter::repeat_n(start_at, pool.max() as usize).collect(),
            pool,
            unheld_since: start_at,
            kept_at: None,
            more: false,
        }
    }

    pub(super) fn indices(&mut self, now: Moment, first: u64, count: u64) {
        if count == 0 {
            if self.supply == Supply::Asked {
                self.supply = Supply::Dry;
            }
            return;
        }
        if self.supply == Supply::Asked {
            self.supply = Supply::Unknown;
        }
        if self.stopped.is_none() {
            if self.blocks.is_empty() {
                self.unheld_since = self.unheld_since.max(now);
            }
            self.blocks.push_back((first, count));
        }
    }

    pub(super) fn refilled(&mut self) {
        if self.supply == Supply::Dry {
            self.supply = Supply::Unknown;
        }
    }

    pub(super) fn exhausted(&mut self) {
        self.exhausted = true;
    }

    /// From when on a free user would have begun, had there been a grant.
    pub(super) fn waits_from(&self, shared: &Shared) -> Option<Moment> {
        let is_free = self.stopped.is_none() && self.pool.active() < self.pool.max();
        let has_more = !self.blocks.is_empty() || self.supply != Supply::Dry;
        (is_free && has_more).then(|| shared.granted_until.max(self.start_at))
    }

    pub(super) fn done(&mut self, slot: SlotId, now: Moment) {
        self.idle.push_back(now);
        self.pool.free(slot);
    }

    pub(super) fn advance(&mut self, now: Moment, shared: &mut Shared, gate: &mut dyn Gate) {
        if self.stopped.is_none() && now >= self.end {
            self.stop(self.end + shared.graceful_stop);
        }
        if let Some(held) = self.held.take_if(|held| held.until <= now)
            && !held.own
        {
            self.unheld_since = self.unheld_since.max(held.until);
        }
        self.more = false;
        if self.stopped.is_some() || now < self.start_at {
            return;
        }
        for _ in 0..BATCH {
            if let Some(held) = self.held {
                self.keep(held, now);
                return;
            }
            if !self.start(now, shared, gate) {
                return;
            }
        }
        self.more = true;
    }

    /// What is left of the blocks never fell due, however many that are: it is neither scheduled nor dropped.
    pub(super) fn stop(&mut self, cancel_at: Moment) {
        self.blocks.clear();
        self.stopped = Some(self.stopped.map_or(cancel_at, |before| before.min(cancel_at)));
    }

    pub(super) fn deadline(&self, last: Moment, shared: &Shared) -> Option<Moment> {
        if self.stopped.is_some() {
            return None;
        }
        if self.more {
            return Some(last);
        }
        let held = self.held.filter(|_| shared.may_send(last)).map(|held| held.until);
        let begin = (last < self.start_at).then_some(self.start_at);
        held.into_iter().chain(begin).chain([self.end]).min()
    }

    pub(super) fn cancel_at(&self, shared: &Shared) -> Option<Moment> {
        let end = self.end + shared.graceful_stop;
        (self.pool.active() > 0).then(|| self.stopped.map_or(end, |stopped| stopped.min(end)))
    }

    pub(super) fn is_over(&self) -> bool {
        let used_up = self.exhausted && self.supply == Supply::Dry;
        let no_more = self.stopped.is_some() || self.pool.max() == 0 || used_up;
        no_more && self.blocks.is_empty() && self.pool.active() == 0
    }

    /// Starts the next index; `false` when there is none, or something holds it back.
    fn start(&mut self, now: Moment, shared: &mut Shared, gate: &mut dyn Gate) -> bool {
        if self.pool.active() >= self.pool.max() {
            return false;
        }
        if !shared.may_send(now) {
            self.kept_at = Some(now);
            return false;
        }
        let load = self.choice.load;
        let Some((index, _)) = self.blocks.front().copied() else {
            if self.supply == Supply::Unknown {
                self.supply = Supply::Asked;
                shared.outputs.push_back(Output::WantIndices(load));
            }
            return false;
        };
        let scenario = self.choice.of(shared.seed, index);
        if let Err(held) = gate.admit(load, scenario, now) {
            self.held = Some(held.after(now));
            self.keep(held, now);
            return false;
        }
        let slots = &mut shared.slots;
        let Some(slot) = self.pool.take(|user| Shared::make_slot(slots, load, user, 0)) else {
            return false;
        };
        let idle_since = self.idle.pop_front().unwrap_or(self.start_at);
        let owner = &mut shared.slots[slot.0 as usize];
        owner.began = now;
        shared.begun_at = now;
        let user = owner.user;
        let segment = shared.marks.segment_at(now);
        let was_kept = self.kept_at.is_some_and(|at| idle_since <= at);
        let start = Start {
            slot,
            load,
            scenario,
            index,
            user,
            // As fast as possible: an iteration is due when a user is free for it.
            due: now,
            at: now,
            segment,
            own_lag: was_kept.then(|| now.since(idle_since.max(self.unheld_since))),
        };
        shared.scheduled(load, scenario, now);
        shared.outputs.push_back(Output::Start(start));
        self.take_front();
        true
    }

    /// Notes who holds back whoever is idle.
    fn keep(&mut self, held: Held, now: Moment) {
        if held.own && self.pool.active() < self.pool.max() {
            self.kept_at = Some(now);
        }
    }

    fn take_front(&mut self) {
        if let Some((first, count)) = self.blocks.front_mut() {
            *first += 1;
            *count -= 1;
            if *count == 0 {
                self.blocks.pop_front();
            }
        }
    }
}
