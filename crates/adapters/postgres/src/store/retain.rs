//! Retention: walks through a namespace's channels by name, a little at a time, and deletes from the old end of each.
//!
//! It touches nothing that a commit touches, so neither waits for the other. Cores that walk through the same namespace
//! take turns: who comes while another one is at it has nothing to do.

use hashbrown::HashMap;
use skywave_ports::{Retained, Retention};
use skywave_protocol::Offset;
use sqlx::{Connection, Executor, PgConnection, Row};

use crate::error::Failure;

/// Channels looked at in one step.
const CHANNELS: i64 = 1_000;
/// Publications deleted in one step.
const DELETE: u64 = 5_000;

/// Where the walk through each namespace stands: the last channel that is done with.
#[derive(Default)]
pub(super) struct Walks(HashMap<String, String>);

/// What goes from a channel: `first .. until`.
#[derive(Debug, PartialEq)]
struct Cut {
    channel: i64,
    first: Offset,
    until: Offset,
}

impl Walks {
    /// One step; see [`skywave_ports::Store::retain`].
    pub(super) async fn step(
        &mut self,
        connection: &mut PgConnection,
        schema: &str,
        namespace: &str,
        retention: Retention,
    ) -> Result<Retained, Failure> {
        let mut transaction = connection.begin().await?;
        if !begin(&mut transaction, schema, namespace).await? {
            transaction.rollback().await?;
            return Ok(Retained { removed: 0, complete: true });
        }
        let after = self.0.get(namespace).map_or("", String::as_str);
        let looked = look(&mut transaction, namespace, after, retention).await?;
        let removed = delete(&mut transaction, &looked.cuts).await?;
        transaction.commit().await?;
        match looked.done_to {
            Some(name) => self.0.insert(namespace.to_owned(), name),
            None => self.0.remove(namespace),
        };
        Ok(Retained { removed, complete: !self.0.contains_key(namespace) })
    }
}

/// Whether it is our turn.
async fn begin(connection: &mut PgConnection, schema: &str, namespace: &str) -> Result<bool, sqlx::Error> {
    // What is deleted again after a crash need not be synced. And each deletion is a few neighbours in the index, whatever
    // the planner thinks of a table it has not seen for a while.
    const SETTINGS: &str = "SET LOCAL synchronous_commit = off; SET LOCAL enable_seqscan = off; \
         SET LOCAL enable_hashjoin = off; SET LOCAL enable_mergejoin = off";
    connection.execute(sqlx::raw_sql(SETTINGS)).await?;
    let turn = sqlx::query(
        "SELECT pg_try_advisory_xact_lock(hashtextextended('skywave retention ' || $1 || ' ' || $2, 0))",
    )
    .bind(schema)
    .bind(namespace)
    .fetch_one(connection)
    .await?;
    Ok(turn.get(0))
}

struct Looked {
    cuts: Vec<Cut>,
    /// The last channel that is done with; `None`: all are.
    done_to: Option<String>,
}

async fn look(
    connection: &mut PgConnection,
    namespace: &str,
    after: &str,
    retention: Retention,
) -> Result<Looked, sqlx::Error> {
    let rows = sqlx::query(
        r#"SELECT channels.id, channels.name, channels.head, coalesce(horizons.first, 1), oldest.time_ms
        FROM channels
            LEFT JOIN horizons ON horizons.channel = channels.id
            LEFT JOIN publications AS oldest
                ON oldest.channel = channels.id AND oldest."offset" = coalesce(horizons.first, 1)
        WHERE channels.namespace = $1 AND channels.name > $2 ORDER BY channels.name LIMIT $3"#,
    )
    .bind(namespace)
    .bind(after)
    .bind(CHANNELS)
    .fetch_all(&mut *connection)
    .await?;
    let mut looked = Looked { cuts: Vec::new(), done_to: None };
    let (mut budget, mut done_to) = (DELETE, after.to_owned());
    for row in &rows {
        let (channel, head, first) = (row.get(0), row.get::<i64, _>(2) as u64, row.get::<i64, _>(3) as u64);
        if let Some(oldest_ms) = row.get::<Option<i64>, _>(4) {
            let by_size = (head + 1).saturating_sub(u64::from(retention.size));
            let by_age = match (oldest_ms as u64) < retention.not_before_ms {
                true => young_from(connection, channel, first, budget, retention.not_before_ms).await?,
                false => first,
            };
            let keep_from = by_size.max(by_age).clamp(first, head + 1);
            let until = keep_from.min(first + budget);
            if until > first {
                looked.cuts.push(Cut { channel, first, until });
                budget -= until - first;
            }
            if until < keep_from {
                // The rest of this channel, and those after it, are for the next step.
                looked.done_to = Some(done_to);
                return Ok(looked);
            }
        }
        row.get::<&str, _>(1).clone_into(&mut done_to);
    }
    if rows.len() as i64 == CHANNELS {
        looked.done_to = Some(done_to);
    }
    Ok(looked)
}

/// The first offset that is young enough, or one beyond what this step can delete.
async fn young_from(
    connection: &mut PgConnection,
    channel: i64,
    first: Offset,
    budget: u64,
    not_before_ms: u64,
) -> Result<Offset, sqlx::Error> {
    let reach = first + budget + 1;
    let young = sqlx::query(
        r#"SELECT "offset" FROM publications
        WHERE channel = $1 AND "offset" >= $2 AND "offset" < $3 AND time_ms >= $4 ORDER BY "offset" LIMIT 1"#,
    )
    .bind(channel)
    .bind(first as i64)
    .bind(reach as i64)
    .bind(i64::try_from(not_before_ms).unwrap_or(i64::MAX))
    .fetch_optional(connection)
    .await?;
    Ok(young.map_or(reach, |row| row.get::<i64, _>(0) as u64))
}

/// Deletes what was cut off, and notes it; returns how much that was.
async fn delete(connection: &mut PgConnection, cuts: &[Cut]) -> Result<u64, sqlx::Error> {
    if cuts.is_empty() {
        return Ok(0);
    }
    let column = |value: fn(&Cut) -> i64| cuts.iter().map(value).collect::<Vec<_>>();
    let (channels, firsts) = (column(|cut| cut.channel), column(|cut| cut.first as i64));
    let untils = column(|cut| cut.until as i64);
    let deleted = sqlx::query(
        r#"DELETE FROM publications
        USING unnest($1::bigint[], $2::bigint[], $3::bigint[]) AS cut (channel, first, until)
        WHERE publications.channel = cut.channel AND "offset" >= cut.first AND "offset" < cut.until"#,
    )
    .bind(&channels)
    .bind(firsts)
    .bind(&untils)
    .execute(&mut *connection)
    .await?;
    sqlx::query(
        "INSERT INTO horizons (channel, first) SELECT * FROM unnest($1::bigint[], $2::bigint[])
        ON CONFLICT (channel) DO UPDATE SET first = greatest(horizons.first, excluded.first)",
    )
    .bind(channels)
    .bind(untils)
    .execute(connection)
    .await?;
    Ok(deleted.rows_affected())
}
