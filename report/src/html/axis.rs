//! Scales of charts and where their ticks stand.

use crate::number::{count, decimal};

/// How values become places, 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Scale {
    /// From the first value to the second.
    Linear(f64, f64),
    /// From the first value to the second, both above 0, equal ratios on equal lengths.
    Log(f64, f64),
}

/// A ratio of largest to smallest value above which a linear scale hides the small ones.
const LOG_ABOVE: f64 = 100.0;

impl Scale {
    /// Where a value stands; outside the scale it is held at its end.
    pub(super) fn place(self, value: f64) -> f64 {
        let place = match self {
            Self::Linear(from, to) => (value - from) / (to - from),
            Self::Log(from, to) => (value.max(from) / from).ln() / (to / from).ln(),
        };
        if place.is_finite() { place.clamp(0.0, 1.0) } else { 0.0 }
    }

    /// A scale for values: from 0, or logarithmic where they differ too much.
    pub(super) fn fitting(values: impl Iterator<Item = f64>, may_be_log: bool) -> Self {
        let (mut least, mut most) = (f64::INFINITY, 0.0f64);
        for value in values.filter(|value| value.is_finite() && *value >= 0.0) {
            most = most.max(value);
            if value > 0.0 {
                least = least.min(value);
            }
        }
        if may_be_log && most > least * LOG_ABOVE {
            return Self::Log(10f64.powf(least.log10().floor()), most * 1.1);
        }
        if most <= 0.0 {
            return Self::Linear(0.0, 1.0);
        }
        let step = nice_step(most / 4.0);
        Self::Linear(0.0, (most * 1.05 / step).ceil() * step)
    }

    /// Values for ticks, rising.
    pub(super) fn ticks(self) -> Vec<f64> {
        match self {
            Self::Linear(from, to) => {
                let step = nice_step((to - from) / 4.0);
                (0..=12)
                    .map(|n| from + f64::from(n) * step)
                    .take_while(|tick| *tick <= to + step * 1e-6)
                    .collect()
            }
            Self::Log(from, to) => {
                let first = from.log10().round() as i32;
                (first..first + 12)
                    .map(|n| 10f64.powi(n))
                    .take_while(|tick| *tick <= to)
                    .collect()
            }
        }
    }

    /// Whether the scale is logarithmic.
    pub(super) fn is_log(self) -> bool {
        matches!(self, Self::Log(..))
    }
}

/// 1, 2 or 5 times a power of ten, at least `rough`.
fn nice_step(rough: f64) -> f64 {
    let power = 10f64.powf(rough.log10().floor());
    let ratio = rough / power;
    let nice = if ratio <= 1.0 {
        1.0
    } else if ratio <= 2.0 {
        2.0
    } else if ratio <= 5.0 {
        5.0
    } else {
        10.0
    };
    nice * power
}

/// Run time of ticks, in whole seconds: at most about ten.
pub(super) fn time_ticks(end_s: f64) -> Vec<f64> {
    const STEPS: [u32; 16] = [
        1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1_800, 3_600, 7_200, 21_600, 43_200, 86_400,
    ];
    let step = STEPS.into_iter().map(f64::from).find(|step| end_s / step <= 10.0);
    let step = step.unwrap_or(end_s / 10.0).max(1.0);
    (0..=10)
        .map(|n| f64::from(n) * step)
        .take_while(|tick| *tick <= end_s)
        .collect()
}

/// Run time: `45 s`, `2:30`, `1:02:30`.
pub(super) fn time_label(s: f64, end_s: f64) -> String {
    let s = s.round() as u64;
    let (hours, minutes, seconds) = (s / 3_600, s / 60 % 60, s % 60);
    if end_s <= 120.0 {
        format!("{s} s")
    } else if end_s <= 3_600.0 {
        format!("{}:{seconds:02}", s / 60)
    } else {
        format!("{hours}:{minutes:02}:{seconds:02}")
    }
}

/// Microseconds of a tick, without digits that say nothing: `50 ms`.
pub(super) fn micros_label(us: f64) -> String {
    let (value, unit) = match us {
        us if us >= 1e6 => (us / 1e6, "s"),
        us if us >= 1e3 => (us / 1e3, "ms"),
        us => (us, "µs"),
    };
    let text = format!("{value:.3}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if us == 0.0 {
        "0".to_owned()
    } else {
        format!("{text} {unit}")
    }
}

/// A rate of a tick: `500`.
pub(super) fn rate_label(per_s: f64) -> String {
    if per_s.fract() == 0.0 && per_s >= 0.0 {
        count(per_s as u64)
    } else {
        decimal(per_s)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_cover_the_values() {
        let scale = Scale::fitting([3.0, 480.0].into_iter(), false);
        assert_eq!(scale.ticks(), [0.0, 200.0, 400.0, 600.0]);
        let scale = Scale::fitting([2_300.0, 9_000_000.0].into_iter(), true);
        let labels: Vec<String> = scale.ticks().into_iter().map(micros_label).collect();
        assert_eq!(labels, ["1 ms", "10 ms", "100 ms", "1 s"]);
        assert_eq!(
            time_ticks(45.0),
            [0.0, 5.0, 10.0, 15.0, 20.0, 25.0, 30.0, 35.0, 40.0, 45.0]
        );
        assert_eq!(time_label(150.0, 600.0), "2:30");
        assert_eq!(time_label(3_750.0, 7_200.0), "1:02:30");
    }

    #[test]
    fn nothing_and_nonsense_have_a_scale_too() {
        for values in [vec![], vec![0.0], vec![f64::NAN], vec![-1.0]] {
            let scale = Scale::fitting(values.into_iter(), true);
            assert_eq!(scale, Scale::Linear(0.0, 1.0));
            assert!(scale.ticks().len() > 2);
        }
        assert!(time_ticks(0.0).len() == 1 && time_ticks(1e9).len() <= 11);
        assert!(Scale::Linear(0.0, 1.0).place(f64::NAN).abs() < 1e-9);
    }
}
