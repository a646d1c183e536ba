//! What the next arrival of a shard costs to compute.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use barrage_model::ids::{EpochId, ShardId};
use barrage_model::schedule::{Arrivals, Cursor, Curve, Epoch, Piece, Wheel};
use barrage_model::time::Moment;
use barrage_model::units::Rate;
use criterion::Criterion;

/// A ramp and a long hold over eight shards.
fn epoch(arrivals: Arrivals) -> Arc<Epoch> {
    let piece = |from, to, secs| Piece {
        from: Rate::per_second(from),
        to: Rate::per_second(to),
        over: Duration::from_secs(secs),
    };
    Arc::new(Epoch {
        id: EpochId(0),
        first_index: 0,
        first_time: Moment::ZERO,
        curve: Curve::new(vec![piece(0, 100_000, 60), piece(100_000, 100_000, 36_000)]).expect("a curve"),
        wheel: Wheel::smooth(&[1; 8]).expect("a wheel"),
        arrivals,
        seed: 42,
    })
}

fn walk(criterion: &mut Criterion) {
    for (name, arrivals) in [("even", Arrivals::Even), ("poisson", Arrivals::Poisson)] {
        let epoch = epoch(arrivals);
        let mut cursor = Cursor::new(&epoch, ShardId(3));
        criterion.bench_function(
            &format!("schedule: next arrival of one of eight shards, {name}"),
            |bench| {
                bench.iter(|| {
                    if cursor.peek().is_none() {
                        cursor = Cursor::new(&epoch, ShardId(3));
                    }
                    let next = black_box(&cursor).peek();
                    cursor.advance();
                    next
                });
            },
        );
    }
}

fn count(criterion: &mut Criterion) {
    let epoch = epoch(Arrivals::Even);
    let mut second = 0;
    criterion.bench_function("schedule: arrivals before an instant", |bench| {
        bench.iter(|| {
            second = (second + 1) % 36_000;
            epoch.count_before(black_box(Moment::from_secs(second)))
        });
    });
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    walk(&mut criterion);
    count(&mut criterion);
    criterion.final_summary();
}
