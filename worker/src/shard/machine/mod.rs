//! What a shard does and when: every load of the plan, for one shard, without clock, entropy or I/O.
//!
//! Time is run time and comes in with every input. The machine decides which slot starts which iteration, which due
//! arrivals are given up, when an interval closes and when everything is over. The thread around it
//! (`shard/process.rs`) performs the outputs in order.

mod closed;
mod counted;
mod open;
mod opening;
mod pool;
mod still;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod walk;
mod words;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use barrage_model::delta::{INTERVAL, Progress};
use barrage_model::ids::{LoadId, ScenarioId, ShardId};
use barrage_model::outcome::DropReason;
use barrage_model::phase::Marks;
use barrage_model::plan::{Load, LoadModel, Plan};
use barrage_model::rng::{Purpose, stream};
use barrage_model::schedule::{Epoch, GRANT};
use barrage_model::time::Moment;

pub use still::{MIN as STILL_MIN, Stood};
pub use words::{Gate, Held, Input, Output, SetupError, SlotId, Start};

use closed::Users;
use counted::Counted;
use open::Open;
use still::Standstills;

/// Between two inputs at most this much time passes; a longer silence means that the machine (or the host) stood still.
pub const TICK: Duration = Duration::from_millis(5);
/// After a silence of more than this a shard sends nothing until its grant has been renewed.
pub const GAP_MAX: Duration = Duration::from_secs(1);
/// A grant may have been made this long before the shard came to, and still counts as made since.
const GRANT_AGE_MAX: Duration = Duration::from_secs(1);
/// A shard that has stood still counts no arrival and gives none up for so long, or until it hears what it is to do: it may
/// count as lost, and then what it has not begun is not its own.
const WORD_MAX: Duration = Duration::from_secs(3);
/// It keeps no more intervals waiting for that word than the recorder keeps open: older ones close without what has not been
/// counted.
const SILENCE_MAX: Duration = Duration::from_secs(100);
/// Most iterations that one load starts for one input: a catch-up after a stall leaves room for answers in between.
const BATCH: u32 = 256;

/// What all loads of a shard share: who it is, what it may do, and what it has decided.
#[derive(Debug)]
struct Shared {
    shard: ShardId,
    seed: u64,
    marks: Marks,
    granted_until: Moment,
    /// When the shard came to after a gap, as long as no grant has been made since.
    needs_renewal: Option<Moment>,
    /// When it came to, as long as nobody has said what to do: see [`WORD_MAX`].
    undecided: Option<Moment>,
    graceful_stop: Duration,
    /// When an iteration began last.
    begun_at: Moment,
    /// When the shard stood still, as far back as an arrival waits.
    still: Standstills,
    /// The load of each slot.
    slots: Vec<SlotOwner>,
    outputs: VecDeque<Output>,
}

#[derive(Clone, Copy, Debug)]
struct SlotOwner {
    load: LoadId,
    user: u64,
    /// Place in a closed load's table of users.
    place: u32,
    /// When its present or last iteration began, but for open loads.
    began: Moment,
}

impl Shared {
    fn may_send(&self, now: Moment) -> bool {
        now < self.granted_until && self.needs_renewal.is_none()
    }

    /// Until when a word is awaited: see [`WORD_MAX`].
    fn undecided_until(&self) -> Option<Moment> {
        self.undecided.map(|awake| awake + WORD_MAX)
    }

    fn is_undecided(&self, now: Moment) -> bool {
        self.undecided_until().is_some_and(|until| now < until)
    }

    fn make_slot(slots: &mut Vec<SlotOwner>, load: LoadId, user: u64, place: u32) -> SlotId {
        slots.push(SlotOwner {
            load,
            user,
            place,
            began: Moment::ZERO,
        });
        SlotId(slots.len() as u32 - 1)
    }

    fn scheduled(&mut self, load: LoadId, scenario: ScenarioId, at: Moment) {
        let segment = self.marks.segment_at(at);
        if let Some(Output::Scheduled {
            load: l,
            scenario: s,
            segment: g,
            count,
            ..
        }) = self.outputs.back_mut()
            && (*l, *s, *g) == (load, scenario, segment)
        {
            *count += 1;
            return;
        }
        self.outputs.push_back(Output::Scheduled {
            load,
            scenario,
            segment,
            count: 1,
            at,
        });
    }

    fn dropped(&mut self, load: LoadId, scenario: ScenarioId, reason: DropReason, due: Moment, at: Moment) {
        let segment = self.marks.segment_at(due);
        self.outputs.push_back(Output::Dropped {
            load,
            scenario,
            segment,
            reason,
            due,
            at,
        });
    }
}

/// The scenarios of a load with their weights.
#[derive(Clone, Debug)]
pub(crate) struct Choice {
    load: LoadId,
    ids: Vec<ScenarioId>,
    weights: Vec<u32>,
}

impl Choice {
    pub(crate) fn new(id: LoadId, load: &Load) -> Self {
        let (ids, weights) = load.scenarios.iter().copied().unzip();
        Self { load: id, ids, weights }
    }

    /// The scenario of arrival `index`: a function of seed and index alone.
    pub(crate) fn of(&self, seed: u64, index: u64) -> ScenarioId {
        match self.ids.as_slice() {
            [only] => *only,
            ids => ids[stream(seed, self.load, index, Purpose::Scenario).pick_weighted(&self.weights)],
        }
    }
}

#[derive(Debug)]
enum State {
    Open(Box<Open>),
    Users(Box<Users>),
    Counted(Box<Counted>),
}

/// The state of one shard. See the module's words.
#[derive(Debug)]
pub struct Machine {
    loads: Vec<State>,
    shared: Shared,
    last: Moment,
    /// What has fallen due since has not been counted.
    counted: Moment,
    boundary: Moment,
    finished: bool,
    /// From when on nothing has begun, once it has been told to stand down.
    left: Option<Moment>,
    /// Loads whose iterations have been told to cancel.
    cancelled: Vec<bool>,
}

impl Machine {
    /// A shard that has been granted nothing yet. Every load needs at least one of `epochs`, for the wheel.
    pub fn new(
        plan: &Plan,
        shard: ShardId,
        seed: u64,
        epochs: &[(LoadId, Arc<Epoch>)],
        marks: Marks,
    ) -> Result<Self, SetupError> {
        let mut loads = Vec::with_capacity(plan.loads.len());
        for (at, load) in plan.loads.iter().enumerate() {
            let id = LoadId(at as u16);
            let own: Vec<&Arc<Epoch>> = epochs
                .iter()
                .filter(|(of, _)| *of == id)
                .map(|(_, epoch)| epoch)
                .collect();
            loads.push(State::new(id, load, shard, seed, &own)?);
        }
        let common = Shared {
            shard,
            seed,
            marks,
            granted_until: Moment::ZERO,
            needs_renewal: None,
            undecided: None,
            graceful_stop: plan.graceful_stop,
            begun_at: Moment::ZERO,
            still: Standstills::default(),
            slots: Vec::new(),
            outputs: VecDeque::new(),
        };
        let cancelled = vec![false; loads.len()];
        let boundary = Moment::ZERO + INTERVAL;
        Ok(Self {
            loads,
            shared: common,
            last: Moment::ZERO,
            counted: Moment::ZERO,
            boundary,
            finished: false,
            left: None,
            cancelled,
        })
    }

    /// Takes one input. `now` should not run backwards; if it does, nothing is sent before the next renewal.
    pub fn handle(&mut self, now: Moment, input: Input, gate: &mut dyn Gate) {
        self.hear(now, input);
        self.go_on(now, gate);
    }

    /// Takes one of several inputs that have waited, before anything is done about the first: what begins on a grant may not
    /// begin after the stop behind it. [`Machine::go_on`] must follow.
    pub fn hear(&mut self, now: Moment, input: Input) {
        if Standstills::is_one(self.last, now) {
            let wanted = self.deadline().max(self.last);
            self.shared.still.note(wanted, now);
        }
        if now < self.last || now > self.last + GAP_MAX {
            self.shared.needs_renewal = Some(now);
            self.shared.undecided = Some(now);
        }
        let at = match input {
            // Heard of late, it is taken as if it had been heard of in time.
            Input::Stop(at) | Input::StopNow(at) => {
                self.shared.undecided = None;
                at.max(self.counted).min(now)
            }
            _ => now,
        };
        self.last = now;
        self.close_until(at);
        self.take(now, at, input);
    }

    /// Does what there is to do after what has been heard.
    pub fn go_on(&mut self, now: Moment, gate: &mut dyn Gate) {
        self.close_until(now);
        for load in &mut self.loads {
            load.advance(now, &mut self.shared, gate);
        }
        if !self.shared.is_undecided(now) {
            self.counted = now;
        }
        self.cancel_overdue(now);
        if !self.finished && self.loads.iter().all(|load| load.is_over(now)) {
            self.finished = true;
            self.shared.outputs.push_back(Output::Finished);
        }
    }

    /// Takes what was said before the run began, of which nothing comes before the next input.
    pub fn learn(&mut self, input: Input) {
        self.take(self.last, self.last, input);
    }

    /// What [`Input::Done`] would lead to when it is that the same user begins again at once, and nothing else: under full
    /// load it nearly always is, and this is the short way there. `start` is what has ended, and becomes what begins; `false`
    /// with nothing changed when there may be more to it.
    pub fn again(&mut self, now: Moment, start: &mut Start, gate: &mut dyn Gate) -> bool {
        let last = self.last;
        let in_time = now >= last && now < self.boundary && !Standstills::is_one(last, now);
        let ([State::Users(users)], true) = (self.loads.as_mut_slice(), in_time) else {
            return false;
        };
        let Some(owner) = self.shared.slots.get(start.slot.0 as usize) else {
            return false;
        };
        if !self.shared.outputs.is_empty() || !users.again(owner.place, now, start, &mut self.shared, gate) {
            return false;
        }
        self.last = now;
        true
    }

    /// The next thing to do.
    pub fn poll(&mut self) -> Option<Output> {
        self.shared.outputs.pop_front()
    }

    /// When the machine wants its next [`Input::Tick`], if nothing else comes first.
    pub fn deadline(&self) -> Moment {
        // A boundary that has passed waits for a word.
        let boundary = Some(self.boundary).filter(|boundary| *boundary > self.last);
        let housekeeping = boundary.unwrap_or(Moment::MAX).min(self.last + TICK);
        let loads = self.loads.iter().enumerate().map(|(at, load)| {
            let cancel = if self.cancelled[at] {
                None
            } else {
                load.cancel_at(&self.shared)
            };
            let next = load.deadline(self.last, &self.shared);
            next.into_iter().chain(cancel).min().unwrap_or(Moment::MAX)
        });
        loads.min().unwrap_or(Moment::MAX).min(housekeeping)
    }

    /// The instant at which the present grant runs out; [`Moment::ZERO`] while a renewal is needed.
    pub fn granted_until(&self) -> Moment {
        if self.shared.needs_renewal.is_some() {
            Moment::ZERO
        } else {
            self.shared.granted_until
        }
    }

    /// The shard's place in its open schedules.
    pub fn progress(&self) -> Vec<Progress> {
        let shard = self.shared.shard;
        let open = self.loads.iter().enumerate().filter_map(|(at, load)| match load {
            State::Open(open) => Some(Progress {
                load: LoadId(at as u16),
                shard,
                next_index: open.next_index(),
            }),
            _ => None,
        });
        open.collect()
    }

    /// From when to when it stood still last.
    pub fn stood_last(&self) -> Option<(Moment, Moment)> {
        self.shared.still.last()
    }

    /// From when on the shard has begun nothing, once it has been told to stand down: it may have stood still or lacked a grant
    /// before that.
    pub fn left(&self) -> Option<Moment> {
        self.left
    }

    /// Number of slots made so far.
    pub fn slots(&self) -> usize {
        self.shared.slots.len()
    }

    /// How the shard stood still in an interval that [`Output::Close`] does not close. None of its arrivals is left.
    pub fn stood_in(&self, interval: u32) -> Stood {
        let end = Moment::ZERO + INTERVAL * interval.saturating_add(1);
        self.shared.still.of_interval(end)
    }

    /// How many arrivals of each load have been counted as scheduled by the outputs that wait.
    pub fn fallen_due(&self) -> Vec<u64> {
        let mut due = vec![0; self.loads.len()];
        for output in &self.shared.outputs {
            if let Output::Scheduled { load, count, .. } = output
                && let Some(due) = due.get_mut(usize::from(load.0))
            {
                *due += *count;
            }
        }
        due
    }

    /// Closes what is over, unless a word is awaited of what has fallen due in it.
    fn close_until(&mut self, now: Moment) {
        while now >= self.boundary && (!self.shared.is_undecided(now) || now >= self.boundary + SILENCE_MAX) {
            self.close(now);
        }
    }

    /// Closes the oldest interval with exactly the arrivals that fell due in it.
    fn close(&mut self, now: Moment) {
        let (begin, end) = (self.boundary - INTERVAL, self.boundary);
        let (mut scheduled, mut unseen, mut unseen_from) = (0, 0, Moment::MAX);
        let (mut oldest, mut held) = (end, end);
        let undecided = self.shared.is_undecided(now);
        for load in &mut self.loads {
            let open = match load {
                State::Open(open) => open,
                State::Users(users) => {
                    held = held.min(users.waits_from().unwrap_or(Moment::MAX));
                    continue;
                }
                State::Counted(counted) => {
                    held = held.min(counted.waits_from(&self.shared).unwrap_or(Moment::MAX));
                    continue;
                }
            };
            let next = open.next_uncounted();
            let counted = if undecided {
                0
            } else {
                open.count_due(end, &mut self.shared)
            };
            if counted > 0 {
                unseen_from = unseen_from.min(next.unwrap_or(end));
            }
            unseen += counted;
            scheduled += open.take_scheduled();
            oldest = oldest.min(open.oldest().unwrap_or(Moment::MAX));
            held = held.min(open.next_due().unwrap_or(Moment::MAX));
        }
        let progress = self.progress();
        let still = &mut self.shared.still;
        let (mut stood, stood_over_end) = (still.of_interval(end), still.is_over(end));
        still.forget_before(oldest);
        // What is noticed only now starts late if it starts, and so does what falls due without a grant.
        let noticed_late = Standstills::is_one(end, now) || stood_over_end;
        let mut waits_from = Some(unseen_from).filter(|_| noticed_late && unseen.saturating_mul(100) >= scheduled);
        if !self.shared.may_send(end) {
            waits_from = Some(held.min(waits_from.unwrap_or(end)));
        }
        if let Some(from) = waits_from.filter(|from| *from < end) {
            stood.lag = now.since(from.max(begin)).saturating_sub(INTERVAL / 100);
        }
        self.shared.outputs.push_back(Output::Close { progress, stood });
        self.counted = self.counted.max(end);
        self.boundary += INTERVAL;
    }

    /// `at` is when the input counts as said.
    fn take(&mut self, now: Moment, at: Moment, input: Input) {
        let shared = &mut self.shared;
        match input {
            Input::Tick => {}
            Input::Done(slot, since) => {
                let Some(owner) = shared.slots.get(slot.0 as usize).copied() else {
                    return;
                };
                match &mut self.loads[usize::from(owner.load.0)] {
                    State::Open(open) => open.done(slot, now, since.min(now), shared),
                    State::Users(users) => users.done(&owner, now),
                    State::Counted(counted) => counted.done(slot, now),
                }
            }
            Input::Grant(until) => {
                shared.granted_until = shared.granted_until.max(until);
                // What was on its way during the gap says nothing of what the fleet does now.
                shared.needs_renewal = shared
                    .needs_renewal
                    .filter(|awake| until + GRANT_AGE_MAX < *awake + GRANT);
                shared.undecided = shared.undecided.filter(|_| shared.needs_renewal.is_some());
            }
            Input::Epoch(load, epoch) => {
                if let Some(State::Open(open)) = self.loads.get_mut(usize::from(load.0)) {
                    open.add_epoch(&epoch);
                }
            }
            Input::Marks(marks) => shared.marks = marks,
            Input::Indices { load, first, count } => {
                if let Some(State::Counted(counted)) = self.loads.get_mut(usize::from(load.0)) {
                    counted.indices(now, first, count);
                }
            }
            Input::Refilled(load) => {
                if let Some(State::Counted(counted)) = self.loads.get_mut(usize::from(load.0)) {
                    counted.refilled();
                }
            }
            Input::Exhausted(load) => {
                if let Some(State::Counted(counted)) = self.loads.get_mut(usize::from(load.0)) {
                    counted.exhausted();
                }
            }
            Input::Stop(_) | Input::StopNow(_) | Input::StandDown => {
                let wait = if matches!(input, Input::StopNow(_)) {
                    Duration::ZERO
                } else {
                    shared.graceful_stop
                };
                if matches!(input, Input::StandDown) {
                    let still = shared.still.last();
                    let still = still.filter(|(from, to)| to.since(*from) > GAP_MAX && shared.begun_at < *to);
                    let from = still.map_or(now, |(from, _)| from);
                    self.left.get_or_insert(from.min(shared.granted_until));
                }
                shared.undecided = None;
                for load in &mut self.loads {
                    match load {
                        State::Open(open) if matches!(input, Input::StandDown) => open.leave(now + wait),
                        load => load.stop(at, now + wait, shared),
                    }
                }
            }
        }
    }

    fn cancel_overdue(&mut self, now: Moment) {
        for (at, load) in self.loads.iter().enumerate() {
            if !self.cancelled[at] && load.cancel_at(&self.shared).is_some_and(|limit| limit <= now) {
                self.cancelled[at] = true;
                self.shared.outputs.push_back(Output::Cancel(LoadId(at as u16)));
            }
        }
    }
}

impl State {
    fn new(id: LoadId, load: &Load, shard: ShardId, seed: u64, epochs: &[&Arc<Epoch>]) -> Result<Self, SetupError> {
        let first = epochs.first().ok_or_else(|| SetupError::NoEpoch(load.name.clone()))?;
        let choice = Choice::new(id, load);
        let start_at = Moment::ZERO + load.start_at;
        Ok(match &load.model {
            LoadModel::Open(model) => {
                let mut open = Open::new(choice, shard, &first.wheel, model);
                for epoch in epochs {
                    open.add_epoch(epoch);
                }
                if open.lacks_slots(first) {
                    return Err(SetupError::NoSlot {
                        load: load.name.clone(),
                        total: model.max_active,
                    });
                }
                Self::Open(Box::new(open))
            }
            LoadModel::Users(model) => {
                let users = Users::new(choice, shard, &first.wheel, model, start_at, seed);
                let stages = |source| SetupError::Stages {
                    load: load.name.clone(),
                    source,
                };
                Self::Users(Box::new(users.map_err(stages)?))
            }
            LoadModel::Iterations(model) => {
                Self::Counted(Box::new(Counted::new(choice, shard, &first.wheel, model, start_at)))
            }
        })
    }

    fn advance(&mut self, now: Moment, shared: &mut Shared, gate: &mut dyn Gate) {
        match self {
            Self::Open(open) => open.advance(now, shared, gate),
            Self::Users(users) => users.advance(now, shared, gate),
            Self::Counted(counted) => counted.advance(now, shared, gate),
        }
    }

    fn stop(&mut self, at: Moment, cancel_at: Moment, shared: &mut Shared) {
        match self {
            Self::Open(open) => open.stop(at, cancel_at, shared),
            Self::Users(users) => users.stop(cancel_at),
            Self::Counted(counted) => counted.stop(cancel_at),
        }
    }

    fn deadline(&self, last: Moment, shared: &Shared) -> Option<Moment> {
        match self {
            Self::Open(open) => open.deadline(last, shared),
            Self::Users(users) => users.deadline(last, shared),
            Self::Counted(counted) => counted.deadline(last, shared),
        }
    }

    /// When iterations in progress are cancelled; `None` while nothing is in progress.
    fn cancel_at(&self, shared: &Shared) -> Option<Moment> {
        match self {
            Self::Open(open) => open.cancel_at(shared),
            Self::Users(users) => users.cancel_at(shared),
            Self::Counted(counted) => counted.cancel_at(shared),
        }
    }

    fn is_over(&self, now: Moment) -> bool {
        match self {
            Self::Open(open) => open.is_over(now),
            Self::Users(users) => users.is_over(now),
            Self::Counted(counted) => counted.is_over(),
        }
    }
}
