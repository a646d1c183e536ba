//! Stored runs, read back.

use std::collections::BTreeMap;
use std::sync::Arc;

use barrage_metrics::ledger::WorkerPart;
use barrage_metrics::sla::StopDecision;
use barrage_metrics::summary::{RunEvent, RunInfo};
use barrage_metrics::{
    ClockOffset, IntervalRecord, Ledger, LedgerConfig, Loss, Rejected, RunFacts, SlaEngine, Summary, WorkerInfo,
};
use barrage_model::delta::{Delta, SketchRow};
use barrage_model::ids::{Incarnation, LoadId, RunId, WorkerId};
use barrage_model::phase::Marks;
use barrage_model::plan::Plan;
use barrage_model::schedule::Epoch;
use barrage_model::time::Moment;
use barrage_proto::convert::{epoch_in, marks_in};
use barrage_proto::v1;
use rusqlite::{Connection, OptionalExtension, params};

use super::blob;
use super::schema;
use super::write::{cause, int};
use super::{Reader, StoreError};
use crate::judge::stopped_before_start;

/// One line of the list of runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunLine {
    /// Its id.
    pub id: RunId,
    /// The plan's name.
    pub name: String,
    /// Where it stands.
    pub state: String,
    /// What it is worth; empty while it goes on.
    pub verdict: String,
    /// The exit code of who followed it.
    pub exit_code: Option<u8>,
    /// RFC 3339; empty before the start.
    pub started_at: String,
    /// Length, µs.
    pub duration_us: u64,
    /// Iterations begun.
    pub started: u64,
    /// Bytes of stored numbers.
    pub stored_bytes: u64,
}

/// Where a stored run stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunState {
    /// Has no workers yet.
    Queued,
    /// Has workers.
    Running,
    /// Ran.
    Finished,
    /// Never made an arrival.
    CouldNotStart,
}

impl RunState {
    fn has_ended(self) -> bool {
        matches!(self, Self::Finished | Self::CouldNotStart)
    }
}

/// A run with everything that is stored of it.
#[derive(Debug)]
pub struct StoredRun {
    /// Where it stands.
    pub state: RunState,
    /// Why it did not run.
    pub detail: String,
    /// Its merged numbers.
    pub ledger: Ledger,
    /// What a summary says beyond them.
    pub facts: RunFacts,
    /// The SLAs, with what was seen of seconds that the numbers no longer hold apart.
    pub engine: SlaEngine,
    /// The SLA that stopped it.
    pub stop_sla: Option<StopDecision>,
    /// The schedule.
    pub epochs: Vec<(LoadId, Epoch)>,
    /// Run time up to which load was granted.
    pub granted: Moment,
    /// Its workers' processes.
    pub incarnations: BTreeMap<WorkerId, Incarnation>,
    /// What workers were given of counted loads.
    pub handed: BTreeMap<(LoadId, WorkerId), u64>,
}

impl StoredRun {
    /// Whether it made arrivals, so that there is something to report.
    pub fn ran(&self) -> bool {
        matches!(self.state, RunState::Running | RunState::Finished) || self.facts.stop.is_some()
    }

    /// Whether it has ended, one way or the other.
    pub fn has_ended(&self) -> bool {
        self.state.has_ended()
    }

    /// What its followers saw last.
    pub fn last_snapshot(&self) -> v1::Snapshot {
        let summary = self.summary();
        let did_not_run = !self.ran();
        v1::Snapshot {
            run: summary.run.id.0,
            name: summary.run.name.clone(),
            state: "finished".to_owned(),
            detail: self.detail.clone(),
            run_time_us: summary.run.duration_us,
            duration_us: summary.run.duration_us,
            exit_code: Some(if did_not_run {
                4
            } else {
                summary.exit_code.number().into()
            }),
            accepted_exit_code: (!did_not_run).then(|| summary.accepted_exit_code.number().into()),
            verdict: if did_not_run {
                "could not start".to_owned()
            } else {
                summary.verdict.word().to_owned()
            },
            generator: summary.generator.verdict.word().to_owned(),
            generator_reasons: crate::hub::reasons(&summary.generator),
            started: summary.iterations.started,
            completed: summary.iterations.completed,
            ..v1::Snapshot::default()
        }
    }

    /// The summary that its report shows.
    pub fn summary(&self) -> Summary {
        if self.state == RunState::CouldNotStart && self.facts.stop.is_some() {
            let facts = RunFacts {
                offsets: BTreeMap::new(),
                ..self.facts.clone()
            };
            return stopped_before_start(Arc::new(self.ledger.plan().clone()), facts);
        }
        let mut engine = self.engine.clone();
        if let Some(decision) = self.stop_sla.clone() {
            engine.restore_stop(decision);
        }
        Summary::build(&self.ledger, &engine, self.facts.clone())
    }
}

/// The numbers, and the SLAs with what only those have seen who were there.
fn restore(
    config: LedgerConfig,
    records: &[IntervalRecord],
    stopped: Option<Moment>,
) -> Result<(Ledger, SlaEngine), Rejected> {
    let mut engine = SlaEngine::new(&config.plan.sla);
    let ledger = Ledger::restore_seen(config.clone(), records, stopped, |_| {})?;
    let forgotten = ledger.forgotten_before();
    if forgotten > 0 && engine.has_windows() {
        Ledger::restore_seen(config, records, stopped, |ledger| engine.look(ledger, forgotten))?;
    }
    Ok((ledger, engine))
}

struct Header {
    state: RunState,
    detail: String,
    info: RunInfo,
    accept_untrusted: bool,
    plan: Vec<u8>,
    marks: Vec<u8>,
    end: Option<u64>,
    stop: Option<(String, u64, String)>,
    stop_sla: Option<StopDecision>,
    granted: u64,
}

impl Reader {
    /// The newest runs, at most `limit`.
    ///
    /// # Errors
    /// What the database says.
    pub fn list(&self, limit: u32) -> Result<Vec<RunLine>, StoreError> {
        let Some(connection) = self.connect()? else {
            return Ok(Vec::new());
        };
        let read = || -> rusqlite::Result<Vec<RunLine>> {
            let mut statement = connection.prepare(
                "SELECT id, name, state, verdict, exit_code, started_at, max(coalesce(end_us, 0), 0), started, stored_bytes
                 FROM runs ORDER BY submitted_s DESC, rowid DESC LIMIT ?1",
            )?;
            let line = |row: &rusqlite::Row<'_>| {
                Ok(RunLine {
                    id: RunId(unsigned(row, 0)?),
                    name: row.get(1)?,
                    state: row.get(2)?,
                    verdict: row.get(3)?,
                    exit_code: row.get(4)?,
                    started_at: row.get(5)?,
                    duration_us: unsigned(row, 6)?,
                    started: unsigned(row, 7)?,
                    stored_bytes: unsigned(row, 8)?,
                })
            };
            statement.query_map([limit], line)?.collect()
        };
        read().map_err(StoreError::Read)
    }

    /// Runs that have not ended.
    ///
    /// # Errors
    /// What the database says.
    pub fn unfinished(&self) -> Result<Vec<RunId>, StoreError> {
        let Some(connection) = self.connect()? else {
            return Ok(Vec::new());
        };
        let sql = "SELECT id FROM runs WHERE state IN ('queued', 'running') ORDER BY id";
        let mut statement = connection.prepare(sql).map_err(StoreError::Read)?;
        let ids = statement
            .query_map([], |row| unsigned(row, 0))
            .map_err(StoreError::Read)?;
        ids.map(|id| id.map(RunId).map_err(StoreError::Read)).collect()
    }

    /// Reads a run back.
    ///
    /// # Errors
    /// [`StoreError::Unknown`]; [`StoreError::Corrupt`] when what is stored cannot be right.
    pub fn load_run(&self, run: RunId) -> Result<StoredRun, StoreError> {
        let mut connection = self.connect()?.ok_or(StoreError::Unknown(run))?;
        // One transaction, so that a run that still goes on is seen at one instant.
        let transaction = connection.transaction().map_err(StoreError::Read)?;
        load(&transaction, run)
    }
}

fn load(connection: &Connection, run: RunId) -> Result<StoredRun, StoreError> {
    let corrupt = |problem: String| StoreError::Corrupt { run, problem };
    let damaged = |what: &str| corrupt(format!("{what} cannot be read"));
    let header = header(connection, run)?.ok_or(StoreError::Unknown(run))?;
    let plan: v1::Plan = blob::open(&header.plan).map_err(|_| damaged("the plan"))?;
    let plan = Plan::try_from(plan).map_err(|error| corrupt(error.to_string()))?;
    let marks = if header.marks.is_empty() {
        Marks::default()
    } else {
        let marks: v1::Prepare = blob::open(&header.marks).map_err(|_| damaged("the marks"))?;
        marks_in(marks.marks).map_err(|error| corrupt(error.to_string()))?
    };
    let workers = workers(connection, run).map_err(StoreError::Read)?;
    let config = LedgerConfig {
        plan: Arc::new(plan),
        marks,
        workers: workers.iter().map(|(info, ..)| info.clone()).collect(),
        scheduled: scheduled(connection, run).map_err(StoreError::Read)?,
    };
    let records = records(connection, run)?;
    let stop = header
        .stop
        .and_then(|(word, at, reason)| Some((cause(&word)?, Moment::from_micros(at), reason)));
    let stopped = stop.as_ref().map(|(_, at, _)| *at);
    let restored = restore(config, &records, stopped);
    let (mut ledger, engine) = restored.map_err(|rejected| corrupt(rejected.to_string()))?;
    afterwards(connection, run, &mut ledger).map_err(StoreError::Read)?;
    if let Some(end) = header.end {
        ledger.set_end(Moment::from_micros(end));
    }
    let mut info = header.info;
    info.duration_us = ledger.end().as_micros();
    info.targets = ledger
        .plan()
        .targets
        .iter()
        .map(barrage_model::plan::Target::url)
        .collect();
    let facts = RunFacts {
        run: info,
        ended: header.state.has_ended(),
        stop,
        offsets: workers
            .iter()
            .filter_map(|(info, _, offset)| Some((info.id, (*offset)?)))
            .collect(),
        faults: Vec::new(),
        aftermath: Vec::new(),
        accept_untrusted: header.accept_untrusted,
    };
    Ok(StoredRun {
        state: header.state,
        detail: header.detail,
        ledger,
        facts,
        engine,
        stop_sla: header.stop_sla,
        epochs: epochs(connection, run)?,
        granted: Moment::from_micros(header.granted),
        incarnations: workers
            .iter()
            .map(|(info, incarnation, _)| (info.id, *incarnation))
            .collect(),
        handed: handed(connection, run).map_err(StoreError::Read)?,
    })
}

fn header(connection: &Connection, run: RunId) -> Result<Option<Header>, StoreError> {
    let read = || -> rusqlite::Result<Option<Header>> {
        // Whoever only reads finds the file as an earlier program has left it.
        let seen = match schema::version(connection)? {
            version if version < schema::WITH_STOP_SEEN => "NULL, NULL",
            _ => "stop_sla_at_us, stop_sla_observed",
        };
        let sql = format!(
            "SELECT state, detail, name, seed, plan_hash, version, accept_invalid, started_at, plan, marks, end_us,
                    stop_cause, stop_at_us, stop_reason, stop_sla, granted_us, {seen} FROM runs WHERE id = ?1"
        );
        let labels = "SELECT name, value FROM labels WHERE run = ?1 ORDER BY name";
        let labels: Vec<(String, String)> = connection
            .prepare(labels)?
            .query_map([int(run.0)], |row| Ok((row.get(0)?, row.get(1)?)))?
            .collect::<Result<_, _>>()?;
        let header = |row: &rusqlite::Row<'_>| {
            let state: String = row.get(0)?;
            let stop: Option<String> = row.get(11)?;
            let stop_at: Option<i64> = row.get(12)?;
            let reason: Option<String> = row.get(13)?;
            let end: Option<i64> = row.get(10)?;
            let stop = stop
                .zip(stop_at)
                .zip(reason)
                .map(|((cause, at), reason)| (cause, at.cast_unsigned(), reason));
            Ok(Header {
                state: match state.as_str() {
                    "queued" => RunState::Queued,
                    "running" => RunState::Running,
                    "finished" => RunState::Finished,
                    _ => RunState::CouldNotStart,
                },
                detail: row.get(1)?,
                info: RunInfo {
                    id: run,
                    name: row.get(2)?,
                    seed: unsigned(row, 3)?,
                    plan_hash: row.get(4)?,
                    labels: labels.clone(),
                    started_at: row.get(7)?,
                    duration_us: 0,
                    version: row.get(5)?,
                    targets: Vec::new(),
                },
                accept_untrusted: row.get(6)?,
                plan: row.get(8)?,
                marks: row.get(9)?,
                // A damaged file may have it before the run's begin.
                end: end.map(|end| end.max(0).cast_unsigned()),
                stop_sla: stop_sla(row, stop.as_ref())?,
                stop,
                granted: unsigned(row, 15)?,
            })
        };
        connection.query_row(&sql, [int(run.0)], header).optional()
    };
    read().map_err(StoreError::Read)
}

fn stop_sla(row: &rusqlite::Row<'_>, stop: Option<&(String, u64, String)>) -> rusqlite::Result<Option<StopDecision>> {
    let (place, at): (Option<i64>, Option<i64>) = (row.get(14)?, row.get(16)?);
    let observed: Option<String> = row.get(17)?;
    let place = place.and_then(|place| usize::try_from(place).ok());
    Ok(place.zip(stop).map(|(sla, (_, stopped_at, reason))| StopDecision {
        sla,
        at: Moment::from_micros(at.map_or(*stopped_at, i64::cast_unsigned)),
        // An earlier program has kept only the sentence that begins with it.
        observed: observed.unwrap_or_else(|| reason.split(" at ").next().unwrap_or_default().to_owned()),
        reason: reason.clone(),
    }))
}

fn unsigned(row: &rusqlite::Row<'_>, column: usize) -> rusqlite::Result<u64> {
    row.get::<_, i64>(column).map(i64::cast_unsigned)
}

type StoredMember = (WorkerInfo, Incarnation, Option<ClockOffset>);

fn workers(connection: &Connection, run: RunId) -> rusqlite::Result<Vec<StoredMember>> {
    let sql = "SELECT worker, incarnation, name, first_shard, shards, cores, offset_us, uncertainty_us
               FROM workers WHERE run = ?1 ORDER BY worker";
    let worker = |row: &rusqlite::Row<'_>| {
        let (first, count): (u32, u32) = (row.get(3)?, row.get(4)?);
        let info = WorkerInfo {
            id: WorkerId(row.get(0)?),
            name: row.get(2)?,
            shards: first..first.saturating_add(count),
            cores: row.get(5)?,
        };
        let (offset, uncertainty): (Option<i64>, Option<i64>) = (row.get(6)?, row.get(7)?);
        let offset = offset.zip(uncertainty).map(|(offset_us, uncertainty)| ClockOffset {
            offset_us,
            uncertainty_us: uncertainty.cast_unsigned(),
        });
        Ok((info, Incarnation(unsigned(row, 1)?), offset))
    };
    connection.prepare(sql)?.query_map([int(run.0)], worker)?.collect()
}

fn scheduled(connection: &Connection, run: RunId) -> rusqlite::Result<BTreeMap<LoadId, u64>> {
    let sql = "SELECT load, scheduled FROM loads WHERE run = ?1 AND scheduled IS NOT NULL";
    let load = |row: &rusqlite::Row<'_>| Ok((LoadId(row.get(0)?), unsigned(row, 1)?));
    connection.prepare(sql)?.query_map([int(run.0)], load)?.collect()
}

fn handed(connection: &Connection, run: RunId) -> rusqlite::Result<BTreeMap<(LoadId, WorkerId), u64>> {
    let sql = "SELECT load, worker, handed FROM blocks WHERE run = ?1";
    let load = |row: &rusqlite::Row<'_>| Ok(((LoadId(row.get(0)?), WorkerId(row.get(1)?)), unsigned(row, 2)?));
    connection.prepare(sql)?.query_map([int(run.0)], load)?.collect()
}

fn epochs(connection: &Connection, run: RunId) -> Result<Vec<(LoadId, Epoch)>, StoreError> {
    let sql = "SELECT body FROM epochs WHERE run = ?1 ORDER BY load, epoch";
    let read = || -> rusqlite::Result<Vec<Vec<u8>>> {
        connection
            .prepare(sql)?
            .query_map([int(run.0)], |row| row.get(0))?
            .collect()
    };
    let corrupt = |problem: String| StoreError::Corrupt { run, problem };
    let epoch = |body: Vec<u8>| {
        let wire: v1::Epoch = blob::open(&body).map_err(|_| corrupt("an epoch cannot be read".to_owned()))?;
        epoch_in(wire).map_err(|error| corrupt(error.to_string()))
    };
    read().map_err(StoreError::Read)?.into_iter().map(epoch).collect()
}

/// Record, interval, sketches.
type RawInterval = (i64, u32, Vec<u8>);
/// Record, worker, incarnation, counts.
type RawPart = (i64, u32, i64, Vec<u8>);

/// The records in the order of their commits.
fn records(connection: &Connection, run: RunId) -> Result<Vec<IntervalRecord>, StoreError> {
    let corrupt = |problem: String| StoreError::Corrupt { run, problem };
    let read = || -> rusqlite::Result<(Vec<RawInterval>, Vec<RawPart>)> {
        let sql = "SELECT id, interval, sketches FROM intervals WHERE run = ?1 ORDER BY id";
        let line = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?));
        let intervals = connection
            .prepare(sql)?
            .query_map([int(run.0)], line)?
            .collect::<Result<_, _>>()?;
        let sql = "SELECT record, worker, incarnation, counts FROM parts WHERE run = ?1
                   ORDER BY record, worker, incarnation, seq";
        let line = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?));
        let parts = connection
            .prepare(sql)?
            .query_map(params![int(run.0)], line)?
            .collect::<Result<_, _>>()?;
        Ok((intervals, parts))
    };
    let (intervals, parts) = read().map_err(StoreError::Read)?;
    let mut parts = parts.into_iter().peekable();
    let mut records = Vec::with_capacity(intervals.len());
    for (id, interval, sketches) in intervals {
        let wire: v1::Delta = blob::open(&sketches).map_err(|_| corrupt(format!("interval {interval} is damaged")))?;
        let sketches: Result<Vec<SketchRow>, _> = wire.sketches.into_iter().map(TryInto::try_into).collect();
        let mut record = IntervalRecord {
            interval,
            sketches: sketches.map_err(|error| corrupt(error.to_string()))?,
            parts: Vec::new(),
        };
        while let Some((_, worker, incarnation, counts)) = parts.next_if(|part| part.0 == id) {
            let wire: v1::Delta =
                blob::open(&counts).map_err(|_| corrupt(format!("interval {interval} is damaged")))?;
            let delta = Delta::try_from(wire).map_err(|error| corrupt(error.to_string()))?;
            let incarnation = Incarnation(incarnation.cast_unsigned());
            record.parts.push(WorkerPart {
                worker: WorkerId(worker),
                incarnation,
                delta,
            });
        }
        records.push(record);
    }
    if parts.next().is_some() {
        return Err(corrupt("counts without their interval".to_owned()));
    }
    Ok(records)
}

/// Losses and events, which are not part of the records.
fn afterwards(connection: &Connection, run: RunId, ledger: &mut Ledger) -> rusqlite::Result<()> {
    // Whoever only reads finds the file as an earlier program has left it.
    let unsent_from = match schema::version(connection)? {
        version if version < schema::WITH_UNSENT_FROM => "NULL",
        _ => "unsent_from_us",
    };
    let sql = format!("SELECT worker, incarnation, load, unknown, unsent, {unsent_from} FROM losses WHERE run = ?1");
    let mut statement = connection.prepare(&sql)?;
    let mut rows = statement.query([int(run.0)])?;
    while let Some(row) = rows.next()? {
        let (worker, incarnation) = (WorkerId(row.get(0)?), Incarnation(unsigned(row, 1)?));
        let load: Option<u16> = row.get(2)?;
        let (unknown, unsent) = (unsigned(row, 3)?, unsigned(row, 4)?);
        let unsent_from: Option<i64> = row.get(5)?;
        let unsent_from = unsent_from.map(|us| Moment::from_micros(us.cast_unsigned()));
        match load {
            Some(load) => ledger.record_loss(Loss {
                worker,
                incarnation,
                load: LoadId(load),
                unknown,
                unsent,
                unsent_from,
            }),
            None => ledger.set_lost(worker, incarnation),
        }
    }
    let sql = "SELECT at_us, kind, worker, text FROM events WHERE run = ?1 ORDER BY id";
    let event = |row: &rusqlite::Row<'_>| {
        let worker: Option<u32> = row.get(2)?;
        Ok(RunEvent {
            at: Moment::from_micros(unsigned(row, 0)?),
            kind: row.get(1)?,
            worker: worker.map(WorkerId),
            text: row.get(3)?,
        })
    };
    for event in connection.prepare(sql)?.query_map([int(run.0)], event)? {
        ledger.add_event(event?);
    }
    Ok(())
}
