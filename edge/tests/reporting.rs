//! What the cores are told of users and nodes, if they want to know.
#![allow(clippy::unwrap_used)]

mod support;

use std::time::Duration;

use serde_json::{Value, json};
use skywave_edge::EventsConfig;
use skywave_edge::auth::AuthConfig;
use skywave_ports::{Bus, BusMessage, Inbox, Subscription};
use skywave_protocol::Subject;
use skywave_protocol::inner::{EventTopic, RelayEvents};
use support::{TestEdge, token};
use tokio::sync::mpsc;

struct Listener {
    messages: mpsc::Receiver<BusMessage>,
    heard: Vec<(EventTopic, String, Value)>,
    _subscription: Subscription,
}

impl Listener {
    async fn of(edge: &TestEdge) -> Self {
        let (inbox, messages) = Inbox::new(1_000);
        let subscription = edge.bus.subscribe(&Subject::events("main"), None, &inbox).await.unwrap();
        Self { messages, heard: Vec::new(), _subscription: subscription }
    }

    /// The next event of the kind with its topic and key, in the order in which they are told.
    async fn hear(&mut self, kind: &str) -> (EventTopic, String, Value) {
        loop {
            if let Some(at) = self.heard.iter().position(|(.., event)| event["type"] == kind) {
                return self.heard.drain(..=at).next_back().unwrap();
            }
            let message = tokio::time::timeout(Duration::from_secs(60), self.messages.recv()).await;
            let message = message.unwrap_or_else(|_| panic!("{kind} is not told")).unwrap();
            for event in RelayEvents::decode(message.payload).unwrap().0 {
                let value: Value = serde_json::from_slice(&event.value).unwrap();
                self.heard.push((event.topic, event.key, value));
            }
        }
    }
}

async fn edge(events: EventsConfig) -> TestEdge {
    let auth = AuthConfig { anonymous: true, ..token::config() };
    TestEdge::with_auth(auth, |config| config.events = events).await
}

#[tokio::test]
async fn what_a_user_does_is_told_in_order() {
    let edge = edge(EventsConfig { activity: true, system: false }).await;
    let mut listener = Listener::of(&edge).await;
    let mut ada = edge.socket().await;
    let connected = ada.request(json!({ "connect": { "token": token::of("ada") } })).await;
    let client = connected["connected"]["client"].clone();
    ada.subscribe("chat:1").await;
    ada.request(json!({ "unsubscribe": { "channel": "chat:1" } })).await;
    drop(ada);

    let (topic, key, event) = listener.hear("user.connected").await;
    assert_eq!((topic, key.as_str()), (EventTopic::Activity, "ada"));
    assert_eq!((&event["userId"], &event["conversationId"]), (&json!("ada"), &Value::Null));
    let data = json!({ "client": client, "node": "test", "region": "local", "transport": "websocket" });
    assert_eq!(event["data"], data);
    assert!(event["timestamp"].as_u64().unwrap() > 1_600_000_000_000);
    for kind in ["user.subscribed", "user.unsubscribed"] {
        let (_, key, event) = listener.hear(kind).await;
        assert_eq!((key.as_str(), &event["conversationId"]), ("ada", &json!("chat:1")), "{event}");
        assert_eq!(event["data"]["client"], client);
    }
    let (_, _, event) = listener.hear("user.disconnected").await;
    assert_eq!(event["data"]["reason"], "connection lost");
    assert_eq!(edge.metric("skywave_edge_events_dropped"), 0.0);
    assert!(edge.metric("skywave_edge_events_sent") >= 4.0);
}

#[tokio::test]
async fn what_happens_to_the_node_is_told_to_the_end() {
    let edge = edge(EventsConfig { activity: false, system: true }).await;
    let mut listener = Listener::of(&edge).await;
    let mut somebody = edge.client().await;
    somebody.subscribe("chat:1").await;
    edge.handle.circuits().report("state", Some("away".into()));
    let (topic, key, event) = listener.hear("circuit.opened").await;
    assert_eq!((topic, key.as_str()), (EventTopic::System, "test"));
    assert_eq!((&event["data"]["circuit"], &event["data"]["reason"]), (&json!("state"), &json!("away")));
    drop(somebody);
    edge.shutdown.graceful();
    edge.handle.finished().await.unwrap();
    for kind in ["node.draining", "node.down"] {
        let (_, _, event) = listener.hear(kind).await;
        assert_eq!(event["data"], json!({ "role": "edge", "node": "test", "region": "local" }), "{kind}");
    }
    let activity = listener.heard.iter().find(|(topic, ..)| *topic == EventTopic::Activity);
    assert_eq!(activity, None, "nobody wants to know");
}
