//! Disks: the store's gets full, the log's loses its power.

use anyhow::Context;
use skywave_harness::Part;
use skywave_servers::State;
use skywave_servers::volume::Volume;

use super::Strength;
use crate::stage::Stage;

const POSTGRES: &str = "eu-postgres-1";
const BROKER: &str = "eu-kafka-1";
const ONE_OF_THREE: &str = "eu-kafka-2";

/// Nothing more can be stored until somebody makes room.
pub(super) fn full(stage: &Stage<'_>, strength: Strength) -> anyhow::Result<String> {
    let volume = stage.volume.context("Postgres needs a disk of its own")?;
    let complaints = || -> anyhow::Result<usize> {
        let log = std::fs::read_to_string(stage.cluster.member(POSTGRES)?.log())?;
        Ok(log.matches("No space left on device").count())
    };
    let ballast = volume.fill(0)?;
    let before = stage.acknowledged();
    stage.wait_for("Postgres to find its disk full", || Ok(complaints()? > 0))?;
    std::thread::sleep(strength.or(3, 30));
    let meanwhile = stage.acknowledged() - before;
    let complained = complaints()?;
    std::fs::remove_file(ballast)?;
    let mut told = format!("Postgres complained {complained} times, {meanwhile} acknowledged meanwhile");
    // It ends itself when not even its own log can be written: then somebody starts it again.
    if stage.cluster.member(POSTGRES)?.state() == State::Gone {
        stage.cluster.restart(POSTGRES)?;
        told.push_str(", it had ended and was started again");
    } else {
        stage.cluster.wait_ready(POSTGRES)?;
    }
    Ok(told)
}

/// What the broker has not synced is gone, as after a power cut: the file system is shut down without writing anything out.
pub(super) fn power_cut(stage: &Stage<'_>, _: Strength) -> anyhow::Result<String> {
    let volume = stage.volume.context("the broker needs a disk of its own")?;
    // The tool that formatted the broker's folder a moment ago has synced nothing. What is acknowledged from here on counts.
    volume.sync()?;
    stage.goes_on("the load to go on after the sync")?;
    cut(stage, volume, BROKER, || stage.is_away(Part::Log))?;
    stage.is_back(Part::Log);
    stage.cluster.restart(BROKER)?;
    Ok("a megabyte written a moment before and not synced was gone, everything acknowledged was there".into())
}

/// The others have what this one loses; it takes it from them when it comes back.
pub(super) fn power_cut_of_one(stage: &Stage<'_>, strength: Strength) -> anyhow::Result<String> {
    let volume = stage.volume.context("the broker needs a disk of its own")?;
    volume.sync()?;
    stage.goes_on("the load to go on after the sync")?;
    cut(stage, volume, ONE_OF_THREE, || ())?;
    let before = stage.acknowledged();
    stage.goes_on("two brokers to serve")?;
    std::thread::sleep(strength.or(1, 5));
    let meanwhile = stage.acknowledged() - before;
    stage.cluster.restart(ONE_OF_THREE)?;
    stage.goes_on("three brokers to serve")?;
    // What it lost must not come back as a hole when it leads.
    for other in ["eu-kafka-1", "eu-kafka-3"] {
        stage.cluster.restart(other)?;
        stage.goes_on("the load to go on while brokers change places")?;
    }
    Ok(format!(
        "a megabyte not synced was gone, {meanwhile} acknowledged meanwhile; then each of the others was restarted"
    ))
}

/// Cuts a broker's power, and gives it its disk back. `gone` is told when it is.
fn cut(stage: &Stage<'_>, volume: &Volume, broker: &str, gone: impl FnOnce()) -> anyhow::Result<()> {
    let ends = volume.root().join("data/unsynced");
    std::fs::write(&ends, vec![1; 1 << 20])?;
    volume.cut_power()?;
    stage.cluster.kill9(broker)?;
    gone();
    volume.remount()?;
    let left = std::fs::metadata(&ends).map_or(0, |metadata| metadata.len());
    anyhow::ensure!(left < 1 << 20, "a file that was never synced is whole: the power was not cut");
    Ok(())
}
