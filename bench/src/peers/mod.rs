//! Barrage beside other load generators: the same load, the same servers, the same cores, in interleaved rounds.

mod bench;
mod child;
pub(crate) mod clock;
pub(crate) mod machine;
mod metronome;
mod noise;
mod options;
pub(crate) mod page;
mod rounds;
mod say;
mod sections;
mod server;
mod stats;
mod supervise;
mod table;
mod tools;

use std::process::ExitCode;

use clap::Parser;

use options::{Cli, Command};

/// Parses the command line, measures, and says whether every judged figure reached its bar.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = match &cli.command {
        None => match &cli.run.folder {
            Some(folder) => bench::run(&cli.run, folder),
            None => supervise::run(),
        },
        Some(Command::LightServer(behaviour)) => server::light::serve(*behaviour).map(|()| ExitCode::SUCCESS),
        Some(Command::Metronome(schedule)) => metronome::run(schedule).map(|()| ExitCode::SUCCESS),
        Some(Command::Launch { core, command }) => child::launch(*core, command),
    };
    done.unwrap_or_else(|error| {
        say::progress(&format!("bench-peers: {error:#}"));
        ExitCode::from(2)
    })
}
