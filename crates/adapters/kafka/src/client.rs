//! What all clients of the library share: settings, and an ear for what they report.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use rdkafka::ClientConfig;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::{KafkaError as ClientError, RDKafkaErrorCode};
use rdkafka::statistics::Statistics;

use crate::config::{KafkaConfig, Security};
use crate::metrics::{BrokerLabel, ClientLabel, KafkaMetrics, PartitionLabel};

/// How often a client reports the state of its connections.
const STATISTICS_EVERY: Duration = Duration::from_secs(5);

/// The settings of a client that plays `role`.
pub(crate) fn settings(config: &KafkaConfig, role: &str) -> ClientConfig {
    let mut settings = ClientConfig::new();
    settings
        .set("bootstrap.servers", config.brokers.join(","))
        .set("client.id", format!("skywave-{role}"))
        .set("socket.nagle.disable", "true")
        .set("socket.keepalive.enable", "true")
        // Also how long a frozen broker holds up what was sent to it.
        .set("socket.timeout.ms", millis(config.request_timeout))
        .set("socket.connection.setup.timeout.ms", millis(config.request_timeout.max(Duration::from_secs(1))))
        // A broker that comes back is found at once; one that is away costs a few attempts a second.
        .set("reconnect.backoff.ms", "20")
        .set("reconnect.backoff.max.ms", "500")
        .set("retry.backoff.ms", "20")
        .set("retry.backoff.max.ms", "500")
        .set("topic.metadata.refresh.interval.ms", millis(config.metadata_refresh))
        // A topic that was taken for gone is not believed in again for so long, by default for half a minute.
        .set("topic.metadata.propagation.max.ms", "1000")
        .set("statistics.interval.ms", millis(STATISTICS_EVERY))
        .set("log.connection.close", "false")
        .set_log_level(RDKafkaLogLevel::Notice);
    secure(&mut settings, &config.security);
    settings
}

fn secure(settings: &mut ClientConfig, security: &Security) {
    let protocol = match (&security.tls, &security.sasl) {
        (None, None) => "plaintext",
        (Some(_), None) => "ssl",
        (None, Some(_)) => "sasl_plaintext",
        (Some(_), Some(_)) => "sasl_ssl",
    };
    settings.set("security.protocol", protocol);
    if let Some(tls) = &security.tls {
        let files = [
            ("ssl.ca.location", &tls.ca),
            ("ssl.certificate.location", &tls.certificate),
            ("ssl.key.location", &tls.key),
        ];
        for (key, file) in files {
            if let Some(file) = file {
                settings.set(key, file.display().to_string());
            }
        }
    }
    if let Some(sasl) = &security.sasl {
        settings
            .set("sasl.mechanism", sasl.mechanism.name())
            .set("sasl.username", &sasl.user)
            .set("sasl.password", &sasl.password.0);
    }
}

pub(crate) fn millis(duration: Duration) -> String {
    duration.as_millis().to_string()
}

/// Kafka's own word that it has not taken the record.
pub(crate) fn is_refusal(code: Option<RDKafkaErrorCode>) -> bool {
    use RDKafkaErrorCode as Code;
    matches!(
        code,
        Some(
            Code::MessageSizeTooLarge
                | Code::TopicAuthorizationFailed
                | Code::ClusterAuthorizationFailed
                | Code::PolicyViolation
        )
    )
}

/// The library has lost sight of the topic or of a partition's leader. That passes, unless the topic is gone: while a broker
/// comes back it may say so of topics that it has.
pub(crate) fn is_out_of_sight(code: Option<RDKafkaErrorCode>) -> bool {
    use RDKafkaErrorCode as Code;
    matches!(code, Some(Code::UnknownTopic | Code::UnknownTopicOrPartition | Code::UnknownPartition))
}

/// What a client has complained of last, for those who report a failure.
#[derive(Default)]
pub(crate) struct Complaint {
    last: Mutex<Option<String>>,
    /// It was about who we are: trying again will not help.
    credentials: AtomicBool,
}

impl Complaint {
    pub(crate) fn last(&self) -> Option<String> {
        self.last.lock().clone()
    }

    pub(crate) fn is_about_credentials(&self) -> bool {
        self.credentials.load(Ordering::Relaxed)
    }
}

/// Hears what a client reports.
pub(crate) struct Ear {
    role: String,
    metrics: KafkaMetrics,
    complaint: Arc<Complaint>,
    /// No broker can be reached; said once.
    cut_off: AtomicBool,
    /// Where readers of this client stand: what is left for them to read is reported.
    positions: Option<Arc<dyn Positions>>,
    /// The group whose lag is reported, if this is a client that consumes events in one.
    group: Option<String>,
}

/// Where the readers of a client stand.
pub(crate) trait Positions: Send + Sync {
    /// The next position of the partition's reader, if it has one.
    fn next(&self, partition: i32) -> Option<i64>;
}

impl Ear {
    pub(crate) fn new(role: &str, metrics: KafkaMetrics) -> Self {
        Self {
            role: role.to_owned(),
            metrics,
            complaint: Arc::default(),
            cut_off: AtomicBool::new(false),
            positions: None,
            group: None,
        }
    }

    /// Of a member of a group that consumes events.
    pub(crate) fn of_group(role: &str, group: &str, metrics: KafkaMetrics) -> Self {
        Self { group: Some(group.to_owned()), ..Self::new(role, metrics) }
    }

    pub(crate) fn with_positions(mut self, positions: Arc<dyn Positions>) -> Self {
        self.positions = Some(positions);
        self
    }

    pub(crate) fn complaint(&self) -> Arc<Complaint> {
        Arc::clone(&self.complaint)
    }
}

impl ClientContext for Ear {
    /// Everything that matters comes as an error or as statistics too.
    fn log(&self, _level: RDKafkaLogLevel, _facility: &str, line: &str) {
        tracing::debug!(client = %self.role, "{line}");
    }

    fn error(&self, error: ClientError, reason: &str) {
        let label = ClientLabel { client: self.role.clone() };
        self.metrics.client_errors.get_or_create(&label).inc();
        match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::AllBrokersDown) => {
                if !self.cut_off.swap(true, Ordering::Relaxed) {
                    let last = self.complaint.last().unwrap_or_default();
                    tracing::warn!(client = %self.role, %last, "no Kafka broker can be reached; trying on");
                }
                return;
            }
            Some(RDKafkaErrorCode::Authentication | RDKafkaErrorCode::SaslAuthenticationFailed) => {
                self.complaint.credentials.store(true, Ordering::Relaxed);
            }
            _ => {}
        }
        tracing::debug!(client = %self.role, %error, reason, "a Kafka client met an error");
        *self.complaint.last.lock() = Some(reason.to_owned());
    }

    fn stats(&self, statistics: Statistics) {
        let mut connected = false;
        for broker in statistics.brokers.values().filter(|broker| broker.nodeid >= 0) {
            let up = broker.state == "UP";
            connected |= up;
            let label = BrokerLabel { client: self.role.clone(), broker: broker.nodeid };
            self.metrics.broker_up.get_or_create(&label).set(up.into());
        }
        if connected && self.cut_off.swap(false, Ordering::Relaxed) {
            tracing::info!(client = %self.role, "Kafka can be reached again");
        }
        if let Some(group) = &self.group {
            self.metrics.consumer_lag(group, &statistics);
        }
        let Some(positions) = &self.positions else { return };
        for partition in statistics.topics.values().flat_map(|topic| topic.partitions.values()) {
            if let Some(next) = positions.next(partition.partition)
                && partition.hi_offset >= 0
            {
                let label = PartitionLabel { partition: partition.partition.cast_unsigned() };
                self.metrics.reader_lag.get_or_create(&label).set((partition.hi_offset - next).max(0));
            }
        }
    }
}

impl ConsumerContext for Ear {}
