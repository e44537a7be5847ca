//! Reads what a sequencer starts from. Rows are streamed, so that a million channels need no more than the result.

use std::time::Duration;

use futures_util::TryStreamExt;
use skywave_ports::Snapshot;
use skywave_ports::log::Partition;
use skywave_protocol::{ChannelName, Epoch, Offset};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, Row};

use super::dedup;
use crate::error::Failure;

/// Epoch, checkpoint, heads and dedup entries, all of one moment.
pub(super) async fn load(
    connection: &mut PgConnection,
    partition: Partition,
    dedup_since_ms: u64,
    limit: Duration,
) -> Result<Snapshot, Failure> {
    let mut moment = connection.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
    let patience = format!("SET LOCAL statement_timeout = {}", limit.as_millis());
    moment.execute(AssertSqlSafe(patience)).await?;
    let row = sqlx::query(
        "SELECT epoch, coalesce((SELECT checkpoint FROM partitions WHERE partition = $1), 0) FROM store",
    )
    .bind(partition as i32)
    .fetch_one(&mut *moment)
    .await?;
    let (epoch, checkpoint) = (epoch(row.get(0))?, row.get::<i64, _>(1) as u64);
    let heads = heads(&mut moment, partition).await?;
    let dedup = dedup::load(&mut moment, partition, dedup_since_ms).await?;
    moment.commit().await?;
    Ok(Snapshot { epoch, checkpoint, heads, dedup })
}

/// Reads the whole table: an index for something so rare would cost more than it saves.
async fn heads(
    connection: &mut PgConnection,
    partition: Partition,
) -> Result<Vec<(ChannelName, Offset)>, sqlx::Error> {
    let mut rows = sqlx::query("SELECT name, head FROM channels WHERE partition = $1")
        .bind(partition as i32)
        .fetch(connection);
    let mut heads = Vec::new();
    while let Some(row) = rows.try_next().await? {
        let name = ChannelName::parse(row.get(0)).map_err(|error| sqlx::Error::Decode(error.into()))?;
        heads.push((name, row.get::<i64, _>(1) as u64));
    }
    Ok(heads)
}

pub(super) fn epoch(text: &str) -> Result<Epoch, sqlx::Error> {
    Epoch::parse(text).map_err(|error| sqlx::Error::Decode(error.into()))
}
