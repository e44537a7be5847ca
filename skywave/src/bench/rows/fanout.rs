//! CPU per delivery: product and floor under the same load, in turns.

use std::path::{Path, PathBuf};

use anyhow::Context;

use crate::bench::Bench;
use crate::bench::load::{Load, Round};
use crate::bench::report::{Aim, Row, median};
use crate::bench::rows::relay;
use crate::bench::server::Server;
use crate::bench::speech::Speech;

/// Bytes of a publication's data.
const PAYLOAD: usize = 128;
/// Payload bytes of a floor frame when the product is not there to compare with: what its frames have about.
const FLOOR_FRAME: usize = 190;

#[derive(Clone, Copy)]
enum Pace {
    /// Messages a second.
    Rate(u32),
    /// As fast as the server delivers.
    Saturated,
}

struct Scene {
    name: &'static str,
    channels: usize,
    subscribers: usize,
    pace: Pace,
    namespace: &'static str,
    acknowledged: bool,
    /// In multiples of the floor.
    aim: f64,
}

const SCENES: &[Scene] = &[
    Scene {
        name: "1 channel × 1,000 subscribers, 20 msg/s, ephemeral",
        channels: 1,
        subscribers: 1_000,
        pace: Pace::Rate(20),
        namespace: "live",
        acknowledged: false,
        aim: 1.25,
    },
    Scene {
        name: "100 channels × 10 subscribers, 2,000 msg/s, ephemeral",
        channels: 100,
        subscribers: 10,
        pace: Pace::Rate(2_000),
        namespace: "live",
        acknowledged: false,
        aim: 1.5,
    },
    Scene {
        name: "100 channels × 10 subscribers, 2,000 msg/s, durable",
        channels: 100,
        subscribers: 10,
        pace: Pace::Rate(2_000),
        namespace: "chat",
        acknowledged: true,
        aim: 2.0,
    },
    Scene {
        name: "1 channel × 1,000 subscribers, saturated, ephemeral",
        channels: 1,
        subscribers: 1_000,
        pace: Pace::Saturated,
        namespace: "live",
        acknowledged: false,
        aim: 0.7,
    },
];

fn wanted(bench: &Bench) -> Vec<&'static Scene> {
    let only = bench.options.only.as_deref().unwrap_or_default();
    SCENES.iter().filter(|scene| scene.name.contains(only)).collect()
}

/// The product beside the floor, and beside another build of it if one is named.
pub(in crate::bench) fn run(bench: &mut Bench) -> anyhow::Result<()> {
    for scene in wanted(bench) {
        let data = bench.data()?;
        let (mut product, bytes) = product_load(bench, scene, &data.path().join("ours"), None)?;
        let mut other = match &bench.options.against {
            Some(binary) => {
                Some(product_load(bench, scene, &data.path().join("other"), Some(binary.clone()))?.0)
            }
            None => None,
        };
        let mut floor = floor_load(bench, scene, bytes.round() as usize)?;
        let (mut ours, mut theirs, mut others) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..bench.options.rounds {
            theirs.push(round(bench, scene, &mut floor)?);
            ours.push(round(bench, scene, &mut product)?);
            if let Some(other) = &mut other {
                others.push(round(bench, scene, other)?);
            }
        }
        let each = |rounds: &[Round]| median(rounds.iter().map(Round::cpu_each).collect());
        let rate = |rounds: &[Round]| {
            median(rounds.iter().map(|round| round.deliveries as f64 / round.took.as_secs_f64()).collect())
        };
        let mut details = vec![
            ("CPU per delivery µs", each(&ours)),
            ("floor µs", each(&theirs)),
            ("deliveries/s", rate(&ours)),
            ("floor deliveries/s", rate(&theirs)),
            ("frame bytes", bytes),
        ];
        if !others.is_empty() {
            details.push(("other build µs", each(&others)));
            details.push(("other build F", each(&others) / each(&theirs)));
        }
        bench.report(Row::new(
            scene.name,
            each(&ours) / each(&theirs),
            "F",
            Aim::AtMost(scene.aim),
            details,
        ))?;
    }
    Ok(())
}

/// A relay with its subscribers, and how long its frames are. Connections, caches and buffers have settled.
fn product_load(
    bench: &Bench,
    scene: &Scene,
    folder: &Path,
    binary: Option<PathBuf>,
) -> anyhow::Result<(Load, f64)> {
    std::fs::create_dir(folder).context("making a data folder")?;
    let server = relay::start(bench, folder, &relay::Setting { binary, ..relay::Setting::default() })?;
    let speech = Speech::Product { namespace: scene.namespace, token: None, payload: PAYLOAD };
    let mut load = Load::new(server, speech, scene.channels, scene.subscribers, scene.acknowledged)?;
    let bytes = round(bench, scene, &mut load)?.bytes;
    Ok((load, bytes))
}

/// The floor alone.
pub(in crate::bench) fn floor(bench: &mut Bench) -> anyhow::Result<()> {
    for scene in wanted(bench).into_iter().filter(|scene| !scene.acknowledged) {
        let mut load = floor_load(bench, scene, FLOOR_FRAME)?;
        let mut rounds = Vec::new();
        for _ in 0..bench.options.rounds {
            rounds.push(round(bench, scene, &mut load)?);
        }
        let each = median(rounds.iter().map(Round::cpu_each).collect());
        let rate =
            median(rounds.iter().map(|round| round.deliveries as f64 / round.took.as_secs_f64()).collect());
        let name = format!("floor: {}", scene.name);
        bench.report(Row::new(name, each, "µs", Aim::None, vec![("deliveries/s", rate)]))?;
    }
    Ok(())
}

fn floor_load(bench: &Bench, scene: &Scene, frame: usize) -> anyhow::Result<Load> {
    let server = Server::floor(bench.cores)?;
    let mut load =
        Load::new(server, Speech::Floor { payload: frame }, scene.channels, scene.subscribers, false)?;
    round(bench, scene, &mut load)?;
    Ok(load)
}

fn round(bench: &Bench, scene: &Scene, load: &mut Load) -> anyhow::Result<Round> {
    match scene.pace {
        Pace::Rate(rate) => load.paced(rate, bench.round()),
        Pace::Saturated => load.saturated(bench.round()),
    }
}
