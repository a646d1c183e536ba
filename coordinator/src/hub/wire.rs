//! The machines' words as messages.

use barrage_model::ids::{RunId, WorkerId};
use barrage_model::time::Moment;
use barrage_proto::convert::{epoch_out, marks_out};
use barrage_proto::v1::{self, to_worker::Frame, upload_reply::Kind};

use super::Submission;
use crate::machine::fleet::HEARTBEAT;
use crate::machine::offset::Offset;
use crate::machine::run::{Answer, Command, How, Spec, Value};

pub(super) fn welcome() -> Frame {
    Frame::Welcome(v1::Welcome {
        coordinator_version: env!("CARGO_PKG_VERSION").to_owned(),
        heartbeat_ms: HEARTBEAT.as_millis() as u32,
    })
}

pub(super) fn answer(run: RunId, answer: Answer) -> v1::UploadReply {
    let kind = match answer {
        Answer::Committed(seq) => Kind::Committed(seq),
        Answer::ResendFrom(seq) => Kind::ResendFrom(seq),
        Answer::Refused(reason) => Kind::Refused(reason),
    };
    v1::UploadReply {
        run: run.0,
        kind: Some(kind),
    }
}

pub(super) fn prepare(submission: &Submission, spec: &Spec, worker: WorkerId) -> Frame {
    let compiled = &spec.compiled;
    let (first_shard, shards) = compiled.shards[worker.0 as usize];
    Frame::Prepare(v1::Prepare {
        run: spec.run.0,
        worker: worker.0,
        first_shard: first_shard.0,
        shards,
        workers: spec.members.len() as u32,
        seed: submission.seed,
        plan: Some(submission.wire_plan()),
        epochs: compiled
            .epochs
            .iter()
            .map(|(load, epoch)| epoch_out(*load, epoch))
            .collect(),
        marks: marks_out(&compiled.marks),
        secrets: fields(&submission.secrets),
        end_us: compiled.end.as_micros(),
        run_name: submission.plan.name.clone(),
    })
}

/// Every command but [`Command::Prepare`]; `offset` is that of the worker's clock now.
pub(super) fn command(run: RunId, command: Command, offset: Option<Offset>) -> Frame {
    let run = run.0;
    match command {
        Command::Prepare | Command::DoSetup => Frame::DoSetup(v1::DoSetup { run }),
        Command::Start(at, values) => {
            let offset = offset.unwrap_or(Offset {
                offset_us: 0,
                uncertainty_us: u64::MAX,
            });
            Frame::Start(v1::Start {
                run,
                coordinator_start_us: at.as_micros(),
                offset_us: offset.offset_us,
                uncertainty_us: offset.uncertainty_us,
                values: fields(&values),
            })
        }
        Command::Grant { number, until, blocks } => Frame::Grant(v1::Grant {
            run,
            number,
            until_us: until.as_micros(),
            epochs: Vec::new(),
            marks: Vec::new(),
            blocks: blocks
                .into_iter()
                .map(|block| v1::Block {
                    load: block.load.0.into(),
                    first: block.first,
                    count: block.count,
                })
                .collect(),
        }),
        Command::Stop { how, at, reason } => {
            let how = match how {
                How::Graceful => v1::stop::How::Graceful,
                How::Now => v1::stop::How::Now,
            };
            stop(run, how, Some(at), reason)
        }
        Command::StandDown(reason) => stop(run, v1::stop::How::Lost, None, reason),
        Command::DoTeardown(values) => Frame::DoTeardown(v1::DoTeardown {
            run,
            values: fields(&values),
        }),
        Command::Release => Frame::Release(v1::Release { run }),
    }
}

fn stop(run: u64, how: v1::stop::How, at: Option<Moment>, reason: String) -> Frame {
    Frame::Stop(v1::Stop {
        run,
        how: how.into(),
        reason,
        at_us: at.map(Moment::as_micros),
    })
}

fn fields(values: &[Value]) -> Vec<v1::Field> {
    values
        .iter()
        .map(|(name, value)| v1::Field {
            name: name.clone(),
            value: value.clone(),
        })
        .collect()
}

/// One line about a worker.
pub(super) fn worker_line(worker: &crate::machine::fleet::Worker, offset: Option<Offset>) -> v1::WorkerLine {
    v1::WorkerLine {
        name: worker.name.clone(),
        state: worker.state().to_owned(),
        shards: worker.hello.shards,
        // Its clock − the coordinator's, as in reports.
        offset_us: offset.map_or(0, |offset| offset.offset_us.saturating_neg()),
        uncertainty_us: offset.map_or(0, |offset| offset.uncertainty_us),
        labels: worker.hello.labels.clone().into_iter().collect(),
    }
}
