//! Few publications in one statement, so in one message to the server and one back.
//!
//! COPY is cheaper a row, but ends with a small message of its own, which the kernel holds back until the server has
//! acknowledged what went before: some 40 ms, for sqlx leaves Nagle's algorithm on. What is few must not wait so long.

use skywave_ports::StoredPublication;
use skywave_protocol::{MessageId, Payload, UserId};
use sqlx::PgConnection;

const STATEMENT: &str = r#"
    INSERT INTO publications (channel, "offset", time_ms, "binary", id, publisher, data)
    SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::boolean[], $5::text[], $6::text[], $7::bytea[])"#;

/// Writes the rows; `channel` gives the channel's number for the row of an index.
pub(super) async fn publications(
    connection: &mut PgConnection,
    rows: &[StoredPublication],
    channel: impl Fn(usize) -> i64,
) -> Result<(), sqlx::Error> {
    let publications = || rows.iter().map(|row| &row.publication);
    let time = |ms: u64| i64::try_from(ms).unwrap_or(i64::MAX);
    sqlx::query(STATEMENT)
        .bind((0..rows.len()).map(channel).collect::<Vec<_>>())
        .bind(publications().map(|row| row.offset as i64).collect::<Vec<_>>())
        .bind(publications().map(|row| time(row.time_ms)).collect::<Vec<_>>())
        .bind(publications().map(|row| matches!(row.data, Payload::Binary(_))).collect::<Vec<_>>())
        .bind(publications().map(|row| row.id.as_ref().map(MessageId::as_str)).collect::<Vec<_>>())
        .bind(publications().map(|row| row.from.as_ref().map(UserId::as_str)).collect::<Vec<_>>())
        .bind(publications().map(|row| &row.data.bytes()[..]).collect::<Vec<_>>())
        .execute(connection)
        .await
        .map(drop)
}
