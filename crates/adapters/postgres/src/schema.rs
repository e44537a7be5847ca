//! The tables: made and upgraded in steps, each once, by whoever comes first. Several cores may start at the same time.

use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, Row};

use crate::config::PostgresConfig;
use crate::connections::{Limits, Role, Server};
use crate::error::{ConnectError, Failure};

/// A set of tables that belong together.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tables {
    /// The table that holds their version.
    versions: &'static str,
    /// Step `n` brings them from version `n` to `n + 1`. A step that was released is never changed.
    steps: &'static [&'static str],
}

pub(crate) const STORE: Tables =
    Tables { versions: "versions", steps: &[include_str!("../migrations/store/0001.sql")] };
pub(crate) const OUTBOX: Tables =
    Tables { versions: "skywave_outbox_versions", steps: &[include_str!("../migrations/outbox/0001.sql")] };

/// Version of the store's tables that this program works with.
pub const SCHEMA_VERSION: i32 = STORE.version();

impl Tables {
    const fn version(&self) -> i32 {
        self.steps.len() as i32
    }
}

/// Makes or upgrades the store's tables, and ends: for a role that owns the schema, where the one that serves must not.
pub async fn migrate(config: &PostgresConfig) -> Result<(), ConnectError> {
    make(config, STORE).await
}

/// The same for the tables of the outbox.
pub async fn migrate_outbox(config: &PostgresConfig) -> Result<(), ConnectError> {
    make(config, OUTBOX).await
}

async fn make(config: &PostgresConfig, tables: Tables) -> Result<(), ConnectError> {
    config.check()?;
    let config = PostgresConfig { migrate: true, ..config.clone() };
    let server = Server::new(config.primary()?, Role::Primary, config.schema.clone(), config.connect_timeout);
    server.start(&config, tables).await.map(drop)
}

impl Server {
    /// The first connection to the primary: retried while the server is starting, and returned with the tables as they
    /// must be.
    pub(crate) async fn start(
        &self,
        config: &PostgresConfig,
        tables: Tables,
    ) -> Result<PgConnection, ConnectError> {
        let mut last = "no answer".to_owned();
        let start = self.try_start(config, tables, &mut last);
        match tokio::time::timeout(config.start_timeout, start).await {
            Ok(started) => started,
            Err(_) => Err(ConnectError::Unreachable {
                server: self.name(),
                within: config.start_timeout,
                reason: last,
            }),
        }
    }

    async fn try_start(
        &self,
        config: &PostgresConfig,
        tables: Tables,
        last: &mut String,
    ) -> Result<PgConnection, ConnectError> {
        // A step may rewrite a large table.
        let limits = Limits { statement: config.start_timeout, lock: config.start_timeout };
        loop {
            let failure = match self.connect(&limits).await {
                Ok(mut connection) => match prepare(&mut connection, config, tables).await? {
                    Prepared::Yes => return Ok(connection),
                    Prepared::Failed(failure) => failure,
                },
                Err(failure) => failure,
            };
            if !failure.is_passing() {
                return Err(ConnectError::Refused { server: self.name(), reason: failure.to_string() });
            }
            tracing::info!(server = self.name(), error = %failure, "Postgres is not ready; trying on");
            *last = failure.to_string();
            tokio::time::sleep(RETRY.mul_f64(0.5 + rand::random::<f64>())).await;
        }
    }
}

const RETRY: std::time::Duration = std::time::Duration::from_millis(300);

enum Prepared {
    Yes,
    /// The server failed; it may be different in a moment.
    Failed(Failure),
}

async fn prepare(
    connection: &mut PgConnection,
    config: &PostgresConfig,
    tables: Tables,
) -> Result<Prepared, ConnectError> {
    let (schema, known) = (|| config.schema.clone(), tables.version());
    let migrated = match version(connection, &config.schema, tables).await {
        Ok(found) if found < known && config.migrate => upgrade(connection, &config.schema, tables).await,
        Ok(found) => Ok(found),
        Err(error) => return Ok(Prepared::Failed(error.into())),
    };
    match migrated {
        Ok(found) if found == known => Ok(Prepared::Yes),
        Ok(found) if found > known => Err(ConnectError::NewerSchema { schema: schema(), found, known }),
        Ok(found) => Err(ConnectError::OlderSchema { schema: schema(), found, known }),
        Err(error) => {
            let failure = Failure::from(error);
            match failure.is_passing() {
                true => Ok(Prepared::Failed(failure)),
                false => Err(ConnectError::Migration { schema: schema(), reason: failure.to_string() }),
            }
        }
    }
}

/// 0: there are no tables yet.
async fn version(connection: &mut PgConnection, schema: &str, tables: Tables) -> Result<i32, sqlx::Error> {
    let there: bool = sqlx::query("SELECT to_regclass($1) IS NOT NULL")
        .persistent(false)
        .bind(format!("{schema}.{}", tables.versions))
        .fetch_one(&mut *connection)
        .await?
        .get(0);
    if !there {
        return Ok(0);
    }
    let newest = format!("SELECT coalesce(max(version), 0) FROM {}", tables.versions);
    Ok(sqlx::query(AssertSqlSafe(newest)).persistent(false).fetch_one(connection).await?.get(0))
}

/// Takes the steps that are missing, all or none of them; returns the version that was then found.
async fn upgrade(connection: &mut PgConnection, schema: &str, tables: Tables) -> Result<i32, sqlx::Error> {
    let Tables { versions, steps } = tables;
    let mut transaction = connection.begin().await?;
    // Held until the end of the transaction: others wait here, and find the work done.
    sqlx::query("SELECT pg_advisory_xact_lock(hashtextextended('skywave schema ' || $1, 0))")
        .persistent(false)
        .bind(schema)
        .execute(&mut *transaction)
        .await?;
    let made: bool = sqlx::query("SELECT to_regnamespace($1) IS NOT NULL")
        .persistent(false)
        .bind(schema)
        .fetch_one(&mut *transaction)
        .await?
        .get(0);
    if !made {
        // Only then: the statement needs its privilege even when there is nothing to do. The name was checked.
        transaction.execute(sqlx::raw_sql(AssertSqlSafe(format!("CREATE SCHEMA {schema}")))).await?;
    }
    let found = version(&mut transaction, schema, tables).await?;
    let done = usize::try_from(found).unwrap_or(0);
    if done >= steps.len() {
        return Ok(found);
    }
    if found == 0 {
        let create = format!(
            "CREATE TABLE {versions} (version integer PRIMARY KEY, taken_at timestamptz NOT NULL DEFAULT now())"
        );
        transaction.execute(sqlx::raw_sql(AssertSqlSafe(create))).await?;
    }
    for (step, text) in steps.iter().enumerate().skip(done) {
        transaction.execute(sqlx::raw_sql(*text)).await?;
        let taken = format!("INSERT INTO {versions} (version) VALUES ($1)");
        let taken = sqlx::query(AssertSqlSafe(taken)).persistent(false).bind(step as i32 + 1);
        taken.execute(&mut *transaction).await?;
    }
    transaction.commit().await?;
    tracing::info!(schema, versions, from = found, to = tables.version(), "tables are made");
    Ok(tables.version())
}
