//! The places where the full client asks us: names, redirects, connections.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicU32, Ordering};
use std::task::{Context, Poll};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::redirect::Policy;
use tower::{Layer, Service};
use url::Url;

use crate::net::Resolver;

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
            Ok(Box::new(addresses.into_iter()) as Addrs)
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
    port: AtomicU16,
}

impl Counter {
    /// Starts counting for the next call.
    pub(super) fn begin(&self, redirects_max: u16, url: &Url) {
        self.go_to(url);
        self.redirects_max.store(u32::from(redirects_max), Ordering::Relaxed);
        self.hops.store(0, Ordering::Relaxed);
        self.connections.store(0, Ordering::Relaxed);
        self.connected.store(0, Ordering::Relaxed);
    }

    fn go_to(&self, url: &Url) {
        let port = url.port_or_known_default().unwrap_or_default();
        self.port.store(port, Ordering::Relaxed);
    }

    /// The port that the call is on its way to.
    fn port(&self) -> u16 {
        self.port.load(Ordering::Relaxed)
    }

    /// Redirects followed since the call began.
    pub(super) fn hops(&self) -> u32 {
        self.hops.load(Ordering::Relaxed)
    }

    /// Connections begun since the call began.
    pub(super) fn connections(&self) -> u32 {
        self.connections.load(Ordering::Relaxed)
    }

    /// Whether the call is still waiting for its first connection, so that nothing can have been sent.
    pub(super) fn connecting(&self) -> bool {
        self.hops() == 0 && self.connections() > 0 && self.connected.load(Ordering::Relaxed) == 0
    }

    /// Follows as many redirects as the call allows; the answer after that is the answer.
    pub(super) fn policy(self: &Arc<Self>) -> Policy {
        let counter = Arc::clone(self);
        Policy::custom(move |attempt| {
            if counter.hops() >= counter.redirects_max.load(Ordering::Relaxed) {
                return attempt.stop();
            }
            counter.hops.fetch_add(1, Ordering::Relaxed);
            counter.go_to(attempt.url());
            attempt.follow()
        })
    }
}

/// Counts every connection that the client begins.
#[derive(Clone, Debug)]
pub(super) struct CountLayer(pub(super) Arc<Counter>);

/// The client's connector behind a count.
#[derive(Clone, Debug)]
pub(super) struct Counted<S> {
    inner: S,
    counter: Arc<Counter>,
}

impl<S> Layer<S> for CountLayer {
    type Service = Counted<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Counted {
            inner,
            counter: Arc::clone(&self.0),
        }
    }
}

impl<R, S> Service<R> for Counted<S>
where
    S: Service<R>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: R) -> Self::Future {
        self.counter.connections.fetch_add(1, Ordering::Relaxed);
        let counter = Arc::clone(&self.counter);
        let connecting = self.inner.call(request);
        Box::pin(async move {
            let connection = connecting.await?;
            counter.connected.fetch_add(1, Ordering::Relaxed);
            Ok(connection)
        })
    }
}
