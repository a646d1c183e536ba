//! The form of a sketch that travels, is stored and is merged.

use super::layout::LEN;
use super::varint;

/// Most samples of one sketch: 2⁵³, what a float still counts exactly.
pub const COUNT_MAX: u64 = 1 << 53;

/// (bucket, count) pairs in order of the bucket, without the empty buckets.
///
/// On the wire each bucket is a gap: the distance from the bucket before, the first one from −1, so every gap is at
/// least 1. A sum of all counts over [`COUNT_MAX`] cannot come in from outside or arise by merging.
///
/// In memory they are about as small as on the wire: a coordinator holds those of a whole fleet at once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Packed {
    /// Gap and count of each bucket, in 7-bit groups.
    row: Vec<u8>,
    buckets: u32,
    clipped: u64,
    /// Sum of the gaps: the last bucket plus 1, or 0.
    end: u32,
    total: u64,
}

/// Counts that are not a sketch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadSketch {
    /// There must be one count for each gap.
    #[error("a sketch of {gaps} buckets has {counts} counts")]
    Lengths {
        /// Buckets.
        gaps: usize,
        /// Counts.
        counts: usize,
    },
    /// Two entries for one bucket.
    #[error("entry {0} of a sketch repeats a bucket")]
    Gap(usize),
    /// A bucket that the layout does not have.
    #[error("entry {0} of a sketch lies beyond the last bucket")]
    Bucket(usize),
    /// An entry without samples.
    #[error("entry {0} of a sketch counts nothing")]
    Empty(usize),
    /// More samples than [`COUNT_MAX`].
    #[error("a sketch counts more than 2^53 samples")]
    Count,
    /// More clipped samples than samples.
    #[error("a sketch of {total} samples has {clipped} clipped ones")]
    Clipped {
        /// Clipped samples.
        clipped: u64,
        /// All samples.
        total: u64,
    },
}

impl Packed {
    /// Checks a sketch from outside. Takes time in proportion to the message, and memory for no more buckets than there are.
    ///
    /// # Errors
    /// The first thing that is not right.
    pub fn from_wire(gaps: &[u32], counts: &[u64], clipped: u64) -> Result<Self, BadSketch> {
        if gaps.len() != counts.len() {
            return Err(BadSketch::Lengths {
                gaps: gaps.len(),
                counts: counts.len(),
            });
        }
        let (mut end, mut total) = (0, 0);
        for (place, (gap, count)) in gaps.iter().zip(counts).enumerate() {
            (end, total) = after(place, (end, total), (*gap, *count))?;
        }
        if clipped > total {
            return Err(BadSketch::Clipped { clipped, total });
        }
        // Both numbers of most buckets take a byte.
        let mut row = Vec::with_capacity(2 * gaps.len());
        for (gap, count) in gaps.iter().zip(counts) {
            varint::push(&mut row, u64::from(*gap));
            varint::push(&mut row, *count);
        }
        row.shrink_to_fit();
        Ok(Self {
            row,
            buckets: gaps.len() as u32,
            clipped,
            end,
            total,
        })
    }

    /// Builds a sketch from (bucket, count) pairs in rising order of the bucket; pairs that count nothing are left out.
    ///
    /// # Errors
    /// As for [`Packed::from_wire`].
    pub fn from_counts(pairs: impl IntoIterator<Item = (u32, u64)>, clipped: u64) -> Result<Self, BadSketch> {
        let mut packed = Self::default();
        for (index, count) in pairs.into_iter().filter(|(_, count)| *count > 0) {
            let place = packed.buckets();
            let next = index.checked_add(1).ok_or(BadSketch::Bucket(place))?;
            let gap = next.saturating_sub(packed.end);
            after(place, (packed.end, packed.total), (gap, count))?;
            packed.push(index, count);
        }
        let total = packed.total;
        if clipped > total {
            return Err(BadSketch::Clipped { clipped, total });
        }
        Ok(packed.finished(clipped))
    }

    /// Complete, of which so many samples were clipped.
    pub(super) fn finished(mut self, clipped: u64) -> Self {
        self.row.shrink_to_fit();
        Self { clipped, ..self }
    }

    /// Gaps, counts and clipped samples, as [`Packed::from_wire`] takes them.
    pub fn parts(&self) -> (Vec<u32>, Vec<u64>, u64) {
        let (gaps, counts) = self.entries().unzip();
        (gaps, counts, self.clipped)
    }

    /// (bucket, count) pairs in rising order of the bucket; no count is 0.
    pub fn iter(&self) -> impl Iterator<Item = (u32, u64)> + '_ {
        let mut end = 0;
        self.entries().map(move |(gap, count)| {
            end += gap;
            (end - 1, count)
        })
    }

    /// (gap, count) pairs.
    fn entries(&self) -> impl Iterator<Item = (u32, u64)> + '_ {
        let mut rest = self.row.as_slice();
        std::iter::from_fn(move || {
            let gap = varint::take(&mut rest)?;
            Some((gap as u32, varint::take(&mut rest)?))
        })
    }

    /// Samples, clipped ones included.
    pub fn count(&self) -> u64 {
        self.total
    }

    /// Samples above one hour.
    pub fn clipped(&self) -> u64 {
        self.clipped
    }

    /// Buckets that are not empty.
    pub fn buckets(&self) -> usize {
        self.buckets as usize
    }

    /// Whether there are no samples.
    pub fn is_empty(&self) -> bool {
        self.total == 0
    }

    /// Adds every sample of `other`.
    ///
    /// # Errors
    /// [`BadSketch::Count`] when there would be more than [`COUNT_MAX`] samples; nothing is changed then.
    pub fn merge(&mut self, other: &Self) -> Result<(), BadSketch> {
        let total = sum_within(self.total, other.total).ok_or(BadSketch::Count)?;
        if other.is_empty() {
            return Ok(());
        }
        if self.is_empty() {
            self.clone_from(other);
            return Ok(());
        }
        let mut merged = Self {
            row: Vec::with_capacity(self.row.len().max(other.row.len())),
            ..Self::default()
        };
        let (mut ours, mut theirs) = (self.iter().peekable(), other.iter().peekable());
        loop {
            let next = match (ours.peek(), theirs.peek()) {
                (None, None) => break,
                (Some((ours, _)), Some((theirs, _))) => (*ours).min(*theirs),
                (Some((index, _)), None) | (None, Some((index, _))) => *index,
            };
            let (_, mine) = ours.next_if(|(index, _)| *index == next).unwrap_or_default();
            let (_, more) = theirs.next_if(|(index, _)| *index == next).unwrap_or_default();
            merged.push(next, mine + more);
        }
        drop((ours, theirs));
        debug_assert_eq!(merged.total, total, "merging keeps every sample");
        *self = merged.finished(self.clipped + other.clipped);
        Ok(())
    }

    /// The bucket of the sample of rank `rank`, counted from 1 in order of size; `None` when there is no such sample.
    pub fn index_at_rank(&self, rank: u64) -> Option<u32> {
        let mut below = 0;
        self.iter()
            .find(|(_, count)| {
                below += count;
                below >= rank
            })
            .filter(|_| rank > 0)
            .map(|(index, _)| index)
    }

    /// The bucket of a quantile in parts per billion: that of rank ⌈q·n⌉. `None` when empty.
    pub fn quantile_index(&self, q_ppb: u64) -> Option<u32> {
        self.index_at_rank(rank(q_ppb, self.total))
    }

    /// The lowest bucket with a sample.
    pub fn first_index(&self) -> Option<u32> {
        self.iter().next().map(|(index, _)| index)
    }

    /// The highest bucket with a sample.
    pub fn last_index(&self) -> Option<u32> {
        self.end.checked_sub(1)
    }

    /// Appends a bucket above all others.
    pub(super) fn push(&mut self, index: u32, count: u64) {
        varint::push(&mut self.row, u64::from(index + 1 - self.end));
        varint::push(&mut self.row, count);
        self.buckets += 1;
        self.end = index + 1;
        self.total += count;
    }
}

/// End and total of a sketch with one more bucket, that of a gap and a count from outside.
#[inline]
fn after(place: usize, (end, total): (u32, u64), (gap, count): (u32, u64)) -> Result<(u32, u64), BadSketch> {
    if gap == 0 {
        return Err(BadSketch::Gap(place));
    }
    if count == 0 {
        return Err(BadSketch::Empty(place));
    }
    let end = end.checked_add(gap).filter(|end| *end <= LEN);
    let end = end.ok_or(BadSketch::Bucket(place))?;
    Ok((end, sum_within(total, count).ok_or(BadSketch::Count)?))
}

/// The sum of two numbers of samples, unless it is over [`COUNT_MAX`].
pub(super) fn sum_within(a: u64, b: u64) -> Option<u64> {
    a.checked_add(b).filter(|sum| *sum <= COUNT_MAX)
}

/// Rank, from 1, of the quantile `q_ppb` (parts per billion) among `n` samples: ⌈q·n⌉, at least 1 and at most `n`; 0 when
/// there are none.
pub fn rank(q_ppb: u64, n: u64) -> u64 {
    let exact = (u128::from(q_ppb) * u128::from(n)).div_ceil(1_000_000_000);
    u64::try_from(exact).unwrap_or(u64::MAX).max(1).min(n)
}
