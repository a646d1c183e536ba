//! Runs that an earlier process left unfinished.

use std::collections::BTreeMap;

use barrage_metrics::summary::WorkerState;
use barrage_metrics::{Ledger, Loss, StopCause, Summary};
use barrage_model::ids::{Incarnation, LoadId, RunId, ShardId, WorkerId};
use barrage_model::plan::LoadModel;
use barrage_model::time::Moment;

use super::read::{RunState, StoredRun};
use super::{Ended, Op, Reader, StoreError, Writer};
use crate::machine::run::{HeldShare, Note, Record, leftover};

const REASON: &str = "the coordinator ended before the run did";

/// Marks them as aborted. Workers may have gone on up to the end of their last grant, so what is due up to then and not
/// committed is unknown.
pub(super) fn abandon(reader: &Reader, writer: &Writer) -> Result<usize, StoreError> {
    let runs = reader.unfinished()?;
    for run in &runs {
        let ended = match reader.load_run(*run) {
            Ok(stored) if stored.state == RunState::Running && stored.granted > Moment::ZERO => finish(stored),
            Ok(_) => not_started(REASON.to_owned()),
            Err(error @ StoreError::Corrupt { .. }) => not_started(error.to_string()),
            Err(error) => return Err(error),
        };
        note(writer, *run, &ended)?;
        writer.write(Op::Ended(*run, Box::new(ended)))?;
    }
    Ok(runs.len())
}

fn note(writer: &Writer, run: RunId, ended: &Ended) -> Result<(), StoreError> {
    let note = Note {
        at: ended.end,
        kind: "stop".to_owned(),
        worker: None,
        text: REASON.to_owned(),
    };
    writer.write(Op::Record(run, 0, Record::Note(note)))
}

fn not_started(detail: String) -> Ended {
    Ended {
        detail,
        exit_code: 4,
        ..Ended::default()
    }
}

fn finish(mut stored: StoredRun) -> Ended {
    let losses = losses(&stored, stored.granted);
    let mut lost = Vec::new();
    for (worker, incarnation) in &stored.incarnations {
        if !has_finished(&stored.ledger, *worker, *incarnation) || counted_as_lost(&stored.ledger, *worker) {
            lost.push((*worker, *incarnation));
            stored.ledger.set_lost(*worker, *incarnation);
        }
    }
    for loss in &losses {
        stored.ledger.record_loss(*loss);
    }
    let scheduled = crate::judge::scheduled(&stored.ledger, &stored.incarnations);
    for (load, count) in &scheduled {
        stored.ledger.set_scheduled(*load, *count);
    }
    // As far as anything is known of it; what its workers may have sent after that is unknown.
    let end = stored.ledger.end();
    stored.ledger.cut_load(end);
    let reason = reason(&stored, end);
    let stop = (StopCause::Operator, end, reason.clone());
    stored.facts.stop = Some(stop.clone());
    stored.facts.ended = true;
    let summary: Summary = stored.summary();
    Ended {
        ran: true,
        detail: reason,
        verdict: Some(summary.verdict),
        exit_code: summary.exit_code.number(),
        end,
        started: summary.iterations.started,
        stop: Some(stop),
        stop_sla: None,
        losses,
        lost,
        scheduled,
        offsets: BTreeMap::new(),
    }
}

/// Of arrivals it is known how many may have been sent after the last stored second; of users it is not.
fn reason(stored: &StoredRun, end: Moment) -> String {
    let mut loads = stored.ledger.plan().loads.iter();
    let has_users = loads.any(|load| matches!(load.model, LoadModel::Users(_)) && end < load.end());
    if has_users && end < stored.granted {
        let secs = end.as_micros() / 1_000_000;
        format!("{REASON}; users may have gone on after {secs} s, and what they did is in no count")
    } else {
        REASON.to_owned()
    }
}

/// Whether the last of all that a worker has counted is there.
fn has_finished(ledger: &Ledger, worker: WorkerId, incarnation: Incarnation) -> bool {
    let member = ledger.member(worker, incarnation);
    member.is_some_and(|member| member.state == Some(WorkerState::Finished))
}

/// Whether a worker was lost already, and may have come back to say what it had begun.
fn counted_as_lost(ledger: &Ledger, worker: WorkerId) -> bool {
    let mut events = ledger.events().iter();
    events.any(|event| event.kind == "worker-lost" && event.worker == Some(worker))
}

fn losses(stored: &StoredRun, until: Moment) -> Vec<Loss> {
    let mut losses = Vec::new();
    let plan = stored.ledger.plan();
    for info in stored.ledger.workers() {
        let Some(incarnation) = stored.incarnations.get(&info.id).copied() else {
            continue;
        };
        let member = stored.ledger.member(info.id, incarnation);
        let flushed = has_finished(&stored.ledger, info.id, incarnation);
        if flushed && !counted_as_lost(&stored.ledger, info.id) {
            continue;
        }
        let next_index: BTreeMap<(LoadId, ShardId), u64> =
            member.map(|member| member.progress.clone()).unwrap_or_default();
        for ((id, epoch), load) in stored.epochs.iter().zip(&plan.loads) {
            let (unknown, unsent, unsent_from) = match load.model {
                LoadModel::Users(_) => continue,
                LoadModel::Open(_) => {
                    let shards: Vec<ShardId> = info.shards.clone().map(ShardId).collect();
                    let share = HeldShare {
                        load: *id,
                        epoch,
                        shards: &shards,
                        next_index: &next_index,
                    };
                    let hole = leftover(&share, stored.granted, flushed, until);
                    (hole.unknown.count, hole.unsent.count, hole.unsent_from)
                }
                LoadModel::Iterations(_) => match counted(stored, *id, info.id) {
                    held if flushed => (0, held, None),
                    held => (held, 0, None),
                },
            };
            if unknown > 0 || unsent > 0 {
                losses.push(Loss {
                    worker: info.id,
                    incarnation,
                    load: *id,
                    unknown,
                    unsent,
                    unsent_from,
                });
            }
        }
    }
    losses
}

fn counted(stored: &StoredRun, load: LoadId, worker: WorkerId) -> u64 {
    let handed = stored.handed.get(&(load, worker)).copied().unwrap_or(0);
    let incarnation = stored.incarnations.get(&worker).copied().unwrap_or_default();
    let begun = stored
        .ledger
        .member(worker, incarnation)
        .and_then(|member| member.iterations.get(&load))
        .map_or(0, |counts| counts.started.saturating_add(counts.dropped_total()));
    handed.saturating_sub(begun)
}
