//! The gRPC service for command lines.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use barrage_metrics::StopCause;
use barrage_model::ids::RunId;
use barrage_proto::v1::{self, put_frame::Frame};
use barrage_report::Format;
use futures_util::{Stream, StreamExt};
use tokio::sync::oneshot;
use tokio_stream::wrappers::WatchStream;
use tonic::{Request, Response, Status, Streaming};

use super::Faces;
use super::fleet::file_status;
use super::reports::{ReportError, render};
use crate::hub::{StopOrder, Stopping, Submission, chain};
use crate::machine::run::How;
use crate::store::{FILE_MAX, Op, Prune, StoreError};
use crate::{clock, entropy};

/// Most runs in a list.
const LIST_MAX: u32 = 1_000;
/// Most hashes in a question.
const HASHES_MAX: usize = 10_000;
/// Size of the pieces in which reports travel.
const PIECE_BYTES: usize = 256 * 1024;

pub(super) struct Runs(pub(super) Faces);

type Out<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

impl From<Stopping> for Status {
    fn from(stopping: Stopping) -> Self {
        Self::unavailable(stopping.to_string())
    }
}

fn store_status(error: &StoreError) -> Status {
    match error {
        StoreError::Unknown(_) => Status::not_found(error.to_string()),
        StoreError::Corrupt { .. } => Status::data_loss(error.to_string()),
        _ => Status::internal(chain(error)),
    }
}

fn report_status(error: &ReportError) -> Status {
    match error {
        ReportError::Unknown(_) => Status::not_found(error.to_string()),
        ReportError::NotBegun(_) | ReportError::DidNotRun(..) => Status::failed_precondition(error.to_string()),
        ReportError::Broken(why) => Status::internal(format!("{error}: {why}")),
        ReportError::Stopping(stopping) => Status::unavailable(stopping.to_string()),
    }
}

/// Runs something that blocks on a thread of its own.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Status> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| Status::internal(error.to_string()))
}

impl Runs {
    /// Writes something and waits until it is on the disk.
    async fn written<T: Send + 'static>(&self, op: impl FnOnce(crate::store::Answer<T>) -> Op) -> Result<T, Status> {
        let (answer, wait) = oneshot::channel();
        // Whoever asked may have gone.
        let op = op(Box::new(move |result| drop(answer.send(result))));
        self.0.writer.write(op).map_err(|error| store_status(&error))?;
        let result = wait.await.map_err(|_| Status::unavailable("the store is closed"))?;
        result.map_err(|error| store_status(&error))
    }
}

#[tonic::async_trait]
impl v1::runs_server::Runs for Runs {
    type WatchStream = Out<v1::Snapshot>;
    type ReportStream = Out<v1::ReportChunk>;

    async fn health(&self, _: Request<v1::HealthRequest>) -> Result<Response<v1::HealthReply>, Status> {
        Ok(Response::new(self.0.hub.health().await?))
    }

    async fn missing(&self, request: Request<v1::MissingRequest>) -> Result<Response<v1::MissingReply>, Status> {
        let asked = request.into_inner().sha256;
        if asked.len() > HASHES_MAX {
            return Err(Status::invalid_argument(format!("at most {HASHES_MAX} hashes at once")));
        }
        let files = self.0.files.clone();
        let missing = blocking(move || {
            let mut missing = asked;
            missing.retain(|hash| hash.as_slice().try_into().map_or(true, |hash| !files.has(&hash)));
            missing
        });
        Ok(Response::new(v1::MissingReply { sha256: missing.await? }))
    }

    async fn put(&self, request: Request<Streaming<v1::PutFrame>>) -> Result<Response<v1::PutReply>, Status> {
        let mut frames = request.into_inner();
        let Some(Frame::Sha256(hash)) = frames.message().await?.and_then(|frame| frame.frame) else {
            return Err(Status::invalid_argument("the first frame names the file"));
        };
        let hash = hash
            .try_into()
            .map_err(|_| Status::invalid_argument("a SHA-256 has 32 bytes"))?;
        let number = self.0.uploads.fetch_add(1, Ordering::Relaxed);
        let files = self.0.files.clone();
        let mut incoming = blocking(move || files.take(hash, number))
            .await?
            .map_err(|error| file_status(&error))?;
        while let Some(frame) = frames.message().await? {
            let Some(Frame::Data(data)) = frame.frame else {
                return Err(Status::invalid_argument("only bytes follow the name"));
            };
            let (back, written) = blocking(move || {
                let written = incoming.write(&data);
                (incoming, written)
            })
            .await?;
            written.map_err(|error| file_status(&error))?;
            incoming = back;
        }
        let bytes = blocking(move || incoming.keep())
            .await?
            .map_err(|error| file_status(&error))?;
        debug_assert!(bytes <= FILE_MAX, "longer files are refused on the way in");
        Ok(Response::new(v1::PutReply { bytes }))
    }

    async fn submit(&self, request: Request<v1::SubmitRequest>) -> Result<Response<v1::SubmitReply>, Status> {
        let request = request.into_inner();
        let draw = || entropy::draw().ok_or_else(|| Status::internal("the system has no entropy to give"));
        // A drawn seed stays below 2^53, so that every reader of report.json keeps it exactly.
        let (id, seed, files) = (RunId(draw()?), draw()? >> 11, self.0.files.clone());
        let read = blocking(move || Submission::read(id, seed, request, &files)).await?;
        let submission = match read {
            Ok(submission) => Arc::new(submission),
            Err(errors) => {
                return Ok(Response::new(v1::SubmitReply {
                    errors,
                    ..v1::SubmitReply::default()
                }));
            }
        };
        let seed = submission.seed;
        self.0
            .hub
            .submit(submission)
            .await?
            .map_err(Status::failed_precondition)?;
        Ok(Response::new(v1::SubmitReply {
            run: id.0,
            seed,
            errors: Vec::new(),
        }))
    }

    async fn watch(&self, request: Request<v1::WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let run = RunId(request.into_inner().run);
        if let Some(snapshots) = self.0.hub.watch(run).await? {
            // The stream ends with the snapshot that has an exit code.
            let mut over = false;
            let stream = WatchStream::new(snapshots).take_while(move |snapshot| {
                let more = !over;
                over = snapshot.exit_code.is_some();
                std::future::ready(more)
            });
            return Ok(Response::new(Box::pin(stream.map(Ok))));
        }
        let reader = self.0.reader.clone();
        let stored = blocking(move || reader.load_run(run))
            .await?
            .map_err(|error| store_status(&error))?;
        if !stored.has_ended() {
            let text = format!("run {run} goes on in another process, which alone knows how it stands");
            return Err(Status::failed_precondition(text));
        }
        let snapshot = stored.last_snapshot();
        Ok(Response::new(Box::pin(tokio_stream::once(Ok(snapshot)))))
    }

    async fn list(&self, request: Request<v1::ListRequest>) -> Result<Response<v1::ListReply>, Status> {
        let limit = match request.into_inner().limit {
            0 => LIST_MAX,
            limit => limit.min(LIST_MAX),
        };
        let reader = self.0.reader.clone();
        let lines = blocking(move || reader.list(limit))
            .await?
            .map_err(|error| store_status(&error))?;
        let line = |line: crate::store::RunLine| v1::RunLine {
            run: line.id.0,
            name: line.name,
            state: line.state,
            verdict: line.verdict,
            exit_code: line.exit_code.map(Into::into),
            started_at: line.started_at,
            duration_us: line.duration_us,
            started: line.started,
            stored_bytes: line.stored_bytes,
        };
        Ok(Response::new(v1::ListReply {
            runs: lines.into_iter().map(line).collect(),
        }))
    }

    async fn stop(&self, request: Request<v1::StopRequest>) -> Result<Response<v1::StopReply>, Status> {
        let request = request.into_inner();
        if request.run.is_none() && !request.all {
            return Err(Status::invalid_argument("name a run, or all"));
        }
        let cause = match request.signal {
            Some(2) => StopCause::Interrupted,
            Some(15) => StopCause::Terminated,
            _ => StopCause::Operator,
        };
        let reason = if request.reason.is_empty() {
            "stopped by an operator".to_owned()
        } else {
            request.reason
        };
        let order = StopOrder {
            run: request.run.map(RunId),
            how: if request.now { How::Now } else { How::Graceful },
            cause,
            reason: reason.chars().take(200).collect(),
        };
        let runs = self.0.hub.stop(order).await?;
        if let Some(run) = request.run.filter(|_| runs.is_empty()) {
            return Err(Status::not_found(format!("run {} is not running", RunId(run))));
        }
        Ok(Response::new(v1::StopReply {
            runs: runs.into_iter().map(|run| run.0).collect(),
        }))
    }

    async fn report(&self, request: Request<v1::ReportRequest>) -> Result<Response<Self::ReportStream>, Status> {
        let request = request.into_inner();
        let format = Format::from_word(&request.format)
            .ok_or_else(|| Status::invalid_argument(format!("there is no report format {:?}", request.format)))?;
        let report = render(&self.0, RunId(request.run), format)
            .await
            .map_err(|error| report_status(&error))?;
        let pieces: Vec<Result<v1::ReportChunk, Status>> = report
            .chunks(PIECE_BYTES)
            .map(|data| Ok(v1::ReportChunk { data: data.to_vec() }))
            .collect();
        Ok(Response::new(Box::pin(tokio_stream::iter(pieces))))
    }

    async fn remove(&self, request: Request<v1::RemoveRequest>) -> Result<Response<v1::RemoveReply>, Status> {
        let run = RunId(request.into_inner().run);
        if self.0.hub.is_active(run).await? {
            return Err(Status::failed_precondition(format!("run {run} has not ended")));
        }
        let removed = self.written(|answer| Op::Remove(run, answer)).await?;
        Ok(Response::new(v1::RemoveReply { removed }))
    }

    async fn prune(&self, request: Request<v1::PruneRequest>) -> Result<Response<v1::PruneReply>, Status> {
        let request = request.into_inner();
        let age = request
            .older_than_us
            .map(|age| i64::try_from(age / 1_000_000).unwrap_or(i64::MAX));
        let prune = Prune {
            keep: request.keep,
            before_s: age.map(|age| clock::wall_secs().saturating_sub(age)),
        };
        let removed = self.written(|answer| Op::Prune(prune, answer)).await?;
        Ok(Response::new(v1::PruneReply { removed }))
    }
}
