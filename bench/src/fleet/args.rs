//! The command line of the bench.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result, ensure};
use clap::Parser;

use super::{Figures, Options, measure, table};

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
    #[arg(long)]
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

fn run(args: &Args) -> Result<bool> {
    let seconds = args.minutes.map_or(args.seconds, |minutes| minutes * 60);
    ensure!(
        (2..=3_600).contains(&seconds),
        "a run takes from two seconds to an hour"
    );
    ensure!(
        args.workers.iter().all(|workers| (1..=5_000).contains(workers)),
        "a fleet has from one to 5,000 workers"
    );
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
