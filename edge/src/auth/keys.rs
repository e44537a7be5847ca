//! Verification keys. Each has one algorithm, given by the configuration or by its JWK, never by a token.

use std::path::Path;

use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey};

use super::config::KeyConfig;
use super::error::AuthConfigError;

/// Keys that one token is tried with, at most: a set with hundreds of keys under one `kid` must not multiply the cost of
/// a bad token.
const TRIES: usize = 4;
/// Largest key file, in bytes.
const FILE_BYTES: u64 = 64 * 1024;

/// A key and the only algorithm it is used with.
#[derive(Clone)]
pub struct Key {
    pub kid: Option<String>,
    pub algorithm: Algorithm,
    key: DecodingKey,
}

impl Key {
    /// `None` unless the key belongs to the algorithm's family.
    pub fn new(kid: Option<String>, algorithm: Algorithm, key: DecodingKey) -> Option<Self> {
        (key.family() == algorithm.family()).then_some(Self { kid, algorithm, key })
    }

    /// Does `signature` (base64url) over `signed` hold?
    pub(super) fn verifies(&self, signed: &str, signature: &str) -> bool {
        // An undecodable signature is an error of the library, and no better than a wrong one.
        jsonwebtoken::crypto::verify(signature, signed.as_bytes(), &self.key, self.algorithm).unwrap_or(false)
    }
}

/// Shows no key material.
impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Key")
            .field("kid", &self.kid)
            .field("algorithm", &self.algorithm)
            .finish_non_exhaustive()
    }
}

/// Some keys, in the order of their configuration.
#[derive(Debug, Clone, Default)]
pub struct KeySet(Vec<Key>);

impl KeySet {
    pub fn new(keys: Vec<Key>) -> Self {
        Self(keys)
    }

    /// Reads the keys of the configuration, files included. Errors name the key and what is wrong with it.
    pub fn load(configs: &[KeyConfig]) -> Result<Self, AuthConfigError> {
        configs
            .iter()
            .enumerate()
            .map(|(index, config)| load_key(index, config))
            .collect::<Result<_, _>>()
            .map(Self)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The keys a token may be checked with: same algorithm, and same `kid` where both name one.
    pub(super) fn candidates<'a>(
        &'a self,
        kid: Option<&'a str>,
        algorithm: Algorithm,
    ) -> impl Iterator<Item = &'a Key> {
        let fits = move |key: &&Key| match (kid, key.kid.as_deref()) {
            (Some(asked), Some(named)) => asked == named,
            _ => true,
        };
        self.0.iter().filter(move |key| key.algorithm == algorithm).filter(fits).take(TRIES)
    }
}

fn load_key(index: usize, config: &KeyConfig) -> Result<Key, AuthConfigError> {
    let wrong = |problem: &str| AuthConfigError::Key { index, problem: problem.to_owned() };
    let sources = [
        config.secret.is_some(),
        config.secret_file.is_some(),
        config.pem.is_some(),
        config.pem_file.is_some(),
    ];
    if sources.iter().filter(|given| **given).count() != 1 {
        return Err(wrong("give exactly one of secret, secret_file, pem and pem_file"));
    }
    let symmetric = config.algorithm.family() == AlgorithmFamily::Hmac;
    if symmetric != (sources[0] || sources[1]) {
        return Err(wrong(if symmetric {
            "HS* algorithms take a secret, not a PEM key"
        } else {
            "RS*, PS*, ES* and EdDSA take a public key in PEM form, not a secret"
        }));
    }
    let key = if symmetric {
        let secret = match (&config.secret, &config.secret_file) {
            (Some(secret), _) => secret.clone().into_bytes(),
            (_, Some(path)) => without_line_end(read(path)?),
            _ => Vec::new(),
        };
        let least = hash_bytes(config.algorithm);
        if secret.len() < least {
            let problem = format!("the secret must have at least {least} bytes for {:?}", config.algorithm);
            return Err(AuthConfigError::Key { index, problem });
        }
        DecodingKey::from_secret(&secret)
    } else {
        let pem = match (&config.pem, &config.pem_file) {
            (Some(pem), _) => pem.clone().into_bytes(),
            (_, Some(path)) => read(path)?,
            _ => Vec::new(),
        };
        if pem.windows(11).any(|window| window == b"PRIVATE KEY") {
            return Err(wrong("this is a private key: give the public one, the relay needs no more"));
        }
        let parsed = match config.algorithm.family() {
            AlgorithmFamily::Rsa => DecodingKey::from_rsa_pem(&pem),
            AlgorithmFamily::Ec => DecodingKey::from_ec_pem(&pem),
            AlgorithmFamily::Ed => DecodingKey::from_ed_pem(&pem),
            AlgorithmFamily::Hmac => return Err(wrong("HS* algorithms take a secret, not a PEM key")),
        };
        parsed.map_err(|error| {
            wrong(&format!("not a public key in PEM form for {:?}: {error}", config.algorithm))
        })?
    };
    Key::new(config.kid.clone(), config.algorithm, key)
        .ok_or_else(|| wrong("the key does not fit the algorithm"))
}

/// Output size of the algorithm's hash, in bytes.
pub(super) fn hash_bytes(algorithm: Algorithm) -> usize {
    match algorithm {
        Algorithm::HS384 => 48,
        Algorithm::HS512 => 64,
        _ => 32,
    }
}

fn without_line_end(mut secret: Vec<u8>) -> Vec<u8> {
    if secret.last() == Some(&b'\n') {
        secret.pop();
        if secret.last() == Some(&b'\r') {
            secret.pop();
        }
    }
    secret
}

/// Reads a key file of sane size.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, AuthConfigError> {
    use std::io::Read as _;

    let failed = |error| AuthConfigError::File { path: path.to_owned(), error };
    let mut bytes = Vec::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(FILE_BYTES + 1).read_to_end(&mut bytes))
        .map_err(failed)?;
    if bytes.len() as u64 > FILE_BYTES {
        return Err(failed(std::io::Error::other("larger than 64 KiB")));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::test_tokens::{KeyPair, SECRET};

    fn config(algorithm: Algorithm) -> KeyConfig {
        KeyConfig { algorithm, kid: None, secret: None, secret_file: None, pem: None, pem_file: None }
    }

    #[test]
    fn a_public_key_is_no_secret_and_a_secret_no_public_key() {
        let pem = KeyPair::es256().public_pem;
        for bad in [
            KeyConfig { secret: Some("short".into()), ..config(Algorithm::HS256) },
            KeyConfig { pem: Some(pem.clone()), ..config(Algorithm::HS256) },
            KeyConfig { secret: Some(SECRET.into()), ..config(Algorithm::RS256) },
            KeyConfig { pem: Some(pem.clone()), ..config(Algorithm::RS256) },
            KeyConfig { pem: Some(pem.clone()), secret: Some(SECRET.into()), ..config(Algorithm::ES256) },
            KeyConfig { pem: Some(KeyPair::es256().private_pem), ..config(Algorithm::ES256) },
            KeyConfig { pem_file: Some("/nonexistent".into()), ..config(Algorithm::ES256) },
            config(Algorithm::HS256),
        ] {
            assert!(KeySet::load(std::slice::from_ref(&bad)).is_err(), "{bad:?}");
        }
        assert!(KeySet::load(&[KeyConfig { pem: Some(pem), ..config(Algorithm::ES256) }]).is_ok());
    }

    #[test]
    fn a_secret_file_may_end_in_a_line_end() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        std::fs::write(&path, format!("{SECRET}\r\n")).unwrap();
        let from_file =
            KeySet::load(&[KeyConfig { secret_file: Some(path), ..config(Algorithm::HS256) }]).unwrap();
        let token = crate::auth::test_tokens::hs256(SECRET, r#"{"sub":"a"}"#);
        let (signed, signature) = token.rsplit_once('.').unwrap();
        assert!(from_file.candidates(None, Algorithm::HS256).any(|key| key.verifies(signed, signature)));
    }

    #[test]
    fn candidates_share_the_algorithm_and_are_few() {
        let key = |kid: Option<&str>, algorithm| {
            Key::new(kid.map(Into::into), algorithm, DecodingKey::from_secret(SECRET.as_bytes())).unwrap()
        };
        let mut keys = vec![
            key(Some("a"), Algorithm::HS256),
            key(Some("b"), Algorithm::HS256),
            key(None, Algorithm::HS512),
        ];
        let set = KeySet::new(keys.clone());
        assert_eq!(set.candidates(Some("a"), Algorithm::HS256).count(), 1);
        assert_eq!(set.candidates(None, Algorithm::HS256).count(), 2);
        assert_eq!(set.candidates(Some("a"), Algorithm::HS512).count(), 1);
        assert_eq!(set.candidates(Some("a"), Algorithm::RS256).count(), 0);
        keys.extend((0..100).map(|_| key(Some("a"), Algorithm::HS256)));
        assert_eq!(KeySet::new(keys).candidates(Some("a"), Algorithm::HS256).count(), TRIES);
    }
}
