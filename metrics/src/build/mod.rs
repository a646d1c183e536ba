//! From a ledger to a summary.

mod parts;
mod people;
#[cfg(test)]
mod tests;
mod time;

use std::collections::BTreeMap;

use barrage_model::delta::Measure;
use barrage_model::expr::{Outcomes, Selector};
use barrage_model::ids::WorkerId;
use barrage_model::outcome::FailureClass;
use barrage_model::plan::{LoadModel, OnLoss};

use barrage_model::time::Moment;
use barrage_model::units::Ratio;

use crate::conservation::conservation;
use crate::exit::{Aftermath, Decision, Evidence, StopCause, Verdict, decide};
use crate::generator::late_drops;
use crate::ledger::Ledger;
use crate::query::{Segments, Window};
use crate::sla::{Implicit, SlaEngine, min_started};
use crate::summary::{
    Conservation, EarlyStop, Failures, FaultSummary, GeneratorReason, GeneratorSummary, RunInfo, SlaResult, Summary,
    WorkerState,
};

/// A worker's clock against the coordinator's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClockOffset {
    /// Its clock − the coordinator's, µs.
    pub offset_us: i64,
    /// Half width of the interval that holds the true offset, µs.
    pub uncertainty_us: u64,
}

/// What a summary says that no delta does.
#[derive(Clone, Debug)]
pub struct RunFacts {
    /// What was run.
    pub run: RunInfo,
    /// The run has ended: verdicts are final. Otherwise the summary is a live view.
    pub ended: bool,
    /// Why and when it ended before its plan did, with one sentence.
    pub stop: Option<(StopCause, Moment, String)>,
    /// Clock offsets.
    pub offsets: BTreeMap<WorkerId, ClockOffset>,
    /// Faults that were injected.
    pub faults: Vec<FaultSummary>,
    /// What experiments and rollouts left behind.
    pub aftermath: Vec<Aftermath>,
    /// `--accept-invalid`: exit code 95 does not count.
    pub accept_untrusted: bool,
}

impl Summary {
    /// Draws the summary of a run: final once it has ended, else a live view with provisional verdicts.
    ///
    /// `engine` has followed the run, or is new for a stored one.
    pub fn build(ledger: &Ledger, engine: &SlaEngine, facts: RunFacts) -> Self {
        let judgement = Judgement::of(ledger, engine, &facts);
        let all = ledger.filter_in(&Selector::default(), Segments::all(ledger.marks()));
        let counts = ledger.counts_of(&all, &Window::Whole);
        let happened = ledger.happened_of(&all, &Window::Whole);
        let timings = [Measure::Dns, Measure::Connect, Measure::Tls, Measure::FirstByte];
        let timing = |measure| {
            ledger
                .samples_of(&all, &Window::Whole, measure, Outcomes::All)
                .latency()
        };
        let sketches = || {
            let kept = ledger.sketches.iter().map(|(_, sketch)| sketch);
            kept.chain(ledger.sketches.other().map(|(_, sketch)| sketch))
        };
        Self {
            verdict: judgement.decision.verdict,
            reasons: judgement.decision.reasons,
            exit_code: judgement.decision.exit_code,
            accepted_exit_code: judgement.decision.accepted,
            stopped_early: facts.stop.map(|(_, at, reason)| EarlyStop { at, reason }),
            sla: judgement.sla,
            iterations: judgement.conservation.iterations,
            steps_total: parts::steps_total(ledger, counts.steps),
            once_total: parts::once_total(ledger),
            rates: parts::rates(ledger, &counts, &happened, ledger.asked_for(&counts, true)),
            latency: parts::latencies(ledger, &all, Outcomes::All),
            latency_ok: parts::latencies(ledger, &all, Outcomes::Ok),
            timings: timings.map(|measure| (measure, timing(measure))).to_vec(),
            steps: parts::steps(ledger),
            scenarios: parts::scenarios(ledger),
            failures: Failures {
                by_class: FailureClass::ALL
                    .map(|class| (class, counts.steps.failed_as(class)))
                    .to_vec(),
                timeout: counts.steps.timeout,
            },
            errors: parts::errors(ledger),
            timeline: time::timeline(ledger),
            workers: people::workers(ledger, &facts.offsets, &judgement.conservation),
            health: people::health(ledger),
            events: ledger.events().to_vec(),
            faults: facts.faults,
            generator: judgement.generator,
            stages: time::stages(ledger),
            phases: time::phases(ledger),
            segments: time::segments(ledger),
            clipped: sketches().fold(0, |sum, sketch| sum + sketch.clipped()),
            samples_in_other: ledger.sketches.other().fold(0, |sum, (_, sketch)| sum + sketch.count()),
            curves: time::all_curves(ledger, &all),
            conservation: judgement.conservation,
            run: facts.run,
        }
    }
}

/// Everything about a run that is a verdict.
struct Judgement {
    conservation: Conservation,
    generator: GeneratorSummary,
    sla: Vec<SlaResult>,
    decision: Decision,
}

impl Judgement {
    fn of(ledger: &Ledger, engine: &SlaEngine, facts: &RunFacts) -> Self {
        let conservation = conservation(ledger, facts.ended);
        let stopped_early = facts
            .stop
            .as_ref()
            .is_some_and(|(cause, ..)| *cause != StopCause::DataEnded);
        let implicit = if facts.ended {
            min_started(ledger, stopped_early)
        } else {
            Implicit::default()
        };
        let generator = generator(ledger, implicit.reasons);
        let mut sla = if facts.ended {
            let mut engine = engine.clone();
            if !matches!(facts.stop, Some((StopCause::SlaBreached, ..))) {
                engine.forget_stop();
            }
            engine.finish(ledger, generator.verdict)
        } else {
            engine.live()
        };
        sla.extend(implicit.results);
        let mut decision = decide(&Evidence {
            sla: &sla,
            generator: generator.verdict,
            mismatches: &conservation.mismatches,
            loss: loss_beyond(ledger, &conservation),
            stop: facts.stop.as_ref().map(|(cause, _, reason)| (*cause, reason.as_str())),
            aftermath: &facts.aftermath,
            accept_untrusted: facts.accept_untrusted,
        });
        if decision.verdict == Verdict::Passed {
            if facts.ended {
                decision.reasons.extend(hollow(ledger));
            } else {
                decision = Decision::open();
            }
        }
        Self {
            conservation,
            generator,
            sla,
            decision,
        }
    }
}

/// What to say about a run that passed although nothing worked: a plan without an SLA on errors cannot fail through them.
fn hollow(ledger: &Ledger) -> Option<String> {
    let steps = ledger.counts(&Selector::default(), None, &Window::Whole).steps;
    let sent = steps.judged().saturating_add(steps.cancelled);
    match (sent, steps.ok) {
        (0, _) => Some("no request was sent, and no SLA failed for it".to_owned()),
        (_, 0) => Some(format!(
            "not one of {sent} requests was answered as expected, and no SLA failed for it"
        )),
        _ => None,
    }
}

fn generator(ledger: &Ledger, mut reasons: Vec<GeneratorReason>) -> GeneratorSummary {
    reasons.extend(late_drops(ledger));
    crate::generator::of(ledger, reasons)
}

/// The iterations that lost workers had in progress when they were heard of last: those that a schedule or a count asked
/// for, and those of users; and all that users have begun.
fn left_in_progress(ledger: &Ledger) -> (u64, u64, u64) {
    let scheduled = &ledger.catalog().scheduled;
    let (mut open, mut open_of_users, mut begun_by_users) = (0u64, 0u64, 0u64);
    for member in ledger.members.values() {
        let lost = member.state == Some(WorkerState::Lost);
        for (load, counts) in &member.iterations {
            let left = if lost {
                counts.started.saturating_sub(counts.ended())
            } else {
                0
            };
            if scheduled.get(usize::from(load.0)).copied().unwrap_or(false) {
                open = open.saturating_add(left);
            } else {
                open_of_users = open_of_users.saturating_add(left);
                begun_by_users = begun_by_users.saturating_add(counts.started);
            }
        }
    }
    (open, open_of_users, begun_by_users)
}

/// Says so when lost workers left more behind than the plan tolerates: arrivals, iterations in progress, or of closed
/// models user time.
fn loss_beyond(ledger: &Ledger, conservation: &Conservation) -> Option<String> {
    let iterations = &conservation.iterations;
    let tolerated = ledger.plan().workers.loss_tolerance;
    let exceeds =
        |part: u128, whole: u128| part > 0 && part * u128::from(Ratio::ONE.ppb()) > whole * u128::from(tolerated.ppb());
    // How those ended that were in progress nobody knows.
    let (open, open_of_users, begun_by_users) = left_in_progress(ledger);
    let lost = iterations
        .unknown
        .saturating_add(iterations.unsent)
        .saturating_add(open);
    if exceeds(lost.into(), iterations.scheduled.into()) {
        return Some(format!(
            "lost workers leave {} arrivals unknown, {} unsent and {open} in progress of {}, more than the tolerated \
             {tolerated}",
            iterations.unknown, iterations.unsent, iterations.scheduled
        ));
    }
    if exceeds(open_of_users.into(), begun_by_users.into()) {
        return Some(format!(
            "lost workers leave {open_of_users} of {begun_by_users} iterations of users in progress, more than the \
             tolerated {tolerated}"
        ));
    }
    let closed = ledger
        .plan()
        .loads
        .iter()
        .any(|load| matches!(load.model, LoadModel::Users(_)));
    // What lies beyond the load is a drain: nobody had anything left to begin.
    let end = ledger.load_intervals();
    let (mut missing, mut all) = (0u128, 0u128);
    for worker in ledger.workers() {
        let shards = u128::from(worker.shards.end.saturating_sub(worker.shards.start));
        let silent: u32 = ledger
            .holes(worker.id)
            .iter()
            .map(|(from, to)| to.min(&end).saturating_sub(*from))
            .sum();
        missing += shards * u128::from(silent);
        all += shards * u128::from(end);
    }
    let moved = ledger.plan().workers.on_loss == OnLoss::Redistribute;
    (closed && !moved && exceeds(missing, all)).then(|| {
        format!("lost workers leave their users idle for {missing} of {all} shard seconds, more than the tolerated {tolerated}")
    })
}
