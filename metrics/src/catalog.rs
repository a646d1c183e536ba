//! Names of the plan, resolved to the numbers under which workers count.

use std::collections::{BTreeMap, BTreeSet};

use barrage_model::expr::{Named, Selector};
use barrage_model::ids::{ScenarioId, StepId, TagId};
use barrage_model::plan::{Action, LoadModel, Plan, Step, engine_of};

/// A step that may appear in a delta.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StepInfo {
    /// The scenario's name, `setup` or `teardown`.
    pub(crate) scenario_name: String,
    /// The scenario; `None` for setup and teardown.
    pub(crate) scenario: Option<ScenarioId>,
    /// The step's own name.
    pub(crate) name: String,
    /// For a group, the requests in it.
    pub(crate) requests: Option<Vec<StepId>>,
    /// Whether the engine that sends it knows the bytes on the wire; of a group its requests say that.
    pub(crate) sees_wire: bool,
}

impl StepInfo {
    /// Whether it belongs to setup or teardown, which stay out of all totals.
    pub(crate) fn once(&self) -> bool {
        self.scenario.is_none()
    }

    /// Whether it is a group.
    pub(crate) fn group(&self) -> bool {
        self.requests.is_some()
    }
}

/// Everything of the plan that merging and queries need.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Catalog {
    pub(crate) steps: BTreeMap<StepId, StepInfo>,
    pub(crate) scenarios: Vec<String>,
    /// For each load, whether its starts answer to a schedule (open model and `iterations`).
    pub(crate) scheduled: Vec<bool>,
    /// For each combination, tag names and values.
    pub(crate) tags: Vec<Vec<(String, String)>>,
}

impl Catalog {
    pub(crate) fn of(plan: &Plan) -> Self {
        let mut steps = BTreeMap::new();
        enter(plan, &plan.setup, "setup", None, &mut steps);
        for (number, scenario) in plan.scenarios.iter().enumerate() {
            let id = Some(ScenarioId(number as u16));
            enter(plan, &scenario.on_start, &scenario.name, id, &mut steps);
            enter(plan, &scenario.steps, &scenario.name, id, &mut steps);
        }
        enter(plan, &plan.teardown, "teardown", None, &mut steps);
        let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        Self {
            steps,
            scenarios: plan.scenarios.iter().map(|scenario| scenario.name.clone()).collect(),
            scheduled: plan
                .loads
                .iter()
                .map(|load| !matches!(load.model, LoadModel::Users(_)))
                .collect(),
            tags: (0..plan.tag_count().min(usize::from(u16::MAX)))
                .map(|id| plan.tag_values(TagId(id as u16)).into_iter().map(owned).collect())
                .collect(),
        }
    }

    /// What a selector leaves.
    pub(crate) fn resolve(&self, select: &Selector) -> Chosen {
        let tags = (!select.tags.is_empty()).then(|| {
            let holds = |values: &[(String, String)]| select.tags.iter().all(|wanted| values.contains(wanted));
            let found = self.tags.iter().enumerate().filter(|(_, values)| holds(values));
            found.map(|(id, _)| TagId(id as u16)).collect()
        });
        let named = select.name.as_ref().map(|name| self.named(name));
        Chosen { named, tags }
    }

    fn named(&self, name: &Named) -> ChosenNames {
        let mut chosen = ChosenNames::default();
        match name {
            Named::Any(name) => {
                self.choose_steps(None, name, &mut chosen);
                self.choose_scenario(name, &mut chosen);
            }
            Named::Step(name) => self.choose_steps(None, name, &mut chosen),
            Named::StepOf { scenario, step } => self.choose_steps(Some(scenario), step, &mut chosen),
            Named::Scenario(name) => self.choose_scenario(name, &mut chosen),
        }
        if chosen.scenarios.is_empty() {
            let of_steps = chosen.latencies.iter().filter_map(|id| self.steps.get(id)?.scenario);
            chosen.scenarios = of_steps.collect();
        }
        chosen
    }

    fn choose_steps(&self, scenario: Option<&str>, name: &str, chosen: &mut ChosenNames) {
        for (id, step) in &self.steps {
            if step.name != name || scenario.is_some_and(|wanted| wanted != step.scenario_name) {
                continue;
            }
            chosen.latencies.insert(*id);
            match &step.requests {
                Some(requests) => chosen.counts.extend(requests),
                None => drop(chosen.counts.insert(*id)),
            }
        }
    }

    fn choose_scenario(&self, name: &str, chosen: &mut ChosenNames) {
        let found = self.scenarios.iter().enumerate().filter(|(_, known)| *known == name);
        chosen.scenarios.extend(found.map(|(id, _)| ScenarioId(id as u16)));
        for (id, step) in &self.steps {
            if step.scenario_name == name && !step.group() {
                chosen.latencies.insert(*id);
                chosen.counts.insert(*id);
            }
        }
    }
}

/// What a selector leaves; `None` = everything but setup and teardown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Chosen {
    pub(crate) named: Option<ChosenNames>,
    pub(crate) tags: Option<BTreeSet<TagId>>,
}

/// The numbers behind a name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ChosenNames {
    /// Steps and groups whose latencies count.
    pub(crate) latencies: BTreeSet<StepId>,
    /// Requests whose counts count: of a group, those in it.
    pub(crate) counts: BTreeSet<StepId>,
    /// Scenarios whose iterations count: the named one, or those of the named steps.
    pub(crate) scenarios: BTreeSet<ScenarioId>,
}

/// Enters the numbered steps, and returns the requests among them.
fn enter(
    plan: &Plan,
    list: &[Step],
    scenario_name: &str,
    scenario: Option<ScenarioId>,
    steps: &mut BTreeMap<StepId, StepInfo>,
) -> Vec<StepId> {
    let mut requests = Vec::new();
    for step in list {
        let inside: Vec<StepId> = step
            .action
            .inner()
            .flat_map(|inner| enter(plan, inner, scenario_name, scenario, steps))
            .collect();
        let own = match &step.action {
            Action::Request(request) => Some((request.name.as_str(), None, engine_of(plan, request).0.sees_wire())),
            Action::Group { name, .. } => Some((name.as_str(), Some(inside.clone()), true)),
            _ => None,
        };
        requests.extend(inside);
        if let (Some(id), Some((name, group, sees_wire))) = (step.id, own) {
            if group.is_none() {
                requests.push(id);
            }
            let name = name.to_owned();
            let scenario_name = scenario_name.to_owned();
            steps.insert(
                id,
                StepInfo {
                    scenario_name,
                    scenario,
                    name,
                    requests: group,
                    sees_wire,
                },
            );
        }
    }
    requests
}
