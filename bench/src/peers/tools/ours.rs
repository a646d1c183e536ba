//! Barrage as its users run it: alone in one process, or a worker under a live coordinator.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::Load;
use super::command;
use super::said::{self, Said};
use crate::peers::child::{Child, Ended, Start, Usage, tail};

/// How long the parts may take besides the load itself: joining, preparing, draining, reporting.
const AROUND_LIMIT: Duration = Duration::from_secs(45);
const READY_LIMIT: Duration = Duration::from_secs(10);
/// The exit code of a run whose generator was not valid: its counts still hold, and the table says so.
const INVALID: i32 = 95;

/// What a run is asked to do.
#[derive(Clone, Debug)]
pub(crate) enum Work {
    /// A load that every tool knows.
    Load(Load),
    /// A plan of our own, written to a file, with its length in seconds.
    Plan(PathBuf, u32),
}

impl Work {
    /// How long the load lasts.
    pub(crate) fn seconds(&self) -> u32 {
        match self {
            Self::Load(load) => load.seconds,
            Self::Plan(_, seconds) => *seconds,
        }
    }

    fn limit(&self) -> Duration {
        Duration::from_secs(u64::from(self.seconds())) + AROUND_LIMIT
    }
}

/// A finished run of ours.
#[derive(Clone, Debug)]
pub(crate) struct Finished {
    /// Of the process on the measured core, from its start to its end.
    pub(crate) usage: Usage,
    /// CPU of the helpers on the other core that began and ended with the run, s.
    pub(crate) helpers_cpu_s: f64,
    /// From its report.
    pub(crate) said: Said,
    /// The commands, as typed.
    pub(crate) shown: String,
}

/// A coordinator on the servers' core.
#[derive(Debug)]
pub(crate) struct Coordinator {
    child: Child,
    url: String,
}

impl Coordinator {
    /// Starts one with an empty store below `folder`.
    pub(crate) fn start(program: &Path, core: usize, folder: &Path) -> Result<Self> {
        let mut start = Start::new(
            program,
            &["coordinator", "--listen", "127.0.0.1:0", "--store", "coordinator"],
            core,
        );
        start.home = Some(folder.to_path_buf());
        let mut child = Child::spawn(&start, folder)?;
        let url = child.wait_for(READY_LIMIT, |output| {
            output
                .lines()
                .find_map(|line| line.trim().strip_prefix("listening on "))
                .map(str::to_owned)
        })?;
        Ok(Self { child, url })
    }

    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.pid()
    }

    /// Starts a worker that leaves after one run on `core`, and a client that asks for that run on `other`.
    pub(crate) fn begin(
        &self,
        program: &Path,
        work: &Work,
        core: usize,
        other: usize,
        folder: &Path,
    ) -> Result<Running> {
        let worker = ["worker", "--coordinator", &self.url, "--threads", "1", "--once"];
        let mut worker = Start::new(program, &worker, core);
        worker.home = Some(folder.to_path_buf());
        let mut client = match work {
            Work::Load(load) => {
                let mut start = Start::new(program, &["run"], other);
                start.arguments.extend(command::ours(load));
                start
            }
            Work::Plan(path, _) => Start::new(program, &["submit", &path.to_string_lossy()], other),
        };
        client
            .arguments
            .extend(["--coordinator", &self.url, "--out", "out", "--quiet"].map(str::to_owned));
        client.home = Some(folder.to_path_buf());
        Ok(Running {
            out: fresh_out(folder)?,
            shown: format!(
                "{} (measured); {}",
                without_url(&worker, &self.url),
                without_url(&client, &self.url)
            ),
            limit: work.limit(),
            measured: Child::spawn(&worker, folder)?,
            client: Some(Child::spawn(&client, folder)?),
        })
    }
}

/// Starts a run in one process on `core`.
pub(crate) fn begin_alone(program: &Path, work: &Work, core: usize, folder: &Path) -> Result<Running> {
    let mut start = Start::new(program, &["run"], core);
    match work {
        Work::Load(load) => start.arguments.extend(command::ours(load)),
        Work::Plan(path, _) => start.arguments.push(path.to_string_lossy().into_owned()),
    }
    start
        .arguments
        .extend(["--threads", "1", "--store", "alone", "--out", "out", "--quiet"].map(str::to_owned));
    start.home = Some(folder.to_path_buf());
    Ok(Running {
        out: fresh_out(folder)?,
        shown: start.shown(),
        limit: work.limit(),
        measured: Child::spawn(&start, folder)?,
        client: None,
    })
}

/// A run of ours that is under way.
#[derive(Debug)]
pub(crate) struct Running {
    measured: Child,
    client: Option<Child>,
    out: PathBuf,
    shown: String,
    limit: Duration,
}

impl Running {
    /// The process on the measured core.
    pub(crate) fn measured(&self) -> &Child {
        &self.measured
    }

    /// Waits for its end and reads its report.
    pub(crate) fn finish(self) -> Result<Finished> {
        let Some(client) = self.client else {
            let ended = self.measured.wait(self.limit)?;
            let said = report(&ended, &self.out)?;
            return Ok(Finished {
                usage: ended.usage,
                helpers_cpu_s: 0.0,
                said,
                shown: self.shown,
            });
        };
        let ended = client.wait(self.limit)?;
        let said = report(&ended, &self.out)?;
        let worked = self.measured.wait(AROUND_LIMIT)?;
        ensure!(
            worked.code == Some(0),
            "the worker ended with {:?}: {}",
            worked.code,
            tail(&worked.output)
        );
        Ok(Finished {
            usage: worked.usage,
            helpers_cpu_s: ended.usage.cpu_s(),
            said,
            shown: self.shown,
        })
    }
}

fn without_url(start: &Start, url: &str) -> String {
    start.shown().replace(url, "URL")
}

/// The report of a run that ended, whatever its verdict.
fn report(ended: &Ended, out: &Path) -> Result<Said> {
    let path = out.join("report.json");
    let fit = matches!(ended.code, Some(0 | INVALID));
    ensure!(fit, "barrage ended with {:?}: {}", ended.code, tail(&ended.output));
    let text = std::fs::read_to_string(&path).context("barrage wrote no report.json")?;
    let value: Value = serde_json::from_str(&text).context("report.json is no JSON")?;
    said::ours(&value).context("report.json lacks its counts")
}

/// The folder for the report, emptied: an old report must never be taken for a new one.
fn fresh_out(folder: &Path) -> Result<PathBuf> {
    let out = folder.join("out");
    if out.exists() {
        std::fs::remove_dir_all(&out).context("could not remove the last report")?;
    }
    Ok(out)
}
