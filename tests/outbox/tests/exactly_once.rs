//! An application places orders. Each order and its rows of the outbox are one transaction; some are rolled back. Under it
//! Postgres is killed again and again, and so is the relay; the core remembers no message id, as if every retry came
//! later than the dedup window. In the end every order that exists was published once, in order, and nothing else was.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use prometheus_client::registry::Registry;
use rand::Rng;
use skywave_core::{Core, CoreConfig, OutboxRelay, Ports, RelayConfig, RelayPorts};
use skywave_ports::memory::{MemoryBus, MemoryLog};
use skywave_ports::{Log, Store};
use skywave_postgres::{PostgresConfig, PostgresOutbox, PostgresStore};
use skywave_protocol::message::HistoryQuery;
use skywave_protocol::{ChannelName, Durability, Epoch, NamespaceOptions};
use skywave_runtime::{ShutdownTrigger, shutdown};
use skywave_servers::{Postgres, PostgresOptions, wait};
use sqlx::{Connection, PgConnection};

const CHANNELS: u64 = 5;
const KILLS: u32 = 8;

fn namespaces() -> BTreeMap<String, NamespaceOptions> {
    let options = NamespaceOptions { durability: Durability::Durable, ..NamespaceOptions::default() };
    [("order".to_owned(), options)].into()
}

fn postgres(url: &str) -> PostgresConfig {
    PostgresConfig {
        url: url.into(),
        commit_timeout: Duration::from_secs(5),
        circuit_pause_max: Duration::from_millis(50),
        ..PostgresConfig::default()
    }
}

/// Places order after order until told to stop. `placed` counts those that were committed for certain.
async fn application(url: String, stop: Arc<AtomicBool>, placed: Arc<AtomicU64>) {
    let mut order = 0u64;
    let mut connection: Option<PgConnection> = None;
    while !stop.load(Ordering::Relaxed) {
        order += 1;
        let placing = async {
            let connected = match &mut connection {
                Some(connected) => connected,
                none => none.insert(PgConnection::connect(&url).await?),
            };
            place(connected, order).await
        };
        match placing.await {
            Ok(true) => _ = placed.fetch_add(1, Ordering::Relaxed),
            Ok(false) => {}
            // Whether the order was placed is unknown, to this application as to any other.
            Err(_) => {
                connection = None;
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }
}

async fn place(connection: &mut PgConnection, order: u64) -> Result<bool, sqlx::Error> {
    let mut transaction = connection.begin().await?;
    let place = sqlx::query("INSERT INTO orders (number) VALUES ($1)").bind(order as i64);
    place.execute(&mut *transaction).await?;
    // Placed and confirmed, in this order.
    for (publisher, event) in [(None, "placed"), (Some("ada"), "confirmed")] {
        sqlx::query("INSERT INTO skywave_outbox (channel, publisher, data) VALUES ($1, $2, $3::json)")
            .bind(format!("order:{}", order % CHANNELS))
            .bind(publisher)
            .bind(format!("\"{order} {event}\""))
            .execute(&mut *transaction)
            .await?;
    }
    if order % 7 == 3 {
        transaction.rollback().await?;
        return Ok(false);
    }
    transaction.commit().await?;
    Ok(true)
}

struct Relay {
    relay: OutboxRelay,
    trigger: ShutdownTrigger,
    registry: Registry,
}

impl Relay {
    fn start(url: &str, log: &MemoryLog, store: &Arc<PostgresStore>) -> Self {
        let config = PostgresConfig { schema: "public".into(), ..postgres(url) };
        let outbox = PostgresOutbox::new(config).unwrap();
        let (trigger, shutdown) = shutdown::channel();
        let mut registry = Registry::default();
        let config = RelayConfig {
            namespaces: namespaces(),
            rows: 20,
            poll: Duration::from_millis(5),
            ..RelayConfig::default()
        };
        let ports = RelayPorts { outbox: Arc::new(outbox), log: Arc::new(log.clone()), store: store.clone() };
        let relay = OutboxRelay::start(config, ports, &mut registry, shutdown);
        Self { relay, trigger, registry }
    }

    fn metric(&self, name: &str) -> u64 {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry).unwrap();
        let lines = text.lines().filter(|line| line.starts_with(name));
        lines.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum()
    }

    /// Dead in the middle of whatever it was doing.
    async fn kill(mut self) {
        self.trigger.immediate();
        self.relay.ended().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_order_is_published_once_while_servers_and_relays_are_killed() {
    let mut server = Postgres::start_with(PostgresOptions::default()).unwrap();
    let url = server.url();
    let log = MemoryLog::new(2);
    let fresh = Epoch::parse("first").unwrap();
    let store = PostgresStore::connect(postgres(&url), "main", fresh, &mut Registry::default()).await;
    let store = Arc::new(store.unwrap());
    let (trigger, shutdown) = shutdown::channel();
    let ports = Ports {
        log: Arc::new(log.clone()),
        store: store.clone(),
        bus: Arc::new(MemoryBus::new()),
        dead_letters: None,
    };
    let config = CoreConfig { dedup_entries: 0, persist_ms: 5, ..CoreConfig::default() };
    let core = Core::start(config, ports, &mut Registry::default(), shutdown).await.unwrap();
    let mut relay = Relay::start(&url, &log, &store);
    server.sql("postgres", "CREATE TABLE orders (number bigint PRIMARY KEY)").unwrap();

    let (stop, placed) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
    let orders = tokio::spawn(application(url.clone(), Arc::clone(&stop), Arc::clone(&placed)));
    let (mut verified, mut kills) = (0, 0);
    // Whether a kill leaves a row in doubt is a matter of chance: one at least has to.
    while kills < KILLS || verified + relay.metric("skywave_outbox_verified_total") == 0 {
        assert!(kills < 20 * KILLS, "no kill left a row in doubt");
        let until = placed.load(Ordering::Relaxed) + rand::rng().random_range(10..40);
        wait::until("orders", || (placed.load(Ordering::Relaxed) >= until).then_some(())).unwrap();
        let reached = relay.metric("skywave_outbox_published_total") + rand::rng().random_range(5..30);
        let published = || relay.metric("skywave_outbox_published_total") >= reached;
        wait::until("publications", || published().then_some(())).unwrap();
        match kills % 2 {
            0 => {
                server.kill9().unwrap();
                server.restart().unwrap();
            }
            _ => {
                verified += relay.metric("skywave_outbox_verified_total");
                relay.kill().await;
                relay = Relay::start(&url, &log, &store);
            }
        }
        kills += 1;
    }
    stop.store(true, Ordering::Relaxed);
    orders.await.unwrap();
    let left = "SELECT count(*) FROM skywave_outbox";
    wait::until("an empty outbox", || (server.sql("postgres", left).ok()? == "0").then_some(())).unwrap();
    assert_eq!(server.sql("postgres", "SELECT count(*) FROM skywave_outbox_refused").unwrap(), "0");
    relay.kill().await;

    let numbers = server.sql("postgres", "SELECT number FROM orders ORDER BY number").unwrap();
    let numbers: Vec<u64> = numbers.lines().map(|number| number.parse().unwrap()).collect();
    assert!(numbers.len() as u64 >= placed.load(Ordering::Relaxed));
    for partition in 0..2 {
        let (_, end) = log.bounds(partition).await.unwrap();
        let mut checkpoint = 0;
        while checkpoint < end {
            checkpoint = store.checkpoint(partition).await.unwrap();
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    for channel in 0..CHANNELS {
        let expected: Vec<String> = numbers
            .iter()
            .filter(|number| *number % CHANNELS == channel)
            .flat_map(|number| [format!("\"{number} placed\""), format!("\"{number} confirmed\"")])
            .collect();
        assert_eq!(published(&store, channel).await, expected);
    }
    trigger.immediate();
    drop(core);
}

async fn published(store: &PostgresStore, channel: u64) -> Vec<String> {
    let channel = ChannelName::parse(&format!("order:{channel}")).unwrap();
    let mut found: Vec<String> = Vec::new();
    loop {
        let after = found.len() as u64;
        let query = HistoryQuery { channel: channel.clone(), after, before: 0, limit: 1_000, reverse: false };
        let rows = store.history(&query).await.unwrap();
        if rows.publications.is_empty() {
            return found;
        }
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        found.extend(rows.publications.iter().map(|publication| text(publication.data.bytes())));
    }
}
