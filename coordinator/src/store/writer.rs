//! The one thread that writes: gathers what comes within a fifth of a second, writes it in one transaction, then says so.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, TrySendError, sync_channel};
use std::time::Duration;

use barrage_model::ids::RunId;
use rusqlite::Connection;

use super::op::Op;
use super::write::{used_files, write};
use super::{Files, StoreError};
use crate::clock;

/// Most operations that wait to be written; further ones are refused.
pub const QUEUE_MAX: usize = 16_384;
/// Most operations of one transaction.
const BATCH_MAX: usize = 4_096;
/// How long the first operation of a transaction waits for company, at most.
const GATHER: Duration = Duration::from_millis(200);
/// A transaction begins when nothing has come for this long, less with each operation that has.
const QUIET: Duration = Duration::from_millis(100);
/// And for at least this long: a large fleet's deltas come in a stream, and each transaction has its price.
const QUIET_MIN: Duration = Duration::from_millis(10);
/// Between two looks at what has come while a transaction waits for company.
const LOOK: Duration = Duration::from_millis(2);
/// Pause before a failed transaction is tried again.
const RETRY: Duration = Duration::from_millis(500);

/// Everything of a run up to a ticket is on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Committed {
    /// The run.
    pub run: RunId,
    /// The ticket.
    pub ticket: u64,
}

pub(super) type Callback = Box<dyn FnMut(&[Committed]) + Send>;

/// A handle to the writer; cheap to clone.
#[derive(Clone, Debug)]
pub struct Writer {
    queue: SyncSender<Message>,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    waiting: AtomicUsize,
    failed: AtomicBool,
    closing: AtomicBool,
}

enum Message {
    Op(Box<Op>),
    End,
}

impl Writer {
    /// Hands something over; does not wait.
    ///
    /// # Errors
    /// [`StoreError::Closed`] after the end, and when [`QUEUE_MAX`] operations wait already.
    pub fn write(&self, op: Op) -> Result<(), StoreError> {
        self.shared.waiting.fetch_add(1, Ordering::Relaxed);
        self.queue.try_send(Message::Op(Box::new(op))).map_err(|error| {
            self.shared.waiting.fetch_sub(1, Ordering::Relaxed);
            if matches!(error, TrySendError::Full(_)) {
                tracing::error!("the store is too far behind: a record is not kept");
            }
            StoreError::Closed
        })
    }

    /// Operations that wait to be written.
    pub fn waiting(&self) -> usize {
        self.shared.waiting.load(Ordering::Relaxed)
    }

    /// Whether the last transaction went through.
    pub fn is_ok(&self) -> bool {
        !self.shared.failed.load(Ordering::Relaxed)
    }

    pub(super) fn end(&self) {
        self.shared.closing.store(true, Ordering::Relaxed);
        // A closed queue means that the writer has ended already.
        drop(self.queue.send(Message::End));
    }
}

pub(super) fn spawn(
    connection: Connection,
    files: Files,
    committed: Callback,
) -> io::Result<(Writer, std::thread::JoinHandle<()>)> {
    let (queue, inbox) = sync_channel(QUEUE_MAX);
    let shared = Arc::new(Shared::default());
    let work = Work {
        connection,
        files,
        committed,
        shared: Arc::clone(&shared),
    };
    let thread = std::thread::Builder::new()
        .name("store".to_owned())
        .spawn(move || work.run(&inbox))?;
    Ok((Writer { queue, shared }, thread))
}

struct Work {
    connection: Connection,
    files: Files,
    committed: Callback,
    shared: Arc<Shared>,
}

impl Work {
    fn run(mut self, inbox: &Receiver<Message>) {
        let mut open = true;
        while open {
            let Ok(Message::Op(first)) = inbox.recv() else { return };
            let mut batch = vec![*first];
            open = gather(inbox, &mut batch);
            self.commit(batch);
        }
    }

    /// Tries until it works, or until the store is closed while it does not.
    fn commit(&mut self, batch: Vec<Op>) {
        loop {
            match write(&mut self.connection, &batch) {
                Ok(removed) => {
                    self.shared.failed.store(false, Ordering::Relaxed);
                    // Before anybody hears of it: who has heard finds nothing waiting any more.
                    self.shared.waiting.fetch_sub(batch.len(), Ordering::Relaxed);
                    return self.tell(batch, &removed);
                }
                Err(error) => {
                    self.shared.failed.store(true, Ordering::Relaxed);
                    tracing::error!(%error, "the store could not be written to");
                    if self.shared.closing.load(Ordering::Relaxed) {
                        self.shared.waiting.fetch_sub(batch.len(), Ordering::Relaxed);
                        return refuse(batch);
                    }
                    std::thread::park_timeout(RETRY);
                }
            }
        }
    }

    /// `removed` is the number of runs that each operation has removed.
    fn tell(&mut self, batch: Vec<Op>, removed: &[u32]) {
        let mut tickets = BTreeMap::new();
        for (op, removed) in batch.into_iter().zip(removed) {
            match op {
                Op::Record(run, ticket, _) => {
                    tickets.insert(run, ticket);
                }
                Op::Remove(_, answer) => answer(Ok(*removed > 0)),
                Op::Prune(_, answer) => answer(Ok(*removed)),
                Op::Flush(answer) => answer(Ok(())),
                Op::New(_) | Op::Assigned(..) | Op::Started(..) | Op::Ended(..) => {}
            }
        }
        if removed.iter().any(|removed| *removed > 0) {
            self.sweep();
        }
        let news: Vec<Committed> = tickets
            .into_iter()
            .map(|(run, ticket)| Committed { run, ticket })
            .collect();
        if !news.is_empty() {
            (self.committed)(&news);
        }
    }

    /// Removes files that no run uses any more.
    fn sweep(&self) {
        let swept = used_files(&self.connection)
            .map_err(|error| error.to_string())
            .and_then(|used| self.files.sweep(&used).map_err(|error| error.to_string()));
        if let Err(error) = swept {
            tracing::warn!(error, "could not remove files that no run uses");
        }
    }
}

/// Takes what comes within [`GATHER`]; gives `false` when the store is to be closed.
///
/// It looks now and then: a large fleet's deltas come in a stream, and to be woken by each costs more than to keep it.
fn gather(inbox: &Receiver<Message>, batch: &mut Vec<Op>) -> bool {
    // Someone waits for the answer of these.
    let is_urgent = |op: &Op| matches!(op, Op::Ended(..) | Op::Remove(..) | Op::Prune(..) | Op::Flush(..));
    let begin = clock::now();
    let (mut latest, mut quiet) = (begin, QUIET);
    let mut urgent = batch.iter().any(is_urgent);
    loop {
        match inbox.try_recv() {
            Ok(Message::Op(op)) => {
                urgent |= is_urgent(&op);
                batch.push(*op);
                (latest, quiet) = (clock::now(), quiet.mul_f64(0.6).max(QUIET_MIN));
                if batch.len() >= BATCH_MAX {
                    return true;
                }
            }
            Ok(Message::End) | Err(TryRecvError::Disconnected) => return false,
            Err(TryRecvError::Empty) => {
                let now = clock::now();
                if urgent || now >= begin + GATHER || now >= latest + quiet {
                    return true;
                }
                std::thread::park_timeout(LOOK);
            }
        }
    }
}

fn refuse(batch: Vec<Op>) {
    for op in batch {
        match op {
            Op::Remove(_, answer) => answer(Err(StoreError::Closed)),
            Op::Prune(_, answer) => answer(Err(StoreError::Closed)),
            Op::Flush(answer) => answer(Err(StoreError::Closed)),
            _ => {}
        }
    }
}
