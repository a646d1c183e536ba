//! Indices of `iterations` loads that a worker has been handed, shared by its shards.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use barrage_model::ids::LoadId;

/// Most indices that a shard takes at once.
const CHUNK_MAX: u64 = 1_024;

/// Handed out block by block by the coordinator, and taken chunk by chunk by the shards. The chunks shrink towards the
/// end, so that no shard is left with a heap while the others have nothing to do.
#[derive(Debug, Default)]
pub struct Blocks(Mutex<BTreeMap<LoadId, VecDeque<(u64, u64)>>>);

impl Blocks {
    /// Adds a block.
    pub fn put(&self, load: LoadId, first: u64, count: u64) {
        if count > 0 {
            let mut loads = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            loads.entry(load).or_default().push_back((first, count));
        }
    }

    /// Takes a chunk for one of `shards` shards: first index and number.
    pub fn take(&self, load: LoadId, shards: u64) -> Option<(u64, u64)> {
        let mut loads = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let blocks = loads.get_mut(&load)?;
        let left = blocks.iter().fold(0u64, |sum, (_, count)| sum.saturating_add(*count));
        let (first, count) = blocks.front_mut()?;
        let chunk = (left / (2 * shards.max(1))).clamp(1, CHUNK_MAX).min(*count);
        let taken = (*first, chunk);
        *first += chunk;
        *count -= chunk;
        if *count == 0 {
            blocks.pop_front();
        }
        Some(taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_index_is_taken_once() {
        let blocks = Blocks::default();
        let load = LoadId(3);
        blocks.put(load, 10, 5_000);
        blocks.put(load, 9_000, 3);
        blocks.put(load, 1, 0);
        let mut taken = Vec::new();
        while let Some((first, count)) = blocks.take(load, 2) {
            assert!(count <= CHUNK_MAX);
            taken.extend(first..first + count);
        }
        assert_eq!(taken, (10..5_010).chain(9_000..9_003).collect::<Vec<u64>>());
        assert_eq!(blocks.take(LoadId(0), 2), None);
    }
}
