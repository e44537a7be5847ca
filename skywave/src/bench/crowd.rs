//! Publishers of durable publishes that keep a window full, or a rate, and count the answers.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::fleet::Fleet;
use super::speech::Speech;

const PUBLISHERS: usize = 16;
/// Publishes in flight, over all publishers.
pub(super) const WINDOW: u64 = 4_096;
const PATIENCE: Duration = Duration::from_secs(30);

pub(super) struct Crowd {
    speech: Speech,
    fleet: Fleet,
    channels: std::ops::Range<u64>,
    sent: u64,
    /// What a publisher's socket did not take yet.
    pending: Vec<Vec<u8>>,
}

impl Crowd {
    /// Connects the publishers, in turn to each of the addresses.
    pub(super) fn open(
        addresses: &[SocketAddr],
        speech: Speech,
        channels: std::ops::Range<u64>,
    ) -> anyhow::Result<Self> {
        let mut fleet = Fleet::new(speech.message())?;
        for address in addresses.iter().cycle().take(PUBLISHERS) {
            fleet.open(*address, speech.publisher(), 0)?;
        }
        fleet.settle(PATIENCE)?;
        Ok(Self { speech, fleet, channels, sent: 0, pending: vec![Vec::new(); PUBLISHERS] })
    }

    /// Keeps the window full for so long, then waits for the outstanding answers.
    pub(super) fn publish_for(&mut self, duration: Duration) -> anyhow::Result<(u64, Duration)> {
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

    /// Publishes `rate` a second, evenly, until told to stop; then waits for the outstanding answers. Beyond a full window
    /// it waits, so that a server that lags is not buried. Answers how many it published a second.
    pub(super) fn pace(&mut self, rate: f64, stop: &AtomicBool) -> anyhow::Result<f64> {
        let (begin, before) = (Instant::now(), self.sent);
        while !stop.load(Ordering::Relaxed) {
            let due = (begin.elapsed().as_secs_f64() * rate) as u64;
            while self.sent - before < due && self.sent - self.fleet.counts.published < WINDOW {
                self.publish();
            }
            self.flush()?;
            self.fleet.poll(Duration::from_millis(1))?;
            self.fleet.check()?;
        }
        let published = (self.sent - before) as f64 / begin.elapsed().as_secs_f64();
        self.publish_for(Duration::ZERO)?;
        Ok(published)
    }

    fn publish(&mut self) {
        let count = self.channels.end - self.channels.start;
        let (channel, number) = (self.channels.start + self.sent % count, self.sent / count);
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
