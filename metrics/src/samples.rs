//! A merged distribution, dense, with its censored samples kept apart: where percentiles come from.

use barrage_model::sketch::{COUNT_MAX, HIGHEST_US, LEN, Packed, highest, index_of, lowest, mid, rank};
use hdrhistogram::Histogram;

use crate::pile::Pile;
use crate::series::Sum as _;
use crate::summary::{Distribution, Latency, Quantile};

/// Counts per bucket of any number of series.
///
/// 184 KiB once it holds a sample, twice that with censored ones.
#[derive(Clone, Debug, Default)]
pub struct Samples {
    /// By bucket, censored samples included; empty until the first sample.
    all: Vec<u64>,
    /// By bucket; empty until the first censored sample.
    censored: Vec<u64>,
    count: u64,
    censored_count: u64,
    clipped: u64,
}

impl Samples {
    /// No samples.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds every sample of `packed`, saturating.
    pub fn add(&mut self, packed: &Packed, censored: bool) {
        self.add_pile(&Pile::of(packed), censored);
    }

    /// Adds every sample of a sum, saturating.
    pub(crate) fn add_pile(&mut self, pile: &Pile, censored: bool) {
        self.each(pile, censored, u64::saturating_add);
    }

    /// Takes every sample of a sum out again; what is not there is not taken.
    pub(crate) fn remove_pile(&mut self, pile: &Pile, censored: bool) {
        self.each(pile, censored, u64::saturating_sub);
    }

    fn each(&mut self, pile: &Pile, censored: bool, change: fn(u64, u64) -> u64) {
        if pile.count() == 0 {
            return;
        }
        change_counts(&mut self.all, pile, change);
        self.count = change(self.count, pile.count());
        self.clipped = change(self.clipped, pile.clipped());
        if censored {
            change_counts(&mut self.censored, pile, change);
            self.censored_count = change(self.censored_count, pile.count());
        }
    }

    /// Samples, censored ones included.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Censored samples.
    pub fn censored(&self) -> u64 {
        self.censored_count
    }

    /// Samples above one hour, which count as one hour.
    pub fn clipped(&self) -> u64 {
        self.clipped
    }

    /// The quantile `q_ppb` in parts per billion: the sample of rank ⌈q·n⌉. `None` without samples.
    pub fn quantile(&self, q_ppb: u64) -> Option<Quantile> {
        self.at_rank(rank(q_ppb, self.count))
    }

    /// The sample of a rank from 1; `None` when there is no such sample.
    ///
    /// A lower bound as soon as one censored sample lies in its bucket or below: the true value of that one may lie
    /// above, and then everything moves up. A clipped sample is the same at one hour.
    pub fn at_rank(&self, rank: u64) -> Option<Quantile> {
        if rank == 0 {
            return None;
        }
        let (mut below, mut uncertain) = (0u64, false);
        for (index, count) in self.all.iter().enumerate() {
            uncertain |= self.censored.get(index).is_some_and(|n| *n > 0);
            below = below.saturating_add(*count);
            if below >= rank {
                let index = index as u32;
                let clipped = self.clipped > 0 && index == index_of(HIGHEST_US);
                return Some(Quantile {
                    value_us: highest(index),
                    at_least: uncertain || clipped,
                });
            }
        }
        None
    }

    /// What the sample of a rank is at most, µs: that of this rank, were all censored samples above all others. `None` when
    /// nobody knows.
    pub(crate) fn at_most(&self, rank: u64) -> Option<u64> {
        let top = index_of(HIGHEST_US) as usize;
        let mut below = 0u64;
        for (index, count) in self.all.iter().enumerate() {
            let censored = self.censored.get(index).copied().unwrap_or(0);
            below = below.saturating_add(count.saturating_sub(censored));
            if below >= rank {
                let clipped = self.clipped > 0 && index == top;
                return (!clipped).then(|| highest(index as u32));
            }
        }
        None
    }

    /// The smallest sample, at its bucket's lower end.
    pub fn min(&self) -> Option<Quantile> {
        let first = self.all.iter().position(|count| *count > 0)?;
        let censored = self.censored.get(first).copied().unwrap_or(0);
        Some(Quantile {
            value_us: lowest(first as u32),
            at_least: censored == self.all[first],
        })
    }

    /// What the smallest sample is at most, µs: the smallest of which the end was seen, at its bucket's lower end.
    pub(crate) fn min_at_most(&self) -> Option<u64> {
        let censored = |index: usize| self.censored.get(index).copied().unwrap_or(0);
        let known = |(index, count): (usize, &u64)| *count > censored(index);
        let first = self.all.iter().enumerate().position(known)?;
        Some(lowest(first as u32))
    }

    /// The largest sample, at its bucket's upper end.
    pub fn max(&self) -> Option<Quantile> {
        let last = self.all.iter().rposition(|count| *count > 0)?;
        Some(Quantile {
            value_us: highest(last as u32),
            at_least: self.censored_count > 0 || self.clipped > 0,
        })
    }

    /// Sum of all samples, each at the middle of its bucket, µs.
    pub fn sum_us(&self) -> u128 {
        self.pairs().fold(0, |sum, (index, count)| {
            sum + u128::from(mid(index)) * u128::from(count)
        })
    }

    /// Mean, µs; a lower bound when there are censored or clipped samples.
    pub fn mean_us(&self) -> Option<f64> {
        (self.count > 0).then(|| self.sum_us() as f64 / self.count as f64)
    }

    /// Whether [`Samples::mean_us`] and [`Samples::max`] are lower bounds.
    pub fn is_bounded_below_only(&self) -> bool {
        self.censored_count > 0 || self.clipped > 0
    }

    /// The numbers that reports show.
    pub fn latency(&self) -> Latency {
        Latency {
            count: self.count,
            censored: self.censored_count,
            min: self.min(),
            mean_us: self.mean_us(),
            p50: self.quantile(500_000_000),
            p90: self.quantile(900_000_000),
            p95: self.quantile(950_000_000),
            p99: self.quantile(990_000_000),
            p999: self.quantile(999_000_000),
            p9999: self.quantile(999_900_000),
            max: self.max(),
        }
    }

    /// The buckets for curves and `.hlog`.
    pub fn distribution(&self) -> Distribution {
        let buckets = self.pairs().map(|(index, count)| (highest(index), count)).collect();
        Distribution {
            buckets,
            count: self.count,
        }
    }

    /// The same counts as an HDR histogram of 1 µs to 1 h with three digits.
    pub fn histogram(&self) -> Histogram<u64> {
        let mut histogram = Histogram::new_with_bounds(1, HIGHEST_US, 3).expect("these bounds are valid");
        for (index, count) in self.pairs() {
            histogram.saturating_record_n(highest(index), count.min(COUNT_MAX));
        }
        histogram
    }

    fn pairs(&self) -> impl Iterator<Item = (u32, u64)> {
        self.all
            .iter()
            .enumerate()
            .filter(|(_, count)| **count > 0)
            .map(|(index, count)| (index as u32, *count))
    }
}

/// A quantile of two sparse sketches, of which the second is censored; see [`Samples::at_rank`].
pub(crate) fn sparse_quantile(all: &Packed, censored: &Packed, q_ppb: u64) -> Option<Quantile> {
    let index = all.quantile_index(q_ppb)?;
    let uncertain = censored.first_index().is_some_and(|first| first <= index);
    let clipped = all.clipped() > 0 && index == index_of(HIGHEST_US);
    Some(Quantile {
        value_us: highest(index),
        at_least: uncertain || clipped,
    })
}

/// The buckets of a sum.
pub(crate) fn sparse_distribution(pile: &Pile) -> Distribution {
    let buckets = pile.iter().map(|(index, count)| (highest(index), count)).collect();
    Distribution {
        buckets,
        count: pile.count(),
    }
}

fn change_counts(counts: &mut Vec<u64>, pile: &Pile, change: fn(u64, u64) -> u64) {
    if counts.is_empty() {
        counts.resize(LEN as usize, 0);
    }
    for (index, count) in pile.iter() {
        let cell = &mut counts[index as usize];
        *cell = change(*cell, count);
    }
}
