//! The log on Kafka: one topic for each cell. And events beside it, in topics of their own.
//!
//! - A record's position is its Kafka offset. The topic has neither transactions nor compaction, so offsets are dense.
//! - Ownership of partitions is Kafka's consumer group; records are read by plain assignment, apart from any group.
//! - Nothing here blocks a thread of the runtime: what the client library does synchronously runs on threads of its own.
//!
//! What the Kafka cluster must be set to is in `docs/kafka.md`. Never: transactions, compaction, auto-created topics.

mod admin;
mod background;
mod client;
mod config;
mod error;
mod events;
mod group;
mod log;
mod metrics;
mod producer;
mod reader;
mod topic;

pub use config::{KafkaConfig, Mechanism, Password, Sasl, Security, Tls};
pub use error::KafkaError;
pub use events::{EventTopics, KafkaEvents};
pub use log::KafkaLog;
