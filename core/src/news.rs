//! What the cores of a cell tell each other.
//!
//! - An owner that can sequence nothing more says so, again and again, so that every core of the cell refuses publishes to
//!   its partition instead of piling them up in the log; when it goes on, it says that as well.
//! - An owner that begins to serve says so: history reads that found nobody are passed on to it.
//!
//! News may be lost like anything on the bus: a stall is repeated, and forgotten when nobody repeats it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use skywave_engine::time::Millis;
use skywave_ports::log::Partition;
use skywave_ports::{BusError, BusMessage, Inbox, Subscription};
use skywave_protocol::Subject;
use skywave_protocol::inner::CellNews;
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;

use crate::owned::Ownership;
use crate::service::Shared;
use crate::stop::StopSignal;

/// How often a stall is told …
const TELL_EVERY: Duration = Duration::from_millis(500);
/// … and how long it is believed.
const BELIEVED_MS: Millis = 2_000;
/// News that wait to be read. When full they are dropped; stalls are told again.
const QUEUE: usize = 1_024;

/// Partitions whose owners elsewhere have said that they are stalled.
pub(crate) struct Stalls {
    /// Until when it is believed, by partition; 0: it is not.
    until: Vec<AtomicU64>,
}

impl Stalls {
    pub(crate) fn new(partitions: u32) -> Self {
        Self { until: (0..partitions).map(|_| AtomicU64::new(0)).collect() }
    }

    pub(crate) fn holds(&self, partition: Partition, now: Millis) -> bool {
        self.until.get(partition as usize).is_some_and(|until| until.load(Ordering::Relaxed) > now)
    }

    fn set(&self, partition: Partition, until: Millis) {
        if let Some(slot) = self.until.get(partition as usize) {
            slot.store(until, Ordering::Relaxed);
        }
    }
}

pub(crate) struct News {
    shared: Arc<Shared>,
    heard: mpsc::Receiver<BusMessage>,
    _subscription: Subscription,
}

impl News {
    pub(crate) async fn subscribe(shared: Arc<Shared>) -> Result<Self, BusError> {
        let (inbox, heard) = Inbox::new(QUEUE);
        let subject = Subject::cell(&shared.config.cell);
        let subscription = shared.bus.subscribe(&subject, None, &inbox).await?;
        Ok(Self { shared, heard, _subscription: subscription })
    }

    /// Runs until told to stop.
    pub(crate) async fn run(mut self, mut stop: StopSignal) {
        let mut ticks = tokio::time::interval(TELL_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut told = BTreeSet::new();
        loop {
            tokio::select! {
                Some(message) = self.heard.recv() => self.hear(message),
                _ = ticks.tick() => self.tell(&mut told),
                _ = stop.requested() => return,
            }
        }
    }

    fn hear(&self, message: BusMessage) {
        match CellNews::decode(message.payload) {
            Ok(CellNews::Stalled { partition }) => {
                self.shared.stalls.set(partition, self.shared.now() + BELIEVED_MS);
            }
            Ok(CellNews::Serving { partition }) => {
                self.shared.stalls.set(partition, 0);
                self.shared.pass_on_again(partition);
            }
            Err(error) => {
                self.shared.metrics.requests_malformed.inc();
                tracing::debug!(%error, "news of another core cannot be read");
            }
        }
    }

    /// Says which owned partitions are stalled, and which no longer are.
    fn tell(&self, told: &mut BTreeSet<Partition>) {
        let stalled: BTreeSet<_> =
            self.shared.owned.stalled(self.shared.config.stall_after()).into_iter().collect();
        for partition in &stalled {
            self.shared.tell_cell(&CellNews::Stalled { partition: *partition });
        }
        for partition in told.difference(&stalled) {
            if matches!(self.shared.owned.get(*partition), Some(Ownership::Serving(_))) {
                self.shared.tell_cell(&CellNews::Serving { partition: *partition });
            }
        }
        *told = stalled;
    }
}

impl Shared {
    /// Tells every core of the cell, this one included.
    pub(crate) fn tell_cell(&self, news: &CellNews) {
        if let Err(error) = self.bus.publish(&Subject::cell(&self.config.cell), news.encode()) {
            tracing::debug!(%error, "the other cores were not told");
        }
    }

    /// Whether publishes to the partition would pile up behind its owner, wherever that is.
    pub(crate) fn is_stalled(&self, partition: Partition) -> bool {
        let here = self.owned.is_stalled(partition, self.config.stall_after());
        here.unwrap_or_else(|| self.stalls.holds(partition, self.now()))
    }
}
