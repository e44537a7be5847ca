//! Server-sent events and their POSTs over real sockets.

mod support;

use std::time::Duration;

use serde_json::json;
use support::http::{Events, get, send};
use support::{TestEdge, token};

/// A stream that has connected.
async fn connected(edge: &TestEdge) -> Events {
    let mut events = Events::open(edge.address(), "", &[]).await;
    assert_eq!(events.post(edge.address(), r#"{"id":1,"connect":{}}"#).await.status, 204);
    let reply = events.message().await;
    assert_eq!((&reply["id"], &reply["connected"]["client"]), (&json!(1), &json!(events.client)));
    events
}

#[tokio::test]
async fn it_speaks_the_native_protocol_in_both_directions() {
    let edge = TestEdge::start().await;
    let mut events = connected(&edge).await;
    let address = edge.address();
    let two = "{\"id\":2,\"subscribe\":{\"channel\":\"chat:1\"}}\n{\"id\":3,\"ping\":{}}";
    assert_eq!(events.post(address, two).await.status, 204);
    let mut answers = [events.message().await, events.message().await];
    answers.sort_by_key(|answer| answer["id"].as_u64());
    assert_eq!((&answers[0]["subscribed"]["offset"], &answers[1]["pong"]), (&json!(0), &json!({})));
    events.post(address, r#"{"id":4,"publish":{"channel":"chat:1","data":"hé\n"}}"#).await;
    let both = [events.message().await, events.message().await];
    assert!(both.iter().any(|m| m["published"]["offset"] == 1), "{both:?}");
    assert!(both.iter().any(|m| m["pub"]["data"] == "hé\n"), "{both:?}");
    let wrong = events.post(edge.address(), r#"{"id":4,"subscribe":{"channel":"a b"}}"#).await;
    assert_eq!(wrong.status, 204, "errors come on the stream");
    assert_eq!(events.message().await["error"]["code"], "invalid_channel");
}

#[tokio::test]
async fn posts_reach_their_session_from_every_worker() {
    let edge = TestEdge::with(|config| config.workers = 4).await;
    let mut streams = Vec::new();
    for _ in 0..8 {
        streams.push(connected(&edge).await);
    }
    // Each POST is a connection of its own, which the kernel gives to any worker.
    for round in 0..8 {
        for events in &mut streams {
            events.post(edge.address(), &format!(r#"{{"id":{},"ping":{{}}}}"#, round + 10)).await;
            assert_eq!(events.message().await, json!({"id": round + 10, "pong": {}}));
        }
    }
}

#[tokio::test]
async fn a_reader_needs_one_request_only() {
    let edge = TestEdge::start().await;
    let mut publisher = edge.client().await;
    for n in 1..=5 {
        publisher.publish("chat:1", json!(n)).await;
    }
    let wish = "%7B%22channel%22%3A%22chat%3A1%22%2C%22recover%22%3A%7B%22epoch%22%3A%22e1%22%2C%22offset%22%3A2%7D%7D";
    let mut events = Events::open(edge.address(), &format!("?subscribe={wish}&subscribe=live:1"), &[]).await;
    let mut pubs = Vec::new();
    while pubs.len() < 3 {
        let message = events.message().await;
        assert!(message.get("error").is_none(), "{message}");
        if message.get("pub").is_some() {
            pubs.push(message["pub"]["offset"].clone());
        }
    }
    assert_eq!(pubs, [3, 4, 5]);
}

#[tokio::test]
async fn a_reader_that_cannot_post_is_not_taken_for_dead() {
    let short = |config: &mut skywave_edge::EdgeConfig| {
        config.timing.ping = Duration::from_secs(1);
        config.timing.pong = Duration::from_secs(1);
    };
    let edge = TestEdge::with(short).await;
    let mut reader = Events::open(edge.address(), "?subscribe=live:1", &[]).await;
    let mut mute = Events::open(edge.address(), "", &[]).await;
    mute.post(edge.address(), r#"{"id":1,"connect":{}}"#).await;
    // The one that could answer and does not is closed, and told why; by then the other has lived as long.
    let close = loop {
        let message = mute.message().await;
        if message.get("close").is_some() {
            break message;
        }
    };
    assert_eq!(close["close"]["code"], 4002);
    assert!(mute.event().await.is_none(), "the stream ends");
    edge.client().await.publish("live:1", json!("still there")).await;
    loop {
        let message = reader.message().await;
        assert!(message.get("close").is_none(), "{message}");
        if message.get("pub").is_some() {
            break;
        }
    }
}

#[tokio::test]
async fn tokens_come_by_header_or_query_and_are_checked() {
    let edge = TestEdge::with_auth(token::config(), |_| {}).await;
    let (good, bad) = (token::of("ada"), token::expired("ada"));
    let bearer = format!("Bearer {good}");
    let mut by_header = Events::open(edge.address(), "", &[("authorization", &bearer)]).await;
    assert_eq!(by_header.message().await["connected"]["user"], "ada");
    let mut by_query =
        Events::open(edge.address(), &format!("?access_token={good}&subscribe=chat:1"), &[]).await;
    assert_eq!(by_query.message().await["connected"]["user"], "ada");
    let mut expired = Events::open(edge.address(), &format!("?access_token={bad}"), &[]).await;
    assert_eq!(expired.message().await["error"]["code"], "token_expired");
    assert_eq!(expired.message().await["close"]["code"], 4010);
    let twice = send(
        edge.address(),
        "GET",
        &format!("/v1/sse?access_token={good}"),
        &[("authorization", &bearer)],
        "",
    )
    .await;
    assert_eq!(twice.code(), "bad_request");
}

#[tokio::test]
async fn sessions_cannot_be_guessed_or_used_after_their_end() {
    let edge = TestEdge::start().await;
    let events = connected(&edge).await;
    let address = edge.address();
    let (worker, random) = events.session.split_once('.').unwrap();
    let mut flipped = random.to_owned();
    let last = if flipped.pop() == Some('A') { 'B' } else { 'A' };
    flipped.insert(0, last);
    let other_worker = if worker == "0" { "1" } else { "0" };
    for guess in [
        String::new(),
        events.client.clone(),
        random.to_owned(),
        format!("{worker}.{flipped}"),
        format!("{other_worker}.{random}"),
        format!("65535.{random}"),
        format!("{worker}.{}", "A".repeat(100_000)),
    ] {
        let answer = send(address, "POST", "/v1/sse", &[("skywave-session", &guess)], "{}").await;
        // The longest does not even pass as a head.
        assert!(matches!(answer.status, 404 | 431 | 0), "{answer:?}");
    }
    assert_eq!(send(address, "POST", "/v1/sse", &[], "{}").await.status, 404);
    let session = events.session.clone();
    drop(events);
    edge.until("skywave_edge_connections", |n| n == 0.0).await;
    let late = send(address, "POST", "/v1/sse", &[("skywave-session", &session)], "{}").await;
    assert_eq!((late.status, late.code().as_str()), (404, "not_found"));
}

#[tokio::test]
async fn a_reader_that_stops_reading_is_dropped_and_only_it() {
    let edge = TestEdge::with(|config| config.limits.outbox_bytes = 64 * 1024).await;
    let mut good = connected(&edge).await;
    good.post(edge.address(), r#"{"id":2,"subscribe":{"channel":"chat:1"}}"#).await;
    good.message().await;
    let stuck = connected(&edge).await;
    stuck.post(edge.address(), r#"{"id":2,"subscribe":{"channel":"chat:1"}}"#).await;
    edge.until("skywave_edge_subscriptions", |n| n == 2.0).await;
    let mut publisher = edge.client().await;
    let data = "x".repeat(32 * 1024);
    let mut offset = 0;
    while edge.metric("skywave_edge_subscriptions") > 1.0 {
        publisher.publish("chat:1", json!(data)).await;
        offset += 1;
        assert_eq!(good.message().await["pub"]["offset"], offset);
        assert!(offset < 2_000, "the stuck reader takes {offset} times 32 KiB");
    }
    assert_eq!(edge.metric("skywave_edge_slow_disconnects"), 1.0);
    drop(stuck);
}

#[tokio::test]
async fn large_posts_and_draining_nodes_are_refused() {
    let edge = TestEdge::start().await;
    let events = connected(&edge).await;
    let answer = events.post(edge.address(), &"x".repeat(65 * 1024)).await;
    assert_eq!((answer.status, answer.code().as_str()), (413, "too_large"));
    let evil = send(edge.address(), "POST", "/v1/sse", &[("origin", "https://evil.com")], "{}").await;
    assert_eq!(evil.status, 403);
    assert_eq!(get(edge.address(), "/v1/sse?subscribe=a%20b").await.code(), "invalid_channel");
}
