//! The thresholds: one table, which `docs/numbers.md` repeats for readers.

use barrage_model::delta::{COVERED_MIN_US, Health, SATURATED_PERCENT};

/// More than this share of the judged intervals, and at least so many of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// Percent of the intervals.
    pub percent: u32,
    /// Intervals.
    pub least: u32,
}

/// One threshold: an interval is strained when its reading lies above the limit, a run when too many intervals are.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    /// A short word; several rules may have the same.
    pub kind: &'static str,
    /// What the reading is, with its unit: "above LIMIT …".
    pub what: &'static str,
    /// The reading must be greater than this.
    pub limit: u64,
    /// When the run is degraded.
    pub degraded: Option<Share>,
    /// The run is degraded, too, when so many of any ten intervals in a row are strained; see [`STRETCH`].
    pub stretch: Option<u32>,
    /// When the run is invalid.
    pub invalid: Option<Share>,
    /// Why there is such a limit.
    pub why: &'static str,
    pub(super) reading: fn(&Health, u32) -> u64,
}

/// Intervals in a row that [`Rule::stretch`] looks at. While the run goes on, and at its end, one strained interval fewer
/// among the latest is enough, for the strain may only have begun.
pub const STRETCH: u32 = 10;

const fn share(percent: u32, least: u32) -> Share {
    Share { percent, least }
}

/// Readings as shares of the time that they cover, 0 to 1.
pub(super) struct Shares {
    pub(super) shard_cpu: f64,
    pub(super) shard_wait: f64,
    pub(super) core_busy: f64,
}

/// `None` when too little time is covered.
pub(super) fn shares(health: &Health) -> Option<Shares> {
    let covered = (health.covered_us >= COVERED_MIN_US).then_some(health.covered_us as f64)?;
    Some(Shares {
        shard_cpu: health.shard_cpu_max_us as f64 / covered,
        shard_wait: health.shard_wait_max_us as f64 / covered,
        core_busy: health.core_busy_max_us as f64 / covered,
    })
}

/// Percent of the covered time, of each of `cores`, rounded up: more than a whole limit is more than it, by however little. 0
/// when too little time is covered.
fn percent(us: u64, health: &Health, cores: u32) -> u64 {
    if health.covered_us < COVERED_MIN_US {
        return 0;
    }
    let whole = health.covered_us.saturating_mul(u64::from(cores.max(1)));
    us.saturating_mul(100).div_ceil(whole)
}

/// Percent, rounded up.
fn part(of: u64, whole: u64) -> u64 {
    if whole == 0 {
        return 0;
    }
    of.saturating_mul(100).div_ceil(whole)
}

fn descriptors(health: &Health, _: u32) -> u64 {
    part(health.descriptors.into(), health.descriptors_max.into())
}

fn memory(health: &Health, _: u32) -> u64 {
    let used = health.memory_bytes.saturating_sub(health.memory_available_bytes);
    part(used, health.memory_bytes)
}

fn dispatch_lag(health: &Health, _: u32) -> u64 {
    health.dispatch_lag_p99_us
}

/// Of the interval itself, not of the time that other readings cover.
fn stood(health: &Health, _: u32) -> u64 {
    health.stood_us.div_ceil(10_000)
}

fn run_queue(health: &Health, _: u32) -> u64 {
    percent(health.shard_wait_max_us, health, 1)
}

/// The cores that the system's figures are about, where they are not those that the quota leaves.
fn allowed(health: &Health, cores: u32) -> u32 {
    if health.cores > 0 { health.cores } else { cores }
}

const LAG: &str = "µs of dispatch lag (p99) that the generator itself caused";
const QUEUE: &str = "% of the time a shard was ready to run and had no core";
const STOOD: &str = "% of the time a shard's loop stood still, for 10 ms or more at a time";
const DESCRIPTORS: &str = "% of the limit on open descriptors";

/// The thresholds. Intervals of the warm-up are judged only by those that count failures.
pub const RULES: [Rule; 19] = [
    Rule {
        kind: "dispatch_lag",
        what: LAG,
        limit: 10_000,
        degraded: Some(share(1, 1)),
        stretch: Some(2),
        invalid: Some(share(10, 3)),
        why: "such a lag is seen in percentiles: a request was sent late, and not by the target",
        reading: dispatch_lag,
    },
    Rule {
        kind: "dispatch_lag",
        what: LAG,
        limit: 100_000,
        degraded: None,
        stretch: None,
        invalid: Some(share(1, 1)),
        why: "the latencies of such an interval are mostly the generator's",
        reading: dispatch_lag,
    },
    Rule {
        kind: "poll_delay",
        what: STOOD,
        limit: 20,
        degraded: Some(share(1, 1)),
        stretch: Some(2),
        invalid: None,
        why: "many short stops do to answers what a long one does",
        reading: stood,
    },
    Rule {
        kind: "poll_delay",
        what: STOOD,
        limit: 50,
        degraded: None,
        stretch: None,
        invalid: Some(share(10, 3)),
        why: "the shard saw most answers too late, and sent little",
        reading: stood,
    },
    Rule {
        kind: "poll_delay",
        what: "µs in which a shard's loop was not polled",
        limit: 100_000,
        degraded: Some(share(1, 1)),
        stretch: Some(2),
        invalid: None,
        why: "whatever is sent or answered meanwhile is seen too late",
        reading: |health, _| health.poll_delay_max_us,
    },
    Rule {
        kind: "run_queue",
        what: QUEUE,
        limit: 20,
        degraded: Some(share(1, 1)),
        stretch: Some(2),
        invalid: None,
        why: "others use the shard's core, so answers wait to be seen and service times grow",
        reading: run_queue,
    },
    Rule {
        kind: "run_queue",
        what: QUEUE,
        limit: 50,
        degraded: None,
        stretch: None,
        invalid: Some(share(10, 3)),
        why: "the shard got less than half of the time that it asked for",
        reading: run_queue,
    },
    Rule {
        kind: "shard_cpu",
        what: "% of the time the busiest shard was at work or waited for a core",
        limit: SATURATED_PERCENT,
        degraded: Some(share(10, 1)),
        stretch: Some(3),
        invalid: None,
        why: "a saturated shard queues: it measures itself as well",
        reading: |health, _| percent(health.shard_busy_max_us, health, 1),
    },
    Rule {
        kind: "throttled",
        what: "% of a core's time throttled by the control group's CPU quota, all cores together",
        limit: 1,
        degraded: Some(share(1, 1)),
        stretch: Some(2),
        invalid: None,
        why: "a quota stops all threads at once for tens of milliseconds",
        reading: |health, _| percent(health.throttled_us, health, 1),
    },
    Rule {
        kind: "throttled",
        what: "% of its cores' time throttled by the control group's CPU quota",
        limit: 50,
        degraded: None,
        stretch: None,
        invalid: Some(share(10, 3)),
        why: "the worker stood still for most of the time",
        // The kernel adds up what each core's queue was throttled.
        reading: |health, cores| percent(health.throttled_us, health, cores),
    },
    Rule {
        kind: "steal",
        what: "% of CPU time stolen by the hypervisor",
        limit: 10,
        degraded: Some(share(1, 1)),
        stretch: Some(2),
        invalid: None,
        why: "other guests use the cores, and nothing inside sees when",
        reading: |health, cores| percent(health.steal_us, health, allowed(health, cores)),
    },
    Rule {
        kind: "descriptors",
        what: DESCRIPTORS,
        limit: 94,
        degraded: Some(share(0, 1)),
        stretch: None,
        invalid: None,
        why: "the next connections will find none",
        reading: descriptors,
    },
    Rule {
        kind: "ports",
        what: "% of the local ports for one address of the target",
        limit: 90,
        degraded: Some(share(1, 1)),
        stretch: Some(2),
        invalid: None,
        why: "finding a free port takes ever longer, and soon there is none",
        reading: |health, _| part(health.ports.into(), health.ports_max.into()),
    },
    Rule {
        kind: "memory",
        what: "% of the memory of the host, or of a control group with a limit, in use",
        limit: 95,
        degraded: Some(share(1, 1)),
        stretch: Some(2),
        invalid: None,
        why: "who reclaims memory or swaps stops threads at any place",
        reading: memory,
    },
    Rule {
        kind: "no_descriptor",
        what: "attempts failed because the generator had no descriptor left",
        limit: 0,
        degraded: None,
        stretch: None,
        invalid: Some(share(0, 1)),
        why: "these failures are the generator's, not the target's",
        reading: |health, _| health.shortages.descriptors,
    },
    Rule {
        kind: "no_port",
        what: "attempts failed because the generator had no local port or address left",
        limit: 0,
        degraded: None,
        stretch: None,
        invalid: Some(share(0, 1)),
        why: "these failures are the generator's, not the target's",
        reading: |health, _| health.shortages.ports,
    },
    Rule {
        kind: "no_memory",
        what: "attempts failed because the generator had no memory for sockets or kept bodies left",
        limit: 0,
        degraded: None,
        stretch: None,
        invalid: Some(share(0, 1)),
        why: "these failures are the generator's, not the target's",
        reading: |health, _| health.shortages.memory,
    },
    Rule {
        kind: "no_thread",
        what: "attempts failed or had to wait because the generator had no thread left for a name lookup",
        limit: 0,
        degraded: None,
        stretch: None,
        invalid: Some(share(0, 1)),
        why: "these failures are the generator's, not the target's",
        reading: |health, _| health.shortages.threads,
    },
    Rule {
        kind: "no_time",
        what: "answers or connections came too late because the generator stood still meanwhile",
        limit: 0,
        degraded: None,
        stretch: None,
        invalid: Some(share(0, 1)),
        why: "they may have come in time, and count as timeouts or failed checks",
        reading: |health, _| health.shortages.time,
    },
];

impl Rule {
    /// Whether it counts failures that are the generator's own. They are in the report's totals, which include the warm-up,
    /// so there they are judged, too.
    pub(super) fn counts_failures(&self) -> bool {
        self.limit == 0
    }

    /// The rule as a row of the table in `docs/numbers.md`.
    pub fn row(&self) -> String {
        let share = |share: Option<Share>| match share {
            None => "–".to_owned(),
            Some(Share { percent: 0, least: 1 }) => "any".to_owned(),
            Some(Share { percent, least: 1 }) => format!("> {percent} %"),
            Some(Share { percent, least }) => format!("> {percent} %, ≥ {least}"),
        };
        let stretch = self
            .stretch
            .map_or_else(|| "–".to_owned(), |strained| format!("{strained} of {STRETCH}"));
        format!(
            "| `{}` | > {} {} | {} | {stretch} | {} | {} |",
            self.kind,
            self.limit,
            self.what,
            share(self.degraded),
            share(self.invalid),
            self.why
        )
    }

    /// What was seen, in one sentence: `strained` of `judged` intervals, readings of `sum` together and `worst` at most.
    pub(super) fn sentence(&self, strained: u32, judged: u32, sum: u64, worst: u64) -> String {
        if self.counts_failures() {
            let what = if sum == 1 {
                self.what.replacen("attempts", "attempt", 1).replacen(
                    "answers or connections came",
                    "answer or connection came",
                    1,
                )
            } else {
                self.what.to_owned()
            };
            return format!(
                "{sum} {what} in {strained} {}",
                if strained == 1 { "interval" } else { "intervals" }
            );
        }
        let (limit, what) = (self.limit, self.what);
        format!("more than {limit} {what} in {strained} of {judged} intervals, at worst {worst}")
    }
}
