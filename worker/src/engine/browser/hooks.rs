//! The places where the full client asks us: names, redirects, connections.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Context, Poll, ready};

use hyper_util::client::legacy::connect::Connection;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::redirect::Policy;
use tower::{Layer, Service};
use url::Url;

use crate::clock::{Clock, Stamp};
use crate::engine::answer::Answer;
use crate::net::{Resolver, without_unreachable};

/// Names are looked up by the run's one resolver, so `--resolve` and the DNS policy hold here too.
#[derive(Debug)]
pub(super) struct Names {
    pub(super) resolver: Arc<Resolver>,
    pub(super) counter: Arc<Counter>,
    /// The proxy's port: behind a proxy its name is the only one that is looked up here.
    pub(super) proxy_port: Option<u16>,
}

impl Resolve for Names {
    fn resolve(&self, name: Name) -> Resolving {
        let resolver = Arc::clone(&self.resolver);
        // The client asks for the name alone, but an answer may be fixed for one port.
        let port = self.proxy_port.unwrap_or_else(|| self.counter.port());
        Box::pin(async move {
            let addresses = resolver.resolve(name.as_str(), port).await?;
            // Of two families that fail the client tells the error of one, and which of them says nothing.
            Ok(Box::new(without_unreachable(addresses).into_iter()) as Addrs)
        })
    }
}

/// What the client does behind one call. A slot makes one call at a time, so the counts belong to that call.
#[derive(Debug, Default)]
pub(super) struct Counter {
    redirects_max: AtomicU32,
    hops: AtomicU32,
    connections: AtomicU32,
    connected: AtomicU32,
    /// What the two counts were at the latest hop.
    hop_connections: AtomicU32,
    hop_connected: AtomicU32,
    /// When the latest connection for the first request was made, in microseconds of the worker's clock; 0 before that.
    connected_at_us: AtomicU64,
    /// A connection of the slot's speaks HTTP/2.
    http2: AtomicBool,
    port: AtomicU16,
    https: AtomicBool,
    /// The last instant at which a request may be sent, in microseconds of the worker's clock.
    latest_us: AtomicU64,
    /// When a redirect was not followed since that had passed; 0 where none was.
    not_followed_us: AtomicU64,
    /// The latest attempt to connect since the latest hop.
    attempt: Mutex<Option<Weak<Mutex<dyn Attempt>>>>,
}

/// Why a redirect was not followed.
#[derive(Debug, thiserror::Error)]
#[error("the redirect came too late to be followed")]
struct TooLate;

impl Counter {
    /// Starts counting for the next call.
    pub(super) fn begin(&self, redirects_max: u16, url: &Url) {
        self.go_to(url);
        self.redirects_max.store(u32::from(redirects_max), Ordering::Relaxed);
        self.hops.store(0, Ordering::Relaxed);
        self.connections.store(0, Ordering::Relaxed);
        self.connected.store(0, Ordering::Relaxed);
        self.hop_connections.store(0, Ordering::Relaxed);
        self.hop_connected.store(0, Ordering::Relaxed);
        self.connected_at_us.store(0, Ordering::Relaxed);
        self.not_followed_us.store(0, Ordering::Relaxed);
        self.set_attempt(None);
    }

    /// Tells until when a redirect may be followed, as far as is known now.
    pub(super) fn set_latest(&self, latest: Stamp) {
        self.latest_us.store(latest.as_us(), Ordering::Relaxed);
    }

    /// When a redirect was not followed, since it was too late to send another request.
    pub(super) fn not_followed(&self) -> Option<Stamp> {
        let us = self.not_followed_us.load(Ordering::Relaxed);
        (us > 0).then(|| Stamp::from_us(us))
    }

    fn set_attempt(&self, attempt: Option<Weak<Mutex<dyn Attempt>>>) {
        *self.attempt.lock().unwrap_or_else(PoisonError::into_inner) = attempt;
    }

    /// Looks whether the connection is there that the call is waiting for; ready with `false` where it could not be made. The
    /// client, which would write the request at once, does not learn of it.
    pub(super) fn poll_connection(&self, cx: &mut Context<'_>) -> Poll<bool> {
        let attempt = self.attempt.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(attempt) = attempt.as_ref().and_then(Weak::upgrade) else {
            return Poll::Pending;
        };
        attempt.lock().unwrap_or_else(PoisonError::into_inner).poll_end(cx)
    }

    fn go_to(&self, url: &Url) {
        let port = url.port_or_known_default().unwrap_or_default();
        self.port.store(port, Ordering::Relaxed);
        self.https.store(url.scheme() == "https", Ordering::Relaxed);
    }

    /// The port that the call is on its way to.
    fn port(&self) -> u16 {
        self.port.load(Ordering::Relaxed)
    }

    /// Whether the URL that the call is on its way to is one of https.
    pub(super) fn https(&self) -> bool {
        self.https.load(Ordering::Relaxed)
    }

    /// Redirects followed since the call began.
    pub(super) fn hops(&self) -> u32 {
        self.hops.load(Ordering::Relaxed)
    }

    /// Connections begun since the call began.
    pub(super) fn connections(&self) -> u32 {
        self.connections.load(Ordering::Relaxed)
    }

    /// Whether the call is waiting for a connection, so that the request it is about cannot have been sent.
    pub(super) fn connecting(&self) -> bool {
        let before = self.hop_connections.load(Ordering::Relaxed);
        let done_before = self.hop_connected.load(Ordering::Relaxed);
        self.connections() > before && self.connected.load(Ordering::Relaxed) == done_before
    }

    /// Notes that a connection was made.
    fn connected(&self, now: Stamp) {
        self.connected.fetch_add(1, Ordering::Relaxed);
        if self.hops() == 0 {
            self.connected_at_us.store(now.as_us(), Ordering::Relaxed);
        }
    }

    /// Enters when the call's first request was sent, if a connection had to be made for it: it is written right after that.
    pub(super) fn tell_sent(&self, answer: &mut Answer) {
        let us = self.connected_at_us.load(Ordering::Relaxed);
        if us > 0 {
            answer.sent_at = Some(Stamp::from_us(us));
        }
    }

    /// Requests that were sent since the call began, as far as can be told.
    pub(super) fn sent(&self) -> u32 {
        self.hops() + u32::from(!self.connecting())
    }

    /// Whether the slot has had a connection that speaks HTTP/2, which outlives its requests.
    pub(super) fn speaks_http2(&self) -> bool {
        self.http2.load(Ordering::Relaxed)
    }

    fn hop(&self, to: &Url) {
        self.hops.fetch_add(1, Ordering::Relaxed);
        self.hop_connections.store(self.connections(), Ordering::Relaxed);
        self.hop_connected
            .store(self.connected.load(Ordering::Relaxed), Ordering::Relaxed);
        self.set_attempt(None);
        self.go_to(to);
    }

    /// Follows as many redirects as the call, its deadline and its grant allow; the answer after that many is the answer, as is
    /// one that leads to what is not http.
    pub(super) fn policy(self: &Arc<Self>, clock: Clock) -> Policy {
        let counter = Arc::clone(self);
        Policy::custom(move |attempt| {
            if counter.hops() >= counter.redirects_max.load(Ordering::Relaxed) {
                return attempt.stop();
            }
            // The client would make it an error, and nothing would be known of the answer.
            if !matches!(attempt.url().scheme(), "http" | "https") {
                return attempt.stop();
            }
            let now_us = clock.now().as_us();
            if now_us > counter.latest_us.load(Ordering::Relaxed) {
                counter.not_followed_us.store(now_us, Ordering::Relaxed);
                return attempt.error(TooLate);
            }
            counter.hop(attempt.url());
            attempt.follow()
        })
    }
}

/// A connection that is being made.
trait Attempt: Send {
    /// Ready once it has ended, with whether there is a connection.
    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<bool>;
}

/// The making of a connection by the client's connector, with what came of it until the client takes that.
struct Making<F: Future> {
    work: Pin<Box<F>>,
    made: Option<F::Output>,
}

impl<F, C, E> Attempt for Making<F>
where
    F: Future<Output = Result<C, E>> + Send,
    C: Send,
    E: Send,
{
    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        let made = match self.made.take() {
            Some(made) => made,
            None => ready!(self.work.as_mut().poll(cx)),
        };
        Poll::Ready(self.made.insert(made).is_ok())
    }
}

/// Counts every connection that the client begins, and looks at the clock when it is made.
#[derive(Clone, Debug)]
pub(super) struct CountLayer(pub(super) Arc<Counter>, pub(super) Clock);

/// The client's connector behind a count.
#[derive(Clone, Debug)]
pub(super) struct Counted<S> {
    inner: S,
    counter: Arc<Counter>,
    clock: Clock,
}

impl<S> Layer<S> for CountLayer {
    type Service = Counted<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Counted {
            inner,
            counter: Arc::clone(&self.0),
            clock: self.1,
        }
    }
}

impl<R, S> Service<R> for Counted<S>
where
    S: Service<R>,
    S::Future: Send + 'static,
    S::Response: Connection + Send + 'static,
    S::Error: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: R) -> Self::Future {
        self.counter.connections.fetch_add(1, Ordering::Relaxed);
        let (counter, clock) = (Arc::clone(&self.counter), self.clock);
        let making = Arc::new(Mutex::new(Making {
            work: Box::pin(self.inner.call(request)),
            made: None,
        }));
        let seen = Arc::downgrade(&making);
        counter.set_attempt(Some(seen));
        Box::pin(poll_fn(move |cx| {
            let mut making = making.lock().unwrap_or_else(PoisonError::into_inner);
            ready!(making.poll_end(cx));
            let made = making.made.take().expect("it has just ended");
            if let Ok(connection) = &made {
                counter.connected(clock.now());
                let http2 = connection.connected().is_negotiated_h2();
                counter.http2.fetch_or(http2, Ordering::Relaxed);
            }
            Poll::Ready(made)
        }))
    }
}
