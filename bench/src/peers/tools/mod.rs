//! The contestants: what they are called, where they are found, and what load means to each of them.

pub(crate) mod command;
pub(crate) mod install;
pub(crate) mod ours;
pub(crate) mod said;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A load generator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Tool {
    /// The measure of everybody else.
    Wrk,
    /// wrk with a constant rate.
    Wrk2,
    /// Apache's.
    Ab,
    /// nghttp2's.
    H2load,
    /// In Rust, on hyper.
    Oha,
    /// In Go.
    Hey,
    /// Scripted, in Go and JavaScript.
    K6,
    /// Barrage: a worker on the measured core, its coordinator on the other.
    Barrage,
    /// Barrage: coordinator, control and load in one process on the measured core.
    BarrageRun,
    /// No load generator: writes and reads at the instants of a timerfd.
    Timerfd,
}

impl Tool {
    /// Every contestant.
    pub(crate) const ALL: [Self; 10] = [
        Self::Wrk,
        Self::Wrk2,
        Self::Ab,
        Self::H2load,
        Self::Oha,
        Self::Hey,
        Self::K6,
        Self::Barrage,
        Self::BarrageRun,
        Self::Timerfd,
    ];

    /// The name on the command line and in tables.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Wrk => "wrk",
            Self::Wrk2 => "wrk2",
            Self::Ab => "ab",
            Self::H2load => "h2load",
            Self::Oha => "oha",
            Self::Hey => "hey",
            Self::K6 => "k6",
            Self::Barrage => "barrage",
            Self::BarrageRun => "barrage-run",
            Self::Timerfd => "timerfd",
        }
    }

    /// Whether it is Barrage, whose own counts must be the server's.
    pub(crate) fn is_ours(self) -> bool {
        matches!(self, Self::Barrage | Self::BarrageRun)
    }

    /// The arguments that make it say its version.
    fn version_arguments(self) -> &'static [&'static str] {
        match self {
            Self::Wrk | Self::Wrk2 => &["-v"],
            Self::Ab => &["-V"],
            Self::K6 => &["version"],
            Self::H2load | Self::Oha | Self::Barrage | Self::BarrageRun => &["--version"],
            // hey knows no such flag, and the bare loop is this program.
            Self::Hey | Self::Timerfd => &[],
        }
    }
}

/// Versions of HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// One request at a time on a connection.
    Http1,
    /// Many, on streams.
    Http2,
}

/// The load that a contestant is asked for.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Load {
    /// What is requested.
    pub(crate) url: String,
    /// Spoken on it.
    pub(crate) protocol: Protocol,
    /// Connections at a time.
    pub(crate) connections: u32,
    /// Streams on each connection; 1 with HTTP/1.1.
    pub(crate) streams: u32,
    /// How long, s.
    pub(crate) seconds: u32,
    /// Requests per second in all; `None` = as fast as it goes.
    pub(crate) rate: Option<u32>,
    /// Whether latencies count from the due instant, where that is the tool's choice.
    pub(crate) corrected: bool,
}

impl Load {
    /// A closed loop of HTTP/1.1 on 64 connections.
    pub(crate) fn closed(url: &str, seconds: u32) -> Self {
        Self {
            url: format!("{url}/"),
            protocol: Protocol::Http1,
            connections: 64,
            streams: 1,
            seconds,
            rate: None,
            corrected: false,
        }
    }

    /// A constant rate on 64 connections.
    pub(crate) fn rate(url: &str, seconds: u32, rate: u32) -> Self {
        Self {
            rate: Some(rate),
            ..Self::closed(url, seconds)
        }
    }
}

/// A contestant that is here.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    /// Its program.
    pub(crate) program: PathBuf,
    /// What it says it is.
    pub(crate) version: String,
}

/// Who is here, and why the others are not.
#[derive(Clone, Debug, Default)]
pub(crate) struct Toolbox {
    /// Those that can be measured.
    pub(crate) found: BTreeMap<Tool, Found>,
    /// Those that cannot, with the reason.
    pub(crate) missing: BTreeMap<Tool, String>,
}

impl Toolbox {
    /// Adds a contestant at a place, or the reason why it is not there.
    pub(crate) fn add(&mut self, tool: Tool, program: Option<PathBuf>, reason: &str) {
        match program {
            Some(program) => {
                let version = version(tool, &program);
                self.found.insert(tool, Found { program, version });
            }
            None => {
                self.missing.insert(tool, reason.to_owned());
            }
        }
    }
}

/// A program of this name on the search path, or where administrators' programs are.
pub(crate) fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/local/sbin", "/usr/sbin", "/sbin"].iter().map(PathBuf::from))
        .map(|folder| folder.join(name))
        .find(|program| program.is_file())
}

/// The first line that a program prints about itself and that has a digit; its package's version where it has no flag.
fn version(tool: Tool, program: &Path) -> String {
    let said = match tool.version_arguments() {
        [] if tool == Tool::Hey => output(Path::new("dpkg-query"), &["-W", "-f=hey ${Version}", "hey"]),
        [] => return format!("this program, {}", env!("CARGO_PKG_VERSION")),
        arguments => output(program, arguments),
    };
    let line = said
        .lines()
        .find(|line| line.contains(|letter: char| letter.is_ascii_digit()));
    line.map_or_else(|| "unknown version".to_owned(), |line| shortened(line.trim()))
}

fn shortened(line: &str) -> String {
    let line = line.split(" Copyright").next().unwrap_or(line);
    line.chars()
        .filter(|letter| !letter.is_control() && *letter != '|')
        .take(80)
        .collect()
}

/// What a program that ends by itself prints, both streams.
pub(crate) fn output(program: &Path, arguments: &[&str]) -> String {
    let out = Command::new(program).args(arguments).stdin(Stdio::null()).output();
    out.map_or_else(
        |_| String::new(),
        |out| {
            let both = [out.stdout, out.stderr].concat();
            String::from_utf8_lossy(&both).into_owned()
        },
    )
}
