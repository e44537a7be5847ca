//! A worker's end of its link to one core: what was sent on it under which number, and when to ask whether it arrived.

use std::collections::VecDeque;

use skywave_protocol::Subject;

use crate::time::Millis;

#[derive(Debug)]
pub(super) struct Link {
    /// Where the core takes publishes of its own.
    pub(super) subject: Subject,
    /// The link's number among this worker's; 0: nothing was sent yet.
    pub(super) id: u64,
    pub(super) next: u64,
    /// In the order of their numbers; those that ended or were sent anew go when they come to the front.
    sent: VecDeque<Sent>,
    asked: Millis,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Sent {
    pub(super) number: u64,
    pub(super) request: u64,
    at: Millis,
}

impl Link {
    pub(super) fn new(subject: Subject) -> Self {
        Self { subject, id: 0, next: 1, sent: VecDeque::new(), asked: 0 }
    }

    /// The number of the request on the link.
    pub(super) fn send(&mut self, now: Millis, request: u64) -> u64 {
        let number = self.next;
        self.next += 1;
        self.sent.push_back(Sent { number, request, at: now });
        number
    }

    /// Begins anew under another number: what was sent, in order.
    pub(super) fn restart(&mut self, id: u64) -> VecDeque<Sent> {
        self.id = id;
        self.next = 1;
        std::mem::take(&mut self.sent)
    }

    /// Forgets what is over in front, and everywhere if most of it is.
    pub(super) fn tidy(&mut self, most: usize, open: impl Fn(&Sent) -> bool) {
        while self.sent.pop_front_if(|sent| !open(sent)).is_some() {}
        if self.sent.len() > most {
            self.sent.retain(open);
        }
    }

    /// Whether it is time to ask, because the oldest has waited for long.
    pub(super) fn ask(&mut self, now: Millis, every_ms: Millis) -> bool {
        let waits = self.sent.front().is_some_and(|sent| sent.at + every_ms <= now);
        let due = waits && self.asked + every_ms <= now;
        if due {
            self.asked = now;
        }
        due
    }
}
