//! Peers that mean ill: what they send costs them their connection or their seat, and nobody else anything.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use barrage_model::delta::{Delta, IterationRow, StepRow};
use barrage_model::ids::{LoadId, ScenarioId, SegmentId, ShardId, StepId, TagId};
use barrage_proto::convert::delta_out;
use barrage_proto::v1::fleet_client::FleetClient;
use barrage_proto::v1::{self, from_worker::Frame as Say};

use super::worker::{Habits, hello};
use super::{Running, plan};

/// The status line of the answer to one plain request.
async fn post(running: &Running, path: &str, fields: &str, body: &[u8]) -> String {
    let address = running.url.strip_prefix("http://").unwrap();
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n{fields}content-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(body).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    let answer = String::from_utf8_lossy(&answer).into_owned();
    answer.lines().next().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn a_page_in_a_browser_cannot_give_orders() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::new(folder.path()).await;
    let empty = [0, 0, 0, 0, 0];
    for (path, fields, want) in [
        (
            "/barrage.v1.Runs/Health",
            "content-type: text/plain\r\norigin: http://evil.example\r\n",
            "415",
        ),
        ("/barrage.v1.Runs/Stop", "content-type: application/grpc\r\n", "415"),
        ("/barrage.v1.Fleet/Fetch", "", "415"),
        ("/barrage.v1.Other/Call", "content-type: application/grpc\r\n", "404"),
        ("/", "", "404"),
        ("/metrics", "", "404"),
    ] {
        let got = post(&running, path, fields, &empty).await;
        assert!(
            got.starts_with(&format!("HTTP/1.1 {want} ")),
            "{path} {fields:?}: {got}"
        );
    }
    running.end().await;
}

/// A delta that says something else than what was counted.
fn with(delta: &Delta, change: impl FnOnce(&mut Delta)) -> Vec<u8> {
    let mut delta = delta.clone();
    change(&mut delta);
    delta_out(&delta)
}

fn each_iteration(delta: &Delta, change: fn(&mut IterationRow)) -> Vec<u8> {
    with(delta, |delta| delta.iterations.iter_mut().for_each(change))
}

fn each_step(delta: &Delta, change: fn(&mut StepRow)) -> Vec<u8> {
    with(delta, |delta| delta.steps.iter_mut().for_each(change))
}

/// Makes the bytes that are sent in place of a delta.
type Twist = fn(&Delta) -> Vec<u8>;

/// What a worker may send in place of its deltas, and a part of what the report says about it.
const LIES: [(&str, Twist, &str); 15] = [
    ("nothing", |_| Vec::new(), "begins at 1"),
    ("garbage", |_| vec![0xff; 1_000], "cannot be decoded"),
    ("a bomb of rows", |_| [0x22, 0x00].repeat(10 << 20), "too many rows"),
    (
        "a load",
        |delta| each_iteration(delta, |row| row.load = LoadId(9)),
        "load",
    ),
    (
        "a scenario",
        |delta| each_iteration(delta, |row| row.scenario = ScenarioId(9)),
        "scenario",
    ),
    (
        "a segment",
        |delta| each_iteration(delta, |row| row.segment = SegmentId(9_999)),
        "segment",
    ),
    ("a step", |delta| each_step(delta, |row| row.step = StepId(77)), "step"),
    ("a tag", |delta| each_step(delta, |row| row.tag = TagId(7)), "tag"),
    (
        "another's shard",
        |delta| {
            with(delta, |delta| {
                delta.progress.iter_mut().for_each(|at| at.shard = ShardId(u32::MAX));
            })
        },
        "shard",
    ),
    (
        "an interval after all",
        |delta| with(delta, |delta| delta.interval = u32::MAX),
        "interval",
    ),
    (
        "a late interval",
        |delta| with(delta, |delta| delta.interval += 600_000),
        "has not begun yet",
    ),
    (
        "a sum too many",
        |delta| each_iteration(delta, |row| row.counts.completed += 1),
        "",
    ),
    (
        "the most of all",
        |delta| each_iteration(delta, |row| row.counts.started = u64::MAX),
        "",
    ),
    (
        "the most of all sent",
        |delta| each_step(delta, |row| (row.counts.sent, row.counts.ok) = (u64::MAX, u64::MAX)),
        "",
    ),
    (
        "the most that is open",
        |delta| with(delta, |delta| delta.open.in_progress = u64::MAX),
        "",
    ),
];

#[tokio::test]
async fn whatever_a_worker_sends_costs_its_own_run_alone() {
    let mut all = tokio::task::JoinSet::new();
    for (name, twist, said) in LIES {
        all.spawn(async move {
            let folder = tempfile::tempdir().unwrap();
            let mut running = Running::new(folder.path()).await;
            let habits = Habits {
                twist: Some(twist),
                ..Habits::default()
            };
            let liar = running.worker("liar", 1, habits);
            let honest = running.worker("honest", 2, Habits::default());
            let run = running.submit(&plan("20/s", "2s", 2, "")).await;
            let last = running.follow(run).await;
            assert!(matches!(last.exit_code, Some(94 | 95)), "{name}: {last:?}");
            let report = String::from_utf8(running.report(run, "json").await).unwrap();
            assert!(report.contains(said), "{name}: {report}");
            honest.await.unwrap();
            liar.abort();
            let honest = running.worker("honest again", 3, Habits::default());
            let labels = plan("20/s", "1s", 1, "").replace("min: 1", "min: 1, max: 1");
            let run = running.submit(&labels).await;
            // The liar may have been given the run; then it has none of the honest one's doing in it.
            let last = running.follow(run).await;
            assert!(last.exit_code.is_some(), "{name}: {last:?}");
            honest.abort();
            running.stop.cancel();
        });
    }
    let mut failed = 0;
    while let Some(done) = all.join_next().await {
        failed += usize::from(done.is_err());
    }
    assert_eq!(failed, 0, "each has said above what is wrong");
}

#[tokio::test]
async fn words_that_are_too_large_end_their_stream() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::new(folder.path()).await;
    let mut client = FleetClient::connect(running.url.clone()).await.unwrap();
    let hello = v1::Hello {
        labels: [("a".repeat(5 << 20), String::new())].into(),
        ..hello("large", 7)
    };
    let first = v1::FromWorker {
        frame: Some(Say::Hello(hello)),
    };
    let refused = client.control(tokio_stream::once(first)).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::OutOfRange, "{refused}");
    running.end().await;
}
