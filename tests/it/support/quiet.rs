//! Tests that measure time, one after the other: two of them at once would measure each other.

use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::skip::skipped;
use super::strain::on_core;

/// How often a run is repeated that the machine had no time for.
const ATTEMPTS: usize = 3;
/// A machine on which, for more than this share of a run, some thread waited for a processor is busy.
pub const PRESSURE_MAX: f64 = 0.2;

static QUIET: Mutex<()> = Mutex::new(());

/// Waits until no other test that measures time is under way; holds the others off until the guard is dropped.
pub fn quiet() -> MutexGuard<'static, ()> {
    // A test that failed while it held the guard has broken nothing.
    QUIET.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A run whose latencies are to be judged.
#[derive(Debug)]
pub struct Measured {
    /// Its report.
    pub report: Value,
    /// Why the target may not have been what it should have been.
    pub disturbed: Option<String>,
}

impl From<Value> for Measured {
    fn from(report: Value) -> Self {
        Self {
            report,
            disturbed: None,
        }
    }
}

/// Makes a run and judges what it measured. A run that is not as it should be is made again if there is a reason outside
/// of it: the generator says itself that it could not keep up, the target had no processor, or the machine was busy. What
/// does not depend on time is to be asserted within `run`: it must hold however busy the machine is.
///
/// # Panics
/// When the judgement of a run on a machine that had time for it is not good.
#[track_caller]
pub fn measured<R: Into<Measured>>(
    test: &str,
    mut run: impl FnMut() -> R,
    judge: impl Fn(&Value) -> Result<(), String>,
) {
    let mut last = String::new();
    for _ in 0..ATTEMPTS {
        let meter = Pressure::now();
        let measured = run().into();
        let busy = busy(&measured, &meter);
        match (judge(&measured.report), busy) {
            // A strained generator whose numbers are right nevertheless has shown what was to be shown.
            (Ok(()), _) if measured.report["generator"]["verdict"] != "invalid" => return,
            (Err(reason), None) => panic!("{reason}"),
            (judgement, busy) => {
                let judgement = judgement
                    .err()
                    .unwrap_or_else(|| "the numbers are as they should be".to_owned());
                last = format!("{}; {judgement}", busy.unwrap_or_default());
                say_again(test, &last);
            }
        }
    }
    skipped(
        test,
        &format!("the machine is busy; the last of {ATTEMPTS} runs: {last}"),
    );
}

/// Why a run's latencies may not be what they should be.
fn busy(measured: &Measured, meter: &Pressure) -> Option<String> {
    let generator = &measured.report["generator"];
    let verdict = generator["verdict"]
        .as_str()
        .expect("a report says whether its generator can be trusted");
    if verdict != "valid" {
        return Some(format!("{verdict} generator ({})", generator["reasons"]));
    }
    if measured.disturbed.is_some() {
        return measured.disturbed.clone();
    }
    let share = meter.share();
    (share > PRESSURE_MAX).then(|| {
        format!(
            "some thread waited for a processor in {:.0} % of the time",
            share * 100.0
        )
    })
}

/// The kernel's own account of how long some thread of this machine has waited for a processor, if it keeps one.
pub fn pressure() -> Option<Duration> {
    let text = std::fs::read_to_string("/proc/pressure/cpu").ok()?;
    let some = text.lines().find(|line| line.starts_with("some "))?;
    let micros = some.split("total=").nth(1)?.trim().parse().ok()?;
    Some(Duration::from_micros(micros))
}

/// Measures the share of a time in which some thread waited for a processor.
#[derive(Debug)]
pub struct Pressure {
    at: Instant,
    total: Option<Duration>,
}

impl Pressure {
    /// As it stands now.
    #[expect(clippy::disallowed_methods, reason = "a test's own clock")]
    pub fn now() -> Self {
        Self {
            at: Instant::now(),
            total: pressure(),
        }
    }

    /// The share of the time since; 0 where the kernel keeps no account.
    pub fn share(&self) -> f64 {
        let now = Self::now();
        let waited = now
            .total
            .zip(self.total)
            .map_or(Duration::ZERO, |(now, then)| now.saturating_sub(then));
        waited.as_secs_f64() / now.at.duration_since(self.at).as_secs_f64().max(0.001)
    }
}

/// The kernel's own account of what the hypervisor took from one core, second by second.
#[derive(Debug)]
pub struct Stolen {
    /// Dropped in the end; nothing is ever sent.
    stop: SyncSender<()>,
    worst: JoinHandle<f64>,
}

impl Stolen {
    /// Looks from now on.
    pub fn from(core: usize) -> Self {
        let (stop, stopped) = sync_channel(0);
        let worst = std::thread::spawn(move || {
            let (mut worst, mut last) = (0_f64, stolen_of(core));
            loop {
                let over = stopped.recv_timeout(Duration::from_secs(1)) != Err(RecvTimeoutError::Timeout);
                let now = stolen_of(core);
                if let (Some(now), Some(last)) = (now, last) {
                    worst = worst.max((now.0 - last.0) as f64 / ((now.1 - last.1) as f64).max(1.0));
                }
                last = now;
                if over {
                    return worst;
                }
            }
        });
        Self { stop, worst }
    }

    /// The largest share of a second that was stolen; 0 where the kernel keeps no account.
    pub fn worst_share(self) -> f64 {
        drop(self.stop);
        self.worst.join().expect("it only reads and adds")
    }
}

/// Sees whether a core stands still for everybody on it: a hypervisor takes it away without always accounting for that.
pub struct Standstill {
    stop: SyncSender<()>,
    longest: JoinHandle<Duration>,
}

impl Standstill {
    /// Looks from now on, every 2 ms. Somebody else who is at work on the core delays that by his slice at most, some 3 ms.
    #[expect(clippy::disallowed_methods, reason = "a test's own clock")]
    pub fn from(core: usize) -> Self {
        let (stop, stopped) = sync_channel(0);
        let longest = on_core(core, || {
            // Inherits the core.
            std::thread::spawn(move || {
                let (mut longest, mut last) = (Duration::ZERO, Instant::now());
                while stopped.recv_timeout(Duration::from_millis(2)) == Err(RecvTimeoutError::Timeout) {
                    let now = Instant::now();
                    longest = longest.max(now - last);
                    last = now;
                }
                longest
            })
        });
        Self { stop, longest }
    }

    /// The longest time between two looks.
    pub fn longest(self) -> Duration {
        drop(self.stop);
        self.longest.join().expect("it only reads the time")
    }
}

/// Ticks stolen from a core, and all its ticks.
fn stolen_of(core: usize) -> Option<(u64, u64)> {
    let text = std::fs::read_to_string("/proc/stat").ok()?;
    let name = format!("cpu{core} ");
    let line = text.lines().find_map(|line| line.strip_prefix(name.as_str()))?;
    // user nice system idle iowait irq softirq steal; what follows is part of the first two.
    let ticks: Vec<u64> = line
        .split_whitespace()
        .take(8)
        .map_while(|word| word.parse().ok())
        .collect();
    Some((*ticks.get(7)?, ticks.iter().sum()))
}

#[expect(clippy::print_stderr, reason = "a test's output is its stderr")]
fn say_again(test: &str, reason: &str) {
    eprintln!("{test}: again: {reason}");
}
