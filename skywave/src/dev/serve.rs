//! Wires the embedded adapters, the core and the edge, and ends them in order.

use std::sync::Arc;

use parking_lot::Mutex;
use skywave_core::{Core, Ports};
use skywave_embedded::{
    InProcessBus, InProcessState, LogOptions, SqliteLog, SqliteStore, StateLimits, StoreOptions, random_epoch,
};
use skywave_ports::Bus;
use skywave_runtime::health::Component;
use skywave_runtime::shutdown::{self, on_signals};
use skywave_runtime::telemetry::metrics;

use super::{banner, trouble};
use crate::serving::{self, EdgeParts, Failed, broke, cannot_begin};
use crate::settings::{EventSettings, Settings};

/// Runs until SIGTERM or SIGINT, then ends gracefully.
pub(super) async fn serve(mut settings: Settings) -> Result<(), Failed> {
    // They go to Kafka, which is not here.
    settings.events = EventSettings::default();
    let (_trigger, shutdown) = on_signals().map_err(cannot_begin)?;
    serving::try_ports(&settings)?;
    let state = Arc::new(InProcessState::new(StateLimits::default()));
    let auth = serving::authenticator(&settings, state.clone())?;

    let folder = &settings.data.folder;
    let unusable = |error| Failed::CannotBegin(trouble::data(folder, &error));
    let log = SqliteLog::open(folder, LogOptions::default()).await.map_err(unusable)?;
    let fresh = random_epoch(&mut rand::rng());
    let store = SqliteStore::open(folder, StoreOptions::default(), fresh).await.map_err(unusable)?;
    // After the folder is known to be ours: a certificate that had to be made is kept in it.
    let identity = serving::identity(&settings)?;
    let bus: Arc<dyn Bus> = Arc::new(InProcessBus::new());
    let mut registry = metrics::registry(env!("CARGO_PKG_VERSION"));

    // The core is told to end only after the edge has, so that it answers what the edge still asks.
    let (end_core, core_end) = shutdown::channel();
    let ports = Ports { log: Arc::new(log), store: Arc::new(store), bus: bus.clone(), dead_letters: None };
    let mut core =
        Core::start(settings.core(), ports, &mut registry, core_end).await.map_err(cannot_begin)?;
    let mut core_ready = core.ready();
    tokio::select! {
        _ = core_ready.wait_for(|ready| *ready) => {}
        () = shutdown.requested() => {
            end_core.graceful();
            return core.ended().await.map_err(broke);
        }
    }

    let standing = core.standing();
    let parts = EdgeParts {
        node: serving::node_id(&settings.node.name),
        alone: true,
        bus,
        state,
        auth,
        identity,
        registry: Arc::new(Mutex::new(registry)),
        health: Arc::new(move || {
            let standing = standing();
            let detail = (!standing.is_ready()).then(|| standing.to_string());
            vec![Component::essential("core", standing.is_ready(), detail)]
        }),
    };
    let edge = serving::start_edge(&settings, parts, shutdown.clone()).await?;
    banner::print(&settings, edge.addresses(), edge.webtransport());

    let ended = tokio::select! {
        ended = edge.finished() => ended,
        // A relay whose core has died must not look alive.
        core = core.ended() => return core.map_err(broke),
    };
    if shutdown.phase() == shutdown::Phase::Immediate {
        end_core.immediate();
    } else {
        end_core.graceful();
    }
    core.ended().await.map_err(broke)?;
    ended.map_err(broke)
}
