//! Rates that hold for one user over all nodes of a region.
#![allow(clippy::unwrap_used)]

mod support;

use std::sync::Arc;

use serde_json::{Value, json};
use skywave_edge::auth::Authenticator;
use skywave_engine::Rate;
use skywave_ports::memory::MemoryState;
use support::{Client, TestEdge, http, token};

/// Slow enough that nothing is gained while a test runs.
const RATE: Rate = Rate::per_minute(1, 50);

/// Two nodes of a region: one shared state.
async fn region() -> [TestEdge; 2] {
    let state = Arc::new(MemoryState::default());
    let start = async || {
        TestEdge::with_ports(
            |config| {
                config.limits.user_publishes = Some(RATE);
                config.limits.http_requests = Some(RATE);
            },
            |ports| {
                ports.state = state.clone();
                let auth = skywave_edge::auth::AuthConfig { anonymous: true, ..token::config() };
                ports.auth = Arc::new(Authenticator::new(&auth, state.clone()).unwrap());
            },
        )
        .await
    };
    [start().await, start().await]
}

async fn connect(edge: &TestEdge, user: Option<&str>) -> Client {
    let mut client = edge.socket().await;
    let reply = client.request(json!({"connect": {"token": user.map(token::of)}})).await;
    assert!(reply["connected"].is_object(), "{reply}");
    client
}

async fn publish(client: &mut Client) -> Value {
    client.request(json!({"publish": {"channel": "live:x", "data": 1}})).await
}

/// Publishes until refused; how often it was let through, and the refusal.
async fn exhaust(client: &mut Client) -> (u32, Value) {
    let mut published = 0;
    loop {
        let reply = publish(client).await;
        if !reply["error"].is_null() {
            return (published, reply["error"].clone());
        }
        published += 1;
    }
}

#[tokio::test]
async fn one_user_on_two_nodes_has_one_rate() {
    let [one, two] = region().await;
    let (mut first, mut second) = (connect(&one, Some("ada")).await, connect(&two, Some("ada")).await);
    let (published, error) = exhaust(&mut first).await;
    assert!((50..=51).contains(&published), "{published}");
    assert_eq!(error["code"], "rate_limited");
    assert!(error["retry_after_ms"].as_u64().unwrap() > 0, "{error}");
    let (more, _) = exhaust(&mut second).await;
    assert!(more <= 1, "{more} more on the other node");
    // Another connection to the first node changes nothing; another user has his own.
    let mut third = connect(&one, Some("ada")).await;
    assert_eq!(publish(&mut third).await["error"]["code"], "rate_limited");
    let mut bob = connect(&two, Some("bob")).await;
    assert!(publish(&mut bob).await["published"].is_object());
    assert!(one.metric("skywave_edge_limit_refused") >= 2.0);
    assert_eq!(one.metric("skywave_edge_limit_alone"), 0.0);
}

#[tokio::test]
async fn anonymous_clients_of_one_address_share_a_rate() {
    let [one, two] = region().await;
    let (published, _) = exhaust(&mut connect(&one, None).await).await;
    assert!((50..=51).contains(&published), "{published}");
    let (more, _) = exhaust(&mut connect(&two, None).await).await;
    assert!(more <= 1, "{more} more on the other node");
    assert!(publish(&mut connect(&two, Some("ada")).await).await["published"].is_object());
}

#[tokio::test]
async fn requests_over_http_have_a_rate_of_their_own() {
    let [one, two] = region().await;
    let body = r#"{"channel":"live:x","data":1}"#;
    let bearer = format!("Bearer {}", token::of("ada"));
    let post = async |edge: &TestEdge| {
        let headers = [("authorization", bearer.as_str())];
        http::send(edge.address(), "POST", "/v1/publish", &headers, body).await
    };
    let mut published = Vec::new();
    for edge in [&one, &two] {
        let mut count = 0;
        let refused = loop {
            let answer = post(edge).await;
            if answer.status != 200 {
                break answer;
            }
            count += 1;
        };
        assert_eq!((refused.status, refused.code().as_str()), (429, "rate_limited"));
        published.push(count);
    }
    assert!((50..=51).contains(&published[0]) && published[1] <= 1, "{published:?}");
    assert!(publish(&mut connect(&one, Some("ada")).await).await["published"].is_object());
}

#[tokio::test]
async fn connections_of_one_address_have_a_rate_over_the_region() {
    let state = Arc::new(MemoryState::default());
    let start = async || {
        TestEdge::with_ports(
            |config| config.limits.region_address_handshakes = Some(Rate::per_minute(1, 20)),
            |ports| ports.state = state.clone(),
        )
        .await
    };
    let mut accepted = 0;
    for edge in [start().await, start().await] {
        loop {
            let client = Client::handshake(edge.address(), &[]).await;
            if !client.head.starts_with("HTTP/1.1 101") {
                assert!(client.head.starts_with("HTTP/1.1 429"), "{}", client.head);
                assert!(client.head.to_lowercase().contains("retry-after"), "{}", client.head);
                break;
            }
            accepted += 1;
        }
    }
    assert!((20..=23).contains(&accepted), "{accepted}");
}
