//! Tokens whose signature has been checked, by digest, so that a storm of reconnecting clients costs one check each.
//!
//! Only signature and syntax are remembered; time, issuer and revocation are looked at on every use. Two generations of
//! bounded size: when the younger is full, the older is forgotten.

use std::sync::Arc;

use hashbrown::HashMap;
use parking_lot::Mutex;
use sha2::{Digest, Sha256};

use super::claims::Claims;

/// Entries of one generation (two are kept): about 1 KB each with a few capabilities.
const GENERATION: usize = 8_192;

pub(super) type TokenDigest = [u8; 32];

pub(super) fn digest(token: &str) -> TokenDigest {
    Sha256::digest(token.as_bytes()).into()
}

#[derive(Default)]
struct Generations {
    young: HashMap<TokenDigest, Arc<Claims>>,
    old: HashMap<TokenDigest, Arc<Claims>>,
}

#[derive(Default)]
pub(super) struct TokenCache(Mutex<Generations>);

impl TokenCache {
    pub(super) fn get(&self, digest: &TokenDigest) -> Option<Arc<Claims>> {
        let mut generations = self.0.lock();
        if let Some(claims) = generations.young.get(digest) {
            return Some(Arc::clone(claims));
        }
        let claims = generations.old.remove(digest)?;
        generations.put(*digest, Arc::clone(&claims));
        Some(claims)
    }

    pub(super) fn put(&self, digest: TokenDigest, claims: Arc<Claims>) {
        self.0.lock().put(digest, claims);
    }

    /// Forgets everything: a key may have gone.
    pub(super) fn clear(&self) {
        *self.0.lock() = Generations::default();
    }
}

impl Generations {
    fn put(&mut self, digest: TokenDigest, claims: Arc<Claims>) {
        if self.young.len() >= GENERATION {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(digest, claims);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::test_tokens::empty_claims;

    #[test]
    fn it_is_bounded_and_keeps_what_is_used() {
        let cache = TokenCache::default();
        let claims = Arc::new(empty_claims());
        let used = digest("used");
        cache.put(used, Arc::clone(&claims));
        for n in 0..GENERATION * 5 {
            cache.put(digest(&n.to_string()), Arc::clone(&claims));
            assert!(cache.get(&used).is_some());
        }
        let generations = cache.0.lock();
        assert!(generations.young.len() + generations.old.len() <= 2 * GENERATION);
        assert!(!generations.old.contains_key(&digest("0")));
    }
}
