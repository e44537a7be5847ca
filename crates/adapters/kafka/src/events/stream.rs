//! A member of a group that consumes events.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::FutureExt;
use hashbrown::HashMap;
use rdkafka::consumer::{CommitMode, Consumer, StreamConsumer};
use rdkafka::error::{KafkaError as ClientError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Headers, Message};
use rdkafka::{Offset, TopicPartitionList};
use skywave_ports::events::{Event, EventStream, EventsError};

use crate::admin::reason;
use crate::background::{Background, Detached};
use crate::client::{self, Ear, millis};
use crate::config::KafkaConfig;
use crate::metrics::KafkaMetrics;

pub(super) struct Stream {
    consumer: Arc<Detached<StreamConsumer<Ear>>>,
    topics: Vec<String>,
    /// How long a question to the brokers may take.
    patience: Duration,
    /// Values of this many bytes are given out at a time; one that is larger comes alone.
    bytes: usize,
    /// Where the next event of each partition stands that has not been given out, as far as this is not confirmed.
    given: HashMap<(String, i32), i64>,
}

impl Stream {
    pub(super) fn open(
        config: &KafkaConfig,
        group: &str,
        topics: &[&str],
        metrics: KafkaMetrics,
        background: Background,
    ) -> Result<Self, EventsError> {
        let role = format!("events-{group}");
        let mut settings = client::settings(config, &role);
        settings
            .set("group.id", config.group(group))
            .set("partition.assignment.strategy", "cooperative-sticky")
            .set("session.timeout.ms", millis(config.session_timeout))
            .set("heartbeat.interval.ms", millis(config.heartbeat_interval))
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("auto.offset.reset", "earliest")
            .set("isolation.level", "read_committed")
            // A topic of an application may be made after we began.
            .set("topic.metadata.refresh.interval.ms", "10000")
            .set("message.max.bytes", config.message_bytes().to_string())
            .set("queued.max.messages.kbytes", config.prefetch_bytes.div_ceil(1024).to_string());
        let failed = |error: ClientError| EventsError::Unavailable(error.to_string());
        let consumer: StreamConsumer<Ear> =
            settings.create_with_context(Ear::of_group(&role, group, metrics)).map_err(failed)?;
        consumer.subscribe(topics).map_err(failed)?;
        let consumer = Arc::new(Detached::new(consumer, background));
        let topics = topics.iter().map(|topic| (*topic).to_owned()).collect();
        let patience = config.request_timeout;
        Ok(Self { consumer, topics, patience, bytes: config.prefetch_bytes, given: HashMap::new() })
    }

    fn take(&mut self, message: &BorrowedMessage<'_>) -> Event {
        let (topic, partition, offset) = (message.topic(), message.partition(), message.offset());
        self.given.insert((topic.to_owned(), partition), offset + 1);
        let copy = |bytes: Option<&[u8]>| bytes.map(Bytes::copy_from_slice).unwrap_or_default();
        let headers = message.headers().into_iter().flat_map(Headers::iter);
        Event {
            topic: topic.to_owned(),
            partition: partition.cast_unsigned(),
            offset: offset.cast_unsigned(),
            time_ms: message.timestamp().to_millis().map_or(0, i64::cast_unsigned),
            key: copy(message.key()),
            value: copy(message.payload()),
            headers: headers.map(|header| (header.key.to_owned(), copy(header.value))).collect(),
        }
    }
}

impl Stream {
    /// What another member has by now is not this one's to confirm: it may be further already, and would be set back.
    fn forget_what_is_lost(&mut self) {
        let Ok(mine) = self.consumer.assignment() else { return };
        self.given.retain(|(topic, partition), _| mine.find_partition(topic, *partition).is_some());
    }
}

/// Errors that the library does not get over without help.
fn is_lasting(error: &ClientError) -> bool {
    use RDKafkaErrorCode as Code;
    matches!(error, ClientError::MessageConsumptionFatal(_))
        || matches!(
            error.rdkafka_error_code(),
            Some(
                Code::GroupAuthorizationFailed
                    | Code::TopicAuthorizationFailed
                    | Code::UnknownTopicOrPartition
                    | Code::InvalidSessionTimeout
                    | Code::InconsistentGroupProtocol
            )
        )
}

#[async_trait]
impl EventStream for Stream {
    async fn next(&mut self, max: usize) -> Result<Vec<Event>, EventsError> {
        let consumer = Arc::clone(&self.consumer);
        let (mut events, mut bytes) = (Vec::new(), 0);
        while events.len() < max.max(1) && bytes < self.bytes {
            // The first is waited for; what else is there already comes with it.
            let received = match events.is_empty() {
                true => consumer.recv().await,
                false => match consumer.recv().now_or_never() {
                    Some(received) => received,
                    None => break,
                },
            };
            match received {
                Ok(message) => {
                    let event = self.take(&message);
                    bytes += event.value.len();
                    events.push(event);
                }
                Err(error) if is_lasting(&error) && events.is_empty() => {
                    return Err(EventsError::Unavailable(reason(&error)));
                }
                Err(_) => {}
            }
        }
        Ok(events)
    }

    async fn check(&mut self) -> Result<(), EventsError> {
        for topic in &self.topics {
            let (consumer, name, patience) = (Arc::clone(&self.consumer), topic.clone(), self.patience);
            let question = move || consumer.fetch_metadata(Some(&name), patience);
            let answer = tokio::task::spawn_blocking(question).await;
            let answer = answer.map_err(|error| EventsError::Unavailable(error.to_string()))?;
            let metadata = answer.map_err(|error| EventsError::Unavailable(reason(&error)))?;
            if !metadata.topics().iter().any(|found| found.name() == topic && !found.partitions().is_empty())
            {
                return Err(EventsError::Unavailable(format!("there is no topic {topic}")));
            }
        }
        Ok(())
    }

    async fn confirm(&mut self) -> Result<(), EventsError> {
        self.forget_what_is_lost();
        if self.given.is_empty() {
            return Ok(());
        }
        let mut list = TopicPartitionList::new();
        for ((topic, partition), next) in &self.given {
            list.add_partition_offset(topic, *partition, Offset::Offset(*next))
                .map_err(|error| EventsError::Unavailable(error.to_string()))?;
        }
        let consumer = Arc::clone(&self.consumer);
        let commit = tokio::task::spawn_blocking(move || consumer.commit(&list, CommitMode::Sync)).await;
        let committed = commit.map_err(|error| EventsError::Unavailable(error.to_string()))?;
        committed.map_err(|error| EventsError::Unavailable(reason(&error)))?;
        self.given.clear();
        Ok(())
    }
}
