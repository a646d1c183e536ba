//! A worker without load threads: on the wire it does what a real one does, in the same order and at the same times.
//!
//! Two connections, Hello, heartbeats, clock answers, prepare, start, grants; a delta at the end of each interval, like all
//! other workers at the same instant; at most so many uncommitted deltas; the end once the last one is on its way.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use barrage_model::ids::ShardId;
use barrage_model::schedule::{Cursor, Epoch};
use barrage_model::time::Moment;
use barrage_proto::convert::{epoch_in, marks_in};
use barrage_proto::v1::fleet_client::FleetClient;
use barrage_proto::v1::upload_reply::Kind;
use barrage_proto::v1::{self, from_worker::Frame as Say, to_worker::Frame as Told};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic::transport::Endpoint;

use super::clock::{now_us, sleep_until};
use super::deltas::{Numbers, Pool, SAMPLES};
use super::tally::Tally;

/// As a real worker.
const KEEP_ALIVE: Duration = Duration::from_secs(5);
const QUEUE: usize = 256;
const IN_FLIGHT_MAX: usize = 16;
/// Workers that dial in at once.
const DIALLING_MAX: usize = 32;
const CONNECT_LIMIT: Duration = Duration::from_secs(30);

/// What all workers share.
pub(super) struct Shared {
    endpoint: Endpoint,
    pool: Pool,
    dialling: Semaphore,
    tally: Mutex<Tally>,
}

impl Shared {
    pub(super) fn new(url: &str, pool: Pool) -> Result<Self> {
        let endpoint = Endpoint::from_shared(url.to_owned())?
            .connect_timeout(CONNECT_LIMIT)
            .tcp_nodelay(true)
            .tcp_keepalive(Some(KEEP_ALIVE))
            .http2_keep_alive_interval(KEEP_ALIVE)
            .keep_alive_timeout(CONNECT_LIMIT)
            .keep_alive_while_idle(true);
        Ok(Self {
            endpoint,
            tally: Mutex::new(Tally::new(pool.bodies().len())),
            pool,
            dialling: Semaphore::new(DIALLING_MAX),
        })
    }

    pub(super) fn pool(&self) -> &Pool {
        &self.pool
    }

    pub(super) fn with_tally<T>(&self, change: impl FnOnce(&mut Tally) -> T) -> T {
        change(&mut self.tally.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The upload stream.
struct Link {
    outbox: mpsc::Sender<v1::UploadFrame>,
    answers: Streaming<v1::UploadReply>,
}

/// What a worker is to count in a run.
struct Job {
    run: u64,
    worker: u32,
    shard: u32,
    seconds: u32,
    cursor: Cursor,
}

impl Job {
    fn new(mut prepare: v1::Prepare) -> Result<Self> {
        let seconds = prepare.end_us / 1_000_000;
        ensure!(
            seconds * 1_000_000 == prepare.end_us && prepare.epochs.len() == 1 && prepare.shards == 1,
            "the run is not the one that this bench has made"
        );
        let (_, epoch): (_, Epoch) = epoch_in(prepare.epochs.remove(0))?;
        let marks = marks_in(std::mem::take(&mut prepare.marks))?;
        let last = marks.segment_at(Moment::from_micros(prepare.end_us - 1));
        ensure!(last.0 == 0, "the run has more than one segment");
        Ok(Self {
            run: prepare.run,
            worker: prepare.worker,
            shard: prepare.first_shard,
            seconds: seconds as u32,
            cursor: Cursor::new(&Arc::new(epoch), ShardId(prepare.first_shard)),
        })
    }

    /// Goes on to the end of an interval: the delta must hold as many arrivals as the schedule has here.
    fn step(&mut self, interval: u32) -> Result<u64> {
        let until = Moment::from_secs(u64::from(interval) + 1);
        let mut arrivals = 0;
        while self.cursor.peek().is_some_and(|(_, due)| due < until) {
            arrivals += 1;
            self.cursor.advance();
        }
        ensure!(arrivals == SAMPLES, "{arrivals} arrivals fall into interval {interval}");
        Ok(self.cursor.next_index().unwrap_or(u64::MAX))
    }
}

fn frame(frame: Say) -> v1::FromWorker {
    v1::FromWorker { frame: Some(frame) }
}

fn hello(place: u32) -> v1::Hello {
    v1::Hello {
        protocol: barrage_proto::PROTOCOL,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        name: format!("sim-{place:04}"),
        incarnation: u64::from(place) + 1,
        labels: [("bench".to_owned(), "fleet".to_owned())].into(),
        shards: 1,
        max_rate_micro_per_s: 0,
        cores: 2,
        memory_bytes: 4 << 30,
        descriptors_max: 20_000,
        held: None,
        os: "linux".to_owned(),
    }
}

/// Joins, serves one run, and ends when it is released.
pub(super) async fn work(place: u32, shared: Arc<Shared>) -> Result<()> {
    serve(place, shared).await.with_context(|| format!("worker {place}"))
}

async fn serve(place: u32, shared: Arc<Shared>) -> Result<()> {
    let incarnation = u64::from(place) + 1;
    let (say, said) = mpsc::channel(QUEUE);
    say.send(frame(Say::Hello(hello(place)))).await?;
    let permit = shared.dialling.acquire().await?;
    let mut client = FleetClient::new(shared.endpoint.connect().await?);
    let mut told = client.control(ReceiverStream::new(said)).await?.into_inner();
    let (outbox, frames) = mpsc::channel(QUEUE);
    let mut client = FleetClient::new(shared.endpoint.connect().await?);
    let answers = client.upload(ReceiverStream::new(frames)).await?.into_inner();
    drop(permit);
    let mut link = Some(Link { outbox, answers });
    let mut job = None;
    let mut uploading = JoinSet::new();
    let mut beat = tokio::time::interval(Duration::from_secs(1));
    loop {
        let message = tokio::select! {
            message = told.message() => message?,
            _ = beat.tick() => {
                say.send(frame(Say::Heartbeat(v1::Heartbeat { number: 1 }))).await?;
                continue;
            }
            Some(done) = uploading.join_next() => {
                let (run, last_seq) = done??;
                say.send(frame(Say::Halted(v1::Halted { run, last_seq, reason: String::new() }))).await?;
                continue;
            }
        };
        match message
            .and_then(|message| message.frame)
            .context("the control stream has ended")?
        {
            Told::Clock(probe) => {
                let at = now_us();
                let reply = v1::ClockReply {
                    number: probe.number,
                    coordinator_sent_us: probe.coordinator_sent_us,
                    worker_received_us: at,
                    worker_replied_us: now_us(),
                };
                say.send(frame(Say::Clock(reply))).await?;
            }
            Told::Prepare(prepare) => {
                let run = prepare.run;
                job = Some(Job::new(prepare)?);
                say.send(frame(Say::Prepared(v1::Prepared {
                    run,
                    ..Default::default()
                })))
                .await?;
            }
            Told::Start(start) => {
                let (Some(job), Some(link)) = (job.take(), link.take()) else {
                    bail!("a second start");
                };
                let begin = start.coordinator_start_us.checked_add_signed(-start.offset_us);
                let begin = begin.context("a start before the machine's")?;
                uploading.spawn(upload(Arc::clone(&shared), link, job, incarnation, begin));
            }
            Told::Refused(refused) => bail!("refused: {}", refused.reason),
            Told::Stop(stop) => bail!("stopped: {}", stop.reason),
            Told::Release(_) => return Ok(()),
            Told::Welcome(_) => shared.with_tally(Tally::joined),
            Told::Grant(_) => {}
            Told::DoSetup(_) | Told::DoTeardown(_) | Told::Fault(_) => bail!("an order that the plan does not have"),
        }
    }
}

/// Sends the deltas of a run, each when its interval has ended; gives the run and the number of the last.
async fn upload(shared: Arc<Shared>, link: Link, mut job: Job, incarnation: u64, begin: u64) -> Result<(u64, u64)> {
    let Link { outbox, mut answers } = link;
    let mut open: VecDeque<(u64, u64)> = VecDeque::new();
    for interval in 0..job.seconds {
        let due = begin + (u64::from(interval) + 1) * 1_000_000;
        loop {
            let wait = async {
                if open.len() >= IN_FLIGHT_MAX {
                    std::future::pending::<()>().await;
                }
                sleep_until(due).await;
            };
            tokio::select! {
                () = wait => break,
                reply = answers.message() => take(&shared, &mut open, begin, reply?)?,
            }
        }
        let seq = u64::from(interval) + 1;
        let numbers = Numbers {
            seq,
            interval,
            last: interval + 1 == job.seconds,
            shard: job.shard,
            next_index: job.step(interval)?,
        };
        let place = shared.pool.place(job.worker, interval);
        let upload = v1::UploadFrame {
            run: job.run,
            worker: job.worker,
            incarnation,
            delta: shared.pool.delta(place, &numbers),
        };
        outbox.send(upload).await?;
        open.push_back((seq, due));
        shared.with_tally(|tally| tally.sent(place, now_us().saturating_sub(due)));
    }
    while !open.is_empty() {
        let reply = answers.message().await?;
        take(&shared, &mut open, begin, reply)?;
    }
    Ok((job.run, job.seconds.into()))
}

fn take(shared: &Shared, open: &mut VecDeque<(u64, u64)>, begin: u64, reply: Option<v1::UploadReply>) -> Result<()> {
    match reply
        .and_then(|reply| reply.kind)
        .context("the upload stream has ended")?
    {
        Kind::Committed(upto) => {
            let now = now_us();
            while let Some((_, due)) = open.pop_front_if(|(seq, _)| *seq <= upto) {
                shared.with_tally(|tally| tally.committed(due - begin, now.saturating_sub(due)));
            }
            Ok(())
        }
        Kind::ResendFrom(seq) => bail!("asked to send again from {seq}"),
        Kind::Refused(reason) => bail!("refused: {reason}"),
    }
}
