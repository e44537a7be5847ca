//! Why a log on Kafka could not be opened, in words for the operator who has to change something.

use std::time::Duration;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KafkaError {
    #[error("kafka.{field} must be {must}")]
    Config { field: &'static str, must: &'static str },
    #[error("this build has no TLS and SCRAM for Kafka: it needs the feature `tls`")]
    NoTls,
    /// Of the client library: what it says of its settings, certificates, …
    #[error("the Kafka client cannot be made: {0}")]
    Client(String),
    #[error("Kafka at {brokers} does not answer within {within:?}: {reason}")]
    Unreachable { brokers: String, within: Duration, reason: String },
    #[error("Kafka at {brokers} refuses the credentials: {reason}")]
    Credentials { brokers: String, reason: String },
    #[error("topic {topic} cannot be created: {reason}")]
    Create { topic: String, reason: String },
    #[error(
        "topic {topic} has {found} partitions, but {configured} are configured; the number is fixed for the life of a cell"
    )]
    Partitions { topic: String, found: usize, configured: u32 },
    #[error("topic {topic} has {key}={found}, but it must be {must}")]
    Topic { topic: String, key: &'static str, found: String, must: String },
}
