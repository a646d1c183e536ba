//! The sketch that a load thread records into.

use std::collections::BTreeMap;

use super::{
    layout::{HIGHEST_US, LEN, index_of},
    packed::{BadSketch, COUNT_MAX, Packed, sum_within},
};

/// Buckets of a page: 1 KiB of counts.
const PAGE: usize = 256;
const PAGES: usize = LEN as usize / PAGE;

/// Counts per bucket in pages that exist from their first sample on: latencies of one step touch a few of the 92.
///
/// At most 94 KiB. Recording is a few shifts and one addition; counts never wrap, a full counter moves to a wide one.
#[derive(Clone, Debug)]
pub struct Sketch {
    pages: [Option<Box<[u32; PAGE]>>; PAGES],
    count: u64,
    clipped: u64,
    /// What full counters have held before they began again at 0.
    wide: BTreeMap<u32, u64>,
}

impl Default for Sketch {
    fn default() -> Self {
        Self {
            pages: [const { None }; PAGES],
            count: 0,
            clipped: 0,
            wide: BTreeMap::new(),
        }
    }
}

impl Sketch {
    /// An empty sketch; allocates nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Counts one value, in microseconds. Above one hour it is counted as one hour, and as clipped.
    #[inline]
    pub fn record(&mut self, value_us: u64) {
        let index = index_of(value_us);
        self.count += 1;
        if value_us > HIGHEST_US {
            self.clipped += 1;
        }
        let Some(page) = &mut self.pages[index as usize / PAGE] else {
            return self.count_slowly(index, 1);
        };
        let counter = &mut page[index as usize % PAGE];
        if *counter == u32::MAX {
            return self.count_slowly(index, 1);
        }
        *counter += 1;
    }

    /// Counts `count` samples of one value, in microseconds. Of more than [`COUNT_MAX`] samples in all the rest is ignored:
    /// no run comes near.
    pub fn record_many(&mut self, value_us: u64, count: u64) {
        let count = count.min(COUNT_MAX.saturating_sub(self.count));
        if count == 0 {
            return;
        }
        self.count += count;
        if value_us > HIGHEST_US {
            self.clipped += count;
        }
        self.count_slowly(index_of(value_us), count);
    }

    /// Adds every sample of `other`.
    ///
    /// # Errors
    /// [`BadSketch::Count`] when there would be more than [`COUNT_MAX`] samples; nothing is changed then.
    pub fn merge(&mut self, other: &Packed) -> Result<(), BadSketch> {
        self.count = sum_within(self.count, other.count()).ok_or(BadSketch::Count)?;
        self.clipped += other.clipped();
        for (index, count) in other.iter() {
            self.count_bucket(index, count);
        }
        Ok(())
    }

    /// (bucket, count) pairs in rising order of the bucket; no count is 0.
    pub fn iter(&self) -> impl Iterator<Item = (u32, u64)> + '_ {
        let pages = self.pages.iter().enumerate();
        let used = pages.filter_map(|(place, page)| Some((place, page.as_ref()?)));
        used.flat_map(|(place, page)| page_buckets(place, page, &self.wide))
    }

    /// Samples counted, clipped ones included.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Samples above one hour.
    pub fn clipped(&self) -> u64 {
        self.clipped
    }

    /// Whether nothing has been counted.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The counts so far.
    pub fn pack(&self) -> Packed {
        let mut packed = Packed::default();
        self.iter().for_each(|(index, count)| packed.push(index, count));
        packed.finished(self.clipped)
    }

    /// Pages in use: 1 KiB each.
    pub fn pages(&self) -> usize {
        self.pages.iter().flatten().count()
    }

    /// Counts samples of one bucket.
    #[inline]
    fn count_bucket(&mut self, index: u32, count: u64) {
        if let (Some(page), Ok(narrow)) = (&mut self.pages[index as usize / PAGE], u32::try_from(count)) {
            let counter = &mut page[index as usize % PAGE];
            if let Some(sum) = counter.checked_add(narrow) {
                *counter = sum;
                return;
            }
        }
        self.count_slowly(index, count);
    }

    /// The first sample of a page, a full counter, or many samples at once.
    #[cold]
    fn count_slowly(&mut self, index: u32, count: u64) {
        let page = self.pages[index as usize / PAGE].get_or_insert_with(|| Box::new([0; PAGE]));
        let counter = &mut page[index as usize % PAGE];
        let sum = u64::from(*counter) + count;
        if let Ok(sum) = u32::try_from(sum) {
            *counter = sum;
        } else {
            *counter = 0;
            *self.wide.entry(index).or_default() += sum;
        }
    }
}

fn page_buckets<'a>(
    place: usize,
    page: &'a [u32; PAGE],
    wide: &'a BTreeMap<u32, u64>,
) -> impl Iterator<Item = (u32, u64)> + use<'a> {
    let counts = page.iter().enumerate().map(move |(offset, narrow)| {
        let index = (place * PAGE + offset) as u32;
        let mut count = u64::from(*narrow);
        if !wide.is_empty() {
            count += wide.get(&index).copied().unwrap_or_default();
        }
        (index, count)
    });
    counts.filter(|(_, count)| *count > 0)
}
