//! The image and the compose file, where a Docker daemon is reachable.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::support::report::{assert_iterations_balance, assert_steps_balance, at, whole};
use crate::support::{quiet, skip, wait};

const TRIPLE: &str = "x86_64-unknown-linux-gnu";
/// A static release build of everything on two busy cores. Later ones build only what has changed.
const BUILD_LIMIT: Duration = Duration::from_mins(30);
/// Anything that is asked of the daemon, the run of a quarter of a minute included.
const DAEMON_LIMIT: Duration = Duration::from_mins(3);
/// How long a daemon that is well may take to say so.
const ANSWER_LIMIT: Duration = Duration::from_secs(20);
/// Both ways in which compose is installed: as a plugin, and as a program of its own.
const COMPOSE: [&[&str]; 2] = [&["docker", "compose"], &["docker-compose"]];

fn root() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().expect("tests/ lies in the workspace").to_owned()
}

/// A command in the workspace that is ended, with all that it has started, when its time is over.
fn bounded(limit: Duration, words: &[&str]) -> Command {
    let mut command = Command::new("timeout");
    command
        .args(["--kill-after=10", &limit.as_secs().to_string()])
        .args(words)
        .current_dir(root())
        .stdin(Stdio::null());
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("BARRAGE_") || text.starts_with("COMPOSE_") {
            command.env_remove(&name);
        }
    }
    command
}

fn output(command: &mut Command) -> Output {
    command
        .output()
        .unwrap_or_else(|error| panic!("{command:?} does not start: {error}"))
}

/// Runs a command to its good end, and gives its stdout.
#[track_caller]
fn succeed(command: &mut Command) -> String {
    let output = output(command);
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{command:?}: {}\n{stdout}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    stdout
}

fn answers(words: &[&str]) -> bool {
    output(&mut bounded(ANSWER_LIMIT, words)).status.success()
}

/// The words that start compose, or why there is nothing to test with.
fn compose_words() -> Result<&'static [&'static str], &'static str> {
    if !answers(&["docker", "info"]) {
        return Err("no Docker daemon is reachable");
    }
    COMPOSE
        .into_iter()
        .find(|words| answers(&[words, ["version"].as_slice()].concat()))
        .ok_or("neither docker compose nor docker-compose is installed")
}

/// The compose project of this test; taken down however the test ends.
struct Project {
    compose: &'static [&'static str],
    /// Of the project and of its image.
    name: String,
}

impl Project {
    fn compose(&self, words: &[&str]) -> Command {
        let mut command = bounded(DAEMON_LIMIT, &[self.compose, words].concat());
        command
            .env("COMPOSE_PROJECT_NAME", &self.name)
            .env("BARRAGE_IMAGE", &self.name)
            .env("BARRAGE_STAGE", "local");
        command
    }

    /// The states of this project's containers, as `docker ps` words them.
    fn states(&self) -> Vec<String> {
        let own = format!("label=com.docker.compose.project={}", self.name);
        let format = "{{.Names}} {{.Status}}";
        let words = ["docker", "ps", "--all", "--filter", &own, "--format", format];
        let listed = succeed(&mut bounded(DAEMON_LIMIT, &words));
        listed.lines().map(str::to_owned).collect()
    }

    /// Submits the example to the containers' fleet; the report and the command's exit code.
    fn submit(&self) -> Value {
        let words = ["run", "--rm", "-T", "-e", "BARRAGE_FORMAT=json", "submit"];
        let ended = output(&mut self.compose(&words));
        let (stdout, stderr) = (
            String::from_utf8_lossy(&ended.stdout),
            String::from_utf8_lossy(&ended.stderr),
        );
        let report: Value = serde_json::from_str(&stdout)
            .unwrap_or_else(|error| panic!("no report: {error}; {}\n{stdout}\n{stderr}", ended.status));
        let code = ended.status.code().map(i64::from);
        assert_eq!(report["exit_code"].as_i64(), code, "{stderr}");
        report
    }
}

impl Drop for Project {
    fn drop(&mut self) {
        // What is left behind is named after this test and can be removed by hand.
        let _down = output(&mut self.compose(&["down", "--volumes", "--timeout", "5"]));
        let _image = output(&mut bounded(
            DAEMON_LIMIT,
            &["docker", "image", "rm", "--force", &self.name],
        ));
    }
}

#[test]
fn compose() {
    if cfg!(not(target_arch = "x86_64")) {
        return skip::skipped("compose", "the image is built for x86_64 only");
    }
    let compose = match compose_words() {
        Ok(words) => words,
        Err(reason) => return skip::skipped("compose", reason),
    };
    build_static();
    let _quiet = quiet::quiet();
    let name = format!("barrage-test-{}", std::process::id());
    let project = Project { compose, name };
    let image = project.name.as_str();
    succeed(&mut bounded(
        DAEMON_LIMIT,
        &["docker", "build", "--target", "local", "--tag", image, "."],
    ));
    let version = ["docker", "run", "--rm", image, "--version"];
    let version = succeed(&mut bounded(DAEMON_LIMIT, &version));
    assert!(version.starts_with("barrage "), "{version}");

    succeed(&mut project.compose(&["up", "--detach", "--no-build"]));
    wait::until("five healthy containers", Duration::from_mins(1), || {
        let states = project.states();
        let healthy = states.iter().filter(|state| state.contains("(healthy)")).count();
        assert!(!states.iter().any(|state| state.contains("Exited")), "{states:?}");
        (states.len() == 5 && healthy == 5).then_some(())
    });
    let run = || {
        let report = project.submit();
        assert_whole(&report);
        report
    };
    quiet::measured("compose", run, |report| {
        if report["verdict"] == "passed" {
            return Ok(());
        }
        Err(format!(
            "{}: {:#} {:#}",
            report["verdict"], report["reasons"], report["sla"]
        ))
    });

    succeed(&mut project.compose(&["down", "--volumes", "--timeout", "5"]));
    assert!(project.states().is_empty(), "{:?}", project.states());
}

/// Builds the binary where the image takes it from, whatever this test itself was built with.
fn build_static() {
    let mut build = bounded(
        BUILD_LIMIT,
        &[
            env!("CARGO"),
            "build",
            "--release",
            "--locked",
            "--package",
            "barrage-cli",
            "--target",
            TRIPLE,
            "--target-dir",
            "target",
        ],
    );
    build
        .env("RUSTFLAGS", "-Ctarget-feature=+crt-static")
        .env_remove("CARGO_ENCODED_RUSTFLAGS");
    succeed(&mut build);
}

/// Holds however busy the machine is: the report is one of three workers, and nothing vanished.
fn assert_whole(report: &Value) {
    assert_iterations_balance(report, "iterations");
    assert_steps_balance(report, "steps_total");
    // 5 s up to 500/s and 10 s at it.
    assert_eq!(whole(report, "iterations.scheduled"), 6_250);
    let workers = at(report, "workers").as_array().expect("workers is a list");
    let mut names: Vec<&str> = workers.iter().filter_map(|worker| worker["name"].as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["worker-1", "worker-2", "worker-3"]);
    let parts: u64 = workers.iter().map(|worker| whole(worker, "steps.ok")).sum();
    assert_eq!(parts, whole(report, "steps_total.ok"), "the sum of the workers");
    assert!(
        workers.iter().all(|worker| whole(worker, "steps.ok") > 0),
        "all three work"
    );
}
