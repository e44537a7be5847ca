//! News for every edge: revoked tokens, disconnected users, channels that users are put into.
//!
//! - The edge that is asked announces a [`Notice`]: on the bus (`sw.control`), which is fast and may lose it, and in a feed of
//!   the region's shared state, which every edge reads a few times a second (`feed`). What one way loses comes by the other.
//! - An edge that hears of a notice puts it into its own region's feed, if nobody has, and all of them repeat it on the bus for as
//!   long as it is worth it (`announce`): other regions have another shared state, and may be cut off just now.
//! - A notice counts once, however often it comes. It concerns connections that were there when it was made.
//!
//! Owns: which notices this node has acted upon. Never: decides who may announce.

mod announce;
mod feed;
mod metrics;

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use skywave_engine::time::Millis;
use skywave_ports::{BusError, Inbox, Subscription};
use skywave_protocol::Subject;
use skywave_protocol::inner::{Control, Notice};
use tokio::sync::mpsc;

use crate::recent::Recent;
use crate::shared::Shared;
use announce::Order;
pub(crate) use announce::announce;
pub(crate) use metrics::ControlCollector;
use metrics::Counts;

/// News waiting to be acted upon. When full, the bus drops them; the feed still has them.
const NEWS: usize = 4_096;
/// How long a notice is known for one that was acted upon: longer than from one repeat to the next.
const KNOWN_MS: Millis = 2 * 3_600_000;
const KNOWN: usize = 200_000;
/// Notices that wait to be stored or repeated. When full, the one that was told most often is told no more.
const OUTGOING: usize = 16_384;
/// Orders to the task that does so. When full, a further notice is told only once.
const ORDERS: usize = 16_384;

/// This node's part in it.
pub(crate) struct Controls {
    known: Mutex<Recent<u128>>,
    orders: mpsc::Sender<Order>,
    counts: Counts,
}

/// The receiving ends, for the tasks.
pub(crate) struct Waiting(mpsc::Receiver<Order>);

/// How a notice came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// This node was asked.
    Own,
    Bus,
    Feed,
}

impl Controls {
    pub(crate) fn new() -> (Self, Waiting) {
        let (orders, waiting) = mpsc::channel(ORDERS);
        let known = Mutex::new(Recent::new(KNOWN_MS, KNOWN));
        (Self { known, orders, counts: Counts::default() }, Waiting(waiting))
    }
}

/// Listens, reads and repeats until the edge stops.
pub(crate) async fn run(shared: &Arc<Shared>, waiting: Waiting) -> Result<Subscription, BusError> {
    let (inbox, mut news) = Inbox::new(NEWS);
    let subscription = shared.ports.bus.subscribe(&Subject::control(), None, &inbox).await?;
    tokio::spawn(until_stop(shared.clone(), announce::carry_on(shared.clone(), waiting)));
    tokio::spawn(until_stop(shared.clone(), feed::follow(shared.clone())));
    let listener = shared.clone();
    let listen = async move {
        while let Some(message) = news.recv().await {
            match Notice::decode(message.payload) {
                Ok(notice) => {
                    if act(&listener, &notice, (listener.now_ms(), notice.age()), Way::Bus).await {
                        announce::pass_on(&listener, notice, Way::Bus, false);
                    } else {
                        announce::heard(&listener, notice.id);
                    }
                }
                Err(error) => tracing::warn!(%error, "a control message cannot be read; dropped"),
            }
        }
    };
    tokio::spawn(until_stop(shared.clone(), listen));
    Ok(subscription)
}

async fn until_stop(shared: Arc<Shared>, work: impl Future<Output = ()>) {
    let mut stop = shared.stop.subscribe();
    tokio::select! {
        () = work => {}
        _ = stop.wait_for(|stop| *stop) => {}
    }
}

/// Does what a notice says that was of this age a moment ago, at `now`, on every worker. `false`: that was done before.
async fn act(shared: &Shared, notice: &Notice, (now, age): (Millis, Duration), way: Way) -> bool {
    if !shared.control.known.lock().insert(notice.id, now) {
        return false;
    }
    shared.control.counts.acted(way);
    let control = Arc::new(notice.control.clone());
    // Who has come since the notice was made is not meant, except by a token that is refused from now on.
    let mut made_at = now.checked_sub(age.as_millis() as Millis);
    if let Control::RevokeToken { token_id, until } = &*control {
        shared.ports.auth.revoke(token_id.clone(), *until, shared.ports.clock.unix_ms() / 1_000);
        made_at = Some(Millis::MAX);
    }
    let Some(made_at) = made_at else {
        // Before this node was there: everybody here has come since.
        return true;
    };
    for worker in shared.workers.iter() {
        let control = control.clone();
        // A worker that has stopped has no connections.
        let _ = worker.run(move |worker| worker.state().control(&control, made_at)).await;
    }
    true
}
