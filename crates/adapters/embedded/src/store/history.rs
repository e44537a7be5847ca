//! Reads a page of history.

use std::sync::Arc;

use futures_util::TryStreamExt as _;
use skywave_protocol::limits::HISTORY_PAGE_BYTES_DEFAULT;
use skywave_protocol::message::HistoryQuery;
use skywave_protocol::{Offset, Publication};
use sqlx::Row;
use sqlx::sqlite::{SqliteConnection, SqliteRow};

use super::row;

/// One statement, so that head, first and rows are of one moment. The outer join gives a row without a publication when
/// the page is empty.
macro_rules! page {
    ($order:literal) => {
        concat!(
            r#"SELECT heads.head,
                (SELECT oldest."offset" FROM publications AS oldest WHERE oldest.channel = channels.id
                    ORDER BY oldest."offset" LIMIT 1),
                page."offset", page.time_ms, page.body
            FROM channels JOIN heads ON heads.channel = channels.id
                LEFT JOIN publications AS page
                    ON page.channel = channels.id AND page."offset" > ?2 AND page."offset" < ?3
            WHERE channels.name = ?1
            ORDER BY page."offset" "#,
            $order,
            " LIMIT ?4"
        )
    };
}

pub(super) const ASCENDING: &str = page!("ASC");
pub(super) const DESCENDING: &str = page!("DESC");

/// Head, oldest kept offset and the page.
pub(super) async fn read(
    connection: &mut SqliteConnection,
    query: &HistoryQuery,
) -> Result<(Offset, Offset, Vec<Arc<Publication>>), sqlx::Error> {
    let HistoryQuery { channel, after, before, limit, reverse } = query;
    let before = if *before == 0 { u64::MAX } else { *before };
    let mut rows = sqlx::query(if *reverse { DESCENDING } else { ASCENDING })
        .bind(channel.as_str().to_owned())
        .bind(to_i64(*after))
        .bind(to_i64(before))
        .bind(i64::from(*limit))
        .fetch(connection);
    let (mut head, mut first) = (0, 1);
    let (mut publications, mut bytes) = (Vec::new(), 0);
    while let Some(row) = rows.try_next().await? {
        head = row.get::<i64, _>(0) as u64;
        first = row.get::<Option<i64>, _>(1).map_or(head + 1, |first| first as u64);
        let Some(publication) = publication(&row) else { break };
        let publication = publication?;
        bytes += publication.data.len();
        publications.push(publication);
        if bytes > HISTORY_PAGE_BYTES_DEFAULT {
            // What follows would not be sent.
            break;
        }
    }
    Ok((head, first, publications))
}

fn publication(row: &SqliteRow) -> Option<Result<Arc<Publication>, sqlx::Error>> {
    let offset = row.get::<Option<i64>, _>(2)? as u64;
    let publication = row::decode(offset, row.get::<i64, _>(3) as u64, row.get(4));
    Some(publication.map(Arc::new).map_err(|error| sqlx::Error::Decode(error.into())))
}

/// Offsets beyond what SQLite can count do not occur; as a bound they mean "no bound".
fn to_i64(offset: Offset) -> i64 {
    i64::try_from(offset).unwrap_or(i64::MAX)
}
