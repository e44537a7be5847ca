//! What is known of one other node's members in a channel.
//!
//! Everything it holds comes in one piece, or in parts that are put together here and count when the last one is there.

use skywave_protocol::inner::{PresenceChange, PresenceDelta};
use skywave_protocol::message::Member;
use skywave_protocol::{ClientId, UserId};

use super::PresenceConfig;
use super::few::Few;
use crate::time::Millis;

/// Connections by client.
pub(super) type Clients = Few<ClientId, Option<UserId>>;

#[derive(Debug)]
pub(super) struct Node {
    pub(super) clients: Clients,
    /// Newest change applied; everything before it is, too.
    version: u64,
    /// `clients` is what the node had at `version` (not before the first `All`, and not after its lease ran out).
    complete: bool,
    heard_at: Millis,
    /// Parts of everything the node has, not all of which are there.
    parts: Option<Parts>,
}

/// The first parts of what a node had at a version. Bounded by what one node holds.
#[derive(Debug)]
struct Parts {
    version: u64,
    next: u32,
    of: u32,
    members: Vec<Member>,
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
        Self { clients: Clients::new(), version: 0, complete: false, heard_at: now, parts: None }
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
            // Told to somebody who asked; known here.
            PresenceChange::All(_) | PresenceChange::Part { .. } if same => self.heard_at = now,
            PresenceChange::All(members) => {
                (self.version, self.complete, self.heard_at) = (delta.version, true, now);
                self.parts = None;
                return Effect::Replace(members);
            }
            PresenceChange::Part { part, parts, members } => {
                return self.part(now, delta.version, (part, parts), members);
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

    fn part(&mut self, now: Millis, version: u64, (part, of): (u32, u32), members: Vec<Member>) -> Effect {
        if part == 0 {
            self.parts = Some(Parts { version, next: 0, of, members: Vec::new() });
        }
        let Some(parts) = self.parts.as_mut().filter(|parts| parts.version == version && parts.of == of)
        else {
            return Effect::Ask;
        };
        if part < parts.next {
            // It came twice.
            return Effect::Nothing;
        }
        if part > parts.next {
            self.parts = None;
            return Effect::Ask;
        }
        parts.next += 1;
        parts.members.extend(members);
        if parts.next < of {
            return Effect::Nothing;
        }
        let members = std::mem::take(&mut parts.members);
        (self.version, self.complete, self.heard_at, self.parts) = (version, true, now, None);
        Effect::Replace(members)
    }

    pub(super) fn is_dead(&self, now: Millis, config: &PresenceConfig) -> bool {
        self.complete && now >= self.heard_at + config.lease_ms
    }

    /// Takes the members of a dead node away; its version stays remembered for a while.
    pub(super) fn bury(&mut self) -> Clients {
        (self.complete, self.parts) = (false, None);
        std::mem::replace(&mut self.clients, Clients::new())
    }

    pub(super) fn is_forgotten(&self, now: Millis, config: &PresenceConfig) -> bool {
        !self.complete && now >= self.heard_at + config.grave_ms()
    }

    pub(super) fn deadline(&self, config: &PresenceConfig) -> Millis {
        self.heard_at + if self.complete { config.lease_ms } else { config.grave_ms() }
    }
}
