//! Scenarios and steps.

use barrage_model::condition::Condition;
use barrage_model::ids::StepId;
use barrage_model::plan::{Action, Plan, Scenario, Step};

use super::{BadMessage, Result, bad, each, micros, missing, span, template};
use crate::v1;

/// Deepest nesting of steps.
const DEPTH_MAX: usize = 8;
/// Most rounds of a loop.
const ROUNDS_MAX: u32 = 10_000;

impl From<&Scenario> for v1::Scenario {
    fn from(scenario: &Scenario) -> Self {
        Self {
            name: scenario.name.clone(),
            on_start: scenario.on_start.iter().map(Into::into).collect(),
            steps: scenario.steps.iter().map(Into::into).collect(),
        }
    }
}

impl TryFrom<v1::Scenario> for Scenario {
    type Error = BadMessage;

    fn try_from(wire: v1::Scenario) -> Result<Self> {
        Ok(Self {
            name: wire.name,
            on_start: each(wire.on_start, TryInto::try_into)?,
            steps: each(wire.steps, TryInto::try_into)?,
        })
    }
}

impl From<&Step> for v1::Step {
    fn from(step: &Step) -> Self {
        use v1::step::Action as Wire;
        let list = |steps: &[Step]| steps.iter().map(Into::into).collect();
        let action = match &step.action {
            Action::Request(request) => Wire::Request((&**request).into()),
            Action::Think(delay) => Wire::Think((*delay).into()),
            Action::Set(values) => Wire::Set(v1::Assignments {
                values: values
                    .iter()
                    .map(|(name, value)| v1::Field {
                        name: name.clone(),
                        value: value.to_string(),
                    })
                    .collect(),
            }),
            Action::Repeat { times, steps } => Wire::Repeat(v1::Repeat {
                times: *times,
                steps: list(steps),
            }),
            Action::If { that, then, otherwise } => Wire::If(v1::Branch {
                that: that.to_string(),
                then: list(then),
                otherwise: list(otherwise),
            }),
            Action::Until {
                that,
                at_most,
                every,
                steps,
            } => Wire::Until(v1::Until {
                that: that.to_string(),
                at_most: *at_most,
                every_us: micros(*every),
                steps: list(steps),
            }),
            Action::Group { name, steps } => Wire::Group(v1::Group {
                name: name.clone(),
                steps: list(steps),
            }),
        };
        Self {
            id: step.id.map(|id| id.0),
            action: Some(action),
        }
    }
}

impl TryFrom<v1::Step> for Step {
    type Error = BadMessage;

    fn try_from(wire: v1::Step) -> Result<Self> {
        step(wire, DEPTH_MAX)
    }
}

fn step(wire: v1::Step, depth: usize) -> Result<Step> {
    use v1::step::Action as Wire;
    let depth = depth
        .checked_sub(1)
        .ok_or_else(|| bad("steps", "nest more than 8 deep"))?;
    let list = |steps: Vec<v1::Step>| each(steps, |inner| step(inner, depth));
    let action = match wire.action.ok_or_else(|| missing("steps.action"))? {
        Wire::Request(request) => Action::Request(Box::new(request.try_into()?)),
        Wire::Think(delay) => Action::Think(delay.try_into()?),
        Wire::Set(set) => Action::Set(each(set.values, |field| {
            Ok((field.name, template("set.value", &field.value)?))
        })?),
        Wire::Repeat(repeat) => Action::Repeat {
            times: rounds(repeat.times)?,
            steps: list(repeat.steps)?,
        },
        Wire::If(branch) => Action::If {
            that: condition(&branch.that)?,
            then: list(branch.then)?,
            otherwise: list(branch.otherwise)?,
        },
        Wire::Until(until) => Action::Until {
            that: condition(&until.that)?,
            at_most: rounds(until.at_most)?,
            every: span("until.every_us", until.every_us)?,
            steps: list(until.steps)?,
        },
        Wire::Group(group) => Action::Group {
            name: group.name,
            steps: list(group.steps)?,
        },
    };
    let measured = matches!(action, Action::Request(_) | Action::Group { .. });
    if wire.id.is_some() != measured {
        return Err(bad("steps.id", "belongs to requests and groups, and to nothing else"));
    }
    Ok(Step {
        id: wire.id.map(StepId),
        action,
    })
}

fn rounds(times: u32) -> Result<u32> {
    if times <= ROUNDS_MAX {
        Ok(times)
    } else {
        Err(bad("steps", format!("{times} rounds are more than 10,000")))
    }
}

fn condition(text: &str) -> Result<Condition> {
    Condition::parse(text).map_err(|error| bad("that", error.to_string()))
}

/// Checks that every request names a target of the plan.
pub(super) fn check_targets(plan: &Plan) -> Result<()> {
    let known = plan.targets.len();
    if plan.step_lists().all(|steps| targets_known(steps, known)) {
        Ok(())
    } else {
        Err(bad("request.target", "names a target that does not exist"))
    }
}

fn targets_known(steps: &[Step], known: usize) -> bool {
    steps.iter().all(|step| {
        let own = match &step.action {
            Action::Request(request) => usize::from(request.target) < known,
            _ => true,
        };
        own && step.action.inner().all(|inner| targets_known(inner, known))
    })
}
