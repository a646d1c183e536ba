//! The gRPC service for workers.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::time::Duration;

use barrage_model::ids::{Incarnation, LoadId, RunId, WorkerId};
use barrage_model::units::Rate;
use barrage_proto::WORKER_NAME_MAX;
use barrage_proto::convert::delta_in;
use barrage_proto::v1::{self, from_worker::Frame};
use futures_util::Stream;
use futures_util::stream::unfold;
use tokio::io::AsyncReadExt;
use tokio::sync::mpsc;
use tonic::{Request, Response, Status, Streaming};

use super::Faces;
use crate::clock;
use crate::hub::{Event, FRAMES, Handle, Said};
use crate::machine::fleet::{ConnectionId, Hello};
use crate::store::FileError;

/// The Hello must come within this time.
const HELLO_LIMIT: Duration = Duration::from_secs(10);
/// Uploads wait while so many records wait for the store.
const BACKLOG_MAX: usize = 4_096;
const BACKLOG_PAUSE: Duration = Duration::from_millis(50);
/// Size of the pieces in which files travel.
const PIECE_BYTES: usize = 256 * 1024;
/// Longest text of a worker that is kept.
const TEXT_MAX: usize = 1_000;
/// Most labels of a worker.
const LABELS_MAX: usize = 64;

pub(super) struct Fleet(pub(super) Faces);

type Out<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl v1::fleet_server::Fleet for Fleet {
    type ControlStream = Out<v1::ToWorker>;
    type UploadStream = Out<v1::UploadReply>;
    type FetchStream = Out<v1::Chunk>;

    async fn control(
        &self,
        request: Request<Streaming<v1::FromWorker>>,
    ) -> Result<Response<Self::ControlStream>, Status> {
        let mut said = request.into_inner();
        let first = tokio::time::timeout(HELLO_LIMIT, said.message())
            .await
            .map_err(|_| Status::deadline_exceeded("no hello came"))??;
        let Some(Frame::Hello(hello)) = first.and_then(|message| message.frame) else {
            return Err(Status::invalid_argument("a worker says hello first"));
        };
        let hello = hello_in(hello).map_err(Status::invalid_argument)?;
        let (frames, told) = mpsc::channel::<v1::ToWorker>(FRAMES);
        let hub = self.0.hub.clone();
        let connection = hub.connection();
        hub.send(Event::Hello(connection, Box::new(hello), frames)).await?;
        let control = Control {
            hub,
            connection,
            said,
            told,
        };
        // The answer is what drives both directions: it ends with the connection, and so does everything here.
        Ok(Response::new(Box::pin(unfold(control, Control::next))))
    }

    async fn upload(
        &self,
        request: Request<Streaming<v1::UploadFrame>>,
    ) -> Result<Response<Self::UploadStream>, Status> {
        let (answers, replies) = mpsc::channel(FRAMES);
        let upload = Upload {
            faces: self.0.clone(),
            frames: request.into_inner(),
            answers,
            replies,
        };
        Ok(Response::new(Box::pin(unfold(upload, Upload::next))))
    }

    async fn fetch(&self, request: Request<v1::FetchRequest>) -> Result<Response<Self::FetchStream>, Status> {
        let hash = request.into_inner().sha256;
        let hash: [u8; 32] = hash
            .try_into()
            .map_err(|_| Status::invalid_argument("a SHA-256 has 32 bytes"))?;
        let files = self.0.files.clone();
        // Checked before the first byte goes out.
        let opened = tokio::task::spawn_blocking(move || files.give(&hash)).await;
        let opened = opened.map_err(|_| Status::internal("could not read a file"))?;
        let file = tokio::fs::File::from_std(opened.map_err(|error| file_status(&error))?);
        Ok(Response::new(Box::pin(unfold(Some(file), piece))))
    }
}

/// The next piece of a file; nothing after its end or an error.
async fn piece(file: Option<tokio::fs::File>) -> Option<(Result<v1::Chunk, Status>, Option<tokio::fs::File>)> {
    let mut file = file?;
    let mut data = vec![0; PIECE_BYTES];
    match file.read(&mut data).await {
        Ok(0) => None,
        Ok(read) => {
            data.truncate(read);
            Some((Ok(v1::Chunk { data }), Some(file)))
        }
        Err(_) => Some((Err(Status::internal("could not read a file")), None)),
    }
}

/// Both directions of a control stream. The hub is told when it is dropped.
struct Control {
    hub: Handle,
    connection: ConnectionId,
    said: Streaming<v1::FromWorker>,
    told: mpsc::Receiver<v1::ToWorker>,
}

impl Control {
    async fn next(mut self) -> Option<(Result<v1::ToWorker, Status>, Self)> {
        loop {
            tokio::select! {
                next = self.said.message() => {
                    let message = next.ok().flatten()?;
                    hear(&self.hub, self.connection, message).await.ok()?;
                }
                frame = self.told.recv() => return frame.map(|frame| (Ok(frame), self)),
            }
        }
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        self.hub.gone(self.connection);
    }
}

/// Both directions of an upload stream.
struct Upload {
    faces: Faces,
    frames: Streaming<v1::UploadFrame>,
    answers: mpsc::Sender<v1::UploadReply>,
    replies: mpsc::Receiver<v1::UploadReply>,
}

impl Upload {
    async fn next(mut self) -> Option<(Result<v1::UploadReply, Status>, Self)> {
        loop {
            tokio::select! {
                next = self.frames.message() => {
                    let frame = next.ok().flatten()?;
                    take(&self.faces, frame, &self.answers).await.ok()?;
                }
                Some(reply) = self.replies.recv() => return Some((Ok(reply), self)),
            }
        }
    }
}

/// What a file error is on the wire.
pub(super) fn file_status(error: &FileError) -> Status {
    match error {
        FileError::Unknown(_) => Status::not_found(error.to_string()),
        FileError::TooLarge => Status::resource_exhausted(error.to_string()),
        FileError::Hash => Status::data_loss(error.to_string()),
        FileError::Io(_) => Status::internal(crate::hub::chain(error)),
    }
}

async fn take(
    faces: &Faces,
    frame: v1::UploadFrame,
    answers: &mpsc::Sender<v1::UploadReply>,
) -> Result<(), crate::hub::Stopping> {
    // What is not read yet stays with the worker, who keeps it until it is committed.
    while faces.writer.waiting() > BACKLOG_MAX {
        tokio::time::sleep(BACKLOG_PAUSE).await;
    }
    let delta = delta_in(&frame.delta).map_err(|error| error.to_string());
    let event = Event::Upload {
        run: RunId(frame.run),
        worker: WorkerId(frame.worker),
        incarnation: Incarnation(frame.incarnation),
        delta: delta.map(Box::new),
        answers: answers.clone(),
    };
    faces.hub.send(event).await
}

async fn hear(hub: &Handle, connection: ConnectionId, message: v1::FromWorker) -> Result<(), crate::hub::Stopping> {
    let at = clock::now();
    let said = match message.frame {
        Some(Frame::Heartbeat(_)) => Said::Heartbeat,
        Some(Frame::Clock(reply)) => Said::Clock {
            number: reply.number,
            received_us: reply.worker_received_us,
            replied_us: reply.worker_replied_us,
        },
        Some(Frame::Prepared(prepared)) => {
            let rows = prepared.rows.into_iter().filter_map(|rows| {
                let load = LoadId(u16::try_from(rows.load).ok()?);
                Some((load, rows.iterations))
            });
            let result = prepared
                .error
                .map_or_else(|| Ok(rows.collect()), |error| Err(cut(error)));
            Said::Prepared(RunId(prepared.run), result)
        }
        Some(Frame::SetupDone(done)) => {
            let values = done.values.into_iter().map(|field| (field.name, field.value)).collect();
            let result = done.error.map_or(Ok(values), |error| Err(cut(error)));
            Said::OnceDone {
                run: RunId(done.run),
                teardown: done.teardown,
                result,
            }
        }
        Some(Frame::Halted(halted)) => Said::Halted {
            run: RunId(halted.run),
            last_seq: halted.last_seq,
            reason: cut(halted.reason),
        },
        Some(Frame::Fault(report)) => {
            let text = format!("{}: {} {}", report.fault, report.state, report.detail);
            Said::Told {
                run: RunId(report.run),
                kind: "fault".to_owned(),
                text: cut(text),
            }
        }
        Some(Frame::Event(event)) => Said::Told {
            run: RunId(event.run),
            kind: cut(event.kind),
            text: cut(event.text),
        },
        // A second Hello on a stream, or a frame of a later version.
        Some(Frame::Hello(_)) | None => return Ok(()),
    };
    hub.send(Event::Said(connection, at, said)).await
}

fn hello_in(hello: v1::Hello) -> Result<Hello, String> {
    if !(1..=WORKER_NAME_MAX).contains(&hello.name.len()) {
        return Err(format!("a worker's name has 1 to {WORKER_NAME_MAX} bytes"));
    }
    if hello.labels.len() > LABELS_MAX || hello.labels.iter().any(|(name, value)| name.len() + value.len() > 400) {
        return Err(format!("a worker has at most {LABELS_MAX} labels of at most 400 bytes"));
    }
    let max_rate = match hello.max_rate_micro_per_s {
        0 => None,
        micro => Some(Rate::from_micro(micro).ok_or("a worker's maximum rate is too high")?),
    };
    Ok(Hello {
        protocol: hello.protocol,
        version: cut(hello.version),
        name: hello.name,
        incarnation: Incarnation(hello.incarnation),
        labels: hello.labels.into_iter().collect::<BTreeMap<_, _>>(),
        shards: hello.shards.max(1),
        max_rate,
        cores: hello.cores,
        memory_bytes: hello.memory_bytes,
        descriptors_max: hello.descriptors_max,
        os: cut(hello.os),
        held: hello.held.map(|held| RunId(held.run)),
    })
}

/// Foreign text, cut to a bounded length.
fn cut(mut text: String) -> String {
    if text.len() > TEXT_MAX {
        let end = (0..=TEXT_MAX)
            .rev()
            .find(|end| text.is_char_boundary(*end))
            .unwrap_or(0);
        text.truncate(end);
    }
    text
}
