//! What the holder of the turn does.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use skywave_ports::{Mark, OutboxError, OutboxRow, OutboxTurn, RowId, Settlement};
use skywave_protocol::{Epoch, Payload};
use sqlx::postgres::PgRow;
use sqlx::{Executor, PgConnection, Row};

use crate::connections::notices;
use crate::error::Failure;

pub(super) struct Turn {
    /// `None`: the turn is lost.
    connection: Option<PgConnection>,
    limit: Duration,
}

impl Turn {
    pub(super) fn new(connection: PgConnection, limit: Duration) -> Self {
        Self { connection: Some(connection), limit }
    }

    /// Runs `work`; if that fails or is given up, the connection is closed, and the turn is over.
    async fn with<T>(
        &mut self,
        work: impl AsyncFnOnce(&mut PgConnection) -> Result<T, Failure>,
    ) -> Result<T, OutboxError> {
        let Some(mut connection) = self.connection.take() else {
            return Err(OutboxError::Unavailable("the turn is lost".into()));
        };
        let result = match tokio::time::timeout(self.limit, work(&mut connection)).await {
            Ok(result) => result,
            Err(_) => Err(Failure::TimedOut(self.limit)),
        };
        let result = result.map_err(|failure| OutboxError::Unavailable(failure.to_string()))?;
        self.connection = Some(connection);
        Ok(result)
    }
}

#[async_trait]
impl OutboxTurn for Turn {
    async fn rows(&mut self, max: usize) -> Result<Vec<OutboxRow>, OutboxError> {
        self.with(async |connection| Ok(rows(connection, max).await?)).await
    }

    async fn mark(&mut self, marks: Vec<(RowId, Mark)>) -> Result<(), OutboxError> {
        if marks.is_empty() {
            return Ok(());
        }
        self.with(async |connection| {
            connection.execute("BEGIN").await?;
            mark(connection, &marks).await?;
            notices::commit(connection).await
        })
        .await
    }

    async fn settle(&mut self, settled: Vec<(RowId, Settlement)>) -> Result<(), OutboxError> {
        if settled.is_empty() {
            return Ok(());
        }
        self.with(async |connection| {
            connection.execute("BEGIN").await?;
            settle(connection, settled).await?;
            notices::commit(connection).await
        })
        .await
    }
}

async fn rows(connection: &mut PgConnection, max: usize) -> Result<Vec<OutboxRow>, sqlx::Error> {
    let rows = sqlx::query(
        r#"SELECT id, channel, message_id, publisher, data::text, "binary",
            (extract(epoch FROM clock_timestamp() - written_at) * 1000)::bigint, epoch, after
        FROM skywave_outbox ORDER BY id LIMIT $1"#,
    )
    .bind(i64::try_from(max).unwrap_or(i64::MAX))
    .fetch_all(connection)
    .await?;
    rows.iter().map(row).collect()
}

fn row(row: &PgRow) -> Result<OutboxRow, sqlx::Error> {
    let data = match (row.try_get::<Option<&str>, _>(4)?, row.try_get::<Option<&[u8]>, _>(5)?) {
        (Some(json), _) => Payload::Json(Bytes::copy_from_slice(json.as_bytes())),
        (None, binary) => Payload::Binary(Bytes::copy_from_slice(binary.unwrap_or_default())),
    };
    let mark = match row.try_get::<Option<&str>, _>(7)? {
        Some(epoch) => Some(Mark {
            epoch: Epoch::parse(epoch).map_err(|error| sqlx::Error::Decode(error.into()))?,
            after: row.try_get::<Option<i64>, _>(8)?.unwrap_or(0) as u64,
        }),
        None => None,
    };
    Ok(OutboxRow {
        id: row.try_get(0)?,
        channel: row.try_get(1)?,
        message_id: row.try_get(2)?,
        publisher: row.try_get(3)?,
        data,
        waited_ms: u64::try_from(row.try_get::<i64, _>(6)?).unwrap_or(0),
        mark,
    })
}

async fn mark(connection: &mut PgConnection, marks: &[(RowId, Mark)]) -> Result<(), sqlx::Error> {
    sqlx::query(
        "UPDATE skywave_outbox SET epoch = new.epoch, after = new.after
        FROM unnest($1::bigint[], $2::text[], $3::bigint[]) AS new (id, epoch, after)
        WHERE skywave_outbox.id = new.id AND skywave_outbox.epoch IS NULL",
    )
    .bind(marks.iter().map(|(id, _)| *id).collect::<Vec<_>>())
    .bind(marks.iter().map(|(_, mark)| mark.epoch.as_str()).collect::<Vec<_>>())
    .bind(marks.iter().map(|(_, mark)| mark.after as i64).collect::<Vec<_>>())
    .execute(connection)
    .await
    .map(drop)
}

async fn settle(connection: &mut PgConnection, settled: Vec<(RowId, Settlement)>) -> Result<(), sqlx::Error> {
    let (mut published, mut refused, mut reasons) = (Vec::new(), Vec::new(), Vec::new());
    for (id, settlement) in settled {
        match settlement {
            Settlement::Published => published.push(id),
            Settlement::Refused(reason) => {
                refused.push(id);
                // A reason may quote what the row says; this is the one character that text cannot hold.
                reasons.push(reason.replace('\0', ""));
            }
        }
    }
    if !published.is_empty() {
        sqlx::query("DELETE FROM skywave_outbox WHERE id = ANY($1)")
            .bind(published)
            .execute(&mut *connection)
            .await?;
    }
    if !refused.is_empty() {
        sqlx::query(
            r#"WITH gone AS (
                DELETE FROM skywave_outbox USING unnest($1::bigint[], $2::text[]) AS refused (id, reason)
                WHERE skywave_outbox.id = refused.id
                RETURNING skywave_outbox.*, refused.reason
            )
            INSERT INTO skywave_outbox_refused
                (id, channel, message_id, publisher, data, "binary", written_at, reason)
            SELECT id, channel, message_id, publisher, data, "binary", written_at, reason FROM gone"#,
        )
        .bind(refused)
        .bind(reasons)
        .execute(connection)
        .await?;
    }
    Ok(())
}
