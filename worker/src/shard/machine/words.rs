//! The words of the machine: what happens to it, and what it wants done.

use std::sync::Arc;
use std::time::Duration;

use barrage_model::delta::Progress;
use barrage_model::ids::{LoadId, ScenarioId, SegmentId};
use barrage_model::outcome::DropReason;
use barrage_model::phase::Marks;
use barrage_model::schedule::{CurveError, Epoch};
use barrage_model::time::Moment;

use super::Stood;

/// A slot of this shard, numbered in the order of their first use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SlotId(pub u32);

/// What happens to a shard.
#[derive(Clone, Debug)]
pub enum Input {
    /// Time has passed.
    Tick,
    /// A slot's iteration has ended, at an instant that may have passed: the slot was kept from its next one since then by
    /// this shard alone.
    Done(SlotId, Moment),
    /// Load may be offered until this run time. Renewals never shorten.
    Grant(Moment),
    /// An epoch, at the start or later.
    Epoch(LoadId, Arc<Epoch>),
    /// All marks known so far.
    Marks(Marks),
    /// Indices of an `iterations` load for this shard, in answer to [`Output::WantIndices`]; `count` 0 when there are
    /// none now.
    Indices {
        /// The load.
        load: LoadId,
        /// First index.
        first: u64,
        /// How many.
        count: u64,
    },
    /// There may be indices again.
    Refilled(LoadId),
    /// This worker will be handed no more indices of this `iterations` load than it has been.
    Exhausted(LoadId),
    /// The run was stopped at this run time: nothing falls due after it, nor after now; what is in progress may end within the graceful stop.
    Stop(Moment),
    /// The same, but what is in progress is cancelled.
    StopNow(Moment),
    /// No new arrivals, and what is due and not begun is not dropped but left where it is: this worker counts as lost, and
    /// the coordinator accounts for all that it has not begun.
    StandDown,
}

/// What the shard has to do, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Count arrivals that fell due.
    Scheduled {
        /// The load.
        load: LoadId,
        /// The scenario they choose.
        scenario: ScenarioId,
        /// The segment of their due instants.
        segment: SegmentId,
        /// How many.
        count: u64,
        /// When the first of them fell due; all lie in one interval.
        at: Moment,
    },
    /// Start an iteration.
    Start(Start),
    /// Count an arrival that will never start.
    Dropped {
        /// The load.
        load: LoadId,
        /// The scenario it chose.
        scenario: ScenarioId,
        /// The segment of its due instant.
        segment: SegmentId,
        /// Why.
        reason: DropReason,
        /// When it fell due.
        due: Moment,
        /// When it was given up.
        at: Moment,
    },
    /// Close the oldest open interval.
    Close {
        /// The shard's place in its open schedules at that interval's end.
        progress: Vec<Progress>,
        /// What standing still did to it.
        stood: Stood,
    },
    /// Ask for indices of an `iterations` load.
    WantIndices(LoadId),
    /// Cancel every iteration of the load that is still in progress.
    Cancel(LoadId),
    /// No load will start anything any more, and nothing is in progress. Comes once; intervals go on closing.
    Finished,
}

/// An iteration to start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Start {
    /// The slot that goes through it; free, or never used before.
    pub slot: SlotId,
    /// The load that made it.
    pub load: LoadId,
    /// The scenario it goes through.
    pub scenario: ScenarioId,
    /// Number of the iteration within its load, unique in the fleet.
    pub index: u64,
    /// Number of the virtual user within its load, unique in the fleet.
    pub user: u64,
    /// When it fell due.
    pub due: Moment,
    /// When it starts.
    pub at: Moment,
    /// The segment of its due instant.
    pub segment: SegmentId,
    /// The part of the lag in which the shard could have started it; `None` where there can be none, since it fell due when
    /// it was started: as many of these as there may be must not make those few look good that are late.
    pub own_lag: Option<Duration>,
}

/// Ceilings in front of the slots.
pub trait Gate {
    /// Whether an iteration of this scenario may start now; if not, what holds it back.
    fn admit(&mut self, load: LoadId, scenario: ScenarioId, now: Moment) -> Result<(), Held>;
}

/// A ceiling that holds an iteration back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// When to ask again, later than now.
    pub until: Moment,
    /// It is the worker's own limit, which no plan asks for: what it holds back is late.
    pub own: bool,
}

impl Held {
    /// The same, but not before the microsecond after `now`.
    pub(super) fn after(self, now: Moment) -> Self {
        Self {
            until: self.until.max(now + std::time::Duration::from_micros(1)),
            ..self
        }
    }
}

/// A plan that a shard cannot carry out.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The coordinator sent no epoch, and so no wheel.
    #[error("load {0:?} has no epoch")]
    NoEpoch(String),
    /// The wheel gives this shard arrivals but the limit leaves it no slot.
    #[error("load {load:?} allows {total} iterations in progress, too few for every shard on its wheel")]
    NoSlot {
        /// The load's name.
        load: String,
        /// The limit, whole fleet.
        total: u32,
    },
    /// The stages of users are no curve.
    #[error("load {load:?} has stages that are not a curve")]
    Stages {
        /// The load's name.
        load: String,
        /// What is wrong.
        #[source]
        source: CurveError,
    },
}
