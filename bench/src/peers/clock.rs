//! The one place of this program that reads clocks and waits for time alone.

use std::time::{Duration, Instant};

use rustix::time::{ClockId, Timespec};

/// Now, for deadlines and lengths.
#[expect(clippy::disallowed_methods, reason = "the clock of this program")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// Nanoseconds of the monotonic clock, the same in all processes of this machine.
pub(crate) fn monotonic_ns() -> u64 {
    nanoseconds(rustix::time::clock_gettime(ClockId::Monotonic))
}

/// Today, for display: `2026-11-25`.
pub(crate) fn today() -> String {
    jiff::Zoned::now().date().to_string()
}

/// Lets time pass. A signal may end it early.
pub(crate) fn pause(time: Duration) {
    // Nothing is polled, so the only outcomes are that the time is over and that a signal came.
    let _ = rustix::event::poll(&mut [], Some(&timespec(time)));
}

/// A length of time as the system takes it; what is too long becomes the longest there is.
pub(crate) fn timespec(time: Duration) -> Timespec {
    Timespec {
        tv_sec: i64::try_from(time.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(time.subsec_nanos()),
    }
}

fn nanoseconds(time: Timespec) -> u64 {
    // The monotonic clock counts from the machine's start: never negative, and 584 years until it overflows.
    (time.tv_sec.cast_unsigned()) * 1_000_000_000 + time.tv_nsec.cast_unsigned()
}
