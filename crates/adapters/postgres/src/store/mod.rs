//! The store: a cell's history and checkpoints on one Postgres, with pages of history from a replica where there is one.

mod commit;
mod copy;
mod dedup;
mod history;
mod insert;
mod load;
mod replica;
mod retain;

use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use prometheus_client::registry::Registry;
use skywave_ports::log::Partition;
use skywave_ports::{Commit, HistoryRows, Retained, Retention, Snapshot, Store, StoreError};
use skywave_protocol::Epoch;
use skywave_protocol::message::HistoryQuery;
use sqlx::Row;
use tokio::sync::Mutex;

use crate::config::PostgresConfig;
use crate::connections::{Limits, Pool, Role, Server};
use crate::error::{ConnectError, Failure};
use crate::metrics::Metrics;
use crate::schema::STORE;
use commit::Committed;
use retain::Walks;

/// A cell's store on Postgres. Any number of processes may use the same one.
pub struct PostgresStore {
    config: PostgresConfig,
    commits: Pool,
    reads: Pool,
    /// For retention alone: one connection.
    background: Pool,
    replica: Option<Pool>,
    walks: Mutex<Walks>,
    metrics: Metrics,
}

impl PostgresStore {
    /// Connects and makes the tables where they are missing. A new store is `cell`'s from now on and takes `fresh` as its
    /// epoch; one that is there keeps its own.
    pub async fn connect(
        config: PostgresConfig,
        cell: &str,
        fresh: Epoch,
        registry: &mut Registry,
    ) -> Result<Self, ConnectError> {
        config.check()?;
        let metrics = Metrics::register(registry);
        let server = |options, role| {
            Arc::new(Server::new(options, role, config.schema.clone(), config.connect_timeout))
        };
        let primary = server(config.primary()?, Role::Primary);
        let replica = config.replica()?.map(|options| server(options, Role::Replica));
        claim(&primary, &config, cell, fresh).await?;

        let limits = |statement| Limits { statement, lock: config.commit_timeout / 2 };
        let pool = |name, server: &Arc<Server>, connections, limits| {
            Pool::new(name, Arc::clone(server), connections, limits, &config, &metrics)
        };
        let (for_commits, for_reads) = (limits(config.commit_timeout), limits(config.read_timeout));
        Ok(Self {
            commits: pool("commit", &primary, config.commit_connections, for_commits),
            reads: pool("read", &primary, config.read_connections, for_reads),
            background: pool("background", &primary, 1, for_reads),
            replica: replica.map(|server| pool("replica", &server, config.replica_connections, for_reads)),
            walks: Mutex::default(),
            metrics,
            config,
        })
    }

    /// Runs an operation and notes how it went.
    async fn noted<T>(
        &self,
        operation: &'static str,
        work: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, StoreError> {
        let started = Instant::now();
        let result = work.await;
        self.metrics.ended(operation, started, result.is_ok());
        Ok(result?)
    }
}

/// Makes sure that the store is the cell's.
async fn claim(
    primary: &Server,
    config: &PostgresConfig,
    cell: &str,
    fresh: Epoch,
) -> Result<(), ConnectError> {
    let mut connection = primary.start(config, STORE).await?;
    let refused = |error: sqlx::Error| ConnectError::Refused {
        server: primary.name(),
        reason: format!("the store's tables cannot be used: {error}"),
    };
    // A role that may only read and write rows needs no more than this.
    sqlx::query("INSERT INTO store (cell, epoch) VALUES ($1, $2) ON CONFLICT DO NOTHING")
        .persistent(false)
        .bind(cell)
        .bind(fresh.as_str())
        .execute(&mut connection)
        .await
        .map_err(refused)?;
    let query = sqlx::query("SELECT cell FROM store").persistent(false);
    let found: String = query.fetch_one(&mut connection).await.map_err(refused)?.get(0);
    if found != cell {
        let (schema, asked) = (config.schema.clone(), cell.to_owned());
        return Err(ConnectError::OtherCell { schema, found, asked });
    }
    Ok(())
}

#[async_trait]
impl Store for PostgresStore {
    async fn load(&self, partition: Partition, dedup_since_ms: u64) -> Result<Snapshot, StoreError> {
        let limit = self.config.load_timeout;
        let load = self
            .reads
            .with(limit, async |connection| load::load(connection, partition, dedup_since_ms, limit).await);
        self.noted("load", load).await
    }

    async fn commit(&self, partition: Partition, batch: Commit) -> Result<(), StoreError> {
        let limit = commit::limit(self.config.commit_timeout, &batch);
        let commit = self
            .commits
            .with(limit, async |connection| commit::commit(connection, partition, &batch, limit).await);
        let committed = self.noted("commit", async {
            let committed = commit.await;
            if let Err(Failure::Warned(warning)) = &committed {
                self.metrics.commits_warned.inc();
                tracing::warn!(partition, %warning, "a commit's outcome is unknown");
            }
            committed
        });
        match committed.await? {
            Committed::Yes => {
                self.metrics.rows_written.inc_by(batch.publications.len() as u64);
                self.metrics.bytes_written.inc_by(commit::bytes(&batch));
                Ok(())
            }
            Committed::Moved { found } => {
                self.metrics.commits_moved.inc();
                Err(StoreError::CheckpointMoved { expected: batch.expected, found })
            }
        }
    }

    async fn history(&self, query: &HistoryQuery) -> Result<HistoryRows, StoreError> {
        self.noted("history", self.read_history(query)).await
    }

    async fn retain(&self, namespace: &str, retention: Retention) -> Result<Retained, StoreError> {
        let mut walks = self.walks.lock().await;
        let limit = self.config.read_timeout;
        let step = self.background.with(limit, async |connection| {
            walks.step(connection, &self.config.schema, namespace, retention).await
        });
        let retained = self.noted("retain", step).await?;
        self.metrics.rows_deleted.inc_by(retained.removed);
        Ok(retained)
    }
}

#[cfg(test)]
mod tests;
