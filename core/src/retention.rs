//! Forgets what namespaces no longer keep: one bounded step of store work at a time, with pauses, for ever.
//!
//! Only what is in the store is touched; the tail is too young to matter. Channels of a namespace that configuration does
//! not know are left alone: removing a namespace must not silently destroy its history.

use std::sync::Arc;
use std::time::Duration;

use skywave_ports::Retention;
use skywave_ports::log::Partition;
use skywave_protocol::{Durability, NamespaceOptions};

use crate::backoff::Backoff;
use crate::ingest::unix_now_ms;
use crate::owned::Ownership;
use crate::service::Shared;
use crate::stop::StopSignal;

/// The partition whose owner walks.
const FIRST: Partition = 0;

/// How often another core looks whether it has become its turn.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Runs until told to stop.
pub(crate) async fn run(shared: Arc<Shared>, mut stop: StopSignal) {
    tokio::select! {
        () = walk(&shared) => {}
        _ = stop.requested() => {}
    }
}

async fn walk(shared: &Shared) {
    let mut backoff = Backoff::default();
    loop {
        while !is_mine(shared) {
            tokio::time::sleep(LOOK_EVERY).await;
        }
        for (name, options) in &shared.config.namespaces {
            if is_mine(shared) && options.durability == Durability::Durable {
                walk_namespace(shared, name, options, &mut backoff).await;
            }
        }
        tokio::time::sleep(Duration::from_millis(shared.config.retention_interval_ms)).await;
    }
}

fn is_mine(shared: &Shared) -> bool {
    matches!(shared.owned.get(FIRST), Some(Ownership::Serving(_)))
}

/// One walk through a namespace. A failure ends it; the next round begins where it was.
async fn walk_namespace(shared: &Shared, name: &str, options: &NamespaceOptions, backoff: &mut Backoff) {
    loop {
        match shared.store.retain(name, horizon(options, unix_now_ms())).await {
            Ok(done) => {
                *backoff = Backoff::default();
                shared.metrics.retention_removed.inc_by(done.removed);
                if done.complete {
                    return;
                }
            }
            Err(error) => {
                tracing::debug!(namespace = name, %error, "retention is put off");
                backoff.wait().await;
                return;
            }
        }
        tokio::time::sleep(Duration::from_millis(shared.config.retention_pause_ms)).await;
    }
}

fn horizon(options: &NamespaceOptions, now_ms: u64) -> Retention {
    Retention {
        size: options.history_size,
        not_before_ms: now_ms.saturating_sub(options.history_seconds.saturating_mul(1_000)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_horizon_follows_the_namespace() {
        let options =
            NamespaceOptions { history_size: 7, history_seconds: 60, ..NamespaceOptions::default() };
        assert_eq!(horizon(&options, 100_000), Retention { size: 7, not_before_ms: 40_000 });
        let for_ever = NamespaceOptions { history_seconds: u64::MAX, ..options };
        assert_eq!(horizon(&for_ever, 100_000).not_before_ms, 0);
    }
}
