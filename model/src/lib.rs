//! The words and the maths of Barrage: identifiers, units, the plan, the arrival schedule, latency sketches, the two
//! ledgers and the expression languages. No I/O, no clock, no entropy, no serialisation.
//!
//! # Glossary
//!
//! *schedule*: **index** (number of an arrival in the one global sequence), **wheel** (which shard owns which index),
//! **epoch** (a stretch of indices with one curve and one wheel). *load*: **stage**. *label of run time*: **phase**,
//! cut by **marks** into **segments**. *connection parts*: **timings**. *result*: **verdict**. **iteration** = one pass
//! through a scenario. **step** = one named action in it. **slot** = one virtual user with its connections.
//! **shard** = one load thread. **share** = positions on the wheel.
//!
//! # Invariants
//!
//! - Everything that decides *when* an arrival falls due is integer arithmetic, so every host agrees to the bit.
//! - Nothing here reads a clock or a random source: both come in as arguments.
//! - One sketch layout everywhere (1 µs to 1 h, 3 significant digits), so merging is addition and loses nothing.

pub mod condition;
pub mod delta;
pub mod expr;
pub mod ids;
pub mod ledger;
pub mod outcome;
pub mod phase;
pub mod plan;
pub mod rng;
pub mod schedule;
pub mod sketch;
pub mod syntax;
pub mod template;
pub mod time;
pub mod units;
