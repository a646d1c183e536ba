//! The self-health of the workers as comma-separated values (RFC 4180): one row for each stretch of run time of each
//! worker. Units stand in the header; what a worker's system does not tell is an empty cell.

use std::collections::BTreeMap;

use barrage_metrics::summary::{HealthPoint, Summary};
use barrage_model::ids::WorkerId;

use crate::csv::cell;
use crate::put::put;

/// A column: its head, and its number if there is one.
type NumberColumn = (&'static str, fn(&HealthPoint) -> Option<u64>);

/// Columns after those that say when and who.
const NUMBERS: [NumberColumn; 29] = [
    ("covered_us", |point| Some(point.health.covered_us)),
    ("dispatch_lag_p99_us", |point| Some(point.health.dispatch_lag_p99_us)),
    ("poll_delay_max_us", |point| Some(point.health.poll_delay_max_us)),
    ("stood_us", |point| Some(point.health.stood_us)),
    ("cpu_us", |point| over_time(point, point.health.cpu_us)),
    ("shard_cpu_max_us", |point| {
        over_time(point, point.health.shard_cpu_max_us)
    }),
    ("shard_busy_max_us", |point| {
        over_time(point, point.health.shard_busy_max_us)
    }),
    ("shard_wait_max_us", |point| {
        over_time(point, point.health.shard_wait_max_us)
    }),
    ("run_queue_wait_us", |point| {
        over_time(point, point.health.run_queue_wait_us)
    }),
    ("core_busy_max_us", |point| {
        of_cores(point, point.health.core_busy_max_us)
    }),
    ("throttled_us", |point| over_time(point, point.health.throttled_us)),
    ("steal_us", |point| of_cores(point, point.health.steal_us)),
    ("rss_bytes", |point| some(point.health.rss_bytes)),
    ("rss_anon_bytes", |point| some(point.health.rss_anon_bytes)),
    ("memory_available_bytes", |point| {
        some(point.health.memory_bytes).map(|_| point.health.memory_available_bytes)
    }),
    ("memory_bytes", |point| some(point.health.memory_bytes)),
    ("descriptors", |point| some(point.health.descriptors.into())),
    ("descriptors_max", |point| some(point.health.descriptors_max.into())),
    ("ports", |point| {
        some(point.health.ports_max.into()).map(|_| point.health.ports.into())
    }),
    ("ports_max", |point| some(point.health.ports_max.into())),
    ("connections", |point| Some(point.health.connections.into())),
    ("slots", |point| Some(point.health.slots.into())),
    ("retransmits", |point| over_time(point, point.health.retransmits)),
    ("short_of_descriptors", |point| Some(point.health.shortages.descriptors)),
    ("short_of_ports", |point| Some(point.health.shortages.ports)),
    ("short_of_memory", |point| Some(point.health.shortages.memory)),
    ("short_of_threads", |point| Some(point.health.shortages.threads)),
    ("short_of_time", |point| Some(point.health.shortages.time)),
    ("cores", |point| some(point.health.cores.into())),
];

/// A number that is never 0 where it is told.
fn some(number: u64) -> Option<u64> {
    (number > 0).then_some(number)
}

/// A number that is about the covered time.
fn over_time(point: &HealthPoint, number: u64) -> Option<u64> {
    (point.health.covered_us > 0).then_some(number)
}

/// A number that is about the cores, where they are told.
fn of_cores(point: &HealthPoint, number: u64) -> Option<u64> {
    over_time(point, number).filter(|_| point.health.cores > 0)
}

pub(crate) fn render(summary: &Summary) -> String {
    let names: BTreeMap<WorkerId, String> = summary.workers.iter().map(|of| (of.id, cell(&of.name))).collect();
    let mut out = String::with_capacity(256 * (summary.health.len() + 1));
    out.push_str("t_s,length_s,worker,name,strained");
    for (head, _) in &NUMBERS {
        put!(out, ",{head}");
    }
    out.push_str(",cores_busy_percent\r\n");
    for point in &summary.health {
        let name = names.get(&point.worker).map_or("", String::as_str);
        let strained = point.strained.join(" ");
        put!(
            out,
            "{},{},{},{name},{strained}",
            point.t_s,
            point.length_s,
            point.worker
        );
        for (_, number) in &NUMBERS {
            match number(point) {
                Some(number) => put!(out, ",{number}"),
                None => out.push(','),
            }
        }
        let percents = point.health.cores_busy.percents().iter();
        let percents: Vec<String> = percents.map(u8::to_string).collect();
        put!(out, ",{}\r\n", percents.join(" "));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_column_is_explained() {
        let docs = include_str!("../../docs/numbers.md");
        let rows: Vec<&str> = docs.lines().filter(|line| line.starts_with("| `")).collect();
        for (name, _) in NUMBERS {
            let cell = format!("`{name}`");
            assert!(
                rows.iter()
                    .any(|row| row.split('|').nth(1).is_some_and(|head| head.contains(&cell))),
                "{name}"
            );
        }
    }
}
