//! The bodies that are kept for checks and extracts, within a budget of the whole process.

use std::ops::Deref;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::host::MemoryFiles;
use crate::host::cgroup::Groups;

/// Capacity that a slot keeps between requests; a larger body gives its memory back.
pub(crate) const KEPT_CAPACITY: usize = 256 * 1024;
/// A body up to here costs nothing of the budget: as many as there can be slots are little beside the rest of a slot's memory.
const FREE_CAPACITY: usize = 16 * 1024;

/// Bytes that all larger bodies of the process may take together.
static BUDGET: Budget = Budget::new();

/// There is no room for more of the answers' bodies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the bodies kept for checks and extracts take half of the memory that was available to this worker")]
pub struct NoRoom;

#[derive(Debug)]
struct Budget {
    taken: AtomicU64,
    most: AtomicU64,
}

impl Budget {
    const fn new() -> Self {
        Self {
            taken: AtomicU64::new(0),
            most: AtomicU64::new(u64::MAX),
        }
    }

    fn set(&self, available: u64) {
        let taken = self.taken.load(Ordering::Relaxed);
        self.most.store(available.saturating_add(taken) / 2, Ordering::Relaxed);
    }

    fn take(&self, bytes: usize) -> Result<(), NoRoom> {
        let most = self.most.load(Ordering::Relaxed);
        let fits = |taken: u64| taken.checked_add(bytes as u64).filter(|all| *all <= most);
        // Nothing else is published with it.
        self.taken
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits)
            .map(drop)
            .map_err(|_| NoRoom)
    }

    fn give(&self, bytes: usize) {
        self.taken.fetch_sub(bytes as u64, Ordering::Relaxed);
    }
}

/// Sets the budget by the memory that is available now: half of it. Without a figure there is no limit.
pub(crate) fn set_budget() {
    if let Some(memory) = MemoryFiles::of(&Groups::own()).read() {
        BUDGET.set(memory.available_bytes);
    }
}

/// The kept body of one answer.
#[derive(Debug, Default)]
pub struct Body {
    bytes: Vec<u8>,
    /// What of the budget it has; no more than its capacity.
    charged: usize,
}

impl Body {
    /// Appends what has arrived.
    ///
    /// # Errors
    /// [`NoRoom`] when the process keeps too much; nothing has been appended.
    #[inline]
    pub fn push(&mut self, data: &[u8]) -> Result<(), NoRoom> {
        if data.len() > self.bytes.capacity() - self.bytes.len() {
            self.grow(data.len(), &BUDGET)?;
        }
        self.bytes.extend_from_slice(data);
        Ok(())
    }

    /// Makes room for so many bytes more.
    #[cold]
    fn grow(&mut self, more: usize, budget: &Budget) -> Result<(), NoRoom> {
        let needed = self.bytes.len().saturating_add(more);
        let mut capacity = needed.max(self.bytes.capacity().saturating_mul(2));
        if capacity > FREE_CAPACITY {
            if budget.take(capacity - self.charged).is_err() {
                capacity = needed;
                budget.take(capacity - self.charged)?;
            }
            self.charged = capacity;
        }
        self.bytes.reserve_exact(capacity - self.bytes.len());
        Ok(())
    }

    /// Forgets the content and keeps the memory, unless it is unusually much.
    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        if self.bytes.capacity() > KEPT_CAPACITY {
            self.bytes.shrink_to(KEPT_CAPACITY);
            BUDGET.give(self.charged.saturating_sub(KEPT_CAPACITY));
            self.charged = self.charged.min(KEPT_CAPACITY);
        }
    }

    /// Bytes that it has memory for.
    pub(crate) fn capacity(&self) -> usize {
        self.bytes.capacity()
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        if self.charged > 0 {
            BUDGET.give(self.charged);
        }
    }
}

impl Deref for Body {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
impl From<Vec<u8>> for Body {
    fn from(bytes: Vec<u8>) -> Self {
        Self { bytes, charged: 0 }
    }
}

#[cfg(test)]
impl Clone for Body {
    fn clone(&self) -> Self {
        self.bytes.clone().into()
    }
}

#[cfg(test)]
impl<T: AsRef<[u8]> + ?Sized> PartialEq<T> for Body {
    fn eq(&self, other: &T) -> bool {
        self.bytes == other.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_grows_within_the_budget() {
        let budget = Budget::new();
        budget.set(200_000);
        let (mut small, mut large, mut late) = (Body::default(), Body::default(), Body::default());
        assert_eq!(small.grow(FREE_CAPACITY, &budget), Ok(()));
        assert_eq!((small.capacity(), small.charged), (FREE_CAPACITY, 0));
        assert_eq!(large.grow(60_000, &budget), Ok(()));
        assert_eq!((large.capacity(), large.charged), (60_000, 60_000));
        assert_eq!(late.grow(40_001, &budget), Err(NoRoom));
        assert_eq!((late.capacity(), late.charged), (0, 0));
        assert_eq!(late.grow(40_000, &budget), Ok(()));
        assert_eq!(small.grow(FREE_CAPACITY * 6 + 2_000, &budget), Err(NoRoom));
        budget.give(60_000);
        assert_eq!(small.grow(1, &budget), Ok(()));
        assert_eq!(small.charged, FREE_CAPACITY * 2);
        // They were charged to another budget than the one that they give back to.
        (large.charged, late.charged, small.charged) = (0, 0, 0);
    }

    #[test]
    fn what_is_taken_already_is_not_available_any_more() {
        let budget = Budget::new();
        budget.take(1_000).unwrap();
        budget.set(9_000);
        assert_eq!(budget.take(4_001), Err(NoRoom));
        assert_eq!(budget.take(4_000), Ok(()));
    }

    #[test]
    fn clearing_keeps_small_buffers_and_gives_back_large_ones() {
        let mut body = Body::default();
        body.push(&vec![1; KEPT_CAPACITY * 4]).unwrap();
        assert_eq!(body.charged, KEPT_CAPACITY * 4);
        body.clear();
        assert!(body.is_empty() && body.capacity() <= KEPT_CAPACITY);
        assert_eq!(body.charged, KEPT_CAPACITY);
        body.push(b"abc").unwrap();
        let capacity = body.capacity();
        body.clear();
        assert_eq!((body.capacity(), body.charged), (capacity, KEPT_CAPACITY));
    }
}
