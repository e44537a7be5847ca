//! Clients that break the rules, or the patience of others: each costs only itself, and is told why.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod support;

use std::time::Duration;

use serde_json::json;
use skywave_protocol::websocket::Opcode;
use support::client::Received;
use support::{Client, TestEdge};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Everything the server says until the stream ends, as text.
async fn rest(tcp: &mut TcpStream) -> String {
    let mut text = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(60), tcp.read_to_end(&mut text)).await;
    // A reset after the answer is an end as well.
    let _ = read.expect("the server ends the stream");
    String::from_utf8_lossy(&text).into_owned()
}

async fn http(edge: &TestEdge, request: &str) -> String {
    let mut tcp = TcpStream::connect(edge.address()).await.unwrap();
    tcp.write_all(request.as_bytes()).await.unwrap();
    rest(&mut tcp).await
}

#[tokio::test]
async fn each_broken_frame_has_its_close_code() {
    let edge = TestEdge::start().await;
    let limit = 64 * 1024;
    let cases: [(&str, Vec<u8>, u16); 9] = [
        ("unmasked", vec![0x81, 2, b'{', b'}'], 1002),
        ("reserved bits", vec![0xa1, 0x80, 0, 0, 0, 0], 1002),
        ("compressed without having agreed to it", vec![0xc1, 0x80, 0, 0, 0, 0], 1002),
        ("reserved opcode", vec![0x83, 0x80, 0, 0, 0, 0], 1002),
        ("fragmented ping", vec![0x09, 0x80, 0, 0, 0, 0], 1002),
        ("continuation of nothing", vec![0x80, 0x80, 0, 0, 0, 0], 1002),
        ("a length of 2^63 - 1", [&[0x81, 0xff, 0x7f][..], &[0xff; 7], &[0; 4]].concat(), 1009),
        ("one byte too many", [&[0x81, 0xff][..], &(limit as u64 + 1).to_be_bytes(), &[0; 4]].concat(), 1009),
        ("bad UTF-8", vec![0x81, 0x82, 0, 0, 0, 0, 0xc3, 0x28], 1007),
    ];
    for (name, bytes, code) in cases {
        let mut client = edge.client().await;
        client.raw(&bytes).await;
        assert_eq!(client.close_code().await, code, "{name}");
        client.end().await;
    }
    edge.until("skywave_edge_connections", |n| n == 0.0).await;
}

#[tokio::test]
async fn utf8_split_over_fragments_is_checked_as_one_text() {
    let edge = TestEdge::start().await;
    let mut client = edge.client().await;
    let text = json!({"id": 7, "publish": {"channel": "live:a", "data": "é€😀"}}).to_string();
    for (index, byte) in text.bytes().enumerate() {
        let opcode = if index == 0 { Opcode::Text } else { Opcode::Continuation };
        client.fragment(opcode, index + 1 == text.len(), false, &[byte]).await;
        if index == 20 {
            client.frame(Opcode::Ping, b"in between").await;
        }
    }
    assert_eq!(client.next().await, Received::Pong(b"in between".to_vec()));
    assert!(client.json().await["published"].is_object());
    client.fragment(Opcode::Text, false, false, &[0xe2, 0x82]).await;
    client.fragment(Opcode::Continuation, true, false, &[0x28]).await;
    assert_eq!(client.close_code().await, 1007);
}

#[tokio::test]
async fn fragments_cannot_add_up_to_more_than_a_message() {
    let edge = TestEdge::start().await;
    let mut client = edge.client().await;
    client.fragment(Opcode::Text, false, false, &[b'a'; 40_000]).await;
    client.fragment(Opcode::Continuation, false, false, &[b'a'; 40_000]).await;
    assert_eq!(client.close_code().await, 1009);
}

#[tokio::test]
async fn a_deflate_bomb_and_rubbish_are_stopped() {
    let edge = TestEdge::start().await;
    let offer = "sec-websocket-extensions: permessage-deflate";
    let mut bomb = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::best());
    std::io::Write::write_all(&mut bomb, &vec![b' '; 30_000_000]).unwrap();
    let bomb = bomb.finish().unwrap();
    assert!(bomb.len() < 64 * 1024, "{}", bomb.len());
    for (payload, code) in [(&bomb[..], 1009), (&[0xff; 40][..], 1007)] {
        let mut client = Client::open(edge.address(), &[offer]).await;
        client.connect().await;
        client.fragment(Opcode::Text, true, true, payload).await;
        assert_eq!(client.close_code().await, code);
    }
    // A compressed message that is none of both.
    let mut client = Client::open(edge.address(), &[offer]).await;
    client.connect().await;
    let mut packed = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::best());
    std::io::Write::write_all(&mut packed, br#"{"id":5,"ping":{}}"#).unwrap();
    client.fragment(Opcode::Text, true, true, &packed.finish().unwrap()).await;
    assert_eq!(client.json().await["id"], 5);
}

#[tokio::test]
async fn closing_is_answered_in_kind() {
    let edge = TestEdge::start().await;
    let mut client = edge.client().await;
    client.frame(Opcode::Close, &4_999u16.to_be_bytes()).await;
    assert_eq!(client.next().await, Received::Close(Some((4_999, String::new()))));
    assert_eq!(client.next().await, Received::End);
    let mut client = edge.client().await;
    client.frame(Opcode::Close, &[]).await;
    assert_eq!(client.next().await, Received::Close(None));
    assert_eq!(client.next().await, Received::End);
    let mut client = edge.client().await;
    client.frame(Opcode::Close, &1_006u16.to_be_bytes()).await;
    assert_eq!(client.close_code().await, 1002, "1006 must not be sent");
    edge.until("skywave_edge_connections", |n| n == 0.0).await;
}

#[tokio::test]
async fn a_client_that_ignores_the_close_is_cut() {
    let edge = TestEdge::with(|config| config.timing.close = Duration::from_millis(300)).await;
    let mut client = edge.socket().await;
    client.send(json!({"id": 1, "subscribe": {"channel": "live:a"}})).await;
    assert_eq!(client.json().await["error"]["code"], "unauthorized");
    assert_eq!(client.close_code().await, 4503);
    // It neither answers nor closes.
    edge.until("skywave_edge_connections", |n| n == 0.0).await;
}

#[tokio::test]
async fn who_does_not_connect_in_time_is_closed() {
    let edge = TestEdge::with(|config| config.timing.connect = Duration::from_millis(200)).await;
    let mut client = edge.socket().await;
    assert_eq!(client.close_code().await, 4503);
}

#[tokio::test]
async fn silence_is_pinged_and_then_closed() {
    let edge = TestEdge::with(|config| {
        config.timing.ping = Duration::from_secs(1);
        // Long enough for the lively one to answer on a machine that is busy.
        config.timing.pong = Duration::from_secs(4);
    })
    .await;
    let mut lively = edge.client().await;
    let mut silent = edge.client().await;
    assert_eq!(silent.json().await, json!({}));
    assert_eq!(lively.json().await, json!({}));
    lively.text("{}").await;
    assert_eq!(silent.close_code().await, 4002);
    assert_eq!(lively.json().await, json!({}), "pinged again, not closed");
}

#[tokio::test]
async fn requests_that_cannot_be_read_are_answered_and_then_closed() {
    let edge = TestEdge::start().await;
    let mut client = edge.client().await;
    for (request, code) in [
        ("{", "bad_request"),
        ("[]", "bad_request"),
        (r#"{"id":3,"subscribe":{"channel":"a b"}}"#, "invalid_channel"),
        (r#"{"id":3,"subscribe":{"channel":"nowhere:1"}}"#, "unknown_namespace"),
        (r#"{"id":3,"subscribe":{"channel":"*"}}"#, "invalid_channel"),
        (r#"{"id":3,"dance":{}}"#, "bad_request"),
    ] {
        client.text(request).await;
        assert_eq!(client.json().await["error"]["code"], code, "{request}");
    }
    for _ in 0..20 {
        client.text("rubbish").await;
    }
    assert_eq!(client.close_code().await, 1002);
}

#[tokio::test]
async fn a_hundred_thousand_subscriptions_are_refused() {
    let edge = TestEdge::with(|config| {
        config.limits.requests = skywave_engine::Rate::per_second(1_000_000, 1_000_000);
        config.limits.subscriptions = 100;
    })
    .await;
    let mut client = edge.client().await;
    let mut refused = 0;
    for batch in 0..1_563u32 {
        let requests: Vec<String> = (0..64)
            .map(|n| {
                let id = batch * 64 + n + 1;
                json!({"id": id, "subscribe": {"channel": format!("live:{id}")}}).to_string()
            })
            .collect();
        client.text(&requests.join("\n")).await;
        for _ in 0..64 {
            let reply = client.json().await;
            if reply["error"]["code"] == "too_many_subscriptions" {
                refused += 1;
            } else {
                assert!(reply["subscribed"].is_object(), "{reply}");
            }
        }
    }
    assert_eq!(refused, 1_563 * 64 - 100);
    assert_eq!(edge.metric("skywave_edge_subscriptions"), 100.0);
}

#[tokio::test]
async fn a_client_that_never_reads_costs_only_itself() {
    let edge = TestEdge::with(|config| {
        config.limits.outbox_bytes = 256 * 1024;
        config.limits.publishes = skywave_engine::Rate::per_second(1_000_000, 1_000_000);
    })
    .await;
    let mut stuck = edge.client().await;
    stuck.subscribe("chat:1").await;
    let mut reader = edge.client().await;
    reader.subscribe("chat:1").await;
    let mut publisher = edge.client().await;
    let data = "x".repeat(16 * 1024);
    let mut sent = 0;
    while edge.metric("skywave_edge_slow_disconnects") == 0.0 {
        assert!(sent < 2_000, "32 MB, and nobody was found slow");
        publisher.publish("chat:1", json!(data)).await;
        sent += 1;
        assert_eq!(reader.publication().await["offset"], sent, "the others get everything, in order");
    }
    for _ in 0..5 {
        publisher.publish("chat:1", json!(data)).await;
        sent += 1;
        assert_eq!(reader.publication().await["offset"], sent);
    }
    // When it reads at last, it finds what fitted, in order, and then the reason or the end: it can resume from there.
    let mut last = 0;
    loop {
        match stuck.next().await {
            Received::Json(message) if message["pub"].is_object() => {
                last += 1;
                assert_eq!(message["pub"]["offset"], last);
            }
            Received::Json(_) => {}
            Received::Close(frame) => {
                assert_eq!(frame.unwrap().0, 4001);
                break;
            }
            Received::End => break,
            other => panic!("{other:?}"),
        }
    }
    assert!(last < sent);
    edge.until("skywave_edge_connections", |n| n == 2.0).await;
    assert_eq!(edge.metric("skywave_edge_blocked_connections"), 0.0);
}

#[tokio::test]
async fn recoveries_that_nobody_reads_do_not_pile_up() {
    let edge = TestEdge::with(|config| {
        config.limits.publishes = skywave_engine::Rate::per_second(1_000_000, 1_000_000);
    })
    .await;
    let mut publisher = edge.client().await;
    for _ in 0..100 {
        publisher.publish("chat:1", json!("x".repeat(30_000))).await;
    }
    // A hundred: 3 MB, page by page. One page waits, and no more is asked for. (The sockets' buffers take a few.)
    let mut greedy = edge.client().await;
    let again = async |client: &mut support::Client, offset: u64| {
        let recover = json!({"channel": "chat:1", "recover": {"epoch": "e1", "offset": offset}});
        client.send(json!({"id": 7, "subscribe": recover})).await;
        let closed = || edge.metric("skywave_edge_slow_disconnects") > 0.0;
        edge.until("skywave_edge_subscriptions", |n| n == 1.0 || closed()).await;
        client.send(json!({"id": 8, "unsubscribe": {"channel": "chat:1"}})).await;
        edge.until("skywave_edge_subscriptions", |n| n == 0.0).await;
    };
    for _ in 0..30 {
        again(&mut greedy, 0).await;
    }
    let given = edge.metric("skywave_edge_deliveries");
    assert!(given < 1_000.0, "{given} publications wait for a client that does not read");
    assert_eq!(edge.metric("skywave_edge_slow_disconnects"), 0.0);
    drop(greedy);
    edge.until("skywave_edge_connections", |n| n == 1.0).await;
    // The last three: 90 kB, which the ring holds and hands over at once. That adds up, to a bound.
    let mut greedy = edge.client().await;
    let mut asked = 0;
    while edge.metric("skywave_edge_slow_disconnects") == 0.0 {
        assert!(asked < 400, "{asked} recoveries wait for a client that does not read");
        asked += 1;
        again(&mut greedy, 97).await;
    }
}

#[tokio::test]
async fn ephemeral_publications_make_room_for_newer_ones() {
    let edge = TestEdge::with(|config| {
        config.limits.outbox_bytes = 128 * 1024;
        config.limits.publishes = skywave_engine::Rate::per_second(1_000_000, 1_000_000);
    })
    .await;
    let mut stuck = edge.client().await;
    stuck.subscribe("live:1").await;
    let mut publisher = edge.client().await;
    let data = "x".repeat(16 * 1024);
    let mut sent = 0;
    while edge.metric("skywave_edge_dropped_frames") < 10.0 {
        assert!(sent < 2_000, "32 MB, and nothing was dropped");
        sent += 1;
        publisher.publish("live:1", json!([sent, data])).await;
    }
    publisher.publish("live:1", json!(["last"])).await;
    let mut before = 0;
    loop {
        let number = stuck.publication().await["data"][0].clone();
        if number == "last" {
            break;
        }
        let number = number.as_u64().unwrap();
        assert!(number > before, "{number} after {before}");
        before = number;
    }
    edge.until("skywave_edge_blocked_connections", |n| n == 0.0).await;
}

#[tokio::test]
async fn a_byte_at_a_time_is_slow_but_right() {
    let edge = TestEdge::start().await;
    let mut tcp = TcpStream::connect(edge.address()).await.unwrap();
    tcp.set_nodelay(true).unwrap();
    let head = "GET /v1/ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    for byte in head.bytes() {
        tcp.write_all(&[byte]).await.unwrap();
        tokio::task::yield_now().await;
    }
    let mut client = Client::answered(tcp).await;
    assert!(client.head.starts_with("HTTP/1.1 101"), "{}", client.head);
    let mut frame = Vec::new();
    skywave_protocol::websocket::put_masked_frame(
        &mut frame,
        Opcode::Text,
        br#"{"id":1,"connect":{}}"#,
        [5, 6, 7, 8],
    );
    for byte in frame {
        client.raw(&[byte]).await;
        tokio::task::yield_now().await;
    }
    assert!(client.json().await["connected"].is_object());
}

#[tokio::test]
async fn slow_and_oversized_heads_are_ended() {
    let edge = TestEdge::with(|config| {
        // Time enough to send the oversized one.
        config.timing.head = Duration::from_secs(2);
        config.limits.head_bytes = 8 * 1024;
    })
    .await;
    let mut slow = TcpStream::connect(edge.address()).await.unwrap();
    slow.write_all(b"GET /v1/ws HTTP/1.1\r\nHost:").await.unwrap();
    assert_eq!(rest(&mut slow).await, "");
    let long = format!("GET / HTTP/1.1\r\nx: {}", "a".repeat(20_000));
    let answer = http(&edge, &long).await;
    assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
    edge.until("skywave_edge_refused", |n| n == 2.0).await;
}

#[tokio::test]
async fn handshakes_that_are_none_are_refused_in_words() {
    let edge = TestEdge::start().await;
    let mut old = TcpStream::connect(edge.address()).await.unwrap();
    old.write_all(
        b"GET /v1/ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 8\r\n\r\n",
    )
    .await
    .unwrap();
    let answer = rest(&mut old).await;
    assert!(answer.starts_with("HTTP/1.1 426") && answer.contains("sec-websocket-version: 13"), "{answer}");
    for origin in ["Origin: https://evil.example", "Origin: null"] {
        let client = Client::handshake(edge.address(), &[origin]).await;
        assert!(client.head.starts_with("HTTP/1.1 403"), "{}", client.head);
    }
    let client = Client::handshake(edge.address(), &["sec-websocket-protocol: other"]).await;
    assert!(client.head.starts_with("HTTP/1.1 400"), "{}", client.head);
}

#[tokio::test]
async fn a_proxy_may_reuse_a_connection_for_a_handshake() {
    let edge = TestEdge::start().await;
    let mut tcp = TcpStream::connect(edge.address()).await.unwrap();
    tcp.write_all(b"GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let first = Client::answered(tcp).await;
    assert!(first.head.starts_with("HTTP/1.1 404"), "{}", first.head);
    let mut tcp = first.tcp;
    let length = first
        .head
        .to_lowercase()
        .split("content-length: ")
        .nth(1)
        .map_or(0, |rest| rest.split("\r\n").next().unwrap().parse::<usize>().unwrap());
    let mut body = vec![0; length];
    tcp.read_exact(&mut body).await.unwrap();
    tcp.write_all(
        b"GET /v1/ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
          Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
    )
    .await
    .unwrap();
    let mut client = Client::answered(tcp).await;
    assert!(client.head.starts_with("HTTP/1.1 101"), "{}", client.head);
    client.connect().await;
    client.subscribe("live:a").await;
}

#[tokio::test]
async fn a_full_node_says_so_and_when_to_come_back() {
    let edge = TestEdge::with(|config| config.limits.connections = 2).await;
    let first = edge.client().await;
    let _second = edge.client().await;
    let client = Client::handshake(edge.address(), &[]).await;
    assert!(
        client.head.starts_with("HTTP/1.1 503") && client.head.contains("retry-after: 5"),
        "{}",
        client.head
    );
    drop(first);
    edge.until("skywave_edge_connections", |n| n == 1.0).await;
    let _third = edge.client().await;
}

#[tokio::test]
async fn a_flood_of_handshakes_is_slowed_down() {
    let edge = TestEdge::with(|config| {
        config.limits.address_handshakes = Some(skywave_engine::Rate::per_minute(1, 3))
    })
    .await;
    for _ in 0..3 {
        edge.socket().await;
    }
    let client = Client::handshake(edge.address(), &[]).await;
    assert!(
        client.head.starts_with("HTTP/1.1 429") && client.head.contains("retry-after: "),
        "{}",
        client.head
    );
}
