//! Measures the embedded store: rows a second into few and into many channels, and pages of history a second.
//!
//! `cargo run --release -p skywave-embedded --example store_speed [FOLDER]`
#![allow(clippy::print_stdout, reason = "its output is its purpose")]

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use skywave_embedded::{SqliteStore, StoreOptions, random_epoch};
use skywave_ports::{Commit, DedupEntry, DedupKeep, Store, StoredPublication};
use skywave_protocol::message::HistoryQuery;
use skywave_protocol::{ChannelName, MessageId, Payload, Publication, UserId};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder: PathBuf = std::env::args().nth(1).unwrap_or_else(|| "target/store_speed".into()).into();
    println!("{:>10} {:>10} {:>12} {:>12} {:>12}", "channels", "rows", "rows/s", "CPU us each", "worst ms");
    for channels in [100, 10_000, 200_000] {
        let folder = folder.join(channels.to_string());
        let fresh = random_epoch(&mut rand::rng());
        let store = SqliteStore::open(&folder, StoreOptions::default(), fresh).await?;
        write(&store, channels).await?;
        read(&store, channels).await?;
        let started = Instant::now();
        let loaded = store.load(0, 0).await?.heads.len();
        println!("           {loaded} heads loaded in {:.0} ms", started.elapsed().as_secs_f64() * 1e3);
        store.close().await;
    }
    Ok(())
}

fn name(n: u64) -> Result<ChannelName, skywave_protocol::channel::ChannelNameError> {
    ChannelName::parse(&format!("bench:{n}"))
}

/// Batches of a thousand, as the persister makes them, over channels in a scattered order.
async fn write(store: &SqliteStore, channels: u64) -> Result<(), Box<dyn std::error::Error>> {
    const ROWS: u64 = 400_000;
    const BATCH: u64 = 1_000;
    let names: Vec<_> = (0..channels).map(name).collect::<Result<_, _>>()?;
    let first = store.load(0, 0).await?.checkpoint;
    let (started, cpu, mut worst) = (Instant::now(), cpu_time()?, Duration::ZERO);
    for expected in (first..first + ROWS).step_by(BATCH as usize) {
        let next = expected + BATCH;
        let publications = (expected..next).map(|n| StoredPublication {
            // A stride without a common factor visits every channel before any comes again.
            channel: names[(n.wrapping_mul(7_919) % channels) as usize].clone(),
            publication: Arc::new(Publication {
                offset: n / channels + 1,
                id: MessageId::parse("01JABCDEFGHJKMNPQRSTVWXYZ0").ok(),
                from: UserId::parse("ada").ok(),
                time_ms: n,
                data: Payload::Json(Bytes::from(vec![b'1'; 200])),
            }),
        });
        let dedup = (expected..next).map(|n| DedupEntry { key: [1; 16], offset: n, time_ms: n });
        let batch = Commit {
            expected,
            next,
            publications: publications.collect(),
            dedup: dedup.collect(),
            dedup_keep: DedupKeep { not_before_ms: 0, entries: 1_000_000 },
        };
        let asked = Instant::now();
        store.commit(0, batch).await?;
        worst = worst.max(asked.elapsed());
    }
    let each = (cpu_time()? - cpu).as_secs_f64() * 1e6 / ROWS as f64;
    let rate = ROWS as f64 / started.elapsed().as_secs_f64();
    println!("{channels:>10} {ROWS:>10} {rate:>12.0} {each:>12.1} {:>12.1}", worst.as_secs_f64() * 1e3);
    Ok(())
}

/// Ten missed publications of each of many channels.
async fn read(store: &SqliteStore, channels: u64) -> Result<(), Box<dyn std::error::Error>> {
    let started = Instant::now();
    let pages = channels.min(10_000);
    for n in 0..pages {
        let query = HistoryQuery { channel: name(n)?, after: 0, before: 11, limit: 10, reverse: false };
        store.history(&query).await?;
    }
    let rate = pages as f64 / started.elapsed().as_secs_f64();
    println!("           {pages} pages of history, {rate:.0} a second");
    Ok(())
}

/// User and system time of this process so far (`/proc/self/stat`, fields 14 and 15, in ticks of 10 ms).
fn cpu_time() -> Result<Duration, Box<dyn std::error::Error>> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let fields: Vec<&str> = after_name.split_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>()? + fields[12].parse::<u64>()?;
    Ok(Duration::from_millis(ticks * 10))
}
