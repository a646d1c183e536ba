//! The percentile curve: latency by how rare it is, as HDR histogram plots draw it.

use barrage_metrics::summary::{Curves, Distribution, Latencies, Latency};

use super::axis::{Scale, micros_label};
use super::chart::{Chart, Dot, Line};
use crate::number::{count, micros};

/// The horizontal axis ends at 99.99999 %.
const DECADES_MAX: i32 = 7;
/// Smallest step along the axis that is drawn, as a ratio.
const STEP: f64 = 1.003;

/// The chart; `None` when there are no samples.
pub(super) fn chart(curves: &Curves, latency: &Latencies) -> Option<Chart> {
    let most = curves.response.count.max(curves.service.count);
    if most == 0 {
        return None;
    }
    let decades = ((most as f64).log10().ceil() as i32).clamp(1, DECADES_MAX);
    let end = 10f64.powi(decades);
    let lines = vec![
        line("service", "service", &curves.service, end),
        line("response", "p95", &curves.response, end),
    ];
    let values = lines
        .iter()
        .flat_map(|line| line.dots.iter().flatten().map(|dot| dot.y));
    let mut captions = vec![format!(
        "{} response and {} service samples, all outcomes; the distance between the lines is time spent waiting to be sent",
        count(curves.response.count),
        count(curves.service.count)
    )];
    captions.extend(bound(&latency.response));
    Some(Chart {
        title: "Latency by percentile",
        unit: "latency",
        captions,
        x: Scale::Log(1.0, end),
        x_ticks: ticks(decades),
        y: Scale::fitting(values, true),
        y_label: micros_label,
        lines,
        bands: Vec::new(),
        tips: Vec::new(),
    })
}

/// Percentiles along an axis of 1 / (1 − q).
fn ticks(decades: i32) -> Vec<(f64, String)> {
    let mut ticks = vec![
        (1.0, "0 %".to_owned()),
        (2.0, "50 %".to_owned()),
        (4.0, "75 %".to_owned()),
    ];
    for decade in 1..=decades {
        let decimals = usize::try_from(decade - 2).unwrap_or(0);
        let percent = 100.0 - 10f64.powi(2 - decade);
        ticks.push((10f64.powi(decade), format!("{percent:.decimals$} %")));
    }
    ticks
}

/// A stair: each value spans the quantiles at which it is the answer.
fn line(name: &'static str, class: &'static str, distribution: &Distribution, end: f64) -> Line {
    let total = distribution.count as f64;
    let mut below = 0u64;
    let mut dots: Vec<Option<Dot>> = Vec::new();
    let mut drawn = 0.0f64;
    for (n, (value_us, samples)) in distribution.buckets.iter().enumerate() {
        let from = total / (total - below as f64).max(1.0);
        below = below.saturating_add(*samples);
        let last = n + 1 == distribution.buckets.len();
        let to = if last {
            end
        } else {
            total / (total - below as f64).max(1.0)
        };
        if from > end {
            break;
        }
        let y = *value_us as f64;
        // Steps too small to be seen are left out, but never the last one: it is the maximum.
        if from >= drawn * STEP || to >= drawn * STEP || last {
            let dot = |x: f64| {
                Some(Dot {
                    x: x.min(end),
                    y,
                    at_least: false,
                })
            };
            dots.extend([dot(from), dot(to)]);
            drawn = to;
        }
    }
    Line { name, class, dots }
}

/// From which percentile on the response curve is only a lower bound.
fn bound(response: &Latency) -> Option<String> {
    let all = [
        ("min", response.min),
        ("p50", response.p50),
        ("p90", response.p90),
        ("p95", response.p95),
        ("p99", response.p99),
        ("p99.9", response.p999),
        ("p99.99", response.p9999),
        ("max", response.max),
    ];
    let (name, first) = all.into_iter().find_map(|(name, quantile)| {
        let quantile = quantile?;
        quantile.at_least.then_some((name, quantile))
    })?;
    let (censored, value) = (count(response.censored), micros(first.value_us));
    Some(format!(
        "{censored} arrivals and requests without an end are in the response line at the age they had reached: from {name} \
         ({value}) on, or earlier, it is a lower bound"
    ))
}
