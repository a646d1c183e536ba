//! Latency sketches: counts per bucket, the same buckets everywhere, so that merging is addition and loses nothing.
//!
//! [`Sketch`] is what a load thread records into, [`Packed`] what travels and is merged.

mod compact;
mod layout;
mod packed;
mod paged;
mod varint;

pub use compact::Compact;
pub use layout::{HIGHEST_US, LEN, highest, index_of, lowest, mid};
pub use packed::{BadSketch, COUNT_MAX, Packed, rank};
pub use paged::Sketch;

#[cfg(test)]
mod tests;
