//! Opens one connection: look up, connect, shake hands, each phase timed.

use std::cell::Cell;
use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use barrage_model::outcome::FailureClass;
use futures_util::future::{Either, select};
use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::IpBindAddressNoPort;
use rustix::io::Errno;
use rustls::ClientConfig;
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use super::origin::Origin;
use super::ports::{Port, Ports};
use super::reactor::Reactor;
use super::resolver::{ResolveError, Resolver};
use super::scarce::Scarce;
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
    /// No address accepted a connection; the refusal that says most is given.
    #[error("could not connect to {address}")]
    Connect {
        /// The address that it is about.
        address: SocketAddr,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// None of the source addresses is of the target's family.
    #[error("no source address fits the target's address {0}")]
    NoSource(SocketAddr),
    /// The TLS handshake failed.
    #[error("TLS handshake failed{}", hint(.0))]
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

/// What to look at, where the words of a TLS error say it to experts alone.
fn hint(error: &io::Error) -> &'static str {
    let Some(error) = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) else {
        return "";
    };
    match error {
        rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer) => {
            " (nobody known here has signed the certificate: `tls.ca` names who may, `tls.insecure` accepts any)"
        }
        rustls::Error::InvalidCertificate(rustls::CertificateError::Other(_)) => {
            " (`tls.insecure` accepts any certificate)"
        }
        rustls::Error::InvalidMessage(_) => " (does the server speak TLS there?)",
        _ => "",
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
    ports: Rc<Ports>,
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
            ports: Rc::default(),
        }
    }

    /// Leaves the sockets to a shard's reactor.
    #[must_use]
    pub fn adopted_by(self, reactor: Option<Rc<Reactor>>) -> Self {
        Self { reactor, ..self }
    }

    /// The reactor that the sockets are left to.
    pub(crate) fn reactor(&self) -> Option<&Rc<Reactor>> {
        self.reactor.as_ref()
    }

    /// Counts its connections among those of others.
    #[must_use]
    pub(crate) fn counted_in(self, ports: Rc<Ports>) -> Self {
        Self { ports, ..self }
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

        let (stream, port) = self.connect_any(&origin.host, &addresses).await?;
        let address = port.to();
        let mut wire = match &self.reactor {
            None => Wire::plain(stream),
            Some(reactor) => {
                Wire::adopted(stream, reactor).map_err(|source| ConnectError::Connect { address, source })?
            }
        };
        wire.keep(port);
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

    /// Tries the addresses in their order. Those of the other family are tried beside the first ones' when these have taken
    /// too long: a network that drops one family silently must not take the whole time of the request.
    async fn connect_any(&self, host: &str, addresses: &[SocketAddr]) -> Result<(TcpStream, Port), ConnectError> {
        let same_family = |address: &SocketAddr| address.is_ipv4() == addresses[0].is_ipv4();
        let border = addresses.iter().position(|address| !same_family(address));
        let (first, other) = addresses.split_at(border.unwrap_or(addresses.len()));
        let refused = if other.is_empty() {
            self.connect_in_turn(first).await
        } else {
            let mut one = pin!(self.connect_in_turn(first));
            match timeout(FALLBACK_AFTER, one.as_mut()).await {
                Ok(Err(before)) => self.connect_in_turn(other).await.map_err(|after| before.or(after)),
                Ok(connected) => connected,
                Err(_) => match select(one, pin!(self.connect_in_turn(other))).await {
                    Either::Left((Err(before), rest)) => rest.await.map_err(|after| before.or(after)),
                    Either::Right((Err(after), rest)) => rest.await.map_err(|before| before.or(after)),
                    Either::Left((connected, _)) | Either::Right((connected, _)) => connected,
                },
            }
        };
        // The resolver never answers with an empty list; the error type has no other word for it.
        let without = || ConnectError::Resolve(ResolveError::without_address(host));
        refused.map_err(|refusal| refusal.0.map_or_else(without, |(_, error)| error))
    }

    async fn connect_in_turn(&self, addresses: &[SocketAddr]) -> Result<(TcpStream, Port), Refusal> {
        let mut worst = Refusal(None);
        for address in addresses {
            // It has a port from now on, whether or not anybody answers.
            let port = self.ports.take(*address);
            let (weight, error) = match self.source_for(*address) {
                Err(error) => (Weight::NoWay, error),
                Ok(from) => match connect(*address, from).await {
                    Ok(stream) => return Ok((stream, port)),
                    Err(source) => {
                        let address = *address;
                        let weight = weight(&source, address, from);
                        if weight == Weight::Scarce && Scarce::cause_of(&source) == Some(Scarce::Ports) {
                            self.ports.run_out();
                        }
                        (weight, ConnectError::Connect { address, source })
                    }
                },
            };
            worst = worst.or(Refusal(Some((weight, error))));
        }
        Err(worst)
    }
}

/// After this the other family is tried as well; the delay of most clients, the longest that RFC 8305 (section 5) allows
/// being 2 s and 250 ms what it recommends.
const FALLBACK_AFTER: Duration = Duration::from_millis(300);

/// What came of addresses that did not accept a connection; `None` where there was no address.
#[derive(Debug)]
struct Refusal(Option<(Weight, ConnectError)>);

impl Refusal {
    /// The one that says more; of equal ones this.
    fn or(self, later: Self) -> Self {
        let weight = |refusal: &Self| refusal.0.as_ref().map(|(weight, _)| *weight);
        if weight(&later) > weight(&self) { later } else { self }
    }
}

/// Leaves out addresses of a family that this host does not have, where it has the other one.
pub(crate) fn without_unreachable(mut addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let both = addresses.iter().any(SocketAddr::is_ipv4) && addresses.iter().any(SocketAddr::is_ipv6);
    if both && addresses.iter().any(|address| is_reachable(*address, None)) {
        addresses.retain(|address| is_reachable(*address, None));
    }
    addresses
}

/// How much a refusal says when several addresses were tried: of equal ones the first counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Weight {
    /// This host has no address of that family, or no route: it would be so if the target were well.
    NoWay,
    /// What the target, or the way to it, said.
    Refused,
    /// Something has run out here.
    Scarce,
}

fn weight(error: &io::Error, target: SocketAddr, from: Option<IpAddr>) -> Weight {
    match Scarce::cause_of(error) {
        // The system has one word for "no port left" and for "no address from which that one could be reached".
        Some(Scarce::Ports) if !is_reachable(target, from) => Weight::NoWay,
        Some(_) => Weight::Scarce,
        None => match Errno::from_io_error(error) {
            Some(Errno::NETUNREACH | Errno::AFNOSUPPORT) => Weight::NoWay,
            _ => Weight::Refused,
        },
    }
}

/// Whether this host has an address, and a route, from which that one could be reached. Sends nothing.
fn is_reachable(target: SocketAddr, from: Option<IpAddr>) -> bool {
    let any = match target {
        SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    let socket = UdpSocket::bind((from.unwrap_or(any), 0));
    socket.and_then(|socket| socket.connect(target)).is_ok()
}

async fn connect(address: SocketAddr, source: Option<IpAddr>) -> io::Result<TcpStream> {
    let socket = if address.is_ipv4() {
        TcpSocket::new_v4()?
    } else {
        TcpSocket::new_v6()?
    };
    if let Some(source) = source {
        // Has the port chosen when the target is known. Chosen by the bind it would have to be one that nobody uses, whatever
        // the target, and that does not wait in TIME_WAIT either.
        if setsockopt(&socket, IpBindAddressNoPort, &true).is_err() {
            // Some systems without the option do hand out a port in TIME_WAIT after this.
            socket.set_reuseaddr(true)?;
        }
        socket.bind(SocketAddr::new(source, 0))?;
    }
    // Latency is what we measure: a request must never wait for the acknowledgement of the one before.
    socket.set_nodelay(true)?;
    socket.connect(address).await
}

/// A listener whose queue is full: the system answers nobody. What is routed nowhere must not be asked.
#[cfg(test)]
pub(crate) struct SilentListener {
    pub(crate) address: SocketAddr,
    _sockets: Vec<socket2::Socket>,
}

#[cfg(test)]
impl SilentListener {
    pub(crate) fn start(address: &str) -> Self {
        use socket2::{Domain, Socket, Type};

        let address: SocketAddr = address.parse().unwrap();
        let new = || Socket::new(Domain::for_address(address), Type::STREAM, None).unwrap();
        let listener = new();
        listener.bind(&address.into()).unwrap();
        listener.listen(0).unwrap();
        let address = listener.local_addr().unwrap().as_socket().unwrap();
        let mut sockets = vec![listener];
        for _ in 0..4 {
            let filler = new();
            filler.set_nonblocking(true).unwrap();
            let _ = filler.connect(&address.into());
            sockets.push(filler);
        }
        Self {
            address,
            _sockets: sockets,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use barrage_model::plan::DnsPolicy;
    use nix::sys::socket::getsockopt;

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
    async fn the_port_of_a_source_is_chosen_for_the_target() {
        for (target, source) in [("127.0.0.1:0", "127.0.0.3"), ("[::1]:0", "::1")] {
            // Where this host has no such address there is nothing to see.
            let Ok(listener) = tokio::net::TcpListener::bind(target).await else {
                continue;
            };
            let source: IpAddr = source.parse().unwrap();
            let stream = connect(listener.local_addr().unwrap(), Some(source)).await.unwrap();
            assert_eq!(stream.local_addr().unwrap().ip(), source);
            assert!(getsockopt(&stream, IpBindAddressNoPort).unwrap(), "{source}");
        }
    }

    #[tokio::test]
    async fn of_several_refusals_the_one_that_says_most_is_told() {
        let code = |code: Errno| io::Error::from_raw_os_error(code.raw_os_error());
        let here: SocketAddr = "127.0.0.1:80".parse().unwrap();
        let elsewhere = Some("192.0.2.1".parse().unwrap());
        let table = [
            (Errno::CONNREFUSED, None, Weight::Refused),
            (Errno::TIMEDOUT, None, Weight::Refused),
            (Errno::MFILE, None, Weight::Scarce),
            (Errno::ADDRNOTAVAIL, None, Weight::Scarce),
            (Errno::ADDRINUSE, None, Weight::Scarce),
            (Errno::ADDRNOTAVAIL, elsewhere, Weight::NoWay),
            (Errno::NETUNREACH, None, Weight::NoWay),
            (Errno::AFNOSUPPORT, None, Weight::NoWay),
        ];
        for (error, from, want) in table {
            assert_eq!(weight(&code(error), here, from), want, "{error:?} from {from:?}");
        }
        // The second address of each pair is asked from a source that this host does not have.
        let closed = |address: &str| std::net::TcpListener::bind(address).unwrap().local_addr().unwrap();
        let both = [closed("127.0.0.2:0"), closed("127.0.0.3:0")];
        for sources in [["127.0.0.1", "192.0.2.1"], ["192.0.2.1", "127.0.0.1"]] {
            let error = connector(&sources).connect_any("x", &both).await.unwrap_err();
            assert_eq!(Scarce::cause_of(&error), None, "the target has refused: {error:?}");
            let ConnectError::Connect { source, .. } = error else {
                panic!("{error:?}");
            };
            assert_eq!(source.kind(), io::ErrorKind::ConnectionRefused);
        }
        let six: SocketAddr = "[::1]:1".parse().unwrap();
        let error = connector(&["127.0.0.1"])
            .connect_any("x", &[both[0], six])
            .await
            .unwrap_err();
        assert!(matches!(error, ConnectError::Connect { .. }), "{error:?}");
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

    #[tokio::test]
    async fn a_family_that_says_nothing_does_not_take_all_the_time() {
        // Where this host has no such address there is nothing to see.
        if !is_reachable("[::1]:80".parse().unwrap(), None) {
            return;
        }
        let silent = SilentListener::start("[::1]:0");
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let open = listener.local_addr().unwrap();
        let closed = std::net::TcpListener::bind("127.0.0.2:0")
            .unwrap()
            .local_addr()
            .unwrap();
        let connector = connector(&[]);
        let (stream, port) = connector.connect_any("x", &[silent.address, open]).await.unwrap();
        assert_eq!((stream.peer_addr().unwrap(), port.to()), (open, open));
        // What the other family says does not end the first one's attempt.
        let both = [silent.address, closed];
        let attempt = timeout(FALLBACK_AFTER * 3, connector.connect_any("x", &both));
        let mut attempt = pin!(attempt);
        assert!(timeout(FALLBACK_AFTER, attempt.as_mut()).await.is_err());
        assert_eq!(
            connector.ports.used().fullest,
            1,
            "who waits for an answer has a port as well"
        );
        assert!(attempt.await.is_err());
    }

    #[test]
    fn only_addresses_that_this_host_can_reach_are_handed_on() {
        let [four, six, nowhere] = ["127.0.0.1:80", "[::1]:80", "[2001:db8::1]:80"].map(|text| text.parse().unwrap());
        let six_works = is_reachable(six, None);
        let kept = without_unreachable(vec![four, six]);
        assert_eq!(kept, if six_works { vec![four, six] } else { vec![four] });
        for alone in [vec![four], vec![six], vec![nowhere], vec![]] {
            assert_eq!(without_unreachable(alone.clone()), alone);
        }
        if !is_reachable(nowhere, None) {
            assert_eq!(without_unreachable(vec![nowhere, four]), [four]);
        }
    }
}
