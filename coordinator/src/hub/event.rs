//! What comes to the loop, and the handle that sends it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use barrage_metrics::{StopCause, Summary};
use barrage_model::delta::Delta;
use barrage_model::ids::{Incarnation, RunId, WorkerId};
use barrage_model::time::Moment;
use barrage_proto::v1;
use tokio::sync::{mpsc, oneshot, watch};

use super::{Live, Submission};
use crate::machine::fleet::{ConnectionId, Hello};
use crate::machine::run::{How, Value};
use crate::store::Committed;

/// What a worker says on its control stream after its Hello.
#[derive(Debug)]
pub(crate) enum Said {
    Heartbeat,
    Clock {
        number: u64,
        received_us: u64,
        replied_us: u64,
    },
    Prepared(RunId, Option<String>),
    OnceDone {
        run: RunId,
        teardown: bool,
        result: Result<Vec<Value>, String>,
    },
    Halted {
        run: RunId,
        last_seq: u64,
        reason: String,
    },
    Told {
        run: RunId,
        kind: String,
        text: String,
    },
}

/// An order to stop runs.
#[derive(Debug)]
pub(crate) struct StopOrder {
    /// One run; all when absent.
    pub(crate) run: Option<RunId>,
    pub(crate) how: How,
    pub(crate) cause: StopCause,
    pub(crate) reason: String,
}

/// What comes to the loop.
pub(crate) enum Event {
    Hello(ConnectionId, Box<Hello>, mpsc::Sender<v1::ToWorker>),
    Said(ConnectionId, Moment, Said),
    Gone(ConnectionId),
    Upload {
        run: RunId,
        worker: WorkerId,
        incarnation: Incarnation,
        delta: Result<Box<Delta>, String>,
        answers: mpsc::Sender<v1::UploadReply>,
    },
    Stored(Vec<Committed>),
    Submit(Arc<Submission>, oneshot::Sender<Result<(), String>>),
    Watch(RunId, oneshot::Sender<Option<watch::Receiver<v1::Snapshot>>>),
    Stop(StopOrder, oneshot::Sender<Vec<RunId>>),
    Live(RunId, oneshot::Sender<Option<Live>>),
    Health(oneshot::Sender<v1::HealthReply>),
    Active(RunId, oneshot::Sender<bool>),
}

/// Talks to the loop; cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Handle {
    events: mpsc::Sender<Event>,
    connections: Arc<AtomicU64>,
}

/// The loop has ended.
#[derive(Debug, thiserror::Error)]
#[error("the coordinator is stopping")]
pub(crate) struct Stopping;

impl Handle {
    pub(crate) fn new(events: mpsc::Sender<Event>) -> Self {
        Self {
            events,
            connections: Arc::new(AtomicU64::new(0)),
        }
    }

    /// A number for a new control stream.
    pub(crate) fn connection(&self) -> ConnectionId {
        ConnectionId(self.connections.fetch_add(1, Ordering::Relaxed))
    }

    /// Sends an event; waits while the loop is busy.
    pub(crate) async fn send(&self, event: Event) -> Result<(), Stopping> {
        self.events.send(event).await.map_err(|_| Stopping)
    }

    /// The same from where nothing can wait; lost when the loop is too busy, which heartbeats make up for.
    pub(crate) fn gone(&self, connection: ConnectionId) {
        if self.events.try_send(Event::Gone(connection)).is_err() {
            tracing::debug!("the end of a control stream went unnoticed");
        }
    }

    /// The same from a thread outside the runtime.
    pub(crate) fn send_blocking(&self, event: Event) -> Result<(), Stopping> {
        self.events.blocking_send(event).map_err(|_| Stopping)
    }

    async fn ask<T>(&self, event: impl FnOnce(oneshot::Sender<T>) -> Event) -> Result<T, Stopping> {
        let (answer, wait) = oneshot::channel();
        self.send(event(answer)).await?;
        wait.await.map_err(|_| Stopping)
    }

    pub(crate) async fn submit(&self, submission: Arc<Submission>) -> Result<Result<(), String>, Stopping> {
        self.ask(|answer| Event::Submit(submission, answer)).await
    }

    pub(crate) async fn watch(&self, run: RunId) -> Result<Option<watch::Receiver<v1::Snapshot>>, Stopping> {
        self.ask(|answer| Event::Watch(run, answer)).await
    }

    pub(crate) async fn stop(&self, order: StopOrder) -> Result<Vec<RunId>, Stopping> {
        self.ask(|answer| Event::Stop(order, answer)).await
    }

    pub(crate) async fn live(&self, run: RunId) -> Result<Option<Live>, Stopping> {
        self.ask(|answer| Event::Live(run, answer)).await
    }

    pub(crate) async fn health(&self) -> Result<v1::HealthReply, Stopping> {
        self.ask(Event::Health).await
    }

    pub(crate) async fn is_active(&self, run: RunId) -> Result<bool, Stopping> {
        self.ask(|answer| Event::Active(run, answer)).await
    }
}

/// What a report can be drawn from while a run goes on, or just after.
pub(crate) type Drawn = Arc<Summary>;
