//! What backends hear of channels: JSON of the namespaces that want it, and nothing of the others.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod cell;

use std::collections::BTreeMap;

use cell::{Cell, channel, soon};
use serde_json::{Value, json};
use skywave_core::CoreConfig;
use skywave_ports::{Bus, BusMessage, Inbox, Subscription};
use skywave_protocol::{NamespaceOptions, Subject};
use tokio::sync::mpsc::Receiver;

fn config() -> CoreConfig {
    let wanted = NamespaceOptions { live_json: true, ..NamespaceOptions::default() };
    let namespaces = BTreeMap::from([
        ("chat".to_owned(), wanted.clone()),
        (String::new(), wanted),
        ("user".to_owned(), NamespaceOptions::default()),
    ]);
    CoreConfig { namespaces, head_announce_ms: 10, ..CoreConfig::default() }
}

struct Heard {
    messages: Receiver<BusMessage>,
    _subscription: Subscription,
}

impl Heard {
    async fn of(cell: &Cell, subject: Subject) -> Self {
        let (inbox, messages) = Inbox::new(1_000);
        Self { messages, _subscription: cell.bus.subscribe(&subject, None, &inbox).await.unwrap() }
    }

    async fn next(&mut self) -> Value {
        let message = soon("a message", self.messages.recv()).await.unwrap();
        serde_json::from_slice(&message.payload).unwrap()
    }
}

#[tokio::test]
async fn a_namespace_that_wants_it_is_told_as_json_once_and_in_order() {
    let cell = Cell::new();
    let mut durable = Heard::of(&cell, Subject::json(&channel("chat:1"))).await;
    let mut plain = Heard::of(&cell, Subject::json(&channel("lobby"))).await;
    let mut heads = Heard::of(&cell, Subject::json_head(&channel("chat:1"))).await;
    let mut private = Heard::of(&cell, Subject::json(&channel("user:ada"))).await;
    let core = cell.start_ready(config()).await;
    let mut client = cell.client("edge").await;
    client.publish("user:ada", Some("p"), "0").await.unwrap();
    for n in 1..=20 {
        client.publish("chat:1", Some(&format!("m{n}")), &n.to_string()).await.unwrap();
        // A copy is no second publication.
        client.publish("chat:1", Some(&format!("m{n}")), &n.to_string()).await.unwrap();
    }
    client.publish("lobby", Some("l"), "\"hi\"").await.unwrap();
    for n in 1..=20 {
        let heard = durable.next().await;
        assert_eq!(
            heard,
            json!({ "channel": "chat:1", "offset": n, "id": format!("m{n}"), "data": n, "from": "ada", "time": heard["time"], "epoch": "first" })
        );
    }
    assert_eq!(plain.next().await["data"], "hi");
    loop {
        let head = heads.next().await;
        if head["offset"] == 20 {
            assert_eq!(head, json!({ "channel": "chat:1", "epoch": "first", "offset": 20 }));
            break;
        }
    }
    assert_eq!(core.metric("skywave_core_live_json_total"), 21.0);
    core.stop().await;
    assert!(durable.messages.try_recv().is_err() && private.messages.try_recv().is_err());
}

#[tokio::test]
async fn a_successor_tells_again_what_was_not_stored_at_the_same_positions() {
    let cell = Cell::new();
    let mut durable = Heard::of(&cell, Subject::json(&channel("chat:1"))).await;
    // Nothing is stored before the kill.
    let core = cell.start_ready(CoreConfig { persist_ms: 60_000, ..config() }).await;
    let mut client = cell.client("edge").await;
    for n in 1..=5 {
        client.publish("chat:1", Some(&format!("m{n}")), &n.to_string()).await.unwrap();
    }
    let mut first = Vec::new();
    for _ in 1..=5 {
        first.push(durable.next().await);
    }
    core.kill().await;
    let core = cell.start_ready(config()).await;
    for told in &first {
        assert_eq!(durable.next().await, *told);
    }
    core.stop().await;
}
