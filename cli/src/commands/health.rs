//! `barrage health`: for container health checks, so the exit code is the answer.

use std::time::Duration;

use crate::args::HealthArgs;
use crate::client::Client;
use crate::exit::{Failure, Outcome};
use crate::places;
use crate::stdout;

/// How long a health check of any HTTP server may take.
const LIMIT: Duration = Duration::from_secs(5);

/// Asks a coordinator, or any HTTP server, whether it is well.
pub(crate) async fn health(args: &HealthArgs) -> Outcome {
    if let Some(url) = &args.url {
        return any(url).await;
    }
    let url = places::address(args.coordinator.url())?;
    let (_, reply) = Client::connect_with_health(&url).await?;
    stdout::line(&format!(
        "coordinator {} · protocol {} · {} workers · {} running · store {}",
        reply.version,
        reply.protocol,
        reply.workers,
        reply.running,
        if reply.store_ok { "ok" } else { "FAILED" }
    ))?;
    if !reply.store_ok {
        return Err(Failure::Own("the coordinator's store has failed".to_owned()));
    }
    match args.min_workers {
        Some(wanted) if reply.workers < wanted => Err(Failure::CouldNotStart(format!(
            "{} workers have joined, {wanted} are wanted",
            reply.workers
        ))),
        _ => Ok(0),
    }
}

/// One plain GET, without a client library: the binary's own health check must not need certificates.
async fn any(url: &str) -> Outcome {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let parsed = url::Url::parse(url).map_err(|error| Failure::Usage(format!("{url:?} is no URL: {error}")))?;
    let (Some(host), Some(port), "http") = (parsed.host_str(), parsed.port_or_known_default(), parsed.scheme()) else {
        return Err(Failure::Usage(format!("{url:?} is no http:// URL with a host")));
    };
    let unwell = |why: String| Failure::CouldNotStart(format!("{url} is not well: {why}"));
    let ask = async {
        let mut stream = tokio::net::TcpStream::connect((host.trim_matches(['[', ']']), port)).await?;
        let path = &parsed[url::Position::BeforePath..url::Position::AfterQuery];
        let request = format!("GET {path} HTTP/1.1\r\nhost: {host}:{port}\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut head = [0_u8; 12];
        stream.read_exact(&mut head).await?;
        std::io::Result::Ok(head)
    };
    let head = tokio::time::timeout(LIMIT, ask)
        .await
        .map_err(|_| unwell("no answer".to_owned()))?
        .map_err(|error| unwell(error.to_string()))?;
    if head.starts_with(b"HTTP/1.") && head[9] == b'2' {
        Ok(0)
    } else {
        Err(unwell(format!(
            "it answered {}",
            String::from_utf8_lossy(&head).escape_debug()
        )))
    }
}
