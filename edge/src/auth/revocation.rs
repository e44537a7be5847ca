//! Tokens that are refused before they expire.
//!
//! A revocation reaches running nodes as a notice (`edge/src/control`) and those that start later through the shared state.
//! While that is away, a token that this node knows nothing of is let in, and looked up when the shared state is back
//! ([`Unchecked`]).

use std::time::Duration;

use hashbrown::{HashMap, HashSet};
use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use skywave_ports::{SharedState, StateError};

/// Revocations a node keeps in memory. When full, those that end first are forgotten here (the shared state still has
/// them).
const KEPT: usize = 100_000;

/// The node's own memory of revocations: token id → when it ends (seconds since the Unix epoch).
#[derive(Debug, Default)]
pub struct Revocations(Mutex<HashMap<String, u64>>);

impl Revocations {
    /// Remembers; `until` is when the token expires anyway.
    pub fn add(&self, token_id: String, until_s: u64, now_s: u64) {
        let mut kept = self.0.lock();
        if kept.len() >= KEPT {
            kept.retain(|_, until| *until > now_s);
        }
        if kept.len() >= KEPT {
            // Half of them go at once, so that a flood of revocations does not pay for a search each.
            let mut ends: Vec<u64> = kept.values().copied().collect();
            let (_, median, _) = ends.select_nth_unstable(KEPT / 2);
            let median = *median;
            kept.retain(|_, until| *until > median);
        }
        kept.insert(token_id, until_s);
    }

    /// Those in force, with their ends.
    pub fn all(&self, now_s: u64) -> Vec<TokenEnd> {
        let kept = self.0.lock();
        kept.iter().filter(|(_, until)| **until > now_s).map(|(id, until)| (id.clone(), *until)).collect()
    }

    pub fn holds(&self, token_id: &str, now_s: u64) -> bool {
        self.0.lock().get(token_id).is_some_and(|until| *until > now_s)
    }
}

/// A token's id, and when it expires in seconds since the Unix epoch (`u64::MAX`: never).
pub type TokenEnd = (String, u64);

/// Tokens that were let in while nobody could say whether they are revoked. When full, every connected token is looked up
/// instead.
#[derive(Debug, Default)]
pub struct Unchecked(Mutex<(HashSet<TokenEnd>, bool)>);

impl Unchecked {
    pub fn add(&self, tokens: impl IntoIterator<Item = TokenEnd>) {
        let (kept, overflow) = &mut *self.0.lock();
        for token in tokens {
            if kept.len() < KEPT {
                kept.insert(token);
            } else {
                *overflow = true;
            }
        }
    }

    /// All of them, and whether there were more; none are left.
    pub fn take(&self) -> (Vec<TokenEnd>, bool) {
        let (kept, overflow) = std::mem::take(&mut *self.0.lock());
        (kept.into_iter().collect(), overflow)
    }
}

/// Where the shared state remembers a revocation. The id is hashed: it may hold any characters.
pub fn state_key(token_id: &str) -> String {
    use std::fmt::Write as _;

    let digest = Sha256::digest(token_id.as_bytes());
    digest.iter().take(16).fold(String::from("revoked:"), |mut key, byte| {
        // Writing to a String cannot fail.
        let _ = write!(key, "{byte:02x}");
        key
    })
}

/// Tells the shared state.
pub async fn remember(
    state: &dyn SharedState,
    token_id: &str,
    until_s: u64,
    now_s: u64,
) -> Result<(), StateError> {
    let lifetime = Duration::from_secs(until_s.saturating_sub(now_s).max(1));
    state.remember(&state_key(token_id), lifetime).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_revocation_ends_with_its_token() {
        let revocations = Revocations::default();
        revocations.add("a".into(), 100, 0);
        assert!(revocations.holds("a", 99));
        assert!(!revocations.holds("a", 100));
        assert!(!revocations.holds("b", 0));
    }

    #[test]
    fn a_flood_is_bounded_and_keeps_the_longest() {
        let revocations = Revocations::default();
        revocations.add("long".into(), 10_000_000, 0);
        for n in 0..(KEPT as u64 * 2) {
            revocations.add(n.to_string(), 1_000 + n, 0);
        }
        assert!(revocations.0.lock().len() <= KEPT);
        assert!(revocations.holds("long", 1));
    }

    #[test]
    fn keys_are_plain_whatever_the_id_holds() {
        let key = state_key("a\r\nFLUSHALL *");
        assert!(key.strip_prefix("revoked:").unwrap().bytes().all(|b| b.is_ascii_hexdigit()), "{key}");
        assert_ne!(key, state_key("a"));
    }
}
