//! The command line of the bench.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result, ensure};
use clap::Parser;

use super::{Figures, Options, measure, table};
use crate::place::writable;

/// More than these a coordinator refuses.
const WORKERS_MAX: u32 = 4_000;

/// Measures a coordinator under a large simulated fleet.
#[derive(Debug, Parser)]
#[command(name = "bench-fleet")]
struct Args {
    /// Numbers of workers, one measurement each.
    #[arg(long, value_delimiter = ',', default_value = "1000,2000")]
    workers: Vec<u32>,
    /// Length of each run in seconds. Memory is judged in runs of ten minutes.
    #[arg(long, default_value_t = 600)]
    seconds: u32,
    /// Length of each run in minutes, in place of seconds.
    #[arg(long, conflicts_with = "seconds")]
    minutes: Option<u32>,
    /// Do not give coordinator and workers a core each.
    #[arg(long)]
    together: bool,
    /// The binary to measure [default: the one beside this program].
    #[arg(long)]
    barrage: Option<PathBuf>,
    /// Write the figures to this Markdown file as well.
    #[arg(long)]
    write: Option<PathBuf>,
}

/// Runs the bench: 0 when every bar holds, 1 when one does not or nothing could be measured.
pub fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            // Whoever closed stderr does not want to know.
            drop(writeln!(std::io::stderr(), "bench-fleet: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

impl Args {
    /// The length of each run, s.
    fn length(&self) -> Result<u32> {
        let seconds = self.minutes.map_or(self.seconds, |minutes| minutes.saturating_mul(60));
        ensure!(
            (2..=3_600).contains(&seconds),
            "a run takes from two seconds to an hour"
        );
        Ok(seconds)
    }
}

fn run(args: &Args) -> Result<bool> {
    let seconds = args.length()?;
    ensure!(
        args.workers.iter().all(|workers| (1..=WORKERS_MAX).contains(workers)),
        "a fleet has from one to 4,000 workers"
    );
    if let Some(path) = &args.write {
        writable(path)?;
    }
    let beside = || Some(std::env::current_exe().ok()?.parent()?.join("barrage"));
    let binary = args
        .barrage
        .clone()
        .or_else(beside)
        .context("this program does not know where it is")?;
    let mut all = Vec::new();
    for workers in &args.workers {
        let figures = measure(&Options {
            binary: binary.clone(),
            workers: *workers,
            seconds,
            pinned: !args.together,
        })
        .with_context(|| format!("no figures for {workers} workers"))?;
        writeln!(std::io::stdout(), "{}", table::section(&figures))?;
        all.push(figures);
    }
    if let Some(path) = &args.write {
        // The sources are where the page is.
        let root = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let page = table::page(&all, root.unwrap_or(std::path::Path::new(".")));
        std::fs::write(path, page).with_context(|| format!("could not write {}", path.display()))?;
    }
    let holds = |figures: &Figures| figures.bars().iter().all(|bar| bar.holds != Some(false));
    Ok(all.iter().all(holds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_is_taken_as_it_is_said_or_refused() {
        let length = |words: &[&str]| {
            let args = Args::try_parse_from([&["bench-fleet"], words].concat()).ok()?;
            args.length().ok()
        };
        assert_eq!(length(&[]), Some(600));
        assert_eq!(length(&["--seconds", "2"]), Some(2));
        assert_eq!(length(&["--minutes", "60"]), Some(3_600));
        assert_eq!(length(&["--minutes", "61"]), None);
        // Times 60 this is 44 more than what a `u32` holds.
        assert_eq!(length(&["--minutes", "71582789"]), None);
        assert_eq!(length(&["--minutes", "1", "--seconds", "5"]), None);
    }
}
