//! The UDP socket of one worker: who may shake hands, and with which certificate.

use std::cell::Cell;
use std::net::UdpSocket;
use std::rc::Rc;
use std::sync::Arc;

use quinn::crypto::rustls::QuicServerConfig;
use quinn::{Endpoint, Incoming, ServerConfig, TokioRuntime, TransportConfig};
use tokio::sync::watch;

use super::{connection, limits, reset};
use crate::metrics::Refused;
use crate::tls::Identity;
use crate::worker::Worker;

/// Serves until the worker ends. Errors: the socket cannot be used.
pub(crate) async fn serve(
    worker: Rc<Worker>,
    socket: UdpSocket,
    mut tls: watch::Receiver<Arc<Identity>>,
) -> std::io::Result<()> {
    let transport = limits::transport(&worker.shared().config);
    let (config, endpoint_config) = {
        let identity = tls.borrow_and_update();
        (server_config(&identity, &transport), reset::endpoint_config(identity.secret("stateless reset")))
    };
    let endpoint = Endpoint::new(endpoint_config, config, socket, Arc::new(TokioRuntime))?;
    let handshakes = Rc::new(Cell::new(0));
    loop {
        tokio::select! {
            Ok(()) = tls.changed() => {
                endpoint.set_server_config(server_config(&tls.borrow_and_update(), &transport));
            }
            incoming = endpoint.accept() => match incoming {
                Some(incoming) => admit(&worker, incoming, &handshakes),
                None => return Ok(()),
            },
        }
    }
}

/// `None`, so that nobody is let in, if QUIC could not use the certificate's configuration.
fn server_config(identity: &Identity, transport: &Arc<TransportConfig>) -> Option<ServerConfig> {
    match QuicServerConfig::try_from(identity.quic()) {
        Ok(crypto) => {
            let mut config = ServerConfig::with_crypto(Arc::new(crypto));
            config.transport_config(transport.clone());
            Some(config)
        }
        Err(error) => {
            tracing::error!(%error, "WebTransport cannot use this certificate");
            None
        }
    }
}

fn admit(worker: &Rc<Worker>, incoming: Incoming, handshakes: &Rc<Cell<usize>>) {
    let metrics = worker.metrics();
    if worker.shared().is_draining() {
        metrics.refuse(Refused::Draining);
        return incoming.refuse();
    }
    if handshakes.get() >= limits::HANDSHAKES {
        metrics.refuse(Refused::Handshake);
        return incoming.ignore();
    }
    // An address that may be made up must not use up what the real one is allowed.
    let counted = worker.shared().limits_addresses() || handshakes.get() >= limits::UNPROVEN_HANDSHAKES;
    if counted && !incoming.remote_address_validated() && incoming.may_retry() {
        // Invariant: it may.
        let _ = incoming.retry();
        return;
    }
    metrics.accepted.add(1);
    let Ok(permit) = worker.shared().admit(incoming.remote_address().ip()) else {
        metrics.refuse(Refused::ServerFull);
        return incoming.refuse();
    };
    let handshake = Handshake::begin(handshakes);
    tokio::task::spawn_local(connection::serve(worker.clone(), incoming, permit, handshake));
}

/// Counts a handshake as long as it lasts.
pub(super) struct Handshake(Rc<Cell<usize>>);

impl Handshake {
    fn begin(count: &Rc<Cell<usize>>) -> Self {
        count.set(count.get() + 1);
        Self(count.clone())
    }
}

impl Drop for Handshake {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}
