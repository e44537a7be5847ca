//! Why there is no connection to NATS, or not what is wanted of it.

use std::time::Duration;

/// Errors of the first connection; later ones are repaired, not reported.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NatsError {
    /// A setting that no server can make good.
    #[error("{setting}: {problem}")]
    Setting { setting: &'static str, problem: String },
    /// A server answered and does not want us.
    #[error("NATS at {servers} refuses these credentials ({auth})")]
    Unauthorized { servers: String, auth: String },
    /// A server lets us in, but not do what every node does.
    #[error("NATS at {servers} does not let this user ({auth}) publish and subscribe to sw.sync.>")]
    Forbidden { servers: String, auth: String },
    /// No secure connection can be made.
    #[error("no TLS connection to NATS at {servers}: {reason}")]
    Tls { servers: String, reason: String },
    /// There is a connection, but no JetStream that keeps the bucket.
    #[error("no register in the bucket {bucket} within {waited:?}: {problem}")]
    Register { bucket: String, waited: Duration, problem: String },
    /// Nobody answered in time.
    #[error("NATS at {servers} could not be reached within {waited:?}: {reason}")]
    Unreachable { servers: String, waited: Duration, reason: String },
}
