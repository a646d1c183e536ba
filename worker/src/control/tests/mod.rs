//! The whole worker against a coordinator and a target of the test's own, on loopback.

mod coordinator;
mod target;

use std::collections::BTreeMap;
use std::time::Duration;

use barrage_model::delta::{Delta, Measure, Subject};
use barrage_model::ids::StepId;
use barrage_model::ledger::{IterationCounts, Open, StepCounts};
use barrage_model::outcome::OutcomeGroup;
use barrage_model::plan::{Action, Extract, ExtractFrom, LoadModel, Step};
use barrage_model::sketch::{Packed, Sketch};
use tokio_util::sync::CancellationToken;

use crate::{Config, WorkerError};
use coordinator::{Coordinator, Script};
use target::{get, plan_for, target};

const LIMIT: Duration = Duration::from_secs(30);

fn config(url: &str) -> Config {
    Config {
        coordinator: url.to_owned(),
        name: "worker".to_owned(),
        labels: BTreeMap::new(),
        shards: 2,
        max_rate: None,
        trace_samples: None,
        once: true,
    }
}

fn sums(deltas: &[Delta]) -> (IterationCounts, StepCounts) {
    let (mut iterations, mut steps) = (IterationCounts::default(), StepCounts::default());
    for delta in deltas {
        delta.iterations.iter().for_each(|row| iterations.add(&row.counts));
        delta.steps.iter().for_each(|row| steps.add(&row.counts));
    }
    (iterations, steps)
}

/// Numbers rise without gap, both ledgers hold after every delta, and only the last one is the last.
#[track_caller]
fn check(deltas: &[Delta]) {
    for (at, delta) in deltas.iter().enumerate() {
        assert_eq!(delta.seq, at as u64 + 1);
        assert_eq!(delta.last, at + 1 == deltas.len(), "delta {}", delta.seq);
        let (iterations, steps) = sums(&deltas[..=at]);
        barrage_model::ledger::check_iterations(&iterations, iterations.started, &delta.open).unwrap();
        barrage_model::ledger::check_steps(&steps, &delta.open).unwrap();
    }
    assert_eq!(deltas.last().unwrap().open, Open::default());
}

#[tokio::test]
async fn a_run_is_prepared_made_counted_and_handed_over() {
    let served = target().await;
    let plan = plan_for(served.port, get("/"), 200, 2);
    let coordinator = Coordinator::start(Script::new(plan, 2)).await;
    let working = crate::run(config(&coordinator.url), CancellationToken::new());
    tokio::time::timeout(LIMIT, working).await.unwrap().unwrap();
    let said = coordinator.said();
    check(&said.deltas);
    assert_eq!(
        said.halted.map(|halted| halted.last_seq),
        Some(said.deltas.len() as u64)
    );
    let (iterations, steps) = sums(&said.deltas);
    assert_eq!(
        (iterations.scheduled, iterations.started, iterations.completed),
        (400, 400, 400)
    );
    assert_eq!(
        (steps.attempted, steps.sent, steps.ok, steps.wire_requests),
        (400, 400, 400, 400)
    );
    assert_eq!(served.requests(), 400);
    assert_eq!(
        said.deltas[0]
            .iterations
            .iter()
            .map(|row| row.counts.scheduled)
            .sum::<u64>(),
        200
    );
    let lags = said.deltas.iter().flat_map(|delta| &delta.sketches);
    let lags: u64 = lags
        .filter(|row| row.key.measure == Measure::DispatchLag)
        .map(|row| row.sketch.count())
        .sum();
    assert_eq!(lags, 400);
    assert!(said.beats > 0 && said.probes > 0);
    assert_eq!(said.deltas[0].progress.len(), 2, "one place for each shard");
}

#[tokio::test]
async fn setup_and_teardown_are_done_once_and_counted() {
    let served = target().await;
    let mut plan = plan_for(served.port, get("/items?token=${token}"), 50, 1);
    let mut login = get("/login");
    login.extract = vec![Extract {
        name: "token".to_owned(),
        from: ExtractFrom::Regex("h(el+)o".to_owned()),
        default: None,
    }];
    let step = |id, request| Step {
        id: Some(StepId(id)),
        action: Action::Request(Box::new(request)),
    };
    plan.setup = vec![step(0, login)];
    plan.scenarios[0].steps[0].id = Some(StepId(1));
    plan.teardown = vec![step(2, get("/logout?token=${token}"))];
    let mut script = Script::new(plan, 2);
    script.once = true;
    let coordinator = Coordinator::start(script).await;
    let working = crate::run(config(&coordinator.url), CancellationToken::new());
    tokio::time::timeout(LIMIT, working).await.unwrap().unwrap();
    let said = coordinator.said();
    let values = said.setup.unwrap().values;
    assert_eq!((values[0].name.as_str(), values[0].value.as_str()), ("token", "ell"));
    assert_eq!(said.teardown.unwrap().error, None);
    let (iterations, steps) = sums(&said.deltas);
    assert_eq!((iterations.completed, steps.sent, steps.ok), (50, 52, 52));
    assert_eq!((served.requests(), served.with("token=ell")), (52, 51));
    let setup = said.deltas[0].steps.iter().find(|row| row.step == StepId(0)).unwrap();
    assert_eq!(setup.counts.ok, 1);
    let last = said.deltas.last().unwrap();
    assert_eq!((last.last, last.steps.len(), last.steps[0].step), (true, 1, StepId(2)));
    assert!(last.interval > 0 && last.open == Open::default(), "{:?}", last.open);
}

#[tokio::test]
async fn the_traced_samples_are_those_of_the_sketches() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("samples");
    let served = target().await;
    let plan = plan_for(served.port, get("/"), 300, 2);
    let coordinator = Coordinator::start(Script::new(plan, 2)).await;
    let settings = Config {
        trace_samples: Some(path.clone()),
        ..config(&coordinator.url)
    };
    let working = crate::run(settings, CancellationToken::new());
    tokio::time::timeout(LIMIT, working).await.unwrap().unwrap();
    let mut merged: BTreeMap<String, Sketch> = BTreeMap::new();
    for row in coordinator.said().deltas.iter().flat_map(|delta| &delta.sketches) {
        let subject = match row.key.subject {
            Subject::Step(step) => format!("step:{step}"),
            Subject::Scenario(scenario) => format!("scenario:{scenario}"),
        };
        assert_eq!(row.key.group, OutcomeGroup::Ok);
        let key = format!(
            "{} {subject} ok {} {}",
            row.key.measure.word(),
            row.key.tag,
            row.key.segment
        );
        merged.entry(key).or_default().merge(&row.sketch).unwrap();
    }
    let mut traced: BTreeMap<String, Sketch> = BTreeMap::new();
    for line in std::fs::read_to_string(&path).unwrap().lines() {
        let (key, value) = line.rsplit_once(' ').unwrap();
        traced.entry(key.to_owned()).or_default().record(value.parse().unwrap());
    }
    let packed = |sketches: BTreeMap<String, Sketch>| -> Vec<(String, Packed)> {
        sketches.into_iter().map(|(key, sketch)| (key, sketch.pack())).collect()
    };
    let (merged, traced) = (packed(merged), packed(traced));
    assert_eq!(merged, traced);
    assert!(
        merged
            .iter()
            .any(|(key, sketch)| key.starts_with("response step:0 ok") && sketch.count() == 600)
    );
}

#[tokio::test]
async fn a_coordinator_that_restarts_loses_nothing() {
    let served = target().await;
    let plan = plan_for(served.port, get("/"), 100, 4);
    let mut script = Script::new(plan, 2);
    script.cut_after = Some(Duration::from_millis(2_200));
    let coordinator = Coordinator::start(script).await;
    let working = crate::run(config(&coordinator.url), CancellationToken::new());
    tokio::time::timeout(LIMIT, working).await.unwrap().unwrap();
    let said = coordinator.said();
    assert!(said.hellos >= 2, "the streams were cut");
    check(&said.deltas);
    let (iterations, steps) = sums(&said.deltas);
    assert_eq!((iterations.scheduled, iterations.started, steps.ok), (400, 400, 400));
    assert_eq!(served.requests(), 400);
}

#[tokio::test]
async fn without_a_renewal_nothing_is_sent_after_the_grant() {
    let served = target().await;
    let plan = plan_for(served.port, get("/"), 100, 5);
    let mut script = Script::new(plan, 2);
    script.grants = 1;
    script.grant = Duration::from_secs(2);
    script.stop_after = Some(Duration::from_secs(4));
    let coordinator = Coordinator::start(script).await;
    let working = crate::run(config(&coordinator.url), CancellationToken::new());
    tokio::time::timeout(LIMIT, working).await.unwrap().unwrap();
    let said = coordinator.said();
    check(&said.deltas);
    let (iterations, _) = sums(&said.deltas);
    assert_eq!(iterations.scheduled, 200);
    assert!(served.requests() <= 200 && iterations.started >= 190, "{iterations:?}");
}

#[tokio::test]
async fn a_worker_that_is_told_to_leave_drains_and_flushes() {
    let served = target().await;
    let plan = plan_for(served.port, get("/"), 100, 600);
    let coordinator = Coordinator::start(Script::new(plan, 2)).await;
    let stop = CancellationToken::new();
    let working = tokio::spawn(crate::run(
        Config {
            once: false,
            ..config(&coordinator.url)
        },
        stop.clone(),
    ));
    coordinator.until(|said| said.deltas.len() >= 2).await;
    stop.cancel();
    tokio::time::timeout(LIMIT, working).await.unwrap().unwrap().unwrap();
    let said = coordinator.said();
    check(&said.deltas);
    let (iterations, steps) = sums(&said.deltas);
    assert_eq!(iterations.started, iterations.completed);
    assert_eq!(steps.ok, served.requests());
    assert_eq!(said.halted.unwrap().reason, "the worker was told to leave");
}

#[tokio::test]
async fn counted_iterations_are_made_exactly() {
    let served = target().await;
    let mut plan = plan_for(served.port, get("/"), 1, 1);
    plan.loads[0].model = LoadModel::Iterations(barrage_model::plan::IterationsLoad {
        count: 5_000,
        users: 8,
        at_most: Duration::from_secs(20),
    });
    let coordinator = Coordinator::start(Script::new(plan, 2)).await;
    let working = crate::run(config(&coordinator.url), CancellationToken::new());
    tokio::time::timeout(LIMIT, working).await.unwrap().unwrap();
    let said = coordinator.said();
    check(&said.deltas);
    let (iterations, steps) = sums(&said.deltas);
    assert_eq!(
        (iterations.scheduled, iterations.completed, steps.ok),
        (5_000, 5_000, 5_000)
    );
    assert_eq!(served.requests(), 5_000);
}

#[tokio::test]
async fn what_cannot_be_prepared_is_said_in_one_sentence() {
    let served = target().await;
    let plan = plan_for(served.port, get("/"), 10, 1);
    let mut script = Script::new(plan, 2);
    script.shards = 9;
    let coordinator = Coordinator::start(script).await;
    let stop = CancellationToken::new();
    let working = tokio::spawn(crate::run(config(&coordinator.url), stop.clone()));
    let want = "9 load threads are asked for, but this worker offers 2";
    coordinator.until(|said| said.prepared.as_deref() == Some(want)).await;
    stop.cancel();
    tokio::time::timeout(LIMIT, working).await.unwrap().unwrap().unwrap();
}

#[tokio::test]
async fn a_worker_of_another_version_is_refused_with_the_reason() {
    let plan = plan_for(1, get("/"), 10, 1);
    let mut script = Script::new(plan, 2);
    script.refuse = Some("use the same version on both".to_owned());
    let coordinator = Coordinator::start(script).await;
    let working = crate::run(config(&coordinator.url), CancellationToken::new());
    let error = tokio::time::timeout(LIMIT, working).await.unwrap().unwrap_err();
    assert!(matches!(&error, WorkerError::Refused { reason } if reason == "use the same version on both"));
    assert!(error.is_start());
}

#[tokio::test]
async fn an_unreachable_coordinator_is_an_error_after_a_while() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let working = crate::run(config(&url), CancellationToken::new());
    let error = tokio::time::timeout(LIMIT, working).await.unwrap().unwrap_err();
    assert!(
        matches!(&error, WorkerError::CoordinatorUnreachable { source: Some(_), .. }),
        "{error:?}"
    );
    let bad = crate::run(config("not a url"), CancellationToken::new())
        .await
        .unwrap_err();
    assert!(matches!(bad, WorkerError::BadUrl { .. }));
}
