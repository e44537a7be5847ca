//! A few connections for reading, made when first needed.

use std::path::PathBuf;

use parking_lot::Mutex;
use skywave_ports::StoreError;
use sqlx::Connection;
use sqlx::sqlite::SqliteConnection;
use tokio::sync::Semaphore;

use super::unavailable;
use crate::sqlite;

pub(super) struct Readers {
    database: PathBuf,
    /// As many reads as there may be connections; others wait.
    slots: Semaphore,
    idle: Mutex<Vec<SqliteConnection>>,
}

impl Readers {
    pub(super) fn new(database: PathBuf, most: usize) -> Self {
        Self { database, slots: Semaphore::new(most.max(1)), idle: Mutex::default() }
    }

    /// Closes the idle connections, which are all when nobody reads.
    pub(super) async fn close(self) {
        for connection in self.idle.into_inner() {
            // A reader has nothing to lose.
            let _ = connection.close().await;
        }
    }

    /// Runs a read on one of the connections. After an error, or when the read is given up, its connection is not used
    /// again.
    pub(super) async fn with<T>(
        &self,
        read: impl AsyncFnOnce(&mut SqliteConnection) -> Result<T, sqlx::Error>,
    ) -> Result<T, StoreError> {
        // The semaphore is never closed.
        let _slot = self.slots.acquire().await.map_err(|error| StoreError::Unavailable(error.to_string()))?;
        let idle = self.idle.lock().pop();
        let mut connection = match idle {
            Some(connection) => connection,
            None => sqlite::connect_reader(&self.database).await.map_err(unavailable)?,
        };
        let result = read(&mut connection).await.map_err(unavailable)?;
        self.idle.lock().push(connection);
        Ok(result)
    }
}
