use std::collections::BTreeMap;

use barrage_model::delta::Health;
use barrage_model::ids::LoadId;
use barrage_proto::v1::to_worker::Frame as Told;

use super::*;
use crate::recorder::Merged;
use crate::shard::machine::Input as ShardInput;

const RUN: u64 = 7;

fn at(seconds: u64) -> Stamp {
    Stamp::from_us(1_000_000_000 + seconds * 1_000_000)
}

/// A machine together with what it has said, as short words.
struct Bench {
    machine: Machine,
    now: Stamp,
    words: Vec<String>,
}

impl Bench {
    fn new() -> Self {
        let hello = v1::Hello {
            incarnation: 5,
            name: "a".to_owned(),
            ..v1::Hello::default()
        };
        Self {
            machine: Machine::new(hello, false),
            now: at(0),
            words: Vec::new(),
        }
    }

    fn give(&mut self, input: Input) -> &mut Self {
        self.machine.handle(self.now, input);
        while let Some(output) = self.machine.poll() {
            self.words.push(word(output));
        }
        self
    }

    fn tell(&mut self, told: Told) -> &mut Self {
        self.give(Input::Told(Box::new(told)))
    }

    /// What has been put out since the last call.
    #[track_caller]
    fn expect(&mut self, want: &[&str]) -> &mut Self {
        let got = std::mem::take(&mut self.words);
        assert_eq!(got, want);
        self
    }

    fn joined() -> Self {
        let mut bench = Self::new();
        bench.give(Input::Up).tell(Told::Welcome(v1::Welcome {
            heartbeat_ms: 1_000,
            ..v1::Welcome::default()
        }));
        bench.give(Input::UploadUp).expect(&["hello", "beat 1"]);
        bench
    }

    fn running() -> Self {
        let mut bench = Self::joined();
        bench.tell(prepare(RUN)).expect(&["prepare"]);
        bench
            .give(Input::Prepared(RunId(RUN), Ok(Prepared::default())))
            .expect(&["prepared"]);
        bench.tell(start()).expect(&["start at 1002000000", "marks 1"]);
        bench
    }
}

fn word(output: Output) -> String {
    match output {
        Output::Say(Say::Hello(hello)) => match hello.held {
            Some(held) => format!(
                "hello holding {} next {} at {}",
                held.run, held.next_seq, held.run_time_us
            ),
            None => "hello".to_owned(),
        },
        Output::Say(Say::Heartbeat(beat)) => format!("beat {}", beat.number),
        Output::Say(Say::Prepared(said)) => said
            .error
            .map_or("prepared".to_owned(), |error| format!("not prepared: {error}")),
        Output::Say(Say::SetupDone(said)) => {
            let word = if said.teardown { "teardown" } else { "setup" };
            match said.error {
                Some(error) => format!("{word} failed: {error}"),
                None => format!("{word} done with {}", said.values.len()),
            }
        }
        Output::Say(Say::Halted(said)) => format!("halted {} {}", said.last_seq, said.reason).trim().to_owned(),
        Output::Say(Say::Event(said)) => format!("event {}", said.kind),
        Output::Say(Say::Fault(said)) => format!("fault {}", said.state),
        Output::Say(Say::Clock(_)) => "clock".to_owned(),
        Output::Upload(frame) => format!("delta {}", barrage_proto::convert::delta_in(&frame.delta).unwrap().seq),
        Output::Prepare(_) => "prepare".to_owned(),
        Output::Once { teardown, values } => {
            format!(
                "do {} with {}",
                if teardown { "teardown" } else { "setup" },
                values.len()
            )
        }
        Output::CancelOnce => "cancel once".to_owned(),
        Output::Start { at, .. } => format!("start at {}", at.as_us()),
        Output::Epochs(epochs) => format!("epochs {}", epochs.len()),
        Output::Marks(marks) => format!("marks {}", marks.len()),
        Output::Block(load, first, count) => format!("block {load} {first}+{count}"),
        Output::Shards(ShardInput::Grant(until)) => format!("grant {until}"),
        Output::Shards(ShardInput::Stop(Moment::MAX)) => "stop".to_owned(),
        Output::Shards(ShardInput::Stop(at)) => format!("stop as of {at}"),
        Output::Shards(ShardInput::StopNow(Moment::MAX)) => "stop now".to_owned(),
        Output::Shards(ShardInput::StopNow(at)) => format!("stop now as of {at}"),
        Output::Shards(ShardInput::StandDown) => "stand down".to_owned(),
        Output::Shards(ShardInput::Refilled(load)) => format!("refilled {load}"),
        Output::Shards(ShardInput::Exhausted(load)) => format!("exhausted {load}"),
        Output::Shards(_) => "other".to_owned(),
        Output::Forget => "forget".to_owned(),
        Output::Exit(exit) => format!("exit {exit:?}"),
    }
}

fn prepare(run: u64) -> Told {
    Told::Prepare(v1::Prepare {
        run,
        worker: 3,
        marks: vec![mark(0, 0)],
        ..v1::Prepare::default()
    })
}

fn mark(segment: u32, at_us: u64) -> v1::Mark {
    v1::Mark {
        segment,
        at_us,
        phases: Vec::new(),
    }
}

/// Two seconds after [`at`]`(0)` on this worker's clock.
fn start() -> Told {
    Told::Start(v1::Start {
        run: RUN,
        coordinator_start_us: 902_000_000,
        offset_us: -100_000_000,
        ..v1::Start::default()
    })
}

fn grant(until: u64) -> v1::Grant {
    v1::Grant {
        run: RUN,
        number: 1,
        until_us: until * 1_000_000,
        ..v1::Grant::default()
    }
}

fn stop(how: v1::stop::How) -> Told {
    Told::Stop(v1::Stop {
        run: RUN,
        how: how.into(),
        reason: "enough".to_owned(),
        at_us: Some(7_000_000),
    })
}

fn delta(last: bool) -> Input {
    Input::Delta(Box::new(Merged::new(0).into_delta(0, last, Health::default())))
}

fn committed(seq: u64) -> Input {
    Input::Reply(v1::UploadReply {
        run: RUN,
        kind: Some(v1::upload_reply::Kind::Committed(seq)),
    })
}

#[test]
fn a_run_from_the_first_word_to_the_last() {
    let mut bench = Bench::running();
    bench.tell(Told::Grant(grant(10))).expect(&["grant 10.000s"]);
    bench
        .give(delta(false))
        .give(delta(false))
        .expect(&["delta 1", "delta 2"]);
    bench.give(committed(2)).expect(&[]);
    bench.tell(stop(v1::stop::How::Graceful)).expect(&["stop as of 7.000s"]);
    bench.give(delta(true)).expect(&["delta 3", "halted 3"]);
    bench
        .tell(Told::Release(v1::Release { run: RUN }))
        .expect(&["cancel once", "forget"]);
    assert_eq!(bench.machine.run(), None);
}

#[test]
fn heartbeats_come_at_the_pace_that_the_welcome_says() {
    let mut bench = Bench::joined();
    for second in 1..=3 {
        assert_eq!(bench.machine.deadline(), at(second));
        bench.now = at(second);
        bench.give(Input::Tick).expect(&[&format!("beat {}", second + 1)]);
    }
    bench.give(Input::Down);
    bench.now = at(9);
    bench.give(Input::Tick).expect(&[]);
}

#[test]
fn a_command_that_comes_twice_only_has_its_answer_said_again() {
    let mut bench = Bench::joined();
    bench.tell(prepare(RUN)).tell(prepare(RUN)).expect(&["prepare"]);
    bench
        .give(Input::Prepared(RunId(RUN), Ok(Prepared::default())))
        .tell(prepare(RUN));
    bench.expect(&["prepared", "prepared"]);
    let setup = || Told::DoSetup(v1::DoSetup { run: RUN });
    bench.tell(setup()).tell(setup()).expect(&["do setup with 0"]);
    let values = vec![("token".to_owned(), "x".to_owned())];
    bench
        .give(Input::OnceDone {
            teardown: false,
            result: Ok(values),
        })
        .tell(setup());
    bench.expect(&["setup done with 1", "setup done with 1"]);
    bench
        .tell(start())
        .tell(start())
        .expect(&["start at 1002000000", "marks 1"]);
    bench
        .tell(prepare(8))
        .expect(&["not prepared: this worker is busy with run 0000000000000007"]);
    bench.tell(Told::Release(v1::Release { run: 8 })).expect(&[]);
}

#[test]
fn a_teardown_waits_for_a_setup_that_is_under_way() {
    let mut bench = Bench::joined();
    bench
        .tell(prepare(RUN))
        .give(Input::Prepared(RunId(RUN), Ok(Prepared::default())));
    bench
        .tell(Told::DoSetup(v1::DoSetup { run: RUN }))
        .expect(&["prepare", "prepared", "do setup with 0"]);
    bench
        .tell(Told::DoTeardown(v1::DoTeardown {
            run: RUN,
            values: Vec::new(),
        }))
        .expect(&["cancel once"]);
    bench.give(Input::OnceDone {
        teardown: false,
        result: Err("given up".to_owned()),
    });
    bench.expect(&["do teardown with 0", "setup failed: given up"]);
    bench.give(delta(true)).expect(&["delta 1", "halted 1"]);
    bench
        .give(Input::OnceDone {
            teardown: true,
            result: Ok(Vec::new()),
        })
        .expect(&["teardown done with 0"]);
}

#[test]
fn a_coordinator_that_comes_back_gets_all_that_it_has_not_committed() {
    let mut bench = Bench::running();
    bench
        .give(delta(false))
        .give(delta(false))
        .give(committed(1))
        .expect(&["delta 1", "delta 2"]);
    bench
        .give(Input::UploadDown)
        .give(Input::Down)
        .give(delta(false))
        .expect(&[]);
    bench.now = at(5);
    bench.give(Input::Up).expect(&["hello holding 7 next 3 at 3000000"]);
    bench.tell(Told::Welcome(v1::Welcome::default())).expect(&["beat 2"]);
    bench.give(Input::UploadUp).expect(&["delta 2", "delta 3"]);
    let resend = v1::UploadReply {
        run: RUN,
        kind: Some(v1::upload_reply::Kind::ResendFrom(3)),
    };
    bench.give(Input::Reply(resend)).expect(&["delta 3"]);
    bench.give(Input::UploadDown).give(delta(true)).expect(&[]);
    bench
        .give(Input::UploadUp)
        .expect(&["delta 2", "delta 3", "delta 4", "halted 4"]);
    // On the next connection the end is said once more.
    bench
        .give(Input::Down)
        .give(Input::Up)
        .tell(Told::Welcome(v1::Welcome::default()));
    bench.expect(&["hello holding 7 next 5 at 3000000", "beat 3", "halted 4"]);
}

#[test]
fn an_orphan_is_stopped_after_its_grant_and_forgotten_much_later() {
    let mut bench = Bench::running();
    bench
        .tell(Told::Grant(grant(10)))
        .give(Input::Down)
        .give(Input::UploadDown)
        .expect(&["grant 10.000s"]);
    bench.now = at(100);
    bench.give(Input::Tick).expect(&[]);
    bench.now = at(121);
    bench.give(Input::Tick).expect(&["stand down"]);
    bench.give(delta(true)).expect(&[]);
    bench.now = at(901);
    bench.give(Input::Tick).expect(&["cancel once", "forget"]);
}

#[test]
fn a_worker_that_is_told_to_leave_flushes_first() {
    let mut bench = Bench::running();
    bench.give(Input::Leave).expect(&["stand down", "cancel once"]);
    bench
        .give(delta(true))
        .expect(&["delta 1", "halted 1 the worker was told to leave"]);
    bench.give(committed(1)).expect(&["exit Done"]);
    Bench::joined().give(Input::Leave).expect(&["cancel once", "exit Done"]);
    // A coordinator that commits nothing does not hold it for ever.
    let mut bench = Bench::running();
    bench.give(Input::Leave).give(delta(true));
    bench.words.clear();
    bench.now = at(11);
    bench.give(Input::Tick).expect(&["beat 2", "exit Done"]);
}

#[test]
fn a_refusal_ends_the_worker_with_the_reason() {
    let mut bench = Bench::new();
    bench.give(Input::Up).tell(Told::Refused(v1::Refused {
        reason: "old".to_owned(),
    }));
    bench.expect(&["hello", "exit Refused(\"old\")"]);
}

#[test]
fn a_stop_before_the_start_halts_without_a_delta() {
    let mut bench = Bench::joined();
    bench
        .tell(prepare(RUN))
        .give(Input::Prepared(RunId(RUN), Ok(Prepared::default())));
    bench
        .tell(stop(v1::stop::How::Now))
        .expect(&["prepare", "prepared", "halted 0"]);
    bench.tell(start()).expect(&[]);
}

#[test]
fn blocks_and_marks_are_passed_on() {
    let mut bench = Bench::joined();
    bench.tell(prepare(RUN));
    let counted = BTreeMap::from([(LoadId(0), 100)]);
    let info = Prepared {
        rows: std::collections::BTreeMap::new(),
        counted,
        graceful_stop: Duration::ZERO,
    };
    bench
        .give(Input::Prepared(RunId(RUN), Ok(info)))
        .expect(&["prepare", "prepared"]);
    let block = |first, count| v1::Block { load: 0, first, count };
    bench
        .tell(Told::Grant(v1::Grant {
            blocks: vec![block(0, 60)],
            ..grant(5)
        }))
        .expect(&["block 0 0+60"]);
    bench
        .tell(start())
        .expect(&["start at 1002000000", "marks 1", "grant 5.000s"]);
    let marks = vec![mark(1, 5), mark(2, 9)];
    bench.tell(Told::Grant(v1::Grant {
        marks,
        blocks: vec![block(60, 40)],
        ..grant(6)
    }));
    bench.expect(&["marks 3", "block 0 60+40", "refilled 0", "exhausted 0", "grant 6.000s"]);
    // Among several workers only the coordinator knows that no more will follow, and says so with an empty block, again and
    // again. The threads hear it once.
    for words in [["exhausted 1", "grant 6.000s"].as_slice(), &["grant 6.000s"]] {
        let none = v1::Block {
            load: 1,
            first: 100,
            count: 0,
        };
        bench.tell(Told::Grant(v1::Grant {
            blocks: vec![block(100, 0), none],
            ..grant(6)
        }));
        bench.expect(words);
    }
    // A mark that is set earlier replaces those after it; one out of order is not taken.
    bench.tell(Told::Grant(v1::Grant {
        marks: vec![mark(1, 4), mark(7, 9)],
        ..grant(6)
    }));
    bench.expect(&["marks 2", "grant 6.000s"]);
}

#[test]
fn counts_that_are_refused_end_the_run_here() {
    let mut bench = Bench::running();
    bench.give(delta(false)).expect(&["delta 1"]);
    let refused = v1::UploadReply {
        run: RUN,
        kind: Some(v1::upload_reply::Kind::Refused("bad".to_owned())),
    };
    bench.give(Input::Reply(refused)).expect(&["cancel once", "forget"]);
}

#[test]
fn what_fails_here_is_told() {
    let mut bench = Bench::running();
    bench.give(Input::Failed {
        reason: "no thread".to_owned(),
        over: true,
    });
    bench.expect(&["event worker-failed", "stop now", "halted 0 no thread"]);
}

#[test]
fn data_that_runs_out_is_told_until_the_run_is_stopped() {
    let mut bench = Bench::running();
    bench
        .give(Input::DataEnded("no row".to_owned()))
        .expect(&["event data-ended"]);
    bench
        .give(Input::Down)
        .give(Input::Up)
        .tell(Told::Welcome(v1::Welcome::default()));
    bench.expect(&["hello holding 7 next 1 at 0", "event data-ended", "beat 2"]);
    bench
        .tell(stop(v1::stop::How::Graceful))
        .give(Input::DataEnded("no row".to_owned()))
        .expect(&["stop as of 7.000s"]);
}
