//! The binary under test and its processes.

use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

/// How long a process may take to say where it listens.
const START_LIMIT: Duration = Duration::from_secs(30);

/// The binary: beside this test's own folder, where a build of the workspace puts it.
pub fn binary() -> PathBuf {
    let own = std::env::current_exe().expect("a test knows its own file");
    let folder = own
        .parent()
        .and_then(|deps| deps.parent())
        .expect("tests lie in target/PROFILE/deps");
    let binary = folder.join("barrage");
    assert!(
        binary.exists(),
        "{} is missing; build the workspace first",
        binary.display()
    );
    binary
}

/// A `barrage` command with a clean environment: no twin of a flag, no state outside `home`.
pub fn command(home: &TempDir) -> Command {
    let mut command = Command::new(binary());
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("BARRAGE_") {
            command.env_remove(name);
        }
    }
    command
        .env("XDG_STATE_HOME", home.path().join("state"))
        .env("XDG_RUNTIME_DIR", home.path())
        .env("NO_COLOR", "1")
        .current_dir(home.path())
        .stdin(Stdio::null());
    command
}

/// A fresh folder for one test.
pub fn home() -> TempDir {
    tempfile::Builder::new()
        .prefix("barrage-test-")
        .tempdir()
        .expect("a temporary folder can be made")
}

/// Runs a command to its end.
pub fn run<S: AsRef<OsStr>>(home: &TempDir, args: impl IntoIterator<Item = S>) -> Ended {
    let output = command(home).args(args).output().expect("the binary starts");
    Ended::new(&output)
}

/// A command that has ended.
#[derive(Debug)]
pub struct Ended {
    /// The exit code; 128 + signal when a signal ended it.
    pub code: i32,
    /// The result.
    pub stdout: String,
    /// Progress and errors.
    pub stderr: String,
}

impl Ended {
    /// That has given this.
    pub fn new(output: &Output) -> Self {
        use std::os::unix::process::ExitStatusExt as _;
        let code = output
            .status
            .code()
            .or_else(|| output.status.signal().map(|number| 128 + number))
            .unwrap_or(-1);
        Self {
            code,
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// The result as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| {
            panic!(
                "stdout is no JSON ({error}); exit {}\n{}\n{}",
                self.code, self.stdout, self.stderr
            )
        })
    }
}

/// A process that is killed when the test ends, however it ends.
#[derive(Debug)]
pub struct Process {
    child: Child,
    /// What it has written to stderr so far.
    said: Arc<Mutex<String>>,
    listener: Option<JoinHandle<()>>,
    /// Where it listens, for servers.
    pub url: String,
}

impl Process {
    /// Starts a process in the background.
    pub fn start<S: AsRef<OsStr>>(home: &TempDir, args: impl IntoIterator<Item = S>) -> Self {
        let mut command = command(home);
        command.args(args);
        Self::spawn(command)
    }

    /// Starts a command in the background.
    pub fn spawn(mut command: Command) -> Self {
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        let err = child.stderr.take().expect("stderr is piped");
        let said = Arc::<Mutex<String>>::default();
        let heard = Arc::clone(&said);
        let listener = std::thread::spawn(move || {
            for line in BufReader::new(err).lines().map_while(Result::ok) {
                let mut said = heard.lock().expect("nobody panics with it");
                said.push_str(&line);
                said.push('\n');
            }
        });
        Self {
            child,
            said,
            listener: Some(listener),
            url: String::new(),
        }
    }

    /// Starts a server and waits until it says where it listens.
    #[track_caller]
    pub fn server<S: AsRef<OsStr>>(home: &TempDir, args: impl IntoIterator<Item = S>) -> Self {
        let mut process = Self::start(home, args);
        let out = process.child.stdout.take().expect("stdout is piped");
        let (say, heard) = std::sync::mpsc::sync_channel(1);
        std::thread::spawn(move || {
            let mut lines = BufReader::new(out).lines();
            // The receiver has given up when nobody listens: then the test has failed already.
            let _given_up = say.send(lines.next().and_then(Result::ok));
            lines.for_each(drop);
        });
        let line = heard
            .recv_timeout(START_LIMIT)
            .expect("the server says where it listens in time");
        let Some(url) = line.as_deref().and_then(|line| line.strip_prefix("listening on ")) else {
            let stderr = process.all_said();
            panic!("the server did not start: {line:?} {stderr}");
        };
        url.clone_into(&mut process.url);
        process
    }

    /// Its number.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).expect("the process can be signalled");
    }

    /// Waits until it has written this to stderr.
    #[track_caller]
    pub fn hear(&self, word: &str, limit: Duration) {
        let said = || {
            self.said
                .lock()
                .expect("nobody panics with it")
                .contains(word)
                .then_some(())
        };
        super::wait::until(word, limit, said);
    }

    /// All that it has written to stderr, once it has closed it.
    fn all_said(&mut self) -> String {
        if let Some(listener) = self.listener.take() {
            listener.join().expect("the listener ends");
        }
        self.said.lock().expect("nobody panics with it").clone()
    }

    /// Whether it still runs.
    pub fn runs(&mut self) -> bool {
        self.child.try_wait().expect("the process can be asked").is_none()
    }

    /// Waits for its end.
    #[track_caller]
    #[expect(clippy::disallowed_methods, reason = "a test's own time limit")]
    pub fn wait(mut self, limit: Duration) -> Ended {
        use std::os::unix::process::ExitStatusExt as _;
        let out = self.child.stdout.take();
        let stdout = std::thread::spawn(move || {
            let mut text = String::new();
            if let Some(mut out) = out {
                let _unreadable = out.read_to_string(&mut text);
            }
            text
        });
        let end = Instant::now() + limit;
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("the process can be asked") {
                break status;
            }
            if Instant::now() >= end {
                let _gone = self.child.kill();
                let stderr = self.all_said();
                panic!("the process did not end within {limit:?}: {stderr}");
            }
            std::thread::sleep(Duration::from_millis(20));
        };
        Ended {
            code: status
                .code()
                .or_else(|| status.signal().map(|number| 128 + number))
                .unwrap_or(-1),
            stdout: stdout.join().expect("the reader ends"),
            stderr: self.all_said(),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail only when the process has ended and been waited for.
        let _gone = self.child.kill();
        let _waited = self.child.wait();
    }
}

/// A coordinator with some workers, each a process of its own.
#[derive(Debug)]
pub struct Fleet {
    /// The coordinator.
    pub coordinator: Process,
    /// The workers, `w1`, `w2`, …
    pub workers: Vec<Process>,
}

impl Fleet {
    /// Starts a coordinator and `count` workers of one shard each, with more arguments for each worker.
    #[track_caller]
    pub fn start(home: &TempDir, count: usize, more: impl Fn(usize) -> Vec<String>) -> Self {
        let store = home.path().join("store");
        let store = store.to_str().expect("temporary folders are UTF-8");
        let coordinator = Process::server(home, ["coordinator", "--listen", "127.0.0.1:0", "--store", store]);
        let workers = (1..=count)
            .map(|n| {
                let mut args: Vec<String> = [
                    "worker",
                    "--threads",
                    "1",
                    "--coordinator",
                    &coordinator.url,
                    "--name",
                    &format!("w{n}"),
                ]
                .map(str::to_owned)
                .to_vec();
                args.extend(more(n));
                Process::start(home, args)
            })
            .collect();
        Self { coordinator, workers }
    }
}
