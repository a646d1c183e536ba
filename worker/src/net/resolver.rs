//! Names to addresses, by the plan's policy and by nothing else.
//!
//! One resolver serves all shards of a worker: a lookup happens only when a connection is opened, so its lock is never on
//! the hot path. Concurrent questions for one name share one lookup, and its failure.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use barrage_model::plan::{DnsPolicy, Resolve};

use crate::clock::{Clock, Stamp};

/// Addresses kept of one answer; further ones are ignored.
const ADDRESSES_MAX: usize = 64;
/// Names kept at once; when a plan generates more, the cache starts anew.
const NAMES_MAX: usize = 4_096;

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

/// A name that has no address.
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
}

#[derive(Debug, Default)]
struct Known {
    found: Option<(Stamp, Arc<[SocketAddr]>)>,
    failed: Option<(Stamp, ResolveError)>,
}

#[derive(Debug, Default)]
struct Entry {
    known: tokio::sync::Mutex<Known>,
    turn: AtomicUsize,
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
        }
    }

    /// The addresses of `host`, each with `port`; address literals and fixed hosts are answered without a lookup.
    ///
    /// # Errors
    /// [`ResolveError`] when the lookup failed or gave no address.
    ///
    /// # Cancel safety
    /// Cancel safe; a lookup that was under way is given up and started again by the next question.
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
            DnsPolicy::PerConnection => lookup(host).await?,
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

    async fn shared(
        &self,
        entry: &Entry,
        host: &str,
        ttl: Option<Duration>,
    ) -> Result<Arc<[SocketAddr]>, ResolveError> {
        let asked = self.clock.now();
        let mut known = entry.known.lock().await;
        if let Some((at, addresses)) = &known.found
            && ttl.is_none_or(|ttl| self.clock.now().since(*at) < ttl)
        {
            return Ok(Arc::clone(addresses));
        }
        // Whoever waited while a lookup failed takes that failure; else a dead resolver is asked once per slot in a row.
        if let Some((at, error)) = &known.failed
            && *at > asked
        {
            return Err(error.clone());
        }
        match lookup(host).await {
            Ok(addresses) => {
                *known = Known {
                    found: Some((self.clock.now(), Arc::clone(&addresses))),
                    failed: None,
                };
                Ok(addresses)
            }
            Err(error) => {
                *known = Known {
                    found: None,
                    failed: Some((self.clock.now(), error.clone())),
                };
                Err(error)
            }
        }
    }
}

async fn lookup(host: &str) -> Result<Arc<[SocketAddr]>, ResolveError> {
    let failure = match tokio::net::lookup_host((host, 0)).await {
        Ok(addresses) => {
            let found: Arc<[SocketAddr]> = addresses.take(ADDRESSES_MAX).collect();
            if !found.is_empty() {
                return Ok(found);
            }
            None
        }
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
mod tests {
    use super::*;

    fn resolver(policy: DnsPolicy, fixed: &[(&str, Option<u16>, &str)]) -> Resolver {
        let fixed: Vec<_> = fixed
            .iter()
            .map(|(host, port, address)| Resolve {
                host: (*host).to_owned(),
                port: *port,
                address: address.parse().unwrap(),
            })
            .collect();
        Resolver::new(Clock::boot(), policy, &fixed)
    }

    fn text(addresses: &[SocketAddr]) -> String {
        addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
    }

    #[tokio::test]
    async fn literals_and_fixed_hosts_need_no_lookup() {
        let resolver = resolver(
            DnsPolicy::Once,
            &[
                ("Shop.test", Some(443), "127.0.0.2"),
                ("shop.test", Some(443), "127.0.0.3"),
                ("shop.test", Some(443), "::1"),
                ("shop.test", None, "127.0.0.9"),
            ],
        );
        let ask = async |host: &str, port| text(&resolver.resolve(host, port).await.unwrap());
        assert_eq!(ask("127.0.0.1", 80).await, "127.0.0.1:80");
        assert_eq!(ask("[::1]", 80).await, "[::1]:80");
        assert_eq!(ask("::1", 81).await, "[::1]:81");
        assert_eq!(ask("SHOP.test", 443).await, "127.0.0.2:443 127.0.0.3:443 [::1]:443");
        assert_eq!(ask("shop.test", 443).await, "127.0.0.3:443 127.0.0.2:443 [::1]:443");
        assert_eq!(ask("shop.test", 443).await, "127.0.0.2:443 127.0.0.3:443 [::1]:443");
        assert_eq!(ask("shop.test", 80).await, "127.0.0.9:80");
    }

    #[tokio::test]
    async fn localhost_has_an_address_everywhere() {
        for policy in [
            DnsPolicy::Once,
            DnsPolicy::Ttl(Duration::from_secs(1)),
            DnsPolicy::PerConnection,
        ] {
            let found = resolver(policy, &[]).resolve("localhost", 80).await.unwrap();
            assert!(found.iter().all(|address| address.ip().is_loopback()), "{found:?}");
            assert!(!found.is_empty());
        }
    }

    #[tokio::test]
    async fn a_name_that_does_not_exist_is_an_error() {
        let resolver = resolver(DnsPolicy::Once, &[]);
        let error = resolver.resolve("no-such-host.invalid", 80).await.unwrap_err();
        assert_eq!(error.to_string(), "could not resolve no-such-host.invalid");
    }

    #[tokio::test]
    async fn an_answer_is_kept_as_long_as_the_policy_says() {
        let marker: Arc<[SocketAddr]> = [SocketAddr::from(([127, 9, 9, 9], 0))].into();
        let table = [
            (DnsPolicy::Once, Duration::from_hours(1), true),
            (DnsPolicy::Ttl(Duration::from_mins(1)), Duration::from_secs(1), true),
            (DnsPolicy::Ttl(Duration::from_mins(1)), Duration::from_secs(61), false),
            (DnsPolicy::PerConnection, Duration::ZERO, false),
        ];
        for (policy, age, kept) in table {
            let resolver = resolver(policy, &[]);
            let now = resolver.clock.now();
            resolver.entry("localhost").known.lock().await.found = Some((now - age, Arc::clone(&marker)));
            let found = resolver.resolve("localhost", 80).await.unwrap();
            assert_eq!(
                found == [SocketAddr::from(([127, 9, 9, 9], 80))],
                kept,
                "{policy:?} {age:?}"
            );
        }
    }

    #[tokio::test]
    async fn a_failure_is_shared_by_those_who_waited_for_it() {
        let resolver = resolver(DnsPolicy::Once, &[]);
        let entry = resolver.entry("localhost");
        let error = ResolveError {
            host: "localhost".to_owned(),
            source: None,
        };
        entry.known.lock().await.failed = Some((Stamp::FAR, error));
        assert!(resolver.resolve("localhost", 80).await.is_err());
        entry.known.lock().await.failed.as_mut().unwrap().0 = Stamp::from_us(0);
        assert!(
            resolver.resolve("localhost", 80).await.is_ok(),
            "an old failure does not stick"
        );
    }

    #[test]
    fn the_cache_is_bounded() {
        let resolver = resolver(DnsPolicy::Once, &[]);
        for n in 0..=NAMES_MAX {
            resolver.entry(&format!("h{n}.test"));
        }
        assert!(resolver.names.lock().unwrap().len() <= NAMES_MAX);
    }
}
