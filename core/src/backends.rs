//! What backends hear on the bus: the publications of the namespaces that want it, as JSON.
//!
//! The partition's owner emits it beside the live publication, because it alone emits each publication once, whatever number of
//! edges follows the channel; gateways carry it to the regions in which somebody listens. What is ephemeral never comes here:
//! the edge that takes it in emits its JSON.
//! Never: keeps anything, or costs a namespace that does not want it more than a look at a list.

use bytes::Bytes;
use skywave_protocol::{ChannelName, Epoch, Position, Publication, Subject, json};

use crate::config::CoreConfig;
use crate::metrics::CoreMetrics;

pub(crate) struct Backends {
    /// Few, so a list is as fast as a table.
    namespaces: Vec<String>,
    metrics: CoreMetrics,
}

impl Backends {
    pub(crate) fn new(config: &CoreConfig, metrics: CoreMetrics) -> Self {
        let wanted = config.namespaces.iter().filter(|(_, options)| options.live_json);
        Self { namespaces: wanted.map(|(name, _)| name.clone()).collect(), metrics }
    }

    fn wants(&self, channel: &ChannelName) -> bool {
        !self.namespaces.is_empty() && self.namespaces.iter().any(|name| name == channel.namespace())
    }

    pub(crate) fn publication(
        &self,
        channel: &ChannelName,
        epoch: &Epoch,
        publication: &Publication,
    ) -> Option<(Subject, Bytes)> {
        self.wants(channel).then(|| {
            self.metrics.live_json.inc();
            (Subject::json(channel), json::live_publication(channel, Some(epoch), publication))
        })
    }

    pub(crate) fn head(&self, channel: &ChannelName, head: &Position) -> Option<(Subject, Bytes)> {
        self.wants(channel).then(|| (Subject::json_head(channel), json::live_head(channel, head)))
    }
}
