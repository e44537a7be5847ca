//! Waits until the store has everything that the log holds: then what was published can be looked up.

use std::time::Duration;

use skywave_ports::log::Partition;
use skywave_ports::{Log, LogError, Store, StoreError};

use crate::backoff::Backoff;

/// How long a store is waited for that has less than the log.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why it is not known.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotDrained {
    #[error(transparent)]
    Log(#[from] LogError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("partition {0} of the log is not yet stored")]
    Behind(Partition),
}

/// Returns when the store has what the partition of the log holds now.
pub(crate) async fn wait(log: &dyn Log, store: &dyn Store, partition: Partition) -> Result<(), NotDrained> {
    let behind = async {
        let (_, end) = log.bounds(partition).await?;
        let mut backoff = Backoff::default();
        while store.checkpoint(partition).await? < end {
            backoff.wait().await;
        }
        Ok(())
    };
    tokio::time::timeout(PATIENCE, behind).await.unwrap_or(Err(NotDrained::Behind(partition)))
}
