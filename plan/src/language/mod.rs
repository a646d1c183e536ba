//! The plan language as data: every object with its keys, what each may hold, and one line that says what it is for.
//!
//! The decoders, the JSON Schema and the reference are all driven by these tables, so they cannot drift apart.

mod load;
mod network;
mod plan;
mod request;
mod steps;

use std::time::Duration;

pub(crate) use load::{
    HOLD, ITERATIONS, LOAD, PAUSE, RAMP, SPIKE, STAGE, STEPPED, USER_HOLD, USER_RAMP, USER_STAGE, USER_STEPPED, USERS,
};
pub(crate) use network::{CEILINGS, CLIENT_REUSE, DNS, NETWORK, TAG, TLS, WORKERS};
pub(crate) use plan::{DATA, DEFAULTS, PLAN, SCENARIO, SCENARIO_LOAD, SLA, TARGET};
pub(crate) use request::{AUTH, BASIC, EXPECT, EXTRACT, HEADER_MATCHER, JSON_MATCHER, PART, REQUEST, SIZE_RANGE};
pub(crate) use steps::{GROUP, IF, REPEAT, STEP, UNTIL};

/// A map with known keys.
pub(crate) struct Object {
    /// Its name in the schema and the reference.
    pub(crate) name: &'static str,
    /// What it is.
    pub(crate) doc: &'static str,
    pub(crate) keys: &'static [Key],
    /// Sets of keys that exclude each other.
    pub(crate) choices: &'static [Choice],
}

/// One key of an object.
pub(crate) struct Key {
    pub(crate) name: &'static str,
    pub(crate) shape: Shape,
    pub(crate) doc: &'static str,
    pub(crate) required: bool,
    /// What holds when the key is absent, as shown to people.
    pub(crate) default: Option<&'static str>,
}

/// Keys of which exactly one (or at most one) may be given.
pub(crate) struct Choice {
    pub(crate) keys: &'static [&'static str],
    pub(crate) required: bool,
}

/// What a value may be.
pub(crate) enum Shape {
    /// `true` or `false`.
    Flag,
    /// A whole number.
    Whole { min: u64, max: u64 },
    /// A decimal number, not negative.
    Decimal,
    /// A duration.
    Duration { min: Duration, max: Duration },
    /// A duration or two with `..` between.
    Delay,
    /// A rate; not zero unless `zero`.
    Rate { zero: bool },
    /// A number of bytes.
    Size { max: u64 },
    /// Two numbers of bytes with `..` between, or one.
    SizeSpan,
    /// A share.
    Ratio { max_ppb: u64 },
    /// One of some words.
    Word(&'static [&'static str]),
    /// A name for templates: a letter or `_`, then letters, digits, `_`, `-`.
    Name,
    /// Text without control characters, 1 to so many characters.
    Text { max: usize },
    /// Any text.
    Any,
    /// Text with splices.
    Template,
    /// A condition on variables.
    Condition,
    /// An SLA expression.
    Expression,
    /// A phase of the run.
    Phase,
    /// A regular expression.
    Regex,
    /// A JSONPath.
    JsonPath,
    /// `http(s)://host[:port][/path]`.
    Url,
    /// `http://host:port` of a proxy.
    ProxyUrl,
    /// An IP address.
    Address,
    /// `host:port:address`.
    Resolve,
    /// A file beside the plan.
    Path,
    /// A status, a range or a class.
    Status,
    /// Any value, sent or compared as JSON.
    Json,
    /// A map with known keys.
    Object(&'static Object),
    /// A list.
    List { of: &'static Shape, min: usize, max: usize },
    /// A map from names to values.
    Map { of: &'static Shape, max: usize },
    /// Any of these.
    OneOf(&'static [Shape]),
    /// Known, but refused: what it needs comes later.
    Later,
}

/// A step of the largest sizes used in the tables.
pub(crate) const NAME_MAX: usize = 100;
const HOUR: Duration = Duration::from_hours(1);
const WEEK: Duration = barrage_model::units::DURATION_MAX;
const MICRO: Duration = Duration::from_micros(1);

/// Any duration up to an hour, zero included.
const UP_TO_HOUR: Shape = Shape::Duration {
    min: Duration::ZERO,
    max: HOUR,
};
/// A duration that takes time.
const LENGTH: Shape = Shape::Duration { min: MICRO, max: WEEK };
const TEXT: Shape = Shape::Text { max: NAME_MAX };
const FULL_SHARE: u64 = 1_000_000_000;
const USERS_RANGE: Shape = Shape::Whole { min: 1, max: 1_000_000 };
const LEVEL: Shape = Shape::Whole { min: 0, max: 1_000_000 };

const fn key(name: &'static str, shape: Shape, doc: &'static str) -> Key {
    Key {
        name,
        shape,
        doc,
        required: false,
        default: None,
    }
}

const fn need(name: &'static str, shape: Shape, doc: &'static str) -> Key {
    Key {
        name,
        shape,
        doc,
        required: true,
        default: None,
    }
}

const fn or(name: &'static str, shape: Shape, default: &'static str, doc: &'static str) -> Key {
    Key {
        name,
        shape,
        doc,
        required: false,
        default: Some(default),
    }
}

const fn one_of(keys: &'static [&'static str]) -> Choice {
    Choice { keys, required: true }
}

const fn at_most_one(keys: &'static [&'static str]) -> Choice {
    Choice { keys, required: false }
}

impl Object {
    /// The key of this name.
    pub(crate) fn key(&self, name: &str) -> Option<&'static Key> {
        self.keys.iter().find(|key| key.name == name)
    }

    /// The names of the keys.
    pub(crate) fn names(&self) -> impl Iterator<Item = &'static str> {
        self.keys.iter().map(|key| key.name)
    }
}

impl Shape {
    /// What a value must be, with an article.
    pub(crate) fn expected(&self) -> String {
        use barrage_model::units::format_duration;
        match self {
            Self::Flag => "`true` or `false`".to_owned(),
            Self::Whole { min, max } => format!("a whole number from {min} to {max}"),
            Self::Decimal => "a number such as 0.25".to_owned(),
            Self::Duration { min, max } if min.is_zero() && *max == WEEK => {
                "a duration such as 250ms or 1m30s".to_owned()
            }
            Self::Duration { min, max } if min.is_zero() => format!("a duration of at most {}", format_duration(*max)),
            Self::Duration { min, max } => {
                format!("a duration from {} to {}", format_duration(*min), format_duration(*max))
            }
            Self::Delay => "a duration such as 1s or a range such as 1s..3s".to_owned(),
            Self::Rate { .. } => "a rate such as 500/s or 30k/m".to_owned(),
            Self::Size { .. } => "a size such as 512B or 10MiB".to_owned(),
            Self::SizeSpan => "a size such as 512B or a range such as 1KiB..2KiB".to_owned(),
            Self::Ratio { .. } => "a ratio such as 1% or 0.999".to_owned(),
            Self::Word(words) => crate::problem::either(words.iter().copied()),
            Self::Name => "a name: a letter or `_`, then letters, digits, `_` or `-`".to_owned(),
            Self::Text { max } => format!("1 to {max} characters on one line"),
            Self::Any => "text".to_owned(),
            Self::Template => "text, which may use `${…}`".to_owned(),
            Self::Condition => "a condition such as status == 200".to_owned(),
            Self::Expression => "an expression such as p95 < 250ms".to_owned(),
            Self::Phase => "a phase such as steady or stage(peak)".to_owned(),
            Self::Regex => "a regular expression".to_owned(),
            Self::JsonPath => "a JSONPath such as $.items[0].id".to_owned(),
            Self::Url => "a URL such as http://127.0.0.1:8080".to_owned(),
            Self::ProxyUrl => "a proxy such as http://127.0.0.1:3128".to_owned(),
            Self::Address => "an IP address such as 127.0.0.2".to_owned(),
            Self::Resolve => "`host:port:address` such as example.com:443:127.0.0.1".to_owned(),
            Self::Path => "the path of a file beside the plan".to_owned(),
            Self::Status => "a status such as 200, 2xx or 201..204".to_owned(),
            Self::Json => "a value".to_owned(),
            Self::Object(object) => format!("a map with {}", crate::problem::either(object.names())),
            Self::List { of, .. } => format!("a list, each entry {}", of.expected()),
            Self::Map { .. } => "a map from names to values".to_owned(),
            Self::OneOf(shapes) => shapes.iter().map(Self::expected).collect::<Vec<_>>().join(", or "),
            Self::Later => "a key of this version".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests;
