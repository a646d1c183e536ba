//! Exact comparison of what was observed with a threshold: integers cross-multiplied, nothing rounded.

use std::cmp::Ordering;
use std::fmt;

use super::Threshold;

/// A comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Cmp {
    /// `<`
    Lt,
    /// `<=`
    Le,
    /// `>`
    Gt,
    /// `>=`
    Ge,
    /// `==`
    Eq,
    /// `!=`
    Ne,
}

impl Cmp {
    /// Every comparison; longer signs before their own beginnings, as a scanner needs them.
    pub const ALL: [Self; 6] = [Self::Le, Self::Ge, Self::Eq, Self::Ne, Self::Lt, Self::Gt];

    /// The sign.
    pub fn sign(self) -> &'static str {
        match self {
            Self::Lt => "<",
            Self::Le => "<=",
            Self::Gt => ">",
            Self::Ge => ">=",
            Self::Eq => "==",
            Self::Ne => "!=",
        }
    }

    /// Whether the comparison holds for a left side that is so ordered to the right one.
    pub fn accepts(self, left: Ordering) -> bool {
        match self {
            Self::Lt => left.is_lt(),
            Self::Le => left.is_le(),
            Self::Gt => left.is_gt(),
            Self::Ge => left.is_ge(),
            Self::Eq => left.is_eq(),
            Self::Ne => left.is_ne(),
        }
    }

    /// Whether the comparison is certain for a left side of which only a lower bound is known, so ordered to the
    /// right side. What is not proven does not hold: `<` never does.
    fn accepts_at_least(self, bound: Ordering) -> bool {
        match self {
            Self::Lt | Self::Le | Self::Eq => false,
            Self::Gt | Self::Ne => bound.is_gt(),
            Self::Ge => bound.is_ge(),
        }
    }
}

impl Cmp {
    /// Whether the comparison is certain for a left side between two values that are so ordered to the right side.
    fn accepts_all_between(self, least: Ordering, most: Ordering) -> bool {
        match self {
            Self::Ne => least.is_gt() || most.is_lt(),
            _ => self.accepts(least) && self.accepts(most),
        }
    }
}

impl fmt::Display for Cmp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.sign())
    }
}

/// What was observed of an operand, as the integers that were counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Observed {
    /// A latency, µs.
    Micros(u64),
    /// A latency that falls among censored samples: at least so many µs, shown as `≥ x`.
    AtLeastMicros(u64),
    /// A latency that so few censored samples can move that its most is known as well.
    MicrosBetween {
        /// What it is at least, µs.
        least: u64,
        /// What it is at most, were all censored samples endless, µs.
        most: u64,
    },
    /// A mean latency: the sum of the samples over their number.
    MeanMicros {
        /// Sum of the samples, µs.
        sum: u128,
        /// Number of samples.
        count: u64,
    },
    /// A mean latency of which some samples are censored, so that it is only a lower bound.
    AtLeastMeanMicros {
        /// Sum of the samples, µs.
        sum: u128,
        /// Number of samples.
        count: u64,
    },
    /// A share or quotient.
    Ratio {
        /// Above the line.
        part: u64,
        /// Below the line.
        whole: u64,
    },
    /// Events over a stretch of run time.
    PerSecond {
        /// Number of events.
        count: u64,
        /// Length of the stretch, µs.
        micros: u64,
    },
    /// A number of events.
    Count(u64),
    /// A number of bytes.
    Bytes(u64),
    /// Bytes over a stretch of run time.
    BytesPerSecond {
        /// Number of bytes.
        bytes: u64,
        /// Length of the stretch, µs.
        micros: u64,
    },
}

impl Observed {
    /// Whether the comparison holds. `None` where there is nothing to compare: a denominator of zero, or a threshold
    /// of another dimension.
    ///
    /// Of a lower bound only what it proves holds: `<`, `<=` and `==` never do. Of a value between two bounds holds what
    /// does for both.
    pub fn compare(&self, cmp: Cmp, threshold: &Threshold) -> Option<bool> {
        if let Self::MicrosBetween { least, most } = *self {
            let least = Self::Micros(least).order(threshold)?;
            let most = Self::Micros(most).order(threshold)?;
            return Some(cmp.accepts_all_between(least, most));
        }
        let order = self.order(threshold)?;
        Some(match self {
            Self::AtLeastMicros(_) | Self::AtLeastMeanMicros { .. } => cmp.accepts_at_least(order),
            _ => cmp.accepts(order),
        })
    }

    fn order(&self, threshold: &Threshold) -> Option<Ordering> {
        const MICROS: u128 = 1_000_000;
        let wide = u128::from;
        match (*self, *threshold) {
            (
                Self::Micros(micros) | Self::AtLeastMicros(micros) | Self::MicrosBetween { least: micros, .. },
                Threshold::Duration(limit),
            ) => Some((wide(micros) * 1_000).cmp(&limit.as_nanos())),
            (Self::MeanMicros { sum, count } | Self::AtLeastMeanMicros { sum, count }, Threshold::Duration(limit)) => {
                fractions(sum, wide(count), limit.as_nanos(), 1_000)
            }
            (Self::Ratio { part, whole }, Threshold::Ratio(limit)) => {
                fractions(wide(part), wide(whole), wide(limit.ppb()), 1_000_000_000)
            }
            (Self::PerSecond { count, micros }, Threshold::Rate(limit)) => {
                fractions(wide(count) * MICROS, wide(micros), wide(limit.micro()), MICROS)
            }
            (Self::Count(count), Threshold::Count(limit)) => Some(count.cmp(&limit)),
            (Self::Bytes(bytes), Threshold::Bytes(limit)) => Some(bytes.cmp(&limit.0)),
            (Self::BytesPerSecond { bytes, micros }, Threshold::ByteRate(limit)) => {
                fractions(wide(bytes) * MICROS, wide(micros), wide(limit.0), 1)
            }
            _ => None,
        }
    }
}

/// Orders a/b to c/d exactly; `None` if a denominator is zero. Compares whole parts first, so that no product can
/// overflow: the remainders are below the denominators, which are below 2⁶⁴.
fn fractions(a: u128, b: u128, c: u128, d: u128) -> Option<Ordering> {
    let (left, right) = (a.checked_div(b)?, c.checked_div(d)?);
    Some(left.cmp(&right).then_with(|| ((a % b) * d).cmp(&((c % d) * b))))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::units::{Bytes, Rate, Ratio};

    fn millis(ms: u64) -> Threshold {
        Threshold::Duration(Duration::from_millis(ms))
    }

    #[track_caller]
    fn check(rows: &[(Observed, Cmp, Threshold, Option<bool>)]) {
        for (observed, cmp, threshold, want) in rows {
            let holds = observed.compare(*cmp, threshold);
            assert_eq!(holds, *want, "{observed:?} {cmp} {threshold:?}");
        }
    }

    #[test]
    fn latencies_are_not_rounded() {
        let mean = |sum, count| Observed::MeanMicros { sum, count };
        check(&[
            (Observed::Micros(250_000), Cmp::Lt, millis(250), Some(false)),
            (Observed::Micros(250_000), Cmp::Le, millis(250), Some(true)),
            (Observed::Micros(249_999), Cmp::Lt, millis(250), Some(true)),
            (Observed::Micros(u64::MAX), Cmp::Gt, millis(1), Some(true)),
            (mean(1_000, 3), Cmp::Lt, millis(1), Some(true)),
            (mean(3_000_001, 3), Cmp::Gt, millis(1_000), Some(true)),
            (mean(3_000_000, 3), Cmp::Eq, millis(1_000), Some(true)),
            (mean(u128::MAX, u64::MAX), Cmp::Gt, millis(1_000), Some(true)),
            (mean(0, 0), Cmp::Lt, millis(1), None),
            (Observed::Count(7), Cmp::Lt, millis(1), None),
        ]);
    }

    #[test]
    fn rates_are_not_rounded() {
        let per_second = |count, micros| Observed::PerSecond { count, micros };
        let rate = Threshold::Rate(Rate::per_second(480));
        let bytes_per_second = |bytes, micros| Observed::BytesPerSecond { bytes, micros };
        let mib_per_second = Threshold::ByteRate(Bytes(1 << 20));
        check(&[
            (per_second(4_800, 10_000_000), Cmp::Gt, rate, Some(false)),
            (per_second(4_800, 10_000_000), Cmp::Ge, rate, Some(true)),
            (per_second(4_800, 10_000_000), Cmp::Eq, rate, Some(true)),
            (per_second(4_800, 9_999_999), Cmp::Gt, rate, Some(true)),
            (per_second(4_800, 10_000_001), Cmp::Ge, rate, Some(false)),
            (per_second(u64::MAX, 1), Cmp::Gt, rate, Some(true)),
            (per_second(1, 0), Cmp::Gt, rate, None),
            (
                bytes_per_second(3 << 20, 3_000_000),
                Cmp::Eq,
                mib_per_second,
                Some(true),
            ),
            (
                bytes_per_second((3 << 20) - 1, 3_000_000),
                Cmp::Lt,
                mib_per_second,
                Some(true),
            ),
        ]);
    }

    #[test]
    fn shares_and_counts_are_not_rounded() {
        let ratio = |part, whole| Observed::Ratio { part, whole };
        let percent = Threshold::Ratio(Ratio::from_ppb(10_000_000));
        check(&[
            (ratio(1, 100), Cmp::Lt, percent, Some(false)),
            (ratio(1, 100), Cmp::Eq, percent, Some(true)),
            (
                ratio(99_999_999_999_999_999, 9_999_999_999_999_999_999),
                Cmp::Lt,
                percent,
                Some(true),
            ),
            (ratio(u64::MAX, u64::MAX), Cmp::Gt, percent, Some(true)),
            (ratio(0, 0), Cmp::Lt, percent, None),
            (Observed::Count(7), Cmp::Ne, Threshold::Count(8), Some(true)),
            (Observed::Bytes(10), Cmp::Ge, Threshold::Bytes(Bytes(10)), Some(true)),
        ]);
    }

    #[test]
    fn a_lower_bound_proves_only_what_lies_below_it() {
        let observed = Observed::AtLeastMicros(1_000);
        for (cmp, limit_us, want) in [
            (Cmp::Lt, 2_000, false),
            (Cmp::Le, 2_000, false),
            (Cmp::Eq, 1_000, false),
            (Cmp::Gt, 999, true),
            (Cmp::Gt, 1_000, false),
            (Cmp::Ge, 1_000, true),
            (Cmp::Ge, 1_001, false),
            (Cmp::Ne, 999, true),
            (Cmp::Ne, 1_000, false),
            (Cmp::Ne, 1_001, false),
        ] {
            let threshold = Threshold::Duration(Duration::from_micros(limit_us));
            assert_eq!(
                observed.compare(cmp, &threshold),
                Some(want),
                "at least 1ms {cmp} {limit_us}us"
            );
        }
    }

    #[test]
    fn what_lies_between_two_bounds_holds_where_it_does_for_both() {
        let observed = Observed::MicrosBetween {
            least: 1_000,
            most: 2_000,
        };
        for (cmp, limit_us, want) in [
            (Cmp::Lt, 2_000, false),
            (Cmp::Lt, 2_001, true),
            (Cmp::Le, 1_999, false),
            (Cmp::Le, 2_000, true),
            (Cmp::Gt, 1_000, false),
            (Cmp::Gt, 999, true),
            (Cmp::Ge, 1_000, true),
            (Cmp::Ge, 1_001, false),
            (Cmp::Eq, 1_500, false),
            (Cmp::Eq, 1_000, false),
            (Cmp::Ne, 1_500, false),
            (Cmp::Ne, 999, true),
            (Cmp::Ne, 2_001, true),
        ] {
            let threshold = Threshold::Duration(Duration::from_micros(limit_us));
            assert_eq!(observed.compare(cmp, &threshold), Some(want), "{cmp} {limit_us}us");
        }
        assert_eq!(observed.compare(Cmp::Lt, &Threshold::Count(7)), None);
    }

    proptest! {
        #[test]
        fn fractions_are_ordered_as_their_cross_products(a: u64, b in 1..u64::MAX, c: u64, d in 1..u64::MAX) {
            let (a, b, c, d) = (u128::from(a), u128::from(b), u128::from(c), u128::from(d));
            prop_assert_eq!(fractions(a, b, c, d), Some((a * d).cmp(&(c * b))));
        }

        #[test]
        fn no_observation_panics(count: u64, micros: u64, sum: u128, limit: u64) {
            let limits = [
                Threshold::Duration(Duration::from_micros(limit)),
                Threshold::Ratio(Ratio::from_ppb(limit)),
                Threshold::Rate(Rate::from_micro(limit % 1_000_000).expect("within the ceiling")),
                Threshold::Count(limit),
                Threshold::Bytes(Bytes(limit)),
                Threshold::ByteRate(Bytes(limit)),
            ];
            let observed = [
                Observed::Micros(count),
                Observed::MeanMicros { sum, count },
                Observed::Ratio { part: count, whole: micros },
                Observed::PerSecond { count, micros },
                Observed::BytesPerSecond { bytes: count, micros },
            ];
            for limit in &limits {
                for value in &observed {
                    let less = value.compare(Cmp::Lt, limit);
                    let not_less = value.compare(Cmp::Ge, limit);
                    prop_assert_eq!(less.map(|holds| !holds), not_less);
                }
            }
        }
    }
}
