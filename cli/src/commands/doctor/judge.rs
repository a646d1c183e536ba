//! What the findings of the preflight mean. Pure.

use std::time::Duration;

use super::facts::{Coordinator, Facts};

/// What a finding means for a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Level {
    /// Nothing stands in the way.
    Ok,
    /// Runs work; some of them will be strained.
    Warn,
    /// Runs will not work, or their numbers will be worth nothing.
    Fail,
}

impl Level {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }
}

/// One line of the preflight.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Check {
    pub(super) name: &'static str,
    pub(super) level: Level,
    pub(super) found: String,
    /// What to do; empty when there is nothing to do.
    pub(super) advice: &'static str,
}

/// What these limits allow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Capacity {
    /// Open connections to one target address from one source address.
    pub(super) connections: u64,
    /// What stops more of them.
    pub(super) stopped_by: &'static str,
    /// New connections per second to one target address, each closed by this side, when ports wait for a minute;
    /// `None` where the ports are not shown.
    pub(super) new_per_s: Option<u64>,
    /// Load threads of `run`.
    pub(super) threads: u32,
    /// Requests per second on kept connections, by a rule of thumb.
    pub(super) requests_per_s: u64,
}

/// Descriptors that are no connections: files, sockets to the coordinator, timers.
const DESCRIPTORS_OTHER: u64 = 100;
/// What an idle connection takes here and in the kernel, bytes.
const CONNECTION_BYTES: u64 = 20 * 1024;
/// Threads that a run has beside those that make load and those of name lookups.
const THREADS_OTHER: u64 = 8;
/// Name lookups that go on at once where nothing is slow; each has a thread.
const THREADS_LOOKUPS: u64 = 24;
/// Linux keeps a port for this long after this side has closed its connection.
const TIME_WAIT_S: u64 = 60;
/// Small requests per second that one load thread makes with half of a core of 2 to 3 GHz.
const REQUESTS_PER_THREAD: f64 = 50_000.0;

/// Every check, in reading order.
pub(super) fn checks(facts: &Facts) -> Vec<Check> {
    let mut all = vec![
        descriptors(facts),
        ports(facts),
        tw_reuse(facts),
        somaxconn(facts),
        cores(facts),
        quota(facts),
        steal(facts),
        load(facts),
        timer(facts),
        clock(facts),
        memory(facts),
        threads_left(facts),
        governor(facts),
        container(facts),
    ];
    all.extend(facts.coordinator.as_ref().map(coordinator));
    all
}

/// What these limits allow.
pub(super) fn capacity(facts: &Facts) -> Capacity {
    let ports = facts.ports.map(|range| u64::from(ports_of(facts, range)));
    let limits = [
        (ports.unwrap_or(u64::MAX), "local ports"),
        (
            usable_descriptors(facts).saturating_sub(DESCRIPTORS_OTHER),
            "descriptors",
        ),
        (
            facts
                .memory
                .map_or(u64::MAX, |memory| memory.available_bytes / CONNECTION_BYTES),
            "memory",
        ),
    ];
    let (connections, stopped_by) = limits
        .into_iter()
        .min_by_key(|(most, _)| *most)
        .unwrap_or((0, "nothing"));
    let threads = load_threads(facts);
    let busy = facts.quota_cores.unwrap_or(f64::INFINITY).min(f64::from(threads));
    Capacity {
        connections,
        stopped_by,
        new_per_s: ports.map(|ports| ports / TIME_WAIT_S),
        threads,
        requests_per_s: (busy * REQUESTS_PER_THREAD) as u64,
    }
}

/// Judges by the first of the limits that holds; `Ok` has no advice.
fn check(name: &'static str, found: String, fails: bool, warns: bool, advice: &'static str) -> Check {
    let level = match (fails, warns) {
        (true, _) => Level::Fail,
        (false, true) => Level::Warn,
        (false, false) => Level::Ok,
    };
    Check {
        name,
        level,
        found,
        advice: if level == Level::Ok { "" } else { advice },
    }
}

fn usable_descriptors(facts: &Facts) -> u64 {
    facts.descriptors.min(facts.descriptors_system.unwrap_or(u64::MAX))
}

fn descriptors(facts: &Facts) -> Check {
    let limit = |n: u64| {
        if n == u64::MAX {
            "no limit".to_owned()
        } else {
            grouped(n)
        }
    };
    let mut found = format!(
        "{} (hard limit {})",
        limit(facts.descriptors),
        limit(facts.descriptors_hard)
    );
    if let Some(system) = facts.descriptors_system.filter(|system| *system < facts.descriptors) {
        found = format!("{found}, {} for the whole system", grouped(system));
    }
    let usable = usable_descriptors(facts);
    check(
        "descriptors",
        found,
        usable < 256,
        usable < 4_096,
        "each connection takes one: raise the hard limit (ulimit -Hn, LimitNOFILE=, docker run --ulimit nofile=1048576)",
    )
}

/// The local ports that the system hands out.
fn ports_of(facts: &Facts, (first, last): (u16, u16)) -> u32 {
    (u32::from(last - first) + 1).saturating_sub(facts.ports_reserved)
}

fn ports(facts: &Facts) -> Check {
    let Some((first, last)) = facts.ports else {
        return unseen("ports");
    };
    let all = ports_of(facts, (first, last));
    // What the system uses again is not gone.
    let left = match facts.tw_reuse {
        Some(1) => all,
        _ => all.saturating_sub(facts.ports_waiting),
    };
    // With 2 a target on this host still gets a port.
    let fails = all < 100 || (left < 100 && facts.tw_reuse != Some(2));
    check(
        "ports",
        format!(
            "{first}–{last}, {}; {} in TIME_WAIT",
            grouped(all.into()),
            grouped(facts.ports_waiting.into())
        ),
        fails,
        all < 20_000 || left < all / 2,
        "each connection to a target takes one, and from half of them on finding one takes ever longer: sysctl \
         net.ipv4.ip_local_port_range=\"1024 65535\", more source addresses in the plan (network.source_addresses), \
         or more workers",
    )
}

fn tw_reuse(facts: &Facts) -> Check {
    let found = match facts.tw_reuse {
        None => return unseen("tcp_tw_reuse"),
        Some(0) => "0: a closed connection holds its port for a minute",
        Some(1) => "1: ports in TIME_WAIT are used again",
        Some(2) => "2: ports in TIME_WAIT are used again on loopback alone",
        Some(_) => "a value that is not known",
    };
    check(
        "tcp_tw_reuse",
        found.to_owned(),
        false,
        facts.tw_reuse == Some(0),
        "matters when connections are not kept: sysctl net.ipv4.tcp_tw_reuse=1",
    )
}

fn somaxconn(facts: &Facts) -> Check {
    let Some(most) = facts.somaxconn else {
        return unseen("somaxconn");
    };
    check(
        "somaxconn",
        grouped(most),
        false,
        most < 1_024,
        "concerns targets on this host: connections that come at once are refused or delayed; sysctl net.core.somaxconn=4096",
    )
}

/// The threads on which `run` makes load here: a quota counts in whole cores.
fn load_threads(facts: &Facts) -> u32 {
    let usable = facts
        .quota_cores
        .map_or(facts.cores, |quota| (quota as u32).clamp(1, facts.cores.max(1)));
    usable.saturating_sub(1).max(1)
}

fn cores(facts: &Facts) -> Check {
    let threads = load_threads(facts);
    check(
        "cores",
        format!(
            "{} of {} allowed; run makes load on {threads}",
            facts.cores, facts.cores_of_host
        ),
        false,
        facts.cores < 2,
        "the one load thread shares its core with everything else: give the process two cores",
    )
}

fn quota(facts: &Facts) -> Check {
    if !facts.groups_shown {
        return unseen("cpu quota");
    }
    let Some(quota) = facts.quota_cores else {
        return check("cpu quota", "none".to_owned(), false, false, "");
    };
    check(
        "cpu quota",
        format!("{quota:.2} of {} cores", facts.cores),
        quota < 0.5,
        quota < f64::from(facts.cores),
        "a quota stops all threads at once for tens of milliseconds: remove it (cpu.max, docker --cpus, limits.cpu) and \
         give whole cores instead (cpuset)",
    )
}

fn steal(facts: &Facts) -> Check {
    let Some(steal) = facts.steal else {
        return unseen("steal");
    };
    check(
        "steal",
        format!("{steal:.1} % of the cores' time"),
        steal > 10.0,
        steal > 1.0,
        "other guests use these cores: a dedicated or larger machine, or another hour",
    )
}

fn load(facts: &Facts) -> Check {
    let (Some(busiest), pressure) = (facts.busiest, facts.pressure) else {
        return unseen("load");
    };
    let waited = pressure.map_or_else(String::new, |share| {
        format!("; threads waited for a core in {share:.0} % of the last 10 s")
    });
    check(
        "load",
        format!("busiest core {busiest:.0} %{waited}"),
        false,
        busiest > 50.0 || pressure.is_some_and(|share| share > 20.0),
        "something else is at work here: stop it, or keep it off the cores of the load threads (taskset)",
    )
}

fn timer(facts: &Facts) -> Check {
    let (Some(p50), Some(p99)) = (quantile(&facts.late, 50), quantile(&facts.late, 99)) else {
        return unseen("timer");
    };
    check(
        "timer",
        format!("wakes {} µs late (p50), {} µs (p99)", p50.as_micros(), p99.as_micros()),
        p99 > Duration::from_millis(10),
        p99 > Duration::from_millis(1),
        "requests are sent this late: see load, steal and cpu quota above; an idle machine wakes within 0.1 ms",
    )
}

/// The value at rank ⌈q·n⌉ of a sorted list.
fn quantile(sorted: &[Duration], percent: usize) -> Option<Duration> {
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted.get(rank.checked_sub(1)?).copied()
}

fn clock(facts: &Facts) -> Check {
    let source = facts.clock_source.as_deref().unwrap_or("not shown");
    let slow = ["hpet", "acpi_pm", "xen", "jiffies", "refined-jiffies"].contains(&source);
    check(
        "clock",
        format!("{source}, {} ns a reading", facts.clock_ns),
        false,
        slow || facts.clock_ns > 300,
        "every request reads the clock several times: boot with clocksource=tsc, or kvm-clock in a guest",
    )
}

fn memory(facts: &Facts) -> Check {
    let Some(memory) = facts.memory else {
        return unseen("memory");
    };
    let mib = |bytes: u64| grouped(bytes >> 20);
    check(
        "memory",
        format!(
            "{} of {} MiB available",
            mib(memory.available_bytes),
            mib(memory.total_bytes)
        ),
        memory.available_bytes < 64 << 20,
        memory.available_bytes < 256 << 20 || memory.available_bytes < memory.total_bytes / 20,
        "an idle connection takes up to 20 KiB, and a host that swaps measures itself: free some memory",
    )
}

fn threads_left(facts: &Facts) -> Check {
    if !facts.groups_shown {
        return unseen("threads");
    }
    let Some(left) = facts.threads_left else {
        return check("threads", "no limit".to_owned(), false, false, "");
    };
    let needed = u64::from(load_threads(facts)) + THREADS_OTHER;
    check(
        "threads",
        format!("{} more allowed", grouped(left)),
        left < needed,
        left < needed + THREADS_LOOKUPS,
        "a run has one for each core that makes load, some others, and one for each name lookup that goes on: raise the \
         limit (pids.max, TasksMax=, docker run --pids-limit, ulimit -u)",
    )
}

fn governor(facts: &Facts) -> Check {
    let Some(governor) = &facts.governor else {
        return check("cpu governor", "not shown".to_owned(), false, false, "");
    };
    check(
        "cpu governor",
        governor.clone(),
        false,
        governor != "performance",
        "cores that slow down while idle answer late: cpupower frequency-set -g performance",
    )
}

fn container(facts: &Facts) -> Check {
    let found = facts.container.map_or_else(
        || "no sign of one".to_owned(),
        |kind| format!("{kind}: the limits above are those that it was given"),
    );
    check("container", found, false, false, "")
}

fn coordinator(asked: &Coordinator) -> Check {
    let (found, well) = match asked {
        Coordinator::Unreachable(why) => (why.clone(), false),
        Coordinator::Well {
            version,
            protocol,
            workers,
            store_ok,
        } => {
            let same = *protocol == barrage_proto::PROTOCOL;
            let mut found = format!("{version}, {workers} workers");
            if !same {
                found = format!("{found}; speaks protocol {protocol}, not {}", barrage_proto::PROTOCOL);
            }
            if !store_ok {
                found.push_str("; its store cannot be written to");
            }
            (found, same && *store_ok)
        }
    };
    check(
        "coordinator",
        found,
        !well,
        false,
        "start one of this version (barrage coordinator), or look at its address, its disk, and the way to it",
    )
}

fn unseen(name: &'static str) -> Check {
    check(
        name,
        "not shown by this system".to_owned(),
        false,
        true,
        "nothing can be said about it",
    )
}

/// A number with a comma after each three digits.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests;
