//! The store on Postgres: history, checkpoints and dedup entries of a cell, in tables that people may query; and the
//! transactional outbox of an application.
//!
//! - `config` says where the server is and how long anything may take; `schema` makes the tables, and refuses those of a
//!   newer version;
//! - `connections` holds the connections: few, bounded, behind a circuit breaker, each operation with a deadline;
//! - `store` is the [`skywave_ports::Store`];
//! - `outbox` is the [`skywave_ports::Outbox`] of an application's own database.
//!
//! Never: reads a configuration file, logs a password, or waits for a server without end.

mod config;
mod connections;
mod error;
mod metrics;
mod outbox;
mod schema;
mod store;

pub use config::{PostgresConfig, TlsMode};
pub use error::ConnectError;
pub use outbox::PostgresOutbox;
pub use schema::{SCHEMA_VERSION, migrate, migrate_outbox};
pub use store::PostgresStore;
