//! Sends requests and reads answers: an enum of engines, one set per slot.
//!
//! An engine runs on its shard's current-thread runtime; nothing in it is shared with another thread but the resolver.
//!
//! # Invariants
//!
//! - No engine sends a request again behind the ledger's back; a hop of a redirect is counted in `wire_requests`.
//! - `sent_at` is read just before the first byte is written, and only after the end of the grant has been checked.
//! - Whatever a server sends, memory and time are bounded, and the failure has exactly one class.

pub mod answer;
pub(crate) mod body;
mod browser;
pub mod fuzz;
pub mod http1;
mod http2;
pub mod request;
mod set;
#[cfg(test)]
pub(crate) mod testing;
mod timer;

pub use self::answer::{Answer, Cause, Failure, HeaderBlock, WireBytes};
pub use self::body::{Body, NoRoom};
pub use self::browser::Cookies;
pub use self::http1::{Limits, OnIdleClose, ProtocolError};
pub(crate) use self::request::http_method;
pub use self::request::{FullRequest, Http2Request, Outgoing, Request, Terms};
pub use self::set::{EngineOptions, EngineSet, EngineShared};
pub use crate::net::{Origin, Timings};
