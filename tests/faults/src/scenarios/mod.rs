//! The faults. Each knows how it is struck and healed, and how it is seen that it happened.
//!
//! Names of processes are those of the cluster: the home region's are `eu-…`, its neighbour's `us-…`.

mod clock;
mod crowd;
mod disk;
mod slow;

use std::time::{Duration, Instant};

use anyhow::Context;
use skywave_cluster::Kind;
use skywave_harness::Part;
use skywave_servers::State;

use crate::setting::Setting::{self, Ordinary};
use crate::stage::Stage;

/// How much of a fault there is to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strength {
    /// Seconds.
    Short,
    /// As long as the table says.
    Full,
}

impl Strength {
    fn or(self, short: u64, full: u64) -> Duration {
        Duration::from_secs(if self == Self::Short { short } else { full })
    }
}

pub struct Scenario {
    pub name: &'static str,
    pub fault: &'static str,
    /// What must hold.
    pub holds: &'static str,
    /// Part of the short run.
    pub short: bool,
    /// What it is played on.
    pub setting: Setting,
    /// Does it, from the strike to the healing; answers the evidence that it happened.
    pub play: fn(&Stage<'_>, Strength) -> anyhow::Result<String>,
}

/// Everywhere: an intruder is turned down (I11), whatever is refused may be tried again and everybody is served again (I7), and
/// every edge knows who is there (I12).
const ALL: &str = "I1–I5, I7, I11, I12";

/// Every fault, in the order of the table.
pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "edge-kill",
        fault: "an edge is killed (`kill -9`)",
        holds: ALL,
        short: true,
        setting: Ordinary,
        play: |stage, _| kill(stage, "eu-edge-1"),
    },
    Scenario {
        name: "edge-freeze",
        fault: "an edge is frozen for 10 s",
        holds: ALL,
        short: false,
        setting: Ordinary,
        play: |stage, strength| freeze(stage, "eu-edge-1", strength.or(3, 10)),
    },
    Scenario {
        name: "edge-rolling",
        fault: "the edges of a region are restarted one after the other",
        holds: ALL,
        short: false,
        setting: Ordinary,
        play: |stage, _| rolling(stage, &["eu-edge-1", "eu-edge-2"]),
    },
    Scenario {
        name: "core-kill",
        fault: "a core is killed",
        holds: ALL,
        short: true,
        setting: Ordinary,
        play: |stage, _| kill(stage, "eu-core-1"),
    },
    Scenario {
        name: "core-zombie",
        fault: "a core is frozen through a rebalance, and thawed",
        holds: ALL,
        short: true,
        setting: Ordinary,
        play: zombie,
    },
    Scenario {
        name: "core-zombies",
        fault: "both cores in turn are frozen, each while the other one takes over: each believes it owns everything",
        holds: ALL,
        short: false,
        setting: Ordinary,
        play: zombies,
    },
    Scenario {
        name: "core-rolling",
        fault: "the cores are restarted one after the other",
        holds: ALL,
        short: false,
        setting: Ordinary,
        play: |stage, _| rolling(stage, &["eu-core-1", "eu-core-2"]),
    },
    Scenario {
        name: "core-storm",
        fault: "a core is killed and brought back every 5 s",
        holds: ALL,
        short: false,
        setting: Ordinary,
        play: storm,
    },
    Scenario {
        name: "nats-kill",
        fault: "the home region's NATS is killed",
        holds: ALL,
        short: true,
        setting: Ordinary,
        play: |stage, _| kill(stage, "eu-nats-1"),
    },
    Scenario {
        name: "nats-freeze",
        fault: "the home region's NATS is frozen for 10 s",
        holds: ALL,
        short: false,
        setting: Ordinary,
        play: |stage, strength| freeze(stage, "eu-nats-1", strength.or(3, 10)),
    },
    Scenario {
        name: "nats-restart",
        fault: "the NATS servers are restarted one after the other",
        holds: ALL,
        short: false,
        setting: Ordinary,
        play: |stage, _| rolling(stage, &["eu-nats-1", "us-nats-1"]),
    },
    Scenario {
        name: "kafka-kill",
        fault: "the Kafka broker is killed",
        holds: ALL,
        short: true,
        setting: Ordinary,
        play: |stage, _| kill(stage, "eu-kafka-1"),
    },
    Scenario {
        name: "kafka-freeze",
        fault: "the Kafka broker is frozen for 10 s",
        holds: ALL,
        short: false,
        setting: Ordinary,
        play: |stage, strength| freeze(stage, "eu-kafka-1", strength.or(3, 10)),
    },
    Scenario {
        name: "kafka-restart",
        fault: "the Kafka broker is restarted",
        holds: ALL,
        short: false,
        setting: Ordinary,
        play: |stage, _| rolling(stage, &["eu-kafka-1"]),
    },
    Scenario {
        name: "postgres-kill",
        fault: "Postgres is killed",
        holds: ALL,
        short: true,
        setting: Ordinary,
        play: |stage, _| kill(stage, "eu-postgres-1"),
    },
    Scenario {
        name: "postgres-away",
        fault: "Postgres is away for 2 min under load",
        holds: ALL,
        short: false,
        setting: Ordinary,
        play: |stage, strength| away(stage, "eu-postgres-1", strength.or(10, 120)),
    },
    Scenario {
        name: "postgres-freeze",
        fault: "Postgres is frozen for 10 s",
        holds: ALL,
        short: false,
        setting: Ordinary,
        play: |stage, strength| freeze(stage, "eu-postgres-1", strength.or(3, 10)),
    },
    Scenario {
        name: "postgres-restart",
        fault: "Postgres is restarted",
        holds: ALL,
        short: false,
        setting: Ordinary,
        play: |stage, _| rolling(stage, &["eu-postgres-1"]),
    },
    Scenario {
        name: "redis-kill",
        fault: "Redis is killed",
        holds: ALL,
        short: true,
        setting: Ordinary,
        play: |stage, _| kill(stage, "eu-redis-1"),
    },
    Scenario {
        name: "redis-freeze",
        fault: "Redis is frozen for 10 s",
        holds: ALL,
        short: false,
        setting: Ordinary,
        play: |stage, strength| freeze(stage, "eu-redis-1", strength.or(3, 10)),
    },
    Scenario {
        name: "redis-flush",
        fault: "Redis is flushed",
        holds: ALL,
        short: false,
        setting: Ordinary,
        play: flush,
    },
    Scenario {
        name: "redis-restart",
        fault: "the Redis servers are restarted one after the other",
        holds: ALL,
        short: false,
        setting: Ordinary,
        play: |stage, _| rolling(stage, &["eu-redis-1", "us-redis-1"]),
    },
    Scenario {
        name: "region-cut",
        fault: "a region is cut off for 30 s",
        holds: ALL,
        short: true,
        setting: Ordinary,
        play: |stage, strength| cut(stage, strength.or(5, 30)),
    },
    Scenario {
        name: "region-loss",
        fault: "half of what goes between two regions is delayed or lost (150 ± 50 ms, 2 %)",
        holds: ALL,
        short: false,
        setting: Ordinary,
        play: bad_link,
    },
    Scenario {
        name: "clock-skew",
        fault: "an edge's clock is 10 min ahead, another's 10 min behind",
        holds: ALL,
        short: false,
        setting: Ordinary,
        play: clock::skewed_edges,
    },
    Scenario {
        name: "clock-skew-core",
        fault: "a core's clock is 10 min ahead, the other's 10 min behind",
        holds: ALL,
        short: false,
        setting: Ordinary,
        play: clock::skewed_cores,
    },
    Scenario {
        name: "client-stuck",
        fault: "a client does not read, among others that do",
        holds: "I1–I7, I11, I12",
        short: false,
        setting: Ordinary,
        play: slow::client,
    },
    Scenario {
        name: "nats-slow",
        fault: "NATS gives up an edge as a slow consumer",
        holds: ALL,
        short: false,
        setting: Ordinary,
        play: slow::consumer,
    },
    Scenario {
        name: "disk-full",
        fault: "the disk under Postgres is full",
        holds: ALL,
        short: false,
        setting: Setting::SmallStore,
        play: disk::full,
    },
    Scenario {
        name: "kafka-power",
        fault: "the Kafka broker loses its power, and what it has not synced",
        holds: ALL,
        short: false,
        setting: Setting::LogOnDisk,
        play: disk::power_cut,
    },
    Scenario {
        name: "kafka-power-copies",
        fault: "one of three Kafka brokers loses its power, and what it has not synced",
        holds: ALL,
        short: false,
        setting: Setting::LogInCopies,
        play: disk::power_cut_of_one,
    },
    Scenario {
        name: "crowd",
        fault: "an edge with 10,000 clients is killed: all of them come to the other one",
        holds: ALL,
        short: false,
        setting: Setting::Crowded,
        play: crowd::comes_back,
    },
];

/// `kill -9`; back again after a moment, as a supervisor would do it.
fn kill(stage: &Stage<'_>, name: &str) -> anyhow::Result<String> {
    let cluster = stage.cluster;
    let before = cluster.member(name)?.pid().context("it has no process")?;
    cluster.kill9(name)?;
    anyhow::ensure!(cluster.member(name)?.state() == State::Gone, "{name} lives");
    // What falls into this time is what the run is about.
    without(stage, name, Duration::from_secs(1))?;
    cluster.restart(name)?;
    let after = cluster.member(name)?.pid().context("it has no process")?;
    Ok(format!("process {before} became {after}"))
}

/// Lets this time go by while a process is away, and answers how much was acknowledged meanwhile.
fn without(stage: &Stage<'_>, name: &str, time: Duration) -> anyhow::Result<u64> {
    let part = part(stage.cluster.member(name)?.kind);
    part.into_iter().for_each(|part| stage.is_away(part));
    let before = stage.acknowledged();
    std::thread::sleep(time);
    let meanwhile = stage.acknowledged() - before;
    part.into_iter().for_each(|part| stage.is_back(part));
    Ok(meanwhile)
}

/// What nothing of is left when one of its processes is away.
fn part(kind: Kind) -> Option<Part> {
    match kind {
        Kind::Kafka => Some(Part::Log),
        Kind::Postgres => Some(Part::Store),
        Kind::Redis => Some(Part::State),
        Kind::Nats => Some(Part::Bus),
        _ => None,
    }
}

fn freeze(stage: &Stage<'_>, name: &str, time: Duration) -> anyhow::Result<String> {
    let cluster = stage.cluster;
    cluster.pause(name)?;
    anyhow::ensure!(cluster.member(name)?.state() == State::Stopped, "{name} is not frozen");
    let meanwhile = without(stage, name, time)?;
    cluster.resume(name)?;
    Ok(format!("frozen for {} s, {meanwhile} acknowledged meanwhile", time.as_secs()))
}

fn rolling(stage: &Stage<'_>, names: &[&str]) -> anyhow::Result<String> {
    for name in names {
        stage.cluster.restart(name)?;
        stage.goes_on("the load to go on between two restarts")?;
    }
    Ok(format!("{} left by themselves and came back", names.join(", ")))
}

fn away(stage: &Stage<'_>, name: &str, time: Duration) -> anyhow::Result<String> {
    stage.cluster.kill9(name)?;
    let during = without(stage, name, time)?;
    stage.cluster.restart(name)?;
    Ok(format!("away for {} s, {during} acknowledged meanwhile", time.as_secs()))
}

/// A core that believes it owns partitions which another one has taken over.
fn zombie(stage: &Stage<'_>, strength: Strength) -> anyhow::Result<String> {
    let cluster = stage.cluster;
    cluster.pause("eu-core-1")?;
    // The other one takes over when the group has given the frozen one up.
    let took = stage.goes_on("the other core to take over")?;
    std::thread::sleep(strength.or(1, 5));
    cluster.resume("eu-core-1")?;
    Ok(format!("the other core served after {:.1} s, beside it the zombie afterwards", took.as_secs_f64()))
}

/// Two cores of which each has served everything while the other one was frozen, and does not know how long it was.
fn zombies(stage: &Stage<'_>, strength: Strength) -> anyhow::Result<String> {
    let cluster = stage.cluster;
    cluster.pause("eu-core-1")?;
    let second = stage.goes_on("the second core to take over")?;
    std::thread::sleep(strength.or(1, 5));
    // In this order there is a moment in which nobody serves, and then the first one does with what it knew.
    cluster.pause("eu-core-2")?;
    cluster.resume("eu-core-1")?;
    let first = stage.goes_on("the first core to take over again")?;
    std::thread::sleep(strength.or(1, 5));
    cluster.resume("eu-core-2")?;
    Ok(format!(
        "the second core served after {:.1} s, the first again after {:.1} s, then both were there",
        second.as_secs_f64(),
        first.as_secs_f64()
    ))
}

fn storm(stage: &Stage<'_>, strength: Strength) -> anyhow::Result<String> {
    let until = Instant::now() + strength.or(10, 60);
    let mut rounds = 0;
    while Instant::now() < until {
        let name = if rounds % 2 == 0 { "eu-core-1" } else { "eu-core-2" };
        stage.cluster.kill9(name)?;
        std::thread::sleep(Duration::from_millis(2_500));
        stage.cluster.start(name)?;
        std::thread::sleep(Duration::from_millis(2_500));
        rounds += 1;
    }
    for name in ["eu-core-1", "eu-core-2"] {
        stage.cluster.wait_ready(name)?;
    }
    Ok(format!("{rounds} times"))
}

fn flush(stage: &Stage<'_>, _: Strength) -> anyhow::Result<String> {
    skywave_servers::redis::flush(stage.cluster.member("eu-redis-1")?.address("url")?)?;
    Ok("Redis said OK".into())
}

fn cut(stage: &Stage<'_>, time: Duration) -> anyhow::Result<String> {
    let mut links = stage.cluster.links()?;
    links.cut("eu", "us")?;
    let passed = |links: &mut skywave_wan::Control| -> anyhow::Result<u64> {
        Ok(links.status()?.ways.iter().map(|way| way.counters.stream_bytes).sum())
    };
    let before = passed(&mut links)?;
    std::thread::sleep(time);
    let after = passed(&mut links)?;
    links.heal("eu", "us")?;
    anyhow::ensure!(after == before, "{} bytes passed a link that was cut", after - before);
    Ok(format!("nothing passed for {} s", time.as_secs()))
}

fn bad_link(stage: &Stage<'_>, strength: Strength) -> anyhow::Result<String> {
    let mut links = stage.cluster.links()?;
    let bad = skywave_wan::Change {
        delay_ms: Some(150.0),
        jitter_ms: Some(50.0),
        loss: Some(0.02),
        ..skywave_wan::Change::default()
    };
    links.shape("eu", "us", bad)?;
    std::thread::sleep(strength.or(5, 30));
    let good = skywave_wan::Change {
        delay_ms: Some(0.0),
        jitter_ms: Some(0.0),
        loss: Some(0.0),
        ..skywave_wan::Change::default()
    };
    links.shape("eu", "us", good)?;
    Ok("the link was slow and lossy".into())
}
