//! The metrics and what narrows them.

use crate::delta::Measure;
use crate::ledger::{IterationCounts, StepCounts};
use crate::outcome::FailureClass;

/// The most tags in one selector.
pub const TAGS_MAX: usize = 16;

/// A value that the ledger or a sketch yields.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Metric {
    /// Which value.
    pub kind: MetricKind,
    /// Over which steps, scenarios and tags.
    pub select: Selector,
}

/// Which value a metric is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MetricKind {
    /// A statistic of a latency.
    Latency {
        /// Which statistic.
        stat: Stat,
        /// Of which latency.
        measure: Measure,
        /// Over which samples.
        outcomes: Outcomes,
    },
    /// A share, 0 to 1.
    Ratio(RatioMetric),
    /// Events per second of run time.
    Rate(RateMetric),
    /// A number of events.
    Count(Count),
    /// A number of bytes.
    Bytes(ByteCount),
    /// Bytes per second of run time.
    ByteRate(ByteRate),
}

/// The unit of a metric, and so of its threshold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Dimension {
    /// A length of time: `250ms`.
    Duration,
    /// A share: `1%` or `0.01`.
    Ratio,
    /// Events per second: `480/s`.
    Rate,
    /// A whole number: `1000`.
    Count,
    /// Bytes: `10MiB`.
    Bytes,
    /// Bytes per second: `10MiB/s`.
    ByteRate,
}

/// A statistic of a latency.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Stat {
    /// `min`: the least sample.
    Min,
    /// `mean`: the sum of the samples over their number.
    Mean,
    /// `max`: the greatest sample.
    Max,
    /// `p95`: the least sample that so many of all samples do not exceed; `median` is `p50`.
    Quantile(Quantile),
}

/// A quantile in millionths, 1 to 999,999: `p99.99` is 999,900.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Quantile(u32);

impl Quantile {
    /// The median.
    pub const MEDIAN: Self = Self(500_000);

    /// `None` outside 1 to 999,999.
    pub fn from_millionths(millionths: u32) -> Option<Self> {
        (1..=999_999).contains(&millionths).then_some(Self(millionths))
    }

    /// The quantile in millionths.
    pub fn millionths(self) -> u32 {
        self.0
    }

    /// The rank of the quantile among `count` samples in ascending order: ⌈q·n⌉, from 1; 0 without samples.
    pub fn rank(self, count: u64) -> u64 {
        let rank = (u128::from(count) * u128::from(self.0)).div_ceil(1_000_000);
        u64::try_from(rank).expect("a rank is at most the count")
    }

    /// The least number of samples n with n·(1−q) ≥ `beyond`, saturating: what a verdict needs (semantics 6).
    pub fn samples_needed(self, beyond: u32) -> u64 {
        (u64::from(beyond) * 1_000_000).div_ceil(u64::from(1_000_000 - self.0))
    }

    /// Reads what follows the `p`: a number of percent between 0 and 100 with at most four decimals.
    pub(super) fn from_percent(text: &str) -> Option<Self> {
        let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
        let plain = |s: &str, most: usize| (1..=most).contains(&s.len()) && s.bytes().all(|b| b.is_ascii_digit());
        if !plain(whole, 2) || !plain(part, 4) {
            return None;
        }
        let part: u32 = format!("{part:0<4}").parse().ok()?;
        Self::from_millionths(whole.parse::<u32>().ok()? * 10_000 + part)
    }
}

/// Which samples a latency statistic covers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Outcomes {
    /// Ok, failed and timed out; cancelled requests and dropped arrivals as censored samples (semantics 3).
    #[default]
    All,
    /// `ok`: answers as expected alone.
    Ok,
}

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $word:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $name {
            $($(#[$vdoc])* $variant,)*
        }

        impl $name {
            /// Every variant, in the order in which they are documented.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The word used in expressions.
            pub fn word(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)*
                }
            }

            pub(super) fn from_word(word: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|known| known.word() == word)
            }
        }
    };
}

words! {
    /// A share, 0 to 1. Judged steps are those that ended ok, failed or timed out.
    RatioMetric {
        /// (failed + timeouts) / judged steps.
        ErrorRate = "error_rate",
        /// Dropped / scheduled arrivals.
        DropRate = "drop_rate",
        /// Ok / judged steps.
        SuccessRate = "success_rate",
        /// Started iterations / scheduled arrivals.
        StartedRate = "started_rate",
        /// Steps failed by an `expect` other than the status / judged steps.
        CheckFailureRate = "check_failure_rate",
    }
}

words! {
    /// Events per second of run time, counted when they happen: in the whole intervals of the selected time, up to the
    /// end of the load.
    RateMetric {
        /// Answers of any status: judged steps that did not time out or break on the transport.
        Throughput = "throughput",
        /// Steps that ended ok.
        Goodput = "goodput",
        /// Scheduled arrivals.
        Offered = "offered",
        /// Steps handed to an engine.
        SentRate = "sent_rate",
    }
}

words! {
    /// A number of bytes.
    ByteCount {
        /// Bytes of answer bodies.
        BodyIn = "body_bytes_in",
        /// Bytes of request bodies.
        BodyOut = "body_bytes_out",
        /// Bytes read from connections, heads, framing and TLS included.
        WireIn = "wire_bytes_in",
        /// Bytes written to connections, heads, framing and TLS included.
        WireOut = "wire_bytes_out",
    }
}

words! {
    /// Bytes on the wire per second of run time, counted like [`RateMetric`] when the step ends.
    ByteRate {
        /// Bytes read from connections, heads, framing and TLS included.
        In = "bytes_in_rate",
        /// Bytes written to connections, heads, framing and TLS included.
        Out = "bytes_out_rate",
    }
}

/// A number of events of the two ledgers (semantics 2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Count {
    /// Arrivals that fell due.
    Scheduled,
    /// Iterations begun.
    Started,
    /// Iterations that went through every step.
    Completed,
    /// Iterations ended early by a failed step.
    BrokenOff,
    /// Due arrivals never started, for any reason.
    Dropped,
    /// Arrivals of a lost shard after its last committed delta.
    Unknown,
    /// Arrivals of a lost shard that were certainly not sent.
    Unsent,
    /// Steps that were due to be sent.
    Attempted,
    /// Steps handed to an engine.
    Sent,
    /// Steps that ended ok.
    Ok,
    /// Steps that failed for any reason but time.
    Failed,
    /// Steps that failed for this reason: `failed.dns`.
    FailedAs(FailureClass),
    /// Steps without a complete answer in time.
    Timeouts,
    /// Steps given up at the end of the run.
    Cancelled,
    /// Steps refused by an open circuit breaker.
    Shed,
    /// Steps answered by a circuit breaker's fallback.
    Fallback,
    /// Steps answered by a fault injected in the worker.
    Injected,
}

impl Count {
    /// The counts whose words have no dot, in the order in which they are documented.
    pub const PLAIN: [Self; 16] = [
        Self::Scheduled,
        Self::Started,
        Self::Completed,
        Self::BrokenOff,
        Self::Dropped,
        Self::Unknown,
        Self::Unsent,
        Self::Attempted,
        Self::Sent,
        Self::Ok,
        Self::Failed,
        Self::Timeouts,
        Self::Cancelled,
        Self::Shed,
        Self::Fallback,
        Self::Injected,
    ];

    /// The word used in expressions; for [`Count::FailedAs`] the part before the dot.
    pub fn word(self) -> &'static str {
        match self {
            Self::Scheduled => "scheduled",
            Self::Started => "started",
            Self::Completed => "completed",
            Self::BrokenOff => "broken_off",
            Self::Dropped => "dropped",
            Self::Unknown => "unknown",
            Self::Unsent => "unsent",
            Self::Attempted => "attempted",
            Self::Sent => "sent",
            Self::Ok => "ok",
            Self::Failed | Self::FailedAs(_) => "failed",
            Self::Timeouts => "timeouts",
            Self::Cancelled => "cancelled",
            Self::Shed => "shed",
            Self::Fallback => "fallback",
            Self::Injected => "injected",
        }
    }

    pub(super) fn from_word(word: &str) -> Option<Self> {
        Self::PLAIN.into_iter().find(|known| known.word() == word)
    }

    /// The value in a ledger; `None` for `unknown` and `unsent`, which the coordinator computes from index ranges.
    pub fn of(self, iterations: &IterationCounts, steps: &StepCounts) -> Option<u64> {
        Some(match self {
            Self::Scheduled => iterations.scheduled,
            Self::Started => iterations.started,
            Self::Completed => iterations.completed,
            Self::BrokenOff => iterations.broken_off,
            Self::Dropped => iterations.dropped_total(),
            Self::Unknown | Self::Unsent => return None,
            Self::Attempted => steps.attempted,
            Self::Sent => steps.sent,
            Self::Ok => steps.ok,
            Self::Failed => steps.failed_total(),
            Self::FailedAs(class) => steps.failed_as(class),
            Self::Timeouts => steps.timeout,
            Self::Cancelled => steps.cancelled,
            Self::Shed => steps.shed,
            Self::Fallback => steps.fallback,
            Self::Injected => steps.injected,
        })
    }
}

impl RatioMetric {
    /// Part and whole in a ledger.
    pub fn of(self, iterations: &IterationCounts, steps: &StepCounts) -> (u64, u64) {
        match self {
            Self::ErrorRate => (steps.failed_total().saturating_add(steps.timeout), steps.judged()),
            Self::SuccessRate => (steps.ok, steps.judged()),
            Self::CheckFailureRate => (steps.failed_as(FailureClass::Check), steps.judged()),
            Self::DropRate => (iterations.dropped_total(), iterations.scheduled),
            Self::StartedRate => (iterations.started, iterations.scheduled),
        }
    }
}

impl RateMetric {
    /// The number of events in a ledger.
    pub fn of(self, iterations: &IterationCounts, steps: &StepCounts) -> u64 {
        match self {
            Self::Throughput => [FailureClass::Status, FailureClass::Check, FailureClass::Extract]
                .into_iter()
                .fold(steps.ok, |sum, class| sum.saturating_add(steps.failed_as(class))),
            Self::Goodput => steps.ok,
            Self::Offered => iterations.scheduled,
            Self::SentRate => steps.sent,
        }
    }
}

impl ByteCount {
    /// The number of bytes in a ledger.
    pub fn of(self, steps: &StepCounts) -> u64 {
        match self {
            Self::BodyIn => steps.body_bytes_in,
            Self::BodyOut => steps.body_bytes_out,
            Self::WireIn => steps.wire_bytes_in,
            Self::WireOut => steps.wire_bytes_out,
        }
    }
}

impl ByteRate {
    /// The number of bytes in a ledger.
    pub fn of(self, steps: &StepCounts) -> u64 {
        match self {
            Self::In => steps.wire_bytes_in,
            Self::Out => steps.wire_bytes_out,
        }
    }
}

impl Metric {
    /// The dimension of the value.
    pub fn dimension(&self) -> Dimension {
        self.kind.dimension()
    }
}

impl MetricKind {
    /// The dimension of the value.
    pub fn dimension(self) -> Dimension {
        match self {
            Self::Latency { .. } => Dimension::Duration,
            Self::Ratio(_) => Dimension::Ratio,
            Self::Rate(_) => Dimension::Rate,
            Self::Count(_) => Dimension::Count,
            Self::Bytes(_) => Dimension::Bytes,
            Self::ByteRate(_) => Dimension::ByteRate,
        }
    }
}

/// What a metric is narrowed to; everything when empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Selector {
    /// The step, group or scenario.
    pub name: Option<Named>,
    /// Tags and their values, all of which must match; sorted by tag, each tag once, at most [`TAGS_MAX`].
    pub tags: Vec<(String, String)>,
}

impl Selector {
    /// Whether nothing is narrowed.
    pub fn is_empty(&self) -> bool {
        self.name.is_none() && self.tags.is_empty()
    }
}

/// A name in a selector.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Named {
    /// `"list tools"`: every step, group or scenario of this name.
    Any(String),
    /// `step:"list tools"`: every step or group of this name.
    Step(String),
    /// `scenario:"tools"`: the scenario.
    Scenario(String),
    /// `scenario:"tools", step:"list tools"`: the steps or groups of this name in this scenario.
    StepOf {
        /// The scenario.
        scenario: String,
        /// The step or group.
        step: String,
    },
}
