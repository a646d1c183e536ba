//! `barrage submit`.

use crate::args::SubmitArgs;
use crate::exit::Outcome;
use crate::follow::{self, Followed, OnSignal, follow};
use crate::places;
use crate::plans;
use crate::stdout;

/// Sends a plan to a coordinator and follows the run to its end.
pub(crate) async fn submit(args: &SubmitArgs) -> Outcome {
    let plan = plans::load(&args.plan, &args.fill)?;
    follow::ready(&args.output)?;
    let mut client = places::coordinator(args.coordinator.url()).await?;
    client.upload(plan.files()).await?;
    let mut request = plan.request(&args.fill);
    request.no_wait = args.no_wait;
    request.labels = args.labels.iter().cloned().collect();
    request.min_workers = args.min_workers;
    request.accept_invalid = args.output.accept_invalid;
    let reply = client.submit(request).await?;
    if args.detach {
        stdout::line(&format!("{:016x}", reply.run))?;
        return Ok(0);
    }
    follow(&mut client, reply.run, &args.output, OnSignal::Stop)
        .await
        .map(Followed::code)
}
