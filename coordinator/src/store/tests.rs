use std::collections::BTreeMap;
use std::sync::{Mutex, mpsc};

use barrage_metrics::{Batch, Ledger, LedgerConfig, WorkerInfo};
use barrage_model::delta::{Delta, Health, IterationRow, Measure, Progress, SketchKey, SketchRow, StepRow, Subject};
use barrage_model::ids::{Incarnation, LoadId, ScenarioId, SegmentId, ShardId, StepId, TagId, WorkerId};
use barrage_model::ledger::{IterationCounts, Open, StepCounts};
use barrage_model::outcome::OutcomeGroup;
use barrage_model::sketch::Sketch;
use barrage_model::time::Moment;
use barrage_proto::v1;

use super::*;
use crate::compile::{Compiled, Member, compile};
use crate::machine::run::{Note, Record};
use crate::sample;

const RUN: RunId = RunId(0xfeed_0000_0000_0001);

fn plan() -> barrage_model::plan::Plan {
    sample::plan(vec![sample::load("load", 0, sample::holds(&[(10, 20)]))])
}

fn compiled() -> Compiled {
    let member = |name: &str| Member {
        name: name.to_owned(),
        shards: 1,
        max_rate: None,
    };
    compile(&plan(), &[member("a"), member("b")], 1).unwrap()
}

fn new_run(id: RunId, submitted_s: i64) -> Op {
    Op::New(Box::new(NewRun {
        id,
        name: "sample".to_owned(),
        seed: u64::MAX,
        plan_hash: "00".to_owned(),
        version: "0.1.0".to_owned(),
        labels: BTreeMap::from([("team".to_owned(), "a".to_owned())]),
        files: vec![[7; 32]],
        plan: v1::Plan::from(&plan()),
        accept_invalid: false,
        submitted_s,
    }))
}

fn assigned() -> Assigned {
    let compiled = compiled();
    let worker = |number: u32| StoredWorker {
        id: WorkerId(number),
        incarnation: Incarnation(u64::MAX - u64::from(number)),
        name: format!("w{number}"),
        first_shard: ShardId(number),
        shards: 1,
        cores: 2,
        offset: None,
    };
    Assigned {
        workers: vec![worker(0), worker(1)],
        epochs: compiled.epochs.clone(),
        marks: compiled.marks,
        scheduled: vec![Some(200)],
    }
}

fn config() -> LedgerConfig {
    let worker = |n: u32| WorkerInfo {
        id: WorkerId(n),
        name: format!("w{n}"),
        shards: n..n + 1,
        cores: 2,
    };
    LedgerConfig {
        plan: Arc::new(plan()),
        marks: compiled().marks,
        workers: vec![worker(0), worker(1)],
        scheduled: BTreeMap::from([(LoadId(0), 200)]),
    }
}

fn delta(worker: u32, seq: u64) -> Delta {
    let mut sketch = Sketch::new();
    (1..=5).for_each(|n| sketch.record(n * 100 * seq + u64::from(worker)));
    let started = 5;
    let key = SketchKey {
        subject: Subject::Step(StepId(0)),
        measure: Measure::Response,
        group: OutcomeGroup::Ok,
        tag: TagId(0),
        segment: SegmentId(0),
    };
    let iterations = IterationCounts {
        scheduled: started,
        started,
        completed: started,
        ..IterationCounts::default()
    };
    let steps = StepCounts {
        attempted: started,
        sent: started,
        ok: started,
        ..StepCounts::default()
    };
    let row = IterationRow {
        load: LoadId(0),
        scenario: ScenarioId(0),
        segment: SegmentId(0),
        counts: iterations,
    };
    Delta {
        seq,
        interval: seq as u32 - 1,
        last: false,
        iterations: vec![row],
        steps: vec![StepRow {
            step: StepId(0),
            tag: TagId(0),
            segment: SegmentId(0),
            counts: steps,
        }],
        sketches: vec![SketchRow {
            key,
            sketch: sketch.pack(),
        }],
        open: Open::default(),
        progress: vec![Progress {
            load: LoadId(0),
            shard: ShardId(worker),
            next_index: seq * 10 + u64::from(worker),
        }],
        errors: Vec::new(),
        health: Health::default(),
        ended: None,
        left: None,
    }
}

fn keep(worker: u32, seq: u64) -> Record {
    let incarnation = Incarnation(u64::MAX - u64::from(worker));
    Record::Delta(WorkerId(worker), incarnation, Arc::new(delta(worker, seq)))
}

fn merged(deltas: &[(u32, u64)]) -> Ledger {
    let mut ledger = Ledger::new(config());
    for (worker, seq) in deltas {
        let incarnation = Incarnation(u64::MAX - u64::from(*worker));
        ledger
            .apply(WorkerId(*worker), incarnation, &delta(*worker, *seq))
            .unwrap();
    }
    ledger
}

fn open(dir: &Path) -> Store {
    Store::open(dir, |_| {}).unwrap()
}

/// Waits until everything handed over is on the disk.
fn flush(store: &Store) {
    let (done, wait) = mpsc::sync_channel(1);
    store
        .writer()
        .write(Op::Flush(Box::new(move |result| done.send(result.is_ok()).unwrap())))
        .unwrap();
    assert!(wait.recv().unwrap());
}

fn fill(store: &Store, deltas: &[(u32, u64)]) {
    store.writer().write(new_run(RUN, 100)).unwrap();
    store.writer().write(Op::Assigned(RUN, Box::new(assigned()))).unwrap();
    for (ticket, (worker, seq)) in deltas.iter().enumerate() {
        store
            .writer()
            .write(Op::Record(RUN, ticket as u64 + 1, keep(*worker, *seq)))
            .unwrap();
    }
}

/// A copy of a store as a crash would leave it.
fn crashed(dir: &Path) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_file() {
            fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
        }
    }
    copy
}

#[test]
fn a_restart_gives_back_an_equal_ledger() {
    let dir = tempfile::tempdir().unwrap();
    let deltas = [(0, 1), (1, 1), (0, 2), (0, 3), (1, 2), (0, 4), (1, 3)];
    let store = open(dir.path());
    fill(&store, &deltas);
    store.close();
    let store = open(dir.path());
    let run = store.reader().load_run(RUN).unwrap();
    assert_eq!(run.ledger, merged(&deltas));
    assert_eq!(run.facts.run.seed, u64::MAX);
    assert_eq!(run.facts.run.labels, [("team".to_owned(), "a".to_owned())]);
    assert_eq!(run.epochs, compiled().epochs);
}

#[test]
fn whatever_the_groups_the_ledger_is_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let deltas: Vec<(u32, u64)> = (1..=30).flat_map(|seq| [(0, seq), (1, seq)]).collect();
    let store = open(dir.path());
    fill(&store, &[]);
    for (ticket, (worker, seq)) in deltas.iter().enumerate() {
        store
            .writer()
            .write(Op::Record(RUN, ticket as u64 + 1, keep(*worker, *seq)))
            .unwrap();
        if ticket % 7 == 0 {
            flush(&store);
        }
    }
    flush(&store);
    assert_eq!(store.reader().load_run(RUN).unwrap().ledger, merged(&deltas));
    assert_eq!(store.writer().waiting(), 0);
}

#[test]
fn what_is_reported_as_committed_survives_a_crash() {
    let dir = tempfile::tempdir().unwrap();
    let committed = Arc::new(Mutex::new(0));
    let seen = Arc::clone(&committed);
    let store = Store::open(dir.path(), move |news: &[Committed]| {
        *seen.lock().unwrap() = news.iter().map(|news| news.ticket).max().unwrap();
    })
    .unwrap();
    let deltas: Vec<(u32, u64)> = (1..=40).flat_map(|seq| [(0, seq), (1, seq)]).collect();
    fill(&store, &deltas[..10]);
    for round in 0..7 {
        let upto = *committed.lock().unwrap();
        let copy = crashed(dir.path());
        let revived = open(copy.path());
        if upto > 0 {
            let ledger = revived.reader().load_run(RUN).unwrap().ledger;
            let kept = deltas.iter().filter(|(worker, seq)| {
                let incarnation = Incarnation(u64::MAX - u64::from(*worker));
                ledger.high_water(WorkerId(*worker), incarnation) >= *seq
            });
            let kept: Vec<(u32, u64)> = kept.copied().collect();
            assert!(kept.len() as u64 >= upto, "{} of {upto}", kept.len());
            assert_eq!(ledger, merged(&kept), "no half of a delta");
        }
        for (ticket, (worker, seq)) in deltas.iter().enumerate().skip(10 + round * 10).take(10) {
            store
                .writer()
                .write(Op::Record(RUN, ticket as u64 + 1, keep(*worker, *seq)))
                .unwrap();
        }
        std::thread::sleep(Duration::from_millis(30 * round as u64));
    }
}

#[test]
fn only_who_is_alone_with_a_store_takes_unfinished_runs_for_abandoned() {
    let dir = tempfile::tempdir().unwrap();
    let mut first = open(dir.path());
    assert_eq!(first.abandon_unfinished().unwrap(), 0);
    first.writer().write(new_run(RUN, 1)).unwrap();
    flush(&first);

    let mut second = open(dir.path());
    assert_eq!(second.abandon_unfinished().unwrap(), 0, "the run is the first one's");
    second.writer().write(new_run(RunId(7), 1)).unwrap();
    flush(&second);
    assert_eq!(
        first.reader().unfinished().unwrap().len(),
        2,
        "both write to the same store"
    );
    first.close();
    second.close();

    let mut third = open(dir.path());
    assert_eq!(third.abandon_unfinished().unwrap(), 2);
}

#[test]
fn the_folder_is_private() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let inner = dir.path().join("store");
    let store = open(&inner);
    fill(&store, &[(0, 1)]);
    flush(&store);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&inner), 0o700);
    for file in ["barrage.sqlite", "barrage.sqlite-wal", "lock"] {
        assert_eq!(mode(&inner.join(file)), 0o600, "{file}");
    }
}

#[test]
fn a_store_of_the_first_version_is_brought_up_to_date() {
    let dir = tempfile::tempdir().unwrap();
    let mut connection = Connection::open(dir.path().join("barrage.sqlite")).unwrap();
    connection.execute_batch(schema::STEPS[0]).unwrap();
    connection.pragma_update(None, "user_version", 1).unwrap();
    let deltas: Vec<(u32, u64)> = (1..=30).flat_map(|seq| [(1, seq), (0, seq)]).collect();
    let mut ops = vec![new_run(RUN, 100), Op::Assigned(RUN, Box::new(assigned()))];
    ops.extend(
        (1..)
            .zip(&deltas)
            .map(|(ticket, (worker, seq))| Op::Record(RUN, ticket, keep(*worker, *seq))),
    );
    write::write(&mut connection, &ops).unwrap();
    drop(connection);

    // Whoever only reads leaves it as it is.
    let read = || Reader::open(dir.path()).unwrap().load_run(RUN).unwrap().ledger;
    assert_eq!(read(), merged(&deltas));
    let store = open(dir.path());
    assert_eq!(store.reader().load_run(RUN).unwrap().ledger, merged(&deltas));
    store.close();
    assert_eq!(read(), merged(&deltas));
    let mut connection = Connection::open(dir.path().join("barrage.sqlite")).unwrap();
    let again = write::write(&mut connection, &[Op::Record(RUN, 61, keep(1, 30))]);
    assert!(again.is_err(), "a delta is kept once, under the new key too");
    connection.pragma_update(None, "foreign_keys", true).unwrap();
    connection.execute("DELETE FROM runs", []).unwrap();
    let parts: u32 = connection
        .query_row("SELECT count(*) FROM parts", [], |row| row.get(0))
        .unwrap();
    assert_eq!(parts, 0, "they go with their run");
}

#[test]
fn a_later_version_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    open(dir.path()).close();
    let connection = Connection::open(dir.path().join("barrage.sqlite")).unwrap();
    connection.pragma_update(None, "user_version", 99).unwrap();
    drop(connection);
    assert!(matches!(Store::open(dir.path(), |_| {}), Err(StoreError::Later(_))));
    let read = Reader::open(dir.path()).unwrap().load_run(RUN);
    assert!(matches!(read, Err(StoreError::Later(_))), "{read:?}");
}

#[test]
fn a_damaged_run_is_named_and_the_others_are_not_concerned() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    fill(&store, &[(0, 1), (1, 1)]);
    let other = RunId(2);
    store.writer().write(new_run(other, 50)).unwrap();
    store.writer().write(Op::Assigned(other, Box::new(assigned()))).unwrap();
    flush(&store);
    let connection = Connection::open(dir.path().join("barrage.sqlite")).unwrap();
    for (table, column) in [("intervals", "sketches"), ("parts", "counts"), ("epochs", "body")] {
        let blob: Vec<u8> = connection
            .query_row(
                &format!("SELECT {column} FROM {table} WHERE run = ?1"),
                [RUN.0.cast_signed()],
                |row| row.get(0),
            )
            .unwrap();
        let mut bad = blob.clone();
        *bad.last_mut().unwrap() ^= 1;
        let set = format!("UPDATE {table} SET {column} = ?2 WHERE run = ?1");
        connection
            .execute(&set, rusqlite::params![RUN.0.cast_signed(), bad])
            .unwrap();
        let error = store.reader().load_run(RUN).unwrap_err();
        assert!(
            matches!(error, StoreError::Corrupt { run: RUN, .. }),
            "{table}: {error}"
        );
        assert!(error.to_string().contains("feed000000000001"), "{error}");
        connection
            .execute(&set, rusqlite::params![RUN.0.cast_signed(), blob])
            .unwrap();
        if table == "intervals" {
            connection
                .execute("DELETE FROM intervals WHERE run = ?1 AND 0", [RUN.0.cast_signed()])
                .unwrap();
        }
    }
    assert!(store.reader().load_run(other).is_ok());
    assert_eq!(store.reader().list(10).unwrap().len(), 2);
}

#[test]
fn a_run_whose_end_is_damaged_has_no_length() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    fill(&store, &[(0, 1), (1, 1)]);
    flush(&store);
    let connection = Connection::open(dir.path().join("barrage.sqlite")).unwrap();
    connection.execute("UPDATE runs SET end_us = -5", []).unwrap();
    assert_eq!(store.reader().list(10).unwrap()[0].duration_us, 0);
    let loaded = store.reader().load_run(RUN).unwrap();
    assert_eq!(loaded.facts.run.duration_us, 0);
}

#[test]
fn runs_are_listed_removed_and_pruned() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    for n in 1..=5 {
        store.writer().write(new_run(RunId(n), 100 * n.cast_signed())).unwrap();
        if n < 5 {
            let ended = Ended {
                detail: "no worker".to_owned(),
                exit_code: 4,
                ..Ended::default()
            };
            store.writer().write(Op::Ended(RunId(n), Box::new(ended))).unwrap();
        }
    }
    let ask = |op: fn(RunId, op::Answer<bool>) -> Op, run| {
        let (done, wait) = mpsc::sync_channel(1);
        store
            .writer()
            .write(op(run, Box::new(move |result| done.send(result.unwrap()).unwrap())))
            .unwrap();
        wait.recv().unwrap()
    };
    assert!(ask(Op::Remove, RunId(2)));
    assert!(!ask(Op::Remove, RunId(2)));
    let prune = |prune| {
        let (done, wait) = mpsc::sync_channel(1);
        store
            .writer()
            .write(Op::Prune(
                prune,
                Box::new(move |result| done.send(result.unwrap()).unwrap()),
            ))
            .unwrap();
        wait.recv().unwrap()
    };
    let ids = || {
        store
            .reader()
            .list(10)
            .unwrap()
            .iter()
            .map(|line| line.id.0)
            .collect::<Vec<_>>()
    };
    assert_eq!(ids(), [5, 4, 3, 1]);
    assert_eq!(
        prune(Prune {
            keep: None,
            before_s: Some(200)
        }),
        1
    );
    assert_eq!(
        prune(Prune {
            keep: Some(1),
            before_s: None
        }),
        1
    );
    assert_eq!(ids(), [5, 4], "a run that goes on is not pruned");
    assert!(matches!(
        store.reader().load_run(RunId(3)),
        Err(StoreError::Unknown(RunId(3)))
    ));
}

/// A store with a run that has three deltas and is granted up to 10 s.
fn going(dir: &Path) -> Store {
    let store = open(dir);
    fill(&store, &[(0, 1), (1, 1), (0, 2)]);
    let granted = Record::Granted(Moment::from_secs(10), Vec::new());
    store.writer().write(Op::Record(RUN, 4, granted)).unwrap();
    store
}

#[test]
fn an_unfinished_run_is_aborted_with_an_exact_hole() {
    let dir = tempfile::tempdir().unwrap();
    let store = going(dir.path());
    let writer = store.writer();
    let note = Note {
        at: Moment::from_secs(1),
        kind: "stage".to_owned(),
        worker: None,
        text: "hold".to_owned(),
    };
    writer.write(Op::Record(RUN, 5, Record::Note(note))).unwrap();
    writer.write(new_run(RunId(7), 1)).unwrap();
    flush(&store);
    store.close();

    let mut store = open(dir.path());
    assert_eq!(store.abandon_unfinished().unwrap(), 2);
    flush(&store);
    assert_eq!(store.reader().unfinished().unwrap(), []);
    let run = store.reader().load_run(RUN).unwrap();
    let losses: Vec<_> = run
        .ledger
        .losses()
        .map(|loss| (loss.worker.0, loss.unknown, loss.unsent))
        .collect();
    // Index n is due at n/10 s; worker 0 owns the even ones and was at 20, worker 1 was at 11; granted up to 10 s.
    assert_eq!(losses, [(0, 41, 0), (1, 45, 0)]);
    let summary = run.summary();
    assert_eq!(summary.exit_code.number(), 95, "{:?}", summary.reasons);
    assert_eq!(summary.conservation.mismatches, Vec::<String>::new());
    assert!(summary.stopped_early.is_some());
    assert_eq!(
        store.reader().load_run(RunId(7)).unwrap().state,
        RunState::CouldNotStart
    );
    assert_eq!(store.abandon_unfinished().unwrap(), 0);
}

#[test]
fn a_lost_worker_that_came_back_before_the_crash_leaves_unsent_what_it_had_waiting() {
    let dir = tempfile::tempdir().unwrap();
    let store = going(dir.path());
    let writer = store.writer();
    let note = Note {
        at: Moment::from_secs(1),
        kind: "worker-lost".to_owned(),
        worker: Some(WorkerId(1)),
        text: "worker b is lost".to_owned(),
    };
    writer.write(Op::Record(RUN, 5, Record::Note(note))).unwrap();
    let mut last = delta(1, 2);
    (last.last, last.open.waiting) = (true, 3);
    last.iterations[0].counts.scheduled += 3;
    let incarnation = Incarnation(u64::MAX - 1);
    let record = Record::Delta(WorkerId(1), incarnation, Arc::new(last));
    writer.write(Op::Record(RUN, 6, record)).unwrap();
    flush(&store);
    store.close();

    let mut store = open(dir.path());
    assert_eq!(store.abandon_unfinished().unwrap(), 1);
    flush(&store);
    let run = store.reader().load_run(RUN).unwrap();
    let losses = run
        .ledger
        .losses()
        .map(|loss| (loss.worker.0, loss.unknown, loss.unsent));
    // Worker 1 was at 21 and has said so itself: of what was due up to the grant's end it has sent none.
    assert_eq!(losses.collect::<Vec<_>>(), [(0, 41, 0), (1, 0, 40)]);
    let summary = run.summary();
    assert_eq!(summary.conservation.mismatches, Vec::<String>::new());
    assert_eq!(summary.exit_code.number(), 95, "{:?}", summary.reasons);
}

#[test]
fn batches_of_the_store_are_those_of_the_ledger() {
    let mut batch = Batch::new();
    for seq in 1..=3 {
        batch.add(WorkerId(0), Incarnation(u64::MAX), &delta(0, seq));
    }
    let restored = Ledger::restore(config(), &batch.into_records()).unwrap();
    assert_eq!(restored, merged(&[(0, 1), (0, 2), (0, 3)]));
}

#[test]
fn a_store_that_cannot_be_written_to_is_read() {
    let dir = tempfile::Builder::new().prefix("100% #sure?").tempdir().unwrap();
    let store = open(dir.path());
    fill(&store, &[(0, 1), (1, 1)]);
    store.close();
    // Where this is no file, it is as in a folder that takes none.
    std::fs::create_dir(dir.path().join("barrage.sqlite-shm")).unwrap();
    let reader = Reader::open(dir.path()).unwrap();
    assert_eq!(reader.load_run(RUN).unwrap().ledger, merged(&[(0, 1), (1, 1)]));
    // What has not been merged is missing in the database.
    std::fs::write(dir.path().join("barrage.sqlite-wal"), [1; 8_192]).unwrap();
    let read = reader.load_run(RUN).map(|run| run.ledger);
    assert!(matches!(read, Err(StoreError::Read(_))), "{read:?}");
}

#[test]
fn a_store_that_is_being_made_has_no_runs() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("barrage.sqlite"), "").unwrap();
    let reader = Reader::open(dir.path()).unwrap();
    assert!(reader.list(9).unwrap().is_empty());
    assert!(reader.unfinished().unwrap().is_empty());
    assert!(matches!(reader.load_run(RUN), Err(StoreError::Unknown(RUN))));
}
