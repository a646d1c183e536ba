//! The command line's side of the `Runs` service.

use std::collections::BTreeMap;
use std::time::Duration;

use barrage_proto::v1::runs_client::RunsClient;
use barrage_proto::{MESSAGE_MAX_BYTES, v1};
use tonic::transport::{Channel, Endpoint};

use crate::exit::Failure;

/// How long a connection may take.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// Size of the pieces in which files travel.
const PIECE_BYTES: usize = 256 * 1024;

/// A connection to a coordinator.
#[derive(Clone)]
pub(crate) struct Client {
    inner: RunsClient<Channel>,
    url: String,
}

/// A coordinator's address as people write it, `http://` or not, made whole.
///
/// # Errors
/// [`Failure::Usage`] for what is none.
pub(crate) fn address(url: &str) -> Result<(String, Endpoint), Failure> {
    let full = if url.contains("://") {
        url.to_owned()
    } else {
        format!("http://{url}")
    };
    let endpoint = full
        .starts_with("http://")
        .then(|| Endpoint::from_shared(full.clone()).ok())
        .flatten();
    let endpoint = endpoint
        .ok_or_else(|| Failure::Usage(format!("{url:?} is no coordinator address; expected http://HOST:PORT")))?;
    Ok((full, endpoint))
}

impl Client {
    /// Connects, and asks for a sign of life, since a connection alone proves nothing.
    pub(crate) async fn connect(url: &str) -> Result<Self, Failure> {
        let (client, health) = Self::connect_with_health(url).await?;
        if health.protocol != barrage_proto::PROTOCOL {
            return Err(Failure::CouldNotStart(format!(
                "the coordinator at {url} is version {} and speaks protocol {}, this is version {} with protocol {}",
                health.version,
                health.protocol,
                env!("CARGO_PKG_VERSION"),
                barrage_proto::PROTOCOL
            )));
        }
        Ok(client)
    }

    /// Connects and returns the sign of life whatever its version.
    pub(crate) async fn connect_with_health(url: &str) -> Result<(Self, v1::HealthReply), Failure> {
        let (full, endpoint) = address(url)?;
        let endpoint = endpoint
            .connect_timeout(CONNECT_LIMIT)
            .http2_keep_alive_interval(Duration::from_secs(5))
            .keep_alive_timeout(Duration::from_secs(10))
            .keep_alive_while_idle(true);
        let unreachable =
            |why: String| Failure::CouldNotStart(format!("could not reach a coordinator at {full}: {why}"));
        let channel = endpoint
            .connect()
            .await
            .map_err(|error| unreachable(innermost(&error)))?;
        let inner = RunsClient::new(channel)
            .max_decoding_message_size(MESSAGE_MAX_BYTES)
            .max_encoding_message_size(MESSAGE_MAX_BYTES);
        let mut client = Self {
            inner,
            url: full.clone(),
        };
        let ask = tokio::time::timeout(CONNECT_LIMIT, client.inner.health(v1::HealthRequest {})).await;
        let reply = match ask {
            Err(_) => return Err(unreachable("it does not answer".to_owned())),
            Ok(Err(status)) => return Err(unreachable(format!("it does not answer as one ({})", status.message()))),
            Ok(Ok(reply)) => reply.into_inner(),
        };
        Ok((client, reply))
    }

    /// The address in use.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Uploads those of the files that the coordinator does not hold yet.
    pub(crate) async fn upload(&mut self, files: &BTreeMap<[u8; 32], Vec<u8>>) -> Result<(), Failure> {
        if files.is_empty() {
            return Ok(());
        }
        let all = files.keys().map(|hash| hash.to_vec()).collect();
        let reply = self
            .inner
            .missing(v1::MissingRequest { sha256: all })
            .await
            .map_err(|e| refused("upload", &e))?;
        for hash in reply.into_inner().sha256 {
            let key: Option<[u8; 32]> = hash.clone().try_into().ok();
            let Some(data) = key.and_then(|key| files.get(&key)) else {
                continue;
            };
            let mut frames = vec![v1::PutFrame {
                frame: Some(v1::put_frame::Frame::Sha256(hash)),
            }];
            frames.extend(data.chunks(PIECE_BYTES).map(|piece| v1::PutFrame {
                frame: Some(v1::put_frame::Frame::Data(piece.to_vec())),
            }));
            self.inner
                .put(tokio_stream::iter(frames))
                .await
                .map_err(|e| refused("upload a file", &e))?;
        }
        Ok(())
    }

    /// Submits a plan.
    pub(crate) async fn submit(&mut self, request: v1::SubmitRequest) -> Result<v1::SubmitReply, Failure> {
        let reply = self
            .inner
            .submit(request)
            .await
            .map_err(|e| refused("submit the plan", &e))?
            .into_inner();
        if reply.errors.is_empty() {
            Ok(reply)
        } else {
            Err(Failure::BadPlan(reply.errors.join("\n")))
        }
    }

    /// Follows a run.
    pub(crate) async fn watch(&mut self, run: u64) -> Result<tonic::Streaming<v1::Snapshot>, Failure> {
        let reply = self
            .inner
            .watch(v1::WatchRequest { run })
            .await
            .map_err(|e| refused("watch the run", &e))?;
        Ok(reply.into_inner())
    }

    /// Stops one run or all.
    pub(crate) async fn stop(&mut self, request: v1::StopRequest) -> Result<Vec<u64>, Failure> {
        let reply = self.inner.stop(request).await.map_err(|e| refused("stop", &e))?;
        Ok(reply.into_inner().runs)
    }

    /// Lists runs, the newest first.
    pub(crate) async fn list(&mut self, limit: u32) -> Result<Vec<v1::RunLine>, Failure> {
        let reply = self
            .inner
            .list(v1::ListRequest { limit })
            .await
            .map_err(|e| refused("list runs", &e))?;
        Ok(reply.into_inner().runs)
    }

    /// Fetches a rendered report.
    pub(crate) async fn report(&mut self, run: u64, format: &str) -> Result<Vec<u8>, Failure> {
        let request = v1::ReportRequest {
            run,
            format: format.to_owned(),
        };
        let reply = self
            .inner
            .report(request)
            .await
            .map_err(|e| refused("fetch the report", &e))?;
        let mut stream = reply.into_inner();
        let mut whole = Vec::new();
        while let Some(chunk) = stream.message().await.map_err(|e| refused("fetch the report", &e))? {
            whole.extend_from_slice(&chunk.data);
        }
        Ok(whole)
    }

    /// Removes a stored run.
    pub(crate) async fn remove(&mut self, run: u64) -> Result<bool, Failure> {
        let reply = self
            .inner
            .remove(v1::RemoveRequest { run })
            .await
            .map_err(|e| refused("remove the run", &e))?;
        Ok(reply.into_inner().removed)
    }

    /// Removes old runs.
    pub(crate) async fn prune(&mut self, request: v1::PruneRequest) -> Result<u32, Failure> {
        let reply = self.inner.prune(request).await.map_err(|e| refused("prune runs", &e))?;
        Ok(reply.into_inner().removed)
    }
}

/// What a refusal of the coordinator means for the command.
fn refused(trying: &str, status: &tonic::Status) -> Failure {
    use tonic::Code;
    let text = format!("could not {trying}: {}", status.message());
    match status.code() {
        Code::FailedPrecondition | Code::ResourceExhausted | Code::Unavailable => Failure::CouldNotStart(text),
        Code::InvalidArgument => Failure::BadPlan(text),
        Code::NotFound => Failure::Usage(text),
        Code::PermissionDenied => Failure::Refused(text),
        _ => Failure::Own(text),
    }
}

/// The deepest cause: tonic's own text for a refused connection says nothing.
fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    let mut deepest = error;
    while let Some(next) = deepest.source() {
        deepest = next;
    }
    let kind = deepest.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
    if kind == Some(std::io::ErrorKind::AddrNotAvailable) {
        return format!("{deepest}: this host has no local port left for it, or no such address");
    }
    deepest.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An error of a library's around that of the system.
    #[derive(Debug, thiserror::Error)]
    #[error("transport error")]
    struct Around(#[source] std::io::Error);

    #[test]
    fn a_host_without_ports_is_told_from_one_that_refuses() {
        let text = |kind: std::io::ErrorKind| innermost(&Around(kind.into()));
        let none = text(std::io::ErrorKind::AddrNotAvailable);
        assert!(
            none.ends_with(": this host has no local port left for it, or no such address"),
            "{none}"
        );
        assert_eq!(text(std::io::ErrorKind::ConnectionRefused), "connection refused");
    }
}
