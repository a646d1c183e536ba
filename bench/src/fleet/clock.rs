//! The clock of the simulated workers: one for all, as on one host.

use std::time::Duration;

/// Microseconds since the machine was started.
pub(super) fn now_us() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    time.tv_sec.unsigned_abs() * 1_000_000 + time.tv_nsec.unsigned_abs() / 1_000
}

/// Waits until an instant of [`now_us`].
pub(super) async fn sleep_until(at_us: u64) {
    let left = at_us.saturating_sub(now_us());
    if left > 0 {
        tokio::time::sleep(Duration::from_micros(left)).await;
    }
}
