//! The load threads of a run, as the control side holds them.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::thread::JoinHandle;

use barrage_model::delta::{Delta, INTERVAL};
use barrage_model::ids::{LoadId, ShardId};
use barrage_model::phase::Marks;
use barrage_model::plan::{Action, LoadModel, Plan, Step};
use barrage_model::schedule::Epoch;
use barrage_model::time::whole_micros;
use barrage_model::units::Rate;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, watch};

use crate::clock::{Clock, Stamp};
use crate::health::HealthSampler;
use crate::net::Resolver;
use crate::recorder::{Part, Recorder, Shape, TraceSink};
use crate::shard::machine::{Input, Machine, SetupError};
use crate::shard::{Blocks, Ceilings, Command, Event, Report, Runner, ShardHandles, ShardSetup, spawn};

use super::collect::Collect;

/// Commands that wait for a load thread. More than the renewals of a quarter of an hour: a thread that reads none for so
/// long is not alive.
const COMMANDS: usize = 1_024;
/// Most of what ends a load that is kept for a thread whose queue is full. A run ends in fewer steps; further ones are left out.
const LAST_WORDS: usize = 64;
/// Reports that wait for the control side; a thread keeps further ones itself.
const EVENTS: usize = 256;

/// What the load threads are made from.
#[derive(Debug)]
pub(super) struct Layout {
    pub(super) plan: Arc<Plan>,
    pub(super) seed: u64,
    pub(super) first_shard: u32,
    pub(super) shards: u32,
    pub(super) epochs: Vec<(LoadId, Arc<Epoch>)>,
    pub(super) marks: Marks,
    pub(super) max_rate: Option<Rate>,
    pub(super) trace: Option<TraceSink>,
}

/// Why there are no load threads.
#[derive(Debug, thiserror::Error)]
pub(super) enum ThreadsError {
    /// The plan cannot be carried out.
    #[error("the plan cannot be carried out")]
    Setup(#[from] SetupError),
    /// The system gives no thread.
    #[error("could not start a load thread")]
    Spawn(#[source] std::io::Error),
}

impl Layout {
    fn ids(&self) -> Vec<ShardId> {
        (self.first_shard..self.first_shard.saturating_add(self.shards))
            .map(ShardId)
            .collect()
    }

    /// The decisions of every shard; an error here is one before the start.
    pub(super) fn machines(&self) -> Result<Vec<Machine>, SetupError> {
        let machine = |shard| Machine::new(&self.plan, shard, self.seed, &self.epochs, self.marks.clone());
        self.ids().into_iter().map(machine).collect()
    }

    /// Iterations of each `iterations` load, whole fleet.
    pub(super) fn counted(&self) -> BTreeMap<LoadId, u64> {
        let loads = self.plan.loads.iter().enumerate();
        let counted = loads.filter_map(|(at, load)| match &load.model {
            LoadModel::Iterations(model) => Some((LoadId(at as u16), model.count)),
            _ => None,
        });
        counted.collect()
    }
}

/// What one thread is told.
#[derive(Debug)]
struct Line {
    commands: mpsc::Sender<Command>,
    /// What ends its load and found its queue full: nobody says it again, so it is offered until it is taken.
    unsent: VecDeque<Command>,
}

impl Line {
    fn new(commands: mpsc::Sender<Command>) -> Self {
        Self {
            commands,
            unsent: VecDeque::new(),
        }
    }

    /// Says something, after what is kept. `false` when a thread that goes on does not take it; one that has ended, or is
    /// closing its connections, has no use for it, and one that has died is found by [`Threads::bury`].
    fn say(&mut self, command: Command) -> bool {
        let said = if self.offer() {
            self.commands.try_send(command)
        } else {
            Err(TrySendError::Full(command))
        };
        let Err(TrySendError::Full(command)) = said else {
            return true;
        };
        if is_last_word(&command) && self.unsent.len() < LAST_WORDS {
            self.unsent.push_back(command);
        }
        false
    }

    /// Offers what is kept. Whether nothing is any more.
    fn offer(&mut self) -> bool {
        while let Some(command) = self.unsent.pop_front() {
            if let Err(TrySendError::Full(command)) = self.commands.try_send(command) {
                self.unsent.push_front(command);
                return false;
            }
        }
        true
    }
}

/// Whether a load may not end, or not in time, if this is not heard.
fn is_last_word(command: &Command) -> bool {
    match command {
        Command::Seal => true,
        Command::Input(input) => matches!(
            input,
            Input::Stop(_) | Input::StopNow(_) | Input::StandDown | Input::Exhausted(_)
        ),
    }
}

/// The load threads.
#[derive(Debug)]
pub(super) struct Threads {
    commands: Vec<Line>,
    events: mpsc::Receiver<Event>,
    handles: Vec<Option<JoinHandle<std::io::Result<()>>>>,
    collect: Collect,
    health: HealthSampler,
    clock: Clock,
    start: Stamp,
    begun: bool,
    /// Threads that have been sealed stay until it is dropped: the last reading is about them as well.
    _stay: watch::Sender<()>,
}

impl Threads {
    /// Starts them all; run time 0 is at `start`. `make` is called on each thread.
    pub(super) fn start<R: Runner>(
        layout: &Layout,
        start: Stamp,
        clock: Clock,
        (blocks, lookups): (&Arc<Blocks>, Arc<Resolver>),
        make: impl Fn(&ShardHandles) -> R + Clone + Send + 'static,
    ) -> Result<Self, ThreadsError> {
        let plan = &layout.plan;
        let wheel = layout.epochs.first().map(|(_, epoch)| &epoch.wheel);
        let ceilings = Ceilings::new(plan, layout.max_rate, &layout.ids(), wheel, clock);
        let (outbox, events) = mpsc::channel(EVENTS);
        let (stay, released) = watch::channel(());
        let (mut commands, mut handles) = (Vec::new(), Vec::new());
        let counted = layout.counted();
        let indices = |load| counted.get(&load).map_or(0, |all| all.div_ceil(layout.shards.into()));
        let openings = layout.machines()?.into_iter().map(|machine| machine.opening(indices));
        for (place, (machine, opening)) in layout.machines()?.into_iter().zip(openings).enumerate() {
            let (command, inbox) = mpsc::channel(COMMANDS);
            let setup = ShardSetup {
                place,
                machine,
                opening,
                recorder: Recorder::new(Shape::of(plan), start, layout.trace.clone()),
                ceilings: ceilings.clone(),
                pacing: plan.pacing,
                clock,
                start,
                closed: plan
                    .loads
                    .iter()
                    .map(|load| matches!(load.model, LoadModel::Users(_)))
                    .collect(),
                first_steps: plan
                    .scenarios
                    .iter()
                    .map(|scenario| first_request(&scenario.steps))
                    .collect(),
                blocks: Arc::clone(blocks),
                shards: layout.shards as usize,
                commands: inbox,
                events: outbox.clone(),
                released: released.clone(),
            };
            let make = make.clone();
            handles.push(Some(
                spawn(setup, move |context| make(context)).map_err(ThreadsError::Spawn)?,
            ));
            commands.push(Line::new(command));
        }
        let collect = Collect::new(commands.len());
        Ok(Self {
            commands,
            events,
            handles,
            collect,
            health: HealthSampler::new(clock, plan, lookups),
            clock,
            start,
            begun: false,
            _stay: stay,
        })
    }

    /// Says the same to every thread.
    pub(super) fn tell(&mut self, input: &Input) {
        for line in &mut self.commands {
            if !line.say(Command::Input(input.clone())) {
                tracing::warn!("a load thread does not listen");
            }
        }
    }

    /// Gives a thread's place in the run to nobody: it has died. Returns why, when one has.
    /// What the others have not taken yet is offered to them again.
    pub(super) fn bury(&mut self) -> Option<String> {
        let mut died = None;
        self.offer();
        for (handle, line) in self.handles.iter_mut().zip(&self.commands) {
            // A thread that has been sealed has closed its commands too, but has said so before.
            if handle.as_ref().is_some_and(JoinHandle::is_finished)
                && line.commands.is_closed()
                && self.events.is_empty()
            {
                let why = match handle.take().map(JoinHandle::join) {
                    Some(Ok(Ok(()))) => continue,
                    Some(Ok(Err(error))) => error.to_string(),
                    Some(Err(_)) | None => "it has panicked".to_owned(),
                };
                self.collect.lose();
                died = Some(why);
            }
        }
        died
    }

    /// Waits for the next report. `None` when every thread has ended.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub(super) async fn next(&mut self) -> Option<Event> {
        self.events.recv().await
    }

    /// Takes a report; gives the deltas that have become complete.
    pub(super) fn report(&mut self, report: Report) -> Vec<Delta> {
        match report {
            // What was before run time 0 belongs to no interval. The first shard says when that is; one that comes late
            // was already wanted.
            Report::Begun => {
                if !std::mem::replace(&mut self.begun, true) {
                    self.health.sample();
                }
            }
            Report::Part(part) => self.collect.part(*part),
            Report::Sealed(part) => self.collect.sealed(*part),
            Report::Finished => self.collect.finished(),
        }
        self.complete()
    }

    /// The deltas that have become complete. Has the threads hand over the rest once all have finished.
    pub(super) fn complete(&mut self) -> Vec<Delta> {
        self.offer();
        if self.collect.take_all_finished() {
            for line in &mut self.commands {
                // Kept if it is not taken now; and a thread that is gone has nothing more to give.
                let _taken = line.say(Command::Seal);
            }
        }
        let mut deltas = Vec::new();
        let run_us = self.clock.now().us_since(self.start);
        let past = run_us / whole_micros(INTERVAL);
        while let Some(delta) = self.collect.next(|interval| {
            // A shard that was held back closes several intervals at once: what was read meanwhile belongs to all of them.
            self.health.part(past.saturating_sub(interval.into()).max(1))
        }) {
            deltas.push(delta);
        }
        deltas
    }

    fn offer(&mut self) {
        for line in &mut self.commands {
            line.offer();
        }
    }

    /// Adds what setup has counted to the next delta.
    pub(super) fn add(&mut self, parts: Vec<Part>) {
        self.collect.extra(parts);
    }
}

/// The first request in reading order: what a dropped arrival would have sent.
fn first_request(steps: &[Step]) -> Option<barrage_model::ids::StepId> {
    steps.iter().find_map(|step| match &step.action {
        Action::Request(_) => step.id,
        action => action.inner().find_map(first_request),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_has_ended_is_not_told_as_deaf() {
        let (commands, mut inbox) = mpsc::channel(1);
        let mut line = Line::new(commands);
        assert!(line.say(Command::Seal));
        assert!(!line.say(Command::Seal), "its inbox is full");
        inbox.close();
        assert!(line.say(Command::Seal));
    }

    #[test]
    fn a_stop_and_the_end_are_said_until_they_are_taken() {
        use barrage_model::time::Moment;

        let (commands, mut inbox) = mpsc::channel(2);
        let mut line = Line::new(commands);
        let grant = || Command::Input(Input::Grant(Moment::ZERO));
        assert!(line.say(grant()) && line.say(grant()));
        assert!(!line.say(Command::Input(Input::Stop(Moment::MAX))) && !line.say(Command::Seal));
        assert!(!line.say(grant()), "the next one says the same");
        let mut heard = Vec::new();
        while let Ok(command) = inbox.try_recv() {
            heard.push(format!("{command:?}"));
            line.offer();
        }
        let want = ["Input(Grant", "Input(Grant", "Input(Stop", "Seal"];
        assert_eq!(heard.len(), want.len(), "{heard:?}");
        assert!(
            heard.iter().zip(want).all(|(heard, want)| heard.starts_with(want)),
            "{heard:?}"
        );
    }
}
