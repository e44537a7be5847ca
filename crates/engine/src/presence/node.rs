//! What is known of one other node's members in a channel.

use std::collections::BTreeMap;

use skywave_protocol::inner::{PresenceChange, PresenceDelta};
use skywave_protocol::message::Member;
use skywave_protocol::{ClientId, UserId};

use super::PresenceConfig;
use crate::time::Millis;

/// Connections by client.
pub(super) type Clients = BTreeMap<ClientId, Option<UserId>>;

#[derive(Debug)]
pub(super) struct Node {
    pub(super) clients: Clients,
    /// Newest change applied; everything before it is, too.
    version: u64,
    /// `clients` is what the node had at `version` (not before the first `All`, and not after its lease ran out).
    complete: bool,
    heard_at: Millis,
}

/// What a delta asks the room to do.
#[derive(Debug, PartialEq)]
pub(super) enum Effect {
    Nothing,
    Enter(Member),
    Leave(Member),
    Replace(Vec<Member>),
    /// Something was missed.
    Ask,
}

impl Node {
    /// Nothing is known yet, as before the node's first change.
    pub(super) fn unknown(now: Millis) -> Self {
        Self { clients: Clients::new(), version: 0, complete: false, heard_at: now }
    }

    /// Takes note of a delta and says what follows from it.
    pub(super) fn take(&mut self, now: Millis, delta: PresenceDelta) -> Effect {
        if delta.version < self.version {
            // Late: something newer is known. It proves nothing about the node being alive.
            return Effect::Nothing;
        }
        let next = self.complete && delta.version == self.version + 1;
        let same = self.complete && delta.version == self.version;
        match delta.change {
            PresenceChange::All(members) => {
                (self.version, self.complete, self.heard_at) = (delta.version, true, now);
                return Effect::Replace(members);
            }
            PresenceChange::Join(member) if next => {
                (self.version, self.heard_at) = (delta.version, now);
                return Effect::Enter(member);
            }
            PresenceChange::Leave(member) if next => {
                (self.version, self.heard_at) = (delta.version, now);
                return Effect::Leave(member);
            }
            PresenceChange::Beat | PresenceChange::Ask if same => self.heard_at = now,
            // A change that is known already.
            PresenceChange::Join(_) | PresenceChange::Leave(_) if same => {}
            _ => return Effect::Ask,
        }
        Effect::Nothing
    }

    pub(super) fn is_dead(&self, now: Millis, config: &PresenceConfig) -> bool {
        self.complete && now >= self.heard_at + config.lease_ms
    }

    /// Takes the members of a dead node away; its version stays remembered for a while.
    pub(super) fn bury(&mut self) -> Clients {
        self.complete = false;
        std::mem::take(&mut self.clients)
    }

    pub(super) fn is_forgotten(&self, now: Millis, config: &PresenceConfig) -> bool {
        !self.complete && now >= self.heard_at + config.grave_ms()
    }

    pub(super) fn deadline(&self, config: &PresenceConfig) -> Millis {
        self.heard_at + if self.complete { config.lease_ms } else { config.grave_ms() }
    }
}
