use std::fmt::Write as _;

use barrage_metrics::StopCause;
use barrage_model::delta::{Delta, Health, INTERVAL, IterationRow, Progress};
use barrage_model::ids::{LoadId, RunId, ScenarioId, SegmentId};
use barrage_model::ledger::{IterationCounts, Open};
use barrage_model::plan::{Load, OnLoss, Plan};
use expect_test::{Expect, expect};

use super::*;
use crate::compile::{Member, compile};
use crate::machine::offset::Offset;
use crate::sample;

/// A book that sums up what has been started, and stops the run at a run time of its own.
#[derive(Debug, Default)]
struct Sums {
    started: u64,
    stop_at: Option<Moment>,
    notes: Vec<String>,
}

impl Book for Sums {
    fn apply(&mut self, _: WorkerId, _: Incarnation, delta: &Delta) -> Result<(), String> {
        if delta.interval > 1_000 {
            return Err("interval 1001 is not between 0 and 1000".to_owned());
        }
        self.started += delta.iterations.iter().map(|row| row.counts.started).sum::<u64>();
        Ok(())
    }

    fn evaluate(&mut self, run_now: Moment) -> Option<String> {
        self.stop_at
            .is_some_and(|at| run_now >= at)
            .then(|| "error_rate < 50% is breached".to_owned())
    }

    fn stopped(&mut self, at: Moment) {
        self.notes.push(format!("stopped at {at}"));
    }

    fn lost(&mut self, worker: WorkerId, at: Moment) {
        self.notes.push(format!("lost {worker} at {at}"));
    }

    fn returned(&mut self, worker: WorkerId) {
        self.notes.push(format!("returned {worker}"));
    }

    fn note(&mut self, note: &Note) {
        self.notes.push(format!("{} {}: {}", note.at, note.kind, note.text));
    }
}

/// A run on two workers of one shard each, with a store that answers at once unless told otherwise.
struct Bench {
    run: Run<Sums>,
    now: Moment,
    trace: String,
    /// Blocks of counted loads, and for whom.
    blocks: Vec<(WorkerId, Block)>,
    store_answers: bool,
    ticket: u64,
}

const A: WorkerId = WorkerId(0);
const B: WorkerId = WorkerId(1);

impl Bench {
    fn new(change: impl FnOnce(&mut Plan)) -> Self {
        Self::with(vec![sample::load("load", 0, sample::holds(&[(10, 20)]))], change)
    }

    fn with(loads: Vec<Load>, change: impl FnOnce(&mut Plan)) -> Self {
        let mut plan = sample::plan(loads);
        change(&mut plan);
        let member = |name: &str| Member {
            name: name.to_owned(),
            shards: 1,
            max_rate: None,
        };
        let compiled = compile(&plan, &[member("a"), member("b")], 1).unwrap();
        let members = vec![(Incarnation(10), "a".to_owned()), (Incarnation(11), "b".to_owned())];
        let spec = Spec {
            run: RunId(1),
            plan: Arc::new(plan),
            compiled: Arc::new(compiled),
            members,
        };
        let now = Moment::from_secs(100);
        let run = Run::new(now, spec, Sums::default());
        let mut bench = Self {
            run,
            now,
            trace: String::new(),
            blocks: Vec::new(),
            store_answers: true,
            ticket: 0,
        };
        bench.drain();
        bench
    }

    /// Prepared, and at run time zero.
    fn started(change: impl FnOnce(&mut Plan)) -> Self {
        Self::new(change).start()
    }

    fn start(mut self) -> Self {
        self.input(Input::Prepared(A, Ok(Vec::new())))
            .input(Input::Prepared(B, Ok(Vec::new())));
        self.reach(Moment::ZERO);
        self.trace.clear();
        self
    }

    fn input(&mut self, input: Input) -> &mut Self {
        self.run.handle(self.now, input);
        self.drain();
        self
    }

    fn drain(&mut self) {
        loop {
            while let Some(output) = self.run.poll() {
                self.show(output);
            }
            self.run.check().unwrap();
            if !self.store_answers || !self.answer_store() {
                return;
            }
        }
    }

    fn answer_store(&mut self) -> bool {
        let due = self.run.effects.next_ticket();
        let news = due > self.ticket;
        self.ticket = due;
        if news {
            self.run.handle(self.now, Input::Stored(due));
        }
        news
    }

    fn show(&mut self, output: Output) {
        let line = match output {
            Output::Send(to, Command::Grant { blocks, .. }) => {
                return self.blocks.extend(blocks.into_iter().map(|block| (to, block)));
            }
            Output::Store(..) => return,
            Output::Send(to, Command::Start(at, values)) => format!("{to} start at {at} with {values:?}"),
            Output::Send(to, command) => format!("{to} {command:?}"),
            Output::Reply(to, answer) => format!("{to} {answer:?}"),
            Output::Quarantine(who, reason) => format!("quarantine {who}: {reason}"),
            Output::Finished(outcome) => format!("{outcome:?}"),
        };
        let at = self
            .run
            .start
            .map_or_else(|| "-".to_owned(), |_| self.run.run_now(self.now).to_string());
        writeln!(self.trace, "{at} {line}").unwrap();
    }

    /// Lets time pass up to a run time, tick by tick as the machine asks for.
    fn reach(&mut self, run_time: Moment) -> &mut Self {
        let target = self.run.start.expect("the run has started") + run_time.since(Moment::ZERO);
        while let Some(next) = self.run.deadline().filter(|next| *next <= target) {
            self.now = self.now.max(next);
            self.input(Input::Tick);
        }
        self.now = target;
        self.input(Input::Tick)
    }

    fn secs(&mut self, secs: u64) -> &mut Self {
        self.reach(Moment::from_secs(secs))
    }

    /// Lets the run end by itself.
    fn play_out(&mut self) -> &mut Self {
        while let Some(next) = self.run.deadline() {
            self.now = self.now.max(next);
            self.input(Input::Tick);
        }
        self
    }

    #[track_caller]
    fn expect(&mut self, want: &Expect) -> &mut Self {
        want.assert_eq(&self.trace);
        self.trace.clear();
        self
    }
}

fn delta(seq: u64, shard: u32, started: u64, next_index: u64) -> Delta {
    Delta {
        seq,
        interval: seq as u32 - 1,
        last: false,
        iterations: vec![IterationRow {
            load: LoadId(0),
            scenario: ScenarioId(0),
            segment: SegmentId(0),
            counts: IterationCounts {
                started,
                scheduled: started,
                completed: started,
                ..IterationCounts::default()
            },
        }],
        steps: Vec::new(),
        sketches: Vec::new(),
        open: Open::default(),
        progress: vec![Progress {
            load: LoadId(0),
            shard: ShardId(shard),
            next_index,
        }],
        errors: Vec::new(),
        health: Health::default(),
        ended: None,
        left: None,
    }
}

fn sent(worker: WorkerId, seq: u64, started: u64, next_index: u64) -> Input {
    Input::Delta(worker, Box::new(delta(seq, worker.0, started, next_index)))
}

fn last(worker: WorkerId, seq: u64) -> Input {
    Input::Delta(
        worker,
        Box::new(Delta {
            last: true,
            ..delta(seq, worker.0, 0, u64::MAX)
        }),
    )
}

fn halted(worker: WorkerId, last_seq: u64) -> Input {
    Input::Halted {
        worker,
        last_seq,
        reason: String::new(),
    }
}

impl Bench {
    /// A worker's last delta and its word that there is no more.
    fn ends(&mut self, worker: WorkerId, seq: u64) -> &mut Self {
        self.input(last(worker, seq)).input(halted(worker, seq))
    }
}

fn lost(worker: WorkerId) -> Input {
    Input::Lost(worker, "5 heartbeats missed".to_owned())
}

fn stop(how: How) -> Input {
    Input::Stop(how, StopCause::Operator, "stopped by ann".to_owned())
}

#[test]
fn a_run_from_begin_to_end() {
    let mut bench = Bench::new(|_| {});
    bench
        .input(Input::Prepared(A, Ok(Vec::new())))
        .input(Input::Prepared(B, Ok(Vec::new())));
    bench.expect(&expect![[r"
        - 0 Prepare
        - 1 Prepare
        0.000s 0 start at 101.000s with []
        0.000s 1 start at 101.000s with []
    "]]);
    bench
        .secs(19)
        .input(sent(A, 1, 100, u64::MAX))
        .input(sent(B, 1, 100, u64::MAX));
    bench.secs(21).ends(A, 2).input(halted(B, 2)).input(last(B, 2));
    bench.expect(&expect![[r"
        19.000s 0 Committed(1)
        19.000s 1 Committed(1)
        21.000s 0 Committed(2)
        21.000s 1 ResendFrom(2)
        21.000s 1 Committed(2)
        21.000s 0 Release
        21.000s 1 Release
        21.000s Ended
    "]]);
    assert_eq!(bench.run.book().started, 200);
    assert_eq!(bench.run.final_holes(), []);
}

#[test]
fn setup_on_one_worker_and_its_values_for_all() {
    let mut bench = Bench::new(|plan| {
        plan.setup = vec![sample::request(1, "login")];
        plan.teardown = vec![sample::request(2, "logout")];
    });
    bench
        .input(Input::Prepared(A, Ok(Vec::new())))
        .input(Input::Prepared(B, Ok(Vec::new())));
    let values = vec![("token".to_owned(), "t".to_owned())];
    bench.input(Input::OnceDone {
        worker: A,
        teardown: false,
        result: Ok(values),
    });
    bench.secs(21).ends(A, 1).ends(B, 1);
    bench.input(Input::OnceDone {
        worker: A,
        teardown: true,
        result: Ok(Vec::new()),
    });
    bench.play_out();
    bench.expect(&expect![[r#"
        - 0 Prepare
        - 1 Prepare
        - 0 DoSetup
        0.000s 0 start at 101.000s with [("token", "t")]
        0.000s 1 start at 101.000s with [("token", "t")]
        21.000s 0 Committed(1)
        21.000s 1 Committed(1)
        21.000s 0 DoTeardown([("token", "t")])
        21.500s 0 Release
        21.500s 1 Release
        21.500s Ended
    "#]]);
}

#[test]
fn a_failed_setup_is_torn_down_and_nothing_starts() {
    let mut bench = Bench::new(|plan| {
        plan.setup = vec![sample::request(1, "login")];
        plan.teardown = vec![sample::request(2, "logout")];
    });
    bench
        .input(Input::Prepared(A, Ok(Vec::new())))
        .input(Input::Prepared(B, Ok(Vec::new())));
    bench.input(Input::OnceDone {
        worker: A,
        teardown: false,
        result: Err("login: status 500".to_owned()),
    });
    bench.input(Input::OnceDone {
        worker: A,
        teardown: true,
        result: Err("logout: reset".to_owned()),
    });
    bench.play_out();
    bench.expect(&expect![[r#"
        - 0 Prepare
        - 1 Prepare
        - 0 DoSetup
        - 0 DoTeardown([])
        - 0 Release
        - 1 Release
        - CouldNotStart("setup failed: login: status 500")
    "#]]);
    assert_eq!(
        bench.run.book().notes,
        ["0.000s teardown-failed: teardown failed: logout: reset"]
    );
}

#[test]
fn a_run_that_cannot_start_says_why() {
    for (input, want) in [
        (
            Input::Prepared(B, Err("no file".to_owned())),
            "worker b could not prepare: no file",
        ),
        (lost(B), "worker b is lost: 5 heartbeats missed"),
    ] {
        let mut bench = Bench::new(|_| {});
        bench.input(Input::Prepared(A, Ok(Vec::new()))).input(input);
        assert!(
            bench.trace.contains(&format!("CouldNotStart({want:?})")),
            "{}",
            bench.trace
        );
    }
    let mut bench = Bench::new(|_| {});
    bench.input(Input::Prepared(A, Ok(Vec::new()))).play_out();
    assert!(
        bench.trace.contains("CouldNotStart(\"not prepared in time: b\")"),
        "{}",
        bench.trace
    );
    let mut bench = Bench::new(|_| {});
    bench.input(stop(How::Graceful));
    assert!(
        bench.trace.contains("StoppedBeforeStart(Operator, \"stopped by ann\")"),
        "{}",
        bench.trace
    );
}

#[test]
fn deltas_count_once_and_in_order() {
    let mut bench = Bench::started(|_| {});
    bench.secs(3);
    bench
        .input(sent(A, 1, 5, 10))
        .input(sent(A, 1, 5, 10))
        .input(sent(A, 3, 7, 30))
        .input(sent(A, 2, 6, 20));
    bench.input(sent(A, 3, 7, 30)).input(sent(A, 2, 6, 20));
    bench.expect(&expect![[r"
        3.000s 0 Committed(1)
        3.000s 0 Committed(1)
        3.000s 0 ResendFrom(2)
        3.000s 0 Committed(2)
        3.000s 0 Committed(3)
        3.000s 0 Committed(3)
    "]]);
    assert_eq!(bench.run.book().started, 18);
}

#[test]
fn nothing_is_acknowledged_before_it_is_stored() {
    let mut bench = Bench::started(|_| {});
    bench.store_answers = false;
    bench
        .secs(2)
        .input(sent(A, 1, 5, 10))
        .input(sent(A, 1, 5, 10))
        .input(sent(A, 2, 6, 20));
    bench.expect(&expect![""]);
    bench.store_answers = true;
    bench.input(Input::Tick);
    bench.expect(&expect![[r"
        2.000s 0 Committed(1)
        2.000s 0 Committed(2)
    "]]);
}

#[test]
fn a_delta_that_cannot_be_right_is_refused() {
    let mut bench = Bench::started(|_| {});
    let wrong = Delta {
        interval: 1_001,
        ..delta(1, 0, 5, 10)
    };
    bench
        .input(Input::Delta(A, Box::new(wrong)))
        .input(Input::BadDelta(B, "delta.open: is missing".to_owned()));
    bench.expect(&expect![[r#"
        0.000s 0 Refused("interval: it has not begun yet")
        0.000s quarantine 0: interval: it has not begun yet
        0.000s 1 Refused("delta.open: is missing")
        0.000s quarantine 1: delta.open: is missing
    "#]]);
    assert_eq!(bench.run.book().started, 0);
}

#[test]
fn grants_are_renewed_each_second_and_stored_first() {
    let mut bench = Bench::new(|_| {});
    bench
        .input(Input::Prepared(A, Ok(Vec::new())))
        .input(Input::Prepared(B, Ok(Vec::new())));
    assert_eq!(
        bench.run.seats()[0].granted,
        Moment::from_secs(10),
        "the first one goes out before the start"
    );
    bench.secs(3);
    assert_eq!(bench.run.seats()[0].granted, Moment::from_secs(13));
    bench.store_answers = false;
    bench.reach(Moment::from_millis(5_500));
    assert_eq!(
        bench.run.seats()[0].granted,
        Moment::from_secs(13),
        "nothing is granted that is not stored"
    );
    bench.secs(6);
    assert_eq!(
        bench.run.seats()[0].granted,
        Moment::from_secs(14),
        "but a dead store does not end the load"
    );
    bench.secs(9);
    assert_eq!(
        bench.run.book().notes,
        ["6.000s store-slow: the store has not answered for 2s; load goes on"],
        "told once"
    );
}

#[test]
fn a_worker_that_tells_without_end_is_not_kept_without_end() {
    let mut bench = Bench::started(|_| {});
    for number in 0..5_000 {
        bench.input(Input::Told(A, "warning".to_owned(), number.to_string()));
    }
    bench.input(Input::Told(B, "warning".to_owned(), "heard".to_owned()));
    let notes = &bench.run.book().notes;
    assert_eq!(notes.len(), 1_001);
    assert!(notes[999].contains("beyond 1000 events"), "{}", notes[999]);
    assert!(notes[1_000].contains("heard"), "{}", notes[1_000]);
}

#[test]
fn workers_that_had_to_stand_still_are_told_of() {
    let mut bench = Bench::started(|_| {});
    bench.secs(2);
    let granted = bench.run.seats()[0].granted;
    // The coordinator itself stands still for longer than the grants.
    bench.now = bench.run.start.expect("the run has started") + Duration::from_secs(14);
    bench.input(Input::Tick);
    let lapses = |bench: &Bench| {
        let notes = bench
            .run
            .book()
            .notes
            .iter()
            .filter(|note| note.contains(" no-grant: "));
        notes.cloned().collect::<Vec<_>>()
    };
    let text = format!(
        "14.000s no-grant: 2 workers had no grant from {granted} to 14.000s, for the coordinator gave none in time: what \
         fell due then was late"
    );
    assert_eq!(lapses(&bench), [text]);
    bench.secs(16);
    assert_eq!(lapses(&bench).len(), 1, "once is enough");
}

#[test]
fn a_run_that_is_not_stored_ends_and_says_so() {
    let mut bench = Bench::started(|_| {});
    bench.secs(19);
    bench.store_answers = false;
    bench.secs(21).ends(A, 1).ends(B, 1).play_out();
    assert!(matches!(bench.run.state, State::Finished), "{:?}", bench.run.state);
    let notes = &bench.run.book().notes;
    assert!(notes.iter().any(|note| note.contains("not-stored")), "{notes:?}");
}

#[test]
fn a_lost_worker_leaves_an_exact_hole() {
    let mut bench = Bench::started(|_| {});
    // 10/s on two shards: b owns the odd indices. It was at 41 when last heard of, and is granted up to 15 s.
    bench.secs(5).input(sent(B, 1, 20, 41)).input(lost(B));
    let hole = &bench.run.final_holes()[0];
    assert_eq!((hole.worker, hole.lost_at), (B, Moment::from_secs(5)));
    let LoadHole { unknown, unsent, .. } = hole.loads[0];
    // Index n is due at n/10 s; an arrival due at 15 s sharp (index 150) may have been sent, but is a's.
    assert_eq!((unknown.first, unknown.last, unknown.count), (Some(41), Some(149), 55));
    assert_eq!((unsent.first, unsent.last, unsent.count), (Some(151), Some(199), 25));
    assert_eq!(hole.loads[0].unsent_from, Some(Moment::from_millis(15_100)));
    bench.secs(20).input(sent(A, 1, 100, u64::MAX)).ends(A, 2);
    bench.play_out();
    assert_eq!(bench.run.book().started + unknown.count + unsent.count, 200);
    let note = bench.run.book().notes.iter().find(|note| note.contains(" hole: "));
    expect!["20.000s hole: worker b leaves behind of load load: 55 unknown, the first 41, the last 149; 25 unsent, the first 151, the last 199"].assert_eq(note.map_or("", String::as_str));
    bench.expect(&expect![[r"
        5.000s 1 Committed(1)
        20.000s 0 Committed(1)
        20.000s 0 Committed(2)
        20.000s 0 Release
        20.000s Ended
    "]]);
}

#[test]
fn the_users_of_a_lost_worker_are_idle_from_the_end_of_its_grant_on() {
    for (length, lost_at, idle_from) in [(60, 5, Some(15)), (12, 5, None)] {
        let users = vec![sample::load("users", 0, sample::users(4, length))];
        let mut bench = Bench::with(users, |_| {}).start();
        bench.secs(lost_at).input(lost(B));
        let hole = &bench.run.final_holes()[0];
        let from: Vec<_> = hole.loads.iter().map(|load| load.unsent_from).collect();
        let want = idle_from.map(|secs| Some(Moment::from_secs(secs)));
        assert_eq!(from, want.into_iter().collect::<Vec<_>>());
        assert!(
            hole.loads.iter().all(|load| load.unsent.count == 0),
            "users have no arrivals"
        );
        bench.secs(length).ends(A, 1).play_out();
        let notes = &bench.run.book().notes;
        assert!(!notes.iter().any(|note| note.contains(" hole: ")), "{notes:?}");
    }
}

#[test]
fn the_users_of_a_worker_that_says_when_it_left_are_idle_from_then_on() {
    let users = vec![sample::load("users", 0, sample::users(4, 12))];
    let mut bench = Bench::with(users, |_| {}).start();
    bench.secs(7).input(lost(B));
    let last = Delta {
        last: true,
        left: Some(Moment::from_millis(4_040)),
        ..delta(1, 1, 5, 0)
    };
    bench
        .input(Input::Present(B, None))
        .input(Input::Delta(B, Box::new(last)));
    let hole = &bench.run.final_holes()[0];
    assert_eq!(hole.loads[0].unsent_from, Some(Moment::from_millis(4_040)));
}

#[test]
fn the_end_waits_until_no_grant_of_a_lost_worker_can_hold() {
    let mut bench = Bench::started(|_| {});
    bench
        .secs(15)
        .input(lost(B))
        .input(sent(A, 1, 100, u64::MAX))
        .ends(A, 2)
        .play_out();
    // Granted up to 25 s; 500 ppm of 10 s and 100 ms on top.
    let end = bench.run.run_now(bench.now);
    assert_eq!(end, Moment::from_millis(25_105));
    assert_eq!(bench.run.final_holes()[0].loads[0].unsent.count, 0);
}

#[test]
fn late_deltas_of_a_lost_worker_shrink_its_hole() {
    let mut bench = Bench::started(|_| {});
    bench
        .secs(5)
        .input(lost(B))
        .secs(8)
        .input(sent(B, 1, 30, 61))
        .input(Input::Present(B, None));
    bench.expect(&expect![[r#"
        8.000s 1 Committed(1)
        8.000s 1 StandDown("this worker counted as lost")
    "#]]);
    let unknown = bench.run.final_holes()[0].loads[0].unknown;
    assert_eq!((unknown.first, unknown.last), (Some(61), Some(149)));
    // With its last delta nothing is unknown any more.
    bench.input(Input::Delta(
        B,
        Box::new(Delta {
            last: true,
            ..delta(2, 1, 5, 81)
        }),
    ));
    let hole = bench.run.final_holes()[0].loads[0];
    assert_eq!(
        (hole.unknown.count, hole.unsent.count, hole.unsent.first),
        (0, 60, Some(81))
    );
    assert_eq!(hole.unsent_from, Some(Moment::from_millis(8_100)));
    assert_eq!(
        bench.run.seats()[1].granted,
        Moment::from_secs(15),
        "it is granted nothing any more"
    );
    bench.secs(20).ends(A, 1).play_out();
    assert!(bench.trace.ends_with("Ended\n"), "{}", bench.trace);
}

#[test]
fn what_is_in_progress_after_a_stop_may_go_on() {
    let mut bench = Bench::started(|plan| plan.graceful_stop = sample::secs(60));
    bench.secs(5).input(stop(How::Graceful));
    let granted = bench.run.seats()[0].granted;
    assert_eq!(granted, Moment::from_secs(15));
    bench.secs(40);
    let seat = &bench.run.seats()[0];
    assert_eq!(seat.granted, granted, "nothing new begins");
    assert!(seat.goes_on_until >= Moment::from_secs(49), "{}", seat.goes_on_until);
    // One that is lost meanwhile may go on up to the end of what it was told.
    bench.input(lost(B)).ends(A, 1).play_out();
    assert!(bench.run.run_now(bench.now) >= Moment::from_secs(49));
}

#[test]
fn a_worker_whose_stream_has_been_away_is_told_again_of_what_it_was_given() {
    let counted = vec![sample::load("counted", 0, sample::counted(1_000, 10, 600))];
    let mut bench = Bench::with(counted, |_| {}).start();
    bench.secs(1);
    let given = |bench: &mut Bench| {
        bench
            .blocks
            .drain(..)
            .filter(|(to, block)| *to == B && block.count > 0)
            .map(|(_, block)| block)
            .collect::<Vec<_>>()
    };
    let first = given(&mut bench);
    assert_eq!(first.iter().map(|block| block.count).sum::<u64>(), 500);
    bench.secs(2);
    assert_eq!(given(&mut bench), [], "once is enough while it listens");
    bench.input(Input::Away(B)).input(Input::Present(B, None)).secs(4);
    assert_eq!(given(&mut bench), first);
}

#[test]
fn on_loss_abort_stops_the_others() {
    let mut bench = Bench::started(|plan| plan.workers.on_loss = OnLoss::Abort);
    bench.secs(5).input(lost(B));
    bench.expect(&expect![[r#"
        5.000s 0 Stop { how: Graceful, at: Moment(5000000), reason: "worker b is lost: 5 heartbeats missed" }
    "#]]);
    let stopped = bench.run.stopped().unwrap();
    assert_eq!(
        (stopped.at, stopped.cause),
        (Moment::from_secs(5), StopCause::WorkerLost)
    );
    // What b owned after the stop was nobody's to send, but it may have gone on up to its grant's end.
    let hole = bench.run.final_holes()[0].loads[0];
    assert_eq!((hole.unknown.count, hole.unsent.count), (75, 0));
    bench.ends(A, 1).play_out();
    assert_eq!(bench.run.run_now(bench.now), Moment::from_millis(15_105));
}

#[test]
fn on_loss_abort_does_not_wait_until_who_leaves_has_drained() {
    let mut bench = Bench::started(|plan| plan.workers.on_loss = OnLoss::Abort);
    bench.secs(4);
    let leaving = Delta {
        left: Some(Moment::from_millis(3_250)),
        ..delta(1, 1, 5, 11)
    };
    bench.input(Input::Delta(B, Box::new(leaving)));
    let stopped = bench.run.stopped().unwrap();
    let why = (stopped.at, stopped.cause, stopped.reason.as_str());
    let text = "worker b leaves: it has begun nothing since 3.250 s";
    assert_eq!(why, (Moment::from_secs(4), StopCause::WorkerLost, text));
    assert!(bench.run.book().notes.iter().any(|note| note.contains("worker-leaves")));
}

#[test]
fn a_stop_drains_and_a_second_one_cancels() {
    let mut bench = Bench::started(|_| {});
    bench
        .secs(5)
        .input(stop(How::Graceful))
        .secs(6)
        .input(stop(How::Graceful));
    bench.ends(A, 1).input(halted(B, 1)).input(last(B, 1));
    bench.expect(&expect![[r#"
        5.000s 0 Stop { how: Graceful, at: Moment(5000000), reason: "stopped by ann" }
        5.000s 1 Stop { how: Graceful, at: Moment(5000000), reason: "stopped by ann" }
        6.000s 0 Stop { how: Now, at: Moment(5000000), reason: "stopped by ann" }
        6.000s 1 Stop { how: Now, at: Moment(5000000), reason: "stopped by ann" }
        6.000s 0 Committed(1)
        6.000s 1 ResendFrom(1)
        6.000s 1 Committed(1)
        6.000s 0 Release
        6.000s 1 Release
        6.000s Ended
    "#]]);
    assert_eq!(
        bench.run.stopped().map(|stopped| stopped.at),
        Some(Moment::from_secs(5))
    );
    assert_eq!(
        bench.run.seats()[0].granted,
        Moment::from_secs(15),
        "a stopped run is granted nothing more"
    );
}

#[test]
fn a_worker_that_does_not_halt_is_cancelled_and_then_lost() {
    let mut bench = Bench::started(|_| {});
    bench.secs(20).ends(A, 1).play_out();
    bench.expect(&expect![[r#"
        20.000s 0 Committed(1)
        60.000s 1 Stop { how: Now, at: Moment(60000000), reason: "draining took too long" }
        70.105s 0 Release
        70.105s Ended
    "#]]);
    assert!(bench.run.seats()[1].is_lost());
}

#[test]
fn a_breached_sla_stops_the_run() {
    let mut bench = Bench::started(|_| {});
    bench.run.book_mut().stop_at = Some(Moment::from_secs(7));
    bench.secs(9);
    bench.expect(&expect![[r#"
        7.000s 0 Stop { how: Graceful, at: Moment(7000000), reason: "error_rate < 50% is breached" }
        7.000s 1 Stop { how: Graceful, at: Moment(7000000), reason: "error_rate < 50% is breached" }
    "#]]);
    assert_eq!(
        bench.run.stopped().map(|stopped| stopped.cause),
        Some(StopCause::SlaBreached)
    );
}

#[test]
fn a_broken_stream_is_told_again() {
    let mut bench = Bench::new(|_| {});
    bench
        .input(Input::Away(B))
        .input(Input::Prepared(A, Ok(Vec::new())))
        .input(Input::Present(B, None));
    bench.input(Input::Prepared(B, Ok(Vec::new())));
    bench.input(Input::Away(B)).input(Input::Present(B, None)).secs(5);
    bench
        .input(Input::Away(B))
        .input(stop(How::Graceful))
        .input(Input::Present(B, None));
    bench.expect(&expect![[r#"
        - 0 Prepare
        - 1 Prepare
        - 1 Prepare
        0.000s 0 start at 101.000s with []
        0.000s 1 start at 101.000s with []
        0.000s 1 start at 101.000s with []
        5.000s 0 Stop { how: Graceful, at: Moment(5000000), reason: "stopped by ann" }
        5.000s 1 Stop { how: Graceful, at: Moment(5000000), reason: "the run is draining" }
    "#]]);
}

#[test]
fn who_comes_back_after_the_plans_end_starts_what_is_due_still() {
    let mut bench = Bench::started(|_| {});
    bench
        .secs(15)
        .input(Input::Away(B))
        .secs(21)
        .input(Input::Present(B, None));
    bench
        .input(Input::Away(B))
        .input(stop(How::Graceful))
        .input(Input::Present(B, None));
    bench.expect(&expect![[r#"
        21.000s 1 start at 101.000s with []
        21.000s 0 Stop { how: Graceful, at: Moment(21000000), reason: "stopped by ann" }
        21.000s 1 Stop { how: Graceful, at: Moment(21000000), reason: "the run is draining" }
    "#]]);
}

#[test]
fn the_start_lies_further_ahead_when_clocks_are_uncertain() {
    let mut bench = Bench::new(|_| {});
    let far = Offset {
        offset_us: 5,
        uncertainty_us: 300_000,
    };
    bench.input(Input::Present(A, Some(far)));
    bench
        .input(Input::Prepared(A, Ok(Vec::new())))
        .input(Input::Prepared(B, Ok(Vec::new())));
    assert_eq!(bench.run.start(), Some(Moment::from_millis(101_700)));
}

fn blocks_of(bench: &mut Bench) -> Vec<(WorkerId, Block)> {
    let mut found = Vec::new();
    bench.run.handle(bench.now, Input::Tick);
    bench.ticket = bench.run.effects.next_ticket();
    bench.run.handle(bench.now, Input::Stored(bench.ticket));
    while let Some(output) = bench.run.poll() {
        match output {
            Output::Send(worker, Command::Grant { blocks, .. }) => {
                found.extend(blocks.into_iter().map(|block| (worker, block)));
            }
            other => bench.show(other),
        }
    }
    found
}

#[test]
fn counted_loads_are_handed_out_once_and_to_the_last() {
    let mut bench = Bench::with(vec![sample::load("load", 0, sample::counted(100_000, 8, 600))], |_| {});
    bench.store_answers = false;
    bench
        .input(Input::Prepared(A, Ok(Vec::new())))
        .input(Input::Prepared(B, Ok(Vec::new())));
    let mut seen = std::collections::BTreeSet::new();
    let (mut begun, mut told) = ([0; 2], [false; 2]);
    for second in 0..60 {
        for (worker, block) in blocks_of(&mut bench) {
            assert!(block.count == 0 || !told[worker.0 as usize], "nothing follows the end");
            told[worker.0 as usize] |= block.count == 0;
            for index in block.first..block.first + block.count {
                assert!(seen.insert(index), "{index} was handed out twice");
            }
            begun[worker.0 as usize] += block.count;
        }
        bench.now = bench.run.start().unwrap() + INTERVAL * second;
        for worker in [A, B] {
            let started = std::mem::take(&mut begun[worker.0 as usize]);
            let seq = bench.run.seats()[worker.0 as usize].applied + 1;
            bench.run.handle(bench.now, sent(worker, seq, started, u64::MAX));
        }
    }
    assert_eq!(seen.len(), 100_000);
    assert_eq!(told, [true; 2], "each worker hears that no more will follow");
    bench.drain();
    assert!(
        bench.trace.contains("every iteration has been started"),
        "{}",
        bench.trace
    );
    assert!(
        bench.run.stopped().is_none(),
        "that is the plan's end, not an early one"
    );
}

#[test]
fn a_counted_load_that_lacks_rows_stops_the_run_when_they_are_used_up() {
    // Beside users, whom nobody else would stop.
    let loads = vec![
        sample::load("counted", 0, sample::counted(100_000, 8, 600)),
        sample::load("users", 0, sample::users(4, 600)),
    ];
    let mut bench = Bench::with(loads, |_| {});
    bench.store_answers = false;
    let rows = vec![(LoadId(0), 1_000), (LoadId(1), 5), (LoadId(9), 5)];
    bench
        .input(Input::Prepared(A, Ok(rows.clone())))
        .input(Input::Prepared(B, Ok(rows)));
    let mut handed = [0; 2];
    for (worker, block) in blocks_of(&mut bench) {
        assert!(block.first + block.count <= 1_000, "{block:?}");
        handed[worker.0 as usize] += block.count;
    }
    assert_eq!(handed.iter().sum::<u64>(), 1_000);
    bench.store_answers = true;
    bench.secs(1).input(sent(A, 1, handed[0], u64::MAX));
    bench.secs(2).input(sent(B, 1, handed[1] - 1, u64::MAX));
    assert_eq!(bench.run.stopped(), None, "one is not begun");
    bench.secs(3).input(sent(B, 2, 1, u64::MAX));
    let stopped = bench.run.stopped().expect("no row is left");
    assert_eq!(
        (stopped.cause, stopped.at),
        (StopCause::DataEnded, Moment::from_secs(3))
    );
    let want = "a data set has been used up: load counted has rows for 1000 of its 100000 iterations";
    assert_eq!(stopped.reason, want);
}

#[test]
fn a_lost_workers_block_is_unknown_and_not_repeated() {
    let mut bench = Bench::with(vec![sample::load("load", 0, sample::counted(1_000, 8, 600))], |_| {});
    bench.store_answers = false;
    bench
        .input(Input::Prepared(A, Ok(Vec::new())))
        .input(Input::Prepared(B, Ok(Vec::new())));
    let handed: u64 = blocks_of(&mut bench)
        .iter()
        .filter(|(to, _)| *to == B)
        .map(|(_, block)| block.count)
        .sum();
    bench.store_answers = true;
    bench.secs(2).input(sent(B, 1, 100, 0)).input(lost(B));
    let hole = bench.run.final_holes()[0].loads[0];
    assert_eq!((hole.unknown.count, hole.unsent.count), (handed - 100, 0));
    bench.input(Input::Delta(
        B,
        Box::new(Delta {
            last: true,
            ..delta(2, 1, 7, 0)
        }),
    ));
    let hole = bench.run.final_holes()[0].loads[0];
    assert_eq!((hole.unknown.count, hole.unsent.count), (0, handed - 107));
}

#[test]
fn teardown_moves_on_when_its_worker_dies() {
    let mut bench = Bench::started(|plan| plan.teardown = vec![sample::request(2, "logout")]);
    bench
        .secs(21)
        .ends(A, 1)
        .ends(B, 1)
        .input(lost(A))
        .input(lost(B))
        .play_out();
    bench.expect(&expect![[r"
        21.000s 0 Committed(1)
        21.000s 1 Committed(1)
        21.000s 0 DoTeardown([])
        21.000s 1 DoTeardown([])
        21.000s Ended
    "]]);
    let notes = &bench.run.book().notes;
    let [again, failed] = notes.as_slice() else {
        panic!("{notes:?}")
    };
    assert!(again.contains("another does it from the beginning"), "{again}");
    assert!(failed.contains("no worker is left"), "{failed}");
}

#[test]
fn a_stop_during_teardown_is_told_of_and_only_a_stop_at_once_cuts_it_short() {
    let torn_down = |plan: &mut Plan| plan.teardown = vec![sample::request(2, "logout")];
    let kept = "stop: stopped by ann: only teardown is left, and it goes on";
    let cut = "stop: teardown was cut short: stopped by ann";
    let mut late = Bench::started(torn_down);
    late.secs(21).ends(A, 1).ends(B, 1);
    late.input(stop(How::Graceful)).secs(22).input(stop(How::Graceful));
    late.secs(23).input(stop(How::Now)).play_out();
    late.expect(&expect![[r"
        21.000s 0 Committed(1)
        21.000s 1 Committed(1)
        21.000s 0 DoTeardown([])
        23.000s 0 Release
        23.000s 1 Release
        23.000s Ended
    "]]);
    assert_eq!(late.run.stopped(), None, "nothing of the load was left to stop");
    assert_eq!(
        late.run.book().notes,
        [
            format!("21.000s {kept}"),
            format!("22.000s {kept}"),
            format!("23.000s {cut}")
        ]
    );
    let mut early = Bench::started(torn_down);
    early.secs(5).input(stop(How::Graceful));
    early.ends(A, 1).input(halted(A, 1)).ends(B, 1).input(halted(B, 1));
    early.secs(6).input(stop(How::Graceful));
    let last = |bench: &Bench| bench.run.book().notes.last().cloned();
    assert_eq!(
        last(&early),
        Some(format!("6.000s {kept}")),
        "cleaning up is not what was asked to end"
    );
}

#[test]
fn losing_everybody_ends_the_run() {
    let mut bench = Bench::started(|_| {});
    bench.secs(5).input(lost(A)).input(lost(B)).play_out();
    assert!(bench.trace.ends_with("Ended\n"), "{}", bench.trace);
    assert_eq!(bench.run.run_now(bench.now), Moment::from_millis(15_105));
    let unsent: u64 = bench
        .run
        .final_holes()
        .iter()
        .map(|hole| hole.loads[0].unsent.count)
        .sum();
    assert_eq!(unsent, 49, "after 15 s sharp, up to 20 s");
}

#[test]
fn a_worker_that_leaves_of_its_own_accord_leaves_its_share_unsent() {
    let mut bench = Bench::started(|_| {});
    let reason = "the worker was told to leave".to_owned();
    bench.secs(5).input(Input::Delta(
        B,
        Box::new(Delta {
            last: true,
            ..delta(1, 1, 25, 51)
        }),
    ));
    bench.secs(6).input(Input::Halted {
        worker: B,
        last_seq: 1,
        reason,
    });
    let hole = bench.run.final_holes()[0].loads[0];
    assert_eq!(
        (hole.unknown.count, hole.unsent.count, hole.unsent.first),
        (0, 75, Some(51))
    );
    bench.secs(20).ends(A, 1).play_out();
    assert_eq!(bench.run.run_now(bench.now), Moment::from_secs(20));
    assert!(bench.trace.ends_with("Ended\n"), "{}", bench.trace);
}

#[test]
fn a_lost_worker_that_is_back_may_end_what_it_had_in_progress() {
    let mut bench = Bench::started(|_| {});
    bench
        .secs(14)
        .input(lost(B))
        .secs(17)
        .input(Input::Present(B, None))
        .secs(20)
        .ends(A, 1)
        .secs(27);
    assert!(bench.run.seats()[1].goes_on_until >= Moment::from_secs(36));
    assert_eq!(
        bench.run.seats()[1].granted,
        Moment::from_secs(24),
        "it may begin nothing"
    );
    assert!(!bench.trace.contains("Ended"), "the end waits for it: {}", bench.trace);
    bench.ends(B, 1).play_out();
    assert!(bench.trace.ends_with("Ended\n"), "{}", bench.trace);
    assert!(bench.run.run_now(bench.now) < Moment::from_secs(29));
}

#[test]
fn a_lost_worker_that_has_halted_leaves_nothing_unknown() {
    let mut bench = Bench::started(|_| {});
    bench.secs(5).input(lost(B)).secs(8).input(Input::Present(B, None));
    assert_eq!(bench.run.final_holes()[0].loads[0].unknown.count, 75);
    // It had not even begun, so there is no last delta.
    bench.input(halted(B, 0));
    let hole = bench.run.final_holes()[0].loads[0];
    assert_eq!((hole.unknown.count, hole.unsent.count), (0, 100));
}

#[test]
fn data_that_runs_out_stops_the_run_gracefully() {
    let mut bench = Bench::started(|_| {});
    bench.secs(5).input(Input::Told(
        B,
        "data-ended".to_owned(),
        "data accounts has no more rows".to_owned(),
    ));
    bench.expect(&expect![[r#"
        5.000s 0 Stop { how: Graceful, at: Moment(5000000), reason: "data accounts has no more rows" }
        5.000s 1 Stop { how: Graceful, at: Moment(5000000), reason: "data accounts has no more rows" }
    "#]]);
    assert_eq!(
        bench.run.stopped().map(|stopped| stopped.cause),
        Some(StopCause::DataEnded)
    );
}

/// The last delta, with the run time of its latest end.
fn ended(worker: WorkerId, seq: u64, micros: u64) -> Input {
    Input::Delta(
        worker,
        Box::new(Delta {
            last: true,
            ended: Some(Moment::from_micros(micros)),
            ..delta(seq, worker.0, 1, u64::MAX)
        }),
    )
}

#[test]
fn a_counted_run_is_as_long_as_its_last_iteration_not_as_the_news_of_it() {
    let counted = sample::load("counted", 0, sample::counted(2, 2, 60));
    let mut bench = Bench::with(vec![counted], |_| {}).start();
    bench.reach(Moment::from_millis(250));
    bench.input(ended(A, 1, 36_300)).input(ended(B, 1, 31_000));
    bench.input(halted(A, 1)).input(halted(B, 1)).play_out();
    assert_eq!(bench.run.length(), Moment::from_micros(36_300));
}

#[test]
fn a_counted_run_that_its_limit_ends_is_as_long_as_that() {
    // Two of the three indices have been begun, at 36 ms; the workers are done at the limit.
    for (count, want) in [(3, 60_000_000), (2, 36_300)] {
        let counted = sample::load("counted", 0, sample::counted(count, 2, 60));
        let mut bench = Bench::with(vec![counted], |_| {}).start();
        bench.reach(Moment::from_millis(60_015));
        bench.input(ended(A, 1, 36_300)).input(ended(B, 1, 31_000));
        bench.input(halted(A, 1)).input(halted(B, 1)).play_out();
        assert_eq!(bench.run.length(), Moment::from_micros(want));
    }
}

#[test]
fn a_counted_run_is_no_longer_for_the_wait_for_a_lost_worker() {
    let counted = sample::load("counted", 0, sample::counted(2, 2, 60));
    let mut bench = Bench::with(vec![counted], |_| {}).start();
    bench.reach(Moment::from_millis(250));
    bench.input(ended(A, 1, 36_300)).input(halted(A, 1));
    bench.secs(5).input(lost(B)).play_out();
    assert!(bench.trace.ends_with("Ended\n"), "{}", bench.trace);
    assert_eq!(bench.run.length(), Moment::from_micros(36_300));
}

#[test]
fn the_length_of_a_timed_run_is_the_plans_or_its_last_answers_or_the_stops() {
    // The plan ends at 20 s.
    #[track_caller]
    fn check(stopped: Option<u64>, last_ends: [u64; 2], heard: u64, want: u64) {
        let mut bench = Bench::started(|_| {});
        if let Some(at) = stopped {
            bench.reach(Moment::from_millis(at)).input(stop(How::Graceful));
        }
        bench.reach(Moment::from_millis(heard));
        let [a, b] = last_ends.map(|millis| millis * 1_000);
        bench.input(ended(A, 1, a)).input(ended(B, 1, b));
        bench.input(halted(A, 1)).input(halted(B, 1)).play_out();
        assert_eq!(bench.run.length(), Moment::from_millis(want));
    }
    check(None, [19_005, 18_005], 20_015, 20_000);
    check(None, [19_005, 21_300], 21_315, 21_300);
    check(Some(4_500), [4_505, 4_400], 4_520, 4_505);
    check(Some(4_500), [3_900, 4_400], 4_520, 4_500);
    // Nobody ends later than is heard of it.
    check(None, [90_000_000, 19_900], 20_015, 20_015);
    // A worker's clock that is ahead makes the plan no shorter.
    check(None, [19_990, 19_900], 19_998, 20_000);
    check(None, [19_999, 19_900], 19_998, 20_000);
}

/// Plays a counted load on workers that begin so many iterations in a second; gives the seconds until all have begun.
#[track_caller]
fn seconds_for(count: u64, users: u32, speeds: [u64; 2]) -> u64 {
    let counted = sample::load("counted", 0, sample::counted(count, users, 600));
    let mut bench = Bench::with(vec![counted], |_| {});
    bench.store_answers = false;
    bench
        .input(Input::Prepared(A, Ok(Vec::new())))
        .input(Input::Prepared(B, Ok(Vec::new())));
    let (mut held, mut left) = ([0, 0], count);
    for second in 1..=600 {
        for (worker, block) in blocks_of(&mut bench) {
            held[worker.0 as usize] += block.count;
        }
        bench.now = bench.run.start().unwrap() + INTERVAL * second;
        // The renewal at a second's end comes before the news of that second.
        for (worker, block) in blocks_of(&mut bench) {
            held[worker.0 as usize] += block.count;
        }
        for worker in [A, B] {
            let at = worker.0 as usize;
            let begun = held[at].min(speeds[at]);
            held[at] -= begun;
            left -= begun;
            let seq = bench.run.seats()[at].applied + 1;
            bench.run.handle(bench.now, sent(worker, seq, begun, u64::MAX));
        }
        if left == 0 {
            return second.into();
        }
    }
    panic!("{left} of {count} have not begun")
}

#[test]
fn users_of_counted_loads_do_not_wait_for_indices() {
    // Shorter than the news of it: everything is there from the start, by users.
    assert_eq!(seconds_for(1_001, 7, [572, 429]), 1);
    assert_eq!(seconds_for(100_000, 8, [50_000, 50_000]), 1);
    // As fast as can be, give or take a second's work.
    assert!(seconds_for(400_000, 8, [10_000, 10_000]) <= 21);
    assert!(seconds_for(400_000, 8, [15_000, 5_000]) <= 22);
    assert!(seconds_for(1_000_000, 8, [50_000, 40_000]) <= 16);
}

#[test]
fn what_is_left_of_a_count_at_its_end_was_never_due() {
    // The limit is at 3 s, or the run was stopped at 2 s; `told`: seconds of which the worker had told what it did.
    for (stop_at, lost_ms, told, comes_back, left) in [
        (None, 3_200, 3, false, (0, 0)),
        (None, 3_200, 3, true, (0, 0)),
        (None, 3_200, 2, false, (1, 0)),
        (None, 2_200, 2, true, (0, 1)),
        (Some(2), 3_200, 2, false, (1, 0)),
        (Some(2), 3_200, 3, false, (0, 0)),
        (Some(2), 2_500, 1, true, (0, 0)),
    ] {
        let mut bench = Bench::with(vec![sample::load("load", 0, sample::counted(1_000, 8, 3))], |_| {}).start();
        if let Some(secs) = stop_at {
            bench.secs(secs).input(stop(How::Graceful));
        }
        bench.reach(Moment::from_millis(lost_ms));
        for seq in 1..=told {
            bench.input(sent(B, seq, 10, 0));
        }
        bench.input(lost(B));
        if comes_back {
            bench
                .input(Input::Present(B, None))
                .input(last(B, told + 1))
                .input(halted(B, told + 1));
        }
        let handed = bench.run.blocks.handed_to(LoadId(0), B).unwrap() - 10 * told;
        let holes = &bench.run.final_holes()[0].loads;
        let found = holes
            .first()
            .map_or((0, 0), |hole| (hole.unknown.count, hole.unsent.count));
        assert_eq!(
            found,
            (left.0 * handed, left.1 * handed),
            "{stop_at:?} {lost_ms} {told}"
        );
    }
}

#[test]
fn who_leaves_before_the_start_ends_the_run_like_who_dies() {
    let leaves = |worker| Input::Halted {
        worker,
        last_seq: 0,
        reason: "the worker was told to leave".to_owned(),
    };
    for worker in [A, B] {
        let mut bench = Bench::new(|plan| {
            plan.setup = vec![sample::request(1, "login")];
            plan.teardown = vec![sample::request(2, "logout")];
        });
        bench
            .input(Input::Prepared(A, Ok(Vec::new())))
            .input(Input::Prepared(B, Ok(Vec::new())))
            .input(leaves(worker));
        let other = if worker == A { B } else { A };
        assert!(bench.trace.contains(&format!("{other} DoTeardown")), "{}", bench.trace);
        bench.input(Input::OnceDone {
            worker: other,
            teardown: true,
            result: Ok(Vec::new()),
        });
        bench.play_out();
        assert!(bench.trace.contains("CouldNotStart"), "{}", bench.trace);
    }
    let mut bench = Bench::new(|_| {});
    bench.input(leaves(A)).play_out();
    assert!(bench.trace.contains("CouldNotStart"), "{}", bench.trace);
}

#[test]
fn a_worker_that_leaves_while_a_stop_is_on_its_way_is_accounted_for() {
    let mut bench = Bench::started(|_| {});
    bench.secs(5).input(stop(How::Graceful)).input(sent(B, 1, 20, 41));
    let last = Delta {
        last: true,
        ..delta(2, 1, 0, 41)
    };
    bench.input(Input::Delta(B, Box::new(last))).input(Input::Halted {
        worker: B,
        last_seq: 2,
        reason: "the worker was told to leave".to_owned(),
    });
    let hole = bench.run.final_holes()[0].loads[0];
    // Every other one of the indices up to 50, the one due at the stop itself.
    assert_eq!((hole.unknown.count, hole.unsent.count), (0, 5));
}

#[test]
fn a_run_lasts_until_the_last_iteration_of_a_lost_worker_that_came_back() {
    let mut bench = Bench::started(|_| {});
    bench
        .secs(21)
        .ends(A, 1)
        .input(lost(B))
        .secs(24)
        .input(Input::Present(B, None));
    bench.input(Input::Delta(
        B,
        Box::new(Delta {
            ended: Some(Moment::from_millis(23_700)),
            ..delta(1, 1, 5, 200)
        }),
    ));
    bench.play_out();
    assert_eq!(bench.run.length(), Moment::from_millis(23_700));
}
