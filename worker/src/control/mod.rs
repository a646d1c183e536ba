//! The control side: one thread with a runtime of its own, apart from the load threads.
//!
//! One loop takes one event at a time, gives it to the [`machine`] and performs what comes of it. Everything that takes
//! its time (streams, fetching, compiling, setup) runs in tasks or threads of its own and comes back as an event.

mod collect;
mod link;
mod machine;
mod outbox;
mod prepare;
mod program;
#[cfg(test)]
mod tests;
mod threads;

use std::sync::Arc;
use std::time::Duration;

use barrage_model::phase::Marks;
use barrage_proto::convert::{epoch_in, marks_in};
use barrage_proto::v1;
use barrage_proto::v1::fleet_client::FleetClient;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint};

use crate::clock::{Clock, Stamp};
use crate::host::{MemoryFiles, cgroup::Groups};
use crate::recorder::{Merged, Part};
use crate::shard::Blocks;
use crate::shard::machine::Input as ShardInput;
use crate::{Config, WorkerError};

pub use link::LinkError;

use link::LinkEvent;
use machine::{Exit, Input, Machine, Output};
use prepare::{NotReady, Own, Ready, chain};
use program::OnceEnd;
use threads::Threads;

/// A worker that has not been welcomed for this long after its start gives up.
const FIRST_CONNECT: Duration = Duration::from_secs(10);
/// Streams have this long to carry what has been said before the worker ends.
const FLUSH: Duration = Duration::from_secs(1);
/// Events that wait for the loop.
const EVENTS: usize = 256;

/// What the loop waits for, besides the load threads.
#[derive(Debug)]
enum Event {
    Link(Box<LinkEvent>),
    Prepared(barrage_model::ids::RunId, Box<Result<Ready, NotReady>>),
    Once(barrage_model::ids::RunId, OnceEnd),
}

/// The worker's control side.
struct Control {
    clock: Clock,
    endpoint: Endpoint,
    seed: u64,
    own: Own,
    machine: Machine,
    events: mpsc::Sender<Event>,
    tasks: JoinSet<()>,
    closing: CancellationToken,
    say: Option<mpsc::Sender<v1::FromWorker>>,
    client: Option<FleetClient<Channel>>,
    upload: Option<mpsc::Sender<v1::UploadFrame>>,
    uploading: bool,
    welcomed_once: bool,
    last_error: Option<LinkError>,
    ready: Option<Ready>,
    marks: Option<Marks>,
    blocks: Arc<Blocks>,
    threads: Option<Threads>,
    /// What setup has counted and no delta carries yet.
    unsent: Vec<Part>,
    start: Option<Stamp>,
    once: CancellationToken,
    exit: Option<Exit>,
    rows_ended_said: bool,
}

/// Runs until the worker has left, or can go on no more.
///
/// # Cancel safety
/// Not cancel safe: what has been counted and not sent is lost.
pub(crate) async fn run(config: Config, stop: CancellationToken) -> Result<(), WorkerError> {
    let url = config.coordinator.clone();
    let (events, mut inbox) = mpsc::channel(EVENTS);
    let mut control = Control::new(config, events)?;
    let begun = control.clock.now();
    let mut told_to_stop = false;
    control.open_control();
    while control.exit.is_none() {
        let wake = control.machine.deadline().since(control.clock.now());
        let input = tokio::select! {
            biased;
            event = inbox.recv() => event.and_then(|event| control.event(event)),
            report = next_report(&mut control.threads) => control.report(report),
            () = stop.cancelled(), if !told_to_stop => {
                told_to_stop = true;
                Some(Input::Leave)
            }
            () = until_rows_end(control.ready.as_ref()), if !control.rows_ended_said => {
                control.rows_ended_said = true;
                Some(Input::DataEnded("a data set has been used up".to_owned()))
            }
            () = tokio::time::sleep(wake) => Some(control.tick()),
        };
        if let Some(input) = input {
            control.handle(input);
        }
        let waited = control.clock.now().since(begun);
        if !control.welcomed_once && waited >= FIRST_CONNECT && control.exit.is_none() {
            return Err(WorkerError::CoordinatorUnreachable {
                url,
                source: control.last_error,
            });
        }
    }
    let exit = control.exit.take();
    control.flush(&mut inbox).await;
    match exit {
        Some(Exit::Refused(reason)) => Err(WorkerError::Refused { reason }),
        _ => Ok(()),
    }
}

/// Waits for the load threads' next report, or for ever when there are none.
async fn next_report(threads: &mut Option<Threads>) -> Option<crate::shard::Event> {
    match threads {
        Some(threads) => match threads.next().await {
            None => std::future::pending().await,
            report => report,
        },
        None => std::future::pending().await,
    }
}

/// Waits until a data set of the plan at hand is used up that stops the run, or for ever when there is none.
async fn until_rows_end(ready: Option<&Ready>) {
    match ready {
        Some(ready) => ready.program.until_rows_end().await,
        None => std::future::pending().await,
    }
}

impl Control {
    fn new(config: Config, events: mpsc::Sender<Event>) -> Result<Self, WorkerError> {
        let seed = crate::entropy::incarnation().map_err(WorkerError::Entropy)?;
        let endpoint = link::endpoint(&config.coordinator).map_err(|source| WorkerError::BadUrl {
            url: config.coordinator.clone(),
            source,
        })?;
        let trace = config
            .trace_samples
            .as_deref()
            .map(crate::recorder::TraceSink::create)
            .transpose()?;
        let shards = u32::try_from(config.shards.max(1)).unwrap_or(u32::MAX);
        let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get() as u32);
        let hello = v1::Hello {
            protocol: barrage_proto::PROTOCOL,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            name: config.name,
            incarnation: seed,
            labels: config.labels.into_iter().collect(),
            shards,
            max_rate_micro_per_s: config.max_rate.map_or(0, barrage_model::units::Rate::micro),
            cores,
            memory_bytes: MemoryFiles::of(&Groups::own())
                .read()
                .map_or(0, |memory| memory.total_bytes),
            descriptors_max: crate::host::descriptors_max(),
            held: None,
            os: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
        };
        Ok(Self {
            clock: Clock::boot(),
            endpoint,
            seed,
            own: Own {
                shards,
                max_rate: config.max_rate,
                trace,
            },
            machine: Machine::new(hello, config.once),
            events,
            tasks: JoinSet::new(),
            closing: CancellationToken::new(),
            say: None,
            client: None,
            upload: None,
            uploading: false,
            welcomed_once: false,
            last_error: None,
            ready: None,
            marks: None,
            blocks: Arc::default(),
            threads: None,
            unsent: Vec::new(),
            start: None,
            once: CancellationToken::new(),
            exit: None,
            rows_ended_said: false,
        })
    }

    fn open_control(&mut self) {
        let (links, mut inbox) = mpsc::channel(EVENTS);
        let events = self.events.clone();
        self.tasks.spawn(link::control(
            self.endpoint.clone(),
            self.seed,
            self.clock,
            links,
            self.closing.clone(),
        ));
        self.tasks.spawn(async move {
            while let Some(event) = inbox.recv().await {
                if events.send(Event::Link(Box::new(event))).await.is_err() {
                    return;
                }
            }
        });
    }

    /// The upload stream is opened with the first welcome: a worker that is refused needs none.
    fn open_upload(&mut self) {
        if std::mem::replace(&mut self.uploading, true) {
            return;
        }
        let (links, mut inbox) = mpsc::channel(EVENTS);
        let events = self.events.clone();
        self.tasks.spawn(link::upload(
            self.endpoint.clone(),
            self.seed,
            links,
            self.closing.clone(),
        ));
        self.tasks.spawn(async move {
            while let Some(event) = inbox.recv().await {
                if events.send(Event::Link(Box::new(event))).await.is_err() {
                    return;
                }
            }
        });
    }

    /// Turns what has happened into the machine's input.
    fn event(&mut self, event: Event) -> Option<Input> {
        match event {
            Event::Link(event) => Some(self.link(*event)),
            Event::Prepared(run, result) => Some(match *result {
                Ok(ready) => {
                    let info = ready.info();
                    if self.machine.run() == Some(run) {
                        self.marks = Some(ready.layout.marks.clone());
                        self.ready = Some(ready);
                    }
                    Input::Prepared(run, Ok(info))
                }
                Err(error) => Input::Prepared(run, Err(chain(&error))),
            }),
            Event::Once(run, end) => self.once_ended(run, end),
        }
    }

    fn link(&mut self, event: LinkEvent) -> Input {
        match event {
            LinkEvent::Up(say, client) => {
                (self.say, self.client) = (Some(say), Some(*client));
                Input::Up
            }
            LinkEvent::Told(told) => Input::Told(told),
            LinkEvent::Down(error) => {
                if let Some(error) = error {
                    tracing::debug!(error = %chain(&error), "no control stream");
                    self.last_error = Some(error);
                }
                self.say = None;
                Input::Down
            }
            LinkEvent::UploadUp(frames) => {
                self.upload = Some(frames);
                Input::UploadUp
            }
            LinkEvent::Reply(reply) => Input::Reply(reply),
            LinkEvent::UploadDown => {
                self.upload = None;
                Input::UploadDown
            }
        }
    }

    /// A load thread has reported something.
    fn report(&mut self, event: Option<crate::shard::Event>) -> Option<Input> {
        let deltas = self.threads.as_mut()?.report(event?.report);
        for delta in deltas {
            self.handle(Input::Delta(Box::new(delta)));
        }
        None
    }

    fn tick(&mut self) -> Input {
        if let Some(why) = self.threads.as_mut().and_then(Threads::bury) {
            let reason = format!("a load thread has died ({why}); what it had counted and not reported is lost");
            self.handle(Input::Failed { reason, over: false });
            let deltas = self.threads.as_mut().map(Threads::complete).unwrap_or_default();
            for delta in deltas {
                self.handle(Input::Delta(Box::new(delta)));
            }
        }
        Input::Tick
    }

    fn once_ended(&mut self, run: barrage_model::ids::RunId, end: OnceEnd) -> Option<Input> {
        if self.machine.run() != Some(run) {
            return None;
        }
        self.unsent.extend(end.parts);
        // What a successful setup has counted travels with the first interval; after all else nothing follows.
        if end.teardown || end.result.is_err() {
            let now = self.clock.now();
            let seconds = self.start.map_or(0, |start| now.since(start).as_secs());
            let mut merged = Merged::new(u32::try_from(seconds).unwrap_or(u32::MAX));
            self.unsent.drain(..).for_each(|part| merged.add(part));
            let delta = merged.into_delta(0, end.teardown, barrage_model::delta::Health::default());
            self.handle(Input::Delta(Box::new(delta)));
        }
        Some(Input::OnceDone {
            teardown: end.teardown,
            result: end.result,
        })
    }

    fn handle(&mut self, input: Input) {
        self.machine.handle(self.clock.now(), input);
        while let Some(output) = self.machine.poll() {
            self.perform(output);
        }
        if self.machine.is_welcome() {
            self.welcomed_once = true;
            self.open_upload();
        }
    }

    fn perform(&mut self, output: Output) {
        match output {
            Output::Say(frame) => {
                let message = v1::FromWorker { frame: Some(frame) };
                if self.say.as_ref().is_some_and(|say| say.try_send(message).is_err()) {
                    // Stuck or gone; without its write end the stream ends, and a new one is opened.
                    self.say = None;
                }
            }
            Output::Upload(frame) => {
                if self
                    .upload
                    .as_ref()
                    .is_some_and(|frames| frames.try_send(*frame).is_err())
                {
                    self.upload = None;
                }
            }
            Output::Prepare(message) => self.prepare(*message),
            Output::Once { teardown, values } => self.do_once(teardown, &values),
            Output::CancelOnce => self.once.cancel(),
            Output::Start { at, values } => self.start(at, &values),
            Output::Epochs(epochs) => self.epochs(epochs),
            Output::Marks(marks) => match marks_in(marks) {
                Ok(marks) => {
                    self.marks = Some(marks.clone());
                    self.tell(&ShardInput::Marks(marks));
                }
                Err(error) => tracing::error!(error = %chain(&error), "the coordinator sent marks of no use"),
            },
            Output::Block(load, first, count) => self.blocks.put(load, first, count),
            Output::Shards(input) => self.tell(&input),
            Output::Forget => {
                (self.ready, self.threads, self.start, self.marks) = (None, None, None, None);
                self.blocks = Arc::default();
                self.unsent.clear();
                self.rows_ended_said = false;
            }
            Output::Exit(exit) => self.exit = Some(exit),
        }
    }

    fn tell(&mut self, input: &ShardInput) {
        if let Some(threads) = &mut self.threads {
            threads.tell(input);
        }
    }

    fn prepare(&mut self, message: v1::Prepare) {
        let run = barrage_model::ids::RunId(message.run);
        let Some(client) = self.client.clone() else { return };
        let (own, clock, events) = (self.own.clone(), self.clock, self.events.clone());
        self.once = CancellationToken::new();
        self.tasks.spawn(async move {
            let result = Box::new(prepare::prepare(message, client, own, clock).await);
            // Nobody listens any more when the worker ends.
            let _gone = events.send(Event::Prepared(run, result)).await;
        });
    }

    fn do_once(&mut self, teardown: bool, values: &[(String, String)]) {
        let Some(ready) = &self.ready else {
            let result = Err("the run has not been prepared".to_owned());
            return self
                .machine
                .handle(self.clock.now(), Input::OnceDone { teardown, result });
        };
        if self.once.is_cancelled() {
            self.once = CancellationToken::new();
        }
        let (run, events) = (ready.run, self.events.clone());
        let recorder = program::OnceRecorder {
            shape: crate::recorder::Shape::of(&ready.layout.plan),
            start: self.start,
            segment: self
                .marks
                .as_ref()
                .zip(self.start)
                .map_or_else(Default::default, |(marks, start)| {
                    marks.segment_at(barrage_model::time::Moment::ZERO + self.clock.now().since(start))
                }),
            trace: ready.layout.trace.clone(),
        };
        let once = ready
            .program
            .once(teardown, values, recorder, self.clock, self.once.clone());
        self.tasks.spawn(async move {
            let end = once.await;
            let _gone = events.send(Event::Once(run, end)).await;
        });
    }

    fn start(&mut self, at: Stamp, values: &[(String, String)]) {
        let Some(ready) = &self.ready else { return };
        self.start = Some(at);
        let make = ready.program.runner(values);
        let shared = (&self.blocks, ready.program.resolver());
        match Threads::start(&ready.layout, at, self.clock, shared, make) {
            Ok(mut threads) => {
                threads.add(std::mem::take(&mut self.unsent));
                self.threads = Some(threads);
            }
            Err(error) => self.machine.handle(
                self.clock.now(),
                Input::Failed {
                    reason: chain(&error),
                    over: true,
                },
            ),
        }
    }

    fn epochs(&mut self, epochs: Vec<v1::Epoch>) {
        for epoch in epochs {
            match epoch_in(epoch) {
                Ok((load, epoch)) => {
                    let epoch = Arc::new(epoch);
                    self.tell(&ShardInput::Epoch(load, Arc::clone(&epoch)));
                    if let Some(ready) = self.ready.as_mut().filter(|_| self.threads.is_none()) {
                        ready.layout.epochs.push((load, epoch));
                    }
                }
                Err(error) => tracing::error!(error = %chain(&error), "the coordinator sent an epoch of no use"),
            }
        }
    }

    /// Closes the streams and gives what has been said a moment to leave.
    async fn flush(mut self, inbox: &mut mpsc::Receiver<Event>) {
        self.closing.cancel();
        (self.say, self.upload, self.threads, self.client) = (None, None, None, None);
        let ended = async {
            let mut open = 1 + usize::from(self.uploading);
            while open > 0 {
                match inbox.recv().await {
                    Some(Event::Link(event)) if matches!(*event, LinkEvent::Down(_) | LinkEvent::UploadDown) => {
                        open -= 1;
                    }
                    Some(_) => {}
                    None => return,
                }
            }
        };
        // A coordinator that keeps its end open does not keep the worker.
        let _in_time = tokio::time::timeout(FLUSH, ended).await;
        self.tasks.abort_all();
    }
}
