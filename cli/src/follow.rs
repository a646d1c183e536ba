//! Follows a run to its end: progress, signals, the report, the exit code.

use std::path::Path;

use barrage_proto::v1;

use crate::args::{Format, Output};
use crate::client::Client;
use crate::exit::{Failure, Outcome};
use crate::progress::Progress;
use crate::signals::{Signals, exit_code};
use crate::stdout;

/// What a signal does to the followed run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OnSignal {
    /// Stops it gracefully; a second signal ends this process at once.
    Stop,
    /// Leaves it alone and ends this process.
    Leave,
}

/// Follows the run and prints its report.
pub(crate) async fn follow(client: &mut Client, run: u64, output: &Output, on_signal: OnSignal) -> Outcome {
    let mut signals = Signals::new()?;
    let mut progress = Progress::new(output.quiet, output.no_progress);
    let mut snapshots = client.watch(run).await?;
    let mut asked = false;
    let last = loop {
        tokio::select! {
            number = signals.next() => {
                if asked || on_signal == OnSignal::Leave {
                    progress.clear();
                    return Ok(exit_code(number));
                }
                asked = true;
                progress.say("stopping: no new arrivals, waiting for what is in flight; a second signal ends at once");
                // It may have ended this very moment; then its last snapshot is on the way.
                if let Err(failure) = client.stop(stop_request(run, number)).await {
                    progress.say(&failure.to_string());
                }
            }
            next = snapshots.message() => match next {
                Ok(Some(snapshot)) => {
                    progress.show(&snapshot);
                    if snapshot.exit_code.is_some() {
                        break snapshot;
                    }
                }
                Ok(None) => return Err(Failure::Own("the coordinator ended before the run did".to_owned())),
                Err(status) => return Err(Failure::Own(format!("lost the coordinator: {}", status.message()))),
            }
        }
    };
    progress.clear();
    let code = last.exit_code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1);
    if code == 4 {
        return Err(Failure::CouldNotStart(format!(
            "the run could not start: {}",
            last.detail
        )));
    }
    publish(client, run, output.out.as_deref(), output.format).await?;
    Ok(code)
}

fn stop_request(run: u64, signal: u8) -> v1::StopRequest {
    v1::StopRequest {
        run: Some(run),
        all: false,
        now: false,
        reason: format!("signal {signal}"),
        signal: Some(u32::from(signal)),
    }
}

/// Writes every rendering under `out`, and one of them to stdout.
pub(crate) async fn publish(client: &mut Client, run: u64, out: Option<&Path>, format: Format) -> Result<(), Failure> {
    if let Some(dir) = out {
        let mut rendered = Vec::new();
        for each in Format::ALL {
            rendered.push((each, client.report(run, each.word()).await?));
        }
        write_all(dir, rendered)?;
    }
    let rendered = client.report(run, format.word()).await?;
    stdout::write(&rendered)
}

/// Writes renderings into a folder, which is made when it is not there.
pub(crate) fn write_all(dir: &Path, rendered: impl IntoIterator<Item = (Format, Vec<u8>)>) -> Result<(), Failure> {
    let failed = |error: std::io::Error| Failure::own(format!("could not write to {}", dir.display()), &error);
    std::fs::create_dir_all(dir).map_err(failed)?;
    for (format, content) in rendered {
        std::fs::write(dir.join(format.file()), content).map_err(failed)?;
    }
    Ok(())
}
