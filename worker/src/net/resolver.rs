//! Names to addresses, by the plan's policy and by nothing else.
//!
//! One resolver serves all shards of a worker: a lookup happens only when a connection is opened, so its lock is never on
//! the hot path. Concurrent questions for one name share one lookup, and its failure; where the policy wants a lookup for
//! each connection they share none.
//!
//! The system's resolver cannot be interrupted: a lookup runs to its end on a thread of its own, whoever still waits for it,
//! so those that run are bounded.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs as _};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use barrage_model::plan::{DnsPolicy, Resolve};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot, watch};

use crate::aside::{self, NoThread};
use crate::clock::{Clock, Stamp};

/// Addresses kept of one answer; further ones are ignored.
const ADDRESSES_MAX: usize = 64;
/// Names kept at once; when a plan generates more, the cache starts anew.
const NAMES_MAX: usize = 4_096;
/// Lookups that run at once, those given up by all who asked among them; each holds a thread. Further ones wait for a place.
const LOOKUPS_MAX: usize = 256;
/// Who waits so long for a place, or gives up waiting, has been kept from asking by this host.
const KEPT_MIN: Duration = Duration::from_millis(100);
/// What their threads are called.
const LOOKUP: &str = "lookup";

/// What a lookup has found.
type Found = Result<Arc<[SocketAddr]>, ResolveError>;
/// The system's resolver, or a test's; it blocks.
type Ask = fn(&str) -> io::Result<Vec<SocketAddr>>;
/// What gives a lookup its thread.
type Begin = fn(&str, aside::Work) -> Result<(), NoThread>;

fn bare(host: &str) -> &str {
    host.strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(host)
}

/// The two kinds of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    V4,
    V6,
}

impl Family {
    pub(crate) fn of(address: IpAddr) -> Self {
        if address.is_ipv4() { Self::V4 } else { Self::V6 }
    }

    pub(crate) fn has(self, address: IpAddr) -> bool {
        Self::of(address) == self
    }
}

/// A name that has no address, or that could not be looked up.
#[derive(Clone, Debug, thiserror::Error)]
#[error("could not resolve {host}")]
pub struct ResolveError {
    /// The name that was asked for.
    pub host: String,
    #[source]
    source: Option<Arc<io::Error>>,
}

impl ResolveError {
    /// The error for a name whose answer held nothing.
    pub(crate) fn without_address(host: &str) -> Self {
        Self {
            host: host.chars().take(253).collect(),
            source: None,
        }
    }

    /// The error for a name for whose lookup the system gives no thread.
    fn without_thread(host: &str, source: NoThread) -> Self {
        Self {
            source: Some(Arc::new(io::Error::other(source))),
            ..Self::without_address(host)
        }
    }
}

#[derive(Debug, Default)]
struct Known {
    found: Option<(Stamp, Arc<[SocketAddr]>)>,
    /// The latest lookup; it runs until it has sent, or its sender is gone.
    running: Option<watch::Receiver<Option<Found>>>,
}

#[derive(Debug, Default)]
struct Entry {
    known: Mutex<Known>,
    turn: AtomicUsize,
}

impl Entry {
    // Every critical section leaves it whole, so a poisoned lock is still good.
    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    /// The answer, while it is good enough, or the lookup that will give one.
    fn standing(&self, now: Stamp, ttl: Option<Duration>) -> Option<Standing> {
        if let Some((at, addresses)) = &self.found
            && ttl.is_none_or(|ttl| now.since(*at) < ttl)
        {
            return Some(Standing::Found(Arc::clone(addresses)));
        }
        // Changed: it has answered. Closed: it has ended.
        let running = self.running.as_ref()?;
        matches!(running.has_changed(), Ok(false)).then(|| Standing::Running(running.clone()))
    }
}

/// What there is of an answer.
enum Standing {
    Found(Arc<[SocketAddr]>),
    Running(watch::Receiver<Option<Found>>),
}

/// Fixed addresses of one name, gathered from the plan's `network.resolve` in its order.
#[derive(Debug)]
struct Fixed {
    host: String,
    port: Option<u16>,
    addresses: Vec<SocketAddr>,
    turn: AtomicUsize,
}

/// Answers with the addresses of a name, in the order in which they should be tried.
///
/// Successive answers begin with successive addresses of the first answer's family (round-robin); the other family follows.
#[derive(Debug)]
pub struct Resolver {
    clock: Clock,
    policy: DnsPolicy,
    fixed: Vec<Fixed>,
    names: Mutex<BTreeMap<String, Arc<Entry>>>,
    places: Arc<Semaphore>,
    /// Questions that were kept waiting for one.
    kept: AtomicU64,
    ask: Ask,
    begin: Begin,
}

/// One question that waits for a place.
struct Wait<'a> {
    resolver: &'a Resolver,
    since: Stamp,
    given_up: bool,
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        let waited = self.resolver.clock.now().since(self.since);
        if self.given_up || waited >= KEPT_MIN {
            self.resolver.kept.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Resolver {
    /// A resolver with an empty cache; `fixed` names are never looked up.
    pub fn new(clock: Clock, policy: DnsPolicy, fixed: &[Resolve]) -> Self {
        let mut gathered: Vec<Fixed> = Vec::new();
        for entry in fixed {
            let address = SocketAddr::new(entry.address, 0);
            let host = bare(&entry.host).to_ascii_lowercase();
            let same = |known: &&mut Fixed| known.host == host && known.port == entry.port;
            if let Some(known) = gathered.iter_mut().find(same) {
                known.addresses.push(address);
                continue;
            }
            gathered.push(Fixed {
                host,
                port: entry.port,
                addresses: vec![address],
                turn: AtomicUsize::new(0),
            });
        }
        Self {
            clock,
            policy,
            fixed: gathered,
            names: Mutex::default(),
            places: Arc::new(Semaphore::new(LOOKUPS_MAX)),
            kept: AtomicU64::new(0),
            ask: ask_system,
            begin: aside::begin,
        }
    }

    /// The addresses of `host`, each with `port`; address literals and fixed hosts are answered without a lookup.
    ///
    /// # Errors
    /// [`ResolveError`] when the lookup failed or gave no address.
    ///
    /// # Cancel safety
    /// Cancel safe; a lookup that was under way goes on, and serves the next question where the policy lets it.
    pub async fn resolve(&self, host: &str, port: u16) -> Result<Vec<SocketAddr>, ResolveError> {
        self.answer(host, port, 1).await
    }

    /// The family of the addresses that are tried first; nobody's turn is taken by asking.
    ///
    /// # Errors
    /// As [`Resolver::resolve`].
    pub(crate) async fn family(&self, host: &str, port: u16) -> Result<Family, ResolveError> {
        let addresses = self.answer(host, port, 0).await?;
        let first = addresses.first().map(|first| Family::of(first.ip()));
        first.ok_or_else(|| ResolveError::without_address(host))
    }

    /// As [`Resolver::resolve`], with the number of turns that this answer is.
    async fn answer(&self, host: &str, port: u16, turns: usize) -> Result<Vec<SocketAddr>, ResolveError> {
        if let Some(addresses) = self.fixed_for(host, port, turns) {
            return Ok(addresses);
        }
        if let Ok(address) = bare(host).parse::<IpAddr>() {
            return Ok(vec![SocketAddr::new(address, port)]);
        }
        let entry = self.entry(host);
        let found = match self.policy {
            DnsPolicy::PerConnection => self.own(host).await?,
            DnsPolicy::Once => self.shared(&entry, host, None).await?,
            DnsPolicy::Ttl(ttl) => self.shared(&entry, host, Some(ttl)).await?,
        };
        Ok(in_turn(&found, port, entry.turn.fetch_add(turns, Ordering::Relaxed)))
    }

    fn fixed_for(&self, host: &str, port: u16, turns: usize) -> Option<Vec<SocketAddr>> {
        let named = || {
            self.fixed
                .iter()
                .filter(|fixed| fixed.host.eq_ignore_ascii_case(bare(host)))
        };
        let found = named()
            .find(|fixed| fixed.port == Some(port))
            .or_else(|| named().find(|fixed| fixed.port.is_none()))?;
        Some(in_turn(
            &found.addresses,
            port,
            found.turn.fetch_add(turns, Ordering::Relaxed),
        ))
    }

    fn entry(&self, host: &str) -> Arc<Entry> {
        // Every critical section leaves the map whole, so a poisoned lock is still good.
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = names.get(host) {
            return Arc::clone(entry);
        }
        if names.len() >= NAMES_MAX {
            names.clear();
        }
        Arc::clone(names.entry(host.to_owned()).or_default())
    }

    /// By a lookup of this question's own.
    async fn own(&self, host: &str) -> Found {
        let place = self.place().await;
        let (ask, name) = (self.ask, host.to_owned());
        let (say, said) = oneshot::channel();
        let work = move || {
            let _place = place;
            // Nobody listens any more when the request has been given up.
            let _gone = say.send(lookup(ask, &name));
        };
        (self.begin)(LOOKUP, Box::new(work)).map_err(|error| ResolveError::without_thread(host, error))?;
        // It does not panic.
        said.await.unwrap_or_else(|_| Err(ResolveError::without_address(host)))
    }

    /// By what is known, else by the lookup that runs, else by one that others may share.
    async fn shared(&self, entry: &Arc<Entry>, host: &str, ttl: Option<Duration>) -> Found {
        loop {
            let standing = entry.known().standing(self.clock.now(), ttl);
            let standing = match standing {
                Some(standing) => standing,
                None => self.share(entry, host, ttl, self.place().await)?,
            };
            let mut running = match standing {
                Standing::Found(addresses) => return Ok(addresses),
                Standing::Running(running) => running,
            };
            let found = running.wait_for(Option::is_some).await.map(|found| (*found).clone());
            // A lookup ends without an answer where it gets no thread.
            if let Ok(Some(found)) = found {
                return found;
            }
        }
    }

    async fn place(&self) -> OwnedSemaphorePermit {
        let places = Arc::clone(&self.places);
        if let Ok(place) = Arc::clone(&places).try_acquire_owned() {
            return place;
        }
        let mut wait = Wait {
            resolver: self,
            since: self.clock.now(),
            given_up: true,
        };
        let place = places.acquire_owned().await.expect("nobody closes it");
        wait.given_up = false;
        place
    }

    /// Lookups that were kept waiting for a place, since this was asked last.
    pub(crate) fn take_kept(&self) -> u64 {
        self.kept.swap(0, Ordering::Relaxed)
    }

    /// Begins a lookup unless somebody has meanwhile. It belongs to nobody who asks: it leaves its answer in the entry.
    fn share(
        &self,
        entry: &Arc<Entry>,
        host: &str,
        ttl: Option<Duration>,
        place: OwnedSemaphorePermit,
    ) -> Result<Standing, ResolveError> {
        let mut known = entry.known();
        if let Some(standing) = known.standing(self.clock.now(), ttl) {
            return Ok(standing);
        }
        let (sender, running) = watch::channel(None);
        known.running = Some(running.clone());
        drop(known);
        let (clock, ask, entry, name) = (self.clock, self.ask, Arc::clone(entry), host.to_owned());
        let work = move || {
            let _place = place;
            let found = lookup(ask, &name);
            if let Ok(addresses) = &found {
                entry.known().found = Some((clock.now(), Arc::clone(addresses)));
            }
            sender.send_replace(Some(found));
        };
        (self.begin)(LOOKUP, Box::new(work)).map_err(|error| ResolveError::without_thread(host, error))?;
        // Kept, since it may have answered before anybody looks again.
        Ok(Standing::Running(running))
    }
}

fn ask_system(host: &str) -> io::Result<Vec<SocketAddr>> {
    Ok((host, 0).to_socket_addrs()?.take(ADDRESSES_MAX).collect())
}

fn lookup(ask: Ask, host: &str) -> Found {
    let failure = match ask(host) {
        Ok(addresses) if !addresses.is_empty() => return Ok(addresses.into()),
        Ok(_) => None,
        Err(error) => Some(Arc::new(error)),
    };
    // A minimal container has no hosts file, but this name has a meaning that needs no file (RFC 6761).
    let plain = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
    if plain == "localhost" || plain.ends_with(".localhost") {
        let loopback = [IpAddr::from(Ipv4Addr::LOCALHOST), IpAddr::from(Ipv6Addr::LOCALHOST)];
        return Ok(loopback
            .into_iter()
            .map(|address| SocketAddr::new(address, 0))
            .collect());
    }
    Err(ResolveError {
        source: failure,
        ..ResolveError::without_address(host)
    })
}

/// The first address's family rotated by `turn`, then the other family as it came.
fn in_turn(addresses: &[SocketAddr], port: u16, turn: usize) -> Vec<SocketAddr> {
    let Some(first) = addresses.first() else {
        return Vec::new();
    };
    let (mut ordered, other): (Vec<_>, Vec<_>) = addresses
        .iter()
        .copied()
        .partition(|address| address.is_ipv4() == first.is_ipv4());
    let shift = turn % ordered.len();
    ordered.rotate_left(shift);
    ordered.extend(other);
    for address in &mut ordered {
        address.set_port(port);
    }
    ordered
}

#[cfg(test)]
mod tests;
