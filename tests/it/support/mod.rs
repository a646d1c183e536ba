//! What the system tests share: processes that end with the test, free ports, waiting for states, visible skips.

pub mod barrage;
pub mod skip;
pub mod wait;
