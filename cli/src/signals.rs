//! Signals: the first one asks, the second one ends the process.

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::exit::Failure;

/// SIGINT, SIGTERM and SIGHUP as a stream of signal numbers.
pub(crate) struct Signals {
    interrupt: Signal,
    terminate: Signal,
    /// The terminal has gone; `None` where whoever started this has it go on then, as `nohup` does.
    hangup: Option<Signal>,
}

impl Signals {
    /// Takes over these signals.
    pub(crate) fn new() -> Result<Self, Failure> {
        let take = |kind| signal(kind).map_err(|error| Failure::own("could not watch for signals", &error));
        Ok(Self {
            interrupt: take(SignalKind::interrupt())?,
            terminate: take(SignalKind::terminate())?,
            hangup: if ignores_hangup() {
                None
            } else {
                Some(take(SignalKind::hangup())?)
            },
        })
    }

    /// The number of the next signal; a hangup counts as SIGTERM.
    ///
    /// # Cancel safety
    /// Cancel safe: a signal that arrives meanwhile is returned by the next call.
    pub(crate) async fn next(&mut self) -> u8 {
        tokio::select! {
            _ = self.interrupt.recv() => 2,
            _ = self.terminate.recv() => 15,
            () = next_of(self.hangup.as_mut()) => 15,
        }
    }
}

async fn next_of(signal: Option<&mut Signal>) {
    match signal {
        Some(signal) => drop(signal.recv().await),
        None => std::future::pending().await,
    }
}

/// Whether SIGHUP, which is signal 1, is among those that this process was started to ignore.
fn ignores_hangup() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    ignored.is_some_and(|mask| u64::from_str_radix(mask.trim(), 16).is_ok_and(|mask| mask & 1 == 1))
}

/// The name of a signal that [`Signals::next`] gives.
pub(crate) fn name(signal: u8) -> &'static str {
    match signal {
        2 => "SIGINT",
        _ => "SIGTERM",
    }
}

/// The exit code of a process that a signal ended.
pub(crate) fn exit_code(signal: u8) -> u8 {
    128 + signal
}
