use super::*;
use crate::net::Scarce;

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
fn a_lookup_that_ended_without_an_answer_is_begun_again() {
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

#[tokio::test]
async fn lookups_that_this_host_keeps_waiting_are_counted() {
    for policy in [DnsPolicy::PerConnection, DnsPolicy::Once] {
        let (desk, ask) = desk!(|_| Ok(vec![SocketAddr::from(([127, 0, 0, 7], 0))]));
        let resolver = asking(policy, ask);
        let_through(desk, 2);
        assert!(resolver.resolve("at-once.test", 80).await.is_ok());
        assert_eq!(resolver.take_kept(), 0);
        until(|| resolver.places.available_permits() == LOOKUPS_MAX).await;
        let all = Arc::clone(&resolver.places).try_acquire_many_owned(LOOKUPS_MAX as u32);
        let all = all.expect("all are free");
        // Given up, and answered late.
        let waited = tokio::time::timeout(Duration::from_millis(1), resolver.resolve("a.test", 80)).await;
        assert!(waited.is_err());
        assert_eq!((resolver.take_kept(), resolver.take_kept()), (1, 0));
        let free = async {
            tokio::time::sleep(KEPT_MIN).await;
            drop(all);
        };
        let (found, ()) = tokio::join!(resolver.resolve("b.test", 80), free);
        assert!(found.is_ok());
        assert_eq!(resolver.take_kept(), 1, "{policy:?}");
    }
}

#[tokio::test]
async fn a_lookup_without_a_thread_fails_at_once() {
    for policy in [DnsPolicy::PerConnection, DnsPolicy::Once] {
        let (desk, ask) = desk!(|_| Ok(vec![SocketAddr::from(([127, 0, 0, 7], 0))]));
        let none: Begin = |_, _| Err(NoThread(io::Error::from_raw_os_error(11)));
        let mut resolver = Resolver {
            begin: none,
            ..asking(policy, ask)
        };
        let waits = (0..3).map(|_| resolver.resolve("shop.test", 80));
        for found in futures_util::future::join_all(waits).await {
            let error = found.unwrap_err();
            assert_eq!(Scarce::cause_of(&error), Some(Scarce::Threads), "{policy:?}: {error:?}");
        }
        assert_eq!(resolver.places.available_permits(), LOOKUPS_MAX);
        resolver.begin = aside::begin;
        let_through(desk, 1);
        assert!(resolver.resolve("shop.test", 80).await.is_ok(), "it does not stick");
    }
}

#[test]
fn the_cache_is_bounded() {
    let resolver = resolver(DnsPolicy::Once, &[]);
    for n in 0..=NAMES_MAX {
        resolver.entry(&format!("h{n}.test"));
    }
    assert!(resolver.names.lock().unwrap().len() <= NAMES_MAX);
}
