//! Dedup entries: one row per commit ([`DedupEntry::encode_row`]).
//!
//! What is kept beyond what the newest commit demanded is forgotten a few rows at a time.

use std::collections::{HashMap, VecDeque};

use futures_util::TryStreamExt;
use skywave_ports::log::Partition;
use skywave_ports::{Checkpoint, DedupEntry, DedupKeep};
use sqlx::Row;
use sqlx::sqlite::SqliteConnection;

/// Rows that may be forgotten before it is worth a statement.
const FORGET_ROWS: usize = 32;

/// Entries with a time at or after the given one, in log order.
pub(super) async fn load(
    connection: &mut SqliteConnection,
    partition: Partition,
    since_ms: u64,
) -> Result<Vec<DedupEntry>, sqlx::Error> {
    let mut rows =
        sqlx::query("SELECT entries FROM dedup WHERE partition = ?1 AND newest_ms >= ?2 ORDER BY checkpoint")
            .bind(partition)
            .bind(since_ms.min(i64::MAX as u64) as i64)
            .fetch(connection);
    let mut entries = Vec::new();
    while let Some(row) = rows.try_next().await? {
        entries.extend(DedupEntry::decode_row(row.get(0)).filter(|entry| entry.time_ms >= since_ms));
    }
    Ok(entries)
}

/// What the rows hold, without their entries; by partition, in log order.
#[derive(Debug, Default)]
pub(super) struct Index(HashMap<Partition, Rows>);

#[derive(Debug, Default)]
struct Rows {
    rows: VecDeque<RowInfo>,
    entries: usize,
}

#[derive(Debug, Clone, Copy)]
struct RowInfo {
    checkpoint: Checkpoint,
    newest_ms: u64,
    count: usize,
}

impl Index {
    pub(super) async fn load(connection: &mut SqliteConnection) -> Result<Self, sqlx::Error> {
        let mut index = Self::default();
        let mut rows = sqlx::query(
            "SELECT partition, checkpoint, newest_ms, count FROM dedup ORDER BY partition, checkpoint",
        )
        .fetch(connection);
        while let Some(row) = rows.try_next().await? {
            let number = |at: usize| row.get::<i64, _>(at) as u64;
            let info = RowInfo { checkpoint: number(1), newest_ms: number(2), count: number(3) as usize };
            index.0.entry(number(0) as Partition).or_default().push(info);
        }
        Ok(index)
    }

    /// Writes the entries of a commit (inside of its transaction), and forgets what need not be kept.
    pub(super) async fn write(
        &mut self,
        connection: &mut SqliteConnection,
        partition: Partition,
        checkpoint: Checkpoint,
        entries: &[DedupEntry],
        keep: DedupKeep,
    ) -> Result<(), sqlx::Error> {
        let rows = self.0.entry(partition).or_default();
        if let Some(newest_ms) = entries.iter().map(|entry| entry.time_ms).max() {
            sqlx::query(
                "INSERT INTO dedup (partition, checkpoint, newest_ms, count, entries) VALUES (?1, ?2, ?3, ?4, ?5)",
            )
            .bind(partition)
            .bind(checkpoint as i64)
            .bind(newest_ms as i64)
            .bind(entries.len() as i64)
            .bind(DedupEntry::encode_row(entries))
            .execute(&mut *connection)
            .await?;
            rows.push(RowInfo { checkpoint, newest_ms, count: entries.len() });
        }
        let Some(last) = rows.forgettable(keep) else { return Ok(()) };
        sqlx::query("DELETE FROM dedup WHERE partition = ?1 AND checkpoint <= ?2")
            .bind(partition)
            .bind(last as i64)
            .execute(connection)
            .await?;
        rows.forget(last);
        Ok(())
    }
}

impl Rows {
    fn push(&mut self, row: RowInfo) {
        self.entries += row.count;
        self.rows.push_back(row);
    }

    /// The last of the rows that need not be kept, once there are enough of them.
    fn forgettable(&self, keep: DedupKeep) -> Option<Checkpoint> {
        let mut left = self.entries;
        let needless = self.rows.iter().take_while(|row| {
            left -= row.count;
            row.newest_ms < keep.not_before_ms || left >= keep.entries
        });
        let (count, last) = needless.fold((0, None), |(count, _), row| (count + 1, Some(row.checkpoint)));
        last.filter(|_| count >= FORGET_ROWS)
    }

    fn forget(&mut self, last: Checkpoint) {
        while let Some(row) = self.rows.pop_front_if(|row| row.checkpoint <= last) {
            self.entries -= row.count;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows() -> Rows {
        let mut rows = Rows::default();
        for n in 1..=100 {
            rows.push(RowInfo { checkpoint: n, newest_ms: n * 10, count: 5 });
        }
        rows
    }

    #[test]
    fn rows_are_forgotten_by_age_and_by_number_and_not_one_by_one() {
        let keep = |not_before_ms, entries| DedupKeep { not_before_ms, entries };
        assert_eq!(rows().forgettable(keep(0, usize::MAX)), None);
        assert_eq!(rows().forgettable(keep(500, usize::MAX)), Some(49));
        assert_eq!(rows().forgettable(keep(310, usize::MAX)), None, "too few to be worth it");
        assert_eq!(rows().forgettable(keep(0, 100)), Some(80), "exactly twenty rows hold a hundred");
        assert_eq!(rows().forgettable(keep(0, 101)), Some(79));
        let mut rows = rows();
        rows.forget(80);
        assert_eq!((rows.rows.len(), rows.entries), (20, 100));
    }
}
