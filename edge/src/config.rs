//! The edge's configuration, typed and complete. Reading it from files and environment is `skywave-runtime`'s part.
//!
//! Owns: names, units and defaults of everything an operator may turn. Never: reads a file, fixes a wrong value silently.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};
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
    /// The cell's cores are processes of their own, and say on the bus that they are there: publishes of one channel go to one
    /// of them, in order.
    pub announced_cores: bool,
    /// Worker threads; 0: one per core this process may use.
    pub workers: usize,
    /// TCP listeners (HTTP, WebSocket, SSE). Port 0 picks a free port, reported by [`crate::EdgeHandle`].
    pub listeners: Vec<ListenerConfig>,
    /// UDP address of the WebTransport listener; `None`: off. Port 0 takes the port of the first TCP listener.
    pub webtransport: Option<SocketAddr>,
    /// Options by namespace name; `""` holds the default namespace (names without a colon). A channel of a namespace
    /// that is not listed is refused.
    pub namespaces: BTreeMap<String, NamespaceOptions>,
    /// Base URL clients are sent to when this node drains; `None`: to another node of the region if there is one, else they
    /// reconnect to where they came from.
    pub drain_target: Option<String>,
    /// Takes part in the region's ring; `None`: this node stands alone.
    pub placement: Option<PlacementConfig>,
    /// What the cores are told, for Kafka.
    pub events: EventsConfig,
    /// Pages of history that were read are kept in the shared state, for all nodes of the region; `None`: they are not, as is
    /// right where the state is this node's own.
    pub history_cache: Option<HistoryCache>,
    pub limits: EdgeLimits,
    pub timing: EdgeTiming,
    pub compression: Compression,
}

/// How much of the past is kept in the shared state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HistoryCache {
    /// A page is kept for so long.
    pub lifetime: Duration,
    /// This node keeps no more than so many bytes within a lifetime, and twice as many in the first.
    pub bytes: usize,
}

/// What the cores are told; nothing, unless an operator wants it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct EventsConfig {
    /// What users do: connect, disconnect, subscribe, unsubscribe.
    pub activity: bool,
    /// What happens to this node and its neighbours.
    pub system: bool,
}

/// This node's part in its region.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlacementConfig {
    /// Base URL at which clients reach this very node; the same after a restart.
    pub url: String,
    pub redirect: Redirect,
    /// Connections asked to move each second when a node joins and takes keys over; 0: none.
    pub moves_per_second: u32,
    /// A node says so often that it is there …
    pub beat: Duration,
    /// … and one not heard of for so long is gone.
    pub lease: Duration,
    /// The nodes must not have changed for so long before connections follow their keys.
    pub settle: Duration,
}

impl PlacementConfig {
    /// With every default.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            redirect: Redirect::Off,
            moves_per_second: 50,
            beat: Duration::from_secs(1),
            lease: Duration::from_secs(4),
            settle: Duration::from_secs(5),
        }
    }
}

/// What becomes of a connection that arrives at another node than its key's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Redirect {
    /// It is served where it is.
    #[default]
    Off,
    /// It is asked to move, unless it was sent here.
    Route,
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
    /// Publications of one user (of one address, for anonymous clients) over all its connections and all nodes of the
    /// region; `None`: no limit.
    pub user_publishes: Option<Rate>,
    /// Requests over HTTP, likewise. A batch counts as many as it holds.
    pub http_requests: Option<Rate>,
    /// New connections of one address over all nodes of the region; `None`: no limit.
    pub region_address_handshakes: Option<Rate>,
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
            user_publishes: None,
            http_requests: Some(Rate::per_second(1_000, 4_000)),
            region_address_handshakes: None,
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
    /// How long other nodes have for saying who is in a channel that this one has not followed yet: there and back again over
    /// an ocean, and a moment in which they answer all who ask. Zero where there are no others.
    pub presence_listen: Duration,
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
            presence_listen: Duration::from_millis(500),
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
            announced_cores: false,
            workers: 0,
            listeners: vec![ListenerConfig { address, tls: false }],
            webtransport: None,
            namespaces: BTreeMap::from([(String::new(), NamespaceOptions::default())]),
            drain_target: None,
            placement: None,
            events: EventsConfig::default(),
            history_cache: None,
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
