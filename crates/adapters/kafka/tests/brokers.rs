//! Brokers that die, freeze, and come back, under load.

mod kafka;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use kafka::history::{History, read_all, read_until, write};
use skywave_kafka::{KafkaConfig, KafkaLog};
use skywave_ports::log::{Log, LogError};
use skywave_servers::{Kafka, KafkaOptions, wait};

/// A writer on a task of its own, which tells how far it is.
struct Writer {
    acknowledged: Arc<AtomicUsize>,
    refused: Arc<AtomicUsize>,
    enough: Arc<AtomicBool>,
    task: tokio::task::JoinHandle<History>,
}

impl Writer {
    fn start(log: &Arc<KafkaLog>) -> Self {
        let (acknowledged, refused, enough) =
            <(Arc<AtomicUsize>, Arc<AtomicUsize>, Arc<AtomicBool>)>::default();
        let (log, told, no, end) =
            (Arc::clone(log), Arc::clone(&acknowledged), Arc::clone(&refused), Arc::clone(&enough));
        let task = tokio::spawn(async move {
            write(&*log, 0, 1, |history| {
                told.store(history.acknowledged(), Ordering::Relaxed);
                no.store(history.refused(), Ordering::Relaxed);
                end.load(Ordering::Relaxed)
            })
            .await
        });
        Self { acknowledged, refused, enough, task }
    }

    /// Waits until `count` more are acknowledged.
    fn acknowledges(&self, count: usize) {
        let from = self.acknowledged.load(Ordering::Relaxed);
        wait::until("acknowledgements", || {
            (self.acknowledged.load(Ordering::Relaxed) >= from + count).then_some(())
        })
        .expect("appends are acknowledged");
    }

    fn is_refused(&self) {
        let from = self.refused.load(Ordering::Relaxed);
        wait::until("refusals", || (self.refused.load(Ordering::Relaxed) > from).then_some(()))
            .expect("appends are refused");
    }

    async fn end(self, log: &KafkaLog) -> History {
        self.enough.store(true, Ordering::Relaxed);
        let history = self.task.await.expect("the writer");
        eprintln!("{}", history.summary());
        history.check(1, &read_all(log, 0).await);
        history
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_broker_costs_no_acknowledged_record_and_doubles_none() {
    let mut broker = Kafka::start().expect("a broker");
    let log = Arc::new(kafka::open(kafka::config(&broker, "killed")).await);
    let writer = Writer::start(&log);
    for _ in 0..2 {
        writer.acknowledges(300);
        broker.kill9(0).expect("a kill");
        writer.is_refused();
        broker.restart(0).expect("a restart");
    }
    writer.acknowledges(300);
    let history = writer.end(&log).await;
    assert!(history.refused() > 0, "the fault was felt");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_leader_of_three_costs_no_acknowledged_record_and_doubles_none() {
    let options = KafkaOptions { brokers: 3, ..KafkaOptions::default() };
    let mut brokers = Kafka::start_with(&options).expect("brokers");
    let config = KafkaConfig { replication: 3, min_insync: 2, ..kafka::config(&brokers, "leader") };
    let log = Arc::new(kafka::open(config).await);
    let writer = Writer::start(&log);
    // Whichever leads: each is killed once.
    for broker in 0..3 {
        writer.acknowledges(300);
        brokers.kill9(broker).expect("a kill");
        writer.acknowledges(300);
        brokers.restart(broker).expect("a restart");
    }
    writer.end(&log).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_broker_costs_no_acknowledged_record_and_doubles_none() {
    let mut broker = Kafka::start().expect("a broker");
    let log = Arc::new(kafka::open(kafka::config(&broker, "frozen")).await);
    let writer = Writer::start(&log);
    writer.acknowledges(300);
    broker.pause(0).expect("a pause");
    writer.is_refused();
    // The length of the freeze is the fault: longer than an append waits.
    tokio::time::sleep(Duration::from_secs(10)).await;
    broker.resume(0).expect("it goes on");
    writer.acknowledges(300);
    let history = writer.end(&log).await;
    assert!(history.unknown() > 0 && history.refused() > 0, "the fault was felt");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_producer_that_was_given_up_doubles_nothing() {
    let mut broker = Kafka::start().expect("a broker");
    let config = KafkaConfig {
        stall_after: Duration::from_millis(300),
        append_timeout: Duration::from_millis(600),
        abandon_after: Duration::from_millis(1_500),
        ..kafka::config(&broker, "given-up")
    };
    let mut registry = prometheus_client::registry::Registry::default();
    let log = Arc::new(KafkaLog::connect(config, &mut registry).await.expect("the log opens"));
    let restarts = || {
        let mut metrics = String::new();
        prometheus_client::encoding::text::encode(&mut metrics, &registry).expect("metrics");
        let line = metrics
            .lines()
            .find(|line| line.starts_with("skywave_kafka_producer_restarts_total "))
            .map(str::to_owned);
        line.and_then(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).expect("the counter")
    };
    let writer = Writer::start(&log);
    writer.acknowledges(300);
    for round in 1..=3 {
        broker.pause(0).expect("a pause");
        wait::until("a new producer", || (restarts() >= 2 * round).then_some(()))
            .expect("the producer is given up");
        broker.resume(0).expect("it goes on");
        writer.acknowledges(300);
    }
    let history = writer.end(&log).await;
    assert!(history.unknown() > 0, "the fault was felt");
}

#[tokio::test]
async fn a_full_queue_refuses_for_certain() {
    let mut broker = Kafka::start().expect("a broker");
    let config = KafkaConfig { queue_records: 10, ..kafka::config(&broker, "full") };
    let log = kafka::open(config).await;
    log.append(0, Bytes::new(), Bytes::from_static(b"first")).await.expect("an append");
    broker.pause(0).expect("a pause");
    let history = write(&log, 0, 2, |history| history.started() >= 30).await;
    broker.resume(0).expect("it goes on");
    assert!(history.refused() >= 20, "{}", history.summary());
    // One more: what was in the queue is in the log before it, or never.
    let until = async {
        while log.append(0, Bytes::new(), Bytes::from_static(b"last")).await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(wait::PATIENCE, until).await.expect("it takes appends again");
    history.check(2, &read_all(&log, 0).await);
}

#[tokio::test]
async fn a_log_that_has_lost_its_end_is_an_error_and_not_other_records() {
    let mut broker = Kafka::start().expect("a broker");
    let log = kafka::open(kafka::config(&broker, "cut")).await;
    let fill = async |name: &'static str, count: usize| {
        for _ in 0..count {
            while log.append(0, Bytes::new(), Bytes::from_static(name.as_bytes())).await.is_err() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    };
    fill("lost", 100).await;
    let mut reader = log.read(0, 0).await.expect("a reader");
    read_until(&mut *reader, 0, 100).await;
    kafka::cut_power(&mut broker, "skywave.log.cut", 0);
    // Past where the reader stands, with other records.
    fill("other", 100).await;
    let (_, end) = log.bounds(0).await.expect("bounds");
    assert!(end > 100, "{end}");
    let read = tokio::time::timeout(wait::PATIENCE, reader.next(10)).await.expect("an answer");
    assert!(matches!(read, Err(LogError::Unavailable(_))), "{read:?}");
    assert!(reader.next(10).await.is_err(), "and it stays one");
}

#[tokio::test]
async fn a_position_behind_the_end_is_an_error() {
    let broker = Kafka::start().expect("a broker");
    let log = kafka::open(kafka::config(&broker, "behind")).await;
    log.append(0, Bytes::new(), Bytes::from_static(b"only")).await.expect("an append");
    let refused = log.read(0, 2).await.err();
    assert!(
        matches!(&refused, Some(LogError::Unavailable(reason)) if reason.contains("ends at 1")),
        "{refused:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_go_on_after_the_broker_was_killed() {
    let mut broker = Kafka::start().expect("a broker");
    let log = Arc::new(kafka::open(kafka::config(&broker, "readers")).await);
    let mut reader = log.read(0, 0).await.expect("a reader");
    let writer = Writer::start(&log);
    writer.acknowledges(100);
    broker.kill9(0).expect("a kill");
    writer.is_refused();
    broker.restart(0).expect("a restart");
    writer.acknowledges(100);
    writer.end(&log).await;
    let (_, end) = log.bounds(0).await.expect("bounds");
    let read =
        tokio::time::timeout(wait::PATIENCE, read_until(&mut *reader, 0, end)).await.expect("all of it");
    assert_eq!(read, read_all(&*log, 0).await);
}
