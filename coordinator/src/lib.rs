//! The coordinator.

pub mod clock;
pub mod compile;
pub mod entropy;
pub mod judge;
pub mod machine;
#[cfg(test)]
mod sample;
pub mod store;
