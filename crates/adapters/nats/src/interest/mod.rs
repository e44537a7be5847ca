//! The incoming side: which subjects are followed, how, and who gets what arrives.
//!
//! - `family`: subjects that may share one subscription at the server, their listeners, and the dispatch to them;
//! - `feed`: the task that reads one family's subscriptions;
//! - `twins`: makes one message of two copies while a family changes how it is fed;
//! - `planner`: which shard to follow with a wildcard, and which one by one again;
//! - `keeper`: the one task that subscribes and unsubscribes at the server.
//!
//! A live subject is subscribed to on its own while memory allows; a shard with too many is followed with a wildcard. A
//! switch subscribes the new way, waits until it is live, and only then gives up the old way: in between every message
//! comes twice and is delivered once, in order.

mod family;
mod feed;
mod keeper;
mod planner;
mod twins;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_nats::Client;
use async_nats::connection::State;
use hashbrown::HashMap;
use parking_lot::{Mutex, RwLock};
use skywave_ports::{BusError, Inbox, Subscription};
use skywave_protocol::Subject;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::timeout;

use crate::metrics::Metrics;
use crate::round_trip::RoundTrips;
use family::{Family, Joined, Key};
use keeper::{Keeper, Want};

/// Subscriptions on their way to the keeper. When full, subscribing waits.
const WANTS: usize = 1_024;
/// How often a waiting subscriber looks whether the connection is back: the client library tells of it over a queue that
/// may drop.
const LOOK: Duration = Duration::from_millis(25);

/// Subscribes; the keeper ends when it is dropped.
pub(crate) struct Interests {
    client: Arc<Client>,
    shared: Arc<Shared>,
    wants: mpsc::Sender<Want>,
    numbers: AtomicU64,
    timeout: Duration,
}

/// What subscribers, guards and the keeper share.
pub(crate) struct Shared {
    families: RwLock<HashMap<Key, Arc<Family>>>,
    /// At most one for each subject and one for each shard.
    reports: Mutex<Vec<Report>>,
    /// Wakes the keeper for them.
    work: Notify,
}

/// What the keeper is told.
enum Report {
    /// The last listener of a subject has gone.
    Idle(Key, Subject),
    /// A feed has dispatched what the old way brought, and dropped it.
    OldDropped { shard: u16 },
    /// A switch has ended, and left these without listeners.
    Settled { shard: u16, idle: Vec<Subject> },
}

impl Interests {
    pub(crate) fn start(
        client: Arc<Client>,
        round_trips: RoundTrips,
        metrics: Metrics,
        exact: usize,
        capacity: usize,
        timeout: Duration,
    ) -> Self {
        let (wants, receiver) = mpsc::channel(WANTS);
        let shared =
            Arc::new(Shared { families: RwLock::default(), reports: Mutex::default(), work: Notify::new() });
        let keeper =
            Keeper::new(Client::clone(&client), round_trips, metrics, Arc::clone(&shared), exact, capacity);
        tokio::spawn(keeper.run(receiver));
        Self { client, shared, wants, numbers: AtomicU64::new(0), timeout }
    }

    /// Returns when the subscription is live.
    pub(crate) async fn subscribe(
        &self,
        subject: &Subject,
        group: Option<&str>,
        inbox: &Inbox,
    ) -> Result<Subscription, BusError> {
        let key = Key::of(subject, group);
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        let family = self.shared.families.read().get(&key).cloned();
        let joined = family.map(|family| family.join(subject, number, inbox));
        // From here on whatever happens to this future leaves nothing behind.
        let guard = self.guard(group, subject.clone(), number);
        if !matches!(joined, Some(Joined::Live)) {
            let ready = self.established(key, subject.clone(), number, inbox.clone());
            timeout(self.timeout, ready).await.map_err(|_| BusError::Disconnected)??;
        }
        Ok(guard)
    }

    async fn established(
        &self,
        key: Key,
        subject: Subject,
        number: u64,
        inbox: Inbox,
    ) -> Result<(), BusError> {
        while self.client.connection_state() != State::Connected {
            tokio::time::sleep(LOOK).await;
        }
        let (done, live) = oneshot::channel();
        let want = Want { key, subject, number, inbox, done };
        self.wants.send(want).await.map_err(|_| BusError::Disconnected)?;
        live.await.map_err(|_| BusError::Disconnected)
    }

    /// There is one for each channel: it holds nothing that can be had from the subject.
    fn guard(&self, group: Option<&str>, subject: Subject, number: u64) -> Subscription {
        let shared = Arc::clone(&self.shared);
        match group {
            None => Subscription::new(move || shared.leave(Key::of(&subject, None), subject, number)),
            Some(_) => {
                let key = Key::of(&subject, group);
                Subscription::new(move || shared.leave(key, subject, number))
            }
        }
    }
}

impl Shared {
    /// Takes a listener out; nothing is delivered to it from now on.
    fn leave(&self, key: Key, subject: Subject, number: u64) {
        let Some(family) = self.families.read().get(&key).cloned() else { return };
        if family.leave(&subject, number) {
            self.report(Report::Idle(key, subject));
        }
    }

    fn report(&self, report: Report) {
        self.reports.lock().push(report);
        self.work.notify_one();
    }
}
