//! Several nodes of a region over one bus: which one serves a key, who is asked to move, what happens when nodes come and go.
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use skywave_edge::auth::{AuthConfig, Authenticator};
use skywave_edge::{PlacementConfig, Redirect};
use skywave_engine::region::{self as engine, KeyDigest};
use skywave_ports::memory::{MemoryBus, MemoryState};
use skywave_protocol::NodeId;
use skywave_protocol::inner::NodeBeat;
use support::client::Received;
use support::{Client, TestEdge, http, token};

/// So long the nodes must not have changed before anybody is asked to move.
const SETTLE: Duration = Duration::from_millis(300);

struct Region {
    bus: MemoryBus,
    state: Arc<MemoryState>,
    redirect: Redirect,
    moves_per_second: u32,
}

impl Region {
    fn new(redirect: Redirect) -> Self {
        Self { bus: MemoryBus::new(), state: Arc::default(), redirect, moves_per_second: 1_000 }
    }

    async fn node(&self, name: &str) -> TestEdge {
        TestEdge::with_ports(
            |config| {
                config.node = NodeId::parse(name).unwrap();
                config.region = "eu".into();
                config.timing.drain = Duration::from_secs(2);
                config.placement = Some(PlacementConfig {
                    redirect: self.redirect,
                    moves_per_second: self.moves_per_second,
                    beat: Duration::from_millis(50),
                    // A hundred beats: a machine that is busy elsewhere is not taken for a dead node.
                    lease: Duration::from_secs(5),
                    settle: SETTLE,
                    ..PlacementConfig::new(url_of(name))
                });
            },
            |ports| {
                ports.bus = Arc::new(self.bus.clone());
                ports.state = self.state.clone();
                let auth = AuthConfig { anonymous: true, ..token::config() };
                ports.auth = Arc::new(Authenticator::new(&auth, self.state.clone()).unwrap());
            },
        )
        .await
    }

    /// Nodes that know each other, and have for a while.
    async fn nodes<const N: usize>(&self, names: [&str; N]) -> Vec<TestEdge> {
        let mut nodes = Vec::new();
        for name in names {
            nodes.push(self.node(name).await);
        }
        for node in &nodes {
            node.until("skywave_edge_region_nodes", |nodes| nodes == N as f64).await;
            node.until("skywave_edge_region_settled", |settled| settled == 1.0).await;
        }
        nodes
    }
}

/// Under which a node advertises itself. Nobody connects by it here, and places on the ring are the same in every run.
fn url_of(name: &str) -> String {
    format!("http://{name}.example")
}

async fn route(node: &TestEdge, key: &str) -> Value {
    http::get(node.address(), &format!("/v1/route?key={key}")).await.json()
}

/// Connects as `user`; `extra` fields go into `connect`.
async fn connect(node: &TestEdge, user: &str, extra: Value) -> Client {
    let mut client = node.socket().await;
    let mut connect = json!({"token": token::of(user)});
    connect.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    let reply = client.request(json!({"connect": connect})).await;
    assert!(reply["connected"].is_object(), "{reply}");
    client
}

/// Whether a `move` has come before the answer to a ping; its target.
async fn moved(client: &mut Client) -> Option<String> {
    client.send(json!({"id": 900, "ping": {}})).await;
    let mut target = None;
    loop {
        let message = client.json().await;
        if message["id"] == 900 {
            return target;
        }
        if message["move"].is_object() {
            target = Some(message["move"]["target"].as_str().unwrap_or("nowhere").to_owned());
        }
    }
}

/// The ring of these nodes.
fn ring(nodes: &[TestEdge]) -> engine::Region {
    let id = |n: usize| NodeId::parse(&format!("oracle-{n}")).unwrap();
    let config = engine::RegionConfig::default();
    let mut region = engine::Region::new(0, id(0), url(&nodes[0]).into(), 1_000, config);
    for (n, node) in nodes.iter().enumerate().skip(1) {
        let beat = NodeBeat {
            node: id(n),
            url: url(node).into(),
            sequence: 1,
            connections: 0,
            capacity: 1_000,
            draining: false,
        };
        region.handle_beat(0, beat);
    }
    region
}

fn url(node: &TestEdge) -> String {
    url_of(node.node.as_str())
}

#[tokio::test]
async fn every_node_names_the_same_node_for_a_key_and_alternates() {
    let region = Region::new(Redirect::Off);
    let nodes = region.nodes(["a", "b", "c", "d"]).await;
    let mut shares = BTreeMap::new();
    for n in 0..60 {
        let key = format!("room-{n}");
        let answer = route(&nodes[0], &key).await;
        assert_eq!(answer["region"], "eu");
        assert_eq!(answer["alternates"].as_array().unwrap().len(), 2, "{answer}");
        assert_ne!(answer["alternates"][0]["url"], answer["url"]);
        for node in &nodes[1..] {
            let other = route(node, &key).await;
            assert_eq!((&other["node"], &other["url"]), (&answer["node"], &answer["url"]), "{key}");
        }
        *shares.entry(answer["node"].as_str().unwrap().to_owned()).or_insert(0) += 1;
    }
    assert_eq!(shares.len(), 4, "{shares:?}");
}

#[tokio::test]
async fn without_a_key_the_user_or_the_address_counts() {
    let region = Region::new(Redirect::Off);
    let nodes = region.nodes(["a", "b"]).await;
    let by_key = route(&nodes[0], "ada").await;
    let bearer = format!("Bearer {}", token::of("ada"));
    let headers = [("authorization", bearer.as_str())];
    let by_user = http::send(nodes[0].address(), "GET", "/v1/route", &headers, "").await.json();
    assert_eq!(by_user["node"], by_key["node"]);
    let by_address = http::get(nodes[0].address(), "/v1/route").await.json();
    assert_eq!(by_address["node"], route(&nodes[1], "127.0.0.1").await["node"]);
    let forged = [("authorization", "Bearer a.b.c")];
    let refused = http::send(nodes[0].address(), "GET", "/v1/route", &forged, "").await;
    assert_eq!(refused.status, 401);
}

#[tokio::test]
async fn a_node_that_dies_is_named_no_more_and_one_that_comes_is() {
    let region = Region::new(Redirect::Off);
    let mut nodes = region.nodes(["a", "b", "c"]).await;
    let gone = nodes.pop().unwrap();
    // Without a word.
    gone.handle.stop().await;
    for node in &nodes {
        node.until("skywave_edge_region_nodes", |nodes| nodes == 2.0).await;
        for n in 0..20 {
            let answer = route(node, &n.to_string()).await;
            assert_ne!(answer["node"], "c", "{answer}");
            assert_eq!(answer["alternates"].as_array().unwrap().len(), 1);
        }
    }
    let come = region.node("d").await;
    for node in nodes.iter().chain([&come]) {
        node.until("skywave_edge_region_nodes", |nodes| nodes == 3.0).await;
    }
}

#[tokio::test]
async fn who_lands_elsewhere_is_served_when_the_operator_does_not_redirect() {
    let region = Region::new(Redirect::Off);
    let nodes = region.nodes(["a", "b"]).await;
    for n in 0..10 {
        for node in &nodes {
            let mut client = connect(node, &format!("u{n}"), json!({})).await;
            assert_eq!(moved(&mut client).await, None);
        }
    }
}

#[tokio::test]
async fn who_lands_elsewhere_is_redirected_once_and_never_in_a_loop() {
    let region = Region::new(Redirect::Route);
    let nodes = region.nodes(["a", "b"]).await;
    let mut redirected = 0;
    for n in 0..20 {
        let user = format!("u{n}");
        let home = route(&nodes[0], &user).await["url"].as_str().unwrap().to_owned();
        let (here, there) =
            if url(&nodes[0]) == home { (&nodes[0], &nodes[1]) } else { (&nodes[1], &nodes[0]) };
        assert_eq!(moved(&mut connect(here, &user, json!({})).await).await, None, "at home");
        let mut stray = connect(there, &user, json!({})).await;
        assert_eq!(moved(&mut stray).await, Some(home), "not at home");
        redirected += 1;
        // Who was sent is served, and so is who could not go where he was sent.
        assert_eq!(moved(&mut connect(there, &user, json!({"placed": true})).await).await, None);
        assert_eq!(moved(&mut connect(there, &user, json!({})).await).await, None, "twice in a minute");
    }
    let counted: f64 = nodes.iter().map(|node| node.metric("skywave_edge_moves")).sum();
    assert_eq!(counted, f64::from(redirected));
    // A key of the client's own goes before its user.
    let home = route(&nodes[0], "a-room").await["url"].as_str().unwrap().to_owned();
    let there = nodes.iter().find(|node| url(node) != home).unwrap();
    let mut stray = connect(there, "somebody", json!({"key": "a-room"})).await;
    assert_eq!(moved(&mut stray).await, Some(home));
    let mut nobody = there.client().await;
    assert_eq!(moved(&mut nobody).await, None, "anonymous clients without a key belong nowhere");
}

#[tokio::test]
async fn connections_follow_their_keys_to_a_node_that_joins_at_the_pace_that_is_set() {
    let region = Region { moves_per_second: 20, ..Region::new(Redirect::Off) };
    let mut nodes = region.nodes(["a", "b"]).await;
    let (mut placed, mut unplaced) = (Vec::new(), Vec::new());
    for n in 0..120 {
        let user = format!("u{n}");
        let home = route(&nodes[0], &user).await["url"].as_str().unwrap().to_owned();
        let node = nodes.iter().find(|node| url(node) == home).unwrap();
        placed.push((user.clone(), home, connect(node, &user, json!({"placed": true})).await));
        if n < 20 {
            unplaced.push(connect(node, &user, json!({})).await);
        }
    }
    let joins = Instant::now();
    nodes.push(region.node("c").await);
    nodes[0].until("skywave_edge_region_nodes", |nodes| nodes == 3.0).await;
    let third = url(&nodes[2]);
    // Where each belongs by the ring alone: on the nodes the present load counts, too.
    let (before, after) = (ring(&nodes[..2]), ring(&nodes));
    let place = |ring: &engine::Region, user: &str| ring.route(KeyDigest::of(user))[0].url.to_string();
    let mut expected = Vec::new();
    for (user, home, _) in &placed {
        let (was, is) = (place(&before, user), place(&after, user));
        assert!(is == was || is == third, "only the newcomer takes something");
        // A few were placed elsewhere, because their node had more than its share.
        expected.push(is != was && was == *home);
    }
    let moving = expected.iter().filter(|moves| **moves).count();
    assert!((10..90).contains(&moving), "{moving}");
    let asked = || nodes[..2].iter().map(|node| node.metric("skywave_edge_moves")).sum::<f64>();
    let all = async {
        while asked() < moving as f64 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), all).await.expect("everyone is asked in the end");
    // Two every tenth of a second from each node, once the nodes have settled: however slow the machine is, never sooner.
    let of = |node: &TestEdge| {
        let theirs =
            placed.iter().zip(&expected).filter(|((_, home, _), moves)| **moves && *home == url(node));
        theirs.count() as u32
    };
    let waves = nodes[..2].iter().map(of).max().unwrap().div_ceil(2);
    let soonest = SETTLE + Duration::from_millis(100) * (waves - 1);
    let took = joins.elapsed();
    assert!(took >= soonest, "{moving} were asked within {took:?}, not {soonest:?}");
    for ((user, _, client), moves) in placed.iter_mut().zip(expected) {
        let target = moved(client).await;
        assert_eq!(target, moves.then(|| third.clone()), "{user}");
    }
    for client in &mut unplaced {
        assert_eq!(moved(client).await, None, "who was not placed is left alone");
    }
}

#[tokio::test]
async fn a_draining_node_leaves_the_ring_and_names_a_target_for_everyone() {
    let region = Region::new(Redirect::Off);
    let mut nodes = region.nodes(["a", "b", "c"]).await;
    let leaving = nodes.remove(0);
    let mut clients = Vec::new();
    for n in 0..30 {
        clients.push((n, connect(&leaving, &format!("u{n}"), json!({"key": format!("k{n}")})).await));
    }
    let mut nobody = leaving.client().await;
    let draining = tokio::spawn(async move {
        leaving.handle.drain(Duration::from_secs(2)).await;
        leaving
    });
    for node in &nodes {
        node.until("skywave_edge_region_nodes", |nodes| nodes == 2.0).await;
    }
    let mut targets = BTreeMap::new();
    for (n, client) in &mut clients {
        let target = loop {
            match client.next().await {
                Received::Json(message) if message["move"].is_object() => {
                    break message["move"]["target"].as_str().unwrap().to_owned();
                }
                Received::End => panic!("no target for {n}"),
                _ => {}
            }
        };
        assert_eq!(target, route(&nodes[0], &format!("k{n}")).await["url"], "where its key is now");
        *targets.entry(target).or_insert(0) += 1;
    }
    assert_eq!(targets.len(), 2, "spread over those who stay: {targets:?}");
    let message = nobody.json().await;
    assert!(message["move"]["target"].as_str().is_some(), "{message}");
    drop((clients, nobody));
    draining.await.unwrap();
}
