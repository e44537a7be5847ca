//! A topic or a leader that the client library loses sight of, for a while and for good.

mod kafka;

use std::time::Duration;

use bytes::Bytes;
use kafka::history::read_until;
use skywave_kafka::KafkaConfig;
use skywave_ports::log::{Log, LogError};
use skywave_servers::{Kafka, KafkaOptions, wait};

/// Asks until the answer is as wanted.
async fn bounds_become(
    log: &impl Log,
    partition: u32,
    wanted: impl Fn(&Result<(u64, u64), LogError>) -> bool,
) {
    let asking = async {
        loop {
            let bounds = log.bounds(partition).await;
            if wanted(&bounds) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(wait::PATIENCE, asking).await.expect("another answer");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_partition_that_had_no_leader_is_known_again_as_soon_as_it_has_one() {
    let mut brokers =
        Kafka::start_with(&KafkaOptions { brokers: 3, ..KafkaOptions::default() }).expect("brokers");
    // Nothing is to heal because of what is asked from time to time anyhow. (Beyond a quarter of an hour the library's questions
    // to leaders run into their timeouts.)
    let config =
        KafkaConfig { metadata_refresh: Duration::from_secs(120), ..kafka::config(&brokers, "leaderless") };
    let log = kafka::open(config).await;
    let is_there =
        |partition: &u32| brokers.partition_folder(0, "skywave.log.leaderless", *partition).is_dir();
    let partition = (0..3).find(is_there).expect("each of three brokers has one of three partitions");
    log.append(partition, Bytes::new(), Bytes::from_static(b"before")).await.expect("an append");
    bounds_become(&log, partition, |bounds| *bounds == Ok((0, 1))).await;
    let mut reader = log.read(partition, 0).await.expect("a reader");
    read_until(&mut *reader, 0, 1).await;
    brokers.kill9(0).expect("a kill");
    // Now the library remembers, from what the other brokers say, that nobody leads it.
    let unknown = |bounds: &Result<_, LogError>| matches!(bounds, Err(error) if error.to_string().contains("nknown partition"));
    bounds_become(&log, partition, unknown).await;
    brokers.restart(0).expect("a restart");
    bounds_become(&log, partition, |bounds| matches!(bounds, Ok((0, 1..)))).await;
    // Also for those who write and read.
    let appended = async {
        while log.append(partition, Bytes::new(), Bytes::from_static(b"after")).await.is_err() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(wait::PATIENCE, appended).await.expect("it takes appends again");
    let went_on = async {
        loop {
            // Meanwhile it may be told that the log is away.
            match reader.next(10).await {
                Ok(entries) => return entries,
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    };
    let entries = tokio::time::timeout(wait::PATIENCE, went_on).await.expect("the reader goes on");
    assert_eq!(entries[0].position, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_reads_a_topic_that_is_deleted_is_told_so() {
    let broker = Kafka::start().expect("a broker");
    let log = kafka::open(kafka::config(&broker, "deleted")).await;
    log.append(0, Bytes::new(), Bytes::from_static(b"only")).await.expect("an append");
    let mut reader = log.read(0, 0).await.expect("a reader");
    read_until(&mut *reader, 0, 1).await;
    let deletion = ["--bootstrap-server", &broker.bootstrap(), "--delete", "--topic", "skywave.log.deleted"]
        .map(str::to_owned);
    let deletion: Vec<&str> = deletion.iter().map(String::as_str).collect();
    broker.tool("org.apache.kafka.tools.TopicCommand", &deletion).expect("a deletion");
    let told = tokio::time::timeout(wait::PATIENCE, reader.next(10)).await.expect("an answer");
    assert!(matches!(told, Err(LogError::Unavailable(_))), "{told:?}");
    let refused = log.append(0, Bytes::new(), Bytes::from_static(b"more")).await;
    assert!(refused.is_err(), "{refused:?}");
}
