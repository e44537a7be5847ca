//! Tokens for an edge that asks for them.

use jsonwebtoken::{EncodingKey, Header, encode};
use skywave_edge::auth::AuthConfig;

const SECRET: &str = "a-secret-that-is-long-enough-for-tests";

/// One HS256 key, no anonymous clients.
pub fn config() -> AuthConfig {
    let key = serde_json::json!({"algorithm": "HS256", "secret": SECRET});
    AuthConfig { keys: vec![serde_json::from_value(key).unwrap()], ..AuthConfig::default() }
}

pub fn with_claims(claims: &str) -> String {
    let claims: serde_json::Value = serde_json::from_str(claims).unwrap();
    encode(&Header::default(), &claims, &EncodingKey::from_secret(SECRET.as_bytes())).unwrap()
}

pub fn of(user: &str) -> String {
    with_claims(&format!(r#"{{"sub":"{user}","exp":4000000000}}"#))
}

pub fn expired(user: &str) -> String {
    with_claims(&format!(r#"{{"sub":"{user}","exp":1000000000}}"#))
}
