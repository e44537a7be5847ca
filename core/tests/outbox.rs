//! The relay of the transactional outbox: each row once and in order, whatever dies between which two steps, and without
//! any help from the dedup window.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod cell;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use cell::crash::{Crash, CrashingLog};
use cell::{Cell, contents, soon};
use prometheus_client::registry::Registry;
use rand::{Rng, SeedableRng};
use skywave_core::{CoreConfig, OutboxRelay, RelayConfig, RelayPorts};
use skywave_ports::memory::{Failure, MemoryLog, MemoryOutbox, MemoryStore};
use skywave_ports::{
    Assignments, Checkpoint, Commit, HistoryRows, Log, LogError, LogReader, Mark, Outbox, OutboxError,
    OutboxRow, OutboxTurn, Retained, Retention, RowId, Settlement, Snapshot, Store, StoreError,
};
use skywave_protocol::message::HistoryQuery;
use skywave_protocol::{Durability, NamespaceOptions, Payload};
use skywave_runtime::{ShutdownTrigger, shutdown};

/// Remembers no message id: what the relay does twice, everybody sees twice.
fn forgetful() -> CoreConfig {
    CoreConfig { dedup_entries: 0, persist_ms: 2, ..CoreConfig::default() }
}

fn config() -> RelayConfig {
    let durable = NamespaceOptions { durability: Durability::Durable, ..NamespaceOptions::default() };
    RelayConfig {
        namespaces: [("chat".to_owned(), durable)].into(),
        rows: 7,
        poll: Duration::from_millis(1),
        ..RelayConfig::default()
    }
}

struct Relay {
    trigger: ShutdownTrigger,
    registry: Registry,
    relay: OutboxRelay,
}

impl Relay {
    fn start(outbox: impl Outbox, log: impl Log, store: impl Store) -> Self {
        let (trigger, shutdown) = shutdown::channel();
        let mut registry = Registry::default();
        let ports = RelayPorts { outbox: Arc::new(outbox), log: Arc::new(log), store: Arc::new(store) };
        let relay = OutboxRelay::start(config(), ports, &mut registry, shutdown);
        Self { trigger, registry, relay }
    }

    /// It does nothing more after this.
    async fn kill(mut self) {
        self.trigger.immediate();
        soon("the relay's end", self.relay.ended()).await.unwrap();
    }

    fn metric(&self, name: &str) -> f64 {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry).unwrap();
        let lines = text.lines().filter(|line| line.starts_with(name));
        lines.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum()
    }
}

fn write(outbox: &MemoryOutbox, channel: &str, n: u64) {
    let data = Payload::Json(Bytes::from(n.to_string()));
    outbox.write(channel, &format!("row-{n}"), Some("app"), data);
}

async fn wait_empty(outbox: &MemoryOutbox) {
    soon("an empty outbox", async {
        while !outbox.is_empty() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
}

/// The data of a channel, once the store has all of the log.
async fn stored(cell: &Cell, channel: &str) -> Vec<u64> {
    let (_, end) = cell.log.bounds(0).await.unwrap();
    soon("the store", async {
        while cell.store.checkpoint(0) < end {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
    let mut client = cell.client("reader").await;
    let mut found = Vec::new();
    loop {
        let page = contents(&client.history(channel, found.len() as u64).await.unwrap());
        if page.is_empty() {
            return found;
        }
        found.extend(page.into_iter().map(|(_, data)| data.parse::<u64>().unwrap()));
    }
}

struct CrashingOutbox(MemoryOutbox, Arc<Crash>);
struct CrashingTurn(Box<dyn OutboxTurn>, Arc<Crash>);
struct CrashingStore(MemoryStore, Arc<Crash>);

#[async_trait]
impl Outbox for CrashingOutbox {
    async fn turn(&self) -> Result<Box<dyn OutboxTurn>, OutboxError> {
        let turn = self.1.call(self.0.turn()).await?;
        Ok(Box::new(CrashingTurn(turn, Arc::clone(&self.1))))
    }
}

#[async_trait]
impl OutboxTurn for CrashingTurn {
    async fn rows(&mut self, max: usize) -> Result<Vec<OutboxRow>, OutboxError> {
        self.1.call(self.0.rows(max)).await
    }
    async fn mark(&mut self, marks: Vec<(RowId, Mark)>) -> Result<(), OutboxError> {
        self.1.call(self.0.mark(marks)).await
    }
    async fn settle(&mut self, settled: Vec<(RowId, Settlement)>) -> Result<(), OutboxError> {
        self.1.call(self.0.settle(settled)).await
    }
}

#[async_trait]
impl Store for CrashingStore {
    async fn load(&self, partition: u32, since: u64) -> Result<Snapshot, StoreError> {
        self.0.load(partition, since).await
    }
    async fn commit(&self, partition: u32, batch: Commit) -> Result<(), StoreError> {
        self.0.commit(partition, batch).await
    }
    async fn checkpoint(&self, partition: u32) -> Result<Checkpoint, StoreError> {
        self.1.call(Store::checkpoint(&self.0, partition)).await
    }
    async fn history(&self, query: &HistoryQuery) -> Result<HistoryRows, StoreError> {
        self.1.call(self.0.history(query)).await
    }
    async fn retain(&self, namespace: &str, retention: Retention) -> Result<Retained, StoreError> {
        self.0.retain(namespace, retention).await
    }
}

/// Nine rows of three channels and one that is refused; a relay that dies at call `call`, and one that does not.
/// Returns whether the first one came so far.
async fn survive(call: i64, after: bool) -> bool {
    let cell = Cell::new();
    let core = cell.start_ready(forgetful()).await;
    let outbox = MemoryOutbox::default();
    for n in 0..9 {
        write(&outbox, &format!("chat:{}", n % 3), n);
    }
    write(&outbox, "nobody:1", 9);
    let crash = Crash::at(call, after);
    let relay = Relay::start(
        CrashingOutbox(outbox.clone(), Arc::clone(&crash)),
        CrashingLog(cell.log.clone(), Arc::clone(&crash)),
        CrashingStore(cell.store.clone(), Arc::clone(&crash)),
    );
    soon("a crash or the end", async {
        while !crash.crashed() && !outbox.is_empty() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
    relay.kill().await;
    let relay = Relay::start(outbox.clone(), cell.log.clone(), cell.store.clone());
    wait_empty(&outbox).await;
    for channel in 0..3 {
        let found = stored(&cell, &format!("chat:{channel}")).await;
        assert_eq!(found, [channel, channel + 3, channel + 6], "killed at call {call}, after: {after}");
    }
    assert_eq!(outbox.refused().len(), 1, "killed at call {call}, after: {after}");
    relay.kill().await;
    core.kill().await;
    crash.crashed()
}

#[tokio::test]
async fn each_row_is_published_once_and_in_order_wherever_the_relay_dies() {
    for after in [false, true] {
        let mut call = 0;
        while survive(call, after).await {
            call += 1;
        }
        assert!(call > 15, "only {call} places to die at");
    }
}

/// A log whose appends now and then have no answer, with and without having taken place.
struct DoubtfulLog {
    log: MemoryLog,
    random: parking_lot::Mutex<rand::rngs::StdRng>,
    lost: Arc<AtomicU64>,
}

#[async_trait]
impl Log for DoubtfulLog {
    fn partitions(&self) -> u32 {
        self.log.partitions()
    }
    async fn append(&self, partition: u32, key: Bytes, value: Bytes) -> Result<u64, LogError> {
        let dice = self.random.lock().random_range(0..10);
        if dice > 1 {
            return self.log.append(partition, key, value).await;
        }
        if dice == 1 {
            self.log.append(partition, key, value).await?;
        }
        self.lost.fetch_add(1, Ordering::SeqCst);
        Err(LogError::Unavailable("no answer".into()))
    }
    fn record_bytes(&self) -> usize {
        self.log.record_bytes()
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
        self.log.join(group).await
    }
}

#[tokio::test]
async fn appends_without_an_answer_are_looked_for_and_not_repeated() {
    let cell = Cell::new();
    let core = cell.start_ready(forgetful()).await;
    let outbox = MemoryOutbox::default();
    for n in 0..60 {
        write(&outbox, &format!("chat:{}", n % 4), n);
    }
    let (random, lost) = (rand::rngs::StdRng::seed_from_u64(5), Arc::<AtomicU64>::default());
    let log = DoubtfulLog { log: cell.log.clone(), random: random.into(), lost: Arc::clone(&lost) };
    let relay = Relay::start(outbox.clone(), log, cell.store.clone());
    // Others publish into the same channels meanwhile.
    let mut others = cell.client("others").await;
    let mut count = 0;
    while !outbox.is_empty() {
        others.publish_offset(&format!("chat:{}", count % 4), None, "1000").await;
        count += 1;
    }
    assert!(lost.load(Ordering::SeqCst) > 3);
    assert!(relay.metric("skywave_outbox_verified_total{verdict=\"published\"") > 0.0);
    assert!(relay.metric("skywave_outbox_verified_total{verdict=\"not_published\"") > 0.0);
    for channel in 0..4 {
        let mut found = stored(&cell, &format!("chat:{channel}")).await;
        found.retain(|n| *n != 1000);
        assert!(found.iter().copied().eq((channel..60).step_by(4)), "{found:?}");
    }
    relay.kill().await;
    core.kill().await;
}

#[tokio::test]
async fn a_row_whose_publication_history_has_forgotten_is_kept_aside() {
    let cell = Cell::new();
    let core = cell.start_ready(forgetful()).await;
    let outbox = MemoryOutbox::default();
    write(&outbox, "chat:1", 1);
    // Published, and killed before it could be settled.
    let log = CrashingLog(cell.log.clone(), Crash::at(0, true));
    let relay = Relay::start(outbox.clone(), log, cell.store.clone());
    soon("the publication in the store", async {
        while cell.store.checkpoint(0) < 1 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
    relay.kill().await;
    cell.store.retain("chat", Retention { size: 0, not_before_ms: 0 }).await.unwrap();

    let relay = Relay::start(outbox.clone(), cell.log.clone(), cell.store.clone());
    wait_empty(&outbox).await;
    let refused = outbox.refused();
    assert!(refused[0].1.contains("not known"), "{}", refused[0].1);
    assert_eq!(cell.log.bounds(0).await.unwrap().1, 1, "it was not published again");
    relay.kill().await;
    core.kill().await;
}

#[tokio::test]
async fn rows_wait_for_a_full_log_and_for_an_absent_store() {
    let cell = Cell::new();
    let core = cell.start_ready(forgetful()).await;
    let outbox = MemoryOutbox::default();
    let relay = Relay::start(outbox.clone(), cell.log.clone(), cell.store.clone());
    cell.log.refuse_appends(Some(LogError::Full("no room".into())));
    write(&outbox, "chat:1", 1);
    soon("a row that waits", async {
        while relay.metric("skywave_outbox_waiting") < 1.0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
    cell.log.refuse_appends(None);
    wait_empty(&outbox).await;
    assert_eq!(relay.metric("skywave_outbox_verified_total"), 0.0, "nothing was in doubt");

    cell.store.fail(Some(Failure::Down));
    write(&outbox, "chat:1", 2);
    write(&outbox, "chat:1", 3);
    soon("rows that wait", async {
        while relay.metric("skywave_outbox_waiting") < 2.0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
    cell.store.fail(None);
    wait_empty(&outbox).await;
    assert_eq!(stored(&cell, "chat:1").await, [1, 2, 3]);
    assert_eq!(relay.metric("skywave_outbox_published_total"), 3.0);
    relay.kill().await;
    core.kill().await;
}
