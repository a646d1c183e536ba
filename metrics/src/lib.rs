//! The exact merge of what workers counted, and what follows from it: timeline, SLA verdicts, generator verdict,
//! conservation, exit code and the summary that reports show.
//!
//! # Invariants
//!
//! - Merging is addition: the order in which deltas arrive changes nothing.
//! - No delta counts twice: each worker incarnation has a high-water mark.
//! - A number that is not known is absent, never zero.
//! - Nothing here reads a clock, draws a random number, prints or does I/O.

pub mod exit;
pub mod summary;
