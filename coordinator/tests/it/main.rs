//! The coordinator over real sockets, with workers that only count.
#![cfg(test)]

mod hostile;
mod worker;

use std::path::Path;
use std::time::Duration;

use barrage_coordinator::{Config, Coordinator, StartError};
use barrage_proto::v1::fleet_client::FleetClient;
use barrage_proto::v1::runs_client::RunsClient;
use barrage_proto::v1::{self, put_frame::Frame};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::Code;
use tonic::transport::Channel;

use worker::{Habits, hello, work};

const LIMIT: Duration = Duration::from_mins(1);

struct Running {
    url: String,
    client: RunsClient<Channel>,
    stop: CancellationToken,
    served: JoinHandle<()>,
}

impl Running {
    async fn new(store: &Path) -> Self {
        let listen = "127.0.0.1:0".parse().unwrap();
        let config = Config {
            listen,
            store: store.to_owned(),
            insecure: false,
        };
        let coordinator = Coordinator::bind(config).await.unwrap();
        let url = format!("http://{}", coordinator.address());
        let stop = CancellationToken::new();
        let told = stop.clone();
        let served = tokio::spawn(async move { coordinator.run(told).await.unwrap() });
        let client = RunsClient::connect(url.clone()).await.unwrap();
        Self {
            url,
            client,
            stop,
            served,
        }
    }

    async fn end(self) {
        self.stop.cancel();
        tokio::time::timeout(LIMIT, self.served)
            .await
            .expect("it ends in time")
            .unwrap();
    }

    fn worker(&self, name: &str, incarnation: u64, habits: Habits) -> JoinHandle<worker::Diary> {
        tokio::spawn(work(self.url.clone(), hello(name, incarnation), habits))
    }

    async fn submit(&mut self, plan: &str) -> u64 {
        let request = v1::SubmitRequest {
            plan_yaml: plan.to_owned(),
            ..v1::SubmitRequest::default()
        };
        let reply = self.client.submit(request).await.unwrap().into_inner();
        assert_eq!(reply.errors, Vec::<String>::new());
        reply.run
    }

    /// Follows a run to its end.
    async fn follow(&mut self, run: u64) -> v1::Snapshot {
        let mut stream = self.client.watch(v1::WatchRequest { run }).await.unwrap().into_inner();
        let mut last = None;
        let end = async {
            while let Some(snapshot) = stream.message().await.unwrap() {
                last = Some(snapshot);
            }
        };
        tokio::time::timeout(LIMIT, end).await.expect("the run ends in time");
        last.unwrap()
    }

    async fn report(&mut self, run: u64, format: &str) -> Vec<u8> {
        let request = v1::ReportRequest {
            run,
            format: format.to_owned(),
        };
        let mut stream = self.client.report(request).await.unwrap().into_inner();
        let mut whole = Vec::new();
        while let Some(chunk) = stream.message().await.unwrap() {
            whole.extend(chunk.data);
        }
        whole
    }

    async fn json(&mut self, run: u64) -> serde_json::Value {
        serde_json::from_slice(&self.report(run, "json").await).unwrap()
    }
}

fn plan(rate: &str, length: &str, min: u32, more: &str) -> String {
    format!(
        "name: sample
target: http://127.0.0.1:9
seed: 7
load: {{ stages: [ hold: {{ rate: {rate}, for: {length} }} ], max_active: 100 }}
scenarios: [ {{ name: home, steps: [ get: / ] }} ]
workers: {{ min: {min}, wait: 20s, on_loss: continue }}
{more}
"
    )
}

#[tokio::test]
async fn two_workers_make_one_run_that_can_be_shown_again_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let mut running = Running::new(dir.path()).await;
    let workers = [
        running.worker("a", 1, Habits::default()),
        running.worker(
            "b",
            2,
            Habits {
                repeats: true,
                ..Habits::default()
            },
        ),
    ];
    let run = running
        .submit(&plan("101/s", "3s", 2, "sla: [ error_rate < 1% ]"))
        .await;
    let last = running.follow(run).await;
    assert_eq!((last.exit_code, last.verdict.as_str()), (Some(0), "passed"), "{last:?}");
    assert_eq!((last.started, last.completed), (303, 303));
    for worker in workers {
        let diary = worker.await.unwrap();
        assert!(diary[0] == "welcome" && diary[1].ends_with("of 2"), "{diary:?}");
        assert_eq!(diary[2..], ["start", "grants", "release"]);
    }
    let report = running.json(run).await;
    assert_eq!(report["iterations"]["scheduled"], 303, "{report:#}");
    assert_eq!(report["workers"].as_array().unwrap().len(), 2);
    let before = running.report(run, "json").await;
    running.end().await;

    let mut again = Running::new(dir.path()).await;
    assert_eq!(again.follow(run).await.exit_code, Some(0));
    let after = again.report(run, "json").await;
    assert_eq!(String::from_utf8(before).unwrap(), String::from_utf8(after).unwrap());
    for format in ["text", "html", "markdown", "junit", "csv", "health", "hlog"] {
        assert!(!again.report(run, format).await.is_empty(), "{format}");
    }
    let listed = again
        .client
        .list(v1::ListRequest { limit: 0 })
        .await
        .unwrap()
        .into_inner()
        .runs;
    assert_eq!(
        (listed.len(), listed[0].run, listed[0].state.as_str()),
        (1, run, "finished")
    );
    assert!(
        again
            .client
            .remove(v1::RemoveRequest { run })
            .await
            .unwrap()
            .into_inner()
            .removed
    );
    let gone = again
        .client
        .report(v1::ReportRequest {
            run,
            format: "json".to_owned(),
        })
        .await;
    assert_eq!(gone.unwrap_err().code(), Code::NotFound);
    again.end().await;
}

#[tokio::test]
async fn a_worker_that_dies_leaves_an_exact_hole() {
    let dir = tempfile::tempdir().unwrap();
    let mut running = Running::new(dir.path()).await;
    let good = running.worker("a", 1, Habits::default());
    let bad = running.worker(
        "b",
        2,
        Habits {
            dies_after: Some(1),
            ..Habits::default()
        },
    );
    let run = running.submit(&plan("100/s", "4s", 2, "")).await;
    let last = running.follow(run).await;
    good.await.unwrap();
    bad.await.unwrap();
    let report = running.json(run).await;
    let iterations = &report["iterations"];
    assert_eq!(iterations["scheduled"], 400, "{report:#}");
    // The whole rest of its share lies within its grant.
    assert_eq!(
        (&iterations["started"], &iterations["unknown"]),
        (&250.into(), &150.into()),
        "{report:#}"
    );
    assert_eq!(
        (last.exit_code, last.verdict.as_str()),
        (Some(95), "inconclusive"),
        "{last:?}"
    );
    running.end().await;
}

#[tokio::test]
async fn a_worker_that_lies_is_thrown_out() {
    let dir = tempfile::tempdir().unwrap();
    let mut running = Running::new(dir.path()).await;
    let liar = running.worker(
        "a",
        1,
        Habits {
            lies: true,
            ..Habits::default()
        },
    );
    let run = running
        .submit(&plan("10/s", "2s", 1, "").replace("continue", "abort"))
        .await;
    let last = running.follow(run).await;
    assert_eq!(last.exit_code, Some(95), "{last:?}");
    let report = running.json(run).await;
    assert_eq!(report["iterations"]["started"], 0);
    assert!(
        report["stopped_early"]["reason"]
            .as_str()
            .unwrap()
            .contains("broke the protocol"),
        "{report:#}"
    );
    liar.await.unwrap();
    running.end().await;
}

#[tokio::test]
async fn another_version_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let running = Running::new(dir.path()).await;
    let other = v1::Hello {
        protocol: 99,
        ..hello("a", 1)
    };
    let diary = work(running.url.clone(), other, Habits::default()).await;
    assert_eq!(diary.len(), 1);
    assert!(diary[0].contains("speaks protocol 99"), "{diary:?}");
    running.end().await;
}

#[tokio::test]
async fn a_run_waits_visibly_and_gives_up() {
    let dir = tempfile::tempdir().unwrap();
    let mut running = Running::new(dir.path()).await;
    let text = plan("10/s", "2s", 3, "").replace("wait: 20s", "wait: 2s, labels: { role: eu }");
    let worker = running.worker("a", 1, Habits::default());
    let run = running.submit(&text).await;
    let mut stream = running
        .client
        .watch(v1::WatchRequest { run })
        .await
        .unwrap()
        .into_inner();
    let mut seen = Vec::new();
    while let Some(snapshot) = stream.message().await.unwrap() {
        seen.push((snapshot.state, snapshot.detail, snapshot.exit_code));
    }
    let waiting = "waiting for 2 of 3 workers with role=eu";
    assert!(
        seen.iter()
            .any(|(state, detail, _)| state == "waiting" && detail == waiting),
        "{seen:?}"
    );
    let (state, detail, exit_code) = seen.pop().unwrap();
    assert_eq!((state.as_str(), exit_code), ("finished", Some(4)));
    assert_eq!(detail, format!("gave up after 2s {waiting}"));
    let request = v1::SubmitRequest {
        plan_yaml: text,
        no_wait: true,
        ..v1::SubmitRequest::default()
    };
    let refused = running.client.submit(request).await.unwrap_err();
    assert_eq!((refused.code(), refused.message()), (Code::FailedPrecondition, waiting));
    worker.abort();
    running.end().await;
}

#[tokio::test]
async fn a_stop_ends_a_run_wherever_it_stands() {
    let dir = tempfile::tempdir().unwrap();
    let mut running = Running::new(dir.path()).await;
    let waiting = running.submit(&plan("10/s", "2s", 5, "")).await;
    let order = v1::StopRequest {
        run: Some(waiting),
        reason: "no more".to_owned(),
        ..v1::StopRequest::default()
    };
    assert_eq!(
        running.client.stop(order.clone()).await.unwrap().into_inner().runs,
        [waiting]
    );
    let last = running.follow(waiting).await;
    assert_eq!(
        (last.exit_code, last.detail.as_str()),
        (Some(96), "no more"),
        "{last:?}"
    );
    assert_eq!(running.client.stop(order).await.unwrap_err().code(), Code::NotFound);
    let none = running.client.stop(v1::StopRequest::default()).await.unwrap_err();
    assert_eq!(none.code(), Code::InvalidArgument);
    running.end().await;
}

#[tokio::test]
async fn bad_plans_and_missing_files_make_no_run() {
    let dir = tempfile::tempdir().unwrap();
    let mut running = Running::new(dir.path()).await;
    let with_data = plan("10/s", "2s", 1, "data: { rows: { csv: rows.csv } }");
    let none = plan("10/s", "2s", 200, "");
    for (text, want) in [
        ("lode: 1", "unknown key"),
        (with_data.as_str(), "the file \"rows.csv\" was not sent along"),
        (none.as_str(), "expected at least 200, one for each worker"),
    ] {
        let request = v1::SubmitRequest {
            plan_yaml: text.to_owned(),
            ..v1::SubmitRequest::default()
        };
        let reply = running.client.submit(request).await.unwrap().into_inner();
        assert!(reply.errors.join("\n").contains(want), "{text}: {:?}", reply.errors);
        assert_eq!(reply.run, 0);
    }
    assert_eq!(
        running
            .client
            .list(v1::ListRequest { limit: 0 })
            .await
            .unwrap()
            .into_inner()
            .runs,
        []
    );
    running.end().await;
}

#[tokio::test]
async fn files_go_in_and_out_by_content() {
    let dir = tempfile::tempdir().unwrap();
    let mut running = Running::new(dir.path()).await;
    let content: Vec<u8> = (0..700_000u32).flat_map(u32::to_le_bytes).collect();
    let hash = Sha256::digest(&content).to_vec();
    let missing = v1::MissingRequest {
        sha256: vec![hash.clone()],
    };
    let reply = running.client.missing(missing.clone()).await.unwrap().into_inner();
    assert_eq!(reply.sha256, missing.sha256);
    let frames = |content: &[u8]| {
        let name = v1::PutFrame {
            frame: Some(Frame::Sha256(hash.clone())),
        };
        let data = content.chunks(100_000).map(|data| v1::PutFrame {
            frame: Some(Frame::Data(data.to_vec())),
        });
        tokio_stream::iter(std::iter::once(name).chain(data).collect::<Vec<_>>())
    };
    let wrong = running.client.put(frames(&content[1..])).await.unwrap_err();
    assert_eq!(wrong.code(), Code::DataLoss);
    assert_eq!(
        running.client.put(frames(&content)).await.unwrap().into_inner().bytes,
        content.len() as u64
    );
    assert!(
        running
            .client
            .missing(missing)
            .await
            .unwrap()
            .into_inner()
            .sha256
            .is_empty()
    );
    let mut fleet = FleetClient::connect(running.url.clone()).await.unwrap();
    let mut chunks = fleet
        .fetch(v1::FetchRequest { sha256: hash })
        .await
        .unwrap()
        .into_inner();
    let mut back = Vec::new();
    while let Some(chunk) = chunks.message().await.unwrap() {
        back.extend(chunk.data);
    }
    assert!(back == content);
    let unknown = fleet.fetch(v1::FetchRequest { sha256: vec![0; 32] }).await.unwrap_err();
    assert_eq!(unknown.code(), Code::NotFound);
    running.end().await;
}

async fn get(url: &str, path: &str, host: &str) -> String {
    let address = url.trim_start_matches("http://");
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn http_shares_the_port() {
    let dir = tempfile::tempdir().unwrap();
    let mut running = Running::new(dir.path()).await;
    let worker = running.worker("a", 1, Habits::default());
    let run = running.submit(&plan("10/s", "1s", 1, "")).await;
    running.follow(run).await;
    worker.await.unwrap();
    let health = get(&running.url, "/health", "localhost").await;
    assert!(
        health.starts_with("HTTP/1.1 200") && health.contains("\"status\":\"ok\""),
        "{health}"
    );
    let listed = get(&running.url, "/api/runs", "127.0.0.1").await;
    assert!(listed.contains(&format!("{run:016x}")), "{listed}");
    let report = get(&running.url, &format!("/api/runs/{run:016x}"), "localhost").await;
    assert!(report.contains("\"schema_version\""), "{report}");
    for (path, host, want) in [
        ("/api/runs/0000000000000000", "localhost", "HTTP/1.1 404"),
        ("/api/runs/x", "localhost", "HTTP/1.1 400"),
        ("/api/runs", "evil.example", "HTTP/1.1 403"),
    ] {
        let answer = get(&running.url, path, host).await;
        assert!(answer.starts_with(want), "{path} {host}: {answer}");
    }
    running.end().await;
}

#[tokio::test]
async fn what_keeps_it_from_starting_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let running = Running::new(dir.path()).await;
    let taken = running.url.trim_start_matches("http://").parse().unwrap();
    let other = tempfile::tempdir().unwrap();
    let bind = |listen, store: &Path| {
        Coordinator::bind(Config {
            listen,
            store: store.to_owned(),
            insecure: false,
        })
    };
    let error = bind(taken, other.path()).await.unwrap_err();
    assert!(matches!(error, StartError::PortInUse(_)), "{error}");
    let error = bind("0.0.0.0:0".parse().unwrap(), other.path()).await.unwrap_err();
    assert!(matches!(error, StartError::NotLoopback(_)), "{error}");
    let file = other.path().join("file");
    std::fs::write(&file, "no folder").unwrap();
    let error = bind("127.0.0.1:0".parse().unwrap(), &file).await.unwrap_err();
    assert!(matches!(error, StartError::Store(_)), "{error}");
    running.end().await;
}

#[tokio::test]
async fn the_end_is_not_held_up_by_idle_connections() {
    let dir = tempfile::tempdir().unwrap();
    let running = Running::new(dir.path()).await;
    let address = running.url.trim_start_matches("http://").to_owned();
    let idle = tokio::net::TcpStream::connect(address).await.unwrap();
    let worker = running.worker("a", 1, Habits::default());
    tokio::time::sleep(Duration::from_millis(100)).await;
    let begin = tokio::time::Instant::now();
    running.end().await;
    assert!(begin.elapsed() < Duration::from_secs(8), "{:?}", begin.elapsed());
    drop((idle, worker));
}
