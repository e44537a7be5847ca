//! Writes a batch in one transaction: checkpoint (conditionally), new channels, publications, heads, dedup entries.

use std::sync::{Arc, OnceLock};

use hashbrown::HashMap;
use skywave_ports::log::Partition;
use skywave_ports::{Checkpoint, Commit, StoredPublication};
use skywave_protocol::{ChannelName, Offset};
use sqlx::query::Query;
use sqlx::sqlite::{SqliteArguments, SqliteConnection};
use sqlx::{AssertSqlSafe, Connection, Row, Sqlite};

use super::row;
use super::writer::Session;

/// Rows of the largest multi-row statement: 2 to this power.
const LARGEST: usize = 7;

pub(super) enum Committed {
    Yes,
    /// Another owner has written.
    Moved {
        found: Checkpoint,
    },
}

/// Multi-row statements, one text for each power of two of rows: few enough to stay prepared.
#[derive(Default)]
pub(super) struct Statements {
    channels: Sizes,
    publications: Sizes,
    heads: Sizes,
    lookup: Sizes,
}

#[derive(Default)]
struct Sizes([OnceLock<Arc<str>>; LARGEST + 1]);

impl Sizes {
    /// `head`, then `rows` times `row` separated by commas, then `tail`.
    fn text(&self, rows: usize, head: &str, row: &str, tail: &str) -> Arc<str> {
        let power = rows.ilog2() as usize;
        let text = || format!("{head}{}{row}{tail}", format!("{row},").repeat(rows - 1)).into();
        Arc::clone(self.0[power].get_or_init(text))
    }
}

/// Cuts a batch into slices whose lengths are powers of two, the largest first.
fn slices<T>(mut rest: &[T]) -> impl Iterator<Item = &[T]> {
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let (slice, others) = rest.split_at(1 << rest.len().ilog2().min(LARGEST as u32));
        rest = others;
        Some(slice)
    })
}

impl Session {
    pub(super) async fn commit(
        &mut self,
        partition: Partition,
        batch: &Commit,
    ) -> Result<Committed, sqlx::Error> {
        let statements = Arc::clone(&self.statements);
        let mut transaction = self.connection.begin_with("BEGIN IMMEDIATE").await?;
        if let Some(found) = move_checkpoint(&mut transaction, partition, batch).await? {
            transaction.rollback().await?;
            return Ok(Committed::Moved { found });
        }
        if self.channels.len() > self.known_channels {
            self.channels.clear();
        }
        let mut unknown = unknown_channels(&batch.publications, &self.channels);
        find_channels(&mut transaction, &statements, &mut unknown, &mut self.channels).await?;
        for name in &unknown {
            self.channels.insert(name.clone(), self.next_channel);
            self.next_channel += 1;
        }
        insert_channels(&mut transaction, &statements, partition, &unknown, &self.channels).await?;
        insert_publications(&mut transaction, &statements, &batch.publications, &self.channels).await?;
        set_heads(&mut transaction, &statements, &batch.publications, &self.channels).await?;
        self.dedup.write(&mut transaction, partition, batch.next, &batch.dedup, batch.dedup_keep).await?;
        transaction.commit().await?;
        Ok(Committed::Yes)
    }
}

/// Moves the checkpoint on, or returns where it is instead of where it should be.
async fn move_checkpoint(
    connection: &mut SqliteConnection,
    partition: Partition,
    batch: &Commit,
) -> Result<Option<Checkpoint>, sqlx::Error> {
    let found = sqlx::query("SELECT checkpoint FROM partitions WHERE partition = ?1")
        .bind(partition)
        .fetch_optional(&mut *connection)
        .await?
        .map_or(0, |row| row.get::<i64, _>(0) as u64);
    if found != batch.expected {
        return Ok(Some(found));
    }
    sqlx::query(
        "INSERT INTO partitions (partition, checkpoint) VALUES (?1, ?2) \
         ON CONFLICT (partition) DO UPDATE SET checkpoint = excluded.checkpoint",
    )
    .bind(partition)
    .bind(batch.next as i64)
    .execute(connection)
    .await?;
    Ok(None)
}

/// The batch's channels that are not in `known`, each once.
fn unknown_channels(rows: &[StoredPublication], known: &HashMap<ChannelName, i64>) -> Vec<ChannelName> {
    let mut unknown = hashbrown::HashSet::new();
    let new = |name: &&ChannelName| !known.contains_key(*name) && unknown.insert((*name).clone());
    rows.iter().map(|row| &row.channel).filter(new).cloned().collect()
}

/// Looks channels up in the file; those found move from `unknown` to `known`.
async fn find_channels(
    connection: &mut SqliteConnection,
    statements: &Statements,
    unknown: &mut Vec<ChannelName>,
    known: &mut HashMap<ChannelName, i64>,
) -> Result<(), sqlx::Error> {
    for names in slices(unknown) {
        let text =
            statements.lookup.text(names.len(), "SELECT name, id FROM channels WHERE name IN (", "?", ")");
        let query = names.iter().fold(sqlx::query(AssertSqlSafe(text)), |query, name| bind_name(query, name));
        for found in query.fetch_all(&mut *connection).await? {
            let name = ChannelName::parse(found.get(0)).map_err(|error| sqlx::Error::Decode(error.into()))?;
            known.insert(name, found.get(1));
        }
    }
    unknown.retain(|name| !known.contains_key(name));
    Ok(())
}

async fn insert_channels(
    connection: &mut SqliteConnection,
    statements: &Statements,
    partition: Partition,
    new: &[ChannelName],
    ids: &HashMap<ChannelName, i64>,
) -> Result<(), sqlx::Error> {
    const HEAD: &str = "INSERT INTO channels (id, name, namespace, partition) VALUES ";
    for names in slices(new) {
        let text = statements.channels.text(names.len(), HEAD, "(?,?,?,?)", "");
        let query = names.iter().fold(sqlx::query(AssertSqlSafe(text)), |query, name| {
            bind_name(query.bind(ids[name]), name).bind(name.namespace().to_owned()).bind(partition)
        });
        query.execute(&mut *connection).await?;
    }
    Ok(())
}

async fn insert_publications(
    connection: &mut SqliteConnection,
    statements: &Statements,
    rows: &[StoredPublication],
    ids: &HashMap<ChannelName, i64>,
) -> Result<(), sqlx::Error> {
    const HEAD: &str = r#"INSERT INTO publications (channel, "offset", time_ms, body) VALUES "#;
    // In the order of the table: neighbours are written together.
    let mut sorted: Vec<_> = rows.iter().map(|row| (ids[&row.channel], &*row.publication)).collect();
    sorted.sort_unstable_by_key(|(channel, publication)| (*channel, publication.offset));
    for rows in slices(&sorted) {
        let text = statements.publications.text(rows.len(), HEAD, "(?,?,?,?)", "");
        let query = rows.iter().fold(sqlx::query(AssertSqlSafe(text)), |query, (channel, publication)| {
            query
                .bind(*channel)
                .bind(publication.offset as i64)
                .bind(publication.time_ms as i64)
                .bind(row::encode(publication))
        });
        query.execute(&mut *connection).await?;
    }
    Ok(())
}

async fn set_heads(
    connection: &mut SqliteConnection,
    statements: &Statements,
    rows: &[StoredPublication],
    ids: &HashMap<ChannelName, i64>,
) -> Result<(), sqlx::Error> {
    const HEAD: &str = "INSERT INTO heads (channel, head) VALUES ";
    const TAIL: &str = " ON CONFLICT (channel) DO UPDATE SET head = excluded.head";
    let mut heads = HashMap::<i64, Offset>::new();
    for row in rows {
        // In log order, so that the last one is the newest.
        heads.insert(ids[&row.channel], row.publication.offset);
    }
    let mut heads: Vec<_> = heads.into_iter().collect();
    heads.sort_unstable();
    for heads in slices(&heads) {
        let text = statements.heads.text(heads.len(), HEAD, "(?,?)", TAIL);
        let query = heads.iter().fold(sqlx::query(AssertSqlSafe(text)), |query, (channel, head)| {
            query.bind(*channel).bind(*head as i64)
        });
        query.execute(&mut *connection).await?;
    }
    Ok(())
}

fn bind_name<'q>(
    query: Query<'q, Sqlite, SqliteArguments>,
    name: &ChannelName,
) -> Query<'q, Sqlite, SqliteArguments> {
    query.bind(name.as_str().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_are_powers_of_two_and_cover_everything() {
        for length in [0usize, 1, 2, 3, 127, 128, 129, 1_000] {
            let items: Vec<usize> = (0..length).collect();
            assert!(slices(&items).all(|slice| slice.len().is_power_of_two() && slice.len() <= 128));
            assert_eq!(slices(&items).flatten().copied().collect::<Vec<_>>(), items);
        }
    }

    #[test]
    fn texts_repeat_the_row() {
        let sizes = Sizes::default();
        assert_eq!(&*sizes.text(1, "a ", "(?)", " z"), "a (?) z");
        assert_eq!(&*sizes.text(4, "a ", "(?)", " z"), "a (?),(?),(?),(?) z");
    }
}
