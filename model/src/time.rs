//! Run time: microseconds since the run began, on whatever clock the caller keeps.

use std::{
    fmt,
    ops::{Add, AddAssign, Sub},
    time::Duration,
};

/// An instant of a run, in whole microseconds since the run began.
///
/// Sums and differences saturate at [`Moment::ZERO`] and [`Moment::MAX`]; a [`Duration`] counts in whole microseconds,
/// a finer part is cut off.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Moment(u64);

impl Moment {
    /// The begin of the run.
    pub const ZERO: Self = Self(0);
    /// The last instant there is, 584,542 years into the run.
    pub const MAX: Self = Self(u64::MAX);

    /// The instant `micros` microseconds into the run.
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros)
    }

    /// The instant `millis` milliseconds into the run, saturating.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis.saturating_mul(1_000))
    }

    /// The instant `secs` seconds into the run, saturating.
    pub const fn from_secs(secs: u64) -> Self {
        Self(secs.saturating_mul(1_000_000))
    }

    /// Microseconds since the run began.
    pub const fn as_micros(self) -> u64 {
        self.0
    }

    /// Time from `earlier` to `self`; zero when `earlier` is the later one.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }

    /// The instant on a clock that begins at `origin`; zero before it.
    #[must_use]
    pub const fn relative_to(self, origin: Self) -> Self {
        Self(self.0.saturating_sub(origin.0))
    }

    /// Time from `earlier` to `self`, or `None` when `earlier` is the later one.
    pub fn checked_since(self, earlier: Self) -> Option<Duration> {
        self.0.checked_sub(earlier.0).map(Duration::from_micros)
    }
}

/// A duration in whole microseconds: a finer part is cut off, more than 584,542 years saturate.
pub fn whole_micros(duration: Duration) -> u64 {
    let secs = duration.as_secs().checked_mul(1_000_000);
    secs.and_then(|micros| micros.checked_add(duration.subsec_micros().into()))
        .unwrap_or(u64::MAX)
}

impl Add<Duration> for Moment {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(whole_micros(duration)))
    }
}

impl AddAssign<Duration> for Moment {
    fn add_assign(&mut self, duration: Duration) {
        *self = *self + duration;
    }
}

impl Sub<Duration> for Moment {
    type Output = Self;

    fn sub(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(whole_micros(duration)))
    }
}

impl fmt::Display for Moment {
    /// Seconds with at least three decimals, six where microseconds matter: `12.345s`, `0.000007s`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (secs, micros) = (self.0 / 1_000_000, self.0 % 1_000_000);
        if micros % 1_000 == 0 {
            write!(f, "{secs}.{:03}s", micros / 1_000)
        } else {
            write!(f, "{secs}.{micros:06}s")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_and_differences_saturate() {
        let second = Moment::from_secs(1);
        assert_eq!(second, Moment::from_millis(1_000));
        assert_eq!(second.since(Moment::from_secs(3)), Duration::ZERO);
        assert_eq!(second.checked_since(Moment::from_secs(3)), None);
        assert_eq!(second.relative_to(Moment::from_millis(400)), Moment::from_millis(600));
        assert_eq!(second.relative_to(Moment::MAX), Moment::ZERO);
        assert_eq!(second.checked_since(Moment::ZERO), Some(Duration::from_secs(1)));
        assert_eq!(second - Duration::from_secs(5), Moment::ZERO);
        assert_eq!(Moment::MAX + Duration::from_micros(1), Moment::MAX);
        assert_eq!(second + Duration::MAX, Moment::MAX);
        assert_eq!(Moment::from_secs(u64::MAX), Moment::MAX);
        assert_eq!(second + Duration::from_nanos(1_999), Moment::from_micros(1_000_001));
    }

    #[test]
    fn it_shows_seconds() {
        for (micros, want) in [
            (0, "0.000s"),
            (12_345_000, "12.345s"),
            (7, "0.000007s"),
            (61_000_001, "61.000001s"),
        ] {
            assert_eq!(Moment::from_micros(micros).to_string(), want);
        }
    }
}
