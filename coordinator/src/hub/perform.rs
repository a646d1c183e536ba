//! Events into the machines, and what the machines want out into the world.

use barrage_model::ids::{Incarnation, RunId, WorkerId};
use barrage_model::time::Moment;
use barrage_proto::v1::{self, to_worker::Frame};
use tokio::sync::mpsc;

use super::event::{Event, Said};
use super::{Hub, Stage, wire};
use crate::clock;
use crate::machine::fleet::{self, ConnectionId};
use crate::machine::run::{Answer, Command, Input, Output, Record};
use crate::store::Op;

impl Hub {
    pub(super) fn handle(&mut self, event: Event) {
        match event {
            Event::Hello(connection, hello, frames) => {
                self.connections.insert(connection, frames);
                self.fleet.handle(clock::now(), fleet::Input::Hello(connection, hello));
            }
            Event::Said(connection, at, said) => self.said(connection, at, said),
            Event::Gone(connection) => {
                self.connections.remove(&connection);
                let gone = self.fleet.at(connection);
                self.fleet.handle(clock::now(), fleet::Input::Gone(connection));
                if let Some((run, worker)) = gone.and_then(|incarnation| self.seat_of(incarnation)) {
                    self.tell(run, Input::Away(worker));
                }
            }
            Event::Upload {
                run,
                worker,
                incarnation,
                delta,
                answers,
            } => {
                self.upload(run, worker, incarnation, delta, answers);
            }
            Event::Stored(news) => {
                for news in news {
                    if self.runs.get(&news.run).is_some_and(|active| !active.has_hole) {
                        self.tell(news.run, Input::Stored(news.ticket));
                    }
                }
            }
            Event::Submit(submission, answer) => self.submit(submission, answer),
            Event::Watch(run, answer) => drop(answer.send(self.watch(run))),
            Event::Stop(order, answer) => {
                let all: Vec<RunId> = self.runs.keys().copied().collect();
                let chosen: Vec<RunId> = all
                    .into_iter()
                    .filter(|run| order.run.is_none_or(|wanted| wanted == *run))
                    .collect();
                for run in &chosen {
                    self.stop_run(*run, order.how, order.cause, &order.reason);
                }
                drop(answer.send(chosen));
            }
            Event::Live(run, answer) => drop(answer.send(self.live(run))),
            Event::Health(answer) => drop(answer.send(self.health())),
            Event::Active(run, answer) => drop(answer.send(self.runs.contains_key(&run))),
        }
        self.perform_fleet();
    }

    fn said(&mut self, connection: ConnectionId, at: Moment, said: Said) {
        let now = clock::now();
        let Some(incarnation) = self.fleet.at(connection) else {
            return;
        };
        let run = match said {
            Said::Heartbeat => return self.fleet.handle(now, fleet::Input::Heartbeat(connection)),
            Said::Clock {
                number,
                received_us,
                replied_us,
            } => {
                return self.fleet.handle(
                    at,
                    fleet::Input::Clock {
                        connection,
                        number,
                        received_us,
                        replied_us,
                    },
                );
            }
            Said::Prepared(run, _) | Said::OnceDone { run, .. } | Said::Halted { run, .. } | Said::Told { run, .. } => {
                run
            }
        };
        let Some((held, worker)) = self.seat_of(incarnation) else {
            return;
        };
        if held != run {
            return tracing::debug!(%run, "a worker speaks of a run that is not its own");
        }
        // The start needs the newest estimate of its clock.
        let offset = self.fleet.worker(incarnation).and_then(|worker| worker.offset(now));
        self.tell(run, Input::Present(worker, offset));
        if let Some(input) = input(worker, said) {
            self.tell(run, input);
        }
    }

    /// The run and the number in it of a worker's process.
    fn seat_of(&self, incarnation: Incarnation) -> Option<(RunId, WorkerId)> {
        let run = self.fleet.worker(incarnation)?.run?;
        match &self.runs.get(&run)?.stage {
            Stage::Going(machine) => Some((run, machine.worker(incarnation)?)),
            _ => None,
        }
    }

    fn upload(
        &mut self,
        run: RunId,
        worker: WorkerId,
        incarnation: Incarnation,
        delta: Result<Box<barrage_model::delta::Delta>, String>,
        answers: mpsc::Sender<v1::UploadReply>,
    ) {
        let known = match self.runs.get(&run).map(|active| &active.stage) {
            Some(Stage::Going(machine)) => machine.is_seat(worker, incarnation),
            _ => false,
        };
        if !known {
            let refusal = wire::answer(run, Answer::Refused("this worker has no part in the run".to_owned()));
            // A full queue is a broken connection; the worker asks again on the next one.
            return drop(answers.try_send(refusal));
        }
        self.uploads.insert((run, worker), answers);
        let input = match delta {
            Ok(delta) => Input::Delta(worker, delta),
            Err(reason) => Input::BadDelta(worker, reason),
        };
        self.tell(run, input);
    }

    pub(super) fn perform_fleet(&mut self) {
        while let Some(output) = self.fleet.poll() {
            let now = clock::now();
            match output {
                fleet::Output::Welcome(connection) => self.send(connection, wire::welcome()),
                fleet::Output::Refuse(connection, reason) => {
                    tracing::warn!(reason, "worker refused");
                    self.send(connection, Frame::Refused(v1::Refused { reason }));
                    self.connections.remove(&connection);
                }
                fleet::Output::Probe(connection, number) => {
                    let probe = v1::ClockProbe {
                        number,
                        coordinator_sent_us: now.as_micros(),
                    };
                    self.send(connection, Frame::Clock(probe));
                }
                fleet::Output::Close(connection) => drop(self.connections.remove(&connection)),
                fleet::Output::Present(incarnation) => {
                    let worker = self.fleet.worker(incarnation);
                    let offset = worker.and_then(|worker| worker.offset(now));
                    if let Some(worker) = worker {
                        tracing::info!(worker = worker.name, "worker joined");
                    }
                    if let Some((run, worker)) = self.seat_of(incarnation) {
                        // Whatever was sent on the stream before may not have arrived.
                        self.tell(run, Input::Away(worker));
                        self.tell(run, Input::Present(worker, offset));
                    }
                }
                fleet::Output::Lost(incarnation, reason) => {
                    tracing::warn!(%incarnation, reason, "worker lost");
                    if let Some((run, worker)) = self.seat_of(incarnation) {
                        self.tell(run, Input::Lost(worker, reason));
                    }
                }
                fleet::Output::Stray(connection, run) => {
                    let stop = v1::Stop {
                        run: run.0,
                        how: v1::stop::How::Now.into(),
                        reason: "the run is over".to_owned(),
                        at_us: None,
                    };
                    self.send(connection, Frame::Stop(stop));
                    self.send(connection, Frame::Release(v1::Release { run: run.0 }));
                }
            }
        }
    }

    fn send(&mut self, connection: ConnectionId, frame: Frame) {
        let Some(frames) = self.connections.get(&connection) else {
            return;
        };
        if frames.try_send(v1::ToWorker { frame: Some(frame) }).is_err() {
            // Ended, or so far behind that it might as well be; the worker comes back on a new one.
            self.connections.remove(&connection);
        }
    }

    pub(super) fn perform_run(&mut self, run: RunId) {
        while let Some(Stage::Going(machine)) = self.runs.get_mut(&run).map(|active| &mut active.stage) {
            let Some(output) = machine.poll() else { return };
            match output {
                Output::Send(worker, command) => self.command(run, worker, command),
                Output::Reply(worker, answer) => {
                    if let Some(answers) = self.uploads.get(&(run, worker)) {
                        // A full queue is a broken connection; what is not acknowledged comes again.
                        drop(answers.try_send(wire::answer(run, answer)));
                    }
                }
                Output::Store(ticket, record) => self.record(run, ticket, record),
                Output::Quarantine(worker, reason) => {
                    let incarnation = machine.seats().get(worker.0 as usize).map(|seat| seat.incarnation);
                    if let Some(incarnation) = incarnation {
                        let reason = format!("it broke the protocol: {reason}");
                        self.fleet
                            .handle(clock::now(), fleet::Input::Quarantine(incarnation, reason));
                    }
                }
                Output::Finished(outcome) => self.finish(run, outcome),
            }
        }
    }

    fn record(&mut self, run: RunId, ticket: u64, record: Record) {
        if let Record::Started(start) = record
            && let Some(active) = self.runs.get_mut(&run)
        {
            active.started_at = clock::wall(start);
            let wall = active.started_at.clone();
            self.keep_of(run, Op::Started(run, wall));
        }
        self.keep_of(run, Op::Record(run, ticket, record));
    }

    fn command(&mut self, run: RunId, worker: WorkerId, command: Command) {
        let Some(active) = self.runs.get(&run) else { return };
        let Stage::Going(machine) = &active.stage else { return };
        let Some(seat) = machine.seats().get(worker.0 as usize) else {
            return;
        };
        let found = self.fleet.worker(seat.incarnation);
        let Some(connection) = found.and_then(fleet::Worker::connection) else {
            return;
        };
        let offset = found.and_then(|worker| worker.offset(clock::now()));
        let frame = match command {
            Command::Prepare => wire::prepare(&active.submission, machine.spec(), worker),
            command => wire::command(run, command, offset),
        };
        self.send(connection, frame);
    }
}

fn input(worker: WorkerId, said: Said) -> Option<Input> {
    Some(match said {
        Said::Heartbeat | Said::Clock { .. } => return None,
        Said::Prepared(_, result) => Input::Prepared(worker, result),
        Said::OnceDone { teardown, result, .. } => Input::OnceDone {
            worker,
            teardown,
            result,
        },
        Said::Halted { last_seq, reason, .. } => Input::Halted {
            worker,
            last_seq,
            reason,
        },
        Said::Told { kind, text, .. } => Input::Told(worker, kind, text),
    })
}
