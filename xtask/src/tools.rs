//! Installs the programs that tests drive beside Barrage itself, where that is possible.
//!
//! A missing program never fails the gate: the tests that need it say that they were skipped.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::parts::Outcome;
use crate::run;
use crate::say;

/// The bound of one package manager call; what is not there by then is reported as missing.
const INSTALL_LIMIT: Duration = Duration::from_mins(5);
/// The bound of a look at what is installed.
const PROBE_LIMIT: Duration = Duration::from_secs(30);
/// An independent reader of `.hlog` files, from `PyPI`.
const PYTHON_PACKAGE: &str = "hdrhistogram==0.10.8";
/// Places of programs that are not always on the search path of an ordinary user.
const EXTRA_PLACES: [&str; 3] = ["/usr/local/sbin", "/usr/sbin", "/sbin"];

/// Programs as (name, Debian packages that bring it).
const PROGRAMS: [(&str, &[&str]); 2] = [("nginx", &["nginx"]), ("python3", &["python3", "python3-venv"])];

/// The environment variable that names the Python with the packages that tests need.
pub(crate) const PYTHON_VARIABLE: &str = "BARRAGE_PYTHON";

/// Installs what is missing and says what could not be installed.
pub(crate) fn install(root: &Path, target: &Path) -> Outcome {
    let mut reasons = Vec::new();
    let missing: Vec<_> = PROGRAMS
        .into_iter()
        .filter(|(program, _)| !is_installed(program))
        .collect();
    if !missing.is_empty() {
        let packages: Vec<&str> = missing
            .iter()
            .flat_map(|(_, packages)| packages.iter().copied())
            .collect();
        if let Err(reason) = install_packages(root, &packages) {
            let names: Vec<&str> = missing.iter().map(|(program, _)| *program).collect();
            reasons.push(format!("missing {}: {reason}", names.join(", ")));
        }
    }
    if is_installed("python3")
        && let Err(reason) = prepare_python(root, target)
    {
        reasons.push(format!("missing Python's {PYTHON_PACKAGE}: {reason}"));
    }
    if reasons.is_empty() {
        Outcome::Passed
    } else {
        Outcome::Skipped(reasons.join("; "))
    }
}

/// The Python of the tests' own environment, if [`install`] could prepare it now or earlier.
pub(crate) fn python(target: &Path) -> Option<PathBuf> {
    let python = target.join("tools/python/bin/python3");
    python.is_file().then_some(python)
}

/// Whether a program of this name lies on the search path.
pub(crate) fn is_installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(EXTRA_PLACES.iter().map(PathBuf::from))
        .any(|folder| folder.join(program).is_file())
}

fn install_packages(root: &Path, packages: &[&str]) -> Result<(), String> {
    if !is_installed("apt-get") {
        return Err("there is no apt-get here".to_owned());
    }
    if !is_root() {
        return Err("installing packages needs root".to_owned());
    }
    say::line(&format!("installing {} with apt-get", packages.join(", ")));
    run::quietly(apt_get(root, &["update"]), INSTALL_LIMIT)?;
    let mut arguments = vec!["install", "--yes", "--no-install-recommends"];
    arguments.extend(packages);
    run::quietly(apt_get(root, &arguments), INSTALL_LIMIT)
}

fn apt_get(root: &Path, arguments: &[&str]) -> Command {
    let mut command = run::command(root, "apt-get", &["-q", "-o", "Acquire::http::Timeout=30"]);
    // The tests start their own servers: run level 1 keeps the package's service from being started.
    command
        .args(arguments)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .env("RUNLEVEL", "1");
    command
}

/// Whether this process may install packages: the owner of its `/proc` entry is root.
fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self").is_ok_and(|of| of.uid() == 0)
}

/// Makes a virtual environment below the target folder, once.
fn prepare_python(root: &Path, target: &Path) -> Result<(), String> {
    let folder = target.join("tools/python");
    let python = folder.join("bin/python3").to_string_lossy().into_owned();
    let probe = || run::quietly(run::command(root, &python, &["-c", "import hdrh"]), PROBE_LIMIT);
    if probe().is_ok() {
        return Ok(());
    }
    say::line(&format!("installing {PYTHON_PACKAGE} with pip"));
    let folder = folder.to_string_lossy().into_owned();
    run::quietly(
        run::command(root, "python3", &["-m", "venv", "--clear", &folder]),
        INSTALL_LIMIT,
    )?;
    let install = ["-m", "pip", "install", "--quiet", "--no-input", PYTHON_PACKAGE];
    run::quietly(run::command(root, &python, &install), INSTALL_LIMIT)?;
    probe()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_found_on_the_search_path() {
        assert!(is_installed("sh"));
        assert!(!is_installed("no-such-program"));
    }

    #[test]
    fn no_python_is_offered_before_it_is_there() {
        assert_eq!(python(Path::new("/nonexistent")), None);
    }
}
