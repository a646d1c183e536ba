//! The coordinator: takes plans, gathers workers, hands out the schedule and the right to follow it, merges what workers
//! count, judges it, and keeps it.
//!
//! # Invariants
//!
//! - A delta counts exactly once, whatever is lost, repeated or reordered on the way: merged in order of its number,
//!   committed with its high-water mark in one transaction, and acknowledged only then.
//! - Load is granted only up to a run time that has been handed to the store; a lost worker's arrivals up to there are
//!   unknown, later ones unsent, and none is made twice.
//! - No decision is made outside the machines in [`machine`], which read no clock and do no I/O.
//! - Values given with `-e` stay in memory: they are neither stored nor shown.
//! - Every queue has a bound, and every peer a limit.

mod clock;
pub mod compile;
mod coordinator;
mod entropy;
mod hub;
pub mod judge;
pub mod machine;
#[cfg(test)]
mod sample;
mod service;
pub mod store;

pub use coordinator::{Config, Coordinator, ServeError, StartError};
