//! The load thread: one thread, one current-thread runtime, one task that polls those of the slots ([`Tasks`]) and one that
//! keeps the time.
//!
//! Whatever happens goes through the machine first; its outputs are performed at once and in order. Nothing here waits
//! for the control side: what it cannot take at once is kept and offered again. What is kept stays small without a
//! bound of its own, because a control side that takes nothing renews no grant either, and without one nothing is sent.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::future::poll_fn;
use std::ops::ControlFlow;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use barrage_model::delta::INTERVAL;
use barrage_model::ids::{ScenarioId, StepId};
use barrage_model::plan::Pacing;
use barrage_model::time::{Moment, whole_micros};
use tokio::sync::{Notify, mpsc, watch};

use super::blocks::Blocks;
use super::ceiling::Ceilings;
use super::machine::{Input, Machine, Output, SlotId, Start, Stood};
use super::mailbox::Mailbox;
use super::pacer::Pacer;
use super::tasks::Tasks;
use super::{Awake, Command, Event, Report, Runner, ShardHandles};
use crate::clock::{Clock, Stamp};
use crate::net::Reactor;
use crate::recorder::{Connected, Dropped, IterationStarted, Part, Recorder};
use crate::scenario::{Cancel, IterationEnded, IterationStart};

/// What a load thread begins with.
#[derive(Debug)]
pub struct ShardSetup {
    /// Its place among the worker's shards.
    pub place: usize,
    /// Its decisions.
    pub machine: Machine,
    /// What it begins with ([`Machine::opening`]): so many connections are opened before run time 0.
    pub opening: BTreeMap<ScenarioId, u32>,
    /// Its counts.
    pub recorder: Recorder,
    /// Its ceilings.
    pub ceilings: Ceilings,
    /// How the next arrival is waited for.
    pub pacing: Pacing,
    /// The worker's clock.
    pub clock: Clock,
    /// The instant that is run time 0.
    pub start: Stamp,
    /// For each load of the plan, whether it is closed.
    pub closed: Vec<bool>,
    /// The first request of each scenario.
    pub first_steps: Vec<Option<StepId>>,
    /// Indices of `iterations` loads.
    pub blocks: Arc<Blocks>,
    /// Shards of this worker.
    pub shards: usize,
    /// What the control side says.
    pub commands: mpsc::Receiver<Command>,
    /// What the control side hears.
    pub events: mpsc::Sender<Event>,
    /// Closed when the control side has read of this thread what it wants to.
    pub released: watch::Receiver<()>,
}

struct Shard<R: Runner> {
    pacer: Pacer,
    place: usize,
    runner: R,
    machine: RefCell<Machine>,
    ceilings: RefCell<Ceilings>,
    context: ShardHandles,
    start: Stamp,
    cancels: Vec<Cancel>,
    closed: Vec<bool>,
    first_steps: Vec<Option<StepId>>,
    blocks: Arc<Blocks>,
    shards: u64,
    slots: RefCell<Vec<Rc<Mailbox>>>,
    tasks: Tasks,
    /// Reports that the control side has not taken yet.
    reports: RefCell<VecDeque<Report>>,
    events: mpsc::Sender<Event>,
    /// The instant at which the time keeper wakes next.
    armed: Cell<Moment>,
    /// Wakes the time keeper when that instant has moved forward.
    rearm: Notify,
    /// Slots with an iteration in progress.
    busy: Cell<usize>,
    poll_delay_max: Cell<Duration>,
    starts: Cell<u64>,
    /// A slot's task has panicked: what it was counting is not right any more.
    failed: Cell<bool>,
    /// Open connections when the load had ended, which took the slots with theirs away.
    connected: Cell<Option<Connected>>,
}

/// Raises the shard's alarm when the task that holds it unwinds.
struct Alarm<R: Runner>(Rc<Shard<R>>);

impl<R: Runner> Drop for Alarm<R> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.failed.set(true);
            self.0.hurry();
        }
    }
}

/// Runs the shard until it has been sealed, or the control side is gone and everything has ended.
///
/// # Errors
/// When a slot's task has panicked. What the shard had not reported is lost then, for nobody knows whether it is right.
///
/// # Cancel safety
/// Not cancel safe: dropping the future loses what has been counted and not reported.
pub(super) async fn run<R: Runner>(setup: ShardSetup, make: impl FnOnce(&ShardHandles) -> R) -> std::io::Result<()> {
    let context = ShardHandles {
        clock: setup.clock,
        recorder: Rc::new(RefCell::new(setup.recorder)),
        send_by: Rc::new(Cell::new(Some(setup.start))),
        renewed: Rc::default(),
        awake: Rc::new(Awake::new(setup.start, setup.closed.clone())),
        reactor: reactor(setup.clock),
    };
    let shard = Rc::new(Shard {
        pacer: Pacer::new(setup.clock, setup.pacing).heard_by(context.reactor.clone()),
        place: setup.place,
        runner: make(&context),
        machine: RefCell::new(setup.machine),
        ceilings: RefCell::new(setup.ceilings),
        context,
        start: setup.start,
        cancels: setup.closed.iter().map(|_| Cancel::default()).collect(),
        closed: setup.closed,
        first_steps: setup.first_steps,
        blocks: setup.blocks,
        shards: setup.shards as u64,
        slots: RefCell::new(Vec::new()),
        tasks: Tasks::default(),
        reports: RefCell::new(VecDeque::new()),
        events: setup.events,
        armed: Cell::new(Moment::ZERO),
        rearm: Notify::new(),
        busy: Cell::new(0),
        poll_delay_max: Cell::new(Duration::ZERO),
        starts: Cell::new(0),
        failed: Cell::new(false),
        connected: Cell::new(None),
    });
    let polled = Rc::clone(&shard);
    let slots = tokio::task::spawn_local(poll_fn(move |cx| {
        polled.tasks.poll(cx, polled.context.reactor.as_deref(), &polled.busy)
    }));
    let warmed = Rc::clone(&shard);
    let warming = tokio::task::spawn_local(async move {
        for (scenario, users) in setup.opening {
            warmed.runner.warm(scenario, users, warmed.start).await;
        }
    });
    keep_time(Rc::clone(&shard), setup.commands).await;
    warming.abort();
    shard.connected.set(Some(shard.runner.connected()));
    // Whatever slot still waits is idle, or was cancelled and counted.
    slots.abort();
    shard.tasks.clear();
    if shard.failed.get() {
        return Err(std::io::Error::other("an iteration has panicked"));
    }
    shard.seal().await;
    Ok(())
}

fn reactor(clock: Clock) -> Option<Rc<Reactor>> {
    let made = Reactor::new(clock);
    if let Err(error) = &made {
        tracing::warn!(%error, "no epoll of the shard's own; the runtime takes its place");
    }
    made.ok()
}

/// The one task that reads commands and keeps the time.
async fn keep_time<R: Runner>(shard: Rc<Shard<R>>, mut commands: mpsc::Receiver<Command>) {
    let pacer = &shard.pacer;
    if !wait_for_start(&shard, &mut commands).await {
        return;
    }
    shard.report(Report::Begun);
    let mut rate = StartRate::default();
    let mut last_wake = shard.context.clock.now();
    loop {
        let now = shard.context.clock.now();
        shard.input(now, Input::Tick);
        let deadline = shard.machine.borrow().deadline();
        shard.armed.set(deadline);
        let due = shard.stamp(deadline);
        let spared = pacer.spared(last_wake, due, rate.of(&shard.starts, now));
        let wake_at = due.max(spared);
        let wake = async {
            if due < spared {
                pacer.about(spared).await;
            } else {
                pacer.until(due).await;
            }
        };
        // Whatever the loop goes on with: a thread that has stood still finds commands as well as its timer.
        let woken = || {
            let at = shard.context.clock.now();
            let late = at.since(wake_at.max(now));
            shard.poll_delay_max.set(shard.poll_delay_max.get().max(late));
            at
        };
        tokio::select! {
            biased;
            command = commands.recv() => match command {
                Some(Command::Input(input)) => {
                    if shard.inputs(woken(), input, &mut commands).is_break() {
                        return;
                    }
                }
                Some(Command::Seal) | None => return,
            },
            () = wake => last_wake = woken(),
            () = shard.rearm.notified() => {
                woken();
            }
        }
        if shard.failed.get() {
            return;
        }
    }
}

/// Waits for run time 0. What was said before then is said to the machine at 0, a stop first, so that nothing starts
/// before its time or after a stop; a stop that is found later counts from when it was said. Returns `false` when the shard is sealed without having begun.
async fn wait_for_start<R: Runner>(shard: &Rc<Shard<R>>, commands: &mut mpsc::Receiver<Command>) -> bool {
    let mut early: Vec<Input> = Vec::new();
    loop {
        tokio::select! {
            biased;
            command = commands.recv() => match command {
                Some(Command::Input(stop @ (Input::Stop(_) | Input::StopNow(_) | Input::StandDown))) => {
                    let now = shard.context.clock.now().max(shard.start);
                    if now > shard.start && !matches!(stop, Input::StandDown) {
                        // The run has begun without this thread: what was due until the stop is, by what was said before.
                        early.drain(..).for_each(|input| shard.machine.borrow_mut().learn(input));
                    }
                    shard.input(now, stop);
                    break;
                }
                Some(Command::Input(input)) => early.push(input),
                Some(Command::Seal) | None => return false,
            },
            () = shard.pacer.until(shard.start) => break,
        }
    }
    for input in early {
        shard.input(shard.start.max(shard.context.clock.now()), input);
    }
    true
}

/// Starts per second, measured over stretches of at least 100 ms.
#[derive(Debug, Default)]
struct StartRate {
    since: Stamp,
    seen: u64,
    per_s: u64,
}

impl StartRate {
    fn of(&mut self, starts: &Cell<u64>, now: Stamp) -> u64 {
        let us = now.us_since(self.since);
        if us >= 100_000 {
            self.per_s = (starts.get() - self.seen).saturating_mul(1_000_000) / us;
            (self.since, self.seen) = (now, starts.get());
        }
        self.per_s
    }
}

/// A slot's task: one iteration after the other.
async fn go_through<R: Runner>(shard: Rc<Shard<R>>, mailbox: Rc<Mailbox>, first: Start) {
    let _alarm = Alarm(Rc::clone(&shard));
    let mut user = shard.runner.user(first.load, first.user);
    let mut cancel = shard.cancels[usize::from(first.load.0)].listen();
    let mut start = first;
    loop {
        shard.busy.set(shard.busy.get() + 1);
        shard.begun(&start);
        let iteration = shard.iteration(&start);
        let next = |ended| shard.ended(&mut start, ended).then(|| shard.iteration(&start));
        shard
            .runner
            .iterate(&mut user, iteration, &shard.context, &mut cancel, next)
            .await;
        shard.busy.set(shard.busy.get() - 1);
        start = match mailbox.take() {
            Some(next) => next,
            None => mailbox.next().await,
        };
    }
}

impl<R: Runner> Shard<R> {
    fn stamp(&self, at: Moment) -> Stamp {
        self.start.plus_us(at.as_micros())
    }

    fn moment(&self, at: Stamp) -> Moment {
        Moment::from_micros(at.us_since(self.start))
    }

    /// What the runner is told of an iteration.
    fn iteration(&self, start: &Start) -> IterationStart {
        IterationStart {
            load: start.load,
            scenario: start.scenario,
            index: start.index,
            user: start.user,
            due: self.stamp(start.due),
            segment: start.segment,
            closed: self.closed[usize::from(start.load.0)],
        }
    }

    /// Counts the end of an iteration and lets the machine use the slot again. Whether `start` is the slot's next iteration
    /// now, which begins at once.
    fn ended(self: &Rc<Self>, start: &mut Start, ended: IterationEnded) -> bool {
        // The machine's time must not run backwards, and an answer may have been there before what it was told last.
        let at = ended.at.filter(|at| *at >= self.context.awake.last());
        let now = at.unwrap_or_else(|| self.context.clock.now());
        let span = (self.stamp(start.due), ended.at.unwrap_or(now));
        let mut recorder = self.context.recorder.borrow_mut();
        if ended.ran {
            recorder.iteration_ended(start.load, start.scenario, start.segment, span, ended.end);
        } else {
            recorder.iteration_without_time(start.load, start.scenario, start.segment, now, ended.end);
        }
        let mut gate = self.ceilings.borrow_mut();
        let again = self.machine.borrow_mut().again(self.moment(now), start, &mut *gate);
        drop(gate);
        if again {
            self.context.awake.told(now);
            self.starts.set(self.starts.get() + 1);
            recorder.iteration_started(&self.started(start));
            return true;
        }
        drop(recorder);
        // The slot is free from here on, and could have been since the answer came: what has passed since then is the
        // generator's own.
        let since = self.moment(ended.at.unwrap_or(now));
        self.input(self.context.clock.now(), Input::Done(start.slot, since));
        if self.machine.borrow().deadline() < self.armed.get() {
            self.hurry();
        }
        false
    }

    /// Has the time keeper look at once, who may be asleep until later.
    fn hurry(&self) {
        if let Some(reactor) = &self.context.reactor {
            reactor.set_bell(None);
        }
        self.rearm.notify_one();
    }

    fn started(&self, start: &Start) -> IterationStarted {
        IterationStarted {
            load: start.load,
            scenario: start.scenario,
            segment: start.segment,
            due: self.stamp(start.due),
            at: self.stamp(start.at),
            own_lag: start.own_lag,
        }
    }

    /// Records the lag of an iteration whose slot has its turn now. Since it was decided on, the slots before it have made
    /// their requests, which is lag of the generator's own like any other.
    fn begun(&self, start: &Start) {
        let (decided, now) = (self.started(start), self.context.clock.now());
        let begun = IterationStarted {
            at: now.max(decided.at),
            own_lag: decided.own_lag.map(|lag| lag + now.since(decided.at)),
            ..decided
        };
        self.context.recorder.borrow_mut().iteration_begun(&begun);
    }

    /// Gives the machine one input and performs what comes of it.
    fn input(self: &Rc<Self>, now: Stamp, input: Input) {
        self.machine.borrow_mut().hear(self.moment(now), input);
        self.go_on(now);
    }

    /// The same with all commands that wait behind it. Breaks when the shard is to be sealed.
    fn inputs(self: &Rc<Self>, now: Stamp, input: Input, more: &mut mpsc::Receiver<Command>) -> ControlFlow<()> {
        let mut next = Some(Command::Input(input));
        while let Some(Command::Input(input)) = next {
            self.machine.borrow_mut().hear(self.moment(now), input);
            next = more.try_recv().ok();
        }
        self.go_on(now);
        match next {
            Some(Command::Seal) => ControlFlow::Break(()),
            Some(Command::Input(_)) | None => ControlFlow::Continue(()),
        }
    }

    fn go_on(self: &Rc<Self>, now: Stamp) {
        let at = self.moment(now);
        let mut machine = self.machine.borrow_mut();
        let awake = &self.context.awake;
        awake.told(now);
        machine.go_on(at, &mut *self.ceilings.borrow_mut());
        if let Some((from, to)) = machine.stood_last() {
            awake.learn(self.stamp(from), self.stamp(to), || machine.fallen_due());
        }
        drop(machine);
        loop {
            let output = self.machine.borrow_mut().poll();
            let Some(output) = output else { break };
            self.perform(at, output);
        }
        let granted = self.machine.borrow().granted_until();
        let send_by = Some(self.stamp(granted));
        if self.context.send_by.replace(send_by) != send_by {
            self.context.renewed.notify_waiters();
        }
    }

    fn handle(&self, at: Moment, input: Input) {
        let mut machine = self.machine.borrow_mut();
        machine.handle(at, input, &mut *self.ceilings.borrow_mut());
    }

    fn perform(self: &Rc<Self>, now: Moment, output: Output) {
        let mut recorder = self.context.recorder.borrow_mut();
        match output {
            Output::Scheduled {
                load,
                scenario,
                segment,
                count,
                at,
            } => {
                recorder.scheduled(load, scenario, segment, count, self.stamp(at));
            }
            Output::Dropped {
                load,
                scenario,
                segment,
                reason,
                due,
                at,
            } => recorder.dropped(&Dropped {
                load,
                scenario,
                first_step: self.first_step(scenario),
                segment,
                reason,
                due: self.stamp(due),
                at: self.stamp(at),
            }),
            Output::Start(start) => {
                recorder.iteration_decided(&self.started(&start));
                drop(recorder);
                self.begin(start);
            }
            Output::Close { progress, stood } => {
                let part = recorder.close(progress);
                drop(recorder);
                self.report(Report::Part(Box::new(self.finish_part(part, stood))));
            }
            Output::WantIndices(load) => {
                drop(recorder);
                let (first, count) = self.blocks.take(load, self.shards).unwrap_or_default();
                self.handle(now, Input::Indices { load, first, count });
            }
            Output::Cancel(load) => {
                if let Some(cancel) = self.cancels.get(usize::from(load.0)) {
                    cancel.fire();
                }
            }
            Output::Finished => self.report(Report::Finished),
        }
    }

    fn first_step(&self, scenario: ScenarioId) -> Option<StepId> {
        self.first_steps.get(usize::from(scenario.0)).copied().flatten()
    }

    /// Hands an iteration to its slot, whose task begins with the first one.
    fn begin(self: &Rc<Self>, start: Start) {
        self.starts.set(self.starts.get() + 1);
        let SlotId(slot) = start.slot;
        let mut slots = self.slots.borrow_mut();
        if let Some(mailbox) = slots.get(slot as usize) {
            return mailbox.put(start);
        }
        debug_assert_eq!(slots.len(), slot as usize, "slots begin in the order of their numbers");
        let mailbox = Rc::new(Mailbox::default());
        slots.push(Rc::clone(&mailbox));
        self.tasks.add(go_through(Rc::clone(self), mailbox, start));
    }

    fn finish_part(&self, mut part: Part, stood: Stood) -> Part {
        // Who keeps the time may be waiting for its turn while the slots go on from one iteration to the next.
        let waiting = match self.armed.get() {
            Moment::ZERO => Duration::ZERO,
            armed => {
                let end = Moment::ZERO + INTERVAL * part.interval.saturating_add(1);
                self.context.clock.now().min(self.stamp(end)).since(self.stamp(armed))
            }
        };
        // What lasted longer than an interval is a standstill, which knows what of it lies in which.
        let delay = self.poll_delay_max.replace(Duration::ZERO);
        let delay = if delay > INTERVAL { waiting } else { delay.max(waiting) };
        part.poll_delay_max_us = whole_micros(delay.max(stood.longest));
        part.stood_us = whole_micros(stood.total);
        part.unseen_lag_us = whole_micros(stood.lag.max(self.context.awake.take_lag(part.interval)));
        part.spun_us = whole_micros(self.pacer.take_spun());
        part.left = self.machine.borrow().left();
        part.connected = self.connected();
        part.slots = self.slots.borrow().len() as u32;
        part
    }

    fn connected(&self) -> Connected {
        let Some(at_end) = self.connected.get() else {
            return self.runner.connected();
        };
        let mut later = at_end;
        later.ports.ran_out = false;
        self.connected.set(Some(later));
        at_end
    }

    fn report(&self, report: Report) {
        let mut reports = self.reports.borrow_mut();
        reports.push_back(report);
        while let Some(report) = reports.pop_front() {
            let event = Event {
                shard: self.place,
                report,
            };
            if let Err(refused) = self.events.try_send(event) {
                reports.push_front(refused.into_inner().report);
                return;
            }
        }
    }

    /// Closes what is left, up to the present interval, and hands everything over.
    async fn seal(&self) {
        let interval = self.context.clock.now().us_since(self.start) / whole_micros(INTERVAL);
        let last = loop {
            let mut recorder = self.context.recorder.borrow_mut();
            let is_last = u64::from(recorder.interval()) >= interval;
            let machine = self.machine.borrow();
            let stood = machine.stood_in(recorder.interval());
            let part = recorder.close(machine.progress());
            drop((recorder, machine));
            let part = Box::new(self.finish_part(part, stood));
            if is_last {
                break part;
            }
            self.reports.borrow_mut().push_back(Report::Part(part));
        };
        self.reports.borrow_mut().push_back(Report::Sealed(last));
        let reports = self.reports.take();
        for report in reports {
            // An error means that the control side is gone, and with it everybody who could want the counts.
            if self
                .events
                .send(Event {
                    shard: self.place,
                    report,
                })
                .await
                .is_err()
            {
                return;
            }
        }
    }
}
