//! What the machine is, for the page.

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

/// Anonymous resident memory of a process, KiB.
pub(crate) fn rss_anon_kib(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    field(&status, "RssAnon")?.split_whitespace().next()?.parse().ok()
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
        assert!(rss_anon_kib(std::process::id()).is_some_and(|kib| kib > 0));
    }
}
