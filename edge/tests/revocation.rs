//! A revoked token and a disconnected user are closed at every node, whatever the bus and the shared state lose (I11).
#![allow(clippy::unwrap_used)]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use serde_json::json;
use skywave_edge::auth::Authenticator;
use skywave_ports::memory::{MemoryBus, MemoryState};
use skywave_ports::{
    Bus, BusError, FeedPosition, Inbox, Notices, SharedState, StateError, Subscription, TokenGrant, TokenLoan,
};
use skywave_protocol::inner::Control;
use skywave_protocol::{NodeId, Subject, UserId};
use support::{Client, TestEdge, token};

/// A bus that may lose what one node says or hears.
struct Line {
    bus: MemoryBus,
    cut: AtomicBool,
}

#[async_trait]
impl Bus for Line {
    fn publish(&self, subject: &Subject, payload: Bytes) -> Result<(), BusError> {
        if self.cut.load(Ordering::SeqCst) { Ok(()) } else { self.bus.publish(subject, payload) }
    }

    async fn subscribe(
        &self,
        subject: &Subject,
        group: Option<&str>,
        inbox: &Inbox,
    ) -> Result<Subscription, BusError> {
        // What comes back from others is lost as well: nothing listens.
        let nowhere = Inbox::new(1).0;
        let inbox = if self.cut.load(Ordering::SeqCst) { &nowhere } else { inbox };
        self.bus.subscribe(subject, group, inbox).await
    }
}

/// A shared state that can be away, and be emptied; each node has its own way to it.
struct State {
    inner: Arc<Mutex<Arc<MemoryState>>>,
    away: AtomicBool,
    /// How often its notices were asked for.
    reads: AtomicUsize,
}

impl State {
    fn get(&self) -> Result<Arc<MemoryState>, StateError> {
        if self.away.load(Ordering::SeqCst) {
            return Err(StateError::Unavailable("away".into()));
        }
        Ok(self.inner.lock().clone())
    }
}

#[async_trait]
impl SharedState for State {
    async fn take_tokens(
        &self,
        key: &str,
        cost: u32,
        burst: u32,
        rate: f64,
    ) -> Result<TokenGrant, StateError> {
        self.get()?.take_tokens(key, cost, burst, rate).await
    }

    async fn borrow_tokens(
        &self,
        key: &str,
        most: u32,
        burst: u32,
        rate: f64,
    ) -> Result<TokenLoan, StateError> {
        self.get()?.borrow_tokens(key, most, burst, rate).await
    }

    async fn remember(&self, key: &str, lifetime: Duration) -> Result<(), StateError> {
        self.get()?.remember(key, lifetime).await
    }

    async fn is_remembered(&self, key: &str) -> Result<bool, StateError> {
        self.get()?.is_remembered(key).await
    }

    async fn forget(&self, key: &str) -> Result<(), StateError> {
        self.get()?.forget(key).await
    }

    async fn keep(&self, key: &str, value: Bytes, lifetime: Duration) -> Result<(), StateError> {
        self.get()?.keep(key, value, lifetime).await
    }

    async fn kept(&self, key: &str) -> Result<Option<Bytes>, StateError> {
        self.get()?.kept(key).await
    }

    async fn append_notice(&self, feed: &str, notice: Bytes, lifetime: Duration) -> Result<(), StateError> {
        self.get()?.append_notice(feed, notice, lifetime).await
    }

    async fn read_notices(&self, feed: &str, after: FeedPosition) -> Result<Notices, StateError> {
        self.reads.fetch_add(1, Ordering::SeqCst);
        self.get()?.read_notices(feed, after).await
    }
}

struct Node {
    edge: TestEdge,
    line: Arc<Line>,
    state: Arc<State>,
}

struct Region {
    bus: MemoryBus,
    state: Arc<Mutex<Arc<MemoryState>>>,
}

impl Region {
    fn new() -> Self {
        Self { bus: MemoryBus::new(), state: Arc::default() }
    }

    async fn node(&self, name: &str) -> Node {
        self.node_with(name, false, false).await
    }

    /// `deaf`: hears and says nothing on the bus. `alone`: cannot reach the shared state.
    async fn node_with(&self, name: &str, deaf: bool, alone: bool) -> Node {
        let line = Arc::new(Line { bus: self.bus.clone(), cut: AtomicBool::new(deaf) });
        let (inner, away) = (self.state.clone(), AtomicBool::new(alone));
        let state = Arc::new(State { inner, away, reads: AtomicUsize::new(0) });
        let edge = TestEdge::with_ports(
            |config| config.node = NodeId::parse(name).unwrap(),
            |ports| {
                ports.bus = line.clone();
                ports.state = state.clone();
                ports.auth = Arc::new(Authenticator::new(&token::config(), state.clone()).unwrap());
            },
        )
        .await;
        Node { edge, line, state }
    }

    /// The shared state loses everything.
    fn flush(&self) {
        *self.state.lock() = Arc::default();
    }
}

async fn greet(node: &Node, user: &str, id: &str) -> (Client, serde_json::Value) {
    let mut client = node.edge.socket().await;
    let token = token::with_claims(&format!(r#"{{"sub":"{user}","jti":"{id}","exp":4000000000}}"#));
    let reply = client.request(json!({"connect": {"token": token}})).await;
    (client, reply)
}

async fn connect(node: &Node, user: &str, id: &str) -> Client {
    let (client, reply) = greet(node, user, id).await;
    assert!(reply["connected"].is_object(), "{reply}");
    client
}

/// That the client is let in no more.
async fn is_refused(node: &Node, user: &str, id: &str) -> bool {
    greet(node, user, id).await.1["error"].is_object()
}

async fn revoke(node: &Node, id: &str) -> Result<(), skywave_protocol::WireError> {
    let control = Control::RevokeToken { token_id: id.into(), until: 4_000_000_000 };
    node.edge.handle.relay().announce(control).await
}

async fn until(what: &str, holds: impl AsyncFn() -> bool) {
    let wait = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), wait).await.unwrap_or_else(|_| panic!("{what}"));
}

const REVOKED: u16 = 4501;

#[tokio::test]
async fn a_revocation_closes_everywhere_and_nodes_that_start_later_refuse() {
    let region = Region::new();
    let nodes = [region.node("a").await, region.node("b").await];
    let mut clients = [connect(&nodes[0], "ada", "t1").await, connect(&nodes[1], "ada", "t1").await];
    let mut other = connect(&nodes[1], "ada", "t2").await;
    revoke(&nodes[0], "t1").await.unwrap();
    for client in &mut clients {
        assert_eq!(client.close_code().await, REVOKED);
    }
    let later = region.node("c").await;
    for node in nodes.iter().chain([&later]) {
        assert!(is_refused(node, "ada", "t1").await);
    }
    assert_eq!(other.request(json!({"ping": {}})).await["pong"], json!({}), "another token is not concerned");
}

#[tokio::test]
async fn what_the_bus_loses_is_found_in_the_shared_state() {
    let region = Region::new();
    let (a, deaf) = (region.node("a").await, region.node_with("deaf", true, false).await);
    let mut victim = connect(&deaf, "ada", "t1").await;
    let mut user = connect(&deaf, "bob", "t2").await;
    revoke(&a, "t1").await.unwrap();
    let bob = UserId::parse("bob").unwrap();
    a.edge.handle.relay().announce(Control::DisconnectUser { user: bob }).await.unwrap();
    assert_eq!(victim.close_code().await, REVOKED);
    assert_eq!(user.close_code().await, REVOKED);
    assert!(is_refused(&deaf, "ada", "t1").await);
    assert_eq!(deaf.edge.metric("skywave_edge_notices"), 2.0);
}

#[tokio::test]
async fn a_node_that_was_cut_off_from_everything_closes_when_it_is_back() {
    let region = Region::new();
    let (a, cut) = (region.node("a").await, region.node_with("cut", true, true).await);
    let mut victim = connect(&cut, "ada", "t1").await;
    revoke(&a, "t1").await.unwrap();
    // Others come and go meanwhile, also with the revoked token: nobody here can know.
    let mut second = connect(&cut, "ada", "t1").await;
    cut.state.away.store(false, Ordering::SeqCst);
    assert_eq!(victim.close_code().await, REVOKED);
    assert_eq!(second.close_code().await, REVOKED);
    assert!(is_refused(&cut, "ada", "t1").await);
}

#[tokio::test]
async fn a_token_that_was_let_in_unchecked_is_looked_up_when_that_is_possible() {
    let region = Region::new();
    let a = region.node("a").await;
    revoke(&a, "old").await.unwrap();
    // So long ago that no feed tells of it any more.
    let fresh = Arc::new(MemoryState::default());
    fresh
        .remember(&skywave_edge::auth::revocation::state_key("old"), Duration::from_secs(600))
        .await
        .unwrap();
    *region.state.lock() = fresh;
    let alone = region.node_with("alone", true, true).await;
    let mut victim = connect(&alone, "ada", "old").await;
    let mut other = connect(&alone, "ada", "new").await;
    alone.state.away.store(false, Ordering::SeqCst);
    assert_eq!(victim.close_code().await, REVOKED);
    assert_eq!(other.request(json!({"ping": {}})).await["pong"], json!({}));
}

#[tokio::test]
async fn without_the_shared_state_the_bus_tells_and_the_state_is_told_later() {
    let region = Region::new();
    let nodes = [region.node("a").await, region.node("b").await];
    let mut victim = connect(&nodes[1], "ada", "t1").await;
    for node in &nodes {
        node.state.away.store(true, Ordering::SeqCst);
    }
    let error = revoke(&nodes[0], "t1").await.unwrap_err();
    assert_eq!(error.code.name(), "store_unavailable");
    assert_eq!(victim.close_code().await, REVOKED, "those who run know it all the same");
    for node in &nodes {
        node.state.away.store(false, Ordering::SeqCst);
    }
    until("the shared state to be told", async || {
        let later = region.node_with("later", true, false).await;
        is_refused(&later, "ada", "t1").await
    })
    .await;
}

#[tokio::test]
async fn a_shared_state_that_was_emptied_is_told_again() {
    let region = Region::new();
    let a = region.node("a").await;
    revoke(&a, "t1").await.unwrap();
    // The node has read its own notice, and will notice that the feed is another one: it has begun a read after that.
    let reads = a.state.reads.load(Ordering::SeqCst);
    until("the notice to be read", async || a.state.reads.load(Ordering::SeqCst) > reads + 1).await;
    region.flush();
    until("the shared state to be told", async || {
        let state = region.state.lock().clone();
        state.is_remembered(&skywave_edge::auth::revocation::state_key("t1")).await.unwrap()
    })
    .await;
    assert!(a.edge.metric("skywave_edge_notices_missed") >= 1.0);
}

#[tokio::test]
async fn news_that_come_again_concern_nobody_who_has_come_since() {
    let region = Region::new();
    let nodes = [region.node("a").await, region.node("b").await];
    let mut before = connect(&nodes[1], "ada", "t1").await;
    let ada = UserId::parse("ada").unwrap();
    nodes[0].edge.handle.relay().announce(Control::DisconnectUser { user: ada }).await.unwrap();
    assert_eq!(before.close_code().await, REVOKED);
    let mut after = connect(&nodes[1], "ada", "t1").await;
    // A node that hears of it only now leaves those alone, too, who came since.
    let late = region.node_with("late", true, false).await;
    let mut elsewhere = connect(&late, "ada", "t1").await;
    late.edge.until("skywave_edge_notices", |notices| notices >= 1.0).await;
    nodes[0].edge.until("skywave_edge_notices_repeated", |repeated| repeated >= 1.0).await;
    for client in [&mut after, &mut elsewhere] {
        assert_eq!(client.request(json!({"ping": {}})).await["pong"], json!({}));
    }
    assert_eq!(nodes[1].edge.metric("skywave_edge_notices"), 1.0, "it counts once");
    assert!(!nodes[1].line.cut.load(Ordering::SeqCst));
}
