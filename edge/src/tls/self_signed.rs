//! Certificates that no authority signed, for `dev`: WebTransport has no plain form.
//!
//! Browsers accept one whose SHA-256 the page names, if it is an ECDSA P-256 certificate valid for at most 14 days (W3C
//! WebTransport, `serverCertificateHashes`). So they are short-lived, remade long before they end, and their hash is
//! served at `/v1/webtransport/certificate`.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, PKCS_ECDSA_P256_SHA256};
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
    /// Where the certificate is kept over a restart.
    file: Option<PathBuf>,
    /// When the present one was made.
    made_s: u64,
}

impl SelfSigned {
    /// Makes the first one. `names`: host names and IP addresses; `unix_now_s`: seconds since the Unix epoch.
    pub fn new(
        names: Vec<String>,
        unix_now_s: u64,
    ) -> Result<(Self, watch::Receiver<Arc<Identity>>), IdentityError> {
        let (sender, receiver) = watch::channel(Arc::new(make(&names, unix_now_s)?.identity()?));
        Ok((Self { names, sender, file: None, made_s: unix_now_s }, receiver))
    }

    /// The same, with the certificate and its key kept in `file`: clients find a restarted node unchanged. A file that
    /// cannot be used is replaced; one that cannot be written is done without.
    pub fn kept(
        names: Vec<String>,
        file: PathBuf,
        unix_now_s: u64,
    ) -> Result<(Self, watch::Receiver<Arc<Identity>>), IdentityError> {
        let kept = Made::read(&file).filter(|made| made.names == names && !made.is_due(unix_now_s));
        let (made, identity) =
            match kept.and_then(|made| made.identity().ok().map(|identity| (made, identity))) {
                Some(kept) => kept,
                None => {
                    let made = make(&names, unix_now_s)?;
                    made.write(&file);
                    let identity = made.identity()?;
                    (made, identity)
                }
            };
        let (sender, receiver) = watch::channel(Arc::new(identity));
        Ok((Self { names, sender, file: Some(file), made_s: made.made_s }, receiver))
    }

    /// Remakes it in time, until nobody uses it any more. `unix_now_s` tells the time.
    pub async fn follow(self, unix_now_s: impl Fn() -> u64) {
        self.remake_every(REMAKE, unix_now_s).await;
    }

    async fn remake_every(self, interval: Duration, unix_now_s: impl Fn() -> u64) {
        let age = Duration::from_secs(unix_now_s().saturating_sub(self.made_s));
        let mut wait = interval.saturating_sub(age);
        loop {
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = self.sender.closed() => return,
            }
            wait = interval;
            match make(&self.names, unix_now_s()).and_then(|made| Ok((made.identity()?, made))) {
                Ok((identity, made)) => {
                    if let Some(file) = &self.file {
                        made.write(file);
                    }
                    self.sender.send_replace(Arc::new(identity));
                }
                Err(error) => tracing::error!(%error, "the self-signed certificate cannot be remade"),
            }
        }
    }
}

/// A certificate in the form it is kept in.
struct Made {
    names: Vec<String>,
    made_s: u64,
    chain: String,
    key: String,
}

/// First line of a kept certificate: when it was made, and for which names.
const HEADING: &str = "# skywave self-signed";

impl Made {
    fn identity(&self) -> Result<Identity, IdentityError> {
        Identity::self_signed_from_pem(self.chain.as_bytes(), self.key.as_bytes())
    }

    fn is_due(&self, unix_now_s: u64) -> bool {
        // One from the future is as bad as an old one.
        !(self.made_s..self.made_s.saturating_add(REMAKE.as_secs())).contains(&unix_now_s)
    }

    fn read(file: &Path) -> Option<Self> {
        let text = std::fs::read_to_string(file).ok()?;
        let (heading, pem) = text.split_once('\n')?;
        let mut words = heading.strip_prefix(HEADING)?.split_whitespace();
        let made_s = words.next()?.parse().ok()?;
        let names = words.map(str::to_owned).collect();
        Some(Self { names, made_s, chain: pem.to_owned(), key: pem.to_owned() })
    }

    /// Whole or not at all, and for our eyes only.
    fn write(&self, file: &Path) {
        use std::io::Write as _;
        use std::os::unix::fs::OpenOptionsExt as _;

        let text = format!("{HEADING} {} {}\n{}{}", self.made_s, self.names.join(" "), self.chain, self.key);
        let beside = file.with_extension("new");
        let written = (|| {
            if let Some(folder) = file.parent() {
                std::fs::create_dir_all(folder)?;
            }
            // Not over a file that others may read.
            let _ = std::fs::remove_file(&beside);
            let mut new =
                std::fs::OpenOptions::new().create_new(true).write(true).mode(0o600).open(&beside)?;
            new.write_all(text.as_bytes())?;
            std::fs::rename(&beside, file)
        })();
        if let Err(error) = written {
            tracing::warn!(%error, file = %file.display(), "the self-signed certificate is not kept");
        }
    }
}

fn make(names: &[String], unix_now_s: u64) -> Result<Made, IdentityError> {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let mut params = CertificateParams::new(names.to_vec())?;
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, "skywave development");
    params.distinguished_name = name;
    let now = rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(unix_now_s);
    params.not_before = now - BACKDATED;
    params.not_after = now + LIFETIME;
    let chain = params.self_signed(&key)?.pem();
    Ok(Made { names: names.to_vec(), made_s: unix_now_s, chain, key: key.serialize_pem() })
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

    #[test]
    fn a_restart_finds_the_same_certificate_until_it_is_old_or_for_other_names() {
        use std::os::unix::fs::PermissionsExt as _;

        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("nested/certificate.pem");
        let names = vec!["localhost".to_owned(), "::1".into()];
        let start = |names: &Vec<String>, now| {
            let (_, identity) = SelfSigned::kept(names.clone(), file.clone(), now).unwrap();
            let identity = identity.borrow().clone();
            (*identity.hash(), identity.secret("x"))
        };
        let first = start(&names, 1_800_000_000);
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(start(&names, 1_800_000_100), first);
        let old = start(&names, 1_800_000_000 + REMAKE.as_secs());
        assert_ne!(old, first);
        assert_ne!(start(&vec!["127.0.0.1".into()], 1_800_600_000), old);
        std::fs::write(&file, format!("{HEADING} 1800600000 localhost ::1\nnonsense")).unwrap();
        start(&names, 1_800_600_000);
        // From the future, or without a place: made anew, and no failure.
        assert_ne!(start(&names, 1_700_000_000), old);
        assert!(SelfSigned::kept(names, "/proc/nowhere/x.pem".into(), 1_800_000_000).is_ok());
    }
}
