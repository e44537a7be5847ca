//! Connections follow their keys: when a node has joined, those whose key went there are asked to move, so many a second over
//! the whole node, never all at once.

use std::sync::Arc;
use std::time::Duration;

use rand::seq::SliceRandom;
use skywave_engine::region::MovedRanges;
use tokio::time::{MissedTickBehavior, interval};

use super::Changes;
use crate::shared::Shared;

/// Time between two waves.
const WAVE: Duration = Duration::from_millis(100);

/// Follows one change of the ring after the other, until the edge stops or drains: then everybody is asked anyway.
pub(crate) async fn follow(shared: Arc<Shared>, mut changes: Changes) {
    let mut draining = shared.draining();
    let mut stop = shared.stop.subscribe();
    let follow_all = async {
        while let Some(ranges) = changes.0.recv().await {
            follow_one(&shared, Arc::new(ranges)).await;
        }
    };
    tokio::select! {
        () = follow_all => {}
        _ = draining.wait_for(|draining| *draining) => {}
        _ = stop.wait_for(|stop| *stop) => {}
    }
}

async fn follow_one(shared: &Shared, ranges: Arc<MovedRanges>) {
    let Some(region) = &shared.region else { return };
    let mut plan: Vec<(usize, u64)> = Vec::new();
    for (index, worker) in shared.workers.iter().enumerate() {
        let ranges = ranges.clone();
        // A worker that has stopped has no connections.
        let keys = worker.run(move |worker| worker.state().placed_in(&ranges)).await.unwrap_or_default();
        plan.extend(keys.into_iter().map(|key| (index, key)));
    }
    if plan.is_empty() {
        return;
    }
    tracing::info!(connections = plan.len(), "a node has joined; connections follow their keys");
    plan.shuffle(&mut rand::rng());
    let mut pace = interval(WAVE);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut owed = 0.0;
    while !plan.is_empty() {
        pace.tick().await;
        owed += f64::from(region.moves_per_second) * WAVE.as_secs_f64();
        while owed >= 1.0
            && let Some((worker, key)) = plan.pop()
        {
            owed -= 1.0;
            let moved = shared.workers[worker].run(move |worker| worker.state().follow(key)).await;
            // One that has left, or whose key has come back, does not count.
            if moved == Ok(false) {
                owed += 1.0;
            }
        }
    }
}
