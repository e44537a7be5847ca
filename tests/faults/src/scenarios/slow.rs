//! Who does not take what flows towards him: an edge that NATS gives up as a slow consumer, a client that does not read.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::Context;
use serde_json::{Value, json};
use skywave_harness::history::{Message, Pen, Position, hash};
use skywave_harness::participant::{Subscriber, read_history};
use skywave_harness::{Kind, Socket, wait};
use skywave_servers::http;

use super::Strength;
use crate::stage::Stage;

const EDGE: &str = "us-edge-1";
const NATS: &str = "us-nats-1";
const FLOODS: &str = "p-flood";
const STUCK: &str = "s-stuck";
const STUCK_AT: &str = "eu-edge-1";
/// Kilobytes that its edge may grow by: many times what it may keep for one client, and a fraction of what is published.
const MEMORY: u64 = 128 * 1024;
/// Fits a client's message.
const BYTES: usize = 48 * 1024;
/// NATS gives up a consumer that has taken nothing for ten seconds, once the sockets' buffers are full.
const PATIENCE: Duration = Duration::from_secs(180);

pub(super) fn consumer(stage: &Stage<'_>, _: Strength) -> anyhow::Result<String> {
    let channel = "chat:flood";
    let there = stage.cluster.member(EDGE)?.address("http")?;
    let follower =
        Subscriber::start(there, stage.recorder(), "s-flood", channel, Some(stage.token("s-flood")));
    wait::until("the subscription", || follower.is_ready().then_some(()))?;
    let before = given_up(stage)?;
    let mut flood = Flood::begin(stage, channel)?;

    stage.cluster.pause(EDGE)?;
    flood.until("NATS bears", || Ok(given_up(stage)? > before))?;
    stage.cluster.resume(EDGE)?;

    let count = flood.count;
    follower.finish(head(stage, channel)?).context("the slow edge's subscriber")?;
    Ok(format!("NATS gave {EDGE} up after {count} × {} kB, its subscriber got all of them", BYTES / 1024))
}

/// A client that wants everything and reads nothing: it is closed, may come back, and gets all of it then. Nobody else waits
/// for it meanwhile, and its edge keeps no more for it than it is allowed.
pub(super) fn client(stage: &Stage<'_>, _: Strength) -> anyhow::Result<String> {
    let channel = "chat:stuck";
    let edge = stage.edges("eu")?[0];
    let follow = |name: &str, position: Option<Position>| {
        Subscriber::start_after(edge, stage.recorder(), name, channel, Some(stage.token(name)), position)
    };
    let beside = follow("s-beside", None);
    wait::until("the subscription beside it", || beside.is_ready().then_some(()))?;
    let mut stuck = stage.connect("eu", STUCK)?;
    let begin = position(&stuck.subscribe(channel)?)?;
    stage.is_stuck(STUCK);
    let mut flood = Flood::begin(stage, channel)?;
    let (memory, closed) = (memory(stage)?, closed_as_slow(edge)?);
    flood.until("the edge bears", || Ok(closed_as_slow(edge)? > closed))?;
    let grown = self::memory(stage)?.saturating_sub(memory);
    anyhow::ensure!(grown < MEMORY, "the edge grew by {grown} kB for a client that does not read");

    let count = flood.count;
    let again = follow(STUCK, Some(begin));
    let head = head(stage, channel)?;
    beside.finish(head).context("the one beside it")?;
    again.finish(head).context("the one that had been stuck")?;
    Ok(format!(
        "it was closed after {count} × {} kB, came back and got all of them; nobody waited for it",
        BYTES / 1024
    ))
}

/// Large publications, one after the other.
struct Flood<'a> {
    channel: &'a str,
    socket: Socket,
    pen: Pen,
    count: u64,
}

impl<'a> Flood<'a> {
    fn begin(stage: &Stage<'_>, channel: &'a str) -> anyhow::Result<Self> {
        let (socket, pen) = (stage.connect("eu", FLOODS)?, stage.recorder().process(FLOODS));
        Ok(Self { channel, socket, pen, count: 0 })
    }

    fn until(&mut self, bears: &str, over: impl Fn() -> anyhow::Result<bool>) -> anyhow::Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while !over()? {
            anyhow::ensure!(
                Instant::now() < deadline,
                "{bears} {} × {BYTES} bytes for {PATIENCE:?}",
                self.count
            );
            self.one()?;
        }
        Ok(())
    }

    fn one(&mut self) -> anyhow::Result<()> {
        let data = json!({ "n": self.count, "padding": "x".repeat(BYTES) });
        let id = format!("flood-{}", self.count);
        let message = Message {
            channel: self.channel.to_owned(),
            publisher: Some(FLOODS.to_owned()),
            id: id.clone(),
            hash: hash(&data),
        };
        self.pen.record(Kind::Published { message: message.clone() });
        // Under the same id until it is there.
        let published =
            wait::until("the flood to go on", || self.socket.publish(self.channel, &id, data.clone()).ok())?;
        let position = position(&published)?;
        let duplicate = published["duplicate"].as_bool().unwrap_or(false);
        self.pen.record(Kind::Acknowledged { message, position, duplicate });
        self.count += 1;
        Ok(())
    }
}

/// Reads all of a channel's history into the record.
fn head(stage: &Stage<'_>, channel: &str) -> anyhow::Result<u64> {
    let reader = stage.token("reader");
    read_history(stage.edges("us")?[1], stage.recorder(), channel, Some(&reader))
}

/// Connections that an edge has ended because they did not read.
fn closed_as_slow(edge: SocketAddr) -> anyhow::Result<u64> {
    let (_, page) = http::get(edge, "/metrics")?;
    let mut lines = page.lines().filter(|line| line.starts_with("skywave_edge_slow_disconnects"));
    let value = lines.find_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
    Ok(value.context("the edge does not count slow clients")? as u64)
}

/// Kilobytes that the stuck client's edge has in memory.
fn memory(stage: &Stage<'_>) -> anyhow::Result<u64> {
    let process = stage.cluster.member(STUCK_AT)?.pid().context("it has no process")?;
    let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    line.split_whitespace().next().and_then(|number| number.parse().ok()).context("no number")
}

fn position(published: &Value) -> anyhow::Result<Position> {
    let epoch = published["epoch"].as_str().context("no epoch")?.to_owned();
    Ok(Position { epoch, offset: published["offset"].as_u64().context("no offset")? })
}

/// Connections that this region's NATS has ended because they were too slow.
fn given_up(stage: &Stage<'_>) -> anyhow::Result<u64> {
    let (_, page) = http::get(stage.cluster.member(NATS)?.address("monitor")?, "/varz")?;
    let page: Value = serde_json::from_str(&page)?;
    page["slow_consumers"].as_u64().context("NATS does not count slow consumers")
}
