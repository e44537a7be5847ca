//! The contract of [`SharedState`].

use std::time::{Duration, Instant};

use super::check;
use crate::state::{SharedState, TokenGrant};

/// Runs every check; `open` makes an empty shared state.
pub async fn suite<S: SharedState>(open: impl AsyncFn(&str) -> S) {
    let state = &open("state").await;
    check("a bucket grants its burst and then says how long to wait", burst_then_wait(state)).await;
    check("a bucket fills again with time, never above its burst", refills(state)).await;
    check("a refused take costs nothing", refusal_is_free(state)).await;
    check("more than the burst at once is never granted", beyond_burst(state)).await;
    check("keys do not share a bucket", keys_are_apart(state)).await;
    check("concurrent takes never grant more than there is", concurrent_takes(state)).await;
    check("a remembered key is known until it is forgotten", remember_and_forget(state)).await;
    check("a remembered key expires", expires(state)).await;
    check("remembering again renews", renews(state)).await;
    check("a bucket and a remembered key of one name do not meet", kinds_are_apart(state)).await;
}

async fn take(state: &impl SharedState, key: &str, cost: u32, burst: u32, per_second: f64) -> TokenGrant {
    state.take_tokens(key, cost, burst, per_second).await.expect("an available state")
}

async fn burst_then_wait(state: &impl SharedState) {
    for _ in 0..5 {
        assert_eq!(take(state, "state:burst", 1, 5, 0.1).await, TokenGrant::Granted);
    }
    let TokenGrant::Wait(wait) = take(state, "state:burst", 1, 5, 0.1).await else { panic!("a sixth token") };
    assert!(wait > Duration::from_secs(8) && wait <= Duration::from_secs(10), "{wait:?}");
}

async fn refills(state: &impl SharedState) {
    assert_eq!(take(state, "state:refill", 2, 2, 50.0).await, TokenGrant::Granted);
    let started = Instant::now();
    let mut granted = 0;
    while granted < 4 {
        match take(state, "state:refill", 1, 2, 50.0).await {
            TokenGrant::Granted => granted += 1,
            TokenGrant::Wait(wait) => tokio::time::sleep(wait).await,
        }
    }
    assert!(started.elapsed() >= Duration::from_millis(60), "four tokens at 50 a second need 80 ms");
    let TokenGrant::Wait(_) = take(state, "state:refill", 3, 2, 50.0).await else {
        panic!("three of a burst of two")
    };
}

async fn refusal_is_free(state: &impl SharedState) {
    assert_eq!(take(state, "state:free", 1, 4, 0.01).await, TokenGrant::Granted);
    assert!(matches!(take(state, "state:free", 4, 4, 0.01).await, TokenGrant::Wait(_)));
    assert_eq!(take(state, "state:free", 3, 4, 0.01).await, TokenGrant::Granted);
}

async fn beyond_burst(state: &impl SharedState) {
    assert!(matches!(take(state, "state:beyond", 6, 5, 1000.0).await, TokenGrant::Wait(_)));
}

async fn keys_are_apart(state: &impl SharedState) {
    assert_eq!(take(state, "state:a", 3, 3, 0.01).await, TokenGrant::Granted);
    assert_eq!(take(state, "state:b", 3, 3, 0.01).await, TokenGrant::Granted);
}

async fn concurrent_takes(state: &impl SharedState) {
    let takes: Vec<_> = (0..100).map(|_| state.take_tokens("state:race", 1, 10, 0.001)).collect();
    let mut granted = 0;
    for take in takes {
        granted += u32::from(take.await.expect("an available state") == TokenGrant::Granted);
    }
    assert_eq!(granted, 10);
}

async fn remember_and_forget(state: &impl SharedState) {
    let known = async || state.is_remembered("state:token").await.expect("an available state");
    assert!(!known().await);
    state.remember("state:token", Duration::from_secs(60)).await.expect("remember");
    assert!(known().await);
    state.forget("state:token").await.expect("forget");
    assert!(!known().await);
    state.forget("state:token").await.expect("forgetting what is not there succeeds");
}

async fn expires(state: &impl SharedState) {
    state.remember("state:short", Duration::from_millis(30)).await.expect("remember");
    while state.is_remembered("state:short").await.expect("an available state") {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

async fn renews(state: &impl SharedState) {
    state.remember("state:renew", Duration::from_millis(20)).await.expect("remember");
    state.remember("state:renew", Duration::from_secs(60)).await.expect("remember");
    // Longer than the first lifetime by any clock: only the renewal can keep the key.
    tokio::time::sleep(Duration::from_millis(60)).await;
    assert!(state.is_remembered("state:renew").await.expect("an available state"));
}

async fn kinds_are_apart(state: &impl SharedState) {
    assert_eq!(take(state, "state:both", 1, 1, 0.01).await, TokenGrant::Granted);
    assert!(!state.is_remembered("state:both").await.expect("an available state"));
}
