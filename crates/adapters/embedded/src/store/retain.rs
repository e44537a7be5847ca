//! Retention: walks through a namespace's channels a little at a time and deletes from the old end of each.
//!
//! Looking is done on a reader's connection; only what must go is deleted on the writer's, so that commits wait for no
//! more than one bounded deletion.

use hashbrown::HashMap;
use skywave_ports::{Retained, Retention, StoreError};
use skywave_protocol::Offset;
use sqlx::Row;
use sqlx::sqlite::SqliteConnection;
use tokio::sync::Mutex;

use super::readers::Readers;
use super::writer::{Session, Writer};

/// Channels looked at in one step.
const CHANNELS: i64 = 500;
/// Publications deleted in one step.
const DELETE: u64 = 2_000;
/// What a deletion adds to the journal, roughly.
const DELETED_BYTES: u64 = 512;

/// Where the walk through each namespace stands: the last channel that is done with.
#[derive(Default)]
pub(super) struct Walks(HashMap<String, i64>);

/// What a channel keeps.
struct Kept {
    channel: i64,
    first: Offset,
    /// Offsets before this one go.
    keep_from: Offset,
}

impl Walks {
    /// One step; see [`skywave_ports::Store::retain`].
    pub(super) async fn step(
        &mut self,
        readers: &Readers,
        writer: &Mutex<Writer>,
        namespace: &str,
        retention: Retention,
    ) -> Result<Retained, StoreError> {
        let after = self.0.get(namespace).copied().unwrap_or(0);
        let look = readers.with(async |connection| look(connection, namespace, after, retention).await);
        let Looked { outdated, seen_to, complete } = look.await?;
        let (mut cuts, mut budget) = (Vec::new(), DELETE);
        let mut done_to = Some(seen_to);
        for kept in outdated {
            let until = kept.keep_from.min(kept.first + budget);
            budget -= until - kept.first;
            cuts.push((kept.channel, until));
            if until < kept.keep_from || budget == 0 {
                // The rest of this channel, and the channels after it, are for the next step.
                done_to = Some(kept.channel - i64::from(until < kept.keep_from));
                break;
            }
        }
        let complete = complete && done_to == Some(seen_to);
        let removed = delete(writer, &cuts).await?;
        match done_to.filter(|_| !complete) {
            Some(done_to) => self.0.insert(namespace.to_owned(), done_to),
            None => self.0.remove(namespace),
        };
        Ok(Retained { removed, complete })
    }
}

struct Looked {
    outdated: Vec<Kept>,
    /// The last channel looked at.
    seen_to: i64,
    /// There are no channels beyond it.
    complete: bool,
}

async fn look(
    connection: &mut SqliteConnection,
    namespace: &str,
    after: i64,
    retention: Retention,
) -> Result<Looked, sqlx::Error> {
    let rows = sqlx::query(
        r#"SELECT channels.id, heads.head, oldest."offset", oldest.time_ms
        FROM channels JOIN heads ON heads.channel = channels.id
            LEFT JOIN publications AS oldest ON oldest.channel = channels.id AND oldest."offset" =
                (SELECT "offset" FROM publications WHERE channel = channels.id ORDER BY "offset" LIMIT 1)
        WHERE channels.namespace = ?1 AND channels.id > ?2 ORDER BY channels.id LIMIT ?3"#,
    )
    .bind(namespace.to_owned())
    .bind(after)
    .bind(CHANNELS)
    .fetch_all(&mut *connection)
    .await?;
    let mut looked =
        Looked { outdated: Vec::new(), seen_to: after, complete: rows.len() < CHANNELS as usize };
    for row in rows {
        let (channel, head): (i64, i64) = (row.get(0), row.get(1));
        looked.seen_to = channel;
        let Some(first) = row.get::<Option<i64>, _>(2) else { continue };
        let (first, oldest_ms) = (first as u64, row.get::<i64, _>(3) as u64);
        let by_size = (head as u64 + 1).saturating_sub(u64::from(retention.size));
        let by_age = match oldest_ms < retention.not_before_ms {
            true => young_from(connection, channel, first, retention.not_before_ms).await?,
            false => first,
        };
        let keep_from = by_size.max(by_age);
        if keep_from > first {
            looked.outdated.push(Kept { channel, first, keep_from });
        }
    }
    Ok(looked)
}

/// The first offset that is young enough, or as far as one step could delete.
async fn young_from(
    connection: &mut SqliteConnection,
    channel: i64,
    first: Offset,
    not_before_ms: u64,
) -> Result<Offset, sqlx::Error> {
    let reach = first + DELETE + 1;
    let young = sqlx::query(
        r#"SELECT "offset" FROM publications
        WHERE channel = ?1 AND "offset" < ?2 AND time_ms >= ?3 ORDER BY "offset" LIMIT 1"#,
    )
    .bind(channel)
    .bind(reach as i64)
    .bind(not_before_ms.min(i64::MAX as u64) as i64)
    .fetch_optional(connection)
    .await?;
    Ok(young.map_or(reach, |row| row.get::<i64, _>(0) as u64))
}

/// Deletes what stands before the given offsets; returns how much that was.
async fn delete(writer: &Mutex<Writer>, cuts: &[(i64, Offset)]) -> Result<u64, StoreError> {
    if cuts.is_empty() {
        return Ok(0);
    }
    let mut writer = writer.lock().await;
    let removed = writer.with(async |session| session.delete(cuts).await).await?;
    writer.wrote(removed * DELETED_BYTES).await;
    Ok(removed)
}

impl Session {
    async fn delete(&mut self, cuts: &[(i64, Offset)]) -> Result<u64, sqlx::Error> {
        let mut transaction = sqlx::Connection::begin_with(&mut self.connection, "BEGIN IMMEDIATE").await?;
        let mut removed = 0;
        for (channel, until) in cuts {
            let deleted = sqlx::query(r#"DELETE FROM publications WHERE channel = ?1 AND "offset" < ?2"#)
                .bind(*channel)
                .bind(*until as i64)
                .execute(&mut *transaction)
                .await?;
            removed += deleted.rows_affected();
        }
        transaction.commit().await?;
        Ok(removed)
    }
}
