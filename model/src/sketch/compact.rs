//! The form of a sketch that is kept for long: as few bytes as can be for buckets that lie close together.

use super::packed::Packed;
use super::varint;

/// The same counts as a [`Packed`], without the gaps between buckets that follow each other, as they do in sums; to be read
/// in order, not to be added to.
///
/// A row of bytes: the count of each bucket that is not empty, in 7-bit groups with the low one first, and where empty
/// buckets lie before it, a zero and their number in front.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Compact {
    bytes: Box<[u8]>,
    count: u64,
    clipped: u64,
}

impl Compact {
    /// From (bucket, count) pairs in rising order of the bucket, of which `clipped` samples were above one hour. Pairs that
    /// count nothing are left out.
    pub fn new(pairs: impl IntoIterator<Item = (u32, u64)>, clipped: u64) -> Self {
        let (mut bytes, mut count, mut end) = (Vec::new(), 0u64, 0);
        for (index, n) in pairs.into_iter().filter(|(_, n)| *n > 0) {
            debug_assert!(index >= end, "buckets come in order");
            if index > end {
                bytes.push(0);
                varint::push(&mut bytes, u64::from(index - end));
            }
            varint::push(&mut bytes, n);
            end = index + 1;
            count = count.saturating_add(n);
        }
        Self {
            bytes: bytes.into_boxed_slice(),
            count,
            clipped,
        }
    }

    /// (bucket, count) pairs in rising order of the bucket; no count is 0.
    pub fn iter(&self) -> impl Iterator<Item = (u32, u64)> + '_ {
        let (mut rest, mut end) = (&*self.bytes, 0u32);
        std::iter::from_fn(move || {
            let mut count = varint::take(&mut rest)?;
            if count == 0 {
                end += varint::take(&mut rest)? as u32;
                count = varint::take(&mut rest)?;
            }
            end += 1;
            Some((end - 1, count))
        })
    }

    /// Samples, clipped ones included.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Samples above one hour.
    pub fn clipped(&self) -> u64 {
        self.clipped
    }

    /// Memory of the counts, bytes.
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }
}

impl From<&Packed> for Compact {
    fn from(packed: &Packed) -> Self {
        Self::new(packed.iter(), packed.clipped())
    }
}
