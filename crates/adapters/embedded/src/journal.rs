//! Keeps a database's write-ahead journal small without a long pause.
//!
//! Copying the journal into the database file on the writer's connection would hold up commits for as long as it takes.
//! So most of it is copied beside the commits, on a connection of its own; when that is done, the little that was written
//! meanwhile is copied between two commits, after which the next one begins the journal anew.

use std::path::PathBuf;

use sqlx::sqlite::SqliteConnection;
use tokio::task::JoinHandle;

use crate::sqlite;

/// Times the size at which copying begins.
const CROWDED: u64 = 4;

pub(crate) struct Journal {
    database: PathBuf,
    most_bytes: u64,
    /// Estimate of what was written since the journal was last begun anew.
    bytes: u64,
    copying: Option<JoinHandle<()>>,
}

impl Journal {
    /// For a journal that is copied when it has about `most_bytes`.
    pub(crate) fn new(database: PathBuf, most_bytes: u64) -> Self {
        Self { database, most_bytes, bytes: 0, copying: None }
    }

    /// Counts what a commit has added, by a rough estimate.
    pub(crate) fn wrote(&mut self, bytes: u64) {
        self.bytes += bytes;
    }

    /// To be called between commits.
    pub(crate) async fn tend(&mut self, writer: &mut SqliteConnection) {
        match &mut self.copying {
            // Commits are faster than the copying: they wait for it, so that the journal is bounded.
            Some(copying) if self.bytes >= CROWDED * self.most_bytes => {
                let _ = copying.await;
                self.copying = None;
                self.finish(writer).await;
            }
            None if self.bytes >= self.most_bytes => {
                let database = self.database.clone();
                self.copying = Some(tokio::spawn(async move {
                    if let Ok(mut connection) = sqlite::connect_writer(&database, false).await {
                        let _ = sqlite::checkpoint(&mut connection).await;
                    }
                }));
            }
            Some(copying) if copying.is_finished() => {
                self.copying = None;
                self.finish(writer).await;
            }
            _ => {}
        }
    }

    async fn finish(&mut self, writer: &mut SqliteConnection) {
        let failure = match sqlite::checkpoint(writer).await {
            Ok(true) => {
                self.bytes = 0;
                return;
            }
            Ok(false) => "a reader was in the way".to_owned(),
            Err(error) => error.to_string(),
        };
        // Not at once again: a reader needs a moment, a full disk more than one.
        self.bytes /= 2;
        tracing::debug!(database = %self.database.display(), failure, "the journal was not copied whole");
    }
}
