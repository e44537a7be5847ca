//! The core as a whole: starts its parts, knows when it is ready, and ends them in order.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::RwLock;
use prometheus_client::registry::Registry;
use skywave_engine::time::Millis;
use skywave_ports::log::Partition;
use skywave_ports::{Bus, BusError, Log, Store};
use skywave_protocol::{ChannelName, Epoch};
use skywave_runtime::Shutdown;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::config::{ConfigError, CoreConfig};
use crate::history::History;
use crate::ingest::Ingest;
use crate::metrics::CoreMetrics;
use crate::partition::{self, Owned};
use crate::retention;
use crate::stop::{self, Stop};
use crate::tail::Tail;

/// What a core needs from outside.
#[derive(Clone)]
pub struct Ports {
    pub log: Arc<dyn Log>,
    pub store: Arc<dyn Store>,
    pub bus: Arc<dyn Bus>,
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
pub struct CoreFailed(&'static str);

/// A running core.
pub struct Core {
    ready: watch::Receiver<bool>,
    task: JoinHandle<Result<(), CoreFailed>>,
}

/// What the parts of a core share.
pub(crate) struct Shared {
    pub(crate) config: Arc<CoreConfig>,
    pub(crate) log: Arc<dyn Log>,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) bus: Arc<dyn Bus>,
    pub(crate) metrics: CoreMetrics,
    pub(crate) owned: Owned,
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
        let Ports { log, store, bus } = ports;
        let (sender, ready) = watch::channel(false);
        let shared = Arc::new(Shared {
            config: Arc::new(config),
            log,
            store,
            bus,
            metrics: CoreMetrics::register(registry),
            owned: Owned::default(),
            epoch: RwLock::new(None),
            ready: sender,
            started: Instant::now(),
        });
        let ingest = Ingest::subscribe(Arc::clone(&shared)).await?;
        let history = History::subscribe(Arc::clone(&shared)).await?;
        let task = tokio::spawn(supervise(shared, ingest, history, shutdown));
        Ok(Self { ready, task })
    }

    /// `true` while every partition that this core owns has been replayed up to the log's end at its start (and there is
    /// at least one). For `/health/ready`.
    pub fn ready(&self) -> watch::Receiver<bool> {
        self.ready.clone()
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
    shutdown: Shutdown,
) -> Result<(), CoreFailed> {
    let (stop_ingest, ingest_stop) = stop::channel();
    let (stop_owners, owners_stop) = stop::channel();
    let mut ingest = tokio::spawn(ingest.run(ingest_stop));
    let mut owners = tokio::spawn(partition::own_assigned(Arc::clone(&shared), owners_stop.clone()));
    let mut history = tokio::spawn(history.run(owners_stop.clone()));
    let mut retention = tokio::spawn(retention::run(Arc::clone(&shared), owners_stop));

    // None of them ends before it is told to, unless it panics.
    let died = tokio::select! {
        () = shutdown.requested() => None,
        _ = &mut ingest => Some("ingest"),
        _ = &mut owners => Some("partitions"),
        _ = &mut history => Some("history"),
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

    /// The unpersisted tail of the channel's partition, if it is owned here and replayed.
    pub(crate) fn tail_of(&self, channel: &ChannelName) -> Option<Arc<Tail>> {
        self.owned.get(self.partition_of(channel))?.tail
    }

    pub(crate) fn update_ready(&self) {
        let ready = self.owned.all_caught_up();
        self.ready.send_if_modified(|now| std::mem::replace(now, ready) != ready);
    }
}
