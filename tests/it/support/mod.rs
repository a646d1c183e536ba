//! What the system tests share: processes that end with the test, free ports, waiting for states, visible skips.

pub mod barrage;
pub mod network;
pub mod nginx;
pub mod plan;
pub mod quiet;
pub mod raw;
pub mod report;
pub mod server;
pub mod skip;
pub mod strain;
pub mod target;
pub mod wait;
