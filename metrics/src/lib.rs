//! The exact merge of what workers counted, and what follows from it: timeline, SLA verdicts, generator verdict,
//! conservation, exit code and the summary that reports show.
//!
//! # Invariants
//!
//! - Merging is addition: the order in which deltas arrive changes nothing.
//! - No delta counts twice: each worker incarnation has a high-water mark.
//! - A number that is not known is absent, never zero.
//! - A rate counts what happened in whole intervals of the load's time, whatever fell due when.
//! - Nothing here reads a clock, draws a random number, prints or does I/O.

mod build;
mod catalog;
mod conservation;
pub mod exit;
pub mod generator;
mod lack;
pub mod ledger;
mod pile;
mod query;
mod rate;
mod samples;
mod series;
pub mod sla;
pub mod summary;
#[cfg(test)]
mod testing;
mod watermark;

pub use build::{ClockOffset, RunFacts};
pub use exit::{Aftermath, ExitCode, StopCause, Verdict};
pub use generator::{DROPPED_LATE_PPM, RANGES_MAX, generator_so_far};
pub use ledger::{Applied, Batch, IntervalRecord, Ledger, LedgerConfig, Loss, Rejected, WorkerInfo};
pub use query::{Counts, Window};
pub use rate::Happened;
pub use samples::Samples;
pub use series::{ROWS_MAX, SERIES_MAX};
pub use sla::{SlaEngine, StopDecision};
pub use summary::Summary;
pub use watermark::{Closed, PATIENCE, Watermark};
