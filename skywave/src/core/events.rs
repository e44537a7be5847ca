//! What a core says of itself for `system-events`, and the relaying of what edges tell.
//!
//! Partitions and troubles are looked at a few times a second: what changes to and fro in between is not told.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::registry::Registry;
use serde_json::json;
use skywave_core::{EventRelay, Standing};
use skywave_kafka::{EventTopics, KafkaLog};
use skywave_nats::NatsBus;
use skywave_ports::Events;
use skywave_runtime::Shutdown;
use skywave_runtime::health::HealthCheck;
use tokio::task::JoinHandle;

use crate::serving::{Failed, cannot_begin};
use crate::settings::Settings;

/// How often the core is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// For the last event to be written.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// The topics of events, made if they are missing; `None`: nothing of them is wanted.
pub(super) async fn open(settings: &Settings, log: &KafkaLog) -> Result<Option<Arc<dyn Events>>, Failed> {
    if !settings.events.relayed() && settings.events.topics.is_empty() {
        return Ok(None);
    }
    let events = log.events(&EventTopics::default()).await.map_err(cannot_begin)?;
    Ok(Some(Arc::new(events)))
}

/// Runs beside the core, if it is configured.
pub(super) struct RelayEvents(Option<(Arc<EventRelay>, JoinHandle<()>)>);

impl RelayEvents {
    pub(super) async fn start(
        settings: &Settings,
        node: &str,
        events: Option<Arc<dyn Events>>,
        bus: &NatsBus,
        registry: &mut Registry,
        shutdown: Shutdown,
        (standing, health): (impl Fn() -> Standing + Send + 'static, HealthCheck),
    ) -> Result<Self, Failed> {
        let (true, Some(events)) = (settings.events.relayed(), events) else { return Ok(Self(None)) };
        let who = (settings.node.cell.as_str(), node, settings.node.region.as_str());
        let relay = EventRelay::start(who, events, bus, registry, shutdown).await.map_err(cannot_begin)?;
        let relay = Arc::new(relay);
        let looking = match settings.events.system {
            true => tokio::spawn(look(Arc::clone(&relay), standing, health)),
            false => tokio::spawn(std::future::ready(())),
        };
        Ok(Self(Some((relay, looking))))
    }

    /// The core has ended in order; returns when that is told, or a little later.
    pub(super) async fn end(self, settings: &Settings) {
        let Some((relay, looking)) = self.0 else { return };
        looking.abort();
        // It holds on to the log.
        let _ = looking.await;
        if settings.events.system {
            let last = relay.say_last("node.down", json!({ "role": "core" }));
            let _ = tokio::time::timeout(LAST_WORDS, last).await;
        }
    }
}

/// Tells what changes, for ever.
async fn look(relay: Arc<EventRelay>, standing: impl Fn() -> Standing, health: HealthCheck) {
    relay.say("node.up", json!({ "role": "core" }));
    let (mut serving, mut troubles) = (BTreeSet::new(), BTreeSet::new());
    loop {
        let now: BTreeSet<_> = standing().serving.into_iter().collect();
        for partition in now.difference(&serving) {
            relay.say("partition.taken", json!({ "partition": partition }));
        }
        for partition in serving.difference(&now) {
            relay.say("partition.lost", json!({ "partition": partition }));
        }
        serving = now;
        // How the partitions are is told above.
        let components = health().into_iter().filter(|component| component.name != "partitions");
        let now: Vec<_> = components.filter(|component| !component.ok).collect();
        for component in now.iter().filter(|component| !troubles.contains(component.name)) {
            let data = json!({ "circuit": component.name, "reason": component.detail });
            relay.say("circuit.opened", data);
        }
        let now: BTreeSet<_> = now.into_iter().map(|component| component.name).collect();
        for name in troubles.difference(&now) {
            relay.say("circuit.closed", json!({ "circuit": name }));
        }
        troubles = now;
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
