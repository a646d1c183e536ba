//! Every plan in `examples/` goes over the wire and comes back equal; what is damaged is refused.

use std::path::PathBuf;
use std::time::Duration;

use barrage_model::delta::{
    Delta, ErrorSample, Health, Measure, Progress, Shortages, SketchKey, SketchRow, StepRow, Subject,
};
use barrage_model::ids::{LoadId, SegmentId, ShardId, StepId, TagId};
use barrage_model::ledger::{Open, StepCounts};
use barrage_model::outcome::{FailureClass, OutcomeGroup};
use barrage_model::plan::Plan;
use barrage_model::sketch::Packed;
use barrage_model::time::Moment;
use barrage_plan::{Overrides, Source};
use barrage_proto::v1;
use prost::Message as _;

fn examples() -> Vec<(String, Plan)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../examples");
    let mut found: Vec<(String, Plan)> = std::fs::read_dir(folder)
        .expect("the examples can be read")
        .map(|entry| entry.expect("the examples can be read").path())
        .filter(|path| path.extension().is_some_and(|end| end == "yaml"))
        .map(|path| {
            let text = std::fs::read_to_string(&path).expect("an example can be read");
            let file = path.display().to_string();
            let overrides = overrides(&text);
            let plan = barrage_plan::read(
                Source {
                    file: &file,
                    text: &text,
                },
                &overrides,
            );
            (
                file.clone(),
                plan.unwrap_or_else(|errors| panic!("{file}: {}", errors.first())),
            )
        })
        .collect();
    found.sort_by(|a, b| a.0.cmp(&b.0));
    found
}

/// An example says in its first lines which `-e` values it wants: `# -e NAME=VALUE`.
fn overrides(text: &str) -> Overrides {
    let env = text
        .lines()
        .filter_map(|line| line.strip_prefix("# -e ")?.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    Overrides {
        env,
        ..Overrides::default()
    }
}

fn over_the_wire(plan: &Plan) -> Result<Plan, barrage_proto::BadMessage> {
    let bytes = v1::Plan::from(plan).encode_to_vec();
    v1::Plan::decode(bytes.as_slice())
        .expect("what was encoded decodes")
        .try_into()
}

#[test]
fn every_example_comes_back_equal() {
    let examples = examples();
    assert!(examples.len() >= 3, "the examples are where they should be");
    for (file, plan) in examples {
        assert_eq!(over_the_wire(&plan), Ok(plan), "{file}");
    }
}

#[track_caller]
fn refused(damage: impl Fn(&mut v1::Plan), field: &str) {
    let (_, plan) = examples().remove(0);
    let mut wire = v1::Plan::from(&plan);
    damage(&mut wire);
    let error = Plan::try_from(wire).expect_err("the plan is bad");
    assert_eq!(error.field, field, "{error}");
}

#[test]
fn a_damaged_plan_is_refused_at_the_door() {
    refused(|plan| plan.targets.clear(), "plan");
    refused(|plan| plan.scenarios.clear(), "plan");
    refused(|plan| plan.network = None, "network");
    for streams in [0, 1_001] {
        let damage = |plan: &mut v1::Plan| plan.network.as_mut().unwrap().streams_per_connection = streams;
        refused(damage, "network.streams_per_connection");
    }
    refused(|plan| plan.warm_up_us = u64::MAX, "warm_up_us");
    refused(|plan| plan.loads[0].scenarios[0].scenario = 9_999, "loads.scenarios");
    refused(|plan| plan.loads[0].model = None, "loads.model");
    refused(|plan| plan.scenarios[0].steps[0].id = Some(77), "steps.id");
    refused(|plan| plan.scenarios[0].steps[0].action = None, "steps.action");
    refused(
        |plan| {
            plan.variables.push(v1::Variable {
                name: "x".into(),
                value: "${no(".into(),
                secret: false,
            });
        },
        "variables.value",
    );
}

fn delta() -> Delta {
    let key = SketchKey {
        subject: Subject::Step(StepId(2)),
        measure: Measure::Service,
        group: OutcomeGroup::Failed,
        tag: TagId(3),
        segment: SegmentId(1),
    };
    Delta {
        seq: 7,
        interval: 6,
        last: false,
        iterations: Vec::new(),
        steps: vec![StepRow {
            step: StepId(2),
            tag: TagId(0),
            segment: SegmentId(1),
            counts: StepCounts {
                attempted: 9,
                sent: 9,
                ok: 5,
                failed: [0, 1, 0, 0, 0, 0, 2, 0, 0],
                ..StepCounts::default()
            },
        }],
        sketches: vec![SketchRow {
            key,
            sketch: Packed::from_counts([(0, 1), (900, 4), (23_551, 2)], 1).expect("the indices rise"),
        }],
        open: Open {
            waiting: 1,
            in_progress: 2,
            in_flight: 1,
        },
        progress: vec![Progress {
            load: LoadId(0),
            shard: ShardId(4),
            next_index: u64::MAX,
        }],
        errors: [None, Some(0), Some(900)].map(error).into(),
        health: health(),
        ended: Some(Moment::from_micros(1_999_999)),
        left: Some(Moment::from_micros(1_250_000)),
    }
}

/// What was sent and ended at once is not what was never sent.
fn error(service_us: Option<u64>) -> ErrorSample {
    ErrorSample {
        at: Moment::from_micros(7),
        step: StepId(2),
        class: Some(FailureClass::Reset),
        status: None,
        service: service_us.map(Duration::from_micros),
        message: "gone".to_owned(),
    }
}

/// Every field has a number of its own.
fn health() -> Health {
    Health {
        covered_us: 1,
        dispatch_lag_p99_us: 2,
        poll_delay_max_us: 3,
        cpu_us: 4,
        shard_cpu_max_us: 5,
        shard_busy_max_us: 37,
        shard_wait_max_us: 6,
        run_queue_wait_us: 7,
        core_busy_max_us: 8,
        cores_busy: [27, 28].into_iter().collect(),
        throttled_us: 9,
        steal_us: 10,
        stood_us: 26,
        cores: 25,
        rss_bytes: 11,
        rss_anon_bytes: 12,
        memory_available_bytes: 13,
        memory_bytes: 14,
        descriptors: 15,
        descriptors_max: 16,
        ports: 17,
        ports_max: 18,
        retransmits: 19,
        connections: 20,
        slots: 21,
        shortages: Shortages {
            descriptors: 22,
            ports: 23,
            memory: 24,
            threads: 25,
            time: 6,
        },
    }
}

#[test]
fn a_delta_comes_back_equal() {
    let bytes = v1::Delta::from(&delta()).encode_to_vec();
    assert_eq!(v1::Delta::decode(bytes.as_slice()).unwrap().try_into(), Ok(delta()));
}

#[test]
fn a_damaged_delta_is_refused_at_the_door() {
    let check = |damage: &dyn Fn(&mut v1::Delta), field: &str| {
        let mut wire = v1::Delta::from(&delta());
        damage(&mut wire);
        assert_eq!(Delta::try_from(wire).unwrap_err().field, field);
    };
    check(&|delta| delta.seq = 0, "delta.seq");
    check(&|delta| delta.open = None, "delta.open");
    check(&|delta| delta.steps[0].failed.truncate(3), "steps.failed");
    check(&|delta| delta.steps[0].tag = 1 << 20, "steps.tag");
    check(&|delta| delta.sketches[0].gaps[1] = 0, "sketches.gaps");
    check(&|delta| delta.sketches[0].gaps.push(50_000), "sketches.gaps");
    check(&|delta| delta.sketches[0].counts[0] = u64::MAX, "sketches.gaps");
    check(&|delta| delta.sketches[0].measure = 99, "sketches.measure");
    check(&|delta| delta.sketches[0].subject = None, "sketches.subject");
}
