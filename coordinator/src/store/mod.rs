//! What outlives the process: runs, their numbers, events and verdicts in `SQLite`, and the files that plans name.
//!
//! One writer thread owns the writing connection and commits in groups; readers open connections of their own. What is
//! reported as committed has been synced to the disk.

mod abandon;
mod blob;
mod files;
mod op;
mod read;
mod schema;
mod write;
mod writer;

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use barrage_model::ids::RunId;
use rusqlite::{Connection, OpenFlags};
use rustix::fs::{FlockOperation, flock};

pub use files::{FILE_MAX, FileError, Files, Hash, Incoming, hex};
pub use op::{Answer, Assigned, Ended, NewRun, Op, Prune, StoredWorker};
pub use read::{RunLine, RunState, StoredRun};
pub use writer::{Committed, QUEUE_MAX, Writer};

/// How long a connection waits for another one's lock.
const BUSY: Duration = Duration::from_secs(5);

/// Why the store cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// It was written by a later version.
    #[error("the store {} was written by a later version of barrage", .0.display())]
    Later(PathBuf),
    /// The folder or a file in it.
    #[error("could not use the folder {}", .0.display())]
    Folder(PathBuf, #[source] io::Error),
    /// The database as a whole.
    #[error("could not use the database in {}", .0.display())]
    Database(PathBuf, #[source] rusqlite::Error),
    /// A query.
    #[error("could not read from the store")]
    Read(#[source] rusqlite::Error),
    /// There is no such run.
    #[error("there is no run {0}")]
    Unknown(RunId),
    /// What is stored of this run is damaged; other runs are not concerned.
    #[error("run {run} is damaged in the store: {problem}")]
    Corrupt {
        /// The run.
        run: RunId,
        /// What is wrong.
        problem: String,
    },
    /// The writer has ended.
    #[error("the store is closed")]
    Closed,
}

/// An open store. Several processes may have the same one open, each with runs of its own.
#[derive(Debug)]
pub struct Store {
    place: Arc<Place>,
    files: Files,
    writer: Writer,
    thread: Option<std::thread::JoinHandle<()>>,
    /// Held for as long as the store is open: shared, or exclusive while nobody else has the store.
    lock: File,
    alone: bool,
}

/// Where a store is.
#[derive(Debug)]
struct Place {
    dir: PathBuf,
}

impl Place {
    fn database(&self) -> PathBuf {
        self.dir.join("barrage.sqlite")
    }

    /// The name under which `SQLite` reads the database of a folder that cannot be written to: there it cannot make the
    /// files that readers share with writers, and nobody writes. `None` after other errors, and with a log that was never
    /// merged, without which the database is not whole.
    fn unchanging(&self, error: &rusqlite::Error) -> Option<PathBuf> {
        use rusqlite::ErrorCode::{CannotOpen, ReadOnly};
        let closed = matches!(error.sqlite_error_code(), Some(CannotOpen | ReadOnly));
        let log = fs::metadata(self.dir.join("barrage.sqlite-wal")).map_or(0, |about| about.len());
        if !closed || log > 0 {
            return None;
        }
        let path = std::path::absolute(self.database()).ok()?;
        let escaped = path
            .to_str()?
            .replace('%', "%25")
            .replace('?', "%3f")
            .replace('#', "%23");
        Some(PathBuf::from(format!("file:{escaped}?immutable=1")))
    }

    fn broken(&self, error: rusqlite::Error) -> StoreError {
        StoreError::Database(self.dir.clone(), error)
    }
}

/// A reader of a store; cheap to clone, usable on any thread. Its calls block.
#[derive(Clone, Debug)]
pub struct Reader {
    place: Arc<Place>,
}

impl Store {
    /// Opens the store in a folder, which is created (0700) when it is not there. `committed` is called on the writer's
    /// thread after each commit.
    ///
    /// # Errors
    /// [`StoreError::Later`], or what the disk says.
    pub fn open(dir: &Path, committed: impl FnMut(&[Committed]) + Send + 'static) -> Result<Self, StoreError> {
        let folder = |error| StoreError::Folder(dir.to_owned(), error);
        private_dir(dir).map_err(folder)?;
        let lock = private_file(&dir.join("lock")).map_err(folder)?;
        let alone = match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => true,
            // Whoever is alone with it shares it as soon as it has cleaned up.
            Err(rustix::io::Errno::WOULDBLOCK) => {
                flock(&lock, FlockOperation::LockShared).map_err(|errno| folder(errno.into()))?;
                false
            }
            Err(errno) => return Err(folder(errno.into())),
        };
        let place = Arc::new(Place { dir: dir.to_owned() });
        // SQLite gives its other files the permissions of this one.
        private_file(&place.database()).map_err(folder)?;
        let connection = connect(&place)?;
        let files = Files::open(dir.join("files"), alone).map_err(folder)?;
        let (writer, thread) = writer::spawn(connection, files.clone(), Box::new(committed)).map_err(folder)?;
        Ok(Self {
            place,
            files,
            writer,
            thread: Some(thread),
            lock,
            alone,
        })
    }

    /// Where to write.
    pub fn writer(&self) -> &Writer {
        &self.writer
    }

    /// Where to read.
    pub fn reader(&self) -> Reader {
        Reader {
            place: Arc::clone(&self.place),
        }
    }

    /// The files that plans name.
    pub fn files(&self) -> &Files {
        &self.files
    }

    /// Marks the runs that an earlier process left unfinished as aborted, their lost arrivals computed, then lets others
    /// open the store; to be called before anything else is written. Damaged ones are only marked. Returns how many
    /// there were; none while others have the store open, since the runs may be theirs.
    ///
    /// # Errors
    /// What the database says.
    pub fn abandon_unfinished(&mut self) -> Result<usize, StoreError> {
        if !std::mem::replace(&mut self.alone, false) {
            return Ok(0);
        }
        let abandoned = abandon::abandon(&self.reader(), &self.writer)?;
        let shared = flock(&self.lock, FlockOperation::LockShared);
        shared.map_err(|errno| StoreError::Folder(self.place.dir.clone(), errno.into()))?;
        Ok(abandoned)
    }

    /// Writes what has been handed over, and closes.
    pub fn close(mut self) {
        self.end();
    }

    fn end(&mut self) {
        self.writer.end();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the writer of the store has panicked");
        }
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.end();
    }
}

fn connect(place: &Place) -> Result<Connection, StoreError> {
    let open = || -> rusqlite::Result<(Connection, usize)> {
        let mut connection = Connection::open(place.database())?;
        connection.busy_timeout(BUSY)?;
        connection.pragma_update(None, "journal_mode", "wal")?;
        connection.pragma_update(None, "synchronous", "full")?;
        connection.pragma_update(None, "foreign_keys", true)?;
        connection.pragma_update(None, "journal_size_limit", 64 * 1024 * 1024)?;
        let version = schema::migrate(&mut connection)?;
        Ok((connection, version))
    };
    let (connection, version) = open().map_err(|error| place.broken(error))?;
    if version > schema::VERSION {
        return Err(StoreError::Later(place.dir.clone()));
    }
    Ok(connection)
}

impl Reader {
    /// Opens the store in a folder for reading, beside the coordinator that has it; `None` when there is no store.
    pub fn open(dir: &Path) -> Option<Self> {
        let place = Place { dir: dir.to_owned() };
        place.database().is_file().then(|| Self { place: Arc::new(place) })
    }

    /// `None` for a store that has no tables yet: its first process is about to make them.
    fn connect(&self) -> Result<Option<Connection>, StoreError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let open = |name: &Path, flags| -> rusqlite::Result<(Connection, usize)> {
            let connection = Connection::open_with_flags(name, flags)?;
            connection.busy_timeout(BUSY)?;
            let version = schema::version(&connection)?;
            Ok((connection, version))
        };
        let opened = open(&self.place.database(), flags).or_else(|error| match self.place.unchanging(&error) {
            Some(name) => open(&name, flags | OpenFlags::SQLITE_OPEN_URI),
            None => Err(error),
        });
        match opened.map_err(StoreError::Read)? {
            (_, version) if version > schema::VERSION => Err(StoreError::Later(self.place.dir.clone())),
            (_, 0) => Ok(None),
            (connection, _) => Ok(Some(connection)),
        }
    }
}

/// Creates a folder that only its owner may look into; one that is there is left as it is.
fn private_dir(dir: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)
}

fn private_file(path: &Path) -> io::Result<File> {
    fs::OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
}

#[cfg(test)]
mod tests;
