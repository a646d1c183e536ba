//! Dispatch lag that the generator itself caused: for self-health, not for reports of latency.

/// Log-linear buckets: 128 per power of two of microseconds, so a percentile is less than 0.8 % too high.
const PER_OCTAVE: u64 = 128;
const BUCKETS: usize = 30 * PER_OCTAVE as usize;

/// The lags of one interval.
#[derive(Clone, Debug)]
pub(super) struct Lags {
    counts: Box<[u32; BUCKETS]>,
    total: u64,
    max_us: u64,
}

impl Lags {
    pub(super) fn new() -> Self {
        Self {
            counts: Box::new([0; BUCKETS]),
            total: 0,
            max_us: 0,
        }
    }

    pub(super) fn record(&mut self, us: u64) {
        let bucket = bucket_of(us).min(BUCKETS - 1);
        self.counts[bucket] = self.counts[bucket].saturating_add(1);
        self.total += 1;
        self.max_us = self.max_us.max(us);
    }

    pub(super) fn add(&mut self, other: &Self) {
        for (sum, more) in self.counts.iter_mut().zip(other.counts.iter()) {
            *sum = sum.saturating_add(*more);
        }
        self.total += other.total;
        self.max_us = self.max_us.max(other.max_us);
    }

    /// The 99th percentile (upper edge of its bucket, but at most the largest sample), µs; 0 without samples.
    pub(super) fn p99_us(&self) -> u64 {
        let rank = (self.total * 99).div_ceil(100);
        let mut seen = 0;
        for (bucket, count) in self.counts.iter().enumerate() {
            seen += u64::from(*count);
            if seen >= rank && rank > 0 {
                return upper_edge(bucket).min(self.max_us);
            }
        }
        0
    }
}

fn bucket_of(us: u64) -> usize {
    if us < 2 * PER_OCTAVE {
        return us as usize;
    }
    let shift = us.ilog2() - PER_OCTAVE.ilog2();
    (u64::from(shift) * PER_OCTAVE + (us >> shift)) as usize
}

fn upper_edge(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    if bucket < 2 * PER_OCTAVE {
        return bucket;
    }
    let shift = bucket / PER_OCTAVE - 1;
    let mantissa = bucket - shift * PER_OCTAVE;
    ((mantissa + 1) << shift) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_lies_in_its_bucket() {
        for us in (0..5_000).chain([1 << 20, (1 << 20) + 77, 3_600_000_000]) {
            let edge = upper_edge(bucket_of(us));
            assert!(edge >= us && edge <= us + us / 128, "{us} in a bucket up to {edge}");
        }
    }

    #[test]
    fn the_percentile_is_that_of_the_samples() {
        let mut lags = Lags::new();
        assert_eq!(lags.p99_us(), 0);
        for us in 1..=100 {
            lags.record(us * 10);
        }
        let p99 = lags.p99_us();
        assert!((990..998).contains(&p99), "{p99}");
        let mut one = Lags::new();
        one.record(9_800);
        assert_eq!(one.p99_us(), 9_800, "never more than there was");
        one.add(&lags);
        assert!((1_000..1_008).contains(&one.p99_us()), "the second largest of 101");
    }
}
