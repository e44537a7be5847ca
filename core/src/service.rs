//! The core as a whole: starts its parts, knows when it is ready, and ends them in order.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::RwLock;
use prometheus_client::registry::Registry;
use skywave_engine::time::Millis;
use skywave_ports::log::Partition;
use skywave_ports::{Bus, BusError, Events, Inbox, Log, Store};
use skywave_protocol::{ChannelName, Epoch};
use skywave_runtime::Shutdown;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::assigned;
use crate::config::{ConfigError, CoreConfig};
use crate::history::History;
use crate::ingest::Ingest;
use crate::metrics::CoreMetrics;
use crate::news::{News, Stalls};
use crate::owned::Owned;
use crate::passing::Passed;
use crate::retention;
use crate::standing::Standing;
use crate::stop::{self, Stop};

/// What a core needs from outside.
#[derive(Clone)]
pub struct Ports {
    pub log: Arc<dyn Log>,
    pub store: Arc<dyn Store>,
    pub bus: Arc<dyn Bus>,
    /// Where log records that cannot be read are kept, as dead letters; `None`: nowhere, they are only counted.
    pub dead_letters: Option<Arc<dyn Events>>,
}

/// Why a core could not start.
#[derive(Debug, thiserror::Error)]
pub enum CoreError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error("the core cannot subscribe to its requests: {0}")]
    Bus(#[from] BusError),
}

/// A part of the core has died: nothing it was asked for is answered any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the core has failed: its {0} task ended")]
pub struct CoreFailed(pub(crate) &'static str);

/// A running core.
pub struct Core {
    shared: Arc<Shared>,
    task: JoinHandle<Result<(), CoreFailed>>,
}

/// What the parts of a core share.
pub(crate) struct Shared {
    pub(crate) config: Arc<CoreConfig>,
    pub(crate) log: Arc<dyn Log>,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) bus: Arc<dyn Bus>,
    pub(crate) dead_letters: Option<Arc<dyn Events>>,
    pub(crate) metrics: CoreMetrics,
    pub(crate) owned: Owned,
    /// Partitions owned elsewhere that can take nothing.
    pub(crate) stalls: Stalls,
    /// History reads passed on to other cores lately.
    pub(crate) passed: Passed,
    /// Where history reads arrive: those of the whole cell, and those passed on to partitions owned here.
    pub(crate) history_inbox: Inbox,
    /// The group has told this core its share.
    member: AtomicBool,
    /// The store's epoch, once a partition has been loaded.
    pub(crate) epoch: RwLock<Option<Epoch>>,
    ready: watch::Sender<bool>,
    started: Instant,
}

impl Core {
    /// Starts every part on the current runtime and returns; [`Core::ready`] tells when the log has been replayed.
    ///
    /// On the graceful phase of `shutdown` the core takes no new publishes, sequences what the log holds, writes the
    /// unpersisted tail (for at most `stop_ms`) and ends; on the immediate phase it ends at once, which costs a replay.
    /// In a process that also runs an edge, the core should be told after the edge has ended.
    pub async fn start(
        config: CoreConfig,
        ports: Ports,
        registry: &mut Registry,
        shutdown: Shutdown,
    ) -> Result<Self, CoreError> {
        config.check()?;
        let Ports { log, store, bus, dead_letters } = ports;
        let (history_inbox, history_requests) = Inbox::new(config.request_queue);
        let shared = Arc::new(Shared {
            config: Arc::new(config),
            stalls: Stalls::new(log.partitions()),
            log,
            store,
            bus,
            dead_letters,
            metrics: CoreMetrics::register(registry),
            owned: Owned::default(),
            passed: Passed::default(),
            history_inbox,
            member: AtomicBool::new(false),
            epoch: RwLock::new(None),
            ready: watch::Sender::new(false),
            started: Instant::now(),
        });
        let ingest = Ingest::subscribe(Arc::clone(&shared)).await?;
        let history = History::subscribe(Arc::clone(&shared), history_requests).await?;
        let news = News::subscribe(Arc::clone(&shared)).await?;
        let task = tokio::spawn(supervise(Arc::clone(&shared), ingest, history, news, shutdown));
        Ok(Self { shared, task })
    }

    /// `true` while this core takes part in sharing the partitions and every one that it owns has been replayed up to the
    /// log's end at its start. A core that owns nothing is a healthy standby. For `/health/ready`.
    pub fn ready(&self) -> watch::Receiver<bool> {
        self.shared.ready.subscribe()
    }

    /// What this core owns and in what state, at any time.
    pub fn standing(&self) -> impl Fn() -> Standing + Send + Sync + 'static {
        let shared = Arc::clone(&self.shared);
        move || Standing::of(&shared)
    }

    /// Whether publishes to a partition would pile up, at any time: for what publishes without asking ingest.
    pub fn stalled(&self) -> impl Fn(Partition) -> bool + Send + Sync + 'static {
        // Whoever asks may outlive the core, and must not hold on to its ports.
        let shared = Arc::downgrade(&self.shared);
        move |partition| shared.upgrade().is_some_and(|shared| shared.is_stalled(partition))
    }

    /// Returns when the core has ended: after its shutdown, or (with an error) because one of its tasks has died, and then
    /// the process should end too. Cancel-safe; not to be called again after it returned.
    pub async fn ended(&mut self) -> Result<(), CoreFailed> {
        (&mut self.task).await.unwrap_or(Err(CoreFailed("supervisor")))
    }
}

/// Runs the parts; ends them front to back, so that nothing acknowledged waits behind something that has stopped.
async fn supervise(
    shared: Arc<Shared>,
    ingest: Ingest,
    history: History,
    news: News,
    shutdown: Shutdown,
) -> Result<(), CoreFailed> {
    let (stop_ingest, ingest_stop) = stop::channel();
    let (stop_owners, owners_stop) = stop::channel();
    let mut ingest = tokio::spawn(ingest.run(ingest_stop));
    let mut owners = tokio::spawn(assigned::follow(Arc::clone(&shared), owners_stop.clone()));
    let mut history = tokio::spawn(history.run(owners_stop.clone()));
    let mut news = tokio::spawn(news.run(owners_stop.clone()));
    let mut retention = tokio::spawn(retention::run(Arc::clone(&shared), owners_stop));

    // None of them ends before it is told to, unless it panics.
    let died = tokio::select! {
        () = shutdown.requested() => None,
        _ = &mut ingest => Some("ingest"),
        _ = &mut owners => Some("partitions"),
        _ = &mut history => Some("history"),
        _ = &mut news => Some("news"),
        _ = &mut retention => Some("retention"),
    };
    if let Some(part) = died {
        shared.ready.send_replace(false);
        return Err(CoreFailed(part));
    }
    let graceful = async {
        stop_ingest.stop(Stop::Finish);
        let _ = ingest.await;
        stop_owners.stop(Stop::Finish);
        let _ = owners.await;
    };
    tokio::select! {
        () = graceful => tracing::info!("the core has stored everything and ends"),
        () = tokio::time::sleep(Duration::from_millis(shared.config.stop_ms)) => {
            tracing::warn!("the store is too slow for a graceful end; the next start replays the log");
        }
        () = shutdown.immediate() => {}
    }
    stop_ingest.stop(Stop::Now);
    stop_owners.stop(Stop::Now);
    shared.ready.send_replace(false);
    Ok(())
}

impl Shared {
    /// Milliseconds since the start, monotonic.
    pub(crate) fn now(&self) -> Millis {
        self.started.elapsed().as_millis() as Millis
    }

    pub(crate) fn partition_of(&self, channel: &ChannelName) -> Partition {
        skywave_engine::partition::of(channel, self.log.partitions())
    }

    /// Whether the group has told this core what it owns.
    pub(crate) fn is_member(&self) -> bool {
        self.member.load(Ordering::Acquire)
    }

    pub(crate) fn set_member(&self, member: bool) {
        self.member.store(member, Ordering::Release);
        self.update_ready();
    }

    pub(crate) fn update_ready(&self) {
        let ready = self.is_member() && self.owned.all_serving();
        self.ready.send_if_modified(|now| std::mem::replace(now, ready) != ready);
    }
}
