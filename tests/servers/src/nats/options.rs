//! What can be said about one nats-server.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::certificates::Certificates;
use crate::ports;

/// One server. [`NatsOptions::new`] gives a plain one on free ports.
#[derive(Debug, Clone)]
pub struct NatsOptions {
    /// Unique in a cluster.
    pub name: String,
    /// Configuration file, log and (with JetStream) store; made if it is not there.
    pub folder: PathBuf,
    /// Where clients connect.
    pub client: SocketAddr,
    /// What clients and routes are told as the client address, when a proxy stands before it (`HOST:PORT`).
    pub client_advertise: Option<String>,
    /// Its HTTP monitor.
    pub monitor: SocketAddr,
    pub authorization: Authorization,
    /// For client connections.
    pub tls: Option<Tls>,
    pub jetstream: Option<JetStream>,
    pub routes: Option<Routes>,
    pub gateway: Option<Gateway>,
    /// Largest message, in bytes (default of the server: 1 MiB).
    pub max_payload: Option<u32>,
    /// Bytes that may wait for one client before it counts as a slow consumer.
    pub max_pending: Option<u64>,
    /// Time that one write to a client may take before it counts as a slow consumer.
    pub write_deadline: Option<Duration>,
    /// Configuration in nats-server's own syntax, put before everything else.
    pub text: String,
    /// Anything else, merged into the top level of the configuration.
    pub extra: serde_json::Map<String, serde_json::Value>,
}

/// Who may connect.
#[derive(Debug, Clone, Default)]
pub enum Authorization {
    #[default]
    Anyone,
    Token(String),
    Users(Vec<User>),
}

#[derive(Debug, Clone)]
pub struct User {
    pub name: String,
    pub password: String,
    /// `None`: everything.
    pub permissions: Option<Permissions>,
}

/// Subjects (with wildcards) that a user may use; nothing else.
#[derive(Debug, Clone, Default)]
pub struct Permissions {
    pub publish: Vec<String>,
    pub subscribe: Vec<String>,
}

/// TLS of the client port.
#[derive(Debug, Clone)]
pub struct Tls {
    pub certificates: Certificates,
    /// Clients must show a certificate of the same authority.
    pub verify_clients: bool,
}

#[derive(Debug, Clone, Default)]
pub struct JetStream {
    /// Sync every write to disk (`sync_interval: always`).
    pub sync_always: bool,
    pub domain: Option<String>,
}

/// Membership of a cluster.
#[derive(Debug, Clone)]
pub struct Routes {
    pub cluster: String,
    pub listen: SocketAddr,
    /// What other members are told instead of `listen` (`HOST:PORT`).
    pub advertise: Option<String>,
    /// The members to dial; its own address among them does no harm.
    pub members: Vec<SocketAddr>,
    /// Do not tell clients of the other members.
    pub no_advertise: bool,
}

/// Membership of a super-cluster. Its name is that of the server's cluster.
///
/// Gateways tell each other their addresses and dial those too: where every connection must go through a proxy,
/// `advertise` names the proxy in front of this server.
#[derive(Debug, Clone)]
pub struct Gateway {
    pub name: String,
    pub listen: SocketAddr,
    /// What other clusters are told instead of `listen` (`HOST:PORT`).
    pub advertise: Option<String>,
    pub remotes: Vec<RemoteGateway>,
}

/// Another cluster, and where its gateways are (from here: perhaps a proxy's addresses).
#[derive(Debug, Clone)]
pub struct RemoteGateway {
    pub name: String,
    pub addresses: Vec<SocketAddr>,
}

impl NatsOptions {
    /// One server on free ports of this machine that lets anyone in.
    pub fn new(name: impl Into<String>, folder: impl Into<PathBuf>) -> anyhow::Result<Self> {
        Ok(Self {
            name: name.into(),
            folder: folder.into(),
            client: ports::free()?,
            client_advertise: None,
            monitor: ports::free()?,
            authorization: Authorization::Anyone,
            tls: None,
            jetstream: None,
            routes: None,
            gateway: None,
            max_payload: None,
            max_pending: None,
            write_deadline: None,
            text: String::new(),
            extra: serde_json::Map::new(),
        })
    }
}
