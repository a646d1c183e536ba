//! Helpers of the tests: plans, users without a network, and a server that says what it is told.

mod answers;
mod once;
mod plain;
mod rendering;
mod resting;
mod server;
mod walking;

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use barrage_model::ids::{LoadId, RunId, ScenarioId, StepId, WorkerId};
use barrage_model::plan::{
    Action, Body, Ceilings, DataFormat, DataSource, DnsPolicy, EngineChoice, Extract, ExtractFrom, FileRef,
    IterationsLoad, Load, LoadModel, Method, Network, OnEnd, OnFailure, OnLoss, Pacing, Pick, Plan, Request, Reuse,
    Scenario, Step, Target, Tls, Variable, WorkerPolicy,
};
use barrage_model::template::Template;
use barrage_model::units::Ratio;

use super::compile::Host;
use super::exchange::Form;
use super::*;
use crate::clock::Clock;

/// A machine with given secrets.
#[derive(Default)]
struct FakeHost {
    env: BTreeMap<&'static str, &'static str>,
    files: BTreeMap<&'static str, &'static [u8]>,
}

impl Host for FakeHost {
    fn env(&self, name: &str) -> Option<String> {
        self.env.get(name).map(|&value| value.to_owned())
    }

    fn file(&self, path: &str, max: u64) -> io::Result<Option<Vec<u8>>> {
        match self.files.get(path) {
            Some(&content) => Ok(Some(content[..content.len().min(max as usize)].to_vec())),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }
}

fn host() -> FakeHost {
    FakeHost {
        env: BTreeMap::from([("TOKEN", "s3cret token"), ("BREAK", "a\r\nb: c")]),
        files: BTreeMap::from([("/key", &b"k3y-of-file\r\n\n"[..]), ("/binary", &b"\xff"[..])]),
    }
}

fn text(template: &str) -> Template {
    Template::parse(template).expect(template)
}

fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, Template)> {
    pairs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), text(value)))
        .collect()
}

fn get(url: &str) -> Request {
    request(Method::Get, url, Body::Empty)
}

fn request(method: Method, url: &str, body: Body) -> Request {
    Request {
        name: format!("{} {url}", method.word()),
        method,
        target: 0,
        url: text(url),
        query: Vec::new(),
        headers: Vec::new(),
        body,
        auth: None,
        timeout: Duration::from_secs(5),
        expect: Vec::new(),
        extract: Vec::new(),
        on_failure: OnFailure::End,
        redirects: 0,
        decompress: false,
        engine: EngineChoice::Auto,
    }
}

fn extract(name: &str, from: ExtractFrom) -> Extract {
    Extract {
        name: name.to_owned(),
        from,
        default: None,
    }
}

/// A step; numbers are given by [`plan`].
fn step(action: Action) -> Step {
    Step { id: None, action }
}

fn ask(request: Request) -> Step {
    step(Action::Request(Box::new(request)))
}

fn number(steps: &mut [Step], next: &mut u32) {
    for step in steps {
        if matches!(step.action, Action::Request(_) | Action::Group { .. }) {
            step.id = Some(StepId(*next));
            *next += 1;
        }
        match &mut step.action {
            Action::Repeat { steps, .. } | Action::Until { steps, .. } | Action::Group { steps, .. } => {
                number(steps, next);
            }
            Action::If { then, otherwise, .. } => {
                number(then, next);
                number(otherwise, next);
            }
            _ => {}
        }
    }
}

fn target(port: u16) -> Target {
    Target {
        name: "default".to_owned(),
        https: false,
        host: "127.0.0.1".to_owned(),
        port,
        base_path: String::new(),
        host_override: None,
    }
}

/// A plan of one scenario, `main`, sent to a port of this machine.
fn plan(port: u16, steps: Vec<Step>) -> Plan {
    let scenario = Scenario {
        name: "main".to_owned(),
        on_start: Vec::new(),
        steps,
    };
    let counted = IterationsLoad {
        count: 1,
        users: 1,
        at_most: Duration::from_mins(1),
    };
    Plan {
        name: "test".to_owned(),
        seed: Some(1),
        targets: vec![target(port)],
        variables: Vec::new(),
        data: Vec::new(),
        warm_up: Duration::ZERO,
        loads: vec![Load {
            name: "load".to_owned(),
            start_at: Duration::ZERO,
            scenarios: vec![(ScenarioId(0), 1)],
            model: LoadModel::Iterations(counted),
        }],
        scenarios: vec![scenario],
        setup: Vec::new(),
        teardown: Vec::new(),
        sla: Vec::new(),
        tags: Vec::new(),
        network: Network {
            resolve: Vec::new(),
            source_addresses: Vec::new(),
            dns: DnsPolicy::Once,
            reuse: Reuse::Always,
            streams_per_connection: 1,
            tls: Tls::default(),
            proxy: None,
            cookies: false,
            body_limit_bytes: 1024 * 1024,
        },
        workers: WorkerPolicy {
            min: 1,
            max: None,
            labels: Vec::new(),
            wait: Duration::ZERO,
            on_loss: OnLoss::Continue,
            loss_tolerance: Ratio::default(),
        },
        ceilings: Ceilings::default(),
        min_started: Ratio::default(),
        graceful_stop: Duration::ZERO,
        pacing: Pacing::Timer,
    }
}

/// Numbers the steps in reading order, as the plan language does.
fn numbered(mut plan: Plan) -> Plan {
    let mut next = 0;
    number(&mut plan.setup, &mut next);
    for scenario in &mut plan.scenarios {
        number(&mut scenario.on_start, &mut next);
        number(&mut scenario.steps, &mut next);
    }
    number(&mut plan.teardown, &mut next);
    plan
}

fn variable(name: &str, value: &str) -> Variable {
    Variable {
        name: name.to_owned(),
        value: text(value),
        secret: false,
    }
}

/// A data set `rows` from a CSV file.
fn rows(content: &str, pick: Pick, on_end: OnEnd, files: &mut Files) -> DataSource {
    let sha256 = Some(files.insert(content.as_bytes()));
    let file = FileRef {
        path: "rows.csv".to_owned(),
        sha256,
    };
    DataSource {
        name: "rows".to_owned(),
        format: DataFormat::Csv,
        file,
        pick,
        on_end,
    }
}

fn context() -> RunContext {
    RunContext {
        run: RunId(0xab),
        run_name: "test".to_owned(),
        seed: 42,
        worker: WorkerId(3),
        secrets: vec![("password".to_owned(), "hunter2!".to_owned())],
        values: Vec::new(),
    }
}

fn compile(plan: Plan) -> Result<CompiledPlan, PrepareError> {
    compile_with(plan, &Files::new())
}

fn compile_with(plan: Plan, files: &Files) -> Result<CompiledPlan, PrepareError> {
    CompiledPlan::compile(Arc::new(numbered(plan)), files, &context(), &host())
}

/// The error with its sources on one line.
fn said(error: &PrepareError) -> String {
    let mut text = error.to_string();
    let mut next = std::error::Error::source(error);
    while let Some(error) = next {
        text = format!("{text}: {error}");
        next = error.source();
    }
    text
}

fn shard(plan: &CompiledPlan) -> ShardContext {
    let clock = Clock::boot();
    ShardContext::new(clock, &plan.connections(clock).expect("the plan's connections"), None)
}

/// What request `number` of the plan looks like in an iteration of scenario 0: all bytes, or the reason against them.
fn bytes_of(plan: &CompiledPlan, user: &mut User, number: usize, index: u64) -> Result<String, String> {
    let scenario = &plan.program.scenarios[0];
    let begun = user.begin(plan, scenario, (LoadId(0), index, false));
    begun.map_err(|no_row| format!("{no_row:?}"))?;
    let request = &plan.program.requests[number];
    let User { buffers, values, .. } = user;
    let rendered = buffers.render(&plan.program, request, &values.scope(&plan.program, None));
    let rendered = rendered.map_err(|error| error.to_string())?;
    let head = match rendered.form {
        Form::Http1 { head } => String::from_utf8_lossy(head).into_owned(),
        Form::Http2 { head, .. } => format!("{head:?}"),
        Form::Full { url, fields } => {
            let fields = fields
                .iter()
                .map(|(name, value)| format!("{name}: {}\n", value.to_str().unwrap()));
            format!("{url}\n{}", fields.collect::<String>())
        }
    };
    Ok(format!("{head}{}", String::from_utf8_lossy(rendered.body)))
}
