use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::machine::{Input, Machine, testing};
use super::*;
use crate::recorder::{Connected, Merged, Shape};
use barrage_model::delta::{Delta, Health, Measure, SketchRow};
use barrage_model::ids::{ShardId, StepId};
use barrage_model::outcome::IterationEnd;
use barrage_model::outcome::OutcomeGroup;
use barrage_model::plan::Pacing;
use barrage_model::sketch::highest;
use barrage_model::time::Moment;
use tokio::sync::{mpsc, watch};

/// Sends nothing: each iteration takes 2 ms, unless it is cancelled first. Has the connections that it was to open.
#[derive(Default)]
struct Sleeper(Cell<u32>);

impl Runner for Sleeper {
    type User = u64;

    fn user(&self, _: LoadId, number: u64) -> u64 {
        number
    }

    async fn iterate(
        &self,
        user: &mut u64,
        mut it: IterationStart,
        shard: &ShardHandles,
        cancel: &mut Cancelled,
        mut next: impl FnMut(IterationEnded) -> Option<IterationStart>,
    ) {
        loop {
            assert_eq!(*user, it.user);
            let now = shard.clock.now();
            assert!(now >= it.due && Some(now) < shard.send_by.get());
            let length = Duration::from_millis(if it.index == 7 { 60_000 } else { 2 });
            let end = match cancel.unless(std::pin::pin!(tokio::time::sleep(length))).await {
                Some(()) => IterationEnd::Completed,
                None => IterationEnd::Cancelled,
            };
            let Some(after) = next(end.into()) else { return };
            it = after;
        }
    }

    async fn warm(&self, scenario: ScenarioId, users: u32, _: Stamp) {
        assert_eq!(scenario, ScenarioId(0));
        self.0.set(users);
    }

    fn connected(&self) -> Connected {
        Connected {
            open: self.0.get(),
            ..Connected::default()
        }
    }
}

/// A shard alone with one open load of 100/s for 2 s, so many slots and a graceful stop of 300 ms.
fn setup(slots: u32) -> (ShardSetup, mpsc::Sender<Command>, mpsc::Receiver<Event>) {
    let mut plan = testing::plan(vec![testing::open(slots, Duration::from_secs(5))], Duration::ZERO);
    plan.graceful_stop = Duration::from_millis(300);
    let epochs = [(LoadId(0), testing::epoch(&[0], testing::hold(100, 2), 0, Moment::ZERO))];
    let clock = Clock::boot();
    let start = clock.now() + Duration::from_millis(50);
    let (commands, inbox) = mpsc::channel(16);
    let (outbox, events) = mpsc::channel(16);
    let setup = ShardSetup {
        place: 0,
        machine: Machine::new(&plan, ShardId(0), 1, &epochs, testing::marks(&[0])).unwrap(),
        opening: BTreeMap::from([(ScenarioId(0), 7)]),
        recorder: Recorder::new(Shape::new(1, 1, &[true]), start, None),
        ceilings: Ceilings::default(),
        pacing: Pacing::Timer,
        clock,
        start,
        closed: vec![false],
        first_steps: vec![Some(StepId(0))],
        blocks: Arc::new(Blocks::default()),
        shards: 1,
        commands: inbox,
        events: outbox,
        released: watch::channel(()).1,
    };
    (setup, commands, events)
}

/// Runs the load of a shard with so many slots to its end. What it has reported, by interval.
fn deltas(slots: u32, runner: impl Runner + Send) -> Vec<Delta> {
    let (setup, commands, mut events) = setup(slots);
    let thread = spawn(setup, |_| runner).unwrap();
    commands
        .try_send(Command::Input(Input::Grant(Moment::from_secs(60))))
        .unwrap();
    let mut deltas = Vec::new();
    while let Some(event) = events.blocking_recv() {
        let sealed = matches!(event.report, Report::Sealed(_));
        match event.report {
            Report::Part(part) | Report::Sealed(part) => {
                let mut merged = Merged::new(part.interval);
                merged.add(*part);
                deltas.push(merged.into_delta(deltas.len() as u64 + 1, false, Health::default()));
            }
            Report::Begun => assert!(deltas.is_empty()),
            Report::Finished => commands.try_send(Command::Seal).unwrap(),
        }
        if sealed {
            break;
        }
    }
    thread.join().unwrap().unwrap();
    deltas
}

fn dispatch_lag(delta: &Delta) -> &SketchRow {
    let mut rows = delta.sketches.iter();
    rows.find(|row| row.key.measure == Measure::DispatchLag).unwrap()
}

#[test]
fn a_thread_makes_the_load_closes_intervals_and_is_sealed() {
    let deltas = deltas(10, Sleeper::default());
    let mut sum = barrage_model::ledger::IterationCounts::default();
    deltas
        .iter()
        .flat_map(|delta| &delta.iterations)
        .for_each(|row| sum.add(&row.counts));
    assert_eq!(
        (sum.scheduled, sum.started, sum.completed, sum.cancelled),
        (200, 200, 199, 1)
    );
    assert_eq!(deltas.iter().map(|delta| delta.interval).collect::<Vec<_>>(), [0, 1, 2]);
    let last = deltas.last().unwrap();
    assert_eq!(last.open, barrage_model::ledger::Open::default());
    assert_eq!(deltas[0].iterations[0].counts.scheduled, 100);
    assert_eq!(deltas[0].health.connections, 7, "opened before the start");
    let lag = dispatch_lag(&deltas[1]);
    assert_eq!((lag.key.group, lag.sketch.count() > 90), (OutcomeGroup::Ok, true));
}

/// Its first answer takes 25 ms, and has to wait for 30 ms more until its slot has its turn.
struct Busy;

impl Runner for Busy {
    type User = ();

    fn user(&self, _: LoadId, _: u64) {}

    async fn iterate(
        &self,
        (): &mut (),
        iteration: IterationStart,
        shard: &ShardHandles,
        _: &mut Cancelled,
        mut next: impl FnMut(IterationEnded) -> Option<IterationStart>,
    ) {
        let mut at = None;
        if iteration.index == 0 {
            tokio::time::sleep(Duration::from_millis(25)).await;
            at = Some(shard.clock.now());
            // The work on others.
            std::thread::sleep(Duration::from_millis(30));
        }
        let end = IterationEnd::Completed;
        assert_eq!(next(IterationEnded { end, at, ran: true }), None);
    }

    fn connected(&self) -> Connected {
        Connected::default()
    }
}

#[test]
fn an_arrival_that_waits_for_a_slot_starts_when_the_slot_has_had_its_turn() {
    let deltas = deltas(1, Busy);
    // The second is due 10 ms after the first.
    let worst = dispatch_lag(&deltas[0]).sketch.last_index().unwrap();
    assert!(highest(worst) >= 45_000, "{} µs", highest(worst));
}

/// Works for 12 ms on each iteration without waiting for anything.
struct Hog;

impl Runner for Hog {
    type User = ();

    fn user(&self, _: LoadId, _: u64) {}

    async fn iterate(
        &self,
        (): &mut (),
        _: IterationStart,
        _: &ShardHandles,
        _: &mut Cancelled,
        mut next: impl FnMut(IterationEnded) -> Option<IterationStart>,
    ) {
        std::thread::sleep(Duration::from_millis(12));
        assert_eq!(next(IterationEnd::Completed.into()), None);
    }

    fn connected(&self) -> Connected {
        Connected::default()
    }
}

#[test]
fn a_slot_that_leaves_nobody_else_a_turn_is_a_delay_of_every_second() {
    // An arrival each 10 ms: there is always another one.
    for delta in &deltas(1, Hog)[..2] {
        let delay = delta.health.poll_delay_max_us;
        assert!(
            delay > 900_000 + 1_000_000 * u64::from(delta.interval),
            "{}: {delay} µs",
            delta.interval
        );
    }
}

/// Panics in its fifth iteration.
struct Clumsy;

impl Runner for Clumsy {
    type User = ();

    fn user(&self, _: LoadId, _: u64) {}

    async fn iterate(
        &self,
        (): &mut (),
        iteration: IterationStart,
        _: &ShardHandles,
        _: &mut Cancelled,
        mut next: impl FnMut(IterationEnded) -> Option<IterationStart>,
    ) {
        assert!(iteration.index < 5, "a bug");
        let more = next(IterationEnd::Completed.into());
        assert_eq!(
            more, None,
            "an open load gives its next iteration to whatever slot is free"
        );
    }

    fn connected(&self) -> Connected {
        Connected::default()
    }
}

#[test]
fn a_panic_ends_the_thread_with_an_error() {
    let (setup, commands, mut events) = setup(10);
    let thread = spawn(setup, |_| Clumsy).unwrap();
    commands
        .try_send(Command::Input(Input::Grant(Moment::from_secs(60))))
        .unwrap();
    while events.blocking_recv().is_some() {}
    assert_eq!(
        thread.join().unwrap().unwrap_err().to_string(),
        "an iteration has panicked"
    );
}

#[test]
fn a_stop_that_is_found_after_the_start_counts_from_when_it_was_said() {
    let (setup, commands, mut events) = setup(10);
    let start = setup.start;
    // The thread has not begun when the run does: it stands still over its start.
    for input in [
        Input::Grant(Moment::from_secs(60)),
        Input::Stop(Moment::from_millis(455)),
    ] {
        commands.try_send(Command::Input(input)).unwrap();
    }
    while setup.clock.now() < start + Duration::from_millis(600) {
        std::thread::yield_now();
    }
    let thread = spawn(setup, |_| Sleeper::default()).unwrap();
    let mut sum = barrage_model::ledger::IterationCounts::default();
    while let Some(event) = events.blocking_recv() {
        match event.report {
            Report::Part(part) | Report::Sealed(part) => {
                let mut merged = Merged::new(part.interval);
                merged.add(*part);
                let delta = merged.into_delta(1, false, Health::default());
                delta.iterations.iter().for_each(|row| sum.add(&row.counts));
            }
            Report::Begun => {}
            Report::Finished => commands.try_send(Command::Seal).unwrap(),
        }
    }
    thread.join().unwrap().unwrap();
    assert_eq!((sum.scheduled, sum.started, sum.dropped), (46, 0, [0, 0, 0, 46]));
}
