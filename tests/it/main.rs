//! System tests: they drive the `barrage` binary as a user does, against real servers on loopback.

mod freeze;
mod hlog;
mod loss;
mod nginx;
mod sketches;
pub mod support;
