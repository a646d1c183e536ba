//! Asks a server for its counters: one request on a connection of its own.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, bail};

/// How long a server may take; it stands still for a second when told to.
const LIMIT: Duration = Duration::from_secs(10);
const ANSWER_BYTES_MAX: u64 = 1 << 20;

/// The body of the answer to `GET path`.
pub(crate) fn get(address: SocketAddr, path: &str) -> Result<String> {
    let failed = || format!("could not ask {address} for {path}");
    let mut stream = TcpStream::connect_timeout(&address, LIMIT).with_context(failed)?;
    stream.set_read_timeout(Some(LIMIT)).with_context(failed)?;
    stream.set_write_timeout(Some(LIMIT)).with_context(failed)?;
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"
    )
    .with_context(failed)?;
    let mut bytes = Vec::new();
    stream
        .take(ANSWER_BYTES_MAX)
        .read_to_end(&mut bytes)
        .with_context(failed)?;
    let text = String::from_utf8(bytes).with_context(failed)?;
    match text.split_once("\r\n\r\n") {
        Some((head, body)) if head.starts_with("HTTP/1.1 200 ") => Ok(body.to_owned()),
        _ => bail!("{}: {}", failed(), text.lines().next().unwrap_or("no answer")),
    }
}
