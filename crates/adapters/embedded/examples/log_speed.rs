//! Measures the embedded log: appends a second with many publishers, latency with few.
//!
//! `cargo run --release -p skywave-embedded --example log_speed [FOLDER]`
#![allow(clippy::print_stdout, reason = "its output is its purpose")]

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use skywave_embedded::{LogOptions, SqliteLog};
use skywave_ports::Log;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder: PathBuf = std::env::args().nth(1).unwrap_or_else(|| "target/log_speed".into()).into();
    let log = Arc::new(SqliteLog::open(&folder, LogOptions::default()).await?);
    println!(
        "{:>10} {:>10} {:>12} {:>10} {:>10} {:>12}",
        "appenders", "rate", "appends/s", "p50 ms", "p99 ms", "CPU us each"
    );
    for (appenders, rate) in [(1, 200), (10, 2_000), (100, 10_000), (64, 0), (1_024, 0), (8_192, 0)] {
        run(&log, appenders, rate).await?;
        let (_, end) = log.bounds(0).await?;
        log.trim(0, end).await?;
    }
    Ok(())
}

/// `rate` appends a second over all appenders; 0: as many as will go.
async fn run(log: &Arc<SqliteLog>, appenders: u32, rate: u32) -> Result<(), Box<dyn std::error::Error>> {
    const SECONDS: u64 = 3;
    let started = Instant::now();
    let cpu = cpu_time()?;
    let deadline = started + Duration::from_secs(SECONDS);
    let tasks: Vec<_> = (0..appenders)
        .map(|_| {
            let log = Arc::clone(log);
            tokio::spawn(async move {
                let value = Bytes::from(vec![b'x'; 200]);
                let mut latencies = Vec::new();
                let pause =
                    (rate > 0).then(|| Duration::from_secs_f64(f64::from(appenders) / f64::from(rate)));
                let mut tick = pause.map(tokio::time::interval);
                while Instant::now() < deadline {
                    if let Some(tick) = &mut tick {
                        tick.tick().await;
                    }
                    let asked = Instant::now();
                    if log.append(0, Bytes::new(), value.clone()).await.is_ok() {
                        latencies.push(asked.elapsed());
                    }
                }
                latencies
            })
        })
        .collect();
    let mut latencies = Vec::new();
    for task in tasks {
        latencies.extend(task.await?);
    }
    latencies.sort();
    let count = latencies.len();
    let at = |share: f64| latencies[((count - 1) as f64 * share) as usize].as_secs_f64() * 1e3;
    println!(
        "{appenders:>10} {:>10} {:>12.0} {:>10.2} {:>10.2} {:>12.1}",
        if rate == 0 { "max".to_owned() } else { rate.to_string() },
        count as f64 / started.elapsed().as_secs_f64(),
        at(0.5),
        at(0.99),
        (cpu_time()? - cpu).as_secs_f64() * 1e6 / count as f64,
    );
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
