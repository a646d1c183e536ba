//! Children: pinned to a core, in a process group of their own, ended with this process, and measured by `wait4`.

use std::cell::Cell;
use std::ffi::OsString;
use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fd::OwnedFd;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open};
use rustix::thread::{CpuSet, sched_setaffinity};
use wait4::Wait4;

use super::{clock, machine};

/// How long a program may take to end after it was asked to.
const END_LIMIT: Duration = Duration::from_secs(5);
/// Between two looks at a program's memory.
const LOOK: Duration = Duration::from_millis(100);
/// Most bytes of a program's output that are read.
const OUTPUT_BYTES_MAX: usize = 4 << 20;

/// What a program is started with.
#[derive(Clone, Debug)]
pub(crate) struct Start {
    /// The program.
    pub(crate) program: PathBuf,
    /// Its arguments.
    pub(crate) arguments: Vec<String>,
    /// What is added to the environment.
    pub(crate) environment: Vec<(String, String)>,
    /// A file among its arguments, with what is in it.
    pub(crate) script: Option<(PathBuf, String)>,
    /// Where it keeps its files: nothing that a reader of the command would type.
    pub(crate) home: Option<PathBuf>,
    /// The only core it may run on.
    pub(crate) core: usize,
}

impl Start {
    /// A program on a core, with nothing added to the environment.
    pub(crate) fn new(program: &Path, arguments: &[&str], core: usize) -> Self {
        Self {
            program: program.to_path_buf(),
            arguments: arguments.iter().map(|argument| (*argument).to_owned()).collect(),
            environment: Vec::new(),
            script: None,
            home: None,
            core,
        }
    }

    /// The command line as one would type it, without pinning and without folders, and what is in its script.
    pub(crate) fn shown(&self) -> String {
        let name = self.program.file_name().unwrap_or_default().to_string_lossy();
        let environment = self.environment.iter().map(|(name, value)| format!("{name}={value} "));
        let mut shown = environment.collect::<String>();
        shown.push_str(&name);
        for argument in &self.arguments {
            let script = self
                .script
                .as_ref()
                .filter(|(path, _)| path.as_os_str() == argument.as_str());
            let file = script.and_then(|(path, _)| path.file_name()?.to_str());
            shown.push(' ');
            shown.push_str(file.unwrap_or(argument));
        }
        if let Some((_, text)) = &self.script {
            // A line of the page for each of its own.
            shown.extend(text.lines().flat_map(|line| ["\n    ", line]));
        }
        shown
    }
}

/// What a program used from its start to its end, all its threads and the children it waited for included.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Usage {
    /// Seconds of CPU in user mode.
    pub(crate) user_s: f64,
    /// Seconds of CPU in the kernel.
    pub(crate) system_s: f64,
    /// Most resident memory, KiB.
    pub(crate) peak_rss_kib: u64,
}

impl Usage {
    /// Seconds of CPU.
    pub(crate) fn cpu_s(&self) -> f64 {
        self.user_s + self.system_s
    }
}

/// How a program ended.
#[derive(Clone, Debug)]
pub(crate) struct Ended {
    /// Its exit code; `None` = a signal.
    pub(crate) code: Option<i32>,
    /// What it used.
    pub(crate) usage: Usage,
    /// What it printed, both streams.
    pub(crate) output: String,
}

/// A running program. Dropped, it is killed with its process group and waited for.
#[derive(Debug)]
pub(crate) struct Child {
    name: String,
    process: std::process::Child,
    pidfd: OwnedFd,
    output: PathBuf,
    /// The most memory it has had, by the latest look, KiB.
    peak_kib: Cell<u64>,
    reaped: bool,
}

impl Child {
    /// Starts a program with its output in a file below `folder`.
    pub(crate) fn spawn(start: &Start, folder: &Path) -> Result<Self> {
        let name = start
            .program
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let output = folder.join(format!("{name}-{}.out", clock::monotonic_ns()));
        let file = File::create(&output).with_context(|| format!("could not create {}", output.display()))?;
        let own = std::env::current_exe().context("could not find this program's own file")?;
        let process = Command::new(own)
            .args(["launch", "--core", &start.core.to_string(), "--"])
            .arg(&start.program)
            .args(&start.arguments)
            .envs(start.environment.iter().map(|(name, value)| (name, value)))
            .envs(
                start
                    .home
                    .iter()
                    .flat_map(|home| [("XDG_RUNTIME_DIR", home), ("XDG_STATE_HOME", home)]),
            )
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(file.try_clone().context("could not share the output file")?)
            .stderr(file)
            .process_group(0)
            .spawn()
            .with_context(|| format!("could not start {name}"))?;
        let pid = Pid::from_child(&process);
        let pidfd = pidfd_open(pid, PidfdFlags::empty()).with_context(|| format!("could not watch {name}"))?;
        Ok(Self {
            name,
            process,
            pidfd,
            output,
            peak_kib: Cell::new(0),
            reaped: false,
        })
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    /// What it has printed so far, both streams.
    pub(crate) fn output(&self) -> Result<String> {
        let bytes = std::fs::read(&self.output).with_context(|| format!("could not read {}", self.output.display()))?;
        let end = bytes.len().min(OUTPUT_BYTES_MAX);
        Ok(String::from_utf8_lossy(&bytes[..end]).into_owned())
    }

    /// Waits until `see` finds something in what it prints.
    ///
    /// # Errors
    /// The program ended, or `limit` passed, before that.
    pub(crate) fn wait_for<T>(&mut self, limit: Duration, see: impl Fn(&str) -> Option<T>) -> Result<T> {
        let deadline = clock::now() + limit;
        loop {
            let ended = self.ended_within(Duration::from_millis(10))?;
            let output = self.output()?;
            if let Some(found) = see(&output) {
                return Ok(found);
            }
            ensure!(!ended, "{} ended early: {}", self.name, tail(&output));
            ensure!(
                clock::now() < deadline,
                "{} is not ready after {limit:?}: {}",
                self.name,
                tail(&output)
            );
        }
    }

    /// Waits for its end; after `limit` it is killed, which is an error.
    pub(crate) fn wait(mut self, limit: Duration) -> Result<Ended> {
        if !self.ended_within(limit)? {
            bail!(
                "{} did not end within {} s and was killed: {}",
                self.name,
                limit.as_secs(),
                tail(&self.output()?)
            );
        }
        self.reap()
    }

    /// Whether it ends within a time.
    pub(crate) fn ended_within(&self, limit: Duration) -> Result<bool> {
        let deadline = clock::now() + limit;
        loop {
            if let Some(kib) = machine::peak_rss_kib(self.pid()) {
                self.peak_kib.set(kib);
            }
            let left = deadline.saturating_duration_since(clock::now());
            let mut watched = [PollFd::new(&self.pidfd, PollFlags::IN)];
            match poll(&mut watched, Some(&clock::timespec(left.min(LOOK)))) {
                Ok(0) | Err(rustix::io::Errno::INTR) if !left.is_zero() => {}
                Ok(ready) => return Ok(ready > 0),
                Err(error) => return Err(error).with_context(|| format!("could not watch {}", self.name)),
            }
        }
    }

    fn reap(&mut self) -> Result<Ended> {
        // Until it is waited for, its id and that of its group belong to nobody else.
        self.kill_group();
        let used = self
            .process
            .try_wait4()
            .with_context(|| format!("could not wait for {}", self.name))?;
        let used = used.with_context(|| format!("{} was ready to be waited for, but is not", self.name))?;
        self.reaped = true;
        // The system counts what the process had been before it became the program: this one, as far as it goes.
        let own_kib = machine::peak_rss_kib(std::process::id()).unwrap_or(0);
        let most_kib = used.rusage.maxrss / 1024;
        let peak_rss_kib = if most_kib > own_kib {
            most_kib
        } else {
            self.peak_kib.get()
        };
        Ok(Ended {
            code: used.status.code(),
            usage: Usage {
                user_s: used.rusage.utime.as_secs_f64(),
                system_s: used.rusage.stime.as_secs_f64(),
                peak_rss_kib,
            },
            output: self.output()?,
        })
    }

    /// Kills what is left of its group: nothing, when all its own children have ended with it.
    fn kill_group(&self) {
        let _ = rustix::process::kill_process_group(Pid::from_child(&self.process), Signal::KILL);
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if !self.reaped {
            self.kill_group();
            // Killed, it ends; there is nobody left to tell if not.
            let _ = self.ended_within(END_LIMIT);
            let _ = self.process.try_wait4();
        }
    }
}

/// The end of a program's output, for an error of one line.
pub(crate) fn tail(output: &str) -> String {
    let lines: Vec<&str> = output.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    lines[lines.len().saturating_sub(4)..].join(" | ")
}

/// Pins this process to a core.
pub(crate) fn pin(core: usize) -> Result<()> {
    ensure!(core < CpuSet::MAX_CPU, "there is no core {core}");
    let mut set = CpuSet::new();
    set.set(core);
    sched_setaffinity(None, &set).with_context(|| format!("could not pin to core {core}"))
}

/// Has this process killed when its parent ends.
pub(crate) fn tie_to_parent() -> Result<()> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).context("could not tie to the parent")
}

/// Becomes another program, pinned to a core and killed when its parent ends.
pub(crate) fn launch(core: usize, command: &[OsString]) -> Result<ExitCode> {
    let (program, arguments) = command.split_first().context("no program is named")?;
    tie_to_parent()?;
    pin(core)?;
    let error = Command::new(program).args(arguments).exec();
    Err(error).with_context(|| format!("could not become {}", program.to_string_lossy()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_shown_as_typed() {
        let mut start = Start::new(Path::new("/usr/bin/hey"), &["-c", "64", "http://127.0.0.1:1/"], 0);
        start.environment.push(("GOMAXPROCS".to_owned(), "1".to_owned()));
        assert_eq!(start.shown(), "GOMAXPROCS=1 hey -c 64 http://127.0.0.1:1/");
        let mut start = Start::new(Path::new("k6"), &["run", "/tmp/x/script.js"], 0);
        start.script = Some((PathBuf::from("/tmp/x/script.js"), "a();\nb();\n".to_owned()));
        assert_eq!(start.shown(), "k6 run script.js\n    a();\n    b();");
    }

    #[test]
    fn the_tail_is_the_last_four_lines_that_say_something() {
        assert_eq!(tail("1\n2\n\n3\n 4 \n5\n\n"), "2 | 3 | 4 | 5");
        assert_eq!(tail(""), "");
    }
}
