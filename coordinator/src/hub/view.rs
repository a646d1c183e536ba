//! What followers see: snapshots, at most four a second, and what live reports are drawn from.

use std::sync::Arc;

use barrage_metrics::generator_so_far;
use barrage_metrics::summary::{GeneratorReason, GeneratorSummary, SlaResult};
use barrage_metrics::{RunFacts, Summary, Window};
use barrage_model::delta::Measure;
use barrage_model::expr::{Outcomes, PhaseSelector, Selector};
use barrage_model::ids::RunId;
use barrage_model::phase::Phase;
use barrage_model::time::Moment;
use barrage_proto::v1;
use tokio::sync::watch;

use super::event::Drawn;
use super::{Active, Hub, Stage, Submission, wire};
use crate::clock;
use crate::judge::Judge;
use crate::machine::run::Run;

/// Most reasons against the generator in a snapshot.
const REASONS_MAX: usize = 8;

/// Numbers of the last interval that was judged; they change once a second, snapshots more often.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    before: u32,
    numbers: v1::Snapshot,
}

/// What a report is drawn from while a run goes on, or just after.
pub(crate) enum Live {
    /// It goes on: the numbers so far.
    Going(Box<Judge>, Box<RunFacts>),
    /// It has just ended.
    Ended(Drawn),
}

pub(super) fn blank(submission: &Submission) -> v1::Snapshot {
    let lengths = submission.plan.loads.iter().map(|load| load.end().as_micros());
    v1::Snapshot {
        run: submission.id.0,
        name: submission.plan.name.clone(),
        state: "queued".to_owned(),
        duration_us: lengths.max().unwrap_or(0),
        ..v1::Snapshot::default()
    }
}

/// The snapshot that ends the stream.
pub(super) fn last(active: &Active, summary: &Summary, workers: Vec<v1::WorkerLine>) -> v1::Snapshot {
    let failed = summary
        .steps_total
        .counts
        .failed_total()
        .saturating_add(summary.steps_total.counts.timeout);
    v1::Snapshot {
        state: "finished".to_owned(),
        run_time_us: summary.run.duration_us,
        offered_per_s: summary.rates.offered_per_s.unwrap_or(0.0),
        sent_per_s: summary.rates.rate_per_s.unwrap_or(0.0),
        served_per_s: summary.rates.goodput_per_s.unwrap_or(0.0),
        p50_us: summary.latency.response.p50.map_or(0, |quantile| quantile.value_us),
        p99_us: summary.latency.response.p99.map_or(0, |quantile| quantile.value_us),
        error_rate: summary.rates.error_rate.unwrap_or(0.0),
        errors: failed,
        dropped: summary.iterations.dropped.total(),
        sla: summary.sla.iter().map(sla_line).collect(),
        workers,
        exit_code: Some(summary.exit_code.number().into()),
        accepted_exit_code: Some(summary.accepted_exit_code.number().into()),
        verdict: summary.verdict.word().to_owned(),
        generator: summary.generator.verdict.word().to_owned(),
        generator_reasons: reasons(&summary.generator),
        started: summary.iterations.started,
        completed: summary.iterations.completed,
        ..blank(&active.submission)
    }
}

/// What strains the generator, with the latest stretch of it.
pub(crate) fn reasons(generator: &GeneratorSummary) -> Vec<String> {
    let sentence = |reason: &GeneratorReason| match reason.intervals.last() {
        Some((from, to)) => format!("{} (latest {from}–{to} s)", reason.sentence()),
        None => reason.sentence(),
    };
    generator.reasons.iter().take(REASONS_MAX).map(sentence).collect()
}

fn sla_line(result: &SlaResult) -> v1::SlaLine {
    v1::SlaLine {
        that: result.that.clone(),
        during: result.during.clone().unwrap_or_default(),
        observed: result.observed.clone(),
        verdict: result.verdict.word().to_owned(),
    }
}

impl Hub {
    pub(super) fn watch(&self, run: RunId) -> Option<watch::Receiver<v1::Snapshot>> {
        if let Some(active) = self.runs.get(&run) {
            return Some(active.snapshots.subscribe());
        }
        let ended = self.ended.iter().find(|ended| ended.run == run)?;
        Some(watch::channel(ended.last.clone()).1)
    }

    /// Renews the snapshots that somebody follows.
    pub(super) fn show(&mut self) {
        let now = clock::now();
        let followed: Vec<RunId> = self
            .runs
            .iter()
            .filter(|(_, active)| active.snapshots.receiver_count() > 0)
            .map(|(run, _)| *run)
            .collect();
        for run in followed {
            let workers = self.worker_lines(run);
            let Some(active) = self.runs.get_mut(&run) else {
                continue;
            };
            let mut snapshot = match &active.stage {
                Stage::Going(machine) => {
                    active.seen.renew(machine);
                    let (state, detail) = machine.progress(now);
                    let run_now = machine.run_now(now);
                    let generator = generator_so_far(machine.book().ledger());
                    v1::Snapshot {
                        generator: generator.verdict.word().to_owned(),
                        generator_reasons: reasons(&generator),
                        state: state.to_owned(),
                        detail,
                        run_time_us: run_now.as_micros(),
                        watermark_us: Moment::from_secs(machine.book().judged_before().into()).as_micros(),
                        stage: stage(machine, run_now),
                        ..active.seen.numbers.clone()
                    }
                }
                Stage::Waiting => {
                    let (state, detail) = self.queue.standing(run).unwrap_or(("queued", ""));
                    v1::Snapshot {
                        state: state.to_owned(),
                        detail: detail.to_owned(),
                        ..v1::Snapshot::default()
                    }
                }
                Stage::Compiling => v1::Snapshot {
                    state: "preparing".to_owned(),
                    ..v1::Snapshot::default()
                },
                Stage::Summing => v1::Snapshot {
                    state: "draining".to_owned(),
                    detail: "drawing the report".to_owned(),
                    ..active.seen.numbers.clone()
                },
            };
            let identity = blank(&active.submission);
            (snapshot.run, snapshot.name, snapshot.duration_us) = (identity.run, identity.name, identity.duration_us);
            snapshot.workers = workers;
            active.snapshots.send_replace(snapshot);
        }
    }

    pub(super) fn worker_lines(&self, run: RunId) -> Vec<v1::WorkerLine> {
        let now = clock::now();
        let of_run = self.fleet.workers().filter(|(_, worker)| worker.run == Some(run));
        of_run
            .map(|(_, worker)| wire::worker_line(worker, worker.offset(now)))
            .collect()
    }

    pub(super) fn health(&self) -> v1::HealthReply {
        let now = clock::now();
        let fleet: Vec<v1::WorkerLine> = self
            .fleet
            .workers()
            .map(|(_, worker)| wire::worker_line(worker, worker.offset(now)))
            .collect();
        v1::HealthReply {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            protocol: barrage_proto::PROTOCOL,
            workers: self
                .fleet
                .workers()
                .filter(|(_, worker)| worker.connection().is_some())
                .count() as u32,
            running: self
                .runs
                .values()
                .filter(|active| matches!(active.stage, Stage::Going(_)))
                .count() as u32,
            store_ok: self.store.is_ok(),
            fleet,
        }
    }

    pub(super) fn live(&self, run: RunId) -> Option<Live> {
        if let Some(ended) = self.ended.iter().find(|ended| ended.run == run) {
            return ended.summary.as_ref().map(|summary| Live::Ended(Arc::clone(summary)));
        }
        let active = self.runs.get(&run)?;
        let Stage::Going(machine) = &active.stage else {
            return None;
        };
        let run_now = machine.run_now(clock::now());
        let facts = RunFacts {
            run: active.submission.info(&active.started_at, run_now.as_micros()),
            ended: false,
            stop: machine
                .stopped()
                .map(|stopped| (stopped.cause, stopped.at, stopped.reason.clone())),
            offsets: std::collections::BTreeMap::new(),
            faults: Vec::new(),
            aftermath: Vec::new(),
            accept_untrusted: active.submission.accept_invalid,
        };
        Some(Live::Going(Box::new(machine.book().clone()), Box::new(facts)))
    }
}

impl Seen {
    /// Reads the ledger again when another interval has been judged.
    fn renew(&mut self, machine: &Run<Judge>) {
        let judge = machine.book();
        let before = judge.judged_before();
        if before == self.before && before > 0 {
            return;
        }
        self.before = before;
        let (ledger, select, whole) = (judge.ledger(), Selector::default(), Some(&PhaseSelector::Whole));
        let all = ledger.counts(&select, whole, &Window::Whole);
        let window = Window::Intervals(before.saturating_sub(1)..before);
        let recent = ledger.counts(&select, whole, &window);
        let samples = ledger.samples(&select, whole, &window, Measure::Response, Outcomes::All);
        let quantile = |ppb| samples.quantile(ppb).map_or(0, |quantile| quantile.value_us);
        let ended = all.iterations.ended();
        let errors = all.steps.failed_total().saturating_add(all.steps.timeout);
        self.numbers = v1::Snapshot {
            offered_per_s: recent.iterations.scheduled as f64,
            sent_per_s: recent.steps.sent as f64,
            served_per_s: recent.steps.ok as f64,
            active: all.iterations.started.saturating_sub(ended),
            p50_us: quantile(500_000_000),
            p99_us: quantile(990_000_000),
            error_rate: if all.steps.judged() == 0 {
                0.0
            } else {
                errors as f64 / all.steps.judged() as f64
            },
            errors,
            dropped: all.iterations.dropped_total(),
            sla: judge.engine().live().iter().map(sla_line).collect(),
            started: all.iterations.started,
            completed: all.iterations.completed,
            ..v1::Snapshot::default()
        };
    }
}

/// The names of the stages that run now.
fn stage(machine: &Run<Judge>, run_now: Moment) -> String {
    let marks = &machine.spec().compiled.marks;
    let names = marks
        .phases(marks.segment_at(run_now))
        .iter()
        .filter_map(|phase| match phase {
            Phase::WarmUp => Some("warm-up"),
            Phase::Stage(name) => Some(name.as_str()),
            _ => None,
        });
    names.collect::<Vec<_>>().join(", ")
}
