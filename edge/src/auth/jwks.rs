//! A JSON Web Key Set (RFC 7517) as verification keys, and when to read it again.
//!
//! Owns: which keys of a set are usable and with which algorithm; the refresh schedule, as a state machine over time that
//! is passed in. Never: fetches (see [`super::authenticator`]), or fails as a whole because of one odd key in the set.

use jsonwebtoken::jwk::{
    AlgorithmParameters, CommonParameters, EllipticCurve, Jwk, KeyOperations, PublicKeyUse,
};
use jsonwebtoken::{Algorithm, DecodingKey};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::keys::{Key, KeySet, hash_bytes};

/// Keys that are taken from one set.
const KEYS: usize = 256;
/// After a failed read of the set the next one waits at least this long, in milliseconds.
const RETRY_MS: u64 = 5_000;

/// Why a set cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum JwksError {
    #[error("not a JSON Web Key Set: {0}")]
    Json(#[from] serde_json::Error),
    #[error("the set holds no usable key ({0} were skipped)")]
    NoKeys(usize),
    #[error("{0}")]
    Unreadable(String),
}

#[derive(Deserialize)]
struct Set<'a> {
    #[serde(borrow)]
    keys: Vec<&'a RawValue>,
}

/// Reads a set. `symmetric`: shared secrets are taken as well (a set that was fetched must not hold any).
pub fn parse(text: &[u8], symmetric: bool) -> Result<KeySet, JwksError> {
    let set: Set<'_> = serde_json::from_slice(text)?;
    let total = set.keys.len();
    let keys: Vec<Key> = set
        .keys
        .into_iter()
        .filter_map(|raw| serde_json::from_str::<Jwk>(raw.get()).ok())
        .filter_map(|jwk| usable(&jwk, symmetric))
        .take(KEYS)
        .collect();
    if keys.is_empty() { Err(JwksError::NoKeys(total)) } else { Ok(KeySet::new(keys)) }
}

fn usable(jwk: &Jwk, symmetric: bool) -> Option<Key> {
    let CommonParameters { public_key_use, key_operations, key_algorithm, key_id, .. } = &jwk.common;
    if public_key_use.as_ref().is_some_and(|usage| *usage != PublicKeyUse::Signature) {
        return None;
    }
    if key_operations.as_ref().is_some_and(|operations| !operations.contains(&KeyOperations::Verify)) {
        return None;
    }
    let algorithm = match key_algorithm {
        Some(named) => named.to_string().parse::<Algorithm>().ok()?,
        None => default_algorithm(&jwk.algorithm)?,
    };
    let curve_fits = match (&jwk.algorithm, algorithm) {
        (AlgorithmParameters::EllipticCurve(ec), Algorithm::ES256) => ec.curve == EllipticCurve::P256,
        (AlgorithmParameters::EllipticCurve(ec), Algorithm::ES384) => ec.curve == EllipticCurve::P384,
        (AlgorithmParameters::OctetKeyPair(okp), _) => okp.curve == EllipticCurve::Ed25519,
        (AlgorithmParameters::OctetKey(_), _) => symmetric,
        _ => true,
    };
    if !curve_fits {
        return None;
    }
    let key = DecodingKey::from_jwk(jwk).ok()?;
    if matches!(jwk.algorithm, AlgorithmParameters::OctetKey(_))
        && key.try_get_as_bytes().ok()?.len() < hash_bytes(algorithm)
    {
        return None;
    }
    Key::new(key_id.clone(), algorithm, key)
}

fn default_algorithm(parameters: &AlgorithmParameters) -> Option<Algorithm> {
    match parameters {
        AlgorithmParameters::RSA(_) => Some(Algorithm::RS256),
        AlgorithmParameters::EllipticCurve(ec) => match ec.curve {
            EllipticCurve::P256 => Some(Algorithm::ES256),
            EllipticCurve::P384 => Some(Algorithm::ES384),
            _ => None,
        },
        AlgorithmParameters::OctetKeyPair(_) => Some(Algorithm::EdDSA),
        AlgorithmParameters::OctetKey(_) => Some(Algorithm::HS256),
        _ => None,
    }
}

/// When to read the set again. Times are monotonic milliseconds.
#[derive(Debug)]
pub struct RefreshPlan {
    refresh_ms: u64,
    unknown_kid_ms: u64,
    next: u64,
    /// When an unknown `kid` may cause a read again.
    unknown_kid_next: u64,
}

impl RefreshPlan {
    /// The set has just been read (or has just failed to be read).
    pub fn new(now: u64, refresh_seconds: u64, unknown_kid_seconds: u64, read: bool) -> Self {
        let mut plan = Self {
            refresh_ms: refresh_seconds.max(1) * 1_000,
            unknown_kid_ms: unknown_kid_seconds.max(1) * 1_000,
            next: 0,
            unknown_kid_next: 0,
        };
        plan.done(now, read);
        // The first unknown kid after the start need not wait: the set may have rotated while we were starting.
        plan.unknown_kid_next = now;
        plan
    }

    /// When the set is due.
    pub fn due(&self) -> u64 {
        self.next
    }

    /// A token named a `kid` that is not in the set: may the set be read now?
    pub fn take_unknown_kid(&mut self, now: u64) -> bool {
        let allowed = now >= self.unknown_kid_next;
        if allowed {
            self.unknown_kid_next = now + self.unknown_kid_ms;
        }
        allowed
    }

    /// A read has ended, well or not.
    pub fn done(&mut self, now: u64, read: bool) {
        self.next = now + if read { self.refresh_ms } else { self.refresh_ms.min(RETRY_MS) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // RFC 8037, appendix A.2, and RFC 7517, appendix A.1 (public examples).
    const ED: &str =
        r#"{"kty":"OKP","crv":"Ed25519","kid":"ed","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;
    const EC: &str = r#"{"kty":"EC","crv":"P-256","kid":"ec","use":"sig","alg":"ES256","x":"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4","y":"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM"}"#;

    fn set(keys: &[&str]) -> Result<KeySet, JwksError> {
        parse(format!(r#"{{"keys":[{}]}}"#, keys.join(",")).as_bytes(), false)
    }

    #[test]
    fn odd_keys_are_skipped_and_the_others_used() {
        let odd = [
            r#"{"kty":"EC","crv":"P-521","x":"AA","y":"AA"}"#,
            r#"{"kty":"brand-new"}"#,
            r#"{"kty":"oct","k":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}"#,
            r#"7"#,
        ];
        assert!(matches!(set(&odd), Err(JwksError::NoKeys(4))));
        let keys = set(&[odd[0], ED, odd[1], EC, odd[3]]).unwrap();
        assert_eq!(keys.candidates(Some("ed"), Algorithm::EdDSA).count(), 1);
        assert_eq!(keys.candidates(Some("ec"), Algorithm::ES256).count(), 1);
        assert_eq!(keys.len(), 2);
    }

    #[test]
    fn an_encryption_key_and_a_misfitting_alg_are_not_used() {
        assert!(set(&[&EC.replace("sig", "enc")]).is_err());
        assert!(set(&[&EC.replace("ES256", "RS256")]).is_err());
        assert!(set(&[&EC.replace("ES256", "ES384")]).is_err());
        assert!(set(&[&EC.replace("ES256", "HS256")]).is_err());
    }

    #[test]
    fn shared_secrets_only_from_files_and_only_long_ones() {
        let text = br#"{"keys":[{"kty":"oct","k":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}]}"#;
        assert!(parse(text, false).is_err());
        assert!(parse(text, true).is_ok());
        assert!(parse(br#"{"keys":[{"kty":"oct","k":"AAAA"}]}"#, true).is_err());
    }

    #[test]
    fn unknown_kids_cannot_make_it_hammer_the_source() {
        let mut plan = RefreshPlan::new(0, 300, 30, true);
        let reads = (0..60_000).step_by(10).filter(|now| plan.take_unknown_kid(*now)).count();
        assert_eq!(reads, 2);
    }

    #[test]
    fn a_failed_read_is_repeated_sooner() {
        let mut plan = RefreshPlan::new(0, 300, 30, true);
        assert_eq!(plan.due(), 300_000);
        plan.done(300_000, false);
        assert_eq!(plan.due(), 305_000);
        plan.done(305_000, true);
        assert_eq!(plan.due(), 605_000);
    }
}
