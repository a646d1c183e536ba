//! Measurements: builds what is measured and what measures, as users get them, and hands over.

use std::ffi::OsStr;
use std::path::Path;

use anyhow::{Result, bail};

use crate::check::target_folder;
use crate::parts::Outcome;
use crate::run;

/// Runs a program of the `bench` crate beside the binary that it measures; `false` when it ran and a bar was missed.
pub(crate) fn run(root: &Path, program: &str, fixed: &[&OsStr], arguments: &[String]) -> Result<bool> {
    let packages = ["build", "--release", "-p", "barrage-cli", "-p", "barrage-bench"];
    if let Outcome::Failed(reason) = run::status(run::cargo(root, &packages)) {
        bail!("{program}: the build failed: {reason}");
    }
    let binary = target_folder(root).join("release").join(program);
    let mut command = run::command(root, &binary.to_string_lossy(), &[]);
    match command.args(fixed).args(arguments).status() {
        Ok(status) if status.success() => Ok(true),
        Ok(status) if status.code() == Some(1) => Ok(false),
        Ok(status) => bail!("{program} ended with {status}"),
        Err(error) => bail!("{program} could not be started: {error}"),
    }
}

/// Runs `bench-peers` from the repository's root.
pub(crate) fn peers(root: &Path, arguments: &[String]) -> Result<bool> {
    let barrage = target_folder(root).join("release").join("barrage");
    let fixed = [
        OsStr::new("--root"),
        root.as_os_str(),
        OsStr::new("--barrage"),
        barrage.as_os_str(),
    ];
    run(root, "bench-peers", &fixed, arguments)
}
