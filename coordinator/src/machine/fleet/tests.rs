use std::fmt::Write as _;

use expect_test::{Expect, expect};

use super::*;

fn hello(incarnation: u64, name: &str, labels: &[(&str, &str)]) -> Hello {
    Hello {
        protocol: 1,
        version: "0.1.0".to_owned(),
        name: name.to_owned(),
        incarnation: Incarnation(incarnation),
        labels: labels
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
        shards: 2,
        max_rate: None,
        cores: 2,
        memory_bytes: 1 << 30,
        descriptors_max: 1_024,
        os: "linux".to_owned(),
        held: None,
    }
}

fn join(connection: u64, hello: Hello) -> Input {
    Input::Hello(ConnectionId(connection), Box::new(hello))
}

fn demand(min: u32, max: Option<u32>, labels: &[(&str, &str)]) -> Demand {
    let labels = labels
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    Demand { min, max, labels }
}

fn outputs(fleet: &mut Fleet) -> String {
    let mut text = String::new();
    while let Some(output) = fleet.poll() {
        match output {
            Output::Welcome(c) => write!(text, "welcome {} ", c.0),
            Output::Refuse(c, reason) => write!(text, "refuse {} ({reason}) ", c.0),
            Output::Probe(c, n) => write!(text, "probe {}#{n} ", c.0),
            Output::Close(c) => write!(text, "close {} ", c.0),
            Output::Present(i) => write!(text, "present {i} "),
            Output::Lost(i, reason) => write!(text, "lost {i} ({reason}) "),
            Output::Stray(c, run) => write!(text, "stray {} {run} ", c.0),
        }
        .unwrap();
    }
    text.trim_end().to_owned()
}

#[track_caller]
fn check(inputs: Vec<(u64, Input)>, want: &Expect) {
    check_with(0..0, inputs, want);
}

/// Plays (millisecond, input) pairs, with the ticks that are asked for between them, and compares everything but the probes.
/// Ticks that are due while the coordinator is `still` come at its end.
#[track_caller]
fn check_with(still: std::ops::Range<u64>, inputs: Vec<(u64, Input)>, want: &Expect) {
    let mut fleet = Fleet::new(1);
    let mut lines = String::new();
    for (at, input) in inputs {
        while let Some(due) = fleet.deadline() {
            let due = due.as_micros() / 1_000;
            let tick = if still.contains(&due) { still.end } else { due };
            if tick >= at {
                break;
            }
            play(&mut fleet, tick, Input::Tick, &mut lines);
        }
        play(&mut fleet, at, input, &mut lines);
    }
    want.assert_eq(&lines);
}

fn play(fleet: &mut Fleet, at: u64, input: Input, lines: &mut String) {
    let asked = matches!(input, Input::Tick);
    fleet.handle(Moment::from_millis(at), input);
    fleet.check().unwrap();
    let line = outputs(fleet);
    // A probe is two words, `probe` and `1#2`.
    let kept: Vec<&str> = line
        .split(' ')
        .filter(|word| *word != "probe" && !word.contains('#'))
        .filter(|word| !word.is_empty())
        .collect();
    if !asked || !kept.is_empty() {
        writeln!(lines, "{at}: {}", kept.join(" ")).unwrap();
    }
}

#[test]
fn another_protocol_is_refused_with_the_reason() {
    let other = Hello {
        protocol: 2,
        version: "0.9.0".to_owned(),
        ..hello(7, "a", &[])
    };
    check(
        vec![(0, join(1, other))],
        &expect![[r"
            0: refuse 1 (this coordinator speaks protocol 1, worker a (version 0.9.0) speaks protocol 2: use the same version on both)
        "]],
    );
}

#[test]
fn five_missed_beats_lose_a_worker() {
    check(
        vec![
            (0, join(1, hello(7, "a", &[]))),
            (1_000, Input::Heartbeat(ConnectionId(1))),
            (5_900, Input::Tick),
            (6_000, Input::Tick),
            (6_100, Input::Heartbeat(ConnectionId(1))),
        ],
        &expect![[r"
            0: welcome 1 present 7
            1000: 
            6000: close 1 lost 7 (5 heartbeats missed)
            6100: 
        "]],
    );
}

#[test]
fn a_standstill_of_ours_is_nobodys_silence() {
    check_with(
        200..9_000,
        vec![
            (0, join(1, hello(7, "a", &[]))),
            (0, join(2, hello(8, "b", &[]))),
            (100, Input::Gone(ConnectionId(2))),
            (9_000, Input::Tick),
            (9_001, Input::Heartbeat(ConnectionId(1))),
            (10_000, Input::Tick),
            (14_001, Input::Tick),
        ],
        &expect![[r"
            0: welcome 1 present 7
            0: welcome 2 present 8
            100: 
            9001: 
            10000: lost 8 (its connection ended and did not come back within 5s)
            14001: close 1 lost 7 (5 heartbeats missed)
        "]],
    );
}

#[test]
fn a_standstill_of_ours_as_long_as_five_beats_loses_nobody() {
    check_with(
        2_100..7_050,
        vec![
            (0, join(1, hello(7, "a", &[]))),
            (1_000, Input::Heartbeat(ConnectionId(1))),
            (2_000, Input::Heartbeat(ConnectionId(1))),
            (7_050, Input::Tick),
            (7_051, Input::Heartbeat(ConnectionId(1))),
            (12_050, Input::Tick),
            (12_051, Input::Tick),
        ],
        &expect![[r"
            0: welcome 1 present 7
            1000: 
            2000: 
            7051: 
            12051: close 1 lost 7 (5 heartbeats missed)
        "]],
    );
}

#[test]
fn a_stream_may_break_for_the_grace_time() {
    check(
        vec![
            (0, join(1, hello(7, "a", &[]))),
            (1_000, Input::Gone(ConnectionId(1))),
            (5_999, Input::Tick),
            (5_999, join(2, hello(7, "a", &[]))),
            (6_100, Input::Gone(ConnectionId(2))),
            (11_100, Input::Tick),
        ],
        &expect![[r"
            0: welcome 1 present 7
            1000: 
            5999: welcome 2 present 7
            6100: 
            11100: lost 7 (its connection ended and did not come back within 5s)
        "]],
    );
}

#[test]
fn a_second_stream_of_the_same_process_replaces_the_first() {
    check(
        vec![
            (0, join(1, hello(7, "a", &[]))),
            (10, join(2, hello(7, "a", &[]))),
            (20, Input::Gone(ConnectionId(1))),
            (30, Input::Tick),
        ],
        &expect![[r"
            0: welcome 1 present 7
            10: close 1 welcome 2 present 7
            20: 
        "]],
    );
}

#[test]
fn a_run_that_nobody_assigned_is_a_stray() {
    let holding = Hello {
        held: Some(RunId(5)),
        ..hello(7, "a", &[])
    };
    check(
        vec![(0, join(1, holding))],
        &expect![[r"
            0: welcome 1 stray 1 0000000000000005 present 7
        "]],
    );
}

#[test]
fn equal_names_are_told_apart() {
    let mut fleet = Fleet::new(1);
    for n in 1..=3 {
        fleet.handle(Moment::ZERO, join(n, hello(n, "a", &[])));
    }
    let names: Vec<&str> = fleet.workers().map(|(_, worker)| worker.name.as_str()).collect();
    assert_eq!(names, ["a", "a-2", "a-3"]);
}

#[test]
fn probes_come_in_a_burst_and_then_slowly() {
    let mut fleet = Fleet::new(1);
    fleet.handle(Moment::ZERO, join(1, hello(7, "a", &[])));
    let mut times = Vec::new();
    for millis in (0..=4_500).step_by(10) {
        fleet.handle(Moment::from_millis(millis), Input::Tick);
        times.extend(outputs(&mut fleet).contains("probe").then_some(millis));
    }
    assert_eq!(times, [0, 50, 100, 150, 200, 250, 300, 350, 2_350, 4_350]);
    assert_eq!(fleet.deadline(), Some(Moment::from_secs(5)));
}

#[test]
fn reservations_by_label_minimum_and_maximum() {
    let eu: &[_] = &[("role", "eu")];
    for (demand, want) in [
        (demand(1, None, &[]), Ok(3)),
        (demand(1, Some(2), &[]), Ok(2)),
        (demand(2, None, eu), Ok(2)),
        (demand(1, Some(1), eu), Ok(1)),
        (demand(3, None, eu), Err("waiting for 1 of 3 workers with role=eu")),
        (demand(5, None, &[]), Err("waiting for 2 of 5 workers")),
        (
            demand(1, None, &[("role", "us")]),
            Err("waiting for 1 of 1 worker with role=us"),
        ),
    ] {
        let mut fleet = Fleet::new(1);
        for n in 1..=3 {
            fleet.handle(Moment::ZERO, join(n, hello(n, "a", if n < 3 { eu } else { &[] })));
        }
        let got = fleet.reserve(RunId(1), &demand).map(|list| list.len());
        assert_eq!(
            got.as_ref().map_err(Shortage::detail),
            want.as_ref().map_err(|text| *text),
            "{demand:?}"
        );
    }
}

#[test]
fn one_run_at_a_time_on_a_worker() {
    let mut fleet = Fleet::new(1);
    for n in 1..=2 {
        fleet.handle(Moment::ZERO, join(n, hello(n, "a", &[])));
    }
    assert_eq!(
        fleet.reserve(RunId(1), &demand(1, Some(1), &[])),
        Ok(vec![Incarnation(1)])
    );
    let shortage = fleet.reserve(RunId(2), &demand(2, None, &[])).unwrap_err();
    assert_eq!(
        shortage,
        Shortage::Busy("waiting for 1 of 2 workers, held by other runs".to_owned())
    );
    fleet.release(RunId(1));
    assert_eq!(
        fleet.reserve(RunId(2), &demand(2, None, &[])).map(|list| list.len()),
        Ok(2)
    );
}

#[test]
fn a_lost_worker_is_kept_until_its_run_lets_go() {
    let mut fleet = Fleet::new(1);
    fleet.handle(Moment::ZERO, join(1, hello(7, "a", &[])));
    fleet.reserve(RunId(1), &demand(1, None, &[])).unwrap();
    fleet.handle(
        Moment::ZERO,
        Input::Quarantine(Incarnation(7), "sent nonsense".to_owned()),
    );
    fleet.check().unwrap();
    assert_eq!(fleet.worker(Incarnation(7)).map(Worker::state), Some("lost"));
    fleet.handle(
        Moment::from_secs(60),
        join(
            2,
            Hello {
                held: Some(RunId(1)),
                ..hello(7, "a", &[])
            },
        ),
    );
    assert_eq!(fleet.worker(Incarnation(7)).map(Worker::state), Some("busy"));
    fleet.handle(Moment::from_secs(60), Input::Gone(ConnectionId(2)));
    fleet.handle(Moment::from_secs(65), Input::Tick);
    fleet.release(RunId(1));
    assert_eq!(fleet.workers().count(), 0);
}
