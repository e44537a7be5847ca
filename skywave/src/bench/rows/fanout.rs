//! CPU per delivery: product and floor under the same load, in turns.

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

/// The product beside the floor.
pub(in crate::bench) fn run(bench: &mut Bench) -> anyhow::Result<()> {
    for scene in SCENES {
        let data = bench.data()?;
        let server = relay::start(bench, data.path(), &relay::Setting::default())?;
        let speech = Speech::Product { namespace: scene.namespace, token: None, payload: PAYLOAD };
        let mut product = Load::new(server, speech, scene.channels, scene.subscribers, scene.acknowledged)?;
        // Connections, caches and buffers settle; this round also tells how long the product's frames are.
        let bytes = round(bench, scene, &mut product)?.bytes;
        let mut floor = floor_load(bench, scene, bytes.round() as usize)?;
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for _ in 0..bench.options.rounds {
            theirs.push(round(bench, scene, &mut floor)?);
            ours.push(round(bench, scene, &mut product)?);
        }
        let each = |rounds: &[Round]| median(rounds.iter().map(Round::cpu_each).collect());
        let rate = |rounds: &[Round]| {
            median(rounds.iter().map(|round| round.deliveries as f64 / round.took.as_secs_f64()).collect())
        };
        let details = vec![
            ("CPU per delivery µs", each(&ours)),
            ("floor µs", each(&theirs)),
            ("deliveries/s", rate(&ours)),
            ("floor deliveries/s", rate(&theirs)),
            ("frame bytes", bytes),
        ];
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

/// The floor alone.
pub(in crate::bench) fn floor(bench: &mut Bench) -> anyhow::Result<()> {
    for scene in SCENES.iter().filter(|scene| !scene.acknowledged) {
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
