//! The edge's configuration, typed and complete. Reading it from files and environment is `skywave-runtime`'s part.
//!
//! Owns: names, units and defaults of everything an operator may turn. Never: reads a file, fixes a wrong value silently.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use skywave_engine::Rate;
use skywave_protocol::limits::{MESSAGE_BYTES_DEFAULT, OUTBOX_BYTES_DEFAULT, SUBSCRIPTIONS_DEFAULT};
use skywave_protocol::{ChannelName, NamespaceOptions, NodeId};

/// Everything an edge needs to know before it binds.
#[derive(Debug, Clone)]
pub struct EdgeConfig {
    /// This process; unique in the cluster and new at every start.
    pub node: NodeId,
    /// Region name, shown to clients and stamped on publications.
    pub region: String,
    /// Cell whose core serves the durable channels.
    pub cell: String,
    /// Worker threads; 0: one per core this process may use.
    pub workers: usize,
    /// TCP listeners (HTTP, WebSocket, SSE). Port 0 picks a free port, reported by [`crate::EdgeHandle`].
    pub listeners: Vec<ListenerConfig>,
    /// UDP address of the WebTransport listener; `None`: off. Port 0 takes the port of the first TCP listener.
    pub webtransport: Option<SocketAddr>,
    /// Options by namespace name; `""` holds the default namespace (names without a colon). A channel of a namespace
    /// that is not listed is refused.
    pub namespaces: BTreeMap<String, NamespaceOptions>,
    /// Base URL clients are sent to when this node drains; `None`: they reconnect to where they came from.
    pub drain_target: Option<String>,
    pub limits: EdgeLimits,
    pub timing: EdgeTiming,
    pub compression: Compression,
}

/// One TCP listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListenerConfig {
    pub address: SocketAddr,
    /// TLS (needs [`crate::EdgePorts::tls`]); plain otherwise.
    pub tls: bool,
}

/// What bounds a client and all of them together.
#[derive(Debug, Clone, PartialEq)]
pub struct EdgeLimits {
    /// Connections of this node.
    pub connections: usize,
    /// Connections of one address (0: no limit).
    pub connections_per_address: usize,
    /// New connections over all addresses; `None`: no limit.
    pub handshakes: Option<Rate>,
    /// New connections of one address; `None`: no limit.
    pub address_handshakes: Option<Rate>,
    /// Bytes of an HTTP request head.
    pub head_bytes: usize,
    /// Bytes of one client message, fragments together, after inflation.
    pub message_bytes: usize,
    /// Channels one connection may be subscribed to.
    pub subscriptions: usize,
    /// Bytes queued for a connection that does not read, before its slow-client policy acts.
    pub outbox_bytes: usize,
    /// Publishes of one connection.
    pub publishes: Rate,
    /// All other requests of one connection.
    pub requests: Rate,
    /// Requests of one connection that may await an answer.
    pub pending_requests: usize,
    /// Requests to core that may await an answer, per worker. Beyond it publishes are refused with a retryable error.
    pub core_requests: usize,
    /// Messages a hub shard's bus inbox and a worker's delivery queue hold.
    pub queue: usize,
}

impl Default for EdgeLimits {
    fn default() -> Self {
        Self {
            connections: 10_000,
            connections_per_address: 0,
            handshakes: None,
            address_handshakes: None,
            head_bytes: 16 * 1024,
            message_bytes: MESSAGE_BYTES_DEFAULT,
            subscriptions: SUBSCRIPTIONS_DEFAULT,
            outbox_bytes: OUTBOX_BYTES_DEFAULT,
            publishes: Rate::per_second(100, 200),
            requests: Rate::per_second(200, 2_000),
            pending_requests: 256,
            core_requests: 65_536,
            queue: 8_192,
        }
    }
}

/// Deadlines and intervals.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EdgeTiming {
    /// Idle time after which the server pings …
    pub ping: Duration,
    /// … and time after that in which some byte must come.
    pub pong: Duration,
    /// From accept to the end of the request head.
    pub head: Duration,
    /// From the upgrade to `connect`.
    pub connect: Duration,
    /// From the server's close frame to the client's.
    pub close: Duration,
    /// For core to answer.
    pub core: Duration,
    /// How long the interest in a channel outlives its last subscriber.
    pub interest_linger: Duration,
    /// Presence: renewal interval and lease.
    pub presence_beat: Duration,
    pub presence_lease: Duration,
    /// How long before its token expires a client is told.
    pub expiry_warning: Duration,
    /// Over which time the clients of a node that is told to end are moved away.
    pub drain: Duration,
}

impl Default for EdgeTiming {
    fn default() -> Self {
        Self {
            ping: Duration::from_secs(25),
            pong: Duration::from_secs(10),
            head: Duration::from_secs(10),
            connect: Duration::from_secs(10),
            close: Duration::from_secs(3),
            core: Duration::from_secs(5),
            interest_linger: Duration::from_secs(10),
            presence_beat: Duration::from_secs(10),
            presence_lease: Duration::from_secs(35),
            expiry_warning: Duration::from_secs(60),
            drain: Duration::from_secs(20),
        }
    }
}

/// permessage-deflate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Compression {
    pub enabled: bool,
    /// Messages below this many bytes are sent as they are.
    pub threshold: usize,
}

impl Default for Compression {
    fn default() -> Self {
        Self { enabled: true, threshold: 512 }
    }
}

impl EdgeConfig {
    /// A configuration with every default, listening on `address` without TLS.
    pub fn new(node: NodeId, address: SocketAddr) -> Self {
        Self {
            node,
            region: "local".into(),
            cell: "main".into(),
            workers: 0,
            listeners: vec![ListenerConfig { address, tls: false }],
            webtransport: None,
            namespaces: BTreeMap::from([(String::new(), NamespaceOptions::default())]),
            drain_target: None,
            limits: EdgeLimits::default(),
            timing: EdgeTiming::default(),
            compression: Compression::default(),
        }
    }

    /// The options of a channel; `None`: its namespace is unknown.
    pub fn namespace(&self, channel: &ChannelName) -> Option<&NamespaceOptions> {
        self.namespaces.get(channel.namespace())
    }

    /// Worker threads to start.
    pub fn worker_count(&self) -> usize {
        match self.workers {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            n => n,
        }
    }
}
