//! A plan and its deltas for tests.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use barrage_model::delta::{
    Delta, ErrorSample, Health, IterationRow, Measure, Progress, SketchKey, SketchRow, StepRow, Subject,
};
use barrage_model::ids::{Incarnation, LoadId, ScenarioId, SegmentId, ShardId, StepId, TagId, WorkerId};
use barrage_model::ledger::{IterationCounts, Open, StepCounts};
use barrage_model::outcome::{DropReason, FailureClass, IterationEnd, Outcome, OutcomeGroup};
use barrage_model::phase::{Mark, Marks, Phase};
use barrage_model::plan::{
    Action, Body, Ceilings, DnsPolicy, EngineChoice, IterationsLoad, Load, LoadModel, Method, Network, OnFailure,
    OnLoss, OpenLoad, Pacing, Plan, Request, Reuse, Scenario, Stage, StageShape, Step, TagRule, Target, Tls, UserStage,
    UserStageShape, UsersLoad, WorkerPolicy,
};
use barrage_model::schedule::Arrivals;
use barrage_model::sketch::Sketch;
use barrage_model::template::Template;
use barrage_model::time::Moment;
use barrage_model::units::{Rate, Ratio};

use crate::ledger::{Ledger, LedgerConfig, WorkerInfo};

pub(crate) const OPEN: LoadId = LoadId(0);
pub(crate) const CLOSED: LoadId = LoadId(1);
pub(crate) const TOOLS: ScenarioId = ScenarioId(0);
pub(crate) const HEALTH: ScenarioId = ScenarioId(1);
pub(crate) const LOGIN: StepId = StepId(0);
pub(crate) const LIST: StepId = StepId(1);
pub(crate) const CHECKOUT: StepId = StepId(2);
pub(crate) const CART: StepId = StepId(3);
pub(crate) const PING: StepId = StepId(5);
pub(crate) const FIRST: Incarnation = Incarnation(7);

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

fn request(id: u32, name: &str) -> Step {
    let request = Request {
        name: name.to_owned(),
        method: Method::Get,
        target: 0,
        url: Template::literal("/"),
        query: Vec::new(),
        headers: Vec::new(),
        body: Body::Empty,
        auth: None,
        timeout: secs(5),
        expect: Vec::new(),
        extract: Vec::new(),
        on_failure: OnFailure::End,
        redirects: 0,
        decompress: false,
        engine: EngineChoice::Auto,
    };
    Step {
        id: Some(StepId(id)),
        action: Action::Request(Box::new(request)),
    }
}

fn loads(length: u64) -> Vec<Load> {
    let shape = StageShape::Hold {
        rate: Rate::per_second(100),
        length: secs(length),
    };
    let open = LoadModel::Open(OpenLoad {
        arrivals: Arrivals::Even,
        stages: vec![Stage {
            name: "peak".to_owned(),
            shape,
        }],
        max_active: 100,
        give_up_after: secs(10),
    });
    let shape = UserStageShape::Hold {
        users: 5,
        length: secs(length),
    };
    let stages = vec![UserStage {
        name: "crowd".to_owned(),
        shape,
    }];
    let closed = LoadModel::Users(UsersLoad {
        stages,
        think: None,
        pace: None,
    });
    let load = |name: &str, scenario, model| Load {
        name: name.to_owned(),
        start_at: Duration::ZERO,
        scenarios: vec![(scenario, 1)],
        model,
    };
    vec![load("arrivals", TOOLS, open), load("users", HEALTH, closed)]
}

/// An open and a closed load of `length` seconds. Setup `login` (0); scenario `tools`: `list tools` (1), group
/// `checkout` (2) with `cart` (3) and `pay` (4); scenario `health`: `ping` (5); teardown `bye` (6); tag `backend`.
pub(crate) fn plan(length: u64, warm_up: u64) -> Plan {
    let group = Action::Group {
        name: "checkout".to_owned(),
        steps: vec![request(3, "cart"), request(4, "pay")],
    };
    let tools = vec![
        request(1, "list tools"),
        Step {
            id: Some(CHECKOUT),
            action: group,
        },
    ];
    let scenario = |name: &str, steps| Scenario {
        name: name.to_owned(),
        on_start: Vec::new(),
        steps,
    };
    Plan {
        name: "sample".to_owned(),
        seed: Some(42),
        targets: vec![Target {
            name: "default".to_owned(),
            https: false,
            host: "127.0.0.1".to_owned(),
            port: 9,
            base_path: String::new(),
            host_override: None,
        }],
        variables: Vec::new(),
        data: Vec::new(),
        warm_up: secs(warm_up),
        loads: loads(length),
        scenarios: vec![scenario("tools", tools), scenario("health", vec![request(5, "ping")])],
        setup: vec![request(0, "login")],
        teardown: vec![request(6, "bye")],
        sla: Vec::new(),
        tags: vec![TagRule {
            name: "backend".to_owned(),
            header: "x-backend".to_owned(),
            values: vec!["blue".to_owned(), "green".to_owned()],
        }],
        network: Network {
            resolve: Vec::new(),
            source_addresses: Vec::new(),
            dns: DnsPolicy::Once,
            reuse: Reuse::Always,
            streams_per_connection: 1,
            tls: Tls::default(),
            proxy: None,
            cookies: false,
            body_limit_bytes: 1 << 20,
        },
        workers: WorkerPolicy {
            min: 1,
            max: None,
            labels: Vec::new(),
            wait: secs(60),
            on_loss: OnLoss::Continue,
            loss_tolerance: Ratio::from_ppb(10_000_000),
        },
        ceilings: Ceilings::default(),
        min_started: Ratio::from_ppb(990_000_000),
        graceful_stop: secs(30),
        pacing: Pacing::Timer,
    }
}

/// Warm-up (if any), then stage `peak`, which is steady. The begin of a segment in seconds.
pub(crate) fn marks(warm_up: u64) -> Marks {
    let steady = vec![Phase::Steady, Phase::Stage("peak".to_owned())];
    let mark = |segment, at, phases| Mark {
        segment: SegmentId(segment),
        at: Moment::from_secs(at),
        phases,
    };
    let list = if warm_up == 0 {
        vec![mark(0, 0, steady)]
    } else {
        vec![
            mark(0, 0, vec![Phase::WarmUp, Phase::Stage("peak".to_owned())]),
            mark(1, warm_up, steady),
        ]
    };
    Marks::new(list).expect("these are in order")
}

/// A ledger with `workers` workers of two shards each.
pub(crate) fn ledger(workers: u32, length: u64, warm_up: u64) -> Ledger {
    Ledger::new(config(workers, length, warm_up))
}

pub(crate) fn config(workers: u32, length: u64, warm_up: u64) -> LedgerConfig {
    let worker = |id| WorkerInfo {
        id: WorkerId(id),
        name: format!("w{id}"),
        shards: 2 * id..2 * id + 2,
        cores: 2,
    };
    LedgerConfig {
        plan: Arc::new(plan(length, warm_up)),
        marks: marks(warm_up),
        workers: (0..workers).map(worker).collect(),
        scheduled: BTreeMap::new(),
    }
}

/// One thing that a worker counted.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Event {
    /// An iteration of one step, from its start to its end.
    Done {
        load: LoadId,
        scenario: ScenarioId,
        step: StepId,
        tag: u16,
        segment: u32,
        outcome: Outcome,
        us: u64,
    },
    /// A dropped arrival of the open load with the age it had reached.
    Dropped { reason: DropReason, segment: u32, us: u64 },
}

impl Event {
    /// Whether its time is a lower bound.
    pub(crate) fn is_censored(&self) -> bool {
        match self {
            Self::Done { outcome, .. } => *outcome == Outcome::Cancelled,
            Self::Dropped { .. } => true,
        }
    }
}

/// Counts events as a worker does.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counter {
    iterations: BTreeMap<(LoadId, ScenarioId, SegmentId), IterationCounts>,
    steps: BTreeMap<(StepId, TagId, SegmentId), StepCounts>,
    sketches: BTreeMap<SketchKey, Sketch>,
    errors: Vec<ErrorSample>,
    at: Moment,
}

impl Counter {
    pub(crate) fn count(&mut self, event: &Event) {
        match *event {
            Event::Done {
                load,
                scenario,
                step,
                tag,
                segment,
                outcome,
                us,
            } => {
                let (tag, segment) = (TagId(tag), SegmentId(segment));
                let counts = self.iterations.entry((load, scenario, segment)).or_default();
                counts.scheduled += u64::from(load == OPEN);
                counts.started += 1;
                counts.end(if outcome == Outcome::Ok {
                    IterationEnd::Completed
                } else {
                    IterationEnd::BrokenOff
                });
                let sent = self.steps.entry((step, TagId(0), segment)).or_default();
                sent.attempted += 1;
                sent.sent += 1;
                let ended = self.steps.entry((step, tag, segment)).or_default();
                ended.end(outcome);
                ended.body_bytes_in += 1_000;
                self.sample(
                    Subject::Step(step),
                    Measure::Response,
                    outcome.group(),
                    tag,
                    segment,
                    us,
                );
                self.sample(
                    Subject::Step(step),
                    Measure::Service,
                    outcome.group(),
                    tag,
                    segment,
                    us / 2,
                );
                self.sample(
                    Subject::Scenario(scenario),
                    Measure::Iteration,
                    outcome.group(),
                    TagId(0),
                    segment,
                    us,
                );
                if let Outcome::Failed(class) = outcome {
                    self.error(step, class, us);
                }
            }
            Event::Dropped { reason, segment, us } => {
                let segment = SegmentId(segment);
                let counts = self.iterations.entry((OPEN, TOOLS, segment)).or_default();
                counts.scheduled += 1;
                counts.drop(reason, 1);
                let censored = OutcomeGroup::Censored;
                self.sample(Subject::Step(LIST), Measure::Response, censored, TagId(0), segment, us);
                self.sample(
                    Subject::Scenario(TOOLS),
                    Measure::Iteration,
                    censored,
                    TagId(0),
                    segment,
                    us,
                );
            }
        }
    }

    fn sample(
        &mut self,
        subject: Subject,
        measure: Measure,
        group: OutcomeGroup,
        tag: TagId,
        segment: SegmentId,
        us: u64,
    ) {
        self.sketches
            .entry(SketchKey {
                subject,
                measure,
                group,
                tag,
                segment,
            })
            .or_default()
            .record(us);
    }

    fn error(&mut self, step: StepId, class: FailureClass, us: u64) {
        self.errors.push(ErrorSample {
            at: self.at + Duration::from_micros(us),
            step,
            class: Some(class),
            status: None,
            service: Some(Duration::from_micros(us)),
            message: format!("failed after {us}"),
        });
    }

    pub(crate) fn delta(self, seq: u64, interval: u32, last: bool) -> Delta {
        let iterations = self.iterations.into_iter();
        let steps = self.steps.into_iter();
        let sketches = self.sketches.into_iter();
        Delta {
            seq,
            interval,
            last,
            iterations: iterations
                .map(|((load, scenario, segment), counts)| IterationRow {
                    load,
                    scenario,
                    segment,
                    counts,
                })
                .collect(),
            steps: steps
                .map(|((step, tag, segment), counts)| StepRow {
                    step,
                    tag,
                    segment,
                    counts,
                })
                .collect(),
            sketches: sketches
                .map(|(key, sketch)| SketchRow {
                    key,
                    sketch: sketch.pack(),
                })
                .collect(),
            open: Open::default(),
            progress: Vec::new(),
            errors: self.errors,
            health: Health::default(),
            ended: None,
            left: None,
        }
    }
}

/// An iteration of `list tools` in the open load that ends `ok`.
pub(crate) fn ok(us: u64) -> Event {
    ended(Outcome::Ok, us)
}

/// An iteration of `list tools` in the open load.
pub(crate) fn ended(outcome: Outcome, us: u64) -> Event {
    Event::Done {
        load: OPEN,
        scenario: TOOLS,
        step: LIST,
        tag: 0,
        segment: 0,
        outcome,
        us,
    }
}

/// A dropped arrival of the open load.
pub(crate) fn dropped(reason: DropReason, us: u64) -> Event {
    Event::Dropped { reason, segment: 0, us }
}

/// An interval in which so many iterations of `list tools` fell due and were sent, and so many ended `ok`, of a segment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Second {
    pub(crate) interval: u32,
    pub(crate) segment: u32,
    pub(crate) sent: u64,
    pub(crate) ok: u64,
}

/// The deltas of these intervals, which are in order; one interval may stand for several segments.
pub(crate) fn seconds(list: &[Second]) -> Vec<Delta> {
    let mut deltas: Vec<Delta> = Vec::new();
    for second in list {
        if deltas.last().is_none_or(|last| last.interval != second.interval) {
            let seq = deltas.len() as u64 + 1;
            deltas.push(Counter::default().delta(seq, second.interval, false));
        }
        let delta = deltas.last_mut().expect("there is one by now");
        let segment = SegmentId(second.segment);
        delta.iterations.push(IterationRow {
            load: OPEN,
            scenario: TOOLS,
            segment,
            counts: IterationCounts {
                scheduled: second.sent,
                started: second.sent,
                completed: second.ok,
                ..IterationCounts::default()
            },
        });
        delta.steps.push(StepRow {
            step: LIST,
            tag: TagId(0),
            segment,
            counts: StepCounts {
                attempted: second.sent,
                sent: second.sent,
                ok: second.ok,
                wire_bytes_in: second.ok << 20,
                ..StepCounts::default()
            },
        });
    }
    deltas
}

/// A ledger with these intervals and this plan, marks and run's end.
pub(crate) fn timed(plan: Plan, marks: Marks, end: Option<Moment>, list: &[Second]) -> Ledger {
    let plan = Arc::new(plan);
    let mut ledger = Ledger::new(LedgerConfig {
        plan,
        marks,
        ..config(1, 1, 0)
    });
    for delta in seconds(list) {
        ledger.apply(WorkerId(0), FIRST, &delta).expect("in order");
    }
    if let Some(end) = end {
        ledger.set_end(end);
    }
    ledger
}

/// 200 iterations of `list tools` in the load `counted`, over within a second but with a limit beyond the run, beside users that do
/// `ping` for `length` seconds: ten in each, which fail from the second `fails_from` on.
pub(crate) fn beside_counted(length: u32, fails_from: u32) -> Ledger {
    let mut plan = plan(length.into(), 0);
    let at_most = secs(u64::from(length) + 11);
    let (count, users) = (200, 4);
    plan.loads[0].name = "counted".to_owned();
    plan.loads[0].model = LoadModel::Iterations(IterationsLoad { count, users, at_most });
    let stage = |name: &str| Phase::Stage(name.to_owned());
    let both = vec![Phase::Steady, stage("counted"), stage("crowd")];
    let mark = |segment, at, phases| Mark {
        segment: SegmentId(segment),
        at: Moment::from_secs(at),
        phases,
    };
    let end = u64::from(length) + 11;
    let alone = vec![Phase::Steady, stage("counted")];
    let list = vec![
        mark(0, 0, both),
        mark(1, length.into(), alone),
        mark(2, end, Vec::new()),
    ];
    let mut ledger = Ledger::new(LedgerConfig {
        plan: Arc::new(plan),
        marks: Marks::new(list).expect("these are in order"),
        ..config(1, 1, 0)
    });
    let ping = |outcome, us| Event::Done {
        load: CLOSED,
        scenario: HEALTH,
        step: PING,
        tag: 0,
        segment: 0,
        outcome,
        us,
    };
    for interval in 0..length {
        let (outcome, us) = if interval < fails_from {
            (Outcome::Ok, 5_000)
        } else {
            (Outcome::Failed(FailureClass::Status), 50_000)
        };
        let counted = if interval == 0 { 200 } else { 0 };
        let events = std::iter::repeat_n(ok(20_000), counted).chain(std::iter::repeat_n(ping(outcome, us), 10));
        let delta = delta_of(interval, events);
        ledger.apply(WorkerId(0), FIRST, &delta).expect("in order");
    }
    ledger.set_end(Moment::from_secs(length.into()));
    ledger
}

/// The delta of one interval, numbered after it.
pub(crate) fn delta_of(interval: u32, events: impl IntoIterator<Item = Event>) -> Delta {
    let mut counter = Counter {
        at: Moment::from_secs(interval.into()),
        ..Counter::default()
    };
    events.into_iter().for_each(|event| counter.count(&event));
    counter.delta(u64::from(interval) + 1, interval, false)
}

/// Where a shard of a worker stands.
pub(crate) fn progress(shard: u32, next_index: u64) -> Progress {
    Progress {
        load: OPEN,
        shard: ShardId(shard),
        next_index,
    }
}
