//! Identifiers. Each wraps the integer that travels on the wire.

use std::fmt;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(pub $inner);
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

id!(
    /// A worker's number within one run: its place in the run's worker list, from 0.
    WorkerId(u32)
);
id!(
    /// A load thread's number within one run; worker `w` owns a contiguous range.
    ShardId(u32)
);
id!(
    /// A random number drawn once per worker process; tells a restarted worker from a reconnected one.
    Incarnation(u64)
);
id!(
    /// An entry of [`crate::plan::Plan::loads`].
    LoadId(u16)
);
id!(
    /// An entry of [`crate::plan::Plan::scenarios`].
    ScenarioId(u16)
);
id!(
    /// A step that has a ledger of its own (a request) or a latency of its own (a group), numbered through the whole
    /// plan in reading order: setup, then each scenario's `on_start` and `steps`, then teardown.
    StepId(u32)
);
id!(
    /// A stretch of run time between two marks, in order of time.
    SegmentId(u32)
);
id!(
    /// A combination of tag values. 0 is "no tag rule of the plan applies".
    TagId(u16)
);
id!(
    /// A schedule epoch within one load.
    EpochId(u32)
);

/// A run's identifier: 16 lower-case hexadecimal digits when shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RunId(pub u64);

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl std::str::FromStr for RunId {
    type Err = BadRunId;

    /// Reads exactly 16 hexadecimal digits.
    fn from_str(text: &str) -> Result<Self, BadRunId> {
        if text.len() == 16 && text.bytes().all(|b| b.is_ascii_hexdigit()) {
            u64::from_str_radix(text, 16).map(Self).map_err(|_| BadRunId)
        } else {
            Err(BadRunId)
        }
    }
}

/// A text that is not a run id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a run id is 16 hexadecimal digits")]
pub struct BadRunId;
