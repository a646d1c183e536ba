//! Values that are made on the worker.

use std::fmt;

/// The longest random text, in characters.
pub const RANDOM_LENGTH_MAX: u32 = 65_536;

/// A function call in a splice. Everything random is drawn from the run's seed, the arrival's index and the call's
/// place in the plan, so any fleet makes the same values.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Function {
    /// `uuid()`: a version 4 UUID.
    Uuid,
    /// `unique_id()`: a text that no other call in the whole run yields, whatever the fleet.
    UniqueId,
    /// `random_int(lo, hi)`: an integer from `lo` to `hi`, both included.
    RandomInt {
        /// Least value.
        lo: i64,
        /// Greatest value, not below `lo`.
        hi: i64,
    },
    /// `random_float(lo, hi)`: a decimal from `lo` to `hi`, both included, in steps of a millionth.
    RandomFloat {
        /// Least value.
        lo: Decimal,
        /// Greatest value, not below `lo`.
        hi: Decimal,
    },
    /// `random_string(len)`: letters and digits.
    RandomString {
        /// Characters, 1 to [`RANDOM_LENGTH_MAX`].
        len: u32,
    },
    /// `random_hex(len)`: lower-case hexadecimal digits.
    RandomHex {
        /// Characters, 1 to [`RANDOM_LENGTH_MAX`].
        len: u32,
    },
    /// `pick("a", "b")`: one of the given texts, each as likely as it is often given; at least one.
    Pick(Vec<String>),
    /// `counter("name")`: a number that no other iteration gets from this counter. It is the iteration's own index in
    /// the global sequence, so it counts 0, 1, 2, … over the fleet in due order and every use of the same name in one
    /// iteration yields the same number; numbers of arrivals that were never started are left out.
    Counter(String),
    /// `timestamp()`: seconds since 1970, an integer.
    Timestamp,
    /// `timestamp_ms()`: milliseconds since 1970, an integer.
    TimestampMs,
    /// `iso_time()`: the time in UTC as `2026-01-31T23:59:59.123Z`.
    IsoTime,
    /// `iteration()`: the iteration's index in the global sequence, from 0.
    Iteration,
    /// `user()`: the virtual user's number, from 0.
    User,
    /// `worker()`: the worker's number, from 0.
    Worker,
    /// `scenario()`: the scenario's name.
    Scenario,
    /// `run_id()`: the run's id.
    RunId,
    /// `target()`: the base URL of the step's target.
    Target,
}

impl Function {
    /// Every function's word, in the order in which they are documented.
    pub const WORDS: [&'static str; 17] = [
        "uuid",
        "unique_id",
        "random_int",
        "random_float",
        "random_string",
        "random_hex",
        "pick",
        "counter",
        "timestamp",
        "timestamp_ms",
        "iso_time",
        "iteration",
        "user",
        "worker",
        "scenario",
        "run_id",
        "target",
    ];

    /// The function of this word that takes no arguments.
    pub(super) fn without_arguments(word: &str) -> Option<Self> {
        Some(match word {
            "uuid" => Self::Uuid,
            "unique_id" => Self::UniqueId,
            "timestamp" => Self::Timestamp,
            "timestamp_ms" => Self::TimestampMs,
            "iso_time" => Self::IsoTime,
            "iteration" => Self::Iteration,
            "user" => Self::User,
            "worker" => Self::Worker,
            "scenario" => Self::Scenario,
            "run_id" => Self::RunId,
            "target" => Self::Target,
            _ => return None,
        })
    }

    /// The word by which the function is called.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Uuid => "uuid",
            Self::UniqueId => "unique_id",
            Self::RandomInt { .. } => "random_int",
            Self::RandomFloat { .. } => "random_float",
            Self::RandomString { .. } => "random_string",
            Self::RandomHex { .. } => "random_hex",
            Self::Pick(_) => "pick",
            Self::Counter(_) => "counter",
            Self::Timestamp => "timestamp",
            Self::TimestampMs => "timestamp_ms",
            Self::IsoTime => "iso_time",
            Self::Iteration => "iteration",
            Self::User => "user",
            Self::Worker => "worker",
            Self::Scenario => "scenario",
            Self::RunId => "run_id",
            Self::Target => "target",
        }
    }
}

/// A decimal number in millionths, so that no host rounds it differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Decimal(pub i64);

impl Decimal {
    /// Millionths in one.
    pub const ONE: i64 = 1_000_000;

    /// Reads `-12`, `0.25` or `3.141592`; `None` for anything else, more than six decimals, or overflow.
    pub fn parse(text: &str) -> Option<Self> {
        let (negative, digits) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
        let (whole, part) = digits.split_once('.').unwrap_or((digits, "0"));
        let plain = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
        if !plain(whole) || !plain(part) || part.len() > 6 {
            return None;
        }
        let whole: i64 = whole.parse().ok()?;
        let part: i64 = format!("{part:0<6}").parse().ok()?;
        let size = i128::from(whole) * i128::from(Self::ONE) + i128::from(part);
        i64::try_from(if negative { -size } else { size }).ok().map(Self)
    }
}

impl fmt::Display for Decimal {
    /// The shortest form that reads back to the same number.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let size = self.0.unsigned_abs();
        let one = Self::ONE.unsigned_abs();
        let sign = if self.0 < 0 { "-" } else { "" };
        write!(f, "{sign}{}", size / one)?;
        match size % one {
            0 => Ok(()),
            part => write!(f, ".{}", format!("{part:06}").trim_end_matches('0')),
        }
    }
}
