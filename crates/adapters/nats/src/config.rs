//! Settings of the connection to NATS.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// How to reach NATS, who we are there, and what is bounded.
#[derive(Debug, Clone)]
pub struct NatsConfig {
    /// `nats://HOST:PORT` or `tls://HOST:PORT`, without user and password. One that answers is enough.
    pub servers: Vec<String>,
    /// Also use the servers of the cluster that the connected one names.
    pub discover_servers: bool,
    pub auth: NatsAuth,
    /// `Some`: TLS is demanded of the server. A `tls://` address demands it too.
    pub tls: Option<NatsTls>,
    /// Name of the connection in the server's monitor: the node.
    pub name: String,

    /// How long the first connection may take, all attempts together.
    pub start_timeout: Duration,
    /// How long one attempt may take, handshake included.
    pub connect_timeout: Duration,
    /// Longest pause between two attempts to connect again; they never end.
    pub reconnect_pause_max: Duration,
    /// A server from which nothing was heard for three times as long counts as gone.
    pub ping_interval: Duration,
    /// How long a subscription may take to become live; it waits for a lost connection that long, too.
    pub subscribe_timeout: Duration,

    /// Messages that may wait to be written. When full, publishing is refused.
    pub publish_queue: usize,
    /// Bytes of large payloads that may wait to be written. When full, publishing one is refused.
    pub publish_queue_bytes: usize,
    /// Messages of one subscription that may wait to be taken in. When full, its messages are dropped and counted.
    pub subscription_queue: usize,
    /// Live subjects that are subscribed to one by one, at 5 to 11 KB each. Beyond it whole shards of live subjects are
    /// followed with a wildcard: memory stays bounded, and messages arrive that nobody here wants.
    pub exact_subscriptions: usize,
}

/// Who we are to the server.
#[derive(Clone, Default)]
pub enum NatsAuth {
    #[default]
    Anonymous,
    Token(String),
    Password {
        user: String,
        password: String,
    },
    /// A `.creds` file with a JWT and its key.
    Credentials(PathBuf),
}

/// PEM files of the connection's TLS.
#[derive(Debug, Clone, Default)]
pub struct NatsTls {
    /// Authorities that may vouch for the server; `None`: those of the system.
    pub authorities: Option<PathBuf>,
    /// Certificate chain and key that we show.
    pub client: Option<(PathBuf, PathBuf)>,
    /// The server expects the TLS handshake before anything else.
    pub handshake_first: bool,
}

impl Default for NatsConfig {
    fn default() -> Self {
        Self {
            servers: vec!["nats://127.0.0.1:4222".to_owned()],
            discover_servers: true,
            auth: NatsAuth::Anonymous,
            tls: None,
            name: "skywave".to_owned(),
            start_timeout: Duration::from_secs(30),
            connect_timeout: Duration::from_secs(3),
            reconnect_pause_max: Duration::from_secs(2),
            ping_interval: Duration::from_secs(1),
            subscribe_timeout: Duration::from_secs(5),
            publish_queue: 16_384,
            publish_queue_bytes: 64 * 1024 * 1024,
            subscription_queue: 16_384,
            exact_subscriptions: 8_192,
        }
    }
}

/// Shows nothing secret.
impl fmt::Debug for NatsAuth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Anonymous => f.write_str("Anonymous"),
            Self::Token(_) => f.write_str("Token"),
            Self::Password { user, .. } => write!(f, "Password({user})"),
            Self::Credentials(file) => write!(f, "Credentials({})", file.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_not_shown() {
        let secrets = [
            NatsAuth::Token("s3cret".into()),
            NatsAuth::Password { user: "edge".into(), password: "s3cret".into() },
        ];
        for auth in secrets {
            let shown = format!("{:?}", NatsConfig { auth, ..NatsConfig::default() });
            assert!(!shown.contains("s3cret"), "{shown}");
        }
    }
}
