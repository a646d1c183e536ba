//! The plan as a whole.

use std::collections::BTreeSet;
use std::time::Duration;

use barrage_model::ids::ScenarioId;
use barrage_model::plan::{
    DataFormat, DataSource, Load, LoadModel, Network, OnEnd, Pacing, Pick, Plan, Scenario, Target, Variable,
};
use barrage_model::template::Template;

use super::scalars::is_map;
use super::scope::Place;
use super::sla::Known;
use super::steps::{Shared, number_steps};
use super::{ARGUMENT, Fields, Got, Reader, Value};
use crate::language::{DATA, PLAN, SCENARIO, SCENARIO_LOAD, TARGET};
use crate::problem::{Problem, quoted};
use crate::value;
use crate::yaml::{Kind, Node, Span};

/// The parts of a plan that its steps do not need.
struct Settings {
    name: String,
    seed: Option<u64>,
    warm_up: Duration,
    graceful_stop: Duration,
    min_started: barrage_model::units::Ratio,
    network: Network,
    pacing: Pacing,
}

/// A scenario with its weight, and where it has a load of its own, the load and when it begins.
type Weighted = (Scenario, u32, Option<(Duration, LoadModel)>);

impl Reader<'_> {
    /// Decodes the whole plan.
    pub(crate) fn plan(&self, root: &Node) -> Got<Plan> {
        let fields = self.object(root, &PLAN)?;
        let empty = Node {
            span: Span::default(),
            kind: Kind::Map(Vec::new()),
        };
        let at = |value: Option<Value<'_>>| value.map(|value| value.node.clone());
        self.refuse_later(&fields);
        let targets = self.targets(&fields);
        self.enter(Place::Variables);
        let variables = self.variables(fields.value("variables"));
        let data = fields.or("data", Vec::new(), |value| self.data(value));
        let settings = self.settings(&fields, &empty);
        let workers = self.workers(&at(fields.value("workers")).unwrap_or_else(|| empty.clone()));
        let load = self.load_model(&fields);
        let ceilings = self.ceilings(&at(fields.value("ceilings")).unwrap_or_else(|| empty.clone()));
        let tags = fields.or("tags", Vec::new(), |value| self.tags(value));
        let defaults_node = fields.value("defaults").map_or(&empty, |value| value.node);
        let defaults = self.defaults(defaults_node);
        let (Ok(load), Ok(targets), Ok(defaults)) = (load, targets, defaults) else {
            // Steps cannot be judged without what they rest on.
            skip(&fields);
            return Err(super::Reported(()));
        };
        let shared = Shared::new(defaults, targets);
        self.enter(Place::Once);
        let setup = fields.or("setup", Vec::new(), |value| {
            self.steps(value, &shared.within(Duration::ZERO), 1)
        });
        self.enter(Place::Scenario);
        let scenarios = self.scenarios(&fields, load, &shared);
        self.enter(Place::Once);
        let teardown = fields.or("teardown", Vec::new(), |value| {
            self.steps(value, &shared.within(Duration::ZERO), 1)
        });
        let (Ok(settings), Ok((scenarios, loads)), Ok(setup), Ok(teardown), Ok(tags)) =
            (settings, scenarios, setup, teardown, tags)
        else {
            skip(&fields);
            return Err(super::Reported(()));
        };
        let mut plan = Plan {
            name: settings.name,
            seed: settings.seed,
            targets: shared.targets,
            variables: variables?,
            data: data?,
            warm_up: settings.warm_up,
            loads,
            scenarios,
            setup,
            teardown,
            sla: Vec::new(),
            tags,
            network: settings.network,
            workers: workers?,
            ceilings: ceilings?,
            min_started: settings.min_started,
            graceful_stop: settings.graceful_stop,
            pacing: settings.pacing,
        };
        number_steps(&mut plan);
        self.check_hosts(&plan)?;
        self.check_engines(&fields, &plan)?;
        self.check_tls_names(&fields, &plan)?;
        self.check_fixed_addresses(&fields, &plan)?;
        let known = Known::of(&plan);
        plan.sla = fields.or("sla", Vec::new(), |value| self.slas(value, &known))?;
        Ok(plan)
    }

    fn refuse_later(&self, fields: &Fields<'_, '_>) {
        for key in ["circuit_breaker", "chaos"] {
            if let Some(entry) = fields.entry(key) {
                let found = format!("found `{key}`, which arrives with a later version");
                self.fail(entry.key_span, Problem::new(found, "a plan without it"));
            }
        }
    }

    fn settings(&self, fields: &Fields<'_, '_>, empty: &Node) -> Got<Settings> {
        let name = fields.opt("name", |value| self.text(value));
        let seed = fields.opt("seed", |value| self.whole(value));
        let warm_up = fields.or_default("warm_up", |value| self.duration(value));
        let graceful_stop = fields.or_default("graceful_stop", |value| self.duration(value));
        let min_started = fields.or_default("min_started", |value| self.ratio(value));
        let pacing = fields.or_default("pacing", |value| self.pacing(value));
        let network = self.network(fields.value("network").map_or(empty, |value| value.node));
        let mut network = network?;
        let mut fixed = Vec::new();
        for text in &self.overrides.resolve {
            fixed.push(value::resolve(text).map_err(|problem| self.refuse_override("--resolve", problem))?);
        }
        network.resolve.splice(0..0, fixed);
        let name = self.overrides.name.clone().or(name?).unwrap_or_else(|| stem(self.file));
        Ok(Settings {
            name,
            seed: self.overrides.seed.or(seed?),
            warm_up: warm_up?,
            graceful_stop: graceful_stop?,
            min_started: min_started?,
            network,
            pacing: pacing?,
        })
    }

    fn pacing(&self, value: Value<'_>) -> Got<Pacing> {
        Ok(match self.word(value)? {
            "precise" => Pacing::Precise,
            _ => Pacing::Timer,
        })
    }

    /// Records an error in what came with the command line.
    pub(super) fn refuse_override(&self, flag: &str, problem: Problem) -> super::Reported {
        let problem = Problem {
            at: None,
            found: format!("{flag}: {}", problem.found),
            ..problem
        };
        self.fail(ARGUMENT, problem)
    }

    fn targets(&self, fields: &Fields<'_, '_>) -> Got<Vec<Target>> {
        let one = fields.opt("target", |value| Ok(vec![self.target("default", value)?]));
        let several = fields.opt("targets", |value| {
            let read: Vec<Got<Target>> = self
                .entries(value)?
                .map(|(entry, value)| {
                    let name = self.key_name(entry);
                    let target = self.target(&entry.key, value)?;
                    name.map(|_| target)
                })
                .collect();
            let all: Vec<Target> = read.into_iter().collect::<Got<_>>()?;
            if all.is_empty() {
                return Err(self.fail(value.node.span, Problem::new("found no targets", "at least one target")));
            }
            Ok(all)
        });
        let given = one?.or(several?);
        let Some(text) = &self.overrides.target else {
            return given.ok_or_else(|| fields.missing("target"));
        };
        let mut all = given.unwrap_or_default();
        let named = text
            .split_once('=')
            .filter(|(name, _)| all.iter().any(|target| target.name == *name));
        let (name, url) = named.unwrap_or_else(|| (all.first().map_or("default", |first| first.name.as_str()), text));
        let target = value::target(name, url).map_err(|problem| self.refuse_override("--target", problem))?;
        match all.iter_mut().find(|known| known.name == target.name) {
            Some(known) => *known = target,
            None => all.push(target),
        }
        Ok(all)
    }

    fn target(&self, name: &str, value: Value<'_>) -> Got<Target> {
        if !is_map(value.node) {
            return self.parse(value, |text| value::target(name, text));
        }
        let fields = self.object(value.node, &TARGET)?;
        let target = fields.need("url", |value| self.parse(value, |text| value::target(name, text)));
        let host = fields.opt("host", |value| self.parse(value, value::host));
        Ok(Target {
            host_override: host?,
            ..target?
        })
    }

    /// The plan's variables with `-e` and `--set` filled in; those that the plan does not name come first.
    fn variables(&self, value: Option<Value<'_>>) -> Got<Vec<Variable>> {
        let secrets = self.overrides.env.iter().map(|(name, value)| (name, value, true));
        let shown = self.overrides.set.iter().map(|(name, value)| (name, value, false));
        let given: Vec<(&String, &String, bool)> = shown.chain(secrets).collect();
        let mut all = Vec::new();
        let planned = value.map_or(&[][..], |value| match &value.node.kind {
            Kind::Map(entries) => entries,
            _ => &[],
        });
        for (name, text, secret) in &given {
            super::scalars::variable_name(name).map_err(|problem| self.refuse_override("-e or --set", problem))?;
            self.declare(name);
            let replaced = given.iter().any(|(other, _, wins)| other == name && *wins && !secret);
            if !replaced && !planned.iter().any(|entry| entry.key == **name) {
                all.push(Variable {
                    name: (*name).clone(),
                    value: Template::literal(text.as_str()),
                    secret: *secret,
                });
            }
        }
        let Some(value) = value else { return Ok(all) };
        let mut read: Vec<Got<Variable>> = Vec::new();
        for (entry, value) in self.entries(value)? {
            let name = self.variable_key(entry);
            let template = if value.node.is_null() {
                Ok(Template::default())
            } else {
                self.template(value)
            };
            self.declare(&entry.key);
            let given = given.iter().rev().find(|(name, ..)| **name == entry.key);
            read.push(name.and_then(|name| {
                let value = template?;
                Ok(match given {
                    Some((_, text, secret)) => Variable {
                        name,
                        value: Template::literal(text.as_str()),
                        secret: *secret,
                    },
                    None => Variable {
                        name,
                        value,
                        secret: false,
                    },
                })
            }));
        }
        all.extend(read.into_iter().collect::<Got<Vec<_>>>()?);
        Ok(all)
    }

    fn data(&self, value: Value<'_>) -> Got<Vec<DataSource>> {
        let mut all: Vec<Got<DataSource>> = Vec::new();
        for (entry, value) in self.entries(value)? {
            self.declare_data(&entry.key);
            let name = self.key_name(entry);
            let source = self.object(value.node, &DATA).and_then(|fields| self.source(&fields));
            all.push(name.and_then(|name| Ok(DataSource { name, ..source? })));
        }
        all.into_iter().collect()
    }

    fn source(&self, fields: &Fields<'_, '_>) -> Got<DataSource> {
        let csv = fields.opt("csv", |value| Ok((DataFormat::Csv, self.file(value)?)));
        let lines = fields.opt("jsonl", |value| Ok((DataFormat::JsonLines, self.file(value)?)));
        let pick = fields.or_default("pick", |value| {
            Ok(match self.word(value)? {
                "random" => Pick::Random,
                "once-per-user" => Pick::OncePerUser,
                _ => Pick::Sequential,
            })
        });
        let on_end = fields.or_default("on_end", |value| {
            Ok(match self.word(value)? {
                "stop" => OnEnd::Stop,
                "error" => OnEnd::Error,
                _ => OnEnd::Wrap,
            })
        });
        let pick = pick?;
        if pick == Pick::Random {
            fields.refuse("on_end", "`pick: random` without it: random rows do not run out")?;
        }
        let (format, file) = csv?.or(lines?).ok_or_else(|| fields.missing("csv"))?;
        Ok(DataSource {
            name: String::new(),
            format,
            file,
            pick,
            on_end: on_end?,
        })
    }

    /// The scenarios, and the loads over them: the plan's own, or one for each.
    fn scenarios(
        &self,
        fields: &Fields<'_, '_>,
        load: Option<LoadModel>,
        shared: &Shared<'_>,
    ) -> Got<(Vec<Scenario>, Vec<Load>)> {
        let patience = load.as_ref().map(give_up_after);
        let steps = fields.opt("steps", |value| {
            let within = shared.within(patience.unwrap_or_default());
            let steps = self.steps(value, &within, 1)?;
            Ok(vec![(
                Scenario {
                    name: "default".to_owned(),
                    on_start: Vec::new(),
                    steps,
                },
                1,
                None,
            )])
        });
        let mut names = BTreeSet::new();
        let listed = fields.opt("scenarios", |value| {
            let only = matches!(&value.node.kind, Kind::List(items) if items.len() == 1);
            let mut number = 0;
            self.list(value, |value| {
                number += 1;
                let absent = if only {
                    "default".to_owned()
                } else {
                    format!("scenario {number}")
                };
                let known = self.known();
                let scenario = self.scenario(value.node, absent, patience, shared, &mut names);
                self.forget(known);
                scenario
            })
        });
        let all = steps?.or(listed?).unwrap_or_default();
        let mut loads = Vec::new();
        if let Some(model) = load {
            let scenarios = all
                .iter()
                .enumerate()
                .map(|(n, (_, weight, _))| (ScenarioId(n as u16), *weight))
                .collect();
            loads.push(Load {
                name: "load".to_owned(),
                start_at: Duration::ZERO,
                scenarios,
                model,
            });
        } else if let Some(without) = all.iter().position(|(_, _, own)| own.is_none()) {
            return Err(self.no_load(fields, without, all.iter().any(|(_, _, own)| own.is_some())));
        }
        let mut scenarios = Vec::new();
        for (n, (scenario, _, own)) in all.into_iter().enumerate() {
            if let Some((start_at, model)) = own {
                let name = scenario.name.clone();
                loads.push(Load {
                    name,
                    start_at,
                    scenarios: vec![(ScenarioId(n as u16), 1)],
                    model,
                });
            }
            scenarios.push(scenario);
        }
        Ok((scenarios, loads))
    }

    /// Records that the plan has no load, or the scenario when others have one.
    fn no_load(&self, fields: &Fields<'_, '_>, without: usize, some: bool) -> super::Reported {
        let found = format!("{} is missing", crate::problem::either(SCENARIO_LOAD));
        let scenario = fields.node.get("scenarios").and_then(|node| match &node.kind {
            Kind::List(items) => items.get(without),
            _ => None,
        });
        match scenario.filter(|_| some) {
            Some(node) => self.lacks(
                node,
                Problem::new(found, "a load of every scenario's own, or one for the plan"),
            ),
            None => self.lacks(
                fields.node,
                Problem::new(found, "one of them, for the plan or in each scenario"),
            ),
        }
    }

    fn scenario(
        &self,
        node: &Node,
        absent: String,
        patience: Option<Duration>,
        shared: &Shared<'_>,
        names: &mut BTreeSet<String>,
    ) -> Got<Weighted> {
        let fields = self.object(node, &SCENARIO)?;
        let name = fields.opt("name", |value| Ok((value.node.span, self.text(value)?)));
        let weight = fields.or_default("weight", |value| self.whole32(value));
        let start_at = fields.or_default("start_at", |value| self.duration(value));
        let own = self.load_model(&fields)?;
        if own.is_some() {
            fields.refuse("weight", "no `weight` beside a load of the scenario's own")?;
        } else {
            fields.refuse("start_at", "`start_at` only beside a load of the scenario's own")?;
        }
        if patience.is_some() {
            for key in SCENARIO_LOAD {
                fields.refuse(key, "the plan's load or the scenario's own, not both")?;
            }
        }
        let within = shared.within(own.as_ref().map(give_up_after).or(patience).unwrap_or_default());
        let on_start = fields.or("on_start", Vec::new(), |value| self.steps(value, &within, 1));
        let steps = fields.need("steps", |value| self.steps(value, &within, 1));
        let (span, name) = name?.unwrap_or_else(|| (super::fields::head(node), absent));
        let reserved = matches!(name.as_str(), "setup" | "teardown");
        if reserved || !names.insert(name.clone()) {
            let found = if reserved { "a scenario" } else { "a second scenario" };
            let problem = Problem::new(format!("{found} named {}", quoted(&name)), "a name of its own");
            return Err(self.fail(span, problem));
        }
        let start_at = start_at?;
        let scenario = Scenario {
            name,
            on_start: on_start?,
            steps: steps?,
        };
        Ok((scenario, weight?, own.map(|model| (start_at, model))))
    }
}

fn give_up_after(model: &LoadModel) -> Duration {
    match model {
        LoadModel::Open(open) => open.give_up_after,
        LoadModel::Users(_) | LoadModel::Iterations(_) => Duration::ZERO,
    }
}

/// Marks keys as read that can no longer be.
fn skip(fields: &Fields<'_, '_>) {
    for key in ["setup", "scenarios", "steps", "teardown", "sla"] {
        fields.entry(key);
    }
}

/// The file's name without folder and endings, as the plan's name.
fn stem(file: &str) -> String {
    let name = file.rsplit(['/', '\\']).next().unwrap_or("");
    let name = name
        .strip_suffix(".yaml")
        .or_else(|| name.strip_suffix(".yml"))
        .unwrap_or(name);
    let name: String = name
        .chars()
        .filter(|c| !c.is_control())
        .take(crate::language::NAME_MAX)
        .collect();
    if name.trim().is_empty() || name == "-" {
        "plan".to_owned()
    } else {
        name
    }
}
