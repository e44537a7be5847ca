//! Who may connect: JSON Web Tokens (RFC 7519) and Origins.
//!
//! - [`config`] is what an operator writes; [`keys`] and [`jwks`] turn it into verification keys whose algorithm is fixed.
//! - [`verifier`] checks one token against those keys and a time that is passed in; it is pure and never performs I/O.
//! - [`authenticator`] adds what needs waiting: key rotation, and revocations that other nodes know of.
//! - [`origin`] decides which web pages may talk to this node.
//!
//! Owns: the path from a token's bytes to an [`Authorization`](skywave_engine::session::Authorization), and the one table
//! from [`AuthError`] to the wire. Never: signs tokens, fetches anything a token names (`jku`, `x5u`, `jwk` are not
//! looked at), trusts a token's `alg`, or logs a token. The claims are documented in `docs/auth.md`.

pub mod authenticator;
mod cache;
pub mod claims;
pub mod config;
pub mod error;
mod fetch;
pub mod jwks;
pub mod keys;
pub mod origin;
pub mod revocation;
mod strict_json;
pub mod verifier;

#[cfg(test)]
mod attacks;
#[cfg(test)]
mod test_tokens;

pub use authenticator::Authenticator;
pub use config::AuthConfig;
pub use error::{AuthConfigError, AuthError};
pub use origin::{OriginError, Origins, Provenance};
pub use verifier::Verifier;
