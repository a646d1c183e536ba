//! The right side of an expression.

use std::fmt;
use std::time::Duration;

use super::Dimension;
use crate::units::{Bytes, Rate, Ratio, format_duration, parse_bytes, parse_duration, parse_rate, parse_ratio};

/// What a metric is compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Threshold {
    /// A length of time, whole microseconds.
    Duration(Duration),
    /// A share; above 1 only for a quotient.
    Ratio(Ratio),
    /// Events per second.
    Rate(Rate),
    /// A number of events.
    Count(u64),
    /// A number of bytes.
    Bytes(Bytes),
    /// So many bytes per second.
    ByteRate(Bytes),
}

/// What a threshold should have been.
pub(super) struct Misfit {
    /// In words, with an article.
    pub(super) expected: String,
    /// The nearest valid spelling.
    pub(super) nearest: Option<String>,
}

impl Threshold {
    /// The unit.
    pub fn dimension(&self) -> Dimension {
        match self {
            Self::Duration(_) => Dimension::Duration,
            Self::Ratio(_) => Dimension::Ratio,
            Self::Rate(_) => Dimension::Rate,
            Self::Count(_) => Dimension::Count,
            Self::Bytes(_) => Dimension::Bytes,
            Self::ByteRate(_) => Dimension::ByteRate,
        }
    }

    /// Reads a threshold of the given dimension.
    pub(super) fn read(dimension: Dimension, text: &str) -> Result<Self, Misfit> {
        let bare = is_number(text);
        match dimension {
            Dimension::Duration => parse_duration(text).map(Self::Duration).map_err(|error| Misfit {
                expected: error.expected.to_owned(),
                // Tools that take bare numbers mean milliseconds.
                nearest: if bare && !text.contains('.') {
                    Some(format!("{text}ms"))
                } else {
                    error.hint
                },
            }),
            // `1` could mean 100% or 1%; the wrong guess would be an SLA that never fails.
            Dimension::Ratio if bare && !text.contains('.') && text != "0" => Err(Misfit {
                expected: "a ratio such as 1% or 0.999".to_owned(),
                nearest: Some(format!("{text}%")),
            }),
            Dimension::Ratio => parse_ratio(text).map(Self::Ratio).map_err(Misfit::from),
            Dimension::Rate => parse_rate(text).map(Self::Rate).map_err(Misfit::from),
            Dimension::Count => count(text).map(Self::Count),
            Dimension::Bytes => parse_bytes(text).map(Self::Bytes).map_err(Misfit::from),
            Dimension::ByteRate => byte_rate(text).map(Self::ByteRate),
        }
    }
}

impl From<crate::units::UnitError> for Misfit {
    fn from(error: crate::units::UnitError) -> Self {
        Self {
            expected: error.expected.to_owned(),
            nearest: error.hint,
        }
    }
}

fn is_number(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_digit() || b == b'.') && text.bytes().any(|b| b.is_ascii_digit())
}

fn count(text: &str) -> Result<u64, Misfit> {
    let expected = "a whole number such as 1000";
    if text.bytes().all(|b| b.is_ascii_digit())
        && let Ok(count) = text.parse()
    {
        return Ok(count);
    }
    let ungrouped: String = text.chars().filter(|c| !matches!(c, '_' | ',' | ' ' | '\'')).collect();
    let plain = !ungrouped.is_empty() && ungrouped.len() < 20 && ungrouped.bytes().all(|b| b.is_ascii_digit());
    Err(Misfit {
        expected: expected.to_owned(),
        nearest: plain.then_some(ungrouped),
    })
}

fn byte_rate(text: &str) -> Result<Bytes, Misfit> {
    let misfit = |nearest: Option<String>| Misfit {
        expected: "a byte rate such as 10MiB/s".to_owned(),
        nearest: nearest.map(|size| format!("{size}/s")),
    };
    if let Some(size) = text.strip_suffix("/s") {
        parse_bytes(size).map_err(|error| misfit(error.hint))
    } else {
        Err(misfit(parse_bytes(text).is_ok().then(|| text.to_owned())))
    }
}

impl Dimension {
    /// The dimension that a text with a unit has, for errors; `None` for bare numbers and for what has none.
    pub(super) fn of(text: &str) -> Option<Self> {
        if is_number(text) {
            return None;
        }
        [Self::Duration, Self::Ratio, Self::Rate, Self::Bytes, Self::ByteRate]
            .into_iter()
            .find(|&dimension| Threshold::read(dimension, text).is_ok())
    }

    /// The name with its article, for errors.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Duration => "a duration",
            Self::Ratio => "a ratio",
            Self::Rate => "a rate",
            Self::Count => "a count",
            Self::Bytes => "a size",
            Self::ByteRate => "a byte rate",
        }
    }
}

impl fmt::Display for Threshold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Duration(duration) => f.write_str(&format_duration(*duration)),
            Self::Ratio(ratio) => ratio.fmt(f),
            Self::Rate(rate) => rate.fmt(f),
            Self::Count(count) => count.fmt(f),
            Self::Bytes(bytes) => bytes.fmt(f),
            Self::ByteRate(bytes) => write!(f, "{bytes}/s"),
        }
    }
}
