//! What a plan costs to compile: from text to the plan that is checked and shipped.

use std::fmt::Write as _;
use std::hint::black_box;

use barrage_plan::{Overrides, Source, read};
use criterion::{Criterion, Throughput};

/// A plan of many scenarios, with templates, checks and expressions.
fn large(scenarios: usize) -> String {
    let mut text = "name: large\ntarget: http://127.0.0.1:8080\nseed: 42\n\
                    load: { stages: [ ramp: { from: 0/s, to: 500/s, over: 30s }, hold: { rate: 500/s, for: 5m } ] }\n\
                    sla: [ \"p95 < 250ms\", \"error_rate < 1%\" ]\nscenarios:\n"
        .to_owned();
    for number in 0..scenarios {
        // Writing into a string cannot fail.
        let _ = write!(
            text,
            "  - name: scenario {number}\n    weight: {}\n    steps:\n      \
             - get: {{ name: list {number}, url: \"/items?page={number}\" }}\n        \
             expect: {{ status: 200, body_contains: item }}\n        \
             extract: {{ id: {{ json: \"$.items[0].id\" }} }}\n      \
             - think: 100ms..300ms\n      \
             - post: {{ name: buy {number}, url: \"/items/${{id}}\", json: {{ count: {number} }} }}\n",
            number % 7 + 1
        );
    }
    text
}

fn compile(criterion: &mut Criterion) {
    let small = "name: small\ntarget: http://127.0.0.1:8080\n\
                 load: { stages: [ hold: { rate: 10/s, for: 1m } ] }\n\
                 scenarios: [ { name: s, steps: [ get: / ] } ]\n";
    let mut group = criterion.benchmark_group("plan");
    for (name, text) in [("one step", small.to_owned()), ("100 scenarios", large(100))] {
        group.throughput(Throughput::Bytes(text.len() as u64));
        group.bench_function(name, |bench| {
            bench.iter(|| {
                let source = Source {
                    file: "bench.yaml",
                    text: black_box(&text),
                };
                read(source, &Overrides::default()).unwrap_or_else(|errors| panic!("{errors}"))
            });
        });
    }
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    compile(&mut criterion);
    criterion.final_summary();
}
