//! Failures of streams and connections in the run's failure classes, so that a class means the same whichever engine met it.

use barrage_model::outcome::FailureClass;
use h2::Reason;

use super::pipe::{Gauge, SocketEnd};
use crate::engine::answer::{Cause, Failure};

/// How far a request had come when it failed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Progress {
    /// The connection had answered a request before this one was sent.
    pub(super) reused: bool,
    /// Its answer had begun.
    pub(super) touched: bool,
}

impl Progress {
    /// The class of a request whose connection went away.
    fn lost(self) -> Cause {
        Cause::Failed(if self.reused && !self.touched {
            FailureClass::ClosedOnReuse
        } else {
            FailureClass::Reset
        })
    }
}

/// Why a request that had been sent got no answer.
pub(super) fn failure(error: &h2::Error, gauge: &Gauge, progress: Progress) -> Failure {
    let reset = Cause::Failed(FailureClass::Reset);
    let reason = error.reason().unwrap_or(Reason::INTERNAL_ERROR);
    if error.is_io() {
        // What the server has said is the cause, also where it meant to serve the stream first.
        return gauge
            .given_up()
            .map_or_else(|| broken(gauge.end(), progress), |reason| given_up(reason.into()));
    }
    if error.is_remote() {
        return match (error.is_go_away(), reason) {
            (true, Reason::NO_ERROR) => Failure::text(
                progress.lost(),
                "the server was closing the connection and did not take the request",
            ),
            (true, reason) => given_up(reason),
            (false, Reason::REFUSED_STREAM) => Failure::text(reset, "the server refused the stream"),
            (false, reason) => Failure::text(reset, format!("the server reset the stream: {}", name(reason))),
        };
    }
    let protocol = Cause::Failed(FailureClass::Protocol);
    if gauge.spoke_http1() {
        return Failure::text(protocol, "the server answered in HTTP/1 to what was asked in HTTP/2");
    }
    if error.is_library() {
        return Failure::text(
            protocol,
            format!("the answer breaks the rules of HTTP/2: {}", name(reason)),
        );
    }
    Failure::from_error(protocol, error)
}

/// The server had said for which error it would end the connection.
pub(super) fn given_up(reason: Reason) -> Failure {
    let text = format!("the server gave up the connection: {}", name(reason));
    Failure::text(Cause::Failed(FailureClass::Reset), text)
}

/// The connection went away under a request.
fn broken(end: Option<SocketEnd>, progress: Progress) -> Failure {
    match end {
        Some(SocketEnd::Broken { tls: true, text }) => Failure::text(Cause::Failed(FailureClass::Tls), text),
        Some(SocketEnd::Broken { tls: false, text }) => Failure::text(progress.lost(), text),
        _ if progress.touched => Failure::text(
            progress.lost(),
            "the server closed the connection in the middle of the answer",
        ),
        _ => Failure::text(progress.lost(), "the server closed the connection without an answer"),
    }
}

/// A reason by its name in the standard.
fn name(reason: Reason) -> String {
    format!("{reason:?}")
}

/// What a connection says of itself when it takes no new request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The server has announced that it will close, which is no failure.
    Announced,
    /// It is gone, and nobody had said so.
    Gone,
    /// The server had said something that no request had asked for.
    Noise,
}

impl Refusal {
    /// Why the connection refused to begin a stream.
    pub(super) fn of(error: &h2::Error, gauge: &Gauge) -> Self {
        match error.reason() {
            Some(Reason::NO_ERROR) if error.is_remote() => Self::Announced,
            _ if error.is_library() => Self::Noise,
            // The end of the socket hides what was said right before it.
            _ if gauge.has_said_farewell() => Self::Announced,
            _ => Self::Gone,
        }
    }
}
