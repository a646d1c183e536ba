//! How exactly this host wakes a thread: the timer of the shards, tried out.

use barrage_model::plan::Pacing;
use std::io;
use std::time::Duration;

use crate::clock::Clock;
use crate::shard::pacer::Pacer;

/// Waits `count` times for `gap` as a shard does, and says how much too late each wake-up came. Takes `count × gap` and
/// the lateness; blocks its thread.
///
/// # Errors
/// When there is no runtime to be had.
pub fn lateness(count: usize, gap: Duration) -> io::Result<Vec<Duration>> {
    let clock = Clock::boot();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    Ok(runtime.block_on(async {
        let pacer = Pacer::new(clock, Pacing::Timer);
        let mut late = Vec::with_capacity(count);
        for _ in 0..count {
            let due = clock.now() + gap;
            pacer.until(due).await;
            late.push(clock.now().since(due));
        }
        late
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_wake_up_is_early() {
        let begun = Clock::boot().now();
        let late = lateness(20, Duration::from_millis(1)).unwrap();
        assert_eq!(late.len(), 20);
        assert!(Clock::boot().now().since(begun) >= Duration::from_millis(20));
    }
}
