//! The parts of a summary that are about run time.

use barrage_model::delta::Measure;
use barrage_model::expr::{Outcomes, Selector};
use barrage_model::ids::{LoadId, SegmentId};
use barrage_model::phase::Phase;
use barrage_model::plan::{Load, LoadModel, Stretch};
use barrage_model::time::Moment;

use super::parts;
use crate::ledger::slot::{Slot, Times};
use crate::ledger::{Ledger, Member};
use crate::query::{Counts, Filter, Segments, Window};
use crate::samples::{sparse_distribution, sparse_quantile};
use crate::summary::{
    Curves, IntervalCurve, Latency, PhaseSummary, SegmentSummary, StageSummary, TimelinePoint, WorkerState,
};

/// Every stretch from the run's begin on, also those that nobody has reported. One that begins when the run has ended is
/// there only if something was counted in it.
pub(crate) fn timeline(ledger: &Ledger) -> Vec<TimelinePoint> {
    let mut points = Vec::new();
    let mut start = 0;
    let empty = Slot::default();
    let crew = Crew::of(ledger);
    let stages = first_stages(ledger);
    while start < ledger.next_interval() {
        let length = ledger.timeline.length_at(start);
        let slot = ledger.timeline.get(start).unwrap_or(&empty);
        let over = ledger
            .ended_at()
            .is_some_and(|end| end <= Moment::from_secs(start.into()));
        if !over || slot.totals != empty.totals || ledger.timeline.latencies(slot).count() > 0 {
            points.push(point((ledger, &crew, &stages), start, length, slot));
        }
        start = start.saturating_add(length);
    }
    points
}

fn point(
    (ledger, crew, stages): (&Ledger, &Crew, &[Stretch<'_>]),
    start: u32,
    length: u32,
    slot: &Slot,
) -> TimelinePoint {
    let (iterations, steps) = (&slot.totals.iterations, &slot.totals.steps);
    let latencies = ledger.timeline.latencies(slot);
    let packed = |times: &Times| (times.all().packed(), times.censored.packed());
    let (response, service) = (packed(&latencies.response), packed(&latencies.service));
    let of_response = |q| sparse_quantile(&response.0, &response.1, q);
    let of_service = |q| sparse_quantile(&service.0, &service.1, q);
    let failed = steps.failed_total();
    let judged = steps.judged();
    let (expected, hole) = crew.expected(start, length);
    TimelinePoint {
        t_s: start,
        length_s: length,
        offered: iterations.scheduled,
        started: iterations.started,
        sent: steps.sent,
        ok: steps.ok,
        failed,
        timeouts: steps.timeout,
        cancelled: steps.cancelled,
        dropped: iterations.dropped_total(),
        active: slot.active(),
        body_bytes_in: steps.body_bytes_in,
        response_p50: of_response(500_000_000),
        response_p95: of_response(950_000_000),
        response_p99: of_response(990_000_000),
        service_p50: of_service(500_000_000),
        service_p99: of_service(990_000_000),
        error_rate: (judged > 0).then(|| failed.saturating_add(steps.timeout) as f64 / judged as f64),
        stage: stage_at(stages, start),
        reported: ledger.timeline.reported(slot),
        expected,
        hole,
    }
}

/// When each worker had something to report, gathered once for all points.
struct Crew(Vec<Presence>);

struct Presence {
    /// First interval of each process, and the one after its last.
    processes: Vec<(u32, u32)>,
    holes: Vec<(u32, u32)>,
}

impl Crew {
    fn of(ledger: &Ledger) -> Self {
        let presence = |member: &Member| {
            let over = member.last_interval.map_or(0, |last| last.saturating_add(1));
            let finished = member.state == Some(WorkerState::Finished);
            (
                member.first_interval.unwrap_or(0),
                if finished { over } else { u32::MAX },
            )
        };
        let workers = ledger.workers().map(|worker| Presence {
            processes: ledger
                .processes(worker.id)
                .map(|(_, member)| presence(member))
                .collect(),
            holes: ledger.holes(worker.id),
        });
        Self(workers.collect())
    }

    /// How many workers have something to report here, and whether a lost one's counts are missing.
    fn expected(&self, start: u32, length: u32) -> (u32, bool) {
        let end = start.saturating_add(length);
        let within = |(from, to): &(u32, u32)| *from < end && start < *to;
        let (mut expected, mut hole) = (0, false);
        for Presence { processes, holes } in &self.0 {
            expected += u32::from(processes.is_empty() || processes.iter().any(within));
            hole |= holes.iter().any(within);
        }
        (expected, hole)
    }
}

/// The stages of the first load, as far as it came.
fn first_stages(ledger: &Ledger) -> Vec<Stretch<'_>> {
    let mut stages = ledger.plan().loads.first().map_or_else(Vec::new, Load::stretches);
    // A counted load may be over long before its limit.
    let own = ledger.plan().loads.first().map(|load| ledger.end_of(LoadId(0), load));
    let end = ledger.load_end().min(own.unwrap_or(Moment::MAX));
    for stage in &mut stages {
        stage.to = stage.to.min(end);
    }
    stages
}

fn stage_at(stages: &[Stretch<'_>], start: u32) -> Option<String> {
    let at = Moment::from_secs(start.into());
    let stage = stages.iter().find(|stage| stage.from <= at && at < stage.to);
    stage.map(|stage| stage.name.to_owned())
}

/// The whole distributions, and those by interval.
pub(crate) fn all_curves(ledger: &Ledger, all: &Filter) -> Curves {
    let whole = |measure, outcomes| ledger.samples_of(all, &Window::Whole, measure, outcomes).distribution();
    Curves {
        response: whole(Measure::Response, Outcomes::All),
        service: whole(Measure::Service, Outcomes::All),
        response_ok: whole(Measure::Response, Outcomes::Ok),
        intervals: curves(ledger),
    }
}

/// The distributions of every stretch that has any.
fn curves(ledger: &Ledger) -> Vec<IntervalCurve> {
    let curve = |(start, slot): (u32, &Slot)| {
        let latencies = ledger.timeline.latencies(slot);
        IntervalCurve {
            t_s: start,
            length_s: ledger.timeline.length_at(start),
            response: sparse_distribution(&latencies.response.all()),
            service: sparse_distribution(&latencies.service.all()),
        }
    };
    ledger
        .timeline
        .iter()
        .map(curve)
        .filter(|curve| curve.response.count + curve.service.count > 0)
        .collect()
}

/// Every stage that the run came to, by load and stage in plan order.
pub(crate) fn stages(ledger: &Ledger) -> Vec<StageSummary> {
    // After a stop only what has begun goes on: no stage does.
    let end = ledger.end().min(ledger.load_end());
    let mut found = Vec::new();
    for (number, load) in ledger.plan().loads.iter().enumerate() {
        let id = LoadId(number as u16);
        let users = matches!(load.model, LoadModel::Users(_));
        // A counted load is one stage, and ends before the plan says it.
        let end = end.min(ledger.end_of(id, load));
        found.extend(load.stretches().iter().filter_map(|stretch| {
            let segments = segments_of(ledger, stretch);
            let marks = ledger.marks();
            let spans = segments.iter().filter_map(|segment| marks.span(*segment, end));
            let (from, to) = spans.reduce(|(from, _), (_, to)| (from, to))?;
            let (scheduled, started) = stage_counts(ledger, id, &segments);
            Some(StageSummary {
                load: load.name.clone(),
                name: stretch.name.to_owned(),
                from,
                to,
                scheduled: (!users).then_some(scheduled),
                started,
            })
        }));
    }
    found
}

/// The segments of a stage, in order. Other loads, and this one, may have stages of the same name at other times.
fn segments_of(ledger: &Ledger, stretch: &Stretch<'_>) -> Vec<SegmentId> {
    let is_stage = |phase: &Phase| matches!(phase, Phase::Stage(name) if name == stretch.name);
    let marks = ledger.marks().iter();
    marks
        .filter(|mark| stretch.from <= mark.at && mark.at < stretch.to && mark.phases.iter().any(is_stage))
        .map(|mark| mark.segment)
        .collect()
}

fn stage_counts(ledger: &Ledger, load: LoadId, segments: &[SegmentId]) -> (u64, u64) {
    let kept = ledger
        .iterations
        .iter()
        .map(|((of, _, segment), row)| (*of, *segment, row));
    let other = ledger
        .iterations
        .other()
        .map(|((of, segment), row)| (*of, *segment, row));
    let rows = kept
        .chain(other)
        .filter(|(of, segment, _)| *of == load && segments.binary_search(segment).is_ok());
    rows.fold((0, 0), |(scheduled, started), (_, _, row)| {
        (
            ledger.fell_due(row, row.started).saturating_add(scheduled),
            row.started.saturating_add(started),
        )
    })
}

pub(crate) fn phases(ledger: &Ledger) -> Vec<PhaseSummary> {
    let mut seen: Vec<&Phase> = Vec::new();
    let mut known = std::collections::BTreeSet::new();
    for phase in ledger.marks().iter().flat_map(|mark| &mark.phases) {
        if known.insert(phase) {
            seen.push(phase);
        }
    }
    seen.into_iter().map(|phase| one_phase(ledger, phase)).collect()
}

fn one_phase(ledger: &Ledger, phase: &Phase) -> PhaseSummary {
    let filter = ledger.filter_in(&Selector::default(), Segments::with_phase(ledger, phase));
    let window = Window::Whole;
    let whole = ledger.lacks_seconds(&filter, &window).is_none();
    let counts = if whole {
        ledger.counts_of(&filter, &window)
    } else {
        Counts::default()
    };
    let happened = ledger.happened_of(&filter, &window);
    let latency = |measure| {
        if whole {
            ledger.samples_of(&filter, &window, measure, Outcomes::All).latency()
        } else {
            Latency::default()
        }
    };
    let iterations = parts::iteration_totals(ledger, &counts);
    PhaseSummary {
        phase: phase.clone(),
        iterations,
        counts: counts.steps,
        rates: parts::rates(ledger, &counts, &happened, iterations.scheduled),
        response: latency(Measure::Response),
        service: latency(Measure::Service),
        whole,
    }
}

pub(crate) fn segments(ledger: &Ledger) -> Vec<SegmentSummary> {
    let marks = ledger.marks();
    marks
        .iter()
        .map(|mark| {
            let (from, to) = marks.span(mark.segment, ledger.end()).unwrap_or((mark.at, mark.at));
            SegmentSummary {
                id: mark.segment,
                from,
                to,
                phases: mark.phases.clone(),
            }
        })
        .collect()
}
