//! The TLS settings of a run, turned into one rustls configuration.
//!
//! The provider is named explicitly (ring), so nothing here depends on what a process has installed as its default.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

/// What a plan can say about TLS to its targets. Sessions are resumed on new connections, as real clients do.
#[derive(Clone, Debug, Default)]
pub struct TlsOptions {
    /// Further trusted roots, PEM with one or more certificates, beside the built-in ones.
    pub extra_roots_pem: Option<Vec<u8>>,
    /// Certificate chain and private key of the client, both PEM.
    pub client_identity_pem: Option<(Vec<u8>, Vec<u8>)>,
    /// Accept any certificate for any name.
    pub insecure: bool,
}

/// Why TLS settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The extra roots are not PEM certificates.
    #[error("could not read the certificates of `tls.ca`")]
    Roots(#[source] rustls::pki_types::pem::Error),
    /// The extra roots hold no certificate at all.
    #[error("`tls.ca` holds no certificate in PEM")]
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
    #[error("could not read `tls.cert` or `tls.key`")]
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
                        what: "client's `tls.cert` with its `tls.key`",
                        source,
                    })?
            }
        };
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
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
                        what: "certificate of `tls.ca`",
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

/// Accepts every certificate, but still checks that the peer holds its key; where the certificate is of a form that cannot be
/// read, such as X.509 version 1, that goes unchecked too.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl AnyCertificate {
    /// What was found of a signature, unless the key it should be by could not be read at all.
    fn forgiving(
        checked: Result<HandshakeSignatureValid, rustls::Error>,
        certificate: &CertificateDer<'_>,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        if checked.is_err() && ParsedCertificate::try_from(certificate).is_err() {
            return Ok(HandshakeSignatureValid::assertion());
        }
        checked
    }
}

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
        let known = &self.0.signature_verification_algorithms;
        let checked = rustls::crypto::verify_tls12_signature(message, certificate, signed, known);
        Self::forgiving(checked, certificate)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let known = &self.0.signature_verification_algorithms;
        let checked = rustls::crypto::verify_tls13_signature(message, certificate, signed, known);
        Self::forgiving(checked, certificate)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use rustls::server::ServerConfig;
    use rustls::sign::{CertifiedKey, SingleCertAndKey};
    use rustls::{ClientConnection, ServerConnection, SupportedProtocolVersion};

    use super::*;

    /// Made by `openssl x509 -req` without extensions; its key stands below.
    const VERSION_1: &str = "\
-----BEGIN CERTIFICATE-----
MIIBGDCBvwIUenkS5SS2oISoIXHtaFUr9szEY5IwCgYIKoZIzj0EAwIwDjEMMAoG
A1UEAwwDb2xkMCAXDTI2MTEyNjE4NTg0NVoYDzIxMjYxMTAyMTg1ODQ1WjAOMQww
CgYDVQQDDANvbGQwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAAQHml6+KbKBA+i0
/JoJcZFVYuvwALlZaSNGbMvOD3/rgoYG3/RakgfVAhKGh7m374Se/7CLBr/e1A+n
qlLxF3/wMAoGCCqGSM49BAMCA0gAMEUCIBti6Ju6ex8c6ByAemrk1YEXdd1774a0
w8rlLaIaBaVLAiEA9IMUNEPA/GGbAem670S1kCQkcaKNucJA2SpwvVkzT/o=
-----END CERTIFICATE-----
";
    const VERSION_1_KEY: &str = "\
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgIB6JCDqzHRgietp9
en64zubpLojnFPF9tOpBeSIJoLuhRANCAAQHml6+KbKBA+i0/JoJcZFVYuvwALlZ
aSNGbMvOD3/rgoYG3/RakgfVAhKGh7m374Se/7CLBr/e1A+nqlLxF3/w
-----END PRIVATE KEY-----
";

    /// Shakes hands in memory with a server that shows `certificate` and signs with `key`.
    fn shake(
        options: &TlsOptions,
        version: &'static SupportedProtocolVersion,
        certificate: CertificateDer<'static>,
        key: &PrivateKeyDer<'static>,
    ) -> Result<(), rustls::Error> {
        let provider = rustls::crypto::ring::default_provider();
        let key = provider.key_provider.load_private_key(key.clone_key()).unwrap();
        let shown = SingleCertAndKey::from(CertifiedKey::new(vec![certificate], key));
        let mut config = ServerConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(&[version])
            .unwrap()
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(shown));
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let mut server = ServerConnection::new(Arc::new(config)).unwrap();
        let name = ServerName::try_from("shop.test").unwrap();
        let mut client = ClientConnection::new(options.build().unwrap(), name).unwrap();
        while client.is_handshaking() || server.is_handshaking() {
            let mut bytes = Vec::new();
            client.write_tls(&mut bytes).unwrap();
            server.read_tls(&mut &bytes[..]).unwrap();
            server.process_new_packets()?;
            bytes.clear();
            server.write_tls(&mut bytes).unwrap();
            client.read_tls(&mut &bytes[..]).unwrap();
            client.process_new_packets()?;
        }
        Ok(())
    }

    #[test]
    fn any_certificate_is_accepted_where_the_plan_says_so_and_its_key_is_proven_where_it_can_be() {
        let old = CertificateDer::from_pem_slice(VERSION_1.as_bytes()).unwrap();
        let old_key = PrivateKeyDer::from_pem_slice(VERSION_1_KEY.as_bytes()).unwrap();
        let made = rcgen::generate_simple_self_signed(["other.test".to_owned()]).unwrap();
        let (new, new_key) = (made.cert.der().clone(), made.signing_key.serialize_der());
        let new_key = PrivateKeyDer::try_from(new_key).unwrap();
        for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
            for insecure in [false, true] {
                let options = TlsOptions {
                    insecure,
                    ..TlsOptions::default()
                };
                let by_old = shake(&options, version, old.clone(), &old_key);
                let by_new = shake(&options, version, new.clone(), &new_key);
                assert_eq!(
                    (by_old.is_ok(), by_new.is_ok()),
                    (insecure, insecure),
                    "{by_old:?} {by_new:?}"
                );
                let by_a_thief = shake(&options, version, new.clone(), &old_key);
                assert!(by_a_thief.is_err(), "the key is another's");
            }
        }
    }

    #[test]
    fn bad_settings_are_refused_before_the_run() {
        let garbage = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".to_vec();
        let table = [
            (
                TlsOptions {
                    extra_roots_pem: Some(b"nothing".to_vec()),
                    ..TlsOptions::default()
                },
                "`tls.ca` holds no certificate",
            ),
            (
                TlsOptions {
                    extra_roots_pem: Some(garbage.clone()),
                    ..TlsOptions::default()
                },
                "certificate of `tls.ca`",
            ),
            (
                TlsOptions {
                    client_identity_pem: Some((garbage, b"nothing".to_vec())),
                    ..TlsOptions::default()
                },
                "`tls.cert` or `tls.key`",
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
