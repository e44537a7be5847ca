//! What an edge counts. Each worker has counters of its own, which only its thread writes; a scrape adds them up.
//!
//! Owns: names and meaning of the edge's metrics. Never: locks or allocates on the hot path.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::family::MetricConstructor;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::histogram::Histogram;

use crate::transport::Transport;

/// A number written by one thread only: adding needs no locked instruction.
#[derive(Debug, Default)]
pub(crate) struct Count(AtomicU64);

impl Count {
    pub(crate) fn add(&self, n: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
    }

    pub(crate) fn sub(&self, n: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_sub(n), Ordering::Relaxed);
    }

    pub(crate) fn set(&self, n: u64) {
        self.0.store(n, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Why a connection was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub(crate) enum Refused {
    ServerFull,
    AddressFull,
    Rate,
    AddressRate,
    Draining,
    Handshake,
    Origin,
    Head,
    Tls,
}

impl Refused {
    pub(crate) const ALL: [(Self, &'static str); 9] = [
        (Self::ServerFull, "server_full"),
        (Self::AddressFull, "address_full"),
        (Self::Rate, "rate"),
        (Self::AddressRate, "address_rate"),
        (Self::Draining, "draining"),
        (Self::Handshake, "handshake"),
        (Self::Origin, "origin"),
        (Self::Head, "head"),
        (Self::Tls, "tls"),
    ];
}

/// One worker's numbers.
#[derive(Debug, Default)]
pub(crate) struct WorkerMetrics {
    /// Open connections, by transport.
    pub(crate) connections: [Count; Transport::ALL.len()],
    pub(crate) accepted: Count,
    /// Sessions opened, by transport.
    pub(crate) opened: [Count; Transport::ALL.len()],
    pub(crate) refused: [Count; Refused::ALL.len()],
    pub(crate) messages_in: Count,
    pub(crate) bytes_in: Count,
    pub(crate) bytes_out: Count,
    /// Publications (and gaps, joins, leaves) handed to subscribers.
    pub(crate) deliveries: Count,
    /// Rounds of the delivery loop, and hand-overs in them: their quotient is the batch size.
    pub(crate) rounds: Count,
    pub(crate) hand_overs: Count,
    /// Writes to sockets, and frames in them.
    pub(crate) writes: Count,
    pub(crate) frames: Count,
    /// Connections whose socket refused and that have something queued.
    pub(crate) blocked: Count,
    /// Ephemeral publications dropped for slow clients.
    pub(crate) dropped_frames: Count,
    /// Connections closed because their outbox was full.
    pub(crate) slow: Count,
    pub(crate) subscriptions: Count,
    /// Those among them that are given their past page by page.
    pub(crate) catching_up: Count,
    pub(crate) publishes: Count,
    pub(crate) publish_errors: Count,
    /// Ephemeral publications that also went out as JSON, and those that the bus did not take.
    pub(crate) live_json: Count,
    pub(crate) live_json_refused: Count,
    /// Requests to core that await an answer.
    pub(crate) core_pending: Count,
    pub(crate) core_timeouts: Count,
    pub(crate) core_resends: Count,
    /// Cores of the cell that this worker knows.
    pub(crate) cores: Count,
    /// Channels the hub shard holds an interest in.
    pub(crate) hub_channels: Count,
    pub(crate) fetches: Count,
    /// Pages of the past: found in what the region shares, not found there, put there, and left out for its bounds.
    pub(crate) copies_served: Count,
    pub(crate) copies_missed: Count,
    pub(crate) copies_kept: Count,
    pub(crate) copies_left: Count,
    pub(crate) gaps: Count,
    pub(crate) bus_dropped: Count,
    /// News of who is present that the bus did not take.
    pub(crate) presence_refused: Count,
    /// Connections lost to a failed task: always a defect.
    pub(crate) failures: Count,
}

impl WorkerMetrics {
    pub(crate) fn refuse(&self, reason: Refused) {
        self.refused[reason as usize].add(1);
    }
}

/// Seconds from a durable publish to its acknowledgement, over all workers.
#[derive(Debug, Clone)]
pub(crate) struct PublishLatency(pub(crate) Histogram);

impl Default for PublishLatency {
    fn default() -> Self {
        const BUCKETS: [f64; 12] = [0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 5.0];
        Self(Histogram::new(BUCKETS))
    }
}

impl MetricConstructor<Histogram> for PublishLatency {
    fn new_metric(&self) -> Histogram {
        Self::default().0
    }
}

/// Adds the workers up at a scrape.
#[derive(Debug)]
pub(crate) struct EdgeCollector {
    pub(crate) workers: Vec<Arc<WorkerMetrics>>,
    pub(crate) latency: PublishLatency,
}

type Read = fn(&WorkerMetrics) -> &Count;

const COUNTERS: &[(&str, &str, Read)] = &[
    ("skywave_edge_accepted", "TCP connections accepted", |m| &m.accepted),
    ("skywave_edge_messages_in", "Messages received from clients", |m| &m.messages_in),
    ("skywave_edge_bytes_in", "Bytes received from clients, before decryption and inflation", |m| {
        &m.bytes_in
    }),
    ("skywave_edge_bytes_out", "Bytes handed to sockets and streams", |m| &m.bytes_out),
    ("skywave_edge_deliveries", "Publications handed to subscribers", |m| &m.deliveries),
    ("skywave_edge_delivery_rounds", "Rounds of the delivery loop", |m| &m.rounds),
    ("skywave_edge_hand_overs", "Publications handed to workers", |m| &m.hand_overs),
    ("skywave_edge_writes", "Writes to sockets", |m| &m.writes),
    ("skywave_edge_frames_out", "Frames in those writes", |m| &m.frames),
    ("skywave_edge_dropped_frames", "Ephemeral publications dropped for slow clients", |m| &m.dropped_frames),
    ("skywave_edge_slow_disconnects", "Connections closed because they did not read", |m| &m.slow),
    ("skywave_edge_publishes", "Publishes accepted from clients", |m| &m.publishes),
    ("skywave_edge_publish_errors", "Publishes answered with an error by core or bus", |m| &m.publish_errors),
    ("skywave_edge_core_timeouts", "Requests to core without an answer in time", |m| &m.core_timeouts),
    ("skywave_edge_live_json", "Ephemeral publications that also went out as JSON, for backends", |m| {
        &m.live_json
    }),
    ("skywave_edge_live_json_refused", "Those among them that the bus did not take", |m| {
        &m.live_json_refused
    }),
    (
        "skywave_edge_core_resends",
        "Requests sent again: their core fell silent or left, the bus lost them, or nothing answered",
        |m| &m.core_resends,
    ),
    ("skywave_edge_fetches", "Range reads by the hub", |m| &m.fetches),
    ("skywave_edge_history_cache_hits", "Those that the region's shared state served", |m| &m.copies_served),
    ("skywave_edge_history_cache_misses", "Those that were looked for there in vain", |m| &m.copies_missed),
    ("skywave_edge_history_cache_kept", "Blocks of history put there", |m| &m.copies_kept),
    ("skywave_edge_history_cache_left", "Blocks of history not put there: too large, or too many", |m| {
        &m.copies_left
    }),
    ("skywave_edge_gaps", "Gaps announced to subscribers", |m| &m.gaps),
    ("skywave_edge_bus_dropped", "Bus messages dropped by a full inbox", |m| &m.bus_dropped),
    ("skywave_edge_presence_refused", "News of who is present that the bus did not take", |m| {
        &m.presence_refused
    }),
    ("skywave_edge_task_failures", "Connections lost to a failed task", |m| &m.failures),
];

const GAUGES: &[(&str, &str, Read)] = &[
    ("skywave_edge_subscriptions", "Subscriptions of connected clients", |m| &m.subscriptions),
    ("skywave_edge_catching_up", "Subscriptions that are given what they missed page by page", |m| {
        &m.catching_up
    }),
    ("skywave_edge_blocked_connections", "Connections whose socket takes nothing more for now", |m| {
        &m.blocked
    }),
    ("skywave_edge_cores", "Cores that take publishes, as the workers have heard, times the workers", |m| {
        &m.cores
    }),
    ("skywave_edge_core_pending", "Requests to core that await an answer", |m| &m.core_pending),
    ("skywave_edge_hub_channels", "Channels with an interest on the bus", |m| &m.hub_channels),
];

impl Collector for EdgeCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let sum = |read: &dyn Fn(&WorkerMetrics) -> u64| self.workers.iter().map(|m| read(m)).sum::<u64>();
        for (name, help, read) in COUNTERS {
            let counter = ConstCounter::new(sum(&|m| read(m).get()));
            counter.encode(encoder.encode_descriptor(name, help, None, counter.metric_type())?)?;
        }
        for (name, help, read) in GAUGES {
            let gauge = ConstGauge::new(sum(&|m| read(m).get()) as i64);
            gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)?;
        }
        let gauge = ConstGauge::new(0i64);
        let mut family = encoder.encode_descriptor(
            "skywave_edge_connections",
            "Open connections by transport",
            None,
            gauge.metric_type(),
        )?;
        for transport in Transport::ALL {
            let open = ConstGauge::new(sum(&|m| m.connections[transport as usize].get()) as i64);
            open.encode(family.encode_family(&[("transport", transport.name())])?)?;
        }
        let counter = ConstCounter::new(0u64);
        let mut family = encoder.encode_descriptor(
            "skywave_edge_handshakes",
            "Connections taken by transport",
            None,
            counter.metric_type(),
        )?;
        for transport in Transport::ALL {
            let opened = ConstCounter::new(sum(&|m| m.opened[transport as usize].get()));
            opened.encode(family.encode_family(&[("transport", transport.name())])?)?;
        }
        let mut family = encoder.encode_descriptor(
            "skywave_edge_refused",
            "Connections refused by reason",
            None,
            counter.metric_type(),
        )?;
        for (reason, name) in Refused::ALL {
            let refused = ConstCounter::new(sum(&|m| m.refused[reason as usize].get()));
            refused.encode(family.encode_family(&[("reason", name)])?)?;
        }
        let latency = &self.latency.0;
        latency.encode(encoder.encode_descriptor(
            "skywave_edge_publish_seconds",
            "From a durable publish to its acknowledgement",
            None,
            latency.metric_type(),
        )?)
    }
}
