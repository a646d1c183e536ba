//! The one binary, `barrage`: arguments, output, signals and exit codes around the other crates.
//!
//! stdout carries results, stderr progress and errors. A signal ends gracefully the first time, at once the second time.

mod args;
mod client;
mod clock;
mod commands;
mod exit;
mod follow;
mod local;
mod place;
mod places;
mod plans;
mod progress;
mod quick;
mod registry;
mod signals;
mod stdout;

use std::io::IsTerminal as _;
use std::process::ExitCode;
use std::sync::Mutex;

use clap::CommandFactory as _;
use rustix::process::{Resource, getrlimit, setrlimit};

use crate::args::{Cli, Command};
use crate::exit::{Failure, Outcome};

fn main() -> ExitCode {
    let cli = place::parse();
    allow_descriptors();
    let outcome = runtime().and_then(|runtime| {
        logs();
        install_crypto();
        let outcome = runtime.block_on(dispatch(cli.command));
        // A blocked read of stdin or a slow name lookup must not hold the end of the process.
        runtime.shutdown_background();
        outcome
    });
    match outcome {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            progress::complain(&failure.to_string());
            ExitCode::from(failure.code())
        }
    }
}

/// Descriptors that a process asks for: the most that Linux gives unless it is told otherwise.
const DESCRIPTORS: u64 = 1 << 20;

/// Takes as many open descriptors as the system allows: the usual soft limit of 1,024 is there for programs that call
/// `select`, and a connection takes one.
fn allow_descriptors() {
    let given = getrlimit(Resource::Nofile);
    let mut limit = given;
    limit.maximum = limit.maximum.map(|most| most.max(DESCRIPTORS));
    limit.current = limit.maximum;
    if setrlimit(Resource::Nofile, limit).is_err() {
        // Only a privileged process may raise the hard limit. Where even the soft one may not be raised the old limit
        // holds, and a worker says when it comes near.
        limit.maximum = given.maximum;
        limit.current = given.maximum;
        let _refused = setrlimit(Resource::Nofile, limit);
    }
}

/// Open descriptors without which no command gets far enough to say what it lacks.
const DESCRIPTORS_LEAST: u64 = 32;

fn look_for_descriptors() -> Result<(), Failure> {
    match getrlimit(Resource::Nofile).current {
        Some(allowed) if allowed < DESCRIPTORS_LEAST => Err(Failure::CouldNotStart(format!(
            "{allowed} open descriptors are allowed; expected {DESCRIPTORS_LEAST} at least (ulimit -n)"
        ))),
        _ => Ok(()),
    }
}

/// Threads beside the main one without which nothing works: the runtime's two, one for what blocks, and two that may still be
/// counted after they have been tried.
const THREADS_LEAST: usize = 5;

/// Whether the system gives so many threads: the runtime panics, or waits for ever, where it does not.
fn look_for_threads() -> Result<(), Failure> {
    let gate = Mutex::new(());
    let refused = std::thread::scope(|scope| {
        let closed = gate.lock();
        let wait = || drop(gate.lock());
        let begun: Result<Vec<_>, _> = (0..THREADS_LEAST)
            .map(|_| std::thread::Builder::new().spawn_scoped(scope, wait))
            .collect();
        drop(closed);
        // Their work being done is not enough: until a thread is joined the system may count it.
        begun
            .map(|threads| threads.into_iter().for_each(|thread| drop(thread.join())))
            .err()
    });
    refused.map_or(Ok(()), |error| {
        let trying = format!("the system does not give {THREADS_LEAST} threads more (pids.max, TasksMax=, ulimit -u)");
        Err(Failure::start(trying, &error))
    })
}

fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    look_for_descriptors()?;
    look_for_threads()?;
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| Failure::own("could not start the runtime", &error))
}

/// Logs go to stderr, from `warn` upwards unless `RUST_LOG` says otherwise.
fn logs() {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("warn"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
}

/// One crypto provider for the whole process, before anything opens a connection.
fn install_crypto() {
    // Fails only when one is installed already, and then it is this one.
    let _installed = rustls::crypto::ring::default_provider().install_default();
}

async fn dispatch(command: Command) -> Outcome {
    match command {
        Command::Run(args) => commands::run::run(&args).await,
        Command::Submit(args) => commands::submit::submit(&args).await,
        Command::Watch(args) => commands::watch::watch(&args).await,
        Command::Runs(command) => commands::runs::runs(&command).await,
        Command::Stop(args) => commands::stop::stop(&args).await,
        Command::Report(args) => commands::report::report(&args).await,
        Command::Plan(command) => commands::plan::plan(&command).await,
        Command::Coordinator(args) => commands::serve::coordinator(&args).await,
        Command::Worker(args) => commands::serve::worker(&args).await,
        Command::Health(args) => commands::health::health(&args).await,
        Command::Doctor(args) => commands::doctor::doctor(&args).await,
        Command::Demo(args) => commands::demo::demo(&args).await,
        Command::Target(args) => commands::target::target(&args).await,
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "barrage", &mut script);
            stdout::write(&script).map(|()| 0)
        }
        Command::Man => {
            let mut page = Vec::new();
            clap_mangen::Man::new(Cli::command())
                .render(&mut page)
                .map_err(|error| Failure::own("could not render the manual page", &error))?;
            stdout::write(&page).map(|()| 0)
        }
    }
}
