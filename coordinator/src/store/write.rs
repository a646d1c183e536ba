//! One transaction's SQL.

use std::collections::{BTreeMap, BTreeSet};

use barrage_metrics::{Batch, IntervalRecord, StopCause};
use barrage_model::ids::{Incarnation, RunId, WorkerId};
use barrage_proto::convert::{epoch_out, marks_out};
use barrage_proto::v1;
use rusqlite::{Connection, Transaction, TransactionBehavior, params};

use super::blob::seal;
use super::op::{Assigned, Ended, NewRun, Op, Prune, StoredWorker};
use crate::machine::run::{Note, Record};

/// A 64-bit number as `SQLite` keeps it.
pub(super) fn int(number: u64) -> i64 {
    number.cast_signed()
}

/// Writes a batch, all or nothing. Gives the number of runs that each operation has removed.
pub(super) fn write(connection: &mut Connection, ops: &[Op]) -> rusqlite::Result<Vec<u32>> {
    // Taken at once: another process may be writing, and waiting works only at the beginning.
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let mut batches: BTreeMap<RunId, Batch> = BTreeMap::new();
    let mut removed = Vec::with_capacity(ops.len());
    for op in ops {
        let gone = match op {
            Op::New(run) => new(&transaction, run).map(|()| 0),
            Op::Assigned(run, assigned) => assign(&transaction, *run, assigned).map(|()| 0),
            Op::Record(run, _, Record::Delta(worker, incarnation, delta)) => {
                let batch = batches.entry(*run).or_default();
                batch.add(*worker, *incarnation, delta);
                Ok(0)
            }
            Op::Record(run, _, record) => keep(&transaction, *run, record).map(|()| 0),
            Op::Started(run, wall) => {
                let sql = "UPDATE runs SET started_at = ?2 WHERE id = ?1";
                transaction.execute(sql, params![int(run.0), wall]).map(|_| 0)
            }
            Op::Ended(run, ended) => end(&transaction, *run, ended).map(|()| 0),
            Op::Remove(run, _) => remove(&transaction, *run),
            Op::Prune(prune, _) => self::prune(&transaction, *prune),
            Op::Flush(_) => Ok(0),
        };
        removed.push(gone?);
    }
    for (run, batch) in batches {
        for record in batch.into_records() {
            interval(&transaction, run, &record)?;
        }
    }
    transaction.commit()?;
    Ok(removed)
}

/// The files that runs use.
pub(super) fn used_files(connection: &Connection) -> rusqlite::Result<BTreeSet<Vec<u8>>> {
    let mut statement = connection.prepare_cached("SELECT sha256 FROM files")?;
    statement.query_map([], |row| row.get(0))?.collect()
}

fn new(transaction: &Transaction<'_>, run: &NewRun) -> rusqlite::Result<()> {
    transaction.execute(
        "INSERT INTO runs (id, state, name, seed, plan_hash, version, accept_invalid, submitted_s, plan)
         VALUES (?1, 'queued', ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        params![
            int(run.id.0),
            run.name,
            int(run.seed),
            run.plan_hash,
            run.version,
            run.accept_invalid,
            run.submitted_s,
            seal(&run.plan)
        ],
    )?;
    for (name, value) in &run.labels {
        let sql = "INSERT INTO labels (run, name, value) VALUES (?1, ?2, ?3)";
        transaction.execute(sql, params![int(run.id.0), name, value])?;
    }
    for hash in &run.files {
        let sql = "INSERT OR IGNORE INTO files (run, sha256) VALUES (?1, ?2)";
        transaction.execute(sql, params![int(run.id.0), hash.as_slice()])?;
    }
    Ok(())
}

fn assign(transaction: &Transaction<'_>, run: RunId, assigned: &Assigned) -> rusqlite::Result<()> {
    let id = int(run.0);
    let marks = v1::Prepare {
        marks: marks_out(&assigned.marks),
        ..v1::Prepare::default()
    };
    let sql = "UPDATE runs SET state = 'running', marks = ?2 WHERE id = ?1";
    transaction.execute(sql, params![id, seal(&marks)])?;
    for worker in &assigned.workers {
        let StoredWorker {
            id: number,
            incarnation,
            name,
            first_shard,
            shards,
            cores,
            offset,
        } = worker;
        transaction.execute(
            "INSERT INTO workers (run, worker, incarnation, name, first_shard, shards, cores, offset_us, uncertainty_us)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
            params![
                id,
                number.0,
                int(incarnation.0),
                name,
                first_shard.0,
                shards,
                cores,
                offset.map(|offset| offset.offset_us),
                offset.map(|offset| int(offset.uncertainty_us))
            ],
        )?;
    }
    for (load, scheduled) in assigned.scheduled.iter().enumerate() {
        let sql = "INSERT INTO loads (run, load, scheduled) VALUES (?1, ?2, ?3)";
        transaction.execute(sql, params![id, int(load as u64), scheduled.map(int)])?;
    }
    for (load, epoch) in &assigned.epochs {
        let sql = "INSERT INTO epochs (run, load, epoch, body) VALUES (?1, ?2, ?3, ?4)";
        transaction.execute(sql, params![id, load.0, epoch.id.0, seal(&epoch_out(*load, epoch))])?;
    }
    Ok(())
}

fn keep(transaction: &Transaction<'_>, run: RunId, record: &Record) -> rusqlite::Result<()> {
    let id = int(run.0);
    match record {
        // Gathered with others of their interval.
        Record::Delta(..) => {}
        Record::Started(at) => {
            let sql = "UPDATE runs SET start_us = ?2 WHERE id = ?1";
            transaction.execute(sql, params![id, int(at.as_micros())])?;
        }
        Record::Granted(until, blocks) => {
            let sql = "UPDATE runs SET granted_us = max(granted_us, ?2) WHERE id = ?1";
            transaction.execute(sql, params![id, int(until.as_micros())])?;
            for (load, worker, handed) in blocks {
                let sql = "INSERT OR REPLACE INTO blocks (run, load, worker, handed) VALUES (?1, ?2, ?3, ?4)";
                transaction.execute(sql, params![id, load.0, worker.0, int(*handed)])?;
            }
        }
        Record::Note(Note { at, kind, worker, text }) => {
            let sql = "INSERT INTO events (run, at_us, kind, worker, text) VALUES (?1, ?2, ?3, ?4, ?5)";
            let worker = worker.map(|worker| worker.0);
            transaction.execute(sql, params![id, int(at.as_micros()), kind, worker, text])?;
        }
    }
    Ok(())
}

fn interval(transaction: &Transaction<'_>, run: RunId, record: &IntervalRecord) -> rusqlite::Result<()> {
    let id = int(run.0);
    let sketches = v1::Delta {
        sketches: record.sketches.iter().map(Into::into).collect(),
        ..v1::Delta::default()
    };
    let sketches = seal(&sketches);
    let mut bytes = sketches.len();
    let sql = "INSERT INTO intervals (run, interval, sketches) VALUES (?1, ?2, ?3)";
    transaction
        .prepare_cached(sql)?
        .execute(params![id, record.interval, sketches])?;
    let number = transaction.last_insert_rowid();
    for part in &record.parts {
        let counts = seal(&v1::Delta::from(&part.delta));
        bytes += counts.len();
        let (worker, incarnation, seq) = (part.worker.0, int(part.incarnation.0), int(part.delta.seq));
        // The key makes it impossible to keep a delta twice.
        let sql = "INSERT INTO parts (run, worker, incarnation, seq, record, counts) VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
        transaction
            .prepare_cached(sql)?
            .execute(params![id, worker, incarnation, seq, number, counts])?;
        let sql = "UPDATE workers SET high_water = ?3 WHERE run = ?1 AND worker = ?2";
        transaction.prepare_cached(sql)?.execute(params![id, worker, seq])?;
    }
    let sql = "UPDATE runs SET stored_bytes = stored_bytes + ?2 WHERE id = ?1";
    transaction
        .prepare_cached(sql)?
        .execute(params![id, int(bytes as u64)])?;
    Ok(())
}

fn end(transaction: &Transaction<'_>, run: RunId, ended: &Ended) -> rusqlite::Result<()> {
    let id = int(run.0);
    let (stop, by) = (ended.stop.as_ref(), ended.stop_sla.as_ref());
    transaction.execute(
        "UPDATE runs SET state = ?2, detail = ?3, verdict = ?4, exit_code = ?5, end_us = ?6, started = ?7,
           stop_cause = ?8, stop_at_us = ?9, stop_reason = ?10, stop_sla = ?11, stop_sla_at_us = ?12, stop_sla_observed = ?13
         WHERE id = ?1",
        params![
            id,
            if ended.ran { "finished" } else { "could not start" },
            ended.detail,
            ended.verdict.map_or("", barrage_metrics::Verdict::word),
            ended.exit_code,
            int(ended.end.as_micros()),
            int(ended.started),
            stop.map(|(cause, ..)| cause_word(*cause)),
            stop.map(|(_, at, _)| int(at.as_micros())),
            stop.map(|(_, _, reason)| reason.as_str()),
            by.map(|by| int(by.sla as u64)),
            by.map(|by| int(by.at.as_micros())),
            by.map(|by| by.observed.as_str()),
        ],
    )?;
    let sql = "INSERT INTO losses (run, worker, incarnation, load, unknown, unsent, unsent_from_us) \
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
    for loss in &ended.losses {
        let (unknown, unsent) = (int(loss.unknown), int(loss.unsent));
        let from = loss.unsent_from.map(|from| int(from.as_micros()));
        let values = params![
            id,
            loss.worker.0,
            int(loss.incarnation.0),
            loss.load.0,
            unknown,
            unsent,
            from
        ];
        transaction.execute(sql, values)?;
    }
    for (WorkerId(worker), Incarnation(incarnation)) in &ended.lost {
        let values = params![id, worker, int(*incarnation), None::<u16>, 0, 0, None::<i64>];
        transaction.execute(sql, values)?;
    }
    for (load, scheduled) in &ended.scheduled {
        let sql = "UPDATE loads SET scheduled = ?3 WHERE run = ?1 AND load = ?2";
        transaction.execute(sql, params![id, load.0, int(*scheduled)])?;
    }
    for (worker, offset) in &ended.offsets {
        let sql = "UPDATE workers SET offset_us = ?3, uncertainty_us = ?4 WHERE run = ?1 AND worker = ?2";
        transaction.execute(sql, params![id, worker.0, offset.offset_us, int(offset.uncertainty_us)])?;
    }
    Ok(())
}

/// Runs in these states are nobody's any more: whoever goes on with one of another state would find it gone.
const ENDED: &str = "state IN ('finished', 'could not start')";

fn remove(transaction: &Transaction<'_>, run: RunId) -> rusqlite::Result<u32> {
    let sql = format!("DELETE FROM runs WHERE id = ?1 AND {ENDED}");
    let gone = transaction.execute(&sql, [int(run.0)])?;
    Ok(gone as u32)
}

fn prune(transaction: &Transaction<'_>, prune: Prune) -> rusqlite::Result<u32> {
    let mut gone = 0;
    if let Some(before) = prune.before_s {
        let sql = format!("DELETE FROM runs WHERE {ENDED} AND submitted_s < ?1");
        gone += transaction.execute(&sql, [before])?;
    }
    if let Some(keep) = prune.keep {
        let sql = format!(
            "DELETE FROM runs WHERE {ENDED} AND id NOT IN
               (SELECT id FROM runs WHERE {ENDED} ORDER BY submitted_s DESC, rowid DESC LIMIT ?1)"
        );
        gone += transaction.execute(&sql, [keep])?;
    }
    Ok(gone as u32)
}

const CAUSES: [(StopCause, &str); 7] = [
    (StopCause::SlaBreached, "sla-breached"),
    (StopCause::Operator, "operator"),
    (StopCause::Guard, "guard"),
    (StopCause::WorkerLost, "worker-lost"),
    (StopCause::Interrupted, "interrupted"),
    (StopCause::Terminated, "terminated"),
    (StopCause::DataEnded, "data-ended"),
];

fn cause_word(cause: StopCause) -> &'static str {
    CAUSES
        .iter()
        .find(|(known, _)| *known == cause)
        .map_or("operator", |(_, word)| word)
}

/// Reads the word of a cause.
pub(super) fn cause(word: &str) -> Option<StopCause> {
    CAUSES.iter().find(|(_, known)| *known == word).map(|(cause, _)| *cause)
}
