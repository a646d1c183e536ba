//! What the requests of a shard need to know of its standstills: an answer that is read after its deadline may have been there
//! in time. And what the shard has to tell of them: how late it has seen what ended meanwhile.

use std::cell::{Cell, RefCell};
use std::time::Duration;

use barrage_model::ids::LoadId;

use super::ends::{Ends, Stood};
use super::machine::{STILL_MIN, TICK};
use crate::clock::Stamp;

/// When a shard was last awake, and how it stood still before that.
#[derive(Debug, Default)]
pub struct Awake {
    /// When its machine was told something last; `None` for who has none, and is taken as awake.
    told: Cell<Option<Stamp>>,
    /// The last standstill, and those before it that may still hide something. They are few, since none does for longer than
    /// it lasted.
    stood: RefCell<Vec<Stood>>,
    /// When none of them hides anything any more.
    clear_after: Cell<Stamp>,
    ends: RefCell<Ends>,
}

impl Awake {
    /// For a shard whose run time 0 is `start`, with loads of which it is known whether they are closed.
    pub(crate) fn new(start: Stamp, closed: Vec<bool>) -> Self {
        Self {
            told: Cell::new(Some(start)),
            ends: RefCell::new(Ends::new(start, closed)),
            ..Self::default()
        }
    }

    pub(crate) fn told(&self, at: Stamp) {
        self.told.set(Some(at));
    }

    /// The same for a thread without a machine, which is told every [`TICK`] or so: whether it has stood still shows here.
    pub(crate) fn tick(&self, now: Stamp) {
        if let Some(since) = self.still_since(now) {
            self.stood(since + TICK, now, Vec::new());
        }
        self.told(now);
    }

    /// When it was told something last.
    pub(super) fn last(&self) -> Stamp {
        self.told.get().unwrap_or_default()
    }

    /// The last standstill, which it may know of.
    pub(super) fn learn(&self, from: Stamp, to: Stamp, due: impl FnOnce() -> Vec<u64>) {
        let known = self.stood.borrow().last().map(|last| (last.from, last.to));
        if known != Some((from, to)) {
            self.stood(from, to, due());
        }
    }

    /// A standstill that is over, and how many arrivals of each load fell due in it.
    pub(crate) fn stood(&self, from: Stamp, to: Stamp, due: Vec<u64>) {
        let new = Stood { from, to, due };
        self.ends.borrow_mut().learn(&new);
        let mut stood = self.stood.borrow_mut();
        stood.retain(|one| to <= one.hides_until());
        stood.push(new);
        let last = stood.iter().map(Stood::hides_until).max();
        self.clear_after.set(last.unwrap_or_default());
    }

    /// Something that a load has waited for since `began` is seen to have ended.
    #[inline]
    pub(crate) fn ended(&self, load: LoadId, began: Stamp, at: Stamp) {
        let mut ends = self.ends.borrow_mut();
        let Some(place) = ends.add(load, at) else { return };
        if let Some(since) = self.still_since(at) {
            // What was sent after the shard came to is not hidden, and it came to later than that.
            if began < since + TICK {
                place.hide();
            }
        } else if at <= self.clear_after.get() {
            let stood = self.stood.borrow();
            let hides = stood.iter().filter(|one| began < one.from && at <= one.hides_until());
            if let Some(longest) = hides.max_by_key(|one| one.length()) {
                place.hide_by(longest);
            }
        }
    }

    /// How late the shard has seen what ended in an interval: the 99th percentile. Told once.
    pub(crate) fn take_lag(&self, interval: u32) -> Duration {
        self.ends.borrow_mut().take_lag(interval)
    }

    /// Whether what is read at `now` may have come before `deadline`, although that has passed: it passed while the shard stood
    /// still. What came meanwhile is read within the same time again, even where thousands wait.
    pub(crate) fn hid(&self, deadline: Stamp, now: Stamp) -> bool {
        let still = self.still_since(now).is_some_and(|since| since < deadline);
        let hides = |one: &Stood| {
            let began = one.from - TICK;
            began < deadline && deadline <= one.to && now <= one.hides_until()
        };
        still || self.stood.borrow().iter().any(hides)
    }

    /// For how long the shard stood still between two instants, as far as it is known.
    pub(crate) fn stood_within(&self, from: Stamp, now: Stamp) -> Duration {
        let still = self.still_since(now).map(|since| (since, now));
        let part = |(since, to): (Stamp, Stamp)| to.min(now).since(since.max(from));
        let stood: Duration = self.stood.borrow().iter().map(|one| part((one.from, one.to))).sum();
        stood + still.map_or(Duration::ZERO, part)
    }

    /// Since when the shard has been standing still, if its machine does not know of it yet.
    #[inline]
    fn still_since(&self, now: Stamp) -> Option<Stamp> {
        self.told.get().filter(|told| now > *told + TICK + STILL_MIN)
    }
}

#[cfg(test)]
mod tests {
    use std::cmp::Reverse;
    use std::collections::BinaryHeap;

    use super::*;

    fn at(ms: u64) -> Stamp {
        Stamp::from_us(ms * 1_000)
    }

    #[test]
    fn a_deadline_in_a_standstill_is_hidden_by_it() {
        let awake = Awake::default();
        // Nobody has told it anything.
        assert!(!awake.hid(at(100), at(500)));
        assert_eq!(awake.stood_within(at(100), at(500)), Duration::ZERO);
        // The answers are read before the machine hears of it.
        awake.told(at(100));
        for (deadline, now, hidden) in [(300, 500, true), (99, 500, false), (105, 109, false)] {
            assert_eq!(awake.hid(at(deadline), at(now)), hidden, "{deadline} {now}");
        }
        assert_eq!(awake.stood_within(at(50), at(500)), Duration::from_millis(400));
        // And after that.
        awake.stood(at(105), at(500), vec![]);
        awake.told(at(500));
        for (deadline, now, hidden) in [
            (300, 501, true),
            (102, 501, true),
            (99, 501, false),
            (500, 501, true),
            (501, 502, false),
            (300, 1_000, false),
        ] {
            awake.told(at(now));
            assert_eq!(awake.hid(at(deadline), at(now)), hidden, "{deadline} {now}");
        }
        assert_eq!(awake.stood_within(at(400), at(1_000)), Duration::from_millis(100));
        assert_eq!(awake.stood_within(at(600), at(1_000)), Duration::ZERO);
    }

    #[test]
    fn a_thread_without_a_machine_has_standstills_too() {
        let awake = Awake::default();
        for ms in [100, 105, 112, 400, 405] {
            awake.tick(at(ms));
        }
        assert!(awake.hid(at(300), at(405)) && !awake.hid(at(110), at(405)));
        assert_eq!(awake.stood_within(at(0), at(405)), Duration::from_millis(283));
    }

    #[test]
    fn a_hiccup_does_not_make_the_standstill_before_it_forgotten() {
        let awake = Awake::default();
        awake.stood(at(1_000), at(2_500), vec![]);
        awake.stood(at(2_501), at(2_551), vec![]);
        awake.learn(at(2_501), at(2_551), || unreachable!("it is known"));
        awake.told(at(2_560));
        assert!(awake.hid(at(1_800), at(2_560)));
        assert_eq!(awake.stood_within(at(900), at(2_560)), Duration::from_millis(1_550));
        // As long as it was itself, and no longer.
        awake.told(at(4_001));
        assert!(!awake.hid(at(1_800), at(4_001)));
        awake.stood(at(4_100), at(4_120), vec![]);
        assert_eq!(awake.stood.borrow().len(), 1);
    }

    /// What a shard of 50 users (or arrivals of an open load that are answered as slowly) sees who stands still for `length` at
    /// the end of each `every`, ms: the lag of five seconds. `at_once`: its machine is told of each answer, and else only
    /// from tick to tick.
    fn lags(answered_in: fn(u64) -> u64, every: u64, length: u64, at_once: bool) -> Vec<u128> {
        let awake = Awake::new(at(0), vec![true]);
        let mut sent: BinaryHeap<_> = (0..50).map(|user| Reverse((answered_in(user), 0))).collect();
        let (mut told, mut lags) = (0, Vec::new());
        let tell = |told: &mut u64, now: u64| {
            awake.told(at(now));
            if now > *told + 10 {
                awake.stood(at(*told + 5), at(now), vec![0]);
            }
            *told = now;
        };
        while lags.len() < 5 {
            let Reverse((came, began)) = sent.pop().unwrap();
            let still = (came / every + 1) * every - length;
            let seen = if came > still { still + length } else { came };
            let mut tick = told + 5;
            while tick <= came.min(still) {
                tell(&mut told, tick);
                tick += 5;
            }
            if seen / 1_000 > lags.len() as u64 {
                lags.push(awake.take_lag(lags.len() as u32).as_millis());
            }
            awake.ended(LoadId(0), at(began), at(seen));
            if at_once || seen > told + 5 {
                tell(&mut told, seen);
            }
            sent.push(Reverse((seen + answered_in(seen), seen)));
        }
        lags
    }

    #[test]
    fn what_a_standstill_hides_is_lag() {
        for at_once in [true, false] {
            let quick = |_| 5;
            assert_eq!(lags(quick, 1_000, 0, at_once), [0; 5]);
            // 50 of some 9,500 in a second; of some 400 between two.
            assert_eq!(lags(quick, 1_000, 25, at_once), [0; 5]);
            let often = lags(quick, 60, 25, at_once);
            assert!(often.iter().all(|lag| (14..=24).contains(lag)), "{often:?}");
            // Two in a hundred answers that take a second come meanwhile, half of them in its first half.
            let slow = |at| 900 + at * 7 % 200;
            let rare = lags(slow, 1_000, 25, at_once);
            assert!(rare.iter().all(|lag| *lag < 25), "{rare:?}");
            let long = lags(slow, 1_000, 200, at_once);
            assert!(long[2..].iter().all(|lag| (150..=200).contains(lag)), "{long:?}");
        }
    }

    #[test]
    fn what_a_standstill_hid_is_lag_of_the_interval_in_which_it_was_seen() {
        let awake = Awake::new(at(0), vec![true, true]);
        awake.told(at(900));
        for n in 0..100 {
            awake.ended(LoadId(0), at(100), at(200 + n));
            // Nobody has told the machine yet.
            awake.ended(LoadId(1), at(100), at(1_500));
        }
        awake.stood(at(905), at(1_500), vec![0, 0]);
        awake.told(at(1_500));
        awake.ended(LoadId(1), at(1_510), at(1_520));
        assert_eq!(awake.take_lag(0), Duration::ZERO);
        let lag = awake.take_lag(1).as_millis();
        assert!((570..595).contains(&lag), "{lag} ms");
        // Each is told once.
        assert_eq!(awake.take_lag(2), Duration::ZERO);
        // Setup is of no load, and who is told nothing has no standstills.
        awake.ended(LoadId(u16::MAX), at(100), at(2_600));
        Awake::default().ended(LoadId(0), at(100), at(2_600));
    }

    #[test]
    fn of_two_standstills_the_longer_one_has_hidden_what_is_read_after_both() {
        let awake = Awake::new(at(0), vec![true]);
        awake.stood(at(100), at(700), vec![0]);
        awake.stood(at(702), at(722), vec![0]);
        awake.told(at(722));
        awake.ended(LoadId(0), at(50), at(723));
        let lag = awake.take_lag(0).as_millis();
        assert!((580..=600).contains(&lag), "{lag} ms");
    }

    #[test]
    fn arrivals_speak_for_the_answers_of_an_open_load() {
        // So many fell due while the shard stood still for 100 ms, and so many answers are read after that.
        let lag = |due: u64, answers: u64| {
            let awake = Awake::new(at(0), vec![false]);
            for n in 0..500 {
                awake.ended(LoadId(0), at(100 + n), at(101 + n));
            }
            awake.stood(at(700), at(800), vec![due]);
            awake.told(at(800));
            (0..answers).for_each(|_| awake.ended(LoadId(0), at(690), at(800)));
            awake.take_lag(0).as_millis()
        };
        assert_eq!(lag(50, 50), 0);
        assert_eq!(lag(50, 100), 0);
        // It drains, or one arrival sends many requests.
        assert!((90..100).contains(&lag(0, 60)), "{}", lag(0, 60));
        assert!((90..100).contains(&lag(20, 60)), "{}", lag(20, 60));
        assert_eq!(lag(0, 0), 0);
    }
}
