//! The worker's one clock: microseconds on `CLOCK_BOOTTIME`.
//!
//! Grants expire on this clock because it goes on counting while the machine sleeps; a monotonic clock that stops in a
//! suspend would let a worker send under a grant that has long passed to somebody else.

use std::ops::{Add, Sub};
use std::time::Duration;

use barrage_model::time::whole_micros;
use rustix::time::{ClockId, clock_gettime};

/// An instant on the worker's clock, in whole microseconds since boot.
///
/// Meaningful on one host only; what goes on the wire is run time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Stamp(u64);

impl Stamp {
    /// Later than every instant that [`Clock::now`] returns.
    pub const FAR: Self = Self(u64::MAX);

    /// The instant `us` microseconds after boot.
    pub fn from_us(us: u64) -> Self {
        Self(us)
    }

    /// Microseconds since boot.
    pub fn as_us(self) -> u64 {
        self.0
    }

    /// The time from `earlier` to `self`, zero when `earlier` is in fact later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.us_since(earlier))
    }

    /// As [`Stamp::since`], in microseconds: what every request needs several times takes no way round by a [`Duration`].
    pub fn us_since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// The instant `us` microseconds later; stops at [`Stamp::FAR`].
    #[must_use]
    pub fn plus_us(self, us: u64) -> Self {
        Self(self.0.saturating_add(us))
    }
}

impl Add<Duration> for Stamp {
    type Output = Self;

    /// Rounds down to the microsecond and stops at [`Stamp::FAR`].
    fn add(self, span: Duration) -> Self {
        self.plus_us(whole_micros(span))
    }
}

impl Sub<Duration> for Stamp {
    type Output = Self;

    /// Rounds down to the microsecond and stops at boot.
    fn sub(self, span: Duration) -> Self {
        Self(self.0.saturating_sub(whole_micros(span)))
    }
}

/// The one place of the worker that reads a clock; handed to everything that needs the time.
#[derive(Clone, Copy, Debug)]
pub struct Clock(());

impl Clock {
    /// The clock that counts through a suspend of the machine.
    pub fn boot() -> Self {
        Self(())
    }

    /// The present instant. Costs about 25 ns (no system call on the usual platforms).
    pub fn now(self) -> Stamp {
        let time = clock_gettime(ClockId::Boottime);
        let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
        let nanos = u64::try_from(time.tv_nsec).unwrap_or(0);
        Stamp(seconds.saturating_mul(1_000_000).saturating_add(nanos / 1_000))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_does_not_run_backwards() {
        let clock = Clock::boot();
        let first = clock.now();
        let second = clock.now();
        assert!(second >= first);
        assert!(second.since(first) < Duration::from_secs(5));
    }

    #[test]
    fn arithmetic_stops_at_the_ends() {
        let at = Stamp::from_us(10);
        assert_eq!(at + Duration::from_micros(5), Stamp::from_us(15));
        assert_eq!(at + Duration::MAX, Stamp::FAR);
        assert_eq!(at - Duration::from_secs(1), Stamp::from_us(0));
        assert_eq!(at.since(Stamp::from_us(25)), Duration::ZERO);
    }
}
