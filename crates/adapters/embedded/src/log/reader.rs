//! Reads the log in position order: from the tail while keeping up with it, else from the file.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use skywave_ports::log::{LogEntry, LogError, LogPosition, LogReader};
use sqlx::Row;
use sqlx::sqlite::{SqliteConnection, SqliteRow};
use tokio::sync::{Mutex, watch};

use super::batch::Batch;
use super::tail::{Found, Tail};
use crate::sqlite;

/// Batches read from the file at a time.
const READ_BATCHES: i64 = 16;

/// The file, for readers that lag: one connection, made when first needed and dropped after an error.
pub(super) struct Table {
    database: PathBuf,
    connection: Mutex<Option<SqliteConnection>>,
}

impl Table {
    pub(super) fn new(database: PathBuf) -> Self {
        Self { database, connection: Mutex::new(None) }
    }

    /// Consecutive batches, the first of which holds `from`; empty when it is no longer there.
    async fn read(&self, from: LogPosition) -> Result<Vec<Batch>, LogError> {
        let mut slot = self.connection.lock().await;
        let mut connection = match slot.take() {
            Some(connection) => connection,
            None => sqlite::connect_reader(&self.database).await.map_err(unavailable)?,
        };
        // On an error the connection is dropped: the next read makes a fresh one.
        let rows = sqlx::query(
            "SELECT base, count, records FROM batches \
             WHERE base >= (SELECT max(base) FROM batches WHERE base <= ?1) ORDER BY base LIMIT ?2",
        )
        .bind(from as i64)
        .bind(READ_BATCHES)
        .fetch_all(&mut connection)
        .await
        .map_err(unavailable)?;
        *slot = Some(connection);
        rows.into_iter().map(batch).collect()
    }
}

/// Takes a batch from a row (base, count, records).
pub(super) fn batch(row: SqliteRow) -> Result<Batch, LogError> {
    let (base, count): (i64, i64) = (row.get(0), row.get(1));
    Batch::decode(base as u64, count as u64, row.get(2))
        .map_err(|error| LogError::Unavailable(error.to_string()))
}

fn unavailable(error: sqlx::Error) -> LogError {
    LogError::Unavailable(error.to_string())
}

pub(super) struct Reader {
    tail: Arc<Tail>,
    table: Arc<Table>,
    end: watch::Receiver<LogPosition>,
    next: LogPosition,
    /// Read from the file and not yet given out; at most `READ_BATCHES` batches.
    ahead: VecDeque<LogEntry>,
}

impl Reader {
    pub(super) fn new(tail: Arc<Tail>, table: Arc<Table>, from: LogPosition) -> Self {
        let end = tail.watch_end();
        Self { tail, table, end, next: from, ahead: VecDeque::new() }
    }

    async fn read_ahead(&mut self) -> Result<(), LogError> {
        let batches = self.table.read(self.next).await?;
        let mut next = self.next;
        for batch in &batches {
            if next < batch.base || next >= batch.end() {
                break;
            }
            self.ahead.extend(batch.entries(next, usize::MAX));
            next = batch.end();
        }
        if self.ahead.is_empty() {
            // Trimmed between the look at the tail and the read, or the file has a hole.
            let (first, _) = self.tail.bounds();
            return match self.next < first {
                true => Err(LogError::Trimmed { asked: self.next, first }),
                false => Err(LogError::Unavailable(format!("position {} is missing in the file", self.next))),
            };
        }
        Ok(())
    }
}

#[async_trait]
impl LogReader for Reader {
    async fn next(&mut self, max: usize) -> Result<Vec<LogEntry>, LogError> {
        let max = max.max(1);
        let next = self.next;
        // The tail, which holds the sending side, lives as long as this reader.
        let _ = self.end.wait_for(|end| *end > next).await;
        if self.ahead.is_empty() {
            match self.tail.find(next, max) {
                Found::Here(entries) => {
                    self.next += entries.len() as u64;
                    return Ok(entries);
                }
                Found::Trimmed { first } => return Err(LogError::Trimmed { asked: next, first }),
                Found::InFile => self.read_ahead().await?,
            }
        }
        let count = max.min(self.ahead.len());
        let entries: Vec<_> = self.ahead.drain(..count).collect();
        self.next += entries.len() as u64;
        Ok(entries)
    }
}
