//! The writing connection with what it remembers of the file. After any error both are dropped and made anew from the
//! file: what was remembered may belong to a transaction that did not take place.

use std::path::PathBuf;
use std::sync::Arc;

use hashbrown::HashMap;
use skywave_ports::log::Partition;
use skywave_ports::{Commit, StoreError};
use skywave_protocol::ChannelName;
use sqlx::sqlite::SqliteConnection;
use sqlx::{Connection, Row};

use super::commit::{Committed, Statements};
use super::dedup::Index;
use super::{StoreOptions, unavailable};
use crate::journal::Journal;
use crate::sqlite;

pub(super) struct Writer {
    database: PathBuf,
    options: StoreOptions,
    journal: Journal,
    statements: Arc<Statements>,
    state: State,
}

enum State {
    /// Just opened: nothing is remembered yet.
    Fresh(SqliteConnection),
    Open(Box<Session>),
    /// After an error.
    Closed,
}

/// A connection that works, and what is known of the file.
pub(super) struct Session {
    pub(super) connection: SqliteConnection,
    /// Row numbers of channels: bounded, forgotten all at once when full.
    pub(super) channels: HashMap<ChannelName, i64>,
    pub(super) known_channels: usize,
    pub(super) next_channel: i64,
    pub(super) dedup: Index,
    pub(super) statements: Arc<Statements>,
}

impl Writer {
    pub(super) fn new(database: PathBuf, connection: SqliteConnection, options: StoreOptions) -> Self {
        let journal = Journal::new(database.clone(), options.journal_bytes);
        Self { database, options, journal, statements: Arc::default(), state: State::Fresh(connection) }
    }

    pub(super) async fn commit(&mut self, partition: Partition, batch: Commit) -> Result<(), StoreError> {
        let (expected, bytes) = (batch.expected, journal_bytes(&batch));
        let committed = self.with(async |session| session.commit(partition, &batch).await).await?;
        match committed {
            Committed::Yes => {
                self.wrote(bytes).await;
                Ok(())
            }
            Committed::Moved { found } => Err(StoreError::CheckpointMoved { expected, found }),
        }
    }

    pub(super) async fn close(self) {
        let connection = match self.state {
            State::Open(session) => session.connection,
            State::Fresh(connection) => connection,
            State::Closed => return,
        };
        // Closing copies the journal; if that fails, the next opening does.
        let _ = connection.close().await;
    }

    /// Runs a transaction. If it fails or is given up half-way, the session is gone.
    pub(super) async fn with<T>(
        &mut self,
        work: impl AsyncFnOnce(&mut Session) -> Result<T, sqlx::Error>,
    ) -> Result<T, StoreError> {
        let mut session = self.session().await.map_err(unavailable)?;
        let result = work(&mut session).await.map_err(unavailable)?;
        self.state = State::Open(session);
        Ok(result)
    }

    /// Counts what was written, and looks after the journal.
    pub(super) async fn wrote(&mut self, bytes: u64) {
        self.journal.wrote(bytes);
        if let State::Open(session) = &mut self.state {
            self.journal.tend(&mut session.connection).await;
        }
    }

    async fn session(&mut self) -> Result<Box<Session>, sqlx::Error> {
        let mut connection = match std::mem::replace(&mut self.state, State::Closed) {
            State::Open(session) => return Ok(session),
            State::Fresh(connection) => connection,
            State::Closed => {
                let mut connection = sqlite::connect_writer(&self.database, false).await?;
                // What a failed sync may have left unsynced is written again, or this fails as well.
                sqlite::checkpoint(&mut connection).await?;
                connection
            }
        };
        let row =
            sqlx::query("SELECT coalesce(max(id), 0) + 1 FROM channels").fetch_one(&mut connection).await?;
        let dedup = Index::load(&mut connection).await?;
        Ok(Box::new(Session {
            connection,
            channels: HashMap::new(),
            known_channels: self.options.known_channels,
            next_channel: row.get(0),
            dedup,
            statements: Arc::clone(&self.statements),
        }))
    }
}

/// Roughly what a commit adds to the journal: its bytes, and half a page per row for what is rewritten around it.
fn journal_bytes(batch: &Commit) -> u64 {
    const ROW: u64 = 2 * 1024;
    let payload: usize = batch.publications.iter().map(|row| row.publication.data.len()).sum();
    (batch.publications.len() as u64 + 4) * ROW + payload as u64 + batch.dedup.len() as u64 * 32
}
