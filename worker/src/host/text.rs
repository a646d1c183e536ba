//! Readers of the kernel's texts. Pure; whatever the text, they neither fail nor panic, and sums never overflow.

use std::ops::RangeInclusive;

/// Highest number of a core that is believed.
const CORE_MAX: u32 = 8_191;

/// Memory of a host, or of a control group with a limit, bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// All of it.
    pub total_bytes: u64,
    /// What programs could still get.
    pub available_bytes: u64,
}

/// What `/proc/self/status` says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// Resident memory, bytes.
    pub rss_bytes: u64,
    /// Resident memory that belongs to no file, bytes.
    pub rss_anon_bytes: u64,
    /// Cores that it may run on; empty when it does not say.
    pub cores: Cores,
}

/// A set of cores.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cores(Vec<RangeInclusive<u32>>);

/// Times of one core since the start of the system, in ticks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CoreTimes {
    /// Its number.
    pub core: u32,
    /// It did something: for programs, the kernel, interrupts, or another guest.
    pub busy: u64,
    /// It was given to another guest meanwhile. Part of `busy`.
    pub steal: u64,
}

/// Scheduler statistics of one thread, ns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scheduled {
    /// Time on a core.
    pub cpu: u64,
    /// Time for which it was ready to run and had no core.
    pub waited: u64,
}

impl Cores {
    /// Reads `0-3,8`.
    pub fn parse(list: &str) -> Self {
        let range = |part: &str| {
            let (from, to) = part.split_once('-').unwrap_or((part, part));
            let range = from.trim().parse::<u32>().ok()?..=to.trim().parse::<u32>().ok()?;
            (!range.is_empty() && *range.end() <= CORE_MAX).then_some(range)
        };
        Self(list.trim().split(',').filter_map(range).collect())
    }

    /// Whether a core is in it. Every core is in an empty set: then nothing is known.
    pub fn contains(&self, core: u32) -> bool {
        self.0.is_empty() || self.0.iter().any(|range| range.contains(&core))
    }

    /// How many it names; 0 when nothing is known.
    pub fn count(&self) -> u32 {
        let lengths = self.0.iter().map(|range| range.end() - range.start() + 1);
        lengths.fold(0, u32::saturating_add)
    }
}

/// A number of kB behind `key:`, in bytes.
fn kib(text: &str, key: &str) -> Option<u64> {
    let mut lines = text.lines().filter_map(|line| line.split_once(':'));
    let (_, value) = lines.find(|(name, _)| *name == key)?;
    let kib = value.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?;
    Some(kib.saturating_mul(1_024))
}

/// Reads `/proc/meminfo`.
pub fn memory(text: &str) -> Option<Memory> {
    let total_bytes = kib(text, "MemTotal")?;
    Some(Memory {
        total_bytes,
        available_bytes: kib(text, "MemAvailable")
            .or_else(|| kib(text, "MemFree"))?
            .min(total_bytes),
    })
}

/// Reads `/proc/PID/status`.
pub fn status(text: &str) -> Status {
    let cores = text.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
    Status {
        rss_bytes: kib(text, "VmRSS").unwrap_or(0),
        rss_anon_bytes: kib(text, "RssAnon").unwrap_or(0),
        cores: cores.map(Cores::parse).unwrap_or_default(),
    }
}

/// Reads the lines of single cores of `/proc/stat`.
pub fn cores(text: &str) -> Vec<CoreTimes> {
    let lines = text.lines().take_while(|line| line.starts_with("cpu"));
    lines.filter_map(core).collect()
}

/// `cpuN user nice system idle iowait irq softirq steal …`.
fn core(line: &str) -> Option<CoreTimes> {
    let mut words = line.split_ascii_whitespace();
    let core = words
        .next()?
        .strip_prefix("cpu")?
        .parse()
        .ok()
        .filter(|core| *core <= CORE_MAX)?;
    let mut ticks = [0u64; 8];
    for (place, word) in ticks.iter_mut().zip(words) {
        *place = word.parse().ok()?;
    }
    let [user, nice, system, _, _, irq, softirq, steal] = ticks;
    let parts = [user, nice, system, irq, softirq, steal];
    Some(CoreTimes {
        core,
        busy: parts.iter().fold(0, |sum, part| sum.saturating_add(*part)),
        steal,
    })
}

/// Reads `schedstat` of a thread: time on a core, time waited, turns.
pub fn scheduled(text: &str) -> Option<Scheduled> {
    let mut numbers = text.split_ascii_whitespace().map(str::parse::<u64>);
    Some(Scheduled {
        cpu: numbers.next()?.ok()?,
        waited: numbers.next()?.ok()?,
    })
}

/// TCP sockets in `TIME_WAIT`, from `/proc/net/sockstat`.
pub fn time_wait(text: &str) -> u32 {
    let tcp = text.lines().find_map(|line| line.strip_prefix("TCP:")).unwrap_or("");
    let mut words = tcp.split_ascii_whitespace();
    let found = words.find(|word| *word == "tw").and_then(|_| words.next());
    found.and_then(|count| count.parse().ok()).unwrap_or(0)
}

/// Segments sent again, from `/proc/net/snmp`, whose `Tcp:` lines are one of names and one of numbers.
pub fn retransmits(text: &str) -> u64 {
    let mut tcp = text.lines().filter_map(|line| line.strip_prefix("Tcp:"));
    let (Some(names), Some(numbers)) = (tcp.next(), tcp.next()) else {
        return 0;
    };
    let mut pairs = names.split_ascii_whitespace().zip(numbers.split_ascii_whitespace());
    let found = pairs.find(|(name, _)| *name == "RetransSegs");
    found.and_then(|(_, count)| count.parse().ok()).unwrap_or(0)
}

/// Reads two numbers, the first and the last port.
pub fn port_range(text: &str) -> Option<(u16, u16)> {
    let mut ports = text.split_ascii_whitespace().map(str::parse::<u16>);
    let range = (ports.next()?.ok()?, ports.next()?.ok()?);
    (range.0 <= range.1).then_some(range)
}

/// How many ports of a list such as `8080,9000-9100` lie between these two: `/proc/sys/net/ipv4/ip_local_reserved_ports`.
pub fn ports_within(text: &str, first: u16, last: u16) -> u32 {
    let ranges = text.trim().split(',').filter_map(|range| {
        let (from, to) = range.split_once('-').unwrap_or((range, range));
        let (from, to): (u16, u16) = (from.parse().ok()?, to.parse().ok()?);
        let (from, to) = (from.max(first), to.min(last));
        to.checked_sub(from).map(|more| u32::from(more) + 1)
    });
    ranges.sum()
}

/// The threads of a process, if it belongs to this user: `/proc/<pid>/status`.
pub fn threads_of(text: &str, user: u32) -> Option<u32> {
    let number = |key: &str| {
        let rest = text.lines().find_map(|line| line.strip_prefix(key))?;
        rest.split_ascii_whitespace().next()?.parse::<u32>().ok()
    };
    number("Threads:").filter(|_| number("Uid:") == Some(user))
}

/// The share of the last ten seconds, percent, in which some thread waited for a core: `/proc/pressure/cpu`.
pub fn pressure(text: &str) -> Option<f64> {
    let some = text.lines().find_map(|line| line.strip_prefix("some "))?;
    let share = some
        .split_ascii_whitespace()
        .find_map(|word| word.strip_prefix("avg10="))?;
    share.parse().ok().filter(|share| (0.0..=100.0).contains(share))
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAT: &str = "cpu  10 20 30 40 50 60 70 80 9 10\n\
                        cpu0 1 2 3 4 5 6 7 8 9 10\n\
                        cpu12 100 0 0 7\n\
                        cpuX 1 2 3\n\
                        cpu3 1 two 3\n\
                        intr 5 6\n\
                        cpu1 1 1 1 1 1 1 1 1\n";
    const SNMP: &str =
        "Ip: Forwarding RetransSegs\nIp: 1 99\nTcp: RtoMin OutSegs RetransSegs InErrs\nTcp: 200 55 7 0\n";

    #[test]
    fn reserved_ports_count_where_they_are_handed_out() {
        for (text, count) in [
            ("\n", 0),
            ("40000\n", 1),
            ("80,32768-32777,60990-65535", 20),
            ("100-20", 0),
            ("x,,40000-", 0),
        ] {
            assert_eq!(ports_within(text, 32_768, 60_999), count, "{text:?}");
        }
    }

    #[test]
    fn threads_count_for_their_user() {
        let text = "Name:\tx\nUid:\t1000\t0\t0\t0\nThreads:\t7\n";
        assert_eq!((threads_of(text, 1_000), threads_of(text, 0)), (Some(7), None));
        assert_eq!(threads_of("Threads:\t7", 0), None);
    }

    #[test]
    fn times_of_cores() {
        let (first, second) = (
            CoreTimes {
                core: 0,
                busy: 1 + 2 + 3 + 6 + 7 + 8,
                steal: 8,
            },
            CoreTimes {
                core: 12,
                busy: 100,
                steal: 0,
            },
        );
        assert_eq!(cores(STAT), [first, second]);
        assert_eq!(cores("cpu99999 1 2 3 4 5 6 7 8\nnonsense"), []);
        let most = format!("cpu0 {0} {0} {0} {0} {0} {0} {0} {0}", u64::MAX);
        assert_eq!(cores(&most)[0].busy, u64::MAX);
    }

    #[test]
    fn sets_of_cores() {
        assert_eq!((Cores::parse("0-3,8").count(), Cores::parse("x").count()), (5, 0));
        for (list, inside, outside) in [
            ("0-3,8\n", vec![0, 3, 8], vec![4, 7, 9]),
            ("5", vec![5], vec![0, 4, 6]),
            ("3-1,2", vec![2], vec![1, 3]),
            ("0-4294967295,1", vec![1], vec![0, 2]),
            ("x,,-,4-", vec![0, 77], vec![]),
        ] {
            let cores = Cores::parse(list);
            assert!(inside.iter().all(|core| cores.contains(*core)), "{list:?}");
            assert!(!outside.iter().any(|core| cores.contains(*core)), "{list:?}");
        }
    }

    #[test]
    fn memory_and_status() {
        let text = "MemTotal:  4096 kB\nMemFree: 1 kB\nMemAvailable:    1024 kB\n";
        let read = memory(text).expect("both are there");
        assert_eq!((read.total_bytes, read.available_bytes), (4_096 << 10, 1_024 << 10));
        assert_eq!(
            memory("MemTotal: 10 kB\nMemFree: 30 kB\n").map(|read| read.available_bytes),
            Some(10_240)
        );
        for garbled in [
            "",
            "MemTotal: x kB",
            "MemTotal: 5",
            "MemTotal 5 kB\nMemAvailable: 5 kB",
            "MemTotal: 5 kB",
        ] {
            assert_eq!(memory(garbled), None, "{garbled:?}");
        }
        let read = status("Name:\tx\nVmRSS:\t  200 kB\nRssAnon:\t 50 kB\nCpus_allowed_list:\t1\n");
        assert_eq!((read.rss_bytes, read.rss_anon_bytes), (200 << 10, 50 << 10));
        assert!(read.cores.contains(1) && !read.cores.contains(0));
        assert_eq!(status("VmRSS: -1 kB\u{0}\n"), Status::default());
        assert_eq!(status(&format!("VmRSS: {} kB", u64::MAX)).rss_bytes, u64::MAX);
    }

    #[test]
    fn threads_sockets_and_ports() {
        let read = scheduled("12 34 5\n").expect("two numbers");
        assert_eq!((read.cpu, read.waited), (12, 34));
        assert_eq!(scheduled("12"), None);
        assert_eq!(scheduled("x 1 1"), None);
        assert_eq!(
            time_wait("sockets: used 24\nTCP: inuse 5 orphan 0 tw 17 alloc 8 mem 1\n"),
            17
        );
        for garbled in ["", "TCP: tw", "TCP: tw x", "UDP: tw 4"] {
            assert_eq!(time_wait(garbled), 0, "{garbled:?}");
        }
        assert_eq!(retransmits(SNMP), 7);
        for garbled in [
            "",
            "Tcp: RetransSegs\n",
            "Tcp: RetransSegs\nTcp: x\n",
            "Tcp: A RetransSegs\nTcp: 1\n",
        ] {
            assert_eq!(retransmits(garbled), 0, "{garbled:?}");
        }
        assert_eq!(port_range("32768\t60999\n"), Some((32_768, 60_999)));
        for garbled in ["", "1", "5 4", "1 70000", "a b"] {
            assert_eq!(port_range(garbled), None, "{garbled:?}");
        }
    }

    #[test]
    fn pressure_of_ten_seconds() {
        let text = "some avg10=92.98 avg60=89.06 avg300=53.37 total=245506880\nfull avg10=0.00\n";
        assert_eq!(pressure(text), Some(92.98));
        for garbled in [
            "",
            "some",
            "some avg10=x",
            "some avg10=NaN",
            "full avg10=1.00",
            "some avg10=-1",
        ] {
            assert_eq!(pressure(garbled), None, "{garbled:?}");
        }
    }
}
