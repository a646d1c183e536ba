//! The one bucket layout: that of an HDR histogram from 1 µs to 1 h with three significant digits.
//!
//! Values below 2,048 have a bucket each; above, each doubling has 1,024 buckets of equal width. Value 0 (a dispatch lag
//! below a microsecond) has bucket 0, as in the `hdrhistogram` crate. The last buckets, above 1 h, exist because the
//! layout ends at a power of two; recording never uses them.

/// Number of buckets.
pub const LEN: u32 = 23_552;
/// The highest value kept apart, in microseconds: one hour. Higher values count as this one.
pub const HIGHEST_US: u64 = 3_600_000_000;

/// log₂ of the buckets of one doubling.
const HALF_BITS: u32 = 10;
const HALF: u64 = 1 << HALF_BITS;

/// The bucket of `value_us`; values above [`HIGHEST_US`] are in its bucket.
#[inline]
pub fn index_of(value_us: u64) -> u32 {
    let value = if value_us > HIGHEST_US { HIGHEST_US } else { value_us };
    // How far the value must be shifted to keep eleven bits. Below 2,048: not at all.
    let shift = (u64::BITS - HALF_BITS - 1) - (value | (2 * HALF - 1)).leading_zeros();
    (shift << HALF_BITS) + (value >> shift) as u32
}

/// The lowest value of bucket `index`, in microseconds. An index of [`LEN`] or more counts as the last.
pub fn lowest(index: u32) -> u64 {
    let (shift, top) = split(index);
    top << shift
}

/// The highest whole value of bucket `index`, in microseconds. An index of [`LEN`] or more counts as the last.
pub fn highest(index: u32) -> u64 {
    let (shift, top) = split(index);
    ((top + 1) << shift) - 1
}

/// The middle of bucket `index`, in microseconds, rounded up: what stands for its samples in a mean.
pub fn mid(index: u32) -> u64 {
    let (shift, top) = split(index);
    (top << shift) + ((1 << shift) >> 1)
}

fn split(index: u32) -> (u32, u64) {
    let index = index.min(LEN - 1);
    let shift = (index >> HALF_BITS).saturating_sub(1);
    (shift, u64::from(index) - (u64::from(shift) << HALF_BITS))
}
