//! What a request costs to record, and an interval to close.

use std::hint::black_box;
use std::time::Duration;

use barrage_model::delta::Health;
use barrage_model::ids::{LoadId, ScenarioId, SegmentId, StepId, TagId};
use barrage_model::outcome::{IterationEnd, Outcome};
use barrage_model::rng::Rng;
use barrage_worker::clock::Stamp;
use barrage_worker::engine::Timings;
use barrage_worker::recorder::{IterationStarted, Merged, Recorder, Shape, StepSample};
use criterion::{BatchSize, Criterion};

const STEPS: u32 = 10;
const SEGMENT: SegmentId = SegmentId(0);

fn sample(step: u32, service_us: u64) -> StepSample<'static> {
    let due = Stamp::from_us(1_000);
    let done_at = Stamp::from_us(1_000 + service_us);
    StepSample {
        step: StepId(step),
        tag: TagId(0),
        segment: SEGMENT,
        outcome: Outcome::Ok,
        due,
        sent_at: Some(due),
        done_at,
        timings: Timings {
            first_byte: Some(Duration::from_micros(service_us)),
            ..Timings::default()
        },
        wire_requests: 1,
        body_bytes_in: 100,
        body_bytes_out: 0,
        wire_bytes_in: 260,
        wire_bytes_out: 80,
        status: Some(200),
        message: "",
    }
}

/// One iteration of one step, whose response takes from 100 µs to some 50 ms.
fn iteration(recorder: &mut Recorder, rng: &mut Rng) {
    let (load, scenario) = (LoadId(0), ScenarioId(0));
    let step = rng.below(STEPS.into()) as u32;
    let due = Stamp::from_us(1_000);
    recorder.scheduled(load, scenario, SEGMENT, 1, due);
    recorder.iteration_started(&IterationStarted {
        load,
        scenario,
        segment: SEGMENT,
        due,
        at: due,
        own_lag: None,
    });
    recorder.step_sent(StepId(step), SEGMENT, due);
    let sample = sample(step, 100 + rng.below(50_000));
    recorder.step_ended(&sample);
    recorder.iteration_ended(load, scenario, SEGMENT, (due, sample.done_at), IterationEnd::Completed);
}

fn recorder() -> Recorder {
    Recorder::new(Shape::new(STEPS as usize, 1, &[true]), Stamp::default(), None)
}

fn record(criterion: &mut Criterion) {
    let (mut recorder, mut rng) = (recorder(), Rng::from_seed(1));
    criterion.bench_function("recorder: one iteration of one step", |bench| {
        bench.iter(|| iteration(black_box(&mut recorder), &mut rng));
    });
}

fn close(criterion: &mut Criterion) {
    let filled = || {
        let (mut recorder, mut rng) = (recorder(), Rng::from_seed(2));
        (0..2_000).for_each(|_| iteration(&mut recorder, &mut rng));
        recorder
    };
    criterion.bench_function("recorder: an interval of 2,000 iterations becomes a delta", |bench| {
        bench.iter_batched(
            filled,
            |mut recorder| {
                let mut merged = Merged::new(0);
                merged.add(recorder.close(Vec::new()));
                merged.into_delta(1, false, Health::default())
            },
            BatchSize::LargeInput,
        );
    });
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    record(&mut criterion);
    close(&mut criterion);
    criterion.final_summary();
}
