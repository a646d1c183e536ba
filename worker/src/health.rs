//! How the worker itself fares: what the kernel says of its processor time, memory, descriptors and of being held back.
//!
//! What cannot be read (another kernel, a container that hides it) counts as 0 and is not an error.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use barrage_model::delta::Health;
use rustix::process::{Resource, getrlimit};
use rustix::time::{ClockId, clock_gettime};

/// Threads with this prefix make load.
const SHARD_PREFIX: &str = "shard-";

/// Reads the counters, and says how they have moved since the last time.
#[derive(Debug, Default)]
pub(crate) struct HealthSampler {
    last: Counters,
    threads: BTreeMap<u32, Thread>,
    throttling: Option<PathBuf>,
}

/// Counters that only grow, µs.
#[derive(Clone, Copy, Debug, Default)]
struct Counters {
    cpu: u64,
    throttled: u64,
    steal: u64,
}

/// One thread's scheduler statistics, ns.
#[derive(Clone, Copy, Debug, Default)]
struct Thread {
    cpu: u64,
    waited: u64,
}

impl HealthSampler {
    /// Begins now: the first sample counts from here.
    pub(crate) fn new() -> Self {
        let mut sampler = Self {
            throttling: throttling_file(),
            ..Self::default()
        };
        sampler.sample();
        sampler
    }

    /// The state since the last sample. What the shards say of themselves is left 0.
    pub(crate) fn sample(&mut self) -> Health {
        let now = Counters {
            cpu: process_cpu_us(),
            throttled: self.throttled_us(),
            steal: steal_us(),
        };
        let last = std::mem::replace(&mut self.last, now);
        let (shard_cpu_max_us, run_queue_wait_us) = self.threads();
        Health {
            cpu_us: now.cpu.saturating_sub(last.cpu),
            shard_cpu_max_us,
            throttled_us: now.throttled.saturating_sub(last.throttled),
            steal_us: now.steal.saturating_sub(last.steal),
            run_queue_wait_us,
            rss_bytes: resident_bytes(),
            descriptors: fs::read_dir("/proc/self/fd").map_or(0, |entries| entries.count() as u32),
            descriptors_max: u32::try_from(descriptors_max()).unwrap_or(u32::MAX),
            ..Health::default()
        }
    }

    /// Processor time of the busiest load thread, and waiting time of all threads, µs since the last sample.
    fn threads(&mut self) -> (u64, u64) {
        let mut seen = BTreeMap::new();
        let (mut busiest, mut waited) = (0, 0);
        for entry in fs::read_dir("/proc/self/task").into_iter().flatten().flatten() {
            let Some(id) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
                continue;
            };
            let Some(now) = fs::read_to_string(entry.path().join("schedstat"))
                .ok()
                .and_then(|text| thread(&text))
            else {
                continue;
            };
            let last = self.threads.get(&id).copied().unwrap_or_default();
            waited += now.waited.saturating_sub(last.waited);
            let name = fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
            if name.starts_with(SHARD_PREFIX) {
                busiest = busiest.max(now.cpu.saturating_sub(last.cpu));
            }
            seen.insert(id, now);
        }
        self.threads = seen;
        (busiest / 1_000, waited / 1_000)
    }

    fn throttled_us(&self) -> u64 {
        let text = self.throttling.as_ref().and_then(|path| fs::read_to_string(path).ok());
        text.map_or(0, |text| throttled(&text))
    }
}

/// The limit on open descriptors; the largest number when there is none.
pub(crate) fn descriptors_max() -> u64 {
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// Memory of the host, bytes; 0 when it cannot be told.
pub(crate) fn memory_bytes() -> u64 {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let total = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kib = total
        .and_then(|rest| rest.trim().strip_suffix("kB"))
        .and_then(|kib| kib.trim().parse::<u64>().ok());
    kib.unwrap_or(0).saturating_mul(1_024)
}

fn process_cpu_us() -> u64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec
        .cast_unsigned()
        .saturating_mul(1_000_000)
        .saturating_add(time.tv_nsec.cast_unsigned() / 1_000)
}

fn resident_bytes() -> u64 {
    let text = fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = text
        .split_ascii_whitespace()
        .nth(1)
        .and_then(|pages| pages.parse::<u64>().ok());
    pages.unwrap_or(0).saturating_mul(rustix::param::page_size() as u64)
}

fn steal_us() -> u64 {
    let text = fs::read_to_string("/proc/stat").unwrap_or_default();
    let ticks = text.lines().next().map_or(0, steal_ticks);
    ticks.saturating_mul(1_000_000) / rustix::param::clock_ticks_per_second().max(1)
}

/// The eighth number of the `cpu` line.
fn steal_ticks(line: &str) -> u64 {
    line.split_ascii_whitespace()
        .nth(8)
        .and_then(|ticks| ticks.parse().ok())
        .unwrap_or(0)
}

/// `cpu waited timeslices`, the first two in ns.
fn thread(text: &str) -> Option<Thread> {
    let mut numbers = text.split_ascii_whitespace().map(str::parse::<u64>);
    Some(Thread {
        cpu: numbers.next()?.ok()?,
        waited: numbers.next()?.ok()?,
    })
}

/// Throttled time, µs, from a `cpu.stat` of cgroup v2 (`throttled_usec`) or v1 (`throttled_time`, ns).
fn throttled(text: &str) -> u64 {
    let value = |name: &str| {
        let mut pairs = text.lines().filter_map(|line| line.split_once(' '));
        pairs
            .find(|(key, _)| *key == name)
            .and_then(|(_, value)| value.trim().parse::<u64>().ok())
    };
    value("throttled_usec")
        .or_else(|| value("throttled_time").map(|ns| ns / 1_000))
        .unwrap_or(0)
}

/// Where this process's throttling is told, if anywhere.
fn throttling_file() -> Option<PathBuf> {
    let text = fs::read_to_string("/proc/self/cgroup").ok()?;
    let candidates = text.lines().flat_map(candidates);
    candidates.into_iter().find(|path| path.exists())
}

/// `0::/path` for cgroup v2, `4:cpu,cpuacct:/path` for v1; within a container the path may be seen from outside.
fn candidates(line: &str) -> Vec<PathBuf> {
    let mut parts = line.splitn(3, ':');
    let (Some(_), Some(controllers), Some(path)) = (parts.next(), parts.next(), parts.next()) else {
        return Vec::new();
    };
    let path = path.trim_start_matches('/');
    let root = PathBuf::from("/sys/fs/cgroup");
    if controllers.is_empty() {
        return vec![root.join(path).join("cpu.stat"), root.join("cpu.stat")];
    }
    if !controllers.split(',').any(|controller| controller == "cpu") {
        return Vec::new();
    }
    let mount = root.join(controllers);
    vec![
        mount.join(path).join("cpu.stat"),
        mount.join("cpu.stat"),
        root.join("cpu").join("cpu.stat"),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_s_files_are_read() {
        assert_eq!(steal_ticks("cpu  1 2 3 4 5 6 7 88 9 10"), 88);
        assert_eq!(steal_ticks("cpu  1 2"), 0);
        assert_eq!(throttled("usage_usec 5\nnr_throttled 2\nthrottled_usec 77\n"), 77);
        assert_eq!(throttled("nr_periods 1\nthrottled_time 5000\n"), 5);
        assert_eq!(throttled("nonsense"), 0);
        let read = thread("12 34 5\n").unwrap();
        assert_eq!((read.cpu, read.waited), (12, 34));
        assert!(thread("x").is_none());
        let v1 = candidates("4:cpu,cpuacct:/docker/7");
        assert_eq!(v1[0], PathBuf::from("/sys/fs/cgroup/cpu,cpuacct/docker/7/cpu.stat"));
        assert_eq!(candidates("0::/a/b")[0], PathBuf::from("/sys/fs/cgroup/a/b/cpu.stat"));
        assert!(candidates("3:memory:/x").is_empty() && candidates("").is_empty());
    }

    #[test]
    fn a_busy_process_shows() {
        let mut sampler = HealthSampler::new();
        let mut sum = 0u64;
        while process_cpu_us() < sampler.last.cpu + 20_000 {
            sum = sum.wrapping_add(process_cpu_us());
        }
        let health = sampler.sample();
        assert!(health.cpu_us >= 20_000 && sum > 0, "{health:?}");
        assert!(health.rss_bytes > 0 && health.descriptors > 0 && health.descriptors_max > 0);
        assert!(memory_bytes() > 0);
    }
}
