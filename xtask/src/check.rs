//! The gate: runs the parts, times them and sums up.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::clock::Stopwatch;
use crate::parts::{Outcome, Part};
use crate::run;
use crate::say;
use crate::tally::Tally;
use crate::tidy as rules;
use crate::tools;

/// The environment variable that names the file to which a test appends why it could not run.
const SKIP_LOG_VARIABLE: &str = "BARRAGE_SKIPPED_LOG";

/// Builds what the tests need, with their selection, so that nothing is built twice with other features.
const BUILD: [&str; 3] = ["build", "--workspace", "--all-targets"];

/// A finished part.
struct Done {
    part: Part,
    outcome: Outcome,
    took: Duration,
}

/// Runs the parts in order and prints the summary; `true` when none failed.
pub(crate) fn gate(root: &Path, parts: &[Part]) -> bool {
    let watch = Stopwatch::start();
    let mut tally = Tally::default();
    let mut done: Vec<Done> = Vec::new();
    for &part in parts {
        say::line(&format!("\n== {}", part.name()));
        let watch = Stopwatch::start();
        let outcome = if part == Part::Test && failed(&done, Part::Build) {
            tally.note_failed_run();
            Outcome::Failed("not run, because the build failed".to_owned())
        } else {
            run_part(root, part, &mut tally)
        };
        let took = watch.elapsed();
        say::line(&format!("-- {}", summary_line(part, &outcome, took)));
        done.push(Done { part, outcome, took });
    }
    summarise(&done, &tally, watch.elapsed(), parts.contains(&Part::Test));
    !done.iter().any(|done| matches!(done.outcome, Outcome::Failed(_)))
}

/// Reruns tests with golden files being rewritten; `true` when all passed. `arguments` choose the tests as for
/// `cargo test`; none means all.
pub(crate) fn bless(root: &Path, arguments: &[String]) -> bool {
    let chosen: Vec<&str> = if arguments.is_empty() {
        vec!["--workspace"]
    } else {
        arguments.iter().map(String::as_str).collect()
    };
    // The system tests drive the built binary; those of a single crate need nothing but the crate.
    if chosen
        .iter()
        .any(|argument| matches!(*argument, "--workspace" | "barrage-tests"))
        && let Outcome::Failed(reason) = run::status(run::cargo(root, &BUILD))
    {
        say::error(&format!("bless: the build failed: {reason}"));
        return false;
    }
    let mut tally = Tally::default();
    let outcome = run_tests(root, &chosen, true, &mut tally);
    say::line("golden files are rewritten; read `git diff` before committing them");
    say::line(&tally.closing_line());
    outcome == Outcome::Passed
}

/// Checks the house rules and prints each violation as `path:line: message`.
pub(crate) fn tidy(root: &Path) -> Outcome {
    match rules::run(root) {
        Ok(violations) if violations.is_empty() => Outcome::Passed,
        Ok(violations) => {
            for violation in &violations {
                say::line(&violation.to_string());
            }
            Outcome::Failed(format!("{} violations of the house rules", violations.len()))
        }
        Err(error) => Outcome::Failed(format!("{error:#}")),
    }
}

fn run_part(root: &Path, part: Part, tally: &mut Tally) -> Outcome {
    match part {
        Part::Tools => tools::install(root, &target_folder(root)),
        Part::Fmt => run::status(run::cargo(root, &["fmt", "--all", "--", "--check"])),
        Part::Clippy => run::status(run::cargo(
            root,
            &["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"],
        )),
        Part::Tidy => tidy(root),
        Part::Build => run::status(run::cargo(root, &BUILD)),
        Part::Test => run_tests(root, &["--workspace"], false, tally),
        Part::Doc => {
            let mut command = run::cargo(root, &["doc", "--workspace", "--no-deps"]);
            command.env("RUSTDOCFLAGS", "-D warnings");
            run::status(command)
        }
        Part::Deny if tools::is_installed("cargo-deny") => run::status(run::cargo(root, &["deny", "check"])),
        Part::Deny => Outcome::Skipped("cargo-deny is not installed".to_owned()),
    }
}

fn run_tests(root: &Path, chosen: &[&str], rewrite: bool, tally: &mut Tally) -> Outcome {
    let target = target_folder(root);
    let log = match fresh_skip_log(&target) {
        Ok(log) => log,
        Err(error) => return Outcome::Failed(format!("the log of skipped tests could not be made: {error}")),
    };
    let mut arguments = vec!["test", "--no-fail-fast"];
    arguments.extend(chosen);
    let mut command = run::cargo(root, &arguments);
    command.env(SKIP_LOG_VARIABLE, &log);
    if let Some(python) = tools::python(&target) {
        command.env(tools::PYTHON_VARIABLE, python);
    }
    if rewrite {
        command.env("UPDATE_EXPECT", "1");
    }
    let outcome = run::lines(command, |line| {
        say::raw(line);
        tally.add_line(&String::from_utf8_lossy(line));
    });
    if outcome != Outcome::Passed {
        tally.note_failed_run();
    }
    let skips = fs::read(&log).unwrap_or_default();
    tally.add_skips(&String::from_utf8_lossy(&skips));
    // It has been read; a log that stays behind does no harm, the next run has its own.
    let _ = fs::remove_file(&log);
    outcome
}

/// Makes an empty log under a name of this process, so that two gates in one folder do not mix.
fn fresh_skip_log(target: &Path) -> std::io::Result<PathBuf> {
    let folder = target.join("xtask");
    fs::create_dir_all(&folder)?;
    let log = folder.join(format!("skipped-{}.log", std::process::id()));
    fs::write(&log, "")?;
    Ok(log)
}

/// Where cargo builds.
pub(crate) fn target_folder(root: &Path) -> PathBuf {
    root.join(std::env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into()))
}

fn failed(done: &[Done], part: Part) -> bool {
    done.iter()
        .any(|done| done.part == part && matches!(done.outcome, Outcome::Failed(_)))
}

fn summary_line(part: Part, outcome: &Outcome, took: Duration) -> String {
    let (word, reason) = match outcome {
        Outcome::Passed => ("passed", ""),
        Outcome::Failed(reason) => ("FAILED", reason.as_str()),
        Outcome::Skipped(reason) => return format!("SKIPPED {}: {reason}", part.name()),
    };
    format!("{word}  {:<6} {:>7.1} s  {reason}", part.name(), took.as_secs_f64())
        .trim_end()
        .to_owned()
}

fn summarise(done: &[Done], tally: &Tally, took: Duration, with_tests: bool) {
    say::line("\n== summary");
    for done in done {
        say::line(&summary_line(done.part, &done.outcome, done.took));
    }
    for line in tally.skipped() {
        say::line(line);
    }
    let count = |wanted: fn(&Outcome) -> bool| done.iter().filter(|done| wanted(&done.outcome)).count();
    let passed = count(|outcome| matches!(outcome, Outcome::Passed));
    let failed = count(|outcome| matches!(outcome, Outcome::Failed(_)));
    let skipped = count(|outcome| matches!(outcome, Outcome::Skipped(_)));
    say::line(&format!(
        "{passed} parts passed, {failed} failed, {skipped} skipped in {:.1} s",
        took.as_secs_f64()
    ));
    if with_tests {
        say::line(&tally.closing_line());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_line_names_the_part_its_time_and_the_reason() {
        let took = Duration::from_millis(12_340);
        assert_eq!(
            summary_line(Part::Fmt, &Outcome::Passed, took),
            "passed  fmt       12.3 s"
        );
        let failed = Outcome::Failed("ended with exit status: 1".to_owned());
        assert_eq!(
            summary_line(Part::Clippy, &failed, took),
            "FAILED  clippy    12.3 s  ended with exit status: 1"
        );
        let skipped = Outcome::Skipped("cargo-deny is not installed".to_owned());
        assert_eq!(
            summary_line(Part::Deny, &skipped, took),
            "SKIPPED deny: cargo-deny is not installed"
        );
    }

    #[test]
    fn only_a_failed_build_keeps_the_tests_from_running() {
        let done = |outcome| {
            [Done {
                part: Part::Build,
                outcome,
                took: Duration::ZERO,
            }]
        };
        assert!(failed(&done(Outcome::Failed(String::new())), Part::Build));
        assert!(!failed(&done(Outcome::Passed), Part::Build));
        assert!(!failed(&done(Outcome::Failed(String::new())), Part::Clippy));
    }
}
