//! A bus on a real server, and a witness of what arrives.

use std::time::Duration;

use bytes::Bytes;
use prometheus_client::registry::Registry;
use skywave_nats::{NatsBus, NatsConfig};
use skywave_ports::{Bus, BusMessage, Inbox, Subscription};
use skywave_protocol::{ChannelName, Subject};
use skywave_servers::nats::{NatsOptions, NatsServer};
use tempfile::TempDir;
use tokio::sync::mpsc::Receiver;

/// No wait of a test takes longer, unless it fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// One server with what it keeps.
pub(crate) struct Server {
    pub(crate) nats: NatsServer,
    _folder: TempDir,
}

impl Server {
    pub(crate) fn start() -> Self {
        Self::start_with(|_| {})
    }

    pub(crate) fn start_with(change: impl FnOnce(&mut NatsOptions)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut options = NatsOptions::new("one", folder.path()).unwrap();
        change(&mut options);
        Self { nats: NatsServer::start(options).unwrap(), _folder: folder }
    }

    pub(crate) fn config(&self) -> NatsConfig {
        NatsConfig { servers: vec![self.nats.url()], ..config() }
    }
}

/// Settings of a test: short pauses. A server that has no turn on a busy machine is not taken for dead.
pub(crate) fn config() -> NatsConfig {
    NatsConfig {
        start_timeout: PATIENCE,
        subscribe_timeout: PATIENCE,
        ping_interval: PATIENCE,
        connect_timeout: Duration::from_secs(5),
        reconnect_pause_max: Duration::from_millis(200),
        ..NatsConfig::default()
    }
}

/// The same for a test whose server freezes: silence is noticed within a second.
pub(crate) fn watchful(config: NatsConfig) -> NatsConfig {
    NatsConfig {
        ping_interval: Duration::from_millis(300),
        connect_timeout: Duration::from_secs(1),
        ..config
    }
}

/// A bus with its metrics.
pub(crate) struct Node {
    pub(crate) bus: NatsBus,
    registry: Registry,
}

impl Node {
    pub(crate) async fn connect(config: NatsConfig) -> Self {
        let mut registry = Registry::default();
        let bus = NatsBus::connect(config, &mut registry).await.unwrap();
        Self { bus, registry }
    }

    fn metrics(&self) -> String {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry).unwrap();
        text
    }

    /// The value of one metric, with its labels if it has some.
    pub(crate) fn metric(&self, name: &str) -> u64 {
        let text = self.metrics();
        let line = text.lines().find(|line| line.split(' ').next() == Some(name));
        let line = line.unwrap_or_else(|| panic!("no {name} in:\n{text}"));
        line.rsplit(' ').next().unwrap().parse().unwrap()
    }

    /// What the server has complained of, for whatever reason.
    pub(crate) fn server_errors(&self) -> u64 {
        let count = |reason| self.metric(&format!("skywave_nats_server_errors_total{{reason=\"{reason}\"}}"));
        ["permissions", "stale", "other"].into_iter().map(count).sum()
    }

    pub(crate) async fn until_metric(&self, name: &str, wanted: impl Fn(u64) -> bool) {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        while !wanted(self.metric(name)) {
            if tokio::time::Instant::now() > deadline {
                panic!("waited {PATIENCE:?} in vain for {name}; now:\n{}", self.metrics());
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    pub(crate) async fn listen(&self, subject: &Subject) -> Listener {
        let (inbox, messages) = Inbox::new(100_000);
        let guard = self.bus.subscribe(subject, None, &inbox).await.unwrap();
        Listener { messages, inbox, _guard: guard }
    }

    /// Publishes as soon as the bus takes it.
    pub(crate) async fn publish(&self, subject: &Subject, payload: &'static str) {
        until("the bus to take a message", || {
            self.bus.publish(subject, Bytes::from_static(payload.as_bytes())).is_ok()
        })
        .await;
    }
}

pub(crate) struct Listener {
    pub(crate) messages: Receiver<BusMessage>,
    pub(crate) inbox: Inbox,
    _guard: Subscription,
}

impl Listener {
    pub(crate) async fn next(&mut self) -> Bytes {
        let message = tokio::time::timeout(PATIENCE, self.messages.recv()).await;
        message.expect("a message in time").expect("the inbox stays open").payload
    }
}

pub(crate) fn live(channel: &str) -> Subject {
    Subject::live(&ChannelName::parse(channel).unwrap())
}

/// Other subjects of the same shard.
pub(crate) fn neighbours(of: &Subject, count: usize) -> Vec<Subject> {
    let all = (0..).map(|n| live(&format!("n:{n}")));
    all.filter(|subject| subject.live_shard() == of.live_shard() && subject != of).take(count).collect()
}

/// Waits until something is so.
pub(crate) async fn until(what: &str, mut so: impl FnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while !so() {
        assert!(tokio::time::Instant::now() < deadline, "waited {PATIENCE:?} in vain for {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
