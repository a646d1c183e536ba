//! Follows a run to its end: progress, signals, the report, the exit code.

use std::path::Path;
use std::time::{Duration, Instant};

use barrage_model::ids::RunId;
use barrage_proto::v1;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tonic::Streaming;

use crate::args::{Format, Output};
use crate::client::Client;
use crate::clock;
use crate::exit::Failure;
use crate::progress::{Progress, clean, complain};
use crate::signals::{self, Signals, exit_code};
use crate::stdout;

/// For so long a coordinator that has been lost is tried for again.
const LOST_LIMIT: Duration = Duration::from_secs(30);
/// Between two tries.
const PAUSE: Duration = Duration::from_millis(500);

/// What a signal does to the followed run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OnSignal {
    /// Stops it gracefully; a second signal ends this process at once.
    Stop,
    /// Leaves it alone and ends this process.
    Leave,
}

/// How following ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Followed {
    /// With the run, whose exit code this is.
    Ended(u8),
    /// At once, by a signal; nothing is to be waited for any more.
    Cut(u8),
}

impl Followed {
    /// The process's exit code.
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Ended(code) | Self::Cut(code) => code,
        }
    }
}

/// Makes the folder of `--out` and writes to it, so that a run of an hour does not end without a place for its report.
pub(crate) fn ready(output: &Output) -> Result<(), Failure> {
    let Some(dir) = &output.out else { return Ok(()) };
    let trial = dir.join(format!(".barrage-{}", std::process::id()));
    std::fs::create_dir_all(dir)
        .and_then(|()| std::fs::write(&trial, []))
        .and_then(|()| std::fs::remove_file(&trial))
        .map_err(|error| Failure::start(format!("could not write to {}", dir.display()), &error))
}

/// Follows the run and prints its report.
pub(crate) async fn follow(
    client: &mut Client,
    run: u64,
    output: &Output,
    on_signal: OnSignal,
) -> Result<Followed, Failure> {
    let mut signals = Signals::new()?;
    let mut progress = Progress::new(output.quiet, output.no_progress);
    let snapshots = client.watch(run).await?;
    let (tell, mut news) = mpsc::channel(1);
    let mut listening = JoinSet::new();
    listening.spawn(listen(client.clone(), run, snapshots, tell));
    // The order to stop; a coordinator that does not answer must not keep the second signal from being heard.
    let mut stopping = JoinSet::new();
    let mut asked = false;
    let last = loop {
        tokio::select! {
            number = signals.next() => {
                if asked || on_signal == OnSignal::Leave {
                    progress.clear();
                    if !stopping.is_empty() {
                        complain(&unanswered(RunId(run)));
                    }
                    return Ok(Followed::Cut(exit_code(number)));
                }
                asked = true;
                progress.say("stopping: no new arrivals, waiting for what is in flight; a second signal ends at once");
                let mut client = client.clone();
                stopping.spawn(async move { client.stop(stop_request(run, number)).await });
            }
            Some(stopped) = stopping.join_next() => {
                // It may have ended this very moment; then its last snapshot is on the way.
                if let Ok(Err(failure)) = stopped {
                    progress.say(&failure.to_string());
                }
            }
            Some(next) = news.recv() => match next {
                News::Snapshot(snapshot) => {
                    progress.show(&snapshot);
                    if snapshot.exit_code.is_some() {
                        break *snapshot;
                    }
                }
                News::Lost(why) => progress.say(&format!("lost the coordinator ({why}); trying to reach it again")),
                News::Over(failure) => return Err(failure),
            }
        }
    };
    progress.clear();
    // Whoever submitted the run may not have accepted what this one accepts.
    let code = last
        .accepted_exit_code
        .filter(|_| output.accept_invalid)
        .or(last.exit_code);
    let code = code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1);
    if code == 4 {
        return Err(Failure::CouldNotStart(format!(
            "the run could not start: {}",
            last.detail
        )));
    }
    let published = tokio::select! {
        published = publish(client, run, output.out.as_deref(), output.format) => published,
        number = last_straw(&mut signals, asked) => return Ok(Followed::Cut(exit_code(number))),
    };
    match published {
        // What the run came to weighs more than a file that could not be written.
        Err(failure) if code != 0 => complain(&failure.to_string()),
        published => published?,
    }
    Ok(Followed::Ended(code))
}

fn unanswered(run: RunId) -> String {
    format!(
        "the coordinator has not answered the stop yet, so the run may go on: `barrage stop {run}` when it answers again"
    )
}

/// What is heard of a run.
enum News {
    Snapshot(Box<v1::Snapshot>),
    /// The connection is gone, and why; another one is tried for.
    Lost(String),
    /// Nothing more will be heard.
    Over(Failure),
}

/// Passes on what the coordinator says, over as many connections as it takes: a run goes on without its followers.
async fn listen(mut client: Client, run: u64, mut snapshots: Streaming<v1::Snapshot>, tell: mpsc::Sender<News>) {
    let mut lost_at = None;
    loop {
        let status = match snapshots.message().await {
            Ok(Some(snapshot)) => {
                lost_at = None;
                if tell.send(News::Snapshot(Box::new(snapshot))).await.is_err() {
                    return;
                }
                continue;
            }
            Ok(None) => {
                let failure = Failure::Own("the coordinator ended before the run did".to_owned());
                let _gone = tell.send(News::Over(failure)).await;
                return;
            }
            Err(status) => status,
        };
        let why = clean(status.message());
        let until = *lost_at.get_or_insert_with(clock::now) + LOST_LIMIT;
        let lost = News::Lost(why.clone());
        if tell.send(lost).await.is_err() {
            return;
        }
        match again(&mut client, run, until).await {
            Ok(stream) => snapshots = stream,
            Err(refused) => {
                let run = RunId(run);
                let failure = refused.unwrap_or_else(|| {
                    let text =
                        format!("lost the coordinator: {why}; the run may go on: `barrage watch {run}` follows it");
                    Failure::Own(text)
                });
                let _gone = tell.send(News::Over(failure)).await;
                return;
            }
        }
    }
}

/// Watches the run again. An error when that did not succeed in time, with what the coordinator says against it, if it does.
async fn again(client: &mut Client, run: u64, until: Instant) -> Result<Streaming<v1::Snapshot>, Option<Failure>> {
    loop {
        match tokio::time::timeout_at(until.into(), client.watch(run)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(refused @ (Failure::Usage(_) | Failure::BadPlan(_) | Failure::Refused(_)))) => {
                return Err(Some(refused));
            }
            Ok(Err(_)) if clock::now() < until => tokio::time::sleep(PAUSE).await,
            Ok(Err(_)) | Err(_) => return Err(None),
        }
    }
}

/// The signal that ends even the report: the second one.
async fn last_straw(signals: &mut Signals, asked: bool) -> u8 {
    if !asked {
        signals.next().await;
    }
    signals.next().await
}

fn stop_request(run: u64, signal: u8) -> v1::StopRequest {
    v1::StopRequest {
        run: Some(run),
        all: false,
        now: false,
        reason: signals::name(signal).into(),
        signal: Some(u32::from(signal)),
    }
}

/// Writes one rendering to stdout, and every one of them under `out`. A folder that cannot be written to does not cost
/// what stdout gets.
pub(crate) async fn publish(client: &mut Client, run: u64, out: Option<&Path>, format: Format) -> Result<(), Failure> {
    let rendered = client.report(run, format.word()).await?;
    let shown = stdout::write(&rendered);
    if let Some(dir) = out {
        let mut rendered = Vec::new();
        for each in Format::ALL {
            rendered.push((each, client.report(run, each.word()).await?));
        }
        write_all(dir, rendered)?;
    }
    shown
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
