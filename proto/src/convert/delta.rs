//! Deltas: what a worker has counted.

use barrage_model::delta::{
    Delta, ERROR_SAMPLES_MAX, ErrorSample, Health, IterationRow, Measure, Progress, Shortages, SketchKey, SketchRow,
    StepRow, Subject,
};
use barrage_model::ids::{LoadId, ScenarioId, SegmentId, ShardId, StepId, TagId};
use barrage_model::ledger::{IterationCounts, Open, StepCounts};
use barrage_model::outcome::{FailureClass, OutcomeGroup};
use barrage_model::sketch::Packed;
use barrage_model::time::Moment;

use super::{BadMessage, Result, bad, each, micros, missing, narrow, span};
use crate::v1;

/// Most rows of each kind in one delta.
pub(super) const ROWS_MAX: usize = 200_000;
/// Longest text of an error sample, bytes.
const MESSAGE_MAX: usize = 400;

impl From<&Delta> for v1::Delta {
    fn from(delta: &Delta) -> Self {
        Self {
            seq: delta.seq,
            interval: delta.interval,
            last: delta.last,
            iterations: delta.iterations.iter().map(Into::into).collect(),
            steps: delta.steps.iter().map(Into::into).collect(),
            sketches: delta.sketches.iter().map(Into::into).collect(),
            open: Some(v1::Open {
                waiting: delta.open.waiting,
                in_progress: delta.open.in_progress,
                in_flight: delta.open.in_flight,
            }),
            progress: delta
                .progress
                .iter()
                .map(|at| v1::Progress {
                    load: u32::from(at.load.0),
                    shard: at.shard.0,
                    next_index: at.next_index,
                })
                .collect(),
            errors: delta.errors.iter().map(Into::into).collect(),
            health: Some((&delta.health).into()),
            ended_us: delta.ended.map(Moment::as_micros),
            left_us: delta.left.map(Moment::as_micros),
        }
    }
}

impl TryFrom<v1::Delta> for Delta {
    type Error = BadMessage;

    fn try_from(wire: v1::Delta) -> Result<Self> {
        let rows = [
            wire.iterations.len(),
            wire.steps.len(),
            wire.sketches.len(),
            wire.progress.len(),
        ];
        if rows.iter().any(|rows| *rows > ROWS_MAX) || wire.errors.len() > ERROR_SAMPLES_MAX {
            return Err(bad("delta", "has too many rows"));
        }
        if wire.seq == 0 {
            return Err(bad("delta.seq", "begins at 1"));
        }
        let open = wire.open.ok_or_else(|| missing("delta.open"))?;
        Ok(Self {
            seq: wire.seq,
            interval: wire.interval,
            last: wire.last,
            iterations: each(wire.iterations, TryInto::try_into)?,
            steps: each(wire.steps, TryInto::try_into)?,
            sketches: each(wire.sketches, TryInto::try_into)?,
            open: Open {
                waiting: open.waiting,
                in_progress: open.in_progress,
                in_flight: open.in_flight,
            },
            progress: each(wire.progress, |at| {
                Ok(Progress {
                    load: LoadId(narrow("progress.load", at.load)?),
                    shard: ShardId(at.shard),
                    next_index: at.next_index,
                })
            })?,
            errors: each(wire.errors, TryInto::try_into)?,
            health: wire.health.unwrap_or_default().into(),
            ended: wire.ended_us.map(Moment::from_micros),
            left: wire.left_us.map(Moment::from_micros),
        })
    }
}

impl From<&IterationRow> for v1::IterationRow {
    fn from(row: &IterationRow) -> Self {
        let counts = &row.counts;
        let [dropped_late, dropped_no_slot, dropped_ceiling, dropped_stopped] = counts.dropped;
        Self {
            load: u32::from(row.load.0),
            scenario: u32::from(row.scenario.0),
            segment: row.segment.0,
            scheduled: counts.scheduled,
            started: counts.started,
            completed: counts.completed,
            broken_off: counts.broken_off,
            cancelled: counts.cancelled,
            dropped_late,
            dropped_no_slot,
            dropped_ceiling,
            dropped_stopped,
        }
    }
}

impl TryFrom<v1::IterationRow> for IterationRow {
    type Error = BadMessage;

    fn try_from(wire: v1::IterationRow) -> Result<Self> {
        Ok(Self {
            load: LoadId(narrow("iterations.load", wire.load)?),
            scenario: ScenarioId(narrow("iterations.scenario", wire.scenario)?),
            segment: SegmentId(wire.segment),
            counts: IterationCounts {
                scheduled: wire.scheduled,
                started: wire.started,
                completed: wire.completed,
                broken_off: wire.broken_off,
                cancelled: wire.cancelled,
                dropped: [
                    wire.dropped_late,
                    wire.dropped_no_slot,
                    wire.dropped_ceiling,
                    wire.dropped_stopped,
                ],
            },
        })
    }
}

impl From<&StepRow> for v1::StepRow {
    fn from(row: &StepRow) -> Self {
        let counts = &row.counts;
        Self {
            step: row.step.0,
            tag: u32::from(row.tag.0),
            segment: row.segment.0,
            attempted: counts.attempted,
            sent: counts.sent,
            ok: counts.ok,
            failed: counts.failed.to_vec(),
            timeout: counts.timeout,
            cancelled: counts.cancelled,
            shed: counts.shed,
            fallback: counts.fallback,
            injected: counts.injected,
            wire_requests: counts.wire_requests,
            body_bytes_in: counts.body_bytes_in,
            body_bytes_out: counts.body_bytes_out,
            wire_bytes_in: counts.wire_bytes_in,
            wire_bytes_out: counts.wire_bytes_out,
        }
    }
}

impl TryFrom<v1::StepRow> for StepRow {
    type Error = BadMessage;

    fn try_from(wire: v1::StepRow) -> Result<Self> {
        let failed = wire
            .failed
            .try_into()
            .map_err(|_| bad("steps.failed", "has not one count for each class"))?;
        Ok(Self {
            step: StepId(wire.step),
            tag: TagId(narrow("steps.tag", wire.tag)?),
            segment: SegmentId(wire.segment),
            counts: StepCounts {
                attempted: wire.attempted,
                sent: wire.sent,
                ok: wire.ok,
                failed,
                timeout: wire.timeout,
                cancelled: wire.cancelled,
                shed: wire.shed,
                fallback: wire.fallback,
                injected: wire.injected,
                wire_requests: wire.wire_requests,
                body_bytes_in: wire.body_bytes_in,
                body_bytes_out: wire.body_bytes_out,
                wire_bytes_in: wire.wire_bytes_in,
                wire_bytes_out: wire.wire_bytes_out,
            },
        })
    }
}

impl From<&SketchRow> for v1::SketchRow {
    fn from(row: &SketchRow) -> Self {
        use v1::sketch_row::Subject as Wire;
        let (gaps, counts, clipped) = row.sketch.parts();
        Self {
            subject: Some(match row.key.subject {
                Subject::Step(step) => Wire::Step(step.0),
                Subject::Scenario(scenario) => Wire::Scenario(u32::from(scenario.0)),
            }),
            measure: row.key.measure.index() as u32,
            group: row.key.group.index() as u32,
            tag: u32::from(row.key.tag.0),
            segment: row.key.segment.0,
            gaps,
            counts,
            clipped,
        }
    }
}

fn position<T: Copy>(field: &'static str, all: &[T], at: u32) -> Result<T> {
    all.get(at as usize)
        .copied()
        .ok_or_else(|| bad(field, format!("{at} is not known")))
}

/// The key of a sketch; `numbers` are those of measure, group, tag and segment.
pub(super) fn sketch_key(subject: Option<v1::sketch_row::Subject>, numbers: [u32; 4]) -> Result<SketchKey> {
    use v1::sketch_row::Subject as Wire;
    let [measure, group, tag, segment] = numbers;
    Ok(SketchKey {
        subject: match subject.ok_or_else(|| missing("sketches.subject"))? {
            Wire::Step(step) => Subject::Step(StepId(step)),
            Wire::Scenario(scenario) => Subject::Scenario(ScenarioId(narrow("sketches.scenario", scenario)?)),
        },
        measure: position("sketches.measure", &Measure::ALL, measure)?,
        group: position("sketches.group", &OutcomeGroup::ALL, group)?,
        tag: TagId(narrow("sketches.tag", tag)?),
        segment: SegmentId(segment),
    })
}

impl TryFrom<v1::SketchRow> for SketchRow {
    type Error = BadMessage;

    fn try_from(wire: v1::SketchRow) -> Result<Self> {
        let sketch = Packed::from_wire(&wire.gaps, &wire.counts, wire.clipped)
            .map_err(|error| bad("sketches.gaps", error.to_string()))?;
        Ok(Self {
            key: sketch_key(wire.subject, [wire.measure, wire.group, wire.tag, wire.segment])?,
            sketch,
        })
    }
}

impl From<&ErrorSample> for v1::ErrorSample {
    fn from(sample: &ErrorSample) -> Self {
        Self {
            at_us: sample.at.as_micros(),
            step: sample.step.0,
            class: sample.class.map_or(0, |class| class.index() as u32 + 1),
            status: sample.status.map(u32::from),
            service_us: sample.service.map(micros),
            message: sample.message.clone(),
        }
    }
}

impl TryFrom<v1::ErrorSample> for ErrorSample {
    type Error = BadMessage;

    fn try_from(wire: v1::ErrorSample) -> Result<Self> {
        if wire.message.len() > MESSAGE_MAX {
            return Err(bad("errors.message", "is longer than 400 bytes"));
        }
        let class = match wire.class.checked_sub(1) {
            None => None,
            Some(at) => Some(position("errors.class", &FailureClass::ALL, at)?),
        };
        Ok(Self {
            at: Moment::from_micros(wire.at_us),
            step: StepId(wire.step),
            class,
            status: wire.status.map(|status| narrow("errors.status", status)).transpose()?,
            service: wire.service_us.map(|us| span("errors.service_us", us)).transpose()?,
            message: wire.message,
        })
    }
}

impl From<&Health> for v1::Health {
    fn from(health: &Health) -> Self {
        Self {
            dispatch_lag_p99_us: health.dispatch_lag_p99_us,
            poll_delay_max_us: health.poll_delay_max_us,
            stood_us: health.stood_us,
            cpu_us: health.cpu_us,
            shard_cpu_max_us: health.shard_cpu_max_us,
            throttled_us: health.throttled_us,
            steal_us: health.steal_us,
            cores: health.cores,
            run_queue_wait_us: health.run_queue_wait_us,
            rss_bytes: health.rss_bytes,
            descriptors: health.descriptors,
            descriptors_max: health.descriptors_max,
            connections: health.connections,
            slots: health.slots,
            covered_us: health.covered_us,
            shard_busy_max_us: health.shard_busy_max_us,
            shard_wait_max_us: health.shard_wait_max_us,
            core_busy_max_us: health.core_busy_max_us,
            cores_busy_percent: health.cores_busy.percents().to_vec(),
            rss_anon_bytes: health.rss_anon_bytes,
            memory_available_bytes: health.memory_available_bytes,
            memory_bytes: health.memory_bytes,
            ports: health.ports,
            ports_max: health.ports_max,
            retransmits: health.retransmits,
            short_of_descriptors: health.shortages.descriptors,
            short_of_ports: health.shortages.ports,
            short_of_memory: health.shortages.memory,
            short_of_threads: health.shortages.threads,
            short_of_time: health.shortages.time,
        }
    }
}

impl From<v1::Health> for Health {
    fn from(wire: v1::Health) -> Self {
        Self {
            dispatch_lag_p99_us: wire.dispatch_lag_p99_us,
            poll_delay_max_us: wire.poll_delay_max_us,
            stood_us: wire.stood_us,
            cpu_us: wire.cpu_us,
            shard_cpu_max_us: wire.shard_cpu_max_us,
            throttled_us: wire.throttled_us,
            steal_us: wire.steal_us,
            cores: wire.cores,
            run_queue_wait_us: wire.run_queue_wait_us,
            rss_bytes: wire.rss_bytes,
            descriptors: wire.descriptors,
            descriptors_max: wire.descriptors_max,
            connections: wire.connections,
            slots: wire.slots,
            covered_us: wire.covered_us,
            shard_busy_max_us: wire.shard_busy_max_us,
            shard_wait_max_us: wire.shard_wait_max_us,
            core_busy_max_us: wire.core_busy_max_us,
            cores_busy: wire.cores_busy_percent.into_iter().collect(),
            rss_anon_bytes: wire.rss_anon_bytes,
            memory_available_bytes: wire.memory_available_bytes,
            memory_bytes: wire.memory_bytes,
            ports: wire.ports,
            ports_max: wire.ports_max,
            retransmits: wire.retransmits,
            shortages: Shortages {
                descriptors: wire.short_of_descriptors,
                ports: wire.short_of_ports,
                memory: wire.short_of_memory,
                threads: wire.short_of_threads,
                time: wire.short_of_time,
            },
        }
    }
}
