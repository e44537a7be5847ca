//! Memory per idle connection: what the relay's heap and stacks grow by, divided by the connections that made them grow.
//!
//! Each connection has one subscription (a thousand channels share them) and was served long enough to be idle. Kernel
//! memory (about 4 KB a TCP socket) is not in it.

use std::net::TcpStream;
use std::time::Duration;

use anyhow::Context;
use skywave_client::{ChannelName, Client, SubscribeOptions, Subscription, SubscriptionEvent};

use crate::bench::Bench;
use crate::bench::fleet::Fleet;
use crate::bench::report::{Aim, Row};
use crate::bench::rows::relay::{self, Setting};
use crate::bench::server::{self, Server};
use crate::bench::speech::Speech;
use crate::bench::tls::Secure;

const CHANNELS: usize = 1_000;
/// Connections before the first look, so that tables and pools that exist once are there.
const WARM_UP: usize = 500;
/// Time to become idle; less than the ping interval.
const REST: Duration = Duration::from_secs(3);
const PATIENCE: Duration = Duration::from_secs(120);

pub(in crate::bench) fn run(bench: &mut Bench) -> anyhow::Result<()> {
    plain(bench)?;
    secure(bench)?;
    webtransport(bench)
}

fn plain(bench: &mut Bench) -> anyhow::Result<()> {
    let data = bench.data()?;
    let server = relay::start(bench, data.path(), &Setting::default())?;
    let speech = speech();
    let mut fleet = Fleet::new(0)?;
    let address = server.address;
    let mut open = |from: usize, count: usize| {
        (from..from + count)
            .try_for_each(|at| fleet.open(address, speech.subscriber(at % CHANNELS), 0).map(|_| ()))?;
        fleet.settle(PATIENCE)
    };
    let grown = growth(bench, &server, &mut open)?;
    report(bench, "ws", grown, 3.0)
}

fn secure(bench: &mut Bench) -> anyhow::Result<()> {
    let data = bench.data()?;
    let address = server::free_port()?;
    let setting = Setting { tls: Some(address), ..Setting::default() };
    let server = relay::start(bench, data.path(), &setting)?;
    let (speech, client) = (speech(), Secure::new()?);
    let mut streams: Vec<TcpStream> = Vec::new();
    let mut open = |from: usize, count: usize| {
        for at in from..from + count {
            streams.push(client.open(address, &speech.subscriber(at % CHANNELS))?);
        }
        Ok(())
    };
    let grown = growth(bench, &server, &mut open)?;
    report(bench, "wss", grown, 10.0)
}

/// With the product's own client: QUIC by hand would be another project. Its memory is in this process, not in the
/// server's.
fn webtransport(bench: &mut Bench) -> anyhow::Result<()> {
    let data = bench.data()?;
    let server = relay::start(bench, data.path(), &Setting::default())?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let config = relay::webtransport(&server)?;
    let mut kept: Vec<(Client, Subscription)> = Vec::new();
    let mut open = |from: usize, count: usize| {
        runtime.block_on(async {
            for at in from..from + count {
                let client = Client::connect(config.clone()).await.context("connecting over WebTransport")?;
                let channel = ChannelName::parse(&speech().channel(at % CHANNELS))?;
                let mut subscription = client.subscribe(&channel, SubscribeOptions::default()).await?;
                let first = subscription.next().await;
                anyhow::ensure!(matches!(first, Some(SubscriptionEvent::Subscribed { .. })), "{first:?}");
                kept.push((client, subscription));
            }
            // The last acknowledgements go out.
            tokio::time::sleep(REST).await;
            Ok(())
        })
    };
    let grown = growth(bench, &server, &mut open)?;
    report(bench, "WebTransport", grown, 20.0)
}

fn speech() -> Speech {
    Speech::Product { namespace: "chat", token: None, payload: 0 }
}

/// Bytes of anonymous memory that one more connection takes.
fn growth(
    bench: &Bench,
    server: &Server,
    open: &mut impl FnMut(usize, usize) -> anyhow::Result<()>,
) -> anyhow::Result<f64> {
    open(0, WARM_UP)?;
    std::thread::sleep(REST);
    let before = server.memory()?;
    open(WARM_UP, bench.options.connections)?;
    std::thread::sleep(REST);
    let after = server.memory()?;
    let connected = server.metric("skywave_edge_connections")?;
    let expected = (WARM_UP + bench.options.connections) as f64;
    // The request for the metrics may count itself.
    anyhow::ensure!(
        (expected..=expected + 1.0).contains(&connected),
        "{connected} connections, not {expected}"
    );
    Ok(after.saturating_sub(before) as f64 / bench.options.connections as f64)
}

fn report(bench: &mut Bench, transport: &str, bytes: f64, aim: f64) -> anyhow::Result<()> {
    let name = format!("memory per idle connection, one subscription, {transport}");
    let details = vec![("connections", bench.options.connections as f64)];
    bench.report(Row::new(name, bytes / 1024.0, "KB", Aim::AtMost(aim), details))
}
