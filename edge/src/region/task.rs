//! The task that beats, listens to the beats of others, and lets time pass.

use std::sync::Arc;

use skywave_ports::{BusError, Inbox, Subscription};
use skywave_protocol::inner::NodeBeat;
use tokio::time::{Instant, sleep_until};

use super::{Changes, moves};
use crate::shared::Shared;

/// Beats waiting to be looked at. When full, the bus drops some; others follow.
const BEATS: usize = 4_096;

/// Takes part in the region until the edge stops. `None`: this node takes no part.
pub(crate) async fn run(
    shared: &Arc<Shared>,
    changes: Option<Changes>,
) -> Result<Option<Subscription>, BusError> {
    let (Some(region), Some(changes)) = (&shared.region, changes) else { return Ok(None) };
    let (inbox, mut beats) = Inbox::new(BEATS);
    let subscription = region.bus.subscribe(&region.subject, None, &inbox).await?;
    tokio::spawn(moves::follow(shared.clone(), changes));
    let shared = shared.clone();
    tokio::spawn(async move {
        let Some(region) = &shared.region else { return };
        let mut stop = shared.stop.subscribe();
        loop {
            let due = region.machine.lock().poll_timeout();
            let due = Instant::from_std(region.started + std::time::Duration::from_millis(due));
            tokio::select! {
                message = beats.recv() => {
                    // The sending side lives as long as the subscription; it ends with the edge.
                    let Some(message) = message else { return };
                    match NodeBeat::decode(message.payload) {
                        Ok(beat) => region.machine.lock().handle_beat(region.now(), beat),
                        Err(error) => tracing::warn!(%error, "a beat cannot be read; dropped"),
                    }
                }
                () = sleep_until(due) => {
                    let connections = u32::try_from(shared.admission.connections()).unwrap_or(u32::MAX);
                    region.machine.lock().handle_timeout(region.now(), connections);
                }
                _ = stop.wait_for(|stop| *stop) => return,
            }
            region.act(&shared.reporter);
        }
    });
    Ok(Some(subscription))
}
