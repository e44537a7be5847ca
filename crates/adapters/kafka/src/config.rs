//! What an operator may set about the log on Kafka. Checked by [`KafkaConfig::check`] before anything is contacted.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use crate::error::KafkaError;

/// The settings of a log. Everything but `brokers` and `cell` has a default that suits a cluster of three.
#[derive(Debug, Clone)]
pub struct KafkaConfig {
    /// Where to begin, `host:port` each; the other brokers are learned from these.
    pub brokers: Vec<String>,
    /// The cell whose log this is: topic `skywave.log.<cell>`.
    pub cell: String,
    /// How many partitions the topic has. Fixed for the life of a cell: a topic with another number is refused.
    pub partitions: u32,
    /// Copies of each record, and how many of them must have it before it counts. For a topic that is made here.
    pub replication: u16,
    pub min_insync: u16,
    pub security: Security,
    /// Largest record, in bytes. The topic's `max.message.bytes` must be larger by 48,000.
    pub record_bytes: usize,
    /// Appends that wait for Kafka, by number and by bytes, over all partitions. Beyond either they are refused.
    pub queue_records: usize,
    pub queue_bytes: usize,
    /// Connections to each broker that appends are spread over, by partition. A broker serves one request of a connection at
    /// a time, and a request appends to one partition: the partitions of one leader that share a connection take turns.
    pub connections: u32,
    /// How long an append waits for more of them before it is sent, beyond waiting for its turn. Zero sends it at once when
    /// nothing is under way on its connection.
    pub linger: Duration,
    /// An append that is not acknowledged by then is answered as *unknown*. It may still be appended.
    pub append_timeout: Duration,
    /// A partition that has acknowledged nothing for this long while appends wait takes no more of them: they are
    /// refused at once, until one of the waiting is acknowledged.
    pub stall_after: Duration,
    /// Waiting appends of a partition that has acknowledged nothing for this long are given up: they will not be sent
    /// any more.
    pub abandon_after: Duration,
    /// Memory for records that were fetched and not yet read, in bytes, for each reader.
    pub prefetch_bytes: usize,
    /// How long a member of a group may be silent before its partitions go to the others. The brokers'
    /// `group.min.session.timeout.ms` must not be larger.
    pub session_timeout: Duration,
    pub heartbeat_interval: Duration,
    /// How long a member that was cut off from its group goes on to own what it owned, unless it learns better. Keeps a
    /// restart of a broker from moving every partition.
    pub grace: Duration,
    /// How long [`crate::KafkaLog::connect`] tries.
    pub start_timeout: Duration,
    /// How long one request may take.
    pub request_timeout: Duration,
    /// How often each client asks anew where topics and leaders are. One that asked while a broker was coming back may have
    /// been told that there is no such topic, or no leader; that is forgotten after so long at the latest.
    pub metadata_refresh: Duration,
}

/// What a record's key and its envelope may add to its value, in bytes.
pub(crate) const ROOM: usize = 48_000;

impl Default for KafkaConfig {
    fn default() -> Self {
        Self {
            brokers: vec!["127.0.0.1:9092".into()],
            cell: "main".into(),
            partitions: 8,
            replication: 3,
            min_insync: 2,
            security: Security::default(),
            // With its room just what a topic takes that was made with Kafka's own defaults.
            record_bytes: 1_000_000,
            queue_records: 32_768,
            queue_bytes: 64 * 1024 * 1024,
            connections: 2,
            linger: Duration::ZERO,
            // Less than an edge waits for its answer.
            append_timeout: Duration::from_secs(4),
            stall_after: Duration::from_secs(2),
            abandon_after: Duration::from_secs(15),
            prefetch_bytes: 4 * 1024 * 1024,
            session_timeout: Duration::from_secs(2),
            heartbeat_interval: Duration::from_millis(300),
            grace: Duration::from_secs(5),
            start_timeout: Duration::from_secs(15),
            request_timeout: Duration::from_secs(3),
            metadata_refresh: Duration::from_secs(5),
        }
    }
}

/// How brokers are spoken to.
#[derive(Debug, Clone, Default)]
pub struct Security {
    /// `None`: unencrypted. Needs the crate's feature `tls`.
    pub tls: Option<Tls>,
    /// `None`: without a name.
    pub sasl: Option<Sasl>,
}

#[derive(Debug, Clone, Default)]
pub struct Tls {
    /// Certificates to trust, a PEM file. `None`: those of the system.
    pub ca: Option<PathBuf>,
    /// The client's own certificate and key, PEM files, for brokers that ask for one.
    pub certificate: Option<PathBuf>,
    pub key: Option<PathBuf>,
}

#[derive(Debug, Clone)]
pub struct Sasl {
    pub mechanism: Mechanism,
    pub user: String,
    pub password: Password,
}

/// SCRAM needs the crate's feature `tls`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mechanism {
    Plain,
    ScramSha256,
    ScramSha512,
}

impl Mechanism {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::ScramSha512 => "SCRAM-SHA-512",
        }
    }
}

/// Never shown.
#[derive(Clone)]
pub struct Password(pub String);

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(hidden)")
    }
}

impl KafkaConfig {
    /// Refuses settings that cannot work, naming the field.
    pub fn check(&self) -> Result<(), KafkaError> {
        let must = |field, must| Err(KafkaError::Config { field, must });
        if self.brokers.is_empty() || self.brokers.iter().any(|broker| !is_address(broker)) {
            return must("brokers", "one or more of host:port");
        }
        if self.cell.is_empty()
            || !self.cell.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
        {
            return must("cell", "of letters, digits, `-` and `_`");
        }
        if !(1..=10_000).contains(&self.partitions) {
            return must("partitions", "between 1 and 10000");
        }
        if self.min_insync == 0 || self.min_insync > self.replication {
            return must("min_insync", "between 1 and kafka.replication");
        }
        // The client library's bounds, less our room.
        if !(1_000..=900_000_000).contains(&self.record_bytes) {
            return must("record_bytes", "between 1000 and 900000000");
        }
        if self.queue_records == 0 || self.queue_records > 10_000_000 {
            return must("queue_records", "between 1 and 10000000");
        }
        if self.queue_bytes < self.record_bytes {
            return must("queue_bytes", "at least kafka.record_bytes");
        }
        if !(1..=64).contains(&self.connections) {
            return must("connections", "between 1 and 64");
        }
        if self.linger > Duration::from_secs(1) {
            return must("linger", "at most a second");
        }
        let order = [self.stall_after, self.append_timeout, self.abandon_after];
        if self.stall_after < Duration::from_millis(100) || !order.is_sorted() {
            return must(
                "stall_after",
                "at least 100 ms, at most append_timeout, and that at most abandon_after",
            );
        }
        if self.prefetch_bytes < 1024 {
            return must("prefetch_bytes", "at least 1024");
        }
        if self.heartbeat_interval.is_zero() || self.session_timeout < self.heartbeat_interval * 3 {
            return must("session_timeout", "at least three times kafka.heartbeat_interval");
        }
        if self.request_timeout < Duration::from_millis(100) || self.start_timeout < self.request_timeout {
            return must("start_timeout", "at least kafka.request_timeout, and that at least 100 ms");
        }
        self.security.check()
    }

    pub(crate) fn topic(&self) -> String {
        format!("skywave.log.{}", self.cell)
    }

    /// The name of a consumer group of this cell.
    pub(crate) fn group(&self, name: &str) -> String {
        format!("skywave.{}.{name}", self.cell)
    }

    /// How many producers appends are spread over: no more than there are partitions.
    pub(crate) fn producers(&self) -> u32 {
        self.connections.min(self.partitions)
    }

    /// What the topic must take in one message.
    pub(crate) fn message_bytes(&self) -> usize {
        self.record_bytes + ROOM
    }
}

impl Security {
    fn check(&self) -> Result<(), KafkaError> {
        let scram = self.sasl.as_ref().is_some_and(|sasl| sasl.mechanism != Mechanism::Plain);
        if (self.tls.is_some() || scram) && cfg!(not(feature = "tls")) {
            return Err(KafkaError::NoTls);
        }
        if self.tls.as_ref().is_some_and(|tls| tls.certificate.is_some() != tls.key.is_some()) {
            return Err(KafkaError::Config {
                field: "security.tls",
                must: "given a certificate and its key, or neither",
            });
        }
        Ok(())
    }
}

fn is_address(broker: &str) -> bool {
    broker.rsplit_once(':').is_some_and(|(host, port)| {
        !host.is_empty() && !host.contains(',') && port.parse::<u16>().is_ok_and(|port| port > 0)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_in_order() {
        assert_eq!(KafkaConfig::default().check(), Ok(()));
    }

    #[test]
    fn what_cannot_work_is_named() {
        let field = |change: fn(&mut KafkaConfig)| {
            let mut config = KafkaConfig::default();
            change(&mut config);
            match config.check() {
                Err(KafkaError::Config { field, .. }) => field,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(field(|config| config.brokers.clear()), "brokers");
        assert_eq!(field(|config| config.brokers = vec!["kafka".into()]), "brokers");
        assert_eq!(field(|config| config.brokers = vec!["a:1,b:2".into()]), "brokers");
        assert_eq!(field(|config| config.cell = "a b".into()), "cell");
        assert_eq!(field(|config| config.partitions = 0), "partitions");
        assert_eq!(field(|config| config.min_insync = 4), "min_insync");
        assert_eq!(field(|config| config.connections = 0), "connections");
        assert_eq!(field(|config| config.queue_bytes = 10), "queue_bytes");
        assert_eq!(field(|config| config.abandon_after = Duration::from_secs(1)), "stall_after");
        assert_eq!(field(|config| config.session_timeout = Duration::from_millis(800)), "session_timeout");
        assert_eq!(field(|config| config.start_timeout = Duration::ZERO), "start_timeout");
        let tls = |config: &mut KafkaConfig| {
            let certificate = Some("client.pem".into());
            config.security.tls = Some(Tls { certificate, ..Tls::default() });
        };
        if cfg!(feature = "tls") {
            assert_eq!(field(tls), "security.tls");
        }
    }

    #[test]
    fn a_password_is_not_shown() {
        let sasl =
            Sasl { mechanism: Mechanism::Plain, user: "me".into(), password: Password("secret".into()) };
        assert!(!format!("{sasl:?}").contains("secret"));
    }
}
