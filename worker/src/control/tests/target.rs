//! A plan of one request, and a server that counts what it gets.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use barrage_model::ids::{ScenarioId, StepId};
use barrage_model::plan::{
    Action, Body, EngineChoice, Method, OnFailure, Plan, Request, Scenario, Stage, StageShape, Step, Target,
};
use barrage_model::plan::{LoadModel, OpenLoad};
use barrage_model::schedule::Arrivals;
use barrage_model::template::Template;
use barrage_model::units::Rate;

use crate::shard::machine::testing;

/// A server that answers everything with 200.
pub(super) struct Served {
    pub(super) port: u16,
    urls: Arc<Mutex<Vec<String>>>,
}

impl Served {
    pub(super) fn requests(&self) -> u64 {
        self.urls.lock().unwrap().len() as u64
    }

    /// Requests whose URL contains the text.
    pub(super) fn with(&self, text: &str) -> u64 {
        self.urls
            .lock()
            .unwrap()
            .iter()
            .filter(|url| url.contains(text))
            .count() as u64
    }
}

pub(super) async fn target() -> Served {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let urls = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&urls);
    let app = axum::Router::new().fallback(move |url: axum::http::Uri| {
        seen.lock().unwrap().push(url.to_string());
        async { "hello" }
    });
    tokio::spawn(async move { axum::serve(listener, app).await });
    Served { port, urls }
}

pub(super) fn get(path: &str) -> Request {
    Request {
        name: format!("GET {path}"),
        method: Method::Get,
        target: 0,
        url: Template::parse(path).unwrap(),
        query: Vec::new(),
        headers: Vec::new(),
        body: Body::Empty,
        auth: None,
        timeout: Duration::from_secs(5),
        expect: Vec::new(),
        extract: Vec::new(),
        on_failure: OnFailure::End,
        redirects: 0,
        decompress: false,
        engine: EngineChoice::Auto,
    }
}

/// One open load of `rate`/s for so many seconds over one scenario of one request.
pub(super) fn plan_for(port: u16, request: Request, rate: u32, seconds: u64) -> Plan {
    let shape = StageShape::Hold {
        rate: Rate::per_second(rate),
        length: Duration::from_secs(seconds),
    };
    let load = LoadModel::Open(OpenLoad {
        arrivals: Arrivals::Even,
        stages: vec![Stage {
            name: "hold".to_owned(),
            shape,
        }],
        max_active: 500,
        give_up_after: Duration::from_secs(30),
    });
    let step = Step {
        id: Some(StepId(0)),
        action: Action::Request(Box::new(request)),
    };
    let mut plan = testing::plan(vec![load], Duration::ZERO);
    plan.loads[0].scenarios = vec![(ScenarioId(0), 1)];
    plan.scenarios = vec![Scenario {
        name: "only".to_owned(),
        on_start: Vec::new(),
        steps: vec![step],
    }];
    plan.network.body_limit_bytes = 1 << 20;
    plan.targets = vec![Target {
        name: "target".to_owned(),
        https: false,
        host: "127.0.0.1".to_owned(),
        port,
        base_path: String::new(),
        host_override: None,
    }];
    plan
}
