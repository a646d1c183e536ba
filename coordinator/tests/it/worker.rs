//! A worker without load threads: it counts what its shards would have made, exactly on schedule.

use std::collections::BTreeMap;
use std::time::Duration;

use barrage_model::delta::{Delta, Health, IterationRow, Progress, StepRow};
use barrage_model::ids::{LoadId, ScenarioId, ShardId, StepId, TagId};
use barrage_model::ledger::{IterationCounts, Open, StepCounts};
use barrage_model::phase::Marks;
use barrage_model::schedule::{Cursor, Epoch};
use barrage_model::time::Moment;
use barrage_proto::convert::{delta_out, epoch_in, marks_in};
use barrage_proto::v1::fleet_client::FleetClient;
use barrage_proto::v1::{self, from_worker::Frame as Say, to_worker::Frame as Told};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic::transport::Channel;

/// What the worker does out of the ordinary.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Habits {
    /// Sends each delta twice.
    pub(crate) repeats: bool,
    /// Vanishes after this many intervals, without a word.
    pub(crate) dies_after: Option<u32>,
    /// Sends a delta whose interval runs backwards.
    pub(crate) lies: bool,
    /// Sends these bytes instead of a delta.
    pub(crate) twist: Option<fn(&Delta) -> Vec<u8>>,
}

/// Everything that was told to a worker, in order, in short.
pub(crate) type Diary = Vec<String>;

pub(crate) fn hello(name: &str, incarnation: u64) -> v1::Hello {
    v1::Hello {
        protocol: barrage_proto::PROTOCOL,
        version: "0.1.0".to_owned(),
        name: name.to_owned(),
        incarnation,
        labels: [("role".to_owned(), "eu".to_owned())].into(),
        shards: 2,
        max_rate_micro_per_s: 0,
        cores: 2,
        memory_bytes: 1 << 30,
        descriptors_max: 1_024,
        held: None,
        os: "linux".to_owned(),
    }
}

fn now_us() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    time.tv_sec.unsigned_abs() * 1_000_000 + time.tv_nsec.unsigned_abs() / 1_000
}

struct Job {
    prepare: v1::Prepare,
    epochs: Vec<(LoadId, Epoch)>,
    marks: Marks,
}

impl Job {
    fn new(mut prepare: v1::Prepare) -> Self {
        let epochs = std::mem::take(&mut prepare.epochs)
            .into_iter()
            .map(|epoch| epoch_in(epoch).unwrap())
            .collect();
        let marks = marks_in(std::mem::take(&mut prepare.marks)).unwrap();
        Self { prepare, epochs, marks }
    }

    /// One delta for each second of the run, as an idle and perfect worker would count.
    fn deltas(&self) -> Vec<Delta> {
        let seconds = self.prepare.end_us.div_ceil(1_000_000) as u32;
        let mut deltas: Vec<Delta> = (0..seconds)
            .map(|interval| blank(interval, interval + 1 == seconds))
            .collect();
        for (load, epoch) in &self.epochs {
            let epoch = std::sync::Arc::new(epoch.clone());
            for shard in self.prepare.first_shard..self.prepare.first_shard + self.prepare.shards {
                let mut cursor = Cursor::new(&epoch, ShardId(shard));
                for delta in &mut deltas {
                    let until = Moment::from_secs(u64::from(delta.interval) + 1);
                    let mut counts: BTreeMap<_, u64> = BTreeMap::new();
                    while let Some((_, due)) = cursor.peek().filter(|(_, due)| *due < until) {
                        *counts.entry(self.marks.segment_at(due)).or_default() += 1;
                        cursor.advance();
                    }
                    for (segment, started) in counts {
                        add(delta, *load, segment, started);
                    }
                    let next_index = cursor.next_index().unwrap_or(u64::MAX);
                    delta.progress.push(Progress {
                        load: *load,
                        shard: ShardId(shard),
                        next_index,
                    });
                }
            }
        }
        deltas
    }
}

fn blank(interval: u32, last: bool) -> Delta {
    Delta {
        seq: u64::from(interval) + 1,
        interval,
        last,
        iterations: Vec::new(),
        steps: Vec::new(),
        sketches: Vec::new(),
        open: Open::default(),
        progress: Vec::new(),
        errors: Vec::new(),
        health: Health::default(),
        ended: None,
        left: None,
    }
}

fn add(delta: &mut Delta, load: LoadId, segment: barrage_model::ids::SegmentId, started: u64) {
    let counts = IterationCounts {
        scheduled: started,
        started,
        completed: started,
        ..IterationCounts::default()
    };
    delta.iterations.push(IterationRow {
        load,
        scenario: ScenarioId(0),
        segment,
        counts,
    });
    let counts = StepCounts {
        attempted: started,
        sent: started,
        ok: started,
        ..StepCounts::default()
    };
    delta.steps.push(StepRow {
        step: StepId(0),
        tag: TagId(0),
        segment,
        counts,
    });
}

fn prepared(run: u64) -> v1::FromWorker {
    let rows = Vec::new();
    frame(Say::Prepared(v1::Prepared { run, error: None, rows }))
}

/// Serves one run, and returns what it was told.
pub(crate) async fn work(url: String, hello: v1::Hello, habits: Habits) -> Diary {
    let mut client = FleetClient::connect(url.clone()).await.unwrap();
    let (say, said) = mpsc::channel(64);
    let incarnation = hello.incarnation;
    say.send(frame(Say::Hello(hello))).await.unwrap();
    let mut told = client.control(ReceiverStream::new(said)).await.unwrap().into_inner();
    let mut diary = Diary::new();
    let mut job = None;
    let mut beat = tokio::time::interval(Duration::from_secs(1));
    let mut uploading = tokio::task::JoinSet::new();
    loop {
        let message = tokio::select! {
            message = told.message() => message,
            _ = beat.tick() => {
                // The coordinator may be gone.
                drop(say.send(frame(Say::Heartbeat(v1::Heartbeat { number: 1 }))).await);
                continue;
            }
            Some(done) = uploading.join_next() => {
                let (run, last_seq): (u64, Option<u64>) = done.unwrap();
                let Some(last_seq) = last_seq else { return diary };
                let halted = v1::Halted { run, last_seq, reason: String::new() };
                say.send(frame(Say::Halted(halted))).await.unwrap();
                continue;
            }
        };
        let Ok(Some(v1::ToWorker { frame: Some(told) })) = message else {
            return diary;
        };
        match told {
            Told::Clock(probe) => {
                let at = now_us();
                let reply = v1::ClockReply {
                    number: probe.number,
                    coordinator_sent_us: probe.coordinator_sent_us,
                    worker_received_us: at,
                    worker_replied_us: at,
                };
                say.send(frame(Say::Clock(reply))).await.unwrap();
            }
            Told::Welcome(_) => diary.push("welcome".to_owned()),
            Told::Refused(refused) => diary.push(format!("refused: {}", refused.reason)),
            Told::Prepare(prepare) => {
                diary.push(format!("prepare {} of {}", prepare.worker, prepare.workers));
                let said = prepared(prepare.run);
                job = Some(Job::new(prepare));
                say.send(said).await.unwrap();
            }
            Told::DoSetup(_) | Told::DoTeardown(_) => panic!("the plan has neither setup nor teardown"),
            Told::Start(start) => {
                diary.push("start".to_owned());
                let job = job.take().expect("prepare comes before start");
                let upload = client.clone();
                uploading.spawn(async move { (start.run, run_upload(upload, job, start, incarnation, habits).await) });
            }
            Told::Grant(grant) if diary.last().is_none_or(|last| last != "grants") => {
                assert!(grant.until_us > 0);
                diary.push("grants".to_owned());
            }
            Told::Grant(_) => {}
            Told::Stop(stop) => diary.push(format!("stop: {}", stop.reason)),
            Told::Release(_) => {
                diary.push("release".to_owned());
                return diary;
            }
            Told::Fault(_) => panic!("no faults here"),
        }
    }
}

fn frame(frame: Say) -> v1::FromWorker {
    v1::FromWorker { frame: Some(frame) }
}

/// Sends a delta at the end of each second and waits for the acknowledgement of the last; gives its number, or nothing
/// when the worker has died on the way.
async fn run_upload(
    mut client: FleetClient<Channel>,
    job: Job,
    start: v1::Start,
    incarnation: u64,
    habits: Habits,
) -> Option<u64> {
    let (outbox, frames) = mpsc::channel(64);
    let mut answers = client.upload(ReceiverStream::new(frames)).await.unwrap().into_inner();
    let begin = start.coordinator_start_us.checked_add_signed(-start.offset_us).unwrap();
    let deltas = job.deltas();
    let last = deltas.last().map_or(0, |delta| delta.seq);
    for mut delta in deltas {
        let end = begin + (u64::from(delta.interval) + 1) * 1_000_000;
        tokio::time::sleep(Duration::from_micros(end.saturating_sub(now_us()))).await;
        if habits.dies_after.is_some_and(|after| delta.interval >= after) {
            return None;
        }
        if habits.lies {
            delta.interval = u32::MAX;
        }
        let upload = v1::UploadFrame {
            run: start.run,
            worker: job.prepare.worker,
            incarnation,
            delta: habits.twist.map_or_else(|| delta_out(&delta), |twist| twist(&delta)),
        };
        for _ in 0..=u32::from(habits.repeats) {
            outbox.send(upload.clone()).await.unwrap();
        }
    }
    wait_for(&mut answers, last).await.then_some(last)
}

async fn wait_for(answers: &mut Streaming<v1::UploadReply>, last: u64) -> bool {
    while let Ok(Some(reply)) = answers.message().await {
        match reply.kind {
            Some(v1::upload_reply::Kind::Committed(seq)) if seq >= last => return true,
            Some(v1::upload_reply::Kind::Refused(_)) => return false,
            _ => {}
        }
    }
    false
}
