//! How the worker itself fares: what the kernel says of its processor time, memory, descriptors, ports, and of being
//! held back.
//!
//! Read on the control side, once an interval: some 15 small files and one for each thread, less than a millisecond. What is
//! counted as a difference stays open ([`Kept`]): a process that has run out of descriptors must not look idle.

use std::collections::BTreeMap;
use std::fs;
use std::net::IpAddr;
use std::sync::Arc;

use barrage_model::delta::{COVERED_MIN_US, CoresBusy, Health, Shortages};
use barrage_model::plan::Plan;
use barrage_model::time::whole_micros;
use rustix::time::{ClockId, clock_gettime};

use crate::clock::{Clock, Stamp};
use crate::host::cgroup::{self, Groups};
use crate::host::text::{self, CoreTimes, Cores, Scheduled};
use crate::host::{self, Kept, MemoryFiles};
use crate::net::Resolver;

/// Threads with this prefix make load.
const SHARD_PREFIX: &str = "shard-";
/// Most threads looked at: every shard that there can be, and as many others.
const THREADS_MAX: usize = 2_048;

/// Reads the counters, and says how they have moved since the last time.
#[derive(Debug)]
pub(crate) struct HealthSampler {
    lookups: Arc<Resolver>,
    clock: Clock,
    ports: Ports,
    files: Files,
    cores: Cores,
    at: Stamp,
    last: Counters,
    threads: BTreeMap<u32, Thread>,
    core_times: BTreeMap<u32, CoreTimes>,
    /// What was read and has not been given out yet.
    rest: Health,
}

/// What is read each time.
#[derive(Debug)]
struct Files {
    snmp: Kept,
    sockstat: Kept,
    stat: Kept,
    status: Kept,
    /// The groups that the two below are of.
    groups: Kept,
    in_groups: Option<String>,
    throttling: Vec<Kept>,
    memory: MemoryFiles,
}

impl Files {
    fn open() -> Self {
        let groups = Groups::own();
        Self {
            groups: Kept::new("/proc/self/cgroup"),
            in_groups: None,
            snmp: Kept::new("/proc/net/snmp"),
            sockstat: Kept::new("/proc/net/sockstat"),
            stat: Kept::new("/proc/stat"),
            status: Kept::new("/proc/self/status"),
            throttling: groups.throttling(),
            memory: MemoryFiles::of(&groups),
        }
    }

    /// Whether the process has been put into other groups since this was asked last; their files are those from now on.
    fn moved(&mut self) -> bool {
        let Some(now) = self.groups.read() else { return false };
        let before = self.in_groups.replace(now);
        let moved = before.is_some() && before != self.in_groups;
        if moved {
            let groups = Groups::own();
            (self.throttling, self.memory) = (groups.throttling(), MemoryFiles::of(&groups));
        }
        moved
    }
}

/// Counters that only grow.
#[derive(Clone, Copy, Debug, Default)]
struct Counters {
    cpu_us: u64,
    throttled_us: u64,
    retransmits: u64,
}

#[derive(Debug)]
struct Thread {
    schedstat: Kept,
    /// Its name, until that is known.
    comm: Kept,
    so_far: Scheduled,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Seen for the first time: it may not have its name yet.
    New,
    Shard,
    Other,
}

/// What threads did since the last time, ns.
#[derive(Debug, Default)]
struct Work {
    shard_cpu_max: u64,
    shard_busy_max: u64,
    shard_wait_max: u64,
    wait: u64,
}

/// The local ports that connections to one address can use.
#[derive(Clone, Copy, Debug)]
struct Ports {
    max: u32,
    /// Whether a port in `TIME_WAIT` is taken. Linux uses it again at once as its settings say, by default where both
    /// ends are on this host.
    waiting_count: bool,
}

impl Ports {
    fn of(plan: &Plan) -> Self {
        let range = host::port_range().map_or(0, |(first, last)| {
            (u32::from(last - first) + 1).saturating_sub(host::ports_reserved(first, last))
        });
        let targets = plan.targets.iter().map(|target| target.host.parse().ok());
        let usable = usable_sources(&plan.network.source_addresses, &targets.collect::<Vec<_>>());
        let sources = u32::try_from(usable).unwrap_or(u32::MAX);
        let local = plan.targets.iter().all(|target| is_loopback(&target.host));
        Self {
            max: range.saturating_mul(sources),
            waiting_count: match host::number("/proc/sys/net/ipv4/tcp_tw_reuse") {
                Some(1) => false,
                Some(2) => !local,
                _ => true,
            },
        }
    }
}

/// How many source addresses there are for one address of the targets: those of its own family, each with all ports, and
/// one where the system chooses. Of a name (`None`) nobody can say which family it has: then the scarcer ones count.
fn usable_sources(sources: &[IpAddr], targets: &[Option<IpAddr>]) -> usize {
    let six = sources.iter().filter(|source| source.is_ipv6()).count();
    let four = sources.len() - six;
    let all = |of: fn(&IpAddr) -> bool| targets.iter().all(|target| target.as_ref().is_some_and(of));
    let usable = if all(IpAddr::is_ipv4) && !targets.is_empty() {
        four
    } else if all(IpAddr::is_ipv6) && !targets.is_empty() {
        six
    } else {
        [four, six].into_iter().filter(|count| *count > 0).min().unwrap_or(0)
    };
    usable.max(1)
}

fn is_loopback(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost") || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

impl HealthSampler {
    /// Begins now: the first sample counts from here.
    pub(crate) fn new(clock: Clock, plan: &Plan, lookups: Arc<Resolver>) -> Self {
        let mut sampler = Self {
            lookups,
            clock,
            ports: Ports::of(plan),
            files: Files::open(),
            cores: Cores::default(),
            at: clock.now(),
            last: Counters::default(),
            threads: BTreeMap::new(),
            core_times: BTreeMap::new(),
            rest: Health::default(),
        };
        sampler.sample();
        sampler
    }

    /// The part of one interval, when what has been read and not given out so far belongs to so many, at least one.
    pub(crate) fn part(&mut self, intervals: u64) -> Health {
        let mut part = self.sample();
        // Intervals that share a reading share this as well.
        if part.cores_busy == CoresBusy::NONE && self.rest.covered_us > 0 {
            part.cores_busy = self.rest.cores_busy;
        }
        self.rest.cores_busy = part.cores_busy;
        for (part, rest) in times(&mut part).into_iter().zip(times(&mut self.rest)) {
            let all = part.saturating_add(*rest);
            *part = all / intervals.max(1);
            *rest = all - *part;
        }
        part
    }

    /// The state since the last sample. What the shards say of themselves is left 0, and of the ports only those are
    /// counted that connections which are gone still hold.
    pub(crate) fn sample(&mut self) -> Health {
        let now = self.clock.now();
        let covered_us = whole_micros(now.since(std::mem::replace(&mut self.at, now)));
        let files = &mut self.files;
        let moved = files.moved();
        let (throttled_us, snmp) = (cgroup::throttled_us(&mut files.throttling), files.snmp.read());
        if moved {
            // What a group was throttled before is not this process's.
            self.last.throttled_us = throttled_us.unwrap_or(self.last.throttled_us);
        }
        let last = self.last;
        let counters = Counters {
            cpu_us: process_cpu_us(),
            // Nothing is said of what cannot be read.
            throttled_us: throttled_us.unwrap_or(last.throttled_us),
            retransmits: snmp.map_or(last.retransmits, |text| text::retransmits(&text)),
        };
        self.last = counters;
        let status = files
            .status
            .read()
            .map_or_else(Default::default, |text| text::status(&text));
        self.cores = status.cores;
        let work = self.threads();
        let on_cores = self.core_times(covered_us);
        let memory = self.files.memory.read();
        Health {
            covered_us,
            cpu_us: counters.cpu_us.saturating_sub(last.cpu_us),
            // A thread's own account is read a little after the clock.
            shard_cpu_max_us: (work.shard_cpu_max / 1_000).min(covered_us),
            shard_busy_max_us: (work.shard_busy_max / 1_000).min(covered_us),
            shard_wait_max_us: (work.shard_wait_max / 1_000).min(covered_us),
            run_queue_wait_us: work.wait / 1_000,
            core_busy_max_us: on_cores.busy_max_us,
            cores_busy: on_cores.busy,
            throttled_us: counters.throttled_us.saturating_sub(last.throttled_us),
            steal_us: on_cores.stolen_us,
            cores: self.core_times.len() as u32,
            rss_bytes: status.rss_bytes,
            rss_anon_bytes: status.rss_anon_bytes,
            memory_available_bytes: memory.map_or(0, |memory| memory.available_bytes),
            memory_bytes: memory.map_or(0, |memory| memory.total_bytes),
            descriptors: host::descriptors(),
            descriptors_max: u32::try_from(host::descriptors_max()).unwrap_or(u32::MAX),
            ports: self.waiting_ports(),
            ports_max: self.ports.max,
            retransmits: counters.retransmits.saturating_sub(last.retransmits),
            shortages: Shortages {
                threads: self.lookups.take_kept(),
                ..Shortages::default()
            },
            ..Health::default()
        }
    }

    fn waiting_ports(&mut self) -> u32 {
        if !self.ports.waiting_count {
            return 0;
        }
        let sockstat = self.files.sockstat.read();
        sockstat.map_or(0, |text| text::time_wait(&text))
    }

    fn threads(&mut self) -> Work {
        self.find_threads();
        let mut work = Work::default();
        self.threads.retain(|_, thread| {
            let Some(now) = thread.schedstat.read().and_then(|text| text::scheduled(&text)) else {
                return false;
            };
            let before = std::mem::replace(&mut thread.so_far, now);
            let waited = now.waited.saturating_sub(before.waited);
            work.wait = work.wait.saturating_add(waited);
            if thread.kind == Kind::Shard {
                let cpu = now.cpu.saturating_sub(before.cpu);
                work.shard_cpu_max = work.shard_cpu_max.max(cpu);
                work.shard_busy_max = work.shard_busy_max.max(cpu.saturating_add(waited));
                work.shard_wait_max = work.shard_wait_max.max(waited);
            }
            true
        });
        work
    }

    /// Takes in threads that are new, and the names of those that were.
    fn find_threads(&mut self) {
        for thread in self.threads.values_mut().filter(|thread| thread.kind == Kind::New) {
            if let Some(name) = thread.comm.read() {
                let shard = name.starts_with(SHARD_PREFIX);
                thread.kind = if shard { Kind::Shard } else { Kind::Other };
                thread.comm.close();
            }
        }
        let tasks = fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
        for entry in tasks.take(THREADS_MAX) {
            if let Some(id) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) {
                let folder = entry.path();
                self.threads.entry(id).or_insert_with(|| Thread {
                    schedstat: Kept::new(folder.join("schedstat")),
                    comm: Kept::new(folder.join("comm")),
                    so_far: Scheduled::default(),
                    kind: Kind::New,
                });
            }
        }
    }

    /// What the cores that this process may use have done in the last `covered_us`.
    fn core_times(&mut self, covered_us: u64) -> OnCores {
        let Some(text) = self.files.stat.read() else {
            return OnCores::default();
        };
        let us = |ticks: u64| ticks.saturating_mul(1_000_000) / rustix::param::clock_ticks_per_second().max(1);
        let (mut busy_us, mut stolen) = (Vec::new(), 0u64);
        let mut seen = BTreeMap::new();
        let own = text::cores(&text)
            .into_iter()
            .filter(|times| self.cores.contains(times.core));
        for times in own {
            if let Some(last) = self.core_times.get(&times.core) {
                busy_us.push(us(times.busy.saturating_sub(last.busy)));
                stolen = stolen.saturating_add(times.steal.saturating_sub(last.steal));
            }
            seen.insert(times.core, times);
        }
        self.core_times = seen;
        let percent = |busy_us: &u64| (busy_us.saturating_mul(100) / covered_us.max(1)).min(100) as u8;
        OnCores {
            // Ticks of 10 ms can end within it that began before.
            busy_max_us: busy_us.iter().copied().max().unwrap_or(0).min(covered_us),
            busy: if covered_us < COVERED_MIN_US {
                CoresBusy::NONE
            } else {
                busy_us.iter().map(percent).collect()
            },
            stolen_us: us(stolen),
        }
    }
}

/// What was done on the cores that the process may use.
#[derive(Default)]
struct OnCores {
    busy_max_us: u64,
    busy: CoresBusy,
    stolen_us: u64,
}

/// What adds up over time.
fn times(health: &mut Health) -> [&mut u64; 10] {
    [
        &mut health.covered_us,
        &mut health.cpu_us,
        &mut health.shard_cpu_max_us,
        &mut health.shard_busy_max_us,
        &mut health.shard_wait_max_us,
        &mut health.run_queue_wait_us,
        &mut health.core_busy_max_us,
        &mut health.throttled_us,
        &mut health.steal_us,
        &mut health.retransmits,
    ]
}

fn process_cpu_us() -> u64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec
        .cast_unsigned()
        .saturating_mul(1_000_000)
        .saturating_add(time.tv_nsec.cast_unsigned() / 1_000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use barrage_model::delta::CORES_TOLD_MAX;

    fn sampler() -> HealthSampler {
        let (clock, plan) = (
            Clock::boot(),
            crate::shard::machine::testing::plan(Vec::new(), std::time::Duration::ZERO),
        );
        let lookups = Resolver::new(clock, plan.network.dns, &[]);
        HealthSampler::new(clock, &plan, Arc::new(lookups))
    }

    fn thread_cpu_us() -> u64 {
        let time = clock_gettime(ClockId::ThreadCPUTime);
        time.tv_sec.cast_unsigned() * 1_000_000 + time.tv_nsec.cast_unsigned() / 1_000
    }

    #[test]
    fn source_addresses_count_for_targets_of_their_family() {
        let addresses = |list: &str| list.split_whitespace().map(|one| one.parse().ok()).collect::<Vec<_>>();
        for (sources, targets, want) in [
            ("", "127.0.0.1", 1),
            ("127.0.0.2 127.0.0.3", "127.0.0.1", 2),
            ("127.0.0.2 127.0.0.3 ::1", "127.0.0.1", 2),
            ("127.0.0.2 127.0.0.3 ::1", "::1", 1),
            ("127.0.0.2 127.0.0.3", "::1", 1),
            ("127.0.0.2 127.0.0.3 ::1", "127.0.0.1 ::1", 1),
            ("127.0.0.2 127.0.0.3 127.0.0.4 ::1 ::2", "example.test", 2),
            ("127.0.0.2 127.0.0.3", "example.test 127.0.0.1", 2),
        ] {
            let given: Vec<IpAddr> = addresses(sources).into_iter().flatten().collect();
            assert_eq!(
                usable_sources(&given, &addresses(targets)),
                want,
                "{sources} to {targets}"
            );
        }
    }

    #[test]
    fn a_busy_shard_shows() {
        let mut sampler = sampler();
        let (say, heard) = std::sync::mpsc::sync_channel(1);
        let (stop, stopped) = std::sync::mpsc::sync_channel::<()>(1);
        let shard = std::thread::Builder::new().name("shard-7".to_owned()).spawn(move || {
            say.send(()).unwrap();
            let mut sum = 0u64;
            while !matches!(stopped.try_recv(), Err(std::sync::mpsc::TryRecvError::Disconnected)) {
                sum = sum.wrapping_add(thread_cpu_us());
            }
            sum
        });
        heard.recv().unwrap();
        sampler.sample();
        let (before, begun) = (process_cpu_us(), sampler.at);
        let long = || sampler.clock.now().us_since(begun) > COVERED_MIN_US;
        while process_cpu_us() < before + 50_000 || !long() {}
        let health = sampler.sample();
        drop(stop);
        shard.unwrap().join().unwrap();
        assert!(health.cpu_us >= 50_000 && health.covered_us > 0, "{health:?}");
        assert!(health.shard_cpu_max_us > 0, "{health:?}");
        let cores = health.cores_busy.percents();
        assert_eq!(cores.len(), CORES_TOLD_MAX.min(health.cores as usize), "{health:?}");
        assert!(cores.iter().any(|percent| *percent > 0), "{health:?}");
        assert!(health.rss_bytes > 0 && health.rss_anon_bytes > 0, "{health:?}");
        assert!(health.memory_bytes > health.memory_available_bytes, "{health:?}");
        assert!(health.descriptors > 0 && health.descriptors_max > 0, "{health:?}");
        assert!(health.ports_max >= 1_000, "{health:?}");
    }

    #[test]
    fn what_was_read_over_several_intervals_is_shared_out_among_them() {
        let mut sampler = sampler();
        sampler.rest = Health {
            covered_us: 5_000_000,
            shard_wait_max_us: 4_000_000,
            throttled_us: 3,
            cores_busy: [50, 60].into_iter().collect(),
            ..Health::default()
        };
        let parts: Vec<Health> = (1..=5).rev().map(|left| sampler.part(left)).collect();
        for health in &parts {
            assert!(
                health.covered_us >= 1_000_000 && health.shard_wait_max_us >= 800_000,
                "each has its part: {health:?}"
            );
            assert_ne!(health.cores_busy, CoresBusy::NONE, "and the cores: {health:?}");
        }
        let throttled: u64 = parts.iter().map(|health| health.throttled_us).sum();
        assert!(
            throttled >= 3 && times(&mut sampler.rest) == [&0; 10],
            "and nothing is left or told twice"
        );
        assert!(parts[0].cores > 0);
    }

    #[test]
    fn a_reading_costs_less_than_a_millisecond() {
        let mut sampler = sampler();
        // The second reading looks at names; later ones are alike.
        sampler.sample();
        let (begun, readings) = (thread_cpu_us(), 200);
        for _ in 0..readings {
            sampler.sample();
        }
        let each = (thread_cpu_us() - begun) / readings;
        assert!(each < 1_000, "{each} µs");
    }

    #[test]
    fn descriptors_are_counted() {
        let before = host::descriptors();
        let held: Vec<fs::File> = (0..100).map(|_| fs::File::open("/dev/null").unwrap()).collect();
        // Other tests open and close some meanwhile.
        let during = host::descriptors();
        assert!(during + 50 > before + held.len() as u32, "{before} {during}");
    }

    #[test]
    fn loopback_has_many_names() {
        for local in ["localhost", "127.0.0.9", "::1"] {
            assert!(is_loopback(local), "{local}");
        }
        for other in ["10.0.0.1", "localhost.example", "", "::2"] {
            assert!(!is_loopback(other), "{other}");
        }
    }
}
