//! The full client's errors in the run's failure classes, so that a class means the same whichever engine met it.

use std::error::Error;
use std::io;

use barrage_model::outcome::FailureClass;

use crate::net::ResolveError;
use crate::net::wire::as_tls;

/// What the sources of an error tell.
#[derive(Debug, Default)]
struct Evidence {
    dns: bool,
    tls: bool,
    io: Option<io::ErrorKind>,
    /// The server has said that it ends the stream, or gives up the connection for an error: it did not close for being idle.
    given_up: bool,
    transport: Option<Transport>,
}

/// What the HTTP library itself says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Transport {
    Malformed,
    Lost,
}

/// The class of a failed call. `reused`: a kept connection was used and nothing had been answered on it.
pub(super) fn class(error: &reqwest::Error, https: bool, reused: bool) -> FailureClass {
    let evidence = gather(error);
    if evidence.dns {
        return FailureClass::Dns;
    }
    if evidence.tls {
        return FailureClass::Tls;
    }
    if error.is_connect() {
        // A peer that accepts and then hangs up while we connect has broken off the TLS handshake.
        return match evidence.io {
            Some(kind) if https && is_loss(kind) => FailureClass::Tls,
            _ => FailureClass::Connect,
        };
    }
    if evidence.given_up {
        return FailureClass::Reset;
    }
    // Without the HTTP library in the chain it was the decompression that failed, also at an unexpected end.
    let lost = evidence.transport == Some(Transport::Lost) && evidence.io.is_none_or(is_loss);
    match (lost, reused) {
        (true, true) => FailureClass::ClosedOnReuse,
        (true, false) => FailureClass::Reset,
        (false, _) => FailureClass::Protocol,
    }
}

fn gather(error: &(dyn Error + 'static)) -> Evidence {
    let mut evidence = Evidence::default();
    let mut next = Some(error);
    while let Some(error) = next {
        next = error.source();
        evidence.dns |= error.is::<ResolveError>();
        evidence.tls |= error.is::<rustls::Error>();
        if let Some(hyper) = error.downcast_ref::<hyper::Error>() {
            let malformed = hyper.is_parse() || hyper.is_parse_too_large() || detected_by_us(hyper);
            evidence.transport = Some(if malformed {
                Transport::Malformed
            } else {
                Transport::Lost
            });
            evidence.tls |= is_tls(hyper);
        }
        if let Some(http2) = error.downcast_ref::<h2::Error>().filter(|error| error.is_remote()) {
            let farewell = http2.reason() == Some(h2::Reason::NO_ERROR);
            evidence.given_up |= http2.is_reset() || (http2.is_go_away() && !farewell);
        }
        if let Some(io) = error.downcast_ref::<io::Error>() {
            evidence.tls |= as_tls(io).is_some();
            evidence.io = Some(io.kind());
            // An I/O error leaves the error it wraps out of its chain of sources.
            if let Some(inner) = io.get_ref() {
                next = Some(inner);
            }
        }
    }
    evidence
}

/// Over HTTP/2 the library keeps kind and text of what the connection said. A plain socket says no such thing, and what the
/// library finds wrong with a body is no error of the connection.
fn is_tls(error: &hyper::Error) -> bool {
    let io = error.source().and_then(|source| source.downcast_ref::<io::Error>());
    io.is_some_and(|io| io.kind() == io::ErrorKind::InvalidData) && error.to_string() == "connection error"
}

/// HTTP/2 violations are found by a library whose errors can only be told apart by their text.
fn detected_by_us(error: &hyper::Error) -> bool {
    error
        .source()
        .is_some_and(|source| source.to_string().contains("error detected"))
}

fn is_loss(kind: io::ErrorKind) -> bool {
    matches!(
        kind,
        io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::NotConnected
            | io::ErrorKind::TimedOut
            | io::ErrorKind::UnexpectedEof
    )
}
