//! Being told to stop.

use anyhow::{Context, Result};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// The signals that end a measurement: it leaves nothing behind then. They end nothing by themselves any more.
#[derive(Debug)]
pub(crate) struct Signals {
    hangup: Signal,
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    /// Begins to listen. Must be called within a tokio runtime.
    pub(crate) fn listen() -> Result<Self> {
        Ok(Self {
            hangup: signal(SignalKind::hangup()).context("could not listen for SIGHUP")?,
            interrupt: signal(SignalKind::interrupt()).context("could not listen for SIGINT")?,
            terminate: signal(SignalKind::terminate()).context("could not listen for SIGTERM")?,
        })
    }

    /// Waits for one of them.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub(crate) async fn told(&mut self) -> &'static str {
        tokio::select! {
            _ = self.hangup.recv() => "SIGHUP",
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.terminate.recv() => "SIGTERM",
        }
    }
}
