//! What a run's connections need, from the plan and its files.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use barrage_model::plan::FileRef;
use rustls::ClientConfig;
use tokio::sync::Notify;

use super::compile::CompiledPlan;
use super::error::PrepareError;
use super::pause::Pauses;
use super::spare::Spare;
use crate::clock::{Clock, Stamp};
use crate::engine::{EngineOptions, EngineShared, Limits};
use crate::net::{Reactor, Resolver, TlsOptions};
use crate::shard::Awake;

/// A request of an iteration that has begun waits so long for the renewal of a grant: they are a second apart.
pub(super) const RENEWAL_WAIT: Duration = Duration::from_secs(3);

/// What all shards of a worker share: one resolver, one TLS configuration, one set of options.
#[derive(Clone, Debug)]
pub struct Connections {
    /// Looks up names under the plan's DNS policy and fixed answers.
    pub resolver: Arc<Resolver>,
    /// Roots, client certificate and session cache.
    pub tls: Arc<ClientConfig>,
    /// How the engines behave.
    pub options: EngineOptions,
}

impl CompiledPlan {
    /// Prepares the connections of a run. Costs a few milliseconds and opens none.
    ///
    /// # Errors
    /// [`PrepareError::NoFile`] and [`PrepareError::Tls`].
    pub fn connections(&self, clock: Clock) -> Result<Connections, PrepareError> {
        let program = &self.program;
        let network = &program.plan.network;
        let pem = |file: &Option<FileRef>| match file {
            None => Ok(None),
            Some(file) => {
                let content = program
                    .files
                    .get(file)
                    .ok_or_else(|| PrepareError::NoFile(file.path.clone()))?;
                Ok(Some(content.to_vec()))
            }
        };
        let certificate = pem(&network.tls.certificate)?;
        // A key may stand in the certificate's own file.
        let key = pem(&network.tls.key)?.or_else(|| certificate.clone());
        let tls = TlsOptions {
            extra_roots_pem: pem(&network.tls.ca)?,
            client_identity_pem: certificate.zip(key),
            insecure: network.tls.insecure,
        };
        let options = EngineOptions {
            limits: Limits {
                body_bytes: network.body_limit_bytes,
                ..Limits::default()
            },
            reuse: network.reuse,
            streams_per_connection: network.streams_per_connection,
            sources: network.source_addresses.clone(),
            cookies: network.cookies,
            proxy: network.proxy.as_ref().map(|proxy| proxy.url.clone()),
            ..EngineOptions::default()
        };
        Ok(Connections {
            resolver: Arc::new(Resolver::new(clock, network.dns, &network.resolve)),
            tls: tls.build().map_err(PrepareError::Tls)?,
            options,
        })
    }
}

/// What the users of one shard share. Lives on the shard's thread.
#[derive(Clone, Debug)]
pub struct ShardContext {
    /// The worker's clock.
    pub clock: Clock,
    /// The shard's part of the engines.
    pub engines: Rc<EngineShared>,
    /// The end of the grant, which the shard moves on with every renewal: nothing is sent after it. `None` = no end.
    pub send_by: Rc<Cell<Option<Stamp>>>,
    /// Wakes who waits for that to move on.
    pub renewed: Rc<Notify>,
    /// When the shard was awake.
    pub awake: Rc<Awake>,
    /// What think times are waited for with.
    pub pauses: Rc<Pauses>,
    /// Buffers for whoever sends next.
    pub spare: Rc<Spare>,
}

impl ShardContext {
    /// Whether the grant has ended or, after a standstill, has to be renewed.
    pub(super) fn lacks_grant(&self) -> bool {
        let now = self.clock.now();
        self.send_by.get().is_some_and(|send_by| now > send_by)
    }

    /// Waits for a grant where it is lacking, until an instant.
    pub(super) async fn renewal(&self, until: Stamp) {
        if !self.lacks_grant() {
            return;
        }
        let renewed = async {
            while self.lacks_grant() {
                self.renewed.notified().await;
            }
        };
        tokio::select! {
            () = renewed => {}
            () = self.pauses.until(until) => {}
        }
    }

    /// A shard without a grant's end. To be called on the shard's own thread.
    pub fn new(clock: Clock, connections: &Connections, reactor: Option<Rc<Reactor>>) -> Self {
        let Connections { resolver, tls, options } = connections.clone();
        Self {
            clock,
            engines: EngineShared::new(clock, resolver, tls, options, reactor),
            send_by: Rc::default(),
            renewed: Rc::default(),
            awake: Rc::default(),
            pauses: Rc::new(Pauses::new(clock)),
            spare: Rc::default(),
        }
    }
}
