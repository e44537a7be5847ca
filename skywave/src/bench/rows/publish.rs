//! Durable publishes a second: many channels, several publishers, each publish answered only after it is on the disk.

use std::time::{Duration, Instant};

use crate::bench::Bench;
use crate::bench::fleet::Fleet;
use crate::bench::report::{Aim, Row, median};
use crate::bench::rows::relay::{self, Setting};
use crate::bench::speech::Speech;

const CHANNELS: usize = 1_000;
const PUBLISHERS: usize = 16;
const PAYLOAD: usize = 200;
/// Publishes in flight, over all publishers.
const WINDOW: u64 = 4_096;
const AIM: f64 = 20_000.0;
const PATIENCE: Duration = Duration::from_secs(30);

pub(in crate::bench) fn run(bench: &mut Bench) -> anyhow::Result<()> {
    let data = bench.data()?;
    let server = relay::start(bench, data.path(), &Setting::default())?;
    let speech = Speech::Product { namespace: "chat", token: None, payload: PAYLOAD };
    let mut fleet = Fleet::new(speech.message())?;
    for _ in 0..PUBLISHERS {
        fleet.open(server.address, speech.publisher(), 0)?;
    }
    fleet.settle(PATIENCE)?;
    let mut crowd = Crowd { speech, fleet, sent: 0, pending: vec![Vec::new(); PUBLISHERS] };
    crowd.publish_for(bench.round())?;
    let (mut rates, mut costs) = (Vec::new(), Vec::new());
    for _ in 0..bench.options.rounds {
        let cpu = server.cpu()?;
        let (answered, took) = crowd.publish_for(bench.round())?;
        rates.push(answered as f64 / took.as_secs_f64());
        costs.push((server.cpu()? - cpu).as_secs_f64() * 1e6 / answered as f64);
    }
    let details = vec![("server CPU per publish µs", median(costs)), ("in flight", WINDOW as f64)];
    let name = format!("durable publishes, {PAYLOAD} B, {CHANNELS} channels, synced to disk");
    bench.report(Row::new(name, median(rates), "/s", Aim::AtLeast(AIM), details))
}

struct Crowd {
    speech: Speech,
    fleet: Fleet,
    sent: u64,
    /// What a publisher's socket did not take yet.
    pending: Vec<Vec<u8>>,
}

impl Crowd {
    /// Keeps the window full for so long, then waits for the outstanding answers.
    fn publish_for(&mut self, duration: Duration) -> anyhow::Result<(u64, Duration)> {
        let (begin, before) = (Instant::now(), self.fleet.counts.published);
        while begin.elapsed() < duration {
            // Half a window at a time, turn by turn: fewer, larger writes.
            if self.sent - self.fleet.counts.published <= WINDOW / 2 {
                for _ in 0..WINDOW / 2 {
                    self.publish();
                }
            }
            self.flush()?;
            self.fleet.poll(Duration::from_millis(1))?;
            self.fleet.check()?;
        }
        while self.pending.iter().any(|pending| !pending.is_empty()) {
            self.flush()?;
            self.fleet.poll(Duration::from_millis(1))?;
        }
        let sent = self.sent;
        self.fleet.poll_until(PATIENCE, |fleet| fleet.counts.published >= sent)?;
        Ok((self.fleet.counts.published - before, begin.elapsed()))
    }

    fn publish(&mut self) {
        let (channel, number) = (self.sent % CHANNELS as u64, self.sent / CHANNELS as u64);
        let publisher = (self.sent % PUBLISHERS as u64) as usize;
        let request = 2 + (self.sent % 1_000_000_000) as u32;
        self.speech.publish(channel as usize, number, request, &mut self.pending[publisher]);
        self.sent += 1;
    }

    fn flush(&mut self) -> anyhow::Result<()> {
        for (publisher, pending) in
            self.pending.iter_mut().enumerate().filter(|(_, pending)| !pending.is_empty())
        {
            let sent = self.fleet.send(publisher, pending)?;
            pending.drain(..sent);
        }
        Ok(())
    }
}
