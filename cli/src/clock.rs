//! The one place of this process that reads the clock.

use std::time::Instant;

/// Now, for progress and time limits of the command line itself.
#[expect(
    clippy::disallowed_methods,
    reason = "the command line's own time; measurements have their own clocks"
)]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// Wall-clock seconds since 1970, for the age of stored runs.
pub(crate) fn wall_secs() -> i64 {
    jiff::Timestamp::now().as_second()
}
