//! System tests: they drive the `barrage` binary as a user does, against real servers on loopback.

mod cli;
mod compose;
mod demo;
mod docs;
mod everything;
mod failures;
mod freeze;
mod health;
mod hlog;
mod loss;
mod mcp;
mod nginx;
mod numbers;
mod ports;
mod quick;
mod reasons;
mod robust;
mod scale;
mod sketches;
pub mod support;
