//! A cell that runs already, over its edges: how long a publication takes to its acknowledgement and to a subscriber at another
//! edge while others publish at half of what a cell must bear; then durable publishes a second with a full window.
//!
//! Nothing is pinned: cell and generator share the machine, which is part of the figures.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;

use crate::bench::Bench;
use crate::bench::crowd::{Crowd, WINDOW};
use crate::bench::latency::{self, CHANNELS, Times, Way};
use crate::bench::report::{Aim, Row, median, quantile};
use crate::bench::speech::Speech;

/// Of the load.
const BUSY_CHANNELS: u64 = 1_000;
const PAYLOAD: usize = 200;
const DURABLE_AIM: f64 = 15_000.0;

/// What is measured.
#[derive(Debug, Clone, clap::Args)]
pub(in crate::bench) struct Cell {
    /// Two or more edges of the cell: the first one takes the publishes, the last one has the subscribers
    #[arg(required = true, num_args = 1.., value_name = "ADDR")]
    edges: Vec<SocketAddr>,
    /// Durable publishes a second beside those whose latency is measured: half of what a cell must bear
    #[arg(long, value_name = "RATE", default_value_t = DURABLE_AIM / 2.0)]
    load: f64,
    /// Seconds of this load before anything is measured; a broker that has just started compiles its own code for a minute
    #[arg(long, value_name = "SECONDS", default_value_t = 4.0)]
    warm_up: f64,
    /// A token that allows publishing to and subscribing to chat:* and live:*
    #[arg(long)]
    token: Option<String>,
}

impl Cell {
    fn speech(&self, namespace: &'static str) -> Speech {
        Speech::Product { namespace, token: self.token.clone(), payload: PAYLOAD }
    }

    /// One round after the other, each in channels of its own.
    fn latency(
        &self,
        bench: &Bench,
        namespace: &'static str,
        base: &mut usize,
    ) -> anyhow::Result<Vec<Times>> {
        let subscribers = [*self.edges.last().context("no edge")?];
        let rounds = (0..bench.options.rounds).map(|_| {
            *base += CHANNELS;
            let speech = self.speech(namespace);
            let way = Way { publisher: self.edges[0], subscribers: &subscribers, speech, base: *base };
            latency::measure(&way, bench.round())
        });
        rounds.collect()
    }
}

pub(in crate::bench) fn run(bench: &mut Bench, cell: &Cell) -> anyhow::Result<()> {
    let warm_up = Duration::try_from_secs_f64(cell.warm_up).context("--warm-up")?;
    // Names of their own for each run: a cell remembers ids.
    let mut base = (rand::random::<u32>() as usize) << 16;
    let first = base as u64 + (1 << 15);
    let mut crowd = Crowd::open(&cell.edges, cell.speech("chat"), first..first + BUSY_CHANNELS)?;
    let work = || {
        std::thread::sleep(warm_up);
        cell.latency(bench, "chat", &mut base)
    };
    let (durable, load) = latency::under_load(&mut crowd, cell.load, work)?;
    let acknowledged = durable.iter().map(|times| times.acknowledged.as_slice());
    report(bench, "durable publish to acknowledgement", acknowledged.collect(), load, (3.0, 15.0))?;
    let delivered = durable.iter().map(|times| times.delivered[0].as_slice());
    report(bench, "durable publish to delivery at another edge", delivered.collect(), load, (4.0, 20.0))?;
    let ephemeral = cell.latency(bench, "live", &mut base)?;
    let delivered = ephemeral.iter().map(|times| times.delivered[0].as_slice());
    report(bench, "ephemeral publish to delivery at another edge", delivered.collect(), 0.0, (1.0, 5.0))?;

    // Last: what it leaves to be stored would be in the way of the others.
    crowd.publish_for(bench.round())?;
    let mut rates = Vec::new();
    for _ in 0..bench.options.rounds {
        let (answered, took) = crowd.publish_for(bench.round())?;
        rates.push(answered as f64 / took.as_secs_f64());
    }
    let name = format!("durable publishes, {PAYLOAD} B, {BUSY_CHANNELS} channels");
    let details = vec![
        ("slowest round", quantile(&rates, 0.0)),
        ("fastest round", quantile(&rates, 0.999)),
        ("in flight", WINDOW as f64),
        ("edges", cell.edges.len() as f64),
    ];
    bench.report(Row::new(name, median(rates), "/s", Aim::AtLeast(DURABLE_AIM), details))
}

/// Two rows: the medians over the rounds of p50 and of p99. `aims`: of both.
pub(super) fn report(
    bench: &mut Bench,
    what: &str,
    rounds: Vec<&[f64]>,
    load: f64,
    aims: (f64, f64),
) -> anyhow::Result<()> {
    for (name, share, aim) in [("p50", 0.5, aims.0), ("p99", 0.99, aims.1)] {
        let figures: Vec<f64> = rounds.iter().map(|times| quantile(times, share)).collect();
        let count = rounds.iter().map(|times| times.len()).sum::<usize>();
        let details = vec![
            ("best round", quantile(&figures, 0.0)),
            ("worst round", quantile(&figures, 0.999)),
            ("count", count as f64),
            ("load beside it, /s", load),
        ];
        bench.report(Row::new(
            format!("{what}, {name}"),
            median(figures),
            "ms",
            Aim::AtMost(aim),
            details,
        ))?;
    }
    Ok(())
}
