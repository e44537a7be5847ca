//! Wires NATS, Kafka, Postgres and the core, and ends them in order.
//!
//! Health and metrics are served from the first moment on, so that a core which waits for its servers can be told from one
//! that is dead.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use prometheus_client::registry::Registry;
use skywave_core::{Core, CoreConfig, CoreFailed, OutboxRelay, Ports, RelayPorts};
use skywave_kafka::KafkaLog;
use skywave_nats::NatsBus;
use skywave_postgres::{PostgresOutbox, PostgresStore};
use skywave_runtime::Shutdown;
use skywave_runtime::health::probes::{ProbeListener, Probes};
use skywave_runtime::health::{Component, HealthCheck};
use skywave_runtime::shutdown::on_signals;
use skywave_runtime::telemetry::metrics;

use super::dead_letters::DeadLetters;
use super::events::{self, RelayEvents};
use super::topics::Topics;
use crate::serving::{self, Failed, broke, cannot_begin, probe};
use crate::settings::Settings;

/// For the last answers to go out, and for the log's last holders to let go.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// What the core stands on.
struct Servers {
    bus: NatsBus,
    log: Arc<KafkaLog>,
    store: Arc<PostgresStore>,
}

/// Runs until SIGTERM or SIGINT, then hands its partitions over and ends.
pub(super) async fn serve(settings: Settings) -> Result<(), Failed> {
    let (_trigger, shutdown) = on_signals().map_err(cannot_begin)?;
    let node = serving::node_id(&settings.node.name);
    let address = settings.core.listen;
    let listener = ProbeListener::bind(address).await;
    let listener = listener.map_err(|error| cannot_begin(serving::port(address, &error)))?;
    let bound = listener.address().map_err(cannot_begin)?;
    let health = Arc::new(Mutex::new(starting()));
    let current = Arc::clone(&health);
    let shown = Arc::new(Mutex::new(metrics::registry(env!("CARGO_PKG_VERSION"))));
    let probes = tokio::spawn(listener.serve(Probes {
        node: node.to_string(),
        region: settings.node.region.clone(),
        health: Arc::new(move || {
            let check = Arc::clone(&current.lock());
            check()
        }),
        registry: Arc::clone(&shown),
    }));

    let mut registry = metrics::registry(env!("CARGO_PKG_VERSION"));
    let connected = tokio::select! {
        connected = connect(&settings, node.as_str(), &mut registry) => connected,
        () = shutdown.requested() => return Ok(()),
    };
    let Servers { bus, log, store } = connected?;
    let ports = Ports {
        log: log.clone(),
        store: store.clone(),
        bus: Arc::new(bus.clone()),
        dead_letters: Some(Arc::new(DeadLetters::on(log.clone()))),
    };
    let config = CoreConfig { announced: Some(node.clone()), ..settings.core() };
    let core = Core::start(config, ports, &mut registry, shutdown.clone()).await;
    let mut core = core.map_err(cannot_begin)?;
    let mut relay = relay(&settings, &log, &store, &mut registry, &shutdown)?;
    let topic_events = events::open(&settings, &log).await?;
    let mut topics = Topics::start(
        &settings,
        &core,
        &log,
        store.clone(),
        topic_events.clone(),
        &mut registry,
        shutdown.clone(),
    )?;
    let healthy = check(&core, &topics, bus.clone(), Arc::clone(&log), store);
    let told = (core.standing(), Arc::clone(&healthy));
    let told = RelayEvents::start(
        &settings,
        node.as_str(),
        topic_events,
        &bus,
        &mut registry,
        shutdown.clone(),
        told,
    );
    let told = told.await?;
    *shown.lock() = registry;
    *health.lock() = healthy;
    tracing::info!(%node, health = %bound, "the core takes requests");

    let ended = tokio::select! {
        ended = core.ended() => ended,
        failed = died(relay.as_mut()) => Err(failed),
        failed = topics.failed() => Err(failed),
    };
    probes.abort();
    *health.lock() = starting();
    told.end(&settings).await;
    drop((core, topics));
    // The last answers; nobody waits for them for long.
    let _ = tokio::time::timeout(LAST_WORDS, bus.flush()).await;
    leave(log, &shutdown).await;
    ended.map_err(broke)
}

/// One after the other, all within the time a start may take.
async fn connect(settings: &Settings, name: &str, registry: &mut Registry) -> Result<Servers, Failed> {
    let problem = |problem: crate::settings::Problem| cannot_begin(problem);
    let deadline = Instant::now() + settings.start_timeout();
    let left = |least: Duration| deadline.saturating_duration_since(Instant::now()).max(least);
    let mut nats = settings.nats(name).map_err(problem)?;
    let mut kafka = settings.kafka().map_err(problem)?;
    let mut postgres = settings.postgres().map_err(problem)?;

    tracing::info!(servers = nats.servers.join(", "), "connecting to NATS");
    nats.start_timeout = left(Duration::ZERO);
    let bus = NatsBus::connect(nats, registry).await.map_err(cannot_begin)?;
    tracing::info!(brokers = kafka.brokers.join(", "), "connecting to Kafka");
    kafka.start_timeout = left(kafka.request_timeout);
    let log = KafkaLog::connect(kafka, registry).await.map_err(cannot_begin)?;
    tracing::info!("connecting to Postgres");
    postgres.start_timeout = left(Duration::from_secs(1));
    let fresh = skywave_embedded::random_epoch(&mut rand::rng());
    let store = PostgresStore::connect(postgres, &settings.node.cell, fresh, registry).await;
    Ok(Servers { bus, log: Arc::new(log), store: Arc::new(store.map_err(cannot_begin)?) })
}

/// Relays the outbox, if there is one. Its database may come later, and go.
fn relay(
    settings: &Settings,
    log: &Arc<KafkaLog>,
    store: &Arc<PostgresStore>,
    registry: &mut Registry,
    shutdown: &Shutdown,
) -> Result<Option<OutboxRelay>, Failed> {
    let Some((postgres, config)) = settings.outbox().map_err(cannot_begin)? else { return Ok(None) };
    let outbox = PostgresOutbox::new(postgres).map_err(cannot_begin)?;
    let ports = RelayPorts { outbox: Arc::new(outbox), log: log.clone(), store: store.clone() };
    Ok(Some(OutboxRelay::start(config, ports, registry, shutdown.clone())))
}

/// Returns when the relay has died; a shutdown ends it, too, and is told by the core.
async fn died(relay: Option<&mut OutboxRelay>) -> CoreFailed {
    if let Some(relay) = relay
        && let Err(failed) = relay.ended().await
    {
        return failed;
    }
    std::future::pending().await
}

fn starting() -> HealthCheck {
    Arc::new(|| vec![Component::essential("core", false, Some("starting or ending".into()))])
}

/// A core without its store goes on until too much waits for it; without bus or log it can do nothing.
fn check(
    core: &Core,
    topics: &Topics,
    bus: NatsBus,
    log: Arc<KafkaLog>,
    store: Arc<PostgresStore>,
) -> HealthCheck {
    let (standing, topics) = (core.standing(), topics.health());
    let (log, store) = (probe::log(log), probe::store(store));
    Arc::new(move || {
        let standing = standing();
        let connected = bus.connected();
        let lost = (!connected).then(|| "the connection to NATS is lost; connecting again".to_owned());
        let (log, store) = (log.borrow().clone(), store.borrow().clone());
        let mut components = vec![
            Component::essential("bus", connected, lost),
            Component::essential("log", log.is_none(), log),
            Component::helpful("store", store.is_none(), store),
            Component::essential("partitions", standing.is_ready(), Some(standing.to_string())),
        ];
        components.extend(topics());
        components
    })
}

/// Tells the group that this core has left, so that others take over at once instead of waiting for it.
async fn leave(mut log: Arc<KafkaLog>, shutdown: &Shutdown) {
    let deadline = Instant::now() + LAST_WORDS;
    let leave = async {
        loop {
            match Arc::try_unwrap(log) {
                Ok(log) => return log.close().await,
                // A read or a health check that is just under way.
                Err(held) if Instant::now() < deadline => log = held,
                Err(_) => {
                    return tracing::warn!(
                        "the log is still in use; its group learns later that this core has left"
                    );
                }
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::select! {
        () = leave => {}
        () = shutdown.immediate() => {}
    }
}
