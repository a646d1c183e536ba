//! The workers of a summary.

use std::collections::BTreeMap;

use barrage_model::ids::WorkerId;

use super::ClockOffset;
use crate::generator::strains;
use crate::ledger::{Ledger, WorkerInfo};
use crate::summary::{
    Conservation, GeneratorVerdict, HealthExtremes, HealthPoint, IterationTotals, StepTotals, WorkerState,
    WorkerSummary,
};

pub(crate) fn workers(
    ledger: &Ledger,
    offsets: &BTreeMap<WorkerId, ClockOffset>,
    conservation: &Conservation,
) -> Vec<WorkerSummary> {
    ledger
        .workers()
        .map(|worker| one_worker(ledger, worker, offsets.get(&worker.id), conservation))
        .collect()
}

fn one_worker(
    ledger: &Ledger,
    worker: &WorkerInfo,
    offset: Option<&ClockOffset>,
    conservation: &Conservation,
) -> WorkerSummary {
    let part = conservation.per_worker.iter().find(|(id, ..)| *id == worker.id);
    let (iterations, steps) = part.map_or(
        (IterationTotals::default(), StepTotals::default()),
        |(_, iterations, steps)| (*iterations, *steps),
    );
    WorkerSummary {
        id: worker.id,
        name: worker.name.clone(),
        shards: worker.shards.end.saturating_sub(worker.shards.start),
        offset_us: offset.map(|offset| offset.offset_us),
        offset_uncertainty_us: offset.map(|offset| offset.uncertainty_us),
        state: state(ledger, worker.id),
        iterations,
        steps,
        health: ledger
            .processes(worker.id)
            .fold(HealthExtremes::default(), |all, (_, member)| {
                worst(all, member.tally.extremes)
            }),
        holes: ledger.holes(worker.id),
        generator: ledger
            .processes(worker.id)
            .map(|(_, member)| member.judged().verdict())
            .max()
            .unwrap_or(GeneratorVerdict::Valid),
    }
}

/// Every worker's self-health over run time.
pub(crate) fn health(ledger: &Ledger) -> Vec<HealthPoint> {
    let mut points = Vec::new();
    for worker in ledger.workers() {
        for history in ledger.processes(worker.id).map(|(_, member)| &member.health) {
            points.extend(history.readings().iter().map(|reading| HealthPoint {
                t_s: reading.from,
                length_s: history.length(),
                worker: worker.id,
                strained: strains(&reading.health, worker.cores),
                health: reading.health,
            }));
        }
    }
    points.sort_by_key(|point| (point.t_s, point.worker));
    points
}

/// Lost if any of its processes was: a part of its counts is missing then.
fn state(ledger: &Ledger, worker: WorkerId) -> WorkerState {
    let mut states = ledger.processes(worker).map(|(_, member)| member.state);
    let mut all = Vec::new();
    all.extend(states.by_ref());
    if all.contains(&Some(WorkerState::Lost)) {
        WorkerState::Lost
    } else if !all.is_empty() && all.iter().all(|state| *state == Some(WorkerState::Finished)) {
        WorkerState::Finished
    } else {
        WorkerState::Running
    }
}

fn worst(a: HealthExtremes, b: HealthExtremes) -> HealthExtremes {
    let mut shortages = a.shortages;
    shortages.add(&b.shortages);
    let available = [a.memory_available_min_bytes, b.memory_available_min_bytes];
    HealthExtremes {
        dispatch_lag_p99_max_us: a.dispatch_lag_p99_max_us.max(b.dispatch_lag_p99_max_us),
        poll_delay_max_us: a.poll_delay_max_us.max(b.poll_delay_max_us),
        shard_cpu_max: a.shard_cpu_max.max(b.shard_cpu_max),
        shard_wait_max: a.shard_wait_max.max(b.shard_wait_max),
        core_busy_max: a.core_busy_max.max(b.core_busy_max),
        cpu_mean_cores: a.cpu_mean_cores.max(b.cpu_mean_cores),
        throttled_us: a.throttled_us.saturating_add(b.throttled_us),
        steal_us: a.steal_us.saturating_add(b.steal_us),
        rss_max_bytes: a.rss_max_bytes.max(b.rss_max_bytes),
        rss_anon_max_bytes: a.rss_anon_max_bytes.max(b.rss_anon_max_bytes),
        memory_available_min_bytes: available.into_iter().flatten().min(),
        descriptors_max: a.descriptors_max.max(b.descriptors_max),
        descriptors_limit: a.descriptors_limit.max(b.descriptors_limit),
        ports_max: a.ports_max.max(b.ports_max),
        ports_limit: a.ports_limit.max(b.ports_limit),
        retransmits: a.retransmits.saturating_add(b.retransmits),
        connections_max: a.connections_max.max(b.connections_max),
        slots_max: a.slots_max.max(b.slots_max),
        shortages,
    }
}
