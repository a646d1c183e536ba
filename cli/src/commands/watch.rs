//! `barrage watch`.

use crate::args::WatchArgs;
use crate::exit::Outcome;
use crate::follow::{self, Followed, OnSignal, follow};
use crate::places;

/// Follows a run that was started elsewhere; a signal leaves it running.
pub(crate) async fn watch(args: &WatchArgs) -> Outcome {
    follow::ready(&args.output)?;
    let mut client = places::coordinator(args.coordinator.url()).await?;
    let run = match &args.run {
        Some(text) => places::run_id(text)?,
        None => places::newest(&mut client).await?,
    };
    follow(&mut client, run, &args.output, OnSignal::Leave)
        .await
        .map(Followed::code)
}
