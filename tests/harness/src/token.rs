//! Tokens for tests: good ones, and every kind of bad one that a test asks for.

use jsonwebtoken::{EncodingKey, Header};
use serde_json::{Value, json};

/// The secret of servers configured with [`server_config`].
pub const SECRET: &str = "a secret of at least thirty-two bytes for tests";

/// `[auth]` that accepts HS256 tokens signed with [`SECRET`] and no anonymous clients.
pub fn server_config() -> String {
    format!("[auth]\nanonymous = false\n[[auth.keys]]\nalgorithm = \"HS256\"\nsecret = \"{SECRET}\"\n")
}

/// Seconds since the Unix epoch.
pub fn now() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

/// A token for `user`, valid for an hour, that allows what the namespaces allow.
pub fn for_user(user: &str) -> String {
    signed(&json!({ "sub": user, "iat": now(), "exp": now() + 3600 }), SECRET)
}

/// The same with capabilities.
pub fn with_capabilities(user: &str, capabilities: Value) -> String {
    signed(&json!({ "sub": user, "iat": now(), "exp": now() + 3600, "cap": capabilities }), SECRET)
}

/// Any claims, HS256 under any secret.
pub fn signed(claims: &Value, secret: &str) -> String {
    // Invariant: claims are JSON and HS256 takes any secret.
    jsonwebtoken::encode(&Header::default(), claims, &EncodingKey::from_secret(secret.as_bytes()))
        .expect("HS256 signs any JSON")
}
