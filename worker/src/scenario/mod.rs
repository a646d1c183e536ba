//! How one iteration goes through its steps: the plan compiled for one worker, the state of one user, and the walk.
//!
//! A plan is compiled once per run ([`CompiledPlan`]): secrets are read, constants filled in, data files parsed, requests
//! laid out as bytes with gaps. Shards share it. Each slot owns a [`User`]; [`run_iterations`] takes both and sends.
//!
//! # Invariants
//!
//! - What iteration n of a load sends is a function of the run's seed, the load and n, whatever worker sends it; only
//!   timestamps, answers and what a user keeps from earlier answers are not.
//! - A step that is counted as sent is ended exactly once, also when it is cancelled or cannot be built.
//! - No value from data, an answer or a variable can end a header line or leave its place in a URL, JSON text or form.
//! - No secret stands in a message or an event; requests go only to hosts that the plan names.
//! - A request that is all constant costs no formatting and no allocation.

mod answers;
mod cancel;
mod checks;
mod clock;
mod compile;
mod connections;
mod context;
mod data;
mod draws;
mod encode;
mod error;
mod exchange;
mod extracts;
mod files;
mod once;
mod pause;
mod plain;
mod redact;
mod render;
mod spare;
mod text;
mod tried;
mod user;
mod values;
mod walk;

#[cfg(test)]
#[expect(
    clippy::needless_raw_string_hashes,
    clippy::too_many_lines,
    reason = "golden texts are written by a tool; tables and journeys are read from top to bottom"
)]
mod tests;

pub use cancel::{Cancel, Cancelled};
pub use compile::CompiledPlan;
pub use connections::{Connections, ShardContext};
pub use context::{IterationEnded, IterationStart, RunContext};
pub use error::{OnceError, PrepareError, StepProblem};
pub use files::Files;
pub use once::{Once, run_once};
pub use pause::Pauses;
pub use tried::{TryEvent, TrySink, try_plan};
pub use user::User;
pub use walk::run_iterations;
