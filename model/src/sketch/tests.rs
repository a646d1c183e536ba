use hdrhistogram::Histogram;
use proptest::prelude::*;

use super::*;

fn oracle() -> Histogram<u64> {
    Histogram::new_with_bounds(1, HIGHEST_US, 3).expect("the bounds are right")
}

/// Every bucket of the oracle that is not empty, by our index.
fn oracle_counts(histogram: &Histogram<u64>) -> Vec<(u32, u64)> {
    histogram
        .iter_recorded()
        .map(|step| {
            (
                index_of(step.value_iterated_to().min(HIGHEST_US)),
                step.count_at_value(),
            )
        })
        .collect()
}

#[test]
fn the_layout_is_hdrhistograms() {
    let histogram = oracle();
    assert_eq!(histogram.distinct_values(), LEN as usize);
    for index in 0..LEN {
        let low = lowest(index);
        assert_eq!(low, histogram.lowest_equivalent(low), "{index}");
        assert_eq!(highest(index), histogram.highest_equivalent(low), "{index}");
        assert_eq!(mid(index), histogram.median_equivalent(low), "{index}");
        if highest(index) <= HIGHEST_US {
            assert_eq!((index_of(low), index_of(highest(index))), (index, index));
        }
        assert_eq!(lowest(index), if index == 0 { 0 } else { highest(index - 1) + 1 });
    }
    assert_eq!(index_of(u64::MAX), index_of(HIGHEST_US));
    assert!(index_of(HIGHEST_US) < LEN);
    assert_eq!(highest(u32::MAX), highest(LEN - 1));
}

#[test]
fn ranks_are_exact() {
    for (q, n, want) in [
        (500_000_000, 10, 5),
        (500_000_000, 11, 6),
        (950_000_000, 100, 95),
        (999_000_000, 1_000, 999),
        (990_000_000, 1, 1),
        (0, 7, 1),
        (1_000_000_000, 7, 7),
        (u64::MAX, u64::MAX, u64::MAX),
        (500_000_000, 0, 0),
        // 0.07 × 100 is 7.000000000000001 in floats, so a float would give 8.
        (70_000_000, 100, 7),
        (999_999_999, COUNT_MAX, 9_007_199_245_733_793),
    ] {
        assert_eq!(rank(q, n), want, "{q} of {n}");
    }
}

#[test]
fn hostile_sketches_are_refused() {
    let cases: [(&[u32], &[u64], u64, BadSketch); 9] = [
        (&[1], &[], 0, BadSketch::Lengths { gaps: 1, counts: 0 }),
        (&[1, 0], &[1, 1], 0, BadSketch::Gap(1)),
        (&[LEN + 1], &[1], 0, BadSketch::Bucket(0)),
        (&[LEN, 1], &[1, 1], 0, BadSketch::Bucket(1)),
        (&[2, u32::MAX], &[1, 1], 0, BadSketch::Bucket(1)),
        (&[1], &[0], 0, BadSketch::Empty(0)),
        (&[1, 1], &[u64::MAX, 1], 0, BadSketch::Count),
        (&[1], &[COUNT_MAX + 1], 0, BadSketch::Count),
        (&[1], &[1], 2, BadSketch::Clipped { clipped: 2, total: 1 }),
    ];
    for (gaps, counts, clipped, want) in cases {
        assert_eq!(Packed::from_wire(gaps, counts, clipped), Err(want));
    }
    let mut full = Packed::from_wire(&[LEN], &[COUNT_MAX], 0).expect("the largest sketch");
    let one = Packed::from_counts([(0, 1)], 0).expect("one sample");
    let before = full.clone();
    assert_eq!(full.merge(&one), Err(BadSketch::Count));
    assert_eq!(full, before);
    let mut sketch = Sketch::new();
    assert_eq!(
        (sketch.merge(&full), sketch.merge(&one)),
        (Ok(()), Err(BadSketch::Count))
    );
    sketch.record_many(7, u64::MAX);
    assert_eq!(sketch.pack(), before);
    assert_eq!(Packed::from_counts([(5, 1), (5, 1)], 0), Err(BadSketch::Gap(1)));
    assert_eq!(Packed::from_counts([(LEN, 1)], 0), Err(BadSketch::Bucket(0)));
}

#[test]
fn a_full_counter_does_not_wrap() {
    let mut sketch = Sketch::new();
    sketch.record_many(5, u64::from(u32::MAX));
    sketch.record(5);
    sketch.record(5);
    sketch.record_many(5, u64::from(u32::MAX) - 1);
    sketch.record_many(5, 10);
    let want = u64::from(u32::MAX) * 2 + 11;
    assert_eq!(sketch.count(), want);
    assert_eq!(sketch.pack().iter().collect::<Vec<_>>(), [(5, want)]);
}

#[test]
fn a_compact_sketch_is_small_and_the_same() {
    let check = |pairs: &[(u32, u64)], bytes: usize| {
        let packed = Packed::from_counts(pairs.iter().copied(), 0).expect("rising buckets");
        let compact = Compact::from(&packed);
        assert_eq!(compact.iter().collect::<Vec<_>>(), pairs);
        assert_eq!((compact.count(), compact.bytes()), (packed.count(), bytes), "{pairs:?}");
    };
    check(&[], 0);
    check(&[(0, 1)], 1);
    check(&[(0, 127), (1, 128), (2, 1)], 4);
    check(&[(300, 5), (301, 1), (LEN - 1, COUNT_MAX - 6)], 3 + 1 + 1 + 1 + 3 + 8);
}

#[test]
fn pages_come_with_samples() {
    let mut sketch = Sketch::new();
    assert_eq!((sketch.pages(), sketch.is_empty()), (0, true));
    sketch.record(0);
    sketch.record(255);
    sketch.record(256);
    sketch.record(HIGHEST_US + 1);
    assert_eq!((sketch.pages(), sketch.count(), sketch.clipped()), (3, 4, 1));
    let packed = sketch.pack();
    assert_eq!((packed.count(), packed.clipped(), packed.buckets()), (4, 1, 4));
    assert_eq!(
        (packed.first_index(), packed.last_index()),
        (Some(0), Some(index_of(HIGHEST_US)))
    );
    assert_eq!(Packed::default().last_index(), None);
}

#[test]
fn quantiles_are_those_of_the_oracle() {
    let mut sketch = Sketch::new();
    let mut histogram = oracle();
    let mut rng = crate::rng::Rng::from_seed(3);
    for _ in 0..10_000 {
        let bits = rng.below(32);
        let value = rng.below(1 << bits);
        sketch.record(value);
        histogram.record(value.min(HIGHEST_US)).expect("within the bounds");
    }
    let packed = sketch.pack();
    for q in [0.0, 0.5, 0.75, 0.9, 0.99, 0.999, 1.0] {
        let index = packed.quantile_index((q * 1e9) as u64).expect("not empty");
        assert!(
            histogram.equivalent(highest(index), histogram.value_at_quantile(q)),
            "{q}"
        );
    }
    assert_eq!(Packed::default().quantile_index(500_000_000), None);
    assert_eq!(packed.index_at_rank(0), None);
    assert_eq!(packed.index_at_rank(10_001), None);
}

/// Values of every size, with the borders of buckets and of the range among them.
fn value() -> impl Strategy<Value = u64> {
    prop_oneof![
        (0u32..33, any::<u64>()).prop_map(|(bits, value)| value & ((1 << bits) - 1)),
        (0..LEN).prop_map(lowest),
        (0..LEN).prop_map(highest),
        Just(HIGHEST_US),
        Just(HIGHEST_US + 1),
        Just(u64::MAX),
    ]
}

proptest! {
    #[test]
    fn every_value_is_in_its_bucket(value in value()) {
        let index = index_of(value);
        let kept = value.min(HIGHEST_US);
        prop_assert!(lowest(index) <= kept && kept <= highest(index));
    }

    /// Many shards, many intervals, merged in any order, are one sketch of all samples and the oracle's own counts.
    #[test]
    fn merging_loses_nothing(
        shards in prop::collection::vec(prop::collection::vec(prop::collection::vec(value(), 0..40), 1..4), 1..6),
        order in any::<u64>(),
    ) {
        let mut all = Sketch::new();
        let mut histogram = oracle();
        let mut deltas = Vec::new();
        for shard in &shards {
            let mut sketch = Sketch::new();
            for interval in shard {
                for value in interval {
                    sketch.record(*value);
                    all.record(*value);
                    histogram.record((*value).min(HIGHEST_US)).expect("within the bounds");
                }
                let (gaps, counts, clipped) = std::mem::take(&mut sketch).pack().parts();
                deltas.push(Packed::from_wire(&gaps, &counts, clipped).expect("our own sketches are valid"));
            }
        }
        let mut rng = crate::rng::Rng::from_seed(order);
        let (mut merged, mut paged) = (Packed::default(), Sketch::new());
        while !deltas.is_empty() {
            let next = deltas.swap_remove(rng.below(deltas.len() as u64) as usize);
            merged.merge(&next).expect("few samples");
            paged.merge(&next).expect("few samples");
        }
        prop_assert_eq!(&merged, &all.pack());
        prop_assert_eq!(&merged, &paged.pack());
        prop_assert_eq!(merged.iter().collect::<Vec<_>>(), oracle_counts(&histogram));
        prop_assert_eq!(merged.count(), histogram.len());
        let again = Packed::from_counts(merged.iter(), merged.clipped()).expect("rising buckets");
        prop_assert_eq!(&again, &merged);
        prop_assert_eq!(paged.iter().collect::<Vec<_>>(), merged.iter().collect::<Vec<_>>());
        let compact = Compact::from(&merged);
        prop_assert_eq!(compact.iter().collect::<Vec<_>>(), merged.iter().collect::<Vec<_>>());
        prop_assert_eq!((compact.count(), compact.clipped()), (merged.count(), merged.clipped()));
        prop_assert_eq!(Compact::new(paged.iter(), paged.clipped()), compact);
    }
}
