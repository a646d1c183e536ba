//! Rates, sizes, ratios and durations: one grammar for plans, flags and expressions.
//!
//! | kind | examples | suffixes |
//! |---|---|---|
//! | duration | `250ms`, `1m30s`, `1.5s` | `d h m s ms us`, largest first; only the last number may have decimals |
//! | rate | `500/s`, `30k/m`, `0.5/s` | `k` or `M`, then `/d /h /m /s /ms` |
//! | size | `512B`, `10MiB`, `1.5GB` | `B kB MB GB TB KiB MiB GiB TiB` |
//! | ratio | `1%`, `0.999` | `%` or none |
//!
//! All reading is integer arithmetic. What is shown reads back as the same value.

mod parse;

use std::{fmt, str::FromStr, time::Duration};

pub use parse::{parse_bytes, parse_duration, parse_rate, parse_ratio};

use crate::time::whole_micros;

/// The longest duration that a plan, a flag or an expression may name.
pub const DURATION_MAX: Duration = Duration::from_hours(7 * 24);

/// A rate of arrivals, over the whole fleet, in micro-arrivals per second. Zero is a rate: a ramp may begin there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Rate(u64);

impl Rate {
    /// No arrivals.
    pub const ZERO: Self = Self(0);
    /// The ceiling: 100 million arrivals per second.
    pub const MAX: Self = Self(100_000_000_000_000);

    /// Returns `None` above the ceiling of 100 million arrivals per second.
    pub fn from_micro(micro_per_s: u64) -> Option<Self> {
        (micro_per_s <= Self::MAX.0).then_some(Self(micro_per_s))
    }

    /// A whole number of arrivals per second; more than the ceiling gives [`Rate::MAX`].
    pub const fn per_second(arrivals: u32) -> Self {
        let micro = arrivals as u64 * 1_000_000;
        if micro > Self::MAX.0 { Self::MAX } else { Self(micro) }
    }

    /// Micro-arrivals per second.
    pub const fn micro(self) -> u64 {
        self.0
    }

    /// Arrivals per second, for display and comparison with measured rates.
    pub fn as_f64(self) -> f64 {
        self.0 as f64 / 1e6
    }

    /// Whether there are no arrivals at all.
    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }

    /// The rate times `ratio`, rounded down; `None` above the ceiling.
    pub fn scale(self, ratio: Ratio) -> Option<Self> {
        let micro = u128::from(self.0) * u128::from(ratio.ppb()) / u128::from(Ratio::ONE.ppb());
        u64::try_from(micro).ok().and_then(Self::from_micro)
    }
}

impl fmt::Display for Rate {
    /// Arrivals per second: `500/s`, `0.5/s`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/s", decimal(self.0, 6))
    }
}

impl FromStr for Rate {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        parse_rate(text)
    }
}

/// A number of bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Bytes(pub u64);

impl fmt::Display for Bytes {
    /// The largest unit that gives a whole number, binary before decimal: `10MiB`, `10MB`, `1001B`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (unit, size) in parse::BYTE_UNITS.iter().rev() {
            if self.0 >= *size && self.0.is_multiple_of(*size) {
                return write!(f, "{}{unit}", self.0 / size);
            }
        }
        write!(f, "{}B", self.0)
    }
}

impl FromStr for Bytes {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        parse_bytes(text)
    }
}

/// A ratio in parts per billion. May exceed one: `120%` is 1,200,000,000.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ratio(u64);

impl Ratio {
    /// 0%.
    pub const ZERO: Self = Self(0);
    /// 100%.
    pub const ONE: Self = Self(1_000_000_000);

    /// A ratio of `ppb` parts per billion.
    pub const fn from_ppb(ppb: u64) -> Self {
        Self(ppb)
    }

    /// Parts per billion.
    pub const fn ppb(self) -> u64 {
        self.0
    }

    /// The ratio as a float, for display and comparison with measured ratios.
    pub fn as_f64(self) -> f64 {
        self.0 as f64 / 1e9
    }
}

impl fmt::Display for Ratio {
    /// Percent: `99.9%`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", decimal(self.0, 7))
    }
}

impl FromStr for Ratio {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        parse_ratio(text)
    }
}

/// A duration in the grammar of [`parse_duration`]: `250ms`, `1.5s`, `1m30s`. Whole microseconds; a finer part is not
/// shown. Reads back as the same value up to [`DURATION_MAX`].
pub fn format_duration(duration: Duration) -> String {
    let micros = whole_micros(duration);
    match micros {
        0 => return "0s".to_owned(),
        1..1_000 => return format!("{micros}us"),
        1_000..1_000_000 => return format!("{}ms", decimal(micros, 3)),
        _ => {}
    }
    let mut text = String::new();
    let mut rest = micros;
    for (unit, size) in [("d", 86_400_000_000), ("h", 3_600_000_000), ("m", 60_000_000)] {
        if rest >= size {
            text.push_str(&(rest / size).to_string());
            text.push_str(unit);
            rest %= size;
        }
    }
    if rest > 0 {
        text.push_str(&decimal(rest, 6));
        text.push('s');
    }
    text
}

/// `value` / 10^`places` as a decimal without trailing zeros.
fn decimal(value: u64, places: u32) -> String {
    let one = 10u64.pow(places);
    let (whole, part) = (value / one, value % one);
    if part == 0 {
        return whole.to_string();
    }
    let digits = format!("{part:0width$}", width = places as usize);
    format!("{whole}.{}", digits.trim_end_matches('0'))
}

/// A text that is not a value of the wanted kind.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected {expected}, found {found:?}{}", self.question())]
pub struct UnitError {
    /// The text, cut after 64 characters.
    pub found: String,
    /// What would have been right, with an article: "a duration such as 250ms or 1m30s".
    pub expected: &'static str,
    /// The nearest spelling that is valid, if there is one.
    pub hint: Option<String>,
}

impl UnitError {
    fn question(&self) -> String {
        self.hint
            .as_ref()
            .map(|hint| format!("; did you mean {hint}?"))
            .unwrap_or_default()
    }
}

#[cfg(test)]
mod tests;
