//! The coordinator under measurement, and what the system says of it.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use super::clock::now_us;

const START_LIMIT: Duration = Duration::from_secs(30);
const END_LIMIT: Duration = Duration::from_mins(1);

/// The core of the coordinator and that of the simulated workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cores {
    pub(super) coordinator: usize,
    pub(super) workers: usize,
}

/// The cores that this thread may use. Dropped, it may use them again, wherever it has been pinned meanwhile: the next
/// measurement begins as the first one did.
#[derive(Debug)]
pub(super) struct Allowed(CpuSet);

impl Allowed {
    /// Those of now.
    pub(super) fn now() -> Result<Self> {
        let allowed = sched_getaffinity(None).context("could not ask for the allowed cores")?;
        Ok(Self(allowed))
    }

    /// The first two of them; `None` when there is only one.
    pub(super) fn two(&self) -> Option<Cores> {
        let mut cores = (0..CpuSet::MAX_CPU).filter(|core| self.0.is_set(*core));
        let (coordinator, workers) = cores.next().zip(cores.next())?;
        Some(Cores { coordinator, workers })
    }
}

impl Drop for Allowed {
    fn drop(&mut self) {
        // They were allowed before; where they are not any more, nothing can be done about it.
        let _ = sched_setaffinity(None, &self.0);
    }
}

/// Moves this thread to one core; threads and processes that it starts from then on run there, too.
pub(super) fn pin(core: usize) -> Result<()> {
    let mut set = CpuSet::new();
    set.set(core);
    sched_setaffinity(None, &set).with_context(|| format!("could not move to core {core}"))
}

/// A `barrage coordinator`; killed when it is dropped.
pub(super) struct Coordinator {
    child: Child,
    pid: Pid,
    store: PathBuf,
    /// Where it listens.
    pub(super) url: String,
}

/// What the system says of the coordinator at one instant.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sample {
    /// When.
    pub(super) at_us: u64,
    /// CPU time of the coordinator so far, µs.
    pub(super) cpu_us: u64,
    /// CPU time of this process so far, µs.
    pub(super) own_cpu_us: u64,
    /// Resident memory, bytes.
    pub(super) rss_bytes: u64,
    /// Size of everything in the store's folder.
    pub(super) store_bytes: u64,
}

impl Coordinator {
    /// Starts it on a free port with a store of its own.
    pub(super) async fn start(binary: &Path, home: &Path) -> Result<Self> {
        let store = home.join("store");
        let mut command = Command::new(binary);
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("BARRAGE_")) {
            command.env_remove(name);
        }
        let mut child = command
            .args(["coordinator", "--listen", "127.0.0.1:0", "--store"])
            .arg(&store)
            .env("XDG_RUNTIME_DIR", home)
            .env("XDG_STATE_HOME", home)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("could not start {}", binary.display()))?;
        let pid = child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
        let pid = pid.context("the coordinator has ended at once")?;
        let out = child.stdout.take().context("stdout is a pipe")?;
        let mut lines = BufReader::new(out).lines();
        let line = tokio::time::timeout(START_LIMIT, lines.next_line()).await;
        let line = line
            .context("the coordinator does not say where it listens")??
            .unwrap_or_default();
        let Some(url) = line.strip_prefix("listening on ") else {
            bail!("the coordinator did not start: {line:?}");
        };
        Ok(Self {
            url: url.to_owned(),
            child,
            pid,
            store,
        })
    }

    /// Reads its counters.
    pub(super) fn sample(&self) -> Result<Sample> {
        let status = read(&format!("/proc/{}/status", self.pid))?;
        let rss_kb = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let rss_kb = rss_kb.and_then(|text| text.trim().trim_end_matches(" kB").parse::<u64>().ok());
        Ok(Sample {
            at_us: now_us(),
            cpu_us: cpu_us(&self.pid.to_string())?,
            own_cpu_us: cpu_us("self")?,
            rss_bytes: rss_kb.context("the system does not say VmRSS")? * 1_024,
            store_bytes: size(&self.store)?,
        })
    }

    /// Tells it to end, and waits; gives the final size of the store, bytes.
    pub(super) async fn end(mut self) -> Result<u64> {
        kill_process(self.pid, Signal::TERM).context("could not stop the coordinator")?;
        let ended = tokio::time::timeout(END_LIMIT, self.child.wait()).await;
        let status = ended.context("the coordinator does not end")??;
        if !status.success() {
            bail!("the coordinator ended with {status}");
        }
        size(&self.store)
    }
}

fn read(path: &str) -> Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("could not read {path}"))
}

/// User and system time of a process, µs.
fn cpu_us(process: &str) -> Result<u64> {
    let stat = read(&format!("/proc/{process}/stat"))?;
    let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    // The third field of the line is the first one here; utime and stime are the 14th and 15th.
    let ticks = after_name.split_whitespace().skip(11).take(2).map(str::parse::<u64>);
    let ticks = ticks.sum::<Result<u64, _>>().context("/proc/…/stat has no times")?;
    Ok(ticks * 1_000_000 / rustix::param::clock_ticks_per_second())
}

fn size(folder: &Path) -> Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(folder).with_context(|| format!("could not look into {}", folder.display()))? {
        let entry = entry?;
        // A file may vanish between the two looks.
        let Ok(meta) = entry.metadata() else { continue };
        bytes += if meta.is_dir() {
            size(&entry.path())?
        } else {
            meta.len()
        };
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_pinned_for_one_measurement_is_free_for_the_next() {
        let allowed = Allowed::now().unwrap();
        let two = allowed.two();
        if let Some(cores) = two {
            pin(cores.workers).unwrap();
            assert_eq!(Allowed::now().unwrap().two(), None);
        }
        drop(allowed);
        assert_eq!(Allowed::now().unwrap().two(), two);
    }
}
