//! Certificates in force, and their replacement while connections go on.
//!
//! - [`identity`] turns a certificate chain and its key into ready TLS configurations, one for TCP and one for QUIC.
//! - [`files`] reads them from PEM files and notices when they change; [`self_signed`] makes short-lived ones.
//!
//! Everything that accepts connections holds a [`watch::Receiver`](tokio::sync::watch::Receiver) of the identity in force
//! and looks at it for each new connection. Never: drops a working certificate for one that cannot be used, or keeps
//! state for the resumption of sessions (it would cost every connection memory and save little).

pub mod config;
pub mod files;
pub mod identity;
pub mod self_signed;

pub use config::TlsConfig;
pub use identity::{Identity, IdentityError};
