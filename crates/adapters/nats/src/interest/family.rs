//! A family: subjects that may share one subscription at the server. A shard of live subjects is one; any other subject,
//! and any queue group of a subject, is a family of its own.
//!
//! Owns: who listens to which subject, and the dispatch to them. Held for a moment by the family's feed for each message,
//! and by those who come and go. Never: talks to the server.

use std::num::NonZeroU64;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::task::AtomicWaker;
use hashbrown::HashMap;
use parking_lot::Mutex;
use skywave_ports::Inbox;
use skywave_ports::listeners::Listeners;
use skywave_protocol::Subject;

use super::feed::Order;
use super::twins::{Origin, Twins};
use crate::metrics::Metrics;

/// Payloads up to this size are copied out of the connection's read buffer: one that is kept (in a ring of recent
/// publications) would otherwise keep a whole buffer of 64 KiB alive.
const COPIED: usize = 16 * 1024;

/// Which family a subject belongs to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Key {
    Shard(u16),
    Subject(Subject),
    Group(Subject, Arc<str>),
}

impl Key {
    pub(super) fn of(subject: &Subject, group: Option<&str>) -> Self {
        match (group, subject.live_shard()) {
            (Some(group), _) => Self::Group(subject.clone(), group.into()),
            (None, Some(shard)) => Self::Shard(shard),
            (None, None) => Self::Subject(subject.clone()),
        }
    }
}

pub(super) struct Family {
    key: Key,
    metrics: Metrics,
    members: Mutex<Members>,
    /// What the feed is to do. The keeper alone adds to it, and no faster than the server answers.
    orders: Mutex<Vec<Order>>,
    feed: AtomicWaker,
}

#[derive(Default)]
struct Members {
    subjects: HashMap<Subject, Member>,
    /// During a switch, of those that had a message.
    twins: HashMap<Subject, Twins>,
    /// Whose turn it is in a group, counted without end.
    turn: usize,
}

/// There may be very many; each field counts.
struct Member {
    listeners: Listeners,
    /// What feeds it, unless both ways do.
    origin: Origin,
    /// During a switch it is fed both ways.
    both: bool,
    /// `None`: the server has confirmed the subscription that feeds it. Else its birth, which tells it from one of the same
    /// name that was forgotten.
    awaited: Option<NonZeroU64>,
    /// The keeper has been told that nobody listens.
    released: bool,
}

/// How a listener was taken in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Joined {
    /// The subject is live.
    Live,
    /// The subject is known, and on its way to be live.
    Pending,
    /// Nobody followed the subject.
    Unknown,
}

impl Family {
    pub(super) fn new(key: &Key, metrics: Metrics) -> Self {
        Self {
            key: key.clone(),
            metrics,
            members: Mutex::default(),
            orders: Mutex::default(),
            feed: AtomicWaker::new(),
        }
    }

    pub(super) fn shard(&self) -> Option<u16> {
        if let Key::Shard(shard) = self.key { Some(shard) } else { None }
    }

    /// Adds a listener if the subject is live; its number is never used twice.
    pub(super) fn join(&self, subject: &Subject, number: u64, inbox: &Inbox) -> Joined {
        match self.members.lock().subjects.get_mut(subject) {
            Some(member) if member.awaited.is_none() => {
                member.listeners.add(number, inbox.clone());
                Joined::Live
            }
            Some(_) => Joined::Pending,
            None => Joined::Unknown,
        }
    }

    /// Adds a listener in any case; an unknown subject is fed by `origin` from now on, and `awaited` or live. Gives the birth
    /// of the subject, while it is not live.
    pub(super) fn take_in(
        &self,
        subject: &Subject,
        number: u64,
        inbox: Inbox,
        origin: Origin,
        awaited: Option<NonZeroU64>,
    ) -> (Joined, Option<NonZeroU64>) {
        let mut members = self.members.lock();
        if let Some(member) = members.subjects.get_mut(subject) {
            member.listeners.add(number, inbox);
            let joined = if member.awaited.is_none() { Joined::Live } else { Joined::Pending };
            return (joined, member.awaited);
        }
        let mut listeners = Listeners::default();
        listeners.add(number, inbox);
        let member = Member { listeners, origin, both: false, awaited, released: false };
        members.subjects.insert(subject.clone(), member);
        self.metrics.subjects.inc();
        (Joined::Unknown, awaited)
    }

    /// Takes a listener out. `true` if it was the last one, once until [`Family::forget`] has looked at it.
    pub(super) fn leave(&self, subject: &Subject, number: u64) -> bool {
        let mut members = self.members.lock();
        let Some(member) = members.subjects.get_mut(subject) else { return false };
        let last = member.listeners.remove(number) && member.listeners.is_empty();
        last && !std::mem::replace(&mut member.released, true)
    }

    /// Forgets the subject if nobody listens to it; gives what fed it.
    pub(super) fn forget(&self, subject: &Subject) -> Option<Origin> {
        let mut members = self.members.lock();
        let member = members.subjects.get_mut(subject)?;
        member.released = false;
        let origin = member.origin;
        if member.both || !member.listeners.is_empty() {
            return None;
        }
        members.subjects.remove(subject);
        if members.subjects.capacity() > 4 * (members.subjects.len() + 8) {
            members.subjects.shrink_to_fit();
        }
        self.metrics.subjects.dec();
        Some(origin)
    }

    /// The subscription that feeds the subject is confirmed.
    pub(super) fn confirmed(&self, subject: &Subject, birth: NonZeroU64) {
        if let Some(member) = self.members.lock().subjects.get_mut(subject) {
            member.awaited.take_if(|awaited| *awaited == birth);
        }
    }

    pub(super) fn subjects(&self) -> Vec<Subject> {
        self.members.lock().subjects.keys().cloned().collect()
    }

    /// Every subject is about to be fed both ways.
    pub(super) fn begin_switch(&self) {
        for member in self.members.lock().subjects.values_mut() {
            member.both = true;
        }
    }

    /// Every subject is fed one way again. Gives those that nobody listens to any more.
    pub(super) fn end_switch(&self, origin: Origin) -> Vec<Subject> {
        let mut members = self.members.lock();
        let mut idle = Vec::new();
        members.twins = HashMap::new();
        for (subject, member) in &mut members.subjects {
            (member.both, member.origin) = (false, origin);
            if member.listeners.is_empty() {
                idle.push(subject.clone());
            }
        }
        idle
    }

    pub(super) fn order(&self, order: Order) {
        self.orders.lock().push(order);
        self.feed.wake();
    }

    /// The orders given so far; the feed is woken for later ones.
    pub(super) fn orders(&self, waker: &std::task::Waker) -> Vec<Order> {
        self.feed.register(waker);
        std::mem::take(&mut *self.orders.lock())
    }

    /// Hands a message to those who listen to its subject, unless it has come the other way already.
    pub(super) fn dispatch(&self, origin: Origin, message: async_nats::Message) {
        self.metrics.received.inc();
        self.metrics.received_bytes.inc_by(message.payload.len() as u64);
        let mut members = self.members.lock();
        let Members { subjects, twins, turn } = &mut *members;
        let Some((subject, member)) = subjects.get_key_value_mut(message.subject.as_str()) else {
            self.metrics.unwanted.inc();
            return;
        };
        if member.both {
            let twins = twins.entry(subject.clone()).or_default();
            if twins.is_second(origin, &message.payload) {
                self.metrics.twins.inc();
                return;
            }
        } else if member.origin != origin {
            return;
        }
        let payload = match message.payload.len() {
            0..=COPIED => Bytes::copy_from_slice(&message.payload),
            _ => message.payload,
        };
        if matches!(self.key, Key::Group(..)) {
            member.listeners.to_one(*turn, subject, &payload);
            *turn = turn.wrapping_add(1);
        } else {
            member.listeners.to_all(subject, &payload);
        }
    }
}
