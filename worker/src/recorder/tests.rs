use super::*;
use barrage_model::delta::{Health, SketchKey};
use barrage_model::outcome::FailureClass;

use crate::net::PortsUsed;

const SEGMENT: SegmentId = SegmentId(3);

fn shape() -> Shape {
    Shape {
        steps: 2,
        scenarios: 2,
        scheduled: vec![true, false],
    }
}

fn at(us: u64) -> Stamp {
    Stamp::from_us(1_000_000_000 + us)
}

fn sample(outcome: Outcome, sent: u64, done: u64, message: &str) -> StepSample<'_> {
    StepSample {
        step: StepId(1),
        tag: TagId(0),
        segment: SEGMENT,
        outcome,
        due: at(0),
        sent_at: Some(at(sent)),
        done_at: at(done),
        timings: Timings::default(),
        wire_requests: 1,
        body_bytes_in: 10,
        body_bytes_out: 0,
        wire_bytes_in: 100,
        wire_bytes_out: 50,
        status: None,
        message,
    }
}

fn delta(part: Part) -> barrage_model::delta::Delta {
    let mut merged = Merged::new(part.interval);
    merged.add(part);
    merged.into_delta(1, false, Health::default())
}

#[test]
fn a_sample_counts_in_the_interval_of_its_instant_even_before_the_shard_closes() {
    let mut recorder = Recorder::new(shape(), at(0), None);
    recorder.step_sent(StepId(1), SEGMENT, at(0));
    recorder.step_ended(&sample(Outcome::Ok, 100, 2_500_000, ""));
    assert_eq!(recorder.open().in_flight, 0);
    for (interval, in_flight, ended) in [(0, 1, 0), (1, 1, 0), (2, 0, 1)] {
        let part = recorder.close(Vec::new());
        assert_eq!((part.interval, part.open.in_flight), (interval, in_flight));
        let steps = delta(part).steps;
        assert_eq!(steps.iter().map(|row| row.counts.ended()).sum::<u64>(), ended);
    }
}

#[test]
fn a_send_counts_in_the_interval_of_its_instant_whatever_was_seen_before() {
    let mut recorder = Recorder::new(shape(), at(0), None);
    // The second has begun of which nothing has been told yet.
    recorder.step_sent(StepId(1), SEGMENT, at(1_000_100));
    // One that was seen at the end of the first.
    recorder.step_sent(StepId(1), SEGMENT, at(999_900));
    for interval in [0, 1] {
        let part = recorder.close(Vec::new());
        assert_eq!(
            (part.interval, part.open.in_flight),
            (interval, u64::from(interval) + 1)
        );
    }
}

#[test]
fn ports_are_those_for_the_address_that_has_most_connections() {
    let read = Health {
        ports: 30,
        ports_max: 1_000,
        ..Health::default()
    };
    for (ran_out, ports) in [(false, 215), (true, 1_000)] {
        let mut merged = Merged::new(0);
        for fullest in [120, 80] {
            let mut part = Recorder::new(shape(), at(0), None).close(Vec::new());
            part.connected = Connected {
                open: 200,
                ports: PortsUsed {
                    fullest,
                    addresses: 2,
                    ran_out: ran_out && fullest == 80,
                },
            };
            merged.add(part);
        }
        let health = merged.into_delta(1, false, read).health;
        assert_eq!((health.connections, health.ports), (400, ports));
    }
}

#[test]
fn dropped_arrivals_are_censored_samples() {
    let mut recorder = Recorder::new(shape(), at(0), None);
    recorder.scheduled(LoadId(0), ScenarioId(1), SEGMENT, 2, at(10));
    recorder.dropped(&Dropped {
        load: LoadId(0),
        scenario: ScenarioId(1),
        first_step: Some(StepId(0)),
        segment: SEGMENT,
        reason: DropReason::NoSlot,
        due: at(10),
        at: at(510),
    });
    let part = recorder.close(Vec::new());
    assert_eq!(part.open.waiting, 1);
    let delta = delta(part);
    assert_eq!(delta.iterations[0].counts.dropped, [0, 1, 0, 0]);
    let subjects: Vec<SketchKey> = delta.sketches.iter().map(|row| row.key).collect();
    assert!(
        subjects
            .iter()
            .all(|key| key.group == OutcomeGroup::Censored && key.segment == SEGMENT)
    );
    assert_eq!(subjects[0].subject, Subject::Step(StepId(0)));
    assert_eq!(subjects[1].subject, Subject::Scenario(ScenarioId(1)));
}

#[test]
fn closed_loads_have_starts_but_no_arrivals() {
    let mut recorder = Recorder::new(shape(), at(0), None);
    for (load, due) in [(LoadId(1), 0), (LoadId(0), 5)] {
        if load == LoadId(0) {
            recorder.scheduled(load, ScenarioId(0), SEGMENT, 1, at(due));
        }
        recorder.iteration_started(&IterationStarted {
            load,
            scenario: ScenarioId(0),
            segment: SEGMENT,
            due: at(due),
            at: at(due + 7),
            own_lag: Some(Duration::from_micros(7)),
        });
    }
    let span = (at(0), at(900));
    recorder.iteration_ended(LoadId(1), ScenarioId(0), SEGMENT, span, IterationEnd::BrokenOff);
    assert_eq!(
        recorder.open(),
        Open {
            waiting: 0,
            in_progress: 1,
            in_flight: 0
        }
    );
    let delta = delta(recorder.close(Vec::new()));
    assert_eq!(delta.health.dispatch_lag_p99_us, 7);
    assert_eq!(delta.iterations.len(), 2);
}

#[test]
fn starts_that_cannot_be_late_do_not_hide_the_lag_of_others() {
    let mut recorder = Recorder::new(shape(), at(0), None);
    let mut start = |load, own_lag| {
        recorder.iteration_started(&IterationStarted {
            load,
            scenario: ScenarioId(0),
            segment: SEGMENT,
            due: at(0),
            at: at(50),
            own_lag,
        });
    };
    (0..1_000).for_each(|_| start(LoadId(1), None));
    start(LoadId(0), Some(Duration::from_millis(50)));
    let health = delta(recorder.close(Vec::new())).health;
    assert!(health.dispatch_lag_p99_us >= 50_000, "{}", health.dispatch_lag_p99_us);
}

#[test]
fn who_waits_for_a_saturated_shard_waits_for_the_generator() {
    // The CPU time of the busiest shard in a second, and what it spent looking at the clock.
    let lag = |busy_us: u64, spun_us: u64, held: u64| {
        let mut recorder = Recorder::new(shape(), at(0), None);
        for number in 0..1_000 {
            let waited = if number < held { 400_000 } else { 90 };
            recorder.iteration_started(&IterationStarted {
                load: LoadId(0),
                scenario: ScenarioId(0),
                segment: SEGMENT,
                due: at(0),
                at: at(waited),
                own_lag: Some(Duration::from_micros(80)),
            });
        }
        let mut part = recorder.close(Vec::new());
        part.spun_us = spun_us;
        let mut merged = Merged::new(part.interval);
        merged.add(part);
        let health = Health {
            covered_us: 1_000_000,
            shard_busy_max_us: busy_us,
            ..Health::default()
        };
        merged.into_delta(1, false, health).health.dispatch_lag_p99_us
    };
    assert_eq!(lag(900_000, 0, 500), 80);
    assert_eq!(lag(1_000_000, 500_000, 500), 80);
    assert_eq!(lag(900_001, 0, 500), 400_000);
    assert_eq!(lag(900_001, 0, 5), 80);
}

#[test]
fn the_error_list_shows_kinds_and_cuts_long_texts() {
    let mut recorder = Recorder::new(shape(), at(0), None);
    let long = "ä".repeat(300);
    for n in 0..50 {
        let class = if n % 2 == 0 {
            FailureClass::Reset
        } else {
            FailureClass::Status
        };
        recorder.step_sent(StepId(1), SEGMENT, at(0));
        recorder.step_ended(&sample(Outcome::Failed(class), 1, 2 + n, &long));
    }
    let delta = delta(recorder.close(Vec::new()));
    assert_eq!(delta.errors.len(), 8);
    assert_eq!(delta.errors[0].message, "ä".repeat(100));
    assert_eq!(delta.steps[0].counts.failed_total(), 50);
    assert_eq!(delta.errors[0].service, Some(Duration::from_micros(1)));
}

#[test]
fn what_was_never_sent_has_no_service_time() {
    let mut recorder = Recorder::new(shape(), at(0), None);
    recorder.step_sent(StepId(1), SEGMENT, at(0));
    recorder.step_ended(&StepSample {
        sent_at: None,
        ..sample(Outcome::Timeout, 0, 900, "timed out waiting for a free stream")
    });
    assert_eq!(delta(recorder.close(Vec::new())).errors[0].service, None);
}

#[test]
fn a_hostile_step_or_a_far_instant_is_harmless() {
    let mut recorder = Recorder::new(shape(), at(0), None);
    recorder.step_sent(StepId(77), SEGMENT, at(0));
    recorder.step_sent(StepId(u32::MAX), SEGMENT, at(0));
    recorder.step_ended(&sample(Outcome::Ok, 1, u64::MAX / 2, ""));
    assert!(recorder.intervals.len() <= OPEN_INTERVALS_MAX);
}

#[test]
fn the_trace_holds_every_sample() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("trace");
    let sink = TraceSink::create(&path).unwrap();
    let mut recorder = Recorder::new(shape(), at(0), Some(sink));
    recorder.step_ended(&sample(Outcome::Ok, 100, 350, ""));
    recorder.step_ended(&sample(Outcome::Timeout, 400, 1_400, ""));
    recorder.close(Vec::new());
    let text = std::fs::read_to_string(&path).unwrap();
    let want = "response step:1 ok 0 3 350\nservice step:1 ok 0 3 250\nresponse step:1 timeout 0 3 1400\n\
                service step:1 timeout 0 3 1000\n";
    assert_eq!(text, want);
}
