//! What a latency costs to record, and sketches to merge.

use std::hint::black_box;

use barrage_model::rng::Rng;
use barrage_model::sketch::{Packed, Sketch};
use criterion::{BatchSize, Criterion};

/// Lognormal latencies: median 20 ms, σ 0.8.
fn latency(rng: &mut Rng) -> u64 {
    let radius = (-2.0 * (1.0 - rng.unit_f64()).ln()).sqrt();
    let normal = radius * (std::f64::consts::TAU * rng.unit_f64()).cos();
    (20_000.0 * (0.8 * normal).exp()) as u64
}

fn packed(seed: u64, samples: usize) -> Packed {
    let (mut sketch, mut rng) = (Sketch::new(), Rng::from_seed(seed));
    (0..samples).for_each(|_| sketch.record(latency(&mut rng)));
    sketch.pack()
}

fn record(criterion: &mut Criterion) {
    let mut rng = Rng::from_seed(1);
    let values: Vec<u64> = (0..4_096).map(|_| latency(&mut rng)).collect();
    let (mut sketch, mut at) = (Sketch::new(), 0);
    criterion.bench_function("sketch: record", |bench| {
        bench.iter(|| {
            at = (at + 1) % values.len();
            sketch.record(black_box(values[at]));
        });
    });
}

/// 200 samples of one worker into the 200,000 of a fleet.
fn merge(criterion: &mut Criterion) {
    let (small, large) = (packed(2, 200), packed(3, 200_000));
    let mut sketch = Sketch::new();
    sketch.merge(&large).expect("few samples");
    criterion.bench_function("sketch: merge 200 samples into 200,000 in pages", |bench| {
        bench.iter(|| sketch.merge(black_box(&small)).expect("few samples"));
    });
    criterion.bench_function("sketch: merge 200 samples into 200,000 packed", |bench| {
        bench.iter_batched_ref(
            || large.clone(),
            |sum| sum.merge(black_box(&small)).expect("few samples"),
            BatchSize::SmallInput,
        );
    });
    criterion.bench_function("sketch: pack 200,000 samples", |bench| {
        bench.iter(|| black_box(&sketch).pack());
    });
    criterion.bench_function("sketch: check 200 samples from the wire", |bench| {
        let (gaps, counts, clipped) = small.parts();
        bench.iter(|| Packed::from_wire(black_box(&gaps), black_box(&counts), clipped));
    });
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    record(&mut criterion);
    merge(&mut criterion);
    criterion.final_summary();
}
