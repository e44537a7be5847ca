//! A running edge, a core of a few lines behind it, and a client that can also misbehave.
#![allow(clippy::unwrap_used, dead_code, unreachable_pub, reason = "each test file uses its part")]

pub mod client;
pub mod core;
pub mod http;
pub mod token;
pub mod webtransport;

use std::net::SocketAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use prometheus_client::registry::Registry;
use skywave_edge::auth::{AuthConfig, Authenticator};
use skywave_edge::{Edge, EdgeConfig, EdgeHandle, EdgePorts, SystemClock};
use skywave_ports::memory::{MemoryBus, MemoryState};
use skywave_protocol::namespace::SlowPolicy;
use skywave_protocol::{Durability, NamespaceOptions, NodeId};
use skywave_runtime::ShutdownTrigger;

pub use client::Client;
pub use core::FakeCore;

pub struct TestEdge {
    pub node: NodeId,
    pub handle: EdgeHandle,
    pub core: FakeCore,
    pub bus: MemoryBus,
    pub registry: Arc<Mutex<Registry>>,
    pub shutdown: ShutdownTrigger,
}

impl TestEdge {
    pub async fn start() -> Self {
        Self::with(|_| {}).await
    }

    pub async fn with(change: impl FnOnce(&mut EdgeConfig)) -> Self {
        let auth = AuthConfig { anonymous: true, ..AuthConfig::default() };
        Self::with_auth(auth, change).await
    }

    pub async fn with_auth(auth: AuthConfig, change: impl FnOnce(&mut EdgeConfig)) -> Self {
        Self::with_everything(auth, change, |_| {}).await
    }

    pub async fn with_ports(
        change: impl FnOnce(&mut EdgeConfig),
        change_ports: impl FnOnce(&mut EdgePorts),
    ) -> Self {
        let auth = AuthConfig { anonymous: true, ..AuthConfig::default() };
        Self::with_everything(auth, change, change_ports).await
    }

    pub async fn with_everything(
        auth: AuthConfig,
        change: impl FnOnce(&mut EdgeConfig),
        change_ports: impl FnOnce(&mut EdgePorts),
    ) -> Self {
        let node = NodeId::parse("test").unwrap();
        let mut config = EdgeConfig::new(node, SocketAddr::from(([127, 0, 0, 1], 0)));
        config.workers = 2;
        let durable = NamespaceOptions { presence: true, ..NamespaceOptions::default() };
        let live = NamespaceOptions {
            durability: Durability::Ephemeral,
            slow: SlowPolicy::DropOldest,
            presence: true,
            ..NamespaceOptions::default()
        };
        config.namespaces.insert("chat".into(), durable);
        config.namespaces.insert("live".into(), live);
        change(&mut config);
        let bus = MemoryBus::default();
        let state = Arc::new(MemoryState::default());
        let registry = Arc::new(Mutex::new(Registry::default()));
        let core = FakeCore::start(&bus).await;
        let mut ports = EdgePorts {
            bus: Arc::new(bus.clone()),
            auth: Arc::new(Authenticator::new(&auth, state.clone()).unwrap()),
            state,
            tls: None,
            clock: Arc::new(SystemClock),
            registry: registry.clone(),
            page: Default::default(),
            health: Arc::new(Vec::new),
        };
        change_ports(&mut ports);
        let (trigger, shutdown) = skywave_runtime::shutdown::channel();
        let node = config.node.clone();
        let handle = Edge::start(config, ports, shutdown).await.unwrap();
        Self { node, handle, core, bus, registry, shutdown: trigger }
    }

    pub fn address(&self) -> SocketAddr {
        self.handle.addresses()[0]
    }

    /// A client that has connected.
    pub async fn client(&self) -> Client {
        let mut client = self.socket().await;
        client.connect().await;
        client
    }

    /// An open WebSocket before its `connect`.
    pub async fn socket(&self) -> Client {
        Client::open(self.address(), &[]).await
    }

    /// A number as `/metrics` would show it; sums over labels.
    pub fn metric(&self, name: &str) -> f64 {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry.lock()).unwrap();
        let values = text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| {
            let (key, value) = line.rsplit_once(' ')?;
            let key = key.split('{').next()?;
            (key == name || key == format!("{name}_total")).then(|| value.parse::<f64>().unwrap())
        });
        values.sum()
    }

    /// Waits until a metric satisfies the condition.
    pub async fn until(&self, name: &str, fits: impl Fn(f64) -> bool) {
        let waited = tokio::time::timeout(std::time::Duration::from_secs(60), async {
            while !fits(self.metric(name)) {
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        })
        .await;
        assert!(waited.is_ok(), "{name} stays at {}", self.metric(name));
    }
}
