//! Whether a load generator can be trusted: its self-health against one table of thresholds.

use barrage_model::delta::{Delta, Health};
use barrage_model::ids::WorkerId;

use crate::summary::{GeneratorReason, GeneratorSummary, GeneratorVerdict, HealthExtremes};

/// Most ranges of intervals that a reason names.
pub const RANGES_MAX: usize = 20;
/// Share of scheduled arrivals dropped as `late`, in parts per million, above which a run is invalid; any below is
/// `degraded`.
pub const DROPPED_LATE_PPM: u64 = 10_000;

/// An interval is strained when the reading is above the limit; a run when too many of its intervals are.
struct Rule {
    kind: &'static str,
    /// What the reading is, with its unit.
    what: &'static str,
    reading: fn(&Health, u32) -> u64,
    limit: u64,
    /// More than this share of the intervals, in percent, and at least so many, make it so.
    degraded: Option<(u64, u32)>,
    invalid: Option<(u64, u32)>,
    /// The last interval may be longer than a second, so shares of a second mean nothing there.
    skip_last: bool,
}

/// The thresholds. Warm-up intervals are not judged.
const RULES: [Rule; 8] = [
    Rule {
        kind: "dispatch_lag",
        what: "µs of dispatch lag (p99) that the generator itself caused",
        reading: |health, _| health.dispatch_lag_p99_us,
        limit: 10_000,
        degraded: Some((1, 1)),
        invalid: Some((10, 3)),
        skip_last: false,
    },
    Rule {
        kind: "dispatch_lag",
        what: "µs of dispatch lag (p99) that the generator itself caused",
        reading: |health, _| health.dispatch_lag_p99_us,
        limit: 100_000,
        degraded: None,
        invalid: Some((1, 1)),
        skip_last: false,
    },
    Rule {
        kind: "poll_delay",
        what: "µs in which a shard's loop was not polled",
        reading: |health, _| health.poll_delay_max_us,
        limit: 100_000,
        degraded: Some((1, 1)),
        invalid: None,
        skip_last: false,
    },
    Rule {
        kind: "shard_cpu",
        what: "% CPU of the busiest shard",
        reading: |health, _| health.shard_cpu_max_us / 10_000,
        limit: 90,
        degraded: Some((10, 1)),
        invalid: None,
        skip_last: true,
    },
    Rule {
        kind: "throttled",
        what: "µs throttled by the control group",
        reading: |health, _| health.throttled_us,
        limit: 10_000,
        degraded: Some((1, 1)),
        invalid: None,
        skip_last: false,
    },
    Rule {
        kind: "steal",
        what: "% of CPU time stolen by the hypervisor",
        reading: |health, cores| health.steal_us / 10_000 / u64::from(cores.max(1)),
        limit: 10,
        degraded: Some((1, 1)),
        invalid: None,
        skip_last: true,
    },
    Rule {
        kind: "descriptors",
        what: "% of the limit on open descriptors",
        reading: |health, _| {
            (u64::from(health.descriptors) * 100)
                .checked_div(u64::from(health.descriptors_max))
                .unwrap_or(0)
        },
        limit: 94,
        degraded: Some((0, 1)),
        invalid: None,
        skip_last: false,
    },
    Rule {
        kind: "descriptors",
        what: "% of the limit on open descriptors",
        reading: |health, _| {
            (u64::from(health.descriptors) * 100)
                .checked_div(u64::from(health.descriptors_max))
                .unwrap_or(0)
        },
        limit: 99,
        degraded: None,
        invalid: Some((0, 1)),
        skip_last: false,
    },
];

/// The self-health of one worker, summed up.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Tally {
    /// Intervals judged.
    judged: u32,
    /// All intervals, and their CPU time.
    intervals: u32,
    cpu_us: u64,
    /// By rule.
    strained: [Strain; RULES.len()],
    pub(crate) extremes: HealthExtremes,
}

#[derive(Clone, Debug, Default, PartialEq)]
struct Strain {
    intervals: u32,
    worst: u64,
    ranges: Vec<(u32, u32)>,
}

impl Strain {
    fn add(&mut self, interval: u32, reading: u64) {
        self.intervals = self.intervals.saturating_add(1);
        self.worst = self.worst.max(reading);
        let after = interval.saturating_add(1);
        if let Some((_, to)) = self.ranges.last_mut().filter(|(_, to)| *to >= interval) {
            *to = after.max(*to);
        } else if self.ranges.len() < RANGES_MAX {
            self.ranges.push((interval, after));
        }
    }
}

impl Tally {
    /// Judges one interval. `cores` are those of the host; intervals of the warm-up only count for the extremes.
    pub(crate) fn add(&mut self, delta: &Delta, cores: u32, warm_up: bool) {
        let health = &delta.health;
        self.note(health, delta.last);
        // A run that ends with an interval leaves a last one in which it does nothing.
        let idle = delta.last && delta.iterations.is_empty() && delta.steps.is_empty();
        if warm_up || idle {
            return;
        }
        self.judged = self.judged.saturating_add(1);
        for (rule, strain) in RULES.iter().zip(&mut self.strained) {
            let reading = (rule.reading)(health, cores);
            if reading > rule.limit && !(rule.skip_last && delta.last) {
                strain.add(delta.interval, reading);
            }
        }
    }

    fn note(&mut self, health: &Health, last: bool) {
        let most = &mut self.extremes;
        most.dispatch_lag_p99_max_us = most.dispatch_lag_p99_max_us.max(health.dispatch_lag_p99_us);
        most.poll_delay_max_us = most.poll_delay_max_us.max(health.poll_delay_max_us);
        most.throttled_us = most.throttled_us.saturating_add(health.throttled_us);
        most.steal_us = most.steal_us.saturating_add(health.steal_us);
        most.rss_max_bytes = most.rss_max_bytes.max(health.rss_bytes);
        most.descriptors_max = most.descriptors_max.max(health.descriptors);
        most.descriptors_limit = most.descriptors_limit.max(health.descriptors_max);
        most.connections_max = most.connections_max.max(health.connections);
        most.slots_max = most.slots_max.max(health.slots);
        // The last interval may be longer than a second, so its CPU time is no share of one.
        if !last {
            most.shard_cpu_max = most.shard_cpu_max.max(health.shard_cpu_max_us as f64 / 1e6);
            self.intervals = self.intervals.saturating_add(1);
            self.cpu_us = self.cpu_us.saturating_add(health.cpu_us);
            most.cpu_mean_cores = self.cpu_us as f64 / 1e6 / f64::from(self.intervals);
        }
    }

    /// The reasons to doubt this worker.
    pub(crate) fn reasons(&self, worker: WorkerId) -> Vec<GeneratorReason> {
        let mut reasons: Vec<GeneratorReason> = Vec::new();
        for (rule, strain) in RULES.iter().zip(&self.strained) {
            let exceeds = |bound: Option<(u64, u32)>| {
                bound.is_some_and(|(percent, least)| {
                    strain.intervals >= least && u64::from(strain.intervals) * 100 > u64::from(self.judged) * percent
                })
            };
            let verdict = match () {
                () if exceeds(rule.invalid) => GeneratorVerdict::Invalid,
                () if exceeds(rule.degraded) => GeneratorVerdict::Degraded,
                () => continue,
            };
            // Two rules of one kind: only the worse one is worth a line.
            if let Some(same) = reasons.iter().position(|reason| reason.kind == rule.kind) {
                if reasons[same].verdict > verdict {
                    continue;
                }
                reasons.remove(same);
            }
            let text = format!(
                "more than {} {} in {} of {} intervals, at worst {}",
                rule.limit, rule.what, strain.intervals, self.judged, strain.worst
            );
            let intervals = strain.ranges.clone();
            reasons.push(GeneratorReason {
                verdict,
                worker: Some(worker),
                kind: rule.kind,
                text,
                intervals,
            });
        }
        reasons
    }
}

/// Late drops of the whole run, judged.
pub(crate) fn dropped_late(late: u64, scheduled: u64) -> Option<GeneratorReason> {
    let share = u128::from(late) * 1_000_000;
    let verdict = match late {
        0 => return None,
        _ if share > u128::from(scheduled) * u128::from(DROPPED_LATE_PPM) => GeneratorVerdict::Invalid,
        _ => GeneratorVerdict::Degraded,
    };
    let text = format!("{late} of {scheduled} arrivals were dropped although a slot was free");
    Some(GeneratorReason {
        verdict,
        worker: None,
        kind: "dropped_late",
        text,
        intervals: Vec::new(),
    })
}

/// Sorts reasons, the worst first, and draws the verdict.
pub(crate) fn conclude(mut reasons: Vec<GeneratorReason>) -> GeneratorSummary {
    reasons.sort_by(|a, b| (b.verdict, a.worker, a.kind).cmp(&(a.verdict, b.worker, b.kind)));
    let verdict = reasons.first().map_or(GeneratorVerdict::Valid, |reason| reason.verdict);
    GeneratorSummary { verdict, reasons }
}

#[cfg(test)]
mod tests {
    use barrage_model::ledger::Open;

    use super::*;

    fn delta(interval: u32, health: Health, last: bool) -> Delta {
        Delta {
            seq: u64::from(interval) + 1,
            interval,
            last,
            iterations: Vec::new(),
            steps: Vec::new(),
            sketches: Vec::new(),
            open: Open::default(),
            progress: Vec::new(),
            errors: Vec::new(),
            health,
            ended: None,
        }
    }

    /// The worst verdict over `calm` quiet intervals and then `strained` ones.
    #[track_caller]
    fn check(calm: u32, strained: u32, health: Health, want: GeneratorVerdict) {
        let mut tally = Tally::default();
        for interval in 0..calm {
            tally.add(&delta(interval, Health::default(), false), 2, false);
        }
        for interval in calm..calm + strained {
            tally.add(&delta(interval, health, false), 2, false);
        }
        let summary = conclude(tally.reasons(WorkerId(0)));
        assert_eq!(summary.verdict, want, "{:?}", summary.reasons);
    }

    #[test]
    fn thresholds() {
        use GeneratorVerdict::{Degraded, Invalid, Valid};
        let lag = |us| Health {
            dispatch_lag_p99_us: us,
            ..Health::default()
        };
        check(10, 0, lag(0), Valid);
        check(9, 1, lag(10_000), Valid);
        check(9, 1, lag(10_001), Degraded);
        check(100, 1, lag(10_001), Valid);
        check(17, 2, lag(10_001), Degraded);
        check(17, 3, lag(10_001), Invalid);
        check(98, 1, lag(100_001), Invalid);
        check(100, 1, lag(100_001), Valid);
        let cpu = |us| Health {
            shard_cpu_max_us: us,
            ..Health::default()
        };
        check(0, 10, cpu(909_999), Valid);
        check(8, 2, cpu(910_000), Degraded);
        check(9, 1, cpu(950_000), Valid);
        check(
            5,
            5,
            Health {
                throttled_us: 10_001,
                ..Health::default()
            },
            Degraded,
        );
        check(
            5,
            5,
            Health {
                steal_us: 220_000,
                ..Health::default()
            },
            Degraded,
        );
        check(
            5,
            5,
            Health {
                steal_us: 200_000,
                ..Health::default()
            },
            Valid,
        );
        let descriptors = |n| Health {
            descriptors: n,
            descriptors_max: 1_000,
            ..Health::default()
        };
        check(99, 1, descriptors(949), Valid);
        check(99, 1, descriptors(950), Degraded);
        check(99, 1, descriptors(1_000), Invalid);
        check(
            5,
            5,
            Health {
                poll_delay_max_us: 100_001,
                ..Health::default()
            },
            Degraded,
        );
    }

    #[test]
    fn ranges_are_joined_and_warm_up_is_not_judged() {
        let mut tally = Tally::default();
        let lag = Health {
            dispatch_lag_p99_us: 50_000,
            ..Health::default()
        };
        tally.add(&delta(0, lag, false), 1, true);
        for interval in [1, 2, 5] {
            tally.add(&delta(interval, lag, false), 1, false);
        }
        let reasons = tally.reasons(WorkerId(3));
        assert_eq!(reasons.len(), 1);
        assert_eq!(reasons[0].intervals, [(1, 3), (5, 6)]);
        assert!(
            reasons[0].text.contains("3 of 3 intervals, at worst 50000"),
            "{}",
            reasons[0].text
        );
        assert_eq!(tally.extremes.dispatch_lag_p99_max_us, 50_000);
    }

    #[test]
    fn late_drops() {
        assert_eq!(dropped_late(0, 100), None);
        assert_eq!(
            dropped_late(1, 100).map(|reason| reason.verdict),
            Some(GeneratorVerdict::Degraded)
        );
        assert_eq!(
            dropped_late(2, 100).map(|reason| reason.verdict),
            Some(GeneratorVerdict::Invalid)
        );
    }

    #[test]
    fn the_last_interval_is_no_share_of_a_second() {
        let mut tally = Tally::default();
        tally.add(
            &delta(
                0,
                Health {
                    shard_cpu_max_us: 5_000_000,
                    ..Health::default()
                },
                true,
            ),
            1,
            false,
        );
        assert_eq!(tally.reasons(WorkerId(0)), []);
    }
}
