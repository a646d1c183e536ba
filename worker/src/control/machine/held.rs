//! The run that a worker holds.

use std::collections::{BTreeMap, BTreeSet};

use barrage_model::ids::{LoadId, RunId};
use barrage_model::time::Moment;
use barrage_proto::v1;

use super::words::Prepared;
use crate::clock::Stamp;
use crate::control::outbox::Outbox;

/// Most marks of a run.
const MARKS_MAX: usize = barrage_model::phase::MARKS_MAX;

/// What is asked for once per run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum OnceState {
    #[default]
    Idle,
    Busy,
    Done(Result<Vec<(String, String)>, String>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    Preparing,
    Prepared,
    Running,
    /// The last delta is in the outbox.
    Ended,
}

/// The run that this worker holds.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) run: RunId,
    pub(super) worker: u32,
    pub(super) stage: Stage,
    pub(super) info: Prepared,
    pub(super) outbox: Outbox,
    pub(super) start: Option<Stamp>,
    pub(super) marks: Vec<v1::Mark>,
    pub(super) granted_until: Moment,
    pub(super) handed: BTreeMap<LoadId, u64>,
    /// Loads of which the threads know that there will be no more.
    pub(super) exhausted: BTreeSet<LoadId>,
    /// Of counted loads the first index after the blocks that have come; they come in order.
    pub(super) next_index: BTreeMap<LoadId, u64>,
    pub(super) setup: OnceState,
    pub(super) teardown: OnceState,
    /// A teardown that waits for a cancelled setup.
    pub(super) teardown_next: Option<Vec<(String, String)>>,
    /// Ends of setup (`false`) and teardown that are said when everything counted has been sent.
    pub(super) unsaid: Vec<bool>,
    /// Why it stopped, when nobody told it to.
    pub(super) reason: String,
    pub(super) stopped: bool,
    pub(super) halted_said: bool,
    /// How many merged intervals have been told of.
    pub(super) coarse_said: u64,
    /// What to say when a data set has been used up.
    pub(super) data_ended: Option<String>,
}

impl Held {
    pub(super) fn new(prepare: &v1::Prepare) -> Self {
        Self {
            run: RunId(prepare.run),
            worker: prepare.worker,
            stage: Stage::Preparing,
            info: Prepared::default(),
            outbox: Outbox::default(),
            start: None,
            marks: prepare.marks.clone(),
            granted_until: Moment::ZERO,
            handed: BTreeMap::new(),
            exhausted: BTreeSet::new(),
            next_index: BTreeMap::new(),
            setup: OnceState::Idle,
            teardown: OnceState::Idle,
            teardown_next: None,
            unsaid: Vec::new(),
            reason: String::new(),
            stopped: false,
            halted_said: false,
            coarse_said: 0,
            data_ended: None,
        }
    }

    pub(super) fn run_time(&self, now: Stamp) -> Moment {
        self.start.map_or(Moment::ZERO, |start| Moment::ZERO + now.since(start))
    }

    /// A mark replaces the one with its number and all that came after it.
    pub(super) fn add_marks(&mut self, marks: Vec<v1::Mark>) {
        for mark in marks {
            let place = mark.segment as usize;
            if place <= self.marks.len() && place < MARKS_MAX {
                self.marks.truncate(place);
                self.marks.push(mark);
            }
        }
    }
}
