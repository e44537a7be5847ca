//! Ten thousand clients of one edge, which dies: how they come back at the other one.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::Context;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use skywave_harness::participant::{Publisher, read_history};

use super::Strength;
use crate::crowd::Crowd;
use crate::stage::Stage;

const CHANNEL: &str = "chat:crowd";
const DYING: &str = "eu-edge-1";
/// Between two publications for all of them.
const PAUSE: Duration = Duration::from_secs(5);
/// Longest wait for all of them: two busy cores do the work of both sides.
const PATIENCE: Duration = Duration::from_secs(420);

pub(super) fn comes_back(stage: &Stage<'_>, strength: Strength) -> anyhow::Result<String> {
    let count = if strength == Strength::Short { 500 } else { 10_000 };
    open_files(count as u64 + 1_000)?;
    let edges = stage.edges("eu")?;
    let feeder = Publisher::start_paced(
        stage.edges("us")?[0],
        stage.recorder(),
        "p-crowd",
        CHANNEL,
        Some(stage.token("p-crowd")),
        PAUSE,
    );
    let crowd = Crowd::gather(count, [edges[0], edges[1]], CHANNEL)?;
    wait("the crowd to gather", &crowd, |crowd| crowd.at(0) == count)?;
    let everybody = |beyond: u64| move |crowd: &Crowd| crowd.seen().all(|offset| offset > beyond);
    wait("everybody to hear something", &crowd, everybody(crowd.furthest()))?;

    let begin = Instant::now();
    crowd.shared().lost_at.store(crowd.shared().now(), Ordering::Relaxed);
    stage.cluster.kill9(DYING)?;
    wait("everybody to be at the other edge", &crowd, |crowd| crowd.at(1) == count)?;
    let all = begin.elapsed();
    stage.cluster.restart(DYING)?;
    wait("everybody to hear something again", &crowd, everybody(crowd.furthest()))?;

    feeder.finish()?;
    let reader = stage.token("reader");
    read_history(stage.edges("us")?[1], stage.recorder(), CHANNEL, Some(&reader))?;
    let shared = Arc::clone(crowd.shared());
    drop(crowd);
    let complaints = shared.complaints.lock().map_err(|_| anyhow::anyhow!("a client panicked"))?;
    anyhow::ensure!(
        complaints.is_empty(),
        "{} clients saw holes: {:?}",
        complaints.len(),
        complaints.first()
    );
    let exact = shared.exact.load(Ordering::Relaxed);
    anyhow::ensure!(exact >= count, "{exact} of {count} were told that they recovered exactly");
    let half = shared.half_back(count).context("nobody came back")?;
    Ok(format!(
        "{count} clients came back, each with an exact recovery: half of them within {:.1} s, all within {:.1} s",
        half.as_secs_f64(),
        all.as_secs_f64()
    ))
}

fn wait(what: &str, crowd: &Crowd, holds: impl Fn(&Crowd) -> bool) -> anyhow::Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while !holds(crowd) {
        anyhow::ensure!(
            Instant::now() < deadline,
            "waited {PATIENCE:?} in vain for {what}: {} at one edge, {} at the other",
            crowd.at(0),
            crowd.at(1)
        );
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

/// Raises this process's limit, as far as it may.
fn open_files(wanted: u64) -> anyhow::Result<()> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current.is_none_or(|current| current >= wanted) {
        return Ok(());
    }
    anyhow::ensure!(
        maximum.is_none_or(|maximum| maximum >= wanted),
        "this machine lets a process open {maximum:?} files; {wanted} are needed"
    );
    Ok(setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum })?)
}
