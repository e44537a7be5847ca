//! Why a token, or the configuration that should check it, was refused.

use std::path::PathBuf;

use skywave_protocol::{ErrorCode, WireError};

/// Why a token was refused. Messages say what to fix and hold nothing of the token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    #[error("a token is required")]
    Missing,
    #[error("a token has at most {limit} bytes; this one has {got}")]
    TooLong { limit: usize, got: usize },
    #[error("not a JSON Web Token: {0}")]
    Malformed(&'static str),
    /// No key fits the token's `kid` and `alg`. A rotation may bring one.
    #[error("no key is known for this token (kid, alg)")]
    UnknownKey,
    #[error("the token's signature does not hold")]
    BadSignature,
    #[error("the token's claim `{claim}` is {problem}")]
    BadClaim { claim: &'static str, problem: &'static str },
    #[error("the token has expired")]
    Expired,
    #[error("the token is not valid yet")]
    NotYet,
    #[error("the token is from another issuer")]
    WrongIssuer,
    #[error("the token is for another audience")]
    WrongAudience,
    #[error("the token has been revoked")]
    Revoked,
    #[error("the key set cannot be read now")]
    KeysUnavailable,
}

impl AuthError {
    /// The one table from here to the wire.
    pub fn code(self) -> ErrorCode {
        match self {
            Self::Missing
            | Self::TooLong { .. }
            | Self::Malformed(_)
            | Self::UnknownKey
            | Self::BadSignature
            | Self::BadClaim { .. }
            | Self::NotYet
            | Self::WrongIssuer
            | Self::WrongAudience => ErrorCode::Unauthorized,
            Self::Expired => ErrorCode::TokenExpired,
            Self::Revoked => ErrorCode::Unauthorized,
            Self::KeysUnavailable => ErrorCode::StoreUnavailable,
        }
    }
}

impl From<AuthError> for WireError {
    fn from(error: AuthError) -> Self {
        let wire = WireError::new(error.code(), error.to_string());
        match error {
            AuthError::KeysUnavailable => wire.retry_after_ms(2_000),
            _ => wire,
        }
    }
}

/// Why the `[auth]` table cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum AuthConfigError {
    #[error("auth: no keys, no jwks and anonymous = false: nobody could connect")]
    NobodyCouldConnect,
    #[error("auth.keys[{index}]: {problem}")]
    Key { index: usize, problem: String },
    #[error("auth.jwks: {0}")]
    Jwks(String),
    #[error("auth: {0} has at most 300 seconds")]
    Leeway(&'static str),
    #[error("auth.allowed_origins: {origin:?} {problem}")]
    Origin { origin: String, problem: &'static str },
    #[error("auth: cannot read {path}: {error}")]
    File { path: PathBuf, error: std::io::Error },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expiry_asks_for_a_new_token_and_an_outage_for_patience() {
        assert_eq!(WireError::from(AuthError::Expired).code, ErrorCode::TokenExpired);
        let outage = WireError::from(AuthError::KeysUnavailable);
        assert_eq!(outage.code.http_status(), 503);
        assert!(outage.retry_after_ms.is_some());
    }
}
