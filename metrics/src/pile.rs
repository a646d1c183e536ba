//! Sums of sketches: in pages while much is added to them, compact afterwards.

use barrage_model::sketch::{Compact, Packed, Sketch};

use crate::series::Sum;

/// Why a sum cannot overflow.
const FEW: &str = "a ledger takes no more samples than a sketch can count";

/// A sum of sketches. Its form is no part of what it says.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pile {
    /// Quick to add to; about 25 KiB for the latencies of one step.
    open: Option<Box<Sketch>>,
    /// Everything while nothing is open, then nothing. A few bytes for a bucket.
    closed: Compact,
}

impl PartialEq for Pile {
    fn eq(&self, other: &Self) -> bool {
        self.compact() == other.compact()
    }
}

impl Pile {
    /// Samples, clipped ones included.
    pub(crate) fn count(&self) -> u64 {
        self.open.as_ref().map_or(self.closed.count(), |open| open.count())
    }

    /// Samples above one hour.
    pub(crate) fn clipped(&self) -> u64 {
        self.open.as_ref().map_or(self.closed.clipped(), |open| open.clipped())
    }

    /// (bucket, count) pairs in rising order of the bucket.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, u64)> + '_ {
        self.open.iter().flat_map(|open| open.iter()).chain(self.closed.iter())
    }

    /// Takes the form that is small. Gives the bytes of its counts.
    pub(crate) fn close(&mut self) -> usize {
        if self.open.is_some() {
            *self = Self {
                open: None,
                closed: self.compact(),
            };
        }
        self.closed.bytes()
    }

    /// The same counts as a sketch of its own.
    pub(crate) fn packed(&self) -> Packed {
        match &self.open {
            Some(open) => open.pack(),
            None => Packed::from_counts(self.closed.iter(), self.closed.clipped()).expect("its buckets rise"),
        }
    }

    fn compact(&self) -> Compact {
        match &self.open {
            Some(open) => Compact::new(open.iter(), open.clipped()),
            None => self.closed.clone(),
        }
    }
}

impl Sum<Packed> for Pile {
    fn of(first: &Packed) -> Self {
        let mut pile = Self::default();
        pile.add(first);
        pile
    }

    fn add(&mut self, more: &Packed) {
        if more.is_empty() {
            return;
        }
        if self.open.is_none() {
            let mut open = Box::new(Sketch::new());
            open.merge(&self.packed()).expect(FEW);
            (self.open, self.closed) = (Some(open), Compact::default());
        }
        if let Some(open) = &mut self.open {
            open.merge(more).expect(FEW);
        }
    }

    fn join(&mut self, other: &Self) {
        self.add(&other.packed());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closing_changes_nothing_that_can_be_seen() {
        let one = Packed::from_counts([(3, 7), (900, 1)], 0).expect("rising buckets");
        let two = Packed::from_counts([(4, 1), (900, u64::from(u32::MAX))], 1).expect("rising buckets");
        let (mut closing, mut open) = (Pile::default(), Pile::default());
        for sketch in [&one, &two, &Packed::default(), &one] {
            closing.add(sketch);
            open.add(sketch);
            assert!(closing.close() > 0);
            assert_eq!(closing, open);
            assert_eq!((closing.count(), closing.clipped()), (open.count(), open.clipped()));
            assert_eq!(closing.iter().collect::<Vec<_>>(), open.iter().collect::<Vec<_>>());
            assert_eq!(closing.packed(), open.packed());
        }
        closing.join(&open);
        assert_eq!(closing.count(), 2 * open.count());
        assert_ne!(closing, open);
    }
}
