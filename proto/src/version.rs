//! What both ends must agree on.

/// Protocol version; a peer with another one is refused with the reason.
pub const PROTOCOL: u32 = 1;

/// Largest message that either end accepts, bytes. A delta of 10,000 series with a thousand counters each stays below.
pub const MESSAGE_MAX_BYTES: usize = 32 * 1024 * 1024;
/// Longest name of a worker, bytes; it has one at least.
pub const WORKER_NAME_MAX: usize = 200;
