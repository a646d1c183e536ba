//! Ways to take processor time from a worker: a quota of a control group, or a competitor on the same core.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::process::{Pid, setpriority_process};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use tempfile::TempDir;

use super::barrage::Process;

/// Period of a quota, µs: the kernel's own default.
const PERIOD_US: u64 = 100_000;

/// A control group of one's own, which is removed at the end.
#[derive(Debug)]
pub struct Group {
    folder: PathBuf,
    /// Version 2 writes `cpu.max`, version 1 two files.
    two: bool,
}

impl Group {
    /// Makes a group with a processor quota, or says why there can be none on this machine.
    pub fn make() -> Result<Self, String> {
        Self::below("cpu", |group| group.set_quota(None))
    }

    /// Makes a group that can limit threads, or says why there can be none on this machine.
    pub fn of_threads() -> Result<Self, String> {
        Self::below("pids", |group| fs::write(group.folder.join("pids.max"), "max"))
    }

    /// Makes a group with so much memory, or says why there can be none on this machine.
    pub fn of_memory(bytes: u64) -> Result<Self, String> {
        Self::below("memory", |group| {
            let file = if group.two {
                "memory.max"
            } else {
                "memory.limit_in_bytes"
            };
            fs::write(group.folder.join(file), bytes.to_string())
        })
    }

    fn below(controller: &str, prepare: impl Fn(&Self) -> std::io::Result<()>) -> Result<Self, String> {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let name = format!(
            "barrage-test-{}-{}",
            std::process::id(),
            MADE.fetch_add(1, Ordering::Relaxed)
        );
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let mut reasons = Vec::new();
        for (root, two) in mounts.lines().filter_map(|line| mount(line, controller)) {
            let group = Self {
                folder: root.join(&name),
                two,
            };
            match fs::create_dir(&group.folder).and_then(|()| prepare(&group)) {
                Ok(()) => return Ok(group),
                Err(error) => {
                    // Nothing is in it.
                    let _left = fs::remove_dir(&group.folder);
                    reasons.push(format!("{}: {error}", root.display()));
                }
            }
        }
        Err(format!(
            "no control group for {controller} can be made ({})",
            reasons.join("; ")
        ))
    }

    /// Puts a process into the group, which may have so many threads more than it has now.
    pub fn take_with_threads(&self, process: &Process, more: usize) {
        self.take(process);
        let threads = fs::read_dir(format!("/proc/{}/task", process.id())).expect("the process runs");
        self.allow_threads(threads.count() + more);
    }

    /// From now on its processes have so many threads at most.
    pub fn allow_threads(&self, most: usize) {
        fs::write(self.folder.join("pids.max"), most.to_string()).expect("the group's threads can be limited");
    }

    fn set_quota(&self, quota_us: Option<u64>) -> std::io::Result<()> {
        if self.two {
            let quota = quota_us.map_or_else(|| "max".to_owned(), |us| us.to_string());
            return fs::write(self.folder.join("cpu.max"), format!("{quota} {PERIOD_US}"));
        }
        fs::write(self.folder.join("cpu.cfs_period_us"), PERIOD_US.to_string())?;
        let quota = quota_us.map_or_else(|| "-1".to_owned(), |us| us.to_string());
        fs::write(self.folder.join("cpu.cfs_quota_us"), quota)
    }

    /// From now on its processes get so many percent of one core.
    pub fn squeeze(&self, percent: u64) {
        self.set_quota(Some(percent * PERIOD_US / 100))
            .expect("the group's quota can be set");
    }

    /// Puts a process that is there already into the group.
    pub fn take(&self, process: &Process) {
        fs::write(self.folder.join("cgroup.procs"), process.id().to_string()).expect("a process can be moved");
    }

    /// Makes a command one that runs within the group.
    pub fn enclose(&self, command: &Command) -> Command {
        wrapped(
            &format!("echo $$ > '{}'", self.folder.join("cgroup.procs").display()),
            command,
        )
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // The kernel keeps a group for a moment after its last process has gone.
        for _ in 0..100 {
            if fs::remove_dir(&self.folder).is_ok() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }
}

/// A mount of this controller, and whether it is of version 2.
fn mount(line: &str, controller: &str) -> Option<(PathBuf, bool)> {
    let (place, kind) = line.split_once(" - ")?;
    let point = Path::new(place.split(' ').nth(4)?);
    let (kind, options) = (kind.split(' ').next()?, kind.split(' ').nth(2)?);
    match kind {
        "cgroup2" => Some((point.to_owned(), true)),
        "cgroup" if options.split(',').any(|option| option == controller) => Some((point.to_owned(), false)),
        _ => None,
    }
}

/// The command behind a line of shell that prepares for it.
pub fn wrapped(first: &str, command: &Command) -> Command {
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(format!("{first} && exec \"$0\" \"$@\""));
    shell.arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => shell.env(name, value),
            None => shell.env_remove(name),
        };
    }
    if let Some(folder) = command.get_current_dir() {
        shell.current_dir(folder);
    }
    shell.stdin(Stdio::null());
    shell
}

/// The cores that this test may use.
pub fn cores() -> Vec<usize> {
    let set = sched_getaffinity(None).expect("a thread knows its cores");
    (0..CpuSet::MAX_CPU).filter(|core| set.is_set(*core)).collect()
}

/// Does something on one core alone; threads and processes that are started by it stay there.
pub fn on_core<T: Send>(core: usize, act: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let pinned = scope.spawn(|| {
            let mut set = CpuSet::new();
            set.set(core);
            sched_setaffinity(None, &set).expect("a thread can be kept on one of its cores");
            act()
        });
        pinned.join().expect("what is done on one core does not panic")
    })
}

/// A program that never rests.
#[derive(Debug)]
pub struct Competitor(Child);

impl Competitor {
    /// Starts it on one core.
    pub fn on(core: usize) -> Self {
        let start = || {
            let mut shell = Command::new("sh");
            shell.args(["-c", "while :; do :; done"]).stdin(Stdio::null());
            shell.spawn().expect("a shell starts")
        };
        Self(on_core(core, start))
    }
}

impl Drop for Competitor {
    fn drop(&mut self) {
        let _gone = self.0.kill();
        let _waited = self.0.wait();
    }
}

/// Gives every thread of a process less weight than others have.
pub fn yield_to_others(process: &Process) {
    let tasks = fs::read_dir(format!("/proc/{}/task", process.id())).expect("the process runs");
    for entry in tasks.flatten() {
        let id = entry.file_name().to_str().and_then(|name| name.parse().ok());
        let thread = id.and_then(Pid::from_raw).expect("threads have numbers");
        // A thread that has just ended needs no less.
        let _ended = setpriority_process(Some(thread), 10);
    }
}

/// A fresh worker's arguments.
pub fn worker_args(coordinator: &str, name: &str) -> Vec<String> {
    ["worker", "--threads", "1", "--coordinator", coordinator, "--name", name]
        .map(str::to_owned)
        .to_vec()
}

/// A command of the binary under test with these arguments.
pub fn barrage<S: AsRef<std::ffi::OsStr>>(home: &TempDir, args: impl IntoIterator<Item = S>) -> Command {
    let mut command = super::barrage::command(home);
    command.args(args);
    command
}
