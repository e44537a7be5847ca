//! Dedup entries: one row per commit, holding the commit's entries as one value, so that writing, loading and forgetting
//! them costs a row and not a row each.
//!
//! An entry takes 32 bytes: key, offset and time (u64, little endian). What need not be kept is forgotten now and then, by
//! the commit that steps over the next multiple of so many log positions.

use bytes::{Buf, BufMut};
use futures_util::TryStreamExt;
use skywave_ports::log::Partition;
use skywave_ports::{Commit, DedupEntry, DedupKeep};
use sqlx::{PgConnection, Row};

const ENTRY_BYTES: usize = 32;
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
        entries.extend(decode(row.get(0)).filter(|entry| entry.time_ms >= since_ms));
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
        .bind(encode(&batch.dedup))
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

fn encode(entries: &[DedupEntry]) -> Vec<u8> {
    let mut row = Vec::with_capacity(entries.len() * ENTRY_BYTES);
    for entry in entries {
        row.put_slice(&entry.key);
        row.put_u64_le(entry.offset);
        row.put_u64_le(entry.time_ms);
    }
    row
}

fn decode(row: &[u8]) -> impl Iterator<Item = DedupEntry> + '_ {
    row.chunks_exact(ENTRY_BYTES).map(|mut entry| {
        let mut key = [0; 16];
        entry.copy_to_slice(&mut key);
        DedupEntry { key, offset: entry.get_u64_le(), time_ms: entry.get_u64_le() }
    })
}

fn to_i64(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_come_back_as_they_were() {
        let entries: Vec<_> =
            (0..9u8).map(|n| DedupEntry { key: [n; 16], offset: n.into(), time_ms: u64::MAX - 1 }).collect();
        let row = encode(&entries);
        assert_eq!(row.len(), 9 * ENTRY_BYTES);
        assert_eq!(decode(&row).collect::<Vec<_>>(), entries);
    }
}
