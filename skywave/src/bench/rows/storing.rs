//! From the log to the store of a cell that runs already: records are appended to its log directly, and its cores say how
//! many they have committed.
//!
//! First at a rate, for the lag: how long ago the append of the newest committed record was begun. Then a backlog, for the most.
//! Cores count all records, so that whoever measured before must have left none to be stored; that is waited for, and checked.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use bytes::Bytes;
use futures_util::stream::{FuturesUnordered, StreamExt};
use prometheus_client::registry::Registry;
use skywave_kafka::KafkaLog;
use skywave_ports::Log;
use skywave_protocol::inner::LogRecord;
use skywave_protocol::{ChannelName, MessageId, Payload, UserId};

use crate::bench::Bench;
use crate::bench::report::{Aim, Row, median, quantile};
use crate::bench::server;
use crate::settings::{self, ConfigArgs, Role};

const CHANNELS: u64 = 10_000;
const PAYLOAD: usize = 200;
const RATE: f64 = 30_000.0;
/// Appends under way at most.
const IN_FLIGHT: usize = 8_192;
const LAG_AIM: f64 = 500.0;
const PATIENCE: Duration = Duration::from_secs(120);
/// The store has everything when nothing was left to do for so long: longer than it takes a core to look again at what its log
/// has, and to commit it.
const QUIET: Duration = Duration::from_secs(3);

/// What is measured.
#[derive(Debug, Clone, clap::Args)]
pub(in crate::bench) struct Storing {
    /// Health addresses of all cores of the cell
    #[arg(required = true, num_args = 1.., value_name = "ADDR")]
    cores: Vec<SocketAddr>,
    /// Configuration of one of the cores
    #[command(flatten)]
    config: ConfigArgs,
}

struct Feed {
    log: Arc<KafkaLog>,
    names: Vec<ChannelName>,
    run: u32,
    number: u64,
}

pub(in crate::bench) fn run(bench: &mut Bench, storing: &Storing) -> anyhow::Result<()> {
    let loaded = settings::load(Role::Core, &storing.config, Vec::new())?;
    let mut config = loaded.value.kafka().map_err(|problem| anyhow::anyhow!("{problem}"))?;
    // Large requests: the writer shares the machine, and is not what is measured.
    config.linger = Duration::from_millis(5);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let run = rand::random::<u32>();
        let names = (0..CHANNELS).map(|n| ChannelName::parse(&format!("chat:store-{run}-{n}")));
        let names = names.collect::<Result<_, _>>()?;
        let log = Arc::new(KafkaLog::connect(config, &mut Registry::default()).await?);
        let mut feed = Feed { log, names, run, number: 0 };
        storing.settle().await?;
        paced(bench, storing, &mut feed).await?;
        most(bench, storing, &mut feed).await
    })
}

impl Storing {
    /// Records the cores have committed.
    fn persisted(&self) -> anyhow::Result<u64> {
        self.sum("skywave_core_persisted")
    }

    fn sum(&self, metric: &str) -> anyhow::Result<u64> {
        let sum = self.cores.iter().map(|core| server::metric_at(*core, metric)).sum::<Result<f64, _>>();
        Ok(sum? as u64)
    }

    /// Waits until the store has everything that the log has.
    async fn settle(&self) -> anyhow::Result<()> {
        let begin = Instant::now();
        let (mut last, mut since) = (self.persisted()?, begin);
        while since.elapsed() < QUIET {
            let left = self.sum("skywave_kafka_reader_lag")? + self.sum("skywave_core_unpersisted")?;
            let persisted = self.persisted()?;
            if left > 0 || persisted != last {
                (last, since) = (persisted, Instant::now());
            }
            anyhow::ensure!(begin.elapsed() < PATIENCE, "{left} records of others were still to be stored");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }
}

impl Feed {
    fn record(&mut self) -> (u32, Bytes, Bytes) {
        let channel = self.names[(self.number.wrapping_mul(7_919) % CHANNELS) as usize].clone();
        let key = Bytes::copy_from_slice(channel.as_str().as_bytes());
        let partition = skywave_engine::partition::of(&channel, self.log.partitions());
        let record = LogRecord {
            channel,
            time_ms: std::time::SystemTime::now()
                .duration_since(std::time::UNIX_EPOCH)
                .map_or(0, |since| since.as_millis() as u64),
            from: UserId::parse("ada").ok(),
            id: MessageId::parse(&format!("s-{}-{}", self.run, self.number)).ok(),
            region: "bench".into(),
            data: Payload::Json(Bytes::from(vec![b'1'; PAYLOAD])),
            reply: None,
        };
        self.number += 1;
        (partition, key, record.encode())
    }
}

/// Looks on a thread of its own at what was committed, while records are appended at the rate.
async fn paced(bench: &mut Bench, storing: &Storing, feed: &mut Feed) -> anyhow::Result<()> {
    let before = storing.persisted()?;
    let time = bench.round() * bench.options.rounds as u32;
    let total = (time.as_secs_f64() * RATE) as u64;
    let begin = Instant::now();
    let watched = storing.clone();
    let watch = std::thread::spawn(move || -> anyhow::Result<Vec<(f64, u64)>> {
        let mut seen = Vec::new();
        loop {
            let persisted = watched.persisted()? - before;
            seen.push((begin.elapsed().as_secs_f64(), persisted));
            if persisted >= total {
                return Ok(seen);
            }
            anyhow::ensure!(begin.elapsed() < time + PATIENCE, "{persisted} of {total} records were stored");
            std::thread::sleep(Duration::from_millis(20));
        }
    });
    // How many were begun by when: when this process sees an acknowledgement says more of it than of the cell.
    let mut begun = VecDeque::from([(0.0, 0)]);
    let (mut appends, mut started, mut done) = (FuturesUnordered::new(), 0_u64, 0_u64);
    let mut tick = tokio::time::interval(Duration::from_millis(2));
    while done < total {
        tokio::select! {
            _ = tick.tick() => {
                let due = ((begin.elapsed().as_secs_f64() * RATE) as u64).min(total);
                while started < due && appends.len() < IN_FLIGHT {
                    let (partition, key, value) = feed.record();
                    let log = Arc::clone(&feed.log);
                    appends.push(async move { log.append(partition, key, value).await });
                    started += 1;
                }
                begun.push_back((begin.elapsed().as_secs_f64(), started));
            }
            Some(append) = appends.next() => {
                append?;
                done += 1;
            }
        }
    }
    let took = begin.elapsed().as_secs_f64();
    let seen = watch.join().map_err(|_| anyhow::anyhow!("the watch panicked"))??;
    let lags = lags(begun, &seen, took)?;
    let rate = total as f64 / seen.last().map_or(took, |(at, _)| *at);
    let details = vec![
        ("p99", quantile(&lags, 0.99)),
        ("worst", quantile(&lags, 0.999_999)),
        ("stored a second", rate),
    ];
    let name = format!("lag from log to Postgres at {RATE} records a second, p50");
    bench.report(Row::new(name, quantile(&lags, 0.5), "ms", Aim::AtMost(LAG_AIM), details))
}

/// At each look: how long ago no more appends had been begun than are stored now. Fails if more were stored than begun.
fn lags(mut begun: VecDeque<(f64, u64)>, seen: &[(f64, u64)], until: f64) -> anyhow::Result<Vec<f64>> {
    let mut lags = Vec::new();
    for (at, persisted) in seen.iter().filter(|(at, _)| *at <= until) {
        while begun.get(1).is_some_and(|(_, count)| count <= persisted) {
            begun.pop_front();
        }
        let Some((then, _)) = begun.front() else { continue };
        // How many had been begun is noted after they were.
        let noted = begun.iter().find(|(noted, _)| noted > at);
        let others = noted.is_some_and(|(_, count)| count < persisted);
        anyhow::ensure!(
            !others,
            "{persisted} records were stored when fewer had been appended: others append too"
        );
        lags.push((at - then).max(0.0) * 1e3);
    }
    Ok(lags)
}

/// A backlog is appended as fast as the log takes it; the rate is that of its middle, between a tenth and nine tenths.
async fn most(bench: &mut Bench, storing: &Storing, feed: &mut Feed) -> anyhow::Result<()> {
    let total = (bench.options.seconds * RATE) as u64 * 2;
    let mut rates = Vec::new();
    for _ in 0..bench.options.rounds {
        let before = storing.persisted()?;
        let watched = storing.clone();
        let watch = std::thread::spawn(move || -> anyhow::Result<f64> {
            let (begin, mut first) = (Instant::now(), None);
            loop {
                let (now, persisted) = (Instant::now(), watched.persisted()? - before);
                if persisted > total / 10 {
                    let (then, count) = *first.get_or_insert((now, persisted));
                    if persisted > total * 9 / 10 {
                        return Ok((persisted - count) as f64 / (now - then).as_secs_f64());
                    }
                }
                anyhow::ensure!(begin.elapsed() < PATIENCE, "{persisted} of {total} records were stored");
                std::thread::sleep(Duration::from_millis(10));
            }
        });
        let (mut appends, mut started) = (FuturesUnordered::new(), 0);
        while started < total || !appends.is_empty() {
            while started < total && appends.len() < IN_FLIGHT {
                let (partition, key, value) = feed.record();
                let log = Arc::clone(&feed.log);
                appends.push(async move { log.append(partition, key, value).await });
                started += 1;
            }
            appends.next().await.context("an append")??;
        }
        rates.push(watch.join().map_err(|_| anyhow::anyhow!("the watch panicked"))??);
        let begin = Instant::now();
        while storing.persisted()? - before < total {
            anyhow::ensure!(begin.elapsed() < PATIENCE, "not everything was stored");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    let details = vec![("slowest round", quantile(&rates, 0.0)), ("records a round", total as f64)];
    let name = "rows a second from log to Postgres";
    bench.report(Row::new(name, median(rates), "/s", Aim::AtLeast(RATE), details))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lag_is_the_age_of_what_was_stored_last() {
        let begun = VecDeque::from([(0.0, 0), (0.1, 10), (0.2, 20), (0.3, 30)]);
        let found = lags(begun, &[(0.15, 0), (0.25, 10), (0.29, 15), (0.9, 30)], 0.5).unwrap();
        let found: Vec<u64> = found.iter().map(|lag| lag.round() as u64).collect();
        assert_eq!(found, [150, 150, 190], "and what ended after the last append is not looked at");
    }

    #[test]
    fn records_of_others_are_not_taken_for_its_own() {
        let begun = || VecDeque::from([(0.0, 0), (0.1, 10), (0.2, 20)]);
        assert!(lags(begun(), &[(0.15, 20)], 0.5).is_ok(), "begun, and noted a moment later");
        assert!(lags(begun(), &[(0.15, 21)], 0.5).is_err());
        assert!(lags(begun(), &[(0.05, 11)], 0.5).is_err());
    }
}
