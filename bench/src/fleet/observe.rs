//! Follows a run as a command line does, and looks at the coordinator's process each second.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use barrage_proto::v1::runs_client::RunsClient;
use barrage_proto::v1::{Snapshot, WatchRequest};
use tonic::transport::Channel;

use super::process::{Coordinator, Sample};

/// Everything seen of one run.
#[derive(Clone, Debug, Default)]
pub(super) struct Observed {
    /// Once the fleet has joined, before the run.
    pub(super) joined: Sample,
    /// One for each second of the run, the first one at its start.
    pub(super) samples: Vec<Sample>,
    /// Run time and how far the watermark can have been behind it since the time before, µs; four a second.
    pub(super) lags: Vec<(u64, u64)>,
    /// The watermark that was seen last, µs.
    watermark_us: Option<u64>,
}

/// Follows the run to its end.
pub(super) async fn observe(runs: &mut RunsClient<Channel>, run: u64, coordinator: &Coordinator) -> Result<Observed> {
    let mut snapshots = runs.watch(WatchRequest { run }).await?.into_inner();
    let mut observed = Observed {
        joined: coordinator.sample()?,
        ..Observed::default()
    };
    let mut running = false;
    let mut tick = tokio::time::interval(Duration::from_secs(1));
    let last = loop {
        tokio::select! {
            snapshot = snapshots.message() => {
                let snapshot = snapshot?.context("the coordinator ends before the run")?;
                if snapshot.exit_code.is_some() {
                    break snapshot;
                }
                if snapshot.state == "running" && !running {
                    running = true;
                    tick.reset_immediately();
                }
                observed.see(&snapshot);
            }
            _ = tick.tick(), if running => observed.samples.push(coordinator.sample()?),
        }
    };
    ensure!(
        last.exit_code == Some(0),
        "the run ended with {} and exit code {:?}: {} {:?}",
        last.verdict,
        last.exit_code,
        last.detail,
        last.sla
    );
    Ok(observed)
}

impl Observed {
    fn see(&mut self, snapshot: &Snapshot) {
        if snapshot.state == "running" {
            // It is furthest behind just before it moves, and when that was is not seen: at the latest it was now. A
            // coordinator that stands still sends nothing meanwhile, which counts by this as well.
            let before = self.watermark_us.replace(snapshot.watermark_us);
            let lag = snapshot
                .run_time_us
                .saturating_sub(before.unwrap_or(snapshot.watermark_us));
            self.lags.push((snapshot.run_time_us, lag));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lag_is_what_it_can_have_been_before_the_watermark_moved() {
        let mut observed = Observed::default();
        for (state, run_time_ms, watermark_ms) in [
            ("waiting", 0, 0),
            ("running", 900, 0),
            ("running", 1_150, 1_000),
            ("running", 1_400, 1_000),
            // Nothing was heard for three seconds.
            ("running", 4_400, 4_000),
            ("running", 4_650, 4_000),
        ] {
            observed.see(&Snapshot {
                state: state.to_owned(),
                run_time_us: run_time_ms * 1_000,
                watermark_us: watermark_ms * 1_000,
                ..Snapshot::default()
            });
        }
        let lags: Vec<u64> = observed.lags.iter().map(|(_, lag)| lag / 1_000).collect();
        assert_eq!(lags, [900, 1_150, 400, 3_400, 650]);
    }
}
