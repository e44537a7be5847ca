//! Measures how live subjects are best followed: one subscription a channel, hashed shards with a wildcard, or both.
//!
//! `cargo run --release -p skywave-nats --example fanout -- [--channels N] [--way exact|wildcard|hybrid|raw]
//! [--edges N] [--rate N]`
//!
//! Three nats-servers form a cluster. Each edge is a process with one connection, to another server than its neighbour,
//! and follows its own part of the channels; this process publishes to all of them at random. `raw` speaks the protocol
//! through a bare socket: what the servers alone cost, whatever the client library. Results: docs/adr/0012.
#![allow(clippy::print_stdout, reason = "its output is its purpose")]

mod edge;
mod latency;
mod process;
mod raw;

use std::time::{Duration, Instant};

use prometheus_client::registry::Registry;
use rand::Rng;
use skywave_nats::{NatsBus, NatsConfig};
use skywave_ports::Bus;
use skywave_protocol::{ChannelName, Subject};
use skywave_servers::nats::NatsCluster;

use edge::Edge;
use process::{cpu, resident};

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

const SECONDS: u64 = 8;
/// Subscriptions an edge exchanges a second, in the round with churn.
const CHURN: u32 = 2_000;
const SERVERS: usize = 3;

fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().collect();
    let option = |name: &str| {
        let at = arguments.iter().position(|argument| argument == name)?;
        arguments.get(at + 1).cloned()
    };
    if let Some(url) = option("--as-edge") {
        let way = option("--way").unwrap_or_default();
        return edge::run(&url, &way, option("--from").unwrap_or_default().parse()?);
    }
    let channels = match option("--channels") {
        Some(channels) => vec![channels.parse()?],
        None => vec![1_000, 100_000, 1_000_000],
    };
    let ways = match option("--way") {
        Some(way) => vec![way],
        None => ["exact", "wildcard", "hybrid", "raw"].map(String::from).to_vec(),
    };
    let edges = option("--edges").map_or(Ok(2), |edges| edges.parse())?;
    // Messages a second, all channels together.
    let rate = option("--rate").map_or(Ok(5_000), |rate| rate.parse())?;
    for channels in channels {
        for way in &ways {
            measure(way, channels, edges, rate)?;
        }
    }
    Ok(())
}

fn measure(way: &str, channels: u32, edges: u32, rate: u32) -> Outcome<()> {
    let folder = tempfile::tempdir()?;
    let cluster = NatsCluster::start(NatsCluster::options("fanout", SERVERS, folder.path())?)?;
    let pids = cluster.servers.iter().map(|server| server.process().pid()).collect::<Result<Vec<_>, _>>()?;
    let servers_cpu = || pids.iter().map(|pid| cpu(*pid)).sum::<f64>();
    println!("== {way}: {channels} channels over {edges} edges, {SERVERS} servers, {rate} messages/s");

    let share = channels / edges;
    let mut all = Vec::new();
    for number in 0..edges {
        all.push(Edge::start(&cluster.urls()[number as usize % SERVERS], way, number * share)?);
    }
    let idle: Vec<u64> = all.iter().map(|edge| resident(edge.pid())).collect();
    let (began, before) = (Instant::now(), servers_cpu());
    for edge in &mut all {
        edge.order(&format!("subscribe {share}"))?;
    }
    for edge in &mut all {
        edge.answer()?;
    }
    let seconds = began.elapsed().as_secs_f64();
    // Interest spreads behind the confirmations.
    std::thread::sleep(Duration::from_secs(3));
    let per_edge = all.iter().zip(&idle).map(|(edge, idle)| (resident(edge.pid()) - idle) as f64);
    let edge_memory = per_edge.sum::<f64>() / f64::from(edges);
    let server_memory = pids.iter().map(|pid| resident(*pid)).max().unwrap_or_default();
    println!(
        "subscribe: {:.0}/s, {:.1} us of server CPU each (all servers); edge +{:.1} MB ({:.0} B a channel); largest \
         server {} MB",
        f64::from(channels) / seconds,
        (servers_cpu() - before) * 1e6 / f64::from(channels),
        edge_memory / 1e6,
        edge_memory / f64::from(share),
        server_memory / 1_000_000,
    );
    let publisher = Publisher::start(&cluster.urls()[SERVERS - 1], channels)?;
    for (name, order) in
        [("traffic", format!("listen {SECONDS}")), ("churn", format!("churn {CHURN} {SECONDS}"))]
    {
        let before = (servers_cpu(), all.iter().map(|edge| cpu(edge.pid())).sum::<f64>());
        for edge in &mut all {
            edge.order(&order)?;
        }
        let sent = publisher.publish(rate)?;
        for (number, edge) in all.iter_mut().enumerate() {
            println!("{name}: edge {number}: {}", edge.answer()?);
        }
        let after = (servers_cpu(), all.iter().map(|edge| cpu(edge.pid())).sum::<f64>());
        println!(
            "{name}: {sent} messages sent in {SECONDS} s; CPU: servers {:.0} ms, edges {:.0} ms a second",
            (after.0 - before.0) * 1e3 / SECONDS as f64,
            (after.1 - before.1) * 1e3 / SECONDS as f64,
        );
    }
    println!(
        "servers at the end: {:?} MB",
        pids.iter().map(|pid| resident(*pid) / 1_000_000).collect::<Vec<_>>()
    );
    Ok(())
}

fn channel(number: u32) -> Subject {
    // The name is made of letters and digits.
    match ChannelName::parse(&format!("chat:room-{number}")) {
        Ok(name) => Subject::live(&name),
        Err(error) => unreachable!("{error}"),
    }
}

/// Publishes at an even rate, to channels at random.
struct Publisher {
    runtime: tokio::runtime::Runtime,
    bus: NatsBus,
    channels: u32,
}

impl Publisher {
    fn start(url: &str, channels: u32) -> Outcome<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let config = NatsConfig { servers: vec![url.to_owned()], ..NatsConfig::default() };
        let bus = runtime.block_on(NatsBus::connect(config, &mut Registry::default()))?;
        Ok(Self { runtime, bus, channels })
    }

    fn publish(&self, rate: u32) -> Outcome<u32> {
        self.runtime.block_on(async {
            let mut tick = tokio::time::interval(Duration::from_millis(1));
            let (began, mut sent) = (Instant::now(), 0);
            while began.elapsed() < Duration::from_secs(SECONDS) {
                tick.tick().await;
                let due = (began.elapsed().as_secs_f64() * f64::from(rate)) as u32;
                while sent < due {
                    let number = rand::rng().random_range(0..self.channels);
                    self.bus.publish(&channel(number), latency::stamp())?;
                    sent += 1;
                }
            }
            Ok(sent)
        })
    }
}
