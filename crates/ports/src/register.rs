//! A few small values that all regions agree on: who holds what. Decided by compare-and-set, followed by everybody.

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::watch;

/// Bytes of a value, at most.
pub const VALUE_BYTES: usize = 16 * 1024;

/// Number of a write. Grows from write to write of a register; 0: nothing was written.
pub type Revision = u64;

/// Values under keys.
///
/// Contract:
/// - *Agreement*: a write names the revision that it follows. Of all writes that follow one revision of a key, one succeeds at
///   most.
/// - *Durability*: when [`Register::write`] returns `Ok` the value survives `kill -9` of everything, and the loss of a minority
///   of its servers.
/// - A read may be old. A write that follows what was read finds out.
/// - After `Unavailable` it is unknown whether the value was written, or will be yet; only what is read or followed later says.
///   After the other errors it certainly was not.
/// - A value that an operator has removed is none, with a revision of its own.
#[async_trait]
pub trait Register: Send + Sync + 'static {
    /// What a key holds.
    async fn read(&self, key: &RegisterKey) -> Result<Held, RegisterError>;

    /// Writes a value of at most [`VALUE_BYTES`], if `after` is the key's revision. Returns the new one.
    async fn write(
        &self,
        key: &RegisterKey,
        value: Bytes,
        after: Revision,
    ) -> Result<Revision, RegisterError>;

    /// Follows a key until dropped, over any loss of the connection.
    fn follow(&self, key: &RegisterKey) -> Follow;
}

/// What a key holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Held {
    pub revision: Revision,
    /// `None`: nothing.
    pub value: Option<Bytes>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RegisterError {
    /// Somebody else has written since, or this writer itself with a write whose outcome it does not know.
    #[error("the value was written by somebody since")]
    Conflict,
    #[error("a value of {0} bytes is too large, {VALUE_BYTES} are the limit")]
    TooLarge(usize),
    #[error("the register cannot be reached: {0}")]
    Unavailable(String),
}

/// Name of a value: 1 to 128 bytes of ASCII letters, digits, `-` and `_`, and dots between them.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RegisterKey(Box<str>);

impl RegisterKey {
    pub const MAX_BYTES: usize = 128;

    /// `None` if it is no such name.
    pub fn parse(text: &str) -> Option<Self> {
        let word = |word: &str| {
            !word.is_empty()
                && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
        };
        (text.len() <= Self::MAX_BYTES && text.split('.').all(word)).then(|| Self(text.into()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Hears what one key holds. Of what changes faster than it is asked for, the newest is enough.
#[derive(Debug)]
pub struct Follow(watch::Receiver<Option<Held>>);

impl Follow {
    /// For adapters: what is sent here is heard, and what it holds by now. `None`: not known yet.
    pub fn new(mut newest: watch::Receiver<Option<Held>>) -> Self {
        newest.mark_changed();
        Self(newest)
    }

    /// What the key holds, as soon as that is known; then each time it has changed. Revisions grow. Cancel-safe. Waits for ever
    /// when the register is gone.
    pub async fn next(&mut self) -> Held {
        loop {
            if self.0.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
            if let Some(held) = self.0.borrow_and_update().clone() {
                return held;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_cannot_be_read_as_anything_else() {
        for good in ["a", "cell.main.lease", "A-1_b", &"k".repeat(128)] {
            assert_eq!(RegisterKey::parse(good).expect(good).as_str(), good);
        }
        let long = "k".repeat(129);
        for bad in ["", ".", "a.", ".a", "a..b", "*", ">", "a.>", "a b", "a\r\n", "ä", "a/b", "a=b", &long] {
            assert_eq!(RegisterKey::parse(bad), None, "{bad:?}");
        }
    }
}
