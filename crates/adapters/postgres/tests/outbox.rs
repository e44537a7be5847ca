//! The outbox on a real server: its contract, what the table itself refuses, and turns that are taken away.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use async_trait::async_trait;
use skywave_ports::conformance::outbox::Tested;
use skywave_ports::{Mark, Outbox, OutboxError, OutboxTurn, Settlement};
use skywave_postgres::{PostgresConfig, PostgresOutbox};
use skywave_protocol::Payload;
use sqlx::{Connection, Executor, PgConnection, Row};
use support::{config, epoch, shared};

/// An application beside its outbox.
struct Application {
    outbox: PostgresOutbox,
    url: String,
    schema: String,
}

impl Application {
    async fn open(url: &str, schema: &str) -> Self {
        let config = PostgresConfig { schema: schema.into(), ..config(url) };
        let outbox = PostgresOutbox::new(config).unwrap();
        outbox.prepare().await.unwrap();
        Self { outbox, url: url.into(), schema: schema.into() }
    }

    async fn connect(&self) -> PgConnection {
        let mut connection = PgConnection::connect(&self.url).await.unwrap();
        let path = sqlx::query("SELECT set_config('search_path', $1, false)").bind(&self.schema);
        path.execute(&mut connection).await.unwrap();
        connection
    }
}

#[async_trait]
impl Outbox for Application {
    async fn turn(&self) -> Result<Box<dyn OutboxTurn>, OutboxError> {
        self.outbox.turn().await
    }
}

#[async_trait]
impl Tested for Application {
    async fn write(&self, rows: &[(&str, &str, Option<&str>, Payload)]) {
        let mut connection = self.connect().await;
        let mut transaction = connection.begin().await.unwrap();
        for (channel, id, publisher, data) in rows {
            let (json, binary) = match data {
                Payload::Json(json) => (Some(std::str::from_utf8(json).unwrap()), None),
                Payload::Binary(bytes) => (None, Some(&bytes[..])),
            };
            sqlx::query(
                r#"INSERT INTO skywave_outbox (channel, message_id, publisher, data, "binary")
                VALUES ($1, $2, $3, $4::json, $5)"#,
            )
            .bind(channel)
            .bind(id)
            .bind(*publisher)
            .bind(json)
            .bind(binary)
            .execute(&mut *transaction)
            .await
            .unwrap();
        }
        transaction.commit().await.unwrap();
    }

    async fn refused(&self) -> Vec<(String, String)> {
        let query = sqlx::query("SELECT message_id, reason FROM skywave_outbox_refused ORDER BY id");
        let rows = query.fetch_all(&mut self.connect().await).await.unwrap();
        rows.iter().map(|row| (row.get(0), row.get(1))).collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn conforms() {
    let server = shared();
    let url = server.create_database("outbox_conforms").unwrap();
    let open = async |name: &str| Application::open(&url, &format!("o_{name}")).await;
    skywave_ports::conformance::outbox::suite(open).await;
}

#[tokio::test]
async fn what_can_never_be_published_is_refused_in_the_applications_transaction() {
    let server = shared();
    let url = server.create_database("outbox_refuses").unwrap();
    let application = Application::open(&url, "public").await;
    for bad in [
        "(channel, data) VALUES ('a b', '1')",
        "(channel, data) VALUES ('', '1')",
        "(channel, data) VALUES (':x', '1')",
        "(channel, data) VALUES ('c' || chr(233), '1')",
        "(channel, data) VALUES (repeat('x', 256), '1')",
        "(channel, data) VALUES (E'c\\n', '1')",
        "(channel, data) VALUES ('c', '{')",
        "(channel) VALUES ('c')",
        "(channel, data, \"binary\") VALUES ('c', '1', 'x')",
        "(channel, data, message_id) VALUES ('c', '1', '')",
        "(channel, data, message_id) VALUES ('c', '1', 'a b')",
        "(channel, data, message_id) VALUES ('c', '1', repeat('x', 65))",
        "(channel, data, publisher) VALUES ('c', '1', '')",
        "(channel, data, publisher) VALUES ('c', '1', E'a\\tb')",
        "(channel, data, publisher) VALUES ('c', '1', repeat('x', 129))",
        "(id, channel, data) VALUES (5, 'c', '1')",
    ] {
        let refused = server.sql("outbox_refuses", &format!("INSERT INTO skywave_outbox {bad}"));
        assert!(refused.is_err(), "{bad}");
    }
    let good = r#"INSERT INTO skywave_outbox (channel, data) VALUES ('chat:1', '{"a": 1}'), ('a.b/c=d+e,f~g#h@-_:i', 'null')"#;
    server.sql("outbox_refuses", good).unwrap();
    let never = "BEGIN; INSERT INTO skywave_outbox (channel, data) VALUES ('chat:1', '\"never\"'); ROLLBACK";
    server.sql("outbox_refuses", never).unwrap();
    let rows = application.turn().await.unwrap().rows(10).await.unwrap();
    assert_eq!(rows.len(), 2);
    assert!(rows[0].message_id.len() == 36 && rows[0].message_id != rows[1].message_id, "a UUID each");
}

/// What an application has not committed is not seen, and what it commits later comes later.
#[tokio::test]
async fn rows_are_seen_when_they_are_committed() {
    let server = shared();
    let url = server.create_database("outbox_seen").unwrap();
    let application = Application::open(&url, "public").await;
    let mut turn = application.turn().await.unwrap();
    let mut slow = application.connect().await;
    let insert = "INSERT INTO skywave_outbox (channel, message_id, data) VALUES ('c', 'slow', '1')";
    slow.execute("BEGIN").await.unwrap();
    slow.execute(insert).await.unwrap();
    let quick = "INSERT INTO skywave_outbox (channel, message_id, data) VALUES ('c', 'quick', '1')";
    server.sql("outbox_seen", quick).unwrap();
    let seen = turn.rows(10).await.unwrap();
    assert_eq!(seen.iter().map(|row| row.message_id.as_str()).collect::<Vec<_>>(), ["quick"]);
    turn.settle(vec![(seen[0].id, Settlement::Published)]).await.unwrap();
    slow.execute("COMMIT").await.unwrap();
    let seen = turn.rows(10).await.unwrap();
    assert_eq!(seen.iter().map(|row| row.message_id.as_str()).collect::<Vec<_>>(), ["slow"]);
}

#[tokio::test]
async fn a_turn_that_the_server_has_ended_changes_nothing() {
    let server = shared();
    let url = server.create_database("outbox_ended").unwrap();
    let application = Application::open(&url, "public").await;
    server.sql("outbox_ended", "INSERT INTO skywave_outbox (channel, data) VALUES ('c', '1')").unwrap();
    let mut lost = application.turn().await.unwrap();
    let row = lost.rows(1).await.unwrap().remove(0);
    let end = "SELECT count(pg_terminate_backend(pid)) FROM pg_locks WHERE locktype = 'advisory' \
        AND database = (SELECT oid FROM pg_database WHERE datname = 'outbox_ended')";
    assert_eq!(server.sql("outbox_ended", end).unwrap(), "1");
    let mut next = application.turn().await.unwrap();
    let mark = Mark { epoch: epoch(), after: 1 };
    assert!(lost.mark(vec![(row.id, mark)]).await.is_err());
    let again = lost.settle(vec![(row.id, Settlement::Published)]).await.unwrap_err();
    assert!(again.to_string().contains("the turn is lost"), "{again}");
    let rows = next.rows(9).await.unwrap();
    assert!(rows.len() == 1 && rows[0].mark.is_none(), "{rows:?}");
}

/// An application's role may insert and see nothing; the relay's may do its work and no more.
#[tokio::test]
async fn least_privilege_is_enough() {
    let server = shared();
    let owner = server.create_database("outbox_roles").unwrap();
    skywave_postgres::migrate_outbox(&PostgresConfig { schema: "public".into(), ..config(&owner) })
        .await
        .unwrap();
    let roles =
        "CREATE ROLE outbox_relay LOGIN PASSWORD 'r'; CREATE ROLE outbox_application LOGIN PASSWORD 'a'";
    server.sql("outbox_roles", roles).unwrap();
    server.sql("outbox_roles", include_str!("../grants_outbox.sql")).unwrap();
    let role = |role: &str| owner.replace(&format!("postgres:{}@", server.password()), role);
    let mut application = PgConnection::connect(&role("outbox_application:a@")).await.unwrap();
    let insert = "INSERT INTO skywave_outbox (channel, data) VALUES ('c', '1'), ('c', '2')";
    application.execute(insert).await.unwrap();
    for forbidden in [
        "DELETE FROM skywave_outbox",
        "INSERT INTO skywave_outbox (channel, data, after) VALUES ('c', '1', 1)",
    ] {
        assert!(application.execute(forbidden).await.is_err(), "{forbidden}");
    }
    let relay =
        PostgresConfig { schema: "public".into(), migrate: false, ..config(&role("outbox_relay:r@")) };
    let relay = PostgresOutbox::new(relay).unwrap();
    let mut turn = relay.turn().await.unwrap();
    let rows = turn.rows(9).await.unwrap();
    turn.mark(rows.iter().map(|row| (row.id, Mark { epoch: epoch(), after: 1 })).collect()).await.unwrap();
    let settled = vec![(rows[0].id, Settlement::Published), (rows[1].id, Settlement::Refused("no".into()))];
    turn.settle(settled).await.unwrap();
    assert_eq!(turn.rows(9).await.unwrap().len(), 0);
    assert_eq!(server.sql("outbox_roles", "SELECT count(*) FROM skywave_outbox_refused").unwrap(), "1");
}
