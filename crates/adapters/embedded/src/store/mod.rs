//! The store of a single node: `store.db`.
//!
//! - One writer connection: commits, retention. Each commit is one synced transaction, conditional on the checkpoint.
//! - A few reader connections: history, loading. Readers never wait for the writer.
//! - Publications are clustered by (channel, offset), so that a page of history is a few neighbouring pages of the file;
//!   heads stand in a table of their own, small enough to stay in memory for many channels.
//!
//! After any failure of the writer its connection and all that it remembered are dropped; the next commit begins with
//! what the file says.

mod commit;
mod dedup;
mod history;
mod load;
mod readers;
mod retain;
mod row;
mod writer;

use std::path::Path;

use async_trait::async_trait;
use skywave_ports::log::Partition;
use skywave_ports::{Commit, HistoryRows, Retained, Retention, Snapshot, Store, StoreError};
use skywave_protocol::Epoch;
use skywave_protocol::message::HistoryQuery;
use sqlx::Row;
use tokio::sync::Mutex;

use crate::folder::{OpenError, Place};
use crate::sqlite::{self, Format};
use readers::Readers;
use retain::Walks;
use writer::Writer;

const FORMAT: Format = Format {
    application_id: 0x5357_5374,
    version: 1,
    schema: r#"
        CREATE TABLE store (one INTEGER PRIMARY KEY CHECK (one = 1), epoch TEXT NOT NULL) STRICT;
        CREATE TABLE partitions (partition INTEGER PRIMARY KEY, checkpoint INTEGER NOT NULL) STRICT;
        CREATE TABLE channels (
            id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, namespace TEXT NOT NULL, partition INTEGER NOT NULL
        ) STRICT;
        CREATE INDEX channels_by_namespace ON channels (namespace, id);
        CREATE TABLE heads (channel INTEGER PRIMARY KEY, head INTEGER NOT NULL) STRICT;
        CREATE TABLE publications (
            channel INTEGER NOT NULL, "offset" INTEGER NOT NULL, time_ms INTEGER NOT NULL, body BLOB NOT NULL,
            PRIMARY KEY (channel, "offset")
        ) STRICT, WITHOUT ROWID;
        CREATE TABLE dedup (
            partition INTEGER NOT NULL, checkpoint INTEGER NOT NULL, newest_ms INTEGER NOT NULL,
            count INTEGER NOT NULL, entries BLOB NOT NULL, PRIMARY KEY (partition, checkpoint)
        ) STRICT
    "#,
};

/// The settings of a store.
#[derive(Debug, Clone)]
pub struct StoreOptions {
    /// Connections for history reads. More reads at a time wait for one of them.
    pub readers: usize,
    /// Channels whose row numbers are remembered, to save a lookup per commit.
    pub known_channels: usize,
    /// Journal size at which it is copied into the database file, in bytes (estimated).
    pub journal_bytes: u64,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self { readers: 2, known_channels: 200_000, journal_bytes: 64 * 1024 * 1024 }
    }
}

/// An open store.
pub struct SqliteStore {
    epoch: Epoch,
    writer: Mutex<Writer>,
    readers: Readers,
    walks: Mutex<Walks>,
    /// Released last.
    _place: Place,
}

/// An epoch for a new store: 16 hexadecimal digits.
pub fn random_epoch(random: &mut impl rand::RngCore) -> Epoch {
    match Epoch::parse(&format!("{:016x}", random.next_u64())) {
        Ok(epoch) => epoch,
        Err(_) => unreachable!("sixteen hexadecimal digits are an epoch"),
    }
}

impl SqliteStore {
    /// Opens `store.db` in `folder`, making both if needed; a new store takes `fresh` as its epoch for ever (see
    /// [`random_epoch`]).
    pub async fn open(folder: &Path, options: StoreOptions, fresh: Epoch) -> Result<Self, OpenError> {
        let place = Place::take(folder, "store.db").await?;
        let path = || place.database.clone();
        let failed = |error: sqlx::Error| OpenError::Unavailable { path: path(), reason: error.to_string() };
        let mut connection = sqlite::open(&place.database, &FORMAT).await?;
        sqlite::settle(&mut connection).await.map_err(failed)?;
        sqlx::query("INSERT INTO store (one, epoch) VALUES (1, ?1) ON CONFLICT DO NOTHING")
            .bind(fresh.as_str().to_owned())
            .execute(&mut connection)
            .await
            .map_err(failed)?;
        let row = sqlx::query("SELECT epoch FROM store").fetch_one(&mut connection).await.map_err(failed)?;
        let epoch = Epoch::parse(row.get(0))
            .map_err(|error| OpenError::Damaged { path: path(), reason: error.to_string() })?;
        let readers = Readers::new(path(), options.readers);
        let writer = Writer::new(path(), connection, options);
        Ok(Self { epoch, writer: Mutex::new(writer), readers, walks: Mutex::default(), _place: place })
    }

    /// Ends the store: returns when the file is closed and another process may open it. Dropping the store does the same
    /// in the background.
    pub async fn close(self) {
        self.readers.close().await;
        self.writer.into_inner().close().await;
    }
}

#[async_trait]
impl Store for SqliteStore {
    async fn load(&self, partition: Partition, dedup_since_ms: u64) -> Result<Snapshot, StoreError> {
        let load =
            self.readers.with(async |connection| load::load(connection, partition, dedup_since_ms).await);
        let (checkpoint, heads, dedup) = load.await?;
        Ok(Snapshot { epoch: self.epoch.clone(), checkpoint, heads, dedup })
    }

    async fn commit(&self, partition: Partition, batch: Commit) -> Result<(), StoreError> {
        self.writer.lock().await.commit(partition, batch).await
    }

    async fn history(&self, query: &HistoryQuery) -> Result<HistoryRows, StoreError> {
        let read = self.readers.with(async |connection| history::read(connection, query).await);
        let (head, first, publications) = read.await?;
        Ok(HistoryRows { epoch: self.epoch.clone(), head, first, publications })
    }

    async fn retain(&self, namespace: &str, retention: Retention) -> Result<Retained, StoreError> {
        let mut walks = self.walks.lock().await;
        walks.step(&self.readers, &self.writer, namespace, retention).await
    }
}

/// Nothing is known of the outcome; everything may be tried again.
fn unavailable(error: sqlx::Error) -> StoreError {
    StoreError::Unavailable(error.to_string())
}

#[cfg(test)]
mod tests;
