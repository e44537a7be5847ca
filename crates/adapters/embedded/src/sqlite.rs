//! What log and store share about SQLite: how a connection is made, how a file's format is checked, and what an error
//! means.
//!
//! Durability: write-ahead journal with `synchronous=FULL`, so that a commit returns only after the journal was synced to
//! the disk. That protects acknowledged data against `kill -9`, a crash of the system and loss of power, as far as the
//! disk keeps what it reports as synced; it does not protect against the loss of the disk.

use std::path::Path;
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteSynchronous};
use sqlx::{AssertSqlSafe, ConnectOptions, Row};

use crate::folder::OpenError;

/// How long a statement waits for another connection of this process (checkpoints take the lock for a moment).
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// A kind of database file.
pub(crate) struct Format {
    /// `PRAGMA application_id`: tells our files from others, and log from store.
    pub(crate) application_id: i64,
    /// `PRAGMA user_version` of the newest layout this version knows.
    pub(crate) version: i64,
    /// Makes the newest layout in an empty file.
    pub(crate) schema: &'static str,
}

/// Connects for writing. Journal checkpoints are the caller's business.
pub(crate) async fn connect_writer(database: &Path, create: bool) -> Result<SqliteConnection, sqlx::Error> {
    options(database)
        .create_if_missing(create)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .pragma("wal_autocheckpoint", "0")
        .connect()
        .await
}

/// Connects for reading beside a writer.
pub(crate) async fn connect_reader(database: &Path) -> Result<SqliteConnection, sqlx::Error> {
    options(database).pragma("query_only", "1").connect().await
}

fn options(database: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(database)
        .create_if_missing(false)
        .busy_timeout(BUSY_TIMEOUT)
        .disable_statement_logging()
}

/// Opens a database for writing, making it if it is not there, and checks that it is of this format.
pub(crate) async fn open(database: &Path, format: &Format) -> Result<SqliteConnection, OpenError> {
    let path = || database.to_owned();
    let failed = |error: sqlx::Error| match Trouble::of(&error) {
        Trouble::Damaged => OpenError::Damaged { path: path(), reason: error.to_string() },
        _ => OpenError::Unavailable { path: path(), reason: error.to_string() },
    };
    let mut connection = connect_writer(database, true).await.map_err(failed)?;
    let header = "SELECT (SELECT application_id FROM pragma_application_id), \
                  (SELECT user_version FROM pragma_user_version), (SELECT count(*) FROM sqlite_schema)";
    let header = sqlx::query(header).fetch_one(&mut connection).await.map_err(failed)?;
    let (id, version, tables): (i64, i64, i64) = (header.get(0), header.get(1), header.get(2));
    if tables == 0 && version == 0 {
        let Format { application_id, version, schema } = format;
        let create = format!(
            "BEGIN IMMEDIATE; PRAGMA application_id = {application_id}; PRAGMA user_version = {version}; {schema}; COMMIT;"
        );
        sqlx::raw_sql(AssertSqlSafe(create)).execute(&mut connection).await.map_err(failed)?;
    } else if id != format.application_id {
        let reason = "it belongs to another application".to_owned();
        return Err(OpenError::Damaged { path: path(), reason });
    } else if version > format.version {
        return Err(OpenError::Newer { path: path(), found: version, known: format.version });
    }
    Ok(connection)
}

/// Copies the journal into the database file and syncs that; `true` when everything was copied, so that the next write
/// begins the journal anew. Waits for nobody.
pub(crate) async fn checkpoint(connection: &mut SqliteConnection) -> Result<bool, sqlx::Error> {
    let row = sqlx::query("PRAGMA wal_checkpoint(PASSIVE)").fetch_one(connection).await?;
    let (busy, journal, copied): (i64, i64, i64) = (row.get(0), row.get(1), row.get(2));
    Ok(busy == 0 && journal == copied)
}

/// To be called when a database was opened: what a killed process has written but not synced counts from now on, so it is
/// synced now. No room for copying the journal does no harm, because the journal itself is synced before it is copied.
pub(crate) async fn settle(connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    match checkpoint(connection).await {
        Err(error) if Trouble::of(&error) != Trouble::NoRoom => Err(error),
        _ => Ok(()),
    }
}

/// What an error says about the state of things.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// No room on the disk. The statement certainly had no effect.
    NoRoom,
    /// The file is not what it should be.
    Damaged,
    /// Everything else: what the statement did is not known.
    Unknown,
}

impl Trouble {
    /// Primary result codes: <https://www.sqlite.org/rescode.html>.
    pub(crate) fn of(error: &sqlx::Error) -> Self {
        const CORRUPT: i32 = 11;
        const FULL: i32 = 13;
        const NOT_A_DATABASE: i32 = 26;
        let code = match error {
            sqlx::Error::Database(error) => error.code().and_then(|code| code.parse::<i32>().ok()),
            _ => None,
        };
        match code.map(|code| code & 0xff) {
            Some(FULL) => Self::NoRoom,
            Some(CORRUPT | NOT_A_DATABASE) => Self::Damaged,
            _ => Self::Unknown,
        }
    }
}
