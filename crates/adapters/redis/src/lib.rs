//! The shared state of a region on Redis: token buckets, remembered keys and feeds, each operation one script or command
//! on one key, so that a cluster serves as well as a single server.
//!
//! - [`RedisState::connect`] fails for a wrong configuration only. Redis that is away is no reason: until it comes (and
//!   whenever it goes) every operation is [`Unavailable`](skywave_ports::StateError) at once.
//! - A breaker stands before Redis: after a few failures in a row nobody waits for another timeout; one probe at a time
//!   finds out when Redis is back.
//!
//! Owns: keys below its prefix, connections, timeouts. Never: names a key by what a client said (keys are digests), asks
//! for the time of this machine, or holds a caller longer than the command timeout.

mod breaker;
mod config;
mod connect;
mod keys;
mod metrics;
mod probe;
mod scripts;
mod state;

pub use config::{Reconnect, RedisConfig, RedisTls};
pub use connect::RedisError;
pub use state::RedisState;
