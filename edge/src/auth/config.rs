//! What an operator writes about tokens and origins (`[auth]`). Field by field in `docs/auth.md`.

use std::path::PathBuf;

use jsonwebtoken::Algorithm;
use serde::de::{self, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

/// The `[auth]` table. The default accepts nobody: no keys, no anonymous clients.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AuthConfig {
    /// Clients may connect without a token; they get what the namespaces allow to everyone.
    pub anonymous: bool,
    /// Keys that tokens are checked with.
    pub keys: Vec<KeyConfig>,
    /// A JSON Web Key Set (RFC 7517) with more keys.
    pub jwks: Option<JwksConfig>,
    /// Accepted `iss` values; empty: `iss` is not looked at.
    #[serde(deserialize_with = "one_or_many")]
    pub issuer: Vec<String>,
    /// Accepted `aud` values: a token must name one of them. Empty: a token that names any audience is meant for somebody
    /// else and is refused (RFC 7519, 4.1.3).
    #[serde(deserialize_with = "one_or_many")]
    pub audience: Vec<String>,
    /// Clock difference that is forgiven around `exp` and `nbf`, in seconds (at most 300).
    pub leeway_seconds: u64,
    /// Refuse tokens without `exp`.
    pub require_expiry: bool,
    /// Web origins (`https://app.example.com`, with the port unless it is the scheme's own) whose pages may connect; `*`
    /// allows every one.
    pub allowed_origins: Vec<String>,
    /// Pages served by this node itself may connect, when it is addressed by `localhost` or an IP address. (A name could
    /// have been made to point here by somebody else: list it in `allowed_origins`.)
    pub same_origin: bool,
    /// Clients that send no `Origin` (not browsers) may connect.
    pub missing_origin: bool,
}

impl Default for AuthConfig {
    fn default() -> Self {
        Self {
            anonymous: false,
            keys: Vec::new(),
            jwks: None,
            issuer: Vec::new(),
            audience: Vec::new(),
            leeway_seconds: 5,
            require_expiry: true,
            allowed_origins: Vec::new(),
            same_origin: true,
            missing_origin: true,
        }
    }
}

/// One key. The algorithm belongs to the key; what a token says about itself never chooses it.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyConfig {
    /// HS256/384/512, RS256/384/512, PS256/384/512, ES256/384 or EdDSA.
    pub algorithm: Algorithm,
    /// A token that names a `kid` is checked with the keys of that `kid` and those that have none.
    #[serde(default)]
    pub kid: Option<String>,
    /// For HS*: the shared secret, at least as many bytes as the hash has (RFC 7518, 3.2).
    #[serde(default)]
    pub secret: Option<String>,
    /// For HS*: a file with the secret; one line end at its end is ignored.
    #[serde(default)]
    pub secret_file: Option<PathBuf>,
    /// For the others: the public key in PEM form …
    #[serde(default)]
    pub pem: Option<String>,
    /// … or a file that holds it.
    #[serde(default)]
    pub pem_file: Option<PathBuf>,
}

/// Shows everything but the secret.
impl std::fmt::Debug for KeyConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeyConfig")
            .field("algorithm", &self.algorithm)
            .field("kid", &self.kid)
            .field("secret", &self.secret.as_ref().map(|_| "[redacted]"))
            .field("secret_file", &self.secret_file)
            .field("pem_file", &self.pem_file)
            .finish_non_exhaustive()
    }
}

/// Where a key set comes from; exactly one of `url` and `file`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JwksConfig {
    /// `https://…` (plain `http://` only to this machine).
    #[serde(default)]
    pub url: Option<String>,
    #[serde(default)]
    pub file: Option<PathBuf>,
    /// The set is read again after this many seconds; a failure keeps the last good one.
    #[serde(default = "refresh_seconds")]
    pub refresh_seconds: u64,
    /// A token with an unknown `kid` makes the set be read again, at most once in this many seconds.
    #[serde(default = "unknown_kid_seconds")]
    pub unknown_kid_seconds: u64,
    /// The whole of one fetch may take this long.
    #[serde(default = "timeout_seconds")]
    pub timeout_seconds: u64,
}

fn refresh_seconds() -> u64 {
    300
}

fn unknown_kid_seconds() -> u64 {
    30
}

fn timeout_seconds() -> u64 {
    5
}

/// Takes `"a"` as well as `["a", "b"]`.
fn one_or_many<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    struct OneOrMany;

    impl<'de> Visitor<'de> for OneOrMany {
        type Value = Vec<String>;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("a string or a list of strings")
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
            Ok(vec![text.to_owned()])
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
            let mut values = Vec::new();
            while let Some(value) = seq.next_element()? {
                values.push(value);
            }
            Ok(values)
        }
    }

    deserializer.deserialize_any(OneOrMany)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_one_or_many_and_refuses_unknown_fields() {
        let config: AuthConfig = serde_json::from_str(
            r#"{"issuer":"https://a","audience":["x","y"],"keys":[{"algorithm":"HS256","secret":"s"}]}"#,
        )
        .unwrap();
        assert_eq!((config.issuer.len(), config.audience.len(), config.keys.len()), (1, 2, 1));
        assert!(serde_json::from_str::<AuthConfig>(r#"{"anonymus":true}"#).is_err());
        assert!(serde_json::from_str::<AuthConfig>(r#"{"keys":[{"algorithm":"none"}]}"#).is_err());
    }

    #[test]
    fn debug_output_holds_no_secret() {
        let config: AuthConfig =
            serde_json::from_str(r#"{"keys":[{"algorithm":"HS256","secret":"hunter2-hunter2"}]}"#).unwrap();
        assert!(!format!("{config:?}").contains("hunter2"));
    }
}
