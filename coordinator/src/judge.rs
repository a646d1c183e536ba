//! The book of a real run: the ledger, the watermark and the SLAs.

use std::collections::BTreeMap;
use std::sync::Arc;

use barrage_metrics::sla::StopDecision;
use barrage_metrics::summary::{GeneratorReason, GeneratorVerdict, RunEvent};
use barrage_metrics::{
    ExitCode, Ledger, LedgerConfig, Loss, RunFacts, SlaEngine, StopCause, Summary, Verdict, Watermark, generator_so_far,
};
use barrage_model::delta::Delta;
use barrage_model::ids::{Incarnation, LoadId, WorkerId};
use barrage_model::phase::Marks;
use barrage_model::plan::{Load, LoadModel, Plan};
use barrage_model::time::Moment;

use crate::machine::run::{Book, Note, WorkerHoles};

/// Merges a run's numbers and judges them.
#[derive(Clone, Debug)]
pub struct Judge {
    ledger: Ledger,
    engine: SlaEngine,
    watermark: Watermark,
    decision: Option<StopDecision>,
    incarnations: BTreeMap<WorkerId, Incarnation>,
    /// The worst that has been said of the generator.
    generator: GeneratorVerdict,
}

impl Judge {
    /// Nothing is counted yet.
    pub fn new(config: LedgerConfig, incarnations: BTreeMap<WorkerId, Incarnation>) -> Self {
        let engine = SlaEngine::new(&config.plan.sla);
        let watermark = Watermark::new(config.workers.iter().map(|worker| worker.id), 0);
        Self {
            ledger: Ledger::new(config),
            engine,
            watermark,
            decision: None,
            incarnations,
            generator: GeneratorVerdict::Valid,
        }
    }

    /// The merged numbers.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// The SLAs.
    pub fn engine(&self) -> &SlaEngine {
        &self.engine
    }

    /// First interval that is not judged yet.
    pub fn judged_before(&self) -> u32 {
        self.watermark.next()
    }

    /// The SLA that has stopped the run.
    pub fn decision(&self) -> Option<&StopDecision> {
        self.decision.as_ref()
    }

    /// Records what lost workers have left behind so far.
    pub fn record(&mut self, holes: &[WorkerHoles]) -> Vec<Loss> {
        let mut losses = Vec::new();
        for hole in holes {
            let incarnation = self.incarnations.get(&hole.worker).copied().unwrap_or_default();
            for load in &hole.loads {
                losses.push(Loss {
                    worker: hole.worker,
                    incarnation,
                    load: load.load,
                    unknown: load.unknown.count,
                    unsent: load.unsent.count,
                    unsent_from: load.unsent_from,
                });
            }
        }
        for loss in &losses {
            self.ledger.record_loss(*loss);
        }
        losses
    }

    /// The end: sets the run's length, and the totals that the schedule asked for where it was cut short, by a stop when it
    /// has ended `early`. A counted load is cut short by its time limit, too.
    pub fn close(&mut self, end: Moment, early: bool) -> BTreeMap<LoadId, u64> {
        self.ledger.set_end(end);
        let mut corrected = scheduled(&self.ledger, &self.incarnations);
        corrected.retain(|load, sum| {
            let counted = |load: &Load| matches!(load.model, LoadModel::Iterations(_));
            let counted = self.ledger.plan().loads.get(usize::from(load.0)).is_some_and(counted);
            early || counted && self.ledger.scheduled(*load).is_some_and(|planned| *sum < planned)
        });
        for (load, arrivals) in &corrected {
            self.ledger.set_scheduled(*load, *arrivals);
        }
        corrected
    }

    /// The summary as of now.
    pub fn summary(&self, facts: RunFacts) -> Summary {
        Summary::build(&self.ledger, &self.engine, facts)
    }
}

/// What the schedule asked for up to an early end: what was begun or dropped, and what is lost.
pub fn scheduled(ledger: &Ledger, incarnations: &BTreeMap<WorkerId, Incarnation>) -> BTreeMap<LoadId, u64> {
    let mut sums = BTreeMap::new();
    let loads = (0..ledger.plan().loads.len()).map(|load| LoadId(load as u16));
    for load in loads.filter(|load| ledger.scheduled(*load).is_some()) {
        let members = incarnations
            .iter()
            .filter_map(|(worker, incarnation)| ledger.member(*worker, *incarnation));
        let counts = members.filter_map(|member| member.iterations.get(&load));
        let begun = counts.fold(0u64, |sum, counts| {
            // Not `scheduled`: what a lost worker had waiting is among its unknown or unsent arrivals.
            sum.saturating_add(counts.started)
                .saturating_add(counts.dropped_total())
        });
        let lost = ledger.losses().filter(|loss| loss.load == load);
        let sum = lost.fold(begun, |sum, loss| {
            sum.saturating_add(loss.unknown).saturating_add(loss.unsent)
        });
        sums.insert(load, sum);
    }
    sums
}

/// The summary of a run that was stopped before its start: nothing fell due, so nothing can be said against it. Whatever
/// setup has counted is in no report.
pub fn stopped_before_start(plan: Arc<Plan>, facts: RunFacts) -> Summary {
    let engine = SlaEngine::new(&plan.sla);
    let ledger = Ledger::new(LedgerConfig {
        plan,
        marks: Marks::default(),
        workers: Vec::new(),
        scheduled: BTreeMap::new(),
    });
    let stop = facts.stop.clone();
    let mut summary = Summary::build(&ledger, &engine, facts);
    summary.verdict = Verdict::Aborted;
    let code = match stop {
        Some((StopCause::Interrupted, ..)) => ExitCode::Interrupted,
        Some((StopCause::Terminated, ..)) => ExitCode::Terminated,
        _ => ExitCode::Aborted,
    };
    (summary.exit_code, summary.accepted_exit_code) = (code, code);
    summary.reasons = stop.into_iter().map(|(_, _, reason)| reason).collect();
    summary
}

impl Book for Judge {
    fn apply(&mut self, worker: WorkerId, incarnation: Incarnation, delta: &Delta) -> Result<(), String> {
        self.ledger
            .apply(worker, incarnation, delta)
            .map_err(|rejected| rejected.to_string())?;
        self.watermark.committed(worker, delta.interval, delta.last);
        Ok(())
    }

    fn evaluate(&mut self, run_now: Moment) -> Option<String> {
        while let Some(closed) = self.watermark.poll(run_now) {
            if let Some(decision) = self.engine.at_watermark(&self.ledger, &closed) {
                self.decision.get_or_insert(decision);
            }
        }
        self.decision.as_ref().map(|decision| decision.reason.clone())
    }

    fn stopped(&mut self, at: Moment) {
        self.ledger.cut_load(at);
    }

    fn strained(&mut self) -> Option<String> {
        let found = generator_so_far(&self.ledger);
        if found.verdict <= self.generator {
            return None;
        }
        self.generator = found.verdict;
        found.reasons.first().map(GeneratorReason::sentence)
    }

    fn is_due(&self) -> bool {
        self.watermark.is_complete()
    }

    fn lost(&mut self, worker: WorkerId, _: Moment) {
        self.watermark.lost(worker);
        let incarnation = self.incarnations.get(&worker).copied().unwrap_or_default();
        self.ledger.set_lost(worker, incarnation);
    }

    fn returned(&mut self, _: WorkerId) {
        // The watermark waits for it again as soon as it commits something.
    }

    fn note(&mut self, note: &Note) {
        let Note { at, kind, worker, text } = note.clone();
        self.ledger.add_event(RunEvent { at, kind, worker, text });
    }
}
