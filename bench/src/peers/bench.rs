//! The measurement as a whole: servers, contestants, sections, the page.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::thread::{CpuSet, sched_getaffinity};

use super::child::{self, Child, Usage};
use super::options::Options;
use super::page::{Page, SectionText};
use super::server::nginx::Nginx;
use super::server::process::LightProcess;
use super::server::{Counted, Server};
use super::tools::install;
use super::tools::ours::{self, Coordinator, Finished, Work};
use super::tools::said::{self, Said};
use super::tools::{Tool, Toolbox, command, find_program};
use super::{noise, say, sections};
use crate::place::writable;

/// How often a run that others disturbed is repeated.
const REPEATS_MAX: u32 = 2;
/// How long a peer may take besides its load.
const AROUND_LIMIT: Duration = Duration::from_secs(30);

/// What everything is measured with.
#[derive(Debug)]
pub(crate) struct Bench {
    /// The command line.
    pub(crate) options: Options,
    /// Who takes part.
    pub(crate) toolbox: Toolbox,
    /// The core of the contestants.
    pub(crate) client_core: usize,
    /// The core of the servers, of the coordinator and of this program.
    pub(crate) server_core: usize,
    coordinator: Option<Coordinator>,
    folder: PathBuf,
}

/// One run of one contestant.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    /// By the server's count.
    pub(crate) counted: Counted,
    /// Length of the load, s: the contestant's own figure where it prints one.
    pub(crate) seconds: f64,
    /// What the contestant used.
    pub(crate) usage: Usage,
    /// Its own account.
    pub(crate) said: Said,
    /// CPU that the server used meanwhile, s, to 0.01.
    pub(crate) server_cpu_s: f64,
    /// CPU that the coordinator used meanwhile, s, to 0.01; `None` for those who have none on the other core.
    pub(crate) coordinator_cpu_s: Option<f64>,
    /// What others used meanwhile.
    pub(crate) foreign: noise::Foreign,
    /// How often it was repeated because others disturbed it.
    pub(crate) repeats: u32,
    /// The command, as typed.
    pub(crate) shown: String,
}

impl Sample {
    /// Requests per second, by the server's count.
    pub(crate) fn rate(&self) -> f64 {
        self.counted.requests as f64 / self.seconds
    }

    /// Requests per second of CPU.
    pub(crate) fn per_cpu(&self) -> f64 {
        self.counted.requests as f64 / self.usage.cpu_s()
    }
}

/// How one run went.
#[derive(Clone, Debug)]
pub(crate) enum Outcome {
    /// It counts.
    Measured(Box<Sample>),
    /// It does not: the text says which counts disagree.
    Refused(String),
}

/// Measures what the options ask for. The exit code tells of bars that were missed.
///
/// `folder` is there for the files of this run, and its parent's to remove.
pub(crate) fn run(options: &Options, folder: &Path) -> Result<ExitCode> {
    child::tie_to_parent()?;
    let (client_core, server_core) = cores()?;
    let place = place(options);
    if let Some(path) = &place {
        writable(path)?;
    }
    let toolbox = install::toolbox(options, folder)?;
    child::pin(server_core)?;
    let mut bench = Bench {
        options: options.clone(),
        toolbox,
        client_core,
        server_core,
        coordinator: None,
        folder: folder.to_path_buf(),
    };
    let mut page = Page::new(&bench);
    let mut missed = false;
    for section in sections::ALL.into_iter().filter(|section| options.wants(*section)) {
        say::progress(&format!("== {}", section.word()));
        let text = match sections::measure(section, &mut bench) {
            Ok(text) => text,
            Err(error) => SectionText::failed(section, &format!("{error:#}")),
        };
        missed |= text.missed(options.is_full());
        say::line(&text.markdown());
        // What was measured before is worth more than that nothing could be measured now.
        if text.has_figures() {
            page.put(&text);
        }
    }
    match place {
        Some(path) => write(&path, &page)?,
        None => say::progress("no page is written: it takes 7 rounds with everybody, or --out FILE"),
    }
    Ok(if missed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// A page in the repository holds figures of full runs alone; anything else goes where `--out` says.
fn place(options: &Options) -> Option<PathBuf> {
    let full = || options.is_full().then(|| options.root.join("docs/benchmarks.md"));
    options.out.clone().or_else(full)
}

fn write(path: &Path, page: &Page) -> Result<()> {
    let before = std::fs::read_to_string(path).unwrap_or_default();
    std::fs::write(path, page.update(&before)).with_context(|| format!("could not write {}", path.display()))?;
    say::progress(&format!("wrote {}", path.display()));
    Ok(())
}

/// The first two cores that this process may use.
fn cores() -> Result<(usize, usize)> {
    let set = sched_getaffinity(None).context("could not ask which cores may be used")?;
    let mut allowed = (0..CpuSet::MAX_CPU).filter(|core| set.is_set(*core));
    let (Some(client), Some(server)) = (allowed.next(), allowed.next()) else {
        anyhow::bail!("it takes two cores: one for the contestant, one for the server");
    };
    Ok((client, server))
}

impl Bench {
    /// Where the files of this run are.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Starts nginx.
    pub(crate) fn nginx(&self) -> Result<Nginx> {
        let program = find_program("nginx").context("nginx is not installed")?;
        Nginx::start(&program, self.server_core, self.folder())
    }

    /// Starts the light server.
    pub(crate) fn light(&self, arguments: &[&str]) -> Result<LightProcess> {
        LightProcess::start(arguments, self.server_core, self.folder())
    }

    /// The coordinator, started when it is needed first.
    pub(crate) fn coordinator(&mut self) -> Result<&Coordinator> {
        if self.coordinator.is_none() {
            let program = self.program(Tool::Barrage)?;
            self.coordinator = Some(Coordinator::start(&program, self.server_core, self.folder())?);
        }
        self.coordinator
            .as_ref()
            .context("the coordinator was started a moment ago")
    }

    /// Where a contestant is.
    pub(crate) fn program(&self, tool: Tool) -> Result<PathBuf> {
        let found = self.toolbox.found.get(&tool).map(|found| found.program.clone());
        found.with_context(|| format!("{} is not here", tool.name()))
    }

    /// Measures one run, again when others disturbed it.
    pub(crate) fn measure(&mut self, tool: Tool, work: &Work, server: &mut dyn Server) -> Result<Outcome> {
        let mut repeats = 0;
        loop {
            let mut sample = self.once(tool, work, server)?;
            sample.repeats = repeats;
            // Before anything else: whoever counts wrongly under a disturbance counts wrongly.
            let outcome = checked(tool, sample);
            match &outcome {
                Outcome::Measured(sample)
                    if sample.foreign.cores() > self.options.foreign_max && repeats < REPEATS_MAX =>
                {
                    let foreign = sample.foreign.cores();
                    say::progress(&format!("{}: {foreign:.2} foreign cores, again", tool.name()));
                    repeats += 1;
                }
                _ => return Ok(outcome),
            }
        }
    }

    fn once(&mut self, tool: Tool, work: &Work, server: &mut dyn Server) -> Result<Sample> {
        // In this order: the server, then the coordinator.
        let mut pids = vec![server.pid()];
        if tool == Tool::Barrage {
            pids.push(self.coordinator()?.pid());
        }
        server.begin()?;
        let before = noise::read(&pids)?;
        let finished = self.begin(tool, work)?.finish()?;
        let after = noise::read(&pids)?;
        let counted = server.finish(rate(work))?;
        ensure!(counted.requests > 0, "the server saw no request");
        let foreign = noise::foreign(&before, &after, finished.usage.cpu_s() + finished.helpers_cpu_s);
        let used = |index: usize| Some(after.of_pids.get(index)? - before.of_pids.get(index)?);
        Ok(Sample {
            server_cpu_s: used(0).unwrap_or(0.0),
            coordinator_cpu_s: used(1),
            counted,
            seconds: finished.said.seconds.unwrap_or_else(|| f64::from(work.seconds())),
            usage: finished.usage,
            said: finished.said,
            foreign,
            repeats: 0,
            shown: finished.shown,
        })
    }

    /// Starts a run.
    pub(crate) fn begin(&mut self, tool: Tool, work: &Work) -> Result<Running> {
        let program = self.program(tool)?;
        let (core, other) = (self.client_core, self.server_core);
        let folder = self.folder().to_path_buf();
        match (tool, work) {
            (Tool::Barrage, work) => Ok(Running::Ours(
                self.coordinator()?.begin(&program, work, core, other, &folder)?,
            )),
            (Tool::BarrageRun, work) => Ok(Running::Ours(ours::begin_alone(&program, work, core, &folder)?)),
            (_, Work::Load(load)) => {
                let start = command::peer(tool, &program, load, core, &folder)?;
                let limit = Duration::from_secs(u64::from(load.seconds)) + AROUND_LIMIT;
                Ok(Running::Peer {
                    tool,
                    child: Child::spawn(&start, &folder)?,
                    limit,
                    shown: start.shown(),
                })
            }
            (_, Work::Plan(..)) => anyhow::bail!("knows no plans"),
        }
    }
}

/// A run that is under way.
#[derive(Debug)]
pub(crate) enum Running {
    /// Of somebody else.
    Peer {
        /// Who.
        tool: Tool,
        /// Its process.
        child: Child,
        /// How long it may take.
        limit: Duration,
        /// Its command, as typed.
        shown: String,
    },
    /// Of Barrage.
    Ours(ours::Running),
}

impl Running {
    /// The process on the measured core.
    pub(crate) fn measured(&self) -> &Child {
        match self {
            Self::Peer { child, .. } => child,
            Self::Ours(running) => running.measured(),
        }
    }

    /// Waits for its end and hears what it says.
    pub(crate) fn finish(self) -> Result<Finished> {
        match self {
            Self::Ours(running) => running.finish(),
            Self::Peer {
                tool,
                child,
                limit,
                shown,
            } => {
                let ended = child.wait(limit)?;
                ensure!(
                    ended.code == Some(0),
                    "ended with {:?}: {}",
                    ended.code,
                    child::tail(&ended.output)
                );
                Ok(Finished {
                    usage: ended.usage,
                    helpers_cpu_s: 0.0,
                    said: said::peer(tool, &ended.output),
                    shown,
                })
            }
        }
    }
}

fn rate(work: &Work) -> Option<u32> {
    match work {
        Work::Load(load) => load.rate,
        Work::Plan(..) => None,
    }
}

/// What we say we sent must be what the server counted, to the last request.
fn checked(tool: Tool, sample: Sample) -> Outcome {
    let said = sample.said.requests;
    if tool.is_ours() && said != Some(sample.counted.requests) {
        let said = said.map_or_else(|| "nothing".to_owned(), |said| said.to_string());
        return Outcome::Refused(format!(
            "it says {said} requests, the server counted {}",
            sample.counted.requests
        ));
    }
    if sample.said.errors > 0 && tool.is_ours() {
        return Outcome::Refused(format!("{} of its requests went wrong", sample.said.errors));
    }
    Outcome::Measured(Box::new(sample))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(said: Option<u64>, errors: u64) -> Sample {
        Sample {
            counted: Counted {
                requests: 100,
                state: None,
            },
            seconds: 2.0,
            usage: Usage {
                user_s: 0.5,
                system_s: 0.5,
                peak_rss_kib: 1,
            },
            said: Said {
                requests: said,
                errors,
                ..Said::default()
            },
            server_cpu_s: 0.0,
            coordinator_cpu_s: None,
            foreign: noise::Foreign::default(),
            repeats: 0,
            shown: String::new(),
        }
    }

    #[test]
    fn our_own_counts_must_be_the_servers() {
        let refused = |tool, said, errors| match checked(tool, sample(said, errors)) {
            Outcome::Refused(reason) => Some(reason),
            Outcome::Measured(_) => None,
        };
        assert_eq!(refused(Tool::Barrage, Some(100), 0), None);
        let reason = "it says 99 requests, the server counted 100";
        assert_eq!(refused(Tool::Barrage, Some(99), 0).as_deref(), Some(reason));
        assert_eq!(refused(Tool::Wrk, Some(99), 0), None);
        assert_eq!(
            refused(Tool::BarrageRun, Some(100), 3).as_deref(),
            Some("3 of its requests went wrong")
        );
    }

    #[test]
    fn rates_are_of_the_servers_count() {
        let sample = sample(Some(1), 0);
        assert!((sample.rate() - 50.0).abs() < 1e-9 && (sample.per_cpu() - 100.0).abs() < 1e-9);
    }
}
