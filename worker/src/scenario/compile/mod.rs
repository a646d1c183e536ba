//! Compiles a plan for one worker: once per run, before the start.

mod body;
mod engine;
mod http2;
mod json;
mod link;
mod origins;
mod outside;
mod patterns;
mod request;
mod steps;
mod url;
mod variables;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use barrage_model::ids::{RunId, ScenarioId, StepId, WorkerId};
use barrage_model::plan::{Engine, OnEnd, Pick, Plan};
use tokio::sync::Notify;

use super::context::RunContext;
use super::data::{Table, read};
use super::error::PrepareError;
use super::files::Files;
use super::redact::Redactor;
use super::text::Text;
use crate::clock::Clock;
use crate::net::Origin;

pub(in crate::scenario) use body::Body;
pub(in crate::scenario) use http2::Head as Http2Head;
pub(in crate::scenario) use json::json as json_template;
pub(in crate::scenario) use link::Linker;
pub(in crate::scenario) use origins::Origins;
pub(in crate::scenario) use outside::{Host, ThisHost};
pub(in crate::scenario) use patterns::{Condition, json_path, regex};
pub(in crate::scenario) use request::{Request, Wire};
pub(in crate::scenario) use steps::{Op, Script};
pub(in crate::scenario) use url::{Destination, resolve};

use link::Known;
use outside::{AnyHost, Outside};
use steps::Assembler;

/// A plan that is ready to be gone through. Cheap to clone; all shards share one.
#[derive(Clone)]
pub struct CompiledPlan {
    pub(in crate::scenario) program: Arc<Program>,
    /// What the variables hold at the beginning of an iteration.
    pub(in crate::scenario) base: Arc<[Option<Arc<str>>]>,
}

/// What compiling has made of a plan.
pub(in crate::scenario) struct Program {
    pub(in crate::scenario) plan: Arc<Plan>,
    pub(in crate::scenario) run: u64,
    pub(in crate::scenario) seed: u64,
    pub(in crate::scenario) origins: Origins,
    pub(in crate::scenario) requests: Vec<Request>,
    pub(in crate::scenario) scenarios: Vec<Scenario>,
    pub(in crate::scenario) setup: Scenario,
    pub(in crate::scenario) teardown: Scenario,
    pub(in crate::scenario) tables: Vec<Table>,
    /// Variables that are made anew for each iteration, in order.
    pub(in crate::scenario) initials: Vec<(u32, Text)>,
    /// The place of every variable that has one.
    pub(in crate::scenario) slots: BTreeMap<String, u32>,
    /// Function calls in the plan.
    pub(in crate::scenario) calls: u32,
    pub(in crate::scenario) redactor: Redactor,
    /// What the engines need from the plan's files.
    pub(in crate::scenario) files: Files,
    rows_ended: AtomicBool,
    tell_rows_ended: Notify,
}

/// A scenario, or `setup` or `teardown`.
#[derive(Debug, Default)]
pub(in crate::scenario) struct Scenario {
    pub(in crate::scenario) name: String,
    pub(in crate::scenario) on_start: Script,
    pub(in crate::scenario) steps: Script,
    /// Data sets that it uses.
    pub(in crate::scenario) data: Vec<u16>,
    /// Whether a condition may ask for the last body, at any time.
    pub(in crate::scenario) asks_for_body: bool,
    /// Its only request, when an iteration is nothing but that: see [`Request::is_plain`].
    pub(in crate::scenario) plain: Option<u32>,
}

impl CompiledPlan {
    /// Compiles a plan. Reads secrets from this machine; sends nothing.
    ///
    /// # Errors
    /// The first thing that the worker lacks or that cannot be used; see [`PrepareError`].
    pub fn new(plan: Arc<Plan>, files: &Files, context: &RunContext) -> Result<Self, PrepareError> {
        Self::compile(plan, files, context, &ThisHost)
    }

    pub(in crate::scenario) fn compile(
        plan: Arc<Plan>,
        files: &Files,
        context: &RunContext,
        host: &dyn Host,
    ) -> Result<Self, PrepareError> {
        let mut linker = Linker {
            plan: &plan,
            files,
            context,
            outside: Outside::new(host),
            names: BTreeMap::new(),
            columns: vec![Vec::new(); plan.data.len()],
            calls: 0,
            scenario: String::new(),
            target: 0,
            data: BTreeSet::new(),
            uses_body: false,
        };
        let mut origins = Origins::new(&plan)?;
        let (base, initials) = variables::declare(&mut linker)?;
        let always = std::mem::take(&mut linker.data);
        let mut requests = Vec::new();
        let mut assembler = Assembler {
            linker: &mut linker,
            origins: &mut origins,
            requests: &mut requests,
        };
        let setup = scenario(&mut assembler, "setup", &always, [&[], &plan.setup])?;
        let scenarios = plan
            .scenarios
            .iter()
            .map(|one| scenario(&mut assembler, &one.name, &always, [&one.on_start, &one.steps]));
        let scenarios = scenarios.collect::<Result<_, _>>()?;
        let teardown = scenario(&mut assembler, "teardown", &always, [&[], &plan.teardown])?;
        let tables = tables(&linker)?;
        let slots = linker.names.iter().filter_map(|(name, known)| match known {
            Known::Slot(slot) => Some((name.clone(), *slot)),
            Known::Constant(_) => None,
        });
        let (slots, calls) = (slots.collect(), linker.calls);
        let redactor = Redactor::new(&linker.outside.secrets);
        let program = Program {
            run: context.run.0,
            seed: context.seed,
            origins,
            requests,
            scenarios,
            setup,
            teardown,
            tables,
            initials,
            slots,
            calls,
            redactor,
            files: files.clone(),
            rows_ended: AtomicBool::new(false),
            tell_rows_ended: Notify::new(),
            plan,
        };
        let compiled = Self {
            program: Arc::new(program),
            base: base.into(),
        };
        Ok(compiled.with_setup_values(&context.values))
    }

    /// Looks whether a plan's data and TLS files can be used, with nothing of the machine that will carry it out: what
    /// depends on that is left to [`CompiledPlan::new`].
    ///
    /// # Errors
    /// [`PrepareError::Data`] and [`PrepareError::Tls`].
    pub fn check_files(plan: Arc<Plan>, files: &Files) -> Result<(), PrepareError> {
        let context = RunContext {
            run: RunId(0),
            run_name: plan.name.clone(),
            seed: 0,
            worker: WorkerId(0),
            secrets: Vec::new(),
            values: Vec::new(),
        };
        let compiled = Self::compile(plan, files, &context, &AnyHost);
        let checked = compiled.and_then(|compiled| compiled.connections(Clock::boot()).map(drop));
        match checked {
            Err(error @ (PrepareError::Data { .. } | PrepareError::Tls(_))) => Err(error),
            _ => Ok(()),
        }
    }

    /// The same plan with what `setup` extracted; names that no step of the plan writes are left out.
    #[must_use]
    pub fn with_setup_values(&self, values: &[(String, String)]) -> Self {
        let mut base = self.base.to_vec();
        for (name, value) in values {
            if let Some(slot) = self.program.slots.get(name) {
                base[*slot as usize] = Some(value.as_str().into());
            }
        }
        Self {
            program: Arc::clone(&self.program),
            base: base.into(),
        }
    }

    /// The plan.
    pub fn plan(&self) -> &Arc<Plan> {
        &self.program.plan
    }

    /// The first request of a scenario's steps; dropped arrivals are its censored samples.
    pub fn first_step(&self, scenario: ScenarioId) -> Option<StepId> {
        let ops = &self.program.scenarios.get(usize::from(scenario.0))?.steps.ops;
        ops.iter().find_map(|op| match op {
            Op::Request(number) => Some(self.program.requests[*number as usize].id),
            _ => None,
        })
    }

    /// Where a user's first request in a scenario goes, if that is known before and the `http1` engine sends it.
    pub fn first_origin(&self, scenario: ScenarioId) -> Option<&Origin> {
        let scenario = self.program.scenarios.get(usize::from(scenario.0))?;
        let mut ops = scenario.on_start.ops.iter().chain(&scenario.steps.ops);
        let first = ops.find_map(|op| match op {
            Op::Request(number) => Some(&self.program.requests[*number as usize]),
            _ => None,
        })?;
        match first.destination {
            Destination::Fixed(origin) if first.engine == Engine::Http1 => Some(self.program.origins.get(origin)),
            _ => None,
        }
    }

    /// Every origin that requests go to, the plan's targets first.
    pub fn origins(&self) -> &[Origin] {
        self.program.origins.all()
    }

    /// How many iterations of a scenario find a row, by their numbers, where the first that finds none stops the run.
    pub fn rows_of(&self, scenario: ScenarioId) -> Option<u64> {
        let scenario = self.program.scenarios.get(usize::from(scenario.0))?;
        let places = scenario.data.iter().map(|number| usize::from(*number));
        let rows = places.filter_map(|place| {
            let source = &self.program.plan.data[place];
            let stops = (source.pick, source.on_end) == (Pick::Sequential, OnEnd::Stop);
            stops.then(|| u64::from(self.program.tables[place].rows()))
        });
        rows.min()
    }

    /// Whether an iteration found no row in a data set with `on_end: stop`: the run shall stop gracefully.
    pub fn rows_ended(&self) -> bool {
        self.program.rows_ended.load(Ordering::Relaxed)
    }

    /// Waits until [`CompiledPlan::rows_ended`]. For one who waits at a time.
    pub async fn until_rows_end(&self) {
        while !self.rows_ended() {
            self.program.tell_rows_ended.notified().await;
        }
    }

    /// The text without any secret that the plan uses.
    pub fn redacted(&self, text: &str) -> String {
        self.program.redactor.clean(text).into_owned()
    }
}

impl Program {
    pub(in crate::scenario) fn end_rows(&self) {
        if !self.rows_ended.swap(true, Ordering::Relaxed) {
            self.tell_rows_ended.notify_one();
        }
    }
}

impl fmt::Debug for CompiledPlan {
    /// Without values, which may be secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CompiledPlan")
            .field("name", &self.program.plan.name)
            .finish_non_exhaustive()
    }
}

fn scenario(
    assembler: &mut Assembler<'_, '_>,
    name: &str,
    always: &BTreeSet<u16>,
    [on_start, steps]: [&[barrage_model::plan::Step]; 2],
) -> Result<Scenario, PrepareError> {
    let first = assembler.requests.len();
    name.clone_into(&mut assembler.linker.scenario);
    assembler.linker.data.clone_from(always);
    assembler.linker.uses_body = false;
    let on_start = assembler.script(on_start)?;
    let steps = assembler.script(steps)?;
    if assembler.linker.uses_body {
        for request in &mut assembler.requests[first..] {
            request.wants.body = true;
        }
    }
    let data: Vec<u16> = assembler.linker.data.iter().copied().collect();
    let plain = match steps.ops.as_slice() {
        [Op::Request(number)] if on_start.ops.is_empty() && data.is_empty() => Some(*number),
        _ => None,
    };
    let plain = plain.filter(|number| assembler.requests[*number as usize].is_plain());
    Ok(Scenario {
        name: name.to_owned(),
        on_start,
        steps,
        data,
        asks_for_body: assembler.linker.uses_body,
        plain,
    })
}

/// Reads the data files that are used, and only the columns that are.
fn tables(linker: &Linker<'_>) -> Result<Vec<Table>, PrepareError> {
    let sources = linker.plan.data.iter().zip(&linker.columns);
    let tables = sources.map(|(source, columns)| {
        if columns.is_empty() {
            return Ok(Table::default());
        }
        let path = &source.file.path;
        let content = linker
            .files
            .get(&source.file)
            .ok_or_else(|| PrepareError::NoFile(path.clone()))?;
        read(source.format, content, columns).map_err(|problem| PrepareError::Data {
            name: source.name.clone(),
            path: path.clone(),
            problem,
        })
    });
    tables.collect()
}
