//! The only place where this process reads time.

use barrage_model::time::Moment;

/// The coordinator's clock: microseconds of `CLOCK_BOOTTIME`, which never steps back and goes on while the host sleeps.
pub(crate) fn now() -> Moment {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let secs = u64::try_from(time.tv_sec).unwrap_or(0);
    let nanos = u64::try_from(time.tv_nsec).unwrap_or(0);
    Moment::from_micros(secs.saturating_mul(1_000_000).saturating_add(nanos / 1_000))
}

/// The wall-clock time of an instant of this clock in RFC 3339, to the microsecond; for display alone.
pub(crate) fn wall(at: Moment) -> String {
    let (now, wall) = (now(), jiff::Timestamp::now());
    let wall = jiff::Timestamp::from_microsecond(wall.as_microsecond()).unwrap_or(wall);
    let moved = if at >= now {
        wall.checked_add(at.since(now))
    } else {
        wall.checked_sub(now.since(at))
    };
    moved.unwrap_or(wall).to_string()
}

/// Wall-clock time in seconds since 1970; for the age of stored runs alone.
pub(crate) fn wall_secs() -> i64 {
    jiff::Timestamp::now().as_second()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use jiff::{SignedDuration, Timestamp};

    use super::{now, wall};

    #[test]
    fn an_instant_to_come_is_that_much_later() {
        for (ahead_ms, behind_ms) in [(0_u32, 0_u32), (1_700, 0), (0, 900)] {
            let ms = |ms: u32| Duration::from_millis(ms.into());
            let at = now() + ms(ahead_ms) - ms(behind_ms);
            let before = Timestamp::now();
            let shown: Timestamp = wall(at).parse().unwrap();
            let moved = SignedDuration::from_millis(i64::from(ahead_ms) - i64::from(behind_ms));
            // The two clocks are read one after the other, which takes as long as the machine lets it.
            let late = shown.duration_since(before) - moved;
            assert!(
                late > SignedDuration::from_millis(-50) && late < SignedDuration::from_secs(5),
                "{late:?}"
            );
        }
    }
}
