//! The plan as it is carried out: the one place where load threads and setup meet the scenario runner.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use barrage_model::ids::{LoadId, ScenarioId, SegmentId};
use barrage_model::ledger::Open;
use barrage_model::plan::Plan;
use tokio_util::sync::CancellationToken;

use super::prepare::chain;
use super::threads::Layout;
use crate::aside::aside;
use crate::clock::{Clock, Stamp};
use crate::net::Resolver;
use crate::recorder::{Connected, Part, Recorder, Shape, TraceSink};
use crate::scenario::{
    Cancelled, CompiledPlan, Connections, Files, IterationEnded, IterationStart, Once, PrepareError, RunContext,
    ShardContext, User, run_iterations, run_once,
};
use crate::shard::machine::Choice;
use crate::shard::{Runner, ShardHandles};

/// Scenarios are chosen for at most so many iterations to find the first that has no row.
const CHOICES_MAX: usize = 1_000_000;

/// A compiled plan with what its connections need.
#[derive(Clone, Debug)]
pub(super) struct Program {
    plan: CompiledPlan,
    connections: Connections,
}

/// Where setup and teardown are counted.
#[derive(Debug)]
pub(super) struct OnceRecorder {
    pub(super) shape: Shape,
    /// Run time 0; before the start everything is counted at 0.
    pub(super) start: Option<Stamp>,
    pub(super) segment: SegmentId,
    pub(super) trace: Option<TraceSink>,
}

/// How setup or teardown ended.
#[derive(Debug)]
pub(super) struct OnceEnd {
    pub(super) teardown: bool,
    pub(super) result: Result<Vec<(String, String)>, String>,
    /// What it has counted.
    pub(super) parts: Vec<Part>,
}

impl Program {
    /// Compiles; reads secrets from this machine, and takes its time.
    pub(super) fn compile(
        plan: Arc<Plan>,
        files: &Files,
        context: &RunContext,
        clock: Clock,
    ) -> Result<Self, PrepareError> {
        let plan = CompiledPlan::new(plan, files, context)?;
        let connections = plan.connections(clock)?;
        Ok(Self { plan, connections })
    }

    /// For how many iterations of counted loads there are rows, of those loads whose data stops the run before their count.
    pub(super) fn rows(&self, layout: &Layout) -> BTreeMap<LoadId, u64> {
        let rows_of = |scenario: ScenarioId| self.plan.rows_of(scenario);
        let of_load = |(id, count): (LoadId, u64)| {
            let load = &layout.plan.loads[usize::from(id.0)];
            let fewest = load
                .scenarios
                .iter()
                .filter_map(|(scenario, _)| rows_of(*scenario))
                .min()?;
            let choice = Choice::new(id, load);
            let lacks = |index: &u64| rows_of(choice.of(layout.seed, *index)).is_some_and(|rows| rows <= *index);
            // Who is not found among so many finds out when it comes to it.
            let first = (fewest..count).take(CHOICES_MAX).find(lacks)?;
            Some((id, first))
        };
        layout.counted().into_iter().filter_map(of_load).collect()
    }

    /// What looks up the names of the targets.
    pub(super) fn resolver(&self) -> Arc<Resolver> {
        Arc::clone(&self.connections.resolver)
    }

    /// Waits until a data set is used up of which the plan says that this stops the run.
    pub(super) async fn until_rows_end(&self) {
        self.plan.until_rows_end().await;
    }

    /// Makes the runners of the load threads, with what setup extracted.
    pub(super) fn runner(
        &self,
        values: &[(String, String)],
    ) -> impl Fn(&ShardHandles) -> PlanRunner + Clone + Send + use<> {
        let plan = self.plan.with_setup_values(values);
        let connections = self.connections.clone();
        move |shard| {
            let context = ShardContext {
                send_by: Rc::clone(&shard.send_by),
                renewed: Rc::clone(&shard.renewed),
                awake: Rc::clone(&shard.awake),
                ..ShardContext::new(shard.clock, &connections, shard.reactor.clone())
            };
            PlanRunner {
                plan: plan.clone(),
                context,
            }
        }
    }

    /// Goes through setup or teardown on a thread of its own, for its engines belong to one thread.
    pub(super) fn once(
        &self,
        teardown: bool,
        values: &[(String, String)],
        to: OnceRecorder,
        clock: Clock,
        cancel: CancellationToken,
    ) -> impl Future<Output = OnceEnd> + Send + use<> {
        let plan = self.plan.with_setup_values(values);
        let connections = self.connections.clone();
        async move {
            let going = aside("once", move || {
                go_once(&plan, &connections, teardown, to, clock, &cancel)
            });
            let failed = |reason: &str| OnceEnd {
                teardown,
                result: Err(reason.to_owned()),
                parts: Vec::new(),
            };
            match going {
                Ok(going) => going.await.unwrap_or_else(|_| failed("its thread has died")),
                Err(_) => failed("could not start a thread"),
            }
        }
    }
}

fn go_once(
    plan: &CompiledPlan,
    connections: &Connections,
    teardown: bool,
    to: OnceRecorder,
    clock: Clock,
    cancel: &CancellationToken,
) -> OnceEnd {
    let recorder = RefCell::new(Recorder::new(to.shape, to.start.unwrap_or(Stamp::FAR), to.trace));
    let once = if teardown { Once::Teardown } else { Once::Setup };
    let result = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => tokio::task::LocalSet::new().block_on(&runtime, async {
            let context = ShardContext {
                send_by: Rc::new(Cell::new(None)),
                ..ShardContext::new(clock, connections, None)
            };
            let ended = run_once(plan, once, &context, to.segment, &recorder, cancel).await;
            ended.map_err(|error| chain(&error))
        }),
        Err(_) => Err("could not start a runtime".to_owned()),
    };
    let mut parts = recorder.into_inner().finish();
    // All of them go into one delta, at whose end nothing of them is open: what an earlier one left open has ended.
    for part in &mut parts {
        part.open = Open::default();
    }
    OnceEnd {
        teardown,
        result,
        parts,
    }
}

/// Goes through the plan's iterations on one load thread.
pub(super) struct PlanRunner {
    plan: CompiledPlan,
    context: ShardContext,
}

impl Runner for PlanRunner {
    type User = User;

    fn user(&self, _load: LoadId, number: u64) -> User {
        User::new(&self.plan, number, &self.context)
    }

    fn iterate(
        &self,
        user: &mut User,
        iteration: IterationStart,
        shard: &ShardHandles,
        cancel: &mut Cancelled,
        next: impl FnMut(IterationEnded) -> Option<IterationStart>,
    ) -> impl Future<Output = ()> {
        run_iterations(&self.plan, user, iteration, (&shard.recorder, cancel), next)
    }

    async fn warm(&self, scenario: ScenarioId, users: u32, until: Stamp) {
        if let Some(origin) = self.plan.first_origin(scenario) {
            self.context.engines.warm(origin, users as usize, until).await;
        }
    }

    fn connected(&self) -> Connected {
        Connected {
            open: u32::try_from(self.context.engines.open_connections()).unwrap_or(u32::MAX),
            ports: self.context.engines.ports_used(),
        }
    }
}
