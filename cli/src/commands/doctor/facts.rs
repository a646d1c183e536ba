//! What the preflight looks at: read from the system, judged elsewhere.

use std::path::Path;
use std::time::Duration;

use barrage_worker::clock::Clock;
use barrage_worker::host::cgroup::Groups;
use barrage_worker::host::text::{self, CoreTimes, Memory};
use barrage_worker::host::{self, read, timer};

use crate::client::Client;
use crate::exit::Failure;

/// Wake-ups that are tried out, and the time between them.
const WAKE_UPS: usize = 200;
const GAP: Duration = Duration::from_millis(2);
/// Readings of the clock that are timed.
const CLOCK_READS: u64 = 20_000;

/// What was found. What the system does not show is absent.
#[derive(Clone, Debug, Default)]
pub(super) struct Facts {
    /// Limit on open descriptors, and the most to which it can be raised.
    pub(super) descriptors: u64,
    pub(super) descriptors_hard: u64,
    /// Descriptors that the whole system may open.
    pub(super) descriptors_system: Option<u64>,
    pub(super) ports: Option<(u16, u16)>,
    /// Those among them that the system is told to leave out.
    pub(super) ports_reserved: u32,
    /// Ports that wait in `TIME_WAIT` now.
    pub(super) ports_waiting: u32,
    pub(super) tw_reuse: Option<u64>,
    pub(super) somaxconn: Option<u64>,
    /// Cores that this process may use, of so many that the host has.
    pub(super) cores: u32,
    pub(super) cores_of_host: u32,
    /// Whether the control groups of this process can be seen at all.
    pub(super) groups_shown: bool,
    pub(super) quota_cores: Option<f64>,
    /// Share of the time stolen by the hypervisor and busy time of the busiest core, percent, just now.
    pub(super) steal: Option<f64>,
    pub(super) busiest: Option<f64>,
    /// Share of the last ten seconds in which some thread waited for a core, percent.
    pub(super) pressure: Option<f64>,
    pub(super) memory: Option<Memory>,
    /// Threads and processes that the control groups still allow; `None` without a limit.
    pub(super) threads_left: Option<u64>,
    /// How late wake-ups are, sorted.
    pub(super) late: Vec<Duration>,
    pub(super) clock_source: Option<String>,
    /// What reading the clock costs, ns.
    pub(super) clock_ns: u64,
    pub(super) governor: Option<String>,
    /// What hints at a container.
    pub(super) container: Option<&'static str>,
    pub(super) coordinator: Option<Coordinator>,
}

/// What came of asking a coordinator.
#[derive(Clone, Debug)]
pub(super) enum Coordinator {
    /// It answered.
    Well {
        version: String,
        protocol: u32,
        workers: u32,
        store_ok: bool,
    },
    /// Why not.
    Unreachable(String),
}

/// Reads everything; takes about half a second.
pub(super) async fn gather(coordinator: Option<&str>) -> Result<Facts, Failure> {
    let own = |error: std::io::Error| Failure::own("could not try out the timer", &error);
    // In this place: there may be no further thread to be had, which is one of the things to say.
    let mut facts = tokio::task::block_in_place(system).map_err(own)?;
    if let Some(url) = coordinator {
        facts.coordinator = Some(ask(url).await?);
    }
    Ok(facts)
}

fn system() -> std::io::Result<Facts> {
    let own_cores = host::cores();
    let times = || {
        let all = text::cores(&read("/proc/stat").unwrap_or_default()).into_iter();
        all.filter(|core| own_cores.contains(core.core))
            .collect::<Vec<CoreTimes>>()
    };
    let (clock, before) = (Clock::boot(), times());
    let begun = clock.now();
    let mut late = timer::lateness(WAKE_UPS, GAP)?;
    late.sort_unstable();
    let (after, passed) = (times(), clock.now().since(begun));
    let of_host = text::cores(&read("/proc/stat").unwrap_or_default()).len() as u32;
    let cores = match own_cores.count() {
        0 => std::thread::available_parallelism().map_or(1, |cores| cores.get() as u32),
        count => count,
    };
    let (steal, busiest) = shares(&before, &after, passed).unzip();
    let groups = Groups::own();
    Ok(Facts {
        descriptors: host::descriptors_max(),
        descriptors_hard: host::descriptors_hard_max(),
        descriptors_system: host::number("/proc/sys/fs/file-max"),
        ports: host::port_range(),
        ports_reserved: host::port_range().map_or(0, |(first, last)| host::ports_reserved(first, last)),
        ports_waiting: read("/proc/net/sockstat").map_or(0, |text| text::time_wait(&text)),
        tw_reuse: host::number("/proc/sys/net/ipv4/tcp_tw_reuse"),
        somaxconn: host::number("/proc/sys/net/core/somaxconn"),
        cores,
        cores_of_host: of_host.max(cores),
        groups_shown: read("/proc/self/mountinfo").is_some(),
        quota_cores: groups.quota_cores(),
        steal,
        busiest,
        pressure: read("/proc/pressure/cpu").and_then(|text| text::pressure(&text)),
        memory: host::MemoryFiles::of(&groups).read(),
        threads_left: groups.threads_left().into_iter().chain(host::user_threads_left()).min(),
        late,
        clock_source: word("/sys/devices/system/clocksource/clocksource0/current_clocksource"),
        clock_ns: clock_cost_ns(clock),
        governor: word("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        container: container(),
        coordinator: None,
    })
}

/// Stolen time of all cores and busy time of the busiest, percent of the time that has passed.
fn shares(before: &[CoreTimes], after: &[CoreTimes], passed: Duration) -> Option<(f64, f64)> {
    let ticks = rustix::param::clock_ticks_per_second() as f64 * passed.as_secs_f64();
    let pairs: Vec<(&CoreTimes, &CoreTimes)> = before
        .iter()
        .zip(after)
        .filter(|(before, after)| before.core == after.core)
        .collect();
    if pairs.is_empty() || ticks <= 0.0 {
        return None;
    }
    let percent = |ticks_used: u64, cores: f64| (ticks_used as f64 * 100.0 / ticks / cores).min(100.0);
    let moved = |of: fn(&CoreTimes) -> u64| {
        let all = pairs
            .iter()
            .map(move |(before, after)| of(after).saturating_sub(of(before)));
        all.collect::<Vec<u64>>()
    };
    let stolen = moved(|core| core.steal).into_iter().fold(0, u64::saturating_add);
    let busiest = moved(|core| core.busy).into_iter().max().unwrap_or(0);
    Some((percent(stolen, pairs.len() as f64), percent(busiest, 1.0)))
}

fn clock_cost_ns(clock: Clock) -> u64 {
    let begun = clock.now();
    for _ in 0..CLOCK_READS {
        std::hint::black_box(clock.now());
    }
    let spent = clock.now().since(begun).as_nanos();
    u64::try_from(spent).unwrap_or(u64::MAX) / CLOCK_READS
}

/// A short file of one word; control characters never get through.
fn word(path: &str) -> Option<String> {
    let text = read(path)?;
    let word: String = text.trim().chars().take(64).filter(char::is_ascii_graphic).collect();
    (!word.is_empty()).then_some(word)
}

fn container() -> Option<&'static str> {
    if std::env::var_os("KUBERNETES_SERVICE_HOST").is_some() {
        Some("Kubernetes")
    } else if Path::new("/.dockerenv").exists() {
        Some("Docker")
    } else if Path::new("/run/.containerenv").exists() {
        Some("Podman")
    } else {
        std::env::var_os("container").map(|_| "a container")
    }
}

async fn ask(url: &str) -> Result<Coordinator, Failure> {
    match Client::connect_with_health(url).await {
        Ok((_, reply)) => Ok(Coordinator::Well {
            version: reply.version,
            protocol: reply.protocol,
            workers: reply.workers,
            store_ok: reply.store_ok,
        }),
        Err(usage @ Failure::Usage(_)) => Err(usage),
        Err(failure) => Ok(Coordinator::Unreachable(failure.to_string())),
    }
}
