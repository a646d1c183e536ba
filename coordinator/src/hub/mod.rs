//! The one loop of this process: takes what comes from sockets, the store and the clock, drives the machines, and carries
//! out what they want. Only the loop awaits; the machines decide.

mod assign;
mod event;
mod finish;
mod perform;
mod submission;
mod view;
mod wire;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use barrage_metrics::{StopCause, Summary};
use barrage_model::ids::{RunId, WorkerId};
use barrage_model::time::Moment;
use barrage_proto::v1;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::clock;
use crate::compile::{CompileError, Compiled};
use crate::judge::Judge;
use crate::machine::fleet::{ConnectionId, Fleet};
use crate::machine::queue::Queue;
use crate::machine::run::{How, Input, Run};
use crate::store::{Op, StoreError, Writer};

pub(crate) use event::{Event, Events, Handle, Said, StopOrder, Stopping, channel};
pub(crate) use submission::{Submission, chain};
use view::Seen;
pub(crate) use view::{Live, reasons};

/// Events of either kind that wait for the loop; a sender waits when there are more.
pub(crate) const EVENTS: usize = 1_024;
/// Events after which the loop looks at the time again.
const AT_ONCE: usize = 64;
/// Frames that wait to be written on one stream; when there are more its connection counts as broken.
pub(crate) const FRAMES: usize = 256;
/// Between two looks at what followers should see.
const VIEW: Duration = Duration::from_millis(250);
/// Ended runs whose last snapshot and summary stay in memory.
const ENDED_KEPT: usize = 16;
/// Runs that are accepted at once; more are refused.
pub(crate) const RUNS_MAX: usize = 1_000;
/// Followers of a run that ended with the coordinator have this long to ask for its report, and for the next format of it.
const LINGER: Duration = Duration::from_millis(200);
/// All of them together.
const LINGER_MAX: Duration = Duration::from_secs(3);
/// Beyond the plan's graceful stop, runs have this long when the coordinator is told to stop.
const LEAVE_SLACK: Duration = Duration::from_secs(20);

/// Where a run stands.
enum Stage {
    /// It has no workers: the queue knows more.
    Waiting,
    /// It has workers; its schedule is being computed.
    Compiling,
    /// Its machine runs.
    Going(Box<Run<Judge>>),
    /// It is over; its summary is being drawn.
    Summing,
}

/// A run that has not ended.
struct Active {
    submission: Arc<Submission>,
    stage: Stage,
    started_at: String,
    seen: Seen,
    snapshots: watch::Sender<v1::Snapshot>,
    /// Whether the store has not taken something of it.
    has_hole: bool,
}

/// A run that has ended while this process lived.
struct EndedRun {
    run: RunId,
    last: v1::Snapshot,
    summary: Option<Arc<Summary>>,
}

/// What has been computed beside the loop.
enum Computed {
    Compiled(
        RunId,
        Vec<barrage_model::ids::Incarnation>,
        Result<Box<Compiled>, CompileError>,
    ),
    Summed(RunId, Box<finish::Summed>),
}

/// See the module's words.
pub(crate) struct Hub {
    fleet: Fleet,
    runs: BTreeMap<RunId, Active>,
    queue: Queue,
    ended: VecDeque<EndedRun>,
    connections: BTreeMap<ConnectionId, mpsc::Sender<v1::ToWorker>>,
    uploads: BTreeMap<(RunId, WorkerId), mpsc::Sender<v1::UploadReply>>,
    store: Writer,
    computing: JoinSet<Computed>,
    leaving: Option<Moment>,
}

impl Hub {
    pub(crate) fn new(store: Writer) -> Self {
        Self {
            fleet: Fleet::new(barrage_proto::PROTOCOL),
            runs: BTreeMap::new(),
            queue: Queue::default(),
            ended: VecDeque::new(),
            connections: BTreeMap::new(),
            uploads: BTreeMap::new(),
            store,
            computing: JoinSet::new(),
            leaving: None,
        }
    }

    /// Runs until `stop`, and then until every run has ended, within a limit. Followers of runs that ended by it have their
    /// questions answered for as long as they come, within another.
    pub(crate) async fn run(mut self, mut events: Events, stop: CancellationToken) {
        let mut lingering: Option<(Moment, Moment)> = None;
        let mut view = tokio::time::interval(VIEW);
        view.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let pause = self.pause();
            tokio::select! {
                event = events.next() => match event {
                    Some(event) => {
                        if let Some((until, _)) = &mut lingering {
                            *until = clock::now() + LINGER;
                        }
                        self.handle(event);
                        // Those that wait as well: what follows is done once for all of them.
                        let waiting = std::iter::from_fn(|| events.waiting());
                        waiting.take(AT_ONCE).for_each(|event| self.handle(event));
                    }
                    None => break,
                },
                Some(done) = self.computing.join_next(), if !self.computing.is_empty() => match done {
                    Ok(computed) => self.computed(computed),
                    Err(error) => tracing::error!(%error, "a computation has failed"),
                },
                () = stop.cancelled(), if self.leaving.is_none() => self.leave(),
                _ = view.tick() => self.show(),
                () = tokio::time::sleep(pause.min(LINGER)), if lingering.is_some() => {}
                () = tokio::time::sleep(pause), if lingering.is_none() => {}
            }
            self.tick();
            let now = clock::now();
            match (self.leaving, lingering) {
                (_, Some((until, end))) if until.min(end) <= now => break,
                (Some(deadline), None) if self.runs.is_empty() || deadline <= now => {
                    if self.ended.is_empty() {
                        break;
                    }
                    self.show();
                    lingering = Some((now + LINGER, now + LINGER_MAX));
                }
                _ => {}
            }
        }
    }

    /// Time until a machine wants to be asked again.
    fn pause(&self) -> Duration {
        let now = clock::now();
        let runs = self.runs.values().filter_map(|active| match &active.stage {
            Stage::Going(run) => run.deadline(),
            Stage::Waiting | Stage::Compiling | Stage::Summing => None,
        });
        let next = runs.chain(self.fleet.deadline()).chain(self.queue.deadline()).min();
        // A deadline that has just passed is asked for again after a moment, not at once.
        next.map_or(Duration::from_secs(1), |next| {
            next.since(now).max(Duration::from_millis(1))
        })
    }

    fn tick(&mut self) {
        let now = clock::now();
        self.fleet.handle(now, crate::machine::fleet::Input::Tick);
        self.perform_fleet();
        let due: Vec<RunId> = self.runs.keys().copied().collect();
        for run in due {
            if let Some(Stage::Going(machine)) = self.runs.get(&run).map(|active| &active.stage)
                && machine.deadline().is_some_and(|deadline| deadline <= now)
            {
                self.tell(run, Input::Tick);
            }
        }
        self.assign();
    }

    /// No run goes on without this process.
    fn leave(&mut self) {
        let now = clock::now();
        let runs: Vec<RunId> = self.runs.keys().copied().collect();
        let longest = self
            .runs
            .values()
            .map(|active| active.submission.plan.graceful_stop)
            .max();
        self.leaving = Some(now + longest.unwrap_or_default().saturating_add(LEAVE_SLACK));
        for run in runs {
            self.stop_run(
                run,
                How::Graceful,
                StopCause::Terminated,
                "the coordinator was told to stop",
            );
        }
    }

    fn stop_run(&mut self, run: RunId, how: How, cause: StopCause, reason: &str) {
        match self.runs.get(&run).map(|active| &active.stage) {
            Some(Stage::Going(_)) => self.tell(run, Input::Stop(how, cause, reason.to_owned())),
            Some(Stage::Waiting | Stage::Compiling) => self.stopped_before_start(run, cause, reason),
            Some(Stage::Summing) | None => {}
        }
    }

    /// Gives a run's machine an input, and does what it wants.
    fn tell(&mut self, run: RunId, input: Input) {
        let now = clock::now();
        if let Some(Stage::Going(machine)) = self.runs.get_mut(&run).map(|active| &mut active.stage) {
            machine.handle(now, input);
        }
        self.perform_run(run);
    }

    fn keep(&self, op: Op) -> Result<(), StoreError> {
        let taken = self.store.write(op);
        if let Err(error) = &taken {
            tracing::error!(%error, "a record could not be handed to the store");
        }
        taken
    }

    /// Keeps something of a run that goes on, unless something before it is missing: then nothing more of the run is
    /// stored or called stored.
    fn keep_of(&mut self, run: RunId, op: Op) {
        if self.runs.get(&run).is_some_and(|active| !active.has_hole)
            && self.keep(op).is_err()
            && let Some(active) = self.runs.get_mut(&run)
        {
            active.has_hole = true;
        }
    }

    fn computed(&mut self, computed: Computed) {
        match computed {
            Computed::Compiled(run, members, result) => self.compiled(run, &members, result),
            Computed::Summed(run, summed) => self.summed(run, *summed),
        }
    }
}
