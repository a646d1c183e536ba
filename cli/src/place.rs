//! Where stored runs are: with a coordinator, or in a store on this machine.

use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{ArgMatches, Args, CommandFactory as _, FromArgMatches as _};

use crate::args::{Cli, Command, RunsCommand};

/// A coordinator, or a store on this machine.
#[derive(Clone, Debug, Args)]
pub(crate) struct Place {
    /// The coordinator that has the run; without it, the store on this machine
    #[arg(long, value_name = "URL", env = "BARRAGE_COORDINATOR")]
    pub(crate) coordinator: Option<String>,
    /// The store on this machine; without it, a folder in the user's state directory
    #[arg(long, value_name = "DIR", env = "BARRAGE_STORE")]
    pub(crate) store: Option<PathBuf>,
}

/// Reads the command line; ends the process when it cannot be used.
pub(crate) fn parse() -> Cli {
    read(Cli::command().get_matches()).unwrap_or_else(|error| error.exit())
}

fn read(mut matches: ArgMatches) -> Result<Cli, clap::Error> {
    let mut cli = Cli::from_arg_matches_mut(&mut matches.clone())?;
    while let Some((_, deeper)) = matches.remove_subcommand() {
        matches = deeper;
    }
    if let Command::Run(args) = &cli.command
        && args.coordinator.is_some()
    {
        own_process_alone(&matches)?;
    }
    if let Some(place) = place(&mut cli.command) {
        place.choose(&matches)?;
    }
    Ok(cli)
}

fn asked(matches: &ArgMatches, id: &str) -> bool {
    matches.value_source(id) == Some(ValueSource::CommandLine)
}

/// What is about the threads and the store of this process says nothing to a fleet, which has its own.
fn own_process_alone(matches: &ArgMatches) -> Result<(), clap::Error> {
    let own = ["threads", "store", "trace_samples"];
    let Some(flag) = own.into_iter().find(|id| asked(matches, id)) else {
        return Ok(());
    };
    let coordinator = if asked(matches, "coordinator") {
        "--coordinator"
    } else {
        "BARRAGE_COORDINATOR"
    };
    let text = format!(
        "found --{}, which is about a run in this process, beside {coordinator}; expected one of them",
        flag.replace('_', "-")
    );
    Err(Cli::command().error(ErrorKind::ArgumentConflict, text))
}

fn place(command: &mut Command) -> Option<&mut Place> {
    match command {
        Command::Report(args) | Command::Runs(RunsCommand::Show(args)) => Some(&mut args.place),
        Command::Runs(
            RunsCommand::Ls { place, .. } | RunsCommand::Rm { place, .. } | RunsCommand::Prune { place, .. },
        ) => Some(place),
        _ => None,
    }
}

impl Place {
    /// Leaves one of the two: what was asked for goes before what the environment says, a coordinator before a store.
    fn choose(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        match (asked(matches, "coordinator"), asked(matches, "store")) {
            (true, true) => {
                let text = "found --coordinator beside --store; expected one of them";
                return Err(Cli::command().error(ErrorKind::ArgumentConflict, text));
            }
            (false, true) => self.coordinator = None,
            _ if self.coordinator.is_some() => self.store = None,
            _ => {}
        }
        Ok(())
    }
}
