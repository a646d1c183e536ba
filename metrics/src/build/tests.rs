use std::sync::Arc;
use std::time::Duration;

use barrage_model::ids::{LoadId, RunId, SegmentId};
use barrage_model::ledger::IterationCounts;
use barrage_model::outcome::{DropReason, FailureClass, Outcome};
use barrage_model::phase::{Mark, Marks, Phase};
use barrage_model::plan::{IterationsLoad, LoadModel, UserStageShape};

use super::*;
use crate::exit::{ExitCode, Verdict};
use crate::ledger::{FINE_INTERVALS, LedgerConfig, Loss, Rejected, Sketches};
use crate::series::Series;
use crate::summary::{GeneratorVerdict, Rates, SlaVerdict, WorkerState};
use crate::testing::*;

fn facts(ended: bool) -> RunFacts {
    RunFacts {
        run: RunInfo {
            id: RunId(1),
            name: "sample".to_owned(),
            seed: 42,
            plan_hash: "00".to_owned(),
            labels: Vec::new(),
            started_at: "2026-01-01T00:00:00Z".to_owned(),
            duration_us: 3_000_000,
            version: "0.1.0".to_owned(),
            targets: vec!["http://127.0.0.1:9".to_owned()],
        },
        ended,
        stop: None,
        offsets: BTreeMap::from([(
            WorkerId(0),
            ClockOffset {
                offset_us: -5,
                uncertainty_us: 80,
            },
        )]),
        faults: Vec::new(),
        aftermath: Vec::new(),
        accept_untrusted: false,
    }
}

fn apply(ledger: &mut Ledger, worker: u32, interval: u32, last: bool, events: Vec<Event>) -> Result<(), Rejected> {
    let mut delta = delta_of(interval, events);
    delta.last = last;
    ledger.apply(WorkerId(worker), FIRST, &delta).map(drop)
}

fn many(event: Event, count: usize) -> Vec<Event> {
    vec![event; count]
}

/// Two workers over three seconds: 300 arrivals, of which one fails.
fn run() -> Ledger {
    let mut ledger = ledger(2, 3, 0);
    for interval in 0..3 {
        apply(&mut ledger, 0, interval, interval == 2, many(ok(1_000), 50)).expect("in order");
        let mut events = many(ok(3_000), 49);
        events.push(if interval == 1 {
            ended(Outcome::Failed(FailureClass::Status), 9_000)
        } else {
            ok(3_000)
        });
        apply(&mut ledger, 1, interval, interval == 2, events).expect("in order");
    }
    ledger.set_scheduled(OPEN, 300);
    ledger.set_end(Moment::from_secs(3));
    ledger
}

#[test]
fn a_good_run() {
    let ledger = run();
    let summary = Summary::build(&ledger, &SlaEngine::new(&[]), facts(true));
    assert_eq!(
        (summary.verdict, summary.exit_code),
        (Verdict::Passed, ExitCode::Passed),
        "{:?}",
        summary.reasons
    );
    assert_eq!(summary.conservation.mismatches, [""; 0]);
    let totals = summary.iterations;
    assert_eq!(
        (totals.scheduled, totals.started, totals.completed, totals.broken_off),
        (300, 300, 299, 1)
    );
    let counts = summary.steps_total.counts;
    assert_eq!(
        (counts.attempted, counts.sent, counts.ok, counts.failed_total()),
        (300, 300, 299, 1)
    );
    assert_eq!(summary.rates.rate_per_s, Some(100.0));
    assert_eq!(summary.rates.error_rate, Some(1.0 / 300.0));
    assert_eq!(summary.rates.drop_rate, Some(0.0));
    let response = summary.latency.response;
    assert_eq!((response.count, response.censored), (300, 0));
    assert_eq!(response.p50.map(|p| (p.value_us, p.at_least)), Some((1_000, false)));
    assert_eq!(response.min.map(|p| p.value_us), Some(1_000));
    assert_eq!(summary.latency_ok.response.count, 299);
    assert_eq!(summary.latency.iteration.count, 300);
    assert_eq!(
        summary.failures.by_class.iter().filter(|(_, count)| *count > 0).count(),
        1
    );
    assert_eq!(summary.errors.len(), 1);
    assert_eq!(
        (summary.errors[0].step.as_str(), summary.errors[0].worker),
        ("list tools", WorkerId(1))
    );
}

/// Room for the series of both scenarios and for two of the steps': those of `list tools`.
#[test]
fn a_step_without_all_of_its_series_has_counts_alone() {
    let mut ledger = ledger(1, 1, 0);
    ledger.sketches = Sketches::with_room(5);
    ledger.steps = Series::new(1);
    ledger.iterations = Series::new(1);
    let ping = |outcome| Event::Done {
        load: CLOSED,
        scenario: HEALTH,
        step: PING,
        tag: 1,
        segment: 0,
        outcome,
        us: 2_000,
    };
    let mut events = many(ok(1_000), 3);
    events.extend(many(ping(Outcome::Ok), 4));
    events.push(ping(Outcome::Failed(FailureClass::Status)));
    apply(&mut ledger, 0, 0, true, events).expect("in order");
    ledger.set_end(Moment::from_secs(1));
    let summary = Summary::build(&ledger, &SlaEngine::new(&[]), facts(true));
    let line = |name: &str| {
        let step = summary
            .steps
            .iter()
            .find(|step| step.name == name)
            .expect("it is planned");
        let counts = step.totals.counts;
        (
            (step.whole, counts.sent, counts.ok, counts.failed_total()),
            (step.response.count, step.service.count, step.tags.len()),
            step.rates.goodput_per_s,
        )
    };
    assert_eq!(line("list tools"), ((true, 3, 3, 0), (3, 3, 0), Some(3.0)));
    assert_eq!(line("ping"), ((false, 5, 4, 1), (0, 0, 0), Some(4.0)));
    let scenarios = summary.scenarios.iter();
    let scenarios: Vec<_> = scenarios
        .map(|scenario| (scenario.whole, scenario.iterations.started, scenario.iteration.count))
        .collect();
    assert_eq!(scenarios, [(true, 3, 3), (true, 5, 5)]);
    let totals = summary.steps_total.counts;
    assert_eq!((totals.sent, totals.failed_total()), (8, 1));
    assert_eq!((summary.latency.response.count, summary.samples_in_other), (8, 10));
}

#[test]
fn the_phase_of_a_counted_load_ends_with_it() {
    let summary = Summary::build(&beside_counted(9, 4), &SlaEngine::new(&[]), facts(true));
    let row = |name: &str| {
        let stage = Phase::Stage(name.to_owned());
        let phase = summary
            .phases
            .iter()
            .find(|phase| phase.phase == stage)
            .expect("it is planned");
        (
            (phase.iterations.started, phase.iterations.in_progress),
            (phase.counts.sent, phase.counts.ok, phase.counts.failed_total()),
            (phase.response.count, phase.response.max.map(|max| max.value_us)),
            (
                phase.rates.error_rate,
                phase.rates.goodput_per_s,
                phase.rates.covered_us,
            ),
        )
    };
    assert_eq!(
        row("counted"),
        (
            (210, 0),
            (210, 210, 0),
            (210, Some(20_015)),
            (Some(0.0), Some(210.0), 1_000_000)
        )
    );
    let (iterations, counts, ..) = row("crowd");
    assert_eq!((iterations, counts), ((290, 0), (290, 240, 50)));
    let stages: Vec<_> = summary.timeline.iter().map(|point| point.stage.as_deref()).collect();
    assert_eq!(stages[..2], [Some("counted"), None]);
}

/// Users that go on for longer than seconds are kept apart.
#[test]
fn the_phase_of_a_counted_load_is_not_told_when_nobody_knows_it() {
    for (length, whole) in [(FINE_INTERVALS, true), (FINE_INTERVALS + 11, false)] {
        let summary = Summary::build(&beside_counted(length, 4), &SlaEngine::new(&[]), facts(true));
        let stage = Phase::Stage("counted".to_owned());
        let phase = summary
            .phases
            .iter()
            .find(|phase| phase.phase == stage)
            .expect("it is planned");
        let known = |n: u64| if whole { n } else { 0 };
        assert_eq!(phase.whole, whole);
        assert_eq!((phase.counts.sent, phase.response.count), (known(210), known(210)));
        assert_eq!(phase.rates.error_rate, whole.then_some(0.0));
        assert_eq!(phase.rates.goodput_per_s, Some(210.0));
    }
}

#[test]
fn an_interval_that_begins_as_the_run_ends_is_none() {
    let build = |events: Vec<Event>| {
        let mut ledger = ledger(1, 3, 0);
        for interval in 0..3 {
            apply(&mut ledger, 0, interval, false, many(ok(1_000), 50)).expect("in order");
        }
        let mut last = delta_of(3, events);
        last.last = true;
        last.health.poll_delay_max_us = 900_000;
        last.health.covered_us = 200_000;
        ledger.apply(WorkerId(0), FIRST, &last).expect("in order");
        ledger.set_end(Moment::from_secs(3));
        let summary = Summary::build(&ledger, &SlaEngine::new(&[]), facts(true));
        (summary.timeline.len(), summary.generator.verdict)
    };
    assert_eq!(build(Vec::new()), (3, GeneratorVerdict::Valid));
    assert_eq!(build(vec![ok(1_000)]), (4, GeneratorVerdict::Degraded));
}

/// 1 s of `peak`, and 2 s of another load's `peak` after it.
#[test]
fn stages_of_the_same_name_are_told_apart() {
    let mut plan = plan(1, 0);
    plan.loads[1].start_at = Duration::from_secs(1);
    if let LoadModel::Users(users) = &mut plan.loads[1].model {
        users.stages[0].name = "peak".to_owned();
        users.stages[0].shape = UserStageShape::Hold {
            users: 5,
            length: Duration::from_secs(2),
        };
    }
    let phases = vec![Phase::Steady, Phase::Stage("peak".to_owned())];
    let mark = |segment, at| Mark {
        segment: SegmentId(segment),
        at: Moment::from_secs(at),
        phases: if at < 3 { phases.clone() } else { Vec::new() },
    };
    let mut ledger = Ledger::new(LedgerConfig {
        plan: Arc::new(plan),
        marks: Marks::new(vec![mark(0, 0), mark(1, 1), mark(2, 3)]).expect("these are in order"),
        ..config(1, 1, 0)
    });
    let event = |load, scenario, step, segment| Event::Done {
        load,
        scenario,
        step,
        tag: 0,
        segment,
        outcome: Outcome::Ok,
        us: 1_000,
    };
    let (first, second) = (event(OPEN, TOOLS, LIST, 0), event(LoadId(1), HEALTH, PING, 1));
    apply(&mut ledger, 0, 0, false, many(first, 100)).expect("in order");
    apply(&mut ledger, 0, 1, false, many(second, 30)).expect("in order");
    ledger.set_end(Moment::from_secs(3));
    let summary = Summary::build(&ledger, &SlaEngine::new(&[]), facts(true));
    let stages: Vec<_> = summary
        .stages
        .iter()
        .map(|s| {
            (
                s.from.as_micros() / 1_000_000,
                s.to.as_micros() / 1_000_000,
                s.scheduled,
                s.started,
            )
        })
        .collect();
    assert_eq!(stages, [(0, 1, Some(100), 100), (1, 3, None, 30)]);
}

/// `peak` of the first load and `crowd` of the second, 3 s each, stopped after 1.5 s; something ends 1 s later.
fn stopped_amid_two_stages() -> Ledger {
    let phases = ["crowd", "peak"].map(|name| Phase::Stage(name.to_owned()));
    let mark = Mark {
        segment: SegmentId(0),
        at: Moment::ZERO,
        phases: phases.to_vec(),
    };
    let mut ledger = Ledger::new(LedgerConfig {
        marks: Marks::new(vec![mark]).expect("it is in order"),
        ..config(1, 3, 0)
    });
    for interval in 0..3 {
        apply(&mut ledger, 0, interval, interval == 2, many(ok(1_000), 10)).expect("in order");
    }
    ledger.cut_load(Moment::from_millis(1_500));
    ledger.set_end(Moment::from_millis(2_500));
    ledger
}

#[test]
fn a_row_of_the_timeline_has_the_stage_of_the_first_load_as_long_as_it_goes() {
    let timeline = super::time::timeline(&stopped_amid_two_stages());
    let stages: Vec<_> = timeline.iter().map(|point| point.stage.as_deref()).collect();
    assert_eq!(stages, [Some("peak"), Some("peak"), None]);
}

#[test]
fn a_stage_ends_with_the_stop() {
    let summary = Summary::build(&stopped_amid_two_stages(), &SlaEngine::new(&[]), facts(true));
    let stages: Vec<_> = summary.stages.iter().map(|s| (s.name.as_str(), s.to)).collect();
    let end = Moment::from_millis(1_500);
    assert_eq!(stages, [("peak", end), ("crowd", end)]);
}

#[test]
fn a_counted_load_is_a_stage_that_ends_with_it() {
    let mut plan = plan(0, 0);
    plan.loads.truncate(1);
    plan.loads[0].model = LoadModel::Iterations(IterationsLoad {
        count: 20,
        users: 10,
        at_most: Duration::from_mins(10),
    });
    let marks = vec![Mark {
        segment: SegmentId(0),
        at: Moment::ZERO,
        phases: vec![Phase::Stage("arrivals".to_owned())],
    }];
    let mut ledger = Ledger::new(LedgerConfig {
        plan: Arc::new(plan),
        marks: Marks::new(marks).expect("in order"),
        ..config(1, 3, 0)
    });
    for interval in 0..2 {
        apply(&mut ledger, 0, interval, interval == 1, many(ok(1_000), 10)).expect("in order");
    }
    ledger.set_end(Moment::from_millis(1_700));
    let summary = Summary::build(&ledger, &SlaEngine::new(&[]), facts(true));
    let stages = summary.stages.iter();
    let stages: Vec<_> = stages
        .map(|s| (s.name.as_str(), s.to, s.scheduled, s.started))
        .collect();
    assert_eq!(stages, [("arrivals", Moment::from_millis(1_700), Some(20), 20)]);
}

#[test]
fn a_good_run_over_time_and_by_part() {
    let summary = Summary::build(&run(), &SlaEngine::new(&[]), facts(true));
    let timeline: Vec<_> = summary
        .timeline
        .iter()
        .map(|point| (point.t_s, point.offered, point.ok, point.hole))
        .collect();
    assert_eq!(
        timeline,
        [(0, 100, 100, false), (1, 100, 99, false), (2, 100, 100, false)]
    );
    assert!(
        summary
            .timeline
            .iter()
            .all(|point| (point.reported, point.expected) == (2, 2))
    );
    assert_eq!(summary.timeline[0].stage.as_deref(), Some("peak"));
    let workers: Vec<_> = summary
        .workers
        .iter()
        .map(|worker| (worker.state, worker.steps.counts.sent))
        .collect();
    assert_eq!(workers, [(WorkerState::Finished, 150), (WorkerState::Finished, 150)]);
    assert_eq!(summary.workers[0].offset_us, Some(-5));
    let stages: Vec<_> = summary
        .stages
        .iter()
        .map(|s| (s.name.as_str(), s.scheduled, s.started))
        .collect();
    assert_eq!(stages, [("peak", Some(300), 300)]);
    assert_eq!(summary.phases.len(), 2);
    assert_eq!(summary.phases[0].rates.goodput_per_s, Some(299.0 / 3.0));
    assert_eq!(summary.curves.response.count, 300);
    assert_eq!(
        summary
            .curves
            .intervals
            .iter()
            .map(|curve| curve.response.count)
            .sum::<u64>(),
        300
    );
    let implicit: Vec<_> = summary.sla.iter().map(|sla| (sla.verdict, sla.that.as_str())).collect();
    assert_eq!(
        implicit,
        [(SlaVerdict::Passed, "started >= 99% of scheduled of load \"arrivals\"")]
    );
    let list = summary
        .steps
        .iter()
        .find(|step| step.name == "list tools")
        .expect("it is a step");
    assert_eq!(
        (list.scenario.as_str(), list.totals.counts.ok, list.response.count),
        ("tools", 299, 300)
    );
    assert!(summary.steps.iter().any(|step| step.group && step.name == "checkout"));
}

#[test]
fn a_schedule_that_does_not_add_up_is_inconsistent() {
    let mut ledger = run();
    ledger.set_scheduled(OPEN, 301);
    let summary = Summary::build(&ledger, &SlaEngine::new(&[]), facts(true));
    assert_eq!(
        (summary.verdict, summary.exit_code.number()),
        (Verdict::Inconsistent, 94)
    );
    let want = "load \"arrivals\": 301 arrivals scheduled, but 300 accounted for (300 started, 0 dropped, 0 unsent, 0 \
                unknown)";
    assert_eq!(summary.conservation.mismatches, [want]);
}

#[test]
fn a_run_that_passes_although_nothing_worked_says_so() {
    let refused = ended(Outcome::Failed(FailureClass::Connect), 300);
    for (outcomes, want) in [
        (
            many(refused, 20),
            Some("not one of 20 requests was answered as expected, and no SLA failed for it"),
        ),
        ([many(refused, 19), many(ok(300), 1)].concat(), None),
    ] {
        let mut ledger = open_alone();
        apply(&mut ledger, 0, 0, true, outcomes).expect("in order");
        apply(&mut ledger, 1, 0, true, Vec::new()).expect("in order");
        ledger.set_scheduled(OPEN, 20);
        ledger.set_end(Moment::from_secs(1));
        let summary = Summary::build(&ledger, &SlaEngine::new(&[]), facts(true));
        assert_eq!(summary.verdict, Verdict::Passed, "{:?}", summary.reasons);
        assert_eq!(summary.reasons, want.into_iter().collect::<Vec<_>>());
    }
}

/// Two workers and no closed load.
fn open_alone() -> Ledger {
    let mut plan = plan(3, 0);
    plan.loads.truncate(1);
    Ledger::new(LedgerConfig {
        plan: Arc::new(plan),
        ..config(2, 3, 0)
    })
}

#[test]
fn users_of_a_lost_worker_are_missed() {
    // Both work for three seconds, then one is lost.
    let code = |load_secs: u64, end_secs: u32, all: bool| {
        let mut plan = plan(load_secs, 0);
        plan.loads.remove(0);
        let mut ledger = Ledger::new(LedgerConfig {
            plan: Arc::new(plan),
            scheduled: BTreeMap::new(),
            ..config(2, load_secs, 0)
        });
        for interval in 0..end_secs {
            for worker in if interval < 3 { 0..2 } else { 0..1 } {
                let mut delta = delta_of(interval, Vec::new());
                delta.last = interval + 1 == end_secs;
                ledger.apply(WorkerId(worker), FIRST, &delta).expect("in order");
            }
        }
        (u32::from(!all)..2).for_each(|worker| ledger.set_lost(WorkerId(worker), FIRST));
        ledger.set_end(Moment::from_secs(end_secs.into()));
        let summary = Summary::build(&ledger, &SlaEngine::new(&[]), facts(true));
        (summary.exit_code.number(), summary.reasons)
    };
    let passed = || (0, vec!["no request was sent, and no SLA failed for it".to_owned()]);
    assert_eq!(code(3, 3, false), passed(), "it was lost after its last interval");
    assert_eq!(code(3, 9, false), passed(), "the other one drains");
    // With the last worker the run ends, but its load had not.
    for (end_secs, all, idle) in [(9, false, 4), (3, true, 8), (4, true, 6)] {
        let (code, reasons) = code(5, end_secs, all);
        assert_eq!(code, 95);
        let want = format!("idle for {idle} of 20 shard seconds");
        assert!(reasons[0].contains(&want), "{reasons:?}");
    }
}

#[test]
fn what_a_lost_worker_had_in_progress_is_lost() {
    // The other one ends; this one is lost in the drain with all of its arrivals begun, and only some of them ended.
    let code = |load: LoadId, left: u64, tolerated: u64| {
        let mut plan = plan(3, 0);
        plan.workers.loss_tolerance = Ratio::from_ppb(tolerated);
        let mut ledger = Ledger::new(LedgerConfig {
            plan: Arc::new(plan),
            ..config(2, 3, 0)
        });
        apply(&mut ledger, 0, 0, true, many(ok(1_000), 60)).expect("in order");
        let mut delta = delta_of(0, many(ok(1_000), 40));
        delta.open.in_progress = left;
        let mut row = delta.iterations[0];
        (row.load, row.counts) = (load, IterationCounts::default());
        row.counts.started = left;
        if load == OPEN {
            row.counts.scheduled = left;
        }
        delta.iterations.push(row);
        ledger.apply(WorkerId(1), FIRST, &delta).expect("in order");
        ledger.set_lost(WorkerId(1), FIRST);
        ledger.set_scheduled(OPEN, if load == OPEN { 100 + left } else { 100 });
        ledger.set_end(Moment::from_secs(1));
        let summary = Summary::build(&ledger, &SlaEngine::new(&[]), facts(true));
        assert_eq!(summary.conservation.mismatches, [""; 0]);
        assert_eq!(summary.iterations.in_progress, left);
        (summary.exit_code.number(), summary.reasons)
    };
    assert_eq!(code(OPEN, 0, 0).0, 0);
    assert_eq!(code(OPEN, 25, 200_000_000).0, 0);
    let (found, reasons) = code(OPEN, 25, 199_000_000);
    let want =
        "lost workers leave 0 arrivals unknown, 0 unsent and 25 in progress of 125, more than the tolerated 19.9%";
    assert_eq!((found, reasons), (95, vec![want.to_owned()]));
    let (found, reasons) = code(CLOSED, 1, 0);
    let want = "lost workers leave 1 of 1 iterations of users in progress, more than the tolerated 0%";
    assert_eq!((found, reasons), (95, vec![want.to_owned()]));
}

#[test]
fn nothing_is_known_of_the_seconds_after_all_were_lost() {
    let mut ledger = open_alone();
    for worker in 0..2 {
        apply(&mut ledger, worker, 0, false, many(ok(1_000), 100)).expect("in order");
        ledger.record_loss(Loss {
            worker: WorkerId(worker),
            incarnation: FIRST,
            load: LoadId(0),
            unknown: 200,
            unsent: 0,
            unsent_from: None,
        });
    }
    ledger.set_scheduled(OPEN, 600);
    ledger.set_end(Moment::from_secs(3));
    let summary = Summary::build(&ledger, &SlaEngine::new(&[]), facts(true));
    assert_eq!(summary.conservation.mismatches, [""; 0]);
    assert_eq!(
        summary
            .workers
            .iter()
            .map(|worker| worker.holes.clone())
            .collect::<Vec<_>>(),
        [[(1, 3)], [(1, 3)]]
    );
    assert_eq!(
        (summary.rates.rate_per_s, summary.rates.started_per_s),
        (Some(200.0), Some(200.0))
    );
}

#[test]
fn a_lost_worker_leaves_an_exact_hole() {
    for (unknown, code) in [(2, 0), (40, 95)] {
        let mut ledger = open_alone();
        for interval in 0..3 {
            apply(&mut ledger, 0, interval, interval == 2, many(ok(1_000), 150)).expect("in order");
        }
        let mut delta = delta_of(0, many(ok(1_000), 50));
        // It was about to start one, and had one under way.
        delta.iterations[0].counts.scheduled += 2;
        delta.iterations[0].counts.started += 1;
        delta.open.waiting = 1;
        delta.open.in_progress = 1;
        ledger.apply(WorkerId(1), FIRST, &delta).expect("in order");
        let before = Summary::build(&ledger, &SlaEngine::new(&[]), facts(false));
        assert_eq!((before.iterations.scheduled, before.iterations.waiting), (502, 1));
        assert_eq!(before.conservation.mismatches, [""; 0]);

        ledger.record_loss(Loss {
            worker: WorkerId(1),
            incarnation: FIRST,
            load: LoadId(0),
            unknown,
            unsent: 1,
            unsent_from: None,
        });
        ledger.set_scheduled(OPEN, 501 + unknown + 1);
        ledger.set_end(Moment::from_secs(3));
        let summary = Summary::build(&ledger, &SlaEngine::new(&[]), facts(true));
        assert_eq!(summary.conservation.mismatches, [""; 0]);
        assert_eq!(summary.exit_code.number(), code, "{:?}", summary.reasons);
        let totals = summary.iterations;
        assert_eq!(
            (totals.unknown, totals.unsent, totals.in_progress, totals.waiting),
            (unknown, 1, 1, 0)
        );
        let lost = summary.workers[1].iterations;
        assert_eq!(
            (lost.scheduled, lost.started, lost.waiting),
            (51 + unknown + 1, 51, 0),
            "its own part of the ledger is whole, too"
        );
        let phase = &summary.phases[0];
        let parts = [&summary.scenarios[0].iterations, &phase.iterations].map(|part| (part.scheduled, part.started));
        assert_eq!(parts, [(501, 501); 2], "what it left waiting is in no part");
        assert_eq!(summary.workers[1].state, WorkerState::Lost);
        assert_eq!(summary.workers[1].holes, [(1, 3)]);
        let holes: Vec<bool> = summary.timeline.iter().map(|point| point.hole).collect();
        assert_eq!(holes, [false, true, true]);
        assert_eq!((summary.timeline[1].reported, summary.timeline[1].expected), (1, 2));

        // The last reports come in after the run.
        ledger.set_end(Moment::from_millis(1_900));
        let earlier = Summary::build(&ledger, &SlaEngine::new(&[]), facts(true));
        assert_eq!(earlier.workers[1].holes, [(1, 2)]);
    }
}

#[test]
fn a_lost_worker_that_comes_back_leaves_its_hole_marked() {
    // It stood still from then on, and at the end says so itself.
    for (from_ms, hole) in [(0, (0, 4)), (300, (0, 4)), (1_300, (1, 4))] {
        let mut ledger = open_alone();
        for interval in 0..4 {
            apply(&mut ledger, 0, interval, interval == 3, many(ok(1_000), 100)).expect("in order");
            let works = u64::from(interval) * 1_000 < from_ms;
            let events = if works { many(ok(1_000), 50) } else { Vec::new() };
            let mut delta = delta_of(interval, events);
            delta.last = interval == 3;
            ledger.apply(WorkerId(1), FIRST, &delta).expect("in order");
        }
        ledger.set_lost(WorkerId(1), FIRST);
        ledger.record_loss(Loss {
            worker: WorkerId(1),
            incarnation: FIRST,
            load: LoadId(0),
            unknown: 0,
            unsent: 100,
            unsent_from: Some(Moment::from_millis(from_ms)),
        });
        ledger.set_end(Moment::from_secs(4));
        let summary = Summary::build(&ledger, &SlaEngine::new(&[]), facts(true));
        assert_eq!(summary.workers[1].holes, [hole]);
        let holes: Vec<bool> = summary.timeline.iter().map(|point| point.hole).collect();
        let marked: Vec<bool> = (0..4).map(|interval| interval >= hole.0).collect();
        assert_eq!(holes, marked);
    }
}

#[test]
fn standing_still_is_no_strain_of_what_a_lost_worker_has_measured() {
    for (lost, last_one_works, leaves, want) in [
        (true, false, true, GeneratorVerdict::Valid),
        // What it does after it has come to is measured.
        (true, true, true, GeneratorVerdict::Invalid),
        // It has done all there was to do, so nothing of it is unsent.
        (true, false, false, GeneratorVerdict::Invalid),
        (false, false, false, GeneratorVerdict::Invalid),
    ] {
        let mut ledger = open_alone();
        for interval in 0..6 {
            let works = interval < 2 || interval == 5 && last_one_works;
            let mut delta = delta_of(interval, if works { many(ok(1_000), 50) } else { Vec::new() });
            if interval >= 2 {
                delta.health.dispatch_lag_p99_us = 3_000_000;
            }
            delta.health.covered_us = 1_000_000;
            delta.left = Some(Moment::from_secs(2)).filter(|_| leaves && interval == 5);
            ledger.apply(WorkerId(1), FIRST, &delta).expect("in order");
        }
        if lost {
            ledger.set_lost(WorkerId(1), FIRST);
        }
        let summary = Summary::build(&ledger, &SlaEngine::new(&[]), facts(false));
        assert_eq!(summary.generator.verdict, want, "{lost} {last_one_works} {leaves}");
        assert_eq!(summary.workers[1].generator, want);
    }
}

#[test]
fn a_worker_that_says_nothing_more_is_not_passed_over() {
    let mut ledger = ledger(1, 3, 0);
    apply(&mut ledger, 0, 0, false, many(ok(1_000), 100)).expect("in order");
    let summary = Summary::build(&ledger, &SlaEngine::new(&[]), facts(true));
    assert_eq!(
        summary.conservation.mismatches,
        ["worker 0 has neither sent its last interval nor been lost"]
    );
    assert_eq!(summary.exit_code, ExitCode::Inconsistent);
}

#[test]
fn drops_are_censored_and_blamed() {
    let slow = |reason| {
        let mut ledger = ledger(1, 1, 0);
        let mut events = many(ok(1_000), 95);
        events.extend(many(dropped(reason, 10_000_000), 5));
        apply(&mut ledger, 0, 0, true, events).expect("in order");
        ledger.set_scheduled(OPEN, 100);
        Summary::build(&ledger, &SlaEngine::new(&[]), facts(true))
    };
    let summary = slow(DropReason::NoSlot);
    assert_eq!((summary.verdict, summary.exit_code.number()), (Verdict::Failed, 99));
    assert_eq!(summary.generator.verdict, GeneratorVerdict::Valid);
    let response = summary.latency.response;
    assert_eq!((response.count, response.censored), (100, 5));
    assert_eq!(response.p95.map(|p| p.at_least), Some(false));
    assert_eq!(response.p99.map(|p| p.at_least), Some(true));
    assert_eq!(summary.timeline[0].response_p99, response.p99);
    assert_eq!(summary.rates.drop_rate, Some(0.05));

    let summary = slow(DropReason::Late);
    assert_eq!((summary.verdict, summary.exit_code.number()), (Verdict::Invalid, 95));
    let kinds: Vec<&str> = summary.generator.reasons.iter().map(|reason| reason.kind).collect();
    assert_eq!(kinds, ["dropped_late", "min_started"]);

    let mut ledger = ledger(1, 1, 0);
    let mut events = many(ok(1_000), 50);
    events.extend(many(dropped(DropReason::Stopped, 1_000), 5));
    apply(&mut ledger, 0, 0, true, events).expect("in order");
    let stop = Some((
        StopCause::Operator,
        Moment::from_millis(500),
        "stopped by an operator".to_owned(),
    ));
    let summary = Summary::build(&ledger, &SlaEngine::new(&[]), RunFacts { stop, ..facts(true) });
    assert_eq!(
        (summary.verdict, summary.exit_code.number()),
        (Verdict::Aborted, 96),
        "{:?}",
        summary.reasons
    );
    assert_eq!(summary.sla[0].verdict, SlaVerdict::Passed);
    assert_eq!(
        summary.stopped_early.map(|stop| stop.at),
        Some(Moment::from_millis(500))
    );
}

#[test]
fn a_run_without_any_delta() {
    let summary = Summary::build(&ledger(1, 3, 0), &SlaEngine::new(&[]), facts(false));
    assert_eq!(summary.timeline, []);
    assert_eq!(summary.latency.response.p50, None);
    assert_eq!((summary.rates.rate_per_s, summary.rates.error_rate), (None, None));
    assert_eq!(summary.workers[0].state, WorkerState::Running);
    assert_eq!(
        (summary.verdict, summary.exit_code.number(), summary.reasons.as_slice()),
        (
            Verdict::Inconclusive,
            95,
            ["the run goes on: nothing is against it so far".to_owned()].as_slice()
        ),
        "a run that goes on has not passed"
    );
}

#[test]
fn rates_are_of_the_same_seconds() {
    // 500/s for ten and a half seconds: what falls due in the half second is in the counts, but in no rate.
    let second = |interval| Second {
        interval,
        segment: 0,
        sent: if interval < 10 { 500 } else { 250 },
        ok: if interval < 10 { 500 } else { 250 },
    };
    let list: Vec<Second> = (0..11).map(second).collect();
    let mut ledger = timed(plan(11, 0), marks(0), Some(Moment::from_millis(10_700)), &list);
    ledger.cut_load(Moment::from_millis(10_500));
    let rates = |ledger: &Ledger| Summary::build(ledger, &SlaEngine::new(&[]), facts(false)).rates;
    let of = |rates: Rates| {
        [
            rates.offered_per_s,
            rates.started_per_s,
            rates.attempted_per_s,
            rates.rate_per_s,
        ]
    };
    assert_eq!(of(rates(&ledger)), [Some(500.0); 4]);
    // The arrivals of a lost worker belong to no second, so how much was offered in each is not known.
    ledger.record_loss(Loss {
        worker: WorkerId(0),
        incarnation: FIRST,
        load: OPEN,
        unknown: 3,
        unsent: 0,
        unsent_from: None,
    });
    assert_eq!(of(rates(&ledger)), [None, Some(500.0), Some(500.0), Some(500.0)]);
}

#[test]
fn the_drop_rate_is_of_all_that_the_schedule_asked_for() {
    let mut ledger = ledger(1, 2, 0);
    let events = many(ok(1_000), 6)
        .into_iter()
        .chain(many(dropped(DropReason::NoSlot, 1_000), 4));
    let mut delta = delta_of(0, events);
    delta.iterations[0].counts.scheduled += 5;
    delta.open.waiting = 5;
    ledger.apply(WorkerId(0), FIRST, &delta).expect("in order");
    // Those that it had waiting are among them.
    ledger.record_loss(Loss {
        worker: WorkerId(0),
        incarnation: FIRST,
        load: OPEN,
        unknown: 10,
        unsent: 5,
        unsent_from: None,
    });
    ledger.set_end(Moment::from_secs(2));
    ledger.set_scheduled(OPEN, 25);
    let summary = Summary::build(&ledger, &SlaEngine::new(&[]), facts(true));
    assert_eq!(
        (summary.iterations.scheduled, summary.rates.drop_rate),
        (25, Some(0.16))
    );
    let phase = &summary.phases[0];
    assert_eq!((phase.iterations.scheduled, phase.rates.drop_rate), (10, Some(0.4)));
}

#[test]
fn rates_leave_the_drain_out() {
    // 500/s for ten seconds; the target serves 400/s and needs 12.5 s.
    let second = |interval| Second {
        interval,
        segment: 0,
        sent: if interval < 10 { 500 } else { 0 },
        ok: if interval < 12 { 400 } else { 200 },
    };
    let list: Vec<Second> = (0..13).map(second).collect();
    let ledger = timed(plan(10, 0), marks(0), Some(Moment::from_millis(12_500)), &list);
    let summary = Summary::build(&ledger, &SlaEngine::new(&[]), facts(false));
    let list = summary.steps.iter().find(|step| step.name == "list tools");
    let phases = summary.phases.iter().map(|phase| &phase.rates);
    let mut seen = 0;
    for rates in phases.chain([&summary.rates]).chain(list.map(|step| &step.rates)) {
        assert_eq!((rates.covered_us, rates.attempted_per_s), (10_000_000, Some(500.0)));
        assert_eq!((rates.rate_per_s, rates.throughput_per_s), (Some(500.0), Some(400.0)));
        assert_eq!((rates.goodput_per_s, rates.error_rate), (Some(400.0), Some(0.0)));
        seen += 1;
    }
    assert_eq!(seen, 4);
    assert_eq!(summary.steps_total.counts.ok, 5_000);
    let begun = |rates: &Rates| (rates.offered_per_s, rates.started_per_s);
    for rates in summary.phases.iter().map(|phase| &phase.rates).chain([&summary.rates]) {
        assert_eq!(begun(rates), (Some(500.0), Some(500.0)));
    }
    // A step has no iterations of its own.
    assert_eq!(list.map(|step| begun(&step.rates)), Some((None, None)));
    // Setup has no rate, and a step that is never sent has one of zero.
    let of = |name: &str| {
        let step = summary.steps.iter().find(|step| step.name == name);
        step.and_then(|step| step.rates.rate_per_s)
    };
    assert_eq!((of("login"), of("ping")), (None, Some(0.0)));
}

#[test]
fn self_health_is_told_over_time() {
    let mut ledger = ledger(2, 2, 0);
    for (worker, interval, lag) in [(1, 0, 5), (0, 0, 20_000), (0, 1, 7)] {
        let mut delta = delta_of(interval, Vec::new());
        delta.health.dispatch_lag_p99_us = lag;
        ledger.apply(WorkerId(worker), FIRST, &delta).expect("in order");
    }
    let summary = Summary::build(&ledger, &SlaEngine::new(&[]), facts(false));
    let points: Vec<_> = summary
        .health
        .iter()
        .map(|point| (point.t_s, point.length_s, point.worker.0, point.strained.as_slice()))
        .collect();
    assert_eq!(
        points,
        [(0, 1, 0, &["dispatch_lag"][..]), (0, 1, 1, &[]), (1, 1, 0, &[])]
    );
}
