//! One client, from its first packet to the last.

use std::rc::Rc;

use quinn::{Connection, Incoming};
use tokio::time::timeout;

use super::endpoint::Handshake;
use super::establish::{self, Established, Failed};
use super::h3::H3Error;
use super::session;
use crate::admission::Permit;
use crate::metrics::Refused;
use crate::worker::Worker;

/// The task of one connection. What comes before the session is boxed, so that an idle session does not carry the room its
/// beginning needed.
pub(super) async fn serve(worker: Rc<Worker>, incoming: Incoming, permit: Permit, handshake: Handshake) {
    let Some(established) = Box::pin(begin(&worker, incoming, handshake)).await else { return };
    session::run(&worker, established).await;
    drop(permit);
}

async fn begin(worker: &Rc<Worker>, incoming: Incoming, handshake: Handshake) -> Option<Established> {
    let timing = &worker.shared().config.timing;
    // Without the shortcut of early data: the handshake is complete before anything is read.
    let connected = timeout(timing.head, async { incoming.accept().ok()?.await.ok() }).await;
    drop(handshake);
    let Ok(Some(connection)) = connected else {
        worker.metrics().refuse(Refused::Tls);
        return None;
    };
    match timeout(timing.head, establish::establish(worker, &connection)).await {
        Ok(Ok(established)) => Some(established),
        Ok(Err(failed)) => {
            refuse(worker, &connection, failed).await;
            None
        }
        Err(_) => {
            worker.metrics().refuse(Refused::Head);
            connection.close(H3Error::RequestRejected.code(), b"the request did not arrive in time");
            None
        }
    }
}

async fn refuse(worker: &Rc<Worker>, connection: &Connection, failed: Failed) {
    match failed {
        Failed::Gone => {}
        Failed::Protocol(error, reason) => {
            worker.metrics().refuse(Refused::Handshake);
            connection.close(error.code(), reason.as_bytes());
        }
        Failed::Refused(kind) => {
            worker.metrics().refuse(kind);
            // The answer is on its way; the client closes when it has it.
            let _ = timeout(worker.shared().config.timing.close, connection.closed()).await;
            connection.close(H3Error::NoError.code(), b"");
        }
    }
}
