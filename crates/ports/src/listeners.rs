//! Inboxes under one subject (or in one queue group of it), for adapters that hand messages out themselves.

use bytes::Bytes;
use skywave_protocol::Subject;

use crate::bus::{BusMessage, Inbox};

/// The inboxes, each known by the number of its subscription. One of them takes no allocation.
#[derive(Debug, Default)]
pub struct Listeners(Crowd);

#[derive(Debug, Default)]
enum Crowd {
    #[default]
    Nobody,
    One(Listener),
    Many(Vec<Listener>),
}

#[derive(Debug)]
struct Listener {
    subscription: u64,
    inbox: Inbox,
}

impl Listeners {
    pub fn add(&mut self, subscription: u64, inbox: Inbox) {
        let new = Listener { subscription, inbox };
        self.0 = match std::mem::take(&mut self.0) {
            Crowd::Nobody => Crowd::One(new),
            Crowd::One(first) => Crowd::Many(vec![first, new]),
            Crowd::Many(mut all) => {
                all.push(new);
                Crowd::Many(all)
            }
        };
    }

    /// `false` if there is no such subscription.
    pub fn remove(&mut self, subscription: u64) -> bool {
        let all = self.all();
        let Some(at) = all.iter().position(|listener| listener.subscription == subscription) else {
            return false;
        };
        match &mut self.0 {
            Crowd::Many(all) => {
                // Order among subscribers means nothing, so the last one may take the leaver's place.
                all.swap_remove(at);
                if all.len() == 1 {
                    self.0 = all.pop().map_or(Crowd::Nobody, Crowd::One);
                }
            }
            Crowd::One(_) | Crowd::Nobody => self.0 = Crowd::Nobody,
        }
        true
    }

    pub fn is_empty(&self) -> bool {
        matches!(self.0, Crowd::Nobody)
    }

    fn all(&self) -> &[Listener] {
        match &self.0 {
            Crowd::Nobody => &[],
            Crowd::One(one) => std::slice::from_ref(one),
            Crowd::Many(all) => all,
        }
    }

    /// Hands the message to each.
    pub fn to_all(&self, subject: &Subject, payload: &Bytes) {
        for listener in self.all() {
            listener.inbox.deliver(BusMessage { subject: subject.clone(), payload: payload.clone() });
        }
    }

    /// Hands the message to the one whose turn it is (counted without end); one whose receiver is gone is passed over.
    pub fn to_one(&self, turn: usize, subject: &Subject, payload: &Bytes) {
        let all = self.all();
        for attempt in 0..all.len() {
            let listener = &all[turn.wrapping_add(attempt) % all.len()];
            if listener.inbox.deliver(BusMessage { subject: subject.clone(), payload: payload.clone() }) {
                return;
            }
        }
    }
}
