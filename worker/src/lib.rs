//! The process that makes load: shards, schedules, slots, engines, the recorder, self-health and the uploader.
//!
//! One OS thread for each shard, with a current-thread runtime of its own; the control side (heartbeats, grants, clock
//! probes, merging, uploads) runs on another thread, so a busy generator never misses a beat.
//!
//! # Invariants
//!
//! - No arrival is started twice, none before it is due, none after the grant has run out, and none vanishes: each is
//!   started, or dropped with a reason, or still waiting.
//! - The generator never waits for telemetry, and telemetry never grows without bound.
//! - A delta that has been sent is never changed; its sequence numbers have no gaps.
//! - No engine sends a request again behind the ledger's back.
//! - Every sample is recorded; none is ever left out to keep up.
//! - Secrets are never shown, stored or sent to the coordinator.

mod aside;
pub mod clock;
mod config;
mod control;
pub mod engine;
mod entropy;
mod health;
pub mod host;
pub mod net;
pub mod recorder;
pub mod scenario;
pub mod shard;

pub use config::{Config, WorkerError, run};
pub use control::LinkError;
