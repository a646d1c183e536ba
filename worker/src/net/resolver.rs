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
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use barrage_model::plan::{DnsPolicy, Resolve};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use crate::clock::{Clock, Stamp};

/// Addresses kept of one answer; further ones are ignored.
const ADDRESSES_MAX: usize = 64;
/// Names kept at once; when a plan generates more, the cache starts anew.
const NAMES_MAX: usize = 4_096;
/// Lookups that run at once, those given up by all who asked among them; each holds a thread. Further ones wait for a place.
const LOOKUPS_MAX: usize = 256;

/// What a lookup has found.
type Found = Result<Arc<[SocketAddr]>, ResolveError>;
/// The system's resolver, or a test's; it blocks.
type Ask = fn(&str) -> io::Result<Vec<SocketAddr>>;

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
    ask: Ask,
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
            ask: ask_system,
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
        let looked_up = tokio::task::spawn_blocking(move || {
            let _place = place;
            lookup(ask, &name)
        });
        // It does not panic, and is lost only with its runtime.
        looked_up
            .await
            .unwrap_or_else(|_| Err(ResolveError::without_address(host)))
    }

    /// By what is known, else by the lookup that runs, else by one that others may share.
    async fn shared(&self, entry: &Arc<Entry>, host: &str, ttl: Option<Duration>) -> Found {
        loop {
            let standing = entry.known().standing(self.clock.now(), ttl);
            let standing = match standing {
                Some(standing) => standing,
                None => self.begin(entry, host, ttl, self.place().await),
            };
            let mut running = match standing {
                Standing::Found(addresses) => return Ok(addresses),
                Standing::Running(running) => running,
            };
            let found = running.wait_for(Option::is_some).await.map(|found| (*found).clone());
            // A lookup ends without an answer only where its runtime has ended, which may be another shard's.
            if let Ok(Some(found)) = found {
                return found;
            }
        }
    }

    async fn place(&self) -> OwnedSemaphorePermit {
        let places = Arc::clone(&self.places);
        places.acquire_owned().await.expect("nobody closes it")
    }

    /// Begins a lookup unless somebody has meanwhile. It belongs to nobody who asks: it leaves its answer in the entry.
    fn begin(&self, entry: &Arc<Entry>, host: &str, ttl: Option<Duration>, place: OwnedSemaphorePermit) -> Standing {
        let mut known = entry.known();
        if let Some(standing) = known.standing(self.clock.now(), ttl) {
            return standing;
        }
        let (sender, running) = watch::channel(None);
        known.running = Some(running.clone());
        drop(known);
        let (clock, ask, entry, host) = (self.clock, self.ask, Arc::clone(entry), host.to_owned());
        tokio::task::spawn_blocking(move || {
            let _place = place;
            let found = lookup(ask, &host);
            if let Ok(addresses) = &found {
                entry.known().found = Some((clock.now(), Arc::clone(addresses)));
            }
            sender.send_replace(Some(found));
        });
        // Kept, since it may have answered before anybody looks again.
        Standing::Running(running)
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
            resolver.entry("localhost").known().found = Some((now - age, Arc::clone(&marker)));
            let found = resolver.resolve("localhost", 80).await.unwrap();
            assert_eq!(
                found == [SocketAddr::from(([127, 9, 9, 9], 80))],
                kept,
                "{policy:?} {age:?}"
            );
        }
    }

    /// A resolver that is asked by hand: it counts the questions, and answers those that it lets through.
    #[derive(Debug, Default)]
    struct Desk {
        asked: usize,
        running_max: usize,
        running: usize,
        answers: usize,
    }

    /// One desk for each test, since what asks it is a plain function.
    macro_rules! desk {
        ($answer:expr) => {{
            static DESK: (Mutex<Desk>, std::sync::Condvar) = (
                Mutex::new(Desk {
                    asked: 0,
                    running_max: 0,
                    running: 0,
                    answers: 0,
                }),
                std::sync::Condvar::new(),
            );
            let ask: Ask = |_| {
                let mut desk = DESK.0.lock().unwrap();
                desk.asked += 1;
                desk.running += 1;
                desk.running_max = desk.running_max.max(desk.running);
                let answer: fn(usize) -> io::Result<Vec<SocketAddr>> = $answer;
                let answer = answer(desk.asked);
                // One too many must not hold up the test's end, which waits for it.
                let limit = Duration::from_secs(20);
                let (mut desk, _) = DESK
                    .1
                    .wait_timeout_while(desk, limit, |desk| desk.answers == 0)
                    .unwrap();
                desk.answers = desk.answers.saturating_sub(1);
                desk.running -= 1;
                answer
            };
            (&DESK, ask)
        }};
    }

    fn let_through(desk: &(Mutex<Desk>, std::sync::Condvar), count: usize) {
        desk.0.lock().unwrap().answers += count;
        desk.1.notify_all();
    }

    async fn asked(desk: &(Mutex<Desk>, std::sync::Condvar), count: usize) {
        until(|| desk.0.lock().unwrap().asked >= count).await;
    }

    async fn until(reached: impl Fn() -> bool) {
        for _ in 0..500 {
            if reached() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("the awaited state was not reached");
    }

    fn asking(policy: DnsPolicy, ask: Ask) -> Resolver {
        Resolver {
            ask,
            ..resolver(policy, &[])
        }
    }

    const SHARING: [DnsPolicy; 2] = [DnsPolicy::Once, DnsPolicy::Ttl(Duration::from_secs(5))];

    #[tokio::test]
    async fn those_who_give_up_leave_one_lookup_behind() {
        for policy in SHARING {
            let (desk, ask) = desk!(|_| Ok(vec![SocketAddr::from(([127, 0, 0, 7], 0))]));
            let before = desk.0.lock().unwrap().asked;
            let resolver = asking(policy, ask);
            for _ in 0..20 {
                let waits = (0..10)
                    .map(|_| tokio::time::timeout(Duration::from_millis(2), resolver.resolve("black-hole.test", 80)));
                let all = futures_util::future::join_all(waits).await;
                assert!(all.iter().all(Result::is_err), "nobody has answered");
            }
            asked(desk, before + 1).await;
            let late = resolver.resolve("black-hole.test", 80);
            let (found, ()) = tokio::join!(late, async { let_through(desk, 1) });
            assert_eq!(text(&found.unwrap()), "127.0.0.7:80", "{policy:?}");
            assert_eq!(
                text(&resolver.resolve("black-hole.test", 81).await.unwrap()),
                "127.0.0.7:81"
            );
            assert_eq!(desk.0.lock().unwrap().asked, before + 1, "{policy:?}");
        }
    }

    #[tokio::test]
    async fn an_answer_that_nobody_waited_for_is_kept() {
        let (desk, ask) = desk!(|_| Ok(vec![SocketAddr::from(([127, 0, 0, 7], 0))]));
        let resolver = asking(DnsPolicy::Once, ask);
        let waited = tokio::time::timeout(Duration::from_millis(2), resolver.resolve("slow.test", 80)).await;
        assert!(waited.is_err());
        let_through(desk, 1);
        until(|| resolver.entry("slow.test").known().found.is_some()).await;
        assert!(resolver.resolve("slow.test", 80).await.is_ok());
        assert_eq!(desk.0.lock().unwrap().asked, 1);
    }

    #[tokio::test]
    async fn a_failure_is_shared_by_those_who_waited_for_it() {
        let (desk, ask) = desk!(|at| match at {
            1 => Err(io::Error::other("no such name")),
            _ => Ok(vec![SocketAddr::from(([127, 0, 0, 7], 0))]),
        });
        let resolver = asking(DnsPolicy::Once, ask);
        let waits = (0..10).map(|_| resolver.resolve("gone.test", 80));
        let release = async {
            asked(desk, 1).await;
            let_through(desk, 1);
        };
        let (all, ()) = tokio::join!(futures_util::future::join_all(waits), release);
        assert!(all.iter().all(Result::is_err), "{all:?}");
        assert_eq!(desk.0.lock().unwrap().asked, 1);
        let_through(desk, 1);
        assert!(
            resolver.resolve("gone.test", 80).await.is_ok(),
            "an old failure does not stick"
        );
    }

    #[tokio::test]
    async fn lookups_that_run_are_bounded_whatever_is_asked() {
        let (desk, ask) = desk!(|_| Ok(vec![SocketAddr::from(([127, 0, 0, 7], 0))]));
        for policy in [DnsPolicy::PerConnection, DnsPolicy::Once] {
            let resolver = Resolver {
                places: Arc::new(Semaphore::new(3)),
                ..asking(policy, ask)
            };
            let before = desk.0.lock().unwrap().asked;
            let names: Vec<_> = (0..10).map(|n| format!("{n}.test")).collect();
            let waits = names
                .iter()
                .map(|name| tokio::time::timeout(Duration::from_millis(20), resolver.resolve(name, 80)));
            let all = futures_util::future::join_all(waits).await;
            assert!(all.iter().all(Result::is_err), "nobody has answered");
            asked(desk, before + 3).await;
            // Those given up hold their places; those who had none have left the queue.
            let_through(desk, 4);
            assert!(resolver.resolve("late.test", 80).await.is_ok());
            until(|| desk.0.lock().unwrap().running == 0).await;
            let desk = desk.0.lock().unwrap();
            assert_eq!((desk.asked, desk.running_max), (before + 4, 3), "{policy:?}");
        }
    }

    #[test]
    fn a_lookup_that_ended_with_its_runtime_is_begun_again() {
        let (desk, ask) = desk!(|_| Ok(vec![SocketAddr::from(([127, 0, 0, 7], 0))]));
        let resolver = asking(DnsPolicy::Once, ask);
        let entry = resolver.entry("other-shard.test");
        let (sender, running) = watch::channel(None);
        entry.known().running = Some(running);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let_through(desk, 1);
        let (found, ()) =
            runtime.block_on(async { tokio::join!(resolver.resolve("other-shard.test", 80), async { drop(sender) }) });
        assert!(found.is_ok());
        assert_eq!(desk.0.lock().unwrap().asked, 1);
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
