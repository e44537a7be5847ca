//! The hold on a running edge.

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use skywave_ports::Subscription;
use skywave_runtime::Shutdown;
use tokio::sync::{mpsc, watch};

use crate::backend::Backend;
use crate::drain;
use crate::relay::Relay;
use crate::reporting::{Happening, Reporting};
use crate::shared::Shared;

/// A running edge. Dropping it stops the edge.
pub struct EdgeHandle {
    shared: Arc<Shared>,
    addresses: Vec<SocketAddr>,
    ready: watch::Sender<bool>,
    threads: Vec<thread::JoinHandle<()>>,
    failures: mpsc::Receiver<u16>,
    shutdown: Shutdown,
    reporting: Option<Reporting>,
    _subscriptions: Vec<Subscription>,
}

/// What an edge consists of beside what is shared.
pub(crate) struct Parts {
    pub(crate) addresses: Vec<SocketAddr>,
    pub(crate) threads: Vec<thread::JoinHandle<()>>,
    pub(crate) failures: mpsc::Receiver<u16>,
    pub(crate) subscriptions: Vec<Subscription>,
    pub(crate) reporting: Reporting,
}

/// A worker failed: always a defect. The process should end and be started again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("worker {0} failed")]
pub struct EdgeFailed(u16);

impl EdgeHandle {
    pub(crate) fn new(shared: Arc<Shared>, parts: Parts, shutdown: Shutdown) -> Self {
        let Parts { addresses, threads, failures, subscriptions, reporting } = parts;
        let (ready, reporting) = (watch::Sender::new(true), Some(reporting));
        Self {
            shared,
            addresses,
            ready,
            threads,
            failures,
            shutdown,
            reporting,
            _subscriptions: subscriptions,
        }
    }

    /// Where the TCP listeners are bound, in the order of the configuration.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Where WebTransport is bound, if it is served.
    pub fn webtransport(&self) -> Option<SocketAddr> {
        self.shared.webtransport
    }

    /// `true` while new clients are welcome.
    pub fn ready(&self) -> watch::Receiver<bool> {
        self.ready.subscribe()
    }

    /// Publish, history and presence without a connection.
    pub fn relay(&self) -> Relay {
        Relay::new(self.shared.clone())
    }

    /// What backends may ask of this node.
    pub fn backend(&self) -> Backend {
        Backend::new(self.relay())
    }

    /// Moves all clients away within the time: not ready, no new connections, `move` pushes in waves, closes in waves.
    /// Returns when all are gone or the time is over.
    pub async fn drain(&self, within: Duration) {
        self.ready.send_replace(false);
        drain::drain(&self.shared, within).await;
    }

    /// Serves until the shutdown's graceful phase (then drains, and stops), its immediate phase, or a failure.
    pub async fn finished(mut self) -> Result<(), EdgeFailed> {
        let shutdown = self.shutdown.clone();
        let outcome = tokio::select! {
            () = shutdown.requested() => Ok(()),
            Some(worker) = self.failures.recv() => Err(EdgeFailed(worker)),
        };
        if outcome.is_ok() {
            let within = self.shared.config.timing.drain;
            tokio::select! {
                () = self.drain(within) => {}
                () = shutdown.immediate() => {}
            }
        }
        self.stop().await;
        outcome
    }

    /// Stops at once: connections are cut. Returns when the workers' threads have ended.
    pub async fn stop(mut self) {
        self.ready.send_replace(false);
        self.shared.stop.send_replace(true);
        let threads = std::mem::take(&mut self.threads);
        let joined =
            tokio::task::spawn_blocking(move || threads.into_iter().for_each(|thread| drop(thread.join())));
        // Fails only when the runtime itself is going down.
        let _ = joined.await;
        self.shared.reporter.report(Happening::Node("down"));
        if let Some(reporting) = self.reporting.take() {
            reporting.finish(&self.shared).await;
        }
    }

    /// Where the node's own troubles are told.
    pub fn circuits(&self) -> Circuits {
        Circuits(self.shared.clone())
    }
}

/// Tells the cores when something that the node leans on goes away or comes back, if they want to know.
#[derive(Clone)]
pub struct Circuits(Arc<Shared>);

impl Circuits {
    /// `trouble`: why it is away; `None`: it is back.
    pub fn report(&self, name: &'static str, trouble: Option<String>) {
        self.0.reporter.report(Happening::Circuit { name, trouble });
    }
}

impl Drop for EdgeHandle {
    fn drop(&mut self) {
        self.shared.reporter.end();
        self.shared.stop.send_replace(true);
    }
}
