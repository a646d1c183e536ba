//! The plan: what a user wants done, checked and with every default filled in.

mod data;
mod engine;
mod load;
mod network;
mod request;
mod sla;
mod step;
mod tag;

use std::collections::BTreeSet;
use std::time::Duration;

pub use data::{DataFormat, DataSource, FileRef, OnEnd, Pick};
pub use engine::{Engine, engine_of, needs_full_client};
pub use load::{
    Delay, IterationsLoad, Load, LoadModel, OpenLoad, Stage, StageShape, Stretch, UserStage, UserStageShape, UsersLoad,
};
pub use network::{DnsPolicy, Network, Proxy, Resolve, Reuse, STREAMS_PER_CONNECTION_MAX, Target, Tls};
pub use request::{
    Auth, Body, Check, EngineChoice, Extract, ExtractFrom, Matcher, Method, OnFailure, Part, PartBody, Request,
    StatusSet, is_connection_field,
};
pub use sla::{Sla, SlaWindow};
pub use step::{Action, Scenario, Step, written_by};

use crate::ids::StepId;
use crate::template::Template;
use crate::time::Moment;
use crate::units::{Rate, Ratio};

/// A whole test plan.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// Names the run; 1 to 100 characters.
    pub name: String,
    /// Everything random derives from it. Drawn (and printed) by the coordinator when absent.
    pub seed: Option<u64>,
    /// Where requests go; the first one is the default.
    pub targets: Vec<Target>,
    /// Names with values that templates may use; a later one may use an earlier one.
    pub variables: Vec<Variable>,
    /// Rows that templates may use.
    pub data: Vec<DataSource>,
    /// The beginning of the run that SLAs leave out unless they name it.
    pub warm_up: Duration,
    /// One or more loads, each with its own arrivals over its own scenarios.
    pub loads: Vec<Load>,
    /// Scenarios, in the order of the plan.
    pub scenarios: Vec<Scenario>,
    /// Done once per run before the first arrival; what it extracts goes to all workers.
    pub setup: Vec<Step>,
    /// Done once per run after the last iteration, even when the run was stopped.
    pub teardown: Vec<Step>,
    /// What must hold.
    pub sla: Vec<Sla>,
    /// Splits series by an answer header.
    pub tags: Vec<TagRule>,
    /// How connections are made.
    pub network: Network,
    /// How many workers, which, and what happens when one is lost.
    pub workers: WorkerPolicy,
    /// Upper bounds that hold back arrivals, whatever the load says.
    pub ceilings: Ceilings,
    /// The implicit SLA of every open load: started ≥ this share of scheduled.
    pub min_started: Ratio,
    /// After the load's end due arrivals may still start, and requests may still be answered, for this long.
    pub graceful_stop: Duration,
    /// How a load thread waits for the next arrival.
    pub pacing: Pacing,
}

/// How a load thread waits for the next arrival.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pacing {
    /// It sleeps until the arrival is due; woken by a timer, it starts some ten microseconds late.
    #[default]
    Timer,
    /// It sleeps until shortly before and then looks at the clock again and again: a microsecond or two late, for up to a
    /// whole processor per load thread.
    Precise,
}

impl Plan {
    /// Run time at which the last load ends that does so by time; `None` where all are counted.
    pub fn timed_end(&self) -> Option<Moment> {
        let timed = |load: &&Load| !matches!(load.model, LoadModel::Iterations(_));
        self.loads.iter().filter(timed).map(Load::end).max()
    }

    /// Every step that has a ledger or latency of its own, with its scenario's name (`setup`, `teardown`) and its name.
    pub fn named_steps(&self) -> Vec<NamedStep<'_>> {
        let mut found = Vec::new();
        step::collect(&self.setup, "setup", &mut found);
        for scenario in &self.scenarios {
            step::collect(&scenario.on_start, &scenario.name, &mut found);
            step::collect(&scenario.steps, &scenario.name, &mut found);
        }
        step::collect(&self.teardown, "teardown", &mut found);
        found
    }

    /// The files that the plan names, each once, in order of first use.
    pub fn files(&self) -> Vec<&FileRef> {
        let mut found: Vec<&FileRef> = self.data.iter().map(|source| &source.file).collect();
        let network = [
            &self.network.tls.ca,
            &self.network.tls.certificate,
            &self.network.tls.key,
        ];
        found.extend(network.into_iter().flatten());
        for steps in self.step_lists() {
            step::files(steps, &mut found);
        }
        let mut seen = BTreeSet::new();
        found.retain(|file| seen.insert(file.path.clone()));
        found
    }

    /// All step lists of the plan, in reading order.
    pub fn step_lists(&self) -> impl Iterator<Item = &[Step]> {
        std::iter::once(self.setup.as_slice())
            .chain(
                self.scenarios
                    .iter()
                    .flat_map(|s| [s.on_start.as_slice(), s.steps.as_slice()]),
            )
            .chain(std::iter::once(self.teardown.as_slice()))
    }

    /// The variables that some step of the plan gives a value.
    pub fn written(&self) -> BTreeSet<&str> {
        self.step_lists().flat_map(written_by).collect()
    }
}

/// A step with a ledger or a latency of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NamedStep<'a> {
    /// Its number.
    pub id: StepId,
    /// The scenario's name, `setup` or `teardown`.
    pub scenario: &'a str,
    /// The step's own name.
    pub name: &'a str,
    /// Whether it is a group: it has a latency but sends nothing itself.
    pub group: bool,
}

/// A plan variable.
#[derive(Clone, Debug, PartialEq)]
pub struct Variable {
    /// The name, as templates use it.
    pub name: String,
    /// The value; may use environment, files and earlier variables.
    pub value: Template,
    /// Given with `-e`: never stored, never shown.
    pub secret: bool,
}

/// Splits every series by the value of an answer header. At most 16 values; others count as `other`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TagRule {
    /// The tag's name.
    pub name: String,
    /// The answer header, lower case.
    pub header: String,
    /// The values with a series of their own.
    pub values: Vec<String>,
}

/// Most combinations of tag values in a run, `other` and "no header" included.
pub const TAG_COMBINATIONS_MAX: usize = 512;

impl TagRule {
    /// The digit of an answer without the header is 0, of a listed value its position + 1, of any other the last.
    pub fn digits(&self) -> usize {
        self.values.len() + 2
    }

    /// The digit of a header value.
    pub fn digit(&self, value: Option<&[u8]>) -> usize {
        match value {
            None => 0,
            Some(found) => self
                .values
                .iter()
                .position(|listed| listed.as_bytes() == found)
                .map_or(self.values.len() + 1, |at| at + 1),
        }
    }

    /// The word for a digit: empty for "no header".
    pub fn label(&self, digit: usize) -> &str {
        match digit {
            0 => "",
            _ => self.values.get(digit - 1).map_or("other", String::as_str),
        }
    }
}

/// How many workers take part, and what happens when one is lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkerPolicy {
    /// The run waits for at least this many.
    pub min: u32,
    /// At most this many take part; all that match when absent.
    pub max: Option<u32>,
    /// Labels a worker must carry, all of them.
    pub labels: Vec<(String, String)>,
    /// How long the run waits for `min` workers before it gives up.
    pub wait: Duration,
    /// What happens when a worker is lost.
    pub on_loss: OnLoss,
    /// Share of the scheduled arrivals that may be unknown or unsent before the run is inconclusive.
    pub loss_tolerance: Ratio,
}

/// What happens when a worker is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnLoss {
    /// Its share moves to the others once its grant has run out.
    Redistribute,
    /// The others go on with their own shares; the hole is reported.
    Continue,
    /// The run stops.
    Abort,
}

/// Upper bounds on iterations per second, enforced by token buckets in front of the slots.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ceilings {
    /// For each worker.
    pub per_worker: Option<Rate>,
    /// For all workers together, by target; divided by the wheel.
    pub per_target: Option<Rate>,
}
