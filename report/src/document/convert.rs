//! From a summary to its document.

use barrage_metrics::summary::{self, Summary};
use barrage_model::ledger::StepCounts;
use barrage_model::outcome::FailureClass;
use barrage_model::time::{Moment, whole_micros};
use jiff::{SignedDuration, Timestamp};

use super::measured::{finite, timings};
use super::{
    Conservation, Curves, Distribution, Document, Dropped, EarlyStop, ErrorLine, Event, Failed, Failures, Fault,
    Generator, GeneratorReason, Health, Iterations, Phase, Place, Run, SCHEMA_VERSION, Scenario, Segment, Sla, Stage,
    Step, StepTotals, Tag, Worker, WorkerLedger,
};
use crate::section::phase_name;

impl From<&Summary> for Document {
    fn from(from: &Summary) -> Self {
        let mut document = Self::whole(from);
        if !all_see_wire(from) {
            document.forget_wire_bytes();
        }
        document
    }
}

impl Document {
    /// Sums over all steps say nothing of the wire when one of them cannot.
    fn forget_wire_bytes(&mut self) {
        let sums = [
            &mut self.steps_total,
            &mut self.once_total,
            &mut self.conservation.steps,
        ];
        let workers = self.workers.iter_mut().map(|worker| &mut worker.steps);
        let phases = self.phases.iter_mut().filter_map(|phase| phase.steps.as_mut());
        let ledgers = self.conservation.per_worker.iter_mut().map(|ledger| &mut ledger.steps);
        for totals in sums.into_iter().chain(workers).chain(phases).chain(ledgers) {
            totals.forget_wire_bytes();
        }
    }

    fn whole(from: &Summary) -> Self {
        Self {
            schema_version: SCHEMA_VERSION,
            run: Run::from(&from.run),
            verdict: from.verdict.into(),
            passed: from.verdict == barrage_metrics::exit::Verdict::Passed,
            reasons: from.reasons.clone(),
            exit_code: from.exit_code.number(),
            stopped_early: from.stopped_early.as_ref().map(|stop| EarlyStop {
                at_us: stop.at.as_micros(),
                reason: stop.reason.clone(),
            }),
            sla: each(&from.sla),
            iterations: from.iterations.into(),
            steps_total: from.steps_total.into(),
            once_total: from.once_total.into(),
            rates: from.rates.into(),
            latency: from.latency.into(),
            latency_ok: from.latency_ok.into(),
            timings: timings(&from.timings),
            steps: each(&from.steps),
            scenarios: each(&from.scenarios),
            failures: failures(&from.failures),
            errors: from.errors.iter().map(|line| error_line(line, &from.run)).collect(),
            timeline: each(&from.timeline),
            workers: each(&from.workers),
            events: each(&from.events),
            faults: each(&from.faults),
            generator: Generator::from(&from.generator),
            stages: each(&from.stages),
            phases: each(&from.phases),
            segments: each(&from.segments),
            conservation: Conservation::from(&from.conservation),
            curves: Curves {
                response: Distribution::from(&from.curves.response),
                service: Distribution::from(&from.curves.service),
                response_ok: Distribution::from(&from.curves.response_ok),
            },
            clipped: from.clipped,
            samples_in_other: from.samples_in_other,
        }
    }
}

/// Whether the engines of all steps saw the bytes on the wire, so that their sum is one of all bytes.
pub(crate) fn all_see_wire(summary: &Summary) -> bool {
    summary.steps.iter().all(|step| step.sees_wire)
}

fn each<'a, From, To: std::convert::From<&'a From>>(list: &'a [From]) -> Vec<To> {
    list.iter().map(To::from).collect()
}

impl From<&summary::RunInfo> for Run {
    fn from(from: &summary::RunInfo) -> Self {
        Self {
            id: from.id.to_string(),
            name: from.name.clone(),
            seed: from.seed,
            plan_hash: from.plan_hash.clone(),
            labels: from.labels.iter().cloned().collect(),
            started_at: from.started_at.clone(),
            duration_us: from.duration_us,
            duration_s: from.duration_us as f64 / 1e6,
            version: from.version.clone(),
            targets: from.targets.clone(),
        }
    }
}

impl From<&summary::SlaResult> for Sla {
    fn from(from: &summary::SlaResult) -> Self {
        Self {
            that: from.that.clone(),
            during: from.during.clone(),
            over_us: from.over.map(whole_micros),
            in_a_row: from.in_a_row,
            stop: from.stop,
            implicit: from.implicit,
            observed: from.observed.clone(),
            verdict: from.verdict.into(),
            reason: from.reason.clone(),
            at: from.at.map(|(line, column)| Place { line, column }),
            breached_at_us: from.breached_at.map(Moment::as_micros),
        }
    }
}

impl From<summary::IterationTotals> for Iterations {
    fn from(from: summary::IterationTotals) -> Self {
        Self {
            scheduled: from.scheduled,
            started: from.started,
            started_scheduled: from.started_scheduled,
            completed: from.completed,
            broken_off: from.broken_off,
            cancelled: from.cancelled,
            in_progress: from.in_progress,
            dropped: Dropped {
                late: from.dropped.late,
                no_slot: from.dropped.no_slot,
                ceiling: from.dropped.ceiling,
                stopped: from.dropped.stopped,
            },
            dropped_total: from.dropped.total(),
            unsent: from.unsent,
            unknown: from.unknown,
            waiting: from.waiting,
        }
    }
}

impl From<summary::StepTotals> for StepTotals {
    fn from(from: summary::StepTotals) -> Self {
        Self {
            in_flight: Some(from.in_flight),
            ..Self::from(&from.counts)
        }
    }
}

impl From<&StepCounts> for StepTotals {
    fn from(from: &StepCounts) -> Self {
        Self {
            attempted: from.attempted,
            sent: from.sent,
            ok: from.ok,
            failed: failed(|class| from.failed_as(class)),
            failed_total: from.failed_total(),
            timeout: from.timeout,
            cancelled: from.cancelled,
            in_flight: None,
            shed: from.shed,
            fallback: from.fallback,
            injected: from.injected,
            wire_requests: from.wire_requests,
            body_bytes_in: from.body_bytes_in,
            body_bytes_out: from.body_bytes_out,
            wire_bytes_in: Some(from.wire_bytes_in),
            wire_bytes_out: Some(from.wire_bytes_out),
        }
    }
}

fn failed(count: impl Fn(FailureClass) -> u64) -> Failed {
    Failed {
        dns: count(FailureClass::Dns),
        connect: count(FailureClass::Connect),
        tls: count(FailureClass::Tls),
        reset: count(FailureClass::Reset),
        closed_on_reuse: count(FailureClass::ClosedOnReuse),
        protocol: count(FailureClass::Protocol),
        status: count(FailureClass::Status),
        check: count(FailureClass::Check),
        extract: count(FailureClass::Extract),
    }
}

fn failures(from: &summary::Failures) -> Failures {
    let count = |class| {
        let of_class = from.by_class.iter().filter(|(own, _)| *own == class);
        of_class.fold(0u64, |sum, (_, n)| sum.saturating_add(*n))
    };
    Failures {
        by_class: failed(count),
        timeout: from.timeout,
    }
}

impl StepTotals {
    fn forget_wire_bytes(&mut self) {
        (self.wire_bytes_in, self.wire_bytes_out) = (None, None);
    }
}

impl From<&summary::StepSummary> for Step {
    fn from(from: &summary::StepSummary) -> Self {
        let mut step = Self::whole(from);
        if !from.sees_wire {
            step.totals.forget_wire_bytes();
            step.tags.iter_mut().for_each(|tag| tag.totals.forget_wire_bytes());
        }
        step
    }
}

impl Step {
    fn whole(from: &summary::StepSummary) -> Self {
        Self {
            id: from.id.0,
            scenario: from.scenario.clone(),
            name: from.name.clone(),
            group: from.group,
            totals: from.totals.into(),
            rates: from.rates.into(),
            response: from.whole.then(|| from.response.into()),
            service: from.whole.then(|| from.service.into()),
            response_ok: from.whole.then(|| from.response_ok.into()),
            service_ok: from.whole.then(|| from.service_ok.into()),
            tags: each(&from.tags),
        }
    }
}

impl From<&summary::TagSummary> for Tag {
    fn from(from: &summary::TagSummary) -> Self {
        Self {
            tags: from.tags.iter().cloned().collect(),
            totals: StepTotals::from(&from.counts),
            error_rate: finite(from.error_rate),
            response: from.response.into(),
            service: from.service.into(),
        }
    }
}

impl From<&summary::ScenarioSummary> for Scenario {
    fn from(from: &summary::ScenarioSummary) -> Self {
        Self {
            name: from.name.clone(),
            iterations: from.iterations.into(),
            iteration: from.whole.then(|| from.iteration.into()),
            dispatch_lag: from.whole.then(|| from.dispatch_lag.into()),
        }
    }
}

fn error_line(from: &summary::ErrorLine, run: &summary::RunInfo) -> ErrorLine {
    let sample = &from.sample;
    ErrorLine {
        at_us: sample.at.as_micros(),
        timestamp: wall_clock(&run.started_at, sample.at),
        scenario: from.scenario.clone(),
        step_id: sample.step.0,
        step: from.step.clone(),
        class: sample.class.map_or("timeout", FailureClass::word).to_owned(),
        status: sample.status,
        service_us: sample.service.map(whole_micros),
        worker: from.worker.0,
        message: sample.message.clone(),
    }
}

/// The wall-clock time of a moment of the run; `None` when the start is not RFC 3339.
fn wall_clock(started_at: &str, at: Moment) -> Option<String> {
    let started: Timestamp = started_at.parse().ok()?;
    let since = SignedDuration::from_micros(i64::try_from(at.as_micros()).ok()?);
    Some(started.checked_add(since).ok()?.to_string())
}

impl From<&summary::WorkerSummary> for Worker {
    fn from(from: &summary::WorkerSummary) -> Self {
        Self {
            id: from.id.0,
            name: from.name.clone(),
            shards: from.shards,
            offset_us: from.offset_us,
            offset_uncertainty_us: from.offset_uncertainty_us,
            state: from.state.into(),
            iterations: from.iterations.into(),
            steps: from.steps.into(),
            health: Health::from(&from.health),
            holes_s: from.holes.clone(),
            generator: from.generator.into(),
        }
    }
}

impl From<&summary::HealthExtremes> for Health {
    fn from(from: &summary::HealthExtremes) -> Self {
        Self {
            dispatch_lag_p99_max_us: from.dispatch_lag_p99_max_us,
            poll_delay_max_us: from.poll_delay_max_us,
            shard_cpu_max_ratio: from.shard_cpu_max,
            shard_wait_max_ratio: from.shard_wait_max,
            core_busy_max_ratio: from.core_busy_max,
            cpu_mean_cores: from.cpu_mean_cores,
            throttled_us: from.throttled_us,
            steal_us: from.steal_us,
            rss_max_bytes: from.rss_max_bytes,
            rss_anon_max_bytes: from.rss_anon_max_bytes,
            memory_available_min_bytes: from.memory_available_min_bytes,
            descriptors_max: from.descriptors_max,
            descriptors_limit: from.descriptors_limit,
            ports_max: from.ports_max,
            ports_limit: from.ports_limit,
            retransmits: from.retransmits,
            short_of_descriptors: from.shortages.descriptors,
            short_of_ports: from.shortages.ports,
            short_of_memory: from.shortages.memory,
            short_of_threads: from.shortages.threads,
            short_of_time: from.shortages.time,
            connections_max: from.connections_max,
            slots_max: from.slots_max,
        }
    }
}

impl From<&summary::RunEvent> for Event {
    fn from(from: &summary::RunEvent) -> Self {
        Self {
            at_us: from.at.as_micros(),
            kind: from.kind.clone(),
            worker: from.worker.map(|worker| worker.0),
            text: from.text.clone(),
        }
    }
}

impl From<&summary::FaultSummary> for Fault {
    fn from(from: &summary::FaultSummary) -> Self {
        Self {
            name: from.name.clone(),
            what: from.what.clone(),
            from_us: from.from.as_micros(),
            to_us: from.to.map(Moment::as_micros),
            verdict: from.verdict.clone(),
        }
    }
}

impl From<&summary::GeneratorSummary> for Generator {
    fn from(from: &summary::GeneratorSummary) -> Self {
        Self {
            verdict: from.verdict.into(),
            reasons: each(&from.reasons),
        }
    }
}

impl From<&summary::GeneratorReason> for GeneratorReason {
    fn from(from: &summary::GeneratorReason) -> Self {
        Self {
            verdict: from.verdict.into(),
            worker: from.worker.map(|worker| worker.0),
            kind: from.kind.to_owned(),
            text: from.text.clone(),
            intervals_s: from.intervals.clone(),
        }
    }
}

impl From<&summary::StageSummary> for Stage {
    fn from(from: &summary::StageSummary) -> Self {
        Self {
            load: from.load.clone(),
            name: from.name.clone(),
            from_us: from.from.as_micros(),
            to_us: from.to.as_micros(),
            scheduled: from.scheduled,
            started: from.started,
        }
    }
}

impl From<&summary::PhaseSummary> for Phase {
    fn from(from: &summary::PhaseSummary) -> Self {
        Self {
            phase: phase_name(&from.phase),
            iterations: from.whole.then(|| from.iterations.into()),
            steps: from.whole.then(|| StepTotals::from(&from.counts)),
            rates: from.rates.into(),
            response: from.whole.then(|| from.response.into()),
            service: from.whole.then(|| from.service.into()),
        }
    }
}

impl From<&summary::SegmentSummary> for Segment {
    fn from(from: &summary::SegmentSummary) -> Self {
        Self {
            id: from.id.0,
            from_us: from.from.as_micros(),
            to_us: from.to.as_micros(),
            phases: from.phases.iter().map(phase_name).collect(),
        }
    }
}

impl From<&summary::Conservation> for Conservation {
    fn from(from: &summary::Conservation) -> Self {
        let per_worker = from.per_worker.iter().map(|(worker, iterations, steps)| WorkerLedger {
            worker: worker.0,
            iterations: (*iterations).into(),
            steps: (*steps).into(),
        });
        Self {
            consistent: from.mismatches.is_empty(),
            mismatches: from.mismatches.clone(),
            iterations: from.iterations.into(),
            steps: from.steps.into(),
            per_worker: per_worker.collect(),
        }
    }
}
