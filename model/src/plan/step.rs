//! Scenarios and their steps.

use super::{FileRef, NamedStep, Request, load::Delay};
use crate::condition::Condition;
use crate::ids::StepId;
use crate::template::Template;
use std::collections::BTreeSet;
use std::time::Duration;

/// One way through the target that an iteration may take.
#[derive(Clone, Debug, PartialEq)]
pub struct Scenario {
    /// Unique within the plan.
    pub name: String,
    /// Done once by each virtual user (slot) before its first iteration of this scenario.
    pub on_start: Vec<Step>,
    /// The steps in order; at least one.
    pub steps: Vec<Step>,
}

/// One step. Steps nest at most 8 deep.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// Its number when it has a ledger or latency of its own (requests and groups).
    pub id: Option<StepId>,
    /// What it does.
    pub action: Action,
}

/// What a step does.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Sends a request.
    Request(Box<Request>),
    /// Pauses.
    Think(Delay),
    /// Gives values to variables of this iteration.
    Set(Vec<(String, Template)>),
    /// Goes through the steps a number of times (at most 10,000).
    Repeat {
        /// How often.
        times: u32,
        /// What.
        steps: Vec<Step>,
    },
    /// Goes through one of two lists.
    If {
        /// The condition.
        that: Condition,
        /// When it holds.
        then: Vec<Step>,
        /// When it does not.
        otherwise: Vec<Step>,
    },
    /// Goes through the steps until the condition holds after them, at most `at_most` times.
    Until {
        /// The condition.
        that: Condition,
        /// Upper bound (at most 10,000); reaching it fails the group's steps no further.
        at_most: u32,
        /// Pause between two rounds.
        every: Duration,
        /// What.
        steps: Vec<Step>,
    },
    /// Measures the steps together.
    Group {
        /// Names its latency.
        name: String,
        /// What.
        steps: Vec<Step>,
    },
}

impl Action {
    /// The lists of steps inside.
    pub fn inner(&self) -> impl Iterator<Item = &[Step]> {
        let (first, second): (&[Step], &[Step]) = match self {
            Self::Request(_) | Self::Think(_) | Self::Set(_) => (&[], &[]),
            Self::Repeat { steps, .. } | Self::Until { steps, .. } | Self::Group { steps, .. } => (steps, &[]),
            Self::If { then, otherwise, .. } => (then, otherwise),
        };
        [first, second].into_iter()
    }
}

/// Collects the steps with a number, depth first in reading order; a group stands before its steps.
pub(super) fn collect<'a>(steps: &'a [Step], scenario: &'a str, found: &mut Vec<NamedStep<'a>>) {
    for step in steps {
        if let Some(id) = step.id {
            match &step.action {
                Action::Request(request) => {
                    found.push(NamedStep {
                        id,
                        scenario,
                        name: &request.name,
                        group: false,
                    });
                }
                Action::Group { name, .. } => found.push(NamedStep {
                    id,
                    scenario,
                    name,
                    group: true,
                }),
                _ => {}
            }
        }
        for inner in step.action.inner() {
            collect(inner, scenario, found);
        }
    }
}

/// Collects the files that request bodies name.
pub(super) fn files<'a>(steps: &'a [Step], found: &mut Vec<&'a FileRef>) {
    for step in steps {
        if let Action::Request(request) = &step.action {
            found.extend(request.body.files());
        }
        for inner in step.action.inner() {
            files(inner, found);
        }
    }
}

/// The variables that the steps of a list give a value.
pub fn written_by(steps: &[Step]) -> BTreeSet<&str> {
    let mut found = BTreeSet::new();
    written(steps, &mut found);
    found
}

fn written<'a>(steps: &'a [Step], found: &mut BTreeSet<&'a str>) {
    for step in steps {
        match &step.action {
            Action::Request(request) => found.extend(request.extract.iter().map(|extract| extract.name.as_str())),
            Action::Set(values) => found.extend(values.iter().map(|(name, _)| name.as_str())),
            _ => {}
        }
        for inner in step.action.inner() {
            written(inner, found);
        }
    }
}
