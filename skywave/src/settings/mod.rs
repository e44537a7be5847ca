//! The typed configuration of the binary: what file, environment and flags describe, with the defaults of `dev`.
//!
//! Owns: the names of all keys, as people write them, and their translation into what edge, core and the adapters take.
//! Field by field they are documented in `docs/configuration.md`; a test holds the two together. One file may serve every
//! process of a cell: each uses the sections of its [`Role`].

mod check;
mod edge;
mod events;
mod kafka;
mod nats;
mod outbox;
mod postgres;
mod problem;
mod redis;
mod role;
mod secret;
mod source;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use skywave_core::CoreConfig;
use skywave_edge::Redirect;
use skywave_edge::auth::AuthConfig;
use skywave_protocol::NamespaceOptions;
use skywave_protocol::namespace::{Access, Durability, SlowPolicy};
use skywave_runtime::telemetry::LogSettings;

pub(crate) use events::EventSettings;
pub(crate) use problem::Problem;
pub(crate) use role::Role;
pub(crate) use source::{ConfigArgs, load};

use kafka::KafkaSettings;
use nats::NatsSettings;
use outbox::OutboxSettings;
use postgres::PostgresSettings;
use redis::RedisSettings;

/// Name under which the options of the default namespace (channel names without a colon) are written.
pub(crate) const DEFAULT_NAMESPACE: &str = "default";

/// The whole configuration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Settings {
    pub(crate) node: NodeSettings,
    pub(crate) data: DataSettings,
    pub(crate) edge: EdgeSettings,
    pub(crate) tls: TlsSettings,
    pub(crate) auth: AuthConfig,
    pub(crate) limits: LimitSettings,
    pub(crate) timing: TimingSettings,
    pub(crate) compression: CompressionSettings,
    pub(crate) core: CoreConfig,
    pub(crate) nats: NatsSettings,
    pub(crate) kafka: KafkaSettings,
    pub(crate) postgres: PostgresSettings,
    pub(crate) outbox: OutboxSettings,
    pub(crate) redis: RedisSettings,
    pub(crate) events: EventSettings,
    pub(crate) namespaces: BTreeMap<String, NamespaceOptions>,
    pub(crate) log: LogSettings,
}

/// Who this process is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct NodeSettings {
    /// First part of the node's id; a random part that is new at every start follows.
    pub(crate) name: String,
    pub(crate) region: String,
    pub(crate) cell: String,
    /// How long a node that starts waits for the servers it needs.
    pub(crate) start_seconds: u64,
}

/// Where a single node keeps its data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct DataSettings {
    pub(crate) folder: PathBuf,
}

/// Where clients come in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct EdgeSettings {
    pub(crate) listen: SocketAddr,
    pub(crate) tls_listen: Option<SocketAddr>,
    pub(crate) webtransport: bool,
    pub(crate) workers: usize,
    pub(crate) drain_target: Option<String>,
    pub(crate) advertise: Option<String>,
    pub(crate) redirect: Redirect,
    pub(crate) moves_per_second: u32,
}

/// The certificate; without one, a self-signed one is made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct TlsSettings {
    pub(crate) certificate: Option<PathBuf>,
    pub(crate) key: Option<PathBuf>,
    pub(crate) reload_seconds: u64,
}

/// What bounds one client and all of them. 0 means no limit where the documentation says so.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct LimitSettings {
    pub(crate) connections: usize,
    pub(crate) connections_per_address: usize,
    pub(crate) handshakes_per_second: u32,
    pub(crate) handshake_burst: u32,
    pub(crate) address_handshakes_per_second: u32,
    pub(crate) address_handshake_burst: u32,
    pub(crate) head_bytes: usize,
    pub(crate) message_bytes: usize,
    pub(crate) subscriptions: usize,
    pub(crate) outbox_bytes: usize,
    pub(crate) publishes_per_second: u32,
    pub(crate) publish_burst: u32,
    pub(crate) requests_per_second: u32,
    pub(crate) request_burst: u32,
    pub(crate) user_publishes_per_minute: u32,
    pub(crate) user_publish_burst: u32,
    pub(crate) http_requests_per_minute: u32,
    pub(crate) http_request_burst: u32,
    pub(crate) region_address_handshakes_per_minute: u32,
    pub(crate) region_address_handshake_burst: u32,
    pub(crate) pending_requests: usize,
    pub(crate) core_requests: usize,
    pub(crate) queue: usize,
    pub(crate) history_cache_bytes: usize,
}

/// Deadlines and intervals.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct TimingSettings {
    pub(crate) ping_seconds: u64,
    pub(crate) pong_seconds: u64,
    pub(crate) head_seconds: u64,
    pub(crate) connect_seconds: u64,
    pub(crate) close_seconds: u64,
    pub(crate) core_seconds: u64,
    pub(crate) interest_linger_seconds: u64,
    pub(crate) presence_beat_seconds: u64,
    pub(crate) presence_lease_seconds: u64,
    pub(crate) node_beat_seconds: u64,
    pub(crate) node_lease_seconds: u64,
    pub(crate) node_settle_seconds: u64,
    pub(crate) expiry_warning_seconds: u64,
    pub(crate) history_cache_seconds: u64,
    pub(crate) drain_seconds: u64,
}

/// permessage-deflate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct CompressionSettings {
    pub(crate) enabled: bool,
    pub(crate) threshold_bytes: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            node: NodeSettings::default(),
            data: DataSettings::default(),
            edge: EdgeSettings::default(),
            tls: TlsSettings::default(),
            auth: AuthConfig { anonymous: true, ..AuthConfig::default() },
            limits: LimitSettings::default(),
            timing: TimingSettings::default(),
            compression: CompressionSettings::default(),
            core: CoreConfig::default(),
            nats: NatsSettings::default(),
            kafka: KafkaSettings::default(),
            postgres: PostgresSettings::default(),
            outbox: OutboxSettings::default(),
            redis: RedisSettings::default(),
            events: EventSettings::default(),
            namespaces: namespaces(),
            log: LogSettings::default(),
        }
    }
}

impl Settings {
    /// The core's configuration.
    pub(crate) fn core(&self) -> CoreConfig {
        CoreConfig {
            cell: self.node.cell.clone(),
            namespaces: self.namespaces_by_prefix(),
            ..self.core.clone()
        }
    }

    pub(crate) fn start_timeout(&self) -> Duration {
        Duration::from_secs(self.node.start_seconds)
    }
}

/// The namespaces that a fresh `dev` knows.
fn namespaces() -> BTreeMap<String, NamespaceOptions> {
    // A subscriber that was away while a file was piped through still finds all of it.
    let kept = NamespaceOptions { history_size: 1_000_000, ..NamespaceOptions::default() };
    let durable = NamespaceOptions { presence: true, ..kept.clone() };
    let private = NamespaceOptions { subscribe: Access::Owner, publish: Access::Owner, ..kept };
    let live = NamespaceOptions {
        durability: Durability::Ephemeral,
        presence: true,
        history_size: 0,
        history_seconds: 0,
        slow: SlowPolicy::DropOldest,
        ..NamespaceOptions::default()
    };
    [
        (DEFAULT_NAMESPACE, durable.clone()),
        ("chat", durable.clone()),
        ("user", private),
        ("live", live),
        ("doc", durable),
    ]
    .map(|(name, options)| (name.to_owned(), options))
    .into()
}

impl Default for NodeSettings {
    fn default() -> Self {
        Self { name: "dev".into(), region: "local".into(), cell: "main".into(), start_seconds: 60 }
    }
}

impl Default for DataSettings {
    fn default() -> Self {
        Self { folder: "data".into() }
    }
}

impl Default for EdgeSettings {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            tls_listen: None,
            webtransport: true,
            workers: 0,
            drain_target: None,
            advertise: None,
            redirect: Redirect::Off,
            moves_per_second: 50,
        }
    }
}

impl Default for TlsSettings {
    fn default() -> Self {
        Self { certificate: None, key: None, reload_seconds: 5 }
    }
}

#[cfg(test)]
mod tests;
