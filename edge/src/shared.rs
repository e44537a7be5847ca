//! What all workers of an edge share: configuration, ports, the ways to each other, admission.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use skywave_engine::partition;
use skywave_protocol::ChannelName;
use tokio::sync::watch;

use crate::admission::Admission;
use crate::config::EdgeConfig;
use crate::metrics::{PublishLatency, WorkerMetrics};
use crate::ports::EdgePorts;
use crate::worker::Remote;

/// One per edge, behind an `Arc`.
pub struct Shared {
    pub config: EdgeConfig,
    pub ports: EdgePorts,
    /// The workers, by index.
    pub workers: Arc<[Remote]>,
    /// Where WebTransport is bound, if it is served.
    pub webtransport: Option<SocketAddr>,
    /// Zero of the monotonic milliseconds the state machines see.
    pub(crate) started: Instant,
    pub(crate) metrics: Vec<Arc<WorkerMetrics>>,
    pub(crate) latency: PublishLatency,
    pub(crate) admission: Arc<Admission>,
    draining: watch::Sender<bool>,
    /// Told to the workers when the edge stops.
    pub(crate) stop: watch::Sender<bool>,
}

impl Shared {
    pub(crate) fn new(
        config: EdgeConfig,
        ports: EdgePorts,
        workers: Arc<[Remote]>,
        webtransport: Option<SocketAddr>,
    ) -> Self {
        Self {
            admission: Arc::new(Admission::new(&config.limits)),
            metrics: workers.iter().map(|_| Arc::default()).collect(),
            latency: PublishLatency::default(),
            started: Instant::now(),
            draining: watch::Sender::new(false),
            stop: watch::Sender::new(false),
            config,
            ports,
            workers,
            webtransport,
        }
    }

    /// The worker whose hub shard owns a channel.
    pub fn shard_of(&self, channel: &ChannelName) -> usize {
        partition::of(channel, self.workers.len() as u32) as usize
    }

    /// No new connections: the node is leaving.
    pub fn is_draining(&self) -> bool {
        *self.draining.borrow()
    }

    pub(crate) fn begin_drain(&self) {
        self.draining.send_replace(true);
    }

    /// Changes to `true` when the node begins to drain.
    pub fn draining(&self) -> watch::Receiver<bool> {
        self.draining.subscribe()
    }

    /// Limits count by address, so an address must be proven before it counts.
    pub(crate) fn limits_addresses(&self) -> bool {
        let limits = &self.config.limits;
        limits.connections_per_address > 0 || limits.address_handshakes.is_some()
    }

    pub(crate) fn now_ms(&self) -> u64 {
        self.started.elapsed().as_millis() as u64
    }
}

impl Shared {
    /// A place for a connection that does not come through the TCP listeners (WebTransport). Errors: `server_full`,
    /// `rate_limited`, with the time to wait. The place is given back when the permit is dropped.
    pub fn admit(
        &self,
        peer: std::net::IpAddr,
    ) -> Result<crate::admission::Permit, skywave_protocol::WireError> {
        self.admission.admit(self.now_ms(), peer).map_err(Into::into)
    }
}
