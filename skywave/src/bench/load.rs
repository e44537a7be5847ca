//! A load on one server: a fleet of subscribers, one publisher, and the server's CPU time while the load runs.

use std::time::{Duration, Instant};

use super::fleet::Fleet;
use super::server::Server;
use super::speech::Speech;

/// Messages on their way in the saturated load: enough that the server always has work. A server that joins frames can
/// put at most so many into one write, so the figure falls as the window grows; a small one is the honest test.
const WINDOW: u64 = 16;
/// How long what was sent may take to arrive, and a fleet to connect.
const PATIENCE: Duration = Duration::from_secs(30);

pub(super) struct Load {
    server: Server,
    speech: Speech,
    pub(super) fleet: Fleet,
    channels: usize,
    subscribers: usize,
    publisher: usize,
    /// Number of the next message, by channel.
    numbers: Vec<u64>,
    /// Wants every publish answered, and waits for the answers.
    acknowledged: bool,
    sent: u64,
    pending: Vec<u8>,
}

/// One round's measurement.
#[derive(Debug, Clone, Copy)]
pub(super) struct Round {
    pub(super) deliveries: u64,
    pub(super) cpu: Duration,
    pub(super) took: Duration,
    /// Mean payload bytes of a delivery's share of its frame.
    pub(super) bytes: f64,
}

impl Round {
    /// Server CPU per delivery, in microseconds.
    pub(super) fn cpu_each(&self) -> f64 {
        self.cpu.as_secs_f64() * 1e6 / self.deliveries as f64
    }
}

impl Load {
    /// Connects `subscribers` to each of `channels`, and one publisher.
    pub(super) fn new(
        server: Server,
        speech: Speech,
        channels: usize,
        subscribers: usize,
        acknowledged: bool,
    ) -> anyhow::Result<Self> {
        let mut fleet = Fleet::new(speech.message())?;
        for at in 0..channels * subscribers {
            fleet.open(server.address, speech.subscriber(at % channels), 0)?;
        }
        let publisher = fleet.open(server.address, speech.publisher(), 0)?;
        fleet.settle(PATIENCE)?;
        Ok(Self {
            server,
            speech,
            fleet,
            channels,
            subscribers,
            publisher,
            numbers: vec![0; channels],
            acknowledged,
            sent: 0,
            pending: Vec::new(),
        })
    }

    /// Publishes `rate` messages a second, evenly spaced and turn by turn over the channels.
    pub(super) fn paced(&mut self, rate: u32, duration: Duration) -> anyhow::Result<Round> {
        let gap = Duration::from_secs(1) / rate;
        self.fleet.tick_every(gap)?;
        let round = self.measure(duration, |load, begin, until| {
            let mut due = begin;
            while due < until {
                while due <= Instant::now() {
                    load.publish();
                    due += gap;
                }
                load.flush()?;
                load.fleet.poll(Duration::from_millis(100))?;
            }
            Ok(())
        });
        self.fleet.tick_never();
        round
    }

    /// Publishes as fast as the server delivers, [`WINDOW`] messages ahead of the subscribers.
    pub(super) fn saturated(&mut self, duration: Duration) -> anyhow::Result<Round> {
        self.measure(duration, |load, _, until| {
            while Instant::now() < until {
                while load.sent - load.fleet.counts.deliveries / load.subscribers as u64 <= WINDOW {
                    load.publish();
                }
                load.flush()?;
                load.fleet.poll(Duration::from_millis(100))?;
            }
            Ok(())
        })
    }

    /// Runs `work`, waits until everything has arrived, and checks that it arrived once.
    fn measure(
        &mut self,
        duration: Duration,
        work: impl FnOnce(&mut Self, Instant, Instant) -> anyhow::Result<()>,
    ) -> anyhow::Result<Round> {
        let (before, sent, cpu, begin) = (self.fleet.counts, self.sent, self.server.cpu()?, Instant::now());
        work(self, begin, begin + duration)?;
        while !self.pending.is_empty() {
            self.flush()?;
            self.fleet.poll(Duration::from_millis(1))?;
        }
        let expected = before.deliveries + (self.sent - sent) * self.subscribers as u64;
        let answers = before.published + if self.acknowledged { self.sent - sent } else { 0 };
        self.fleet.poll_until(PATIENCE, |fleet| {
            fleet.counts.deliveries >= expected && fleet.counts.published >= answers
        })?;
        let (took, cpu) = (begin.elapsed(), self.server.cpu()? - cpu);
        let counts = self.fleet.counts;
        anyhow::ensure!(
            counts.deliveries == expected && counts.lost == 0 && counts.doubled == 0,
            "{} deliveries instead of {expected}, {} lost, {} doubled",
            counts.deliveries,
            counts.lost,
            counts.doubled
        );
        let deliveries = counts.deliveries - before.deliveries;
        let bytes = (counts.bytes - before.bytes) as f64 / deliveries as f64;
        Ok(Round { deliveries, cpu, took, bytes })
    }

    fn publish(&mut self) {
        let channel = (self.sent % self.channels as u64) as usize;
        let request = if self.acknowledged { 2 + (self.sent % 1_000_000_000) as u32 } else { 0 };
        self.speech.publish(channel, self.numbers[channel], request, &mut self.pending);
        self.numbers[channel] += 1;
        self.sent += 1;
    }

    fn flush(&mut self) -> anyhow::Result<()> {
        let sent = self.fleet.send(self.publisher, &self.pending)?;
        self.pending.drain(..sent);
        Ok(())
    }
}
