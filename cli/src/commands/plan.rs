//! `barrage plan`.

use std::sync::Arc;

use barrage_coordinator::compile::{Compiled, Member, compile};
use barrage_model::ids::{RunId, WorkerId};
use barrage_model::outcome::IterationEnd;
use barrage_model::plan::{Action, Plan, Step, engine_of};
use barrage_model::units::Bytes;
use barrage_worker::clock::Clock;
use barrage_worker::scenario::{CompiledPlan, Files, RunContext, ShardContext, TryEvent, TrySink, try_plan};
use tokio_util::sync::CancellationToken;

use crate::args::{PlanArgs, PlanCommand};
use crate::commands::tried;
use crate::exit::{Failure, Outcome, chain};
use crate::plans::{self, Loaded};
use crate::progress::clean_lines;
use crate::signals::{Signals, exit_code};
use crate::stdout;

/// Seed of `plan show` and `plan try` for a plan without one.
const SEED: u64 = 1;

/// Checks, shows and tries plans.
pub(crate) async fn plan(command: &PlanCommand) -> Outcome {
    match command {
        PlanCommand::Check(args) => check(args),
        PlanCommand::Schema => {
            let schema = serde_json::to_string_pretty(&barrage_plan::schema())
                .map_err(|error| Failure::own("could not print the schema", &error))?;
            stdout::line(&schema).map(|()| 0)
        }
        PlanCommand::Reference => stdout::write(barrage_plan::reference().as_bytes()).map(|()| 0),
        PlanCommand::Show { plan, workers, shards } => show(plan, *workers, *shards),
        PlanCommand::Try { plan, scenario } => attempt(plan, scenario.as_deref()).await,
    }
}

fn check(args: &PlanArgs) -> Outcome {
    let loaded = plans::load(&args.plan, &args.fill)?;
    let plan = loaded.plan();
    let compiled = compiled(plan, plan.workers.min, 1)?;
    for warning in compiled.warnings.iter().chain(&barrage_plan::warnings(plan)) {
        crate::progress::warn(warning);
    }
    let requests = plan.named_steps().iter().filter(|step| !step.group).count();
    stdout::line(&format!(
        "{}: ok; scenarios: {}, requests: {requests}, SLAs: {}",
        args.plan,
        plan.scenarios.len(),
        plan.sla.len()
    ))?;
    Ok(0)
}

/// Compiles the plan for a fleet of equal workers.
fn compiled(plan: &Plan, workers: u32, shards: u32) -> Result<Compiled, Failure> {
    let members: Vec<Member> = (1..=workers.clamp(1, 4_096))
        .map(|n| Member {
            name: format!("worker-{n}"),
            shards: shards.max(1),
            max_rate: None,
        })
        .collect();
    compile(plan, &members, plan.seed.unwrap_or(SEED)).map_err(|error| Failure::BadPlan(chain(&error)))
}

fn show(args: &PlanArgs, workers: u32, shards: u32) -> Outcome {
    let loaded = plans::load(&args.plan, &args.fill)?;
    let plan = loaded.plan();
    let compiled = compiled(plan, workers, shards)?;
    let mut text = barrage_plan::show(plan);
    let mut line = |content: String| {
        text.push_str(if content.is_empty() { "#" } else { "# " });
        text.push_str(&content);
        text.push('\n');
    };
    line(String::new());
    line(format!("ends at {} at the latest", compiled.end));
    for load in &compiled.forecast {
        let all = load
            .arrivals
            .map_or_else(|| "as many as the target takes".to_owned(), |n| n.to_string());
        line(format!(
            "load {}: {all} iterations from {} to {}",
            load.name, load.from, load.to
        ));
        for stage in &load.stages {
            let arrivals = stage.arrivals.map_or_else(String::new, |n| format!(": {n} arrivals"));
            line(format!(
                "  {} from {} to {}{arrivals}",
                stage.name, stage.from, stage.to
            ));
        }
    }
    for share in &compiled.shares {
        let arrivals = share.arrivals.map_or_else(String::new, |n| format!(", {n} iterations"));
        line(format!(
            "share of {} in {}: {} of {} positions, {} slots{arrivals}",
            share.worker, share.load, share.positions, share.of, share.slots
        ));
    }
    for steps in plan.step_lists() {
        engines(plan, steps, &mut line);
    }
    line(format!(
        "estimated memory of each worker: {}",
        Bytes(compiled.memory_bytes)
    ));
    for warning in compiled.warnings.iter().chain(&barrage_plan::warnings(plan)) {
        line(format!("warning: {warning}"));
    }
    stdout::write(text.as_bytes())?;
    Ok(0)
}

fn engines(plan: &Plan, steps: &[Step], line: &mut impl FnMut(String)) {
    for step in steps {
        if let Action::Request(request) = &step.action {
            let (engine, why) = engine_of(plan, request);
            line(format!("engine of {}: {} ({why})", request.name, engine.word()));
        }
        for inner in step.action.inner() {
            engines(plan, inner, line);
        }
    }
}

/// Goes through the plan once. Exit 99 when a scenario did not complete.
async fn attempt(args: &PlanArgs, scenario: Option<&str>) -> Outcome {
    let loaded = plans::load(&args.plan, &args.fill)?;
    if let Some(name) = scenario
        && !loaded.plan().scenarios.iter().any(|scenario| scenario.name == name)
    {
        let names: Vec<&str> = loaded
            .plan()
            .scenarios
            .iter()
            .map(|scenario| scenario.name.as_str())
            .collect();
        return Err(Failure::Usage(format!(
            "the plan has no scenario {name:?}; it has {}",
            names.join(", ")
        )));
    }
    let scenario = scenario.map(str::to_owned);
    let cancel = CancellationToken::new();
    let own = cancel.clone();
    let trying = tokio::task::spawn_blocking(move || run_alone(&loaded, scenario.as_deref(), &own));
    let mut signals = Signals::new()?;
    tokio::pin!(trying);
    let ends = tokio::select! {
        ends = &mut trying => ends,
        number = signals.next() => {
            cancel.cancel();
            let _given_up = trying.await;
            return Ok(exit_code(number));
        }
    };
    let ends = ends.map_err(|error| Failure::own("the try failed", &error))??;
    let failed = ends.iter().any(|(_, end)| *end != IterationEnd::Completed);
    Ok(if failed {
        barrage_metrics::ExitCode::SlaFailed.number()
    } else {
        0
    })
}

/// The engines live on one thread, as in a worker.
fn run_alone(
    loaded: &Loaded,
    scenario: Option<&str>,
    cancel: &CancellationToken,
) -> Result<Vec<(String, IterationEnd)>, Failure> {
    let prepare = |error: &(dyn std::error::Error + 'static)| Failure::start("the plan could not be prepared", error);
    let mut files = Files::new();
    for content in loaded.files().values() {
        files.insert(content.clone());
    }
    let context = RunContext {
        run: RunId(0),
        run_name: loaded.plan().name.clone(),
        seed: loaded.plan().seed.unwrap_or(SEED),
        worker: WorkerId(0),
        secrets: Vec::new(),
        values: Vec::new(),
    };
    let plan = CompiledPlan::new(Arc::new(loaded.plan().clone()), &files, &context).map_err(|e| prepare(&e))?;
    let clock = Clock::boot();
    let connections = plan.connections(clock).map_err(|e| prepare(&e))?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::own("could not start the runtime", &error))?;
    let local = tokio::task::LocalSet::new();
    let ends = local.block_on(&runtime, async {
        let shard = ShardContext::new(clock, &connections, None);
        try_plan(&plan, scenario, &shard, cancel, &mut Printer).await
    });
    runtime.shutdown_background();
    Ok(ends)
}

/// Prints what happens as it happens.
struct Printer;

impl TrySink for Printer {
    fn event(&mut self, event: TryEvent) {
        let text = clean_lines(&tried::told(&event));
        // A reader that has gone away does not end the try.
        let _closed = stdout::write(text.as_bytes());
    }
}
