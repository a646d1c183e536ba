use std::sync::Arc;
use std::time::Duration;

use barrage_model::delta::{Delta, IterationRow};
use barrage_model::expr::Named;
use barrage_model::ids::{Incarnation, LoadId, SegmentId, WorkerId};
use barrage_model::outcome::Outcome;
use barrage_model::phase::{Mark, Marks, Phase};
use barrage_model::plan::{IterationsLoad, LoadModel, Plan};
use proptest::prelude::*;

use super::*;
use crate::ledger::LedgerConfig;
use crate::testing::*;

fn at(ms: u64) -> Moment {
    Moment::from_millis(ms)
}

/// Marks at these instants, ms, with these phases.
fn cut(list: &[(u64, &[Phase])]) -> Marks {
    let mark = |(segment, (ms, phases)): (usize, &(u64, &[Phase]))| Mark {
        segment: SegmentId(segment as u32),
        at: at(*ms),
        phases: phases.to_vec(),
    };
    Marks::new(list.iter().enumerate().map(mark).collect()).expect("these are in order")
}

/// A steady load of so many milliseconds, and the drain.
fn steady(ms: u64) -> Marks {
    cut(&[(0, &[Phase::Steady]), (ms, &[])])
}

/// Each of these intervals alike.
fn every(intervals: Range<u32>, segment: u32, sent: u64, ok: u64) -> Vec<Second> {
    let second = |interval| Second {
        interval,
        segment,
        sent,
        ok,
    };
    intervals.map(second).collect()
}

/// A plan whose load is over after so many milliseconds.
fn lasting(ms: u64) -> Plan {
    let mut plan = plan(0, 0);
    for load in &mut plan.loads {
        load.start_at = Duration::from_millis(ms);
    }
    plan
}

fn counted() -> Plan {
    let mut plan = plan(0, 0);
    plan.loads.truncate(1);
    plan.loads[0].model = LoadModel::Iterations(IterationsLoad {
        count: 1_000,
        users: 10,
        at_most: Duration::from_mins(10),
    });
    plan
}

fn list_tools() -> Selector {
    Selector {
        name: Some(Named::Any("list tools".to_owned())),
        tags: Vec::new(),
    }
}

/// Compares sent, ok and the covered time in ms, both of everything and of the only step.
#[track_caller]
fn check(ledger: &Ledger, during: Option<&PhaseSelector>, window: &Window, want: (u64, u64, u64)) {
    for select in [Selector::default(), list_tools()] {
        let happened = ledger.happened(&select, during, window);
        let got = (happened.steps.sent, happened.steps.ok, happened.covered_us / 1_000);
        assert_eq!(got, want, "{select:?} during {during:?} in {window:?}");
        assert_eq!(happened.iterations.scheduled, happened.steps.sent);
    }
}

#[test]
fn a_backlog_is_not_throughput() {
    // 500/s are due for 10 s, the target serves 100/s.
    let mut list = every(0..10, 0, 500, 100);
    list.extend(every(10..50, 0, 0, 100));
    let ledger = timed(lasting(10_000), steady(10_000), Some(at(50_000)), &list);
    for during in [None, Some(&PhaseSelector::Steady), Some(&PhaseSelector::Whole)] {
        check(&ledger, during, &Window::Whole, (5_000, 1_000, 10_000));
    }
    check(&ledger, None, &Window::UpTo(4), (2_000, 400, 4_000));
    check(&ledger, None, &Window::Intervals(3..5), (1_000, 200, 2_000));
    // Ratios stay by due instant.
    assert_eq!(
        ledger.counts(&Selector::default(), None, &Window::Whole).steps.ok,
        5_000
    );
}

#[test]
fn a_straggler_changes_no_rate() {
    let mut list = every(0..10, 0, 500, 500);
    list[9].ok = 499;
    list.extend(every(39..40, 0, 0, 1));
    let ledger = timed(lasting(10_000), steady(10_000), Some(at(39_900)), &list);
    check(&ledger, None, &Window::Whole, (5_000, 4_999, 10_000));
}

#[test]
fn ends_within_a_second() {
    // Load's end, run's end, answers in the last second of the load and after, and what is covered.
    for (load, end, [tail, after], want) in [
        // The run ends with its load: the last second counts with its true length.
        (10_400, 10_400, [40, 0], (1_040, 1_040, 10_400)),
        (10_400, 10_250, [25, 0], (1_040, 1_025, 10_250)),
        // Answers come in after it: they cannot be told apart, so whole seconds alone count.
        (10_400, 10_405, [40, 0], (1_000, 1_000, 10_000)),
        (10_400, 12_000, [35, 5], (1_000, 1_000, 10_000)),
        // Whole seconds are exact whatever comes after.
        (11_000, 11_000, [40, 0], (1_040, 1_040, 11_000)),
        (11_000, 11_300, [35, 5], (1_040, 1_035, 11_000)),
    ] {
        let mut list = every(0..10, 0, 100, 100);
        list.extend(every(10..11, 0, 40, tail));
        list.extend(every(11..12, 0, 0, after));
        let ledger = timed(lasting(load), steady(load), Some(at(end)), &list);
        check(&ledger, None, &Window::Whole, want);
        check(&ledger, Some(&PhaseSelector::Steady), &Window::Whole, want);
    }
}

/// 400/s for two seconds, then 10/s for the fifth of one; every answer takes 300 ms.
#[test]
fn the_answers_in_a_last_part_of_a_second_are_not_those_of_its_phase() {
    let stage = |name: &str| Phase::Stage(name.to_owned());
    let marks = cut(&[
        (0, &[stage("big")]),
        (2_000, &[Phase::Steady, stage("tiny")]),
        (2_200, &[]),
    ]);
    let mut list = every(0..1, 0, 400, 280);
    list.extend(every(1..2, 0, 400, 400));
    list.extend(every(2..3, 0, 2, 122));
    let tiny = PhaseSelector::Stage("tiny".to_owned());
    let ledger = timed(lasting(2_200), marks.clone(), Some(at(2_401)), &list);
    check(&ledger, Some(&tiny), &Window::Whole, (0, 0, 0));
    check(&ledger, Some(&PhaseSelector::Steady), &Window::Whole, (0, 0, 0));
    check(&ledger, None, &Window::Whole, (800, 680, 2_000));
    // Stopped right after the phase has begun.
    let mut ledger = timed(lasting(60_000), marks, Some(at(2_301)), &list);
    ledger.cut_load(at(2_008));
    check(&ledger, Some(&PhaseSelector::Steady), &Window::Whole, (0, 0, 0));
}

#[test]
fn loads_of_less_than_a_second() {
    for (load, end, ok, late, want) in [
        (500, 500, 50, 0, (50, 50, 500)),
        (500, 510, 50, 0, (50, 50, 510)),
        (500, 5_000, 20, 30, (50, 20, 1_000)),
        (1_000, 1_000, 50, 0, (50, 50, 1_000)),
        (500, 0, 0, 0, (0, 0, 0)),
        (0, 3_000, 0, 0, (0, 0, 0)),
    ] {
        let mut list = every(0..1, 0, 50, ok);
        list.extend(every(4..5, 0, 0, late));
        let ledger = timed(lasting(load), cut(&[(0, &[Phase::Steady])]), Some(at(end)), &list);
        check(&ledger, None, &Window::Whole, want);
    }
    // Nobody has said yet when it ended.
    let ledger = timed(lasting(500), steady(500), None, &every(0..1, 0, 50, 50));
    check(&ledger, None, &Window::UpTo(1), (50, 50, 1_000));
    check(&ledger, None, &Window::UpTo(0), (0, 0, 0));
}

#[test]
fn counted_loads_and_early_stops() {
    let all = cut(&[(0, &[Phase::Steady])]);
    // 1000 requests in 2.34 s, although ten minutes were allowed.
    let mut list = every(0..2, 0, 430, 420);
    list.extend(every(2..3, 0, 140, 160));
    let ledger = timed(counted(), all.clone(), Some(at(2_340)), &list);
    check(&ledger, None, &Window::Whole, (1_000, 1_000, 2_340));
    let ledger = timed(counted(), all.clone(), Some(at(230)), &every(0..1, 0, 100, 100));
    check(&ledger, None, &Window::Whole, (100, 100, 230));
    // Stopped after 3.2 s of 60 s, and drained for two.
    let mut list = every(0..3, 0, 100, 80);
    list.extend(every(3..6, 0, 0, 20));
    let mut ledger = timed(lasting(60_000), all, Some(at(5_200)), &list);
    ledger.cut_load(at(3_200));
    check(&ledger, None, &Window::Whole, (300, 240, 3_000));
    // Stopped with nothing in flight; the arrival of that instant has no time after it.
    for (cut_at, want) in [(2_010, (4, 4, 2_000)), (2_000, (4, 4, 2_000)), (510, (2, 2, 510))] {
        let whole = (cut_at / 1_000) as u32;
        let mut list = every(0..whole, 0, 2, 2);
        list.extend(every(
            whole..whole + 1,
            0,
            if whole == 0 { 2 } else { 1 },
            if whole == 0 { 2 } else { 1 },
        ));
        let marks = cut(&[(0, &[Phase::Steady])]);
        let mut ledger = timed(lasting(60_000), marks, Some(at(cut_at)), &list);
        ledger.cut_load(at(cut_at));
        check(&ledger, None, &Window::Whole, want);
    }
}

/// Nothing could begin for the last three seconds: that is time of the load all the same.
#[test]
fn a_counted_load_that_its_limit_ends_lasts_until_then() {
    for (at_most, end, want) in [(5, 5_000, 5_000), (5, 5_300, 5_000), (6, 5_000, 2_000)] {
        let mut plan = counted();
        plan.loads[0].model = LoadModel::Iterations(IterationsLoad {
            count: 1_000,
            users: 10,
            at_most: Duration::from_secs(at_most),
        });
        let marks = cut(&[(0, &[Phase::Steady]), (at_most * 1_000, &[])]);
        let mut ledger = Ledger::new(LedgerConfig {
            plan: Arc::new(plan),
            marks,
            ..config(1, 1, 0)
        });
        let mut list = every(0..2, 0, 200, 200);
        list.extend(every(2..5, 0, 0, 0));
        for mut delta in seconds(&list) {
            for row in &mut delta.iterations {
                row.counts.completed = row.counts.started;
            }
            ledger.apply(WorkerId(0), FIRST, &delta).expect("in order");
        }
        ledger.set_end(at(end));
        let happened = ledger.happened(&Selector::default(), None, &Window::Whole);
        assert_eq!(
            (happened.steps.ok, happened.covered_us),
            (400, want * 1_000),
            "{at_most} {end}"
        );
    }
}

/// Ten iterations that are done within a second, beside a load of 2 s whose last answer takes three more.
#[test]
fn a_counted_load_that_is_done_stretches_no_rate() {
    let mut plan = plan(2, 0);
    let mut quick = counted().loads.remove(0);
    (quick.name, quick.start_at) = ("quick".to_owned(), Duration::ZERO);
    plan.loads.push(quick);
    let number = LoadId(plan.loads.len() as u16 - 1);
    let stage = |name: &str| Phase::Stage(name.to_owned());
    let marks = cut(&[
        (0, &[Phase::Steady, stage("hold"), stage("quick")]),
        (2_000, &[Phase::Steady, stage("quick")]),
        (600_000, &[]),
    ]);
    let mut list = every(0..2, 0, 100, 100);
    list.extend(every(4..5, 0, 0, 1));
    let made = |ended: u64, end: Option<u64>| {
        let config = LedgerConfig {
            plan: Arc::new(plan.clone()),
            marks: marks.clone(),
            ..config(1, 1, 0)
        };
        let mut ledger = Ledger::new(config);
        for mut delta in seconds(&list) {
            if delta.interval == 0 {
                let counts = IterationCounts {
                    started: ended,
                    completed: ended,
                    ..IterationCounts::default()
                };
                let (load, scenario, segment) = (number, TOOLS, SegmentId(0));
                delta.iterations.push(IterationRow {
                    load,
                    scenario,
                    segment,
                    counts,
                });
            }
            ledger.apply(WorkerId(0), FIRST, &delta).expect("in order");
        }
        if let Some(end) = end {
            ledger.set_end(at(end));
        }
        ledger
    };
    let covered = |ledger: &Ledger, during: Option<&PhaseSelector>| {
        ledger.happened(&Selector::default(), during, &Window::Whole).covered_us / 1_000
    };
    let quick = PhaseSelector::Stage("quick".to_owned());
    for (ended, end, whole, own) in [
        // All are done; whether the run is over does not matter.
        (1_000, Some(4_500), 2_000, 1_000),
        (1_000, None, 2_000, 1_000),
        // Not all, and the run goes on: it may have more to do.
        (999, None, 5_000, 5_000),
        // Cut short: it ended with what it did last.
        (999, Some(4_500), 2_000, 1_000),
        // It never began.
        (0, Some(4_500), 2_000, 0),
    ] {
        let ledger = made(ended, end);
        assert_eq!(covered(&ledger, None), whole, "{ended} {end:?}");
        assert_eq!(covered(&ledger, Some(&PhaseSelector::Steady)), whole, "{ended} {end:?}");
        assert_eq!(covered(&ledger, Some(&quick)), own, "{ended} {end:?}");
    }
}

/// A thousand iterations within two seconds, a load of 10 s a minute later, and the counted load's limit long after.
#[test]
fn a_counted_load_that_is_done_is_steady_no_longer() {
    let mut plan = plan(10, 0);
    for load in &mut plan.loads {
        load.start_at = Duration::from_mins(1);
    }
    plan.loads.extend(counted().loads);
    let number = LoadId(plan.loads.len() as u16 - 1);
    let stage = |name: &str| Phase::Stage(name.to_owned());
    let counted = plan.loads[2].name.clone();
    let marks = cut(&[
        (0, &[Phase::Steady, stage(&counted)]),
        (60_000, &[Phase::Steady, stage("peak"), stage(&counted)]),
        (70_000, &[Phase::Steady, stage(&counted)]),
        (600_000, &[]),
    ]);
    let mut ledger = Ledger::new(LedgerConfig {
        plan: Arc::new(plan),
        marks,
        ..config(1, 1, 0)
    });
    let mut list = every(0..2, 0, 500, 500);
    list.extend(every(2..60, 0, 0, 0));
    list.extend(every(60..70, 1, 300, 300));
    for mut delta in seconds(&list) {
        if delta.interval < 2 {
            let counts = IterationCounts {
                scheduled: 500,
                started: 500,
                completed: 500,
                ..IterationCounts::default()
            };
            let (scenario, segment) = (TOOLS, SegmentId(0));
            delta.iterations = vec![IterationRow {
                load: number,
                scenario,
                segment,
                counts,
            }];
        }
        ledger.apply(WorkerId(0), FIRST, &delta).expect("in order");
    }
    check(
        &ledger,
        Some(&PhaseSelector::Steady),
        &Window::Whole,
        (4_000, 4_000, 12_000),
    );
    ledger.set_end(at(70_400));
    check(
        &ledger,
        Some(&PhaseSelector::Steady),
        &Window::Whole,
        (4_000, 4_000, 12_000),
    );
    check(&ledger, None, &Window::Whole, (4_000, 4_000, 70_000));
}

#[test]
fn a_ramp_and_a_hold() {
    // A ramp of 2.5 s whose backlog is served in the hold, 2.5 s to 6 s; a stage of 300 ms; another hold to 8 s.
    let stage = |name: &str| Phase::Stage(name.to_owned());
    let marks = cut(&[
        (0, &[stage("ramp")]),
        (2_500, &[Phase::Steady, stage("hold")]),
        (6_000, &[stage("dip")]),
        (6_300, &[Phase::Steady, stage("again")]),
        (8_000, &[]),
    ]);
    let mut list = every(0..2, 0, 50, 20);
    list.extend([every(2..3, 0, 30, 30), every(2..3, 1, 50, 10)].concat());
    list.extend([every(3..4, 0, 0, 60), every(3..4, 1, 100, 40)].concat());
    list.extend(every(4..6, 1, 100, 100));
    list.extend([every(6..7, 2, 3, 3), every(6..7, 3, 70, 60)].concat());
    list.extend(every(7..8, 3, 100, 100));
    list.extend(every(8..9, 3, 0, 10));
    let ledger = timed(lasting(8_000), marks, Some(at(8_100)), &list);
    let of = |name: &str| PhaseSelector::Stage(name.to_owned());
    let whole = Window::Whole;
    check(&ledger, Some(&of("ramp")), &whole, (100, 40, 2_000));
    // Answers to the ramp's iterations are throughput of the hold, in which they came.
    check(&ledger, Some(&of("hold")), &whole, (300, 300, 3_000));
    check(&ledger, Some(&of("again")), &whole, (100, 100, 1_000));
    check(&ledger, Some(&PhaseSelector::Steady), &whole, (400, 400, 4_000));
    check(&ledger, Some(&of("dip")), &whole, (0, 0, 0));
    check(&ledger, Some(&of("nothing")), &whole, (0, 0, 0));
    check(&ledger, None, &whole, (653, 543, 8_000));
}

#[test]
fn warm_up_is_left_out() {
    let marks = cut(&[(0, &[Phase::WarmUp]), (1_500, &[Phase::Steady]), (5_000, &[])]);
    let mut list = every(0..1, 0, 900, 100);
    list.extend([every(1..2, 0, 450, 300), every(1..2, 1, 50, 0)].concat());
    list.extend(every(2..5, 1, 100, 90));
    let ledger = timed(lasting(5_000), marks, Some(at(5_000)), &list);
    check(&ledger, None, &Window::Whole, (300, 270, 3_000));
    check(&ledger, Some(&PhaseSelector::WarmUp), &Window::Whole, (900, 100, 1_000));
    check(
        &ledger,
        Some(&PhaseSelector::Whole),
        &Window::Whole,
        (1_700, 670, 5_000),
    );
    check(&ledger, None, &Window::UpTo(2), (0, 0, 0));
    check(&ledger, None, &Window::UpTo(3), (100, 90, 1_000));
}

#[test]
fn beyond_the_kept_hour() {
    // Warm-up of 125 s, then 100/s up to 7,300 s; a drain of 3 s.
    let marks = cut(&[(0, &[Phase::WarmUp]), (125_000, &[Phase::Steady]), (7_300_000, &[])]);
    let mut list = every(0..125, 0, 10, 9);
    list.extend(every(125..7_300, 1, 100, 90));
    list.extend(every(7_300..7_303, 1, 0, 10));
    let ledger = timed(lasting(7_300_000), marks, Some(at(7_303_000)), &list);
    assert_eq!(ledger.timeline.fine_from(), 3_700);
    // Everything less the drain is exact for every selection.
    let whole = Some(&PhaseSelector::Whole);
    let all = (125 * 10 + 7_175 * 100, 125 * 9 + 7_175 * 90, 7_300_000);
    check(&ledger, whole, &Window::Whole, all);
    // So is each phase, of all and of a step, though no interval of that age is kept apart.
    let of = |ledger: &Ledger, select: &Selector, during| {
        let happened = ledger.happened(select, during, &Window::Whole);
        (happened.steps.sent, happened.steps.ok, happened.covered_us / 1_000_000)
    };
    let warm_up = Some(&PhaseSelector::WarmUp);
    for select in [&Selector::default(), &list_tools()] {
        assert_eq!(of(&ledger, select, None), (717_500, 645_750, 7_175));
        assert_eq!(of(&ledger, select, warm_up), (1_250, 1_125, 125));
    }
    let (by_step, covered_us) = ledger.happened_by_step();
    assert_eq!((by_step[&LIST].sent, by_step[&LIST].ok, covered_us / 1_000), all);
}

#[test]
fn old_phases_that_begin_within_a_second_and_counts_that_come_late() {
    let marks = cut(&[(0, &[Phase::WarmUp]), (125_500, &[Phase::Steady]), (4_000_000, &[])]);
    let mut list = every(0..125, 0, 10, 9);
    list.extend(every(125..126, 1, 50, 40));
    list.extend(every(126..4_000, 1, 100, 90));
    let mut ledger = timed(lasting(4_000_000), marks, Some(at(4_000_000)), &list);
    assert_eq!(ledger.timeline.fine_from(), 400);
    let done = Event::Done {
        load: OPEN,
        scenario: TOOLS,
        step: LIST,
        tag: 0,
        segment: 1,
        outcome: Outcome::Ok,
        us: 1_000,
    };
    let late = Delta {
        seq: 1,
        ..delta_of(200, [done; 7])
    };
    let other = Incarnation(FIRST.0 + 1);
    ledger.apply(WorkerId(0), other, &late).expect("in order");
    for select in [&Selector::default(), &list_tools()] {
        for (during, want) in [
            (None, (387_407, 348_667, 3_874)),
            (Some(&PhaseSelector::WarmUp), (1_250, 1_125, 125)),
            (Some(&PhaseSelector::Steady), (387_407, 348_667, 3_874)),
            (Some(&PhaseSelector::Whole), (388_707, 349_832, 4_000)),
        ] {
            let happened = ledger.happened(select, during, &Window::Whole);
            let got = (happened.steps.sent, happened.steps.ok, happened.covered_us / 1_000_000);
            assert_eq!(got, want, "{during:?}");
        }
    }
}

fn event() -> impl Strategy<Value = Event> {
    let kinds = prop::sample::select(vec![(OPEN, TOOLS, LIST), (OPEN, TOOLS, CART), (CLOSED, HEALTH, PING)]);
    (kinds, 0u16..4, 0u32..2).prop_map(|((load, scenario, step), tag, segment)| Event::Done {
        load,
        scenario,
        step,
        tag,
        segment,
        outcome: Outcome::Ok,
        us: 1_000,
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_way_of_counting_agrees(
        events in prop::collection::vec(prop::collection::vec(event(), 0..6), 1..14),
        (warm_up, load_end, end) in (0u64..6_000, 0u64..14_000, 0u64..14_000),
    ) {
        let marks = cut(&[(0, &[Phase::WarmUp]), (warm_up + 1, &[Phase::Steady])]);
        let mut ledger = timed(lasting(load_end), marks, Some(at(end.max(load_end))), &[]);
        for (interval, events) in events.iter().enumerate() {
            let delta = delta_of(interval as u32, events.iter().copied());
            ledger.apply(WorkerId(0), FIRST, &delta).expect("in order");
        }
        let tagged = |value: &str| Selector { name: None, tags: vec![("backend".to_owned(), value.to_owned())] };
        for during in [None, Some(&PhaseSelector::WarmUp), Some(&PhaseSelector::Whole)] {
            let of = |select: &Selector| ledger.happened(select, during, &Window::Whole);
            let everything = of(&Selector::default());
            // By hand: the intervals of the stretch, every event of the selection in them.
            let filter = ledger.filter(&Selector::default(), during);
            let stretch = ledger.stretch(&filter.segments, &Window::Whole);
            let inside: Vec<&Event> = (0u32..).zip(&events)
                .filter(|(interval, _)| stretch.ranges.iter().any(|range| range.contains(interval)))
                .flat_map(|(_, events)| events)
                .collect();
            prop_assert_eq!(everything.steps.ok, inside.len() as u64);
            let lists = inside.iter().filter(|event| matches!(event, Event::Done { step, .. } if *step == LIST));
            prop_assert_eq!(of(&list_tools()).steps.ok, lists.count() as u64);
            let tags = ["", "blue", "green", "other"].map(|value| of(&tagged(value)).steps.ok);
            prop_assert_eq!(tags.iter().sum::<u64>(), everything.steps.ok);
            prop_assert_eq!(stretch.ranges.is_empty(), everything.covered_us == 0);
            prop_assert!(everything.covered_us <= length(&stretch.ranges) * INTERVAL_US);
        }
        let (by_step, covered_us) = ledger.happened_by_step();
        let everything = ledger.happened(&Selector::default(), Some(&PhaseSelector::Whole), &Window::Whole);
        prop_assert_eq!(by_step.values().map(|row| row.ok).sum::<u64>(), everything.steps.ok);
        prop_assert_eq!(covered_us, everything.covered_us);
    }
}
