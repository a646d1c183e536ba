//! Targets and how connections to them are made.

use std::net::IpAddr;
use std::time::Duration;

use super::FileRef;

/// Most virtual users that share one connection of the `http2` engine.
pub const STREAMS_PER_CONNECTION_MAX: u32 = 1_000;

/// A place that requests go to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The name that steps use; the first or only one is `default`.
    pub name: String,
    /// TLS or not.
    pub https: bool,
    /// Host name or address, without brackets.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Path that is put before each step's path; empty, or begins with `/` and does not end with one.
    pub base_path: String,
    /// `host` header and SNI instead of `host`.
    pub host_override: Option<String>,
}

impl Target {
    /// `http://host:port/base`, with brackets around IPv6 addresses and without the scheme's own port.
    pub fn url(&self) -> String {
        let scheme = if self.https { "https" } else { "http" };
        format!("{scheme}://{}{}", self.authority(), self.base_path)
    }

    /// `host[:port]` as in a URL.
    pub fn authority(&self) -> String {
        let host = if self.host.contains(':') {
            format!("[{}]", self.host)
        } else {
            self.host.clone()
        };
        let default_port = if self.https { 443 } else { 80 };
        if self.port == default_port {
            host
        } else {
            format!("{host}:{}", self.port)
        }
    }
}

/// How connections are made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Network {
    /// Fixed answers of name resolution.
    pub resolve: Vec<Resolve>,
    /// Local addresses to connect from, in turn.
    pub source_addresses: Vec<IpAddr>,
    /// How often names are resolved.
    pub dns: DnsPolicy,
    /// How long connections are used.
    pub reuse: Reuse,
    /// Virtual users of a shard that share one connection of the `http2` engine, each with a stream at a time; 1 to
    /// [`STREAMS_PER_CONNECTION_MAX`].
    pub streams_per_connection: u32,
    /// TLS settings.
    pub tls: Tls,
    /// Proxy for every request; makes `reqwest` the engine.
    pub proxy: Option<Proxy>,
    /// Keep cookies within an iteration (open model) or a user (closed model); makes `reqwest` the engine.
    pub cookies: bool,
    /// Most body bytes taken from one answer.
    pub body_limit_bytes: u64,
}

/// A fixed answer of name resolution.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolve {
    /// Host name.
    pub host: String,
    /// Port; any when absent.
    pub port: Option<u16>,
    /// Address to use.
    pub address: IpAddr,
}

/// How often a name is resolved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DnsPolicy {
    /// Once per run and worker.
    Once,
    /// Again when the answer is older.
    Ttl(Duration),
    /// For each new connection.
    PerConnection,
}

/// How long a connection is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reuse {
    /// As long as the server keeps it.
    Always,
    /// A new one for each request.
    Never,
    /// For this many requests.
    MaxRequests(u32),
    /// For this long.
    MaxAge(Duration),
}

/// TLS settings of all targets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tls {
    /// Accept any certificate.
    pub insecure: bool,
    /// PEM file of certificate authorities, beside the built-in ones.
    pub ca: Option<FileRef>,
    /// PEM file of the client's certificate chain.
    pub certificate: Option<FileRef>,
    /// PEM file of the client's key.
    pub key: Option<FileRef>,
}

/// A proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proxy {
    /// `http://host:port`.
    pub url: String,
}
