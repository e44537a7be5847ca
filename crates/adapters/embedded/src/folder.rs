//! A database file's place: its folder is made, proved writable, and held against a second process for as long as the
//! [`Place`] lives.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long a lock is waited for: a predecessor that is just ending lets go within this time.
const LOCK_PATIENCE: Duration = Duration::from_secs(3);
const LOCK_RETRY: Duration = Duration::from_millis(10);

/// Why a database could not be opened. None of them changed anything.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("the data folder {} cannot be written: {source}", path.display())]
    Folder { path: PathBuf, source: io::Error },
    #[error("{} is in use by another process (its lock {} is held); one data folder serves one process", database.display(), lock.display())]
    Locked { database: PathBuf, lock: PathBuf },
    #[error("{} is damaged or not a Skywave database: {reason}", path.display())]
    Damaged { path: PathBuf, reason: String },
    #[error("{} was written by a newer version (format {found}, this one knows {known}); upgrade, or use another data folder", path.display())]
    Newer { path: PathBuf, found: i64, known: i64 },
    #[error("{} cannot be opened: {reason}", path.display())]
    Unavailable { path: PathBuf, reason: String },
}

/// A locked database path.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) database: PathBuf,
    /// Unlocked by the system when it is closed, however the process ends.
    _lock: File,
}

impl Place {
    /// Makes `folder` if needed, and locks `folder/name` through a lock file beside it.
    pub(crate) async fn take(folder: &Path, name: &str) -> Result<Self, OpenError> {
        let refused = |source| OpenError::Folder { path: folder.to_owned(), source };
        fs::create_dir_all(folder).map_err(refused)?;
        let database = folder.join(name);
        let lock_path = database.with_extension("lock");
        let lock =
            OpenOptions::new().create(true).truncate(false).write(true).open(&lock_path).map_err(refused)?;
        let deadline = Instant::now() + LOCK_PATIENCE;
        loop {
            match lock.try_lock() {
                Ok(()) => return Ok(Self { database, _lock: lock }),
                Err(TryLockError::WouldBlock) if Instant::now() < deadline => {
                    tokio::time::sleep(LOCK_RETRY).await
                }
                Err(TryLockError::WouldBlock) => return Err(OpenError::Locked { database, lock: lock_path }),
                Err(TryLockError::Error(source)) => return Err(refused(source)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_place_is_held_once_and_free_again_after() {
        let folder = tempfile::tempdir().unwrap();
        let nested = folder.path().join("a/b");
        let held = Place::take(&nested, "x.db").await.unwrap();
        let _beside = Place::take(&nested, "y.db").await.unwrap();
        let error = Place::take(&nested, "x.db").await.unwrap_err();
        assert!(matches!(&error, OpenError::Locked { .. }), "{error}");
        assert!(error.to_string().contains("another process"), "{error}");
        drop(held);
        Place::take(&nested, "x.db").await.unwrap();
    }

    #[tokio::test]
    async fn a_folder_that_cannot_be_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        let error = Place::take(&file, "x.db").await.unwrap_err();
        assert!(matches!(&error, OpenError::Folder { path, .. } if *path == file), "{error}");
    }
}
