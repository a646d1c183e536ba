//! One run, from the moment its workers are its own to its end.
//!
//! ```text
//! preparing → setting up → running → draining → tearing down → finished
//! ```
//!
//! # What it expects of workers
//!
//! - Every command is about one run, and a command that comes twice has the effect of one: after a broken stream the
//!   command of the moment is sent again.
//! - A worker sends no load before `Start`, none without a grant, and none after `Stop`.
//! - Its deltas are numbered 1, 2, 3, …; the counts of setup and teardown travel in them like all others. `SetupDone`
//!   after a teardown is sent once the deltas with its counts are.

mod blocks;
mod effects;
mod going;
mod holes;
mod seat;
mod start;
mod words;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use barrage_model::ids::{Incarnation, ShardId, WorkerId};
use barrage_model::time::Moment;

pub use barrage_model::schedule::GRANT;
pub use blocks::Block;
use blocks::Blocks;
use effects::Effects;
pub use holes::{HeldShare, LoadHole, WorkerHoles, leftover};
pub use seat::{Life, Seat};
pub use words::{Answer, Book, Command, How, Input, Note, Outcome, Output, Record, Rows, Spec, Stopped, Value};

/// Grants are renewed this often.
pub const RENEWAL: Duration = Duration::from_secs(1);
/// A renewal that has waited this long for the store is sent without it.
pub const STORE_PATIENCE: Duration = Duration::from_secs(2);
/// Workers have this long to prepare: to fetch files, compile and warm up connections.
pub const PREPARE_LIMIT: Duration = Duration::from_mins(2);
/// Setup and teardown have this long each.
pub const ONCE_LIMIT: Duration = Duration::from_mins(10);
/// The start lies at least this far ahead.
pub const START_AHEAD: Duration = Duration::from_secs(1);
/// Workers have this long beyond the plan's `graceful_stop` to drain and flush; then they are told to cancel.
pub const DRAIN_SLACK: Duration = Duration::from_secs(10);
/// Workers that were told to cancel have this long; then they count as lost.
pub const CANCEL_LIMIT: Duration = Duration::from_secs(10);
/// After a teardown its counts may take this long to arrive: they travel on another stream than its end.
pub const LINGER: Duration = Duration::from_millis(500);
/// Events that a run keeps of what one worker tells.
pub const TOLD_MAX: u32 = 1_000;
/// The store has this long to take what is merged; then the run ends without it.
pub const SETTLE_LIMIT: Duration = Duration::from_secs(30);

#[derive(Clone, Debug, PartialEq)]
enum State {
    Preparing {
        deadline: Moment,
    },
    SettingUp {
        worker: WorkerId,
        deadline: Moment,
    },
    Running,
    Draining {
        deadline: Moment,
        how: How,
    },
    TearingDown {
        worker: WorkerId,
        deadline: Moment,
    },
    /// Everything is merged; the store has to catch up, and counts of a teardown may still be on their way.
    Settling {
        not_before: Moment,
        deadline: Moment,
    },
    Finished,
}

/// A run and everything it has been told.
#[derive(Debug)]
pub struct Run<B> {
    spec: Spec,
    seats: Vec<Seat>,
    state: State,
    book: B,
    blocks: Blocks,
    effects: Effects,
    outputs: VecDeque<Output>,
    /// Coordinator clock.
    start: Option<Moment>,
    values: Arc<[Value]>,
    setup_begun: Option<WorkerId>,
    next_renewal: Option<Moment>,
    renewals: u64,
    next_evaluation: Option<Moment>,
    stopped: Option<Stopped>,
    failed: Option<Outcome>,
    ticked: Moment,
    /// Whether a worker has ever counted as lost.
    any_lost: bool,
}

impl<B: Book> Run<B> {
    /// Begins: every worker is told to prepare.
    pub fn new(now: Moment, spec: Spec, book: B) -> Self {
        let places = spec.members.iter().zip(&spec.compiled.shards);
        let seats: Vec<Seat> = places
            .map(|((incarnation, name), place)| Seat::new(*incarnation, name, *place))
            .collect();
        let blocks = Blocks::new(&spec.plan, &spec.compiled);
        let state = State::Preparing {
            deadline: now + PREPARE_LIMIT,
        };
        let mut run = Self {
            spec,
            seats,
            state,
            book,
            blocks,
            effects: Effects::default(),
            outputs: VecDeque::new(),
            start: None,
            values: Arc::from([]),
            setup_begun: None,
            next_renewal: None,
            renewals: 0,
            next_evaluation: None,
            stopped: None,
            failed: None,
            ticked: now,
            any_lost: false,
        };
        run.tell_all(|_| Command::Prepare);
        run
    }

    /// Takes one input.
    pub fn handle(&mut self, now: Moment, input: Input) {
        match input {
            Input::Prepared(worker, result) => self.prepared(now, worker, result),
            Input::OnceDone {
                worker,
                teardown,
                result,
            } => self.once_done(now, worker, teardown, result),
            Input::Delta(worker, delta) => self.delta(now, worker, *delta),
            Input::BadDelta(worker, reason) => self.refuse(worker, &reason),
            Input::Stored(ticket) => self.stored(ticket),
            Input::Halted {
                worker,
                last_seq,
                reason,
            } => self.halted(now, worker, last_seq, &reason),
            Input::Present(worker, offset) => self.present(now, worker, offset),
            Input::Away(worker) => {
                if let Some(seat) = self.seat(worker) {
                    seat.present = false;
                }
            }
            Input::Lost(worker, reason) => self.lost(now, worker, reason),
            Input::Stop(how, cause, reason) => self.stop(now, how, cause, reason),
            Input::Told(worker, kind, text) => self.told(now, worker, &kind, text),
            Input::Warning(text) => self.note(now, "warning", None, text),
            Input::Tick => {}
        }
        self.tick(now);
    }

    /// The next thing to be done.
    pub fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When the next [`Input::Tick`] is due at the latest.
    pub fn deadline(&self) -> Option<Moment> {
        let limit = match self.state {
            State::Preparing { deadline }
            | State::SettingUp { deadline, .. }
            | State::Draining { deadline, .. }
            | State::TearingDown { deadline, .. } => Some(deadline),
            State::Settling { not_before, deadline } if not_before <= self.ticked => Some(deadline),
            State::Settling { not_before, .. } => Some(not_before),
            State::Running => self
                .start
                .map(|start| start + self.spec.compiled.end.since(Moment::ZERO)),
            State::Finished => return None,
        };
        let lost = self.seats.iter().filter(|_| self.any_lost);
        let lost = lost.filter_map(Seat::released_at).filter(|at| *at > self.ticked).min();
        let all = [
            limit,
            self.next_renewal,
            self.next_evaluation,
            self.effects.deadline(),
            lost,
        ];
        // What lies before the last tick has been seen to, or does not matter in this state.
        all.into_iter()
            .flatten()
            .filter(|deadline| *deadline > self.ticked)
            .min()
    }

    /// Checks what must always hold.
    ///
    /// # Errors
    /// Says what does not.
    pub fn check(&self) -> Result<(), String> {
        for (number, seat) in self.seats.iter().enumerate() {
            if seat.committed > seat.applied {
                return Err(format!(
                    "worker {number}: acknowledged {} of {} deltas",
                    seat.committed, seat.applied
                ));
            }
            let open = matches!(self.state, State::Running | State::Draining { .. });
            if seat.granted > Moment::ZERO && self.start.is_none() {
                return Err(format!("worker {number} has a grant before the start"));
            }
            if seat.prepared && !open && self.start.is_none() && seat.applied > 0 && self.setup_begun.is_none() {
                return Err(format!("worker {number} counted something before the start"));
            }
        }
        self.blocks.check()
    }

    /// What the run is made of.
    pub fn spec(&self) -> &Spec {
        &self.spec
    }

    /// The workers.
    pub fn seats(&self) -> &[Seat] {
        &self.seats
    }

    /// The merged numbers.
    pub fn book(&self) -> &B {
        &self.book
    }

    /// The merged numbers.
    pub fn book_mut(&mut self) -> &mut B {
        &mut self.book
    }

    /// The number of the worker that this process has in the run.
    pub fn worker(&self, incarnation: Incarnation) -> Option<WorkerId> {
        let place = self.seats.iter().position(|seat| seat.incarnation == incarnation)?;
        Some(WorkerId(place as u32))
    }

    /// Whether this is the process of a worker's number.
    pub fn is_seat(&self, worker: WorkerId, incarnation: Incarnation) -> bool {
        let seat = self.seats.get(worker.0 as usize);
        seat.is_some_and(|seat| seat.incarnation == incarnation)
    }

    /// Coordinator clock at run time zero.
    pub fn start(&self) -> Option<Moment> {
        self.start
    }

    /// Run time; zero before the start.
    pub fn run_now(&self, now: Moment) -> Moment {
        self.start.map_or(Moment::ZERO, |start| Moment::ZERO + now.since(start))
    }

    /// Set when the run ended before its plan did.
    pub fn stopped(&self) -> Option<&Stopped> {
        self.stopped.as_ref()
    }

    /// `preparing`, `running`, `draining` or `finished`, and one phrase for the screen.
    pub fn progress(&self, now: Moment) -> (&'static str, String) {
        match &self.state {
            State::Preparing { .. } => {
                let ready = self.seats.iter().filter(|seat| seat.prepared).count();
                (
                    "preparing",
                    format!("{ready} of {} workers are ready", self.seats.len()),
                )
            }
            State::SettingUp { worker, .. } => ("preparing", format!("setup on {}", self.name(*worker))),
            State::Running => match self.start.and_then(|start| start.checked_since(now)) {
                Some(left) if !left.is_zero() => ("preparing", format!("starts in {:.1} s", left.as_secs_f64())),
                _ => ("running", String::new()),
            },
            State::Draining { .. } => {
                let open = self
                    .seats
                    .iter()
                    .filter(|seat| !seat.is_done() && !seat.is_lost())
                    .count();
                let detail = match open {
                    0 => "waiting until no grant of a lost worker can hold".to_owned(),
                    _ => format!("waiting for {open} of {} workers", self.seats.len()),
                };
                ("draining", detail)
            }
            State::TearingDown { worker, .. } => ("draining", format!("teardown on {}", self.name(*worker))),
            State::Settling { .. } => ("draining", "waiting for the store".to_owned()),
            State::Finished => ("finished", String::new()),
        }
    }

    fn name(&self, worker: WorkerId) -> &str {
        self.seats.get(worker.0 as usize).map_or("", |seat| seat.name.as_str())
    }

    fn seat(&mut self, worker: WorkerId) -> Option<&mut Seat> {
        self.seats.get_mut(worker.0 as usize)
    }

    fn ids(&self) -> impl Iterator<Item = WorkerId> + use<B> {
        (0..self.seats.len() as u32).map(WorkerId)
    }

    fn tell_all(&mut self, command: impl Fn(WorkerId) -> Command) {
        for worker in self.ids() {
            let seat = &self.seats[worker.0 as usize];
            if seat.present && !seat.is_done() {
                self.outputs.push_back(Output::Send(worker, command(worker)));
            }
        }
    }

    fn note(&mut self, now: Moment, kind: &str, worker: Option<WorkerId>, text: String) {
        let note = Note {
            at: self.run_now(now),
            kind: kind.to_owned(),
            worker,
            text,
        };
        self.book.note(&note);
        self.store(now, Record::Note(note), effects::Effect::Nothing);
    }

    /// The shards of a worker.
    fn shards_of(&self, worker: WorkerId) -> Vec<ShardId> {
        let (first, count) = self.spec.compiled.shards[worker.0 as usize];
        (first.0..first.0 + count).map(ShardId).collect()
    }
}

#[cfg(test)]
mod tests;
