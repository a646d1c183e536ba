//! The figures of one measurement, and the bars that they are held against.

use barrage_model::sketch::{Packed, highest};

use super::Options;
use super::deltas::Pool;
use super::observe::Observed;
use super::process::Sample;
use super::tally::Tally;

/// The beginning of a run that the slope of memory leaves out: the coordinator keeps the series of each second up to a limit
/// of memory (`DETAIL_BYTES_MAX` of the ledger, 64 MiB), which this fleet takes nearly five minutes to reach.
const WARM_UP_S: usize = 300;
/// The growth is that of at least so long.
const GROWTH_S: usize = 290;
/// Memory is flat when it grows by less than this share of what it is after the warm-up, in five minutes.
const GROWTH_MAX: f64 = 0.05;
/// Minutes that the growth is given for.
const GROWTH_MINUTES: f64 = 5.0;
/// A process on one core cannot use more than that core: one that is under it has some of it left, in every minute.
const CORES_MAX: f64 = 0.95;
/// The watermark leaves behind whoever is so late, µs: a lag of this much says only that somebody was (a second and
/// the patience of the ledger, `PATIENCE`, 3 s; snapshots are 250 ms apart, and a lag is told as of the later one).
const LAG_SEEN_MAX_US: u64 = 3_700_000;
/// The watermark stays closer to run time than this, µs.
const LAG_MAX_US: u64 = 2_000_000;

/// One measurement.
#[derive(Clone, Debug)]
pub struct Figures {
    /// Simulated workers.
    pub workers: u32,
    /// Length of the run, seconds.
    pub seconds: u32,
    /// Whether coordinator and workers had a core each.
    pub pinned: bool,
    /// Mean size of a delta on the wire, bytes.
    pub delta_bytes: usize,
    /// The minutes of the run.
    pub minutes: Vec<Minute>,
    /// The whole run.
    pub whole: Minute,
    /// The busiest second of the coordinator, cores.
    pub cpu_max: f64,
    /// Resident memory once the fleet has joined, before the run, bytes.
    pub joined_rss_bytes: u64,
    /// Growth of resident memory after the warm-up, bytes in a minute; `None` for a run that ends before.
    pub slope_bytes: Option<f64>,
    /// Resident memory at the end of the warm-up, bytes.
    pub warm_rss_bytes: u64,
    /// Size of the store once it is closed, bytes.
    pub store_bytes: u64,
    /// 99th percentile of how late the bench itself handed deltas over, µs.
    pub own_late_p99_us: u64,
    /// CPU of the bench, cores.
    pub own_cpu: f64,
}

/// A stretch of the run.
#[derive(Clone, Debug, Default)]
pub struct Minute {
    /// CPU of the coordinator, cores.
    pub cpu: f64,
    /// Resident memory at its end, bytes.
    pub rss_bytes: u64,
    /// Size of the store at its end, bytes.
    pub store_bytes: u64,
    /// From the end of the interval to the acknowledgement: p50, p99 and maximum, µs.
    pub commit_us: [u64; 3],
    /// Run time − watermark: p50, p99 and maximum, µs.
    pub lag_us: [u64; 3],
}

/// A figure beside what is asked of it.
#[derive(Clone, Debug)]
pub struct Bar {
    /// What it is about.
    pub name: &'static str,
    /// The figure.
    pub seen: String,
    /// Whether it is good enough; `None` where it cannot be said.
    pub holds: Option<bool>,
}

impl Figures {
    pub(super) fn new(
        options: &Options,
        pinned: bool,
        observed: &Observed,
        tally: &Tally,
        pool: &Pool,
        store_bytes: u64,
    ) -> Self {
        let samples = &observed.samples;
        let commits = tally.commits();
        let lags = |from: u64, to: u64| {
            let within = observed.lags.iter().filter(|(at, _)| (from..to).contains(at));
            spread(within.map(|(_, lag)| *lag).collect())
        };
        let minutes = samples
            .windows(61)
            .step_by(60)
            .zip(0u64..)
            .map(|(samples, minute)| Minute {
                commit_us: commits.get(minute as usize).map_or([0; 3], times),
                lag_us: lags(minute * 60_000_000, (minute + 1) * 60_000_000),
                ..stretch(samples)
            });
        let mut all = Packed::default();
        for minute in &commits {
            all.merge(minute).expect("a bench makes few deltas");
        }
        let whole = Minute {
            commit_us: times(&all),
            lag_us: lags(0, u64::MAX),
            ..stretch(samples)
        };
        let own = samples
            .first()
            .zip(samples.last())
            .map(|(first, last)| cores(first, last, |s| s.own_cpu_us));
        Self {
            workers: options.workers,
            seconds: options.seconds,
            pinned,
            delta_bytes: pool.mean_bytes(),
            minutes: minutes.collect(),
            whole,
            cpu_max: samples
                .windows(2)
                .map(|pair| cores(&pair[0], &pair[1], |s| s.cpu_us))
                .fold(0.0, f64::max),
            joined_rss_bytes: observed.joined.rss_bytes,
            slope_bytes: (samples.get(WARM_UP_S..))
                .filter(|rest| rest.len() >= GROWTH_S)
                .map(slope),
            warm_rss_bytes: samples.get(WARM_UP_S).map_or(0, |sample| sample.rss_bytes),
            store_bytes,
            own_late_p99_us: times(&tally.own())[1],
            own_cpu: own.unwrap_or(0.0),
        }
    }

    /// The bars.
    pub fn bars(&self) -> Vec<Bar> {
        let lag = self.whole.lag_us[2];
        let growth = (self.slope_bytes).map(|slope| slope * GROWTH_MINUTES / self.warm_rss_bytes.max(1) as f64);
        let busiest = self
            .minutes
            .iter()
            .map(|minute| minute.cpu)
            .fold(self.whole.cpu, f64::max);
        let lag_seen = if lag < LAG_SEEN_MAX_US {
            format!("at most {:.2} s", lag as f64 / 1e6)
        } else {
            "so much that it went on without somebody".to_owned()
        };
        vec![
            Bar {
                name: "coordinator under one core (0.95 in the busiest minute)",
                seen: format!("{:.2} cores, {busiest:.2} in the busiest minute", self.whole.cpu),
                holds: Some(busiest < CORES_MAX),
            },
            Bar {
                name: "watermark lag under 2 s",
                seen: lag_seen,
                holds: Some(lag < LAG_MAX_US),
            },
            Bar {
                name: "memory flat (5 % in five minutes)",
                seen: growth.map_or("a run of ten minutes tells".to_owned(), |growth| {
                    format!("{:+.1} % in five minutes", growth * 100.0)
                }),
                holds: growth.map(|growth| growth < GROWTH_MAX),
            },
        ]
    }
}

fn stretch(samples: &[Sample]) -> Minute {
    let Some((first, last)) = samples.first().zip(samples.last()) else {
        return Minute::default();
    };
    Minute {
        cpu: cores(first, last, |sample| sample.cpu_us),
        rss_bytes: last.rss_bytes,
        store_bytes: last.store_bytes,
        ..Minute::default()
    }
}

fn cores(from: &Sample, to: &Sample, of: fn(&Sample) -> u64) -> f64 {
    let wall = to.at_us.saturating_sub(from.at_us).max(1);
    of(to).saturating_sub(of(from)) as f64 / wall as f64
}

/// p50, p99 and maximum.
fn times(sketch: &Packed) -> [u64; 3] {
    let value = |index: Option<u32>| index.map_or(0, highest);
    [
        value(sketch.quantile_index(500_000_000)),
        value(sketch.quantile_index(990_000_000)),
        value(sketch.last_index()),
    ]
}

/// The same of single values.
fn spread(mut values: Vec<u64>) -> [u64; 3] {
    values.sort_unstable();
    let rank = |q| barrage_model::sketch::rank(q, values.len() as u64) as usize;
    let at = |rank: usize| {
        rank.checked_sub(1)
            .and_then(|place| values.get(place))
            .copied()
            .unwrap_or(0)
    };
    [
        at(rank(500_000_000)),
        at(rank(990_000_000)),
        values.last().copied().unwrap_or(0),
    ]
}

/// The slope of the line of least squares through resident memory, bytes in a minute.
fn slope(samples: &[Sample]) -> f64 {
    let n = samples.len() as f64;
    let x = |sample: &Sample| (sample.at_us - samples[0].at_us) as f64 / 60e6;
    let y = |sample: &Sample| sample.rss_bytes as f64;
    let (mean_x, mean_y) = (
        samples.iter().map(x).sum::<f64>() / n,
        samples.iter().map(y).sum::<f64>() / n,
    );
    let over: f64 = samples
        .iter()
        .map(|sample| (x(sample) - mean_x) * (y(sample) - mean_y))
        .sum();
    let under: f64 = samples.iter().map(|sample| (x(sample) - mean_x).powi(2)).sum();
    over / under
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slope_is_that_of_the_line() {
        let sample = |second: u64| Sample {
            at_us: 7_000_000 + second * 1_000_000,
            rss_bytes: 1_000 + second * 5,
            ..Sample::default()
        };
        let samples: Vec<Sample> = (0..100).map(sample).collect();
        assert!((slope(&samples) - 300.0).abs() < 1e-6);
    }

    #[test]
    fn a_spread_is_by_rank() {
        assert_eq!(spread((1..=100).rev().collect()), [50, 99, 100]);
        assert_eq!(spread(vec![7]), [7, 7, 7]);
        assert_eq!(spread(Vec::new()), [0, 0, 0]);
    }
}
