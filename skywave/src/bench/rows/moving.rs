//! An edge dies under its clients: how long until each is delivered something at another edge.
//!
//! The edge is killed by whoever runs this, when told so on standard error. All clients come back at once (at most 512 handshakes
//! in flight), each asks for what follows its last message, and publishing goes on at the other edge all the while.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::Context;

use crate::bench::Bench;
use crate::bench::dialog::Dialog;
use crate::bench::fleet::Fleet;
use crate::bench::report::{Aim, Row, quantile};
use crate::bench::speech::Speech;

const CHANNELS: usize = 100;
/// Publishes a second, over all channels.
const RATE: f64 = 200.0;
const SECONDS_AIM: f64 = 5.0;
const PATIENCE: Duration = Duration::from_secs(60);

/// What is measured.
#[derive(Debug, Clone, clap::Args)]
pub(in crate::bench) struct Moving {
    /// The edge that will be killed when "kill it" stands on standard error
    #[arg(value_name = "ADDR")]
    dying: SocketAddr,
    /// The edge its clients go to
    #[arg(value_name = "ADDR")]
    living: SocketAddr,
    /// A token that allows publishing to and subscribing to chat:*
    #[arg(long)]
    token: Option<String>,
}

/// The load, and what it has published.
struct Load {
    speech: Speech,
    fleet: Fleet,
    publisher: usize,
    base: usize,
    begin: Instant,
    sent: u64,
    pending: Vec<u8>,
}

pub(in crate::bench) fn run(bench: &mut Bench, moving: &Moving) -> anyhow::Result<()> {
    let clients = bench.options.clients;
    let base = (rand::random::<u32>() as usize) << 16;
    let speech = Speech::Product { namespace: "chat", token: moving.token.clone(), payload: 128 };
    let epoch = first_of_each(&mut Dialog::open(moving.living, &speech)?, &speech, base)?;
    let mut fleet = Fleet::new(speech.message())?;
    for client in 0..clients {
        fleet.open(moving.dying, speech.subscriber(base + client % CHANNELS), 1)?;
    }
    let publisher = fleet.open(moving.living, speech.publisher(), 0)?;
    fleet.settle(PATIENCE)?;
    let mut load =
        Load { speech, fleet, publisher, base, begin: Instant::now(), sent: 0, pending: Vec::new() };
    load.run_until(|load| load.sent > 2 * CHANNELS as u64)?;

    load.fleet.forgive();
    eprintln!("kill it");
    let mut broken = Vec::new();
    load.run_until(|load| {
        broken = load.fleet.take_broken();
        !broken.is_empty()
    })?;
    let (died, mut moved) = (Instant::now(), 0);
    while moved < clients {
        for client in broken.drain(..) {
            anyhow::ensure!(client != publisher, "the edge that was to live is dead");
            let channel = base + client % CHANNELS;
            // Numbers begin at 0, offsets at 1: what is due has the offset after the last one seen.
            let script = load.speech.recoverer(channel, &epoch, load.fleet.due(client));
            load.fleet.reopen(client, moving.living, script)?;
            moved += 1;
            load.step()?;
        }
        load.step()?;
        broken = load.fleet.take_broken();
        anyhow::ensure!(died.elapsed() < PATIENCE, "{moved} of {clients} connections broke");
    }
    load.run_until(|load| (0..clients).all(|client| load.fleet.delivered(client).is_some()))?;
    let times: Vec<f64> = (0..clients)
        .filter_map(|client| load.fleet.delivered(client))
        .map(|at| at.saturating_duration_since(died).as_secs_f64())
        .collect();
    let wrong = load.settle(clients)?;

    let details = vec![
        ("p50", quantile(&times, 0.5)),
        ("slowest", quantile(&times, 0.999_999)),
        ("lost or doubled", wrong as f64),
        ("publishes a second", RATE),
    ];
    let name = format!("an edge dies: {clients} clients are delivered again elsewhere, p99");
    let mut row = Row::new(name, quantile(&times, 0.99), "s", Aim::AtMost(SECONDS_AIM), details);
    row.reached &= wrong == 0;
    bench.report(row)
}

/// Message 0 of each channel; answers their epoch.
fn first_of_each(dialog: &mut Dialog, speech: &Speech, base: usize) -> anyhow::Result<String> {
    let mut epoch = None;
    for channel in base..base + CHANNELS {
        let mut frame = Vec::new();
        speech.publish(channel, 0, 2, &mut frame);
        dialog.send(&frame)?;
        let answer = dialog.answer()?;
        anyhow::ensure!(answer["published"]["offset"] == 1, "not a new channel: {answer}");
        epoch = answer["published"]["epoch"].as_str().map(str::to_owned);
    }
    epoch.context("an answer without epoch")
}

impl Load {
    /// Publishes what is due, and works on the connections for a moment.
    fn step(&mut self) -> anyhow::Result<()> {
        let due = (self.begin.elapsed().as_secs_f64() * RATE) as u64;
        while self.sent < due {
            let (channel, number) =
                (self.base + self.sent as usize % CHANNELS, 1 + self.sent / CHANNELS as u64);
            self.speech.publish(channel, number, 2 + self.sent as u32, &mut self.pending);
            self.sent += 1;
        }
        let written = self.fleet.send(self.publisher, &self.pending)?;
        self.pending.drain(..written);
        self.fleet.poll(Duration::from_millis(1))?;
        self.fleet.check()
    }

    fn run_until(&mut self, mut done: impl FnMut(&mut Self) -> bool) -> anyhow::Result<()> {
        let until = Instant::now() + PATIENCE;
        while !done(self) {
            self.step()?;
            anyhow::ensure!(Instant::now() < until, "not done after {PATIENCE:?}: {:?}", self.fleet.counts);
        }
        Ok(())
    }

    /// Publishes no more, waits until every client has everything, and answers what was lost or came twice.
    fn settle(mut self, clients: usize) -> anyhow::Result<u64> {
        let last = |channel: usize| 1 + (self.sent + CHANNELS as u64 - 1 - channel as u64) / CHANNELS as u64;
        let wanted: Vec<u64> = (0..CHANNELS).map(last).collect();
        while !self.pending.is_empty() {
            let written = self.fleet.send(self.publisher, &self.pending)?;
            self.pending.drain(..written);
            self.fleet.poll(Duration::from_millis(1))?;
        }
        self.fleet.poll_until(PATIENCE, |fleet| {
            (0..clients).all(|client| fleet.due(client) >= wanted[client % CHANNELS])
        })?;
        Ok(self.fleet.counts.lost + self.fleet.counts.doubled)
    }
}
