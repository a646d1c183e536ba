//! The TLS settings of a run, turned into one rustls configuration.
//!
//! The provider is named explicitly (ring), so nothing here depends on what a process has installed as its default.

use std::sync::Arc;

use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

/// What a plan can say about TLS to its targets.
#[derive(Clone, Debug)]
pub struct TlsOptions {
    /// Further trusted roots, PEM with one or more certificates, beside the built-in ones.
    pub extra_roots_pem: Option<Vec<u8>>,
    /// Certificate chain and private key of the client, both PEM.
    pub client_identity_pem: Option<(Vec<u8>, Vec<u8>)>,
    /// Accept any certificate for any name.
    pub insecure: bool,
    /// Resume sessions on new connections, as real clients do.
    pub resumption: bool,
}

impl Default for TlsOptions {
    fn default() -> Self {
        Self {
            extra_roots_pem: None,
            client_identity_pem: None,
            insecure: false,
            resumption: true,
        }
    }
}

/// Why TLS settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The extra roots are not PEM certificates.
    #[error("could not read the extra root certificates")]
    Roots(#[source] rustls::pki_types::pem::Error),
    /// The extra roots hold no certificate at all.
    #[error("the extra root certificates hold no certificate")]
    NoRoots,
    /// A root is not a usable certificate, or the client's identity does not fit together.
    #[error("could not use the {what}")]
    Refused {
        /// The part that was refused.
        what: &'static str,
        /// What the TLS library said.
        #[source]
        source: rustls::Error,
    },
    /// The client's certificate or key is not PEM.
    #[error("could not read the client's certificate or key")]
    Identity(#[source] rustls::pki_types::pem::Error),
}

impl TlsOptions {
    /// The configuration for HTTP/1.1 over TLS 1.2 and 1.3; the `http1` engine shares one per worker.
    ///
    /// # Errors
    /// See [`TlsError`]. Costs a few milliseconds: build it once, before the run.
    pub fn build(&self) -> Result<Arc<ClientConfig>, TlsError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|source| TlsError::Refused {
                what: "TLS versions",
                source,
            })?;
        let verified = if self.insecure {
            builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(AnyCertificate(provider)))
        } else {
            builder.with_root_certificates(self.roots()?)
        };
        let mut config = match &self.client_identity_pem {
            None => verified.with_no_client_auth(),
            Some((chain, key)) => {
                let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(chain).collect();
                let key = PrivateKeyDer::from_pem_slice(key).map_err(TlsError::Identity)?;
                verified
                    .with_client_auth_cert(chain.map_err(TlsError::Identity)?, key)
                    .map_err(|source| TlsError::Refused {
                        what: "client's certificate",
                        source,
                    })?
            }
        };
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        if !self.resumption {
            config.resumption = Resumption::disabled();
        }
        Ok(Arc::new(config))
    }

    fn roots(&self) -> Result<RootCertStore, TlsError> {
        let mut roots = RootCertStore::empty();
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        if let Some(pem) = &self.extra_roots_pem {
            let before = roots.len();
            for certificate in CertificateDer::pem_slice_iter(pem) {
                roots
                    .add(certificate.map_err(TlsError::Roots)?)
                    .map_err(|source| TlsError::Refused {
                        what: "extra root certificate",
                        source,
                    })?;
            }
            if roots.len() == before {
                return Err(TlsError::NoRoots);
            }
        }
        Ok(roots)
    }
}

/// Accepts every certificate, but still checks that the peer holds its key.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_settings_are_refused_before_the_run() {
        let garbage = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".to_vec();
        let table = [
            (
                TlsOptions {
                    extra_roots_pem: Some(b"nothing".to_vec()),
                    ..TlsOptions::default()
                },
                "hold no certificate",
            ),
            (
                TlsOptions {
                    extra_roots_pem: Some(garbage.clone()),
                    ..TlsOptions::default()
                },
                "extra root certificate",
            ),
            (
                TlsOptions {
                    client_identity_pem: Some((garbage, b"nothing".to_vec())),
                    ..TlsOptions::default()
                },
                "certificate or key",
            ),
        ];
        for (options, wanted) in table {
            let said = options.build().unwrap_err().to_string();
            assert!(said.contains(wanted), "{said}");
        }
    }

    #[test]
    fn the_default_settings_build() {
        for insecure in [false, true] {
            let options = TlsOptions {
                insecure,
                ..TlsOptions::default()
            };
            assert_eq!(options.build().unwrap().alpn_protocols, [b"http/1.1".to_vec()]);
        }
    }
}
