//! What a worker says to the coordinator and does at its word, without clock, entropy or I/O.
//!
//! One run at a time. Every command may come twice, after a broken stream: the second time it only has the answer said
//! again. Clock probes are not seen here; the process answers them at once, for their instants matter.

mod commands;
mod held;
#[cfg(test)]
mod tests;
mod words;

use std::collections::VecDeque;
use std::time::Duration;

use barrage_model::ids::RunId;
use barrage_model::time::Moment;
use barrage_proto::v1::{self, from_worker::Frame as Say};

use crate::clock::Stamp;
use crate::shard::machine::Input as ShardInput;

pub(crate) use words::{Exit, Input, Output, Prepared};

use commands::done;
use held::{Held, OnceState, Stage};

/// A run whose coordinator has been gone for this long after the end of the grant is stopped here.
pub(crate) const ORPHAN_STOP: Duration = Duration::from_mins(2);
/// A run that has halted is forgotten when its coordinator has been gone for this long, and its counts with it.
pub(crate) const ORPHAN_FORGET: Duration = Duration::from_mins(15);
/// A worker that was told to leave gives its counts this long to arrive, beyond the plan's graceful stop.
pub(crate) const LEAVE_SLACK: Duration = Duration::from_secs(10);

/// The control stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Link {
    Down,
    /// There, but the coordinator has not welcomed this worker on it.
    Up,
    Welcome,
}

/// The control side of a worker. See the module's words.
#[derive(Debug)]
pub(crate) struct Machine {
    hello: v1::Hello,
    /// End after one run.
    once: bool,
    now: Stamp,
    link: Link,
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
            link: Link::Down,
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
                (self.link, self.next_beat) = (Link::Down, Stamp::FAR);
                self.away_since.get_or_insert(now);
            }
            Input::Told(told) => self.told(*told),
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
            Input::DataEnded(text) => {
                if let Some(held) = &mut self.held {
                    held.data_ended = Some(text);
                }
                self.say_data_ended();
            }
            Input::Leave => self.leave(),
            Input::Tick => {}
        }
        self.beat();
        self.orphan();
        self.upload();
        self.say_coarse();
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
        self.link == Link::Welcome
    }

    /// The run that is held.
    pub(crate) fn run(&self) -> Option<RunId> {
        self.held.as_ref().map(|held| held.run)
    }

    fn say(&mut self, frame: Say) {
        if self.link != Link::Down {
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
        (self.link, self.away_since) = (Link::Up, None);
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

    fn failed(&mut self, reason: String, over: bool) {
        tracing::error!(reason, "the run cannot go on on this worker");
        self.event("worker-failed", reason.clone());
        self.stop(ShardInput::StopNow(Moment::MAX), reason);
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
                if held.start.is_some() {
                    tracing::error!(reason, "the coordinator has refused what this worker counted");
                } else {
                    // A run that ended in its setup; whoever follows it has been told.
                    tracing::debug!(reason, "what setup counted came too late");
                }
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
        if self.is_welcome() && self.now >= self.next_beat {
            self.next_beat = self.now + self.heartbeat;
            self.beats += 1;
            let number = self.beats;
            self.say(Say::Heartbeat(v1::Heartbeat { number }));
        }
    }

    /// A run whose coordinator does not come back is stopped, and later forgotten.
    fn orphan(&mut self) {
        let Some(away) = self.away_since.filter(|_| self.link == Link::Down) else {
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
            self.abandon("its coordinator was gone for too long");
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
                delta: barrage_proto::convert::delta_out(delta),
            })));
        }
    }

    /// Flags that intervals were merged while nobody took them.
    fn say_coarse(&mut self) {
        let Some(held) = self.held.as_mut().filter(|_| self.link == Link::Welcome) else {
            return;
        };
        let joined = held.outbox.coalesced();
        if joined > std::mem::replace(&mut held.coarse_said, joined) {
            let text = format!("{joined} intervals were merged with a neighbour while the coordinator took none");
            self.event("coarse-intervals", text);
        }
    }

    /// Asks for the stop of the run; again on each new connection, for the first time may have been lost with the old.
    pub(super) fn say_data_ended(&mut self) {
        let text = self
            .held
            .as_ref()
            .filter(|held| !held.stopped)
            .and_then(|held| held.data_ended.clone());
        if let Some(text) = text.filter(|_| self.is_welcome()) {
            self.event("data-ended", text);
        }
    }

    fn say_once_done(&mut self) {
        let Some(held) = self
            .held
            .as_mut()
            .filter(|held| self.link == Link::Welcome && held.outbox.all_sent())
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
        let Some(held) = self.held.as_mut().filter(|_| self.link == Link::Welcome) else {
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
        self.abandon("the worker was told to leave");
        self.outputs.push_back(Output::CancelOnce);
    }

    /// Leaves a run that goes on without this worker, which counts as lost for it: what it has not begun is for the
    /// coordinator to account for. After a stop of the whole run there is nothing to leave.
    fn abandon(&mut self, reason: &str) {
        let stopped = self.held.as_ref().is_some_and(|held| held.stopped);
        let reason = if stopped { "" } else { reason };
        self.stop(ShardInput::StandDown, reason.to_owned());
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
