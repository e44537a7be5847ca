//! Certificates from PEM files, read again when the files change.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::{Notify, watch};

use super::config::TlsConfig;
use super::identity::{Identity, IdentityError};

/// Largest PEM file, in bytes.
const FILE_BYTES: u64 = 1024 * 1024;

/// Keeps an identity in step with its files.
pub struct CertificateFiles {
    config: TlsConfig,
    sender: watch::Sender<Arc<Identity>>,
    seen: Stamp,
    now: Arc<Notify>,
}

/// What tells one state of the two files from another; a file that cannot be looked at has none.
type Stamp = [Option<(SystemTime, u64)>; 2];

impl CertificateFiles {
    /// Reads the files for the first time; here an unusable certificate is an error.
    pub fn open(config: TlsConfig) -> Result<(Self, watch::Receiver<Arc<Identity>>), IdentityError> {
        let seen = stamp(&config);
        let (sender, receiver) = watch::channel(Arc::new(load(&config)?));
        Ok((Self { config, sender, seen, now: Arc::default() }, receiver))
    }

    /// Notify it to look at the files at once (SIGHUP).
    pub fn reload_now(&self) -> Arc<Notify> {
        Arc::clone(&self.now)
    }

    /// Follows the files until nobody uses the identity any more. A change that cannot be used is logged once and the old
    /// identity stays: one of the two files may simply not have been written yet.
    pub async fn follow(mut self) {
        let every = Duration::from_secs(self.config.reload_seconds.max(1));
        loop {
            let asked = tokio::select! {
                () = tokio::time::sleep(every) => false,
                () = self.now.notified() => true,
                () = self.sender.closed() => return,
            };
            let config = self.config.clone();
            let Ok(current) = tokio::task::spawn_blocking(move || stamp(&config)).await else { return };
            if current == self.seen && !asked {
                continue;
            }
            self.seen = current;
            self.reload().await;
        }
    }

    async fn reload(&self) {
        let config = self.config.clone();
        let certificate = self.config.certificate.display();
        match tokio::task::spawn_blocking(move || load(&config)).await {
            Ok(Ok(identity)) if identity.hash() == self.sender.borrow().hash() => {}
            Ok(Ok(identity)) => {
                tracing::info!(%certificate, "new connections get the new certificate");
                self.sender.send_replace(Arc::new(identity));
            }
            Ok(Err(error)) => {
                tracing::error!(%certificate, %error, "the changed certificate cannot be used; the old one stays");
            }
            // Only at shutdown.
            Err(_) => {}
        }
    }
}

fn stamp(config: &TlsConfig) -> Stamp {
    [&config.certificate, &config.key].map(|path| {
        let metadata = std::fs::metadata(path).ok()?;
        Some((metadata.modified().ok()?, metadata.len()))
    })
}

fn load(config: &TlsConfig) -> Result<Identity, IdentityError> {
    Identity::from_pem(&read(&config.certificate)?, &read(&config.key)?)
}

fn read(path: &Path) -> Result<Vec<u8>, IdentityError> {
    use std::io::Read as _;

    let mut bytes = Vec::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(FILE_BYTES).read_to_end(&mut bytes))
        .map_err(|error| IdentityError::File { path: path.to_owned(), error })?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write_pair(config: &TlsConfig) -> String {
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate =
            rcgen::CertificateParams::new(vec!["localhost".into()]).unwrap().self_signed(&key).unwrap();
        std::fs::write(&config.certificate, certificate.pem()).unwrap();
        std::fs::write(&config.key, key.serialize_pem()).unwrap();
        key.serialize_pem()
    }

    #[tokio::test]
    async fn a_new_certificate_is_taken_and_a_bad_one_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let config = TlsConfig {
            certificate: dir.path().join("chain.pem"),
            key: dir.path().join("key.pem"),
            reload_seconds: 3_600,
        };
        assert!(matches!(CertificateFiles::open(config.clone()), Err(IdentityError::File { .. })));
        write_pair(&config);
        let (files, mut identity) = CertificateFiles::open(config.clone()).unwrap();
        let reload = files.reload_now();
        let task = tokio::spawn(files.follow());
        let first = *identity.borrow_and_update().hash();

        // Unusable: garbage, then the key of another certificate. Neither may replace the old one.
        std::fs::write(&config.certificate, "garbage").unwrap();
        reload.notify_one();
        let good_key = write_pair(&config);
        std::fs::write(&config.key, rcgen::KeyPair::generate().unwrap().serialize_pem()).unwrap();
        reload.notify_one();
        std::fs::write(&config.key, good_key).unwrap();
        reload.notify_one();
        identity.changed().await.unwrap();
        let second = *identity.borrow_and_update().hash();
        assert_ne!(second, first);
        assert_eq!(second, *load(&config).unwrap().hash());

        drop(identity);
        task.await.unwrap();
    }
}
