//! What the tests share: a server, stores on it, and batches.

#![allow(dead_code, reason = "each test file uses a part of it")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::{Arc, Weak};

use bytes::Bytes;
use parking_lot::Mutex;
use prometheus_client::registry::Registry;
use skywave_ports::{Commit, DedupKeep, Store, StoreError, StoredPublication};
use skywave_postgres::{PostgresConfig, PostgresStore};
use skywave_protocol::message::HistoryQuery;
use skywave_protocol::{ChannelName, Epoch, Payload, Publication};
use skywave_servers::{Postgres, PostgresOptions};

/// One server for the tests that kill nothing; ended with the last of them.
pub(crate) fn shared() -> Arc<Postgres> {
    static SHARED: Mutex<Weak<Postgres>> = Mutex::new(Weak::new());
    let mut shared = SHARED.lock();
    if let Some(server) = shared.upgrade() {
        return server;
    }
    let options = PostgresOptions { unsynced: true, ..PostgresOptions::default() };
    let server = Arc::new(Postgres::start_with(options).unwrap());
    *shared = Arc::downgrade(&server);
    server
}

pub(crate) fn config(url: &str) -> PostgresConfig {
    PostgresConfig { url: url.into(), ..PostgresConfig::default() }
}

pub(crate) fn epoch() -> Epoch {
    Epoch::parse(&format!("{:016x}", rand::random::<u64>())).unwrap()
}

pub(crate) async fn open(config: PostgresConfig) -> PostgresStore {
    PostgresStore::connect(config, "main", epoch(), &mut Registry::default()).await.unwrap()
}

pub(crate) fn row(name: &str, offset: u64) -> StoredPublication {
    let data = Payload::Json(Bytes::from(format!("{{\"n\":{offset}}}")));
    let publication = Arc::new(Publication { offset, id: None, from: None, time_ms: offset, data });
    StoredPublication { channel: ChannelName::parse(name).unwrap(), publication }
}

pub(crate) const KEEP: DedupKeep = DedupKeep { not_before_ms: 0, entries: usize::MAX };

/// As many positions as rows.
pub(crate) fn batch(expected: u64, publications: Vec<StoredPublication>) -> Commit {
    let next = expected + publications.len() as u64;
    Commit { expected, next, publications, dedup: Vec::new(), dedup_keep: KEEP }
}

pub(crate) fn query(name: &str, after: u64, before: u64, limit: u32) -> HistoryQuery {
    HistoryQuery { channel: ChannelName::parse(name).unwrap(), after, before, limit, reverse: false }
}

/// Head and offsets of a channel.
pub(crate) async fn offsets(store: &impl Store, query: &HistoryQuery) -> (u64, Vec<u64>) {
    let rows = store.history(query).await.unwrap();
    (rows.head, rows.publications.iter().map(|publication| publication.offset).collect())
}

/// What a persister does: tries until the batch is in the store, however often that takes; returns the attempts that
/// failed.
pub(crate) async fn persist(store: &impl Store, batch: &Commit) -> u32 {
    let mut failures = 0;
    loop {
        match store.commit(0, batch.clone()).await {
            Ok(()) => return failures,
            Err(StoreError::CheckpointMoved { found, .. }) if failures > 0 && found == batch.next => {
                return failures;
            }
            Err(StoreError::CheckpointMoved { expected, found }) => {
                panic!("the checkpoint is {found} instead of {expected}")
            }
            Err(StoreError::Unavailable(_)) => failures += 1,
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

/// The value of a metric in its text form, summed over its labels that contain `label`.
pub(crate) fn metric(registry: &Registry, name: &str, label: &str) -> f64 {
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, registry).unwrap();
    let lines = text.lines().filter(|line| line.starts_with(name) && line.contains(label));
    lines.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum()
}
