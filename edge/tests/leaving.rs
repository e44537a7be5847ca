//! Draining, stopping, and being told to go.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::json;
use skywave_edge::auth::AuthConfig;
use skywave_edge::{SystemClock, WallClock};
use skywave_protocol::inner::Control;
use support::client::Received;
use support::{Client, TestEdge};
use tokio::io::AsyncWriteExt as _;

#[tokio::test]
async fn a_draining_node_moves_its_clients_and_closes_those_that_stay() {
    let edge = TestEdge::with(|config| config.drain_target = Some("wss://other.example".into())).await;
    let mut obedient = edge.client().await;
    let mut stubborn = edge.client().await;
    obedient.subscribe("live:a").await;
    stubborn.subscribe("live:a").await;
    let ready = edge.handle.ready();
    assert!(*ready.borrow());
    let address = edge.address();
    let clients = async {
        let push = obedient.json().await;
        assert_eq!(push["move"]["target"], "wss://other.example", "{push}");
        assert!(push["move"]["within_ms"].as_u64().unwrap() <= 1_000);
        // Still served until it goes.
        obedient.publish("live:a", json!("still here")).await;
        obedient.frame(skywave_protocol::websocket::Opcode::Close, &1_000u16.to_be_bytes()).await;
        obedient.end().await;
        assert_eq!(stubborn.close_code().await, 4000);
        assert!(tokio::net::TcpStream::connect(address).await.is_err(), "nobody new is taken");
    };
    let ((), ()) = tokio::join!(edge.handle.drain(Duration::from_secs(1)), clients);
    assert!(!*ready.borrow());
    assert_eq!(edge.metric("skywave_edge_connections"), 0.0);
}

#[tokio::test]
async fn a_handshake_that_ends_during_the_drain_is_sent_on() {
    let edge = TestEdge::with(|config| config.workers = 1).await;
    let mut late = tokio::net::TcpStream::connect(edge.address()).await.unwrap();
    late.write_all(b"GET /v1/ws HTTP/1.1\r\nhost: x\r\n").await.unwrap();
    // Accepted in turn: when a later one is served, the earlier one is inside.
    let mut client = edge.client().await;
    let rest = async {
        assert!(client.json().await["move"].is_object());
        let rest = "upgrade: websocket\r\nconnection: Upgrade\r\nsec-websocket-version: 13\r\n\
                    sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
        late.write_all(rest.as_bytes()).await.unwrap();
        let mut late = Client::answered(late).await;
        assert!(late.head.starts_with("HTTP/1.1 101"), "{}", late.head);
        assert_eq!(late.close_code().await, 4000);
    };
    tokio::join!(edge.handle.drain(Duration::from_secs(2)), rest);
}

/// A clock that breaks: whoever looks at it then panics.
struct Clock(AtomicBool);

impl WallClock for Clock {
    fn unix_ms(&self) -> u64 {
        assert!(!self.0.load(Ordering::SeqCst), "the clock is broken");
        SystemClock.unix_ms()
    }
}

#[tokio::test]
async fn a_node_with_a_dead_worker_does_not_live_on() {
    let clock = Arc::new(Clock(AtomicBool::new(false)));
    let mine = clock.clone();
    let edge = TestEdge::with_ports(|config| config.workers = 1, |ports| ports.clock = mine).await;
    let address = edge.address();
    let mut client = edge.client().await;
    client.subscribe("live:a").await;
    let TestEdge { handle, shutdown: _shutdown, .. } = edge;
    let finished = tokio::spawn(handle.finished());
    clock.0.store(true, Ordering::SeqCst);
    // Opens a session on the worker's own thread.
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    stream.write_all(b"GET /v1/sse?subscribe=live:a HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let outcome = tokio::time::timeout(Duration::from_secs(60), finished).await;
    assert!(outcome.expect("it lives on").unwrap().is_err());
    client.end().await;
}

#[tokio::test]
async fn the_graceful_phase_drains_and_the_immediate_one_does_not_wait() {
    let edge = TestEdge::with(|config| config.timing.drain = Duration::from_secs(3_600)).await;
    let mut client = edge.client().await;
    let TestEdge { handle, shutdown, .. } = edge;
    let finished = tokio::spawn(handle.finished());
    shutdown.graceful();
    assert!(client.json().await["move"].is_object());
    shutdown.immediate();
    assert_eq!(finished.await.unwrap(), Ok(()));
    client.end().await;
}

fn auth() -> AuthConfig {
    AuthConfig {
        anonymous: true,
        keys: serde_json::from_value(json!([
            {"algorithm": "HS256", "secret": "0123456789abcdef0123456789abcdef"}
        ]))
        .unwrap(),
        require_expiry: false,
        ..AuthConfig::default()
    }
}

fn token(claims: &serde_json::Value) -> String {
    let key = jsonwebtoken::EncodingKey::from_secret(b"0123456789abcdef0123456789abcdef");
    jsonwebtoken::encode(&jsonwebtoken::Header::default(), claims, &key).unwrap()
}

async fn connect(edge: &TestEdge, claims: &serde_json::Value) -> Client {
    let mut client = edge.socket().await;
    let reply = client.request(json!({"connect": {"token": token(claims)}})).await;
    assert!(reply["connected"].is_object(), "{reply}");
    client
}

#[tokio::test]
async fn a_disconnected_user_and_a_revoked_token_go_everywhere_at_once() {
    let edge = TestEdge::with_auth(auth(), |_| {}).await;
    let ada = json!({"sub": "ada", "jti": "t1"});
    let bob = json!({"sub": "bob", "jti": "t2"});
    let mut clients = Vec::new();
    for _ in 0..4 {
        clients.push(connect(&edge, &ada).await);
    }
    let mut other = connect(&edge, &bob).await;
    let relay = edge.handle.relay();
    let user = skywave_protocol::UserId::parse("ada").unwrap();
    relay.announce(Control::DisconnectUser { user }).await.unwrap();
    for client in &mut clients {
        assert_eq!(client.close_code().await, 4501);
    }
    connect(&edge, &ada).await;
    relay.announce(Control::RevokeToken { token_id: "t2".into(), until: u64::MAX }).await.unwrap();
    assert_eq!(other.close_code().await, 4501);
    let mut again = edge.socket().await;
    let reply = again.request(json!({"connect": {"token": token(&bob)}})).await;
    assert!(reply["error"].is_object(), "{reply}");
}

#[tokio::test]
async fn a_refused_token_is_named_and_the_connection_closed() {
    let edge = TestEdge::with_auth(auth(), |_| {}).await;
    let mut client = edge.socket().await;
    let reply = client.request(json!({"connect": {"token": "a.b.c"}})).await;
    assert_eq!(reply["error"]["code"], "unauthorized", "{reply}");
    assert_eq!(client.close_code().await, 4500);
}

#[tokio::test]
async fn stopping_cuts_everybody_and_frees_the_port() {
    let edge = TestEdge::start().await;
    let mut client = edge.client().await;
    let address = edge.address();
    edge.handle.stop().await;
    while client.next().await != Received::End {}
    std::net::TcpListener::bind(address).expect("the port is free again");
}

#[tokio::test]
async fn a_port_in_use_is_an_error_before_anything_runs() {
    let edge = TestEdge::start().await;
    let address = edge.address();
    let second = async {
        let mut config =
            skywave_edge::EdgeConfig::new(skywave_protocol::NodeId::parse("second").unwrap(), address);
        config.workers = 2;
        let state = std::sync::Arc::new(skywave_ports::memory::MemoryState::default());
        let ports = skywave_edge::EdgePorts {
            bus: std::sync::Arc::new(edge.bus.clone()),
            auth: std::sync::Arc::new(
                skywave_edge::auth::Authenticator::new(&auth(), state.clone()).unwrap(),
            ),
            state,
            tls: None,
            clock: std::sync::Arc::new(skywave_edge::SystemClock),
            registry: edge.registry.clone(),
            page: Default::default(),
            health: std::sync::Arc::new(Vec::new),
        };
        let (_trigger, shutdown) = skywave_runtime::shutdown::channel();
        skywave_edge::Edge::start(config, ports, shutdown).await
    };
    match second.await {
        Err(skywave_edge::EdgeError::Listen { address: named, .. }) => assert_eq!(named, address),
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("two edges on one port"),
    }
}
