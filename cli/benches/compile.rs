//! What a plan costs to compile: from text to the plan that is checked and shipped, from there to the parts of a fleet, and
//! at a worker to requests that are ready to be sent.

use std::fmt::Write as _;
use std::hint::black_box;
use std::sync::Arc;

use barrage_coordinator::compile::{Member, compile};
use barrage_model::ids::{RunId, WorkerId};
use barrage_model::plan::Plan;
use barrage_plan::{Overrides, Source, read};
use barrage_worker::scenario::{CompiledPlan, Files, RunContext};
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

fn plan_of(text: &str) -> Plan {
    let source = Source {
        file: "bench.yaml",
        text,
    };
    read(source, &Overrides::default()).unwrap_or_else(|errors| panic!("{errors}"))
}

fn plans(criterion: &mut Criterion) {
    let small = "name: small\ntarget: http://127.0.0.1:8080\n\
                 load: { stages: [ hold: { rate: 10/s, for: 1m } ] }\n\
                 scenarios: [ { name: s, steps: [ get: / ] } ]\n";
    let member = |number| Member {
        name: format!("worker {number}"),
        shards: 4,
        max_rate: None,
    };
    let members: Vec<Member> = (0..10).map(member).collect();
    let context = RunContext {
        run: RunId(1),
        run_name: "bench".to_owned(),
        seed: 42,
        worker: WorkerId(0),
        secrets: Vec::new(),
        values: Vec::new(),
    };
    for (name, text) in [("one step", small.to_owned()), ("100 scenarios", large(100))] {
        let plan = Arc::new(plan_of(&text));
        let mut group = criterion.benchmark_group(format!("plan, {name}"));
        group.throughput(Throughput::Bytes(text.len() as u64));
        group.bench_function("read", |bench| bench.iter(|| plan_of(black_box(&text))));
        group.bench_function("coordinator, ten workers", |bench| {
            bench.iter(|| compile(black_box(&plan), &members, 42).expect("the plan fits"));
        });
        group.bench_function("worker", |bench| {
            bench.iter(|| {
                let plan = Arc::clone(black_box(&plan));
                CompiledPlan::new(plan, &Files::new(), &context).expect("nothing is missing")
            });
        });
        group.finish();
    }
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    plans(&mut criterion);
    criterion.final_summary();
}
