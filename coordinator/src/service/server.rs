//! The accept loop of the one port.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::machine::fleet::WORKERS_MAX;

/// Bounds of what one peer may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Connections at once; further ones wait to be accepted.
    pub(crate) connections: usize,
    /// Calls at once on a connection.
    pub(crate) streams: u32,
    /// Bytes of header fields.
    pub(crate) header_bytes: u32,
    /// A silent connection is asked for a sign of life this often.
    pub(crate) keep_alive: Duration,
    /// And given up when none comes within this time.
    pub(crate) keep_alive_timeout: Duration,
    /// The first bytes of a connection, and header fields of HTTP/1, must come within this time.
    pub(crate) header_limit: Duration,
    /// Connections have this long to end once the port is closed.
    pub(crate) end_limit: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            // Two for each of the most workers, and room for command lines.
            connections: 2 * WORKERS_MAX + 1_000,
            streams: 64,
            header_bytes: 16 * 1024,
            keep_alive: Duration::from_secs(5),
            keep_alive_timeout: Duration::from_secs(10),
            header_limit: Duration::from_secs(10),
            end_limit: Duration::from_secs(5),
        }
    }
}

/// Accepts until `stop`, then lets connections end within a hard limit: a peer that does not let go cannot hold us up.
pub(crate) async fn serve(listener: TcpListener, router: Router, limits: Limits, stop: CancellationToken) {
    let room = Arc::new(Semaphore::new(limits.connections));
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            Some(_) = connections.join_next(), if !connections.is_empty() => continue,
            accepted = accept(&listener, &room) => accepted,
        };
        match accepted {
            Ok((stream, permit)) => {
                let served = connection(stream, router.clone(), limits, stop.clone());
                connections.spawn(async move {
                    served.await;
                    drop(permit);
                });
            }
            Err(error) => {
                // Out of descriptors, most likely: those in use end some time.
                tracing::warn!(%error, "could not accept a connection");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
    drop(listener);
    let ended = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(limits.end_limit, ended).await.is_err() {
        tracing::info!(open = connections.len(), "connections did not end in time and were cut");
        connections.abort_all();
    }
}

async fn accept(
    listener: &TcpListener,
    room: &Arc<Semaphore>,
) -> std::io::Result<(TcpStream, tokio::sync::OwnedSemaphorePermit)> {
    let permit = Arc::clone(room).acquire_owned().await.map_err(std::io::Error::other)?;
    let (stream, _) = listener.accept().await?;
    stream.set_nodelay(true)?;
    Ok((stream, permit))
}

/// What a connection of HTTP/2 begins with.
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Between two looks at a preface that comes in pieces.
const PREFACE_PAUSE: Duration = Duration::from_millis(20);

/// Waits for enough bytes to tell the protocol; hyper's own choice between the two has no limit in time. Nothing is
/// taken from the stream.
async fn begun(stream: &TcpStream) -> std::io::Result<()> {
    let mut first = [0; PREFACE.len()];
    loop {
        let seen = stream.peek(&mut first).await?;
        if seen == 0 || seen == PREFACE.len() || first[..seen] != PREFACE[..seen] {
            return Ok(());
        }
        tokio::time::sleep(PREFACE_PAUSE).await;
    }
}

async fn connection(stream: TcpStream, router: Router, limits: Limits, stop: CancellationToken) {
    let first = tokio::select! {
        first = tokio::time::timeout(limits.header_limit, begun(&stream)) => first,
        () = stop.cancelled() => return,
    };
    if !matches!(first, Ok(Ok(()))) {
        return tracing::debug!("a connection did not begin in time");
    }
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_limit)
        .max_buf_size(limits.header_bytes as usize * 4);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(limits.keep_alive)
        .keep_alive_timeout(limits.keep_alive_timeout)
        .max_concurrent_streams(limits.streams)
        .max_header_list_size(limits.header_bytes);
    let connection = builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended badly");
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    #[tokio::test]
    async fn a_connection_that_does_not_get_on_is_cut() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let limits = Limits {
            header_limit: Duration::from_millis(300),
            keep_alive: Duration::from_millis(200),
            keep_alive_timeout: Duration::from_millis(200),
            ..Limits::default()
        };
        let stop = CancellationToken::new();
        let served = tokio::spawn(serve(listener, Router::new(), limits, stop.clone()));
        let long = format!("GET / HTTP/1.1\r\nx: {}", "a".repeat(200_000));
        let beginnings: [&[u8]; 8] = [
            b"",
            b"P",
            b"PRI * HTTP/2",
            b"GET / HT",
            &PREFACE[..],
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
            b"\xff\xff\xff\x00\x00\x00\x00\x00\x00",
            long.as_bytes(),
        ];
        for beginning in beginnings {
            let mut stream = TcpStream::connect(address).await.unwrap();
            // Some are cut while they are still being written.
            drop(stream.write_all(beginning).await);
            let mut answer = Vec::new();
            let ended = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut answer)).await;
            let start = String::from_utf8_lossy(&beginning[..beginning.len().min(20)]).into_owned();
            assert!(ended.is_ok(), "{start:?} held its connection");
        }
        stop.cancel();
        served.await.unwrap();
    }
}
