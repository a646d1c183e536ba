//! The load threads of a run, as the control side holds them.

use std::collections::BTreeMap;
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
use crate::recorder::{Part, Recorder, Shape, TraceSink};
use crate::shard::machine::{Input, Machine, SetupError};
use crate::shard::{Blocks, Ceilings, Command, Event, Report, Runner, ShardHandles, ShardSetup, spawn};

use super::collect::Collect;

/// Commands that wait for a load thread. More than the renewals of a quarter of an hour: a thread that reads none for so
/// long is not alive.
const COMMANDS: usize = 1_024;
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

/// The load threads.
#[derive(Debug)]
pub(super) struct Threads {
    commands: Vec<mpsc::Sender<Command>>,
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
        blocks: &Arc<Blocks>,
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
            commands.push(command);
        }
        let collect = Collect::new(commands.len());
        Ok(Self {
            commands,
            events,
            handles,
            collect,
            health: HealthSampler::new(clock, plan),
            clock,
            start,
            begun: false,
            _stay: stay,
        })
    }

    /// Says the same to every thread.
    pub(super) fn tell(&self, input: &Input) {
        for command in &self.commands {
            if is_unheard(&command.try_send(Command::Input(input.clone()))) {
                tracing::warn!("a load thread does not listen");
            }
        }
    }

    /// Gives a thread's place in the run to nobody: it has died. Returns why, when one has.
    pub(super) fn bury(&mut self) -> Option<String> {
        let mut died = None;
        for (handle, command) in self.handles.iter_mut().zip(&self.commands) {
            // A thread that has been sealed has closed its commands too, but has said so before.
            if handle.as_ref().is_some_and(JoinHandle::is_finished) && command.is_closed() && self.events.is_empty() {
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
        if self.collect.take_all_finished() {
            for command in &self.commands {
                // A thread that is gone has nothing more to give.
                let _gone = command.try_send(Command::Seal);
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

    /// Adds what setup has counted to the next delta.
    pub(super) fn add(&mut self, parts: Vec<Part>) {
        self.collect.extra(parts);
    }
}

/// Whether a thread that goes on did not take what it was told. One that has ended, or is closing its connections, has no use
/// for it; one that has died is found by [`Threads::bury`].
fn is_unheard(told: &Result<(), TrySendError<Command>>) -> bool {
    matches!(told, Err(TrySendError::Full(_)))
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
        let (command, mut inbox) = mpsc::channel(1);
        assert!(!is_unheard(&command.try_send(Command::Seal)));
        assert!(is_unheard(&command.try_send(Command::Seal)), "its inbox is full");
        inbox.close();
        assert!(!is_unheard(&command.try_send(Command::Seal)));
    }
}
