//! Sums by key, with a bound on the number of keys that does not depend on the order of arrival.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

/// Most latency series that a run keeps apart, some 100 MB of them compact; what lies beyond is summed in `other`.
pub const SERIES_MAX: usize = 50_000;
/// Most rows of each ledger that a run keeps apart, some 20 MB of each; what lies beyond is summed in `other`.
pub const ROWS_MAX: usize = 100_000;

/// Sums by key. So many of the smallest keys as there may be are kept apart; larger ones are summed by their folded key.
///
/// Because the smallest keys win, and not the first ones, any order of the same additions gives the same state, and a key that
/// is kept apart has all of its sum: one that was folded once never comes back.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Series<K: Ord, F: Ord, V> {
    kept: BTreeMap<K, V>,
    other: BTreeMap<F, V>,
    /// The smallest key that was folded: all keys from it on are.
    folded_from: Option<K>,
    limit: usize,
}

/// A sum of many `M`.
pub(crate) trait Sum<M> {
    /// The sum of one.
    fn of(first: &M) -> Self;
    /// Adds one more.
    fn add(&mut self, more: &M);
    /// Adds another sum.
    fn join(&mut self, other: &Self);
}

impl<K: Ord + Copy, F: Ord, V> Series<K, F, V> {
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            kept: BTreeMap::new(),
            other: BTreeMap::new(),
            folded_from: None,
            limit,
        }
    }

    /// Adds to the sum of `key`.
    pub(crate) fn add<M>(&mut self, key: K, more: &M, fold: impl Fn(&K) -> F)
    where
        V: Sum<M>,
    {
        if let Some(sum) = self.kept.get_mut(&key) {
            return sum.add(more);
        }
        if self.kept.len() < self.limit {
            self.kept.insert(key, V::of(more));
            return;
        }
        match self.kept.last_entry() {
            Some(largest) if *largest.key() > key => {
                let (evicted, sum) = largest.remove_entry();
                self.folded_from = Some(evicted);
                match self.other.get_mut(&fold(&evicted)) {
                    Some(other) => other.join(&sum),
                    None => drop(self.other.insert(fold(&evicted), sum)),
                }
                self.kept.insert(key, V::of(more));
            }
            _ => {
                self.folded_from = Some(self.folded_from.map_or(key, |from| from.min(key)));
                match self.other.get_mut(&fold(&key)) {
                    Some(other) => other.add(more),
                    None => drop(self.other.insert(fold(&key), V::of(more))),
                }
            }
        }
    }

    /// Every key that is kept apart.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.kept.iter()
    }

    /// Those of a range that are kept apart.
    pub(crate) fn range(&self, keys: RangeInclusive<K>) -> impl Iterator<Item = (&K, &V)> {
        self.kept.range(keys)
    }

    /// The smallest key of which the sum is not kept apart; of all larger ones it is not, either.
    pub(crate) fn folded_from(&self) -> Option<&K> {
        self.folded_from.as_ref()
    }

    /// Number of keys that are kept apart.
    pub(crate) fn len(&self) -> usize {
        self.kept.len()
    }

    /// Every sum, in no form that it must stay in.
    pub(crate) fn values_mut(&mut self) -> impl Iterator<Item = &mut V> {
        self.kept.values_mut().chain(self.other.values_mut())
    }

    /// What was folded.
    pub(crate) fn other(&self) -> impl Iterator<Item = (&F, &V)> {
        self.other.iter()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    impl Sum<u64> for u64 {
        fn of(first: &u64) -> Self {
            *first
        }

        fn add(&mut self, more: &u64) {
            *self += more;
        }

        fn join(&mut self, other: &Self) {
            *self += other;
        }
    }

    fn filled(additions: &[(u8, u64)]) -> Series<u8, bool, u64> {
        let mut series = Series::new(5);
        for (key, more) in additions {
            series.add(*key, more, |key| key % 2 == 0);
        }
        series
    }

    proptest! {
        #[test]
        fn order_changes_nothing_and_nothing_is_lost(mut additions in prop::collection::vec((0u8..20, 1u64..100), 0..60)) {
            let one = filled(&additions);
            let total: u64 = additions.iter().map(|(_, n)| n).sum();
            prop_assert_eq!(one.iter().map(|(_, n)| n).chain(one.other().map(|(_, n)| n)).sum::<u64>(), total);
            let mut keys: Vec<u8> = additions.iter().map(|(key, _)| *key).collect();
            keys.sort_unstable();
            keys.dedup();
            prop_assert_eq!(one.folded_from(), keys.get(5));
            for (key, sum) in one.iter() {
                let of_key = additions.iter().filter(|(own, _)| own == key);
                prop_assert_eq!(of_key.map(|(_, n)| n).sum::<u64>(), *sum);
            }
            additions.reverse();
            prop_assert_eq!(&filled(&additions), &one);
            additions.sort_unstable();
            prop_assert_eq!(&filled(&additions), &one);
        }
    }
}
