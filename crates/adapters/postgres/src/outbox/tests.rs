//! A holder that was frozen: the server takes its turn away.

use skywave_servers::{Postgres, PostgresOptions};

use super::*;

#[tokio::test]
async fn a_holder_that_is_silent_for_long_loses_its_turn() {
    let options = PostgresOptions { unsynced: true, ..PostgresOptions::default() };
    let server = Postgres::start_with(options).unwrap();
    let config = PostgresConfig { url: server.url(), schema: "public".into(), ..PostgresConfig::default() };
    let mut outbox = PostgresOutbox::new(config).unwrap();
    outbox.silence = Duration::from_millis(200);
    let mut frozen = outbox.turn().await.unwrap();
    // This one comes when the server has ended the other, and not before.
    let mut next = outbox.turn().await.unwrap();
    assert!(frozen.rows(1).await.is_err());
    next.rows(1).await.unwrap();
}
