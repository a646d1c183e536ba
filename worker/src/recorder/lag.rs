//! Dispatch lag that the generator itself caused, coarse: for self-health, not for reports of latency.

/// Log-linear buckets: 8 per power of two of microseconds, so a percentile is at most 12.5 % too high.
const PER_OCTAVE: u64 = 8;
const BUCKETS: usize = 41 * PER_OCTAVE as usize;

/// The lags of one interval.
#[derive(Clone, Debug)]
pub(super) struct Lags {
    counts: Box<[u32; BUCKETS]>,
    total: u64,
}

impl Lags {
    pub(super) fn new() -> Self {
        Self {
            counts: Box::new([0; BUCKETS]),
            total: 0,
        }
    }

    pub(super) fn record(&mut self, us: u64) {
        let bucket = bucket_of(us).min(BUCKETS - 1);
        self.counts[bucket] = self.counts[bucket].saturating_add(1);
        self.total += 1;
    }

    pub(super) fn add(&mut self, other: &Self) {
        for (sum, more) in self.counts.iter_mut().zip(other.counts.iter()) {
            *sum = sum.saturating_add(*more);
        }
        self.total += other.total;
    }

    /// The 99th percentile (upper edge of its bucket), µs; 0 without samples.
    pub(super) fn p99_us(&self) -> u64 {
        let rank = (self.total * 99).div_ceil(100);
        let mut seen = 0;
        for (bucket, count) in self.counts.iter().enumerate() {
            seen += u64::from(*count);
            if seen >= rank && rank > 0 {
                return upper_edge(bucket);
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
            assert!(edge >= us && edge <= us + us / 8, "{us} in a bucket up to {edge}");
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
        assert!((990..=1_114).contains(&p99), "{p99}");
    }
}
