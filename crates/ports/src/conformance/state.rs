//! The contract of [`SharedState`].

use std::future::poll_fn;
use std::task::Poll;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::check;
use crate::state::{FEED_NOTICES, FEED_PAGE, FeedPosition, KEPT_BYTES, SharedState, TokenGrant, TokenLoan};

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
    check("a value is kept until another takes its place", keeps(state)).await;
    check("a kept value expires", kept_expires(state)).await;
    check("a value may hold any bytes, up to the bound", kept_bytes(state)).await;
    check("buckets, remembered keys, kept values and feeds of one name do not meet", kinds_are_apart(state))
        .await;
    check("a loan is what there is, and no more than asked for", loans(state)).await;
    check("loans and takes draw on one bucket", loans_and_takes(state)).await;
    check("any text is a key", any_key(state)).await;
    check("a feed gives its notices in order, and each once", feed_in_order(state)).await;
    check("a feed is read page by page", feed_pages(state)).await;
    check("feeds do not meet", feeds_are_apart(state)).await;
    check("a notice has an age", feed_ages(state)).await;
    check("a reader is told of notices that went before it came to them", feed_missed(state)).await;
    check("a reader that comes from another life of the feed is told so", feed_lost(state)).await;
    check("a feed is bounded, and drops the oldest", feed_bounded(state)).await;
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
    let mut takes: Vec<_> = (0..100).map(|_| state.take_tokens("state:race", 1, 10, 0.001)).collect();
    let mut granted = 0;
    poll_fn(|cx| {
        takes.retain_mut(|take| match take.as_mut().poll(cx) {
            Poll::Pending => true,
            Poll::Ready(grant) => {
                granted += u32::from(grant.expect("an available state") == TokenGrant::Granted);
                false
            }
        });
        if takes.is_empty() { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
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

async fn keep(state: &impl SharedState, key: &str, value: impl Into<Bytes>, lifetime: Duration) {
    state.keep(key, value.into(), lifetime).await.expect("an available state");
}

async fn kept(state: &impl SharedState, key: &str) -> Option<Bytes> {
    state.kept(key).await.expect("an available state")
}

async fn keeps(state: &impl SharedState) {
    assert_eq!(kept(state, "state:kept").await, None);
    keep(state, "state:kept", "one", LONG).await;
    assert_eq!(kept(state, "state:kept").await.as_deref(), Some(&b"one"[..]));
    keep(state, "state:kept", "another", LONG).await;
    assert_eq!(kept(state, "state:kept").await.as_deref(), Some(&b"another"[..]));
    keep(state, "state:kept", "", LONG).await;
    assert_eq!(kept(state, "state:kept").await.as_deref(), Some(&b""[..]), "nothing is something");
}

async fn kept_expires(state: &impl SharedState) {
    keep(state, "state:kept-short", "value", LONG).await;
    keep(state, "state:kept-short", "value", Duration::from_millis(30)).await;
    while kept(state, "state:kept-short").await.is_some() {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

async fn kept_bytes(state: &impl SharedState) {
    let value: Vec<u8> = (0..KEPT_BYTES).map(|n| (n % 251) as u8).collect();
    keep(state, "state:kept-large", value.clone(), LONG).await;
    assert_eq!(kept(state, "state:kept-large").await.as_deref(), Some(&value[..]));
}

async fn kinds_are_apart(state: &impl SharedState) {
    assert_eq!(take(state, "state:both", 1, 1, 0.01).await, TokenGrant::Granted);
    assert!(!state.is_remembered("state:both").await.expect("an available state"));
    append(state, "state:both", "notice").await;
    assert!(!state.is_remembered("state:both").await.expect("an available state"));
    assert_eq!(kept(state, "state:both").await, None);
    state.remember("state:both", LONG).await.expect("remember");
    assert_eq!(kept(state, "state:both").await, None);
    keep(state, "state:both", "value", LONG).await;
    assert!(matches!(take(state, "state:both", 1, 1, 0.01).await, TokenGrant::Wait(_)));
    assert_eq!(read(state, "state:both", FeedPosition::default()).await.0, ["notice"]);
}

async fn borrow(state: &impl SharedState, key: &str, most: u32, burst: u32, per_second: f64) -> TokenLoan {
    state.borrow_tokens(key, most, burst, per_second).await.expect("an available state")
}

async fn loans(state: &impl SharedState) {
    assert_eq!(borrow(state, "state:loan", 3, 5, 0.1).await, TokenLoan { tokens: 3, wait: Duration::ZERO });
    let rest = borrow(state, "state:loan", 3, 5, 0.1).await;
    assert_eq!(rest.tokens, 2);
    assert!(rest.wait > Duration::from_secs(8) && rest.wait <= Duration::from_secs(10), "{rest:?}");
    let nothing = borrow(state, "state:loan", 3, 5, 0.1).await;
    assert!(nothing.tokens == 0 && nothing.wait > Duration::from_secs(7), "{nothing:?}");
}

async fn loans_and_takes(state: &impl SharedState) {
    assert_eq!(take(state, "state:mixed", 3, 5, 0.01).await, TokenGrant::Granted);
    assert_eq!(borrow(state, "state:mixed", 9, 5, 0.01).await.tokens, 2);
    assert!(matches!(take(state, "state:mixed", 1, 5, 0.01).await, TokenGrant::Wait(_)));
}

async fn any_key(state: &impl SharedState) {
    let keys = ["", " ", "a\r\nFLUSHALL\r\n", "\0", "{tag}", "*", "ключ", &"x".repeat(10_000)];
    for key in keys {
        assert_eq!(take(state, key, 1, 1, 0.001).await, TokenGrant::Granted, "{key:?}");
        state.remember(key, LONG).await.expect("remember");
        append(state, key, key).await;
    }
    for key in keys {
        assert!(matches!(take(state, key, 1, 1, 0.001).await, TokenGrant::Wait(_)), "{key:?}");
        assert!(state.is_remembered(key).await.expect("an available state"), "{key:?}");
        assert_eq!(read(state, key, FeedPosition::default()).await.0, [key]);
    }
}

const LONG: Duration = Duration::from_secs(600);

async fn append(state: &impl SharedState, feed: &str, notice: &str) {
    state.append_notice(feed, Bytes::copy_from_slice(notice.as_bytes()), LONG).await.expect("append");
}

/// The notices as text, where to read on, and whether some were missed.
async fn read(
    state: &impl SharedState,
    feed: &str,
    after: FeedPosition,
) -> (Vec<String>, FeedPosition, bool) {
    let read = state.read_notices(feed, after).await.expect("an available state");
    let text = |payload: &Bytes| String::from_utf8(payload.to_vec()).expect("what was appended");
    (read.notices.iter().map(|notice| text(&notice.payload)).collect(), read.position, read.missed)
}

async fn feed_in_order(state: &impl SharedState) {
    let feed = "state:feed";
    let (none, mut at, missed) = read(state, feed, FeedPosition::default()).await;
    assert!(none.is_empty() && !missed);
    append(state, feed, "a").await;
    append(state, feed, "b").await;
    append(state, feed, "b").await;
    let (notices, next, missed) = read(state, feed, at).await;
    assert!(notices == ["a", "b", "b"] && !missed, "{notices:?} {missed}");
    at = next;
    append(state, feed, "c").await;
    let (notices, next, missed) = read(state, feed, at).await;
    assert!(notices == ["c"] && !missed, "{notices:?} {missed}");
    let (notices, same, missed) = read(state, feed, next).await;
    assert!(notices.is_empty() && same == next && !missed);
    assert_eq!(
        read(state, feed, FeedPosition::default()).await.0,
        ["a", "b", "b", "c"],
        "everybody reads all"
    );
}

async fn feed_pages(state: &impl SharedState) {
    for n in 0..FEED_PAGE + 7 {
        append(state, "state:pages", &n.to_string()).await;
    }
    let (first, at, _) = read(state, "state:pages", FeedPosition::default()).await;
    let (second, at, missed) = read(state, "state:pages", at).await;
    assert!((first.len(), second.len(), missed) == (FEED_PAGE, 7, false), "{} {}", first.len(), second.len());
    assert_eq!(second[0], FEED_PAGE.to_string());
    assert!(read(state, "state:pages", at).await.0.is_empty());
}

async fn feeds_are_apart(state: &impl SharedState) {
    append(state, "state:x", "x").await;
    append(state, "state:y", "y").await;
    assert_eq!(read(state, "state:x", FeedPosition::default()).await.0, ["x"]);
}

async fn feed_ages(state: &impl SharedState) {
    append(state, "state:age", "old").await;
    tokio::time::sleep(Duration::from_millis(40)).await;
    append(state, "state:age", "new").await;
    let read = state.read_notices("state:age", FeedPosition::default()).await.expect("an available state");
    let [old, new] = &read.notices[..] else { panic!("{read:?}") };
    assert!(old.age >= Duration::from_millis(39) && old.age < Duration::from_secs(20), "{old:?}");
    assert!(new.age + Duration::from_millis(39) <= old.age, "{old:?} {new:?}");
}

async fn feed_missed(state: &impl SharedState) {
    let feed = "state:missed";
    let short = Duration::from_millis(20);
    append(state, feed, "read").await;
    let (_, at, _) = read(state, feed, FeedPosition::default()).await;
    for notice in ["gone", "gone too"] {
        state.append_notice(feed, Bytes::from_static(notice.as_bytes()), short).await.expect("append");
    }
    // The first one keeps those behind it: a feed has no holes.
    tokio::time::sleep(Duration::from_millis(60)).await;
    append(state, feed, "kept").await;
    let (notices, _, missed) = read(state, feed, at).await;
    assert!(notices == ["gone", "gone too", "kept"] && !missed, "{notices:?}");

    let feed = "state:missed too";
    state.append_notice(feed, Bytes::from_static(b"read"), short).await.expect("append");
    let (_, at, _) = read(state, feed, FeedPosition::default()).await;
    state.append_notice(feed, Bytes::from_static(b"gone"), short).await.expect("append");
    tokio::time::sleep(Duration::from_millis(60)).await;
    append(state, feed, "kept").await;
    let (notices, next, missed) = read(state, feed, at).await;
    assert!(notices == ["kept"] && missed, "{notices:?} {missed}");
    assert!(!read(state, feed, next).await.2, "it is said once");
    assert!(!read(state, feed, FeedPosition::default()).await.2, "who begins has missed nothing");
}

async fn feed_lost(state: &impl SharedState) {
    append(state, "state:lost", "a").await;
    let stranger = FeedPosition { generation: 77, sequence: 1_000 };
    let (notices, next, missed) = read(state, "state:lost", stranger).await;
    assert!(notices == ["a"] && missed, "{notices:?} {missed}");
    assert_eq!(read(state, "state:lost", next).await, (Vec::new(), next, false));
    assert!(read(state, "state:never was", stranger).await.2);
}

async fn feed_bounded(state: &impl SharedState) {
    // In pieces, so that each is awaited soon and a slow state is not overrun.
    let notice = Bytes::from_static(b"n");
    for _ in 0..(FEED_NOTICES + 1_000) / 500 {
        let mut appends: Vec<_> =
            (0..500).map(|_| state.append_notice("state:bounded", notice.clone(), LONG)).collect();
        poll_fn(|cx| {
            appends.retain_mut(|append| match append.as_mut().poll(cx) {
                Poll::Pending => true,
                Poll::Ready(outcome) => {
                    outcome.expect("append");
                    false
                }
            });
            if appends.is_empty() { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }
    let (first, at, _) = read(state, "state:bounded", FeedPosition::default()).await;
    assert_eq!((first.len(), at.sequence), (FEED_PAGE, 1_000 + FEED_PAGE as u64));
}
