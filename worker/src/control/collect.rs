//! Puts the shards' parts of one interval together.

use std::collections::BTreeMap;

use barrage_model::delta::{Delta, Health};

use crate::recorder::{Merged, Part};

/// The parts of a worker's shards until every shard has closed the interval.
#[derive(Debug)]
pub(crate) struct Collect {
    shards: usize,
    open: BTreeMap<u32, (Merged, usize)>,
    /// Shards that have said that nothing will start any more.
    finished: usize,
    /// Shards that have handed over everything.
    sealed: usize,
    seal_said: bool,
    /// The interval after the newest one handed over; `None` when the last delta has been.
    next: Option<u32>,
    /// What setup has counted, for the next delta.
    extra: Vec<Part>,
}

impl Collect {
    /// Waits for the parts of `shards` shards.
    pub(crate) fn new(shards: usize) -> Self {
        Self {
            shards,
            open: BTreeMap::new(),
            finished: 0,
            sealed: 0,
            seal_said: false,
            next: Some(0),
            extra: Vec::new(),
        }
    }

    /// Adds a part.
    pub(crate) fn part(&mut self, part: Part) {
        let (merged, count) = self
            .open
            .entry(part.interval)
            .or_insert_with_key(|n| (Merged::new(*n), 0));
        *count += 1;
        merged.add(part);
    }

    /// A shard has finished.
    pub(crate) fn finished(&mut self) {
        self.finished += 1;
    }

    /// Whether every shard has finished; `true` only once.
    pub(crate) fn take_all_finished(&mut self) -> bool {
        let all = self.finished >= self.shards && !self.seal_said;
        self.seal_said |= all;
        all
    }

    /// A shard will say nothing any more.
    pub(crate) fn lose(&mut self) {
        self.shards = self.shards.saturating_sub(1);
    }

    /// Adds what belongs to no interval of a shard to the next delta.
    pub(crate) fn extra(&mut self, parts: Vec<Part>) {
        self.extra.extend(parts);
    }

    /// A shard has handed over its last part.
    pub(crate) fn sealed(&mut self, last: Part) {
        // Kept back by one until every shard has sealed, for the last delta must say that it is the last.
        let (merged, _) = self
            .open
            .entry(last.interval)
            .or_insert_with_key(|n| (Merged::new(*n), 0));
        merged.add(last);
        self.sealed += 1;
    }

    /// Whether every shard has handed over everything.
    pub(crate) fn is_sealed(&self) -> bool {
        self.sealed >= self.shards
    }

    /// The next complete interval, oldest first. `health` is asked once for each, with its number.
    pub(crate) fn next(&mut self, health: impl FnOnce(u32) -> Health) -> Option<Delta> {
        let after = self.next?;
        let sealed = self.is_sealed();
        let ready = match self.open.first_key_value() {
            Some((_, (_, count))) => sealed || *count >= self.shards,
            // Every shard has been lost, with all that it kept back: the end is still said.
            None => sealed,
        };
        if !ready {
            return None;
        }
        let (interval, mut merged) = match self.open.pop_first() {
            Some((interval, (merged, _))) => (interval, merged),
            None => (after, Merged::new(after)),
        };
        self.extra.drain(..).for_each(|part| merged.add(part));
        let last = sealed && self.open.is_empty();
        self.next = if last { None } else { Some(interval + 1) };
        Some(merged.into_delta(0, last, health(interval)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Stamp;
    use crate::recorder::{Recorder, Shape};

    #[test]
    fn an_interval_is_complete_when_every_shard_has_closed_it() {
        let recorder = || Recorder::new(Shape::new(1, 1, &[true]), Stamp::default(), None);
        let (mut a, mut b) = (recorder(), recorder());
        let mut collect = Collect::new(2);
        let next = |collect: &mut Collect| {
            collect
                .next(|_| Health::default())
                .map(|delta| (delta.interval, delta.last))
        };
        collect.part(a.close(Vec::new()));
        assert_eq!(next(&mut collect), None);
        collect.part(a.close(Vec::new()));
        collect.part(b.close(Vec::new()));
        assert_eq!(next(&mut collect), Some((0, false)));
        assert_eq!(next(&mut collect), None);
        collect.finished();
        assert!(!collect.take_all_finished());
        collect.finished();
        assert!(collect.take_all_finished() && !collect.take_all_finished());
        // One is sealed in interval 2, the other in interval 1.
        collect.sealed(a.close(Vec::new()));
        assert_eq!(next(&mut collect), None);
        collect.sealed(b.close(Vec::new()));
        assert_eq!(next(&mut collect), Some((1, false)));
        assert_eq!(next(&mut collect), Some((2, true)));
        assert_eq!(next(&mut collect), None);
    }

    #[test]
    fn the_end_is_said_even_when_every_shard_has_died() {
        let mut collect = Collect::new(1);
        let mut shard = Recorder::new(Shape::new(1, 1, &[true]), Stamp::default(), None);
        collect.part(shard.close(Vec::new()));
        let next = |collect: &mut Collect| {
            collect
                .next(|_| Health::default())
                .map(|delta| (delta.interval, delta.last))
        };
        assert_eq!(next(&mut collect), Some((0, false)));
        collect.lose();
        assert!(collect.take_all_finished());
        assert_eq!(next(&mut collect), Some((1, true)));
        assert_eq!(next(&mut collect), None);
    }
}
