//! Benches: built like a release, then run with the arguments that were given.

use std::path::Path;

use anyhow::{Result, bail};

use crate::check::target_folder;
use crate::parts::Outcome;
use crate::run;

/// Runs a program of the `bench` crate beside the binary it measures; `false` when it ran and something missed its bar.
pub(crate) fn run(root: &Path, program: &str, arguments: &[String]) -> Result<bool> {
    let packages = ["-p", "barrage-cli", "-p", "barrage-bench"];
    let programs = ["--bin", "barrage", "--bin", program];
    let build: Vec<&str> = ["build", "--release"]
        .into_iter()
        .chain(packages)
        .chain(programs)
        .collect();
    if let Outcome::Failed(reason) = run::status(run::cargo(root, &build)) {
        bail!("{program}: the build failed: {reason}");
    }
    let binary = target_folder(root).join("release").join(program);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let measured = run::status(run::command(root, &binary.to_string_lossy(), &arguments));
    Ok(measured == Outcome::Passed)
}
