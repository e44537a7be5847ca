//! Brokers and logs for the tests of this folder.
#![allow(dead_code, reason = "each test program uses its part")]

pub(crate) mod history;

use prometheus_client::registry::Registry;
use skywave_kafka::{KafkaConfig, KafkaLog};
use skywave_servers::Kafka;

/// Small, and with one copy of everything.
pub(crate) fn config(kafka: &Kafka, cell: &str) -> KafkaConfig {
    KafkaConfig {
        brokers: addresses(&kafka.bootstrap()),
        cell: cell.into(),
        partitions: 3,
        replication: 1,
        min_insync: 1,
        ..KafkaConfig::default()
    }
}

pub(crate) fn addresses(list: &str) -> Vec<String> {
    list.split(',').map(str::to_owned).collect()
}

pub(crate) async fn open(config: KafkaConfig) -> KafkaLog {
    KafkaLog::connect(config, &mut Registry::default()).await.expect("the log opens")
}

/// What a power cut does to pages of a partition that were not flushed: the later half of its log is lost.
pub(crate) fn cut_power(broker: &mut Kafka, topic: &str, partition: u32) {
    broker.kill9(0).expect("a kill");
    let segment = broker.partition_folder(0, topic, partition).join("00000000000000000000.log");
    let segment = std::fs::OpenOptions::new().write(true).open(segment).expect("the segment");
    segment.set_len(segment.metadata().expect("its size").len() / 2).expect("a cut");
    broker.restart(0).expect("a restart");
}
