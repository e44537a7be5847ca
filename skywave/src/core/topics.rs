//! The topics of backends, wired to Kafka if there are any.

use std::sync::Arc;

use prometheus_client::registry::Registry;
use skywave_core::{BackendTopics, Core, CoreFailed, TopicsPorts};
use skywave_kafka::KafkaLog;
use skywave_ports::{Events, Store};
use skywave_runtime::Shutdown;
use skywave_runtime::health::Component;

use crate::serving::{Failed, cannot_begin};
use crate::settings::Settings;

/// What runs beside the core, if it is configured.
pub(super) struct Topics(Option<BackendTopics>);

impl Topics {
    pub(super) fn start(
        settings: &Settings,
        core: &Core,
        log: &Arc<KafkaLog>,
        store: Arc<dyn Store>,
        events: Option<Arc<dyn Events>>,
        registry: &mut Registry,
        shutdown: Shutdown,
    ) -> Result<Self, Failed> {
        let (Some(config), Some(events)) = (settings.topics().map_err(cannot_begin)?, events) else {
            return Ok(Self(None));
        };
        let ports = TopicsPorts { events, log: log.clone(), store, stalled: Arc::new(core.stalled()) };
        Ok(Self(Some(BackendTopics::start(config, ports, registry, shutdown))))
    }

    /// For health checks. A core that cannot publish them does everything else.
    pub(super) fn health(&self) -> impl Fn() -> Option<Component> + Send + Sync + 'static {
        let trouble = self.0.as_ref().map(BackendTopics::trouble);
        move || {
            let trouble = trouble.as_ref()?();
            Some(Component::helpful("topics", trouble.is_none(), trouble))
        }
    }

    /// Returns when they have failed; otherwise never. Cancel-safe.
    pub(super) async fn failed(&mut self) -> CoreFailed {
        if let Some(topics) = &mut self.0
            && let Err(failed) = topics.ended().await
        {
            return failed;
        }
        // Once it has ended as it should, there is nothing to wait for.
        self.0 = None;
        std::future::pending().await
    }
}
