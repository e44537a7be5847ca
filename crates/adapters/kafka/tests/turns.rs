//! Partitions that share a connection to their leader take turns, and one that is stuck does not hold up the others.

mod kafka;

use std::time::Duration;

use bytes::Bytes;
use prometheus_client::registry::Registry;
use skywave_kafka::{KafkaConfig, KafkaLog};
use skywave_ports::log::{Log, LogError, Partition};
use skywave_servers::{Kafka, KafkaOptions, wait};

const STUCK: Partition = 0;
const WELL: Partition = 1;

/// Waits until the producer knows who leads the partitions: it says so together with whom it is connected to.
fn until_leaders_are_known(registry: &Registry) {
    wait::until("the producer to know its leaders", || {
        let mut metrics = String::new();
        prometheus_client::encoding::text::encode(&mut metrics, registry).expect("metrics");
        metrics.contains("skywave_kafka_broker_up{client=\"producer\",broker=\"1\"} 1").then_some(())
    })
    .expect("statistics");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_partition_that_lacks_copies_holds_up_no_other_of_its_leader() {
    let options = KafkaOptions { brokers: 3, ..KafkaOptions::default() };
    let mut brokers = Kafka::start_with(&options).expect("brokers");
    let config = KafkaConfig {
        partitions: 2,
        replication: 2,
        min_insync: 2,
        connections: 1,
        // The stuck append stays under way for as long as the test takes.
        append_timeout: Duration::from_secs(60),
        stall_after: Duration::from_secs(60),
        abandon_after: Duration::from_secs(120),
        ..kafka::config(&brokers, "turns")
    };
    // The first broker leads both; their second copies are with different ones.
    let bootstrap = brokers.bootstrap();
    let words = [
        ["--bootstrap-server", bootstrap.as_str()],
        ["--create", "--topic=skywave.log.turns"],
        ["--replica-assignment", "1:2,1:3"],
        ["--config", "min.insync.replicas=2"],
        ["--config", "retention.ms=-1"],
    ];
    brokers.tool("org.apache.kafka.tools.TopicCommand", &words.concat()).expect("a topic");
    let mut registry = Registry::default();
    let log = KafkaLog::connect(config, &mut registry).await.expect("the log opens");
    let append = |partition| log.append(partition, Bytes::new(), Bytes::from_static(b"x"));
    for partition in [STUCK, WELL] {
        append(partition).await.expect("an append");
    }
    until_leaders_are_known(&registry);
    brokers.kill9(1).expect("a kill");
    // One after the other, until one is not answered at once: the leader has found out that a copy is missing.
    let mut stuck = Box::pin(append(STUCK));
    while tokio::time::timeout(Duration::from_secs(2), &mut stuck).await.is_ok() {
        stuck = Box::pin(append(STUCK));
    }
    // Many more than go before anybody would give up the stuck one.
    for _ in 0..200 {
        append(WELL).await.expect("an append beside the stuck one");
        tokio::select! {
            biased;
            answer = &mut stuck => panic!("it was not stuck: {answer:?}"),
            () = std::future::ready(()) => {}
        }
    }
    brokers.restart(1).expect("a restart");
    // It is appended as soon as its second copy is back, or was in the log all the time.
    let answer: Result<_, LogError> = stuck.await;
    answer.expect("the append that was stuck");
}
