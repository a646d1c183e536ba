//! Whether a load generator can be trusted: its self-health against one table of thresholds.

mod rules;
#[cfg(test)]
mod tests;

use barrage_model::delta::{Delta, Health};
use barrage_model::ids::{LoadId, WorkerId};
use barrage_model::outcome::DropReason;
use barrage_model::plan::LoadModel;

pub use self::rules::{RULES, Rule, STRETCH, Share};
use crate::ledger::Ledger;
use crate::summary::{GeneratorReason, GeneratorSummary, GeneratorVerdict, HealthExtremes};

/// Most ranges of intervals that a reason names: half of them the first, half of them the last.
pub const RANGES_MAX: usize = 20;
/// Share of scheduled arrivals dropped as `late`, in parts per million, above which a run is invalid; any below is
/// `degraded`.
pub const DROPPED_LATE_PPM: u64 = 10_000;

/// The self-health of one worker, summed up.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Tally {
    /// Intervals judged.
    judged: u32,
    /// Time that readings cover, and CPU time used in it.
    covered_us: u64,
    cpu_us: u64,
    /// By rule.
    strained: [Strain; RULES.len()],
    pub(crate) extremes: HealthExtremes,
}

#[derive(Clone, Debug, Default, PartialEq)]
struct Strain {
    intervals: u32,
    worst: u64,
    sum: u64,
    ranges: Vec<(u32, u32)>,
    /// The latest [`STRETCH`] judged intervals, one bit each, the newest lowest.
    latest: u32,
    /// Most strained intervals that any [`STRETCH`] in a row have had.
    densest: u32,
}

impl Strain {
    /// Takes in one judged interval; `reading` is given when it is strained.
    fn judge(&mut self, interval: u32, reading: Option<u64>) {
        self.latest = ((self.latest << 1) | u32::from(reading.is_some())) & ((1 << STRETCH) - 1);
        self.densest = self.densest.max(self.latest.count_ones());
        let Some(reading) = reading else { return };
        self.intervals = self.intervals.saturating_add(1);
        self.worst = self.worst.max(reading);
        self.sum = self.sum.saturating_add(reading);
        let after = interval.saturating_add(1);
        if let Some((_, to)) = self.ranges.last_mut().filter(|(_, to)| *to >= interval) {
            *to = after.max(*to);
        } else {
            if self.ranges.len() == RANGES_MAX {
                // The first ones say how it began, the last ones how it stands.
                self.ranges.remove(RANGES_MAX / 2);
            }
            self.ranges.push((interval, after));
        }
    }

    /// The verdict of one rule over all that has been judged: as it would be if the run ended now.
    fn verdict(&self, rule: &Rule, judged: u32) -> GeneratorVerdict {
        let exceeds = |share: Option<Share>| {
            share.is_some_and(|Share { percent, least }| {
                self.intervals >= least && u64::from(self.intervals) * 100 > u64::from(judged) * u64::from(percent)
            })
        };
        let stretched = rule
            .stretch
            .is_some_and(|stretch| self.densest >= stretch || self.latest.count_ones() + 1 >= stretch);
        match () {
            () if self.intervals == 0 => GeneratorVerdict::Valid,
            () if exceeds(rule.invalid) => GeneratorVerdict::Invalid,
            () if exceeds(rule.degraded) || stretched => GeneratorVerdict::Degraded,
            () => GeneratorVerdict::Valid,
        }
    }
}

impl Tally {
    /// Judges one interval. `cores` are those of the host; intervals of the warm-up only count for the extremes and for
    /// failures of the generator's own, which are in the report's totals like any other.
    pub(crate) fn add(&mut self, delta: &Delta, cores: u32, warm_up: bool) {
        let health = &delta.health;
        self.note(health);
        // A run that ends with an interval leaves a last one in which it does nothing; a teardown's counts come without readings.
        let nothing = delta.iterations.is_empty() && delta.steps.is_empty();
        let idle = delta.last && (nothing || health.covered_us == 0);
        let judged = !warm_up && !idle;
        self.judged = self.judged.saturating_add(u32::from(judged));
        let rules = RULES.iter().zip(&mut self.strained);
        let rules = rules.filter(|(rule, _)| judged || rule.counts_failures());
        for (rule, strain) in rules {
            let reading = (rule.reading)(health, cores);
            strain.judge(delta.interval, (reading > rule.limit).then_some(reading));
        }
    }

    fn note(&mut self, health: &Health) {
        let most = &mut self.extremes;
        most.dispatch_lag_p99_max_us = most.dispatch_lag_p99_max_us.max(health.dispatch_lag_p99_us);
        most.poll_delay_max_us = most.poll_delay_max_us.max(health.poll_delay_max_us);
        most.throttled_us = most.throttled_us.saturating_add(health.throttled_us);
        most.steal_us = most.steal_us.saturating_add(health.steal_us);
        most.rss_max_bytes = most.rss_max_bytes.max(health.rss_bytes);
        most.rss_anon_max_bytes = most.rss_anon_max_bytes.max(health.rss_anon_bytes);
        most.descriptors_max = most.descriptors_max.max(health.descriptors);
        most.descriptors_limit = most.descriptors_limit.max(health.descriptors_max);
        most.ports_max = most.ports_max.max(health.ports);
        most.ports_limit = most.ports_limit.max(health.ports_max);
        most.retransmits = most.retransmits.saturating_add(health.retransmits);
        most.connections_max = most.connections_max.max(health.connections);
        most.slots_max = most.slots_max.max(health.slots);
        most.shortages.add(&health.shortages);
        if health.memory_bytes > 0 {
            let before = most.memory_available_min_bytes.unwrap_or(u64::MAX);
            most.memory_available_min_bytes = Some(before.min(health.memory_available_bytes));
        }
        let Some(shares) = rules::shares(health) else { return };
        most.shard_cpu_max = most.shard_cpu_max.max(shares.shard_cpu);
        most.shard_wait_max = most.shard_wait_max.max(shares.shard_wait);
        most.core_busy_max = most.core_busy_max.max(shares.core_busy);
        self.covered_us = self.covered_us.saturating_add(health.covered_us);
        self.cpu_us = self.cpu_us.saturating_add(health.cpu_us);
        most.cpu_mean_cores = self.cpu_us as f64 / self.covered_us as f64;
    }

    /// The worst that is to be said of this worker: as it would be if the run ended now.
    pub(crate) fn verdict(&self) -> GeneratorVerdict {
        let verdicts = RULES
            .iter()
            .zip(&self.strained)
            .map(|(rule, strain)| strain.verdict(rule, self.judged));
        verdicts.max().unwrap_or_default()
    }

    /// The reasons to doubt this worker.
    pub(crate) fn reasons(&self, worker: WorkerId) -> Vec<GeneratorReason> {
        let mut reasons: Vec<GeneratorReason> = Vec::new();
        let mut strained: Vec<u32> = Vec::new();
        for (rule, strain) in RULES.iter().zip(&self.strained) {
            let verdict = strain.verdict(rule, self.judged);
            if verdict == GeneratorVerdict::Valid {
                continue;
            }
            // Two rules of one kind over the same intervals: only the worse one is worth a line. Otherwise both are, for each
            // says which intervals not to trust. Of many ranges only some are known, so their number counts as well.
            let same = |(reason, intervals): (&GeneratorReason, &u32)| {
                reason.kind == rule.kind && *intervals == strain.intervals && reason.intervals == strain.ranges
            };
            if let Some(same) = reasons.iter().zip(&strained).position(same) {
                if reasons[same].verdict > verdict {
                    continue;
                }
                reasons.remove(same);
                strained.remove(same);
            }
            strained.push(strain.intervals);
            reasons.push(GeneratorReason {
                verdict,
                worker: Some(worker),
                kind: rule.kind,
                text: rule.sentence(strain.intervals, self.judged, strain.sum, strain.worst),
                intervals: strain.ranges.clone(),
            });
        }
        reasons
    }
}

/// The reasons for which an interval, or a longer stretch, is strained, each once.
pub(crate) fn strains(health: &Health, cores: u32) -> Vec<&'static str> {
    let mut kinds: Vec<_> = RULES
        .iter()
        .filter(|rule| (rule.reading)(health, cores) > rule.limit)
        .map(|rule| rule.kind)
        .collect();
    kinds.dedup();
    kinds
}

/// Whether an interval is strained beyond a limit that can make a run invalid, by rule: one bit each, in the order of [`RULES`].
pub(crate) fn invalidating(health: &Health, cores: u32) -> u32 {
    let rules = RULES.iter().enumerate().filter(|(_, rule)| rule.invalid.is_some());
    let strained = rules.filter(|(_, rule)| (rule.reading)(health, cores) > rule.limit);
    strained.fold(0, |bits, (place, _)| bits | 1 << place)
}

/// Whether the generator may have made the latencies of so many intervals, of which `strained` are by [`invalidating`]: shares
/// are those that make a run invalid, however few intervals that are. In a few seconds one that is strained is much.
pub(crate) fn may_have_made(strained: &[u32], intervals: u64) -> bool {
    RULES.iter().enumerate().any(|(place, rule)| {
        let count = strained.iter().filter(|bits| *bits & 1 << place != 0).count() as u64;
        let share = rule.invalid.map_or(0, |share| u64::from(share.percent));
        count * 100 > intervals * share
    })
}

/// Late drops of the whole run, judged. Loads that make their arrivals when they can do them have none, and as many of those
/// as there may be do not count beside the others.
pub(crate) fn late_drops(ledger: &Ledger) -> Option<GeneratorReason> {
    let loads = &ledger.plan().loads;
    let is_open = |load: &LoadId| {
        let load = loads.get(usize::from(load.0));
        load.is_some_and(|load| matches!(load.model, LoadModel::Open(_)))
    };
    let (mut late, mut scheduled) = (0u64, 0u64);
    for member in ledger.members.values() {
        for (_, counts) in member.iterations.iter().filter(|(load, _)| is_open(load)) {
            late = late.saturating_add(counts.dropped[DropReason::Late.index()]);
            scheduled = scheduled.saturating_add(counts.scheduled);
        }
    }
    dropped_late(late, scheduled)
}

fn dropped_late(late: u64, scheduled: u64) -> Option<GeneratorReason> {
    let share = u128::from(late) * 1_000_000;
    let verdict = match late {
        0 => return None,
        _ if share > u128::from(scheduled) * u128::from(DROPPED_LATE_PPM) => GeneratorVerdict::Invalid,
        _ => GeneratorVerdict::Degraded,
    };
    let text = format!("{late} of {scheduled} arrivals were dropped because the generator was late");
    Some(GeneratorReason {
        verdict,
        worker: None,
        kind: "dropped_late",
        text,
        intervals: Vec::new(),
    })
}

/// The verdict on the generator as it would be if the run ended now: every delta that has come in counts, whether or
/// not the watermark has passed it.
pub fn generator_so_far(ledger: &Ledger) -> GeneratorSummary {
    of(ledger, late_drops(ledger).into_iter().collect())
}

/// The verdict with reasons that concern the whole run.
pub(crate) fn of(ledger: &Ledger, mut reasons: Vec<GeneratorReason>) -> GeneratorSummary {
    for ((worker, _), member) in &ledger.members {
        reasons.extend(member.judged().reasons(*worker));
    }
    conclude(reasons)
}

/// Sorts reasons, the worst first, and draws the verdict.
fn conclude(mut reasons: Vec<GeneratorReason>) -> GeneratorSummary {
    reasons.sort_by(|a, b| (b.verdict, a.worker, a.kind).cmp(&(a.verdict, b.worker, b.kind)));
    let verdict = reasons.first().map_or(GeneratorVerdict::Valid, |reason| reason.verdict);
    GeneratorSummary { verdict, reasons }
}
