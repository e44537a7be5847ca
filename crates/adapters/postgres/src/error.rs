//! What can go wrong: at the start, where somebody has to act ([`ConnectError`]), and with one operation, where all that is
//! known is that it may be tried again ([`Failure`]).

use std::time::Duration;

use skywave_ports::StoreError;

/// Why the store could not be opened. No secret is ever part of the text.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    #[error("{field} {must}")]
    Config { field: &'static str, must: &'static str },
    /// The server will not have us, and trying again does not help: password, database, encryption, version.
    #[error("Postgres at {server} refuses: {reason}")]
    Refused { server: String, reason: String },
    #[error("Postgres at {server} could not be reached within {within:?}: {reason}")]
    Unreachable { server: String, within: Duration, reason: String },
    #[error(
        "the tables in schema {schema} are of version {found}, made by a newer Skywave; this one knows version {known}"
    )]
    NewerSchema { schema: String, found: i32, known: i32 },
    #[error(
        "the tables in schema {schema} are of version {found} and {known} is needed: start once with a role that owns the schema \
         and with migration switched on"
    )]
    OlderSchema { schema: String, found: i32, known: i32 },
    #[error("the tables in schema {schema} could not be made: {reason}")]
    Migration { schema: String, reason: String },
    #[error(
        "schema {schema} holds the store of cell {found}, not of {asked}: give each cell a schema of its own"
    )]
    OtherCell { schema: String, found: String, asked: String },
}

/// Why an operation failed. Whether it took place is unknown.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error("nothing is sent to Postgres for a while, after: {0}")]
    CircuitOpen(String),
    #[error("no answer from Postgres within {0:?}")]
    TimedOut(Duration),
    /// It answers, but is not what it should be.
    #[error("{0}")]
    Unfit(String),
    /// Committed here, perhaps not on the standby that it should have reached.
    #[error("the commit came with a warning: {0}")]
    Warned(String),
    #[error("{0}")]
    Sql(#[from] sqlx::Error),
}

impl Failure {
    /// SQLSTATE, if the server has answered with an error.
    fn code(&self) -> Option<String> {
        match self {
            Self::Sql(error) => Some(error.as_database_error()?.code()?.into_owned()),
            _ => None,
        }
    }

    /// Whether it says that the server (and not this operation) is in trouble.
    pub(crate) fn is_outage(&self) -> bool {
        match self {
            Self::CircuitOpen(_) | Self::Warned(_) => false,
            Self::TimedOut(_) | Self::Unfit(_) => true,
            Self::Sql(_) => match self.code() {
                // Connection, authorisation, read-only, resources (disk full, too many connections), cancelled (too
                // slow), shutting down, input and output.
                Some(code) => {
                    ["08", "28", "25006", "53", "57", "58"].iter().any(|class| code.starts_with(class))
                }
                None => true,
            },
        }
    }

    /// While starting: whether it may be different in a moment.
    pub(crate) fn is_passing(&self) -> bool {
        match self {
            Self::TimedOut(_) => true,
            // Invalid data: a certificate that is not accepted, or somebody who does not speak the protocol.
            Self::Sql(sqlx::Error::Io(error)) => error.kind() != std::io::ErrorKind::InvalidData,
            // Too many connections; starting up or shutting down.
            Self::Sql(_) => self.code().is_some_and(|code| code.starts_with("53") || code.starts_with("57P")),
            Self::CircuitOpen(_) | Self::Unfit(_) | Self::Warned(_) => false,
        }
    }
}

impl From<Failure> for StoreError {
    fn from(failure: Failure) -> Self {
        Self::Unavailable(failure.to_string())
    }
}
