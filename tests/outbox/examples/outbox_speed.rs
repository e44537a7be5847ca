//! Measures the relay: rows a second from an application's table into the log, with synced writes on both sides of it. The
//! log answers at once.
//!
//! `cargo run --release -p skywave-outbox-tests --example outbox_speed`
#![allow(clippy::print_stdout, reason = "its output is its purpose")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use prometheus_client::registry::Registry;
use skywave_core::{Core, CoreConfig, OutboxRelay, Ports, RelayConfig, RelayPorts};
use skywave_ports::memory::{MemoryBus, MemoryLog};
use skywave_postgres::{PostgresConfig, PostgresOutbox, PostgresStore};
use skywave_protocol::{Durability, Epoch, NamespaceOptions};
use skywave_runtime::shutdown;
use skywave_servers::{Postgres, PostgresOptions};

const ROWS: u32 = 30_000;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let server = Postgres::start_with(PostgresOptions::default().set("max_wal_size", "1GB"))?;
    let config = PostgresConfig { url: server.url(), ..PostgresConfig::default() };
    let fresh = Epoch::parse("speed")?;
    let store = PostgresStore::connect(config.clone(), "speed", fresh, &mut Registry::default()).await?;
    let (store, log) = (Arc::new(store), MemoryLog::new(2));
    let (_trigger, shutdown) = shutdown::channel();
    let ports = Ports {
        log: Arc::new(log.clone()),
        store: store.clone(),
        bus: Arc::new(MemoryBus::new()),
        dead_letters: None,
    };
    let _core = Core::start(CoreConfig::default(), ports, &mut Registry::default(), shutdown.clone()).await?;
    let outbox = PostgresOutbox::new(PostgresConfig { schema: "public".into(), ..config })?;
    outbox.prepare().await?;

    for channels in [1, 100, 10_000] {
        server.sql(
            "postgres",
            &format!(
                "INSERT INTO skywave_outbox (channel, data)
                SELECT 'bench:{channels}-' || n % {channels}, to_json(repeat('x', 200)) FROM generate_series(1, {ROWS}) AS n"
            ),
        )?;
        server.sql("postgres", "VACUUM ANALYZE skywave_outbox")?;
    }
    let mut registry = Registry::default();
    let durable = NamespaceOptions { durability: Durability::Durable, ..NamespaceOptions::default() };
    let config =
        RelayConfig { namespaces: BTreeMap::from([("bench".to_owned(), durable)]), ..RelayConfig::default() };
    let ports = RelayPorts { outbox: Arc::new(outbox), log: Arc::new(log), store };
    let _relay = OutboxRelay::start(config, ports, &mut registry, shutdown);
    for channels in [1, 100, 10_000] {
        let (started, before) = (Instant::now(), published(&registry)?);
        while published(&registry)? < before + u64::from(ROWS) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let rate = f64::from(ROWS) / started.elapsed().as_secs_f64();
        let load = std::fs::read_to_string("/proc/loadavg")?;
        println!(
            "{channels:>6} channels: {rate:.0} rows/s, load {}",
            load.split(' ').next().unwrap_or_default()
        );
    }
    Ok(())
}

fn published(registry: &Registry) -> Result<u64, Box<dyn std::error::Error>> {
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, registry)?;
    let line = text.lines().find_map(|line| line.strip_prefix("skywave_outbox_published_total "));
    Ok(line.unwrap_or("0").parse()?)
}
