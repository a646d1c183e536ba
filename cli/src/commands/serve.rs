//! `barrage coordinator` and `barrage worker`: the long-lived processes.

use std::path::PathBuf;

use barrage_coordinator::{Coordinator, StartError};
use barrage_model::units::parse_rate;
use barrage_proto::WORKER_NAME_MAX;
use tokio_util::sync::CancellationToken;

use crate::args::{CoordinatorArgs, WorkerArgs};
use crate::client::address;
use crate::commands::until_told;
use crate::exit::{Failure, Outcome};
use crate::registry;
use crate::signals::{Signals, exit_code};
use crate::stdout;

/// `$XDG_STATE_HOME/barrage`, or `~/.local/state/barrage`.
pub(crate) fn default_store() -> Result<PathBuf, Failure> {
    let folder = |name: &str| std::env::var_os(name).filter(|dir| !dir.is_empty()).map(PathBuf::from);
    folder("XDG_STATE_HOME")
        .or_else(|| folder("HOME").map(|home| home.join(".local/state")))
        .map(|state| state.join("barrage"))
        .ok_or_else(|| {
            Failure::CouldNotStart("neither XDG_STATE_HOME nor HOME is set; name a place with --store DIR".to_owned())
        })
}

/// Runs a coordinator until it is told to stop. The first signal stops its runs gracefully, a second one ends at once.
pub(crate) async fn coordinator(args: &CoordinatorArgs) -> Outcome {
    let store = args.store.clone().map_or_else(default_store, Ok)?;
    let config = barrage_coordinator::Config {
        listen: args.listen,
        store,
        insecure: args.insecure,
    };
    let coordinator = Coordinator::bind(config).await.map_err(|error| match error {
        StartError::NotLoopback(_) => Failure::Refused(error.to_string()),
        _ => Failure::start("the coordinator could not start", &error),
    })?;
    let mut signals = Signals::new()?;
    let url = format!("http://{}", coordinator.address());
    let _registration = registry::register(&url);
    stdout::line(&format!("listening on {url}"))?;
    let stop = CancellationToken::new();
    let serving = coordinator.run(stop.clone());
    tokio::pin!(serving);
    tokio::select! {
        ended = &mut serving => {
            return ended.map(|()| 0).map_err(|error| Failure::own("the coordinator failed", &error));
        }
        () = until_told(&mut signals, args.tied) => {}
    }
    stop.cancel();
    tokio::select! {
        ended = serving => ended.map(|()| 0).map_err(|error| Failure::own("the coordinator failed", &error)),
        number = signals.next() => Ok(exit_code(number)),
    }
}

/// Runs a worker until it is told to stop.
pub(crate) async fn worker(args: &WorkerArgs) -> Outcome {
    let max_rate = args
        .max_rate
        .as_deref()
        .map(parse_rate)
        .transpose()
        .map_err(|error| Failure::Usage(format!("--max-rate: {error}")))?;
    if max_rate.is_some_and(|rate| rate.micro() == 0) {
        return Err(Failure::Usage(
            "--max-rate: found `0/s`; expected a rate above 0/s".to_owned(),
        ));
    }
    let name = args.name.clone().unwrap_or_else(host_name);
    if args.name.is_some() && !(1..=WORKER_NAME_MAX).contains(&name.len()) {
        let problem = format!("--name: found {} bytes; expected 1 to {WORKER_NAME_MAX}", name.len());
        return Err(Failure::Usage(problem));
    }
    let config = barrage_worker::Config {
        coordinator: address(&args.coordinator)?.0,
        name,
        labels: args.labels.iter().cloned().collect(),
        shards: args.threads.map_or_else(allowed_cores, usize::from),
        max_rate,
        trace_samples: args.trace_samples.clone(),
        once: args.once,
    };
    let mut signals = Signals::new()?;
    let stop = CancellationToken::new();
    let working = barrage_worker::run(config, stop.clone());
    tokio::pin!(working);
    tokio::select! {
        ended = &mut working => return ended.map(|()| 0).map_err(|error| failed(&error)),
        () = until_told(&mut signals, args.tied) => {}
    }
    stop.cancel();
    tokio::select! {
        ended = working => ended.map(|()| 0).map_err(|error| failed(&error)),
        number = signals.next() => Ok(exit_code(number)),
    }
}

/// A worker that cannot join could not start; anything later is its own failure.
pub(crate) fn failed(error: &barrage_worker::WorkerError) -> Failure {
    if error.is_start() {
        Failure::start("the worker could not start", error)
    } else {
        Failure::own("the worker failed", error)
    }
}

/// Cores that this process may run on.
pub(crate) fn allowed_cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// This machine's name.
pub(crate) fn host_name() -> String {
    let name = rustix::system::uname();
    name.nodename().to_string_lossy().into_owned()
}
