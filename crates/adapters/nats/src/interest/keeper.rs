//! The one task that subscribes and unsubscribes at the server, and decides how each family is fed.
//!
//! Wants are taken in batches: each batch's subscriptions are sent, and one round trip confirms them all. A switch of a
//! shard takes two round trips: after the first one the new way is live and its feed drops the old way; after the second
//! one, begun when that is done, no second copy can come any more. After each of them a while passes, because the server
//! serves publishers side by side: one may have looked up who listens before the subscription and write to it after the
//! round trip.

use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::Duration;

use async_nats::{Client, SubscribeError};
use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt};
use hashbrown::HashMap;
use skywave_ports::Inbox;
use skywave_protocol::Subject;
use tokio::sync::{mpsc, oneshot};
use tokio::time::MissedTickBehavior;

use super::family::{Family, Joined, Key};
use super::feed::{Feed, Order, Source};
use super::planner::Planner;
use super::twins::Origin;
use super::{Report, Shared};
use crate::metrics::Metrics;
use crate::round_trip::RoundTrips;

/// Wants that share one round trip.
const BATCH: usize = 512;
/// How long the server may take between looking up who gets a message and writing it to all of them. It takes
/// microseconds, unless its machine has too much to do.
const SERVER_DELIVERS: Duration = Duration::from_millis(500);
/// How often wide shards are looked at, and how many may go back at a time.
const NARROW_EVERY: Duration = Duration::from_secs(1);
const NARROW_AT_ONCE: usize = 64;

/// One listener that waits for its subscription to be live.
pub(super) struct Want {
    pub(super) key: Key,
    pub(super) subject: Subject,
    pub(super) number: u64,
    pub(super) inbox: Inbox,
    pub(super) done: oneshot::Sender<()>,
}

/// Someone to be told when a subject is live.
struct Waiting {
    family: Arc<Family>,
    subject: Subject,
    birth: NonZeroU64,
    done: oneshot::Sender<()>,
}

/// What a round trip was for.
enum Confirmed {
    Live(Vec<Waiting>),
    /// The new way of a shard.
    Switched(Arc<Family>),
    /// The end of its old way.
    Settled(Arc<Family>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Exact,
    Widening,
    Wide,
    Narrowing,
}

struct Kept {
    family: Arc<Family>,
    mode: Mode,
    subjects: u32,
}

pub(super) struct Keeper {
    client: Client,
    round_trips: RoundTrips,
    metrics: Metrics,
    shared: Arc<Shared>,
    kept: HashMap<Key, Kept>,
    planner: Planner,
    /// Subjects taken in so far: tells a subject from one of the same name that was forgotten.
    births: u64,
    /// As many as there are batches and switches under way.
    confirmations: FuturesUnordered<BoxFuture<'static, Option<Confirmed>>>,
    /// Messages that wait in one subscription at most.
    capacity: usize,
}

/// The connection is closed for good.
struct Closed;

impl From<SubscribeError> for Closed {
    fn from(_: SubscribeError) -> Self {
        Self
    }
}

impl Keeper {
    pub(super) fn new(
        client: Client,
        round_trips: RoundTrips,
        metrics: Metrics,
        shared: Arc<Shared>,
        exact: usize,
        capacity: usize,
    ) -> Self {
        Self {
            client,
            round_trips,
            metrics,
            shared,
            kept: HashMap::new(),
            planner: Planner::new(exact),
            births: 0,
            confirmations: FuturesUnordered::new(),
            capacity,
        }
    }

    /// Runs until the bus is dropped.
    pub(super) async fn run(mut self, wants: mpsc::Receiver<Want>) {
        let Err(Closed) = self.work(wants).await;
        self.shared.families.write().clear();
        for kept in self.kept.values() {
            kept.family.order(Order::End);
        }
    }

    async fn work(&mut self, mut wants: mpsc::Receiver<Want>) -> Result<std::convert::Infallible, Closed> {
        let mut narrowing = tokio::time::interval(NARROW_EVERY);
        narrowing.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let shared = Arc::clone(&self.shared);
        let mut batch = Vec::with_capacity(BATCH);
        loop {
            tokio::select! {
                taken = wants.recv_many(&mut batch, BATCH) => {
                    if taken == 0 {
                        return Err(Closed);
                    }
                    self.take_in(batch.drain(..)).await?;
                }
                Some(confirmed) = self.confirmations.next() => self.confirmed(confirmed.ok_or(Closed)?),
                () = shared.work.notified() => {
                    self.hear();
                    self.widen().await?;
                }
                _ = narrowing.tick() => self.narrow().await?,
            }
        }
    }

    async fn take_in(&mut self, wants: impl Iterator<Item = Want>) -> Result<(), Closed> {
        let mut waiting = Vec::new();
        for want in wants {
            // Whoever gave up before has nothing to take out; whoever gives up later takes it out itself, or is seen below.
            if want.done.is_closed() {
                continue;
            }
            let (family, joined, birth) = self.join(&want).await?;
            let Want { key, subject, number, done, .. } = want;
            if done.is_closed() {
                self.shared.leave(key, subject, number);
            } else if joined == Joined::Live {
                // If it gives up in this instant, its guard sees to it.
                let _ = done.send(());
            } else if let Some(birth) = birth {
                waiting.push(Waiting { family, subject, birth, done });
            }
        }
        self.widen().await?;
        if !waiting.is_empty() {
            self.confirm(Confirmed::Live(waiting));
        }
        Ok(())
    }

    /// Adds a listener to its family, and makes sure that the subject is fed.
    async fn join(&mut self, want: &Want) -> Result<(Arc<Family>, Joined, Option<NonZeroU64>), Closed> {
        let Want { key, subject, number, inbox, .. } = want;
        if !self.kept.contains_key(key) {
            let family = Arc::new(Family::new(key, self.metrics.clone()));
            tokio::spawn(Feed::new(Arc::clone(&family), Arc::clone(&self.shared), self.capacity));
            self.shared.families.write().insert(key.clone(), Arc::clone(&family));
            self.kept.insert(key.clone(), Kept { family, mode: Mode::Exact, subjects: 0 });
        }
        // Just made, if it was not there.
        let Some(kept) = self.kept.get_mut(key) else { return Err(Closed) };
        let (origin, live) = match kept.mode {
            Mode::Exact | Mode::Narrowing => (Origin::Exact, false),
            Mode::Widening => (Origin::Wildcard, false),
            Mode::Wide => (Origin::Wildcard, true),
        };
        self.births += 1;
        let awaited = NonZeroU64::new(self.births).filter(|_| !live);
        let family = Arc::clone(&kept.family);
        let (joined, birth) = family.take_in(subject, *number, inbox.clone(), origin, awaited);
        if joined != Joined::Unknown {
            return Ok((family, joined, birth));
        }
        kept.subjects += 1;
        if let Key::Shard(shard) = key {
            self.planner.count(*shard, kept.subjects);
        }
        if origin == Origin::Exact {
            subscribe_exactly(&self.client, &self.metrics, &family, key, subject).await?;
        }
        Ok((family, if live { Joined::Live } else { Joined::Pending }, birth))
    }

    /// Begins to feed a shard the other way.
    async fn switch(&mut self, shard: u16, newer: Origin) -> Result<(), Closed> {
        self.planner.switched(shard, newer == Origin::Wildcard);
        let key = Key::Shard(shard);
        let Some(kept) = self.kept.get_mut(&key) else { return Ok(()) };
        let family = Arc::clone(&kept.family);
        self.metrics.switches.inc();
        family.begin_switch();
        family.order(Order::Begin { newer });
        match newer {
            Origin::Wildcard => {
                kept.mode = Mode::Widening;
                let subscriber = self.client.subscribe(format!("sw.live.{shard}.*")).await?;
                family.order(Order::Wildcard(Source::new(subscriber, &self.metrics.wildcards)));
            }
            Origin::Exact => {
                kept.mode = Mode::Narrowing;
                for subject in family.subjects() {
                    subscribe_exactly(&self.client, &self.metrics, &family, &key, &subject).await?;
                }
            }
        }
        self.confirm_all(Confirmed::Switched(family));
        Ok(())
    }

    /// Follows the fullest shards with a wildcard while there are too many subscriptions.
    async fn widen(&mut self) -> Result<(), Closed> {
        while let Some(shard) = self.planner.to_widen() {
            if self.kept.get(&Key::Shard(shard)).is_none_or(|kept| kept.mode != Mode::Exact) {
                // Still on its way back; looked at again when it has arrived.
                break;
            }
            self.switch(shard, Origin::Wildcard).await?;
        }
        Ok(())
    }

    /// Follows emptied shards one by one again.
    async fn narrow(&mut self) -> Result<(), Closed> {
        for _ in 0..NARROW_AT_ONCE {
            let Some(shard) = self.planner.to_narrow() else { break };
            if self.kept.get(&Key::Shard(shard)).is_none_or(|kept| kept.mode != Mode::Wide) {
                // Still on its way to be wide.
                break;
            }
            self.switch(shard, Origin::Exact).await?;
        }
        Ok(())
    }

    fn confirm(&self, what: Confirmed) {
        let round_trips = self.round_trips.clone();
        self.confirmations.push(Box::pin(async move { round_trips.wait().await.then_some(what) }));
    }

    /// Also for what the server had begun before.
    fn confirm_all(&self, what: Confirmed) {
        let round_trips = self.round_trips.clone();
        self.confirmations.push(Box::pin(async move {
            let confirmed = round_trips.wait().await;
            tokio::time::sleep(SERVER_DELIVERS).await;
            confirmed.then_some(what)
        }));
    }

    fn confirmed(&self, what: Confirmed) {
        match what {
            Confirmed::Live(waiting) => {
                for Waiting { family, subject, birth, done } in waiting {
                    family.confirmed(&subject, birth);
                    // If it has given up, its guard sees to it.
                    let _ = done.send(());
                }
            }
            Confirmed::Switched(family) => family.order(Order::DropOld),
            Confirmed::Settled(family) => family.order(Order::Settle),
        }
    }

    /// Takes in what guards and feeds have reported.
    fn hear(&mut self) {
        let reports = std::mem::take(&mut *self.shared.reports.lock());
        for report in reports {
            match report {
                Report::Idle(key, subject) => self.forget(&key, &subject),
                // Not before: until then the old way goes on bringing first copies.
                Report::OldDropped { shard } => {
                    if let Some(kept) = self.kept.get(&Key::Shard(shard)) {
                        self.confirm_all(Confirmed::Settled(Arc::clone(&kept.family)));
                    }
                }
                Report::Settled { shard, idle } => {
                    let key = Key::Shard(shard);
                    if let Some(kept) = self.kept.get_mut(&key) {
                        kept.mode = if kept.mode == Mode::Widening { Mode::Wide } else { Mode::Exact };
                    }
                    for subject in idle {
                        self.forget(&key, &subject);
                    }
                }
            }
        }
    }

    /// Gives up a subject that nobody listens to. (During a switch it stays, and is looked at again when that has ended.)
    fn forget(&mut self, key: &Key, subject: &Subject) {
        let Some(kept) = self.kept.get_mut(key) else { return };
        let Some(origin) = kept.family.forget(subject) else { return };
        kept.subjects -= 1;
        if let Key::Shard(shard) = key {
            self.planner.count(*shard, kept.subjects);
        }
        if kept.subjects == 0 {
            kept.family.order(Order::End);
            self.shared.families.write().remove(key);
            self.kept.remove(key);
        } else if origin == Origin::Exact {
            kept.family.order(Order::DropExact(subject.clone()));
        }
    }
}

async fn subscribe_exactly(
    client: &Client,
    metrics: &Metrics,
    family: &Family,
    key: &Key,
    subject: &Subject,
) -> Result<(), Closed> {
    let name = async_nats::Subject::from(subject.as_str());
    let subscriber = match key {
        Key::Group(_, group) => client.queue_subscribe(name, group.to_string()).await?,
        Key::Shard(_) | Key::Subject(_) => client.subscribe(name).await?,
    };
    family.order(Order::Exact(subject.clone(), Source::new(subscriber, &metrics.exact)));
    Ok(())
}
