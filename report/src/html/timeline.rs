//! The charts over run time.

use barrage_metrics::summary::{Quantile, Summary, TimelinePoint};

use super::axis::{Scale, micros_label, rate_label, time_label, time_ticks};
use super::chart::{Band, BandKind, Chart, Dot, Line, Tip};
use super::generator;
use crate::number::{count, decimal, quantile, ranges};

/// Most places on the horizontal axis; a longer run shows several points of its timeline in one.
const COLUMNS_MAX: usize = 400;
/// Shortest stretch that has a rate of its own, s.
const RATE_LEAST_S: f64 = 0.5;
/// Most bands of each kind.
const BANDS_MAX: usize = 100;

/// Points of the timeline that share a place on the axis.
struct Stretch<'a> {
    points: &'a [TimelinePoint],
    from: f64,
    to: f64,
}

impl Stretch<'_> {
    fn dot(&self, y: f64, at_least: bool) -> Dot {
        Dot {
            x: f64::midpoint(self.from, self.to),
            y,
            at_least,
        }
    }

    /// The highest of its values; percentiles cannot be averaged.
    fn highest(&self, of: impl Fn(&TimelinePoint) -> Option<Quantile>) -> Option<Quantile> {
        self.points
            .iter()
            .filter_map(of)
            .max_by_key(|quantile| quantile.value_us)
    }

    /// Counts per second of run time; `None` when no worker reported.
    fn per_s(&self, of: impl Fn(&TimelinePoint) -> u64) -> Option<f64> {
        let known = self
            .points
            .iter()
            .filter(|point| point.reported > 0 || point.expected == 0);
        let (sum, length) = known.fold((0.0, 0.0), |(sum, length), point| {
            let begin = f64::from(point.t_s);
            let end = (begin + f64::from(point.length_s)).min(self.to);
            (sum + of(point) as f64, length + (end - begin).max(0.0))
        });
        (length > 0.0).then(|| sum / length)
    }
}

/// Latency, rates, errors, each over run time; none for a run without a timeline.
pub(super) fn charts(summary: &Summary) -> Vec<Chart> {
    let timeline = &summary.timeline;
    let Some(last) = timeline.last() else { return Vec::new() };
    let end_s = end_of(last, summary.run.duration_us);
    let at_once = timeline.len().div_ceil(COLUMNS_MAX).max(1);
    let mut starts: Vec<usize> = (0..timeline.len()).step_by(at_once).collect();
    let stretches = cut(timeline, &starts, end_s);
    // A run may end right after a second has begun: a rate over so little time would be a spike or a fall.
    if starts.len() > 1 && stretches.last().is_some_and(|last| last.to - last.from < RATE_LEAST_S) {
        starts.pop();
    }
    let for_rates = cut(timeline, &starts, end_s);
    let mut all = vec![
        latency(&stretches),
        per_second(&for_rates, &RATES),
        per_second(&for_rates, &ERRORS),
    ];
    let places: Vec<(f64, f64)> = stretches.iter().map(|stretch| (stretch.from, stretch.to)).collect();
    all.extend(generator::charts(&summary.health, &places));
    for chart in &mut all {
        chart.x = Scale::Linear(0.0, end_s.max(1.0));
        chart.x_ticks = time_ticks(end_s)
            .into_iter()
            .map(|tick| (tick, time_label(tick, end_s)))
            .collect();
        chart.bands = bands(summary, end_s);
        if at_once > 1 {
            let text = format!("each place shows up to {at_once} points: the highest percentile, the mean rate");
            chart.captions.push(text);
        }
        chart.captions.extend(holes_caption(timeline));
    }
    all
}

/// The end of the axis, s: that of the last point, or of the run if it ends within that point.
fn end_of(last: &TimelinePoint, duration_us: u64) -> f64 {
    let (begin, run_end) = (f64::from(last.t_s), duration_us as f64 / 1e6);
    let end = begin + f64::from(last.length_s);
    if run_end > begin { run_end.min(end) } else { end }
}

/// Stretches that begin with the points of these numbers.
fn cut<'a>(timeline: &'a [TimelinePoint], starts: &[usize], end_s: f64) -> Vec<Stretch<'a>> {
    let next = starts.iter().skip(1).copied().chain([timeline.len()]);
    let pieces = starts
        .iter()
        .zip(next)
        .filter_map(|(start, end)| timeline.get(*start..end));
    pieces
        .map(|points| Stretch {
            from: points.first().map_or(0.0, |first| f64::from(first.t_s)),
            to: points
                .last()
                .map_or(0.0, |last| f64::from(last.t_s) + f64::from(last.length_s))
                .min(end_s),
            points,
        })
        .collect()
}

/// A line over run time: its name, its colour and the percentile it shows.
type LatencyLine = (&'static str, &'static str, fn(&TimelinePoint) -> Option<Quantile>);
/// A line over run time: its name, its colour and the count it shows.
type CountLine = (&'static str, &'static str, fn(&TimelinePoint) -> u64);

const LATENCIES: [LatencyLine; 4] = [
    ("service p50", "service", |point| point.service_p50),
    ("response p50", "p50", |point| point.response_p50),
    ("p95", "p95", |point| point.response_p95),
    ("p99", "p99", |point| point.response_p99),
];
/// What a chart of counts shows.
struct Counts {
    title: &'static str,
    caption: &'static str,
    lines: &'static [CountLine],
}

const RATES: Counts = Counts {
    title: "Offered, sent and served",
    caption: "offered counts arrivals, that is iterations; sent and served count their steps",
    lines: &[
        ("offered", "offered", |point| point.offered),
        ("sent", "sent", |point| point.sent),
        ("served", "served", |point| point.ok),
    ],
};
const ERRORS: Counts = Counts {
    title: "Errors and drops",
    caption: "failed and timeout count steps, dropped counts arrivals",
    lines: &[
        ("failed", "failed", |point| point.failed),
        ("timeout", "timeout", |point| point.timeouts),
        ("dropped", "dropped", |point| point.dropped),
    ],
};

fn latency(stretches: &[Stretch<'_>]) -> Chart {
    let lines = LATENCIES.map(|(name, class, of)| Line {
        name,
        class,
        dots: stretches
            .iter()
            .map(|stretch| {
                let highest = stretch.highest(of)?;
                Some(stretch.dot(highest.value_us as f64, highest.at_least))
            })
            .collect(),
    });
    let tip = |stretch: &Stretch<'_>| {
        LATENCIES
            .iter()
            .map(|(name, _, of)| format!("{name} {}", quantile(stretch.highest(of))))
            .collect()
    };
    let mut chart = chart(
        "Latency over time",
        "latency",
        lines.into(),
        tips(stretches, tip),
        micros_label,
    );
    if chart
        .lines
        .iter()
        .any(|line| line.dots.iter().flatten().any(|dot| dot.at_least))
    {
        chart
            .captions
            .push("▲ marks a lower bound (≥): the percentile lies among what was dropped or cancelled".to_owned());
    }
    chart
}

fn per_second(stretches: &[Stretch<'_>], of: &Counts) -> Chart {
    let Counts {
        title,
        caption,
        lines: of,
    } = *of;
    // A run without a schedule offers nothing; a line at zero would say that it did.
    let offers = stretches
        .iter()
        .any(|stretch| stretch.points.iter().any(|point| point.offered > 0));
    let shown: Vec<&CountLine> = of.iter().filter(|(name, ..)| offers || *name != "offered").collect();
    let lines = shown.iter().map(|(name, class, of)| Line {
        name,
        class,
        dots: stretches
            .iter()
            .map(|stretch| Some(stretch.dot(stretch.per_s(of)?, false)))
            .collect(),
    });
    let tip = |stretch: &Stretch<'_>| {
        let lines = shown.iter().map(|(name, _, of)| {
            let per_s = stretch
                .per_s(of)
                .map_or_else(|| "not known".to_owned(), |per_s| format!("{}/s", decimal(per_s)));
            format!("{name} {per_s}")
        });
        lines.collect()
    };
    let mut chart = chart(title, "per second", lines.collect(), tips(stretches, tip), rate_label);
    chart.captions.push(caption.to_owned());
    chart
}

/// A chart without its horizontal axis, which all charts over run time share.
pub(super) fn chart(
    title: &'static str,
    unit: &'static str,
    lines: Vec<Line>,
    tips: Vec<Tip>,
    y_label: fn(f64) -> String,
) -> Chart {
    let values = lines
        .iter()
        .flat_map(|line| line.dots.iter().flatten().map(|dot| dot.y));
    Chart {
        title,
        unit,
        captions: Vec::new(),
        x: Scale::Linear(0.0, 1.0),
        x_ticks: Vec::new(),
        y: Scale::fitting(values, matches!(unit, "latency" | "delay")),
        y_label,
        lines,
        bands: Vec::new(),
        tips,
    }
}

fn tips(stretches: &[Stretch<'_>], lines: impl Fn(&Stretch<'_>) -> Vec<String>) -> Vec<Tip> {
    let tip = |stretch: &Stretch<'_>| {
        let mut all = vec![span_label(stretch.from, stretch.to)];
        all.extend(lines(stretch));
        if let Some(point) = stretch
            .points
            .iter()
            .find(|point| point.hole || point.reported < point.expected)
        {
            all.push(format!("counts of {} of {} workers", point.reported, point.expected));
        }
        Tip {
            from: stretch.from,
            to: stretch.to,
            lines: all,
        }
    };
    stretches.iter().map(tip).collect()
}

/// Run time from … to …: `2–3 s`.
pub(super) fn span_label(from: f64, to: f64) -> String {
    format!("{from}–{} s", (to * 1e3).round() / 1e3)
}

fn bands(summary: &Summary, end_s: f64) -> Vec<Band> {
    let seconds = |at: barrage_model::time::Moment| (at.as_micros() as f64 / 1e6).min(end_s);
    let first_load = summary.stages.first().map(|stage| stage.load.as_str());
    let stages = summary
        .stages
        .iter()
        .filter(|stage| Some(stage.load.as_str()) == first_load);
    let stages = stages.take(BANDS_MAX).map(|stage| Band {
        kind: BandKind::Stage,
        from: seconds(stage.from),
        to: seconds(stage.to),
        label: stage.name.clone(),
    });
    let faults = summary.faults.iter().take(BANDS_MAX).map(|fault| Band {
        kind: BandKind::Fault,
        from: seconds(fault.from),
        to: fault.to.map_or(end_s, seconds),
        label: format!("fault {}", fault.name),
    });
    let holes = holes(&summary.timeline)
        .into_iter()
        .take(BANDS_MAX)
        .map(|(from, to)| Band {
            kind: BandKind::Hole,
            from: f64::from(from),
            to: f64::from(to),
            label: "hole".to_owned(),
        });
    stages.chain(faults).chain(holes).collect()
}

/// Run time without the counts of some worker, in whole seconds, adjoining stretches joined.
fn holes(timeline: &[TimelinePoint]) -> Vec<(u32, u32)> {
    let mut holes: Vec<(u32, u32)> = Vec::new();
    for point in timeline.iter().filter(|point| point.hole) {
        let to = point.t_s.saturating_add(point.length_s);
        match holes.last_mut() {
            Some((_, end)) if *end == point.t_s => *end = to,
            _ => holes.push((point.t_s, to)),
        }
    }
    holes
}

fn holes_caption(timeline: &[TimelinePoint]) -> Option<String> {
    const SHOWN: usize = 10;
    let holes = holes(timeline);
    let seconds: u64 = holes.iter().map(|(from, to)| u64::from(to - from)).sum();
    (!holes.is_empty()).then(|| {
        format!(
            "hole, hatched: counts of a lost worker are missing for {} s ({}); lines there show the other workers alone",
            count(seconds),
            ranges(&holes, SHOWN)
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(t_s: u32, ok: u64) -> TimelinePoint {
        TimelinePoint {
            t_s,
            length_s: 1,
            ok,
            reported: 1,
            expected: 1,
            ..TimelinePoint::default()
        }
    }

    #[test]
    fn the_last_second_has_the_length_that_it_had() {
        let timeline = [point(0, 500), point(1, 300), point(2, 10)];
        let served = |starts: &[usize], duration_us| -> Vec<f64> {
            let end_s = end_of(&timeline[2], duration_us);
            let stretches = cut(&timeline, starts, end_s);
            stretches
                .iter()
                .filter_map(|part| part.per_s(|point| point.ok))
                .collect()
        };
        for (starts, duration_us, want) in [
            (&[0, 1, 2][..], 2_500_000, vec![500.0, 300.0, 20.0]),
            (&[0, 1], 2_240_000, vec![500.0, 250.0]),
            // A duration that does not end within the last point is not that of the timeline.
            (&[0, 1, 2], 9_000_000, vec![500.0, 300.0, 10.0]),
            (&[0, 1, 2], 0, vec![500.0, 300.0, 10.0]),
        ] {
            let got = served(starts, duration_us);
            let close = got.iter().zip(&want).all(|(got, want)| (got - want).abs() < 1e-6);
            assert!(close && got.len() == want.len(), "{duration_us}: {got:?}, not {want:?}");
        }
    }
}
