//! Settings as the edge takes them: units in the names become durations and rates.

use std::time::Duration;

use skywave_edge::{
    Compression, EdgeConfig, EdgeLimits, EdgeTiming, EventsConfig, HistoryCache, ListenerConfig,
    PlacementConfig,
};
use skywave_engine::Rate;
use skywave_protocol::NodeId;

use super::{CompressionSettings, DEFAULT_NAMESPACE, LimitSettings, Settings, TimingSettings};

impl Settings {
    /// The edge's configuration for a process with this id.
    pub(crate) fn edge(&self, node: NodeId) -> EdgeConfig {
        let plain = ListenerConfig { address: self.edge.listen, tls: false };
        let secure = self.edge.tls_listen.map(|address| ListenerConfig { address, tls: true });
        EdgeConfig {
            region: self.node.region.clone(),
            cell: self.node.cell.clone(),
            workers: self.edge.workers,
            listeners: [plain].into_iter().chain(secure).collect(),
            webtransport: self.webtransport_address(),
            namespaces: self.namespaces_by_prefix(),
            drain_target: self.edge.drain_target.clone(),
            placement: self.edge.advertise.as_ref().map(|url| PlacementConfig {
                url: url.clone(),
                redirect: self.edge.redirect,
                moves_per_second: self.edge.moves_per_second,
                beat: Duration::from_secs(self.timing.node_beat_seconds),
                lease: Duration::from_secs(self.timing.node_lease_seconds),
                settle: Duration::from_secs(self.timing.node_settle_seconds),
            }),
            events: EventsConfig { activity: self.events.activity, system: self.events.system },
            history_cache: self.history_cache(),
            limits: self.limits.as_edge(),
            timing: self.timing.as_edge(),
            compression: Compression {
                enabled: self.compression.enabled,
                threshold: self.compression.threshold_bytes,
            },
            ..EdgeConfig::new(node, self.edge.listen)
        }
    }

    /// Either bound at zero turns it off.
    fn history_cache(&self) -> Option<HistoryCache> {
        let (bytes, seconds) = (self.limits.history_cache_bytes, self.timing.history_cache_seconds);
        (bytes > 0 && seconds > 0).then(|| HistoryCache { bytes, lifetime: Duration::from_secs(seconds) })
    }

    /// UDP port of the same number as the TLS listener's, or else as the plain one's.
    pub(crate) fn webtransport_address(&self) -> Option<std::net::SocketAddr> {
        self.edge.webtransport.then(|| self.edge.tls_listen.unwrap_or(self.edge.listen))
    }

    /// Namespaces as channel names begin with them: the default one under `""`.
    pub(crate) fn namespaces_by_prefix(
        &self,
    ) -> std::collections::BTreeMap<String, skywave_protocol::NamespaceOptions> {
        let prefix = |name: &String| if name == DEFAULT_NAMESPACE { String::new() } else { name.clone() };
        self.namespaces.iter().map(|(name, options)| (prefix(name), options.clone())).collect()
    }
}

/// Publishes a second that `dev` lets one connection make: enough for a file to be piped through.
const DEV_PUBLISHES: u32 = 100_000;

impl Default for LimitSettings {
    fn default() -> Self {
        let edge = EdgeLimits::default();
        let per_second = |rate: Option<Rate>| rate.map_or((0, 0), |rate| (rate.per_minute / 60, rate.burst));
        let (handshakes_per_second, handshake_burst) = per_second(edge.handshakes);
        let (address_handshakes_per_second, address_handshake_burst) = per_second(edge.address_handshakes);
        let (requests_per_second, request_burst) = per_second(Some(edge.requests));
        let per_minute = |rate: Option<Rate>| rate.map_or((0, 0), |rate| (rate.per_minute, rate.burst));
        let (user_publishes_per_minute, user_publish_burst) = per_minute(edge.user_publishes);
        let (http_requests_per_minute, http_request_burst) = per_minute(edge.http_requests);
        let (region_address_handshakes_per_minute, region_address_handshake_burst) =
            per_minute(edge.region_address_handshakes);
        Self {
            connections: edge.connections,
            connections_per_address: edge.connections_per_address,
            handshakes_per_second,
            handshake_burst,
            address_handshakes_per_second,
            address_handshake_burst,
            head_bytes: edge.head_bytes,
            message_bytes: edge.message_bytes,
            subscriptions: edge.subscriptions,
            outbox_bytes: edge.outbox_bytes,
            publishes_per_second: DEV_PUBLISHES,
            publish_burst: DEV_PUBLISHES,
            requests_per_second,
            request_burst,
            user_publishes_per_minute,
            user_publish_burst,
            http_requests_per_minute,
            http_request_burst,
            region_address_handshakes_per_minute,
            region_address_handshake_burst,
            pending_requests: 1_024,
            core_requests: edge.core_requests,
            queue: edge.queue,
            history_cache_bytes: 64 * 1024 * 1024,
        }
    }
}

impl LimitSettings {
    fn as_edge(&self) -> EdgeLimits {
        // Without a burst of its own, a rate allows what it allows in a second at once.
        let limited = |per_second: u32, burst: u32| {
            (per_second > 0).then(|| Rate::per_second(per_second, if burst > 0 { burst } else { per_second }))
        };
        let regional = |per_minute: u32, burst: u32| {
            let burst = if burst > 0 { burst } else { per_minute };
            (per_minute > 0).then(|| Rate::per_minute(per_minute, burst))
        };
        EdgeLimits {
            connections: self.connections,
            connections_per_address: self.connections_per_address,
            handshakes: limited(self.handshakes_per_second, self.handshake_burst),
            address_handshakes: limited(self.address_handshakes_per_second, self.address_handshake_burst),
            head_bytes: self.head_bytes,
            message_bytes: self.message_bytes,
            subscriptions: self.subscriptions,
            outbox_bytes: self.outbox_bytes,
            publishes: Rate::per_second(self.publishes_per_second, self.publish_burst),
            requests: Rate::per_second(self.requests_per_second, self.request_burst),
            user_publishes: regional(self.user_publishes_per_minute, self.user_publish_burst),
            http_requests: regional(self.http_requests_per_minute, self.http_request_burst),
            region_address_handshakes: regional(
                self.region_address_handshakes_per_minute,
                self.region_address_handshake_burst,
            ),
            pending_requests: self.pending_requests,
            core_requests: self.core_requests,
            queue: self.queue,
        }
    }
}

impl Default for TimingSettings {
    fn default() -> Self {
        let edge = EdgeTiming::default();
        let place = PlacementConfig::new("");
        Self {
            ping_seconds: edge.ping.as_secs(),
            pong_seconds: edge.pong.as_secs(),
            head_seconds: edge.head.as_secs(),
            connect_seconds: edge.connect.as_secs(),
            close_seconds: edge.close.as_secs(),
            core_seconds: edge.core.as_secs(),
            interest_linger_seconds: edge.interest_linger.as_secs(),
            presence_beat_seconds: edge.presence_beat.as_secs(),
            presence_lease_seconds: edge.presence_lease.as_secs(),
            node_beat_seconds: place.beat.as_secs(),
            node_lease_seconds: place.lease.as_secs(),
            node_settle_seconds: place.settle.as_secs(),
            expiry_warning_seconds: edge.expiry_warning.as_secs(),
            history_cache_seconds: 600,
            // Somebody at a keyboard waits for it.
            drain_seconds: 3,
        }
    }
}

impl TimingSettings {
    fn as_edge(&self) -> EdgeTiming {
        let seconds = Duration::from_secs;
        EdgeTiming {
            ping: seconds(self.ping_seconds),
            pong: seconds(self.pong_seconds),
            head: seconds(self.head_seconds),
            connect: seconds(self.connect_seconds),
            close: seconds(self.close_seconds),
            core: seconds(self.core_seconds),
            interest_linger: seconds(self.interest_linger_seconds),
            presence_beat: seconds(self.presence_beat_seconds),
            presence_lease: seconds(self.presence_lease_seconds),
            presence_listen: EdgeTiming::default().presence_listen,
            expiry_warning: seconds(self.expiry_warning_seconds),
            drain: seconds(self.drain_seconds),
        }
    }
}

impl Default for CompressionSettings {
    fn default() -> Self {
        let edge = Compression::default();
        Self { enabled: edge.enabled, threshold_bytes: edge.threshold }
    }
}
