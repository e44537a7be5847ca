//! Subscribers that are far behind: everything, in order, page by page, at their own pace, over every transport.

mod support;

use serde_json::{Value, json};
use support::http::Events;
use support::webtransport::{self, WtClient};
use support::{Client, FakeCore, TestEdge};

/// A channel with a past of `count` publications of `bytes` each.
async fn with_past(edge: &TestEdge, count: u64, bytes: usize) {
    edge.core.fill("chat:1", count, bytes);
}

fn from_the_beginning() -> Value {
    json!({"channel": "chat:1", "recover": {"epoch": "e1", "offset": 0}})
}

async fn recovering(edge: &TestEdge) -> Client {
    let mut client = edge.client().await;
    let reply = client.request(json!({"subscribe": from_the_beginning()})).await;
    assert_eq!(reply["subscribed"]["recovery"], "exact", "{reply}");
    client
}

async fn takes(client: &mut Client, offsets: std::ops::RangeInclusive<u64>) {
    for offset in offsets {
        assert_eq!(client.publication().await["offset"], offset);
    }
}

#[tokio::test]
async fn everything_comes_before_anything_newer() {
    let edge = TestEdge::start().await;
    with_past(&edge, 20_000, 20).await;
    let mut publisher = edge.client().await;
    let mut client = recovering(&edge).await;
    for n in 0..50 {
        publisher.publish("chat:1", json!(n)).await;
    }
    takes(&mut client, 1..=20_050).await;
    publisher.publish("chat:1", json!("live")).await;
    takes(&mut client, 20_051..=20_051).await;
    edge.until("skywave_edge_catching_up", |n| n == 0.0).await;
    assert!(edge.core.reads() <= 24, "{} reads for twenty pages", edge.core.reads());
}

#[tokio::test]
async fn whoever_does_not_read_holds_one_page_and_holds_up_nobody() {
    let edge = TestEdge::with(|config| config.limits.outbox_bytes = 64 * 1024).await;
    with_past(&edge, 40_000, 2_000).await;
    let mut stuck = recovering(&edge).await;
    edge.until("skywave_edge_blocked_connections", |n| n == 1.0).await;
    // What the sockets' buffers hold, and one page more. 80 MB wait in the log.
    let given = edge.metric("skywave_edge_deliveries");
    assert!(given < 20_000.0, "{given} publications for a client that does not read");
    // Others are served meanwhile: live ones, and one from just as far back.
    let mut bystander = edge.client().await;
    bystander.subscribe("chat:1").await;
    let mut reader = recovering(&edge).await;
    takes(&mut reader, 1..=40_000).await;
    bystander.publish("chat:1", json!("live")).await;
    takes(&mut bystander, 40_001..=40_001).await;
    takes(&mut reader, 40_001..=40_001).await;
    assert_eq!(edge.metric("skywave_edge_slow_disconnects"), 0.0);
    takes(&mut stuck, 1..=40_001).await;
}

#[tokio::test]
async fn many_channels_of_one_connection_take_turns() {
    let edge = TestEdge::with(|config| config.limits.outbox_bytes = 64 * 1024).await;
    let channels: Vec<String> = (0..40).map(|n| format!("chat:{n}")).collect();
    for channel in &channels {
        edge.core.fill(channel, 2_000, 500);
    }
    let mut client = edge.client().await;
    for channel in &channels {
        let recover = json!({"epoch": "e1", "offset": 0});
        client.send(json!({"id": 9, "subscribe": {"channel": channel, "recover": recover}})).await;
    }
    // Nobody reads: forty pages of a megabyte would be far beyond the bound.
    edge.until("skywave_edge_catching_up", |n| n >= 30.0).await;
    edge.until("skywave_edge_blocked_connections", |n| n == 1.0).await;
    let mut next = vec![1; channels.len()];
    while next.iter().any(|offset| *offset <= 2_000) {
        let publication = client.publication().await;
        let at = channels.iter().position(|channel| publication["channel"] == **channel).unwrap();
        assert_eq!(publication["offset"], next[at]);
        next[at] += 1;
    }
    assert_eq!(edge.metric("skywave_edge_slow_disconnects"), 0.0);
}

#[tokio::test]
async fn presence_news_come_meanwhile() {
    let edge = TestEdge::start().await;
    with_past(&edge, 40_000, 2_000).await;
    let mut client = edge.client().await;
    let mut wish = from_the_beginning();
    wish["presence"] = json!(true);
    let reply = client.request(json!({"subscribe": wish})).await;
    assert_eq!(reply["subscribed"]["recovery"], "exact", "{reply}");
    let mut other = edge.client().await;
    other.subscribe("chat:1").await;
    let mut seen = 0;
    while seen < 40_000 {
        let message = client.json().await;
        if message.get("join").is_some() {
            assert!(seen < 40_000, "the news came with the past, not behind it");
            return;
        }
        seen += u64::from(message.get("pub").is_some());
    }
    panic!("nobody was told of the newcomer");
}

#[tokio::test]
async fn leaving_and_coming_back_in_the_middle_goes_on_in_order() {
    let edge = TestEdge::start().await;
    with_past(&edge, 10_000, 200).await;
    let mut client = recovering(&edge).await;
    let mut seen = 0;
    for _ in 0..20 {
        takes(&mut client, seen + 1..=seen + 100).await;
        seen += 100;
        client.request(json!({"unsubscribe": {"channel": "chat:1"}})).await;
        client.forget();
        let recover = json!({"channel": "chat:1", "recover": {"epoch": "e1", "offset": seen}});
        let reply = client.request(json!({"subscribe": recover})).await;
        assert_eq!(reply["subscribed"]["recovery"], "exact", "{reply}");
    }
    takes(&mut client, seen + 1..=10_000).await;
    edge.until("skywave_edge_catching_up", |n| n == 0.0).await;
}

#[tokio::test]
async fn what_core_loses_on_the_way_is_announced() {
    let edge = TestEdge::start().await;
    // More than the buffers of the sockets take.
    with_past(&edge, 40_000, 2_000).await;
    let mut client = recovering(&edge).await;
    edge.until("skywave_edge_blocked_connections", |n| n == 1.0).await;
    edge.core.forget("chat:1", 39_900);
    let (mut seen, mut gaps) = (0, 0);
    while seen < 40_000 {
        let message = client.json().await;
        if let Some(gap) = message.get("gap") {
            assert_eq!((&gap["from"], &gap["reason"]), (&json!(seen + 1), &json!("retention")));
            assert_eq!(gap["to"], 39_899);
            (seen, gaps) = (39_899, gaps + 1);
        } else {
            seen += 1;
            assert_eq!(message["pub"]["offset"], seen);
        }
    }
    assert_eq!(gaps, 1);
}

#[tokio::test]
async fn over_webtransport_at_the_pace_of_its_streams() {
    let edge = TestEdge::with_ports(
        |config| {
            webtransport::config(config);
            config.limits.outbox_bytes = 64 * 1024;
        },
        webtransport::ports,
    )
    .await;
    with_past(&edge, 10_000, 1_000).await;
    let mut client = WtClient::connected(&edge).await;
    let reply = client.request("subscribe", from_the_beginning()).await;
    assert_eq!(reply["subscribed"]["recovery"], "exact");
    for offset in 1..=10_000 {
        assert_eq!(client.publication().await.1["offset"], offset);
    }
    assert_eq!(edge.metric("skywave_edge_slow_disconnects"), 0.0);
}

#[tokio::test]
async fn over_sse_too() {
    let edge = TestEdge::start().await;
    with_past(&edge, 5_000, 500).await;
    let mut events = Events::open(edge.address(), "", &[]).await;
    events.post(edge.address(), r#"{"id":1,"connect":{}}"#).await;
    let subscribe = json!({"id": 2, "subscribe": from_the_beginning()});
    events.post(edge.address(), &subscribe.to_string()).await;
    let mut next = 1;
    while next <= 5_000 {
        let message = events.message().await;
        if message.get("pub").is_some() {
            assert_eq!(message["pub"]["offset"], next);
            next += 1;
        }
    }
}

/// The model of a storm: all missed the same few, nobody holds anything yet.
#[tokio::test]
async fn a_storm_costs_one_read() {
    let edge = TestEdge::start().await;
    with_past(&edge, 5_000, 20).await;
    let mut clients = Vec::new();
    for _ in 0..50 {
        clients.push(edge.client().await);
    }
    let recover =
        json!({"channel": "chat:1", "recover": {"epoch": FakeCore::epoch().as_str(), "offset": 4_990}});
    for client in &mut clients {
        client.send(json!({"id": 5, "subscribe": recover})).await;
    }
    for client in &mut clients {
        takes(client, 4_991..=5_000).await;
    }
    assert_eq!(edge.core.reads(), 1);
}
