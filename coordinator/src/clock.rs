//! The only place where this process reads time.

use barrage_model::time::Moment;

/// The coordinator's clock: microseconds of `CLOCK_BOOTTIME`, which never steps back and goes on while the host sleeps.
pub(crate) fn now() -> Moment {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let secs = u64::try_from(time.tv_sec).unwrap_or(0);
    let nanos = u64::try_from(time.tv_nsec).unwrap_or(0);
    Moment::from_micros(secs.saturating_mul(1_000_000).saturating_add(nanos / 1_000))
}

/// Wall-clock time in RFC 3339, to the second; for display alone.
pub(crate) fn wall() -> String {
    let now = jiff::Timestamp::now();
    jiff::Timestamp::from_second(now.as_second()).unwrap_or(now).to_string()
}

/// Wall-clock time in seconds since 1970; for the age of stored runs alone.
pub(crate) fn wall_secs() -> i64 {
    jiff::Timestamp::now().as_second()
}
