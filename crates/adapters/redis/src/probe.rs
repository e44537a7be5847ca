//! Finds out when Redis is back: while the breaker is open, one small write at a time, with a pause between two that grows
//! to a second and has a random part.
//!
//! A write, because a replica that took a primary's place answers everything else. Also says in the log why connections
//! fail, once for each reason.

use std::sync::{Arc, Weak};
use std::time::Duration;

use fred::clients::Pool;
use fred::error::Error;
use fred::interfaces::{ClientLike, EventInterface, KeysInterface};
use fred::types::Expiration;
use rand::Rng;
use tokio::sync::broadcast::error::RecvError;

use crate::breaker::Breaker;
use crate::keys::{Kind, key};
use crate::state::Shared;

const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// How long a probe's key lives.
const KEY_MS: i64 = 1_000;

/// Runs until the state is dropped.
pub(crate) async fn run(breaker: Arc<Breaker>, shared: Weak<Shared>) {
    loop {
        breaker.tripped().await;
        let mut pause = FIRST_PAUSE;
        loop {
            let jitter = rand::rng().random_range(0.5..1.5);
            tokio::time::sleep(pause.mul_f64(jitter)).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
            let Some(shared) = shared.upgrade() else { return };
            match probe(&shared).await {
                Ok(()) => {
                    breaker.close();
                    tracing::info!(redis = %shared.place, "Redis answers");
                    break;
                }
                // The connection leads to what is now a replica: looked up anew, the address may lead to the primary.
                Err(error) if error.details().starts_with("READONLY") => {
                    let _ = shared.pool.force_reconnection().await;
                }
                Err(error) => tracing::debug!(%error, "Redis does not answer yet"),
            }
        }
    }
}

async fn probe(shared: &Shared) -> Result<(), Error> {
    let key = key(&shared.prefix, Kind::Probe, "probe");
    shared.client().set(key, "", Some(Expiration::PX(KEY_MS)), None, false).await
}

/// Logs why connections are lost or cannot be made; ends with the pool.
pub(crate) async fn explain(pool: Pool, place: Arc<str>) {
    let mut errors = pool.next().error_rx();
    drop(pool);
    let mut told = String::new();
    loop {
        match errors.recv().await {
            Ok((error, _)) => {
                let reason = error.to_string();
                if reason != told {
                    tracing::warn!(redis = %place, error = %reason, "no connection to Redis; trying again");
                    told = reason;
                }
            }
            Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => return,
        }
    }
}
