//! A coordinator that plays one run by a script and keeps what it is told.

use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use barrage_model::delta::Delta;
use barrage_model::ids::{EpochId, LoadId, ShardId};
use barrage_model::plan::{LoadModel, Plan};
use barrage_model::schedule::{Arrivals, Curve, Epoch, Wheel};
use barrage_model::time::Moment;
use barrage_proto::convert::epoch_out;
use barrage_proto::v1::fleet_server::{Fleet, FleetServer};
use barrage_proto::v1::{self, from_worker::Frame as Said, to_worker::Frame as Tell};
use tokio::sync::{Notify, mpsc};
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tokio_stream::{Stream, StreamExt as _};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

use crate::clock::{Clock, Stamp};

const RUN: u64 = 77;

/// How the run goes.
#[derive(Clone, Debug)]
pub(super) struct Script {
    plan: Plan,
    pub(super) shards: u32,
    pub(super) refuse: Option<String>,
    /// Renewals, each for `grant` from then on.
    pub(super) grants: u64,
    pub(super) grant: Duration,
    pub(super) stop_after: Option<Duration>,
    /// Both streams break off this long after the start, once.
    pub(super) cut_after: Option<Duration>,
    /// Setup before the start, and teardown after the end.
    pub(super) once: bool,
}

impl Script {
    pub(super) fn new(plan: Plan, shards: u32) -> Self {
        let grant = Duration::from_secs(10);
        Self {
            plan,
            shards,
            refuse: None,
            grants: u64::MAX,
            grant,
            stop_after: None,
            cut_after: None,
            once: false,
        }
    }

    fn prepare(&self) -> v1::Prepare {
        let load = &self.plan.loads[0].model;
        let curve = match load {
            LoadModel::Open(open) => open.curve().unwrap(),
            _ => Curve::default(),
        };
        let epoch = Epoch {
            id: EpochId(0),
            first_index: 0,
            first_time: Moment::ZERO,
            curve,
            wheel: Wheel::from_table(vec![ShardId(0), ShardId(1)]).unwrap(),
            arrivals: Arrivals::Even,
            seed: 0,
        };
        v1::Prepare {
            run: RUN,
            shards: self.shards,
            workers: 1,
            seed: 1,
            plan: Some((&self.plan).into()),
            epochs: vec![epoch_out(LoadId(0), &epoch)],
            marks: vec![v1::Mark {
                segment: 0,
                at_us: 0,
                phases: Vec::new(),
            }],
            ..v1::Prepare::default()
        }
    }
}

/// What has been said.
#[derive(Clone, Debug, Default)]
pub(super) struct Heard {
    pub(super) hellos: u32,
    pub(super) beats: u32,
    pub(super) probes: u32,
    grants: u64,
    pub(super) prepared: Option<String>,
    pub(super) halted: Option<v1::Halted>,
    pub(super) setup: Option<v1::SetupDone>,
    pub(super) teardown: Option<v1::SetupDone>,
    pub(super) deltas: Vec<Delta>,
}

#[derive(Debug)]
struct Shared {
    script: Script,
    heard: Mutex<Heard>,
    changed: Notify,
    start: Mutex<Option<Stamp>>,
    cut: Mutex<CancellationToken>,
}

pub(super) struct Coordinator {
    pub(super) url: String,
    shared: Arc<Shared>,
}

impl Coordinator {
    pub(super) async fn start(script: Script) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let shared = Arc::new(Shared {
            script,
            heard: Mutex::default(),
            changed: Notify::new(),
            start: Mutex::default(),
            cut: Mutex::default(),
        });
        let service = FleetServer::new(Player(Arc::clone(&shared)));
        let incoming = TcpListenerStream::new(listener);
        tokio::spawn(
            tonic::transport::Server::builder()
                .add_service(service)
                .serve_with_incoming(incoming),
        );
        Self { url, shared }
    }

    pub(super) fn said(&self) -> Heard {
        self.shared.heard.lock().unwrap().clone()
    }

    pub(super) async fn until(&self, holds: impl Fn(&Heard) -> bool) {
        let waiting = async {
            while !holds(&self.said()) {
                let _changed_or_late =
                    tokio::time::timeout(Duration::from_millis(50), self.shared.changed.notified()).await;
            }
        };
        let ended = tokio::time::timeout(super::LIMIT, waiting).await;
        assert!(ended.is_ok(), "never came to be: {:?}", self.said());
    }
}

struct Player(Arc<Shared>);

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl Fleet for Player {
    type ControlStream = Answers<v1::ToWorker>;
    type UploadStream = Answers<v1::UploadReply>;
    type FetchStream = Answers<v1::Chunk>;

    async fn control(
        &self,
        request: Request<Streaming<v1::FromWorker>>,
    ) -> Result<Response<Self::ControlStream>, Status> {
        let (tell, told) = mpsc::channel(64);
        let shared = Arc::clone(&self.0);
        tokio::spawn(async move {
            let cut = shared.cut.lock().unwrap().clone();
            cut.run_until_cancelled(play(shared, request.into_inner(), tell)).await;
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(told))))
    }

    async fn upload(
        &self,
        request: Request<Streaming<v1::UploadFrame>>,
    ) -> Result<Response<Self::UploadStream>, Status> {
        let (tell, told) = mpsc::channel(64);
        let shared = Arc::clone(&self.0);
        tokio::spawn(async move {
            let cut = shared.cut.lock().unwrap().clone();
            cut.run_until_cancelled(merge(shared, request.into_inner(), tell)).await;
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(told))))
    }

    async fn fetch(&self, _: Request<v1::FetchRequest>) -> Result<Response<Self::FetchStream>, Status> {
        Err(Status::not_found("there are no files"))
    }
}

async fn play(
    shared: Arc<Shared>,
    mut said: Streaming<v1::FromWorker>,
    tell: mpsc::Sender<Result<v1::ToWorker, Status>>,
) {
    let mut renewal = tokio::time::interval(Duration::from_millis(250));
    let mut number = 0;
    loop {
        let frames = tokio::select! {
            message = said.next() => {
                let Some(Ok(message)) = message else { return };
                shared.answer(message.frame.unwrap())
            }
            _ = renewal.tick() => {
                number += 1;
                shared.renew(number)
            }
        };
        for frame in frames {
            if tell.send(Ok(v1::ToWorker { frame: Some(frame) })).await.is_err() {
                return;
            }
        }
        shared.changed.notify_waiters();
        let cut = shared.script.cut_after.is_some_and(|after| shared.runs_for() > after);
        if cut && shared.heard.lock().unwrap().hellos == 1 {
            std::mem::take(&mut *shared.cut.lock().unwrap()).cancel();
            return;
        }
    }
}

async fn merge(
    shared: Arc<Shared>,
    mut frames: Streaming<v1::UploadFrame>,
    tell: mpsc::Sender<Result<v1::UploadReply, Status>>,
) {
    while let Some(Ok(frame)) = frames.next().await {
        let delta = barrage_proto::convert::delta_in(&frame.delta).unwrap();
        let committed = {
            let deltas = &mut shared.heard.lock().unwrap().deltas;
            if delta.seq == deltas.len() as u64 + 1 {
                deltas.push(delta);
            }
            deltas.len() as u64
        };
        shared.changed.notify_waiters();
        let kind = Some(v1::upload_reply::Kind::Committed(committed));
        if tell.send(Ok(v1::UploadReply { run: RUN, kind })).await.is_err() {
            return;
        }
    }
}

impl Shared {
    fn runs_for(&self) -> Duration {
        self.start
            .lock()
            .unwrap()
            .map_or(Duration::ZERO, |start| Clock::boot().now().since(start))
    }

    fn answer(&self, said: Said) -> Vec<Tell> {
        let mut heard = self.heard.lock().unwrap();
        match said {
            Said::Hello(hello) => {
                heard.hellos += 1;
                if let Some(reason) = self.script.refuse.clone() {
                    return vec![Tell::Refused(v1::Refused { reason })];
                }
                let mut frames = vec![
                    Tell::Welcome(v1::Welcome {
                        heartbeat_ms: 200,
                        ..v1::Welcome::default()
                    }),
                    Tell::Clock(v1::ClockProbe {
                        number: 9,
                        coordinator_sent_us: 4,
                    }),
                ];
                if hello.held.is_none() {
                    frames.push(Tell::Prepare(self.script.prepare()));
                }
                frames
            }
            Said::Heartbeat(_) => {
                heard.beats += 1;
                Vec::new()
            }
            Said::Clock(reply) => {
                assert_eq!((reply.number, reply.coordinator_sent_us), (9, 4));
                assert!(reply.worker_replied_us >= reply.worker_received_us);
                heard.probes += 1;
                Vec::new()
            }
            Said::Prepared(prepared) => {
                heard.prepared = Some(prepared.error.clone().unwrap_or_default());
                if prepared.error.is_some() {
                    return Vec::new();
                }
                if self.script.once {
                    return vec![Tell::DoSetup(v1::DoSetup { run: RUN })];
                }
                vec![self.begin(Vec::new())]
            }
            Said::SetupDone(done) if done.teardown => {
                heard.teardown = Some(done);
                vec![Tell::Release(v1::Release { run: RUN })]
            }
            Said::SetupDone(done) => {
                let values = done.values.clone();
                heard.setup = Some(done);
                vec![self.begin(values)]
            }
            Said::Halted(halted) => {
                heard.halted = Some(halted);
                Vec::new()
            }
            _ => Vec::new(),
        }
    }

    fn begin(&self, values: Vec<v1::Field>) -> Tell {
        let start = Clock::boot().now() + Duration::from_millis(200);
        *self.start.lock().unwrap() = Some(start);
        // A clock that is 5 s ahead of the worker's.
        let coordinator_start_us = start.as_us() + 5_000_000;
        Tell::Start(v1::Start {
            run: RUN,
            coordinator_start_us,
            offset_us: 5_000_000,
            uncertainty_us: 0,
            values,
        })
    }

    fn renew(&self, number: u64) -> Vec<Tell> {
        let Some(_) = *self.start.lock().unwrap() else {
            return Vec::new();
        };
        let age = self.runs_for();
        let mut frames = Vec::new();
        let mut heard = self.heard.lock().unwrap();
        if heard.grants < self.script.grants {
            heard.grants += 1;
            // A single grant counts from run time 0, so that a test can say exactly what is due under it.
            let from = if self.script.grants == 1 { Duration::ZERO } else { age };
            let until_us = (from + self.script.grant).as_micros() as u64;
            let blocks = match &self.script.plan.loads[0].model {
                LoadModel::Iterations(model) if heard.grants == 1 => {
                    vec![v1::Block {
                        load: 0,
                        first: 0,
                        count: model.count,
                    }]
                }
                _ => Vec::new(),
            };
            frames.push(Tell::Grant(v1::Grant {
                run: RUN,
                number,
                until_us,
                blocks,
                ..v1::Grant::default()
            }));
        }
        if self.script.stop_after.is_some_and(|after| age > after) {
            frames.push(Tell::Stop(v1::Stop {
                run: RUN,
                how: v1::stop::How::Graceful.into(),
                reason: String::new(),
                at_us: None,
            }));
        }
        let complete = heard.deltas.last().is_some_and(|delta| delta.last);
        if complete && heard.halted.is_some() {
            let values = heard.setup.as_ref().map(|done| done.values.clone()).unwrap_or_default();
            frames.push(if self.script.once {
                Tell::DoTeardown(v1::DoTeardown { run: RUN, values })
            } else {
                Tell::Release(v1::Release { run: RUN })
            });
        }
        frames
    }
}
