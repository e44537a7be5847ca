//! Names of keys: prefix, a letter for the kind, and a digest of what the caller calls it.
//!
//! A caller's key may hold what a client chose (a user's name), of any length and with any characters: the digest keeps
//! names short, kinds apart, users' names out of Redis, and every key below the prefix.

use std::fmt::Write as _;

use sha2::{Digest, Sha256};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Bucket,
    Remembered,
    Kept,
    Feed,
    Probe,
}

impl Kind {
    fn letter(self) -> char {
        match self {
            Self::Bucket => 'b',
            Self::Remembered => 'r',
            Self::Kept => 'k',
            Self::Feed => 'f',
            Self::Probe => 'p',
        }
    }
}

/// 128 bits: nobody finds two names of one digest.
const DIGEST_BYTES: usize = 16;

pub(crate) fn key(prefix: &str, kind: Kind, name: &str) -> String {
    let mut key = String::with_capacity(prefix.len() + 3 + 2 * DIGEST_BYTES);
    key.push_str(prefix);
    key.push(':');
    key.push(kind.letter());
    key.push(':');
    for byte in Sha256::digest(name.as_bytes()).iter().take(DIGEST_BYTES) {
        // Writing to a String cannot fail.
        let _ = write!(key, "{byte:02x}");
    }
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_of_any_kind_stays_below_the_prefix() {
        for name in ["", "a", "a\r\nFLUSHALL", "../../other", "{slot}", &"x".repeat(100_000)] {
            let key = key("sw", Kind::Bucket, name);
            let digest = key.strip_prefix("sw:b:").unwrap();
            assert!(digest.len() == 32 && digest.bytes().all(|byte| byte.is_ascii_hexdigit()), "{key}");
        }
        assert_ne!(key("sw", Kind::Bucket, "a"), key("sw", Kind::Remembered, "a"));
        assert_ne!(key("sw", Kind::Bucket, "a"), key("sw", Kind::Bucket, "b"));
    }
}
