//! Reads a page of history.

use std::sync::Arc;

use bytes::Bytes;
use skywave_protocol::message::HistoryQuery;
use skywave_protocol::{Epoch, MessageId, Offset, Payload, Publication, UserId};
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row};

use super::load;
use crate::error::Failure;

/// One statement, so that epoch, head, first and rows are of one moment. The outer joins give a row without a publication
/// when the page is empty. What retention has taken from the old end is not searched through: the page begins behind it.
macro_rules! page {
    ($order:literal) => {
        concat!(
            r#"SELECT store.epoch, channels.head, horizons.first,
                page."offset", page.time_ms, page."binary", page.id, page.publisher, page.data
            FROM store
                LEFT JOIN channels ON channels.namespace = $1 AND channels.name = $2
                LEFT JOIN horizons ON horizons.channel = channels.id
                LEFT JOIN LATERAL (
                    SELECT * FROM publications
                    WHERE channel = channels.id AND "offset" > $3 AND "offset" < $4
                        AND "offset" >= coalesce(horizons.first, 1)
                    ORDER BY "offset" "#,
            $order,
            r#" LIMIT $5
                ) AS page ON true
            ORDER BY page."offset" "#,
            $order
        )
    };
}

pub(super) const ASCENDING: &str = page!("ASC");
pub(super) const DESCENDING: &str = page!("DESC");

/// What is known of a channel.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Ends {
    pub(super) epoch: Epoch,
    pub(super) head: Offset,
    pub(super) first: Offset,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Page {
    pub(super) ends: Ends,
    pub(super) publications: Vec<Arc<Publication>>,
}

/// The page of `query`, beginning after `after` if that is more than what the query says.
pub(super) async fn page(
    connection: &mut PgConnection,
    query: &HistoryQuery,
    after: Offset,
) -> Result<Page, Failure> {
    let HistoryQuery { channel, before, limit, reverse, .. } = query;
    let before = if *before == 0 { u64::MAX } else { *before };
    let rows = sqlx::query(if *reverse { DESCENDING } else { ASCENDING })
        .bind(channel.namespace())
        .bind(channel.as_str())
        .bind(to_i64(after.max(query.after)))
        .bind(to_i64(before))
        .bind(i64::from(*limit))
        .fetch_all(connection)
        .await?;
    // The table of the store has one row, so that there is one here.
    let any = rows.first().ok_or(sqlx::Error::RowNotFound)?;
    let publications = rows.iter().filter_map(publication).collect::<Result<_, _>>()?;
    Ok(Page { ends: ends(any)?, publications })
}

/// Head and first alone.
pub(super) async fn ends_of(connection: &mut PgConnection, query: &HistoryQuery) -> Result<Ends, Failure> {
    let row = sqlx::query(
        "SELECT store.epoch, channels.head, horizons.first FROM store
            LEFT JOIN channels ON channels.namespace = $1 AND channels.name = $2
            LEFT JOIN horizons ON horizons.channel = channels.id",
    )
    .bind(query.channel.namespace())
    .bind(query.channel.as_str())
    .fetch_one(connection)
    .await?;
    Ok(ends(&row)?)
}

fn ends(row: &PgRow) -> Result<Ends, sqlx::Error> {
    Ok(Ends {
        epoch: load::epoch(row.get(0))?,
        head: row.get::<Option<i64>, _>(1).unwrap_or(0) as u64,
        first: row.get::<Option<i64>, _>(2).unwrap_or(1) as u64,
    })
}

fn publication(row: &PgRow) -> Option<Result<Arc<Publication>, sqlx::Error>> {
    let offset = row.get::<Option<i64>, _>(3)? as u64;
    Some(decode(row, offset).map(Arc::new).map_err(|error| {
        sqlx::Error::Decode(format!("publication {offset} is damaged in the store: {error}").into())
    }))
}

fn decode(row: &PgRow, offset: Offset) -> Result<Publication, Box<dyn std::error::Error + Send + Sync>> {
    let (id, from) = (row.try_get::<Option<&str>, _>(6)?, row.try_get::<Option<&str>, _>(7)?);
    let data = Bytes::copy_from_slice(row.try_get(8)?);
    Ok(Publication {
        offset,
        id: id.map(MessageId::parse).transpose()?,
        from: from.map(UserId::parse).transpose()?,
        time_ms: row.try_get::<i64, _>(4)? as u64,
        data: if row.try_get(5)? { Payload::Binary(data) } else { Payload::Json(data) },
    })
}

/// Offsets beyond what Postgres can count do not occur; as a bound they mean "no bound".
fn to_i64(offset: Offset) -> i64 {
    i64::try_from(offset).unwrap_or(i64::MAX)
}
