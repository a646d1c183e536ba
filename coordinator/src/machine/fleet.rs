//! The fleet: which workers there are, whether they live, how far their clocks are off, and which run holds them.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use barrage_model::ids::{Incarnation, RunId};
use barrage_model::time::Moment;
use barrage_model::units::Rate;

use super::offset::{Offset, OffsetFilter};

/// A worker's heartbeats are this far apart.
pub const HEARTBEAT: Duration = Duration::from_secs(1);
/// A worker is lost after so many heartbeats missed in a row, or this long after its stream has ended.
pub const BEATS_MISSED_MAX: u32 = 5;
/// A worker whose stream has ended may come back within this time.
pub const GRACE: Duration = Duration::from_secs(5);
/// A coordinator that finds a silence out so much too late has stood still, and cannot say that nobody spoke meanwhile: it
/// listens for one more heartbeat.
const LATE: Duration = Duration::from_millis(200);
/// Most workers connected at once; more are refused.
pub const WORKERS_MAX: usize = 4_000;
/// Clock probes of a new connection come in a burst of so many.
const BURST: u64 = 8;
const BURST_EVERY: Duration = Duration::from_millis(50);
const PROBE_EVERY: Duration = Duration::from_secs(2);

/// One control stream, numbered by the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ConnectionId(pub u64);

/// What a worker says of itself when it dials in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// Protocol version that it speaks.
    pub protocol: u32,
    /// Its own version.
    pub version: String,
    /// Its name; need not be unique.
    pub name: String,
    /// Drawn once per process.
    pub incarnation: Incarnation,
    /// What runs choose workers by.
    pub labels: BTreeMap<String, String>,
    /// Load threads it offers, at least 1.
    pub shards: u32,
    /// Most iterations per second it wants to make.
    pub max_rate: Option<Rate>,
    /// Cores it may use.
    pub cores: u32,
    /// Memory of its host, or the limit of its control group, bytes.
    pub memory_bytes: u64,
    /// Its limit on open files.
    pub descriptors_max: u64,
    /// Operating system, for display.
    pub os: String,
    /// The run that it still holds.
    pub held: Option<RunId>,
}

/// What happens to the fleet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// A stream has begun with this Hello.
    Hello(ConnectionId, Box<Hello>),
    /// A heartbeat came.
    Heartbeat(ConnectionId),
    /// A clock probe was answered; times on the worker's clock, µs.
    Clock {
        /// The stream.
        connection: ConnectionId,
        /// Which probe.
        number: u64,
        /// When the worker got it.
        received_us: u64,
        /// When the worker's answer left.
        replied_us: u64,
    },
    /// A stream has ended.
    Gone(ConnectionId),
    /// A worker broke the protocol: it leaves, with the reason.
    Quarantine(Incarnation, String),
    /// Time has passed.
    Tick,
}

/// What the fleet wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Send Welcome.
    Welcome(ConnectionId),
    /// Send Refused with the reason, then close.
    Refuse(ConnectionId, String),
    /// Send a clock probe.
    Probe(ConnectionId, u64),
    /// Close a stream.
    Close(ConnectionId),
    /// A worker is there: new, back within the grace time, or back after it was lost.
    Present(Incarnation),
    /// A worker is lost, with the reason.
    Lost(Incarnation, String),
    /// A worker still holds a run that is not assigned to it.
    Stray(ConnectionId, RunId),
}

/// Which workers a run wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Demand {
    /// At least so many.
    pub min: u32,
    /// At most so many.
    pub max: Option<u32>,
    /// Labels that each of them carries.
    pub labels: Vec<(String, String)>,
}

impl Demand {
    fn matches(&self, hello: &Hello) -> bool {
        self.labels
            .iter()
            .all(|(name, value)| hello.labels.get(name) == Some(value))
    }

    fn words(&self) -> String {
        let labels: Vec<String> = self
            .labels
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        if labels.is_empty() {
            String::new()
        } else {
            format!(" with {}", labels.join(", "))
        }
    }
}

/// Why a run cannot have its workers yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shortage {
    /// There are too few, whoever holds them: "waiting for 2 of 3 workers with role=eu".
    Absent(String),
    /// There are enough, but other runs hold them.
    Busy(String),
}

impl Shortage {
    /// One phrase for the screen.
    pub fn detail(&self) -> &str {
        match self {
            Self::Absent(detail) | Self::Busy(detail) => detail,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Link {
    Up {
        connection: ConnectionId,
        heard: Moment,
        next_probe: Moment,
    },
    Down {
        since: Moment,
    },
    Lost,
}

/// A worker as the fleet knows it.
#[derive(Clone, Debug)]
pub struct Worker {
    /// What it said of itself.
    pub hello: Hello,
    /// Its name, made unique by a number where two workers give the same.
    pub name: String,
    /// The run that holds it.
    pub run: Option<RunId>,
    link: Link,
    clock: OffsetFilter,
}

impl Worker {
    /// The stream to send to.
    pub fn connection(&self) -> Option<ConnectionId> {
        match self.link {
            Link::Up { connection, .. } => Some(connection),
            Link::Down { .. } | Link::Lost => None,
        }
    }

    /// Whether it counts as lost.
    pub fn is_lost(&self) -> bool {
        self.link == Link::Lost
    }

    /// `idle`, `busy`, `away` (its stream has ended, it may come back) or `lost`.
    pub fn state(&self) -> &'static str {
        match (&self.link, self.run) {
            (Link::Up { .. }, None) => "idle",
            (Link::Up { .. }, Some(_)) => "busy",
            (Link::Down { .. }, _) => "away",
            (Link::Lost, _) => "lost",
        }
    }

    /// Its clock's offset.
    pub fn offset(&self, now: Moment) -> Option<Offset> {
        self.clock.estimate(now)
    }
}

/// Every worker that is connected, may come back, or is lost in the middle of a run.
#[derive(Debug, Default)]
pub struct Fleet {
    protocol: u32,
    workers: BTreeMap<Incarnation, Worker>,
    /// Whose each stream is.
    connections: BTreeMap<ConnectionId, Incarnation>,
    /// Before this nothing is due. Signs of life move what is due further away, which is noticed then.
    due: Moment,
    outputs: VecDeque<Output>,
}

impl Fleet {
    /// An empty fleet that speaks one protocol version.
    pub fn new(protocol: u32) -> Self {
        Self {
            protocol,
            ..Self::default()
        }
    }

    /// Takes one input.
    pub fn handle(&mut self, now: Moment, input: Input) {
        match input {
            Input::Hello(connection, hello) => self.join(now, connection, *hello),
            Input::Heartbeat(connection) => self.heard(now, connection),
            Input::Clock {
                connection,
                number,
                received_us,
                replied_us,
            } => {
                self.heard(now, connection);
                if let Some(worker) = self.by_connection(connection) {
                    worker.clock.answer(now, number, received_us, replied_us);
                }
            }
            Input::Gone(connection) => {
                if let Some(worker) = self.by_connection(connection) {
                    worker.link = Link::Down { since: now };
                    self.connections.remove(&connection);
                    self.due = self.next_due();
                }
            }
            Input::Quarantine(incarnation, reason) => self.lose(incarnation, reason),
            Input::Tick => self.tick(now),
        }
    }

    /// The next thing to be done.
    pub fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When the next [`Input::Tick`] is due at the latest.
    pub fn deadline(&self) -> Option<Moment> {
        Some(self.due).filter(|due| *due < Moment::MAX && !self.workers.is_empty())
    }

    fn next_due(&self) -> Moment {
        let due = self.workers.values().filter_map(|worker| match worker.link {
            Link::Up { heard, next_probe, .. } => Some(next_probe.min(heard + HEARTBEAT * BEATS_MISSED_MAX)),
            Link::Down { since } => Some(since + GRACE),
            Link::Lost => None,
        });
        due.min().unwrap_or(Moment::MAX)
    }

    /// Checks what must always hold.
    ///
    /// # Errors
    /// Says what does not.
    pub fn check(&self) -> Result<(), String> {
        let mut connections: Vec<_> = self.workers.values().filter_map(Worker::connection).collect();
        let all = connections.len();
        connections.sort_unstable();
        connections.dedup();
        if connections.len() != all {
            return Err("two workers share a connection".to_owned());
        }
        if !connections.iter().eq(self.connections.keys()) {
            return Err("a stream is known whose worker has another one".to_owned());
        }
        if self.due > self.next_due() {
            return Err("something is due before it is looked for".to_owned());
        }
        if let Some(worker) = self
            .workers
            .values()
            .find(|worker| worker.is_lost() && worker.run.is_none())
        {
            return Err(format!("{} is lost and free, yet not forgotten", worker.name));
        }
        Ok(())
    }

    /// Every worker.
    pub fn workers(&self) -> impl Iterator<Item = (Incarnation, &Worker)> {
        self.workers.iter().map(|(incarnation, worker)| (*incarnation, worker))
    }

    /// One worker.
    pub fn worker(&self, incarnation: Incarnation) -> Option<&Worker> {
        self.workers.get(&incarnation)
    }

    /// The worker on a stream.
    pub fn at(&self, connection: ConnectionId) -> Option<Incarnation> {
        self.connections.get(&connection).copied()
    }

    /// Gives a run every free worker that matches, up to its maximum, in order of name; one run at a time on a worker.
    ///
    /// # Errors
    /// Why there are too few; nothing is reserved then.
    pub fn reserve(&mut self, run: RunId, demand: &Demand) -> Result<Vec<Incarnation>, Shortage> {
        let matching = || self.workers.iter().filter(|(_, worker)| demand.matches(&worker.hello));
        let there = matching().filter(|(_, worker)| worker.connection().is_some()).count();
        let wanted = demand.min.max(1) as usize;
        let mut free: Vec<(&String, Incarnation)> = matching()
            .filter(|(_, worker)| worker.run.is_none() && worker.connection().is_some())
            .map(|(incarnation, worker)| (&worker.name, *incarnation))
            .collect();
        let noun = if wanted == 1 { "worker" } else { "workers" };
        if there < wanted {
            let detail = format!("waiting for {} of {wanted} {noun}{}", wanted - there, demand.words());
            return Err(Shortage::Absent(detail));
        }
        if free.len() < wanted {
            let busy = wanted - free.len();
            let detail = format!(
                "waiting for {busy} of {wanted} {noun}{}, held by other runs",
                demand.words()
            );
            return Err(Shortage::Busy(detail));
        }
        free.sort();
        let most = demand.max.map_or(usize::MAX, |max| max.max(demand.min).max(1) as usize);
        let chosen: Vec<Incarnation> = free
            .into_iter()
            .take(most)
            .map(|(_, incarnation)| incarnation)
            .collect();
        for incarnation in &chosen {
            if let Some(worker) = self.workers.get_mut(incarnation) {
                worker.run = Some(run);
            }
        }
        Ok(chosen)
    }

    /// Sets the workers of a run free; lost ones are forgotten.
    pub fn release(&mut self, run: RunId) {
        for worker in self.workers.values_mut().filter(|worker| worker.run == Some(run)) {
            worker.run = None;
        }
        self.workers
            .retain(|_, worker| !(worker.is_lost() && worker.run.is_none()));
    }

    fn join(&mut self, now: Moment, connection: ConnectionId, hello: Hello) {
        if hello.protocol != self.protocol {
            let reason = format!(
                "this coordinator speaks protocol {}, worker {} (version {}) speaks protocol {}: use the same version on both",
                self.protocol, hello.name, hello.version, hello.protocol
            );
            return self.outputs.push_back(Output::Refuse(connection, reason));
        }
        let known = self.workers.contains_key(&hello.incarnation);
        if !known && self.workers.len() >= WORKERS_MAX {
            let reason = format!("this coordinator takes at most {WORKERS_MAX} workers");
            return self.outputs.push_back(Output::Refuse(connection, reason));
        }
        let link = Link::Up {
            connection,
            heard: now,
            next_probe: now,
        };
        let (incarnation, held) = (hello.incarnation, hello.held);
        if let Some(worker) = self.workers.get_mut(&incarnation) {
            if let Some(old) = worker.connection() {
                self.connections.remove(&old);
                self.outputs.push_back(Output::Close(old));
            }
            worker.link = link;
            // What an earlier connection was sent says nothing about this one's path.
            worker.clock = OffsetFilter::default();
            worker.hello = hello;
        } else {
            let name = self.unique(&hello.name);
            let worker = Worker {
                hello,
                name,
                run: None,
                link,
                clock: OffsetFilter::default(),
            };
            self.workers.insert(incarnation, worker);
        }
        self.connections.insert(connection, incarnation);
        self.due = now;
        self.outputs.push_back(Output::Welcome(connection));
        if let Some(run) = held.filter(|run| self.workers[&incarnation].run != Some(*run)) {
            self.outputs.push_back(Output::Stray(connection, run));
        }
        self.outputs.push_back(Output::Present(incarnation));
        self.tick(now);
    }

    fn unique(&self, name: &str) -> String {
        let taken = |name: &String| self.workers.values().any(|worker| worker.name == *name);
        let numbered = (2..WORKERS_MAX + 2).map(|n| format!("{name}-{n}"));
        let mut all = std::iter::once(name.to_owned()).chain(numbered);
        all.find(|name| !taken(name)).unwrap_or_else(|| name.to_owned())
    }

    fn heard(&mut self, now: Moment, connection: ConnectionId) {
        if let Some(Worker {
            link: Link::Up { heard, .. },
            ..
        }) = self.by_connection(connection)
        {
            *heard = now;
        }
    }

    fn by_connection(&mut self, connection: ConnectionId) -> Option<&mut Worker> {
        let incarnation = self.connections.get(&connection)?;
        self.workers.get_mut(incarnation)
    }

    fn lose(&mut self, incarnation: Incarnation, reason: String) {
        let Some(worker) = self.workers.get_mut(&incarnation) else {
            return;
        };
        if let Some(connection) = worker.connection() {
            self.connections.remove(&connection);
            self.outputs.push_back(Output::Close(connection));
        }
        worker.link = Link::Lost;
        if worker.run.is_none() {
            self.workers.remove(&incarnation);
        }
        self.outputs.push_back(Output::Lost(incarnation, reason));
    }

    /// Who ticks so late has stood still itself, and has not yet read what the workers said meanwhile: they have the time of
    /// a heartbeat for the next one.
    fn forgive(&mut self, now: Moment) {
        for worker in self.workers.values_mut() {
            match &mut worker.link {
                Link::Up { heard, .. } => *heard = (*heard).max(now - HEARTBEAT * (BEATS_MISSED_MAX - 1)),
                Link::Down { since } => *since = (*since).max(now + HEARTBEAT - GRACE),
                Link::Lost => {}
            }
        }
    }

    fn tick(&mut self, now: Moment) {
        if now < self.due {
            return;
        }
        if now > self.due + LATE {
            self.forgive(now);
        }
        let mut lost = Vec::new();
        for (incarnation, worker) in &mut self.workers {
            match &mut worker.link {
                Link::Up { heard, .. } if now.since(*heard) >= HEARTBEAT * BEATS_MISSED_MAX => {
                    lost.push((*incarnation, format!("{BEATS_MISSED_MAX} heartbeats missed")));
                }
                Link::Up {
                    connection, next_probe, ..
                } if *next_probe <= now => {
                    let number = worker.clock.probe(now);
                    *next_probe = now + if number < BURST { BURST_EVERY } else { PROBE_EVERY };
                    self.outputs.push_back(Output::Probe(*connection, number));
                }
                Link::Down { since } if now.since(*since) >= GRACE => {
                    lost.push((
                        *incarnation,
                        format!("its connection ended and did not come back within {GRACE:?}"),
                    ));
                }
                Link::Up { .. } | Link::Down { .. } | Link::Lost => {}
            }
        }
        for (incarnation, reason) in lost {
            self.lose(incarnation, reason);
        }
        self.due = self.next_due();
    }
}

#[cfg(test)]
mod tests;
