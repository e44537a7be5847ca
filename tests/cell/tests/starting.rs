//! How a core begins and ends when what it needs is not there.

use std::time::Duration;

use serde_json::json;
use skywave_harness::{http, wait};

use crate::cell::{CORES, Cell, EDGES};

/// The order in which servers start does not matter.
pub(crate) fn log_later(cell: &Cell) -> anyhow::Result<()> {
    cell.cluster.kill9(CORES[0])?;
    cell.cluster.kill9("eu-kafka-1")?;
    cell.cluster.start(CORES[0])?;
    wait::until("the core to live", || {
        let live = http::get(cell.address(CORES[0]).ok()?, "/health/live").ok()?;
        (live.status == 200).then_some(())
    })?;
    let (status, body) = cell.health(CORES[0])?;
    anyhow::ensure!(status == 503 && body["components"][0]["detail"] == "starting or ending", "{body}");
    cell.cluster.restart("eu-kafka-1")?;
    cell.cluster.wait_ready(CORES[0])
}

/// A core that cannot store what it has waits for the store; asked twice, it ends.
pub(crate) fn second_signal(cell: &Cell) -> anyhow::Result<()> {
    let mut publisher = cell.connect(EDGES[0], "ada")?;
    cell.cluster.pause("eu-postgres-1")?;
    for number in 0..64 {
        publisher.publish(&format!("chat:signal-{number}"), "m-1", json!(1))?;
    }
    cell.terminate(CORES[0])?;
    // The same wish within a moment counts once.
    std::thread::sleep(Duration::from_millis(500));
    cell.terminate(CORES[0])?;
    // Its store is frozen all the time: it does not wait for it.
    wait::until("the core to end", || {
        (cell.cluster.member(CORES[0]).ok()?.state() == skywave_servers::State::Gone).then_some(())
    })?;
    cell.cluster.resume("eu-postgres-1")?;
    cell.cluster.restart(CORES[0])?;
    // What was acknowledged is there.
    for number in 0..64 {
        let answer = publisher.request("history", json!({ "channel": format!("chat:signal-{number}") }))?;
        anyhow::ensure!(answer["history"]["offset"] == 1, "{answer}");
    }
    Ok(())
}
