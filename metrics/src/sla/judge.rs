//! One evaluation of one SLA.

use barrage_model::expr::{
    ByteCount, Cmp, Count, Expr, MetricKind, Observed, Operand, Outcomes, PhaseSelector, RateMetric, RatioMetric, Stat,
};
use barrage_model::plan::Sla;
use barrage_model::time::Moment;

use super::window_length;
use crate::generator::generator_so_far;
use crate::lack::Lack;
use crate::ledger::{Ledger, Member};
use crate::query::{Counts, Filter, Window};
use crate::samples::Samples;
use crate::summary::GeneratorVerdict;

/// Samples that must lie beyond a percentile for a verdict, unless the SLA says otherwise: n·(1−q) ≥ 10.
pub const BEYOND_QUANTILE: u32 = 10;

/// What one evaluation saw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Judged {
    /// `None` where there is nothing to observe: no samples, no time, a loss that no selection can be told from, or bytes
    /// that an engine does not see.
    pub(crate) observed: Option<Observed>,
    /// Samples behind it.
    pub(crate) samples: u64,
    /// Samples needed for a verdict.
    pub(crate) needed: u64,
    /// `None` with too few samples or nothing to compare.
    pub(crate) holds: Option<bool>,
    /// It does not hold, and the generator may have made it.
    pub(crate) doubtful: bool,
    /// Why there is nothing to observe, where some of it is not known.
    pub(crate) lack: Option<Lack>,
}

impl Judged {
    /// Doubts a breach of a part of the run, or of the run so far, in which the generator was strained; the verdict on all of
    /// the run is a verdict on its strain over all of it, and may be that it is little.
    pub(super) fn doubted(self, ledger: &Ledger, sla: &Sla, filters: &Filters, window: &Window) -> Self {
        let is_part = sla.during.is_some() || !matches!(window, Window::Whole);
        let may_be = self.holds == Some(false) && is_part && is_in_the_generators_power(&sla.that, &self);
        let doubtful = may_be && ledger.may_be_the_generators(&filters.first.segments, window);
        Self { doubtful, ..self }
    }
}

/// Whether a strained generator can make what breaches the expression. It makes latencies; rates in both directions, for after
/// a standstill it sends all at once; what is started or dropped of the arrivals; and too little of anything. Too many are too
/// many at any time, and so are shares of errors.
fn is_in_the_generators_power(expr: &Expr, seen: &Judged) -> bool {
    match &expr.left {
        Operand::Quotient { .. } => is_below(expr, seen),
        Operand::Metric(metric) => match metric.kind {
            MetricKind::Latency { .. } | MetricKind::Rate(_) | MetricKind::ByteRate(_) => true,
            MetricKind::Ratio(ratio) => matches!(ratio, RatioMetric::DropRate | RatioMetric::StartedRate),
            MetricKind::Count(_) | MetricKind::Bytes(_) => is_below(expr, seen),
        },
    }
}

/// The filters of an expression: one, or two of a quotient.
#[derive(Clone, Debug)]
pub(crate) struct Filters {
    first: Filter,
    second: Option<Filter>,
    /// Nothing is narrowed, so that what lost workers left behind is told, and is part of what the schedule asked for.
    unnarrowed: bool,
}

impl Filters {
    pub(crate) fn of(ledger: &Ledger, sla: &Sla) -> Self {
        let during = sla.during.as_ref();
        let always = during.is_none_or(|during| *during == PhaseSelector::Whole);
        match &sla.that.left {
            Operand::Metric(metric) => Self {
                first: ledger.filter(&metric.select, during),
                second: None,
                unnarrowed: metric.select.is_empty() && always,
            },
            Operand::Quotient { part, whole } => Self {
                first: ledger.filter(&part.select, during),
                second: Some(ledger.filter(&whole.select, during)),
                unnarrowed: part.select.is_empty() && whole.select.is_empty() && always,
            },
        }
    }

    /// The filter of a metric, or of a quotient's part.
    pub(crate) fn first(&self) -> &Filter {
        &self.first
    }
}

/// Whether the expression is about a latency.
pub(crate) fn latency_of(expr: &Expr) -> Option<(Stat, barrage_model::delta::Measure, Outcomes)> {
    match &expr.left {
        Operand::Metric(metric) => match metric.kind {
            MetricKind::Latency {
                stat,
                measure,
                outcomes,
            } => Some((stat, measure, outcomes)),
            _ => None,
        },
        Operand::Quotient { .. } => None,
    }
}

/// Whether the expression is about events or bytes over time.
pub(crate) fn is_rate(expr: &Expr) -> bool {
    let Operand::Metric(metric) = &expr.left else {
        return false;
    };
    matches!(metric.kind, MetricKind::Rate(_) | MetricKind::ByteRate(_))
}

/// What is said where arrivals of lost workers are missing.
pub(super) const ARRIVALS_MISSED: &str = "lost workers left arrivals of which nobody knows when they fell due";

/// Whether it is about how many arrivals fell due in some time.
pub(super) fn is_offer(expr: &Expr, is_window: bool) -> bool {
    let Operand::Metric(metric) = &expr.left else {
        return false;
    };
    match metric.kind {
        MetricKind::Rate(RateMetric::Offered) => true,
        MetricKind::Count(Count::Scheduled) => is_window,
        _ => false,
    }
}

/// Why nobody knows a rate: all workers were lost, and the time that it is over went on after that; or it is one of arrivals,
/// some of which are lost.
pub(super) fn unseen(ledger: &Ledger, sla: &Sla) -> Option<String> {
    let filter = Filters::of(ledger, sla).first;
    if is_offer(&sla.that, window_length(sla).is_some()) && ledger.misses_arrivals(&filter, &Window::Whole) {
        return Some(ARRIVALS_MISSED.to_owned());
    }
    let silence = ledger.silence().filter(|_| is_rate(&sla.that))?;
    let segments = &filter.segments;
    let unseen = segments.covered_us(ledger.marks(), silence.start, silence.end);
    let secs = silence.start.as_micros() / 1_000_000;
    (unseen > 0).then(|| format!("all workers were lost by {secs}s, and nobody knows the rate after that"))
}

/// Whether an SLA would not be judged if the run ended now.
pub(super) fn is_unjudged(ledger: &Ledger, sla: &Sla) -> bool {
    let verdict = || generator_so_far(ledger).verdict.max(generator_before(ledger, sla));
    latency_of(&sla.that).is_some() && verdict() == GeneratorVerdict::Invalid
}

/// The verdict on the generator in the warm-up, which nothing else looks at, for an SLA that is about a part of it.
pub(super) fn generator_before(ledger: &Ledger, sla: &Sla) -> GeneratorVerdict {
    let warm_up = ledger.plan().warm_up;
    let segments = &Filters::of(ledger, sla).first.segments;
    let touched = segments.covered_us(ledger.marks(), Moment::ZERO, Moment::ZERO + warm_up);
    let members = ledger.members.values().filter(|_| touched > 0);
    members.map(Member::warm_up_verdict).max().unwrap_or_default()
}

/// Whether the expression is a count or bytes.
pub(super) fn is_sum(expr: &Expr) -> bool {
    let Operand::Metric(metric) = &expr.left else {
        return false;
    };
    matches!(metric.kind, MetricKind::Count(_) | MetricKind::Bytes(_))
}

/// Whether a count or bytes are below what the expression asks for, of which there are fewer the less time there is.
pub(super) fn is_short(expr: &Expr, seen: &Judged) -> bool {
    is_sum(expr) && is_below(expr, seen)
}

/// The same, or a rate, of which there is less while counts are missing.
pub(super) fn may_be_missing(expr: &Expr, seen: &Judged) -> bool {
    (is_sum(expr) || is_rate(expr)) && is_below(expr, seen)
}

/// Whether the expression is breached by too little.
fn is_below(expr: &Expr, seen: &Judged) -> bool {
    let Some(observed) = seen.observed.as_ref().filter(|_| seen.holds == Some(false)) else {
        return false;
    };
    match expr.cmp {
        Cmp::Gt | Cmp::Ge => true,
        Cmp::Eq => observed.compare(Cmp::Lt, &expr.right) == Some(true),
        Cmp::Lt | Cmp::Le | Cmp::Ne => false,
    }
}

/// Whether the expression is about bytes on the wire.
pub(super) fn is_on_wire(expr: &Expr) -> bool {
    let Operand::Metric(metric) = &expr.left else {
        return false;
    };
    matches!(
        metric.kind,
        MetricKind::ByteRate(_) | MetricKind::Bytes(ByteCount::WireIn | ByteCount::WireOut)
    )
}

/// Why what an SLA is about is not known. What happened in whole seconds is.
fn lack_of(ledger: &Ledger, sla: &Sla, filters: &Filters, window: &Window) -> Option<Lack> {
    if is_rate(&sla.that) {
        return None;
    }
    match latency_of(&sla.that) {
        Some((_, measure, _)) => ledger.lacks_samples(&filters.first, window, measure),
        None => std::iter::once(&filters.first)
            .chain(&filters.second)
            .find_map(|filter| ledger.lacks_counts(filter, window)),
    }
}

/// Evaluates an SLA over a window.
pub(crate) fn judge(ledger: &Ledger, sla: &Sla, filters: &Filters, window: &Window) -> Judged {
    if let Some(lack) = lack_of(ledger, sla, filters, window) {
        return Judged {
            lack: Some(lack),
            ..conclude(sla, None, 0, 0)
        };
    }
    if let Some((stat, measure, outcomes)) = latency_of(&sla.that) {
        return judge_samples(sla, stat, &ledger.samples_of(&filters.first, window, measure, outcomes));
    }
    if is_on_wire(&sla.that) && !ledger.sees_wire(&filters.first) {
        return conclude(sla, None, 0, 0);
    }
    let is_window = matches!(window, Window::Intervals(_));
    if is_offer(&sla.that, is_window) && ledger.misses_arrivals(&filters.first, window) {
        return conclude(sla, None, 0, 0);
    }
    if let Some((observed, samples)) = rate_of(ledger, &sla.that, &filters.first, window) {
        return conclude(sla, Some(observed), samples, 0);
    }
    let counts_of = |filter: &Filter| {
        let mut counts = ledger.counts_of(filter, window);
        if !is_window {
            let all = filters.unnarrowed && *window == Window::Whole;
            counts.iterations.scheduled = ledger.asked_for(&counts, all);
        }
        counts
    };
    let counts = counts_of(&filters.first);
    let (observed, samples, needed) = match &sla.that.left {
        Operand::Quotient { part, whole } => {
            let second = filters.second.as_ref().map(counts_of);
            let part = count(ledger, filters, part.count, &counts, window);
            let whole = second.and_then(|counts| count(ledger, filters, whole.count, &counts, window));
            let observed = part.zip(whole).map(|(part, whole)| Observed::Ratio { part, whole });
            (observed, whole.unwrap_or(0), 1)
        }
        Operand::Metric(metric) => match metric.kind {
            MetricKind::Latency { .. } | MetricKind::Rate(_) | MetricKind::ByteRate(_) => (None, 0, 1),
            MetricKind::Ratio(ratio) => {
                let (part, whole) = ratio_of(ratio, &counts, window);
                (Some(Observed::Ratio { part, whole }), whole, 1)
            }
            MetricKind::Count(which) => {
                let observed = count(ledger, filters, which, &counts, window).map(Observed::Count);
                (observed, counts.steps.judged(), 0)
            }
            MetricKind::Bytes(bytes) => (Some(Observed::Bytes(bytes.of(&counts.steps))), counts.steps.judged(), 0),
        },
    };
    conclude(sla, observed, samples, needed)
}

/// Events or bytes over time, by what happened when; with the samples behind it. `None` for any other expression.
fn rate_of(ledger: &Ledger, expr: &Expr, filter: &Filter, window: &Window) -> Option<(Observed, u64)> {
    let Operand::Metric(metric) = &expr.left else {
        return None;
    };
    if !is_rate(expr) {
        return None;
    }
    let happened = ledger.happened_of(filter, window);
    let (micros, judged) = (happened.covered_us, happened.steps.judged());
    match metric.kind {
        MetricKind::Rate(rate) => {
            let count = rate.of(&happened.iterations, &happened.steps);
            let samples = if rate == RateMetric::Offered { count } else { judged };
            Some((Observed::PerSecond { count, micros }, samples))
        }
        MetricKind::ByteRate(rate) => {
            let bytes = rate.of(&happened.steps);
            Some((Observed::BytesPerSecond { bytes, micros }, judged))
        }
        _ => None,
    }
}

fn micros(quantile: crate::summary::Quantile) -> Observed {
    if quantile.at_least {
        Observed::AtLeastMicros(quantile.value_us)
    } else {
        Observed::Micros(quantile.value_us)
    }
}

/// The sample of a rank. One censored sample below it makes it a lower bound, however far it lies from the censored ones;
/// what it is at most is known then.
fn quantile_of(samples: &Samples, rank: u64) -> Option<Observed> {
    bounded(samples.at_rank(rank), samples.at_most(rank))
}

fn bounded(found: Option<crate::summary::Quantile>, at_most: Option<u64>) -> Option<Observed> {
    let found = found?;
    Some(match at_most.filter(|_| found.at_least) {
        None => micros(found),
        Some(most) if most == found.value_us => Observed::Micros(most),
        Some(most) => Observed::MicrosBetween {
            least: found.value_us,
            most,
        },
    })
}

/// Evaluates a latency SLA over given samples.
pub(crate) fn judge_samples(sla: &Sla, stat: Stat, samples: &Samples) -> Judged {
    let count = samples.count();
    let (observed, needed) = match stat {
        Stat::Min => (bounded(samples.min(), samples.min_at_most()), 1),
        Stat::Max => (samples.max().map(micros), 1),
        Stat::Mean => {
            let sum = samples.sum_us();
            let mean = if samples.is_bounded_below_only() {
                Observed::AtLeastMeanMicros { sum, count }
            } else {
                Observed::MeanMicros { sum, count }
            };
            ((count > 0).then_some(mean), 1)
        }
        Stat::Quantile(quantile) => (
            quantile_of(samples, quantile.rank(count)),
            quantile.samples_needed(BEYOND_QUANTILE),
        ),
    };
    conclude(sla, observed, count, needed)
}

fn conclude(sla: &Sla, observed: Option<Observed>, samples: u64, needed: u64) -> Judged {
    let needed = sla.min_samples.unwrap_or(needed);
    let holds = observed
        .filter(|_| samples >= needed)
        .and_then(|observed| sla.that.holds(&observed));
    Judged {
        observed,
        samples,
        needed,
        holds,
        doubtful: false,
        lack: None,
    }
}

/// As the metric says; `started_rate` without closed models, which have no arrivals. In a sliding window, which counts what
/// happened in it, `drop_rate` and `started_rate` are of the arrivals that were started or dropped: those that fell due may be
/// others.
fn ratio_of(ratio: RatioMetric, counts: &Counts, window: &Window) -> (u64, u64) {
    match ratio {
        RatioMetric::DropRate | RatioMetric::StartedRate if matches!(window, Window::Intervals(_)) => {
            let (dropped, started) = (counts.iterations.dropped_total(), counts.started_scheduled);
            let part = if ratio == RatioMetric::DropRate {
                dropped
            } else {
                started
            };
            (part, dropped.saturating_add(started))
        }
        RatioMetric::StartedRate => (counts.started_scheduled, counts.iterations.scheduled),
        _ => ratio.of(&counts.iterations, &counts.steps),
    }
}

/// A count; `unknown` and `unsent` only over the whole run, for they belong to no scenario, segment or interval.
fn count(ledger: &Ledger, filters: &Filters, which: Count, counts: &Counts, window: &Window) -> Option<u64> {
    let lost = |of: fn(&crate::ledger::Loss) -> u64| {
        let told = filters.unnarrowed && !matches!(window, Window::Intervals(_));
        told.then(|| ledger.losses().fold(0u64, |sum, loss| sum.saturating_add(of(loss))))
    };
    match which {
        Count::Unknown => lost(|loss| loss.unknown),
        Count::Unsent => lost(|loss| loss.unsent),
        _ => which.of(&counts.iterations, &counts.steps),
    }
}
