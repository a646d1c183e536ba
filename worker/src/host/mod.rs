//! What the kernel says of this process and its host, for self-health and for the preflight.
//!
//! What cannot be read (another kernel, a container that hides it) is absent and not an error. Texts are taken as they
//! come, however long or garbled: at most [`TEXT_MAX`] bytes are read, and what makes no sense is skipped.

pub mod cgroup;
pub mod text;
pub mod timer;

use std::fs::{self, File};
use std::io::{Read as _, Seek as _};
use std::path::{Path, PathBuf};

use rustix::process::{Resource, getrlimit, getuid};

/// Most bytes read of one file.
pub const TEXT_MAX: u64 = 256 * 1024;
/// Open descriptors are counted one by one only up to here, where the kernel does not say how many there are.
const COUNTED_MAX: usize = 4_096;

/// The text of a file below `/proc` or `/sys`; `None` when it cannot be read.
pub fn read(path: impl AsRef<Path>) -> Option<String> {
    let mut bytes = Vec::new();
    File::open(path).ok()?.take(TEXT_MAX).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// A file below `/proc` or `/sys` that is read again and again. It stays open, so that it can be read by a process that
/// has no descriptor left, too.
#[derive(Debug)]
pub struct Kept {
    path: PathBuf,
    file: Option<File>,
}

impl Kept {
    /// Opens it, now or when it is read, if it is not there yet.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        let file = File::open(&path).ok();
        Self { path, file }
    }

    /// Its present text, as [`read`] has it.
    pub fn read(&mut self) -> Option<String> {
        if self.file.is_none() {
            self.file = File::open(&self.path).ok();
        }
        let file = self.file.as_mut()?;
        let mut bytes = Vec::new();
        file.rewind().ok()?;
        file.take(TEXT_MAX).read_to_end(&mut bytes).ok()?;
        Some(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Lets go of it until it is read again.
    pub fn close(&mut self) {
        self.file = None;
    }
}

/// The number that is all of a file.
pub fn number(path: impl AsRef<Path>) -> Option<u64> {
    read(path)?.trim().parse().ok()
}

/// The limit on open descriptors; the largest number when there is none.
pub fn descriptors_max() -> u64 {
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// The most to which this process could raise [`descriptors_max`]; the largest number when there is no such limit.
pub fn descriptors_hard_max() -> u64 {
    getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX)
}

/// Open descriptors of this process. Kernels from 6.2 on say how many there are; older ones have them listed, of which
/// at most 4,096 are counted.
pub fn descriptors() -> u32 {
    let folder = "/proc/self/fd";
    match fs::metadata(folder).map(|about| about.len()) {
        Ok(0) => fs::read_dir(folder).map_or(0, |entries| entries.take(COUNTED_MAX).count() as u32),
        Ok(open) => u32::try_from(open).unwrap_or(u32::MAX),
        Err(_) => 0,
    }
}

/// Local ports that the system hands out: the first and the last.
pub fn port_range() -> Option<(u16, u16)> {
    text::port_range(&read("/proc/sys/net/ipv4/ip_local_port_range")?)
}

/// How many of the ports between these two the system is told to leave out (`ip_local_reserved_ports`).
pub fn ports_reserved(first: u16, last: u16) -> u32 {
    let reserved = read("/proc/sys/net/ipv4/ip_local_reserved_ports");
    reserved.map_or(0, |text| text::ports_within(&text, first, last))
}

/// How many threads more the system lets this user have (`RLIMIT_NPROC`); `None` without a limit, and for root, who has none.
pub fn user_threads_left() -> Option<u64> {
    let most = getrlimit(Resource::Nproc).current.filter(|_| !getuid().is_root())?;
    let own = |folder: fs::DirEntry| {
        let text = read(folder.path().join("status"))?;
        text::threads_of(&text, getuid().as_raw())
    };
    let processes = fs::read_dir("/proc").ok()?.flatten();
    let used: u64 = processes.filter_map(own).map(u64::from).sum();
    Some(most.saturating_sub(used))
}

/// The cores that this process may run on.
pub fn cores() -> text::Cores {
    read("/proc/self/status").map_or_else(Default::default, |text| text::status(&text).cores)
}

/// Where it is told how much memory this process may use.
#[derive(Debug)]
pub struct MemoryFiles {
    host: Kept,
    limits: cgroup::Limits,
}

impl MemoryFiles {
    /// Those of the host and of these control groups.
    pub fn of(groups: &cgroup::Groups) -> Self {
        Self {
            host: Kept::new("/proc/meminfo"),
            limits: groups.limits(),
        }
    }

    /// Memory that this process may use: the host's, or less where its control groups have a limit.
    pub fn read(&mut self) -> Option<text::Memory> {
        text::memory(&self.host.read()?).map(|host| self.limits.memory(host))
    }
}
