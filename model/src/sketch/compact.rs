//! The form of a sketch that is kept for long: two or three bytes for a bucket.

use super::packed::Packed;

/// The same counts as a [`Packed`], in a fifth of its memory; to be read in order, not to be added to.
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
                push(&mut bytes, u64::from(index - end));
            }
            push(&mut bytes, n);
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
        let (mut at, mut end) = (0, 0u32);
        std::iter::from_fn(move || {
            if at >= self.bytes.len() {
                return None;
            }
            let mut count = take(&self.bytes, &mut at);
            if count == 0 {
                end += take(&self.bytes, &mut at) as u32;
                count = take(&self.bytes, &mut at);
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

fn push(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

fn take(bytes: &[u8], at: &mut usize) -> u64 {
    let (mut number, mut shift) = (0, 0);
    while let Some(byte) = bytes.get(*at) {
        *at += 1;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            break;
        }
        shift += 7;
    }
    number
}
