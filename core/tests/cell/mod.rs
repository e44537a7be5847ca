//! A cell over in-memory ports, and a client that speaks to its core as an edge does.
#![allow(dead_code, unreachable_pub, reason = "each test file uses a part of it")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

pub mod crash;
pub mod scripted;

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use prometheus_client::registry::Registry;
use skywave_core::{Core, CoreConfig, Ports};
use skywave_ports::memory::{MemoryBus, MemoryLog, MemoryStore};
use skywave_ports::{
    Assignment, Assignments, Bus, BusMessage, Events, Inbox, Log, LogError, LogReader, Store, Subscription,
};
use skywave_protocol::inner::{CoreAnswer, CoreReply, CoreRequest, HistoryAnswer, Live, LogRecord, ReplyTo};
use skywave_protocol::message::HistoryQuery;
use skywave_protocol::{
    ChannelName, Epoch, MessageId, NodeId, Offset, Payload, Position, Subject, UserId, WireError,
};
use skywave_runtime::{ShutdownTrigger, shutdown};
use tokio::sync::mpsc;

/// Bounds every wait: a test that would hang fails.
const PATIENCE: Duration = Duration::from_secs(60);

pub async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("{what}: not in {PATIENCE:?}"))
}

/// What outlives a core.
#[derive(Clone)]
pub struct Cell {
    pub log: MemoryLog,
    pub store: MemoryStore,
    pub bus: MemoryBus,
}

pub struct Running {
    pub core: Core,
    pub trigger: ShutdownTrigger,
    pub registry: Registry,
}

impl Cell {
    pub fn new() -> Self {
        Self::with_partitions(1)
    }

    pub fn with_partitions(partitions: u32) -> Self {
        Self {
            log: MemoryLog::new(partitions),
            store: MemoryStore::new(Epoch::parse("first").unwrap()),
            bus: MemoryBus::new(),
        }
    }

    pub async fn start(&self, config: CoreConfig) -> Running {
        self.start_with(config, Arc::new(self.log.clone()), Arc::new(self.store.clone())).await
    }

    pub async fn start_with(&self, config: CoreConfig, log: Arc<dyn Log>, store: Arc<dyn Store>) -> Running {
        self.start_keeping(config, log, store, None).await
    }

    /// With a place for dead letters.
    pub async fn start_keeping(
        &self,
        config: CoreConfig,
        log: Arc<dyn Log>,
        store: Arc<dyn Store>,
        dead_letters: Option<Arc<dyn Events>>,
    ) -> Running {
        let (trigger, shutdown) = shutdown::channel();
        let mut registry = Registry::default();
        let ports = Ports { log, store, bus: Arc::new(self.bus.clone()), dead_letters };
        let core = Core::start(config, ports, &mut registry, shutdown).await.unwrap();
        Running { core, trigger, registry }
    }

    pub async fn start_ready(&self, config: CoreConfig) -> Running {
        let running = self.start(config).await;
        running.ready().await;
        running
    }

    pub async fn client(&self, name: &str) -> Client {
        let (inbox, messages) = Inbox::new(100_000);
        let reply = Subject::reply(&NodeId::parse(name).unwrap(), 0);
        let subscription = self.bus.subscribe(&reply, None, &inbox).await.unwrap();
        Client { bus: self.bus.clone(), reply, messages, correlation: 0, _subscription: subscription }
    }

    /// Everything that is said about a channel from now on.
    pub async fn listen(&self, name: &str) -> Listener {
        let (inbox, messages) = Inbox::new(100_000);
        let subscription = self.bus.subscribe(&Subject::live(&channel(name)), None, &inbox).await.unwrap();
        Listener { messages, _subscription: subscription }
    }
}

impl Running {
    pub async fn ready(&self) {
        let mut ready = self.core.ready();
        soon("readiness", ready.wait_for(|ready| *ready)).await.unwrap();
    }

    pub async fn stop(mut self) {
        self.trigger.graceful();
        soon("a graceful end", self.core.ended()).await.unwrap();
    }

    pub async fn kill(mut self) {
        self.trigger.immediate();
        soon("an immediate end", self.core.ended()).await.unwrap();
    }

    /// Waits until a metric has at least this value.
    pub async fn metric_reaches(&self, name: &str, value: f64) {
        soon(name, async {
            while self.metric(name) < value {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        })
        .await;
    }

    /// A metric's value by its name as exported.
    pub fn metric(&self, name: &str) -> f64 {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry).unwrap();
        let values = text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| {
            let (key, value) = line.rsplit_once(' ')?;
            (key.split('{').next() == Some(name)).then(|| value.parse::<f64>().unwrap())
        });
        values.sum()
    }
}

/// Speaks as one worker of an edge.
pub struct Client {
    pub bus: MemoryBus,
    pub reply: Subject,
    messages: mpsc::Receiver<BusMessage>,
    correlation: u64,
    _subscription: Subscription,
}

impl Client {
    pub fn reply_to(&mut self) -> ReplyTo {
        self.correlation += 1;
        ReplyTo { subject: self.reply.clone(), correlation: self.correlation }
    }

    /// Sends a publish and returns its correlation.
    pub fn send(&mut self, name: &str, id: Option<&str>, data: &str) -> u64 {
        let reply = self.reply_to();
        let correlation = reply.correlation;
        let record = record(name, id, data, Some(reply));
        self.bus.publish(&Subject::ingest("main"), CoreRequest::Publish(record).encode()).unwrap();
        correlation
    }

    /// The next answer, whatever it answers.
    pub async fn answer(&mut self) -> CoreReply {
        let message = soon("an answer", self.messages.recv()).await.unwrap();
        CoreReply::decode(message.payload).unwrap()
    }

    /// An answer that is there already.
    pub fn answer_at_once(&mut self) -> Option<CoreReply> {
        let message = self.messages.try_recv().ok()?;
        Some(CoreReply::decode(message.payload).unwrap())
    }

    /// Publishes and waits for the answer to it, passing over answers to others (a replay repeats them).
    pub async fn publish(
        &mut self,
        name: &str,
        id: Option<&str>,
        data: &str,
    ) -> Result<(Position, bool), WireError> {
        let correlation = self.send(name, id, data);
        match self.answer_to(correlation).await? {
            CoreAnswer::Published { position, duplicate } => Ok((position, duplicate)),
            other => panic!("{other:?}"),
        }
    }

    pub async fn publish_offset(&mut self, name: &str, id: Option<&str>, data: &str) -> Offset {
        self.publish(name, id, data).await.unwrap().0.offset
    }

    async fn answer_to(&mut self, correlation: u64) -> Result<CoreAnswer, WireError> {
        loop {
            let reply = self.answer().await;
            if reply.correlation == correlation {
                return reply.result;
            }
        }
    }

    pub async fn history(&mut self, name: &str, after: Offset) -> Result<HistoryAnswer, WireError> {
        let query = HistoryQuery { channel: channel(name), after, before: 0, limit: 1_000, reverse: false };
        self.history_of(query).await
    }

    pub async fn history_of(&mut self, query: HistoryQuery) -> Result<HistoryAnswer, WireError> {
        let reply = self.reply_to();
        let correlation = reply.correlation;
        self.bus.publish(&Subject::history("main"), CoreRequest::History { query, reply }.encode()).unwrap();
        match self.answer_to(correlation).await? {
            CoreAnswer::History(answer) => Ok(answer),
            other => panic!("{other:?}"),
        }
    }
}

pub struct Listener {
    messages: mpsc::Receiver<BusMessage>,
    _subscription: Subscription,
}

impl Listener {
    pub async fn next(&mut self) -> Live {
        Live::decode(soon("live news", self.messages.recv()).await.unwrap().payload).unwrap()
    }

    pub async fn next_offset(&mut self) -> Offset {
        loop {
            if let Live::Publication { publication, .. } = self.next().await {
                return publication.offset;
            }
        }
    }
}

pub fn channel(name: &str) -> ChannelName {
    ChannelName::parse(name).unwrap()
}

pub fn record(name: &str, id: Option<&str>, data: &str, reply: Option<ReplyTo>) -> LogRecord {
    LogRecord {
        channel: channel(name),
        time_ms: 0,
        from: UserId::parse("ada").ok(),
        id: id.map(|id| MessageId::parse(id).unwrap()),
        region: "here".into(),
        data: Payload::Json(Bytes::copy_from_slice(data.as_bytes())),
        reply,
    }
}

/// (offset, data) of an answer.
pub fn contents(answer: &HistoryAnswer) -> Vec<(Offset, String)> {
    let text = |bytes: &Bytes| String::from_utf8(bytes.to_vec()).unwrap();
    answer.publications.iter().map(|p| (p.offset, text(p.data.bytes()))).collect()
}

/// A log that behaves oddly in one way or another.
pub struct OddLog {
    pub log: MemoryLog,
    /// `false`: an append never ends.
    pub appends_end: bool,
    /// It says that it would begin no append for an hour.
    pub gathers: bool,
    /// Every member is told that it owns everything, for ever.
    pub owned_by_all: bool,
}

impl OddLog {
    pub fn new(log: &MemoryLog) -> Self {
        Self { log: log.clone(), appends_end: true, gathers: false, owned_by_all: false }
    }
}

#[async_trait]
impl Log for OddLog {
    fn partitions(&self) -> u32 {
        self.log.partitions()
    }
    async fn append(&self, partition: u32, key: Bytes, value: Bytes) -> Result<u64, LogError> {
        if !self.appends_end {
            std::future::pending::<()>().await;
        }
        self.log.append(partition, key, value).await
    }
    fn record_bytes(&self) -> usize {
        self.log.record_bytes()
    }
    fn next_begin(&self) -> Option<Instant> {
        self.gathers.then(|| Instant::now() + Duration::from_secs(3_600))
    }
    async fn bounds(&self, partition: u32) -> Result<(u64, u64), LogError> {
        self.log.bounds(partition).await
    }
    async fn read(&self, partition: u32, from: u64) -> Result<Box<dyn LogReader>, LogError> {
        self.log.read(partition, from).await
    }
    async fn trim(&self, partition: u32, before: u64) -> Result<(), LogError> {
        self.log.trim(partition, before).await
    }
    async fn join(&self, group: &str) -> Result<Box<dyn Assignments>, LogError> {
        match self.owned_by_all {
            true => Ok(Box::new(Everything(0))),
            false => self.log.join(group).await,
        }
    }
}

/// Assigns partition 0 once.
struct Everything(u32);

#[async_trait]
impl Assignments for Everything {
    async fn next(&mut self) -> Result<Assignment, LogError> {
        if std::mem::replace(&mut self.0, 1) > 0 {
            std::future::pending::<()>().await;
        }
        Ok(Assignment::Assigned(0))
    }
}
