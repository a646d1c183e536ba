//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use super::metronome::Schedule;
use super::server::light::Behaviour;
use super::stats::ROUNDS_MIN;
use super::tools::Tool;

/// Barrage beside other load generators on this machine.
#[derive(Debug, Parser)]
#[command(name = "bench-peers", max_term_width = 120, args_conflicts_with_subcommands = true)]
pub(crate) struct Cli {
    /// A part of the measurement as a process of its own.
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    /// The measurement.
    #[command(flatten)]
    pub(crate) run: Options,
}

/// Parts that run as processes of their own.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Serves 100 bytes as cheaply as possible
    LightServer(Behaviour),
    /// Writes requests at the instants of a timer, and nothing else
    Metronome(Schedule),
    /// Becomes another program, pinned to a core
    Launch {
        /// The core
        #[arg(long)]
        core: usize,
        /// The program and its arguments
        #[arg(trailing_var_arg = true, required = true, allow_hyphen_values = true)]
        command: Vec<OsString>,
    },
}

/// What is measured, and how.
#[derive(Clone, Debug, Args)]
pub(crate) struct Options {
    /// Interleaved rounds; figures are judged from 7 on
    #[arg(long, value_name = "N", default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..=101))]
    pub(crate) rounds: u32,
    /// Length of each load, s
    #[arg(long, value_name = "S", default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=600))]
    pub(crate) seconds: u32,
    /// Only these contestants
    #[arg(long, value_name = "NAME", value_delimiter = ',', value_parser = tool)]
    pub(crate) only: Vec<Tool>,
    /// Only these sections
    #[arg(long, value_name = "SECTION", value_delimiter = ',', value_enum)]
    pub(crate) section: Vec<Section>,
    /// Only this server, in the sections that have both
    #[arg(long, value_enum)]
    pub(crate) server: Option<Which>,
    /// The memory section also looks after 10 minutes; those bars are not judged without it
    #[arg(long)]
    pub(crate) long: bool,
    /// A wrk2 that was built elsewhere
    #[arg(long, value_name = "PATH")]
    pub(crate) wrk2: Option<PathBuf>,
    /// Also installs what takes long: oha with cargo
    #[arg(long)]
    pub(crate) install_all: bool,
    /// Installs nothing
    #[arg(long, conflicts_with = "install_all")]
    pub(crate) no_install: bool,
    /// Cores that others may use during a run before it is repeated, at most twice
    #[arg(long, value_name = "CORES", default_value_t = 0.1)]
    pub(crate) foreign_max: f64,
    /// Writes the page here; without it, docs/benchmarks.md is written by runs of at least 7 rounds with everybody
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
    /// The binary under test
    #[arg(long, value_name = "PATH", default_value = "target/release/barrage")]
    pub(crate) barrage: PathBuf,
    /// The repository's root
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub(crate) root: PathBuf,
    /// Where the files of this run are; the program gives it to itself
    #[arg(long, value_name = "DIR", hide = true)]
    pub(crate) folder: Option<PathBuf>,
}

impl Options {
    /// Whether everybody takes part in as many rounds as figures are judged on.
    pub(crate) fn is_full(&self) -> bool {
        self.rounds as usize >= ROUNDS_MIN && self.only.is_empty() && self.server.is_none()
    }

    /// Whether a section was asked for.
    pub(crate) fn wants(&self, section: Section) -> bool {
        self.section.is_empty() || self.section.contains(&section)
    }

    /// Whether a contestant was asked for.
    pub(crate) fn asks_for(&self, tool: Tool) -> bool {
        self.only.is_empty() || self.only.contains(&tool)
    }

    /// Whether a server was asked for.
    pub(crate) fn serves(&self, which: Which) -> bool {
        self.server.is_none_or(|server| server == which)
    }
}

/// The parts of the measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Section {
    /// As fast as it goes, on 64 connections
    Closed,
    /// A constant rate
    Fixed,
    /// The server stands still for a second
    Freeze,
    /// Two steps with extraction beside wrk's plain requests
    Scenario,
    /// Keep-alive under TLS
    Tls,
    /// HTTP/2 beside h2load
    Http2,
    /// Spacing beside a bare timer loop
    Pacing,
    /// Memory over time
    Memory,
}

impl Section {
    /// The word on the command line and in the page's marks.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Fixed => "fixed",
            Self::Freeze => "freeze",
            Self::Scenario => "scenario",
            Self::Tls => "tls",
            Self::Http2 => "http2",
            Self::Pacing => "pacing",
            Self::Memory => "memory",
        }
    }
}

/// A server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Which {
    /// nginx with one worker
    Nginx,
    /// The light server of this program
    Light,
}

fn tool(name: &str) -> Result<Tool, String> {
    let known = || Tool::ALL.map(Tool::name).join(", ");
    let found = Tool::ALL.into_iter().find(|tool| tool.name() == name);
    found.ok_or_else(|| format!("unknown contestant; known: {}", known()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory as _;
        Cli::command().debug_assert();
    }

    #[test]
    fn names_are_taken_with_commas_and_unknown_ones_are_refused() {
        let cli = Cli::try_parse_from(["bench-peers", "--only", "wrk,barrage", "--section", "closed"]).unwrap();
        assert_eq!(cli.run.only, [Tool::Wrk, Tool::Barrage]);
        assert!(cli.run.wants(Section::Closed) && !cli.run.wants(Section::Tls));
        assert!(Cli::try_parse_from(["bench-peers", "--only", "vegeta"]).is_err());
        let launch = Cli::try_parse_from(["bench-peers", "launch", "--core", "1", "--", "wrk", "-t1"]).unwrap();
        assert!(matches!(launch.command, Some(Command::Launch { core: 1, command }) if command.len() == 2));
    }
}
