//! The full client (`reqwest`), for what the raw engine does not do: redirects, cookies, proxies, decompression.
//! Under TLS the server chooses between HTTP/1.1 and HTTP/2, as with browsers.
//!
//! One slot is one user: it has its own connections and its own cookies. The client's own retries are off. Its connection
//! pool, unlike the raw engine, replaces a kept connection that it knows to be closed; a request of which a byte has been
//! written is never sent again.
//!
//! What it cannot see is absent rather than guessed: bytes on the wire, and the phases of a new connection. Body bytes are those of
//! the final answer, after decompression. A request is taken
//! to be sent when its connection is made, for it is written right after that. Of a kept connection that breaks over HTTP/1.1
//! it cannot tell whether the answer had begun before its head was complete.

mod classify;
mod cookies;
mod hooks;
mod sources;

#[cfg(test)]
mod tests;

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Poll, ready};
use std::time::Duration;

use barrage_model::outcome::FailureClass;
use barrage_model::plan::{Method, Reuse};
use reqwest::header::{CONTENT_LENGTH, HeaderValue};
use url::Url;

pub use self::cookies::Cookies;
use self::cookies::SlotJar;
use self::hooks::{Counter, Names};
use self::sources::Families;
use super::answer::{Answer, Cause, Failure};
use super::request::{FullRequest, Terms, http_method};
use super::set::EngineShared;
use super::timer::DeadlineTimer;
use crate::clock::{Clock, Stamp};
use crate::net::Family;

/// Idle connections that one slot keeps to one host.
const IDLE_MAX: usize = 8;
/// Clients that one slot keeps; beyond that it lets go of the one made first. Only where each goes to one origin can there be
/// more.
const CLIENTS_MAX: usize = 16;

/// The engine's state for one slot.
#[derive(Debug)]
pub(crate) struct Browser {
    shared: Rc<EngineShared>,
    counter: Arc<Counter>,
    jar: Arc<SlotJar>,
    clients: Vec<Built>,
    timer: DeadlineTimer,
    families: Families,
    /// Whether it has sent anything.
    used: bool,
}

/// A client for requests of one kind. The settings belong to the client, so each combination in use has its own.
#[derive(Debug)]
struct Built {
    decompress: bool,
    family: Option<Family>,
    origin: Option<Box<str>>,
    client: reqwest::Client,
    made_at: Stamp,
    requests: u32,
}

impl Built {
    fn fits(&self, kind: Kind<'_>) -> bool {
        (self.decompress, self.family, self.origin.as_deref()) == (kind.decompress, kind.family, kind.origin)
    }
}

/// What kind of request a client is for.
#[derive(Clone, Copy, Debug)]
struct Kind<'a> {
    decompress: bool,
    /// The family of its source address, where it matters.
    family: Option<Family>,
    /// Where it goes, if `reuse` has a bound: then the requests and the age of a client are those of its connection, but for
    /// redirects that lead elsewhere.
    origin: Option<&'a str>,
}

impl<'a> Kind<'a> {
    fn of(out: &FullRequest<'a>, family: Option<Family>, reuse: Reuse) -> Self {
        let bounded = matches!(reuse, Reuse::MaxRequests(_) | Reuse::MaxAge(_));
        Self {
            decompress: out.decompress,
            family,
            origin: bounded.then(|| origin_of(out.url)),
        }
    }
}

/// Scheme, host and port of a URL, as it is written.
fn origin_of(url: &str) -> &str {
    let host = url.find("://").map_or(0, |at| at + 3);
    let end = url[host..].find(['/', '?', '#']).map_or(url.len(), |at| host + at);
    &url[..end]
}

/// Enters into the answer what of the call was sent, also when the caller gives up in the middle of it.
struct Tally<'a> {
    answer: &'a mut Answer,
    counter: &'a Counter,
}

impl Tally<'_> {
    fn timed_out(&self) -> Failure {
        let message = if self.counter.connecting() {
            "timed out while connecting"
        } else if self.answer.status == 0 {
            "timed out waiting for the answer"
        } else {
            "timed out while receiving the answer"
        };
        Failure::fixed(Cause::Timeout, message)
    }
}

impl Drop for Tally<'_> {
    fn drop(&mut self) {
        self.answer.wire_requests = self.counter.sent();
        if self.answer.wire_requests == 0 {
            self.answer.sent_at = None;
        } else {
            self.answer.reused = self.counter.connections() == 0;
            if self.answer.status == 0 {
                self.counter.tell_sent(self.answer);
            }
        }
    }
}

/// Does the work of one call until the time limit, `None`, or the end of the grant where that comes before the request, or
/// that of a redirect, can have been sent: the client itself looks up, connects and shakes hands after it was given it. Once it
/// is too late to send anything, a connection that is being made is looked at without the client.
async fn in_time(
    work: impl Future<Output = Result<(), Failure>>,
    (terms, began_at): (Terms<'_>, Stamp),
    counter: &Counter,
    (clock, timer): (Clock, &mut DeadlineTimer),
) -> Option<Result<(), Failure>> {
    let mut work = pin!(work);
    let too_late = || counter.connecting().then(|| terms.too_late(clock.now())).flatten();
    poll_fn(|cx| {
        // Asked before each turn in which the client may find the connection ready, since it writes the request right after it.
        let may_write = match too_late() {
            None => true,
            Some(failure) if failure.cause == Cause::Expired => return Poll::Ready(Some(Err(failure))),
            Some(failure) => match counter.poll_connection(cx) {
                Poll::Ready(true) => return Poll::Ready(Some(Err(failure))),
                // The client has nothing to write on, and knows what went wrong.
                Poll::Ready(false) => true,
                Poll::Pending => false,
            },
        };
        counter.set_latest(terms.latest());
        if may_write && let Poll::Ready(result) = work.as_mut().poll(cx) {
            return Poll::Ready(Some(result));
        }
        // At its last instant a grant still holds, and it may have been renewed.
        let granted = terms.send_by.and_then(Cell::get).unwrap_or(Stamp::FAR).plus_us(1);
        let passed = if counter.connecting() {
            let until = |now| granted.min(terms.connect_by(began_at, now));
            timer.poll_put_off(cx, clock, granted.min(terms.deadline), until)
        } else {
            timer.poll_last(cx, clock, terms.deadline)
        };
        ready!(passed);
        let expired = too_late().filter(|failure| failure.cause == Cause::Expired);
        Poll::Ready(expired.map(Err))
    })
    .await
}

/// The failure of a call that it was too late to follow a redirect of.
fn not_followed(failure: &Failure) -> Failure {
    let message = match failure.cause {
        Cause::Expired => "the grant ended before the redirect could be followed",
        _ => "timed out before the redirect could be followed",
    };
    Failure {
        message: Box::new(message.into()),
        ..failure.clone()
    }
}

impl Browser {
    pub(crate) fn new(shared: Rc<EngineShared>) -> Self {
        Self {
            shared,
            counter: Arc::default(),
            jar: Arc::default(),
            clients: Vec::new(),
            timer: DeadlineTimer::default(),
            families: Families::default(),
            used: false,
        }
    }

    /// Takes these cookies in place of those that it has; connections stay.
    pub(crate) fn replace_cookies(&self, cookies: Cookies) {
        self.jar.replace(cookies);
    }

    /// The cookies that it has.
    pub(crate) fn all_cookies(&self) -> Cookies {
        self.jar.held()
    }

    /// The `Cookie` header that a request to `url` would carry.
    pub(crate) fn cookies(&self, url: &Url) -> Option<HeaderValue> {
        reqwest::cookie::CookieStore::cookies(&*self.jar, url)
    }

    /// Closes every connection.
    pub(crate) fn close(&mut self) {
        self.clients.clear();
    }

    /// Sends one request, follows its redirects and reads the final answer.
    ///
    /// # Cancel safety
    /// Dropping the future closes the connection it was using (HTTP/2: resets the stream); the slot can go on.
    pub(crate) async fn exchange(&mut self, out: &FullRequest<'_>, answer: &mut Answer) -> Result<(), Failure> {
        let clock = self.shared.clock();
        if std::mem::replace(&mut self.used, true) {
            // Lets the connection's task put it back into the pool; else a request that follows at once would open another.
            tokio::task::yield_now().await;
        }
        let result = self.run(out, answer.began_at, answer).await;
        if result.is_err() {
            answer.done_at = clock.now();
        }
        // Judged by the clock and not by which event came first, so that a stalled generator cannot turn a late answer into
        // a good one.
        let late = answer.done_at.since(out.terms.deadline);
        match result {
            Ok(()) if !late.is_zero() => {
                let failure = Failure::fixed(Cause::Timeout, "timed out while receiving the answer");
                Err(failure.read_late(late))
            }
            // It was met an instant before `done_at`, from which the deadline is told.
            Err(failure) if failure.read_late_us > 0 => Err(failure.read_late(late)),
            other => other,
        }
    }

    async fn run(&mut self, out: &FullRequest<'_>, began_at: Stamp, answer: &mut Answer) -> Result<(), Failure> {
        let family = {
            let time = (out.terms, began_at, &mut self.timer);
            self.families.needed(&self.shared, out.url, time).await?
        };
        let kind = Kind::of(out, family, self.shared.options().reuse);
        let client = self.client(kind, began_at)?.clone();
        let mut headers = out.headers.clone();
        if out.body.is_empty() && matches!(out.method, Method::Post | Method::Put | Method::Patch) {
            // Some servers refuse these without one (RFC 9110, section 8.6); the client says nothing of an empty body.
            headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
        }
        let request = client
            .request(http_method(out.method), out.url)
            .headers(headers)
            .body(out.body.to_vec())
            .build()
            .map_err(|error| Failure::from_error(Cause::Failed(FailureClass::Protocol), &error.without_url()))?;
        let now = self.shared.clock().now();
        if let Some(failure) = out.terms.too_late(now) {
            return Err(failure);
        }
        self.counter.begin(out.redirects, request.url());
        answer.sent_at = Some(now);
        let counter = Arc::clone(&self.counter);
        let tally = Tally {
            answer,
            counter: &counter,
        };
        let mut timer = std::mem::take(&mut self.timer);
        let talk = self.talk(&client, request, out.terms, &mut *tally.answer);
        let result = in_time(talk, (out.terms, began_at), &counter, (self.shared.clock(), &mut timer)).await;
        self.timer = timer;
        if let Some(built) = self.clients.iter_mut().find(|built| built.fits(kind)) {
            built.requests = built.requests.saturating_add(counter.hops());
        }
        result.unwrap_or_else(|| {
            if tally.answer.status == 0 && counter.speaks_http2() && !counter.connecting() {
                // The connection may hang, and goes on although the request is given up: nobody else is to wait on it.
                self.clients.retain(|built| !built.fits(kind));
            }
            Err(tally.timed_out())
        })
    }

    async fn talk(
        &self,
        client: &reqwest::Client,
        request: reqwest::Request,
        terms: Terms<'_>,
        answer: &mut Answer,
    ) -> Result<(), Failure> {
        let failed = |error: reqwest::Error, unanswered: bool| {
            if let Some(failure) = self.counter.not_followed().and_then(|at| terms.too_late(at)) {
                return not_followed(&failure);
            }
            let reused = unanswered && self.counter.connections() == 0;
            let class = classify::class(&error, self.counter.https(), reused);
            // The URL may carry a secret, and the report knows the step anyway.
            Failure::from_error(Cause::Failed(class), &error.without_url())
        };
        let to_head = request.method() == http::Method::HEAD;
        let mut response = client.execute(request).await.map_err(|error| failed(error, true))?;
        let clock = self.shared.clock();
        self.counter.tell_sent(answer);
        answer.timings.first_byte = answer.sent_at.map(|sent_at| clock.now().since(sent_at));
        answer.status = response.status().as_u16();
        if terms.want_headers {
            for (name, value) in response.headers() {
                answer.headers.push(name.as_str(), value.as_bytes());
            }
        }
        let body_max = self.shared.options().limits.body_bytes;
        let too_large = || {
            Failure::from_error(
                Cause::Failed(FailureClass::Protocol),
                &super::http1::ProtocolError::BodyTooLarge,
            )
        };
        let announced = |response: &reqwest::Response| match response.status().as_u16() {
            // These have no body, whatever their heads say.
            204 | 304 => 0,
            _ if to_head => 0,
            _ => response.content_length().unwrap_or_default(),
        };
        if announced(&response) > body_max {
            return Err(too_large());
        }
        while let Some(chunk) = response.chunk().await.map_err(|error| failed(error, false))? {
            let total = answer.body_bytes_in.saturating_add(chunk.len() as u64);
            if total > body_max {
                return Err(too_large());
            }
            answer.body_bytes_in = total;
            if terms.keep_body {
                let kept = answer.body.push(&chunk);
                kept.map_err(|full| Failure::from_error(Cause::Failed(FailureClass::Protocol), &full))?;
            }
        }
        answer.done_at = clock.now();
        // The library takes a stream that the server resets without an error for one that has ended. What is left of the
        // announced length tells them apart; without one nothing does.
        if announced(&response) > 0 {
            let reset = Cause::Failed(FailureClass::Reset);
            return Err(Failure::fixed(reset, "the server reset the stream: NO_ERROR"));
        }
        Ok(())
    }

    /// The client for a request of this kind, made when first needed and again when `reuse` says so.
    fn client(&mut self, kind: Kind<'_>, now: Stamp) -> Result<&reqwest::Client, Failure> {
        let reuse = self.shared.options().reuse;
        self.clients.retain(|built| match reuse {
            Reuse::Always | Reuse::Never => true,
            Reuse::MaxRequests(most) => built.requests < most,
            Reuse::MaxAge(age) => now.since(built.made_at) < age,
        });
        let at = if let Some(at) = self.clients.iter().position(|built| built.fits(kind)) {
            at
        } else {
            let client = self
                .build(kind.decompress, kind.family)
                .map_err(|error| Failure::from_error(Cause::Failed(FailureClass::Protocol), &error))?;
            if self.clients.len() >= CLIENTS_MAX {
                self.clients.remove(0);
            }
            self.clients.push(Built {
                decompress: kind.decompress,
                family: kind.family,
                origin: kind.origin.map(Box::from),
                client,
                made_at: now,
                requests: 0,
            });
            self.clients.len() - 1
        };
        let built = &mut self.clients[at];
        built.requests = built.requests.saturating_add(1);
        Ok(&built.client)
    }

    fn build(&self, decompress: bool, family: Option<Family>) -> Result<reqwest::Client, reqwest::Error> {
        let options = self.shared.options();
        let mut tls = self.shared.tls().as_ref().clone();
        tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let proxy = options.proxy.as_deref().and_then(|proxy| Url::parse(proxy).ok());
        let names = Names {
            resolver: Arc::clone(self.shared.resolver()),
            counter: Arc::clone(&self.counter),
            proxy_port: proxy.and_then(|proxy| proxy.port_or_known_default()),
        };
        let fresh = matches!(options.reuse, Reuse::Never | Reuse::MaxRequests(..=1));
        let idle = if fresh { 0 } else { IDLE_MAX };
        let mut builder = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .dns_resolver(Arc::new(names))
            .connector_layer(hooks::CountLayer(Arc::clone(&self.counter), self.shared.clock()))
            .redirect(self.counter.policy(self.shared.clock()))
            .retry(reqwest::retry::never())
            .referer(false)
            .pool_idle_timeout(None::<Duration>)
            .pool_max_idle_per_host(idle)
            .local_address(self.shared.next_source(family))
            .gzip(decompress)
            .deflate(decompress)
            .brotli(decompress);
        builder = match &options.proxy {
            Some(proxy) => builder.proxy(reqwest::Proxy::all(proxy.as_str())?),
            None => builder.no_proxy(),
        };
        if options.cookies {
            builder = builder.cookie_provider(Arc::clone(&self.jar));
        }
        builder.build()
    }
}
