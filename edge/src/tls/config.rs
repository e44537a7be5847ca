//! What an operator writes about certificates (`[tls]`).

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// PEM files with the certificate that TLS listeners and WebTransport present.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsConfig {
    /// The chain, the node's own certificate first.
    pub certificate: PathBuf,
    /// Its private key: PKCS #8, PKCS #1 or SEC 1.
    pub key: PathBuf,
    /// How often the files are looked at for a change, in seconds.
    #[serde(default = "reload_seconds")]
    pub reload_seconds: u64,
}

fn reload_seconds() -> u64 {
    5
}
