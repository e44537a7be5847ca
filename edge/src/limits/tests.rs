//! Rates over several nodes, with a shared state that can be away.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use skywave_ports::memory::MemoryState;
use skywave_ports::{FeedPosition, Notices, StateError, TokenGrant, TokenLoan};

use super::*;

/// A shared state that can be away.
#[derive(Default)]
struct State {
    inner: MemoryState,
    away: std::sync::atomic::AtomicBool,
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
        self.inner.take_tokens(key, cost, burst, rate).await
    }

    async fn borrow_tokens(
        &self,
        key: &str,
        most: u32,
        burst: u32,
        rate: f64,
    ) -> Result<TokenLoan, StateError> {
        if self.away.load(Ordering::Relaxed) {
            return Err(StateError::Unavailable("away".into()));
        }
        self.inner.borrow_tokens(key, most, burst, rate).await
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
        Ok(())
    }

    async fn kept(&self, _: &str) -> Result<Option<Bytes>, StateError> {
        Ok(None)
    }

    async fn append_notice(&self, _: &str, _: Bytes, _: Duration) -> Result<(), StateError> {
        Ok(())
    }

    async fn read_notices(&self, _: &str, _: FeedPosition) -> Result<Notices, StateError> {
        Ok(Notices::default())
    }
}

fn user(name: &str) -> Who {
    Who::User(UserId::parse(name).unwrap())
}

fn node(state: &Arc<State>) -> Arc<RegionLimits> {
    // Slow enough that nothing is gained while the test runs.
    let limits = EdgeLimits { user_publishes: Some(Rate::per_minute(1, 100)), ..EdgeLimits::default() };
    RegionLimits::new(&limits, state.clone(), Instant::now())
}

/// Publishes until told to wait, letting each loan come.
async fn spend(node: &Arc<RegionLimits>, name: &str) -> u32 {
    let mut granted = 0;
    while node.take_from(Limit::Publishes, user(name), 1).is_ok() {
        granted += 1;
        while node.loans.load(Ordering::Relaxed) > 0 {
            tokio::task::yield_now().await;
        }
    }
    granted
}

#[tokio::test]
async fn one_users_rate_holds_over_the_nodes_of_a_region() {
    let state = Arc::new(State::default());
    let nodes = [node(&state), node(&state), node(&state)];
    let first = spend(&nodes[0], "a").await;
    assert!((99..=101).contains(&first), "{first}");
    for other in &nodes[1..] {
        // One on credit, until the loan says that there is nothing.
        let more = spend(other, "a").await;
        assert!(more <= 1, "{more} more on another node");
    }
    assert!(spend(&nodes[1], "b").await >= 99, "others are not affected");
}

#[tokio::test]
async fn without_the_shared_state_the_rate_holds_on_each_node() {
    let state = Arc::new(State::default());
    state.away.store(true, Ordering::Relaxed);
    for node in [node(&state), node(&state)] {
        let granted = spend(&node, "a").await;
        assert!((100..=101).contains(&granted), "{granted}");
        let mut text = String::new();
        let mut registry = prometheus_client::registry::Registry::default();
        registry.register_collector(Box::new(LimitsCollector(node)));
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        assert!(text.contains(r#"skywave_edge_limit_alone_total{limit="publishes"} 99"#), "{text}");
        assert!(text.contains(r#"skywave_edge_limit_refused_total{limit="publishes"} 1"#), "{text}");
    }
}

#[tokio::test]
async fn a_limit_that_is_not_set_costs_nothing() {
    let node = node(&Arc::default());
    assert!(node.account(Limit::Handshakes, user("a")).is_none());
    assert_eq!(node.take_from(Limit::Handshakes, user("a"), 1_000), Ok(()));
}

#[tokio::test]
async fn a_flood_of_users_is_bounded_and_everyone_has_an_account() {
    let node = node(&Arc::default());
    for n in 0..ACCOUNTS + 10_000 {
        node.take_from(Limit::Publishes, user(&n.to_string()), 1).unwrap();
        if n % 1_000 == 0 {
            tokio::task::yield_now().await;
        }
    }
    let kept: usize = node.accounts.iter().map(|shard| shard.lock().accounts.len()).sum();
    assert!(kept <= ACCOUNTS, "{kept}");
}
