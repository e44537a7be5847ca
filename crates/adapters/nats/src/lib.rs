//! The adapter that carries the bus on NATS, so that many nodes in many regions share it.
//!
//! - `bus`: the port's contract on one connection; `publish` is its outgoing side, `interest` its incoming one.
//! - `connect`: the first connection, in bounded time; `reconnect`: which server is tried next, and when.
//! - `round_trip`: knows when the server has taken in what was sent before;
//! - `register`: what all regions agree on, in a bucket of JetStream;
//! - `micro`: the same server's micro service protocol, for backends that ask.
//!
//! Owns: the connection and its subscriptions. Never: keeps a message for later. What is lost while the connection is down
//! is repaired from the log by those who need it.

mod bus;
mod config;
mod connect;
mod error;
mod interest;
mod metrics;
pub mod micro;
mod publish;
mod reconnect;
mod register;
mod round_trip;

pub use bus::NatsBus;
pub use config::{NatsAuth, NatsConfig, NatsTls};
pub use error::NatsError;
pub use register::{NatsRegister, RegisterConfig};
