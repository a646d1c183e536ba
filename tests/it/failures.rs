//! Everything that can go wrong has a class of its own, and what cannot start says why in one sentence.

use std::net::{Ipv4Addr, TcpListener};
use std::pin::Pin;
use std::time::Duration;

use barrage_proto::v1::fleet_client::FleetClient;
use barrage_proto::v1::fleet_server::{Fleet as FleetService, FleetServer};
use barrage_proto::v1::runs_server::{Runs, RunsServer};
use barrage_proto::{PROTOCOL, v1};
use serde_json::Value;
use tempfile::TempDir;
use tokio_stream::Stream;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status, Streaming};

use crate::support::barrage::{Ended, Fleet, Process, home, run};
use crate::support::plan;
use crate::support::raw::{Raw, Way};
use crate::support::report::{assert_exit, assert_iterations_balance, assert_steps_balance, at, sum, whole};
use crate::support::server::{Reply, Server, closed_port};
use crate::support::target::{Answer, Target};

const COUNT: u64 = 20;
const LIMIT: Duration = Duration::from_mins(1);

/// Sends a few requests one after the other; returns the report.
fn broken(home: &TempDir, url: &str, step: &str, timeout: &str) -> Value {
    let text = format!(
        "
name: failures
target: {url}
iterations: {{ count: {COUNT}, users: 1 }}
defaults: {{ timeout: {timeout} }}
steps:
  - get: {{ name: probe, url: /probe }}
{step}
sla:
  - {{ that: error_rate < 1%, min_samples: 1 }}
"
    );
    let plan = plan::write(home, &text);
    let args = [
        "run",
        &plan,
        "--format",
        "json",
        "--accept-invalid",
        "--quiet",
        "--threads",
        "1",
    ];
    let ended = Process::start(home, args).wait(LIMIT);
    let report = ended.json();
    assert_exit(&ended, 99);
    assert_iterations_balance(&report, "iterations");
    assert_steps_balance(&report, "steps_total");
    report
}

/// Asserts that so many requests ended in this class and none in any other.
#[track_caller]
fn assert_class(report: &Value, class: &str, count: u64) {
    let of = |class: &str| match class {
        "timeout" => whole(report, "steps_total.timeout"),
        class => whole(report, &format!("steps_total.failed.{class}")),
    };
    let failures = sum(report, "steps_total.failed") + of("timeout");
    assert_eq!(
        (of(class), failures),
        (count, count),
        "{class}: {:#}",
        report["steps_total"]
    );
    assert_eq!(whole(report, "steps_total.ok"), COUNT - count, "{class}");
    assert_eq!(whole(report, "iterations.started"), COUNT, "{class}");
    assert_eq!(whole(report, "iterations.broken_off"), count, "{class}");
    let samples = at(report, "errors").as_array().expect("errors is a list");
    assert!(!samples.is_empty(), "{class}: a failure has a sample");
    for sample in samples {
        assert_eq!(sample["class"], class, "{sample:#}");
        assert_eq!(sample["step"], "probe", "{sample:#}");
        assert!(
            sample["message"].as_str().is_some_and(|text| !text.is_empty()),
            "{sample:#}"
        );
    }
}

#[test]
fn each_way_to_fail_on_the_wire_is_a_class() {
    let home = home();
    for (way, class, count) in [
        (Way::Reset, "reset", COUNT),
        (Way::HangUp, "reset", COUNT),
        (Way::Half, "reset", COUNT),
        (Way::Garbage, "protocol", COUNT),
        (Way::Silence, "timeout", COUNT),
        (Way::OnlyOnce, "closed_on_reuse", COUNT / 2),
    ] {
        let server = Raw::start(way);
        // Only silence is to meet the limit.
        let timeout = if way == Way::Silence { "100ms" } else { "20s" };
        assert_class(&broken(&home, &server.url, "", timeout), class, count);
    }
}

#[test]
fn each_way_to_fail_before_the_wire_is_a_class() {
    let home = home();
    let clear = Server::start(|_| Ok(Reply::text("ok")));
    let unsigned = Server::tls(&[], |_| Ok(Reply::text("ok")));
    let port = closed_port();
    for (url, class) in [
        (format!("http://127.0.0.1:{port}"), "connect"),
        (format!("http://barrage-test.invalid:{port}"), "dns"),
        (unsigned.url.clone(), "tls"),
        (clear.url.replace("http://", "https://"), "tls"),
    ] {
        assert_class(&broken(&home, &url, "", "20s"), class, COUNT);
    }
    assert_eq!(
        unsigned.count() + clear.count(),
        0,
        "nothing is sent to a server that is not trusted"
    );
}

fn ok(_: &str) -> Answer {
    Answer {
        status: 200,
        headers: "",
        delay: Duration::ZERO,
    }
}

#[test]
fn each_answer_that_is_not_as_expected_is_a_class() {
    let home = home();
    let server = Server::start(|_| Ok(Reply::text("no luck").status(503).with("x-why", "tired")));
    for (step, class) in [
        ("", "status"),
        ("    expect: { status: 2xx }", "status"),
        ("    expect: { status: 503, body_contains: luck of the draw }", "check"),
        ("    expect: { status: 503, header: { x-why: absent } }", "check"),
        ("    expect: { status: 503, json: { $.a: 1 } }", "check"),
        ("    expect: { status: 503, size: 8B..9B }", "check"),
        (
            "    expect: { status: 503 }\n    extract: { token: { regex: 'token=(\\w+)' } }",
            "extract",
        ),
        (
            "    expect: { status: 503 }\n    extract: { token: { header: x-token } }",
            "extract",
        ),
    ] {
        let report = broken(&home, &server.url, step, "20s");
        assert_class(&report, class, COUNT);
        assert_eq!(report["errors"][0]["status"], 503, "{step}");
    }
}

/// Asserts that a command could not start and said why in one sentence.
#[track_caller]
fn assert_no_start(ended: &Ended, parts: &[&str]) {
    assert_eq!(ended.code, 4, "{}\n{}", ended.stdout, ended.stderr);
    assert_eq!(ended.stdout, "", "{}", ended.stderr);
    let lines: Vec<&str> = ended.stderr.lines().collect();
    let [line] = lines[..] else {
        panic!("not one line: {}", ended.stderr)
    };
    let sentence = line
        .strip_prefix("error: ")
        .unwrap_or_else(|| panic!("no error: {line}"));
    for part in parts {
        assert!(sentence.contains(part), "{part:?} is missing: {sentence}");
    }
    assert!(
        !sentence.contains("Status {") && !sentence.contains("Os {"),
        "{sentence}"
    );
}

#[test]
fn port_in_use() {
    let home = home();
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has a free port");
    let address = taken.local_addr().expect("a listener has an address");
    let (port, address) = (address.port().to_string(), address.to_string());
    for command in ["coordinator", "target"] {
        let ended = Process::start(&home, [command, "--listen", &address]).wait(LIMIT);
        assert_no_start(&ended, &[&port, "127.0.0.1", "in use"]);
    }
}

#[test]
fn coordinator_unreachable() {
    let home = home();
    let plan = plan::write(
        &home,
        "target: http://127.0.0.1:9\nload: { rate: 1/s, for: 1s }\nsteps: [ get: / ]\n",
    );
    let url = format!("http://127.0.0.1:{}", closed_port());
    for command in [
        &["submit", &plan][..],
        &["run", &plan],
        &["worker"],
        &["health"],
        &["watch"],
        &["stop", "--all"],
        &["runs", "ls"],
        &["runs", "prune", "--keep", "1"],
        &["report"],
    ] {
        let args = command.iter().copied().chain(["--coordinator", &url]);
        let ended = Process::start(&home, args).wait(LIMIT);
        assert_no_start(&ended, &[url.trim_start_matches("http://"), "refused"]);
    }
    for command in [&["submit", &plan][..], &["health"], &["watch"], &["stop", "--all"]] {
        let ended = run(&home, command);
        assert_no_start(&ended, &["no coordinator is registered", "--coordinator"]);
    }
}

#[test]
fn not_enough_workers() {
    let home = home();
    let target = Target::start(ok, None);
    let text = |wait: &str| {
        format!(
            "
name: lonely
target: {}
load: {{ rate: 10/s, for: 1s }}
workers: {{ min: 3, wait: {wait} }}
steps: [ get: / ]
",
            target.url
        )
    };
    let fleet = Fleet::start(&home, 2, |_| Vec::new());
    let url = &fleet.coordinator.url;
    joined(&home, url, 2);
    let plan = plan::write(&home, &text("60s"));
    let ended = run(&home, ["submit", &plan, "--no-wait", "--coordinator", url, "--quiet"]);
    assert_no_start(&ended, &["1 of 3 workers"]);
    let plan = plan::write(&home, &text("1s"));
    let ended = Process::start(&home, ["submit", &plan, "--coordinator", url, "--quiet"]).wait(LIMIT);
    assert_no_start(&ended, &["1 of 3 workers"]);

    // Labels that no worker carries, and more than the plan asks for.
    let labelled = text("1s").replace("min: 3", "min: 1, labels: { zone: mars }");
    let plan = plan::write(&home, &labelled);
    let ended = run(&home, ["submit", &plan, "--no-wait", "--coordinator", url, "--quiet"]);
    assert_no_start(&ended, &["1 of 1 worker", "zone", "mars"]);
    let plan = plan::write(&home, &text("1s").replace("min: 3", "min: 1"));
    let ended = run(
        &home,
        [
            "submit",
            &plan,
            "--no-wait",
            "--min-workers",
            "4",
            "--coordinator",
            url,
            "--quiet",
        ],
    );
    assert_no_start(&ended, &["2 of 4 workers"]);
    assert_eq!(target.requests(), 0, "none of them has sent anything");
}

/// Waits until so many workers have joined.
fn joined(home: &TempDir, url: &str, count: u32) {
    let count = count.to_string();
    crate::support::wait::until("the workers' joining", LIMIT, || {
        let ended = run(home, ["health", "--coordinator", url, "--min-workers", &count]);
        (ended.code == 0).then_some(())
    });
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime starts");
    runtime.block_on(future)
}

#[test]
fn worker_of_another_version_is_refused() {
    let home = home();
    let fleet = Fleet::start(&home, 0, |_| Vec::new());
    let url = fleet.coordinator.url.clone();
    let reason = block_on(async {
        let mut client = FleetClient::connect(url.clone())
            .await
            .expect("the coordinator listens");
        let hello = v1::Hello {
            protocol: PROTOCOL + 1,
            version: "99.0.0".to_owned(),
            name: "from the future".to_owned(),
            incarnation: 1,
            shards: 1,
            ..v1::Hello::default()
        };
        let frame = v1::FromWorker {
            frame: Some(v1::from_worker::Frame::Hello(hello)),
        };
        // The stream stays open: the coordinator has to end it.
        let frames = futures_util::StreamExt::chain(tokio_stream::iter([frame]), tokio_stream::pending());
        let refusal = async {
            let mut answers = match client.control(frames).await {
                Err(status) => return status.message().to_owned(),
                Ok(answers) => answers.into_inner(),
            };
            match answers.message().await {
                Err(status) => status.message().to_owned(),
                Ok(Some(v1::ToWorker {
                    frame: Some(v1::to_worker::Frame::Refused(refused)),
                })) => refused.reason,
                Ok(other) => panic!("not a refusal: {other:?}"),
            }
        };
        tokio::time::timeout(LIMIT, refusal)
            .await
            .expect("a refusal comes in time")
    });
    let (own, other) = (format!("protocol {PROTOCOL}"), format!("protocol {}", PROTOCOL + 1));
    assert!(reason.contains(&own) && reason.contains(&other), "{reason}");
    let ended = run(&home, ["health", "--coordinator", &fleet.coordinator.url]);
    assert!(
        ended.stdout.contains("0 workers"),
        "it has not joined: {}",
        ended.stdout
    );
}

/// A coordinator of another version: refuses workers, and says its version to clients.
struct Other;

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

fn refusal() -> String {
    format!(
        "this coordinator speaks protocol {}, the worker protocol {PROTOCOL}",
        PROTOCOL + 1
    )
}

#[tonic::async_trait]
impl FleetService for Other {
    type ControlStream = Answers<v1::ToWorker>;
    type UploadStream = Answers<v1::UploadReply>;
    type FetchStream = Answers<v1::Chunk>;

    async fn control(&self, _: Request<Streaming<v1::FromWorker>>) -> Result<Response<Self::ControlStream>, Status> {
        let refused = v1::Refused { reason: refusal() };
        let frame = v1::ToWorker {
            frame: Some(v1::to_worker::Frame::Refused(refused)),
        };
        Ok(Response::new(Box::pin(tokio_stream::iter([Ok(frame)]))))
    }

    async fn upload(&self, _: Request<Streaming<v1::UploadFrame>>) -> Result<Response<Self::UploadStream>, Status> {
        Err(Status::unimplemented("no run"))
    }

    async fn fetch(&self, _: Request<v1::FetchRequest>) -> Result<Response<Self::FetchStream>, Status> {
        Err(Status::unimplemented("no file"))
    }
}

#[tonic::async_trait]
impl Runs for Other {
    type WatchStream = Answers<v1::Snapshot>;
    type ReportStream = Answers<v1::ReportChunk>;

    async fn health(&self, _: Request<v1::HealthRequest>) -> Result<Response<v1::HealthReply>, Status> {
        Ok(Response::new(v1::HealthReply {
            version: "99.0.0".to_owned(),
            protocol: PROTOCOL + 1,
            store_ok: true,
            ..v1::HealthReply::default()
        }))
    }

    async fn missing(&self, _: Request<v1::MissingRequest>) -> Result<Response<v1::MissingReply>, Status> {
        Err(Status::unimplemented("other version"))
    }

    async fn put(&self, _: Request<Streaming<v1::PutFrame>>) -> Result<Response<v1::PutReply>, Status> {
        Err(Status::unimplemented("other version"))
    }

    async fn submit(&self, _: Request<v1::SubmitRequest>) -> Result<Response<v1::SubmitReply>, Status> {
        Err(Status::unimplemented("other version"))
    }

    async fn watch(&self, _: Request<v1::WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        Err(Status::unimplemented("other version"))
    }

    async fn list(&self, _: Request<v1::ListRequest>) -> Result<Response<v1::ListReply>, Status> {
        Err(Status::unimplemented("other version"))
    }

    async fn stop(&self, _: Request<v1::StopRequest>) -> Result<Response<v1::StopReply>, Status> {
        Err(Status::unimplemented("other version"))
    }

    async fn report(&self, _: Request<v1::ReportRequest>) -> Result<Response<Self::ReportStream>, Status> {
        Err(Status::unimplemented("other version"))
    }

    async fn remove(&self, _: Request<v1::RemoveRequest>) -> Result<Response<v1::RemoveReply>, Status> {
        Err(Status::unimplemented("other version"))
    }

    async fn prune(&self, _: Request<v1::PruneRequest>) -> Result<Response<v1::PruneReply>, Status> {
        Err(Status::unimplemented("other version"))
    }
}

#[test]
fn coordinator_of_another_version() {
    let home = home();
    let plan = plan::write(
        &home,
        "target: http://127.0.0.1:9\nload: { rate: 1/s, for: 1s }\nsteps: [ get: / ]\n",
    );
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime starts");
    let listener = runtime
        .block_on(tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))
        .expect("loopback has a free port");
    let url = format!("http://{}", listener.local_addr().expect("a listener has an address"));
    let server = tonic::transport::Server::builder()
        .add_service(FleetServer::new(Other))
        .add_service(RunsServer::new(Other))
        .serve_with_incoming(TcpListenerStream::new(listener));
    let serving = runtime.spawn(server);
    let worker = Process::start(&home, ["worker", "--coordinator", &url]).wait(LIMIT);
    assert_no_start(&worker, &[&refusal()]);
    let (own, other) = (format!("protocol {PROTOCOL}"), format!("protocol {}", PROTOCOL + 1));
    let submit = Process::start(&home, ["submit", &plan, "--coordinator", &url]).wait(LIMIT);
    assert_no_start(&submit, &[&own, &other, "99.0.0"]);
    serving.abort();
}
