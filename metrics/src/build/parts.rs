//! The parts of a summary that are about steps and scenarios.

use std::collections::{BTreeMap, BTreeSet};

use barrage_model::delta::{Measure, Subject};
use barrage_model::expr::Outcomes;
use barrage_model::ids::{ScenarioId, SegmentId, StepId, TagId};
use barrage_model::ledger::{Open, StepCounts};
use barrage_model::outcome::OutcomeGroup;

use crate::catalog::StepInfo;
use crate::conservation;
use crate::ledger::Ledger;
use crate::query::{Counts, Filter, Window, answered};
use crate::rate::Happened;
use crate::samples::Samples;
use crate::summary::{
    ErrorLine, IterationTotals, Latencies, Latency, Rates, ScenarioSummary, StepSummary, StepTotals, TagSummary,
};

/// Ratios of counts, and rates of what happened, in all steps and scenarios; `scheduled` is what the schedule asked for.
pub(crate) fn rates(ledger: &Ledger, counts: &Counts, happened: &Happened, scheduled: u64) -> Rates {
    let per_second = |events: u64| per_second(events, happened.covered_us);
    let offers = ledger.catalog().scheduled.iter().any(|scheduled| *scheduled);
    let whole = ledger.losses().all(|loss| loss.unknown == 0 && loss.unsent == 0);
    Rates {
        offered_per_s: (offers && whole)
            .then(|| per_second(happened.iterations.scheduled))
            .flatten(),
        started_per_s: per_second(happened.iterations.started),
        drop_rate: share(counts.iterations.dropped_total(), scheduled),
        ..step_rates(counts, happened)
    }
}

/// As [`rates`], of what has no iterations of its own.
fn step_rates(counts: &Counts, happened: &Happened) -> Rates {
    use barrage_model::expr::{RateMetric, RatioMetric};
    let covered_us = happened.covered_us;
    let per_second = |events: u64| per_second(events, covered_us);
    let rate = |rate: RateMetric| per_second(rate.of(&happened.iterations, &happened.steps));
    let ratio = |ratio: RatioMetric| {
        let (part, whole) = ratio.of(&counts.iterations, &counts.steps);
        share(part, whole)
    };
    Rates {
        covered_us,
        offered_per_s: None,
        started_per_s: None,
        attempted_per_s: per_second(happened.steps.attempted),
        rate_per_s: rate(RateMetric::SentRate),
        throughput_per_s: rate(RateMetric::Throughput),
        goodput_per_s: rate(RateMetric::Goodput),
        error_rate: ratio(RatioMetric::ErrorRate),
        drop_rate: None,
        throughput_mib_per_s: per_second(happened.steps.body_bytes_in).map(|bytes| bytes / f64::from(1 << 20)),
    }
}

/// `None` where there is nothing to have a share of.
fn share(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

/// `None` when the rate is over no time.
fn per_second(events: u64, covered_us: u64) -> Option<f64> {
    (covered_us > 0).then(|| events as f64 * 1e6 / covered_us as f64)
}

pub(crate) fn latencies(ledger: &Ledger, filter: &Filter, outcomes: Outcomes) -> Latencies {
    let of = |measure| ledger.samples_of(filter, &Window::Whole, measure, outcomes).latency();
    Latencies {
        response: of(Measure::Response),
        service: of(Measure::Service),
        dispatch_lag: of(Measure::DispatchLag),
        iteration: of(Measure::Iteration),
    }
}

/// The ledger of all scenarios' steps. What is open is only known for all steps together; setup and teardown are done
/// before and after all others, so what is open beyond their own counts belongs to the scenarios.
pub(crate) fn steps_total(ledger: &Ledger, counts: StepCounts) -> StepTotals {
    let once = once_total(ledger).in_flight;
    let open = ledger
        .members
        .values()
        .fold(0u64, |sum, member| sum.saturating_add(member.open.in_flight));
    StepTotals {
        counts,
        in_flight: open.saturating_sub(once),
    }
}

pub(crate) fn once_total(ledger: &Ledger) -> StepTotals {
    let mut counts = StepCounts::default();
    ledger.members.values().for_each(|member| counts.add(&member.once));
    StepTotals {
        counts,
        in_flight: counts.sent.saturating_sub(counts.ended()),
    }
}

pub(crate) fn steps(ledger: &Ledger) -> Vec<StepSummary> {
    let (happened, covered_us) = ledger.happened_by_step();
    let steps = ledger.catalog().steps.iter();
    steps
        .map(|(id, step)| one_step(ledger, *id, step, (&happened, covered_us)))
        .collect()
}

fn one_step(
    ledger: &Ledger,
    id: StepId,
    step: &StepInfo,
    (by_step, covered_us): (&BTreeMap<StepId, StepCounts>, u64),
) -> StepSummary {
    let counted: BTreeSet<StepId> = match &step.requests {
        Some(requests) => requests.iter().copied().collect(),
        None => BTreeSet::from([id]),
    };
    let mut counts = Counts::default();
    let rows = counted.iter().filter_map(|of| ledger.undivided.steps.get(of));
    rows.for_each(|row| counts.steps.add(row));
    let whole = !ledger.sketches.may_have_folded(Subject::Step(id));
    let told = |latency: Latency| if whole { latency } else { Latency::default() };
    // Setup and teardown lie before and after the load, so they have no rate.
    let mut happened = Happened {
        covered_us: if step.once() { 0 } else { covered_us },
        ..Happened::default()
    };
    let rows = counted.iter().filter_map(|of| by_step.get(of));
    rows.for_each(|row| happened.steps.add(row));
    let samples = |measure, outcomes| told(step_samples(ledger, id, None, measure, outcomes).latency());
    let in_flight = counts.steps.sent.saturating_sub(counts.steps.ended());
    StepSummary {
        id,
        scenario: step.scenario_name.clone(),
        name: step.name.clone(),
        group: step.group(),
        totals: StepTotals {
            counts: counts.steps,
            in_flight,
        },
        sees_wire: ledger.sees_wire_of(|of| counted.contains(&of)),
        rates: step_rates(&counts, &happened),
        response: samples(Measure::Response, Outcomes::All),
        service: samples(Measure::Service, Outcomes::All),
        response_ok: samples(Measure::Response, Outcomes::Ok),
        service_ok: samples(Measure::Service, Outcomes::Ok),
        tags: if whole { tags(ledger, id) } else { Vec::new() },
        whole,
    }
}

/// A step by tag values, where all of it is known by them and there are several.
fn tags(ledger: &Ledger, id: StepId) -> Vec<TagSummary> {
    if ledger.steps.folded_from().is_some_and(|(from, ..)| *from <= id) {
        return Vec::new();
    }
    let rows = rows_of(ledger, id).filter(|(_, row)| row.ended() > 0);
    let tags: BTreeSet<TagId> = rows.map(|(tag, _)| tag).collect();
    if tags.len() > 1 {
        tags.into_iter().map(|tag| one_tag(ledger, id, tag)).collect()
    } else {
        Vec::new()
    }
}

/// The rows of one step that are kept apart, with their tags.
fn rows_of(ledger: &Ledger, id: StepId) -> impl Iterator<Item = (TagId, &StepCounts)> {
    let keys = (id, TagId(0), SegmentId(0))..=(id, TagId(u16::MAX), SegmentId(u32::MAX));
    ledger.steps.range(keys).map(|((_, tag, _), row)| (*tag, row))
}

fn one_tag(ledger: &Ledger, id: StepId, tag: TagId) -> TagSummary {
    let mut counts = StepCounts::default();
    let rows = rows_of(ledger, id).filter(|(with, _)| *with == tag);
    rows.for_each(|(_, row)| counts.add(&answered(row)));
    let latency = |measure| step_samples(ledger, id, Some(tag), measure, Outcomes::All).latency();
    let failed = counts.failed_total().saturating_add(counts.timeout);
    TagSummary {
        tags: ledger
            .catalog()
            .tags
            .get(usize::from(tag.0))
            .cloned()
            .unwrap_or_default(),
        error_rate: (counts.judged() > 0).then(|| failed as f64 / counts.judged() as f64),
        counts,
        response: latency(Measure::Response),
        service: latency(Measure::Service),
    }
}

/// Samples of exactly one step, whatever other steps share its name.
fn step_samples(ledger: &Ledger, id: StepId, tag: Option<TagId>, measure: Measure, outcomes: Outcomes) -> Samples {
    let mut samples = Samples::new();
    for (key, sketch) in ledger.sketches.of(Subject::Step(id), measure) {
        let group = outcomes == Outcomes::All || key.group == OutcomeGroup::Ok;
        if group && tag.is_none_or(|tag| key.tag == tag) {
            samples.add_pile(sketch, measure.is_censored(key.group));
        }
    }
    samples
}

/// The iterations of a part of the run. What a lost worker had counted as due and not begun is among the unknown or unsent
/// arrivals, of which nobody knows to which part they belong: at the end it is left out here.
pub(crate) fn iteration_totals(ledger: &Ledger, counts: &Counts) -> IterationTotals {
    let open = Open {
        in_progress: counts.iterations.started.saturating_sub(counts.iterations.ended()),
        ..Open::default()
    };
    let mut totals = conservation::totals(&counts.iterations, counts.started_scheduled, &open);
    totals.scheduled = ledger.fell_due(&counts.iterations, counts.started_scheduled);
    totals
}

pub(crate) fn scenarios(ledger: &Ledger) -> Vec<ScenarioSummary> {
    let names = ledger.catalog().scenarios.iter().enumerate();
    names
        .map(|(number, name)| {
            let id = ScenarioId(number as u16);
            let mut counts = Counts::default();
            let rows = ledger.undivided.iterations.iter().filter(|((_, of), _)| *of == id);
            rows.for_each(|((load, _), row)| ledger.count_iterations(*load, row, &mut counts));
            let whole = !ledger.sketches.may_have_folded(Subject::Scenario(id));
            let latency = |measure| {
                if whole {
                    scenario_samples(ledger, id, measure).latency()
                } else {
                    Latency::default()
                }
            };
            ScenarioSummary {
                name: name.clone(),
                iterations: iteration_totals(ledger, &counts),
                iteration: latency(Measure::Iteration),
                dispatch_lag: latency(Measure::DispatchLag),
                whole,
            }
        })
        .collect()
}

fn scenario_samples(ledger: &Ledger, id: ScenarioId, measure: Measure) -> Samples {
    let mut samples = Samples::new();
    for (key, sketch) in ledger.sketches.of(Subject::Scenario(id), measure) {
        samples.add_pile(sketch, measure.is_censored(key.group));
    }
    samples
}

pub(crate) fn errors(ledger: &Ledger) -> Vec<ErrorLine> {
    let named = |id: StepId| {
        let step = ledger.catalog().steps.get(&id);
        step.map(|step| (step.scenario_name.clone(), step.name.clone()))
            .unwrap_or_default()
    };
    let lines = ledger.errors.in_order().into_iter().map(|(worker, sample)| {
        let (scenario, step) = named(sample.step);
        ErrorLine {
            sample: sample.clone(),
            scenario,
            step,
            worker,
        }
    });
    lines.collect()
}
