//! The arithmetic of comparisons: medians, ranges, paired ratios with their interval, and the verdict beside a bar.

/// Level of the interval around a median.
pub(crate) const LEVEL: f64 = 0.9;
/// Fewest rounds that a figure is judged on.
pub(crate) const ROUNDS_MIN: usize = 7;
/// How far below the bar the lower end of the interval may lie.
pub(crate) const SLACK: f64 = 0.05;

/// A median with the smallest and the largest value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Spread {
    /// The middle value; of an even number, the mean of the two in the middle.
    pub(crate) median: f64,
    /// Smallest.
    pub(crate) min: f64,
    /// Largest.
    pub(crate) max: f64,
}

impl Spread {
    /// Of all values that are numbers; `None` when there is none.
    pub(crate) fn of(values: &[f64]) -> Option<Self> {
        let sorted = sorted(values);
        let (min, max) = (*sorted.first()?, *sorted.last()?);
        Some(Self {
            median: median(&sorted),
            min,
            max,
        })
    }
}

/// A median with the interval that holds the true median with a probability of at least [`LEVEL`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Interval {
    /// The median of the values.
    pub(crate) median: f64,
    /// Lower end: one of the values.
    pub(crate) low: f64,
    /// Upper end: one of the values.
    pub(crate) high: f64,
    /// The probability that belongs to these ends, from the binomial distribution; no assumption on the values' own.
    pub(crate) coverage: f64,
    /// Number of values.
    pub(crate) rounds: usize,
}

impl Interval {
    /// The narrowest pair of order statistics x(k), x(n + 1 − k) whose coverage 1 − 2·P(Bin(n, ½) < k) reaches the
    /// level. `None` below five values, where even the whole range covers less.
    pub(crate) fn of(values: &[f64]) -> Option<Self> {
        let sorted = sorted(values);
        let rounds = sorted.len();
        let (mut tail, mut weight) = (0.0, 0.5_f64.powi(i32::try_from(rounds).ok()?));
        let mut best = None;
        for k in 1..=rounds / 2 {
            // P(Bin(n, ½) = k − 1) joins the tail.
            tail += weight;
            weight *= (rounds + 1 - k) as f64 / k as f64;
            let coverage = 1.0 - 2.0 * tail;
            if coverage < LEVEL {
                break;
            }
            best = Some((k, coverage));
        }
        let (k, coverage) = best?;
        Some(Self {
            median: median(&sorted),
            low: sorted[k - 1],
            high: sorted[rounds - k],
            coverage,
            rounds,
        })
    }
}

/// How a figure compares with its bar.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Verdict {
    /// The bar is reached.
    Met,
    /// The bar is not reached.
    Missed,
    /// There is not enough to judge by; the text says what is missing.
    NotJudged(String),
    /// The bar does not hold under these conditions; the text says why.
    NotAsked(String),
}

impl Verdict {
    /// The word in tables.
    pub(crate) fn shown(&self) -> String {
        match self {
            Self::Met => "met".to_owned(),
            Self::Missed => "**missed**".to_owned(),
            Self::NotJudged(reason) | Self::NotAsked(reason) => format!("not judged: {reason}"),
        }
    }
}

/// Judges paired ratios that should be large: the bar lies below the median, and the interval's lower end above the
/// bar − [`SLACK`].
pub(crate) fn at_least(bar: f64, ratios: &[f64]) -> Verdict {
    judged(ratios, |interval| bar < interval.median && interval.low > bar - SLACK)
}

/// Judges figures that should be small by their median alone.
pub(crate) fn at_most(bar: f64, values: &[f64]) -> Verdict {
    judged(values, |interval| interval.median <= bar)
}

/// As [`at_most`], the bar itself left out.
pub(crate) fn below(bar: f64, values: &[f64]) -> Verdict {
    judged(values, |interval| interval.median < bar)
}

fn judged(values: &[f64], reached: impl Fn(&Interval) -> bool) -> Verdict {
    match Interval::of(values) {
        Some(interval) if interval.rounds >= ROUNDS_MIN => {
            if reached(&interval) {
                Verdict::Met
            } else {
                Verdict::Missed
            }
        }
        _ => Verdict::NotJudged(format!("{} of {ROUNDS_MIN} rounds", sorted(values).len())),
    }
}

fn sorted(values: &[f64]) -> Vec<f64> {
    let mut sorted: Vec<f64> = values.iter().copied().filter(|value| value.is_finite()).collect();
    sorted.sort_unstable_by(f64::total_cmp);
    sorted
}

/// Of sorted values, at least one.
fn median(sorted: &[f64]) -> f64 {
    let half = sorted.len() / 2;
    if sorted.len() % 2 == 1 {
        sorted[half]
    } else {
        f64::midpoint(sorted[half - 1], sorted[half])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn interval(values: &[f64], want: Option<(f64, f64, f64, f64)>) {
        let found = Interval::of(values).map(|found| (found.median, found.low, found.high, found.coverage));
        assert_eq!(found, want);
    }

    #[test]
    fn medians_of_odd_and_even_numbers_of_values() {
        assert_eq!(
            Spread::of(&[3.0, 1.0, 2.0]),
            Some(Spread {
                median: 2.0,
                min: 1.0,
                max: 3.0
            })
        );
        assert_eq!(
            Spread::of(&[4.0, 1.0, 2.0, 3.0]),
            Some(Spread {
                median: 2.5,
                min: 1.0,
                max: 4.0
            })
        );
        assert_eq!(
            Spread::of(&[f64::NAN, 5.0]),
            Some(Spread {
                median: 5.0,
                min: 5.0,
                max: 5.0
            })
        );
        assert_eq!(Spread::of(&[]), None);
    }

    #[test]
    fn intervals_by_hand() {
        // n = 4: the whole range covers 1 − 2/16 = 0.875. n = 5: 1 − 2/32 = 0.9375.
        interval(&[1.0, 2.0, 3.0, 4.0], None);
        interval(&[5.0, 4.0, 3.0, 2.0, 1.0], Some((3.0, 1.0, 5.0, 0.9375)));
        // n = 7: k = 2 would cover 1 − 2·(1 + 7)/128 = 0.875, so it is the whole range: 1 − 2/128 = 0.984375.
        interval(&[7.0, 6.0, 5.0, 4.0, 3.0, 2.0, 1.0], Some((4.0, 1.0, 7.0, 0.984_375)));
        // n = 8: k = 2 covers 1 − 2·(1 + 8)/256 = 0.9296875.
        let eight: Vec<f64> = (1..=8).map(f64::from).collect();
        interval(&eight, Some((4.5, 2.0, 7.0, 0.929_687_5)));
        // n = 11: k = 3 covers 1 − 2·(1 + 11 + 55)/2048 = 0.9345703125.
        let eleven: Vec<f64> = (1..=11).map(f64::from).collect();
        interval(&eleven, Some((6.0, 3.0, 9.0, 0.934_570_312_5)));
    }

    #[test]
    fn the_bar_lies_below_the_median_and_the_lower_end_not_far_below_the_bar() {
        let ratios = |low: f64, median: f64| [low, median, median, median, median, median, median + 0.1];
        assert_eq!(at_least(1.15, &ratios(1.11, 1.16)), Verdict::Met);
        assert_eq!(at_least(1.15, &ratios(1.11, 1.15)), Verdict::Missed);
        assert_eq!(at_least(1.15, &ratios(1.09, 1.30)), Verdict::Missed);
        assert_eq!(
            at_least(1.15, &[2.0; 6]),
            Verdict::NotJudged("6 of 7 rounds".to_owned())
        );
    }

    #[test]
    fn a_limit_is_judged_by_the_median() {
        let values = [90.0, 99.0, 95.0, 100.0, 100.0, 300.0, 400.0];
        assert_eq!(at_most(100.0, &values), Verdict::Met);
        assert_eq!(at_most(99.9, &values), Verdict::Missed);
        assert_eq!(at_most(1.0, &[]), Verdict::NotJudged("0 of 7 rounds".to_owned()));
    }
}
