//! The bus of a single process: a table from subject to inboxes.
//!
//! Publishing takes one shared lock, one lookup and one push per inbox, and allocates nothing: it is on the path of
//! every publication. Subscribing and unsubscribing take the table exclusively for a moment.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use hashbrown::HashMap;
use parking_lot::RwLock;
use skywave_protocol::Subject;

use crate::bus::{Bus, BusError, Inbox, Subscription};
use crate::listeners::Listeners;

/// A bus within one process; clones share it.
#[derive(Clone, Default)]
pub struct MemoryBus(Arc<Shared>);

#[derive(Default)]
struct Shared {
    subjects: RwLock<HashMap<Subject, Audience>>,
    next_subscription: AtomicU64,
}

/// Who listens to one subject.
#[derive(Default)]
struct Audience {
    plain: Listeners,
    groups: Vec<Group>,
}

struct Group {
    name: Box<str>,
    /// Whose turn it is, counted without end.
    turn: AtomicUsize,
    members: Listeners,
}

impl MemoryBus {
    pub fn new() -> Self {
        Self::default()
    }

    /// How many subjects have at least one subscriber.
    pub fn subjects(&self) -> usize {
        self.0.subjects.read().len()
    }
}

#[async_trait]
impl Bus for MemoryBus {
    fn publish(&self, subject: &Subject, payload: Bytes) -> Result<(), BusError> {
        let subjects = self.0.subjects.read();
        let Some((subject, audience)) = subjects.get_key_value(subject) else { return Ok(()) };
        audience.plain.to_all(subject, &payload);
        for group in &audience.groups {
            group.members.to_one(group.turn.fetch_add(1, Ordering::Relaxed), subject, &payload);
        }
        Ok(())
    }

    async fn subscribe(
        &self,
        subject: &Subject,
        group: Option<&str>,
        inbox: &Inbox,
    ) -> Result<Subscription, BusError> {
        let subscription = self.0.next_subscription.fetch_add(1, Ordering::Relaxed);
        let mut subjects = self.0.subjects.write();
        subjects.entry(subject.clone()).or_default().add(group, subscription, inbox.clone());
        drop(subjects);
        let shared = Arc::clone(&self.0);
        let subject = subject.clone();
        Ok(Subscription::new(move || shared.remove(&subject, subscription)))
    }
}

impl Shared {
    fn remove(&self, subject: &Subject, subscription: u64) {
        let mut subjects = self.subjects.write();
        let Some(audience) = subjects.get_mut(subject) else { return };
        audience.remove(subscription);
        if audience.is_empty() {
            subjects.remove(subject);
        }
    }
}

impl Audience {
    fn add(&mut self, group: Option<&str>, subscription: u64, inbox: Inbox) {
        let Some(name) = group else { return self.plain.add(subscription, inbox) };
        let at = self.groups.iter().position(|group| &*group.name == name).unwrap_or_else(|| {
            self.groups.push(Group {
                name: name.into(),
                turn: AtomicUsize::new(0),
                members: Listeners::default(),
            });
            self.groups.len() - 1
        });
        self.groups[at].members.add(subscription, inbox);
    }

    fn remove(&mut self, subscription: u64) {
        if !self.plain.remove(subscription) {
            self.groups.retain_mut(|group| !(group.members.remove(subscription) && group.members.is_empty()));
        }
    }

    fn is_empty(&self) -> bool {
        self.plain.is_empty() && self.groups.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn conforms() {
        crate::conformance::bus::suite(async |_name: &str| MemoryBus::new()).await;
    }

    #[tokio::test]
    async fn ended_subscriptions_leave_nothing_behind() {
        let bus = MemoryBus::new();
        let (inbox, _receiver) = Inbox::new(1);
        let plain = bus.subscribe(&Subject::control(), None, &inbox).await.unwrap();
        let grouped = bus.subscribe(&Subject::control(), Some("core"), &inbox).await.unwrap();
        assert_eq!(bus.subjects(), 1);
        drop(plain);
        drop(grouped);
        assert_eq!(bus.subjects(), 0);
    }

    #[tokio::test]
    async fn a_group_passes_over_a_member_whose_receiver_is_gone() {
        let bus = MemoryBus::new();
        let (gone, receiver) = Inbox::new(8);
        drop(receiver);
        let (alive, mut messages) = Inbox::new(8);
        let _a = bus.subscribe(&Subject::control(), Some("core"), &gone).await.unwrap();
        let _b = bus.subscribe(&Subject::control(), Some("core"), &alive).await.unwrap();
        for _ in 0..4 {
            bus.publish(&Subject::control(), Bytes::from_static(b"x")).unwrap();
        }
        for _ in 0..4 {
            assert!(messages.try_recv().is_ok());
        }
    }
}
