//! Tells the cores what users and this node do, for Kafka's topics of events: edges know no Kafka.
//!
//! - Whoever sees something happen puts it into one queue, without waiting and without encoding anything.
//! - One task encodes what has gathered and sends it over the bus, a batch at a time.
//!
//! Best effort: what the queue has no room for, and what the bus does not take, is dropped and counted. Nothing that a client
//! was promised depends on it. Off unless configured: then nothing is even put together.

mod happening;
mod task;

use std::sync::Arc;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;
use tokio::sync::{mpsc, watch};

use crate::config::{EdgeConfig, EventsConfig};
use crate::ports::WallClock;
pub(crate) use happening::{Happening, Whose};
pub(crate) use task::{Reporting, run};

/// Happenings that wait to be sent. When full, what happens next is dropped and counted.
const QUEUE: usize = 16_384;

/// Where happenings are reported. Shared by everybody in the edge.
pub(crate) struct Reporter {
    wanted: EventsConfig,
    queue: mpsc::Sender<Report>,
    clock: Arc<dyn WallClock>,
    counts: Counts,
    /// Told when nothing more will be reported.
    over: watch::Sender<bool>,
}

/// A happening with its time.
pub(crate) struct Report {
    time_ms: u64,
    happening: Happening,
}

/// The receiving end of [`Reporter`], for its task.
pub(crate) struct Reports(mpsc::Receiver<Report>);

#[derive(Clone, Default)]
struct Counts {
    sent: Counter,
    dropped: Counter,
}

impl Reporter {
    pub(crate) fn new(config: &EdgeConfig, clock: Arc<dyn WallClock>) -> (Self, Reports) {
        let (queue, reports) = mpsc::channel(QUEUE);
        let (counts, over) = (Counts::default(), watch::Sender::new(false));
        (Self { wanted: config.events, queue, clock, counts, over }, Reports(reports))
    }

    pub(crate) fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("skywave_edge_events");
        registry.register("sent", "Events told to the cores", self.counts.sent.clone());
        registry.register(
            "dropped",
            "Events that were not told: too many waited, or the bus was away",
            self.counts.dropped.clone(),
        );
    }

    /// Nothing more will be reported.
    pub(crate) fn end(&self) {
        self.over.send_replace(true);
    }

    /// Whether anybody wants to know what users do.
    pub(crate) fn wants_activity(&self) -> bool {
        self.wanted.activity
    }

    /// Never waits.
    pub(crate) fn report(&self, happening: Happening) {
        let wanted = if happening.is_activity() { self.wanted.activity } else { self.wanted.system };
        if !wanted {
            return;
        }
        let report = Report { time_ms: self.clock.unix_ms(), happening };
        if self.queue.try_send(report).is_err() {
            self.counts.dropped.inc();
        }
    }
}
