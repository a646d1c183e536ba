use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};

use barrage_model::ids::SegmentId;
use barrage_model::outcome::DropReason;
use barrage_model::plan::{Delay, IterationsLoad, UserStage, UserStageShape, UsersLoad};

use barrage_model::rng::Rng;
use barrage_model::schedule::{Arrivals, Piece};
use barrage_model::units::Rate;

use super::testing::{epoch, hold, marks, open, plan};
use super::*;

const SECOND: u64 = 1_000_000;

/// Lets everything through, or one in each `every` microseconds.
struct Bucket {
    every: u64,
    next: Moment,
    /// It is the worker's own.
    own: bool,
    /// It holds back no load but this one.
    only: Option<LoadId>,
}

impl Gate for Bucket {
    fn admit(&mut self, load: LoadId, _: ScenarioId, now: Moment) -> Result<(), Held> {
        if self.only.is_some_and(|only| only != load) {
            return Ok(());
        }
        if now < self.next {
            return Err(Held {
                until: self.next,
                own: self.own,
            });
        }
        self.next = now + Duration::from_micros(self.every);
        Ok(())
    }
}

const OPEN_GATE: Bucket = Bucket {
    every: 0,
    next: Moment::ZERO,
    own: false,
    only: None,
};

/// A target in virtual time: when does an answer to a request begun at an instant end?
type Target = fn(u64) -> u64;

/// Everything a machine did, with its ledger checked as it went.
#[derive(Default, Debug, PartialEq)]
struct Record {
    scheduled: u64,
    started: Vec<Start>,
    /// Service and response time of each started iteration, µs.
    service: Vec<u64>,
    response: Vec<u64>,
    dropped: BTreeMap<DropReason, u64>,
    dropped_ages: Vec<u64>,
    closed: Vec<Vec<Progress>>,
    stood: Vec<Stood>,
    cancelled: Vec<(LoadId, Moment)>,
    finished: Option<Moment>,
    active_max: u64,
    wants: u64,
    /// At each interval's end: arrivals started or dropped so far, and the first index that is neither.
    accounted: Vec<(u64, u64)>,
}

struct World {
    machine: Machine,
    gate: Bucket,
    target: Target,
    ends: BinaryHeap<Reverse<(u64, u32)>>,
    running: BTreeSet<u32>,
    /// Slots that have begun.
    begun: u32,
    record: Record,
    now: u64,
    /// Grants by instant of arrival.
    inputs: Vec<(u64, Input)>,
    /// The shard sleeps through this: from when, and for how long.
    sleep: (u64, u64),
    /// Whether ends go the short way where there is one, and how many have.
    short: Option<u64>,
}

impl World {
    fn new(plan: &Plan, epochs: &[(LoadId, Arc<Epoch>)], target: Target) -> Self {
        let machine = Machine::new(plan, ShardId(0), 1, epochs, marks(&[0])).unwrap();
        let inputs = vec![(0, Input::Grant(Moment::from_secs(100_000)))];
        Self {
            machine,
            gate: OPEN_GATE,
            target,
            ends: BinaryHeap::new(),
            running: BTreeSet::new(),
            begun: 0,
            record: Record::default(),
            now: 0,
            inputs,
            sleep: (0, 0),
            short: None,
        }
    }

    /// Runs until `until` µs, or to the machine's end.
    fn run(mut self, until: u64) -> Record {
        self.run_on(until);
        self.record
    }

    fn run_on(&mut self, until: u64) {
        self.inputs.sort_by_key(|(at, _)| Reverse(*at));
        let mut still = (0, 0);
        while self.now <= until {
            let deadline = self.machine.deadline().as_micros().max(self.now);
            let end = self.ends.peek().map_or(u64::MAX, |Reverse((at, _))| *at);
            let given = self.inputs.last().map_or(u64::MAX, |(at, _)| *at);
            self.now = deadline.min(end).min(given).max(self.now);
            let (asleep, length) = self.sleep;
            if length > 0 && self.now >= asleep {
                (self.now, self.sleep) = (self.now + length, (0, 0));
            }
            still = if still.0 == self.now {
                (self.now, still.1 + 1)
            } else {
                (self.now, 0)
            };
            assert!(still.1 < 100_000, "time stands still at {} µs", self.now);
            let input = if given <= self.now {
                self.inputs.pop().unwrap().1
            } else if end <= self.now {
                let Reverse((_, slot)) = self.ends.pop().unwrap();
                if !self.running.remove(&slot) {
                    continue;
                }
                Input::Done(SlotId(slot), Moment::from_micros(end))
            } else {
                Input::Tick
            };
            if !self.goes_short(&input) {
                self.handle(input);
            }
            if self.record.finished.is_some() {
                break;
            }
        }
    }

    fn goes_short(&mut self, input: &Input) -> bool {
        let (Some(short), Input::Done(slot, _)) = (self.short, input) else {
            return false;
        };
        let now = Moment::from_micros(self.now);
        let mut start = self
            .record
            .started
            .iter()
            .rfind(|start| start.slot == *slot)
            .copied()
            .unwrap();
        if !self.machine.again(now, &mut start, &mut self.gate) {
            return false;
        }
        self.short = Some(short + 1);
        self.start(start);
        true
    }

    fn handle(&mut self, input: Input) {
        let now = Moment::from_micros(self.now);
        self.machine.handle(now, input, &mut self.gate);
        while let Some(output) = self.machine.poll() {
            match output {
                Output::Scheduled { count, .. } => self.record.scheduled += count,
                Output::Start(start) => self.start(start),
                Output::Dropped { reason, due, at, .. } => {
                    *self.record.dropped.entry(reason).or_default() += 1;
                    self.record.dropped_ages.push(at.as_micros() - due.as_micros());
                }
                Output::Close { progress, stood } => {
                    self.record.stood.push(stood);
                    assert!(self.now >= (self.record.closed.len() as u64 + 1) * SECOND);
                    if let [place] = progress.as_slice() {
                        let dropped: u64 = self.record.dropped.values().sum();
                        let accounted = self.record.started.len() as u64 + dropped;
                        self.record.accounted.push((accounted, place.next_index));
                    }
                    self.record.closed.push(progress);
                }
                Output::Cancel(load) => {
                    self.record.cancelled.push((load, now));
                    let at = self.now;
                    self.ends = std::mem::take(&mut self.ends)
                        .into_iter()
                        .map(|Reverse((_, s))| Reverse((at, s)))
                        .collect();
                }
                Output::WantIndices(_) => self.record.wants += 1,
                Output::Finished => self.record.finished = Some(now),
            }
        }
    }

    fn start(&mut self, start: Start) {
        assert!(start.due.as_micros() <= self.now, "started before it was due");
        assert!(self.running.insert(start.slot.0), "slot {} is busy", start.slot.0);
        assert!(start.slot.0 <= self.begun, "slots begin in the order of their numbers");
        self.begun = self.begun.max(start.slot.0 + 1);
        let end = (self.target)(self.now);
        self.ends.push(Reverse((end, start.slot.0)));
        self.record.service.push(end - self.now);
        self.record.response.push(end - start.due.as_micros());
        self.record.started.push(start);
        self.record.active_max = self.record.active_max.max(self.running.len() as u64);
    }
}

/// ⌈q·n⌉-th smallest.
fn quantile(values: &[u64], percent: usize) -> u64 {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    sorted[(sorted.len() * percent).div_ceil(100) - 1]
}

/// 1 ms of service, and nothing is answered while the target stands still in the fifth second.
fn frozen(begun: u64) -> u64 {
    let end = begun + 1_000;
    if end > 4 * SECOND && begun < 5 * SECOND {
        begun.max(5 * SECOND) + 1_000
    } else {
        end
    }
}

/// The same experiment without machine, grant, interval or event: a queue in front of `slots` servers.
fn oracle(slots: usize, target: Target) -> (Vec<u64>, Vec<u64>) {
    let mut free: Vec<u64> = vec![0; slots];
    let (mut service, mut response) = (Vec::new(), Vec::new());
    for n in 0..10_000u64 {
        let due = n * 1_000;
        let first = (0..slots).min_by_key(|at| free[*at]).unwrap();
        let begun = free[first].max(due);
        free[first] = target(begun);
        service.push(free[first] - begun);
        response.push(free[first] - due);
    }
    (service, response)
}

#[test]
fn a_target_that_stands_still_for_a_second_shows_in_the_response_time_and_nothing_vanishes() {
    for slots in [50, 1_200] {
        let plan = plan(vec![open(slots, Duration::from_secs(10))], Duration::ZERO);
        let epochs = [(LoadId(0), epoch(&[0], hold(1_000, 10), 0, Moment::ZERO))];
        let record = World::new(&plan, &epochs, frozen).run(60 * SECOND);
        assert_eq!(
            (record.scheduled, record.started.len(), record.dropped.len()),
            (10_000, 10_000, 0)
        );
        let (mut service, mut response) = oracle(slots as usize, frozen);
        let (mut got_service, mut got_response) = (record.service.clone(), record.response.clone());
        for list in [&mut service, &mut response, &mut got_service, &mut got_response] {
            list.sort_unstable();
        }
        assert_eq!(got_service, service, "{slots} slots");
        assert_eq!(got_response, response, "{slots} slots");
        assert_eq!(quantile(&record.service, 50), 1_000);
        let (p95, p99) = (quantile(&record.response, 95), quantile(&record.response, 99));
        assert!((450_000..=550_000).contains(&p95), "p95 {p95} with {slots} slots");
        assert!((850_000..=950_000).contains(&p99), "p99 {p99} with {slots} slots");
        assert!(record.active_max <= u64::from(slots));
    }
}

#[test]
fn the_theory_of_the_frozen_second_is_exact() {
    let plan = plan(vec![open(1_200, Duration::from_secs(10))], Duration::ZERO);
    let epochs = [(LoadId(0), epoch(&[0], hold(1_000, 10), 0, Moment::ZERO))];
    let record = World::new(&plan, &epochs, frozen).run(60 * SECOND);
    // With a slot for each, arrival n of the frozen second waits for its end: 2 ms to 1,001 ms in steps of 1 ms, and
    // one that was under way; all others take 1 ms.
    let mut want: Vec<u64> = (0..10_000u64).map(|n| frozen(n * 1_000) - n * 1_000).collect();
    want.sort_unstable();
    let mut got = record.response.clone();
    got.sort_unstable();
    assert_eq!(got, want);
    assert_eq!(quantile(&got, 95), 501_000);
    assert_eq!(quantile(&got, 99), 901_000);
}

#[test]
fn arrivals_that_wait_too_long_are_dropped_for_the_reason_that_held_them() {
    let never: Target = |_| u64::MAX;
    let slow: Target = |begun| begun + 100_000;
    // Five slots that are never free again: five start, the rest give up after 2 s, in the order they came.
    let no_slot = plan(vec![open(5, Duration::from_secs(2))], Duration::ZERO);
    let epochs = [(LoadId(0), epoch(&[0], hold(100, 4), 0, Moment::ZERO))];
    let record = World::new(&no_slot, &epochs, never).run(20 * SECOND);
    assert_eq!((record.scheduled, record.started.len()), (400, 5));
    assert_eq!(record.dropped, BTreeMap::from([(DropReason::NoSlot, 395)]));
    assert!(record.dropped_ages.iter().all(|age| *age == 2 * SECOND));
    // A ceiling of 10/s in front of 100/s, whether or not something ends when it opens again.
    let ceiling = plan(vec![open(500, Duration::from_secs(1))], Duration::ZERO);
    for target in [slow, |begun| begun + 50_000] {
        let mut world = World::new(&ceiling, &epochs, target);
        world.gate.every = 100_000;
        let record = world.run(20 * SECOND);
        assert_eq!((record.scheduled, record.dropped.len()), (400, 1));
        let dropped = record.dropped[&DropReason::Ceiling];
        assert_eq!(record.started.len() as u64 + dropped, 400);
        assert!((45..=55).contains(&record.started.len()), "{}", record.started.len());
        // The same limit as the worker's own: no plan asks for it.
        let mut world = World::new(&ceiling, &epochs, target);
        (world.gate.every, world.gate.own) = (100_000, true);
        let own = world.run(20 * SECOND);
        assert_eq!(own.dropped, BTreeMap::from([(DropReason::Late, dropped)]));
    }
    // A shard that sleeps through: what it finds too old is late.
    let mut world = World::new(&ceiling, &epochs, slow);
    world.handle(Input::Grant(Moment::from_secs(100)));
    world.now = 3 * SECOND;
    world.handle(Input::Tick);
    assert_eq!(
        world.record.started.len(),
        1,
        "after a gap nothing is sent without a renewal"
    );
    world.now += 1_000;
    world.handle(Input::Grant(Moment::from_secs(101)));
    assert_eq!(world.record.dropped[&DropReason::Late], 200);
    assert_eq!(world.record.started.len(), 101);
}

#[test]
fn the_end_leaves_due_arrivals_the_graceful_stop_and_then_drops_and_cancels() {
    let never: Target = |_| u64::MAX;
    let plan = plan(vec![open(3, Duration::from_mins(50))], Duration::ZERO);
    let epochs = [(LoadId(0), epoch(&[0], hold(10, 2), 0, Moment::ZERO))];
    let record = World::new(&plan, &epochs, never).run(100 * SECOND);
    assert_eq!((record.scheduled, record.started.len()), (20, 3));
    assert_eq!(record.dropped, BTreeMap::from([(DropReason::Stopped, 17)]));
    assert_eq!(record.cancelled, [(LoadId(0), Moment::from_secs(32))]);
    assert_eq!(record.finished, Some(Moment::from_secs(32)));
    assert_eq!(record.closed.len(), 32);
}

#[test]
fn a_stop_drops_what_waits_and_lets_the_rest_end() {
    for (input, finished) in [
        (Input::Stop(Moment::MAX), 1_500_000 + 400_000),
        (Input::StopNow(Moment::MAX), 1_500_000),
    ] {
        let plan = plan(vec![open(3, Duration::from_mins(1))], Duration::ZERO);
        let epochs = [(LoadId(0), epoch(&[0], hold(10, 1_000), 0, Moment::ZERO))];
        let mut world = World::new(&plan, &epochs, |begun| begun + 900_000);
        world.inputs.push((1_500_000, input));
        let record = world.run(100 * SECOND);
        let dropped = record.dropped[&DropReason::Stopped];
        assert_eq!(
            record.scheduled, 16,
            "arrivals 0 to 15, the last one due at the stop itself"
        );
        assert_eq!(record.started.len() as u64 + dropped, 16);
        let at = record.finished.unwrap().as_micros();
        assert!(at <= finished + 100_000, "{at}");
    }
}

#[test]
fn who_counts_as_lost_leaves_what_waits_to_the_coordinator() {
    // A stop that comes as well changes nothing for what was left.
    for also in [None, Some(Input::Stop(Moment::MAX)), Some(Input::StopNow(Moment::MAX))] {
        let plan = plan(vec![open(3, Duration::from_secs(1))], Duration::ZERO);
        let epochs = [(LoadId(0), epoch(&[0], hold(10, 1_000), 0, Moment::ZERO))];
        let mut world = World::new(&plan, &epochs, |begun| begun + 5_900_000);
        world.inputs.push((850_000, Input::StandDown));
        world.inputs.extend(also.clone().map(|stop| (900_000, stop)));
        let record = world.run(100 * SECOND);
        assert_eq!((record.scheduled, record.started.len()), (9, 3));
        assert_eq!(record.dropped, BTreeMap::new(), "not even what has waited too long");
        let ends = if matches!(also, Some(Input::StopNow(_))) {
            900_000
        } else {
            6_100_000
        };
        assert_eq!(record.finished, Some(Moment::from_micros(ends)));
        assert!(
            record.accounted.iter().all(|place| *place == (3, 3)),
            "{:?}",
            record.accounted
        );
    }
}

#[test]
fn who_stands_down_says_since_when_it_has_begun_nothing() {
    let hold = UserStageShape::Hold {
        users: 5,
        length: Duration::from_secs(20),
    };
    let plan = plan(vec![users(vec![hold], None, None)], Duration::ZERO);
    let wheel = [(LoadId(0), epoch(&[0], vec![], 0, Moment::ZERO))];
    let left = |sleep: (u64, u64), granted: u64, down: u64, renewed: Option<u64>| {
        let mut world = World::new(&plan, &wheel, |at| at + 3_000_000);
        world.inputs = vec![
            (0, Input::Grant(Moment::from_secs(granted))),
            (down, Input::StandDown),
            (down + 1_000_000, Input::StandDown),
        ];
        let renewal = renewed.map(|at| (at, Input::Grant(Moment::from_secs(100))));
        world.inputs.extend(renewal);
        world.sleep = sleep;
        world.run_on(19 * SECOND);
        world.machine.left().map(|left| left.as_micros() / 10_000)
    };
    assert_eq!(left((0, 0), 100, 4_040_000, None), Some(404));
    // It had no grant any more, or stood still.
    assert_eq!(left((0, 0), 3, 4_040_000, None), Some(300));
    assert_eq!(left((2_000_000, 5_000_000), 100, 7_050_000, None), Some(200));
    // A grant that came meanwhile changes nothing for the time before it, as long as nothing has begun since.
    let renewed = Some(5_920_000);
    assert_eq!(left((4_000_000, 1_900_000), 100, 5_950_000, renewed), Some(400));
    assert_eq!(left((4_000_000, 1_900_000), 100, 6_050_000, renewed), Some(605));
    assert_eq!(left((0, 0), 100, 30_000_000, None), None);
}

#[test]
fn who_has_stood_still_gives_nothing_up_before_it_hears_whether_it_is_lost() {
    for (word, scheduled, started, dropped) in [
        (Some(Input::StandDown), 3, 3, BTreeMap::new()),
        // It is not lost: what has waited too long waited for this shard.
        (
            Some(Input::Grant(Moment::from_secs(200_000))),
            121,
            13,
            BTreeMap::from([(DropReason::Late, 108)]),
        ),
        (
            Some(Input::Stop(Moment::MAX)),
            121,
            3,
            BTreeMap::from([(DropReason::Late, 108), (DropReason::Stopped, 10)]),
        ),
        // It was said while the shard stood still: as at those that heard it, nothing has fallen due since.
        (
            Some(Input::StopNow(Moment::from_secs(8))),
            81,
            3,
            BTreeMap::from([(DropReason::Late, 68), (DropReason::Stopped, 10)]),
        ),
        // Before it stood still, by a clock that is a little ahead: what has begun has begun.
        (Some(Input::Stop(Moment::from_millis(150))), 3, 3, BTreeMap::new()),
        // Nobody says anything.
        (None, 149, 3, BTreeMap::from([(DropReason::Late, 136)])),
    ] {
        let plan = plan(vec![open(1_000, Duration::from_secs(1))], Duration::ZERO);
        let epochs = [(LoadId(0), epoch(&[0], hold(10, 1_000), 0, Moment::ZERO))];
        let mut world = World::new(&plan, &epochs, |begun| begun + 1_000);
        world.sleep = (250_000, 11_500_000);
        world.inputs.extend(word.clone().map(|word| (12_000_000, word)));
        world.run_on(if word.is_some() { 12_050_000 } else { 14_810_000 });
        let record = &world.record;
        assert_eq!(
            (record.scheduled, record.started.len(), &record.dropped),
            (scheduled, started, &dropped),
            "{word:?}"
        );
    }
}

#[test]
fn nothing_due_after_the_grant_is_counted_or_sent_and_a_renewal_catches_up() {
    let plan = plan(vec![open(100, Duration::from_mins(1))], Duration::ZERO);
    let epochs = [(LoadId(0), epoch(&[0], hold(10, 20), 0, Moment::ZERO))];
    let mut world = World::new(&plan, &epochs, |begun| begun + 1_000);
    world.inputs = vec![
        (0, Input::Grant(Moment::from_secs(2))),
        (5 * SECOND, Input::Grant(Moment::from_secs(60))),
    ];
    let record = world.run(60 * SECOND);
    assert_eq!(
        (record.scheduled, record.started.len(), record.dropped.len()),
        (200, 200, 0)
    );
    assert!(
        record
            .started
            .iter()
            .all(|start| !(2 * SECOND..5 * SECOND).contains(&start.at.as_micros()))
    );
    let indices: BTreeSet<u64> = record.started.iter().map(|start| start.index).collect();
    assert_eq!(indices.len(), 200);
    // In the fourth interval the place in the schedule is the first arrival after the grant.
    assert_eq!(record.closed[3][0].next_index, 20);
    // Each second in which arrivals fell due says how late they are at least; nothing stood still.
    let lag: Vec<u128> = record.stood[..6].iter().map(|stood| stood.lag.as_millis()).collect();
    assert_eq!(lag, [0, 0, 990, 990, 990, 0]);
    assert!(record.stood.iter().all(|stood| stood.total.is_zero()));
}

#[test]
fn after_a_gap_only_a_grant_made_since_counts() {
    let plan = plan(vec![open(1_000, Duration::from_mins(1))], Duration::ZERO);
    let epochs = [(LoadId(0), epoch(&[0], hold(10, 60), 0, Moment::ZERO))];
    let mut world = World::new(&plan, &epochs, |begun| begun + 1_000);
    world.handle(Input::Grant(Moment::from_secs(10)));
    world.now = 12 * SECOND;
    world.handle(Input::Tick);
    // Those that were on their way, up to one of second 8.
    for until in 11..=18 {
        world.handle(Input::Grant(Moment::from_secs(until)));
        world.now += 100;
    }
    assert_eq!(world.record.started.len(), 1, "the one of second 0");
    world.now += 1_000;
    world.handle(Input::Grant(Moment::from_secs(22)));
    assert!(world.record.started.len() > 100);
}

#[test]
fn a_new_epoch_takes_over_at_its_index_without_gap_or_overlap() {
    let plan = plan(vec![open(100, Duration::from_mins(1))], Duration::ZERO);
    let first = epoch(&[0, 1], hold(10, 20), 0, Moment::ZERO);
    let mut world = World::new(&plan, &[(LoadId(0), first)], |begun| begun + 1_000);
    let second = epoch(&[0], hold(100, 2), 50, Moment::from_secs(5));
    world.inputs.push((2 * SECOND, Input::Epoch(LoadId(0), second)));
    let record = world.run(60 * SECOND);
    let got: Vec<u64> = record.started.iter().map(|start| start.index).collect();
    let want: Vec<u64> = (0..50).step_by(2).chain(50..250).collect();
    assert_eq!(got, want);
    assert_eq!(record.finished, Some(Moment::from_secs(7)));
}

#[test]
fn own_lag_is_the_time_in_which_a_slot_was_free() {
    let plan = plan(vec![open(1, Duration::from_mins(1))], Duration::ZERO);
    let epochs = [(LoadId(0), epoch(&[0], hold(10, 1), 0, Moment::ZERO))];
    let record = World::new(&plan, &epochs, |begun| begun + 250_000).run(60 * SECOND);
    assert_eq!(record.started.len(), 10);
    assert!(record.started.iter().all(|start| start.own_lag == Some(Duration::ZERO)));
    // Arrival 1, due at 0.1 s, waited for the slot until 0.25 s.
    assert_eq!(record.started[1].at.as_micros(), 250_000);
    // Woken 30 ms late with a free slot: that is our own doing.
    let mut world = World::new(&plan, &epochs, |begun| begun + 1_000);
    world.handle(Input::Grant(Moment::from_secs(100)));
    world.now = 1_000;
    world.handle(Input::Done(SlotId(0), Moment::from_micros(1_000)));
    world.running.clear();
    world.now = 130_000;
    world.handle(Input::Tick);
    assert_eq!(world.record.started[1].own_lag, Some(Duration::from_millis(30)));
    // The answer was there at 0.25 s, but its slot had its turn only 20 ms later.
    let mut world = World::new(&plan, &epochs, |_| u64::MAX);
    world.handle(Input::Grant(Moment::from_secs(100)));
    for at in (10_000..=250_000).step_by(10_000) {
        world.now = at;
        world.handle(Input::Tick);
    }
    world.now = 270_000;
    world.running.clear();
    world.handle(Input::Done(SlotId(0), Moment::from_micros(250_000)));
    let late = &world.record.started[1];
    assert_eq!(
        (late.at.as_micros(), late.own_lag),
        (270_000, Some(Duration::from_millis(20)))
    );
}

#[test]
fn own_lag_is_not_smaller_for_a_longer_sleep() {
    let plan = plan(vec![open(500, Duration::from_mins(1))], Duration::ZERO);
    let epochs = [(LoadId(0), epoch(&[0], hold(100, 10), 0, Moment::ZERO))];
    for sleep in [900_000, 1_500_000, 3_000_000] {
        let mut world = World::new(&plan, &epochs, |begun| begun + 1_000);
        world.inputs = (0..10)
            .map(|at| (at * SECOND, Input::Grant(Moment::from_secs(at) + GRANT)))
            .collect();
        world.sleep = (2_000_000, sleep);
        let record = world.run(60 * SECOND);
        let worst = record.started.iter().filter_map(|start| start.own_lag).max().unwrap();
        assert!(
            worst + Duration::from_millis(10) >= Duration::from_micros(sleep),
            "{sleep}: {worst:?}"
        );
    }
}

/// Sleeps for `sleep` µs from 2 s on, in 6 s at 1,000/s with grants that are renewed each second.
fn asleep(slots: u32, give_up_after: u64, target: Target, sleep: u64) -> Record {
    let plan = plan(vec![open(slots, Duration::from_secs(give_up_after))], Duration::ZERO);
    let epochs = [(LoadId(0), epoch(&[0], hold(1_000, 6), 0, Moment::ZERO))];
    let mut world = World::new(&plan, &epochs, target);
    world.inputs = (0..10)
        .map(|at| (at * SECOND, Input::Grant(Moment::from_secs(at) + GRANT)))
        .collect();
    world.sleep = (2_000_500, sleep);
    world.run(60 * SECOND)
}

#[test]
fn standing_still_is_own_lag_also_for_those_who_then_wait_for_a_slot() {
    for slots in [5, 20, 500] {
        let record = asleep(slots, 60, |begun| begun + 1_000, 3_000_000);
        assert_eq!((record.started.len(), record.dropped.len()), (6_000, 0));
        let woken = record.started[2_001].at;
        // Of those who came at its very end the queue was the greater part of the wait.
        let held = |start: &&Start| {
            let stood = woken.since(start.due);
            start.index > 2_000 && stood * 10 > start.at.since(start.due)
        };
        for start in record.started.iter().filter(held) {
            let own = start.own_lag.unwrap();
            assert!(
                own + Duration::from_millis(1) >= woken.since(start.due),
                "{slots}: {start:?}"
            );
        }
        // Those who came afterwards and found the queue waited for a slot.
        let after = record.started.iter().filter(|start| start.due > woken);
        let worst = after.filter_map(|start| start.own_lag).max().unwrap();
        assert!(worst <= Duration::from_millis(2), "{slots}: {worst:?}");
        let longest: Vec<u128> = record.stood[..6]
            .iter()
            .map(|stood| stood.longest.as_millis())
            .collect();
        assert_eq!(longest, [0, 0, 999, 1_999, 2_999, 3_000], "each second that it lasts");
        let lag: Vec<u128> = record.stood[..6].iter().map(|stood| stood.lag.as_millis()).collect();
        assert_eq!(lag, [0, 0, 2_990, 1_991, 991, 0]);
    }
}

#[test]
fn a_short_standstill_is_no_lag_of_those_who_have_waited_long() {
    // A queue of seconds before a target that is too slow, and 60 ms of ours at 2 s.
    let slow: Target = |begun| begun + 240_000;
    let own = |record: &Record| {
        let own = record
            .started
            .iter()
            .filter_map(|start| Some((start.at, start.own_lag?)));
        own.filter(|(_, lag)| *lag > Duration::from_millis(10))
            .map(|(at, _)| at)
            .collect::<Vec<_>>()
    };
    let strained = own(&asleep(20, 60, slow, 60_000));
    let last = strained.last().copied().unwrap_or(Moment::ZERO);
    assert!(last < Moment::from_millis(2_700), "{last:?}");
    // One of a second is a good part of what the next ones had waited.
    let strained = own(&asleep(20, 60, slow, 1_000_000));
    assert!(strained.len() > 20);
}

#[test]
fn what_expires_after_a_standstill_is_late_unless_that_was_a_small_part_of_its_wait() {
    let busy: Target = |begun| begun + 19_000;
    let record = asleep(20, 1, busy, 2_000_000);
    let (late, no_slot) = (
        record.dropped[&DropReason::Late],
        record.dropped.get(&DropReason::NoSlot),
    );
    assert!(
        late > 1_000 && no_slot.is_none_or(|count| *count < late / 5),
        "{:?}",
        record.dropped
    );
    // A target that is too slow by half, and 40 ms of ours.
    let record = asleep(20, 1, |begun| begun + 40_000, 40_000);
    assert_eq!(record.dropped.get(&DropReason::Late), None, "{:?}", record.dropped);
    assert!(record.dropped[&DropReason::NoSlot] > 500);
}

#[test]
fn what_a_ceiling_of_the_plan_holds_back_is_no_lag_of_ours() {
    let own = |record: &Record| {
        record
            .started
            .iter()
            .filter_map(|start| start.own_lag)
            .collect::<Vec<_>>()
    };
    let epochs = [(LoadId(0), epoch(&[0], hold(100, 2), 0, Moment::ZERO))];
    let arrivals = self::plan(vec![open(500, Duration::from_mins(1))], Duration::ZERO);
    let mut world = World::new(&arrivals, &epochs, |at| at + 1);
    world.gate.every = 100_000;
    let lags = own(&world.run(60 * SECOND));
    assert!(
        lags.len() > 150 && lags.iter().all(|lag| *lag < Duration::from_millis(1)),
        "{lags:?}"
    );
    // One of the worker's own is: 200 arrivals in 2 s, one in 100 ms.
    let mut world = World::new(&arrivals, &epochs, |at| at + 1);
    (world.gate.every, world.gate.own) = (100_000, true);
    let lags = own(&world.run(60 * SECOND));
    assert!(lags[150] > Duration::from_secs(10), "{lags:?}");
    // Users, of whom each has to wait until the others have had their turn; they pause, so that they can be late.
    let pause = Delay {
        min: Duration::from_millis(1),
        max: Duration::from_millis(1),
    };
    let hold = UserStageShape::Hold {
        users: 20,
        length: Duration::from_secs(4),
    };
    let plan = plan(vec![users(vec![hold], Some(pause), None)], Duration::ZERO);
    let wheel = [(LoadId(0), epoch(&[0], vec![], 0, Moment::ZERO))];
    let mut world = World::new(&plan, &wheel, |at| at + 1_000);
    world.gate = Bucket {
        every: 100_000,
        ..OPEN_GATE
    };
    let lags = own(&world.run(20 * SECOND));
    assert!(
        lags.len() > 30 && lags.iter().all(|lag| *lag < Duration::from_millis(1)),
        "{lags:?}"
    );
}

#[test]
fn a_slot_that_a_ceiling_leaves_unused_is_not_made() {
    let plan = plan(
        vec![open(500, Duration::from_secs(1)), open(500, Duration::from_secs(1))],
        Duration::ZERO,
    );
    let epochs = [200, 50].map(|rate| epoch(&[0], hold(rate, 4), 0, Moment::ZERO));
    let epochs = [(LoadId(0), Arc::clone(&epochs[0])), (LoadId(1), Arc::clone(&epochs[1]))];
    let mut world = World::new(&plan, &epochs, |begun| begun + SECOND);
    (world.gate.every, world.gate.only) = (10_000, Some(LoadId(0)));
    let record = world.run(60 * SECOND);
    let started = |load| record.started.iter().filter(|start| start.load == LoadId(load)).count();
    assert_eq!(started(1), 200);
    assert!((395..=520).contains(&started(0)), "{}", started(0));
    assert_eq!(started(0) as u64 + record.dropped[&DropReason::Ceiling], 800);
}

#[test]
fn users_that_the_generator_keeps_from_beginning_are_late() {
    let hold = UserStageShape::Hold {
        users: 20,
        length: Duration::from_secs(4),
    };
    // They begin as soon as they have ended, so nothing else makes them late.
    let plan = plan(vec![users(vec![hold], None, None)], Duration::ZERO);
    let wheel = [(LoadId(0), epoch(&[0], vec![], 0, Moment::ZERO))];
    let worst = |change: &dyn Fn(&mut World)| {
        let mut world = World::new(&plan, &wheel, |at| at + 1_000);
        change(&mut world);
        let record = world.run(20 * SECOND);
        assert!(record.started.len() > 30 && record.finished.is_some());
        let later = record.started.iter().filter(|start| start.index >= 20);
        later.filter_map(|start| start.own_lag).max()
    };
    assert_eq!(worst(&|_| {}), None);
    let limited = |own| {
        worst(&|world: &mut World| {
            (world.gate.every, world.gate.own) = (100_000, own);
        })
    };
    // The plan's ceiling is no lag of ours; each waits for the 19 others.
    assert_eq!(limited(false), None);
    assert!(limited(true).is_some_and(|lag| lag > Duration::from_millis(1_800)));
    let lapsed = worst(&|world: &mut World| {
        world.inputs = vec![
            (0, Input::Grant(Moment::from_secs(1))),
            (3 * SECOND, Input::Grant(Moment::from_secs(100))),
        ];
    });
    assert!(
        lapsed.is_some_and(|lag| lag > Duration::from_millis(1_990)),
        "{lapsed:?}"
    );
}

#[test]
fn counted_loads_that_the_worker_itself_holds_back_are_late() {
    let model = LoadModel::Iterations(IterationsLoad {
        count: 1_000_000,
        users: 20,
        at_most: Duration::from_secs(8),
    });
    let plan = plan(vec![model], Duration::ZERO);
    let wheel = [(LoadId(0), epoch(&[0], vec![], 0, Moment::ZERO))];
    let lag = |every, own, indices: &[(u64, u64)]| {
        let mut world = World::new(&plan, &wheel, |at| at + 1_000);
        (world.gate.every, world.gate.own) = (every, own);
        let blocks = indices.iter().map(|(at, count)| {
            let (load, first, count) = (LoadId(0), *at, *count);
            (*at, Input::Indices { load, first, count })
        });
        world.inputs.extend(blocks);
        let record = world.run(9 * SECOND);
        let lags: Vec<_> = record
            .started
            .iter()
            .map(|start| start.own_lag.unwrap_or_default())
            .collect();
        assert!(lags.len() > 40);
        lags
    };
    let all = [(0, 100_000)];
    assert_eq!(lag(0, true, &all).into_iter().max(), Some(Duration::ZERO));
    // The plan asks for it.
    assert_eq!(lag(100_000, false, &all).into_iter().max(), Some(Duration::ZERO));
    // Nineteen others have waited longer than the user who has just ended.
    let own = lag(100_000, true, &all);
    assert!(
        own[30..].iter().all(|lag| *lag > Duration::from_millis(1_800)),
        "{own:?}"
    );
    // What waited for indices did not wait for the ceiling.
    let refilled = lag(1_000, true, &[(0, 5), (6 * SECOND, 100_000)]);
    assert!(refilled.iter().max() < Some(&Duration::from_secs(2)), "{refilled:?}");
}

#[test]
fn closed_loads_without_a_grant_are_late_in_each_second_of_it() {
    let hold = UserStageShape::Hold {
        users: 5,
        length: Duration::from_secs(8),
    };
    let counted = LoadModel::Iterations(IterationsLoad {
        count: 1_000_000,
        users: 5,
        at_most: Duration::from_secs(8),
    });
    for model in [users(vec![hold], None, None), counted] {
        let plan = plan(vec![model], Duration::ZERO);
        let wheel = [(LoadId(0), epoch(&[0], vec![], 0, Moment::ZERO))];
        let mut world = World::new(&plan, &wheel, |at| at + 100_000);
        world.inputs = vec![
            (0, Input::Grant(Moment::from_secs(2))),
            (
                1_000,
                Input::Indices {
                    load: LoadId(0),
                    first: 0,
                    count: 1_000_000,
                },
            ),
            (5 * SECOND, Input::Grant(Moment::from_secs(100))),
        ];
        let record = world.run(30 * SECOND);
        let lag: Vec<u128> = record.stood[..8].iter().map(|stood| stood.lag.as_millis()).collect();
        let is_late: Vec<bool> = lag.iter().map(|lag| *lag > 500).collect();
        let want = [false, false, true, true, true, false, false, false];
        assert_eq!(is_late, want, "{lag:?}");
    }
}

#[test]
fn users_that_a_ceiling_holds_back_end_with_their_load() {
    let hold = UserStageShape::Hold {
        users: 5,
        length: Duration::from_secs(4),
    };
    let plan = plan(vec![users(vec![hold], None, None)], Duration::ZERO);
    let wheel = [(LoadId(0), epoch(&[0], vec![], 0, Moment::ZERO))];
    let mut world = World::new(&plan, &wheel, |at| at + 1_000);
    world.gate.every = 60 * SECOND;
    let record = world.run(100 * SECOND);
    assert_eq!((record.started.len(), record.finished), (1, Some(Moment::from_secs(4))));
}

#[test]
fn segments_follow_the_due_instant() {
    let plan = plan(vec![open(1, Duration::from_mins(1))], Duration::ZERO);
    let epochs = [(LoadId(0), epoch(&[0], hold(10, 2), 0, Moment::ZERO))];
    let mut world = World::new(&plan, &epochs, |begun| begun + 300_000);
    world.inputs.push((0, Input::Marks(marks(&[0, 1_000_000]))));
    let record = world.run(60 * SECOND);
    let late: Vec<u64> = record
        .started
        .iter()
        .filter(|s| s.segment == SegmentId(1))
        .map(|s| s.index)
        .collect();
    assert_eq!(late, (10..20).collect::<Vec<u64>>());
}

fn users(stages: Vec<UserStageShape>, think: Option<Delay>, pace: Option<Duration>) -> LoadModel {
    let stage = |shape| UserStage {
        name: String::new(),
        shape,
    };
    LoadModel::Users(UsersLoad {
        stages: stages.into_iter().map(stage).collect(),
        think,
        pace,
    })
}

#[test]
fn users_live_while_the_curve_is_above_their_number() {
    let stages = vec![
        UserStageShape::Ramp {
            from: 0,
            to: 4,
            over: Duration::from_secs(4),
        },
        UserStageShape::Hold {
            users: 2,
            length: Duration::from_secs(2),
        },
    ];
    let plan = plan(vec![users(stages, None, None)], Duration::from_secs(1));
    let wheel = [(LoadId(0), epoch(&[0, 1], vec![], 0, Moment::ZERO))];
    let record = World::new(&plan, &wheel, |begun| begun + 300_000).run(60 * SECOND);
    let times = |user| {
        record
            .started
            .iter()
            .filter(move |s| s.user == user)
            .map(|s| s.at.as_micros())
    };
    // This shard owns users 0 and 2; user 2 lives from 3 s to 5 s of run time.
    assert_eq!(times(0).next(), Some(SECOND + 1));
    assert_eq!(times(0).next_back(), Some(SECOND + 1 + 19 * 300_000));
    let second: Vec<u64> = times(2).collect();
    assert_eq!((second[0], second.len()), (3 * SECOND + 1, 7));
    assert_eq!(times(1).count() + times(3).count(), 0);
    let indices: BTreeSet<u64> = record.started.iter().map(|start| start.index).collect();
    assert_eq!(indices.len(), record.started.len());
    assert_eq!((record.scheduled, record.dropped.len()), (0, 0));
}

#[test]
fn think_and_pace_hold_users_back() {
    let stages = || {
        vec![UserStageShape::Hold {
            users: 1,
            length: Duration::from_secs(10),
        }]
    };
    let second = Duration::from_secs(1);
    let cases = [
        (
            Some(Delay {
                min: second,
                max: second,
            }),
            None,
            1_300_000,
        ),
        (None, Some(second), 1_000_000),
        (
            Some(Delay {
                min: second,
                max: second,
            }),
            Some(2 * second),
            2_000_000,
        ),
    ];
    for (think, pace, gap) in cases {
        let plan = plan(vec![users(stages(), think, pace)], Duration::ZERO);
        let wheel = [(LoadId(0), epoch(&[0], vec![], 0, Moment::ZERO))];
        let record = World::new(&plan, &wheel, |begun| begun + 300_000).run(60 * SECOND);
        let times: Vec<u64> = record.started.iter().map(|start| start.at.as_micros()).collect();
        assert!(times.windows(2).all(|pair| pair[1] - pair[0] == gap), "{times:?}");
        assert_eq!(times.len() as u64, (10 * SECOND).div_ceil(gap));
    }
}

#[test]
fn counted_iterations_are_never_more_than_handed_out() {
    let model = LoadModel::Iterations(IterationsLoad {
        count: 25,
        users: 4,
        at_most: Duration::from_mins(1),
    });
    let plan = plan(vec![model], Duration::ZERO);
    let wheel = [(LoadId(0), epoch(&[0, 1], vec![], 0, Moment::ZERO))];
    let mut world = World::new(&plan, &wheel, |begun| begun + 10_000);
    let load = LoadId(0);
    world.inputs.push((
        100,
        Input::Indices {
            load,
            first: 0,
            count: 10,
        },
    ));
    world.inputs.push((
        SECOND,
        Input::Indices {
            load,
            first: 10,
            count: 0,
        },
    ));
    world.inputs.push((2 * SECOND, Input::Refilled(load)));
    world.inputs.push((
        2 * SECOND + 1,
        Input::Indices {
            load,
            first: 20,
            count: 5,
        },
    ));
    world.inputs.push((3 * SECOND, Input::Exhausted(load)));
    world.inputs.push((
        3 * SECOND + 1,
        Input::Indices {
            load,
            first: 0,
            count: 0,
        },
    ));
    let record = world.run(100 * SECOND);
    let got: Vec<u64> = record.started.iter().map(|start| start.index).collect();
    assert_eq!(got, (0..10).chain(20..25).collect::<Vec<u64>>());
    assert_eq!((record.scheduled, record.active_max), (15, 2));
    assert_eq!(record.finished, Some(Moment::from_micros(3_000_001)));
}

#[test]
fn counted_iterations_that_no_user_came_to_in_time_never_fell_due() {
    let model = LoadModel::Iterations(IterationsLoad {
        count: 1_000,
        users: 1,
        at_most: Duration::from_secs(1),
    });
    let plan = plan(vec![model], Duration::ZERO);
    let wheel = [(LoadId(0), epoch(&[0], vec![], 0, Moment::ZERO))];
    let mut world = World::new(&plan, &wheel, |begun| begun + 100_000);
    world.inputs.push((
        0,
        Input::Indices {
            load: LoadId(0),
            first: 0,
            count: 1_000,
        },
    ));
    let record = world.run(100 * SECOND);
    assert_eq!((record.started.len(), record.scheduled), (10, 10));
    assert_eq!(record.dropped, BTreeMap::new());
    assert_eq!(record.finished, Some(Moment::from_secs(1)));
}

#[test]
fn shards_share_the_arrivals_and_a_slot_freed_last_is_used_first() {
    let plan = plan(vec![open(10, Duration::from_mins(1))], Duration::ZERO);
    let epochs = [(LoadId(0), epoch(&[1, 0, 1], hold(300, 1), 0, Moment::ZERO))];
    let record = World::new(&plan, &epochs, |begun| begun + 1_000).run(60 * SECOND);
    assert!(record.started.iter().all(|start| start.index % 3 == 1));
    assert_eq!((record.started.len(), record.active_max), (100, 1));
    assert!(
        record
            .started
            .iter()
            .all(|start| start.slot == SlotId(0) && start.user == 1)
    );
    let plan = super::testing::plan(vec![open(1, Duration::from_mins(1))], Duration::ZERO);
    let refused = Machine::new(&plan, ShardId(0), 1, &epochs, marks(&[0]));
    assert!(matches!(refused, Err(SetupError::NoSlot { total: 1, .. })));
}

/// Random rates, answers, slots, ceilings, grants, sleeps and stops: whatever comes, the ledger holds at each interval,
/// nothing is started twice, early or out of order, and the end is reached.
#[test]
fn whatever_comes_every_arrival_is_accounted_for() {
    for seed in 0..300 {
        let mut rng = Rng::from_seed(seed);
        let mut below = move |n: u64| rng.below(n);
        let arrivals = if below(2) == 0 {
            Arrivals::Even
        } else {
            Arrivals::Poisson
        };
        let rate = |n| Rate::per_second(n as u32);
        let pieces = vec![
            Piece::ramp(
                rate(below(50)),
                rate(below(400)),
                Duration::from_millis(1 + below(3_000)),
            ),
            Piece::hold(rate(below(300)), Duration::from_millis(1 + below(3_000))),
        ];
        let epoch = Epoch {
            arrivals,
            seed,
            ..Epoch::clone(&epoch(&[0, 1, 0], pieces, 0, Moment::ZERO))
        };
        let total = epoch.total();
        let owned = epoch.wheel.owned_before(ShardId(0), total);
        let max_active = 2 + below(40) as u32;
        let limit = u64::from(max_active).div_ceil(3) * 2;
        let mut plan = plan(
            vec![open(max_active, Duration::from_millis(50 + below(3_000)))],
            Duration::ZERO,
        );
        plan.graceful_stop = Duration::from_millis(below(2_000));
        let mut world = World::new(&plan, &[(LoadId(0), Arc::new(epoch.clone()))], |begun| {
            begun + 1_000 + stream(begun, LoadId(0), 0, Purpose::Body).below(200_000)
        });
        world.gate.every = [0, 0, 2_000, 30_000][below(4) as usize];
        world.inputs = vec![(0, Input::Grant(Moment::from_millis(below(4_000))))];
        for second in 1..12 {
            world.inputs.push((
                second * SECOND + below(SECOND),
                Input::Grant(Moment::from_millis(second * 1_000 + below(5_000))),
            ));
        }
        world.inputs.push((15 * SECOND, Input::Grant(Moment::from_secs(1_000))));
        world.sleep = (below(6 * SECOND), below(2 * SECOND));
        if below(3) == 0 {
            world.inputs.push((below(8 * SECOND), some_stop(&mut below)));
        }
        let lost = below(4) == 0;
        if lost {
            world.inputs.push((below(8 * SECOND), Input::StandDown));
        }
        let record = world.run(60 * SECOND);
        assert!(record.finished.is_some(), "seed {seed} does not end");
        let dropped: u64 = record.dropped.values().sum();
        let accounted = record.started.len() as u64 + dropped;
        // Who counts as lost may leave some waiting.
        assert!(lost || record.scheduled == accounted, "seed {seed}");
        assert!(record.scheduled >= accounted, "seed {seed}");
        assert!(record.scheduled <= owned && record.active_max <= limit, "seed {seed}");
        let ordered = record.started.windows(2).all(|pair| pair[0].index < pair[1].index);
        assert!(ordered, "seed {seed}: arrivals out of order");
        for start in &record.started {
            assert_eq!(epoch.due(start.index), Some(start.due), "seed {seed}");
            assert_eq!(epoch.owner(start.index), Some(ShardId(0)), "seed {seed}");
        }
        for (accounted, progress) in &record.accounted {
            let below_next = epoch.wheel.owned_before(ShardId(0), progress.min(&total).to_owned());
            assert_eq!(*accounted, below_next, "seed {seed}: the place in the schedule");
        }
    }
}

/// A stop that was said at any time; `below` draws.
fn some_stop(mut below: impl FnMut(u64) -> u64) -> Input {
    let said = Moment::from_micros(below(8 * SECOND));
    if below(2) == 0 {
        Input::Stop(said)
    } else {
        Input::StopNow(said)
    }
}

/// Users that come, pause and stay; `below` draws.
fn some_stages(mut below: impl FnMut(u64) -> u64) -> Vec<UserStageShape> {
    let span = |ms| Duration::from_millis(1 + ms);
    vec![
        UserStageShape::Ramp {
            from: below(9) as u32,
            to: below(30) as u32,
            over: span(below(3_000)),
        },
        UserStageShape::Pause {
            length: span(below(800)),
        },
        UserStageShape::Hold {
            users: below(20) as u32,
            length: span(below(3_000)),
        },
    ]
}

/// The same for the models without a schedule of arrivals.
#[test]
fn whatever_comes_users_and_counted_iterations_end() {
    for seed in 0..200 {
        let mut rng = Rng::from_seed(seed);
        let mut below = move |n: u64| rng.below(n);
        let span = |ms| Duration::from_millis(1 + ms);
        let think = Delay {
            min: span(below(50)),
            max: span(50 + below(400)),
        };
        let stages = some_stages(&mut below);
        let count = 1 + below(400);
        let counted = IterationsLoad {
            count,
            users: 2 + below(9) as u32,
            at_most: span(below(9_000)),
        };
        let loads = vec![
            users(
                stages,
                (below(2) == 0).then_some(think),
                (below(3) == 0).then_some(span(below(500))),
            ),
            LoadModel::Iterations(counted.clone()),
        ];
        let mut plan = plan(loads, span(below(500)));
        plan.graceful_stop = span(below(1_500));
        let wheel = epoch(&[0, 1], vec![], 0, Moment::ZERO);
        let wheels = [(LoadId(0), Arc::clone(&wheel)), (LoadId(1), wheel)];
        let mut world = World::new(&plan, &wheels, |begun| {
            begun + 1_000 + stream(begun, LoadId(0), 0, Purpose::Body).below(300_000)
        });
        world.gate.every = [0, 5_000, 40_000][below(3) as usize];
        world.inputs = (0..30)
            .map(|n| (n * 700_000, Input::Grant(Moment::from_millis(n * 700 + below(1_400)))))
            .collect();
        let load = LoadId(1);
        world
            .inputs
            .push((below(SECOND), Input::Indices { load, first: 0, count }));
        world.sleep = (below(6 * SECOND), below(2 * SECOND));
        if below(3) == 0 {
            world.inputs.push((below(5 * SECOND), some_stop(&mut below)));
        }
        let record = world.run(60 * SECOND);
        check_unscheduled(&record, count, seed);
    }
}

#[test]
fn the_short_way_of_a_user_leads_where_the_long_one_does() {
    let mut short = 0;
    for seed in 0..200 {
        let mut rng = Rng::from_seed(seed);
        let mut below = move |n: u64| rng.below(n);
        let span = |ms| Duration::from_millis(1 + ms);
        let stages = some_stages(&mut below);
        let pace = (below(5) == 0).then_some(span(below(200)));
        let mut plan = plan(vec![users(stages, None, pace)], span(below(500)));
        plan.graceful_stop = span(below(1_500));
        let wheels = [(LoadId(0), epoch(&[0, 1], vec![], 0, Moment::ZERO))];
        let (every, sleep) = ([0, 0, 2_000][below(3) as usize], (below(6 * SECOND), below(2 * SECOND)));
        let mut inputs: Vec<(u64, Input)> = (0..30)
            .map(|n| (n * 700_000, Input::Grant(Moment::from_millis(n * 700 + below(1_400)))))
            .collect();
        inputs.push((below(2 * SECOND), Input::Marks(marks(&[0, SECOND]))));
        if below(3) == 0 {
            inputs.push((below(5 * SECOND), Input::Stop(Moment::MAX)));
        }
        let [long, quick] = [None, Some(0)].map(|short| {
            let mut world = World::new(&plan, &wheels, |begun| {
                begun + 1_000 + stream(begun, LoadId(0), 0, Purpose::Body).below(100_000)
            });
            (world.gate.every, world.sleep, world.short) = (every, sleep, short);
            world.inputs = inputs.clone();
            world.run_on(60 * SECOND);
            world
        });
        assert_eq!(long.record, quick.record, "seed {seed}");
        short += quick.short.unwrap_or_default();
    }
    assert!(short > 10_000, "only {short} went the short way");
}

#[track_caller]
fn check_unscheduled(record: &Record, count: u64, seed: u64) {
    assert!(record.finished.is_some(), "seed {seed} does not end");
    let dropped: u64 = record.dropped.values().sum();
    let (of_users, of_counted): (Vec<Start>, Vec<Start>) =
        record.started.iter().partition(|start| start.load == LoadId(0));
    assert!(record.scheduled <= count && dropped == 0, "seed {seed}");
    assert_eq!(of_counted.len() as u64 + dropped, record.scheduled, "seed {seed}");
    let indices: BTreeSet<u64> = of_users.iter().map(|start| start.index).collect();
    assert_eq!(indices.len(), of_users.len(), "seed {seed}: a number twice");
    assert!(
        of_users.iter().all(|start| start.user % 2 == 0),
        "seed {seed}: another shard's user"
    );
}

/// A shard with one even load that stands still for a second and more: what its intervals say of lag, in ms.
fn lag_after(rate: u32, inputs: Vec<(u64, Input)>, ticks: &[u64], length: usize) -> Vec<u128> {
    let plan = plan(vec![open(10_000, Duration::from_mins(1))], Duration::ZERO);
    let epochs = [(LoadId(0), epoch(&[0], hold(rate, 100), 0, Moment::ZERO))];
    let mut world = World::new(&plan, &epochs, |begun| begun + 1_000);
    let mut all: Vec<(u64, Input)> = ticks.iter().map(|at| (*at, Input::Tick)).chain(inputs).collect();
    all.sort_by_key(|(at, _)| *at);
    for (at, input) in all {
        world.now = at * 1_000;
        world.handle(input);
    }
    let stood = world.record.stood.iter().take(length);
    stood.map(|stood| stood.lag.as_millis()).collect()
}

#[test]
fn an_interval_whose_arrivals_are_noticed_after_it_says_how_late() {
    let ticks = |range: std::ops::Range<u64>| range.step_by(5).collect::<Vec<u64>>();
    let grant = |at, until| (at, Input::Grant(Moment::from_secs(until)));
    // Still from 2 s on, awake at 5 s, a word at 5.5 s.
    for hiccup in [0, 40] {
        let (first, second) = (ticks(0..1_985), ticks(5_000..5_100));
        let ticks = [first, second, ticks(5_100 + hiccup..5_500)].concat();
        let lag = lag_after(1_000, vec![grant(0, 10), grant(5_500, 15)], &ticks, 5);
        // Of the first of them until the word, 1 % left out. In second 1 it was awake until 1.98 s.
        assert_eq!(
            lag,
            [0, 3_509, 3_490, 2_490, 1_490],
            "{hiccup} ms of another standstill"
        );
    }
    // Awake in the middle of second 4, and a word only in second 6.
    let ticks = [ticks(0..1_985), ticks(4_100..6_200)].concat();
    let lag = lag_after(1_000, vec![grant(0, 10), grant(6_200, 16)], &ticks, 6);
    assert_eq!(lag, [0, 4_209, 4_190, 3_190, 2_190, 1_190]);
}

#[test]
fn what_has_waited_for_a_slot_is_not_late_for_a_standstill_that_was_short() {
    for gap in [900_000, 1_100_000] {
        let plan = plan(vec![open(10, Duration::from_secs(20))], Duration::ZERO);
        let epochs = [(LoadId(0), epoch(&[0], hold(100, 60), 0, Moment::ZERO))];
        // A tenth of what is asked for.
        let mut world = World::new(&plan, &epochs, |begun| begun + 1_000_000);
        world.sleep = (30 * SECOND, gap);
        world
            .inputs
            .push((30 * SECOND + gap + 300_000, Input::Grant(Moment::from_secs(200_000))));
        let record = world.run(100 * SECOND);
        assert!(record.dropped[&DropReason::NoSlot] > 3_000, "{:?}", record.dropped);
        assert_eq!(
            record.dropped.get(&DropReason::Late),
            None,
            "{gap}: {:?}",
            record.dropped
        );
    }
}

#[test]
fn many_short_standstills_are_no_long_one() {
    let plan = plan(vec![open(20, Duration::from_secs(30))], Duration::ZERO);
    let epochs = [(LoadId(0), epoch(&[0], hold(100, 90), 0, Moment::ZERO))];
    let mut world = World::new(&plan, &epochs, |begun| begun + 2 * SECOND);
    for n in 0..300 {
        // 35 ms in each 400: less than a tenth of the time.
        world.sleep = (world.now + 365_000, 35_000);
        world.run_on((n + 1) * 400_000);
    }
    let record = &world.record;
    assert!(record.dropped[&DropReason::NoSlot] > 4_000, "{:?}", record.dropped);
    assert_eq!(record.dropped.get(&DropReason::Late), None, "{:?}", record.dropped);
}

#[test]
fn what_the_graceful_stop_leaves_no_time_for_is_late_where_the_shard_stood_still() {
    let plan = |stop| Plan {
        graceful_stop: stop,
        ..plan(vec![open(1_000, Duration::from_secs(10))], Duration::ZERO)
    };
    let epochs = [(LoadId(0), epoch(&[0], hold(100, 10), 0, Moment::ZERO))];
    for (stop, length) in [(0, 600_000), (500, 1_000_000)] {
        let mut world = World::new(&plan(Duration::from_millis(stop)), &epochs, |begun| begun + 1_000);
        world.sleep = (9_500_000, length + stop * 1_000);
        let record = world.run(60 * SECOND);
        assert_eq!(record.scheduled, 1_000);
        let missed = 1_000 - record.started.len() as u64;
        assert!(missed > 40, "{missed}");
        assert_eq!(record.dropped, BTreeMap::from([(DropReason::Late, missed)]));
    }
}

#[test]
fn nothing_begins_between_a_grant_and_the_stop_behind_it() {
    let plan = plan(vec![open(1_000, Duration::from_secs(10))], Duration::ZERO);
    let epochs = [(LoadId(0), epoch(&[0], hold(100, 60), 0, Moment::ZERO))];
    let mut world = World::new(&plan, &epochs, |begun| begun + 1_000);
    world.run_on(2 * SECOND);
    let before = world.record.started.len();
    world.now = 4_900_000;
    world.handle(Input::Tick);
    let now = Moment::from_micros(world.now);
    world.machine.hear(now, Input::Grant(Moment::from_millis(14_500)));
    world.machine.hear(now, Input::Stop(Moment::from_millis(4_600)));
    world.machine.go_on(now, &mut world.gate);
    world.run_on(6 * SECOND);
    let record = &world.record;
    assert_eq!(record.started.len(), before);
    assert_eq!(record.scheduled, 461, "up to the stop");
    assert_eq!(
        record.dropped,
        BTreeMap::from([(DropReason::Stopped, 461 - before as u64)])
    );
}

#[test]
fn after_a_very_long_silence_a_lost_shard_still_leaves_everything() {
    for still in [98, 101, 400] {
        let plan = plan(vec![open(1_000, Duration::from_secs(10))], Duration::ZERO);
        let epochs = [(LoadId(0), epoch(&[0], hold(10, 1_000), 0, Moment::ZERO))];
        let mut world = World::new(&plan, &epochs, |begun| begun + 1_000);
        world.sleep = (2 * SECOND, still * SECOND);
        world.inputs.push(((2 + still) * SECOND + 500_000, Input::StandDown));
        let record = world.run(1_000 * SECOND);
        assert_eq!((record.scheduled, record.started.len()), (20, 20), "{still}");
        assert_eq!(record.dropped, BTreeMap::new());
        assert_eq!(record.closed.len() as u64, 2 + still);
    }
}
