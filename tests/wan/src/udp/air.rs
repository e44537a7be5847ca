//! Datagrams that are under way in one direction of a forward, the next to arrive first.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Instant;

use bytes::Bytes;
use tokio::sync::Notify;

use crate::clock::Clock;
use crate::direction::Direction;

/// Bytes under way; what comes beyond is dropped, as a full router does, and counted as overflowed.
const UNDER_WAY: usize = 8 * 1024 * 1024;

/// What a datagram costs beside its bytes.
const ENTRY: usize = 128;

/// `To` says where a datagram goes.
pub(super) struct Air<To> {
    clock: Rc<Clock>,
    way: Rc<Direction>,
    /// By time of arrival, then by number; bounded by [`UNDER_WAY`].
    flying: RefCell<BTreeMap<(Instant, u64), (To, Bytes)>>,
    weight: Cell<usize>,
    number: Cell<u64>,
    /// There is a new first one.
    sooner: Notify,
}

impl<To: Clone> Air<To> {
    pub(super) fn new(clock: Rc<Clock>, way: Rc<Direction>) -> Self {
        Self {
            clock,
            way,
            flying: RefCell::default(),
            weight: Cell::new(0),
            number: Cell::new(0),
            sooner: Notify::new(),
        }
    }

    /// Sends a datagram on its way, if the line takes it.
    pub(super) fn launch(&self, to: &To, bytes: &[u8]) {
        let arrivals = self.way.datagram(bytes.len(), Instant::now());
        let bytes = Bytes::copy_from_slice(bytes);
        for arrival in arrivals.into_iter().flatten() {
            if self.weight.get() + bytes.len() + ENTRY > UNDER_WAY {
                self.way.count(|counters| counters.overflowed += 1);
                continue;
            }
            let key = (arrival, self.number.replace(self.number.get() + 1));
            let mut flying = self.flying.borrow_mut();
            flying.insert(key, (to.clone(), bytes.clone()));
            self.weight.set(self.weight.get() + bytes.len() + ENTRY);
            if flying.first_key_value().is_some_and(|(first, _)| *first == key) {
                self.sooner.notify_one();
            }
        }
    }

    /// Gives each datagram to `deliver` when it is due, for ever; it says whether the receiver took it.
    pub(super) async fn land(&self, deliver: impl Fn(&To, &[u8]) -> bool) {
        loop {
            let first = self.flying.borrow().keys().next().copied();
            let Some(key) = first else {
                self.sooner.notified().await;
                continue;
            };
            tokio::select! {
                () = self.clock.sleep_until(key.0) => {}
                () = self.sooner.notified() => continue,
            }
            let Some((to, bytes)) = self.flying.borrow_mut().remove(&key) else { continue };
            self.weight.set(self.weight.get() - bytes.len() - ENTRY);
            if self.way.is_cut() {
                self.way.count(|counters| counters.cut_off += 1);
            } else if deliver(&to, &bytes) {
                self.way.count(|counters| {
                    counters.datagrams += 1;
                    counters.datagram_bytes += bytes.len() as u64;
                });
            } else {
                self.way.count(|counters| counters.overflowed += 1);
            }
        }
    }
}
