//! `[kafka]`: the log of a cell, and its translation into what the adapter takes.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use skywave_kafka::{KafkaConfig, KafkaError, Mechanism, Password, Sasl, Security, Tls};
use skywave_runtime::config::Secret;

use super::secret::SecretSetting;
use super::{Problem, Settings};

/// Field by field in `docs/configuration.md`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct KafkaSettings {
    pub(crate) brokers: Vec<String>,
    pub(crate) partitions: u32,
    pub(crate) replication: u16,
    pub(crate) min_insync: u16,
    pub(crate) tls: bool,
    pub(crate) ca_file: Option<PathBuf>,
    pub(crate) certificate_file: Option<PathBuf>,
    pub(crate) key_file: Option<PathBuf>,
    pub(crate) sasl: Option<SaslMechanism>,
    pub(crate) user: Option<String>,
    pub(crate) password: Option<Secret>,
    pub(crate) password_file: Option<PathBuf>,
    pub(crate) record_bytes: usize,
    pub(crate) queue_records: usize,
    pub(crate) queue_bytes: usize,
    pub(crate) connections: u32,
    pub(crate) linger_ms: u64,
    pub(crate) append_timeout_ms: u64,
    pub(crate) stall_after_ms: u64,
    pub(crate) abandon_after_ms: u64,
    pub(crate) prefetch_bytes: usize,
    pub(crate) session_timeout_ms: u64,
    pub(crate) heartbeat_interval_ms: u64,
    pub(crate) grace_ms: u64,
    pub(crate) request_timeout_ms: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum SaslMechanism {
    #[serde(rename = "PLAIN")]
    Plain,
    #[serde(rename = "SCRAM-SHA-256")]
    ScramSha256,
    #[serde(rename = "SCRAM-SHA-512")]
    ScramSha512,
}

impl Default for KafkaSettings {
    fn default() -> Self {
        let kafka = KafkaConfig::default();
        let ms = |duration: Duration| duration.as_millis() as u64;
        Self {
            brokers: kafka.brokers,
            partitions: kafka.partitions,
            replication: kafka.replication,
            min_insync: kafka.min_insync,
            tls: false,
            ca_file: None,
            certificate_file: None,
            key_file: None,
            sasl: None,
            user: None,
            password: None,
            password_file: None,
            record_bytes: kafka.record_bytes,
            queue_records: kafka.queue_records,
            queue_bytes: kafka.queue_bytes,
            connections: kafka.connections,
            linger_ms: ms(kafka.linger),
            append_timeout_ms: ms(kafka.append_timeout),
            stall_after_ms: ms(kafka.stall_after),
            abandon_after_ms: ms(kafka.abandon_after),
            prefetch_bytes: kafka.prefetch_bytes,
            session_timeout_ms: ms(kafka.session_timeout),
            heartbeat_interval_ms: ms(kafka.heartbeat_interval),
            grace_ms: ms(kafka.grace),
            request_timeout_ms: ms(kafka.request_timeout),
        }
    }
}

impl Settings {
    /// The log as the adapter takes it, checked.
    pub(crate) fn kafka(&self) -> Result<KafkaConfig, Problem> {
        let kafka = &self.kafka;
        let ms = Duration::from_millis;
        let config = KafkaConfig {
            brokers: kafka.brokers.clone(),
            cell: self.node.cell.clone(),
            partitions: kafka.partitions,
            replication: kafka.replication,
            min_insync: kafka.min_insync,
            security: Security { tls: kafka.security_tls()?, sasl: kafka.security_sasl()? },
            record_bytes: kafka.record_bytes,
            queue_records: kafka.queue_records,
            queue_bytes: kafka.queue_bytes,
            connections: kafka.connections,
            linger: ms(kafka.linger_ms),
            append_timeout: ms(kafka.append_timeout_ms),
            stall_after: ms(kafka.stall_after_ms),
            abandon_after: ms(kafka.abandon_after_ms),
            prefetch_bytes: kafka.prefetch_bytes,
            session_timeout: ms(kafka.session_timeout_ms),
            heartbeat_interval: ms(kafka.heartbeat_interval_ms),
            grace: ms(kafka.grace_ms),
            start_timeout: self.start_timeout(),
            request_timeout: ms(kafka.request_timeout_ms),
            ..KafkaConfig::default()
        };
        config.check().map_err(|error| match error {
            KafkaError::Config { field: "cell", must } => {
                Problem::new("node.cell", format!("must be {must}"))
            }
            KafkaError::Config { field: "security.tls", must } => {
                Problem::new("kafka.certificate_file", format!("must be {must}"))
            }
            KafkaError::Config { field: "start_timeout", must } => {
                Problem::new("node.start_seconds", format!("must be {must}"))
            }
            KafkaError::Config { field, must } => {
                Problem::of_field("kafka", field, format!("must be {must}"))
            }
            other => Problem::new("kafka", other.to_string()),
        })?;
        Ok(config)
    }
}

impl KafkaSettings {
    fn security_tls(&self) -> Result<Option<Tls>, Problem> {
        let files = [
            ("kafka.ca_file", &self.ca_file),
            ("kafka.certificate_file", &self.certificate_file),
            ("kafka.key_file", &self.key_file),
        ];
        if !self.tls {
            let stray = files.iter().find(|(_, file)| file.is_some());
            return stray.map_or(Ok(None), |(key, _)| Err(Problem::new(key, "needs kafka.tls = true")));
        }
        for (key, file) in files {
            Problem::unless_readable(key, file.as_deref())?;
        }
        Ok(Some(Tls {
            ca: self.ca_file.clone(),
            certificate: self.certificate_file.clone(),
            key: self.key_file.clone(),
        }))
    }

    fn security_sasl(&self) -> Result<Option<Sasl>, Problem> {
        let password =
            SecretSetting { key: "kafka.password", text: &self.password, file: &self.password_file };
        let password = password.read()?;
        let Some(mechanism) = self.sasl else {
            return match (&self.user, password) {
                (None, None) => Ok(None),
                _ => Err(Problem::new("kafka.sasl", "is missing: a user or a password needs a mechanism")),
            };
        };
        let (Some(user), Some(password)) = (self.user.clone(), password) else {
            return Err(Problem::new("kafka.sasl", "needs kafka.user and kafka.password"));
        };
        let mechanism = match mechanism {
            SaslMechanism::Plain => Mechanism::Plain,
            SaslMechanism::ScramSha256 => Mechanism::ScramSha256,
            SaslMechanism::ScramSha512 => Mechanism::ScramSha512,
        };
        Ok(Some(Sasl { mechanism, user, password: Password(password) }))
    }
}
