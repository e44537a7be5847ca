//! The edge: terminates clients and fans publications out to them.
//!
//! Owns: listeners, worker threads, connections, hub shards, the delivery loop. State machines (session, hub, presence,
//! outbox) are `skywave-engine`'s; this crate gives them sockets and a clock. Never: sequences, stores, or names an
//! adapter.

mod admission;
pub mod auth;
pub mod backend;
pub mod config;
mod control;
mod core_client;
mod delivery;
mod drain;
mod encoding;
mod front;
mod handle;
pub mod http;
mod hub;
mod limits;
mod metrics;
pub mod ports;
mod recent;
mod region;
pub mod relay;
mod reporting;
mod server;
pub mod shared;
pub mod tls;
pub mod transport;
pub mod worker;

pub use admission::Permit;
pub use backend::Backend;
pub use config::{
    Compression, EdgeConfig, EdgeLimits, EdgeTiming, EventsConfig, HistoryCache, ListenerConfig,
    PlacementConfig, Redirect,
};
pub use handle::{Circuits, EdgeFailed, EdgeHandle};
pub use ports::{EdgePorts, SystemClock, WallClock};
pub use relay::Relay;
pub use server::{Edge, EdgeError};
pub use shared::Shared;
