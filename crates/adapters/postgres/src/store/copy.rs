//! Publications as binary COPY: no statement is as cheap a row, and none has so little to say about how large a batch may
//! be. Format: <https://www.postgresql.org/docs/current/sql-copy.html#id-1.9.55.9.4>.

use bytes::BufMut;
use skywave_ports::StoredPublication;
use skywave_protocol::{MessageId, Payload, Publication, UserId};
use sqlx::PgConnection;

const STATEMENT: &str = r#"COPY publications (channel, "offset", time_ms, "binary", id, publisher, data) FROM STDIN (FORMAT binary)"#;
const COLUMNS: i16 = 7;
const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
/// Sent at a time; a row may go beyond it.
const CHUNK: usize = 256 * 1024;

/// Writes the rows; `channel` gives the channel's number for the row of an index.
pub(super) async fn publications(
    connection: &mut PgConnection,
    rows: &[StoredPublication],
    channel: impl Fn(usize) -> i64,
) -> Result<(), sqlx::Error> {
    let mut copy = connection.copy_in_raw(STATEMENT).await?;
    let mut chunk = Vec::with_capacity(CHUNK);
    chunk.put_slice(HEADER);
    for (index, row) in rows.iter().enumerate() {
        put_row(&mut chunk, channel(index), &row.publication);
        if chunk.len() >= CHUNK {
            copy.send(&chunk[..]).await?;
            chunk.clear();
        }
    }
    chunk.put_i16(-1);
    copy.send(&chunk[..]).await?;
    copy.finish().await.map(drop)
}

fn put_row(to: &mut Vec<u8>, channel: i64, publication: &Publication) {
    let Publication { offset, id, from, time_ms, data } = publication;
    to.put_i16(COLUMNS);
    put(to, &channel.to_be_bytes());
    put(to, &(*offset as i64).to_be_bytes());
    put(to, &i64::try_from(*time_ms).unwrap_or(i64::MAX).to_be_bytes());
    put(to, &[u8::from(matches!(data, Payload::Binary(_)))]);
    put_text(to, id.as_ref().map(MessageId::as_str));
    put_text(to, from.as_ref().map(UserId::as_str));
    put(to, data.bytes());
}

fn put(to: &mut Vec<u8>, value: &[u8]) {
    // Invariant: nothing that comes over the bus is as long as 2 GiB.
    to.put_i32(value.len() as i32);
    to.put_slice(value);
}

fn put_text(to: &mut Vec<u8>, value: Option<&str>) {
    match value {
        Some(value) => put(to, value.as_bytes()),
        None => to.put_i32(-1),
    }
}
