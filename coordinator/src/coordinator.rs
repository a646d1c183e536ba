//! The coordinator as its process sees it.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::hub::{EVENTS, Event, Events, Handle, Hub, channel};
use crate::service::{Faces, Limits, router, serve};
use crate::store::{Store, StoreError};

/// How a coordinator is set up.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where it listens; port 0 = any free one.
    pub listen: SocketAddr,
    /// The folder of its store; created when it is not there.
    pub store: PathBuf,
    /// Listen on an address that other hosts reach, although everybody who reaches it may do everything.
    pub insecure: bool,
}

/// Why a coordinator could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address is not a loopback one.
    #[error(
        "{0} can be reached from other hosts, and there is no authentication: bind 127.0.0.1, or allow it with --insecure"
    )]
    NotLoopback(SocketAddr),
    /// Somebody else has the port.
    #[error("port {} of {} is in use", .0.port(), .0.ip())]
    PortInUse(SocketAddr),
    /// Any port would have done, and the system has none.
    #[error("no local port is left on {0}: wait for those in TIME_WAIT, or widen net.ipv4.ip_local_port_range")]
    NoPort(IpAddr),
    /// The address cannot be listened on.
    #[error("could not listen on {0}")]
    Listen(SocketAddr, #[source] io::Error),
    /// The store cannot be used.
    #[error("could not open the store")]
    Store(#[source] StoreError),
    /// A thread could not be started.
    #[error("could not start a thread")]
    Thread(#[source] io::Error),
}

/// Why a coordinator ended with an error.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// A part of it has panicked.
    #[error("the {0} has failed")]
    Part(&'static str),
}

/// A coordinator that has its port and its store, and is about to serve.
#[derive(Debug)]
pub struct Coordinator {
    listener: TcpListener,
    address: SocketAddr,
    store: Store,
    handle: Handle,
    events: Events,
}

impl Coordinator {
    /// Takes the port and the store. Runs that an earlier process left unfinished are marked as aborted.
    ///
    /// # Errors
    /// What keeps it from starting; then nothing is taken.
    pub async fn bind(config: Config) -> Result<Self, StartError> {
        let Config {
            listen,
            store,
            insecure,
        } = config;
        if !listen.ip().is_loopback() && !insecure {
            return Err(StartError::NotLoopback(listen));
        }
        let listener = TcpListener::bind(listen).await.map_err(|error| match error.kind() {
            io::ErrorKind::AddrInUse if listen.port() == 0 => StartError::NoPort(listen.ip()),
            io::ErrorKind::AddrInUse => StartError::PortInUse(listen),
            _ => StartError::Listen(listen, error),
        })?;
        let address = listener
            .local_addr()
            .map_err(|error| StartError::Listen(listen, error))?;
        let (handle, events) = channel(EVENTS);
        let hub = handle.clone();
        let opened = tokio::task::spawn_blocking(move || {
            let mut store = Store::open(&store, move |news| {
                // A hub that has ended needs no news.
                drop(hub.send_blocking(Event::Stored(news.to_vec())));
            })?;
            let left = store.abandon_unfinished()?;
            if left > 0 {
                tracing::warn!(runs = left, "runs of an earlier process are marked as aborted");
            }
            Ok(store)
        });
        let opened = opened
            .await
            .map_err(|error| StartError::Thread(io::Error::other(error)))?;
        let store = opened.map_err(StartError::Store)?;
        Ok(Self {
            listener,
            address,
            store,
            handle,
            events,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `stop`; then stops its runs gracefully, ends its connections within 5 s, and closes its store.
    ///
    /// # Errors
    /// When a part of it has failed.
    ///
    /// # Cancel safety
    /// Not cancel safe: dropping the future cuts runs off without a report.
    pub async fn run(self, stop: CancellationToken) -> Result<(), ServeError> {
        let Self {
            listener,
            address,
            store,
            handle,
            events,
        } = self;
        let faces = Faces {
            hub: handle,
            reader: store.reader(),
            writer: store.writer().clone(),
            files: store.files().clone(),
            uploads: Arc::new(AtomicU64::new(0)),
            local_only: address.ip().is_loopback(),
        };
        let closing = CancellationToken::new();
        let serving = serve(listener, router(&faces), Limits::default(), closing.clone());
        let hub = Hub::new(store.writer().clone());
        let mut parts = tokio::task::JoinSet::new();
        parts.spawn(async move {
            serving.await;
            "server"
        });
        let told = stop.clone();
        parts.spawn(async move {
            hub.run(events, told).await;
            "hub"
        });
        drop(faces);
        // Either ends first only by a failure, or the hub after `stop`.
        let first = parts.join_next().await;
        let failed = match first {
            Some(Ok("hub")) if stop.is_cancelled() => None,
            Some(Ok(part)) => Some(part),
            Some(Err(_)) | None => Some("coordinator"),
        };
        closing.cancel();
        while parts.join_next().await.is_some() {}
        let closed = tokio::task::spawn_blocking(move || store.close()).await;
        match failed {
            Some(part) => Err(ServeError::Part(part)),
            None => closed.map_err(|_| ServeError::Part("store")),
        }
    }
}
