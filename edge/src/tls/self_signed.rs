//! Certificates that no authority signed, for `dev`: WebTransport has no plain form.
//!
//! Browsers accept one whose SHA-256 the page names, if it is an ECDSA P-256 certificate valid for at most 14 days (W3C
//! WebTransport, `serverCertificateHashes`). So they are short-lived, remade long before they end, and their hash is
//! served at `/v1/webtransport/certificate`.

use std::sync::Arc;
use std::time::Duration;

use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::sync::watch;

use super::identity::{Identity, IdentityError};

/// Valid since this long before it was made: clocks differ.
const BACKDATED: Duration = Duration::from_secs(24 * 3_600);
/// Valid for this long after it was made; with the above 13 days, one fewer than browsers allow.
const LIFETIME: Duration = Duration::from_secs(12 * 24 * 3_600);
/// Remade after this long: nobody who has just read the hash finds an expired certificate.
const REMAKE: Duration = Duration::from_secs(6 * 24 * 3_600);

/// Makes certificates for the same names again and again.
pub struct SelfSigned {
    names: Vec<String>,
    sender: watch::Sender<Arc<Identity>>,
}

impl SelfSigned {
    /// Makes the first one. `names`: host names and IP addresses; `unix_now_s`: seconds since the Unix epoch.
    pub fn new(
        names: Vec<String>,
        unix_now_s: u64,
    ) -> Result<(Self, watch::Receiver<Arc<Identity>>), IdentityError> {
        let (sender, receiver) = watch::channel(Arc::new(make(&names, unix_now_s)?));
        Ok((Self { names, sender }, receiver))
    }

    /// Remakes it in time, until nobody uses it any more. `unix_now_s` tells the time.
    pub async fn follow(self, unix_now_s: impl Fn() -> u64) {
        self.remake_every(REMAKE, unix_now_s).await;
    }

    async fn remake_every(self, interval: Duration, unix_now_s: impl Fn() -> u64) {
        loop {
            tokio::select! {
                () = tokio::time::sleep(interval) => {}
                () = self.sender.closed() => return,
            }
            match make(&self.names, unix_now_s()) {
                Ok(identity) => {
                    self.sender.send_replace(Arc::new(identity));
                }
                Err(error) => tracing::error!(%error, "the self-signed certificate cannot be remade"),
            }
        }
    }
}

fn make(names: &[String], unix_now_s: u64) -> Result<Identity, IdentityError> {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let mut params = CertificateParams::new(names.to_vec())?;
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, "skywave development");
    params.distinguished_name = name;
    let now = rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(unix_now_s);
    params.not_before = now - BACKDATED;
    params.not_after = now + LIFETIME;
    let certificate: CertificateDer<'static> = params.self_signed(&key)?.der().clone();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    Identity::new(vec![certificate], key, true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_is_remade_long_before_it_ends_and_lives_less_than_browsers_allow() {
        assert!(BACKDATED + LIFETIME < Duration::from_secs(14 * 24 * 3_600));
        assert!(REMAKE < LIFETIME);
        let (self_signed, mut identity) =
            SelfSigned::new(vec!["localhost".into(), "127.0.0.1".into(), "::1".into()], 1_800_000_000)
                .unwrap();
        assert!(identity.borrow().is_self_signed());
        let first = *identity.borrow_and_update().hash();
        let task = tokio::spawn(self_signed.remake_every(Duration::from_millis(1), || 1_800_600_000));
        identity.changed().await.unwrap();
        assert_ne!(*identity.borrow().hash(), first);
        drop(identity);
        task.await.unwrap();
    }
}
