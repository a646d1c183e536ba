//! What the machine is, for the page.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};

/// `AMD EPYC …, 2 cores, 23 GiB, Linux 6.18.44`.
pub(crate) fn description() -> String {
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let memory = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let name = rustix::system::uname();
    // Not what this process may use: it has pinned itself.
    let cores = cpu.lines().filter(|line| line.starts_with("processor")).count();
    format!(
        "{}, {cores} cores, {} GiB, {} {}",
        field(&cpu, "model name").unwrap_or("unknown processor"),
        gibibytes(&memory).unwrap_or(0),
        name.sysname().to_string_lossy(),
        name.release().to_string_lossy()
    )
}

/// The value of `name<spaces>: value`.
fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    Some(line.split_once(':')?.1.trim())
}

fn gibibytes(meminfo: &str) -> Option<u64> {
    let kib: u64 = field(meminfo, "MemTotal")?.split_whitespace().next()?.parse().ok()?;
    Some(kib >> 20)
}

/// Keeps every core from being put to sleep while nothing runs on it, as latency tests do (`cyclictest`): the kernel takes
/// the time that waking may take as 0 for as long as this is open.
#[derive(Debug)]
pub(crate) struct Awake {
    _held: File,
}

impl Awake {
    /// Begins; dropping it ends it.
    ///
    /// # Errors
    /// Without the right to, or on a kernel that has no such thing.
    pub(crate) fn hold() -> io::Result<Self> {
        let mut held = OpenOptions::new().write(true).open("/dev/cpu_dma_latency")?;
        held.write_all(&0_i32.to_ne_bytes())?;
        Ok(Self { _held: held })
    }
}

/// Anonymous resident memory of a process, KiB.
pub(crate) fn rss_anon_kib(pid: u32) -> Option<u64> {
    memory_kib(pid, "RssAnon")
}

/// The most resident memory that a process has had since it became the program that it is, KiB.
pub(crate) fn peak_rss_kib(pid: u32) -> Option<u64> {
    memory_kib(pid, "VmHWM")
}

fn memory_kib(pid: u32, name: &str) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    field(&status, name)?.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_by_name() {
        let text = "processor\t: 0\nmodel name\t: AMD EPYC\nmodel name\t: other\n";
        assert_eq!(field(text, "model name"), Some("AMD EPYC"));
        assert_eq!(field(text, "flags"), None);
        assert_eq!(gibibytes("MemTotal:       24683520 kB\n"), Some(23));
        let own = std::process::id();
        assert!(rss_anon_kib(own).is_some_and(|kib| kib > 0) && peak_rss_kib(own) > rss_anon_kib(own));
    }
}
