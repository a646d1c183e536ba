//! What a coordinator costs under a large fleet: a real `barrage coordinator` on a core of its own, and simulated workers
//! on another, over the real protocol on loopback.
//!
//! Every worker uploads at the end of each interval, so all of them at the same instant, as real ones do: nothing is
//! staggered. Figures count only if the report says exactly what the workers have sent.

mod args;
mod clock;
mod deltas;
mod figures;
mod observe;
mod process;
mod table;
mod tally;
mod verify;
mod worker;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use barrage_proto::MESSAGE_MAX_BYTES;
use barrage_proto::v1;
use barrage_proto::v1::runs_client::RunsClient;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::task::JoinSet;

pub use args::main;
pub use figures::{Bar, Figures, Minute};

use deltas::{Pool, SAMPLES, STEPS};
use observe::observe;
use process::{Allowed, Coordinator, Cores, pin};
use worker::{Shared, work};

use crate::signals::Signals;

/// The fleet must have joined within this time.
const JOIN_LIMIT: Duration = Duration::from_mins(2);
/// After the last interval the run must end, and the workers be released, within this time.
const END_LIMIT: Duration = Duration::from_mins(1);

/// One measurement.
#[derive(Clone, Debug)]
pub struct Options {
    /// The `barrage` binary.
    pub binary: PathBuf,
    /// Simulated workers, at least 1.
    pub workers: u32,
    /// Length of the run in seconds, at least 2.
    pub seconds: u32,
    /// Give the coordinator and the workers a core each, where there are two.
    pub pinned: bool,
}

/// Runs one measurement.
///
/// # Errors
/// What kept it from being done, or made its figures worthless: then there are none.
pub fn measure(options: &Options) -> Result<Figures> {
    raise_descriptors();
    let allowed = Allowed::now()?;
    let cores = options.pinned.then(|| allowed.two()).flatten();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.context("could not start a runtime")?.block_on(async {
        let mut signals = Signals::listen()?;
        // Dropped, it ends the coordinator and removes its store.
        tokio::select! {
            figures = simulate(options, cores) => figures,
            signal = signals.told() => bail!("stopped: {signal}"),
        }
    })
}

async fn simulate(options: &Options, cores: Option<Cores>) -> Result<Figures> {
    let home = tempfile::Builder::new().prefix("barrage-fleet-").tempdir()?;
    if let Some(cores) = cores {
        pin(cores.coordinator)?;
    }
    let coordinator = Coordinator::start(&options.binary, home.path()).await?;
    if let Some(cores) = cores {
        pin(cores.workers)?;
    }
    let shared = Arc::new(Shared::new(&coordinator.url, Pool::new()?)?);
    let mut workers = JoinSet::new();
    for place in 0..options.workers {
        workers.spawn(work(place, Arc::clone(&shared)));
    }
    let joined = async {
        while shared.with_tally(|tally| tally.fleet()) < options.workers {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::select! {
        joined = tokio::time::timeout(JOIN_LIMIT, joined) => joined.context("the fleet does not come together")?,
        ended = workers.join_next() => bail!(early(ended)),
    }
    let mut runs = RunsClient::connect(coordinator.url.clone())
        .await?
        .max_decoding_message_size(MESSAGE_MAX_BYTES);
    let submitted = tokio::time::timeout(END_LIMIT, submit(&mut runs, options)).await;
    let run = submitted.context("the run is not taken")??;
    let limit = Duration::from_secs(options.seconds.into()) + END_LIMIT;
    let observed = tokio::select! {
        observed = tokio::time::timeout(limit, observe(&mut runs, run, &coordinator)) => {
            observed.context("the run does not end")??
        }
        // Workers end when they are released, which may be before the last snapshot comes.
        failed = first_failure(&mut workers) => bail!(early(Some(Ok(Err(failed))))),
    };
    let report = tokio::time::timeout(END_LIMIT, report(&mut runs, run)).await;
    let report = report.context("the report does not come")??;
    let released = async {
        while let Some(ended) = workers.join_next().await {
            ended??;
        }
        anyhow::Ok(())
    };
    tokio::time::timeout(END_LIMIT, released)
        .await
        .context("the workers are not released")??;
    let store_bytes = coordinator.end().await?;
    let (sent, committed) = shared.with_tally(|tally| tally.deltas());
    ensure!(
        sent == committed && sent == u64::from(options.workers) * u64::from(options.seconds),
        "{sent} deltas were sent, {committed} of them acknowledged"
    );
    let truth = shared.with_tally(|tally| tally.truth(shared.pool().bodies()));
    verify::verify(&report, &truth, options)?;
    Ok(shared.with_tally(|tally| Figures::new(options, cores.is_some(), &observed, tally, shared.pool(), store_bytes)))
}

fn early(ended: Option<Result<Result<()>, tokio::task::JoinError>>) -> anyhow::Error {
    match ended {
        Some(Ok(Err(error))) => error.context("a simulated worker has failed"),
        Some(Err(error)) => anyhow::Error::new(error).context("a simulated worker has failed"),
        Some(Ok(Ok(()))) | None => anyhow::anyhow!("a simulated worker was released before the run"),
    }
}

/// The first error of a worker; never, when all end well.
async fn first_failure(workers: &mut JoinSet<Result<()>>) -> anyhow::Error {
    while let Some(ended) = workers.join_next().await {
        match ended {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return error,
            Err(error) => return error.into(),
        }
    }
    std::future::pending().await
}

fn plan(options: &Options) -> String {
    let (workers, seconds) = (options.workers, options.seconds);
    let rate = u64::from(workers) * SAMPLES;
    let steps: Vec<String> = (1..=STEPS)
        .map(|n| format!("      - get: {{ name: step {n}, url: /{n} }}"))
        .collect();
    format!(
        "name: fleet bench\n\
         target: http://127.0.0.1:9\n\
         seed: 42\n\
         load:\n  stages: [ hold: {{ rate: {rate}/s, for: {seconds}s }} ]\n  max_active: {}\n\
         workers: {{ min: {workers}, wait: 2m }}\n\
         scenarios:\n  - name: ten steps\n    steps:\n{}\n\
         sla:\n\
         \x20 - p95 < 250ms\n\
         \x20 - error_rate < 1%\n\
         \x20 - p99(service, \"step 3\") < 1s\n\
         \x20 - {{ that: p99 < 2s, over: {}s, for: 3, stop: true }}\n",
        workers * 100,
        steps.join("\n"),
        10.min(seconds / 2),
    )
}

async fn submit(runs: &mut RunsClient<tonic::transport::Channel>, options: &Options) -> Result<u64> {
    let request = v1::SubmitRequest {
        plan_yaml: plan(options),
        plan_file: "fleet.yaml".to_owned(),
        no_wait: true,
        ..v1::SubmitRequest::default()
    };
    let reply = runs
        .submit(request)
        .await
        .context("the run was not taken")?
        .into_inner();
    ensure!(
        reply.errors.is_empty(),
        "the plan is wrong:\n{}",
        reply.errors.join("\n")
    );
    Ok(reply.run)
}

async fn report(runs: &mut RunsClient<tonic::transport::Channel>, run: u64) -> Result<serde_json::Value> {
    let request = v1::ReportRequest {
        run,
        format: "json".to_owned(),
    };
    let mut chunks = runs.report(request).await.context("there is no report")?.into_inner();
    let mut bytes = Vec::new();
    while let Some(chunk) = chunks.message().await? {
        bytes.extend_from_slice(&chunk.data);
    }
    serde_json::from_slice(&bytes).context("the report is no JSON")
}

/// Two connections for each worker need as many descriptors as the system allows.
fn raise_descriptors() {
    let limit = getrlimit(Resource::Nofile);
    let most = Rlimit {
        current: limit.maximum,
        ..limit
    };
    // Where it fails, connecting says so.
    let _limit_stays = setrlimit(Resource::Nofile, most);
}
