//! Steps and their nesting.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::time::Duration;

use barrage_model::ids::StepId;
use barrage_model::plan::{Action, Method, Plan, Step, Target};

use super::request::{Beside, Defaults};
use super::{Fields, Got, Reader, Value};
use crate::language::{GROUP, IF, REPEAT, STEP, UNTIL};
use crate::problem::{Problem, quoted};
use crate::yaml::Node;

/// How deep steps may nest.
const DEPTH_MAX: usize = 8;
/// The most steps of a plan.
const STEPS_MAX: usize = 1_000;

/// What the steps of a plan share.
pub(crate) struct Shared<'n> {
    pub(crate) defaults: Defaults<'n>,
    pub(crate) targets: Vec<Target>,
    /// The number of steps so far.
    count: Cell<usize>,
}

/// What the steps of one scenario share.
pub(crate) struct Within<'s, 'n> {
    pub(crate) shared: &'s Shared<'n>,
    /// How long an arrival may wait before its first step.
    pub(crate) give_up_after: Duration,
    /// Names of requests and groups.
    names: RefCell<BTreeSet<String>>,
}

impl<'n> Shared<'n> {
    pub(crate) fn new(defaults: Defaults<'n>, targets: Vec<Target>) -> Self {
        Self {
            defaults,
            targets,
            count: Cell::new(0),
        }
    }

    /// Begins a scenario, `setup` or `teardown`.
    pub(crate) fn within(&self, give_up_after: Duration) -> Within<'_, 'n> {
        Within {
            shared: self,
            give_up_after,
            names: RefCell::default(),
        }
    }
}

impl Within<'_, '_> {
    /// A name for a step without one: `wanted`, with a number where that is taken.
    pub(crate) fn free_name(&self, wanted: &str) -> String {
        let mut names = self.names.borrow_mut();
        let mut name: String = wanted.chars().take(crate::language::NAME_MAX - 8).collect();
        let base = name.clone();
        let mut number = 2;
        while !names.insert(name.clone()) {
            name = format!("{base} #{number}");
            number += 1;
        }
        name
    }
}

impl Reader<'_> {
    /// The steps of one list.
    pub(crate) fn steps(&self, value: Value<'_>, within: &Within<'_, '_>, depth: usize) -> Got<Vec<Step>> {
        if depth > DEPTH_MAX {
            let problem = Problem::new("found one more level", format!("steps at most {DEPTH_MAX} deep"));
            return Err(self.fail(super::fields::head(value.node), problem));
        }
        self.list(value, |value| self.step(value.node, within, depth))
    }

    fn step(&self, node: &Node, within: &Within<'_, '_>, depth: usize) -> Got<Step> {
        let count = within.shared.count.get() + 1;
        within.shared.count.set(count);
        if count == STEPS_MAX + 1 {
            let problem = Problem::new("found one more step", format!("at most {STEPS_MAX} steps in the plan"));
            return Err(self.fail(super::fields::head(node), problem));
        }
        let fields = self.object(node, &STEP)?;
        let beside = Beside::of(&fields);
        let mut requests = Vec::new();
        for method in Method::ALL {
            requests.extend(fields.value(key_of(method)).map(|value| (method, value)));
        }
        if let Some(&(method, value)) = requests.first() {
            // A second action has been refused already.
            for key in ["think", "set", "repeat", "if", "until", "group"] {
                fields.entry(key);
            }
            let request = self.request(method, value, &beside, within)?;
            return Ok(Step {
                id: None,
                action: Action::Request(Box::new(request)),
            });
        }
        let group = fields.value("group");
        for key in ["timeout", "expect", "extract", "on_failure"] {
            fields.refuse(key, &format!("`{key}` only beside a request"))?;
        }
        if group.is_none() {
            fields.refuse("name", "`name` only beside a request or a group")?;
        }
        let think = fields.opt("think", |value| Ok(Action::Think(self.delay(value)?)));
        let set = fields.opt("set", |value| self.set(value));
        let repeat = fields.opt("repeat", |value| self.repeat(value.node, within, depth));
        let branch = fields.opt("if", |value| self.branch(value.node, within, depth));
        let until = fields.opt("until", |value| self.until(value.node, within, depth));
        let group = fields.opt("group", |value| self.group(value.node, &beside, within, depth));
        let action = [think?, set?, repeat?, branch?, until?, group?]
            .into_iter()
            .flatten()
            .next();
        Ok(Step {
            id: None,
            action: action.ok_or_else(|| fields.missing("get"))?,
        })
    }

    fn set(&self, value: Value<'_>) -> Got<Action> {
        let mut all = Vec::new();
        for (entry, value) in self.entries(value)? {
            let name = self.variable_key(entry);
            let template = self.template(value);
            self.declare(&entry.key);
            all.push(name.and_then(|name| Ok((name, template?))));
        }
        Ok(Action::Set(all.into_iter().collect::<Got<_>>()?))
    }

    fn repeat(&self, node: &Node, within: &Within<'_, '_>, depth: usize) -> Got<Action> {
        let fields = self.object(node, &REPEAT)?;
        let times = fields.need("times", |value| self.whole32(value));
        let steps = fields.need("steps", |value| self.steps(value, within, depth + 1));
        Ok(Action::Repeat {
            times: times?,
            steps: steps?,
        })
    }

    fn branch(&self, node: &Node, within: &Within<'_, '_>, depth: usize) -> Got<Action> {
        let fields = self.object(node, &IF)?;
        let that = fields.need("that", |value| self.condition(value));
        let then = fields.need("then", |value| self.steps(value, within, depth + 1));
        let otherwise = fields.or("else", Vec::new(), |value| self.steps(value, within, depth + 1));
        Ok(Action::If {
            that: that?,
            then: then?,
            otherwise: otherwise?,
        })
    }

    fn until(&self, node: &Node, within: &Within<'_, '_>, depth: usize) -> Got<Action> {
        let fields = self.object(node, &UNTIL)?;
        let at_most = fields.need("at_most", |value| self.whole32(value));
        let every = fields.or_default("every", |value| self.duration(value));
        // The condition is looked at after the steps, so it may use what they extract.
        let steps = fields.need("steps", |value| self.steps(value, within, depth + 1));
        let that = fields.need("that", |value| self.condition(value));
        Ok(Action::Until {
            that: that?,
            at_most: at_most?,
            every: every?,
            steps: steps?,
        })
    }

    fn group(&self, node: &Node, beside: &Beside<'_>, within: &Within<'_, '_>, depth: usize) -> Got<Action> {
        let fields = self.object(node, &GROUP)?;
        let inside = fields.value("name");
        let name = match self.one_name(inside, beside.name, within)? {
            Some(name) => Ok(name),
            None => Err(fields.missing("name")),
        };
        let steps = fields.need("steps", |value| self.steps(value, within, depth + 1));
        Ok(Action::Group {
            name: name?,
            steps: steps?,
        })
    }

    /// The name that stands inside an action or beside it, which no other step of the scenario has.
    pub(crate) fn one_name(
        &self,
        inside: Option<Value<'_>>,
        beside: Option<Value<'_>>,
        within: &Within<'_, '_>,
    ) -> Got<Option<String>> {
        self.only_once("name", inside, beside)?;
        let Some(value) = inside.or(beside) else {
            return Ok(None);
        };
        let name = self.text(value)?;
        if within.names.borrow_mut().insert(name.clone()) {
            return Ok(Some(name));
        }
        let found = format!("a second step named {}", quoted(&name));
        Err(self.fail(
            value.node.span,
            Problem::new(found, "a name of its own in the scenario"),
        ))
    }

    /// Refuses a key that stands both inside an action and beside it.
    pub(crate) fn only_once(&self, key: &str, inside: Option<Value<'_>>, beside: Option<Value<'_>>) -> Got<()> {
        match (inside, beside) {
            (Some(first), Some(second)) => {
                let later = if first.node.span.start > second.node.span.start {
                    first
                } else {
                    second
                };
                let found = format!("found `{key}` a second time");
                let expected = format!("`{key}` inside the action or beside it");
                Err(self.fail(later.node.span, Problem::new(found, expected)))
            }
            _ => Ok(()),
        }
    }
}

/// The key of a step that sends a request of this method.
pub(crate) fn key_of(method: Method) -> &'static str {
    match method {
        Method::Get => "get",
        Method::Post => "post",
        Method::Put => "put",
        Method::Patch => "patch",
        Method::Delete => "delete",
        Method::Head => "head",
        Method::Options => "options",
    }
}

impl<'n> Beside<'n> {
    /// The keys that stand beside an action.
    fn of(fields: &Fields<'n, '_>) -> Self {
        Self {
            name: fields.value("name"),
            timeout: fields.value("timeout"),
            expect: fields.value("expect"),
            extract: fields.value("extract"),
            on_failure: fields.value("on_failure"),
        }
    }
}

/// Numbers the requests and groups in the order of [`Plan::named_steps`].
pub(crate) fn number_steps(plan: &mut Plan) {
    let mut next = 0;
    number(&mut plan.setup, &mut next);
    for scenario in &mut plan.scenarios {
        number(&mut scenario.on_start, &mut next);
        number(&mut scenario.steps, &mut next);
    }
    number(&mut plan.teardown, &mut next);
}

fn number(steps: &mut [Step], next: &mut u32) {
    for step in steps {
        if matches!(step.action, Action::Request(_) | Action::Group { .. }) {
            step.id = Some(StepId(*next));
            *next += 1;
        }
        match &mut step.action {
            Action::Request(_) | Action::Think(_) | Action::Set(_) => {}
            Action::Repeat { steps, .. } | Action::Until { steps, .. } | Action::Group { steps, .. } => {
                number(steps, next);
            }
            Action::If { then, otherwise, .. } => {
                number(then, next);
                number(otherwise, next);
            }
        }
    }
}
