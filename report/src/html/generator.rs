//! The charts of the load generator's own state over run time: the worst of all workers.

use barrage_metrics::summary::HealthPoint;
use barrage_model::delta::COVERED_MIN_US;

use super::axis::micros_label;
use super::chart::{Chart, Dot, Line, Tip};
use super::timeline;
use crate::number::{decimal, micros, percent};

/// A line: its name, its colour and what it shows of one reading.
type Shown = (&'static str, &'static str, fn(&HealthPoint) -> Option<f64>);

const DELAYS: [Shown; 2] = [
    ("dispatch lag p99", "p99", |point| {
        Some(point.health.dispatch_lag_p99_us as f64)
    }),
    ("poll delay", "service", |point| {
        Some(point.health.poll_delay_max_us as f64)
    }),
];
const CORES: [Shown; 4] = [
    ("busiest core", "offered", |point| {
        share(point, point.health.core_busy_max_us)
    }),
    ("busiest shard", "sent", |point| {
        share(point, point.health.shard_cpu_max_us)
    }),
    ("ready without a core", "failed", |point| {
        share(point, point.health.shard_wait_max_us)
    }),
    ("steal", "dropped", |point| {
        share(point, point.health.steal_us).map(|share| share / f64::from(point.health.cores.max(1)))
    }),
];

fn share(point: &HealthPoint, us: u64) -> Option<f64> {
    let covered_us = point.health.covered_us;
    (covered_us >= COVERED_MIN_US).then(|| us as f64 / covered_us as f64)
}

/// Charts with a place for each `(from, to)`, s, in order of time; none without readings.
pub(super) fn charts(health: &[HealthPoint], places: &[(f64, f64)]) -> Vec<Chart> {
    if health.is_empty() {
        return Vec::new();
    }
    let mut all = vec![
        chart("The load generator's own delays", "delay", &DELAYS, health, places),
        chart("The load generator's cores", "share of a core", &CORES, health, places),
    ];
    for chart in &mut all {
        chart
            .captions
            .push("the worst worker's reading; health.csv has every worker's".to_owned());
    }
    all
}

fn chart(
    title: &'static str,
    unit: &'static str,
    shown: &[Shown],
    health: &[HealthPoint],
    places: &[(f64, f64)],
) -> Chart {
    let delays = unit == "delay";
    let worst: Vec<Vec<Option<f64>>> = shown.iter().map(|(.., of)| worst(*of, health, places)).collect();
    let line = |(&(name, class, _), values): (&Shown, &Vec<Option<f64>>)| Line {
        name,
        class,
        dots: places
            .iter()
            .zip(values)
            .map(|((from, to), value)| {
                value.map(|y| Dot {
                    x: f64::midpoint(*from, *to),
                    y,
                    at_least: false,
                })
            })
            .collect(),
    };
    let label: fn(f64) -> String = if delays {
        |us| micros(us as u64)
    } else {
        |share| percent(Some(share))
    };
    let tip = |(n, (from, to)): (usize, &(f64, f64))| {
        let values = shown.iter().zip(&worst);
        let values = values.map(|((name, ..), values)| match values[n] {
            Some(value) => format!("{name} {}", label(value)),
            None => format!("{name} not known"),
        });
        Tip {
            from: *from,
            to: *to,
            lines: [timeline::span_label(*from, *to)].into_iter().chain(values).collect(),
        }
    };
    let y_label: fn(f64) -> String = if delays {
        micros_label
    } else {
        |share| format!("{} %", decimal(share * 100.0))
    };
    let lines = shown.iter().zip(&worst).map(line).collect();
    timeline::chart(
        title,
        unit,
        lines,
        places.iter().enumerate().map(tip).collect(),
        y_label,
    )
}

/// The highest value of any worker in each place.
fn worst(of: fn(&HealthPoint) -> Option<f64>, health: &[HealthPoint], places: &[(f64, f64)]) -> Vec<Option<f64>> {
    let mut worst: Vec<Option<f64>> = vec![None; places.len()];
    for point in health {
        let Some(value) = of(point) else { continue };
        let from = f64::from(point.t_s);
        let to = from + f64::from(point.length_s);
        let first = places.partition_point(|(_, end)| *end <= from);
        let touched = places[first..].iter().take_while(|(begin, _)| *begin < to).count();
        for place in &mut worst[first..first + touched] {
            *place = Some(place.map_or(value, |other| other.max(value)));
        }
    }
    worst
}

#[cfg(test)]
mod tests {
    use super::*;
    use barrage_model::delta::Health;
    use barrage_model::ids::WorkerId;

    fn point(t_s: u32, length_s: u32, worker: u32, lag: u64) -> HealthPoint {
        HealthPoint {
            t_s,
            length_s,
            worker: WorkerId(worker),
            strained: Vec::new(),
            health: Health {
                dispatch_lag_p99_us: lag,
                ..Health::default()
            },
        }
    }

    #[test]
    fn each_place_shows_the_worst_worker() {
        let health = [
            point(0, 1, 0, 5),
            point(0, 1, 1, 7),
            point(1, 4, 0, 3),
            point(4, 1, 1, 9),
        ];
        let places = [(0.0, 1.0), (1.0, 2.0), (2.0, 4.0), (4.0, 4.5), (6.0, 7.0)];
        let shown = worst(DELAYS[0].2, &health, &places);
        assert_eq!(shown, [Some(7.0), Some(3.0), Some(3.0), Some(9.0), None]);
        // Shares of too little time are none.
        assert!(worst(CORES[1].2, &health, &places).iter().all(Option::is_none));
        assert!(charts(&[], &places).is_empty());
    }
}
