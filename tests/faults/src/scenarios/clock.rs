//! Clocks that are wrong: of edges, and of cores; one ten minutes ahead, another ten minutes behind.
//!
//! Only what time of day it is (`clock.c`, loaded in front of the C library): timers and timed waits are not to notice. In
//! libfaketime the Kafka client's waits would never end, because it does not know C11's `cnd_timedwait`.

use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context;
use serde_json::json;
use skywave_harness::{Socket, wait};

use super::Strength;
use crate::stage::Stage;

type Wrong = [(&'static str, &'static str); 2];

const EDGES: Wrong = [("eu-edge-1", "600"), ("us-edge-1", "-600")];
const CORES: Wrong = [("eu-core-1", "600"), ("eu-core-2", "-600")];

pub(super) fn skewed_edges(stage: &Stage<'_>, strength: Strength) -> anyhow::Result<String> {
    skewed(stage, strength, &EDGES)
}

/// Those that date records: order and recovery know no clock, and of the hour in which a repeated id is known ten minutes take
/// only ten minutes.
pub(super) fn skewed_cores(stage: &Stage<'_>, strength: Strength) -> anyhow::Result<String> {
    let mut socket = stage.connect("eu", "p-before")?;
    let first = publish(&mut socket, stage)?;
    let told = skewed(stage, strength, &CORES)?;
    // Sequenced by a right clock, then by a wrong one, now by a right one again: still the same publication.
    let again = wait::until("the same publish to be answered again", || {
        let mut socket = stage.connect("eu", "p-before").ok()?;
        publish(&mut socket, stage).ok()
    })?;
    anyhow::ensure!(again == first, "published at {first}, and under the same id at {again}");
    Ok(format!("{told}; what had been published before was known by its id afterwards"))
}

fn publish(socket: &mut Socket, stage: &Stage<'_>) -> anyhow::Result<u64> {
    let answer = socket.publish(&stage.side_channel("clock"), "once", json!("once"))?;
    answer["offset"].as_u64().with_context(|| format!("not published: {answer}"))
}

/// Both begin anew with their wrong clocks, serve, and get the right ones back.
fn skewed(stage: &Stage<'_>, strength: Strength, wrong: &Wrong) -> anyhow::Result<String> {
    let told = play(stage, strength, wrong);
    // Whatever became of it: nobody is to begin with a wrong clock again.
    for (name, _) in wrong {
        stage.cluster.set_environment(name, &[])?;
    }
    let told = told?;
    for (name, _) in wrong {
        stage.cluster.restart(name)?;
    }
    Ok(told)
}

fn play(stage: &Stage<'_>, strength: Strength, wrong: &Wrong) -> anyhow::Result<String> {
    let folder = tempfile::tempdir()?;
    let library = folder.path().join("clock.so");
    compile(&library)?;
    let library = library.to_str().context("a path that is text")?;
    let mut told = Vec::new();
    for (name, offset) in wrong {
        stage.cluster.set_environment(name, &[("LD_PRELOAD", library), ("CLOCK_OFFSET", offset)])?;
        stage.cluster.restart(name)?;
        told.push(format!("{name} dated its log {}", dated(stage, name)?));
        stage.goes_on("the load to go on with a wrong clock")?;
    }
    std::thread::sleep(strength.or(2, 20));
    stage.goes_on("everybody to be served by wrong clocks still")?;
    Ok(told.join(", "))
}

fn compile(library: &std::path::Path) -> anyhow::Result<()> {
    let source = library.with_extension("c");
    std::fs::write(&source, include_str!("clock.c"))?;
    let mut compiler = Command::new("cc");
    compiler.args(["-shared", "-fPIC", "-O1", "-o"]).args([library, &source]).arg("-ldl");
    let output = compiler.output().context("a C compiler is needed (`cc`)")?;
    anyhow::ensure!(output.status.success(), "cc: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// How many minutes the newest line of a process's log is off.
fn dated(stage: &Stage<'_>, name: &str) -> anyhow::Result<String> {
    let log = std::fs::read_to_string(stage.cluster.member(name)?.log())?;
    let line = log.lines().rfind(|line| line.starts_with('{')).context("an empty log")?;
    let line: serde_json::Value = serde_json::from_str(line)?;
    let stamp = line["timestamp"].as_str().context("a line without time")?;
    let minutes = |text: &str| -> Option<i64> {
        let (hours, rest) = text.split_once('T')?.1.split_once(':')?;
        Some(hours.parse::<i64>().ok()? * 60 + rest.split_once(':')?.0.parse::<i64>().ok()?)
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs() / 60 % 1440;
    let off = minutes(stamp).with_context(|| format!("no time: {stamp}"))? - i64::try_from(now)?;
    // Around midnight.
    let off = (off + 720).rem_euclid(1440) - 720;
    anyhow::ensure!(off.abs() >= 8, "{name} has the right clock: {stamp}");
    Ok(format!("{off:+} min"))
}
