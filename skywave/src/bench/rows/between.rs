//! Two regions that run already: how much later a publication arrives in the other region than at home, beyond what the link
//! between them delays.

use std::net::SocketAddr;

use crate::bench::Bench;
use crate::bench::latency::{self, CHANNELS, Way};
use crate::bench::report::median;
use crate::bench::report::quantile;
use crate::bench::rows::cell;
use crate::bench::speech::Speech;

const PAYLOAD: usize = 200;

/// What is measured.
#[derive(Debug, Clone, clap::Args)]
pub(in crate::bench) struct Between {
    /// Edge at home that takes the publishes
    #[arg(value_name = "ADDR")]
    publisher: SocketAddr,
    /// Another edge at home, with a subscriber
    #[arg(value_name = "ADDR")]
    near: SocketAddr,
    /// Edge in the other region, with a subscriber of the same channels
    #[arg(value_name = "ADDR")]
    far: SocketAddr,
    /// What the link between the two delays each way, in milliseconds
    #[arg(long, value_name = "MS")]
    one_way_ms: f64,
    /// A token that allows publishing to and subscribing to chat:* and live:*
    #[arg(long)]
    token: Option<String>,
}

pub(in crate::bench) fn run(bench: &mut Bench, between: &Between) -> anyhow::Result<()> {
    let mut base = (rand::random::<u32>() as usize) << 16;
    let places = [between.near, between.far];
    for (namespace, kind) in [("chat", "durable"), ("live", "ephemeral")] {
        let (mut later, mut whole) = (Vec::new(), Vec::new());
        for _ in 0..bench.options.rounds {
            base += CHANNELS;
            let speech = Speech::Product { namespace, token: between.token.clone(), payload: PAYLOAD };
            let way = Way { publisher: between.publisher, subscribers: &places, speech, base };
            let times = latency::measure(&way, bench.round())?;
            let (near, far) = (&times.delivered[0], &times.delivered[1]);
            later.push(
                near.iter().zip(far).map(|(near, far)| far - near - between.one_way_ms).collect::<Vec<_>>(),
            );
            whole.push(far.iter().map(|far| far - between.one_way_ms).collect::<Vec<_>>());
        }
        let slices = |rounds: &'_ [Vec<f64>]| rounds.iter().map(|round| quantile(round, 0.5)).collect();
        let medians: Vec<f64> = slices(&whole);
        let name = format!(
            "{kind}: delivery in the other region after that at home, less {} ms (publish to there, less the same: p50 {:.2} ms)",
            between.one_way_ms,
            median(medians)
        );
        cell::report(bench, &name, later.iter().map(Vec::as_slice).collect(), 0.0, (2.0, 10.0))?;
    }
    Ok(())
}
