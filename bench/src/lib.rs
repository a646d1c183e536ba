//! Measurements side by side with others, in one run and interleaved. Nothing here is part of the gate but its own tests.
//!
//! Invariants:
//! 1. A figure that is printed was measured in this run, on this machine, by the same rules for everybody.
//! 2. Load goes to this machine alone, is bounded in time, and whatever was started is stopped again.

pub mod fleet;
pub mod peers;
mod place;
mod signals;
