//! The task that reads one family's subscriptions and dispatches what they bring.
//!
//! During a switch the two ways are read by this one task in a fixed order: whatever the new way brings waits until the
//! old way has been emptied. The connection puts a publisher's earlier message into the old queue before it puts a later
//! one into the new queue, so no later message overtakes an earlier one.
//!
//! Each poll takes a bounded number of messages from each subscription, so that a busy one neither starves the others nor
//! holds up a switch: "emptied" is reached, however busy the queue, with as many messages as it can hold.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use async_nats::{Message, Subscriber};
use futures_util::{FutureExt, StreamExt};
use prometheus_client::metrics::gauge::Gauge;
use skywave_protocol::Subject;
use tokio::task::unconstrained;

use super::family::Family;
use super::twins::Origin;
use super::{Report, Shared};

/// Messages of one subscription that are dispatched before others get their turn: a wildcard stands for many subjects.
const EXACT_TURN: usize = 32;
const WILDCARD_TURN: usize = 256;

/// One subscription at the server; it ends when dropped.
pub(super) struct Source {
    subscriber: Subscriber,
    /// How many there are of its kind.
    count: Gauge,
    /// Most messages that may be left of those that were in the queue when this was set.
    owed: usize,
}

impl Source {
    pub(super) fn new(subscriber: Subscriber, count: &Gauge) -> Self {
        count.inc();
        Self { subscriber, count: count.clone(), owed: 0 }
    }

    /// The next message that is here. Not subject to the task's budget: nothing but an empty queue may look like one.
    fn next(&mut self, context: &mut Context<'_>) -> Option<Message> {
        let message = match unconstrained(self.subscriber.next()).poll_unpin(context) {
            Poll::Ready(message) => message,
            Poll::Pending => None,
        };
        self.owed = if message.is_some() { self.owed.saturating_sub(1) } else { 0 };
        message
    }

    /// At most `limit` messages that are here.
    fn take(&mut self, context: &mut Context<'_>, limit: usize) -> Vec<Message> {
        std::iter::from_fn(|| self.next(context)).take(limit).collect()
    }

    /// Dispatches at most `limit` messages; `true`: there may be more.
    fn dispatch(&mut self, origin: Origin, family: &Family, context: &mut Context<'_>, limit: usize) -> bool {
        for _ in 0..limit {
            let Some(message) = self.next(context) else { return false };
            family.dispatch(origin, message);
        }
        true
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        self.count.dec();
    }
}

/// What the keeper tells a feed.
pub(super) enum Order {
    Exact(Subject, Source),
    Wildcard(Source),
    DropExact(Subject),
    /// A switch begins; what `newer` brings waits for the old way.
    Begin {
        newer: Origin,
    },
    /// The new way is live: what the old way has brought is dispatched, then it is given up.
    DropOld,
    /// Every second copy has arrived: the switch ends when what is here is dispatched.
    Settle,
    End,
}

pub(super) struct Feed {
    family: Arc<Family>,
    exact: Vec<(Subject, Source)>,
    wildcard: Option<Source>,
    /// The new way, during a switch.
    newer: Option<Origin>,
    drop_old: bool,
    settle: bool,
    /// Messages that wait in one subscription at most.
    capacity: usize,
    shared: Arc<Shared>,
}

impl Feed {
    pub(super) fn new(family: Arc<Family>, shared: Arc<Shared>, capacity: usize) -> Self {
        let (drop_old, settle) = (false, false);
        Self { family, exact: Vec::new(), wildcard: None, newer: None, drop_old, settle, capacity, shared }
    }

    /// `true`: there is no more to do, ever.
    fn obey(&mut self, orders: Vec<Order>) -> bool {
        for order in orders {
            match order {
                Order::Exact(subject, source) => self.exact.push((subject, source)),
                Order::Wildcard(source) => self.wildcard = Some(source),
                Order::DropExact(subject) => self.exact.retain(|(other, _)| *other != subject),
                Order::Begin { newer } => self.newer = Some(newer),
                Order::DropOld => self.drop_old = true,
                Order::Settle => {
                    self.settle = true;
                    let capacity = self.capacity;
                    self.newer_sources().for_each(|source| source.owed = capacity);
                }
                Order::End => return true,
            }
        }
        false
    }

    /// Dispatches what is here, up to everybody's turn; `true`: there may be more.
    fn dispatch(&mut self, context: &mut Context<'_>) -> bool {
        self.empty_old(context);
        let mut more = false;
        for at in 0..self.exact.len() {
            more |= self.read_exact(at, context);
        }
        more | self.read_wildcard(context)
    }

    fn read_exact(&mut self, at: usize, context: &mut Context<'_>) -> bool {
        if self.newer != Some(Origin::Exact) {
            return self.exact[at].1.dispatch(Origin::Exact, &self.family, context, EXACT_TURN);
        }
        let taken = self.exact[at].1.take(context, EXACT_TURN);
        self.dispatch_after_old(Origin::Exact, taken, context) == EXACT_TURN
    }

    fn read_wildcard(&mut self, context: &mut Context<'_>) -> bool {
        let Some(source) = &mut self.wildcard else { return false };
        if self.newer != Some(Origin::Wildcard) {
            return source.dispatch(Origin::Wildcard, &self.family, context, WILDCARD_TURN);
        }
        let taken = source.take(context, WILDCARD_TURN);
        self.dispatch_after_old(Origin::Wildcard, taken, context) == WILDCARD_TURN
    }

    /// Dispatches messages of the new way; what came the old way before them goes first. Gives their number. (Taken together,
    /// so that the old way is not emptied for each: the new queues would fill up behind a busy old one.)
    fn dispatch_after_old(
        &mut self,
        origin: Origin,
        taken: Vec<Message>,
        context: &mut Context<'_>,
    ) -> usize {
        let count = taken.len();
        if count > 0 {
            self.empty_old(context);
        }
        for message in taken {
            self.family.dispatch(origin, message);
        }
        count
    }

    /// Dispatches everything that is in the old way's queues, during a switch.
    fn empty_old(&mut self, context: &mut Context<'_>) {
        match self.newer {
            None => {}
            Some(Origin::Wildcard) => {
                for (_, source) in &mut self.exact {
                    source.dispatch(Origin::Exact, &self.family, context, self.capacity);
                }
            }
            Some(Origin::Exact) => {
                if let Some(source) = &mut self.wildcard {
                    source.dispatch(Origin::Wildcard, &self.family, context, self.capacity);
                }
            }
        }
    }

    /// The new way's subscriptions during a switch.
    fn newer_sources(&mut self) -> impl Iterator<Item = &mut Source> {
        let (exact, wildcard) = match self.newer {
            None => (&mut [][..], None),
            Some(Origin::Wildcard) => (&mut [][..], self.wildcard.as_mut()),
            Some(Origin::Exact) => (&mut self.exact[..], None),
        };
        exact.iter_mut().map(|(_, source)| source).chain(wildcard)
    }

    /// What had to wait until the old way was emptied, and until the new way's second copies were dispatched.
    fn conclude(&mut self) {
        let Some(newer) = self.newer else { return };
        if std::mem::take(&mut self.drop_old) {
            match newer {
                Origin::Wildcard => self.exact = Vec::new(),
                Origin::Exact => self.wildcard = None,
            }
            if let Some(shard) = self.family.shard() {
                self.shared.report(Report::OldDropped { shard });
            }
        }
        if self.settle && self.newer_sources().all(|source| source.owed == 0) {
            self.settle = false;
            self.newer = None;
            if let Some(shard) = self.family.shard() {
                self.shared.report(Report::Settled { shard, idle: self.family.end_switch(newer) });
            }
        }
    }
}

impl Future for Feed {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let orders = self.family.orders(context.waker());
        if self.obey(orders) {
            return Poll::Ready(());
        }
        if self.dispatch(context) {
            context.waker().wake_by_ref();
        }
        self.conclude();
        Poll::Pending
    }
}
