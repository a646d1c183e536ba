//! What simulated workers upload: a pool of different deltas, encoded before the run, whose numbers are put in front.

use anyhow::{Context as _, Result};
use barrage_model::delta::{Delta, Health, IterationRow, Measure, SketchKey, SketchRow, StepRow, Subject};
use barrage_model::ids::{LoadId, ScenarioId, SegmentId, StepId, TagId};
use barrage_model::ledger::{IterationCounts, Open, StepCounts};
use barrage_model::outcome::OutcomeGroup;
use barrage_model::rng::Rng;
use barrage_model::sketch::{Packed, Sketch};
use barrage_proto::v1;
use prost::Message as _;

/// Steps of the plan's one scenario.
pub(super) const STEPS: u32 = 10;
/// Iterations that a worker makes in each interval, and so samples of each step.
pub(super) const SAMPLES: u64 = 200;
/// Different deltas; workers go round them, each from a place of its own.
const BODIES: usize = 64;
/// Median and σ of the lognormal service time, µs.
const MEDIAN_US: f64 = 20_000.0;
const SIGMA: f64 = 0.8;

/// The encoded deltas.
pub(super) struct Pool {
    bodies: Vec<Body>,
}

/// Everything of a delta but its numbers, with what it adds to the run.
pub(super) struct Body {
    bytes: Vec<u8>,
    /// Response times of all steps.
    pub(super) response: Packed,
    /// Service times of all steps.
    pub(super) service: Packed,
}

/// What differs from one delta to the next.
pub(super) struct Numbers {
    /// Sequence number of the delta.
    pub(super) seq: u64,
    /// Its interval.
    pub(super) interval: u32,
    /// Whether it is the worker's last.
    pub(super) last: bool,
    /// The worker's one shard.
    pub(super) shard: u32,
    /// Its place in the schedule.
    pub(super) next_index: u64,
}

impl Pool {
    /// Draws and encodes the deltas.
    ///
    /// # Errors
    /// A sketch that cannot be merged, which would be a mistake in here.
    pub(super) fn new() -> Result<Self> {
        let bodies = (0..BODIES as u64).map(|seed| Body::draw(&mut Rng::from_seed(seed)));
        Ok(Self {
            bodies: bodies.collect::<Result<_>>()?,
        })
    }

    /// Which body a worker sends for an interval.
    pub(super) fn place(&self, worker: u32, interval: u32) -> usize {
        (worker as usize * 7 + interval as usize) % self.bodies.len()
    }

    /// The bodies by place.
    pub(super) fn bodies(&self) -> &[Body] {
        &self.bodies
    }

    /// Bytes of a delta, on average.
    pub(super) fn mean_bytes(&self) -> usize {
        self.bodies.iter().map(|body| body.bytes.len()).sum::<usize>() / self.bodies.len()
    }

    /// The delta with a body and numbers. Its fields come in two groups, which to protobuf is one message.
    pub(super) fn delta(&self, place: usize, numbers: &Numbers) -> Vec<u8> {
        let head = v1::Delta {
            seq: numbers.seq,
            interval: numbers.interval,
            last: numbers.last,
            progress: vec![v1::Progress {
                load: 0,
                shard: numbers.shard,
                next_index: numbers.next_index,
            }],
            ended_us: Some((u64::from(numbers.interval) + 1) * 1_000_000 - 1),
            ..v1::Delta::default()
        };
        let body = &self.bodies[place].bytes;
        let mut bytes = Vec::with_capacity(head.encoded_len() + body.len());
        head.encode(&mut bytes).expect("a vector grows as needed");
        bytes.extend_from_slice(body);
        bytes
    }
}

/// Latencies of one interval as a worker records them.
#[derive(Default)]
struct Latencies {
    response: Sketch,
    service: Sketch,
    first_byte: Sketch,
}

impl Body {
    fn draw(rng: &mut Rng) -> Result<Self> {
        let mut steps: Vec<Latencies> = (0..STEPS).map(|_| Latencies::default()).collect();
        let (mut lag, mut iteration) = (Sketch::new(), Sketch::new());
        for _ in 0..SAMPLES {
            let late = rng.below(200);
            lag.record(late);
            let mut length = late;
            for (place, step) in steps.iter_mut().enumerate() {
                let service = (MEDIAN_US * (SIGMA * normal(rng)).exp()) as u64;
                let response = if place == 0 { late + service } else { service };
                step.service.record(service);
                step.response.record(response);
                step.first_byte.record(service - service / 10);
                length += service;
            }
            iteration.record(length);
        }
        let (mut response, mut service) = (Sketch::new(), Sketch::new());
        for step in &steps {
            let sum = |into: &mut Sketch, from: &Sketch| into.merge(&from.pack()).context("a body's samples are few");
            sum(&mut response, &step.response)?;
            sum(&mut service, &step.service)?;
        }
        let delta = delta(&steps, &lag, &iteration);
        // The numbers in front stand for these: a field with its default value is not written.
        let wire = v1::Delta {
            seq: 0,
            interval: 0,
            progress: Vec::new(),
            ended_us: None,
            ..v1::Delta::from(&delta)
        };
        Ok(Self {
            bytes: wire.encode_to_vec(),
            response: response.pack(),
            service: service.pack(),
        })
    }
}

fn delta(steps: &[Latencies], lag: &Sketch, iteration: &Sketch) -> Delta {
    let key = |subject, measure| SketchKey {
        subject,
        measure,
        group: OutcomeGroup::Ok,
        tag: TagId(0),
        segment: SegmentId(0),
    };
    let row = |subject, measure, sketch: &Sketch| SketchRow {
        key: key(subject, measure),
        sketch: sketch.pack(),
    };
    let mut sketches = Vec::new();
    for (id, step) in (0..).map(StepId).zip(steps) {
        let subject = Subject::Step(id);
        sketches.push(row(subject, Measure::Response, &step.response));
        sketches.push(row(subject, Measure::Service, &step.service));
        sketches.push(row(subject, Measure::FirstByte, &step.first_byte));
    }
    let scenario = Subject::Scenario(ScenarioId(0));
    sketches.push(row(scenario, Measure::DispatchLag, lag));
    sketches.push(row(scenario, Measure::Iteration, iteration));
    Delta {
        seq: 0,
        interval: 0,
        last: false,
        iterations: vec![IterationRow {
            load: LoadId(0),
            scenario: ScenarioId(0),
            segment: SegmentId(0),
            counts: IterationCounts {
                scheduled: SAMPLES,
                started: SAMPLES,
                completed: SAMPLES,
                ..IterationCounts::default()
            },
        }],
        steps: (0..STEPS).map(step_row).collect(),
        sketches,
        open: Open::default(),
        progress: Vec::new(),
        errors: Vec::new(),
        health: health(),
        ended: None,
        left: None,
    }
}

fn step_row(id: u32) -> StepRow {
    StepRow {
        step: StepId(id),
        tag: TagId(0),
        segment: SegmentId(0),
        counts: StepCounts {
            attempted: SAMPLES,
            sent: SAMPLES,
            ok: SAMPLES,
            wire_requests: SAMPLES,
            body_bytes_in: SAMPLES * 1_024,
            wire_bytes_in: SAMPLES * 1_200,
            wire_bytes_out: SAMPLES * 90,
            ..StepCounts::default()
        },
    }
}

/// A worker that is well.
fn health() -> Health {
    Health {
        covered_us: 1_000_000,
        core_busy_max_us: 130_000,
        cores_busy: [13, 9].into_iter().collect(),
        cores: 2,
        dispatch_lag_p99_us: 180,
        poll_delay_max_us: 900,
        cpu_us: 120_000,
        shard_cpu_max_us: 100_000,
        run_queue_wait_us: 2_000,
        rss_bytes: 20 << 20,
        descriptors: 80,
        descriptors_max: 20_000,
        connections: 60,
        slots: 60,
        ..Health::default()
    }
}

/// A normally distributed number, by the Box–Muller transform.
fn normal(rng: &mut Rng) -> f64 {
    // 1 − u is above 0.
    let radius = (-2.0 * (1.0 - rng.unit_f64()).ln()).sqrt();
    radius * (std::f64::consts::TAU * rng.unit_f64()).cos()
}

#[cfg(test)]
mod tests {
    use super::*;
    use barrage_proto::convert::delta_in;

    #[test]
    fn numbers_in_front_make_a_whole_delta() {
        let pool = Pool::new().unwrap();
        let numbers = Numbers {
            seq: 9,
            interval: 8,
            last: true,
            shard: 3,
            next_index: 77,
        };
        let delta = delta_in(&pool.delta(5, &numbers)).unwrap();
        assert_eq!((delta.seq, delta.interval, delta.last), (9, 8, true));
        assert_eq!(delta.progress[0].next_index, 77);
        assert_eq!(delta.sketches.len(), 32);
        assert!(delta.sketches.iter().all(|row| row.sketch.count() == SAMPLES));
        assert_eq!(pool.bodies()[5].response.count(), SAMPLES * u64::from(STEPS));
        let median = |place: usize| pool.bodies()[place].service.quantile_index(500_000_000).unwrap();
        let seen = barrage_model::sketch::mid(median(5));
        assert!((18_000..22_000).contains(&seen), "{seen}");
        assert_ne!(pool.delta(5, &numbers), pool.delta(6, &numbers));
    }
}
