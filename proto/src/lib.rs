//! The wire: the generated messages and services, and the one conversion to and from the model.
//!
//! # Invariants
//!
//! - [`convert`] is the only door inwards: what has passed `TryFrom` is not checked again behind it.
//! - Every conversion takes time and memory in proportion to the message.
//! - A histogram never travels serialised; only (gap, count) pairs do.

pub mod convert;
mod version;

pub use convert::BadMessage;
pub use version::{MESSAGE_MAX_BYTES, PROTOCOL, WORKER_NAME_MAX};

/// Messages and services of protocol version 1, generated from `barrage/v1/*.proto`.
#[expect(
    missing_docs,
    clippy::allow_attributes,
    clippy::allow_attributes_without_reason,
    clippy::large_enum_variant,
    clippy::pedantic,
    reason = "generated; the schema files carry the documentation"
)]
pub mod v1 {
    tonic::include_proto!("barrage.v1");
}
