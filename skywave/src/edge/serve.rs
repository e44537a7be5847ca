//! Wires NATS, Redis and the edge, and ends them in order.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use skywave_nats::NatsBus;
use skywave_nats::micro::MicroService;
use skywave_redis::RedisState;
use skywave_runtime::health::{Component, HealthCheck};
use skywave_runtime::shutdown::on_signals;
use skywave_runtime::telemetry::metrics;

use super::circuits;
use crate::backends;
use crate::serving::{self, EdgeParts, Failed, broke, cannot_begin, probe};
use crate::settings::Settings;

/// For what was said last to go out.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Runs until SIGTERM or SIGINT, then drains and ends.
pub(super) async fn serve(settings: Settings) -> Result<(), Failed> {
    let (_trigger, shutdown) = on_signals().map_err(cannot_begin)?;
    serving::try_ports(&settings)?;
    let node = serving::node_id(&settings.node.name);
    let mut registry = metrics::registry(env!("CARGO_PKG_VERSION"));
    let connected = tokio::select! {
        connected = connect(&settings, node.as_str(), &mut registry) => connected,
        () = shutdown.requested() => return Ok(()),
    };
    let (bus, state) = connected?;
    let state = Arc::new(state);
    let nats = bus.clone();
    let health = health(bus.clone(), state.clone());
    let parts = EdgeParts {
        node: node.clone(),
        alone: false,
        bus: Arc::new(bus),
        auth: serving::authenticator(&settings, state.clone())?,
        state,
        identity: serving::identity(&settings)?,
        registry: Arc::new(Mutex::new(registry)),
        health: health.clone(),
    };
    let edge = serving::start_edge(&settings, parts, shutdown.clone()).await?;
    let service = MicroService::start(nats.client(), backends::config(), backends::answerer(edge.backend()))
        .await
        .map_err(cannot_begin)?;
    // Questions go to other edges while this one sends its clients away.
    tokio::spawn(async move {
        shutdown.requested().await;
        service.stop().await;
    });
    let addresses: Vec<_> = edge.addresses().iter().map(ToString::to_string).collect();
    tracing::info!(%node, listen = addresses.join(", "), "the edge serves");
    if settings.events.system {
        tokio::spawn(circuits::follow(edge.circuits(), health));
    }
    let ended = edge.finished().await;
    // What the cores are told last.
    let _ = tokio::time::timeout(LAST_WORDS, nats.flush()).await;
    ended.map_err(broke)
}

async fn connect(
    settings: &Settings,
    name: &str,
    registry: &mut prometheus_client::registry::Registry,
) -> Result<(NatsBus, RedisState), Failed> {
    let problem = |problem: crate::settings::Problem| cannot_begin(problem);
    tracing::info!(servers = settings.nats.servers.join(", "), "connecting to NATS");
    let bus =
        NatsBus::connect(settings.nats(name).map_err(problem)?, registry).await.map_err(cannot_begin)?;
    let state =
        RedisState::connect(settings.redis().map_err(problem)?, registry).await.map_err(cannot_begin)?;
    Ok((bus, state))
}

/// Without the bus an edge is nothing; without Redis its limits are kept by each node alone.
fn health(bus: NatsBus, state: Arc<RedisState>) -> HealthCheck {
    let state = probe::state(state);
    Arc::new(move || {
        let connected = bus.connected();
        let lost = (!connected).then(|| "the connection to NATS is lost; connecting again".to_owned());
        let away = state.borrow().clone();
        vec![Component::essential("bus", connected, lost), Component::helpful("state", away.is_none(), away)]
    })
}
