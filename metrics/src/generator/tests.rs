use std::sync::Arc;
use std::time::Duration;

use barrage_model::delta::{CoresBusy, IterationRow, Shortages};
use barrage_model::ids::SegmentId;
use barrage_model::ledger::{IterationCounts, Open};
use barrage_model::plan::IterationsLoad;

use super::*;
use crate::testing;
use GeneratorVerdict::{Degraded, Invalid, Valid};

/// A reading of one second in which nothing happened, on a host with memory.
const CALM: Health = Health {
    covered_us: 1_000_000,
    dispatch_lag_p99_us: 0,
    poll_delay_max_us: 0,
    cpu_us: 0,
    shard_cpu_max_us: 0,
    stood_us: 0,
    shard_busy_max_us: 0,
    shard_wait_max_us: 0,
    run_queue_wait_us: 0,
    core_busy_max_us: 0,
    cores_busy: CoresBusy::NONE,
    throttled_us: 0,
    steal_us: 0,
    cores: 0,
    rss_bytes: 1 << 20,
    rss_anon_bytes: 1 << 19,
    memory_available_bytes: 1 << 30,
    memory_bytes: 1 << 31,
    descriptors: 10,
    descriptors_max: 1_000,
    ports: 0,
    ports_max: 1_000,
    retransmits: 0,
    connections: 0,
    slots: 0,
    shortages: Shortages {
        descriptors: 0,
        ports: 0,
        memory: 0,
        threads: 0,
        time: 0,
    },
};

#[expect(clippy::large_types_passed_by_value, reason = "made in the call")]
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
        left: None,
    }
}

/// The tally of a worker with two cores whose intervals are calm (`.`) or strained by `health` (`x`).
#[expect(clippy::large_types_passed_by_value, reason = "made in the call")]
fn tally(intervals: &str, health: Health) -> Tally {
    let mut tally = Tally::default();
    for (interval, mark) in intervals.chars().enumerate() {
        let health = if mark == 'x' { health } else { CALM };
        tally.add(&delta(interval as u32, health, false), 2, false);
    }
    tally
}

#[track_caller]
#[expect(clippy::large_types_passed_by_value, reason = "made in the call")]
fn check_marks(intervals: &str, health: Health, want: GeneratorVerdict) {
    let tally = tally(intervals, health);
    let summary = conclude(tally.reasons(WorkerId(0)));
    assert_eq!(summary.verdict, want, "{:?}", summary.reasons);
    assert_eq!(tally.verdict(), want);
}

/// The verdict over `calm` intervals, `strained` ones, and ten calm ones after which nothing is recent any more.
#[track_caller]
#[expect(clippy::large_types_passed_by_value, reason = "made in the call")]
fn check(calm: usize, strained: usize, health: Health, want: GeneratorVerdict) {
    let marks = format!("{}{}{}", ".".repeat(calm), "x".repeat(strained), ".".repeat(10));
    check_marks(&marks, health, want);
}

fn lag(us: u64) -> Health {
    Health {
        dispatch_lag_p99_us: us,
        ..CALM
    }
}

#[test]
fn thresholds_of_dispatch_lag() {
    check(10, 0, lag(0), Valid);
    check(9, 1, lag(10_000), Valid);
    check(9, 1, lag(10_001), Degraded);
    check(100, 1, lag(10_001), Valid);
    check(10, 2, lag(10_001), Degraded);
    check(16, 3, lag(10_001), Invalid);
    check(20, 3, lag(10_001), Degraded);
    check(88, 1, lag(100_001), Invalid);
    check(100, 1, lag(100_001), Valid);
}

#[test]
fn each_interval_that_is_not_to_be_trusted_is_named() {
    // 50 ms of lag in ten seconds, and 150 ms in one of them.
    let mut lagging = Tally::default();
    for interval in 0..12 {
        let us = match interval {
            8 => 150_000,
            0..10 => 50_000,
            _ => 0,
        };
        lagging.add(&delta(interval, lag(us), false), 2, false);
    }
    let summary = conclude(lagging.reasons(WorkerId(0)));
    let named: Vec<_> = summary
        .reasons
        .iter()
        .map(|reason| (reason.verdict, &*reason.intervals))
        .collect();
    assert_eq!(named, [(Invalid, &[(0, 10)][..]), (Invalid, &[(8, 9)])]);
    // As many others of the same kind: seven short stops in one interval, a long one in another.
    let stops = |stood_us, poll_delay_max_us| Health {
        stood_us,
        poll_delay_max_us,
        ..CALM
    };
    let mut stopped = Tally::default();
    for interval in 0..10 {
        let health = match interval {
            3 => stops(280_000, 40_000),
            7 => stops(150_000, 150_000),
            _ => CALM,
        };
        stopped.add(&delta(interval, health, false), 2, false);
    }
    let summary = conclude(stopped.reasons(WorkerId(0)));
    let named: Vec<_> = summary.reasons.iter().map(|reason| &*reason.intervals).collect();
    assert_eq!(named, [&[(3, 4)], &[(7, 8)]]);
    // Where they are the same, one line is enough.
    let same = conclude(tally("..x..", lag(150_000)).reasons(WorkerId(0)));
    assert_eq!(same.reasons.len(), 1);
}

#[test]
fn thresholds_of_processor_time() {
    let cpu = |us| Health {
        shard_busy_max_us: us,
        ..CALM
    };
    check(0, 10, cpu(900_000), Valid);
    check(0, 2, cpu(900_001), Degraded);
    check(10, 2, cpu(900_001), Valid);
    check(100, 3, cpu(900_001), Degraded);
    // Of what its clock says alone nothing is said: it may have looked at it until the next arrival.
    let spins = Health {
        shard_cpu_max_us: 1_000_000,
        shard_busy_max_us: 400_000,
        ..CALM
    };
    check(0, 10, spins, Valid);
    assert_eq!(strains(&cpu(1_000_000), 2), ["shard_cpu"]);
}

#[test]
fn thresholds_of_what_can_run_out() {
    let descriptors = |n| Health { descriptors: n, ..CALM };
    check(99, 1, descriptors(940), Valid);
    check(99, 1, descriptors(941), Degraded);
    check(99, 1, descriptors(1_000), Degraded);
    let ports = |n| Health { ports: n, ..CALM };
    check(5, 5, ports(900), Valid);
    check(5, 5, ports(901), Degraded);
    let memory = |available| Health {
        memory_available_bytes: available,
        memory_bytes: 1_000_000,
        ..CALM
    };
    check(5, 5, memory(50_000), Valid);
    check(5, 5, memory(49_999), Degraded);
    let short = |[descriptors, ports, memory, threads, time]: [u64; 5]| Health {
        shortages: Shortages {
            descriptors,
            ports,
            memory,
            threads,
            time,
        },
        ..CALM
    };
    for one in [
        short([1, 0, 0, 0, 0]),
        short([0, 1, 0, 0, 0]),
        short([0, 0, 1, 0, 0]),
        short([0, 0, 0, 1, 0]),
        short([0, 0, 0, 0, 1]),
    ] {
        check(999, 1, one, Invalid);
    }
    let reasons = tally("..xx.", short([3, 0, 0, 0, 0])).reasons(WorkerId(0));
    assert_eq!(
        (reasons[0].kind, reasons[0].text.as_str()),
        (
            "no_descriptor",
            "6 attempts failed because the generator had no descriptor left in 2 intervals"
        )
    );
    let one = tally("x.", short([0, 0, 0, 1, 0])).reasons(WorkerId(0));
    assert_eq!(
        one[0].text,
        "1 attempt failed or had to wait because the generator had no thread left for a name lookup in 1 interval"
    );
    let reasons = tally("..x.", short([0, 0, 0, 0, 1])).reasons(WorkerId(0));
    assert_eq!(
        reasons[0].text,
        "1 answer or connection came too late because the generator stood still meanwhile in 1 interval"
    );
    // In the warm-up, and in an end in which nothing was asked, they are as much the generator's.
    for (last, warm_up) in [(false, true), (true, false), (true, true)] {
        let mut tally = Tally::default();
        tally.add(&delta(0, short([0, 2, 0, 0, 0]), last), 1, warm_up);
        tally.add(&delta(1, CALM, false), 1, false);
        let reasons = tally.reasons(WorkerId(0));
        assert_eq!(
            (reasons.len(), reasons[0].verdict, reasons[0].kind),
            (1, Invalid, "no_port")
        );
        assert!(reasons[0].text.ends_with("left in 1 interval"), "{}", reasons[0].text);
        assert_eq!(reasons[0].intervals, [(0, 1)]);
    }
    // A host that does not say has run out of nothing.
    check(0, 10, Health::default(), Valid);
}

#[test]
fn a_strain_shows_at_once_and_a_stretch_of_it_to_the_end() {
    let calm = ".".repeat(1_000);
    let after = ".".repeat(10);
    check_marks(&format!("{calm}x"), lag(50_000), Degraded);
    check_marks(&format!("{calm}x{}", ".".repeat(9)), lag(50_000), Degraded);
    check_marks(&format!("{calm}x{after}"), lag(50_000), Valid);
    check_marks(&format!("{calm}x........x{after}"), lag(50_000), Degraded);
    check_marks(&format!("{calm}x.........x{after}"), lag(50_000), Valid);
    let reasons = tally(&format!("{calm}xx{after}"), lag(50_000)).reasons(WorkerId(3));
    assert_eq!(reasons[0].intervals, [(1_000, 1_002)]);
}

#[test]
fn many_short_stops_strain_like_a_long_one() {
    let stood = |us| Health { stood_us: us, ..CALM };
    check(5, 5, stood(200_000), Valid);
    check(5, 5, stood(200_001), Degraded);
    check(0, 5, stood(500_000), Degraded);
    check(0, 5, stood(500_001), Invalid);
    check(40, 3, stood(510_000), Degraded);
    // A stop of three seconds in a long run: each second of it counts.
    let still = Health {
        dispatch_lag_p99_us: 1_000_000,
        poll_delay_max_us: 2_000_000,
        stood_us: 1_000_000,
        ..CALM
    };
    check(100, 3, still, Invalid);
    check(1_000, 3, still, Degraded);
}

#[test]
fn a_reading_is_a_share_of_the_time_that_it_covers() {
    let over = |covered_us| Health {
        covered_us,
        shard_busy_max_us: 1_200_000,
        shard_wait_max_us: 250_000,
        ..CALM
    };
    // A sample that was taken late, the one right after it, and one whose time is not known.
    check(0, 5, over(2_000_000), Valid);
    check(0, 5, over(99_999), Valid);
    check(0, 5, over(0), Valid);
    check(0, 5, over(1_300_000), Degraded);
}

#[test]
fn ranges_are_joined_and_warm_up_is_not_judged() {
    let mut tally = Tally::default();
    tally.add(&delta(0, lag(50_000), false), 1, true);
    for interval in [1, 2, 5] {
        tally.add(&delta(interval, lag(50_000), false), 1, false);
    }
    let reasons = tally.reasons(WorkerId(3));
    assert_eq!(reasons.len(), 1);
    assert_eq!(reasons[0].intervals, [(1, 3), (5, 6)]);
    assert_eq!(
        reasons[0].sentence(),
        "invalid dispatch_lag, worker 3: more than 10000 µs of dispatch lag (p99) that the generator itself caused \
         in 3 of 3 intervals, at worst 50000"
    );
    assert_eq!(tally.extremes.dispatch_lag_p99_max_us, 50_000);
}

#[test]
fn of_many_ranges_the_first_and_the_last_are_named() {
    let reasons = tally(&"x.".repeat(100), lag(50_000)).reasons(WorkerId(0));
    let ranges = &reasons[0].intervals;
    assert_eq!(ranges.len(), RANGES_MAX);
    assert_eq!((ranges[0], ranges[9], ranges[19]), ((0, 1), (18, 19), (198, 199)));
}

#[test]
fn late_drops() {
    assert_eq!(dropped_late(0, 100), None);
    let verdict = |late| dropped_late(late, 100).map(|reason| reason.verdict);
    assert_eq!(verdict(1), Some(Degraded));
    assert_eq!(verdict(2), Some(Invalid));
}

#[test]
fn loads_without_late_drops_do_not_hide_those_of_others() {
    let mut config = testing::config(1, 10, 0);
    let mut plan = testing::plan(10, 0);
    plan.loads[1].model = LoadModel::Iterations(IterationsLoad {
        count: 1_000_000,
        users: 5,
        at_most: Duration::from_secs(10),
    });
    config.plan = Arc::new(plan);
    let mut ledger = Ledger::new(config);
    let mut counter = testing::Counter::default();
    (0..49).for_each(|_| counter.count(&testing::ok(1_000)));
    counter.count(&testing::dropped(DropReason::Late, 60_000));
    let mut delta = counter.delta(1, 0, false);
    delta.iterations.push(IterationRow {
        load: testing::CLOSED,
        scenario: testing::HEALTH,
        segment: SegmentId(0),
        counts: IterationCounts {
            scheduled: 1_000_000,
            ..IterationCounts::default()
        },
    });
    ledger.apply(WorkerId(0), testing::FIRST, &delta).unwrap();
    let reason = super::late_drops(&ledger).unwrap();
    assert_eq!(reason.verdict, Invalid, "{}", reason.text);
    assert!(reason.text.starts_with("1 of 50 arrivals"), "{}", reason.text);
}

#[test]
fn extremes_are_those_of_readings_that_cover_something() {
    let mut tally = Tally::default();
    let busy = Health {
        cpu_us: 1_500_000,
        shard_cpu_max_us: 500_000,
        shard_wait_max_us: 20_000,
        core_busy_max_us: 700_000,
        retransmits: 2,
        ..CALM
    };
    let blink = Health {
        covered_us: 50,
        shard_cpu_max_us: 50,
        ..busy
    };
    for (interval, health) in [busy, CALM, blink].into_iter().enumerate() {
        tally.add(&delta(interval as u32, health, false), 2, false);
    }
    let most = tally.extremes;
    assert_eq!(
        (most.shard_cpu_max, most.shard_wait_max, most.core_busy_max),
        (0.5, 0.02, 0.7)
    );
    assert_eq!((most.cpu_mean_cores, most.retransmits), (0.75, 4));
    assert_eq!(most.memory_available_min_bytes, Some(1 << 30));
}

#[test]
fn the_documented_table_is_this_one() {
    let docs = include_str!("../../../docs/numbers.md");
    let missing: Vec<String> = RULES
        .iter()
        .map(Rule::row)
        .filter(|row| !docs.lines().any(|line| line == row))
        .collect();
    assert!(missing.is_empty(), "docs/numbers.md lacks\n{}", missing.join("\n"));
    let kinds: Vec<&str> = RULES.iter().map(|rule| rule.kind).collect();
    let rows = docs
        .lines()
        .filter(|line| line.starts_with("| `") && line.contains(" | > ") && line.matches('|').count() == 7);
    let stray: Vec<&str> = rows
        .filter(|row| !kinds.iter().any(|kind| row.starts_with(&format!("| `{kind}`"))))
        .collect();
    assert!(stray.is_empty(), "docs/numbers.md has rows of no rule: {stray:?}");
}
