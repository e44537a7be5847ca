//! The transactional outbox on Postgres: a table in an application's own database.
//!
//! Who has the turn holds an advisory lock, for as long as its connection lives, and does everything over that connection: a
//! turn that the server has ended can change nothing. The server ends the session of one who was silent for long.

mod turn;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use skywave_ports::{Outbox, OutboxError, OutboxTurn};
use sqlx::{PgConnection, Row};

use crate::config::PostgresConfig;
use crate::connections::{Limits, Role, Server};
use crate::error::{ConnectError, Failure};
use crate::schema::OUTBOX;
use turn::Turn;

/// Pause between two tries to get the turn, on average.
const TURN_RETRY: Duration = Duration::from_millis(500);
/// A turn whose holder says nothing for so long is over. A relay that works asks several times a second.
const SILENCE: Duration = Duration::from_secs(30);

/// The outbox of an application. Connected to when a turn is asked for: its database need not be there all the time.
pub struct PostgresOutbox {
    server: Server,
    config: PostgresConfig,
    /// The tables were seen to be what they must be.
    ready: AtomicBool,
    /// [`SILENCE`], but for tests.
    silence: Duration,
}

impl PostgresOutbox {
    /// The outbox in `config.schema`. Of the configuration, what is said about replicas, pools and circuits has no meaning
    /// here. Only refuses settings that cannot work.
    pub fn new(config: PostgresConfig) -> Result<Self, ConnectError> {
        config.check()?;
        let server =
            Server::new(config.primary()?, Role::Primary, config.schema.clone(), config.connect_timeout);
        Ok(Self { server, config, ready: AtomicBool::new(false), silence: SILENCE })
    }

    /// Connects once, and makes the tables where they are missing.
    pub async fn prepare(&self) -> Result<(), ConnectError> {
        drop(self.server.start(&self.config, OUTBOX).await?);
        self.ready.store(true, Ordering::Release);
        Ok(())
    }

    async fn take_turn(&self) -> Result<Turn, Failure> {
        let limit = self.config.commit_timeout;
        let mut connection = self.server.connect(&Limits { statement: limit, lock: limit / 2 }).await?;
        loop {
            let asked = tokio::time::timeout(limit, self.try_lock(&mut connection)).await;
            if asked.map_err(|_| Failure::TimedOut(limit))?? {
                return Ok(Turn::new(connection, limit));
            }
            tokio::time::sleep(TURN_RETRY.mul_f64(0.5 + rand::random::<f64>())).await;
        }
    }

    async fn try_lock(&self, connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
        const LOCK: &str = "SELECT pg_try_advisory_lock(hashtextextended('skywave outbox ' || $1, 0))";
        let locked = sqlx::query(LOCK).bind(&self.config.schema).fetch_one(&mut *connection).await?.get(0);
        if locked {
            sqlx::query("SELECT set_config('idle_session_timeout', $1, false)")
                .bind(self.silence.as_millis().to_string())
                .execute(connection)
                .await?;
        }
        Ok(locked)
    }
}

#[async_trait]
impl Outbox for PostgresOutbox {
    async fn turn(&self) -> Result<Box<dyn OutboxTurn>, OutboxError> {
        if !self.ready.load(Ordering::Acquire) {
            self.prepare().await.map_err(|error| OutboxError::Unavailable(error.to_string()))?;
        }
        match self.take_turn().await {
            Ok(turn) => Ok(Box::new(turn)),
            Err(failure) => Err(OutboxError::Unavailable(failure.to_string())),
        }
    }
}

#[cfg(test)]
mod tests;
