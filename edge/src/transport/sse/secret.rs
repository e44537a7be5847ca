//! The secret that ties POSTs to their event stream: `<worker>.<32 random bytes>`.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rand::TryRngCore as _;
use rand::rngs::OsRng;
use sha2::{Digest, Sha256};

/// What sessions are found by. A digest, so that the time a lookup takes says nothing about the secret.
pub(super) type SecretDigest = [u8; 32];

/// A session's secret and where it lives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Secret {
    worker: u16,
    text: String,
}

impl Secret {
    /// From the system's random numbers; `None` when it has none to give.
    pub(super) fn new(worker: u16) -> Option<Self> {
        let mut random = [0; 32];
        OsRng.try_fill_bytes(&mut random).ok()?;
        Some(Self { worker, text: format!("{worker}.{}", URL_SAFE_NO_PAD.encode(random)) })
    }

    /// As a client shows it. `None`: it cannot be one.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (worker, random) = text.split_once('.')?;
        let worker = worker.parse().ok()?;
        (random.len() == 43).then(|| Self { worker, text: text.to_owned() })
    }

    pub(super) fn worker(&self) -> u16 {
        self.worker
    }

    pub(super) fn as_str(&self) -> &str {
        &self.text
    }

    pub(super) fn digest(&self) -> SecretDigest {
        Sha256::digest(self.text.as_bytes()).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_come_back_as_they_were_and_never_twice() {
        let secret = Secret::new(3).unwrap();
        assert_eq!(Secret::parse(secret.as_str()), Some(secret.clone()));
        assert_eq!(secret.worker(), 3);
        assert_ne!(Secret::new(3), Some(secret));
        for text in ["", ".", "3", "3.", "x.AAAA", "70000.", "-1.A", "3.short"] {
            assert_eq!(Secret::parse(text), None, "{text}");
        }
    }
}
