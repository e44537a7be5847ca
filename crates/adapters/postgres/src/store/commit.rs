//! Writes a batch in one transaction: checkpoint (conditionally), channels with their heads, publications, dedup entries.
//!
//! The checkpoint comes first: its row is locked from then on, so that two owners of a partition are one after the other,
//! and the second finds that it has moved. Row numbers of channels are asked for in every commit and remembered by
//! nobody: what another owner, or a server that was promoted, has made of them meanwhile cannot be mistaken.

use std::time::Duration;

use hashbrown::HashMap;
use skywave_ports::log::Partition;
use skywave_ports::{Checkpoint, Commit, StoredPublication};
use skywave_protocol::{ChannelName, Offset};
use sqlx::{AssertSqlSafe, Executor, PgConnection, Row};

use super::{copy, dedup, insert};
use crate::connections::notices;
use crate::error::Failure;

/// A commit gets a second more for so many bytes of payload: even a slow disk takes them in less.
const BYTES_PER_SECOND: u64 = 4 * 1024 * 1024;

/// Publications that are inserted rather than copied.
const FEW: usize = 500;
/// The most payload of theirs.
const FEW_BYTES: u64 = 256 * 1024;

pub(super) enum Committed {
    Yes,
    /// Another owner has written, or this batch was committed before.
    Moved {
        found: Checkpoint,
    },
}

/// Bytes of payload.
pub(super) fn bytes(batch: &Commit) -> u64 {
    batch.publications.iter().map(|row| row.publication.data.len() as u64).sum()
}

/// How long the commit may take.
pub(super) fn limit(base: Duration, batch: &Commit) -> Duration {
    base + Duration::from_secs(bytes(batch) / BYTES_PER_SECOND)
}

pub(super) async fn commit(
    connection: &mut PgConnection,
    partition: Partition,
    batch: &Commit,
    limit: Duration,
) -> Result<Committed, Failure> {
    begin(connection, limit).await?;
    if !move_checkpoint(connection, partition, batch).await? {
        let found = touch_checkpoint(connection, partition).await?;
        if found != batch.expected {
            notices::commit(connection).await?;
            return Ok(Committed::Moved { found });
        }
        // There was no row yet. Now there is one, and it is locked.
        move_checkpoint(connection, partition, batch).await?;
    }
    let channels = Channels::of(&batch.publications);
    let ids = channels.set_heads(connection, partition).await?;
    let channel = |row: usize| ids[channels.slots[row]];
    let rows = &batch.publications;
    if rows.len() > FEW || bytes(batch) > FEW_BYTES {
        copy::publications(connection, rows, channel).await?;
    } else if !rows.is_empty() {
        insert::publications(connection, rows, channel).await?;
    }
    dedup::write(connection, partition, batch).await?;
    notices::commit(connection).await?;
    Ok(Committed::Yes)
}

async fn begin(connection: &mut PgConnection, limit: Duration) -> Result<(), sqlx::Error> {
    let begin = format!("BEGIN; SET LOCAL statement_timeout = {}", limit.as_millis());
    connection.execute(sqlx::raw_sql(AssertSqlSafe(begin))).await.map(drop)
}

/// Whether the checkpoint was the expected one.
async fn move_checkpoint(
    connection: &mut PgConnection,
    partition: Partition,
    batch: &Commit,
) -> Result<bool, sqlx::Error> {
    let moved = sqlx::query("UPDATE partitions SET checkpoint = $3 WHERE partition = $1 AND checkpoint = $2")
        .bind(partition as i32)
        .bind(batch.expected as i64)
        .bind(batch.next as i64)
        .execute(connection)
        .await?;
    Ok(moved.rows_affected() == 1)
}

/// Returns the checkpoint, having written it anew: this transaction's commit then waits for the disk (and the standby)
/// that an earlier one, whose outcome was unknown, may not have waited for.
async fn touch_checkpoint(
    connection: &mut PgConnection,
    partition: Partition,
) -> Result<Checkpoint, sqlx::Error> {
    let row = sqlx::query(
        "INSERT INTO partitions (partition, checkpoint) VALUES ($1, 0) \
         ON CONFLICT (partition) DO UPDATE SET checkpoint = partitions.checkpoint RETURNING checkpoint",
    )
    .bind(partition as i32)
    .fetch_one(connection)
    .await?;
    Ok(row.get::<i64, _>(0) as u64)
}

/// The batch's channels, each once.
struct Channels<'a> {
    names: Vec<&'a ChannelName>,
    heads: Vec<Offset>,
    /// For each row its channel, as an index into the others.
    slots: Vec<usize>,
}

impl<'a> Channels<'a> {
    fn of(rows: &'a [StoredPublication]) -> Self {
        let mut known = HashMap::<&ChannelName, usize>::new();
        let mut channels =
            Self { names: Vec::new(), heads: Vec::new(), slots: Vec::with_capacity(rows.len()) };
        for row in rows {
            let slot = *known.entry(&row.channel).or_insert_with(|| {
                channels.names.push(&row.channel);
                channels.heads.push(0);
                channels.names.len() - 1
            });
            // In log order, so that the last one is the newest.
            channels.heads[slot] = row.publication.offset;
            channels.slots.push(slot);
        }
        channels
    }

    /// Writes the heads, making the channels that are new; returns the row number of each.
    async fn set_heads(
        &self,
        connection: &mut PgConnection,
        partition: Partition,
    ) -> Result<Vec<i64>, sqlx::Error> {
        if self.names.is_empty() {
            return Ok(Vec::new());
        }
        let rows = sqlx::query(
            "INSERT INTO channels (partition, namespace, name, head) \
             SELECT $1, namespace, name, head FROM unnest($2::text[], $3::text[], $4::bigint[]) AS new (namespace, name, head) \
             ON CONFLICT (namespace, name) DO UPDATE SET head = excluded.head RETURNING name, id",
        )
        .bind(partition as i32)
        .bind(self.names.iter().map(|name| name.namespace()).collect::<Vec<_>>())
        .bind(self.names.iter().map(|name| name.as_str()).collect::<Vec<_>>())
        .bind(self.heads.iter().map(|head| *head as i64).collect::<Vec<_>>())
        .fetch_all(connection)
        .await?;
        let found: HashMap<&str, i64> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
        let id = |name: &&ChannelName| found.get(name.as_str()).copied().ok_or(sqlx::Error::RowNotFound);
        self.names.iter().map(id).collect()
    }
}
