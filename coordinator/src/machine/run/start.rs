//! From the first command to the common start.

use std::sync::Arc;
use std::time::Duration;

use barrage_metrics::StopCause;
use barrage_model::ids::WorkerId;
use barrage_model::time::Moment;

use super::effects::Effect;
use super::{
    Book, Command, LINGER, ONCE_LIMIT, Outcome, Output, RENEWAL, Record, Rows, Run, SETTLE_LIMIT, START_AHEAD, State,
    Value,
};
use crate::machine::offset::Offset;

impl<B: Book> Run<B> {
    pub(super) fn prepared(&mut self, now: Moment, worker: WorkerId, result: Result<Rows, String>) {
        let preparing = matches!(self.state, State::Preparing { .. });
        let Some(seat) = self.seats.get_mut(worker.0 as usize).filter(|_| preparing) else {
            return;
        };
        match result {
            Ok(rows) => self.blocks.limit(&rows),
            Err(error) => {
                let reason = format!("worker {} could not prepare: {error}", seat.name);
                return self.fail(now, reason);
            }
        }
        seat.prepared = true;
        if self.seats.iter().all(|seat| seat.prepared) {
            self.all_prepared(now);
        }
    }

    fn all_prepared(&mut self, now: Moment) {
        if self.spec.plan.setup.is_empty() {
            return self.set_start(now);
        }
        let Some(worker) = self.ids().find(|worker| self.seats[worker.0 as usize].present) else {
            // Whoever comes back first does it; until then the limit of preparing runs on.
            return;
        };
        self.setup_begun = Some(worker);
        self.state = State::SettingUp {
            worker,
            deadline: now + ONCE_LIMIT,
        };
        self.outputs.push_back(Output::Send(worker, Command::DoSetup));
    }

    pub(super) fn once_done(
        &mut self,
        now: Moment,
        worker: WorkerId,
        teardown: bool,
        result: Result<Vec<Value>, String>,
    ) {
        match self.state {
            State::SettingUp { worker: expected, .. } if expected == worker && !teardown => match result {
                Ok(values) => {
                    self.values = Arc::from(values);
                    self.set_start(now);
                }
                Err(error) => {
                    self.failed = Some(Outcome::CouldNotStart(format!("setup failed: {error}")));
                    self.tear_down(now);
                }
            },
            State::TearingDown { worker: expected, .. } if expected == worker && teardown => {
                if let Err(error) = result {
                    self.note(
                        now,
                        "teardown-failed",
                        Some(worker),
                        format!("teardown failed: {error}"),
                    );
                }
                self.state = State::Settling {
                    not_before: now + LINGER,
                    deadline: now + SETTLE_LIMIT,
                };
            }
            _ => {}
        }
    }

    fn set_start(&mut self, now: Moment) {
        let uncertain = self
            .seats
            .iter()
            .filter_map(|seat| seat.offset)
            .map(|offset| offset.uncertainty_us)
            .max();
        let trip = Duration::from_micros(uncertain.unwrap_or(0)).saturating_mul(4);
        let start = now + START_AHEAD.max(trip.saturating_add(START_AHEAD / 2));
        self.start = Some(start);
        self.state = State::Running;
        self.next_renewal = Some(now);
        self.next_evaluation = Some(start + RENEWAL);
        self.store(now, Record::Started(start), Effect::Nothing);
        let values = Arc::clone(&self.values);
        self.tell_all(|_| Command::Start(start, Arc::clone(&values)));
    }

    /// Ends a run that has not made a single arrival.
    pub(super) fn fail(&mut self, now: Moment, reason: String) {
        self.failed = Some(Outcome::CouldNotStart(reason));
        self.settle(now);
    }

    /// A control stream is there (again): what the worker may have missed is said again.
    pub(super) fn present(&mut self, now: Moment, worker: WorkerId, offset: Option<Offset>) {
        let (start, values) = (self.start, Arc::clone(&self.values));
        let goes_on = self.drains_at_the_end();
        let Some(seat) = self.seats.get_mut(worker.0 as usize) else {
            return;
        };
        let away = !std::mem::replace(&mut seat.present, true);
        seat.offset = offset.or(seat.offset);
        if !away {
            return;
        }
        self.blocks.repeat(worker);
        let mut say = |command| self.outputs.push_back(Output::Send(worker, command));
        if seat.is_lost() && !matches!(self.state, State::Finished) {
            say(Command::StandDown("this worker counted as lost".to_owned()));
            self.book.returned(worker);
            let text = format!("{} is back; what it has counted still counts", seat.name);
            return self.note(now, "worker-back", Some(worker), text);
        }
        match self.state {
            State::Preparing { .. } if !seat.prepared => say(Command::Prepare),
            State::Preparing { .. } => {
                if self.seats.iter().all(|seat| seat.prepared) {
                    self.all_prepared(now);
                }
            }
            State::SettingUp { worker: busy, .. } if busy == worker => say(Command::DoSetup),
            State::Running => say(Command::Start(start.unwrap_or(now), values)),
            // It has not been told to stop: it starts what is due until its grants end with the plan.
            State::Draining { .. } if goes_on => say(Command::Start(start.unwrap_or(now), values)),
            State::Draining { how, .. } => {
                let stop = self.stop_command(now, how, "the run is draining");
                self.outputs.push_back(Output::Send(worker, stop));
            }
            State::TearingDown { worker: busy, .. } if busy == worker => say(Command::DoTeardown(values)),
            State::SettingUp { .. } | State::TearingDown { .. } | State::Settling { .. } => {}
            State::Finished => say(Command::Release),
        }
    }

    /// Before the start a stop ends the run; setup that has begun is torn down.
    pub(super) fn stop_before_start(&mut self, now: Moment, cause: StopCause, reason: String) {
        self.failed = Some(match cause {
            StopCause::WorkerLost => Outcome::CouldNotStart(reason),
            _ => Outcome::StoppedBeforeStart(cause, reason),
        });
        self.tear_down(now);
    }
}
