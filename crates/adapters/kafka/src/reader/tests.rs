//! A consumer that brings nothing any more.

use prometheus_client::registry::Registry;
use skywave_ports::log::Log;
use skywave_servers::{Kafka, wait};

use super::*;
use crate::background::Background;
use crate::{KafkaConfig, KafkaLog};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_whose_consumer_brings_nothing_goes_on_with_another_one() {
    let broker = Kafka::start().expect("a broker");
    let config = KafkaConfig {
        brokers: vec![broker.bootstrap()],
        cell: "silent".into(),
        partitions: 1,
        replication: 1,
        min_insync: 1,
        ..KafkaConfig::default()
    };
    let log = KafkaLog::connect(config.clone(), &mut Registry::default()).await.expect("the log opens");
    let append = async || {
        log.append(0, Bytes::new(), Bytes::from_static(b"one")).await.expect("an append");
    };
    let (background, _finished) = Background::new();
    let metrics = KafkaMetrics::register(&mut Registry::default());
    let admin = Admin::new(&config, &background).expect("a client");
    let pool = Pool::new(Arc::new(config), metrics.clone(), background);
    let sources = Sources { pool, own: Own::new(1), admin, metrics: metrics.clone() };
    let mut reader = Reader::open(sources, 0, 0, 0).await.expect("a reader");
    append().await;
    assert_eq!(reader.next(10).await.expect("the first").len(), 1);

    reader.fetch.as_ref().expect("it fetches").silence();
    append().await;
    let read = async {
        loop {
            // In small pieces, as those do who have other things to do meanwhile.
            let piece = tokio::time::timeout(Duration::from_millis(50), reader.next(10)).await;
            if let Ok(entries) = piece {
                return entries.expect("the second");
            }
        }
    };
    let entries = tokio::time::timeout(wait::PATIENCE, read).await.expect("it goes on");
    assert_eq!((entries.len(), entries[0].position, metrics.readers_stalled.get()), (1, 1, 1));
}
