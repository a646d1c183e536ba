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
use crate::machine::run::{How, Rows, Value};
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
    Prepared(RunId, Result<Rows, String>),
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
    control: mpsc::Sender<Event>,
    events: mpsc::Sender<Event>,
    connections: Arc<AtomicU64>,
}

/// The loop has ended.
#[derive(Debug, thiserror::Error)]
#[error("the coordinator is stopping")]
pub(crate) struct Stopping;

/// What the loop hears. What comes on control streams goes before everything else: a heartbeat that waits behind the deltas
/// of a whole fleet would make a busy coordinator take live workers for lost.
#[derive(Debug)]
pub(crate) struct Events {
    control: mpsc::Receiver<Event>,
    events: mpsc::Receiver<Event>,
}

/// A loop's two ends; of each kind of event at most `room` wait.
pub(crate) fn channel(room: usize) -> (Handle, Events) {
    let (say, control) = mpsc::channel(room);
    let (send, events) = mpsc::channel(room);
    let handle = Handle {
        control: say,
        events: send,
        connections: Arc::new(AtomicU64::new(0)),
    };
    (handle, Events { control, events })
}

impl Events {
    /// Waits for the next event; `None` when nobody can send any.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub(crate) async fn next(&mut self) -> Option<Event> {
        tokio::select! {
            biased;
            Some(event) = self.control.recv() => Some(event),
            event = self.events.recv() => event,
        }
    }

    /// The next event, if one waits.
    pub(crate) fn waiting(&mut self) -> Option<Event> {
        let control = self.control.try_recv().ok();
        control.or_else(|| self.events.try_recv().ok())
    }
}

impl Handle {
    /// A number for a new control stream.
    pub(crate) fn connection(&self) -> ConnectionId {
        ConnectionId(self.connections.fetch_add(1, Ordering::Relaxed))
    }

    /// Sends an event; waits while the loop is busy.
    pub(crate) async fn send(&self, event: Event) -> Result<(), Stopping> {
        let queue = match event {
            Event::Hello(..) | Event::Said(..) | Event::Gone(_) => &self.control,
            _ => &self.events,
        };
        queue.send(event).await.map_err(|_| Stopping)
    }

    /// The same from where nothing can wait; lost when the loop is too busy, which heartbeats make up for.
    pub(crate) fn gone(&self, connection: ConnectionId) {
        if self.control.try_send(Event::Gone(connection)).is_err() {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_sign_of_life_does_not_wait_behind_deltas() {
        let (handle, mut events) = channel(4);
        let upload = |worker| Event::Upload {
            run: RunId(1),
            worker: WorkerId(worker),
            incarnation: Incarnation(1),
            delta: Err(String::new()),
            answers: mpsc::channel(1).0,
        };
        for worker in 0..4 {
            handle.send(upload(worker)).await.unwrap();
        }
        // The other queue is full, and this one does not care.
        let sign = Event::Said(ConnectionId(7), Moment::ZERO, Said::Heartbeat);
        handle.send(sign).await.unwrap();
        assert!(matches!(events.next().await, Some(Event::Said(ConnectionId(7), _, _))));
        handle.gone(ConnectionId(7));
        assert!(matches!(events.waiting(), Some(Event::Gone(ConnectionId(7)))));
        assert!(matches!(
            events.waiting(),
            Some(Event::Upload {
                worker: WorkerId(0),
                ..
            })
        ));
        drop(handle);
        let left = std::iter::from_fn(|| events.waiting()).count();
        assert_eq!((left, events.next().await.is_none()), (3, true));
    }
}
