//! Measures the log on Kafka: `cargo run --release -p skywave-kafka --example latency -- [--brokers HOST:PORT,…]`.
//!
//! For each rate: time from the start of an append to its acknowledgement, and to the record's arrival at a reader; then the
//! most appends in a second. Without `--brokers` it starts a broker of its own, as the tests do.
#![allow(clippy::print_stdout, reason = "a measuring tool talks to its user")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use bytes::Bytes;
use futures_util::stream::{FuturesUnordered, StreamExt};
use prometheus_client::registry::Registry;
use skywave_kafka::{KafkaConfig, KafkaLog};
use skywave_ports::log::{Log, Partition};
use skywave_servers::{Kafka, KafkaOptions};

const RATES: [u64; 3] = [200, 2_000, 7_500];
const TIME: Duration = Duration::from_secs(10);
const WARM_UP: Duration = Duration::from_secs(3);
const RECORD_BYTES: usize = 200;
/// Appends under way when the most is measured.
const IN_FLIGHT: usize = 2_048;

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let option = |name: &str| {
        let at = arguments.iter().position(|argument| argument == name)?;
        arguments.get(at + 1).cloned()
    };
    let partitions =
        option("--partitions").map_or(Ok(16), |number| number.parse()).context("--partitions")?;
    let connections =
        option("--connections").map_or(Ok(4), |number| number.parse()).context("--connections")?;
    let linger = option("--linger-us").map_or(Ok(0), |number| number.parse()).context("--linger-us")?;
    let broker = match option("--brokers") {
        Some(_) => None,
        None => Some(Kafka::start_with(&KafkaOptions { heap_mb: 512, ..KafkaOptions::default() })?),
    };
    let brokers = option("--brokers").or_else(|| broker.as_ref().map(Kafka::bootstrap)).context("brokers")?;
    let config = KafkaConfig {
        brokers: brokers.split(',').map(str::to_owned).collect(),
        cell: format!("latency-{}", std::process::id()),
        partitions,
        replication: 1,
        min_insync: 1,
        connections,
        linger: Duration::from_micros(linger),
        ..KafkaConfig::default()
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(measure(config))
}

async fn measure(config: KafkaConfig) -> anyhow::Result<()> {
    let partitions = config.partitions;
    let log = Arc::new(KafkaLog::connect(config, &mut Registry::default()).await?);
    let epoch = Instant::now();
    let (arrivals, mut arrived) = tokio::sync::mpsc::unbounded_channel();
    for partition in 0..partitions {
        let (mut reader, arrivals) = (log.read(partition, 0).await?, arrivals.clone());
        tokio::spawn(async move {
            while let Ok(entries) = reader.next(1_000).await {
                let now = epoch.elapsed().as_nanos() as u64;
                for entry in entries {
                    // Without a start it is one of those that are only counted.
                    let started = entry.value.first_chunk().map_or(0, |start| u64::from_be_bytes(*start));
                    if started > 0 {
                        let _ = arrivals.send(now - started);
                    }
                }
            }
        });
    }
    println!("records/s | append→ack p50, p99 | append→reader p50, p99 | processor time an append");
    at_rate(&log, partitions, RATES[0], WARM_UP, epoch).await?;
    let mut warm = RATES[0] * WARM_UP.as_secs();
    for rate in RATES {
        let before = processor_time()?;
        let mut acknowledged = at_rate(&log, partitions, rate, TIME, epoch).await?;
        let spent = processor_time()? - before;
        let mut readings = Vec::new();
        while readings.len() < acknowledged.len() {
            let reading = arrived.recv().await.context("a reader")?;
            match warm.checked_sub(1) {
                Some(left) => warm = left,
                None => readings.push(reading),
            }
        }
        let (ack, read) = (quantiles(&mut acknowledged), quantiles(&mut readings));
        println!("{rate} | {ack} | {read} | {:?}", spent / acknowledged.len() as u32);
    }
    let before = processor_time()?;
    let most = most(&log, partitions).await?;
    let spent = processor_time()? - before;
    println!("most: {:.0} appends/s, {:?} of processor time each", most.1, spent / most.0);
    Ok(())
}

/// Appends at an even rate, partition after partition; the time each took to be acknowledged, in nanoseconds.
async fn at_rate(
    log: &Arc<KafkaLog>,
    partitions: Partition,
    rate: u64,
    time: Duration,
    epoch: Instant,
) -> anyhow::Result<Vec<u64>> {
    let mut appends = FuturesUnordered::new();
    let mut taken = Vec::new();
    let total = rate * time.as_secs();
    let begin = Instant::now();
    let mut started = 0;
    let mut tick = tokio::time::interval(Duration::from_millis(1));
    while started < total || !appends.is_empty() {
        tokio::select! {
            _ = tick.tick(), if started < total => {
                let due = (begin.elapsed().as_secs_f64() * rate as f64) as u64;
                while started < due.min(total) {
                    let now = epoch.elapsed().as_nanos() as u64;
                    let mut value = vec![0; RECORD_BYTES];
                    value[..8].copy_from_slice(&now.to_be_bytes());
                    let append = log.append((started % u64::from(partitions)) as Partition, Bytes::from_static(b"key"), value.into());
                    appends.push(async move { append.await.map(|_| epoch.elapsed().as_nanos() as u64 - now) });
                    started += 1;
                }
            }
            Some(append) = appends.next() => taken.push(append?),
        }
    }
    Ok(taken)
}

async fn most(log: &Arc<KafkaLog>, partitions: Partition) -> anyhow::Result<(u32, f64)> {
    let begin = Instant::now();
    let value = Bytes::from(vec![0; RECORD_BYTES]);
    let mut appends = FuturesUnordered::new();
    let mut count = 0;
    while begin.elapsed() < TIME {
        while appends.len() < IN_FLIGHT {
            appends.push(log.append(count % partitions, Bytes::from_static(b"key"), value.clone()));
            count += 1;
        }
        appends.next().await.context("an append")??;
    }
    while let Some(append) = appends.next().await {
        append?;
    }
    Ok((count, f64::from(count) / begin.elapsed().as_secs_f64()))
}

/// Of this process, without the broker.
fn processor_time() -> anyhow::Result<Duration> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let fields: Vec<&str> = stat.rsplit(") ").next().context("stat")?.split(' ').collect();
    // utime and stime, in hundredths of a second.
    let ticks: u64 =
        fields.get(11).context("utime")?.parse::<u64>()? + fields.get(12).context("stime")?.parse::<u64>()?;
    Ok(Duration::from_millis(ticks * 10))
}

fn quantiles(nanos: &mut [u64]) -> String {
    nanos.sort_unstable();
    let at = |part: f64| {
        let index = ((nanos.len() - 1) as f64 * part) as usize;
        format!("{:.2} ms", nanos[index] as f64 / 1e6)
    };
    format!("{}, {}", at(0.5), at(0.99))
}
