//! Shared state of a single process: token buckets, remembered keys, kept values and feeds, all expiring and all bounded.
//!
//! A bucket that has filled up again is the same as none and is swept; so is an expired key. Sweeping is a little work
//! with each call that adds an entry, never a pause for all.

mod feed;
mod kept;

use std::hash::BuildHasher;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use hashbrown::{DefaultHashBuilder, HashMap};
use parking_lot::Mutex;

use crate::state::{FeedPosition, Notices, SharedState, StateError, TokenGrant, TokenLoan};
use feed::Feed;
use kept::Kept;

/// Shards of the table: callers of different keys rarely meet.
const SHARDS: usize = 16;
/// A shard is swept when it has grown to twice what the last sweep left, but not below this many entries.
const SWEEP_FROM: usize = 256;

/// The most entries of each kind; beyond it the entry that would vanish first makes room.
///
/// A bucket lost early grants a fresh burst; a remembered key lost early is no longer known. An operator who needs more
/// than this uses a state outside the process.
#[derive(Debug, Clone, Copy)]
pub struct StateLimits {
    pub buckets: usize,
    pub remembered: usize,
    /// Bytes of all values that are kept.
    pub kept_bytes: usize,
}

impl Default for StateLimits {
    fn default() -> Self {
        Self { buckets: 1_000_000, remembered: 1_000_000, kept_bytes: 64 * 1024 * 1024 }
    }
}

/// Time since the state was made.
type Clock = Box<dyn Fn() -> Duration + Send + Sync>;

/// Expiring state within one process.
pub struct MemoryState {
    clock: Clock,
    hasher: DefaultHashBuilder,
    buckets: Vec<Mutex<Shard<Bucket>>>,
    remembered: Vec<Mutex<Shard<Duration>>>,
    /// A handful, named by the program.
    feeds: Mutex<HashMap<Box<str>, Feed>>,
    kept: Mutex<Kept>,
    limits: StateLimits,
}

struct Bucket {
    tokens: f64,
    at: Duration,
    /// When it is full again, which is when it can be forgotten.
    full_at: Duration,
}

/// What a shard needs to know of an entry to sweep it.
trait Expires {
    fn expires_at(&self) -> Duration;
}

impl Expires for Bucket {
    fn expires_at(&self) -> Duration {
        self.full_at
    }
}

impl Expires for Duration {
    fn expires_at(&self) -> Duration {
        *self
    }
}

struct Shard<T> {
    entries: HashMap<Box<str>, T>,
    sweep_at: usize,
}

impl<T: Expires> Shard<T> {
    fn new() -> Self {
        Self { entries: HashMap::new(), sweep_at: SWEEP_FROM }
    }

    fn make_room(&mut self, now: Duration, most: usize) {
        if self.entries.len() < self.sweep_at && self.entries.len() < most {
            return;
        }
        self.entries.retain(|_, entry| entry.expires_at() > now);
        if self.entries.len() >= most {
            self.evict_tenth();
        }
        self.sweep_at = (self.entries.len() * 2).max(SWEEP_FROM);
    }

    /// Every entry is wanted and there are too many: the tenth that would go first goes now, so that the next eviction
    /// is that many insertions away.
    fn evict_tenth(&mut self) {
        let mut ends: Vec<Duration> = self.entries.values().map(Expires::expires_at).collect();
        let at = ends.len() / 10;
        let (_, &mut horizon, _) = ends.select_nth_unstable(at);
        self.entries.retain(|_, entry| entry.expires_at() > horizon);
    }
}

impl MemoryState {
    pub fn new(limits: StateLimits) -> Self {
        let started = Instant::now();
        Self::with_clock(limits, move || started.elapsed())
    }

    /// With a clock of the caller's: time since any fixed moment, never going back.
    pub fn with_clock(limits: StateLimits, clock: impl Fn() -> Duration + Send + Sync + 'static) -> Self {
        Self {
            clock: Box::new(clock),
            hasher: DefaultHashBuilder::default(),
            buckets: (0..SHARDS).map(|_| Mutex::new(Shard::new())).collect(),
            remembered: (0..SHARDS).map(|_| Mutex::new(Shard::new())).collect(),
            feeds: Mutex::default(),
            kept: Mutex::new(Kept::new(limits.kept_bytes)),
            limits,
        }
    }

    fn shard<'a, T>(&self, shards: &'a [Mutex<Shard<T>>], key: &str) -> &'a Mutex<Shard<T>> {
        let hash = self.hasher.hash_one(key);
        &shards[(hash >> 32) as usize % SHARDS]
    }

    /// Acts on the bucket as it is now, and notes when it will be full again.
    fn with_bucket<R>(
        &self,
        key: &str,
        burst: u32,
        per_second: f64,
        act: impl FnOnce(&mut Bucket) -> R,
    ) -> R {
        let now = (self.clock)();
        let mut shard = self.shard(&self.buckets, key).lock();
        if !shard.entries.contains_key(key) {
            shard.make_room(now, self.limits.buckets.div_ceil(SHARDS));
        }
        let burst = f64::from(burst);
        let bucket =
            shard.entries.entry_ref(key).or_insert_with(|| Bucket { tokens: burst, at: now, full_at: now });
        let gained = now.saturating_sub(bucket.at).as_secs_f64() * per_second;
        bucket.tokens = (bucket.tokens + gained).min(burst);
        bucket.at = now;
        let result = act(bucket);
        bucket.full_at = now.saturating_add(time_for(burst - bucket.tokens, per_second));
        result
    }

    fn with_feed<R>(&self, name: &str, act: impl FnOnce(&mut Feed) -> R) -> R {
        // The hasher is another one in each state, and so is this number.
        let generation = self.hasher.hash_one(0u8) | 1;
        act(self.feeds.lock().entry_ref(name).or_insert_with(|| Feed::new(generation)))
    }

    /// How many (buckets, remembered keys) are held, expired ones that await their sweep included.
    pub fn held(&self) -> (usize, usize) {
        (
            self.buckets.iter().map(|shard| shard.lock().entries.len()).sum(),
            self.remembered.iter().map(|shard| shard.lock().entries.len()).sum(),
        )
    }
}

impl Default for MemoryState {
    fn default() -> Self {
        Self::new(StateLimits::default())
    }
}

#[async_trait]
impl SharedState for MemoryState {
    async fn take_tokens(
        &self,
        key: &str,
        cost: u32,
        burst: u32,
        per_second: f64,
    ) -> Result<TokenGrant, StateError> {
        let cost = f64::from(cost);
        Ok(self.with_bucket(key, burst, per_second, |bucket| {
            if bucket.tokens >= cost {
                bucket.tokens -= cost;
                return TokenGrant::Granted;
            }
            TokenGrant::Wait(time_for(cost - bucket.tokens, per_second))
        }))
    }

    async fn borrow_tokens(
        &self,
        key: &str,
        most: u32,
        burst: u32,
        per_second: f64,
    ) -> Result<TokenLoan, StateError> {
        Ok(self.with_bucket(key, burst, per_second, |bucket| {
            let tokens = bucket.tokens.floor().min(f64::from(most));
            bucket.tokens -= tokens;
            let enough = tokens >= f64::from(most);
            let wait = if enough { Duration::ZERO } else { time_for(1.0 - bucket.tokens, per_second) };
            TokenLoan { tokens: tokens as u32, wait }
        }))
    }

    async fn remember(&self, key: &str, lifetime: Duration) -> Result<(), StateError> {
        let now = (self.clock)();
        let mut shard = self.shard(&self.remembered, key).lock();
        let ends = now.saturating_add(lifetime);
        if let Some(entry) = shard.entries.get_mut(key) {
            *entry = ends;
            return Ok(());
        }
        shard.make_room(now, self.limits.remembered.div_ceil(SHARDS));
        shard.entries.insert(key.into(), ends);
        Ok(())
    }

    async fn is_remembered(&self, key: &str) -> Result<bool, StateError> {
        let now = (self.clock)();
        let shard = self.shard(&self.remembered, key).lock();
        Ok(shard.entries.get(key).is_some_and(|ends| *ends > now))
    }

    async fn forget(&self, key: &str) -> Result<(), StateError> {
        self.shard(&self.remembered, key).lock().entries.remove(key);
        Ok(())
    }

    async fn keep(&self, key: &str, value: Bytes, lifetime: Duration) -> Result<(), StateError> {
        self.kept.lock().keep((self.clock)(), key, value, lifetime);
        Ok(())
    }

    async fn kept(&self, key: &str) -> Result<Option<Bytes>, StateError> {
        Ok(self.kept.lock().get((self.clock)(), key))
    }

    async fn append_notice(&self, feed: &str, notice: Bytes, lifetime: Duration) -> Result<(), StateError> {
        let now = (self.clock)();
        self.with_feed(feed, |feed| feed.append(now, notice, lifetime));
        Ok(())
    }

    async fn read_notices(&self, feed: &str, after: FeedPosition) -> Result<Notices, StateError> {
        let now = (self.clock)();
        Ok(self.with_feed(feed, |feed| feed.read(now, after)))
    }
}

/// How long a bucket takes to gain `tokens`; at most a day, which stands for "not in any time worth waiting for".
fn time_for(tokens: f64, per_second: f64) -> Duration {
    const DAY: f64 = 86_400.0;
    let seconds = tokens / per_second;
    Duration::from_secs_f64(if seconds.is_finite() { seconds.clamp(0.0, DAY) } else { DAY })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    #[tokio::test]
    async fn conforms() {
        crate::conformance::state::suite(async |_name: &str| MemoryState::default()).await;
    }

    fn at_will(limits: StateLimits) -> (MemoryState, Arc<AtomicU64>) {
        let now = Arc::new(AtomicU64::new(0));
        let clock = Arc::clone(&now);
        (MemoryState::with_clock(limits, move || Duration::from_millis(clock.load(Ordering::Relaxed))), now)
    }

    #[tokio::test]
    async fn expired_entries_are_swept() {
        let (state, now) = at_will(StateLimits::default());
        for n in 0..20_000 {
            state.remember(&format!("old{n}"), Duration::from_secs(1)).await.unwrap();
            state.take_tokens(&format!("old{n}"), 1, 1, 1.0).await.unwrap();
        }
        assert_eq!(state.held(), (20_000, 20_000));
        now.store(2_000, Ordering::Relaxed);
        for n in 0..40_000 {
            state.remember(&format!("new{n}"), Duration::from_secs(1)).await.unwrap();
            state.take_tokens(&format!("new{n}"), 1, 1, 1.0).await.unwrap();
        }
        assert_eq!(state.held(), (40_000, 40_000), "nothing of the old is left");
    }

    #[tokio::test]
    async fn a_flood_of_keys_stays_within_the_limits() {
        let (state, _now) =
            at_will(StateLimits { buckets: 1_600, remembered: 1_600, ..StateLimits::default() });
        state.remember("long", Duration::from_secs(3_600)).await.unwrap();
        for n in 0..50_000 {
            state.remember(&format!("k{n}"), Duration::from_secs(1)).await.unwrap();
            state.take_tokens(&format!("k{n}"), 1, 5, 0.001).await.unwrap();
        }
        let (buckets, remembered) = state.held();
        assert!(buckets <= 1_616 && remembered <= 1_616, "{buckets} {remembered}");
        assert!(state.is_remembered("long").await.unwrap(), "what would last longest is kept");
    }

    #[tokio::test]
    async fn a_bucket_without_refill_says_a_day() {
        let (state, _now) = at_will(StateLimits::default());
        state.take_tokens("k", 1, 1, 0.0).await.unwrap();
        let TokenGrant::Wait(wait) = state.take_tokens("k", 1, 1, 0.0).await.unwrap() else { panic!() };
        assert_eq!(wait, Duration::from_secs(86_400));
    }
}
