//! Reads what a sequencer starts from. Rows are streamed, so that a million channels need no more than the result.

use futures_util::TryStreamExt;
use skywave_ports::log::Partition;
use skywave_ports::{Checkpoint, DedupEntry};
use skywave_protocol::{ChannelName, Offset};
use sqlx::sqlite::SqliteConnection;
use sqlx::{Connection, Row};

use super::dedup;

type Loaded = (Checkpoint, Vec<(ChannelName, Offset)>, Vec<DedupEntry>);

/// Checkpoint, heads and dedup entries, all of one moment.
pub(super) async fn load(
    connection: &mut SqliteConnection,
    partition: Partition,
    dedup_since_ms: u64,
) -> Result<Loaded, sqlx::Error> {
    let mut moment = connection.begin().await?;
    let checkpoint = sqlx::query("SELECT checkpoint FROM partitions WHERE partition = ?1")
        .bind(partition)
        .fetch_optional(&mut *moment)
        .await?
        .map_or(0, |row| row.get::<i64, _>(0) as u64);
    let heads = heads(&mut moment, partition).await?;
    let dedup = dedup::load(&mut moment, partition, dedup_since_ms).await?;
    moment.commit().await?;
    Ok((checkpoint, heads, dedup))
}

async fn heads(
    connection: &mut SqliteConnection,
    partition: Partition,
) -> Result<Vec<(ChannelName, Offset)>, sqlx::Error> {
    let mut rows = sqlx::query(
        "SELECT channels.name, heads.head FROM heads JOIN channels ON channels.id = heads.channel \
         WHERE channels.partition = ?1",
    )
    .bind(partition)
    .fetch(connection);
    let mut heads = Vec::new();
    while let Some(row) = rows.try_next().await? {
        let name = ChannelName::parse(row.get(0)).map_err(|error| sqlx::Error::Decode(error.into()))?;
        heads.push((name, row.get::<i64, _>(1) as u64));
    }
    Ok(heads)
}
