//! Pages of history that the nodes of a region keep for each other: read once, and never relied upon.
#![allow(clippy::unwrap_used)]

mod support;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use serde_json::json;
use skywave_edge::HistoryCache;
use skywave_ports::memory::MemoryState;
use skywave_ports::{FeedPosition, Notices, SharedState, StateError, TokenGrant, TokenLoan};
use skywave_protocol::inner::Excerpt;
use skywave_protocol::{ChannelName, Epoch, Payload, Publication};
use support::{Client, FakeCore, TestEdge};

const CACHE: HistoryCache = HistoryCache { lifetime: Duration::from_secs(600), bytes: 64 * 1024 * 1024 };

/// A node that follows a channel of so many publications.
async fn node(state: Arc<dyn SharedState>, cache: HistoryCache, count: u64) -> (TestEdge, Client) {
    let edge =
        TestEdge::with_ports(|config| config.history_cache = Some(cache), |ports| ports.state = state).await;
    edge.core.fill("chat:1", count, 20);
    let mut live = edge.client().await;
    live.subscribe("chat:1").await;
    assert_eq!(edge.core.reads(), 1, "where the channel ends");
    (edge, live)
}

/// Comes back after `offset` and gets everything up to `head`.
async fn comes_back(edge: &TestEdge, offset: u64, head: u64) {
    let mut client = edge.client().await;
    let recover = json!({"epoch": FakeCore::epoch().as_str(), "offset": offset});
    let reply = client.request(json!({"subscribe": {"channel": "chat:1", "recover": recover}})).await;
    assert_eq!(reply["subscribed"]["recovery"], "exact", "{reply}");
    for expected in offset + 1..=head {
        assert_eq!(client.publication().await["offset"], expected);
    }
}

/// Waits until the region has this block of the channel.
async fn kept(state: &MemoryState, block: u64) {
    let key = format!("past:main:e1:{block}:chat:1");
    let there = async {
        while state.kept(&key).await.unwrap().is_none() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), there).await.expect("the block is kept");
}

#[tokio::test]
async fn what_one_node_has_read_another_does_not_read_again() {
    let state = Arc::new(MemoryState::default());
    let (first, _live) = node(state.clone(), CACHE, 3_000).await;
    comes_back(&first, 2_000, 3_000).await;
    assert!(first.core.reads() > 1);
    for block in 7..=11 {
        kept(&state, block).await;
    }
    let (second, mut live) = node(state.clone(), CACHE, 3_000).await;
    comes_back(&second, 2_010, 3_000).await;
    assert_eq!(second.core.reads(), 1, "core was not asked for the past");
    assert_eq!(second.metric("skywave_edge_history_cache_hits"), 5.0);
    // The same node comes to it as well: its own page was forgotten with the last one who wanted it.
    let reads = first.core.reads();
    first.until("skywave_edge_catching_up", |n| n == 0.0).await;
    comes_back(&first, 2_000, 3_000).await;
    assert_eq!(first.core.reads(), reads);
    // Whoever stands before what is kept is served by core, and then by what has been added.
    comes_back(&second, 1_950, 3_000).await;
    assert!(second.core.reads() > 1);
    live.publish("chat:1", json!("live")).await;
    assert_eq!(live.publication().await["offset"], 3_001);
}

#[tokio::test]
async fn what_is_too_far_back_is_core_s_alone() {
    let state = Arc::new(MemoryState::default());
    let (edge, _live) = node(state.clone(), CACHE, 20_000).await;
    comes_back(&edge, 0, 20_000).await;
    kept(&state, 77).await;
    assert!(state.kept("past:main:e1:10:chat:1").await.unwrap().is_none());
    assert!(edge.metric("skywave_edge_history_cache_misses") < 6.0, "only what is recent is looked for");
}

#[tokio::test]
async fn a_node_keeps_no_more_than_it_may() {
    let state = Arc::new(MemoryState::default());
    // Half of it for each of two workers; a block has more than 50 KiB.
    let cache = HistoryCache { bytes: 128 * 1024, ..CACHE };
    let (edge, _live) = node(state, cache, 4_000).await;
    edge.core.fill("chat:1", 4_000, 200);
    comes_back(&edge, 0, 4_000).await;
    edge.until("skywave_edge_history_cache_left", |n| n >= 10.0).await;
    assert!(edge.metric("skywave_edge_history_cache_kept") <= 2.0);
}

/// Answers every question for a kept value alike.
struct Odd(Result<Option<Bytes>, StateError>);

#[async_trait]
impl SharedState for Odd {
    async fn take_tokens(&self, _: &str, _: u32, _: u32, _: f64) -> Result<TokenGrant, StateError> {
        Ok(TokenGrant::Granted)
    }

    async fn borrow_tokens(&self, _: &str, most: u32, _: u32, _: f64) -> Result<TokenLoan, StateError> {
        Ok(TokenLoan { tokens: most, wait: Duration::ZERO })
    }

    async fn remember(&self, _: &str, _: Duration) -> Result<(), StateError> {
        Ok(())
    }

    async fn is_remembered(&self, _: &str) -> Result<bool, StateError> {
        Ok(false)
    }

    async fn forget(&self, _: &str) -> Result<(), StateError> {
        Ok(())
    }

    async fn keep(&self, _: &str, _: Bytes, _: Duration) -> Result<(), StateError> {
        self.0.clone().map(|_| ())
    }

    async fn kept(&self, _: &str) -> Result<Option<Bytes>, StateError> {
        self.0.clone()
    }

    async fn append_notice(&self, _: &str, _: Bytes, _: Duration) -> Result<(), StateError> {
        Ok(())
    }

    async fn read_notices(&self, _: &str, _: FeedPosition) -> Result<Notices, StateError> {
        Ok(Notices::default())
    }
}

/// Another one's publications, or a forger's.
fn foreign(channel: &str, epoch: &str, first: u64) -> Bytes {
    let publication = |offset| {
        let data = Payload::from_json(b"\"not yours\"").unwrap();
        Arc::new(Publication { offset, id: None, from: None, time_ms: 0, data })
    };
    let publications = (first..first + 200).map(publication).collect();
    let channel = ChannelName::parse(channel).unwrap();
    Excerpt::new(channel, Epoch::parse(epoch).unwrap(), publications).unwrap().encode()
}

#[tokio::test]
async fn whatever_the_state_says_or_not_everything_comes() {
    let odd = [
        Err(StateError::Unavailable("away".into())),
        Ok(Some(Bytes::from_static(b"no excerpt at all"))),
        Ok(Some(Bytes::new())),
        Ok(Some(foreign("chat:other", "e1", 1_000))),
        Ok(Some(foreign("chat:1", "e0", 1_000))),
        // Of the channel, and of no use where the client stands.
        Ok(Some(foreign("chat:1", "e1", 700))),
        Ok(Some(foreign("chat:1", "e1", 1_100))),
    ];
    for says in odd {
        let (edge, _live) = node(Arc::new(Odd(says.clone())), CACHE, 2_000).await;
        let mut client = edge.client().await;
        let recover = json!({"epoch": "e1", "offset": 1_024});
        let reply = client.request(json!({"subscribe": {"channel": "chat:1", "recover": recover}})).await;
        assert_eq!(reply["subscribed"]["recovery"], "exact", "{reply}");
        for expected in 1_025..=2_000 {
            let publication = client.publication().await;
            assert_eq!(publication["offset"], expected);
            assert_ne!(publication["data"], "not yours", "{says:?}");
        }
        assert_eq!(edge.metric("skywave_edge_history_cache_hits"), 0.0, "{says:?}");
        assert!(edge.metric("skywave_edge_history_cache_misses") > 0.0);
    }
}
