//! Which coordinator a command talks to.

use barrage_model::ids::RunId;

use crate::client::Client;
use crate::exit::Failure;
use crate::registry;

/// The named coordinator, or the one that this user started last on this machine.
pub(crate) fn address(named: Option<&str>) -> Result<String, Failure> {
    if let Some(url) = named {
        return Ok(url.to_owned());
    }
    registry::registered().into_iter().next().ok_or_else(|| {
        Failure::CouldNotStart(
            "no coordinator is registered on this machine; name one with --coordinator URL".to_owned(),
        )
    })
}

/// A connection to [`address`].
pub(crate) async fn coordinator(named: Option<&str>) -> Result<Client, Failure> {
    Client::connect(&address(named)?).await
}

/// Reads a run id.
pub(crate) fn run_id(text: &str) -> Result<u64, Failure> {
    text.parse::<RunId>()
        .map(|run| run.0)
        .map_err(|error| Failure::Usage(format!("{text:?} is no run: {error}")))
}

/// The newest run of a coordinator.
pub(crate) async fn newest(client: &mut Client) -> Result<u64, Failure> {
    let runs = client.list(1).await?;
    runs.first()
        .map(|run| run.run)
        .ok_or_else(|| Failure::Usage(format!("the coordinator at {} has no runs", client.url())))
}
