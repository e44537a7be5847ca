//! WebTransport over real sockets, with `wtransport` as the client.

mod support;

use std::time::Duration;

use serde_json::json;
use skywave_edge::auth::AuthConfig;
use support::webtransport::{
    Source, WtClient, config, dial, dial_from, edge, endpoint, endpoint_with, ports,
};
use support::{TestEdge, token};
use wtransport::error::ConnectingError;

#[tokio::test]
async fn each_channel_has_a_stream_and_ephemeral_ones_come_as_datagrams() {
    let edge = edge().await;
    let mut client = WtClient::connected(&edge).await;
    for channel in ["chat:1", "chat:2", "live:1"] {
        client.subscribe(channel).await;
    }
    let mut publisher = edge.client().await;
    for n in 1..=50 {
        publisher.publish("chat:1", json!(n)).await;
        publisher.publish("chat:2", json!(n)).await;
    }
    let mut streams = [None, None];
    let mut next = [1, 1];
    for _ in 0..100 {
        let (source, publication) = client.publication().await;
        let which = if publication["channel"] == "chat:1" { 0 } else { 1 };
        assert_eq!(publication["offset"], next[which]);
        next[which] += 1;
        assert!(matches!(source, Source::Stream(_)), "{source:?}");
        assert_eq!(*streams[which].get_or_insert(source), source, "a channel keeps its stream");
    }
    assert_ne!(streams[0], streams[1]);
    publisher.publish("live:1", json!("small")).await;
    assert_eq!(client.publication().await.0, Source::Datagram);
    // Too large for a datagram: a stream of its own.
    publisher.publish("live:1", json!("x".repeat(10_000))).await;
    assert!(matches!(client.publication().await.0, Source::Stream(2)));
}

#[tokio::test]
async fn a_client_can_do_everything_it_can_do_elsewhere() {
    let edge = edge().await;
    let mut client = WtClient::connected(&edge).await;
    client.subscribe("chat:1").await;
    let reply = client.request("publish", json!({"channel": "chat:1", "data": {"x": "é"}})).await;
    assert_eq!(reply["published"]["offset"], 1);
    assert_eq!(client.publication().await.1["data"], json!({"x": "é"}));
    let page = client.request("history", json!({"channel": "chat:1", "limit": 10})).await;
    assert_eq!(page["history"]["publications"].as_array().unwrap().len(), 1);
    let presence = client.request("presence", json!({"channel": "chat:1"})).await;
    assert_eq!(presence["presence"]["members"].as_array().unwrap().len(), 1);
    // Publishing by datagram: ephemeral, without an answer.
    client.subscribe("live:1").await;
    client.connection.send_datagram(br#"{"publish":{"channel":"live:1","data":"fast"}}"#).unwrap();
    assert_eq!(client.publication().await.1["data"], "fast");
    // Many requests in one write, cut anywhere.
    let lines: String = (100..300).map(|id| format!("{{\"id\":{id},\"ping\":{{}}}}\n")).collect();
    for piece in lines.as_bytes().chunks(777) {
        client.write(piece).await;
    }
    for id in 100..300 {
        assert_eq!(client.until(|_, message| message["id"] == id).await.1["pong"], json!({}));
    }
}

#[tokio::test]
async fn a_channel_left_and_joined_again_gets_a_new_stream_and_recovers() {
    let edge = edge().await;
    let mut client = WtClient::connected(&edge).await;
    let mut publisher = edge.client().await;
    client.subscribe("chat:1").await;
    publisher.publish("chat:1", json!(1)).await;
    let (first, _) = client.publication().await;
    client.request("unsubscribe", json!({"channel": "chat:1"})).await;
    for n in 2..=30 {
        publisher.publish("chat:1", json!(n)).await;
    }
    let recover = json!({"channel": "chat:1", "recover": {"epoch": "e1", "offset": 1}});
    let reply = client.request("subscribe", recover).await;
    assert_eq!(reply["subscribed"]["recovery"], "exact");
    for n in 2..=30 {
        let (source, publication) = client.publication().await;
        assert_eq!(publication["offset"], n);
        assert_ne!(source, first);
    }
}

#[tokio::test]
async fn the_encoding_is_chosen_by_the_query() {
    use skywave_protocol::message::{Connect, Reply, Request};
    use skywave_protocol::{ClientMessage, ServerMessage, binary};

    let edge = edge().await;
    let connection = dial(&edge, "/v1/wt?encoding=binary", &[]).await.unwrap();
    let (mut send, mut recv) = connection.open_bi().await.unwrap().await.unwrap();
    let mut message = Vec::new();
    let request = Request::Connect(Connect::default());
    binary::encode_client(&ClientMessage { id: 7, request }, &mut message);
    for byte in message {
        send.write_all(&[byte]).await.unwrap();
    }
    let mut reply = Vec::new();
    let decoded = loop {
        let mut buffer = [0; 1_024];
        let n = recv.read(&mut buffer).await.unwrap().unwrap();
        reply.extend_from_slice(&buffer[..n]);
        if binary::message_length(&reply).unwrap() == Some(reply.len()) {
            break binary::decode_server(&reply).unwrap();
        }
    };
    assert!(matches!(decoded, ServerMessage::Reply { id: 7, reply: Reply::Connected(_) }), "{decoded:?}");
    assert!(matches!(dial(&edge, "/v1/wt?encoding=xml", &[]).await, Err(ConnectingError::SessionRejected)));
}

#[tokio::test]
async fn other_origins_and_paths_are_refused_before_there_is_a_session() {
    let auth = AuthConfig {
        anonymous: true,
        allowed_origins: vec!["https://app.example.com".into()],
        ..AuthConfig::default()
    };
    let edge = TestEdge::with_everything(auth, config, ports).await;
    for origin in ["https://evil.com", "null", "https://app.example.com.evil.com"] {
        let refused = dial(&edge, "/v1/wt", &[("origin", origin)]).await;
        assert!(matches!(refused, Err(ConnectingError::SessionRejected)), "{origin}: {refused:?}");
    }
    assert!(dial(&edge, "/v1/wt", &[("cookie", "a=b")]).await.is_err());
    assert!(dial(&edge, "/v1/wt", &[("origin", "https://app.example.com")]).await.is_ok());
    for path in ["/", "/v1/wtx", "/v1/ws", "/v1/wt/"] {
        let refused = dial(&edge, path, &[]).await;
        assert!(matches!(refused, Err(ConnectingError::SessionRejected)), "{path}");
    }
    edge.until("skywave_edge_connections", |n| n <= 1.0).await;
}

#[tokio::test]
async fn the_session_ends_with_the_close_code() {
    let edge = TestEdge::with_everything(token::config(), config, ports).await;
    let mut refused = WtClient::open(&edge).await;
    let reply = refused.request("connect", json!({"token": token::expired("ada")})).await;
    assert_eq!(reply["error"]["code"], "token_expired");
    assert_eq!(refused.closed().await, (4010, "the token has expired".into()));
    let mut good = WtClient::open(&edge).await;
    let reply = good.request("connect", json!({"token": token::of("ada")})).await;
    assert_eq!(reply["connected"]["user"], "ada");
    edge.handle.drain(Duration::from_secs(1)).await;
    assert_eq!(good.closed().await.0, 4000);
}

#[tokio::test]
async fn limits_hold_on_every_way_in() {
    let shorten = |settings: &mut skywave_edge::EdgeConfig| {
        config(settings);
        settings.timing.head = Duration::from_secs(1);
        settings.timing.connect = Duration::from_secs(1);
    };
    let edge = TestEdge::with_ports(shorten, ports).await;
    let mut client = WtClient::connected(&edge).await;
    // Streams beyond the control stream are turned away, and do no harm.
    for _ in 0..20 {
        if let Ok(opening) = client.connection.open_uni().await
            && let Ok(mut stream) = opening.await
        {
            let _ = stream.write_all(b"what").await;
        }
    }
    // Datagrams are dropped when nobody has the time for them.
    let large = format!(r#"{{"publish":{{"channel":"live:1","data":"{}"}}}}"#, "x".repeat(900));
    for _ in 0..10_000 {
        client.connection.send_datagram(&large).unwrap();
    }
    assert_eq!(client.request("ping", json!({})).await["pong"], json!({}));
    // A message without an end.
    let mut endless = WtClient::connected(&edge).await;
    endless.write(&vec![b'x'; 65 * 1024 + 1]).await;
    assert_eq!(endless.closed().await.0, 1009);
    // A session without a control stream, and one without `connect`.
    let mute = dial(&edge, "/v1/wt", &[]).await.unwrap();
    mute.closed().await;
    assert_eq!(WtClient::open(&edge).await.closed().await.0, 4503);
    edge.until("skywave_edge_connections", |n| n == 1.0).await;
}

#[tokio::test]
async fn a_full_node_refuses_before_there_is_a_connection() {
    let few = |settings: &mut skywave_edge::EdgeConfig| {
        config(settings);
        settings.limits.connections = 3;
    };
    let edge = TestEdge::with_ports(few, ports).await;
    let _client = WtClient::connected(&edge).await;
    let mut full = Vec::new();
    let endpoint = endpoint(&edge).await;
    let refused = loop {
        match dial_from(&endpoint, &edge, "/v1/wt", &[]).await {
            Ok(connection) => full.push(connection),
            Err(error) => break error,
        }
        assert!(full.len() <= 2, "more than the limit are let in");
    };
    assert!(matches!(refused, ConnectingError::ConnectionError(_)), "{refused}");
}

#[tokio::test]
async fn a_client_that_gives_no_credit_is_dropped_and_only_it() {
    let small = |settings: &mut skywave_edge::EdgeConfig| {
        config(settings);
        settings.limits.outbox_bytes = 128 * 1024;
    };
    let edge = TestEdge::with_ports(small, ports).await;
    let mut good = WtClient::connected(&edge).await;
    good.subscribe("chat:1").await;
    // Subscribed, and then nothing is read from any stream: the library gives credit only for what was read.
    let stuck = dial(&edge, "/v1/wt", &[]).await.unwrap();
    let (mut send, _recv) = stuck.open_bi().await.unwrap().await.unwrap();
    send.write_all(b"{\"id\":1,\"connect\":{}}\n{\"id\":2,\"subscribe\":{\"channel\":\"chat:1\"}}\n")
        .await
        .unwrap();
    edge.until("skywave_edge_subscriptions", |n| n == 2.0).await;
    let mut publisher = edge.client().await;
    let data = "x".repeat(32 * 1024);
    let mut offset = 0;
    while edge.metric("skywave_edge_subscriptions") > 1.0 {
        publisher.publish("chat:1", json!(data)).await;
        offset += 1;
        assert_eq!(good.publication().await.1["offset"], offset);
        assert!(offset < 2_000, "the stuck client takes {offset} times 32 KiB");
    }
    edge.until("skywave_edge_slow_disconnects", |n| n == 1.0).await;
}

#[tokio::test]
async fn a_recovery_larger_than_the_bound_is_still_exact() {
    let small = |settings: &mut skywave_edge::EdgeConfig| {
        config(settings);
        settings.limits.outbox_bytes = 64 * 1024;
        settings.limits.publishes = skywave_engine::Rate::per_second(1_000_000, 1_000_000);
    };
    let edge = TestEdge::with_ports(small, ports).await;
    let mut publisher = edge.client().await;
    for n in 1..=100 {
        publisher.publish("chat:1", json!([n, "x".repeat(30_000)])).await;
    }
    let mut client = WtClient::connected(&edge).await;
    let recover = json!({"channel": "chat:1", "recover": {"epoch": "e1", "offset": 0}});
    let reply = client.request("subscribe", recover).await;
    assert_eq!(reply["subscribed"]["recovery"], "exact");
    for n in 1..=100 {
        assert_eq!(client.publication().await.1["offset"], n);
    }
    assert_eq!(edge.metric("skywave_edge_slow_disconnects"), 0.0);
}

#[tokio::test]
async fn a_client_that_leaves_is_gone_at_once() {
    let edge = edge().await;
    let mut client = WtClient::connected(&edge).await;
    client.subscribe("chat:1").await;
    assert_eq!(edge.metric("skywave_edge_subscriptions"), 1.0);
    client.connection.close(wtransport::VarInt::from_u32(0), b"bye");
    edge.until("skywave_edge_subscriptions", |n| n == 0.0).await;
    edge.until("skywave_edge_connections", |n| n == 0.0).await;
}

#[tokio::test]
async fn clients_of_a_killed_process_learn_it_from_its_successor() {
    let folder = tempfile::tempdir().unwrap();
    let certificate = || {
        let file = folder.path().join("certificate.pem");
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
        let (kept, identity) =
            skywave_edge::tls::self_signed::SelfSigned::kept(vec!["127.0.0.1".into()], file, now).unwrap();
        tokio::spawn(kept.follow(move || now));
        Some(identity)
    };
    let first = TestEdge::with_ports(config, |ports| ports.tls = certificate()).await;
    let address = first.handle.webtransport();
    let mut client = WtClient::connected(&first).await;
    // Cut, without a word to anybody.
    first.handle.stop().await;
    let again = |settings: &mut skywave_edge::EdgeConfig| settings.webtransport = address;
    let _second = TestEdge::with_ports(again, |ports| ports.tls = certificate()).await;
    // It may have been told already, in answer to a packet of its own.
    let _ = client.try_write(b"{\"ping\":{}}\n").await;
    // Less than the silence after which it would give up by itself.
    let ended = tokio::time::timeout(Duration::from_secs(20), client.connection.closed()).await;
    assert!(ended.is_ok(), "the client still believes in a process that is gone");
}

#[tokio::test]
async fn without_credit_for_streams_a_channel_keeps_to_the_control_stream() {
    let edge = edge().await;
    let mut transport = quinn::TransportConfig::default();
    // One for the settings, one for a channel.
    transport.max_concurrent_uni_streams(2u8.into());
    let endpoint = endpoint_with(&edge, transport).await;
    let mut client = WtClient::over(dial_from(&endpoint, &edge, "/v1/wt", &[]).await.unwrap()).await;
    client.request("connect", json!({})).await;
    for channel in ["chat:1", "chat:2"] {
        client.subscribe(channel).await;
    }
    let mut publisher = edge.client().await;
    // One after the other: the first takes the only stream.
    for (channel, source) in [("chat:1", Source::Stream(0)), ("chat:2", Source::Control)] {
        publisher.publish(channel, json!(1)).await;
        assert_eq!(client.publication().await.0, source);
    }
    // Now there is credit again; the channel stays where it is, in order.
    client.request("unsubscribe", json!({"channel": "chat:1"})).await;
    for n in 2..=50 {
        publisher.publish("chat:2", json!(n)).await;
        let (source, publication) = client.publication().await;
        assert_eq!((source, &publication["offset"]), (Source::Control, &json!(n)));
    }
}

#[tokio::test]
async fn keys_are_renewed_as_often_as_a_client_likes() {
    let edge = edge().await;
    let mut client = WtClient::connected(&edge).await;
    client.subscribe("chat:1").await;
    let mut publisher = edge.client().await;
    for n in 1..=5 {
        // A client may renew again once it knows that its last renewal has arrived.
        client.connection.quic_connection().force_key_update();
        assert_eq!(client.request("ping", json!({})).await["pong"], json!({}));
        publisher.publish("chat:1", json!(n)).await;
        assert_eq!(client.publication().await.1["offset"], n);
    }
}

#[tokio::test]
async fn credit_that_comes_late_only_delays() {
    let edge = edge().await;
    let mut transport = quinn::TransportConfig::default();
    // A few bytes at a time, on each stream: the settings alone take several rounds.
    transport.stream_receive_window(4u8.into());
    let endpoint = endpoint_with(&edge, transport).await;
    let mut client = WtClient::over(dial_from(&endpoint, &edge, "/v1/wt", &[]).await.unwrap()).await;
    client.request("connect", json!({})).await;
    client.subscribe("chat:1").await;
    edge.client().await.publish("chat:1", json!("late")).await;
    assert_eq!(client.publication().await.1["data"], "late");
}

#[tokio::test]
async fn many_clients_at_once_have_their_turns() {
    let edge = edge().await;
    let mut clients = Vec::new();
    for _ in 0..40 {
        let mut client = WtClient::connected(&edge).await;
        client.subscribe("chat:1").await;
        clients.push(client);
    }
    let mut publisher = edge.client().await;
    // More than fits into one turn of a connection.
    let data = "x".repeat(60_000);
    for _ in 0..10 {
        publisher.publish("chat:1", json!(data)).await;
    }
    for client in &mut clients {
        for offset in 1..=10 {
            assert_eq!(client.publication().await.1["offset"], offset);
        }
    }
    drop(clients);
    edge.until("skywave_edge_connections", |n| n == 1.0).await;
}
