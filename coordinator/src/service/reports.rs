//! Reports of running, ended and stored runs.

use std::sync::Arc;

use barrage_metrics::Summary;
use barrage_model::ids::RunId;
use barrage_report::Format;

use super::Faces;
use crate::hub::{Live, Stopping, chain};
use crate::store::StoreError;

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReportError {
    #[error("there is no run {0}")]
    Unknown(RunId),
    #[error("run {0} has not begun")]
    NotBegun(RunId),
    #[error("run {0} made no arrival: {1}")]
    DidNotRun(RunId, String),
    #[error("could not draw the report")]
    Broken(String),
    #[error(transparent)]
    Stopping(#[from] Stopping),
}

/// Draws a report. Works on a thread of its own, since a long run has a lot to add up.
pub(super) async fn render(faces: &Faces, run: RunId, format: Format) -> Result<Vec<u8>, ReportError> {
    let live = faces.hub.live(run).await?;
    if live.is_none() && faces.hub.is_active(run).await? {
        return Err(ReportError::NotBegun(run));
    }
    let reader = faces.reader.clone();
    let task = tokio::task::spawn_blocking(move || -> Result<Vec<u8>, ReportError> {
        let found: Arc<Summary> = match live {
            Some(Live::Ended(ended)) => ended,
            Some(Live::Going(judge, about)) => Arc::new(judge.summary(*about)),
            None => match reader.load_run(run) {
                Ok(stored) if stored.ran() => Arc::new(stored.summary()),
                Ok(stored) if stored.has_ended() => return Err(ReportError::DidNotRun(run, stored.detail)),
                Ok(_) => return Err(ReportError::NotBegun(run)),
                Err(StoreError::Unknown(run)) => return Err(ReportError::Unknown(run)),
                Err(error) => return Err(ReportError::Broken(chain(&error))),
            },
        };
        barrage_report::render(&found, format).map_err(|error| ReportError::Broken(chain(&error)))
    });
    task.await.map_err(|error| ReportError::Broken(error.to_string()))?
}
