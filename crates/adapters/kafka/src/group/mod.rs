//! Membership in a group that shares the partitions: Kafka's consumer group, used for ownership alone.
//!
//! A thread of its own serves the consumer and enters into the [`ledger`] what the group gives and takes; the member reads
//! there what is new. Partitions are assigned paused: nothing is fetched here.

mod ledger;

use std::sync::Arc;
use std::time::Duration;

use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError as ClientError, KafkaResult, RDKafkaErrorCode};
use rdkafka::statistics::Statistics;
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{Offset, TopicPartitionList};
use skywave_ports::log::{LogError, Partition};

use crate::admin::reason;
use crate::background::Background;
use crate::client::{self, Ear, millis};
use crate::config::KafkaConfig;
use crate::metrics::{GroupLabel, KafkaMetrics};
use ledger::{Ledger, Member};

/// How often the thread looks whether the member has left.
const SERVE: Duration = Duration::from_millis(100);
/// How long a member may not be served before the group takes it for stuck: its thread does nothing else.
const STUCK: Duration = Duration::from_secs(10);
/// How long the group is kept waiting for an owner that has still something to store.
const HAND_OVER: Duration = Duration::from_secs(1);

/// Joins `group`; what it gives comes later.
pub(crate) fn join(
    config: &KafkaConfig,
    metrics: &KafkaMetrics,
    background: &Background,
    group: &str,
) -> Result<Member, LogError> {
    let ledger = Arc::new(Ledger::new(config.partitions));
    let membership = Membership {
        ear: Ear::new(&format!("group-{group}"), metrics.clone()),
        ledger: Arc::clone(&ledger),
        grace: config.grace,
        label: GroupLabel { group: group.to_owned() },
        metrics: metrics.clone(),
    };
    let mut settings = client::settings(config, group);
    settings
        .set("group.id", config.group(group))
        .set("partition.assignment.strategy", "cooperative-sticky")
        .set("session.timeout.ms", millis(config.session_timeout))
        .set("heartbeat.interval.ms", millis(config.heartbeat_interval))
        .set("max.poll.interval.ms", millis(STUCK.max(config.session_timeout)))
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("auto.offset.reset", "latest");
    let failed = |error: ClientError| LogError::Unavailable(error.to_string());
    let consumer: BaseConsumer<Membership> = settings.create_with_context(membership).map_err(failed)?;
    consumer.subscribe(&[&config.topic()]).map_err(failed)?;
    background.run(move || serve(consumer));
    Ok(Member::new(ledger))
}

/// Serves the consumer until the member has left. Its end tells the group, so that others take over at once.
fn serve(consumer: BaseConsumer<Membership>) {
    while !consumer.context().ledger.has_left() {
        match consumer.poll(SERVE) {
            // Something fetched before the pause took hold.
            None | Some(Ok(_)) => {}
            Some(Err(error)) => consumer.context().met(&error),
        }
    }
}

/// Hears what the group does.
struct Membership {
    ear: Ear,
    ledger: Arc<Ledger>,
    grace: Duration,
    label: GroupLabel,
    metrics: KafkaMetrics,
}

impl Membership {
    fn assigned(&self, consumer: &BaseConsumer<Self>, list: &mut TopicPartitionList) -> KafkaResult<()> {
        // With an offset nobody asks the group where to begin; paused nothing is fetched.
        list.set_all_offsets(Offset::End)?;
        consumer.incremental_assign(list)?;
        consumer.pause(list)?;
        self.ledger.given(&partitions(list));
        Ok(())
    }

    fn revoked(&self, consumer: &BaseConsumer<Self>, list: &TopicPartitionList) -> KafkaResult<()> {
        if consumer.assignment_lost() {
            self.ledger.cut_off(self.grace);
        } else {
            self.ledger.taken(&partitions(list), HAND_OVER);
        }
        consumer.incremental_unassign(list)
    }

    /// An error that the library does not get over by itself ends the membership for its owner, who joins again.
    fn met(&self, error: &ClientError) {
        use RDKafkaErrorCode as Code;
        let code = error.rdkafka_error_code();
        let advice = match code {
            Some(Code::InvalidSessionTimeout) => {
                ": the brokers' group.min.session.timeout.ms is larger than kafka.session_timeout_ms"
            }
            Some(
                Code::GroupAuthorizationFailed
                | Code::TopicAuthorizationFailed
                | Code::InconsistentGroupProtocol
                | Code::UnknownTopicOrPartition,
            ) => "",
            _ if matches!(error, ClientError::MessageConsumptionFatal(_)) => "",
            _ => return,
        };
        self.ledger.failed(LogError::Unavailable(format!(
            "group {}: {}{advice}",
            self.label.group,
            reason(error)
        )));
    }
}

fn partitions(list: &TopicPartitionList) -> Vec<Partition> {
    list.elements().iter().map(|element| element.partition().cast_unsigned()).collect()
}

impl ConsumerContext for Membership {
    fn rebalance(&self, consumer: &BaseConsumer<Self>, event: RDKafkaRespErr, list: &mut TopicPartitionList) {
        self.metrics.rebalances.get_or_create(&self.label).inc();
        let done = match event {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS => self.assigned(consumer, list),
            _ => self.revoked(consumer, list),
        };
        if let Err(error) = done {
            self.ledger.failed(LogError::Unavailable(format!("group {}: {error}", self.label.group)));
        }
        self.metrics.owned.get_or_create(&self.label).set(self.ledger.share() as i64);
    }
}

impl ClientContext for Membership {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        self.ear.log(level, facility, line);
    }

    fn stats(&self, statistics: Statistics) {
        self.ear.stats(statistics);
    }

    fn error(&self, error: ClientError, reason: &str) {
        self.ear.error(error, reason);
    }
}
