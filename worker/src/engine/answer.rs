//! What an engine gives back: an answer, or a failure with its class.

use std::borrow::Cow;
use std::error::Error;
use std::fmt::Write as _;
use std::time::Duration;

use barrage_model::outcome::{FailureClass, Outcome};
use barrage_model::time::whole_micros;

use super::body::Body;
use crate::clock::Stamp;
use crate::net::{Scarce, Timings};

/// Longest failure message, in bytes.
const MESSAGE_MAX: usize = 200;

/// The headers of one answer, copied into one buffer that is used again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeaderBlock {
    bytes: Vec<u8>,
    /// End of the name and end of the value in `bytes`; a field begins where the one before ends.
    ends: Vec<(u32, u32)>,
}

impl HeaderBlock {
    /// Forgets every field and keeps the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
    }

    /// Appends a field. The parser's limits keep the block far below 4 GiB.
    pub fn push(&mut self, name: &str, value: &[u8]) {
        self.bytes.extend_from_slice(name.as_bytes());
        let middle = self.bytes.len() as u32;
        self.bytes.extend_from_slice(value);
        self.ends.push((middle, self.bytes.len() as u32));
    }

    /// The fields in the order of the answer, names as the server wrote them.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let starts = std::iter::once(0).chain(self.ends.iter().map(|(_, end)| *end as usize));
        starts.zip(&self.ends).map(|(start, (middle, end))| {
            let middle = *middle as usize;
            (&self.bytes[start..middle], &self.bytes[middle..*end as usize])
        })
    }

    /// The first value of `name`, compared without case.
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.get_all(name).next()
    }

    /// Every value of `name`, compared without case.
    pub fn get_all<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a [u8]> {
        self.iter()
            .filter(move |(found, _)| found.eq_ignore_ascii_case(name.as_bytes()))
            .map(|(_, value)| value)
    }

    /// Number of fields.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is no field.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }
}

/// Bytes on the socket, heads, framing and TLS included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WireBytes {
    /// Received.
    pub received: u64,
    /// Sent.
    pub sent: u64,
}

/// The answer to one request, in buffers that the slot uses again. After a failure it holds what had arrived until then.
#[derive(Debug, Default)]
#[cfg_attr(test, derive(Clone))]
pub struct Answer {
    /// The status code of the final answer; 0 before one has arrived.
    pub status: u16,
    /// Empty unless the request asked for headers.
    pub headers: HeaderBlock,
    /// Empty unless the request asked for the body.
    pub body: Body,
    /// Bytes of body received, without the framing; with the full client, after decompression.
    pub body_bytes_in: u64,
    /// Bytes of the request's own body that the connection had not taken by the end. The full client does not tell them.
    pub body_bytes_unsent: u64,
    /// Bytes on the wire; `None` where the engine cannot see them (the full client).
    pub wire: Option<WireBytes>,
    /// Where the time went.
    pub timings: Timings,
    /// Requests that were put on the wire: 1, plus one for each redirect that was followed.
    pub wire_requests: u32,
    /// Whether a kept connection was used.
    pub reused: bool,
    /// When the engine was asked.
    pub began_at: Stamp,
    /// Just before the first byte was written; `None` when nothing was written.
    pub sent_at: Option<Stamp>,
    /// When the last byte had been read, or the failure was met.
    pub done_at: Stamp,
}

impl Answer {
    /// Makes it ready for the next exchange; keeps the memory unless the last body was unusually large.
    pub fn clear(&mut self, began_at: Stamp) {
        // In place: to make a new one and move it here would cost every request two copies of it.
        let Self {
            status,
            headers,
            body,
            body_bytes_in,
            body_bytes_unsent,
            wire,
            timings,
            wire_requests,
            reused,
            began_at: began,
            sent_at,
            done_at,
        } = self;
        body.clear();
        headers.clear();
        (*status, *wire_requests, *body_bytes_in, *body_bytes_unsent) = (0, 0, 0, 0);
        (*wire, *timings, *reused, *sent_at) = (None, Timings::default(), false, None);
        (*began, *done_at) = (began_at, began_at);
    }
}

/// How an exchange ended without an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// A failure of the given class.
    Failed(FailureClass),
    /// The deadline passed first.
    Timeout,
    /// The grant had ended before the first byte could be written; nothing was sent.
    Expired,
}

impl Cause {
    /// How the step is counted; `None` for a request that was never sent and is no result of the target's.
    pub fn outcome(self) -> Option<Outcome> {
        match self {
            Self::Failed(class) => Some(Outcome::Failed(class)),
            Self::Timeout => Some(Outcome::Timeout),
            Self::Expired => None,
        }
    }
}

/// An exchange without an answer. Times and byte counts until then are in the [`Answer`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// What it is counted as.
    pub cause: Cause,
    /// One line for the report's error samples, at most 200 bytes. In a box, so that what an exchange gives back is small: a
    /// failure is rare, and every answer would pay for its size.
    pub message: Box<Cow<'static, str>>,
    /// What the generator itself had run out of, if that is the cause.
    pub scarce: Option<Scarce>,
    /// How long after its deadline something came of a request that counts as timed out, µs; 0 where nothing did: more of its
    /// answer was read, more of it was sent, or there was a connection for it.
    pub read_late_us: u32,
}

impl Failure {
    /// A failure with a fixed text.
    #[cold]
    pub(crate) fn fixed(cause: Cause, message: &'static str) -> Self {
        Self {
            cause,
            message: Box::new(Cow::Borrowed(message)),
            scarce: None,
            read_late_us: 0,
        }
    }

    /// The same, of a request of which something came so long after its deadline.
    #[must_use]
    pub(crate) fn read_late(self, by: Duration) -> Self {
        Self {
            read_late_us: u32::try_from(whole_micros(by)).unwrap_or(u32::MAX),
            ..self
        }
    }

    /// A failure with a text made for it.
    #[cold]
    pub(crate) fn text(cause: Cause, message: impl Into<Cow<'static, str>>) -> Self {
        let message = match message.into() {
            Cow::Owned(text) => Cow::Owned(line(text)),
            fixed @ Cow::Borrowed(_) => fixed,
        };
        Self {
            cause,
            message: Box::new(message),
            scarce: None,
            read_late_us: 0,
        }
    }

    /// A failure described by an error and all its sources.
    #[cold]
    pub(crate) fn from_error(cause: Cause, error: &(dyn Error + 'static)) -> Self {
        let scarce = Scarce::cause_of(error);
        let message = match scarce {
            Some(scarce) => line(format!("{}: {}", scarce.blame(), chain(error))),
            None => chain(error),
        };
        Self {
            cause,
            message: Box::new(Cow::Owned(message)),
            scarce,
            read_late_us: 0,
        }
    }
}

/// The texts of an error and its sources on one line; a source that its parent already quotes is not repeated.
fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = String::new();
    let mut next = Some(error);
    let mut last = String::new();
    while let Some(error) = next {
        let said = error.to_string();
        if !last.contains(&said) {
            let separator = if text.is_empty() { "" } else { ": " };
            // Writing into a string cannot fail.
            let _ = write!(text, "{separator}{said}");
        }
        if text.len() > MESSAGE_MAX {
            break;
        }
        last = said;
        next = error.source();
    }
    line(text)
}

/// A text on one line of bounded length.
fn line(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(MESSAGE_MAX));
    text.chars()
        .map(|letter| if letter.is_control() { ' ' } else { letter })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_found_without_case_and_in_order() {
        let mut block = HeaderBlock::default();
        for (name, value) in [
            ("Set-Cookie", "a=1"),
            ("X-Backend", "blue"),
            ("set-cookie", "b=2"),
            ("X-Empty", ""),
        ] {
            block.push(name, value.as_bytes());
        }
        assert_eq!(block.get("x-backend"), Some(&b"blue"[..]));
        assert_eq!(block.get("x-empty"), Some(&b""[..]));
        assert_eq!(block.get("x-none"), None);
        assert_eq!(block.get_all("SET-COOKIE").collect::<Vec<_>>(), [b"a=1", b"b=2"]);
        assert_eq!(block.iter().last(), Some((&b"X-Empty"[..], &b""[..])));
        assert_eq!(block.len(), 4);
        block.clear();
        assert!(block.is_empty());
        assert_eq!(block.iter().count(), 0);
    }

    #[derive(Debug, thiserror::Error)]
    #[error("{0}")]
    struct Said(String, #[source] Option<Box<Said>>);

    #[test]
    fn messages_are_one_bounded_line() {
        let inner = Said("refused\nhere".to_owned(), None);
        let outer = Said("could not connect".to_owned(), Some(Box::new(inner)));
        assert_eq!(chain(&outer), "could not connect: refused here");
        assert!(chain(&Said("é".repeat(500), None)).len() <= MESSAGE_MAX);
        let quoting = Said(
            "outer: inner".to_owned(),
            Some(Box::new(Said("inner".to_owned(), None))),
        );
        assert_eq!(chain(&quoting), "outer: inner");
    }
}
