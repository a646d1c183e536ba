//! From an origin to an open connection: names, sockets, TLS.
//!
//! Nothing here retries a request or hides a failure: each phase reports its own error and its own duration.

pub mod connect;
pub mod origin;
mod ports;
pub(crate) mod reactor;
pub mod resolver;
mod scarce;
pub mod tls;
pub(crate) mod wire;

#[cfg(test)]
pub(crate) use connect::SilentListener;
pub(crate) use connect::without_unreachable;
pub use connect::{ConnectError, Connector, Timings};
pub use origin::{Origin, OriginError, Scheme};
pub(crate) use ports::Ports;
pub use ports::PortsUsed;
pub use reactor::Reactor;
pub(crate) use resolver::Family;
pub use resolver::{ResolveError, Resolver};
pub use scarce::Scarce;
pub use tls::{TlsError, TlsOptions};
