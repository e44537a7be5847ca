//! One server, and how a connection to it is made.

use std::time::Duration;

use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, PgConnection, Row};

use crate::error::Failure;

/// The oldest version that has every setting used here.
const OLDEST: u32 = 140_000;

/// What a server is asked to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// Takes writes. One that follows another is refused: its answers may be old.
    Primary,
    Replica,
}

pub(crate) struct Server {
    options: PgConnectOptions,
    role: Role,
    schema: String,
    connect_timeout: Duration,
}

/// What a connection allows the server to do for it. The server then ends by itself what its client has given up.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) statement: Duration,
    pub(crate) lock: Duration,
}

impl Server {
    pub(crate) fn new(
        options: PgConnectOptions,
        role: Role,
        schema: String,
        connect_timeout: Duration,
    ) -> Self {
        Self { options, role, schema, connect_timeout }
    }

    /// Host, port, database and user: for messages.
    pub(crate) fn name(&self) -> String {
        let options = &self.options;
        let user = options.get_username();
        let database = options.get_database().unwrap_or(user);
        match options.get_socket() {
            Some(socket) => format!("{} (database {database}, user {user})", socket.display()),
            None => {
                format!("{}:{} (database {database}, user {user})", options.get_host(), options.get_port())
            }
        }
    }

    pub(crate) async fn connect(&self, limits: &Limits) -> Result<PgConnection, Failure> {
        let connect = async {
            let mut connection = self.options.connect().await?;
            self.set_up(&mut connection, limits).await?;
            Ok(connection)
        };
        match tokio::time::timeout(self.connect_timeout, connect).await {
            Ok(connected) => connected,
            Err(_) => Err(Failure::TimedOut(self.connect_timeout)),
        }
    }

    async fn set_up(&self, connection: &mut PgConnection, limits: &Limits) -> Result<(), Failure> {
        if let Some(version) = connection.server_version_num().filter(|version| *version < OLDEST) {
            let (is, least) = (version / 10_000, OLDEST / 10_000);
            return Err(Failure::Unfit(format!("it is Postgres {is}; {least} or newer is needed")));
        }
        // What a client that has vanished leaves behind ends by itself. A commit is always synced: the log is trimmed
        // behind it.
        let row = sqlx::query(
            "SELECT pg_is_in_recovery(),
                set_config('search_path', $1, false),
                set_config('statement_timeout', $2, false),
                set_config('lock_timeout', $3, false),
                set_config('idle_in_transaction_session_timeout', $2, false),
                set_config('client_connection_check_interval', '1s', false),
                set_config('synchronous_commit', CASE current_setting('synchronous_commit')
                    WHEN 'off' THEN 'on' ELSE current_setting('synchronous_commit') END, false),
                set_config('jit', 'off', false)",
        )
        .persistent(false)
        .bind(&self.schema)
        .bind(limits.statement.as_millis().to_string())
        .bind(limits.lock.as_millis().to_string())
        .fetch_one(connection)
        .await?;
        if self.role == Role::Primary && row.get(0) {
            return Err(Failure::Unfit("it is a replica and takes no writes".into()));
        }
        Ok(())
    }
}
