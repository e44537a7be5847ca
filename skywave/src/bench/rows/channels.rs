//! A running edge with very many channels, one subscriber each: what its memory grows by.

use std::net::SocketAddr;
use std::time::Duration;

use crate::bench::Bench;
use crate::bench::fleet::Fleet;
use crate::bench::process;
use crate::bench::report::{Aim, Row};
use crate::bench::speech::Speech;

/// Subscriptions of one connection: so many channels have more subscribers than this process may have sockets.
const EACH: usize = 100;
const WARM_UP: usize = 10;
/// Time for what subscribing took to be given back.
const REST: Duration = Duration::from_secs(3);
const PATIENCE: Duration = Duration::from_secs(300);
const MEGABYTES_AIM: f64 = 100.0;

/// What is measured.
#[derive(Debug, Clone, clap::Args)]
pub(in crate::bench) struct Channels {
    /// The edge
    #[arg(value_name = "ADDR")]
    edge: SocketAddr,
    /// Its process
    #[arg(long, value_name = "PID")]
    pid: u32,
    /// How many channels
    #[arg(long, value_name = "N", default_value_t = 100_000)]
    channels: usize,
    /// A token that allows subscribing to chat:*
    #[arg(long)]
    token: Option<String>,
}

pub(in crate::bench) fn run(bench: &mut Bench, channels: &Channels) -> anyhow::Result<()> {
    let base = (rand::random::<u32>() as usize) << 20;
    let speech = Speech::Product { namespace: "chat", token: channels.token.clone(), payload: 0 };
    let mut fleet = Fleet::new(0)?;
    let mut open = |from: usize, count: usize| -> anyhow::Result<()> {
        for connection in from..from + count {
            let mut script = speech.publisher();
            for channel in 0..EACH {
                script.extend(speech.subscriber(base + connection * EACH + channel).pop());
            }
            fleet.open(channels.edge, script, 0)?;
        }
        fleet.settle(PATIENCE)?;
        std::thread::sleep(REST);
        Ok(())
    };
    open(0, WARM_UP)?;
    let before = process::anonymous_memory(channels.pid)?;
    let connections = channels.channels.div_ceil(EACH);
    open(WARM_UP, connections)?;
    let grown = process::anonymous_memory(channels.pid)?.saturating_sub(before) as f64 / 1e6;
    let name = format!("memory of an edge for {} channels, one subscriber each", connections * EACH);
    let details = vec![("connections", connections as f64), ("before, MB", before as f64 / 1e6)];
    bench.report(Row::new(name, grown, "MB", Aim::AtMost(MEGABYTES_AIM), details))
}
