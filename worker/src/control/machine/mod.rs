//! What a worker says to the coordinator and does at its word, without clock, entropy or I/O.
//!
//! One run at a time. Every command may come twice, after a broken stream: the second time it only has the answer said
//! again. Clock probes are not seen here; the process answers them at once, for their instants matter.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use barrage_model::delta::Delta;
use barrage_model::ids::{LoadId, RunId};
use barrage_model::time::Moment;
use barrage_proto::v1::{self, from_worker::Frame as Say, to_worker::Frame as Told};

use crate::clock::Stamp;
use crate::control::outbox::Outbox;
use crate::shard::machine::Input as ShardInput;

/// A run whose coordinator has been gone for this long after the end of the grant is stopped here.
pub(crate) const ORPHAN_STOP: Duration = Duration::from_secs(120);
/// A run that has halted is forgotten when its coordinator has been gone for this long, and its counts with it.
pub(crate) const ORPHAN_FORGET: Duration = Duration::from_secs(900);
/// A worker that was told to leave gives its counts this long to arrive, beyond the plan's graceful stop.
pub(crate) const LEAVE_SLACK: Duration = Duration::from_secs(10);
/// Most marks of a run.
const MARKS_MAX: usize = barrage_model::phase::MARKS_MAX;

/// What happens to the control side.
#[derive(Debug)]
pub(crate) enum Input {
    /// The control stream is there.
    Up,
    /// The control stream has ended.
    Down,
    /// The coordinator says something.
    Told(Told),
    /// The upload stream is there.
    UploadUp,
    /// The upload stream has ended.
    UploadDown,
    /// An answer on the upload stream.
    Reply(v1::UploadReply),
    /// The run has been prepared, or could not be.
    Prepared(RunId, Result<Prepared, String>),
    /// Setup or teardown has ended.
    OnceDone {
        /// Teardown instead of setup.
        teardown: bool,
        /// What it extracted, or why it failed.
        result: Result<Vec<(String, String)>, String>,
    },
    /// An interval is closed; the number is not set yet.
    Delta(Box<Delta>),
    /// Something of ours has failed: the run cannot go on here.
    Failed {
        /// What.
        reason: String,
        /// No delta will come any more.
        over: bool,
    },
    /// A user of the plan has found its data used up, and the plan says that this stops the run.
    DataEnded(String),
    /// The worker is to leave: no new arrivals, drain, flush.
    Leave,
    /// Time has passed.
    Tick,
}

/// What the machine needs to know of a prepared run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Prepared {
    /// Iterations of each `iterations` load, whole fleet.
    pub counted: BTreeMap<LoadId, u64>,
    /// The plan's graceful stop.
    pub graceful_stop: Duration,
}

/// What the process has to do, in order.
#[derive(Debug)]
pub(crate) enum Output {
    /// Say something on the control stream.
    Say(Say),
    /// Send a delta.
    Upload(Box<v1::UploadFrame>),
    /// Fetch the files and compile the plan.
    Prepare(Box<v1::Prepare>),
    /// Go through setup, or through teardown with what setup extracted.
    Once {
        /// Teardown instead of setup.
        teardown: bool,
        /// What setup extracted.
        values: Vec<(String, String)>,
    },
    /// Cancel a setup or teardown that is under way.
    CancelOnce,
    /// Start the load threads; run time 0 is at this instant.
    Start {
        /// On this worker's clock.
        at: Stamp,
        /// What setup extracted.
        values: Vec<(String, String)>,
    },
    /// New epochs, as they came.
    Epochs(Vec<v1::Epoch>),
    /// All marks known so far.
    Marks(Vec<v1::Mark>),
    /// A block of indices.
    Block(LoadId, u64, u64),
    /// Tell every load thread.
    Shards(ShardInput),
    /// Forget the run; end what is left of its threads.
    Forget,
    /// End the worker.
    Exit(Exit),
}

/// Why the worker ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// It was told to leave, and has; or its one run is over.
    Done,
    /// The coordinator refused it.
    Refused(String),
}

/// What is asked for once per run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum OnceState {
    #[default]
    Idle,
    Busy,
    Done(Result<Vec<(String, String)>, String>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Stage {
    Preparing,
    Prepared,
    Running,
    /// The last delta is in the outbox.
    Ended,
}

/// The run that this worker holds.
#[derive(Debug)]
struct Held {
    run: RunId,
    worker: u32,
    stage: Stage,
    info: Prepared,
    outbox: Outbox,
    start: Option<Stamp>,
    marks: Vec<v1::Mark>,
    granted_until: Moment,
    handed: BTreeMap<LoadId, u64>,
    setup: OnceState,
    teardown: OnceState,
    /// A teardown that waits for a cancelled setup.
    teardown_next: Option<Vec<(String, String)>>,
    /// Ends of setup (`false`) and teardown that are said when everything counted has been sent.
    unsaid: Vec<bool>,
    /// Why it stopped, when nobody told it to.
    reason: String,
    stopped: bool,
    halted_said: bool,
}

/// The control side of a worker. See the module's words.
#[derive(Debug)]
pub(crate) struct Machine {
    hello: v1::Hello,
    /// End after one run.
    once: bool,
    now: Stamp,
    up: bool,
    welcomed: bool,
    upload_up: bool,
    heartbeat: Duration,
    next_beat: Stamp,
    beats: u64,
    away_since: Option<Stamp>,
    held: Option<Held>,
    leaving: Option<Stamp>,
    exited: bool,
    outputs: VecDeque<Output>,
}

impl Machine {
    /// A worker that has not connected yet and holds no run. `hello` is said on every connection.
    pub(crate) fn new(hello: v1::Hello, once: bool) -> Self {
        Self {
            hello,
            once,
            now: Stamp::default(),
            up: false,
            welcomed: false,
            upload_up: false,
            heartbeat: Duration::from_secs(1),
            next_beat: Stamp::FAR,
            beats: 0,
            away_since: None,
            held: None,
            leaving: None,
            exited: false,
            outputs: VecDeque::new(),
        }
    }

    /// Takes one input.
    pub(crate) fn handle(&mut self, now: Stamp, input: Input) {
        self.now = now;
        match input {
            Input::Up => self.connected(),
            Input::Down => {
                (self.up, self.welcomed, self.next_beat) = (false, false, Stamp::FAR);
                self.away_since.get_or_insert(now);
            }
            Input::Told(told) => self.told(told),
            Input::UploadUp => {
                self.upload_up = true;
                if let Some(held) = &mut self.held {
                    held.outbox.reconnected();
                }
            }
            Input::UploadDown => self.upload_up = false,
            Input::Reply(reply) => self.reply(reply),
            Input::Prepared(run, result) => self.prepared(run, result),
            Input::OnceDone { teardown, result } => self.once_done(teardown, result),
            Input::Delta(delta) => {
                if let Some(held) = &mut self.held {
                    if delta.last {
                        held.stage = Stage::Ended;
                    }
                    held.outbox.push(*delta);
                }
            }
            Input::Failed { reason, over } => self.failed(reason, over),
            Input::DataEnded(text) => self.event("data-ended", text),
            Input::Leave => self.leave(),
            Input::Tick => {}
        }
        self.beat();
        self.orphan();
        self.upload();
        self.say_once_done();
        self.say_halted();
        self.leave_when_done();
    }

    /// The next thing to do.
    pub(crate) fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When the next [`Input::Tick`] is due at the latest.
    pub(crate) fn deadline(&self) -> Stamp {
        let idle = self.now + Duration::from_secs(1);
        self.next_beat.min(self.leaving.unwrap_or(Stamp::FAR)).min(idle)
    }

    /// Whether the coordinator has welcomed this worker on the present connection.
    pub(crate) fn is_welcome(&self) -> bool {
        self.welcomed
    }

    /// The run that is held.
    pub(crate) fn run(&self) -> Option<RunId> {
        self.held.as_ref().map(|held| held.run)
    }

    fn say(&mut self, frame: Say) {
        if self.up {
            self.outputs.push_back(Output::Say(frame));
        }
    }

    fn event(&mut self, kind: &str, text: String) {
        let Some(held) = &self.held else { return };
        let at_us = held.run_time(self.now).as_micros();
        self.say(Say::Event(v1::Event {
            run: held.run.0,
            at_us,
            kind: kind.to_owned(),
            text,
        }));
    }

    fn connected(&mut self) {
        (self.up, self.away_since) = (true, None);
        let held = self.held.as_ref().map(|held| v1::Held {
            run: held.run.0,
            worker: held.worker,
            next_seq: held.outbox.last_seq() + 1,
            run_time_us: held.run_time(self.now).as_micros(),
        });
        self.say(Say::Hello(v1::Hello {
            held,
            ..self.hello.clone()
        }));
    }

    fn told(&mut self, told: Told) {
        match told {
            Told::Welcome(welcome) => {
                self.welcomed = true;
                let every = Duration::from_millis(u64::from(welcome.heartbeat_ms));
                self.heartbeat = every.clamp(Duration::from_millis(100), Duration::from_secs(10));
                self.next_beat = self.now;
                if let Some(held) = &mut self.held {
                    held.halted_said = false;
                }
            }
            Told::Refused(refused) => self.exit(Exit::Refused(refused.reason)),
            Told::Prepare(prepare) => self.prepare(prepare),
            Told::DoSetup(setup) => self.with_run(setup.run, Self::do_setup),
            Told::DoTeardown(teardown) => {
                let values = fields(teardown.values);
                self.with_run(teardown.run, |machine| machine.do_teardown(values));
            }
            Told::Start(start) => self.with_run(start.run, |machine| machine.start(start)),
            Told::Grant(grant) => self.with_run(grant.run, |machine| machine.grant(grant)),
            Told::Stop(stop) => {
                let now = stop.how() == v1::stop::How::Now;
                self.with_run(stop.run, |machine| machine.stop(now, String::new()));
            }
            Told::Release(release) => {
                // A release for a run that is not known is a duplicate.
                if self.run() == Some(RunId(release.run)) {
                    self.forget();
                }
            }
            Told::Fault(order) => self.say(Say::Fault(v1::FaultReport {
                run: order.run,
                fault: order.fault,
                state: "refused".to_owned(),
                detail: "this worker injects no faults".to_owned(),
            })),
            // Answered by the process.
            Told::Clock(_) => {}
        }
    }

    fn with_run(&mut self, run: u64, act: impl FnOnce(&mut Self)) {
        if self.run() == Some(RunId(run)) {
            act(self);
        } else {
            tracing::debug!(run = %RunId(run), "a command for a run that this worker does not hold");
        }
    }

    fn prepare(&mut self, prepare: v1::Prepare) {
        let run = RunId(prepare.run);
        match &self.held {
            Some(held) if held.run == run => {
                let known = held.stage != Stage::Preparing;
                if known {
                    self.say(Say::Prepared(v1::Prepared {
                        run: run.0,
                        error: None,
                    }));
                }
            }
            Some(held) => {
                let error = Some(format!("this worker is busy with run {}", held.run));
                self.say(Say::Prepared(v1::Prepared { run: run.0, error }));
            }
            None if self.leaving.is_some() => {
                let error = Some("this worker is leaving".to_owned());
                self.say(Say::Prepared(v1::Prepared { run: run.0, error }));
            }
            None => {
                self.held = Some(Held::new(&prepare));
                self.outputs.push_back(Output::Prepare(Box::new(prepare)));
            }
        }
    }

    fn prepared(&mut self, run: RunId, result: Result<Prepared, String>) {
        let Some(held) = self
            .held
            .as_mut()
            .filter(|held| held.run == run && held.stage == Stage::Preparing)
        else {
            return;
        };
        match result {
            Ok(info) => {
                (held.stage, held.info) = (Stage::Prepared, info);
                self.say(Say::Prepared(v1::Prepared {
                    run: run.0,
                    error: None,
                }));
            }
            Err(error) => {
                self.say(Say::Prepared(v1::Prepared {
                    run: run.0,
                    error: Some(error),
                }));
                self.forget();
            }
        }
    }

    fn do_setup(&mut self) {
        let Some(held) = &mut self.held else { return };
        match &held.setup {
            OnceState::Idle if held.stage == Stage::Prepared => {
                held.setup = OnceState::Busy;
                self.outputs.push_back(Output::Once {
                    teardown: false,
                    values: Vec::new(),
                });
            }
            OnceState::Idle | OnceState::Busy => {}
            OnceState::Done(result) => {
                let said = done(held.run, false, result.clone());
                self.say(said);
            }
        }
    }

    fn do_teardown(&mut self, values: Vec<(String, String)>) {
        let Some(held) = &mut self.held else { return };
        match &held.teardown {
            OnceState::Idle if held.setup == OnceState::Busy => {
                held.teardown_next = Some(values);
                self.outputs.push_back(Output::CancelOnce);
            }
            OnceState::Idle => {
                held.teardown = OnceState::Busy;
                self.outputs.push_back(Output::Once { teardown: true, values });
            }
            OnceState::Busy => {}
            OnceState::Done(result) => {
                let said = done(held.run, true, result.clone());
                self.say(said);
            }
        }
    }

    fn once_done(&mut self, teardown: bool, result: Result<Vec<(String, String)>, String>) {
        let Some(held) = &mut self.held else { return };
        let state = if teardown { &mut held.teardown } else { &mut held.setup };
        *state = OnceState::Done(result);
        held.unsaid.push(teardown);
        if let Some(values) = held.teardown_next.take() {
            self.do_teardown(values);
        }
    }

    fn start(&mut self, start: v1::Start) {
        let Some(held) = self.held.as_mut().filter(|held| held.stage == Stage::Prepared) else {
            return;
        };
        let coordinator_us = i128::from(start.coordinator_start_us);
        let own = u64::try_from(coordinator_us - i128::from(start.offset_us)).unwrap_or(0);
        let at = Stamp::from_us(own);
        (held.start, held.stage) = (Some(at), Stage::Running);
        self.outputs.push_back(Output::Start {
            at,
            values: fields(start.values),
        });
        let (until, marks) = (held.granted_until, held.marks.clone());
        self.outputs.push_back(Output::Marks(marks));
        if until > Moment::ZERO {
            self.outputs.push_back(Output::Shards(ShardInput::Grant(until)));
        }
    }

    fn grant(&mut self, grant: v1::Grant) {
        let Some(held) = self.held.as_mut().filter(|held| held.stage != Stage::Ended) else {
            return;
        };
        if !grant.epochs.is_empty() {
            self.outputs.push_back(Output::Epochs(grant.epochs));
        }
        if !grant.marks.is_empty() {
            held.add_marks(grant.marks);
            if held.stage == Stage::Running {
                self.outputs.push_back(Output::Marks(held.marks.clone()));
            }
        }
        for block in grant.blocks {
            let Ok(load) = u16::try_from(block.load).map(LoadId) else {
                continue;
            };
            let handed = held.handed.entry(load).or_default();
            *handed = handed.saturating_add(block.count);
            let all = held.info.counted.get(&load).is_some_and(|count| *handed >= *count);
            self.outputs.push_back(Output::Block(load, block.first, block.count));
            if held.stage == Stage::Running {
                self.outputs.push_back(Output::Shards(ShardInput::Refilled(load)));
                if all {
                    self.outputs.push_back(Output::Shards(ShardInput::Exhausted(load)));
                }
            }
        }
        let until = Moment::from_micros(grant.until_us);
        held.granted_until = held.granted_until.max(until);
        if held.stage == Stage::Running {
            self.outputs.push_back(Output::Shards(ShardInput::Grant(until)));
        }
    }

    fn stop(&mut self, at_once: bool, reason: String) {
        let Some(held) = &mut self.held else { return };
        held.stopped = true;
        if held.reason.is_empty() {
            held.reason = reason;
        }
        match held.stage {
            Stage::Running => {
                let stop = if at_once { ShardInput::StopNow } else { ShardInput::Stop };
                self.outputs.push_back(Output::Shards(stop));
            }
            // Nothing was started, and nothing will be.
            Stage::Preparing | Stage::Prepared => held.stage = Stage::Ended,
            Stage::Ended => {}
        }
    }

    fn failed(&mut self, reason: String, over: bool) {
        tracing::error!(reason, "the run cannot go on on this worker");
        self.event("worker-failed", reason.clone());
        self.stop(true, reason);
        if let Some(held) = self.held.as_mut().filter(|_| over) {
            held.stage = Stage::Ended;
        }
    }

    fn reply(&mut self, reply: v1::UploadReply) {
        let Some(held) = self.held.as_mut().filter(|held| held.run.0 == reply.run) else {
            return;
        };
        match reply.kind {
            Some(v1::upload_reply::Kind::Committed(seq)) => held.outbox.committed(seq),
            Some(v1::upload_reply::Kind::ResendFrom(seq)) => held.outbox.resend_from(seq),
            Some(v1::upload_reply::Kind::Refused(reason)) => {
                tracing::error!(reason, "the coordinator has refused what this worker counted");
                self.forget();
            }
            None => {}
        }
    }

    fn forget(&mut self) {
        if self.held.take().is_some() {
            self.outputs.push_back(Output::CancelOnce);
            self.outputs.push_back(Output::Forget);
        }
        if self.once {
            self.exit(Exit::Done);
        }
    }

    fn beat(&mut self) {
        if self.welcomed && self.now >= self.next_beat {
            self.next_beat = self.now + self.heartbeat;
            self.beats += 1;
            let number = self.beats;
            self.say(Say::Heartbeat(v1::Heartbeat { number }));
        }
    }

    /// A run whose coordinator does not come back is stopped, and later forgotten.
    fn orphan(&mut self) {
        let Some(away) = self.away_since.filter(|_| !self.up) else {
            return;
        };
        let Some(held) = &self.held else { return };
        let away = self.now.since(away);
        let no_grant = held
            .start
            .is_none_or(|start| self.now > start + held.granted_until.since(Moment::ZERO));
        if held.stage == Stage::Ended && away > ORPHAN_FORGET {
            tracing::error!(run = %held.run, "the coordinator did not come back: what was counted is lost");
            self.forget();
        } else if !held.stopped && no_grant && away > ORPHAN_STOP {
            self.stop(false, "its coordinator was gone for too long".to_owned());
        }
    }

    /// Sends what may be sent.
    fn upload(&mut self) {
        let Some(held) = self.held.as_mut().filter(|_| self.upload_up) else {
            return;
        };
        while let Some(delta) = held.outbox.next() {
            self.outputs.push_back(Output::Upload(Box::new(v1::UploadFrame {
                run: held.run.0,
                worker: held.worker,
                incarnation: self.hello.incarnation,
                delta: Some(delta.into()),
            })));
        }
    }

    fn say_once_done(&mut self) {
        let Some(held) = self
            .held
            .as_mut()
            .filter(|held| self.welcomed && held.outbox.all_sent())
        else {
            return;
        };
        for teardown in std::mem::take(&mut held.unsaid) {
            let state = if teardown { &held.teardown } else { &held.setup };
            if let OnceState::Done(result) = state {
                let said = done(held.run, teardown, result.clone());
                self.outputs.push_back(Output::Say(said));
            }
        }
    }

    /// Says that nothing more will come, once everything has been sent; again on each new connection.
    fn say_halted(&mut self) {
        let Some(held) = self.held.as_mut().filter(|_| self.welcomed) else {
            return;
        };
        if held.stage == Stage::Ended && held.outbox.all_sent() && !held.halted_said {
            held.halted_said = true;
            let (run, last_seq, reason) = (held.run.0, held.outbox.last_seq(), held.reason.clone());
            self.say(Say::Halted(v1::Halted { run, last_seq, reason }));
        }
    }

    fn leave(&mut self) {
        if self.leaving.is_some() {
            return;
        }
        let graceful = self
            .held
            .as_ref()
            .map_or(Duration::ZERO, |held| held.info.graceful_stop);
        self.leaving = Some(self.now + graceful + LEAVE_SLACK);
        self.stop(false, "the worker was told to leave".to_owned());
        self.outputs.push_back(Output::CancelOnce);
    }

    fn leave_when_done(&mut self) {
        let Some(deadline) = self.leaving else { return };
        let safe = self
            .held
            .as_ref()
            .is_none_or(|held| held.stage == Stage::Ended && held.outbox.is_empty());
        if safe || self.now >= deadline {
            self.exit(Exit::Done);
        }
    }

    fn exit(&mut self, exit: Exit) {
        if !self.exited {
            self.exited = true;
            self.outputs.push_back(Output::Exit(exit));
        }
    }
}

impl Held {
    fn new(prepare: &v1::Prepare) -> Self {
        Self {
            run: RunId(prepare.run),
            worker: prepare.worker,
            stage: Stage::Preparing,
            info: Prepared::default(),
            outbox: Outbox::default(),
            start: None,
            marks: prepare.marks.clone(),
            granted_until: Moment::ZERO,
            handed: BTreeMap::new(),
            setup: OnceState::Idle,
            teardown: OnceState::Idle,
            teardown_next: None,
            unsaid: Vec::new(),
            reason: String::new(),
            stopped: false,
            halted_said: false,
        }
    }

    fn run_time(&self, now: Stamp) -> Moment {
        self.start.map_or(Moment::ZERO, |start| Moment::ZERO + now.since(start))
    }

    /// A mark replaces the one with its number and all that came after it.
    fn add_marks(&mut self, marks: Vec<v1::Mark>) {
        for mark in marks {
            let place = mark.segment as usize;
            if place <= self.marks.len() && place < MARKS_MAX {
                self.marks.truncate(place);
                self.marks.push(mark);
            }
        }
    }
}

fn fields(fields: Vec<v1::Field>) -> Vec<(String, String)> {
    fields.into_iter().map(|field| (field.name, field.value)).collect()
}

fn done(run: RunId, teardown: bool, result: Result<Vec<(String, String)>, String>) -> Say {
    let (error, values) = match result {
        Ok(values) => (None, values),
        Err(error) => (Some(error), Vec::new()),
    };
    let values = values
        .into_iter()
        .map(|(name, value)| v1::Field { name, value })
        .collect();
    Say::SetupDone(v1::SetupDone {
        run: run.0,
        teardown,
        error,
        values,
    })
}

#[cfg(test)]
mod tests;
