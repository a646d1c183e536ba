//! What the requests of a shard need to know of its standstills: an answer that is read after its deadline may have been there
//! in time.

use std::cell::{Cell, RefCell};
use std::time::Duration;

use super::machine::{STILL_MIN, TICK};
use crate::clock::Stamp;

/// When a shard was last awake, and how it stood still before that.
#[derive(Debug, Default)]
pub struct Awake {
    /// When its machine was told something last; `None` for who has none, and is taken as awake.
    told: Cell<Option<Stamp>>,
    /// Standstills, from when to when: the last one, and those before it that may still hide something. They are few, since none
    /// does for longer than it lasted.
    stood: RefCell<Vec<(Stamp, Stamp)>>,
}

impl Awake {
    pub(crate) fn told(&self, at: Stamp) {
        self.told.set(Some(at));
    }

    /// When it was told something last.
    pub(super) fn last(&self) -> Stamp {
        self.told.get().unwrap_or_default()
    }

    /// The last standstill, which may be known already.
    pub(crate) fn stood(&self, from: Stamp, to: Stamp) {
        let mut stood = self.stood.borrow_mut();
        if stood.last() != Some(&(from, to)) {
            stood.retain(|one| to <= hides_until(*one));
            stood.push((from, to));
        }
    }

    /// Whether what is read at `now` may have come before `deadline`, although that has passed: it passed while the shard stood
    /// still. What came meanwhile is read within the same time again, even where thousands wait.
    pub(crate) fn hid(&self, deadline: Stamp, now: Stamp) -> bool {
        let still = self.still_since(now).is_some_and(|since| since < deadline);
        let hides = |&(from, to): &(Stamp, Stamp)| {
            let began = from - TICK;
            began < deadline && deadline <= to && now <= hides_until((from, to))
        };
        still || self.stood.borrow().iter().any(hides)
    }

    /// For how long the shard stood still between two instants, as far as it is known.
    pub(crate) fn stood_within(&self, from: Stamp, now: Stamp) -> Duration {
        let still = self.still_since(now).map(|since| (since, now));
        let part = |(since, to): (Stamp, Stamp)| to.min(now).since(since.max(from));
        let stood: Duration = self.stood.borrow().iter().copied().map(part).sum();
        stood + still.map_or(Duration::ZERO, part)
    }

    /// Since when the shard has been standing still, if its machine does not know of it yet.
    fn still_since(&self, now: Stamp) -> Option<Stamp> {
        self.told.get().filter(|told| now > *told + TICK + STILL_MIN)
    }
}

/// Until when answers that a standstill hid may still be read: what came meanwhile is read within the same time again.
fn hides_until((from, to): (Stamp, Stamp)) -> Stamp {
    to + to.since(from)
}

#[cfg(test)]
mod tests {
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
        awake.stood(at(105), at(500));
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
    fn a_hiccup_does_not_make_the_standstill_before_it_forgotten() {
        let awake = Awake::default();
        awake.stood(at(1_000), at(2_500));
        awake.stood(at(2_501), at(2_551));
        awake.stood(at(2_501), at(2_551));
        awake.told(at(2_560));
        assert!(awake.hid(at(1_800), at(2_560)));
        assert_eq!(awake.stood_within(at(900), at(2_560)), Duration::from_millis(1_550));
        // As long as it was itself, and no longer.
        awake.told(at(4_001));
        assert!(!awake.hid(at(1_800), at(4_001)));
        awake.stood(at(4_100), at(4_120));
        assert_eq!(*awake.stood.borrow(), [(at(4_100), at(4_120))]);
    }
}
