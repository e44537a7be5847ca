//! What a relay is for: publications reach subscribers, in order, across workers and reconnections.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod support;

use serde_json::json;
use support::{Client, FakeCore, TestEdge};

#[tokio::test]
async fn an_ephemeral_publication_reaches_every_subscriber() {
    let edge = TestEdge::start().await;
    let mut subscribers = Vec::new();
    for _ in 0..10 {
        let mut client = edge.client().await;
        client.subscribe("live:a").await;
        subscribers.push(client);
    }
    let mut publisher = edge.client().await;
    let reply = publisher.publish("live:a", json!({"x": [1, 2]})).await;
    assert_eq!(reply["published"]["offset"], json!(null));
    for subscriber in &mut subscribers {
        let publication = subscriber.publication().await;
        assert_eq!(publication["channel"], "live:a");
        assert_eq!(publication["data"], json!({"x": [1, 2]}));
        assert!(publication["offset"].is_null(), "{publication}");
    }
    assert_eq!(edge.metric("skywave_edge_deliveries"), 10.0);
    assert_eq!(edge.metric("skywave_edge_subscriptions"), 10.0);
    drop(subscribers);
    edge.until("skywave_edge_subscriptions", |n| n == 0.0).await;
    edge.until("skywave_edge_connections", |n| n == 1.0).await;
}

#[tokio::test]
async fn durable_publications_come_in_order_to_clients_of_all_workers() {
    let edge = TestEdge::start().await;
    let mut a = edge.client().await;
    let mut b = edge.client().await;
    for client in [&mut a, &mut b] {
        let reply = client.subscribe("chat:1").await;
        assert_eq!(reply["subscribed"]["offset"], 0);
        assert_eq!(reply["subscribed"]["epoch"], "e1");
    }
    for n in 1..=200 {
        a.send(json!({"id": 1_000 + n, "publish": {"channel": "chat:1", "data": n}})).await;
    }
    for client in [&mut a, &mut b] {
        for n in 1..=200 {
            let publication = client.publication().await;
            assert_eq!((&publication["offset"], &publication["data"]), (&json!(n), &json!(n)));
        }
    }
}

#[tokio::test]
async fn a_client_that_comes_back_gets_exactly_what_it_missed() {
    let edge = TestEdge::start().await;
    let mut publisher = edge.client().await;
    for n in 1..=30 {
        publisher.publish("chat:1", json!(n)).await;
    }
    let mut client = edge.client().await;
    let recover = json!({"subscribe": {"channel": "chat:1", "recover": {"epoch": "e1", "offset": 12}}});
    let reply = client.request(recover).await;
    assert_eq!(reply["subscribed"]["recovery"], "exact", "{reply}");
    assert_eq!(reply["subscribed"]["offset"], 30);
    publisher.publish("chat:1", json!(31)).await;
    for n in 13..=31 {
        assert_eq!(client.publication().await["offset"], n);
    }
}

#[tokio::test]
async fn a_live_message_lost_on_the_bus_is_fetched() {
    let edge = TestEdge::start().await;
    let mut client = edge.client().await;
    client.subscribe("chat:1").await;
    let mut publisher = edge.client().await;
    publisher.publish("chat:1", json!(1)).await;
    edge.core.lose_live(true);
    for n in 2..=5 {
        publisher.publish("chat:1", json!(n)).await;
    }
    edge.core.lose_live(false);
    publisher.publish("chat:1", json!(6)).await;
    for n in 1..=6 {
        assert_eq!(client.publication().await["offset"], n);
    }
}

#[tokio::test]
async fn a_storm_of_recoveries_reads_the_log_once() {
    let edge = TestEdge::start().await;
    let mut publisher = edge.client().await;
    for n in 1..=20 {
        publisher.publish("chat:1", json!(n)).await;
    }
    assert_eq!(edge.core.reads(), 0, "nobody has subscribed yet");
    let mut clients = Vec::new();
    for _ in 0..200 {
        clients.push(edge.client().await);
    }
    for client in &mut clients {
        let recover = json!({"channel": "chat:1", "recover": {"epoch": "e1", "offset": 10}});
        client.send(json!({"id": 9, "subscribe": recover})).await;
    }
    for client in &mut clients {
        let reply = client.json().await;
        assert_eq!(reply["subscribed"]["recovery"], "exact", "{reply}");
        for n in 11..=20 {
            assert_eq!(client.publication().await["offset"], n);
        }
    }
    assert!(edge.core.reads() <= 2, "{} reads (the head, and one for all recoveries)", edge.core.reads());
}

#[tokio::test]
async fn a_recovery_larger_than_the_outbox_is_still_exact() {
    let edge = TestEdge::with(|config| {
        config.limits.outbox_bytes = 64 * 1024;
        config.limits.publishes = skywave_engine::Rate::per_second(1_000_000, 1_000_000);
    })
    .await;
    let mut publisher = edge.client().await;
    let data = "x".repeat(30_000);
    const CHANNELS: u64 = 4;
    for channel in 0..CHANNELS {
        for n in 1..=100 {
            publisher.publish(&format!("chat:{channel}"), json!([n, data])).await;
        }
    }
    // A small window, so that most of it has to wait in the outbox.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(16 * 1024).unwrap();
    let tcp = socket.connect(edge.address()).await.unwrap();
    let mut client = Client::handshake_over(tcp, edge.address(), &[]).await;
    client.connect().await;
    for channel in 0..CHANNELS {
        let recover = json!({"channel": format!("chat:{channel}"), "recover": {"epoch": "e1", "offset": 0}});
        client.send(json!({"id": 9 + channel, "subscribe": recover})).await;
    }
    edge.until("skywave_edge_blocked_connections", |n| n == 1.0).await;
    let mut seen = std::collections::BTreeMap::new();
    while seen.values().sum::<u64>() < 100 * CHANNELS {
        let publication = client.publication().await;
        let last = seen.entry(publication["channel"].to_string()).or_insert(0);
        *last += 1;
        assert_eq!(publication["offset"], *last);
    }
    assert_eq!(edge.metric("skywave_edge_slow_disconnects"), 0.0);
}

#[tokio::test]
async fn history_and_presence_are_answered() {
    let edge = TestEdge::start().await;
    let mut a = edge.client().await;
    a.subscribe("chat:1").await;
    for n in 1..=5 {
        a.publish("chat:1", json!(n)).await;
    }
    let page = a.request(json!({"history": {"channel": "chat:1", "limit": 2, "reverse": true}})).await;
    let offsets: Vec<_> =
        page["history"]["publications"].as_array().unwrap().iter().map(|p| &p["offset"]).collect();
    assert_eq!(offsets, [5, 4]);
    assert_eq!(page["history"]["offset"], 5, "{page}");

    let mut b = edge.client().await;
    b.request(json!({"subscribe": {"channel": "chat:1", "presence": true}})).await;
    let members = b.request(json!({"presence": {"channel": "chat:1"}})).await;
    assert_eq!(members["presence"]["members"].as_array().unwrap().len(), 2, "{members}");
    a.request(json!({"unsubscribe": {"channel": "chat:1"}})).await;
    loop {
        let push = b.json().await;
        if push["leave"].is_object() {
            assert_eq!(push["leave"]["channel"], "chat:1");
            break;
        }
    }
    let members = b.request(json!({"presence": {"channel": "chat:1"}})).await;
    assert_eq!(members["presence"]["members"].as_array().unwrap().len(), 1, "{members}");
}

#[tokio::test]
async fn rest_callers_publish_read_and_see_who_is_there() {
    let edge = TestEdge::start().await;
    let relay = edge.handle.relay();
    let channel = skywave_protocol::ChannelName::parse("chat:9").unwrap();
    let mut client = edge.client().await;
    client.subscribe("chat:9").await;
    let data = skywave_protocol::Payload::from_json(b"{\"a\":1}").unwrap();
    let publish = skywave_protocol::message::Publish { channel: channel.clone(), id: None, data };
    let published = relay.publish(publish.clone(), None).await.unwrap();
    assert_eq!(published.position.unwrap().offset, 1);
    assert_eq!(client.publication().await["data"], json!({"a": 1}));
    assert_eq!(relay.presence(channel.clone()).await.unwrap().len(), 1);
    let nobody = skywave_protocol::ChannelName::parse("chat:empty").unwrap();
    assert_eq!(relay.presence(nobody).await.unwrap().len(), 0);
    edge.core.be_silent(true);
    let error = relay.publish(publish, None).await.unwrap_err();
    assert_eq!(error.code, skywave_protocol::ErrorCode::Timeout);
}

#[tokio::test]
async fn unsubscribing_ends_delivery_and_joining_again_begins_anew() {
    let edge = TestEdge::start().await;
    let mut client = edge.client().await;
    let mut publisher = edge.client().await;
    for round in 0..20 {
        let from = client.subscribe("chat:1").await["subscribed"]["offset"].as_u64().unwrap();
        let to = publisher.publish("chat:1", json!(round)).await["published"]["offset"].as_u64().unwrap();
        // (What was published a moment before may still have been on its way when the subscription began.)
        for offset in from + 1..=to {
            let publication = client.publication().await;
            assert_eq!(publication["offset"], offset);
            assert!(offset < to || publication["data"] == round, "{publication}");
        }
        let reply = client.request(json!({"unsubscribe": {"channel": "chat:1"}})).await;
        assert!(reply["unsubscribed"].is_object(), "{reply}");
        publisher.publish("chat:1", json!("unseen")).await;
        assert_eq!(client.request(json!({"ping": {}})).await["id"], client.last_id());
        assert_eq!(client.kept_back(), 0, "nothing comes after the unsubscription");
    }
    // Requests that cross their answers: the last word counts.
    for _ in 0..20 {
        client.send(json!({"id": 0, "subscribe": {"channel": "chat:1"}})).await;
        client.send(json!({"id": 0, "unsubscribe": {"channel": "chat:1"}})).await;
    }
    client.subscribe("chat:1").await;
    publisher.publish("chat:1", json!("seen")).await;
    while client.publication().await["data"] != "seen" {}
}

#[tokio::test]
async fn binary_and_compressed_clients_get_the_same_publications() {
    let edge = TestEdge::start().await;
    let mut plain = edge.client().await;
    plain.subscribe("live:a").await;
    let mut packed = Client::open(
        edge.address(),
        &["sec-websocket-extensions: permessage-deflate; client_max_window_bits"],
    )
    .await;
    assert!(
        packed.head.contains("server_no_context_takeover; client_no_context_takeover"),
        "{}",
        packed.head
    );
    packed.connect().await;
    packed.subscribe("live:a").await;
    let mut binary = Client::open(edge.address(), &["sec-websocket-protocol: skywave.binary.v1"]).await;
    assert!(binary.head.contains("sec-websocket-protocol: skywave.binary.v1"), "{}", binary.head);
    for (id, request) in [
        (1, skywave_protocol::Request::Connect(Default::default())),
        (
            2,
            skywave_protocol::Request::Subscribe(skywave_protocol::message::Subscribe {
                channel: skywave_protocol::ChannelName::parse("live:a").unwrap(),
                recover: None,
                presence: false,
            }),
        ),
    ] {
        let mut message = Vec::new();
        skywave_protocol::binary::encode_client(
            &skywave_protocol::ClientMessage { id, request },
            &mut message,
        );
        binary.frame(skywave_protocol::websocket::Opcode::Binary, &message).await;
        assert!(matches!(binary.next().await, support::client::Received::Binary(_)));
    }
    let long = "again and again ".repeat(200);
    plain.publish("live:a", json!(long)).await;
    assert_eq!(plain.publication().await["data"], long);
    let support::client::Received::Compressed(bytes) = packed.next().await else { panic!("not compressed") };
    assert!(bytes.len() < long.len() / 5, "{}", bytes.len());
    let support::client::Received::Binary(bytes) = binary.next().await else { panic!("not binary") };
    let message = skywave_protocol::binary::decode_server(&bytes).unwrap();
    let skywave_protocol::ServerMessage::Push(skywave_protocol::Push::Publication { publication, .. }) =
        message
    else {
        panic!("{message:?}")
    };
    assert_eq!(publication.data.bytes(), json!(long).to_string().as_bytes());
}

#[tokio::test]
async fn a_silent_core_is_a_timeout_and_the_connection_lives() {
    let edge = TestEdge::with(|config| config.timing.core = std::time::Duration::from_secs(2)).await;
    let mut client = edge.client().await;
    edge.core.be_silent(true);
    let reply = client.request(json!({"publish": {"channel": "chat:1", "data": 1}})).await;
    assert_eq!(reply["error"]["code"], "timeout", "{reply}");
    edge.core.be_silent(false);
    client.publish("chat:1", json!(2)).await;
    let _ = FakeCore::epoch();
}
