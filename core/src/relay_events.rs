//! Relay events on their way to Kafka's topics: what edges tell over the bus, and what this core says of itself.
//!
//! Best effort: an event that its topic does not take is dropped and counted, after the adapter's own retries. Those of one
//! key keep their order. Bounded: what comes while too much is under way is dropped by the inbox, and counted.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream::{self, StreamExt};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;
use skywave_ports::events::{NewEvent, SYSTEM_EVENTS, USER_ACTIVITY};
use skywave_ports::{Bus, BusError, BusMessage, Events, Inbox, Subscription};
use skywave_protocol::Subject;
use skywave_protocol::inner::{Envelope, EventTopic, RelayEvent, RelayEvents};
use skywave_runtime::Shutdown;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::ingest::{GROUP, unix_now_ms};

/// Messages of edges that wait. When full, further ones are dropped.
const BATCHES: usize = 1_024;
/// Events of this core that wait. When full, further ones are dropped.
const OWN: usize = 1_024;
/// Events under way to the topics.
const IN_FLIGHT: usize = 256;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TopicLabel {
    topic: &'static str,
}

#[derive(Clone, Default)]
struct Counts {
    kept: Family<TopicLabel, Counter>,
    dropped: Family<TopicLabel, Counter>,
    messages_dropped: Counter,
}

/// An event of this core, and who waits for it to be written, if anybody does.
type Said = (RelayEvent, Option<oneshot::Sender<()>>);

/// Writes relay events to their topics. Ends when dropped.
pub struct EventRelay {
    own: mpsc::Sender<Said>,
    counts: Counts,
    node: Arc<str>,
    region: Arc<str>,
    task: JoinHandle<()>,
    _subscription: Subscription,
}

impl EventRelay {
    /// Shares what edges tell with the other cores of the cell. What has been taken in when `shutdown` begins is still written.
    pub async fn start(
        (cell, node, region): (&str, &str, &str),
        events: Arc<dyn Events>,
        bus: &dyn Bus,
        registry: &mut Registry,
        shutdown: Shutdown,
    ) -> Result<Self, BusError> {
        let counts = Counts::default();
        let registry = registry.sub_registry_with_prefix("skywave_events");
        registry.register("kept", "Relay events that their topic has", counts.kept.clone());
        registry.register(
            "dropped",
            "Relay events that their topic did not take, or that were too many",
            counts.dropped.clone(),
        );
        registry.register(
            "messages_dropped",
            "Messages of edges, each with some events, that were dropped because too many waited",
            counts.messages_dropped.clone(),
        );
        let (inbox, told) = Inbox::new(BATCHES);
        let subscription = bus.subscribe(&Subject::events(cell), Some(GROUP), &inbox).await?;
        let (own, said) = mpsc::channel(OWN);
        let writer = Writer { events, inbox, counts: counts.clone() };
        let task = tokio::spawn(writer.run(told, said, shutdown));
        let (node, region) = (node.into(), region.into());
        Ok(Self { own, counts, node, region, task, _subscription: subscription })
    }

    /// Says something of this core. Never waits.
    pub fn say(&self, kind: &str, data: serde_json::Value) {
        self.queue(kind, data, None);
    }

    /// Says something and returns when it is written, or cannot be.
    pub async fn say_last(&self, kind: &str, data: serde_json::Value) {
        let (written, wait) = oneshot::channel();
        self.queue(kind, data, Some(written));
        // Fails when it was dropped.
        let _ = wait.await;
    }

    fn queue(&self, kind: &str, mut data: serde_json::Value, written: Option<oneshot::Sender<()>>) {
        data["node"] = (*self.node).into();
        data["region"] = (*self.region).into();
        let envelope = Envelope { timestamp: unix_now_ms(), kind, user: None, channel: None, data };
        let (topic, key) = (EventTopic::System, self.node.to_string());
        let event = RelayEvent { topic, key, value: envelope.encode() };
        if self.own.try_send((event, written)).is_err() {
            self.counts.dropped.get_or_create(&TopicLabel { topic: SYSTEM_EVENTS }).inc();
        }
    }
}

impl Drop for EventRelay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Writer {
    events: Arc<dyn Events>,
    /// Knows what it had to drop.
    inbox: Inbox,
    counts: Counts,
}

impl Writer {
    async fn run(
        self,
        mut told: mpsc::Receiver<BusMessage>,
        mut said: mpsc::Receiver<Said>,
        shutdown: Shutdown,
    ) {
        let mut dropped = 0;
        loop {
            let now = self.inbox.dropped();
            self.counts.messages_dropped.inc_by(now - std::mem::replace(&mut dropped, now));
            let events = tokio::select! {
                Some(message) = told.recv() => match RelayEvents::decode(message.payload) {
                    Ok(RelayEvents(events)) => events,
                    Err(error) => {
                        tracing::debug!(%error, "events of an edge cannot be read");
                        continue;
                    }
                },
                Some((event, written)) = said.recv() => {
                    self.write_one(event).await;
                    if let Some(written) = written {
                        // Nobody waits any more, perhaps.
                        let _ = written.send(());
                    }
                    continue;
                }
                () = shutdown.immediate() => return,
                else => return,
            };
            self.write(events).await;
        }
    }

    /// Publishing begins in the order of the events.
    async fn write(&self, events: Vec<RelayEvent>) {
        let writes = events.into_iter().map(|event| self.write_one(event));
        stream::iter(writes).buffered(IN_FLIGHT).collect::<()>().await;
    }

    async fn write_one(&self, RelayEvent { topic, key, value }: RelayEvent) {
        let topic = match topic {
            EventTopic::Activity => USER_ACTIVITY,
            EventTopic::System => SYSTEM_EVENTS,
        };
        let event = NewEvent { topic: topic.into(), key: Bytes::from(key), value, headers: Vec::new() };
        match self.events.publish(event).await {
            Ok(()) => _ = self.counts.kept.get_or_create(&TopicLabel { topic }).inc(),
            Err(error) => {
                self.counts.dropped.get_or_create(&TopicLabel { topic }).inc();
                tracing::debug!(%error, topic, "a relay event was dropped");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::{Value, json};
    use skywave_ports::memory::{MemoryBus, MemoryEvents};
    use skywave_runtime::shutdown;

    use super::*;

    #[tokio::test]
    async fn what_edges_tell_and_the_core_says_is_kept_in_order() {
        let (bus, events) = (MemoryBus::new(), MemoryEvents::default());
        let (_trigger, shutdown) = shutdown::channel();
        let mut registry = Registry::default();
        let who = ("main", "core-1", "eu");
        let relay =
            EventRelay::start(who, Arc::new(events.clone()), &bus, &mut registry, shutdown).await.unwrap();
        let told = |n: u64| {
            let value = Bytes::from(n.to_string());
            RelayEvent { topic: EventTopic::Activity, key: "ada".into(), value }
        };
        for from in [0, 100] {
            let batch = RelayEvents((from..from + 100).map(told).collect());
            bus.publish(&Subject::events("main"), batch.encode()).unwrap();
        }
        relay.say("node.up", json!({ "role": "core" }));
        let both = async {
            while events.published(USER_ACTIVITY).len() < 200 || events.published(SYSTEM_EVENTS).is_empty() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), both).await.unwrap();
        let kept: Vec<String> = events
            .published(USER_ACTIVITY)
            .iter()
            .map(|event| String::from_utf8(event.value.to_vec()).unwrap())
            .collect();
        assert_eq!(kept, (0..200).map(|n: u64| n.to_string()).collect::<Vec<_>>());
        let said: Value = serde_json::from_slice(&events.published(SYSTEM_EVENTS)[0].value).unwrap();
        assert_eq!((&said["type"], &said["data"]["node"]), (&json!("node.up"), &json!("core-1")));
    }
}
