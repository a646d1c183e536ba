//! `barrage stop`.

use barrage_proto::v1;

use crate::args::StopArgs;
use crate::exit::{Failure, Outcome};
use crate::places;
use crate::stdout;

/// Stops one run, or all, and names them.
pub(crate) async fn stop(args: &StopArgs) -> Outcome {
    let mut client = places::coordinator(args.coordinator.url()).await?;
    let run = args.run.as_deref().map(places::run_id).transpose()?;
    let request = v1::StopRequest {
        run,
        all: args.all,
        now: args.now,
        reason: "operator".to_owned(),
        signal: None,
    };
    let stopped = client.stop(request).await?;
    if stopped.is_empty() && run.is_some() {
        return Err(Failure::Usage("that run is not running".to_owned()));
    }
    for run in stopped {
        stdout::line(&format!("{run:016x}"))?;
    }
    Ok(0)
}
