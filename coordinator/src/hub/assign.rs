//! From the queue to workers and a schedule.

use std::sync::Arc;

use barrage_metrics::{ClockOffset, LedgerConfig, StopCause, WorkerInfo};
use barrage_model::ids::{Incarnation, LoadId, RunId, ShardId, WorkerId};
use tokio::sync::{oneshot, watch};

use super::submission::chain;
use super::{Active, Computed, Hub, RUNS_MAX, Seen, Stage, Submission, view};
use crate::clock;
use crate::compile::{CompileError, Compiled, Member, compile};
use crate::judge::Judge;
use crate::machine::offset::Offset;
use crate::machine::queue;
use crate::machine::run::{Input, Run, Spec};
use crate::store::{Assigned, Op, QUEUE_MAX, StoredWorker};

/// A worker's clock in the words of reports: its own − the coordinator's.
pub(super) fn report_offset(offset: Offset) -> ClockOffset {
    ClockOffset {
        offset_us: offset.offset_us.saturating_neg(),
        uncertainty_us: offset.uncertainty_us,
    }
}

impl Hub {
    /// Takes a run in, unless it will not wait and would have to.
    pub(super) fn submit(&mut self, submission: Arc<Submission>, answer: oneshot::Sender<Result<(), String>>) {
        let refusal = self.refusal(&submission);
        let accepted = refusal.is_none();
        // Whoever asked may have gone; the run is wanted all the same.
        drop(answer.send(refusal.map_or(Ok(()), Err)));
        if !accepted {
            return;
        }
        let run = submission.id;
        let has_hole = self.keep(Op::New(Box::new(submission.new_run()))).is_err();
        let (snapshots, _) = watch::channel(view::blank(&submission));
        let demand = submission.demand();
        let wait = submission.plan.workers.wait;
        let active = Active {
            submission,
            stage: Stage::Waiting,
            started_at: String::new(),
            seen: Seen::default(),
            snapshots,
            has_hole,
        };
        self.runs.insert(run, active);
        self.queue.push(clock::now(), run, demand, wait);
        tracing::info!(%run, "run submitted");
        self.assign();
    }

    fn refusal(&mut self, submission: &Submission) -> Option<String> {
        if self.leaving.is_some() {
            return Some("the coordinator is stopping".to_owned());
        }
        if self.store.waiting() >= QUEUE_MAX / 2 {
            return Some("the store is too far behind".to_owned());
        }
        if self.runs.len() >= RUNS_MAX {
            return Some(format!("there are {RUNS_MAX} runs already"));
        }
        if !submission.no_wait {
            return None;
        }
        self.queue
            .would_wait(&mut self.fleet, submission.id, &submission.demand())
    }

    /// Gives workers to the runs that wait.
    pub(super) fn assign(&mut self) {
        for output in self.queue.assign(clock::now(), &mut self.fleet) {
            match output {
                queue::Output::GaveUp(run, reason) => self.could_not_start(run, reason),
                queue::Output::Assigned(run, members) => {
                    if let Some(active) = self.runs.get_mut(&run) {
                        active.stage = Stage::Compiling;
                    }
                    self.compile(run, members);
                }
            }
        }
    }

    fn compile(&mut self, run: RunId, members: Vec<Incarnation>) {
        let Some(active) = self.runs.get(&run) else { return };
        let submission = Arc::clone(&active.submission);
        let found = members.iter().filter_map(|incarnation| self.fleet.worker(*incarnation));
        let shares: Vec<Member> = found
            .map(|worker| Member {
                name: worker.name.clone(),
                shards: worker.hello.shards,
                max_rate: worker.hello.max_rate,
            })
            .collect();
        self.computing.spawn_blocking(move || {
            let compiled = compile(&submission.plan, &shares, submission.seed).map(Box::new);
            Computed::Compiled(run, members, compiled)
        });
    }

    pub(super) fn compiled(
        &mut self,
        run: RunId,
        members: &[Incarnation],
        result: Result<Box<Compiled>, CompileError>,
    ) {
        let waiting = self
            .runs
            .get(&run)
            .is_some_and(|active| matches!(active.stage, Stage::Compiling));
        if !waiting {
            return;
        }
        match result {
            Err(error) => self.could_not_start(run, chain(&error)),
            Ok(compiled) => self.begin(run, members, &Arc::from(compiled)),
        }
    }

    fn begin(&mut self, run: RunId, members: &[Incarnation], compiled: &Arc<Compiled>) {
        let now = clock::now();
        let Some(workers) = self.stored_workers(members, compiled) else {
            return self.could_not_start(run, "a worker was lost before the start".to_owned());
        };
        let Some(active) = self.runs.get_mut(&run) else { return };
        let plan = Arc::clone(&active.submission.plan);
        let scheduled: Vec<Option<u64>> = compiled.forecast.iter().map(|forecast| forecast.arrivals).collect();
        let loads = (0u16..).map(LoadId).zip(&scheduled);
        let config = LedgerConfig {
            plan: Arc::clone(&plan),
            marks: compiled.marks.clone(),
            workers: workers.iter().map(info).collect(),
            scheduled: loads.filter_map(|(load, sum)| Some((load, (*sum)?))).collect(),
        };
        let incarnations = workers.iter().map(|worker| (worker.id, worker.incarnation)).collect();
        let members = workers
            .iter()
            .map(|worker| (worker.incarnation, worker.name.clone()))
            .collect();
        let spec = Spec {
            run,
            plan,
            compiled: Arc::clone(compiled),
            members,
        };
        active.stage = Stage::Going(Box::new(Run::new(now, spec, Judge::new(config, incarnations))));
        let processes: Vec<Incarnation> = workers.iter().map(|worker| worker.incarnation).collect();
        let (epochs, marks) = (compiled.epochs.clone(), compiled.marks.clone());
        // Stored before anything that the machine wants stored.
        let assigned = Assigned {
            workers,
            epochs,
            marks,
            scheduled,
        };
        self.keep_of(run, Op::Assigned(run, Box::new(assigned)));
        for warning in &compiled.warnings {
            self.tell(run, Input::Warning(warning.clone()));
        }
        for (number, incarnation) in (0u32..).map(WorkerId).zip(processes) {
            let worker = self.fleet.worker(incarnation);
            let offset = worker.and_then(|worker| worker.offset(now));
            // One whose stream broke while the schedule was computed is told again when it is back.
            let here = worker.is_some_and(|worker| worker.connection().is_some());
            let input = if here {
                Input::Present(number, offset)
            } else {
                Input::Away(number)
            };
            self.tell(run, input);
        }
        self.perform_run(run);
    }

    /// The workers of a run in order of their numbers; `None` when one is lost.
    fn stored_workers(&self, members: &[Incarnation], compiled: &Compiled) -> Option<Vec<StoredWorker>> {
        let now = clock::now();
        let places = (0u32..).map(WorkerId).zip(members).zip(&compiled.shards);
        let stored = |((id, incarnation), (first_shard, shards)): ((WorkerId, &Incarnation), &(ShardId, u32))| {
            let worker = self.fleet.worker(*incarnation).filter(|worker| !worker.is_lost())?;
            Some(StoredWorker {
                id,
                incarnation: *incarnation,
                name: worker.name.clone(),
                first_shard: *first_shard,
                shards: *shards,
                cores: worker.hello.cores.max(1),
                offset: worker.offset(now).map(report_offset),
            })
        };
        places.map(stored).collect()
    }

    pub(super) fn stopped_before_start(&mut self, run: RunId, cause: StopCause, reason: &str) {
        self.end_without_run(run, Some(cause), reason.to_owned());
    }

    pub(super) fn could_not_start(&mut self, run: RunId, reason: String) {
        self.end_without_run(run, None, reason);
    }
}

fn info(worker: &StoredWorker) -> WorkerInfo {
    WorkerInfo {
        id: worker.id,
        name: worker.name.clone(),
        shards: worker.first_shard.0..worker.first_shard.0 + worker.shards,
        cores: worker.cores,
    }
}
