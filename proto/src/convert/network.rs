//! Targets and network settings.

use barrage_model::plan::{DnsPolicy, Network, Proxy, Resolve, Reuse, STREAMS_PER_CONNECTION_MAX, Target, Tls};

use super::{BadMessage, Result, bad, each, micros, missing, narrow, span};
use crate::v1;

impl From<&Target> for v1::Target {
    fn from(target: &Target) -> Self {
        Self {
            name: target.name.clone(),
            https: target.https,
            host: target.host.clone(),
            port: u32::from(target.port),
            base_path: target.base_path.clone(),
            host_override: target.host_override.clone(),
        }
    }
}

impl TryFrom<v1::Target> for Target {
    type Error = BadMessage;

    fn try_from(wire: v1::Target) -> Result<Self> {
        if wire.host.is_empty() {
            return Err(missing("target.host"));
        }
        Ok(Self {
            name: wire.name,
            https: wire.https,
            host: wire.host,
            port: narrow("target.port", wire.port)?,
            base_path: wire.base_path,
            host_override: wire.host_override,
        })
    }
}

impl From<&Network> for v1::Network {
    fn from(network: &Network) -> Self {
        Self {
            resolve: network
                .resolve
                .iter()
                .map(|entry| v1::Resolve {
                    host: entry.host.clone(),
                    port: entry.port.map(u32::from),
                    address: entry.address.to_string(),
                })
                .collect(),
            source_addresses: network.source_addresses.iter().map(ToString::to_string).collect(),
            dns: Some(v1::Dns {
                policy: Some(match network.dns {
                    DnsPolicy::Once => v1::dns::Policy::Once(true),
                    DnsPolicy::Ttl(ttl) => v1::dns::Policy::TtlUs(micros(ttl)),
                    DnsPolicy::PerConnection => v1::dns::Policy::PerConnection(true),
                }),
            }),
            reuse: Some(v1::Reuse {
                policy: Some(match network.reuse {
                    Reuse::Always => v1::reuse::Policy::Always(true),
                    Reuse::Never => v1::reuse::Policy::Never(true),
                    Reuse::MaxRequests(most) => v1::reuse::Policy::MaxRequests(most),
                    Reuse::MaxAge(age) => v1::reuse::Policy::MaxAgeUs(micros(age)),
                }),
            }),
            tls: Some(v1::Tls {
                insecure: network.tls.insecure,
                ca: network.tls.ca.as_ref().map(Into::into),
                certificate: network.tls.certificate.as_ref().map(Into::into),
                key: network.tls.key.as_ref().map(Into::into),
            }),
            proxy_url: network.proxy.as_ref().map(|proxy| proxy.url.clone()),
            cookies: network.cookies,
            body_limit_bytes: network.body_limit_bytes,
            streams_per_connection: network.streams_per_connection,
        }
    }
}

impl TryFrom<v1::Network> for Network {
    type Error = BadMessage;

    fn try_from(wire: v1::Network) -> Result<Self> {
        let dns = match wire
            .dns
            .and_then(|dns| dns.policy)
            .ok_or_else(|| missing("network.dns"))?
        {
            v1::dns::Policy::Once(_) => DnsPolicy::Once,
            v1::dns::Policy::TtlUs(ttl) => DnsPolicy::Ttl(span("dns.ttl_us", ttl)?),
            v1::dns::Policy::PerConnection(_) => DnsPolicy::PerConnection,
        };
        let reuse = match wire
            .reuse
            .and_then(|reuse| reuse.policy)
            .ok_or_else(|| missing("network.reuse"))?
        {
            v1::reuse::Policy::Always(_) => Reuse::Always,
            v1::reuse::Policy::Never(_) => Reuse::Never,
            v1::reuse::Policy::MaxRequests(most) => Reuse::MaxRequests(most.max(1)),
            v1::reuse::Policy::MaxAgeUs(age) => Reuse::MaxAge(span("reuse.max_age_us", age)?),
        };
        let streams = wire.streams_per_connection;
        if !(1..=STREAMS_PER_CONNECTION_MAX).contains(&streams) {
            let range = format!("{streams} is not between 1 and {STREAMS_PER_CONNECTION_MAX}");
            return Err(bad("network.streams_per_connection", range));
        }
        let tls = wire.tls.unwrap_or_default();
        Ok(Self {
            resolve: each(wire.resolve, resolve)?,
            source_addresses: each(wire.source_addresses, |text| address("network.source_addresses", &text))?,
            dns,
            reuse,
            streams_per_connection: streams,
            tls: Tls {
                insecure: tls.insecure,
                ca: tls.ca.map(TryInto::try_into).transpose()?,
                certificate: tls.certificate.map(TryInto::try_into).transpose()?,
                key: tls.key.map(TryInto::try_into).transpose()?,
            },
            proxy: wire.proxy_url.map(|url| Proxy { url }),
            cookies: wire.cookies,
            body_limit_bytes: wire.body_limit_bytes,
        })
    }
}

fn address(field: &'static str, text: &str) -> Result<std::net::IpAddr> {
    text.parse()
        .map_err(|_| bad(field, format!("{text:?} is no IP address")))
}

fn resolve(wire: v1::Resolve) -> Result<Resolve> {
    Ok(Resolve {
        host: wire.host,
        port: wire.port.map(|port| narrow("resolve.port", port)).transpose()?,
        address: address("resolve.address", &wire.address)?,
    })
}
