//! Dedup entries: one row per commit ([`DedupEntry::encode_row`]).
//!
//! What need not be kept is forgotten now and then, by the commit that steps over the next multiple of so many log positions.

use futures_util::TryStreamExt;
use skywave_ports::log::Partition;
use skywave_ports::{Commit, DedupEntry, DedupKeep};
use sqlx::{PgConnection, Row};

/// Log positions between two looks at what may go: so many rows, at most, are kept beyond what must be.
const FORGET_EVERY: u64 = 4_096;

/// Entries with a time at or after the given one, in log order.
pub(super) async fn load(
    connection: &mut PgConnection,
    partition: Partition,
    since_ms: u64,
) -> Result<Vec<DedupEntry>, sqlx::Error> {
    let mut rows =
        sqlx::query("SELECT entries FROM dedup WHERE partition = $1 AND newest_ms >= $2 ORDER BY checkpoint")
            .bind(partition as i32)
            .bind(to_i64(since_ms))
            .fetch(connection);
    let mut entries = Vec::new();
    while let Some(row) = rows.try_next().await? {
        entries.extend(DedupEntry::decode_row(row.get(0)).filter(|entry| entry.time_ms >= since_ms));
    }
    Ok(entries)
}

/// Writes the batch's entries, inside of its transaction.
pub(super) async fn write(
    connection: &mut PgConnection,
    partition: Partition,
    batch: &Commit,
) -> Result<(), sqlx::Error> {
    if let Some(newest_ms) = batch.dedup.iter().map(|entry| entry.time_ms).max() {
        sqlx::query(
            "INSERT INTO dedup (partition, checkpoint, newest_ms, count, entries) VALUES ($1, $2, $3, $4, $5)",
        )
        .bind(partition as i32)
        .bind(batch.next as i64)
        .bind(to_i64(newest_ms))
        .bind(batch.dedup.len() as i32)
        .bind(DedupEntry::encode_row(&batch.dedup))
        .execute(&mut *connection)
        .await?;
    }
    if batch.expected / FORGET_EVERY != batch.next / FORGET_EVERY {
        forget(connection, partition, batch.dedup_keep).await?;
    }
    Ok(())
}

/// A row goes when all of it is too old, or when the rows after it hold enough.
async fn forget(
    connection: &mut PgConnection,
    partition: Partition,
    keep: DedupKeep,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "DELETE FROM dedup USING (
            SELECT checkpoint, sum(count) OVER (ORDER BY checkpoint DESC) - count AS after
            FROM dedup WHERE partition = $1
        ) AS row
        WHERE dedup.partition = $1 AND dedup.checkpoint = row.checkpoint AND (newest_ms < $2 OR after >= $3)",
    )
    .bind(partition as i32)
    .bind(to_i64(keep.not_before_ms))
    .bind(i64::try_from(keep.entries).unwrap_or(i64::MAX))
    .execute(connection)
    .await
    .map(drop)
}

fn to_i64(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
