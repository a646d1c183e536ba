//! Machines without I/O: they take inputs with the time they came at, and give outputs to be carried out.
//!
//! Time is the coordinator's own clock, in microseconds, unless a name says *run time*.

pub mod fleet;
pub mod offset;
pub mod queue;
pub mod run;
