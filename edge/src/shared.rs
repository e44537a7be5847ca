//! What all workers of an edge share: configuration, ports, the ways to each other, admission.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use skywave_engine::partition;
use skywave_protocol::ChannelName;
use tokio::sync::watch;

use crate::admission::Admission;
use crate::config::EdgeConfig;
use crate::control::{Controls, Waiting};
use crate::limits::{Limit, RegionLimits};
use crate::metrics::{PublishLatency, WorkerMetrics};
use crate::ports::EdgePorts;
use crate::region::{Changes, Region};
use crate::reporting::{Reporter, Reports};
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
    pub(crate) limits: Arc<RegionLimits>,
    /// The nodes of the region; `None`: this one stands alone.
    pub(crate) region: Option<Region>,
    /// Tells the cores what happens here.
    pub(crate) reporter: Reporter,
    pub(crate) control: Controls,
    draining: watch::Sender<bool>,
    /// Told to the workers when the edge stops.
    pub(crate) stop: watch::Sender<bool>,
}

/// The receiving ends of what [`Shared`] sends, for the tasks that are yet to be started.
pub(crate) struct Loose {
    pub(crate) changes: Option<Changes>,
    pub(crate) notices: Waiting,
    pub(crate) reports: Reports,
}

impl Shared {
    pub(crate) fn new(
        config: EdgeConfig,
        ports: EdgePorts,
        workers: Arc<[Remote]>,
        webtransport: Option<SocketAddr>,
    ) -> (Self, Loose) {
        let started = Instant::now();
        let limits = RegionLimits::new(&config.limits, ports.state.clone(), started);
        let region = config.placement.as_ref();
        let region = region.map(|place| Region::new(&config, place, ports.bus.clone(), started));
        let (region, changes) = region.unzip();
        let (control, notices) = Controls::new();
        let (reporter, reports) = Reporter::new(&config, ports.clock.clone());
        let shared = Self {
            region,
            reporter,
            control,
            admission: Arc::new(Admission::new(&config.limits, limits.clone())),
            limits,
            metrics: workers.iter().map(|_| Arc::default()).collect(),
            latency: PublishLatency::default(),
            started,
            draining: watch::Sender::new(false),
            stop: watch::Sender::new(false),
            config,
            ports,
            workers,
            webtransport,
        };
        (shared, Loose { changes, notices, reports })
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
        limits.connections_per_address > 0
            || limits.address_handshakes.is_some()
            || self.limits.is_set(Limit::Handshakes)
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
