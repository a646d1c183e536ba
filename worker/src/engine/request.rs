//! What an engine is asked to do.

use std::cell::Cell;
use std::time::Duration;

use barrage_model::plan::Method;
use bytes::Bytes;

use super::answer::{Cause, Failure};
use crate::clock::Stamp;
use crate::net::Origin;
use crate::shard::Awake;

/// What every request says, whichever engine sends it.
#[derive(Clone, Copy, Debug)]
pub struct Terms<'a> {
    /// Keep the body for checks and extracts; otherwise it is only counted.
    pub keep_body: bool,
    /// Keep the headers of the final answer.
    pub want_headers: bool,
    /// When the step counts as timed out; connecting is part of it.
    pub deadline: Stamp,
    /// The end of the grant, which may move on while a connection is being made: a request whose first byte could not be
    /// written before is not sent at all. `None`, outside or inside = no end.
    pub send_by: Option<&'a Cell<Option<Stamp>>>,
    /// When the shard stood still; `None` = it is taken as awake.
    pub awake: Option<&'a Awake>,
}

impl Terms<'_> {
    /// The last instant at which the first byte may be written, as far as is known now.
    pub(crate) fn latest(&self) -> Stamp {
        let granted = self.send_by.and_then(Cell::get).unwrap_or(Stamp::FAR);
        granted.min(self.deadline)
    }

    /// Why a request whose first byte would be written now must not be sent; asked right before the write.
    pub(crate) fn too_late(&self, now: Stamp) -> Option<Failure> {
        let granted = self.send_by.and_then(Cell::get);
        if granted.is_some_and(|send_by| now > send_by) {
            return Some(Failure::fixed(
                Cause::Expired,
                "the grant ended before the request could be sent",
            ));
        }
        // Here is a connection that could have taken it.
        let late = now.since(self.deadline);
        let timed_out = || Failure::fixed(Cause::Timeout, "timed out before the request could be sent").read_late(late);
        (now > self.deadline).then(timed_out)
    }

    /// Until when a connection may be made for a request that began at an instant, as far as is known at `now`: its deadline. One
    /// that has passed while the shard stood still is put off by the time that it has lost so. Nothing is sent after it all the
    /// same; but whether there is a connection by then tells whose fault that is.
    pub(crate) fn connect_by(&self, began: Stamp, now: Stamp) -> Stamp {
        let hid = self.awake.filter(|awake| awake.hid(self.deadline, now));
        self.deadline + hid.map_or(Duration::ZERO, |awake| awake.stood_within(began, self.deadline))
    }
}

/// A request for the `http1` engine, borrowed from the slot's buffers, so that a static request costs no formatting.
#[derive(Clone, Copy, Debug)]
pub struct Outgoing<'a> {
    /// The complete HTTP/1.1 head, final empty line included; sent as it is.
    pub head: &'a [u8],
    /// The body, framed as the head says.
    pub body: &'a [u8],
    /// The method in `head`: it decides whether the answer has a body.
    pub method: Method,
    /// Where to send it.
    pub origin: &'a Origin,
    /// Deadlines and what to keep.
    pub terms: Terms<'a>,
}

/// A request for the `http2` engine.
#[derive(Clone, Copy, Debug)]
pub struct Http2Request<'a> {
    /// Method, absolute URL and header fields; cloned for each send, which copies no text.
    pub head: &'a http::Request<()>,
    /// The body, empty for none; shared, not copied.
    pub body: &'a Bytes,
    /// Where to send it; the URL may name another authority.
    pub origin: &'a Origin,
    /// Deadlines and what to keep.
    pub terms: Terms<'a>,
}

/// A request for the `reqwest` engine, which may follow redirects.
#[derive(Clone, Copy, Debug)]
pub struct FullRequest<'a> {
    /// The method of the first request; redirects change it as browsers do.
    pub method: Method,
    /// The absolute URL.
    pub url: &'a str,
    /// The headers; `host`, `content-length` and cookies are added when absent.
    pub headers: &'a http::HeaderMap,
    /// The body, empty for none.
    pub body: &'a [u8],
    /// Ask for compressed answers and undo the compression.
    pub decompress: bool,
    /// Redirects to follow at most; the answer after the last one counts, even when it redirects again.
    pub redirects: u16,
    /// Deadlines and what to keep.
    pub terms: Terms<'a>,
}

/// A request together with the engine that it is for.
#[derive(Clone, Copy, Debug)]
pub enum Request<'a> {
    /// The raw HTTP/1.1 engine.
    Http1(Outgoing<'a>),
    /// The raw HTTP/2 engine.
    Http2(Http2Request<'a>),
    /// The full client.
    Full(FullRequest<'a>),
}

impl<'a> Request<'a> {
    /// What it says whichever engine sends it.
    pub(crate) fn terms_mut(&mut self) -> &mut Terms<'a> {
        match self {
            Self::Http1(request) => &mut request.terms,
            Self::Http2(request) => &mut request.terms,
            Self::Full(request) => &mut request.terms,
        }
    }
}

/// The method in the words of the HTTP library.
pub(crate) fn http_method(method: Method) -> http::Method {
    match method {
        Method::Get => http::Method::GET,
        Method::Post => http::Method::POST,
        Method::Put => http::Method::PUT,
        Method::Patch => http::Method::PATCH,
        Method::Delete => http::Method::DELETE,
        Method::Head => http::Method::HEAD,
        Method::Options => http::Method::OPTIONS,
    }
}
