//! Repository automation: the gate (`check`), the house rules that no other tool knows (`tidy`), golden files (`bless`) and
//! measurements (`bench-…`).
//!
//! Invariants:
//! 1. A part that fails never hides the parts after it, unless they need its result; the exit code tells of any failure.
//! 2. Nothing is left out silently: a part or test that did not run is named, with the reason, and counted.
//! 3. `tidy` reads files and decides in process; it starts nothing and changes nothing.

mod bench;
mod check;
mod clock;
mod parts;
mod run;
mod say;
mod tally;
mod tidy;
mod tools;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};

const USAGE: &str = "\
usage: cargo xtask check [PART...]   run the gate, or the named parts of it, in order:
                                     tools fmt clippy tidy build test doc deny
       cargo xtask tidy              check the house rules alone
       cargo xtask bless [ARG...]    run the tests with UPDATE_EXPECT=1, rewriting golden files;
                                     arguments go to `cargo test` (default: --workspace)
       cargo xtask bench-fleet [ARG...]
                                     measures the coordinator under a large simulated fleet; --help lists the arguments
       cargo xtask bench-peers [ARG...]
                                     measures Barrage beside other load generators; --help lists the arguments";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match dispatch(&arguments) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            say::error(&format!("xtask: {error:#}"));
            ExitCode::from(2)
        }
    }
}

/// Runs one command; `false` means that it ran and found something wrong.
fn dispatch(arguments: &[String]) -> Result<bool> {
    let root = repository_root()?;
    let Some((command, rest)) = arguments.split_first() else {
        bail!("no command\n{USAGE}")
    };
    match (command.as_str(), rest) {
        ("check", names) => Ok(check::gate(&root, &parts::select(names)?)),
        ("tidy", []) => Ok(matches!(check::tidy(&root), parts::Outcome::Passed)),
        ("bless", rest) => Ok(check::bless(&root, rest)),
        ("bench-fleet", rest) => bench::run(&root, "bench-fleet", &[], rest),
        ("bench-peers", rest) => bench::peers(&root, rest),
        ("help" | "--help" | "-h", _) => {
            say::line(USAGE);
            Ok(true)
        }
        (other, _) => bail!("unknown command or arguments: {other}\n{USAGE}"),
    }
}

/// The folder above this crate's, as it was when this binary was built.
fn repository_root() -> Result<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .context("the crate has no parent folder")?;
    Ok(root.to_path_buf())
}
