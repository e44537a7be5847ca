//! What no other test can bring about: a consumer that brings nothing any more, acknowledgements that come late.

use prometheus_client::registry::Registry;
use skywave_ports::log::Log;
use skywave_servers::{Kafka, wait};

use super::*;

const VALUE: Bytes = Bytes::from_static(b"one");
use crate::background::Background;
use crate::{KafkaConfig, KafkaLog};

/// A log of one partition, and a reader of it to which the test itself tells what is "its own".
struct Scene {
    _broker: Kafka,
    log: KafkaLog,
    own: Own,
    metrics: KafkaMetrics,
    reader: Reader,
}

impl Scene {
    async fn set(cell: &str) -> Self {
        let broker = Kafka::start().expect("a broker");
        let config = KafkaConfig {
            brokers: vec![broker.bootstrap()],
            cell: cell.into(),
            partitions: 1,
            replication: 1,
            min_insync: 1,
            ..KafkaConfig::default()
        };
        let log = KafkaLog::connect(config.clone(), &mut Registry::default()).await.expect("the log opens");
        let (background, _finished) = Background::new();
        let metrics = KafkaMetrics::register(&mut Registry::default());
        let admin = Admin::new(&config, &background).expect("a client");
        let own_bytes = config.prefetch_bytes;
        let pool = Pool::new(Arc::new(config), metrics.clone(), background);
        let own = Own::new(1);
        let sources = Sources { pool, own: own.clone(), admin, metrics: metrics.clone() };
        let reader = Reader::open(sources, own_bytes, 0, 0).await.expect("a reader");
        Self { _broker: broker, log, own, metrics, reader }
    }

    /// Somebody appends a record.
    async fn append(&self) -> LogPosition {
        self.log.append(0, Bytes::new(), VALUE).await.expect("an append")
    }

    async fn read(&mut self, count: usize) {
        let mut read = 0;
        while read < count {
            let entries =
                tokio::time::timeout(wait::PATIENCE, self.reader.next(10)).await.expect("an answer");
            read += entries.expect("records").len();
        }
        assert_eq!(read, count);
    }

    fn is_at_leisure(&self) -> bool {
        self.metrics.readers_at_leisure.get() == 1
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_whose_consumer_brings_nothing_goes_on_with_another_one() {
    let mut scene = Scene::set("silent").await;
    scene.append().await;
    scene.read(1).await;

    scene.reader.fetch.as_ref().expect("it fetches").silence();
    scene.append().await;
    let reader = &mut scene.reader;
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
    assert_eq!((entries.len(), entries[0].position, scene.metrics.readers_stalled.get()), (1, 1, 1));
}

/// On a busy machine the fetch may be faster than the acknowledgement.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn own_records_that_are_fetched_before_they_are_known_to_be_ours_end_no_leisure() {
    let mut scene = Scene::set("late").await;
    while !scene.is_at_leisure() {
        let started = Instant::now();
        let position = scene.append().await;
        scene.own.acknowledged(0, position, &VALUE, started);
        scene.read(1).await;
    }

    let (started, under_way) = (Instant::now(), scene.own.begin(0));
    let mut late = Vec::new();
    for _ in 0..OTHERS * 2 {
        late.push(scene.append().await);
    }
    scene.read(late.len()).await;
    scene.append().await;
    scene.read(1).await;
    assert!(scene.is_at_leisure(), "they may be ours");
    for position in late {
        scene.own.acknowledged(0, position, &VALUE, started);
    }
    drop(under_way);
    scene.append().await;
    scene.read(1).await;
    scene.append().await;
    scene.read(1).await;
    assert!(scene.is_at_leisure(), "they were ours, all but two");

    for _ in 0..OTHERS {
        scene.append().await;
        scene.read(1).await;
    }
    assert!(!scene.is_at_leisure(), "somebody else appends");
}
