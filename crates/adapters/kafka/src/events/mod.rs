//! Events in Kafka's topics, beside the log: published by key, consumed in groups of their own.
//!
//! Everything is at least once: a publish that timed out may be kept, and what was not confirmed comes again. Never: makes
//! topics that are not its own.

mod stream;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use rdkafka::error::{KafkaError as ClientError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord};
use skywave_ports::events::{EventStream, Events, EventsError, NewEvent, OWN};

use crate::admin::{Admin, reason};
use crate::background::{Background, Detached};
use crate::client::{self, Ear, millis};
use crate::config::KafkaConfig;
use crate::error::KafkaError;
use crate::metrics::KafkaMetrics;
use crate::topic;

/// The topics of events that are the product's own: made when they are missing.
#[derive(Debug, Clone)]
pub struct EventTopics {
    pub names: Vec<String>,
    /// Bounds how many members of a group have work.
    pub partitions: u32,
    /// Kafka forgets events after this, consumed or not.
    pub retention: Duration,
}

impl Default for EventTopics {
    fn default() -> Self {
        Self {
            names: OWN.map(str::to_owned).into(),
            partitions: 4,
            retention: Duration::from_secs(7 * 24 * 60 * 60),
        }
    }
}

/// Made by [`crate::KafkaLog::events`]; to be dropped before the log is closed.
pub struct KafkaEvents {
    producer: Detached<FutureProducer<Ear>>,
    config: Arc<KafkaConfig>,
    metrics: KafkaMetrics,
    background: Background,
}

impl KafkaEvents {
    pub(crate) async fn open(
        config: Arc<KafkaConfig>,
        topics: &EventTopics,
        admin: &Admin,
        metrics: KafkaMetrics,
        background: Background,
    ) -> Result<Self, KafkaError> {
        topic::ensure_events(&config, topics, admin).await?;
        let mut settings = client::settings(&config, "events");
        settings
            .set("acks", "all")
            .set("enable.idempotence", "true")
            // What the application's clients in other languages do with the same key.
            .set("partitioner", "murmur2_random")
            .set("linger.ms", "5")
            .set("request.timeout.ms", millis(config.request_timeout))
            .set("message.timeout.ms", millis(config.append_timeout))
            .set("message.max.bytes", config.message_bytes().to_string())
            // Beyond either a publish is refused.
            .set("queue.buffering.max.messages", config.queue_records.to_string())
            .set("queue.buffering.max.kbytes", config.queue_bytes.div_ceil(1024).to_string());
        let producer = settings.create_with_context(Ear::new("events", metrics.clone()));
        let producer = producer.map_err(|error| KafkaError::Client(error.to_string()))?;
        let producer = Detached::new(producer, background.clone());
        Ok(Self { producer, config, metrics, background })
    }
}

fn refused(error: &ClientError) -> EventsError {
    match error.rdkafka_error_code() {
        Some(RDKafkaErrorCode::QueueFull) => EventsError::Refused("too many events wait for Kafka".into()),
        _ => EventsError::Refused(reason(error)),
    }
}

#[async_trait]
impl Events for KafkaEvents {
    async fn publish(&self, event: NewEvent) -> Result<(), EventsError> {
        let NewEvent { topic, key, value, headers } = event;
        let (limit, got) = (self.config.record_bytes, value.len());
        if got > limit {
            return Err(EventsError::TooLarge { limit, got });
        }
        let headers = headers.iter().fold(OwnedHeaders::new(), |headers, (key, value)| {
            headers.insert(Header { key, value: Some(&value[..]) })
        });
        let record = FutureRecord::to(&topic).key(&key[..]).payload(&value[..]).headers(headers);
        let kept = self.producer.send_result(record).map_err(|(error, _)| refused(&error))?;
        match kept.await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err((error, _))) if client::is_refusal(error.rdkafka_error_code()) => Err(refused(&error)),
            Ok(Err((error, _))) => Err(EventsError::Unavailable(reason(&error))),
            Err(_) => Err(EventsError::Unavailable("the producer was closed".into())),
        }
    }

    fn event_bytes(&self) -> usize {
        self.config.record_bytes
    }

    async fn subscribe(&self, group: &str, topics: &[&str]) -> Result<Box<dyn EventStream>, EventsError> {
        let (config, metrics, background) = (&self.config, self.metrics.clone(), self.background.clone());
        Ok(Box::new(stream::Stream::open(config, group, topics, metrics, background)?))
    }
}
