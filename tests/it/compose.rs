//! The image and the compose file, where a Docker daemon is reachable.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use crate::support::skip;

const TRIPLE: &str = "x86_64-unknown-linux-gnu";

fn root() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().expect("tests/ lies in the workspace").to_owned()
}

/// Runs a command in the workspace to its end.
fn run(program: &str, args: &[&str], env: &[(&str, &OsStr)]) -> Output {
    Command::new(program)
        .args(args)
        .envs(env.iter().copied())
        .current_dir(root())
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("{program} does not start: {error}"))
}

#[track_caller]
fn succeed(program: &str, args: &[&str], env: &[(&str, &OsStr)]) -> String {
    let output = run(program, args, env);
    let (stdout, stderr) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(
        output.status.success(),
        "{program} {args:?}: {}\n{stdout}\n{stderr}",
        output.status
    );
    stdout.into_owned()
}

/// Whether a daemon answers, and compose is there.
fn daemon() -> bool {
    let answers = |args: &[&str]| {
        let mut probe = Command::new("docker");
        probe
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        probe.status().is_ok_and(|status| status.success())
    };
    answers(&["info"]) && answers(&["compose", "version"])
}

/// The compose project of one test; taken down however the test ends.
struct Project {
    name: String,
    image: String,
}

impl Project {
    fn env(&self) -> [(&'static str, &OsStr); 3] {
        [
            ("COMPOSE_PROJECT_NAME", OsStr::new(&self.name)),
            ("BARRAGE_IMAGE", OsStr::new(&self.image)),
            ("BARRAGE_STAGE", OsStr::new("local")),
        ]
    }
}

impl Drop for Project {
    fn drop(&mut self) {
        // What is left behind is named after this test and can be removed by hand.
        let _down = run(
            "docker",
            &["compose", "down", "--volumes", "--timeout", "5"],
            &self.env(),
        );
        let _image = run("docker", &["image", "rm", "--force", &self.image], &[]);
    }
}

#[test]
fn compose() {
    if !daemon() {
        return skip::skipped("compose", "no Docker daemon is reachable");
    }
    if cfg!(not(target_arch = "x86_64")) {
        return skip::skipped("compose", "the image is built for x86_64 only");
    }
    let flags = OsStr::new("-Ctarget-feature=+crt-static");
    let cargo = env!("CARGO");
    succeed(
        cargo,
        &[
            "build",
            "--release",
            "--locked",
            "--package",
            "barrage-cli",
            "--target",
            TRIPLE,
        ],
        &[("RUSTFLAGS", flags)],
    );
    let name = format!("barrage-test-{}", std::process::id());
    let project = Project {
        image: name.clone(),
        name,
    };
    succeed(
        "docker",
        &["build", "--target", "local", "--tag", &project.image, "."],
        &[],
    );
    let help = succeed("docker", &["run", "--rm", &project.image, "--version"], &[]);
    assert!(help.starts_with("barrage "), "{help}");
    succeed(
        "docker",
        &["compose", "up", "--detach", "--wait", "--no-build"],
        &project.env(),
    );
    let report = succeed(
        "docker",
        &["compose", "run", "--rm", "--no-TTY", "submit"],
        &project.env(),
    );
    for worker in ["worker-1", "worker-2", "worker-3"] {
        assert!(report.contains(worker), "{worker} takes part: {report}");
    }
    assert!(report.to_lowercase().contains("passed"), "{report}");
}
