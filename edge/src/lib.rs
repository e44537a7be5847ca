//! The edge: terminates clients and fans publications out to them.
//!
//! Owns: listeners, worker threads, connections, hub shards, the delivery loop. State machines (session, hub, presence,
//! outbox) are `skywave-engine`'s; this crate gives them sockets and a clock. Never: sequences, stores, or names an
//! adapter.

pub mod auth;
pub mod config;
pub mod http;
pub mod ports;
pub mod relay;
pub mod tls;
pub mod transport;
pub mod worker;

pub use config::{Compression, EdgeConfig, EdgeLimits, EdgeTiming, ListenerConfig};
pub use ports::{EdgePorts, SystemClock, WallClock};
pub use relay::Relay;

/// Starts edges.
pub struct Edge;

/// A running edge.
pub struct EdgeHandle;
