//! A certificate chain with its key, as TLS configurations that are ready to use.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::NoServerSessionStorage;
use sha2::{Digest, Sha256};

/// ALPN of HTTP/1.1 and of HTTP/3. HTTP/2 is not offered: WebSockets over it would need another handshake (RFC 8441),
/// and its frames are a known way to make a server work for nothing.
const ALPN_HTTP1: &[u8] = b"http/1.1";
const ALPN_H3: &[u8] = b"h3";

/// Why a certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    #[error("cannot read {path}: {error}")]
    File { path: PathBuf, error: std::io::Error },
    #[error("the certificate file holds no certificate in PEM form")]
    NoCertificate,
    #[error("the key file holds no private key in PEM form (PKCS #8, PKCS #1 or SEC 1)")]
    NoKey,
    #[error("certificate and key cannot be used together: {0}")]
    Tls(#[from] rustls::Error),
    #[error("cannot make a certificate: {0}")]
    Make(#[from] rcgen::Error),
}

/// What a node presents to those who connect.
pub struct Identity {
    tcp: Arc<ServerConfig>,
    quic: Arc<ServerConfig>,
    hash: [u8; 32],
    /// Digest of the private key; what is derived from it is known to this node alone.
    seed: [u8; 32],
    self_signed: bool,
}

impl Identity {
    /// From PEM text. Fails unless the key belongs to the first certificate.
    pub fn from_pem(chain: &[u8], key: &[u8]) -> Result<Self, IdentityError> {
        Self::read(chain, key, false)
    }

    pub(super) fn self_signed_from_pem(chain: &[u8], key: &[u8]) -> Result<Self, IdentityError> {
        Self::read(chain, key, true)
    }

    fn read(chain: &[u8], key: &[u8], self_signed: bool) -> Result<Self, IdentityError> {
        let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(chain)
            .collect::<Result<_, _>>()
            .map_err(|_| IdentityError::NoCertificate)?;
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| IdentityError::NoKey)?;
        Self::new(chain, key, self_signed)
    }

    fn new(
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
        self_signed: bool,
    ) -> Result<Self, IdentityError> {
        let leaf = chain.first().ok_or(IdentityError::NoCertificate)?;
        let hash = Sha256::digest(leaf.as_ref()).into();
        let seed =
            Sha256::new().chain_update("skywave identity").chain_update(key.secret_der()).finalize().into();
        let both: &[&'static rustls::SupportedProtocolVersion] =
            &[&rustls::version::TLS13, &rustls::version::TLS12];
        let tcp = server_config(chain.clone(), key.clone_key(), both, ALPN_HTTP1)?;
        let quic = server_config(chain, key, &both[..1], ALPN_H3)?;
        Ok(Self { tcp: Arc::new(tcp), quic: Arc::new(quic), hash, seed, self_signed })
    }

    /// For HTTP and WebSocket over TLS.
    pub fn tcp(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.tcp)
    }

    /// For WebTransport: TLS 1.3 only, ALPN `h3`, without early data.
    pub fn quic(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.quic)
    }

    /// SHA-256 of the certificate in DER form, as `serverCertificateHashes` wants it.
    pub fn hash(&self) -> &[u8; 32] {
        &self.hash
    }

    /// 32 secret bytes for one purpose, the same whenever the private key is the same.
    pub(crate) fn secret(&self, purpose: &str) -> [u8; 32] {
        Sha256::new().chain_update(self.seed).chain_update(purpose).finalize().into()
    }

    /// No authority vouches for it: a browser needs [`Identity::hash`] to accept it.
    pub fn is_self_signed(&self) -> bool {
        self.self_signed
    }
}

/// Shows nothing secret.
impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Identity").field("self_signed", &self.self_signed).finish_non_exhaustive()
    }
}

fn server_config(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    versions: &[&'static rustls::SupportedProtocolVersion],
    alpn: &[u8],
) -> Result<ServerConfig, rustls::Error> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![alpn.to_vec()];
    // Neither tickets nor a session cache: no memory per connection, and no early data that could be replayed.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.max_early_data_size = 0;
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (String, String) {
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate =
            rcgen::CertificateParams::new(vec!["localhost".into()]).unwrap().self_signed(&key).unwrap();
        (certificate.pem(), key.serialize_pem())
    }

    #[test]
    fn a_key_of_another_certificate_is_refused() {
        let ((chain, key), (_, other_key)) = (pair(), pair());
        assert!(Identity::from_pem(chain.as_bytes(), key.as_bytes()).is_ok());
        assert!(matches!(
            Identity::from_pem(chain.as_bytes(), other_key.as_bytes()),
            Err(IdentityError::Tls(_))
        ));
        assert!(matches!(Identity::from_pem(b"", key.as_bytes()), Err(IdentityError::NoCertificate)));
        assert!(matches!(Identity::from_pem(chain.as_bytes(), b""), Err(IdentityError::NoKey)));
        assert!(Identity::from_pem(b"\xff\0", b"\xff").is_err());
    }

    #[test]
    fn nothing_is_kept_for_resumption_and_no_early_data_is_taken() {
        let (chain, key) = pair();
        let identity = Identity::from_pem(chain.as_bytes(), key.as_bytes()).unwrap();
        for (config, alpn) in [(identity.tcp(), ALPN_HTTP1), (identity.quic(), ALPN_H3)] {
            assert_eq!((config.send_tls13_tickets, config.max_early_data_size), (0, 0));
            assert!(!config.session_storage.can_cache());
            assert!(!config.ticketer.enabled());
            assert_eq!(config.alpn_protocols, [alpn]);
        }
    }
}
