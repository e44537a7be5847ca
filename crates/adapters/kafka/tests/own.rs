//! What a process appends comes to its own readers without a way round, and never costs the order, a record, or the truth.

mod kafka;

use std::sync::Arc;

use kafka::history::{History, read_until, write};
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use skywave_kafka::{KafkaConfig, KafkaLog};
use skywave_ports::log::{Log, LogEntry, LogError, LogReader};
use skywave_servers::{Kafka, wait};
use tokio::task::JoinHandle;

async fn open(config: KafkaConfig) -> (Arc<KafkaLog>, Registry) {
    let mut registry = Registry::default();
    let log = KafkaLog::connect(config, &mut registry).await.expect("the log opens");
    (Arc::new(log), registry)
}

fn metric(registry: &Registry, name: &str) -> u64 {
    let mut text = String::new();
    encode(&mut text, registry).expect("metrics");
    let line = text.lines().find_map(|line| line.strip_prefix(name)).expect("the metric");
    line.trim().parse().expect("a number")
}

fn at_leisure(registry: &Registry) -> bool {
    metric(registry, "skywave_kafka_readers_at_leisure ") == 1
}

/// Reads from the beginning until so many records were read.
fn reading(log: &Arc<KafkaLog>, count: tokio::sync::watch::Receiver<u64>) -> JoinHandle<Vec<LogEntry>> {
    let (log, mut count) = (Arc::clone(log), count);
    tokio::spawn(async move {
        let mut reader = log.read(0, 0).await.expect("a reader");
        let mut entries: Vec<LogEntry> = Vec::new();
        while (entries.len() as u64) < *count.borrow_and_update() {
            tokio::select! {
                read = reader.next(1_000) => entries.extend(read.expect("a read")),
                changed = count.changed() => changed.expect("the test"),
            }
        }
        entries
    })
}

/// Appends as writer `writer` until `enough` says so.
async fn until(log: &KafkaLog, writer: u32, mut enough: impl FnMut() -> bool) -> History {
    write(log, 0, writer, |history| history.acknowledged() > 100 && enough()).await
}

/// Appends as writer 1, and reads, until the reader lives of what is acknowledged; answers how many records the log has then,
/// all of them read.
async fn to_leisure(log: &Arc<KafkaLog>, registry: &Registry, reader: &mut dyn LogReader) -> u64 {
    let appending = Arc::clone(log);
    let history = until(&appending, 1, || at_leisure(registry));
    tokio::pin!(history);
    let mut read = 0;
    let history = loop {
        tokio::select! {
            history = &mut history => break history,
            entries = reader.next(1_000) => read += entries.expect("a read").len() as u64,
        }
    };
    let end = history.acknowledged() as u64;
    read_until(reader, read, end).await;
    end
}

#[tokio::test(flavor = "multi_thread")]
async fn records_of_several_writers_come_once_and_in_order_at_every_pace() {
    let broker = Kafka::start().expect("a broker");
    let config = KafkaConfig { partitions: 1, ..kafka::config(&broker, "paces") };
    let (ours, registry) = open(config.clone()).await;
    let (theirs, _) = open(config).await;
    let (count, counted) = tokio::sync::watch::channel(u64::MAX);
    let reading = reading(&ours, counted);

    let own = || metric(&registry, "skywave_kafka_records_own_total ");
    let alone = until(&ours, 1, || own() > 200).await;
    let both = tokio::join!(until(&ours, 2, || !at_leisure(&registry)), until(&theirs, 3, || true));
    let before = own();
    let again = until(&ours, 4, || own() > before + 200).await;
    let others = until(&theirs, 5, || !at_leisure(&registry)).await;

    let (_, end) = ours.bounds(0).await.expect("bounds");
    count.send(end).expect("the reader");
    let entries = reading.await.expect("the reader");
    assert!(entries.iter().map(|entry| entry.position).eq(0..end), "each once and in order");
    for (writer, history) in [(1, &alone), (2, &both.0), (3, &both.1), (4, &again), (5, &others)] {
        history.check(writer, &entries);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_does_not_listen_for_a_while_misses_nothing() {
    let broker = Kafka::start().expect("a broker");
    let config = KafkaConfig { partitions: 1, prefetch_bytes: 4_096, ..kafka::config(&broker, "deaf") };
    let (log, registry) = open(config).await;
    let mut reader = log.read(0, 0).await.expect("a reader");
    let read = to_leisure(&log, &registry, &mut *reader).await;
    let own = metric(&registry, "skywave_kafka_records_own_total ");
    let history = write(&*log, 0, 2, |history| history.acknowledged() > 2_000).await;
    let (_, end) = log.bounds(0).await.expect("bounds");
    history.check(2, &read_until(&mut *reader, read, end).await);
    let came = metric(&registry, "skywave_kafka_records_own_total ") - own;
    assert!(came < end - read, "what did not fit was fetched");
}

/// The log's end is lost, and grows again with other records, while the reader lives of what is acknowledged.
#[tokio::test(flavor = "multi_thread")]
async fn records_that_were_lost_and_replaced_behind_the_readers_back_are_noticed() {
    let mut broker = Kafka::start().expect("a broker");
    let config = KafkaConfig { partitions: 1, ..kafka::config(&broker, "replaced") };
    let (log, registry) = open(config).await;
    let mut reader = log.read(0, 0).await.expect("a reader");
    let end = to_leisure(&log, &registry, &mut *reader).await;
    kafka::cut_power(&mut broker, "skywave.log.replaced", 0);
    let other = write(&*log, 0, 2, |history| history.acknowledged() as u64 > end).await;
    assert!(other.acknowledged() as u64 > end, "past where the reader stands");
    let read = tokio::time::timeout(wait::PATIENCE, reader.next(10)).await.expect("an answer");
    assert!(matches!(read, Err(LogError::Unavailable(_))), "{read:?}");
    assert!(reader.next(10).await.is_err(), "and it stays one");
}
