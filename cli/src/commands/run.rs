//! `barrage run`: the whole thing in one process, over the same wire as a fleet.

use barrage_coordinator::Coordinator;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::args::{Fill, RunArgs};
use crate::client::Client;
use crate::commands::serve;
use crate::exit::{Failure, Outcome};
use crate::follow::{self, Followed, OnSignal, follow};
use crate::plans::{self, Loaded};
use crate::quick;
use crate::registry;

/// How long the parts of this process may take to end once the run is over.
const END_LIMIT: std::time::Duration = std::time::Duration::from_secs(8);

/// Runs a plan, or a URL without one.
pub(crate) async fn run(args: &RunArgs) -> Outcome {
    let mut fill = args.fill.clone();
    let plan = read(args, &mut fill)?;
    follow::ready(&args.output)?;
    if args.coordinator.is_some() {
        let mut client = crate::places::coordinator(args.coordinator.as_deref()).await?;
        return go(&mut client, &plan, &fill, args).await.map(Followed::code);
    }
    let store = args.store.clone().map_or_else(serve::default_store, Ok)?;
    let listen = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
    let coordinator = Coordinator::bind(barrage_coordinator::Config {
        listen,
        store,
        insecure: false,
    })
    .await
    .map_err(|error| Failure::start("the coordinator could not start", &error))?;
    let url = format!("http://{}", coordinator.address());
    let _registration = registry::register(&url);
    let stop = CancellationToken::new();
    let worker_stop = CancellationToken::new();
    let mut parts: JoinSet<Result<(), Failure>> = JoinSet::new();
    let serving = coordinator.run(stop.clone());
    parts.spawn(async move {
        serving
            .await
            .map_err(|error| Failure::own("the coordinator failed", &error))
    });
    let working = barrage_worker::run(worker_config(args, &url), worker_stop.clone());
    parts.spawn(async move { working.await.map_err(|error| serve::failed(&error)) });
    let mut client = Client::connect(&url).await?;
    let outcome = tokio::select! {
        outcome = go(&mut client, &plan, &fill, args) => outcome,
        Some(ended) = parts.join_next() => match ended {
            Ok(Err(failure)) => Err(failure),
            _ => Err(Failure::Own("a part of the run ended before the run did".to_owned())),
        },
    };
    if let Ok(Followed::Cut(code)) = outcome {
        return Ok(code);
    }
    worker_stop.cancel();
    stop.cancel();
    drop(client);
    let ending = async { while parts.join_next().await.is_some() {} };
    // The result is known: a part that does not end in time is left to the process's own end.
    let _in_time = tokio::time::timeout(END_LIMIT, ending).await;
    outcome.map(Followed::code)
}

async fn go(client: &mut Client, plan: &Loaded, fill: &Fill, args: &RunArgs) -> Result<Followed, Failure> {
    client.upload(plan.files()).await?;
    let mut request = plan.request(fill);
    request.accept_invalid = args.output.accept_invalid;
    let reply = client.submit(request).await?;
    follow(client, reply.run, &args.output, OnSignal::Stop).await
}

fn worker_config(args: &RunArgs, url: &str) -> barrage_worker::Config {
    barrage_worker::Config {
        coordinator: url.to_owned(),
        name: serve::host_name(),
        labels: std::collections::BTreeMap::new(),
        shards: args
            .threads
            .map_or_else(|| serve::allowed_cores().saturating_sub(1).max(1), usize::from),
        max_rate: None,
        trace_samples: args.trace_samples.clone(),
        once: false,
    }
}

fn read(args: &RunArgs, fill: &mut Fill) -> Result<Loaded, Failure> {
    let what = &args.what;
    if what.contains("://") {
        return quick::load(what, &args.quick, fill);
    }
    match quick::used(&args.quick) {
        Some(flag) if what != "-" && !std::path::Path::new(what).exists() => {
            let url = barrage_plan::masked(&format!("http://{what}"));
            let shown = url.trim_start_matches("http://");
            Err(Failure::Usage(format!(
                "found no file {shown:?}, and --{flag}, which belongs to a run without a file; expected a URL such as {url}"
            )))
        }
        Some(flag) => Err(Failure::Usage(format!(
            "--{flag} belongs to a run without a file; a plan says it itself"
        ))),
        None => plans::load(&args.what, fill),
    }
}
