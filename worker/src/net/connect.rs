//! Opens one connection: look up, connect, shake hands, each phase timed.

use std::cell::Cell;
use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use barrage_model::outcome::FailureClass;
use rustls::ClientConfig;
use tokio::net::{TcpSocket, TcpStream};

use super::origin::Origin;
use super::reactor::Reactor;
use super::resolver::{ResolveError, Resolver};
use super::wire::Wire;
use crate::clock::Clock;

/// Where the time of one exchange went. A phase that was not reached, or not needed, is absent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timings {
    /// From the question to the addresses, for a new connection; near zero when the answer was known.
    pub dns: Option<Duration>,
    /// From the first attempt to an established TCP connection, earlier addresses that failed included.
    pub connect: Option<Duration>,
    /// The TLS handshake of a new connection.
    pub tls: Option<Duration>,
    /// From just before the first write to the first byte of the answer (the full client: to its final headers).
    pub first_byte: Option<Duration>,
}

impl Timings {
    /// What a request says that timed out before it had a connection.
    pub(crate) fn timed_out_in(&self) -> &'static str {
        match (self.dns, self.connect) {
            (None, _) => "timed out in the name lookup",
            (_, None) => "timed out while connecting",
            _ => "timed out in the TLS handshake",
        }
    }
}

/// Why no connection could be made.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The name has no address.
    #[error(transparent)]
    Resolve(#[from] ResolveError),
    /// No address accepted a connection; the last refusal is given.
    #[error("could not connect to {address}")]
    Connect {
        /// The address tried last.
        address: SocketAddr,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// None of the source addresses is of the target's family.
    #[error("no source address fits the target's address {0}")]
    NoSource(SocketAddr),
    /// The TLS handshake failed.
    #[error("TLS handshake failed")]
    Tls(#[source] io::Error),
}

impl ConnectError {
    /// The class under which a step that met this error is counted.
    pub fn class(&self) -> FailureClass {
        match self {
            Self::Resolve(_) => FailureClass::Dns,
            Self::Connect { .. } | Self::NoSource(_) => FailureClass::Connect,
            Self::Tls(_) => FailureClass::Tls,
        }
    }
}

/// Opens connections for the slots of one shard.
#[derive(Debug)]
pub struct Connector {
    clock: Clock,
    resolver: Arc<Resolver>,
    tls: Arc<ClientConfig>,
    sources: Vec<IpAddr>,
    next_source: Cell<usize>,
    reactor: Option<Rc<Reactor>>,
}

impl Connector {
    /// A connector that binds to `sources` in turn, or leaves the choice to the system when there are none.
    pub fn new(clock: Clock, resolver: Arc<Resolver>, tls: Arc<ClientConfig>, sources: Vec<IpAddr>) -> Self {
        Self {
            clock,
            resolver,
            tls,
            sources,
            next_source: Cell::new(0),
            reactor: None,
        }
    }

    /// Leaves the sockets to a shard's reactor.
    #[must_use]
    pub fn adopted_by(self, reactor: Option<Rc<Reactor>>) -> Self {
        Self { reactor, ..self }
    }

    /// The next source address of the family of `target`.
    ///
    /// # Errors
    /// [`ConnectError::NoSource`] when sources are set and none is of that family.
    fn source_for(&self, target: SocketAddr) -> Result<Option<IpAddr>, ConnectError> {
        if self.sources.is_empty() {
            return Ok(None);
        }
        let start = self.next_source.get();
        for step in 0..self.sources.len() {
            let at = (start + step) % self.sources.len();
            if self.sources[at].is_ipv4() == target.is_ipv4() {
                self.next_source.set(at + 1);
                return Ok(Some(self.sources[at]));
            }
        }
        Err(ConnectError::NoSource(target))
    }

    /// Opens a connection to `origin`, filling `timings` phase by phase, also when a later phase fails.
    ///
    /// Has no time limit of its own: the caller bounds it by the request's deadline.
    pub(crate) async fn open(&self, origin: &Origin, timings: &mut Timings) -> Result<Wire, ConnectError> {
        self.open_watched(origin, Cell::from_mut(timings)).await
    }

    /// As [`Connector::open`], for callers that look at the timings meanwhile.
    pub(crate) async fn open_watched(&self, origin: &Origin, timings: &Cell<Timings>) -> Result<Wire, ConnectError> {
        let set = |change: &dyn Fn(&mut Timings)| {
            let mut known = timings.get();
            change(&mut known);
            timings.set(known);
        };
        let asked = self.clock.now();
        let addresses = self.resolver.resolve(&origin.host, origin.port).await?;
        let resolved = self.clock.now();
        set(&|timings| timings.dns = Some(resolved.since(asked)));

        let (stream, address) = self.connect_any(&origin.host, &addresses).await?;
        let mut wire = match &self.reactor {
            None => Wire::plain(stream),
            Some(reactor) => {
                Wire::adopted(stream, reactor).map_err(|source| ConnectError::Connect { address, source })?
            }
        };
        let connected = self.clock.now();
        set(&|timings| timings.connect = Some(connected.since(resolved)));

        if let Some(name) = &origin.server_name {
            wire.start_tls(Arc::clone(&self.tls), name.clone())
                .map_err(ConnectError::Tls)?;
            poll_fn(|cx| wire.poll_handshake(cx)).await.map_err(ConnectError::Tls)?;
            set(&|timings| timings.tls = Some(self.clock.now().since(connected)));
        }
        Ok(wire)
    }

    async fn connect_any(&self, host: &str, addresses: &[SocketAddr]) -> Result<(TcpStream, SocketAddr), ConnectError> {
        let mut last = None;
        for address in addresses {
            let source = match self.source_for(*address) {
                Ok(source) => source,
                Err(error) => {
                    last = Some(error);
                    continue;
                }
            };
            match connect(*address, source).await {
                Ok(stream) => return Ok((stream, *address)),
                Err(source) => {
                    let address = *address;
                    last = Some(ConnectError::Connect { address, source });
                }
            }
        }
        // The resolver never answers with an empty list; the error type has no other word for it.
        Err(last.unwrap_or_else(|| ConnectError::Resolve(ResolveError::without_address(host))))
    }
}

async fn connect(address: SocketAddr, source: Option<IpAddr>) -> io::Result<TcpStream> {
    let socket = if address.is_ipv4() {
        TcpSocket::new_v4()?
    } else {
        TcpSocket::new_v6()?
    };
    if let Some(source) = source {
        // Lets the system hand out a port that another connection to another target uses, or that waits in TIME_WAIT;
        // otherwise one source address is good for some 28,000 connections and no more.
        socket.set_reuseaddr(true)?;
        socket.bind(SocketAddr::new(source, 0))?;
    }
    // Latency is what we measure: a request must never wait for the acknowledgement of the one before.
    socket.set_nodelay(true)?;
    socket.connect(address).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use barrage_model::plan::DnsPolicy;

    use crate::net::TlsOptions;

    fn connector(sources: &[&str]) -> Connector {
        let clock = Clock::boot();
        let resolver = Arc::new(Resolver::new(clock, DnsPolicy::Once, &[]));
        let sources = sources.iter().map(|text| text.parse().unwrap()).collect();
        Connector::new(clock, resolver, TlsOptions::default().build().unwrap(), sources)
    }

    #[test]
    fn sources_take_turns_within_the_family() {
        let connector = connector(&["127.0.0.2", "::1", "127.0.0.3"]);
        let v4: SocketAddr = "127.0.0.1:80".parse().unwrap();
        let v6: SocketAddr = "[::1]:80".parse().unwrap();
        let mut pick = |target| connector.source_for(target).unwrap().unwrap().to_string();
        let picked: Vec<_> = [v4, v4, v6, v4, v4].into_iter().map(&mut pick).collect();
        assert_eq!(picked, ["127.0.0.2", "127.0.0.3", "::1", "127.0.0.3", "127.0.0.2"]);
    }

    #[test]
    fn a_target_of_another_family_is_refused() {
        let target: SocketAddr = "[::1]:80".parse().unwrap();
        let error = connector(&["127.0.0.2"]).source_for(target).unwrap_err();
        assert_eq!(error.class(), FailureClass::Connect);
        assert_eq!(connector(&[]).source_for(target).unwrap(), None);
    }

    #[tokio::test]
    async fn the_next_address_is_tried_when_one_refuses() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let open = listener.local_addr().unwrap();
        // A port that was free a moment ago and on which nobody listens.
        let closed = std::net::TcpListener::bind("127.0.0.2:0")
            .unwrap()
            .local_addr()
            .unwrap();
        let connector = connector(&["127.0.0.1"]);
        let (stream, _) = connector.connect_any("x", &[closed, open]).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap(), open);
        assert!(stream.nodelay().unwrap());
        let error = connector.connect_any("x", &[closed]).await.unwrap_err();
        assert_eq!(error.class(), FailureClass::Connect);
    }
}
