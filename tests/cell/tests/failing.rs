//! What a cell does when a part of it fails under load: the checkers judge everything that was published, acknowledged and
//! delivered over all edges (I1–I5). How long things took is told, not tested.
#![allow(clippy::print_stdout, reason = "a test program says how long things took")]

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::Context;
use serde_json::{Value, json};
use skywave_faults::Stage;
use skywave_harness::{server, wait};

use crate::cell::{CORES, Cell, EDGES, PARTITIONS};

pub(crate) fn redis_away(cell: &Cell) -> anyhow::Result<()> {
    cell.cluster.kill9("eu-redis-1")?;
    for edge in EDGES {
        wait::until(&format!("{edge} to notice"), || {
            let (status, body) = cell.health(edge).ok()?;
            (status == 200 && body["status"] == "degraded").then_some(())
        })?;
    }
    let (mut here, mut there) = (cell.connect(EDGES[0], "ada")?, cell.connect(EDGES[1], "bob")?);
    there.subscribe("chat:redis-away")?;
    here.publish("chat:redis-away", "m-1", json!(1))?;
    anyhow::ensure!(there.push()?["pub"]["data"] == 1);
    cell.cluster.restart("eu-redis-1")?;
    for edge in EDGES {
        wait::until(&format!("{edge} to be whole again"), || {
            let (_, body) = cell.health(edge).ok()?;
            (body["status"] == "ready").then_some(())
        })?;
    }
    Ok(())
}

/// SIGTERM: what is sequenced is stored before the group is left, so the other core replays nothing and no commit of one
/// meets one of the other.
pub(crate) fn leaving(cell: &Cell) -> anyhow::Result<()> {
    let stage = Stage::begin(&cell.cluster, "leaving")?;
    let conflicts = || cell.metric(CORES[1], "skywave_core_checkpoint_conflicts_total");
    let before = conflicts()?;
    cell.cluster.terminate(CORES[0])?;
    stage.goes_on("publishing at the core that is left")?;
    wait::until("it to serve all partitions", || (cell.served(CORES[1]).ok()? == PARTITIONS).then_some(()))?;
    anyhow::ensure!(conflicts()? == before, "commits met during an orderly leave");
    cell.cluster.restart(CORES[0])?;
    wait::until("the core to get its share again", || {
        (cell.served(CORES[0]).ok()? == PARTITIONS / 2).then_some(())
    })?;
    stage.goes_on("publishing at both cores")?;
    judge("a core left and came back", stage)
}

pub(crate) fn core_killed(cell: &Cell) -> anyhow::Result<()> {
    let stage = Stage::begin(&cell.cluster, "core-killed")?;
    for core in CORES {
        cell.cluster.kill9(core)?;
        stage.goes_on("publishing at the other core")?;
        cell.cluster.restart(core)?;
        wait::until("the core to get its share again", || {
            (cell.served(core).ok()? == PARTITIONS / 2).then_some(())
        })?;
    }
    judge("two kills of a core", stage)
}

pub(crate) fn edge_killed(cell: &Cell) -> anyhow::Result<()> {
    let stage = Stage::begin(&cell.cluster, "edge-killed")?;
    for edge in EDGES {
        cell.cluster.kill9(edge)?;
        stage.goes_on("everybody to go on at the other edge")?;
        cell.cluster.restart(edge)?;
    }
    judge("two kills of an edge", stage)
}

/// `skywave sub` with both edges' addresses, as it stands and routed: each edge is killed in turn, so that one of them is its own.
pub(crate) fn command(cell: &Cell) -> anyhow::Result<()> {
    const EACH: u64 = 20;
    let urls = EDGES.map(|edge| cell.address(edge).map(|address| format!("http://{address}")));
    let urls = urls.into_iter().collect::<anyhow::Result<Vec<_>>>()?.join(",");
    for route in [false, true] {
        let channel = format!("chat:command-{route}");
        let mut child = Command::new(server::binary()?)
            .args(["sub", &channel, "--json", "--from", "1", "--count", &(3 * EACH).to_string()])
            .args(["--url", &urls, "--token", &cell.token("ada")?])
            .args(route.then_some("--route"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut lines = BufReader::new(child.stdout.take().context("no output")?).lines();
        let mut offset = 0;
        let mut goes_on = |edge: &str| -> anyhow::Result<()> {
            let mut publisher = cell.connect(edge, "eve")?;
            for _ in 0..EACH {
                offset += 1;
                publisher.publish(&channel, &format!("m-{offset}"), json!(offset))?;
                let line = lines.next().context("the output ends")??;
                let publication: Value = serde_json::from_str(&line)?;
                anyhow::ensure!(publication["offset"] == offset, "{line} where {offset} was due");
            }
            Ok(())
        };
        goes_on(EDGES[1])?;
        for (dead, other) in [(EDGES[0], EDGES[1]), (EDGES[1], EDGES[0])] {
            cell.cluster.kill9(dead)?;
            goes_on(other)?;
            cell.cluster.restart(dead)?;
        }
        let status = wait::until("the end of `skywave sub`", || child.try_wait().transpose())??;
        anyhow::ensure!(status.success(), "{status}");
    }
    Ok(())
}

pub(crate) fn rolling(cell: &Cell) -> anyhow::Result<()> {
    let stage = Stage::begin(&cell.cluster, "rolling")?;
    for core in CORES.into_iter().cycle().take(4) {
        cell.cluster.restart(core)?;
        stage.goes_on("publishing between two restarts")?;
    }
    judge("four restarts of a core", stage)
}

/// SIGSTOP for longer than the group waits, then SIGCONT: for a moment the sleeper believes that it owns partitions which
/// another core has taken over.
pub(crate) fn zombie(cell: &Cell) -> anyhow::Result<()> {
    let stage = Stage::begin(&cell.cluster, "zombie")?;
    for core in CORES {
        cell.cluster.pause(core)?;
        let other = if core == CORES[0] { CORES[1] } else { CORES[0] };
        wait::until("the other core to take over", || {
            (cell.served(other).ok()? == PARTITIONS).then_some(())
        })?;
        stage.goes_on("publishing at the other core")?;
        cell.cluster.resume(core)?;
        wait::until("the sleeper to get its share again", || {
            (cell.served(core).ok()? == PARTITIONS / 2).then_some(())
        })?;
        stage.goes_on("publishing at both cores")?;
    }
    judge("two cores that slept", stage)
}

/// Publishing goes on while the tail has room, is refused with a time to retry when it has not, and goes on by itself when
/// the store is back.
pub(crate) fn postgres_away(cell: &Cell) -> anyhow::Result<()> {
    let stage = Stage::begin(&cell.cluster, "postgres-away")?;
    let mut publisher = cell.connect(EDGES[0], "burst")?;
    cell.cluster.kill9("eu-postgres-1")?;
    stage.goes_on("publishing without the store")?;
    for core in CORES {
        wait::until(&format!("{core} to notice"), || {
            (cell.health(core).ok()?.1["status"] == "degraded").then_some(())
        })?;
    }
    // More than the tail of one partition holds.
    let mut refused = None;
    for number in 0..4_000 {
        let body = json!({ "channel": "chat:burst", "id": format!("b-{number}"), "data": number });
        let answer = publisher.request("publish", body)?;
        if let Some(error) = answer.get("error") {
            refused = Some(error.clone());
            break;
        }
    }
    let refused = refused.unwrap_or_default();
    let retryable = refused["retry_after_ms"].as_u64().is_some();
    let known = ["log_unavailable", "timeout"].contains(&refused["code"].as_str().unwrap_or_default());
    anyhow::ensure!(retryable && known, "refused with {refused}");
    cell.cluster.restart("eu-postgres-1")?;
    wait::until("publishing to go on by itself", || {
        let body = json!({ "channel": "chat:burst", "id": "after", "data": "after" });
        let answer = publisher.request("publish", body).ok()?;
        answer.get("published").map(|_| ())
    })?;
    stage.goes_on("everything to go on")?;
    judge("Postgres away", stage)
}

fn judge(what: &str, stage: Stage<'_>) -> anyhow::Result<()> {
    let (figures, _) = stage.judge()?;
    println!(
        "  {what}: {} acknowledged, {} delivered; publishing stood still for {:.1} s at most, a subscriber waited {:.1} s; {}",
        figures.acknowledged,
        figures.delivered,
        Duration::as_secs_f64(&figures.publishing_stood),
        figures.delivery_stood.as_secs_f64(),
        figures.seen()
    );
    Ok(())
}
