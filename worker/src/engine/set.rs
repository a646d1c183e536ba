//! The engines of one slot, and what the slots of a shard share.

use std::cell::Cell;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;

use barrage_model::plan::Reuse;
use futures_util::future::Either;
use rustls::ClientConfig;
use url::Url;

use super::answer::{Answer, Failure};
use super::browser::{Browser, Cookies};
use super::http1::{Http1, Limits, OnIdleClose, Shared};
use super::http2::{self, Http2};
use super::request::Request;
use crate::clock::{Clock, Stamp};
use crate::net::{Connector, Family, Origin, Ports, PortsUsed, Reactor, Resolver};

/// How the engines of a run behave.
#[derive(Clone, Debug)]
pub struct EngineOptions {
    /// Bounds on answers.
    pub limits: Limits,
    /// How long connections are used.
    pub reuse: Reuse,
    /// Slots that share one connection of the `http2` engine, at least 1.
    pub streams_per_connection: u32,
    /// What an idle close means to the raw engines.
    pub on_idle_close: OnIdleClose,
    /// Local addresses to connect from, in turn (the full client: one per slot); empty leaves the choice to the system.
    pub sources: Vec<IpAddr>,
    /// Keep the cookies of a user; full client only.
    pub cookies: bool,
    /// Proxy for every request, `http://host:port`; full client only.
    pub proxy: Option<String>,
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            reuse: Reuse::Always,
            streams_per_connection: 1,
            on_idle_close: OnIdleClose::default(),
            sources: Vec::new(),
            cookies: false,
            proxy: None,
        }
    }
}

/// What all slots of one shard share. Made on the shard's own thread.
#[derive(Debug)]
pub struct EngineShared {
    raw: Rc<Shared>,
    streams: Rc<http2::Shared>,
    ports: Rc<Ports>,
    options: EngineOptions,
    resolver: Arc<Resolver>,
    tls: Arc<ClientConfig>,
    next_source: Cell<usize>,
}

impl EngineShared {
    /// The shard's part of a run; the resolver and the TLS settings are shared by all shards. With a `reactor` the sockets of
    /// the `http1` engine are its own; without one the runtime looks after them.
    pub fn new(
        clock: Clock,
        resolver: Arc<Resolver>,
        tls: Arc<ClientConfig>,
        options: EngineOptions,
        reactor: Option<Rc<Reactor>>,
    ) -> Rc<Self> {
        let sources = options.sources.clone();
        let ports: Rc<Ports> = Rc::default();
        let connector =
            |tls| Connector::new(clock, Arc::clone(&resolver), tls, sources.clone()).counted_in(Rc::clone(&ports));
        let streams = http2::Shared::new(clock, connector(http2::offering(&tls)), &options);
        let raw = Rc::new(Shared::new(
            clock,
            connector(Arc::clone(&tls)).adopted_by(reactor),
            options.limits,
            options.reuse,
            options.on_idle_close,
        ));
        Rc::new(Self {
            raw,
            streams: Rc::new(streams),
            ports,
            options,
            resolver,
            tls,
            next_source: Cell::new(0),
        })
    }

    /// Connections of the raw engines that are open at this moment, over all slots of the shard. The full client does not
    /// tell.
    pub fn open_connections(&self) -> usize {
        self.raw.open_connections() + self.streams.open_connections()
    }

    /// What these connections use of the local ports.
    pub(crate) fn ports_used(&self) -> PortsUsed {
        self.ports.used()
    }

    /// Opens so many connections of the `http1` engine ahead of the first requests of slots that have none, until `deadline`.
    pub async fn warm(&self, origin: &Origin, count: usize, deadline: Stamp) {
        self.raw.warm(origin, count, deadline).await;
    }

    pub(super) fn clock(&self) -> Clock {
        self.raw.clock
    }

    pub(super) fn options(&self) -> &EngineOptions {
        &self.options
    }

    pub(super) fn resolver(&self) -> &Arc<Resolver> {
        &self.resolver
    }

    pub(super) fn tls(&self) -> &Arc<ClientConfig> {
        &self.tls
    }

    /// The next source address, of a family if one is asked for.
    pub(super) fn next_source(&self, family: Option<Family>) -> Option<IpAddr> {
        let sources = &self.options.sources;
        let start = self.next_source.get();
        let mut turns = (0..sources.len()).map(|step| (start + step) % sources.len());
        let at = turns.find(|at| family.is_none_or(|family| family.has(sources[*at])))?;
        self.next_source.set(at + 1);
        Some(sources[at])
    }
}

/// The engines and connections of one slot.
#[derive(Debug)]
pub struct EngineSet {
    shared: Rc<EngineShared>,
    http1: Http1,
    http2: Http2,
    /// Made when a step first needs it: most runs never do.
    browser: Option<Box<Browser>>,
}

impl EngineSet {
    /// A slot without connections.
    pub fn new(shared: &Rc<EngineShared>) -> Self {
        Self {
            shared: Rc::clone(shared),
            http1: Http1::new(Rc::clone(&shared.raw)),
            http2: Http2::new(Rc::clone(&shared.streams)),
            browser: None,
        }
    }

    /// Sends one request and reads its answer into `answer`, whose buffers are used again and which the caller has cleared
    /// ([`Answer::clear`]) at the instant of asking.
    ///
    /// The request is sent at most once, whatever happens. Times and byte counts are in `answer` also after a failure.
    ///
    /// # Errors
    /// [`Failure`] with exactly one cause; the connection is closed (HTTP/2: the stream is).
    ///
    /// # Cancel safety
    /// Dropping the future closes the connection it was using (HTTP/2: resets the stream). What had been sent is not known
    /// then.
    pub fn exchange(
        &mut self,
        request: &Request<'_>,
        answer: &mut Answer,
    ) -> impl Future<Output = Result<(), Failure>> {
        match request {
            Request::Http1(out) => Either::Left(self.http1.exchange(out, answer)),
            Request::Http2(out) => Either::Right(Either::Left(self.http2.exchange(out, answer))),
            Request::Full(out) => {
                let browser = self
                    .browser
                    .get_or_insert_with(|| Box::new(Browser::new(Rc::clone(&self.shared))));
                // In a box, so that the large future of the full client is not part of every slot's.
                Either::Right(Either::Right(Box::pin(browser.exchange(out, answer))))
            }
        }
    }

    /// Gives the slot's user these cookies, or none, in place of those that it has; connections stay.
    pub fn replace_cookies(&mut self, cookies: Option<&Cookies>) {
        if let Some(browser) = &self.browser {
            browser.replace_cookies(cookies.cloned().unwrap_or_default());
        }
    }

    /// The cookies of the slot's user, for [`EngineSet::replace_cookies`].
    pub fn all_cookies(&self) -> Option<Cookies> {
        self.browser.as_ref().map(|browser| browser.all_cookies())
    }

    /// The `Cookie` header that the full client would send to `url`.
    pub fn cookies(&self, url: &Url) -> Option<Vec<u8>> {
        let cookies = self.browser.as_ref()?.cookies(url)?;
        Some(cookies.as_bytes().to_vec())
    }

    /// Connections that the `http1` engine keeps for this slot's next requests.
    pub fn open_connections(&self) -> usize {
        self.http1.kept_connections()
    }

    /// Closes every connection of the slot that is not in use.
    pub fn close(&mut self) {
        self.http1.close();
        self.http2.close();
        if let Some(browser) = &mut self.browser {
            browser.close();
        }
    }
}
