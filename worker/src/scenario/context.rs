//! What a run and an iteration are told from outside.

use std::fmt;

use barrage_model::ids::{LoadId, RunId, ScenarioId, SegmentId, WorkerId};
use barrage_model::outcome::IterationEnd;

use crate::clock::Stamp;

/// What is the same for every iteration that a worker makes in a run.
#[derive(Clone)]
pub struct RunContext {
    /// The run.
    pub run: RunId,
    /// Its name, for messages.
    pub run_name: String,
    /// Everything random derives from it.
    pub seed: u64,
    /// This worker's number.
    pub worker: WorkerId,
    /// Values given with `-e`: they fill variables of the same name, win over the plan's, and are never shown.
    pub secrets: Vec<(String, String)>,
    /// What `setup` extracted. Names that no step of the plan writes are left out.
    pub values: Vec<(String, String)>,
}

impl fmt::Debug for RunContext {
    /// Without the secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RunContext")
            .field("run", &self.run)
            .field("run_name", &self.run_name)
            .field("seed", &self.seed)
            .field("worker", &self.worker)
            .finish_non_exhaustive()
    }
}

/// One iteration to go through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IterationStart {
    /// The load that made it.
    pub load: LoadId,
    /// The scenario it goes through.
    pub scenario: ScenarioId,
    /// Number of the iteration within its load, unique in the fleet.
    pub index: u64,
    /// Number of the virtual user within its load, unique in the fleet.
    pub user: u64,
    /// When it fell due (closed models: when it began).
    pub due: Stamp,
    /// The segment of its due instant.
    pub segment: SegmentId,
    /// Whether the load is closed: the user's variables and cookies then live on in its next iteration.
    pub closed: bool,
}

/// How an iteration ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IterationEnded {
    /// Counted as.
    pub end: IterationEnd,
    /// The end of its last answer, when nothing that takes time has come after it; `None` = now.
    pub at: Option<Stamp>,
    /// Whether it was gone through. One that was not has taken no time that would say anything.
    pub ran: bool,
}

impl From<IterationEnd> for IterationEnded {
    /// Ended now.
    fn from(end: IterationEnd) -> Self {
        Self {
            end,
            at: None,
            ran: true,
        }
    }
}
