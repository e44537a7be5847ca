//! One token against the keys and the time: pure, without I/O.

use std::sync::Arc;

use jsonwebtoken::AlgorithmFamily;
use parking_lot::RwLock;
use skywave_engine::session::Authorization;
use skywave_protocol::limits::TOKEN_BYTES;

use super::cache::{self, TokenCache};
use super::claims::{Claims, Header, Parts};
use super::config::AuthConfig;
use super::error::{AuthConfigError, AuthError};
use super::keys::KeySet;

/// What tokens must satisfy besides their signature.
#[derive(Debug, Clone)]
struct Rules {
    issuer: Vec<String>,
    audience: Vec<String>,
    leeway_s: u64,
    require_expiry: bool,
}

/// Checks tokens. Shared by all workers; a change of keys replaces the set as a whole.
pub struct Verifier {
    rules: Rules,
    configured: KeySet,
    rotating: RwLock<Arc<KeySet>>,
    cache: TokenCache,
}

impl Verifier {
    /// Reads the configured keys. Errors name the field that is wrong.
    pub fn new(config: &AuthConfig) -> Result<Self, AuthConfigError> {
        if config.leeway_seconds > 300 {
            return Err(AuthConfigError::Leeway("leeway_seconds"));
        }
        if config.keys.is_empty() && config.jwks.is_none() && !config.anonymous {
            return Err(AuthConfigError::NobodyCouldConnect);
        }
        Ok(Self {
            rules: Rules {
                issuer: config.issuer.clone(),
                audience: config.audience.clone(),
                leeway_s: config.leeway_seconds,
                require_expiry: config.require_expiry,
            },
            configured: KeySet::load(&config.keys)?,
            rotating: RwLock::default(),
            cache: TokenCache::default(),
        })
    }

    /// Replaces the keys that came from the key set.
    pub fn rotate(&self, keys: KeySet) {
        // In this order: a check that still runs with the old keys finds the new set in place when it wants to put its
        // result into the cache, and leaves it.
        *self.rotating.write() = Arc::new(keys);
        self.cache.clear();
    }

    /// Checks a token at `unix_now_s` (seconds since the Unix epoch). What it returns expires at `exp` plus the leeway.
    pub fn verify(&self, token: &str, unix_now_s: u64) -> Result<Authorization, AuthError> {
        let claims = self.verified(token)?;
        self.rules.check(&claims, unix_now_s)?;
        Ok(Authorization {
            user: claims.user.clone(),
            expires_at_s: claims.expires_at_s.map(|at| at.saturating_add(self.rules.leeway_s)),
            capabilities: claims.capabilities.clone(),
            token_id: claims.token_id.clone(),
            admin: claims.admin,
        })
    }

    /// Claims of a token whose signature holds.
    fn verified(&self, token: &str) -> Result<Arc<Claims>, AuthError> {
        if token.len() > TOKEN_BYTES {
            return Err(AuthError::TooLong { limit: TOKEN_BYTES, got: token.len() });
        }
        let parts = Parts::split(token)?;
        let header = Header::parse(parts.header)?;
        // A keyed hash is cheaper than the digest that the cache would need.
        let cached = header.algorithm.family() != AlgorithmFamily::Hmac;
        let digest = cached.then(|| cache::digest(token));
        if let Some(claims) = digest.as_ref().and_then(|digest| self.cache.get(digest)) {
            return Ok(claims);
        }
        let rotating = Arc::clone(&self.rotating.read());
        check_signature(&parts, &header, &[&self.configured, &rotating])?;
        let claims = Arc::new(Claims::parse(parts.claims)?);
        if let Some(digest) = digest {
            // Held while the entry goes in: a rotation clears the cache after it, never before.
            let current = self.rotating.read();
            if Arc::ptr_eq(&current, &rotating) {
                self.cache.put(digest, Arc::clone(&claims));
            }
        }
        Ok(claims)
    }
}

fn check_signature(parts: &Parts<'_>, header: &Header, sets: &[&KeySet]) -> Result<(), AuthError> {
    let mut tried = false;
    for key in sets.iter().flat_map(|set| set.candidates(header.kid.as_deref(), header.algorithm)) {
        tried = true;
        if key.verifies(parts.signed, parts.signature) {
            return Ok(());
        }
    }
    Err(if tried { AuthError::BadSignature } else { AuthError::UnknownKey })
}

impl Rules {
    fn check(&self, claims: &Claims, now_s: u64) -> Result<(), AuthError> {
        match claims.expires_at_s {
            Some(at) if now_s >= at.saturating_add(self.leeway_s) => return Err(AuthError::Expired),
            None if self.require_expiry => {
                return Err(AuthError::BadClaim { claim: "exp", problem: "missing" });
            }
            _ => {}
        }
        if claims.not_before_s.is_some_and(|at| now_s.saturating_add(self.leeway_s) < at) {
            return Err(AuthError::NotYet);
        }
        if !self.issuer.is_empty()
            && !claims.issuer.as_ref().is_some_and(|issuer| self.issuer.contains(issuer))
        {
            return Err(AuthError::WrongIssuer);
        }
        let audience_fits = match &claims.audience {
            Some(named) => named.iter().any(|name| self.audience.contains(name)),
            None => self.audience.is_empty(),
        };
        if audience_fits { Ok(()) } else { Err(AuthError::WrongAudience) }
    }
}
