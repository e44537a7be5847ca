//! The topic of a cell: made when it is missing, refused when it is not what the log needs. And the topics of events.

use std::time::Duration;

use rdkafka::admin::{NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::types::RDKafkaErrorCode;
use tokio::time::Instant;

use crate::admin::{Admin, reason};
use crate::config::KafkaConfig;
use crate::error::KafkaError;
use crate::events::EventTopics;
use crate::producer::Producer;

/// Between two looks at a cluster that is not ready yet.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// Records of one file. Trimming frees whole files, and never the newest.
const SEGMENT_BYTES: &str = "134217728";

/// Makes sure of the topic until `deadline`.
pub(crate) async fn ensure(
    config: &KafkaConfig,
    producer: &Producer,
    admin: &Admin,
    deadline: Instant,
) -> Result<(), KafkaError> {
    let topic = config.topic();
    let mut created = false;
    loop {
        let state = producer.topic_state().await;
        let trouble = match state {
            Ok(Some(found)) if found.partitions > 0 && found.partitions != config.partitions as usize => {
                let (found, configured) = (found.partitions, config.partitions);
                return Err(KafkaError::Partitions { topic, found, configured });
            }
            Ok(Some(found)) if found.led == config.partitions as usize => {
                if check(config, admin).await? {
                    return Ok(());
                }
                format!("the settings of {topic} are not known yet")
            }
            Ok(Some(_)) => format!("not all partitions of {topic} have a leader"),
            Ok(None) if !created => {
                create(config, admin).await?;
                created = true;
                continue;
            }
            Ok(None) => format!("topic {topic} is not there yet"),
            Err(error) => error,
        };
        let complaint = producer.complaint();
        let brokers = config.brokers.join(",");
        if complaint.is_about_credentials() {
            let reason = complaint.last().unwrap_or(trouble);
            return Err(KafkaError::Credentials { brokers, reason });
        }
        if Instant::now() >= deadline {
            let reason = complaint.last().unwrap_or(trouble);
            return Err(KafkaError::Unreachable { brokers, within: config.start_timeout, reason });
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

async fn create(config: &KafkaConfig, admin: &Admin) -> Result<(), KafkaError> {
    let topic = config.topic();
    let (min_insync, message_bytes) = (config.min_insync.to_string(), config.message_bytes().to_string());
    let (partitions, replication) = (config.partitions.cast_signed(), i32::from(config.replication));
    let new = NewTopic::new(&topic, partitions, TopicReplication::Fixed(replication))
        .set("cleanup.policy", "delete")
        // Forgetting is the product's: behind what the store has.
        .set("retention.ms", "-1")
        .set("retention.bytes", "-1")
        .set("segment.bytes", SEGMENT_BYTES)
        .set("min.insync.replicas", &min_insync)
        .set("unclean.leader.election.enable", "false")
        .set("max.message.bytes", &message_bytes)
        // A broker refuses records of clients whose clock is far off; it does not if it stamps them itself.
        .set("message.timestamp.type", "LogAppendTime");
    make(config, admin, new, &topic).await
}

/// Asks until there is an answer: to ask twice for the same topic is harmless, and a broker that has just begun may take longer
/// than one request, or not be counted for one that can hold a copy.
async fn make(config: &KafkaConfig, admin: &Admin, new: NewTopic<'_>, topic: &str) -> Result<(), KafkaError> {
    let failed = |reason| KafkaError::Create { topic: topic.to_owned(), reason };
    let deadline = Instant::now() + config.start_timeout;
    loop {
        let answer = admin.client().create_topics([&new], &admin.options()).await;
        let open = match answer.map(|mut results| results.pop()) {
            Ok(Some(Ok(_))) => {
                tracing::info!(%topic, replication = config.replication, "made the topic");
                return Ok(());
            }
            // Another was faster; what it has made is looked at like any other.
            Ok(Some(Err((_, RDKafkaErrorCode::TopicAlreadyExists)))) => return Ok(()),
            // Too few brokers: those that have just begun are not counted yet.
            Ok(Some(Err((
                _,
                code @ (RDKafkaErrorCode::RequestTimedOut | RDKafkaErrorCode::InvalidReplicationFactor),
            )))) => code.to_string(),
            Ok(Some(Err((_, code)))) => return Err(failed(code.to_string())),
            Ok(None) => return Err(failed("no answer".to_owned())),
            Err(error) => reason(&error),
        };
        if Instant::now() >= deadline {
            return Err(failed(open));
        }
        tracing::warn!(%topic, reason = open, "the broker has not made the topic in time, and is asked again");
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

/// Makes the topics of events that are missing. What is there is the operator's.
pub(crate) async fn ensure_events(
    config: &KafkaConfig,
    topics: &EventTopics,
    admin: &Admin,
) -> Result<(), KafkaError> {
    let there = admin.topics().await.map_err(|reason| KafkaError::Unreachable {
        brokers: config.brokers.join(","),
        within: config.request_timeout,
        reason,
    })?;
    let (min_insync, message_bytes) = (config.min_insync.to_string(), config.message_bytes().to_string());
    let retention = topics.retention.as_millis().to_string();
    for topic in topics.names.iter().filter(|name| !there.contains(*name)) {
        let (partitions, replication) = (topics.partitions.cast_signed(), i32::from(config.replication));
        let new = NewTopic::new(topic, partitions, TopicReplication::Fixed(replication))
            .set("cleanup.policy", "delete")
            .set("retention.ms", &retention)
            .set("min.insync.replicas", &min_insync)
            .set("max.message.bytes", &message_bytes);
        make(config, admin, new, topic).await?;
    }
    Ok(())
}

/// Refuses a topic on which the log would break its promises. `false`: the broker that was asked does not know it yet.
async fn check(config: &KafkaConfig, admin: &Admin) -> Result<bool, KafkaError> {
    let topic = config.topic();
    let described =
        admin.client().describe_configs([&ResourceSpecifier::Topic(&topic)], &admin.options()).await;
    let resource = match described.map(|mut resources| resources.pop()) {
        Ok(Some(Ok(resource))) => resource,
        Ok(Some(Err(RDKafkaErrorCode::UnknownTopicOrPartition))) => return Ok(false),
        Ok(Some(Err(code))) => return unchecked(&topic, &code.to_string()),
        Ok(None) => return unchecked(&topic, "no answer"),
        Err(error) => return unchecked(&topic, &reason(&error)),
    };
    let value = |key: &str| resource.get(key).and_then(|entry| entry.value.clone()).unwrap_or_default();
    let number = |key: &str| value(key).parse::<i64>().unwrap_or(-1);
    let refuse =
        |key, must: String| Err(KafkaError::Topic { topic: topic.clone(), key, found: value(key), must });
    if resource.get("cleanup.policy").is_none() {
        return Ok(false);
    }
    if value("cleanup.policy") != "delete" {
        return refuse("cleanup.policy", "delete: the log must not be compacted".into());
    }
    let needed = config.message_bytes() as i64;
    if number("max.message.bytes") < needed {
        return refuse("max.message.bytes", format!("at least {needed} (kafka.record_bytes and its room)"));
    }
    for key in ["retention.ms", "retention.bytes"] {
        if number(key) != -1 {
            let found = value(key);
            tracing::warn!(%topic, key, %found, "Kafka may forget records that are not stored yet; -1 is safe");
        }
    }
    if number("min.insync.replicas") < i64::from(config.min_insync) {
        let found = value("min.insync.replicas");
        tracing::warn!(%topic, %found, configured = config.min_insync, "fewer copies count than configured");
    }
    Ok(true)
}

/// Without the right to look the operator answers for the topic.
fn unchecked(topic: &str, reason: &str) -> Result<bool, KafkaError> {
    tracing::warn!(%topic, %reason, "the topic's settings cannot be checked");
    Ok(true)
}
