//! Runs other programs from the repository's root, without standard input.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::clock::Stopwatch;
use crate::parts::Outcome;

/// How often a program with a time limit is looked at.
const POLL: Duration = Duration::from_millis(100);

/// Builds a command that runs in `root`.
pub(crate) fn command(root: &Path, program: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(arguments).current_dir(root).stdin(Stdio::null());
    command
}

/// Builds a command for the cargo that runs this program.
pub(crate) fn cargo(root: &Path, arguments: &[&str]) -> Command {
    let program = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let mut command = command(root, &program, arguments);
    // The gate judges golden files; only `bless` may rewrite them.
    command.env_remove("UPDATE_EXPECT");
    command
}

/// Runs a command to its end with its output passed through.
pub(crate) fn status(mut command: Command) -> Outcome {
    match command.status() {
        Ok(status) if status.success() => Outcome::Passed,
        Ok(status) => Outcome::Failed(format!("ended with {status}")),
        Err(error) => Outcome::Failed(format!("could not be started: {error}")),
    }
}

/// Runs a command and hands each line of its standard output to `see` as it comes, with its line end.
pub(crate) fn lines(mut command: Command, mut see: impl FnMut(&[u8])) -> Outcome {
    let mut child = match command.stdout(Stdio::piped()).spawn() {
        Ok(child) => child,
        Err(error) => return Outcome::Failed(format!("could not be started: {error}")),
    };
    let mut out = BufReader::new(child.stdout.take().expect("the standard output was asked to be a pipe"));
    let mut line = Vec::new();
    loop {
        line.clear();
        match out.read_until(b'\n', &mut line) {
            Ok(0) => break,
            Ok(_) => see(&line),
            Err(error) => return Outcome::Failed(format!("its output could not be read: {error}")),
        }
    }
    match child.wait() {
        Ok(status) if status.success() => Outcome::Passed,
        Ok(status) => Outcome::Failed(format!("ended with {status}")),
        Err(error) => Outcome::Failed(format!("could not be waited for: {error}")),
    }
}

/// Runs a command quietly and ends it after `limit`.
///
/// # Errors
/// One sentence fit for a `SKIPPED` line: what the program was and how it ended.
pub(crate) fn quietly(mut command: Command, limit: Duration) -> Result<(), String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let mut child = command
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| format!("{name} could not be started: {error}"))?;
    let watch = Stopwatch::start();
    loop {
        match child.try_wait() {
            Ok(Some(status)) if status.success() => return Ok(()),
            Ok(Some(status)) => return Err(format!("{name} ended with {status}")),
            Ok(None) if watch.elapsed() < limit => std::thread::sleep(POLL),
            Ok(None) => {
                // It may have ended in this very moment; either way it is gone after the wait.
                let _ = child.kill();
                let _ = child.wait();
                return Err(format!("{name} did not end within {} s", limit.as_secs()));
            }
            Err(error) => return Err(format!("{name} could not be waited for: {error}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        command(Path::new("/"), "sh", &["-c", script])
    }

    #[test]
    fn every_line_is_seen_and_the_exit_is_told() {
        let mut seen = Vec::new();
        let outcome = lines(shell("echo one; printf two; exit 3"), |line| seen.push(line.to_vec()));
        assert_eq!(seen, [b"one\n".as_slice(), b"two"]);
        assert_eq!(outcome, Outcome::Failed("ended with exit status: 3".to_owned()));
    }

    #[test]
    fn a_program_that_hangs_is_ended_and_named() {
        assert_eq!(quietly(shell("exit 0"), Duration::from_secs(5)), Ok(()));
        let ended = quietly(command(Path::new("/"), "sleep", &["60"]), Duration::ZERO);
        assert_eq!(ended, Err("sleep did not end within 0 s".to_owned()));
        let absent = quietly(command(Path::new("/"), "no-such-program", &[]), Duration::ZERO);
        assert!(absent.is_err_and(|reason| reason.starts_with("no-such-program could not be started")));
    }
}
