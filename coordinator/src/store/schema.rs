//! Tables, and the steps from one version of them to the next.

use rusqlite::Connection;

/// One step for each version, the first one from an empty file. Steps are never changed, only added.
pub(super) const STEPS: &[&str] = &[
    "
CREATE TABLE runs (
  id INTEGER PRIMARY KEY,
  state TEXT NOT NULL,
  detail TEXT NOT NULL DEFAULT '',
  name TEXT NOT NULL,
  seed INTEGER NOT NULL,
  plan_hash TEXT NOT NULL,
  version TEXT NOT NULL,
  accept_invalid INTEGER NOT NULL,
  submitted_s INTEGER NOT NULL,
  started_at TEXT NOT NULL DEFAULT '',
  plan BLOB NOT NULL,
  marks BLOB NOT NULL DEFAULT x'',
  start_us INTEGER,
  verdict TEXT NOT NULL DEFAULT '',
  exit_code INTEGER,
  end_us INTEGER,
  started INTEGER NOT NULL DEFAULT 0,
  stop_cause TEXT,
  stop_at_us INTEGER,
  stop_reason TEXT,
  stop_sla INTEGER,
  granted_us INTEGER NOT NULL DEFAULT 0,
  stored_bytes INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE TABLE labels (
  run INTEGER NOT NULL REFERENCES runs ON DELETE CASCADE,
  name TEXT NOT NULL,
  value TEXT NOT NULL,
  PRIMARY KEY (run, name)
) STRICT, WITHOUT ROWID;
CREATE TABLE files (
  run INTEGER NOT NULL REFERENCES runs ON DELETE CASCADE,
  sha256 BLOB NOT NULL,
  PRIMARY KEY (run, sha256)
) STRICT, WITHOUT ROWID;
CREATE TABLE workers (
  run INTEGER NOT NULL REFERENCES runs ON DELETE CASCADE,
  worker INTEGER NOT NULL,
  incarnation INTEGER NOT NULL,
  name TEXT NOT NULL,
  first_shard INTEGER NOT NULL,
  shards INTEGER NOT NULL,
  cores INTEGER NOT NULL,
  offset_us INTEGER,
  uncertainty_us INTEGER,
  high_water INTEGER NOT NULL DEFAULT 0,
  PRIMARY KEY (run, worker)
) STRICT, WITHOUT ROWID;
CREATE TABLE loads (
  run INTEGER NOT NULL REFERENCES runs ON DELETE CASCADE,
  load INTEGER NOT NULL,
  scheduled INTEGER,
  PRIMARY KEY (run, load)
) STRICT, WITHOUT ROWID;
CREATE TABLE epochs (
  run INTEGER NOT NULL REFERENCES runs ON DELETE CASCADE,
  load INTEGER NOT NULL,
  epoch INTEGER NOT NULL,
  body BLOB NOT NULL,
  PRIMARY KEY (run, load, epoch)
) STRICT, WITHOUT ROWID;
CREATE TABLE blocks (
  run INTEGER NOT NULL REFERENCES runs ON DELETE CASCADE,
  load INTEGER NOT NULL,
  worker INTEGER NOT NULL,
  handed INTEGER NOT NULL,
  PRIMARY KEY (run, load, worker)
) STRICT, WITHOUT ROWID;
CREATE TABLE intervals (
  id INTEGER PRIMARY KEY,
  run INTEGER NOT NULL REFERENCES runs ON DELETE CASCADE,
  interval INTEGER NOT NULL,
  sketches BLOB NOT NULL
) STRICT;
CREATE INDEX intervals_by_run ON intervals (run, id);
CREATE TABLE parts (
  run INTEGER NOT NULL REFERENCES runs ON DELETE CASCADE,
  worker INTEGER NOT NULL,
  incarnation INTEGER NOT NULL,
  seq INTEGER NOT NULL,
  record INTEGER NOT NULL,
  counts BLOB NOT NULL,
  PRIMARY KEY (run, worker, incarnation, seq)
) STRICT, WITHOUT ROWID;
CREATE TABLE losses (
  run INTEGER NOT NULL REFERENCES runs ON DELETE CASCADE,
  worker INTEGER NOT NULL,
  incarnation INTEGER NOT NULL,
  load INTEGER,
  unknown INTEGER NOT NULL,
  unsent INTEGER NOT NULL
) STRICT;
CREATE INDEX losses_by_run ON losses (run);
CREATE TABLE events (
  id INTEGER PRIMARY KEY,
  run INTEGER NOT NULL REFERENCES runs ON DELETE CASCADE,
  at_us INTEGER NOT NULL,
  kind TEXT NOT NULL,
  worker INTEGER,
  text TEXT NOT NULL
) STRICT;
CREATE INDEX events_by_run ON events (run, id);
",
    "
-- A fleet's deltas of one second end up side by side: by worker, each of them would change a page of its own.
CREATE TABLE parts_by_seq (
  run INTEGER NOT NULL REFERENCES runs ON DELETE CASCADE,
  seq INTEGER NOT NULL,
  worker INTEGER NOT NULL,
  incarnation INTEGER NOT NULL,
  record INTEGER NOT NULL,
  counts BLOB NOT NULL,
  PRIMARY KEY (run, seq, worker, incarnation)
) STRICT, WITHOUT ROWID;
INSERT INTO parts_by_seq SELECT run, seq, worker, incarnation, record, counts FROM parts ORDER BY run, seq;
DROP TABLE parts;
ALTER TABLE parts_by_seq RENAME TO parts;
",
    "
ALTER TABLE losses ADD COLUMN unsent_from_us INTEGER;
",
    "
ALTER TABLE runs ADD COLUMN stop_sla_at_us INTEGER;
ALTER TABLE runs ADD COLUMN stop_sla_observed TEXT;
",
];

/// The version that this program writes.
pub(super) const VERSION: usize = STEPS.len();

/// The version of the file.
pub(super) fn version(connection: &Connection) -> rusqlite::Result<usize> {
    let found: u32 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    Ok(found as usize)
}

/// The first version whose `losses` say when the first arrival fell due that was not sent.
pub(super) const WITH_UNSENT_FROM: usize = 3;

/// The first version whose `runs` say what the SLA saw that stopped the run.
pub(super) const WITH_STOP_SEEN: usize = 4;

/// Brings a file to [`VERSION`]; every step is a transaction of its own. Returns the version that the file has, which is
/// higher for one of a later program.
pub(super) fn migrate(connection: &mut Connection) -> rusqlite::Result<usize> {
    let found = version(connection)?;
    for (version, step) in STEPS.iter().enumerate().skip(found) {
        let transaction = connection.transaction()?;
        transaction.execute_batch(step)?;
        transaction.pragma_update(None, "user_version", version as u32 + 1)?;
        transaction.commit()?;
    }
    Ok(found.max(VERSION))
}
