//! `sw.control`: news for every edge. Revoked tokens are refused from now on; connections that are concerned are closed,
//! on every worker.

use std::sync::Arc;

use skywave_ports::{BusError, Inbox, Subscription};
use skywave_protocol::Subject;
use skywave_protocol::inner::Control;

use crate::shared::Shared;

/// News waiting to be acted upon. When full, the bus drops them; a revoked token is then refused at the next connect
/// through the shared state, and closed at its expiry.
const NEWS: usize = 4_096;

/// Listens until the edge stops.
pub(crate) async fn listen(shared: &Arc<Shared>) -> Result<Subscription, BusError> {
    let (inbox, mut news) = Inbox::new(NEWS);
    let subscription = shared.ports.bus.subscribe(&Subject::control(), None, &inbox).await?;
    let shared = shared.clone();
    tokio::spawn(async move {
        let mut stop = shared.stop.subscribe();
        loop {
            let message = tokio::select! {
                message = news.recv() => message,
                _ = stop.wait_for(|stop| *stop) => None,
            };
            let Some(message) = message else { return };
            match Control::decode(message.payload) {
                Ok(control) => act(&shared, Arc::new(control)).await,
                Err(error) => tracing::warn!(%error, "a control message cannot be read; dropped"),
            }
        }
    });
    Ok(subscription)
}

async fn act(shared: &Shared, control: Arc<Control>) {
    if let Control::RevokeToken { token_id, until } = &*control {
        let now_s = shared.ports.clock.unix_ms() / 1_000;
        shared.ports.auth.revoke(token_id.clone(), *until, now_s);
    }
    for worker in shared.workers.iter() {
        let control = control.clone();
        // A worker that has stopped has no connections.
        let _ = worker.run(move |worker| worker.state().control(&control)).await;
    }
}
