//! Tells the cores when what an edge leans on goes away and comes back. (Without the bus nobody can be told.)

use std::time::Duration;

use skywave_edge::Circuits;
use skywave_runtime::health::HealthCheck;

/// How often it is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Looks at the shared state for ever.
pub(super) async fn follow(circuits: Circuits, health: HealthCheck) {
    let mut known = None;
    loop {
        let away = health().into_iter().find(|component| component.name == "state" && !component.ok);
        let trouble = away.map(|component| component.detail.unwrap_or_default());
        if trouble.is_some() != known.is_some() {
            circuits.report("state", trouble.clone());
        }
        known = trouble;
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
