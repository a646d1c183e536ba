//! Plans for tests.

use std::time::Duration;

use barrage_model::ids::{ScenarioId, StepId};
use barrage_model::plan::{
    Action, Body, Ceilings, DnsPolicy, EngineChoice, IterationsLoad, Load, LoadModel, Method, Network, OnFailure,
    OnLoss, OpenLoad, Pacing, Plan, Request, Reuse, Scenario, Stage, StageShape, Step, Target, Tls, UserStage,
    UserStageShape, UsersLoad, WorkerPolicy,
};
use barrage_model::schedule::Arrivals;
use barrage_model::template::Template;
use barrage_model::units::{Rate, Ratio};

pub(crate) fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

/// Stages named `hold 1`, `hold 2`, … of (arrivals per second, seconds).
pub(crate) fn holds(stages: &[(u32, u64)]) -> LoadModel {
    let stage = |(at, (rate, length)): (usize, &(u32, u64))| Stage {
        name: format!("hold {}", at + 1),
        shape: StageShape::Hold {
            rate: Rate::per_second(*rate),
            length: secs(*length),
        },
    };
    LoadModel::Open(OpenLoad {
        arrivals: Arrivals::Even,
        stages: stages.iter().enumerate().map(stage).collect(),
        max_active: 100,
        give_up_after: secs(10),
    })
}

pub(crate) fn users(users: u32, length: u64) -> LoadModel {
    let shape = UserStageShape::Hold {
        users,
        length: secs(length),
    };
    LoadModel::Users(UsersLoad {
        stages: vec![UserStage {
            name: "users".to_owned(),
            shape,
        }],
        think: None,
        pace: None,
    })
}

pub(crate) fn counted(count: u64, users: u32, at_most: u64) -> LoadModel {
    LoadModel::Iterations(IterationsLoad {
        count,
        users,
        at_most: secs(at_most),
    })
}

pub(crate) fn load(name: &str, start_at: u64, model: LoadModel) -> Load {
    Load {
        name: name.to_owned(),
        start_at: secs(start_at),
        scenarios: vec![(ScenarioId(0), 1)],
        model,
    }
}

pub(crate) fn request(id: u32, name: &str) -> Step {
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

pub(crate) fn plan(loads: Vec<Load>) -> Plan {
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
        warm_up: Duration::ZERO,
        loads,
        scenarios: vec![Scenario {
            name: "home".to_owned(),
            on_start: Vec::new(),
            steps: vec![request(0, "home")],
        }],
        setup: Vec::new(),
        teardown: Vec::new(),
        sla: Vec::new(),
        tags: Vec::new(),
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
            loss_tolerance: Ratio::ZERO,
        },
        ceilings: Ceilings::default(),
        min_started: Ratio::from_ppb(990_000_000),
        graceful_stop: secs(30),
        pacing: Pacing::Timer,
    }
}
