//! Where a request goes: scheme, host and port, resolved once from the plan.

use std::net::IpAddr;

use barrage_model::plan::Target;
use rustls::pki_types::ServerName;
use url::{Host, Url};

/// The two schemes that a load can speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// Plain TCP, port 80 unless the URL says otherwise.
    Http,
    /// TLS, port 443 unless the URL says otherwise.
    Https,
}

impl Scheme {
    /// The port that is left out of a `Host` header.
    pub fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

/// One place to connect to: a target of the plan, or the origin of an absolute URL.
#[derive(Clone, Debug)]
pub struct Origin {
    /// Position among the run's origins; connections are kept under this number.
    pub index: u32,
    /// Plain or TLS.
    pub scheme: Scheme,
    /// A lower-case name or an address literal, an IPv6 one without brackets.
    pub host: String,
    /// The TCP port.
    pub port: u16,
    /// The value of a `Host` header: the port only when it is not the scheme's own, IPv6 in brackets.
    pub authority: String,
    /// The name asked for in the TLS handshake and checked against the certificate; `None` for plain TCP.
    pub server_name: Option<ServerName<'static>>,
}

/// Why a URL names no origin.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OriginError {
    /// Only `http` and `https` are known.
    #[error("the scheme `{0}` is not supported, use http or https")]
    Scheme(String),
    /// A URL without a host, like `http:///x`.
    #[error("the URL has no host")]
    NoHost,
    /// The name cannot stand in a certificate.
    #[error("`{0}` is not a valid TLS server name")]
    ServerName(String),
}

impl Origin {
    /// The origin of one of the plan's targets.
    ///
    /// # Errors
    /// [`OriginError::ServerName`] when the name of a TLS target cannot stand in a certificate.
    pub fn from_target(index: u32, target: &Target) -> Result<Self, OriginError> {
        let scheme = if target.https { Scheme::Https } else { Scheme::Http };
        let mut origin = Self::new(index, scheme, target.host.to_ascii_lowercase(), target.port)?;
        if let Some(shown) = &target.host_override {
            origin.authority.clone_from(shown);
            if target.https {
                origin.server_name = Some(server_name(without_port(shown))?);
            }
        }
        Ok(origin)
    }

    /// The origin of an absolute URL.
    ///
    /// # Errors
    /// See [`OriginError`]; nothing is looked up here.
    pub fn from_url(index: u32, url: &Url) -> Result<Self, OriginError> {
        let scheme = match url.scheme() {
            "http" => Scheme::Http,
            "https" => Scheme::Https,
            other => return Err(OriginError::Scheme(other.to_owned())),
        };
        let host = match url.host().ok_or(OriginError::NoHost)? {
            Host::Domain(name) => name.to_ascii_lowercase(),
            Host::Ipv4(address) => address.to_string(),
            Host::Ipv6(address) => address.to_string(),
        };
        Self::new(index, scheme, host, url.port().unwrap_or(scheme.default_port()))
    }

    fn new(index: u32, scheme: Scheme, host: String, port: u16) -> Result<Self, OriginError> {
        let server_name = match scheme {
            Scheme::Http => None,
            Scheme::Https => Some(server_name(&host)?),
        };
        let authority = authority(&host, port, scheme);
        Ok(Self {
            index,
            scheme,
            host,
            port,
            authority,
            server_name,
        })
    }
}

fn server_name(name: &str) -> Result<ServerName<'static>, OriginError> {
    ServerName::try_from(name.to_owned()).map_err(|_| OriginError::ServerName(name.to_owned()))
}

/// `host:port` and `[v6]:port` without the port and the brackets; a bare IPv6 address as it is.
fn without_port(authority: &str) -> &str {
    if let Some((address, _)) = authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        return address;
    }
    match authority.split_once(':') {
        Some((host, port)) if !port.contains(':') => host,
        _ => authority,
    }
}

fn authority(host: &str, port: u16, scheme: Scheme) -> String {
    let host = match host.parse() {
        Ok(IpAddr::V6(address)) => format!("[{address}]"),
        _ => host.to_owned(),
    };
    if port == scheme.default_port() {
        host
    } else {
        format!("{host}:{port}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_become_origins() {
        let table = [
            ("http://Example.COM/x", "example.com", 80, "example.com", false),
            (
                "http://example.com:8080",
                "example.com",
                8080,
                "example.com:8080",
                false,
            ),
            ("https://example.com:443/", "example.com", 443, "example.com", true),
            ("https://127.0.0.1:8443/", "127.0.0.1", 8443, "127.0.0.1:8443", true),
            ("http://[::1]:9/", "::1", 9, "[::1]:9", false),
            ("http://[::1]/", "::1", 80, "[::1]", false),
        ];
        for (text, host, port, authority, named) in table {
            let origin = Origin::from_url(7, &Url::parse(text).unwrap()).unwrap();
            assert_eq!(
                (
                    origin.host.as_str(),
                    origin.port,
                    origin.authority.as_str(),
                    origin.server_name.is_some()
                ),
                (host, port, authority, named),
                "{text}"
            );
            assert_eq!(origin.index, 7);
        }
    }

    #[test]
    fn other_urls_are_refused() {
        let of = |text: &str| Origin::from_url(0, &Url::parse(text).unwrap()).unwrap_err();
        assert_eq!(of("ftp://example.com/"), OriginError::Scheme("ftp".to_owned()));
        assert_eq!(of("https://-/"), OriginError::ServerName("-".to_owned()));
    }

    #[test]
    fn targets_become_origins() {
        let table = [
            ("127.0.0.1", None, "127.0.0.1:8443", "127.0.0.1"),
            ("127.0.0.1", Some("shop.test"), "shop.test", "shop.test"),
            ("127.0.0.1", Some("shop.test:444"), "shop.test:444", "shop.test"),
            ("Shop.test", Some("[::1]:444"), "[::1]:444", "::1"),
            ("::1", None, "[::1]:8443", "::1"),
        ];
        for (host, shown, authority, named) in table {
            let target = Target {
                name: "default".to_owned(),
                https: true,
                host: host.to_owned(),
                port: 8443,
                base_path: String::new(),
                host_override: shown.map(str::to_owned),
            };
            let origin = Origin::from_target(3, &target).unwrap();
            let name = origin.server_name.as_ref().unwrap().to_str();
            assert_eq!(
                (origin.authority.as_str(), name.as_ref()),
                (authority, named),
                "{host} {shown:?}"
            );
            assert_eq!((origin.index, origin.host), (3, host.to_ascii_lowercase()));
        }
    }
}
