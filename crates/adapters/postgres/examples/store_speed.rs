//! Measures the store on Postgres, two partitions at a time, into few and into many channels: rows a second when nothing
//! is waited for, the lag at a given rate while retention takes away as much, pages of history a second.
//!
//! `cargo run --release -p skywave-postgres --example store_speed [RATE [SECONDS [URL]]]`
//!
//! Without a URL it starts a server of its own, with synced writes and the settings of `docs/postgres.md`.
#![allow(clippy::print_stdout, reason = "its output is its purpose")]

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use prometheus_client::registry::Registry;
use skywave_ports::{Commit, DedupEntry, DedupKeep, Retention, Store, StoredPublication};
use skywave_postgres::{PostgresConfig, PostgresStore};
use skywave_protocol::message::HistoryQuery;
use skywave_protocol::{ChannelName, Epoch, MessageId, Payload, Publication, UserId};
use skywave_servers::{Postgres, PostgresOptions};

const PARTITIONS: u32 = 2;
const BATCH: u64 = 1_000;
/// What the persister does: a batch at this age, and as many times the records when it lags.
const PERSIST_AFTER: Duration = Duration::from_millis(100);
const CATCH_UP: usize = 8;

type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

#[tokio::main]
async fn main() -> Outcome<()> {
    let mut arguments = std::env::args().skip(1);
    let rate: u64 = arguments.next().map_or(Ok(30_000), |rate| rate.parse())?;
    let seconds: u64 = arguments.next().map_or(Ok(30), |seconds| seconds.parse())?;
    let (server, url) = match arguments.next() {
        Some(url) => (None, url),
        None => {
            let options = PostgresOptions::default()
                .set("shared_buffers", "512MB")
                .set("max_wal_size", "2GB")
                .set("wal_compression", "on");
            let server = Postgres::start_with(options)?;
            let url = server.url();
            (Some(server), url)
        }
    };
    for channels in [100, 10_000, 200_000] {
        let schema = format!("speed_{channels}");
        let config = PostgresConfig { url: url.clone(), schema: schema.clone(), ..PostgresConfig::default() };
        let fresh = Epoch::parse("speed")?;
        let store = PostgresStore::connect(config, "speed", fresh, &mut Registry::default()).await?;
        let store = Arc::new(store);
        println!("{channels} channels");
        let written = saturate(&store, channels, seconds, server.as_ref()).await?;
        if let Some(server) = &server {
            let sizes = format!(
                "SELECT concat_ws(' ', pg_table_size('{schema}.publications') / {written},
                    pg_indexes_size('{schema}.publications') / {written}, pg_total_relation_size('{schema}.dedup') / {written},
                    pg_total_relation_size('{schema}.channels') / {channels})"
            );
            let sizes = server.sql("postgres", &sizes)?;
            println!("  disk     bytes a row, its key and its dedup entry, bytes a channel: {sizes}");
        }
        paced(&store, channels, rate, seconds).await?;
        read(&store, channels).await?;
        let started = Instant::now();
        let loaded = store.load(0, 0).await?;
        println!(
            "  load     {} heads and {} dedup entries in {:.0} ms",
            loaded.heads.len(),
            loaded.dedup.len(),
            started.elapsed().as_secs_f64() * 1e3
        );
        if let Some(server) = &server {
            server.sql("postgres", &format!("DROP SCHEMA {schema} CASCADE; CHECKPOINT"))?;
        }
    }
    Ok(())
}

/// The rows of one partition: every channel in turn, in a scattered order.
struct Rows {
    names: Vec<ChannelName>,
    next: u64,
}

impl Rows {
    fn new(partition: u32, channels: u64, next: u64) -> Outcome<Self> {
        let name = |n| ChannelName::parse(&format!("bench:{partition}-{n}"));
        Ok(Self { names: (0..channels / u64::from(PARTITIONS)).map(name).collect::<Result<_, _>>()?, next })
    }

    fn row(&mut self) -> StoredPublication {
        let (n, channels) = (self.next, self.names.len() as u64);
        self.next += 1;
        StoredPublication {
            // A stride without a common factor visits every channel before any comes again.
            channel: self.names[(n.wrapping_mul(7_919) % channels) as usize].clone(),
            publication: Arc::new(Publication {
                offset: n / channels + 1,
                id: MessageId::parse("01JABCDEFGHJKMNPQRSTVWXYZ0").ok(),
                from: UserId::parse("ada").ok(),
                time_ms: n,
                data: Payload::Json(Bytes::from(vec![b'1'; 200])),
            }),
        }
    }
}

fn batch(rows: Vec<StoredPublication>, next: u64) -> Commit {
    let expected = next - rows.len() as u64;
    let dedup = (expected..next).map(|n| {
        let mut key = [0; 16];
        key[..8].copy_from_slice(&n.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes());
        key[8..].copy_from_slice(&n.wrapping_mul(0xd6e8_feb8_6659_fd93).to_le_bytes());
        DedupEntry { key, offset: n, time_ms: n }
    });
    let dedup_keep = DedupKeep { not_before_ms: 0, entries: 1_000_000 };
    Commit { expected, next, dedup: dedup.collect(), publications: rows, dedup_keep }
}

/// Batches of a thousand, one after the other.
async fn saturate(
    store: &Arc<PostgresStore>,
    channels: u64,
    seconds: u64,
    server: Option<&Postgres>,
) -> Outcome<u64> {
    let wal = || -> Outcome<f64> {
        let Some(server) = server else { return Ok(0.0) };
        Ok(server.sql("postgres", "SELECT pg_current_wal_lsn() - '0/0'::pg_lsn")?.parse()?)
    };
    let (started, wal_before, cpu_before) = (Instant::now(), wal()?, cpu(server)?);
    let until = started + Duration::from_secs(seconds);
    let partitions: Vec<_> = (0..PARTITIONS)
        .map(|partition| {
            let store = Arc::clone(store);
            tokio::spawn(async move {
                let first = store.load(partition, 0).await?.checkpoint;
                let (mut rows, mut worst) = (Rows::new(partition, channels, first)?, Duration::ZERO);
                while Instant::now() < until {
                    let publications = (0..BATCH).map(|_| rows.row()).collect();
                    let batch = batch(publications, rows.next);
                    let asked = Instant::now();
                    store.commit(partition, batch).await?;
                    worst = worst.max(asked.elapsed());
                }
                Outcome::Ok((rows.next - first, worst))
            })
        })
        .collect();
    let (mut written, mut worst) = (0, Duration::ZERO);
    for partition in partitions {
        let (rows, slowest) = partition.await??;
        (written, worst) = (written + rows, worst.max(slowest));
    }
    let rate = written as f64 / started.elapsed().as_secs_f64();
    println!(
        "  saturate {rate:.0} rows/s, slowest commit {:.0} ms, {:.0} bytes of WAL and {:.1} us of the server's CPU a row, load {}",
        worst.as_secs_f64() * 1e3,
        (wal()? - wal_before) / written as f64,
        (cpu(server)? - cpu_before) * 1e6 / written as f64,
        load_average()
    );
    Ok(written)
}

/// Rows come at a rate and wait as they do in the persister's tail; retention keeps up with them.
async fn paced(store: &Arc<PostgresStore>, channels: u64, rate: u64, seconds: u64) -> Outcome<()> {
    let per_partition = rate / u64::from(PARTITIONS);
    let started = Instant::now();
    let until = started + Duration::from_secs(seconds);
    let writers: Vec<_> = (0..PARTITIONS)
        .map(|partition| {
            let store = Arc::clone(store);
            tokio::spawn(async move { write_paced(&store, partition, channels, per_partition, until).await })
        })
        .collect();
    let removed = Arc::<AtomicU64>::default();
    let retention = tokio::spawn(retain(Arc::clone(store), Arc::clone(&removed), channels));
    let mut lags = Vec::new();
    for writer in writers {
        lags.extend(writer.await??);
    }
    retention.abort();
    lags.sort_unstable();
    let at = |part: f64| lags[((lags.len() - 1) as f64 * part) as usize].as_secs_f64() * 1e3;
    println!(
        "  at rate  {:.0} rows/s, lag p50 {:.0} ms, p99 {:.0} ms, worst {:.0} ms; retention took {:.0} rows/s; load {}",
        lags.len() as f64 / started.elapsed().as_secs_f64(),
        at(0.5),
        at(0.99),
        at(1.0),
        removed.load(Ordering::Relaxed) as f64 / started.elapsed().as_secs_f64(),
        load_average()
    );
    Ok(())
}

/// Returns the time from each row's coming to the return of its commit.
async fn write_paced(
    store: &PostgresStore,
    partition: u32,
    channels: u64,
    rate: u64,
    until: Instant,
) -> Outcome<Vec<Duration>> {
    let first = store.load(partition, 0).await?.checkpoint;
    let mut rows = Rows::new(partition, channels, first)?;
    let (started, mut made, mut lags) = (Instant::now(), 0, Vec::new());
    let mut tail = VecDeque::<(Instant, StoredPublication)>::new();
    let mut checkpoint = first;
    while Instant::now() < until {
        let due = (started.elapsed().as_secs_f64() * rate as f64) as u64;
        while made < due {
            let came = started + Duration::from_secs_f64(made as f64 / rate as f64);
            tail.push_back((came, rows.row()));
            made += 1;
        }
        let ripe = tail.front().is_some_and(|(came, _)| came.elapsed() >= PERSIST_AFTER);
        if tail.len() < BATCH as usize && !ripe {
            tokio::time::sleep(Duration::from_millis(2)).await;
            continue;
        }
        let taken: Vec<_> = tail.drain(..tail.len().min(BATCH as usize * CATCH_UP)).collect();
        let (came, publications): (Vec<_>, Vec<_>) = taken.into_iter().unzip();
        checkpoint += publications.len() as u64;
        store.commit(partition, batch(publications, checkpoint)).await?;
        lags.extend(came.iter().map(Instant::elapsed));
    }
    Ok(lags)
}

/// Keeps about a hundred thousand rows, as a core does: step by step, with pauses.
async fn retain(store: Arc<PostgresStore>, removed: Arc<AtomicU64>, channels: u64) -> Outcome<()> {
    let size = u32::try_from(100_000 / channels)?;
    loop {
        let done = store.retain("bench", Retention { size, not_before_ms: 0 }).await?;
        removed.fetch_add(done.removed, Ordering::Relaxed);
        tokio::time::sleep(Duration::from_millis(if done.complete { 1_000 } else { 50 })).await;
    }
}

/// The ten newest of each of many channels.
async fn read(store: &PostgresStore, channels: u64) -> Outcome<()> {
    let pages = (channels / 2).min(5_000);
    let started = Instant::now();
    for n in 0..pages {
        let channel = ChannelName::parse(&format!("bench:0-{n}"))?;
        store.history(&HistoryQuery { channel, after: 0, before: 0, limit: 10, reverse: true }).await?;
    }
    let each = started.elapsed().as_secs_f64() / pages as f64;
    println!("  history  {:.2} ms a page of ten, one at a time", each * 1e3);
    Ok(())
}

/// Seconds that the server's processes have run, as far as they are still there.
fn cpu(server: Option<&Postgres>) -> Outcome<f64> {
    let Some(server) = server else { return Ok(0.0) };
    let postmaster = server.process().pid()?;
    let mut ticks = 0;
    for process in skywave_servers::family::children(postmaster)?.into_iter().chain([postmaster]) {
        let Ok(stat) = std::fs::read_to_string(format!("/proc/{process}/stat")) else { continue };
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        // User and system time, its own and that of children that have ended; in ticks of 10 ms.
        for field in &fields[11..15] {
            ticks += field.parse::<u64>()?;
        }
    }
    Ok(ticks as f64 / 100.0)
}

fn load_average() -> String {
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    load.split(' ').next().unwrap_or_default().to_owned()
}
