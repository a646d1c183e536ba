//! Command-line arguments. Every flag has an environment twin, `BARRAGE_<FLAG>` but for `run --insecure`, which has
//! `BARRAGE_INSECURE_TLS`: the other `--insecure` is about something else.

#![expect(clippy::doc_markdown, reason = "the help shows these texts as they are")]

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::place::Place;

/// Distributed load and resilience tests with numbers that can be trusted.
#[derive(Debug, Parser)]
#[command(name = "barrage", version, max_term_width = 120, after_help = EXIT_CODES)]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The table that `--help` ends with.
pub(crate) const EXIT_CODES: &str = "\
Exit codes: 0 passed · 1 our own failure · 2 usage · 3 bad plan · 4 could not start · 5 refused by a guard · \
94 inconsistent accounting · 95 invalid or inconclusive · 96 aborted by an operator · 99 SLA failed · \
130/143 ended by a signal (the first one is graceful, with a report)";

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Runs a plan (or a URL) in this one process, or with --coordinator on a fleet
    Run(Box<RunArgs>),
    /// Sends a plan to a coordinator and follows the run to its end
    Submit(Box<SubmitArgs>),
    /// Follows a run to its end
    Watch(WatchArgs),
    /// Lists, shows, removes stored runs
    #[command(subcommand)]
    Runs(RunsCommand),
    /// Stops a run, gracefully unless told otherwise
    Stop(StopArgs),
    /// Renders the report of a stored or running run
    Report(ReportArgs),
    /// Checks, shows and tries plans
    #[command(subcommand)]
    Plan(PlanCommand),
    /// Starts a coordinator
    Coordinator(CoordinatorArgs),
    /// Starts a worker that joins a coordinator
    Worker(WorkerArgs),
    /// Asks a coordinator whether it is well; for container health checks
    Health(HealthArgs),
    /// Looks whether this machine is fit to make load: limits, ports, cores, timers, and what stops it; exit 4 when a check fails
    Doctor(DoctorArgs),
    /// Shows the whole thing at work: a target, a coordinator and two workers on this machine
    Demo(DemoArgs),
    /// Serves the demo's target: JSON-RPC /mcp, /health and /metrics with realistic latencies
    Target(TargetArgs),
    /// Prints a shell completion script
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// Writes the manual page to stdout
    Man,
}

/// Where the coordinator is.
#[derive(Clone, Debug, Args)]
pub(crate) struct CoordinatorUrl {
    /// The coordinator's address; without it, the one that this user has started last on this machine
    #[arg(long, value_name = "URL", env = "BARRAGE_COORDINATOR")]
    pub(crate) coordinator: Option<String>,
}

impl CoordinatorUrl {
    /// The one that is named.
    pub(crate) fn url(&self) -> Option<&str> {
        self.coordinator.as_deref()
    }
}

/// What fills a plan in.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct Fill {
    /// Replaces the plan's (first) target
    #[arg(long, value_name = "URL", env = "BARRAGE_TARGET")]
    pub(crate) target: Option<String>,
    /// Gives a value to ${KEY}; counts as secret: never stored, never shown [env: BARRAGE_ENV, one on each line]
    #[arg(short = 'e', long = "env", value_name = "KEY=VALUE", value_parser = pair, default_values = lines("BARRAGE_ENV"), hide_default_value = true)]
    pub(crate) env: Vec<(String, String)>,
    /// Gives a value to ${KEY} that may be stored and shown [env: BARRAGE_SET, one on each line]
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = pair, default_values = lines("BARRAGE_SET"), hide_default_value = true)]
    pub(crate) set: Vec<(String, String)>,
    /// Seed of everything random; when absent, drawn and printed by runs, 1 for the plan commands
    #[arg(long, value_name = "N", env = "BARRAGE_SEED")]
    pub(crate) seed: Option<u64>,
    /// Fixed answer of name resolution, as in curl: HOST:PORT:ADDRESS [env: BARRAGE_RESOLVE, one on each line]
    #[arg(long, value_name = "HOST:PORT:ADDR", default_values = lines("BARRAGE_RESOLVE"), hide_default_value = true)]
    pub(crate) resolve: Vec<String>,
}

/// What becomes of the report.
#[derive(Clone, Debug, Args)]
pub(crate) struct Output {
    /// Writes report.json, report.html, report.txt, report.md, junit.xml, timeline.csv, health.csv and latency.hlog here
    #[arg(long, value_name = "DIR", env = "BARRAGE_OUT")]
    pub(crate) out: Option<PathBuf>,
    /// What stdout gets
    #[arg(long, value_enum, default_value_t = Format::Text, env = "BARRAGE_FORMAT")]
    pub(crate) format: Format,
    /// No progress on stderr
    #[arg(short, long, env = "BARRAGE_QUIET", value_parser = flag())]
    pub(crate) quiet: bool,
    /// Plain progress lines even on a terminal
    #[arg(long, env = "BARRAGE_NO_PROGRESS", value_parser = flag())]
    pub(crate) no_progress: bool,
    /// Leaves exit 95 out: an invalid or inconclusive run counts by the SLAs that could be judged
    #[arg(long, env = "BARRAGE_ACCEPT_INVALID", value_parser = flag())]
    pub(crate) accept_invalid: bool,
}

/// Renderings of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    Text,
    /// report.json
    Json,
    /// JUnit XML, one case per SLA.
    Junit,
    /// For pull requests.
    Markdown,
    /// One self-contained page.
    Html,
    /// The timeline.
    Csv,
    /// The self-health of the workers, second by second, as CSV.
    Health,
    /// Latency histograms, interval by interval.
    Hlog,
}

impl Format {
    /// The word on the wire.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Json => "json",
            Self::Junit => "junit",
            Self::Markdown => "markdown",
            Self::Html => "html",
            Self::Csv => "csv",
            Self::Health => "health",
            Self::Hlog => "hlog",
        }
    }

    /// The file name under `--out`.
    pub(crate) fn file(self) -> &'static str {
        match self {
            Self::Text => "report.txt",
            Self::Json => "report.json",
            Self::Junit => "junit.xml",
            Self::Markdown => "report.md",
            Self::Html => "report.html",
            Self::Csv => "timeline.csv",
            Self::Health => "health.csv",
            Self::Hlog => "latency.hlog",
        }
    }

    /// Every format, in the order in which `--out` writes them.
    pub(crate) const ALL: [Self; 8] = [
        Self::Json,
        Self::Html,
        Self::Text,
        Self::Markdown,
        Self::Junit,
        Self::Csv,
        Self::Health,
        Self::Hlog,
    ];
}

/// `barrage run`.
#[derive(Debug, Args)]
#[command(after_help = RUN_NOTES)]
pub(crate) struct RunArgs {
    /// A plan file (- for stdin), or a URL for a run without a file
    #[arg(value_name = "PLAN|URL")]
    pub(crate) what: String,
    /// A run without a file.
    #[command(flatten)]
    pub(crate) quick: QuickArgs,
    /// Filling the plan in.
    #[command(flatten)]
    pub(crate) fill: Fill,
    /// The report.
    #[command(flatten)]
    pub(crate) output: Output,
    /// The coordinator of a fleet; without it, the run takes place in this process
    #[arg(long, value_name = "URL", env = "BARRAGE_COORDINATOR")]
    pub(crate) coordinator: Option<String>,
    /// Load threads; without it, the allowed cores less one, at least one
    #[arg(long, value_name = "N", env = "BARRAGE_THREADS", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) threads: Option<u16>,
    /// Where runs are stored; without it, a folder in the user's state directory
    #[arg(long, value_name = "DIR", env = "BARRAGE_STORE")]
    pub(crate) store: Option<PathBuf>,
    /// Writes every raw sample to this file, one line each; for checking, not for speed
    #[arg(long, value_name = "FILE", env = "BARRAGE_TRACE_SAMPLES")]
    pub(crate) trace_samples: Option<PathBuf>,
}

const RUN_NOTES: &str = "\
Without a file: barrage run -r 2000/s -d 30s -c 64 URL. A rate is always the total, and latency is always counted from \
the instant a request was due. Where other tools disagree about a letter, ours are: -d duration (wrk, wrk2; -z as in \
hey and oha works too), -r rate (-R as in wrk2 works too), -c connections, -n requests, -t timeout (hey, oha; wrk's \
threads are --threads), -m or -X method, -b body (hey's -d), -D body file, -T content type, -a user:password, \
-q quiet (hey's rate is -r), -p streams of an HTTP/2 connection (h2load's -m).";

/// The flags of a run without a file.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Without a file")]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
pub(crate) struct QuickArgs {
    /// Arrivals per second, whole run: 2000/s, 30k/m; without it, as fast as -c connections go
    #[arg(short = 'r', long, short_alias = 'R', value_name = "RATE", env = "BARRAGE_RATE")]
    pub(crate) rate: Option<String>,
    /// How long: 30s, 5m; 10s when there is no -n either
    #[arg(short = 'd', long, short_alias = 'z', value_name = "TIME", env = "BARRAGE_DURATION")]
    pub(crate) duration: Option<String>,
    /// Connections: with a rate the most that may be active (default 10000), without one the number of users (default 50)
    #[arg(short = 'c', long, value_name = "N", env = "BARRAGE_CONNECTIONS")]
    pub(crate) connections: Option<u32>,
    /// This many requests in all
    #[arg(short = 'n', long, value_name = "N", env = "BARRAGE_REQUESTS")]
    pub(crate) requests: Option<u64>,
    /// A header field: 'name: value' [env: BARRAGE_HEADER, one on each line]
    #[arg(
        short = 'H',
        long = "header",
        value_name = "FIELD",
        default_values = lines("BARRAGE_HEADER"),
        hide_default_value = true
    )]
    pub(crate) headers: Vec<String>,
    /// The method; POST when there is a body, else GET
    #[arg(short = 'm', long, short_alias = 'X', value_name = "METHOD", env = "BARRAGE_METHOD")]
    pub(crate) method: Option<String>,
    /// The body
    #[arg(
        short = 'b',
        long,
        value_name = "TEXT",
        env = "BARRAGE_BODY",
        conflicts_with = "body_file"
    )]
    pub(crate) body: Option<String>,
    /// A file with the body
    #[arg(short = 'D', long, value_name = "FILE", env = "BARRAGE_BODY_FILE")]
    pub(crate) body_file: Option<PathBuf>,
    /// The body's content type
    #[arg(short = 'T', long, value_name = "TYPE", env = "BARRAGE_CONTENT_TYPE")]
    pub(crate) content_type: Option<String>,
    /// Basic authentication
    #[arg(short = 'a', long, value_name = "USER:PASSWORD", env = "BARRAGE_AUTH")]
    pub(crate) auth: Option<String>,
    /// Of one request
    #[arg(short = 't', long, value_name = "TIME", env = "BARRAGE_TIMEOUT")]
    pub(crate) timeout: Option<String>,
    /// Accepts any certificate
    #[arg(short = 'k', long, env = "BARRAGE_INSECURE_TLS", value_parser = flag())]
    pub(crate) insecure: bool,
    /// HTTP/2: prior knowledge in the clear, ALPN under TLS
    #[arg(long, env = "BARRAGE_HTTP2", value_parser = flag())]
    pub(crate) http2: bool,
    /// Looks at the clock for the last 100 µs before each arrival, for up to a whole processor per load thread
    #[arg(long, env = "BARRAGE_PRECISE", value_parser = flag())]
    pub(crate) precise: bool,
    /// Streams of each HTTP/2 connection (oha -p, h2load -m): -c 8 -p 8 keeps 64 requests in flight
    #[arg(short = 'p', long, value_name = "N", env = "BARRAGE_STREAMS")]
    pub(crate) streams: Option<u32>,
    /// A new connection for each request
    #[arg(long, env = "BARRAGE_DISABLE_KEEPALIVE", value_parser = flag())]
    pub(crate) disable_keepalive: bool,
    /// Follows this many redirects
    #[arg(long, value_name = "N", env = "BARRAGE_REDIRECTS")]
    pub(crate) redirects: Option<u8>,
    /// Host header (and SNI) instead of the URL's
    #[arg(long, value_name = "HOST", env = "BARRAGE_HOST")]
    pub(crate) host: Option<String>,
    /// Through this proxy
    #[arg(short = 'x', long, value_name = "URL", env = "BARRAGE_PROXY")]
    pub(crate) proxy: Option<String>,
    /// Even or Poisson arrivals
    #[arg(long, value_name = "even|poisson", env = "BARRAGE_ARRIVALS")]
    pub(crate) arrivals: Option<String>,
    /// An SLA, such as 'p95 < 250ms' [env: BARRAGE_SLA, one on each line]
    #[arg(long, value_name = "EXPRESSION", default_values = lines("BARRAGE_SLA"), hide_default_value = true)]
    pub(crate) sla: Vec<String>,
}

/// `barrage submit`.
#[derive(Debug, Args)]
pub(crate) struct SubmitArgs {
    /// A plan file (- for stdin)
    #[arg(value_name = "PLAN")]
    pub(crate) plan: String,
    /// The coordinator.
    #[command(flatten)]
    pub(crate) coordinator: CoordinatorUrl,
    /// Filling the plan in.
    #[command(flatten)]
    pub(crate) fill: Fill,
    /// The report.
    #[command(flatten)]
    pub(crate) output: Output,
    /// Prints the run's id and leaves
    #[arg(long, env = "BARRAGE_DETACH", value_parser = flag())]
    pub(crate) detach: bool,
    /// Exit 4 at once when workers are missing or busy, instead of waiting
    #[arg(long, env = "BARRAGE_NO_WAIT", value_parser = flag())]
    pub(crate) no_wait: bool,
    /// A label of the run: KEY=VALUE [env: BARRAGE_LABEL, one on each line]
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = pair, default_values = lines("BARRAGE_LABEL"), hide_default_value = true)]
    pub(crate) labels: Vec<(String, String)>,
    /// At least this many workers, whatever the plan says
    #[arg(long, value_name = "N", env = "BARRAGE_MIN_WORKERS")]
    pub(crate) min_workers: Option<u32>,
}

/// `barrage watch`.
#[derive(Debug, Args)]
pub(crate) struct WatchArgs {
    /// The run; the newest when absent
    #[arg(value_name = "RUN")]
    pub(crate) run: Option<String>,
    /// The coordinator.
    #[command(flatten)]
    pub(crate) coordinator: CoordinatorUrl,
    /// The report.
    #[command(flatten)]
    pub(crate) output: Output,
}

/// `barrage runs`.
#[derive(Debug, Subcommand)]
pub(crate) enum RunsCommand {
    /// Lists runs, the newest first
    Ls {
        /// Where.
        #[command(flatten)]
        place: Place,
        /// At most this many
        #[arg(long, default_value_t = 50, env = "BARRAGE_LIMIT")]
        limit: u32,
    },
    /// Shows one run's report
    Show(ReportArgs),
    /// Removes one stored run
    Rm {
        /// The run
        run: String,
        /// Where.
        #[command(flatten)]
        place: Place,
    },
    /// Removes old stored runs
    Prune {
        /// Keeps this many
        #[arg(long, value_name = "N", env = "BARRAGE_KEEP", required_unless_present = "older_than")]
        keep: Option<u32>,
        /// Removes those older than this
        #[arg(long, value_name = "TIME", env = "BARRAGE_OLDER_THAN")]
        older_than: Option<String>,
        /// Where.
        #[command(flatten)]
        place: Place,
    },
}

/// `barrage stop`.
#[derive(Debug, Args)]
pub(crate) struct StopArgs {
    /// The run
    #[arg(required_unless_present = "all")]
    pub(crate) run: Option<String>,
    /// Every run
    #[arg(long, conflicts_with = "run", env = "BARRAGE_ALL", value_parser = flag())]
    pub(crate) all: bool,
    /// Cancels what is in flight
    #[arg(long, env = "BARRAGE_NOW", value_parser = flag())]
    pub(crate) now: bool,
    /// The coordinator.
    #[command(flatten)]
    pub(crate) coordinator: CoordinatorUrl,
}

/// `barrage report`.
#[derive(Debug, Args)]
pub(crate) struct ReportArgs {
    /// The run; the newest when absent
    #[arg(value_name = "RUN")]
    pub(crate) run: Option<String>,
    /// Where.
    #[command(flatten)]
    pub(crate) place: Place,
    /// Writes every rendering here
    #[arg(long, value_name = "DIR", env = "BARRAGE_OUT")]
    pub(crate) out: Option<PathBuf>,
    /// What stdout gets
    #[arg(long, value_enum, default_value_t = Format::Text, env = "BARRAGE_FORMAT")]
    pub(crate) format: Format,
}

/// `barrage plan`.
#[derive(Debug, Subcommand)]
pub(crate) enum PlanCommand {
    /// Checks a plan without touching the network
    Check(PlanArgs),
    /// Prints the JSON Schema of plans
    Schema,
    /// Prints every key of a plan with its meaning, as Markdown
    Reference,
    /// Prints the normalised plan, expected arrivals, shares, memory, and each step's engine with the reason
    Show {
        /// The plan.
        #[command(flatten)]
        plan: PlanArgs,
        /// Shares for this many workers
        #[arg(long, default_value_t = 1, env = "BARRAGE_WORKERS")]
        workers: u32,
        /// Load threads of each worker
        #[arg(long, default_value_t = 1, env = "BARRAGE_SHARDS")]
        shards: u32,
    },
    /// Goes once through each scenario and shows requests, answers, extracts and checks
    Try {
        /// The plan.
        #[command(flatten)]
        plan: PlanArgs,
        /// Only this scenario
        #[arg(long, value_name = "NAME", env = "BARRAGE_SCENARIO")]
        scenario: Option<String>,
    },
}

/// A plan and what fills it in.
#[derive(Debug, Args)]
pub(crate) struct PlanArgs {
    /// The plan file (- for stdin)
    pub(crate) plan: String,
    /// Filling it in.
    #[command(flatten)]
    pub(crate) fill: Fill,
}

/// `barrage coordinator`.
#[derive(Debug, Args)]
pub(crate) struct CoordinatorArgs {
    /// Address to listen on
    #[arg(long, default_value = "127.0.0.1:7070", value_name = "ADDR", env = "BARRAGE_LISTEN")]
    pub(crate) listen: SocketAddr,
    /// Where runs are stored; without it, a folder in the user's state directory
    #[arg(long, value_name = "DIR", env = "BARRAGE_STORE")]
    pub(crate) store: Option<PathBuf>,
    /// Listens beyond loopback without TLS and tokens
    #[arg(long, env = "BARRAGE_INSECURE", value_parser = flag())]
    pub(crate) insecure: bool,
    /// Leaves when stdin ends: tied to the process that started it
    #[arg(long, hide = true)]
    pub(crate) tied: bool,
}

/// `barrage worker`.
#[derive(Debug, Args)]
pub(crate) struct WorkerArgs {
    /// The coordinator's address
    #[arg(
        long,
        value_name = "URL",
        env = "BARRAGE_COORDINATOR",
        default_value = "http://127.0.0.1:7070"
    )]
    pub(crate) coordinator: String,
    /// Name shown in reports; the host name when absent
    #[arg(long, value_name = "NAME", env = "BARRAGE_NAME")]
    pub(crate) name: Option<String>,
    /// A label that plans can select by: KEY=VALUE [env: BARRAGE_LABEL, one on each line]
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = pair, default_values = lines("BARRAGE_LABEL"), hide_default_value = true)]
    pub(crate) labels: Vec<(String, String)>,
    /// Load threads; the allowed cores when absent
    #[arg(long, value_name = "N", env = "BARRAGE_THREADS", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) threads: Option<u16>,
    /// Most iterations per second of this worker; also its weight in the wheel
    #[arg(long, value_name = "RATE", env = "BARRAGE_MAX_RATE")]
    pub(crate) max_rate: Option<String>,
    /// Writes every raw sample to this file, one line each; for checking, not for speed
    #[arg(long, value_name = "FILE", env = "BARRAGE_TRACE_SAMPLES")]
    pub(crate) trace_samples: Option<PathBuf>,
    /// Leaves after the first run
    #[arg(long, env = "BARRAGE_ONCE", value_parser = flag())]
    pub(crate) once: bool,
    /// Leaves when stdin ends: tied to the process that started it
    #[arg(long, hide = true)]
    pub(crate) tied: bool,
}

/// `barrage health`.
#[derive(Debug, Args)]
pub(crate) struct HealthArgs {
    /// The coordinator.
    #[command(flatten)]
    pub(crate) coordinator: CoordinatorUrl,
    /// Unhealthy unless at least this many workers have joined
    #[arg(long, value_name = "N", env = "BARRAGE_MIN_WORKERS")]
    pub(crate) min_workers: Option<u32>,
    /// Asks any HTTP server instead: healthy when this URL answers 2xx
    #[arg(long, value_name = "URL", env = "BARRAGE_URL", conflicts_with = "min_workers")]
    pub(crate) url: Option<String>,
}

/// `barrage doctor`.
#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    /// Looks whether this coordinator can be reached, too
    #[arg(long, value_name = "URL", env = "BARRAGE_COORDINATOR")]
    pub(crate) coordinator: Option<String>,
    /// What stdout gets
    #[arg(long, value_enum, default_value_t = DoctorFormat::Text, env = "BARRAGE_FORMAT")]
    pub(crate) format: DoctorFormat,
}

/// Renderings of a preflight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum DoctorFormat {
    /// For people.
    Text,
    /// For programs.
    Json,
}

/// `barrage demo`.
#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// The report.
    #[command(flatten)]
    pub(crate) output: Output,
}

/// `barrage target`.
#[derive(Debug, Args)]
pub(crate) struct TargetArgs {
    /// Address to listen on
    #[arg(long, default_value = "127.0.0.1:8080", value_name = "ADDR", env = "BARRAGE_LISTEN")]
    pub(crate) listen: SocketAddr,
    /// Seed of the latencies
    #[arg(long, default_value_t = 1, env = "BARRAGE_SEED")]
    pub(crate) seed: u64,
    /// Leaves when stdin ends: tied to the process that started it
    #[arg(long, hide = true)]
    pub(crate) tied: bool,
}

fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err(format!("expected KEY=VALUE, found {text:?}")),
    }
}

/// What the environment twin of a flag that can be given several times says: the lines of that variable. On the command
/// line each flag is one value, whatever it holds. Not asked for more than a few times in a process, which keeps it.
fn lines(variable: &str) -> Vec<&'static std::ffi::OsStr> {
    let Some(text) = std::env::var_os(variable) else {
        return Vec::new();
    };
    let text: &'static std::ffi::OsStr = Box::leak(text.into_boxed_os_str());
    match text.to_str() {
        Some(lines) => lines
            .lines()
            .filter(|line| !line.is_empty())
            .map(std::ffi::OsStr::new)
            .collect(),
        // The flag's own reader says what is wrong with it.
        None => vec![text],
    }
}

/// How a flag's environment twin is read: `0`, `false`, `no`, `off`, `n`, `f` and nothing at all leave it off.
fn flag() -> clap::builder::FalseyValueParser {
    clap::builder::FalseyValueParser::new()
}
