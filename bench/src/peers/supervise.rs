//! The measurement as a child of this program, so that a signal ends it with everybody whom it has started, and its folder
//! goes whatever it was doing.

use std::path::Path;
use std::process::{ExitCode, ExitStatus};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::signals::Signals;

/// Between two attempts to remove the folder.
const PAUSE: Duration = Duration::from_millis(50);
/// Attempts: whoever was killed may still be at its last write.
const ATTEMPTS: u32 = 40;

/// Starts this program again with a folder to work in, and ends as it does.
///
/// # Errors
/// A signal came, which ended it; or it could not be started.
pub(super) fn run() -> Result<ExitCode> {
    let folder = tempfile::Builder::new()
        .prefix("bench-peers-")
        .tempdir()
        .context("no temporary folder")?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.context("could not start a runtime")?.block_on(async {
        let mut signals = Signals::listen()?;
        let own = std::env::current_exe().context("could not find this program's own file")?;
        let mut child = tokio::process::Command::new(own)
            .args(std::env::args_os().skip(1))
            .arg("--folder")
            .arg(folder.path())
            .spawn()
            .context("could not start the measurement")?;
        let ended = tokio::select! {
            status = child.wait() => status.context("could not wait for the measurement").and_then(code),
            signal = signals.told() => {
                // Its children die with it.
                child.kill().await.context("could not end the measurement")?;
                Err(anyhow::anyhow!("stopped: {signal}"))
            }
        };
        remove(folder.path()).await;
        ended
    })
}

fn code(status: ExitStatus) -> Result<ExitCode> {
    match status.code().map(u8::try_from) {
        Some(Ok(code)) => Ok(ExitCode::from(code)),
        _ => bail!("the measurement ended with {status}"),
    }
}

async fn remove(folder: &Path) {
    for _ in 0..ATTEMPTS {
        if std::fs::remove_dir_all(folder).is_ok() {
            return;
        }
        tokio::time::sleep(PAUSE).await;
    }
}
