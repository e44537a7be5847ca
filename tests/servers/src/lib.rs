//! Real servers for tests and for the cluster on one machine: found or installed, started on free ports, ended on drop.
//!
//! Owns: processes, their folders, their ports. Never: knows what Skywave says to them, and never touches a process that
//! it did not start.

pub mod certificates;
pub mod family;
pub mod http;
pub mod identity;
pub mod install;
pub mod kafka;
pub mod nats;
pub mod ports;
pub mod postgres;
pub mod process;
pub mod redis;
mod stat;
pub mod volume;
pub mod wait;

pub use identity::{Identity, State};
pub use kafka::{Kafka, KafkaOptions};
pub use postgres::{Postgres, PostgresOptions};
pub use process::{CommandLine, Process};
