//! The cores of the cell as a worker knows them from their beats, and which of them is a channel's: the one that says it owns
//! the channel's partition, for it sequences what it has appended itself without waiting for the log to bring it. Who says so last
//! is believed; who else appends is no matter of order (`lanes`), only of time.
//!
//! A core that fell silent is given up only while another one is heard: who hears nobody may be deaf itself.

use std::collections::BTreeMap;

use skywave_protocol::hash::fnv1a;
use skywave_protocol::inner::{CoreBeat, CorePhase};
use skywave_protocol::{ChannelName, NodeId, Subject};

use super::link::Link;
use crate::partition;
use crate::time::Millis;

/// Cores that are known at a time. Beats of more are not listened to.
const MOST: usize = 256;
/// Of a cell with more partitions no owners are remembered.
const MOST_PARTITIONS: usize = 65_536;

/// One life of a core, as far as this worker has seen it.
pub(super) type CoreKey = u32;

#[derive(Debug)]
pub(super) struct Core {
    id: NodeId,
    hash: u64,
    heard: Millis,
    pub(super) leaving: bool,
    pub(super) link: Link,
}

/// What a beat changes.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Change {
    Nothing,
    Joined,
    /// It takes nothing new; or after all it does.
    Leaving,
    Gone(CoreKey),
}

#[derive(Debug, Default)]
pub(super) struct Cores {
    cores: BTreeMap<CoreKey, Core>,
    next_key: CoreKey,
    /// Who owns each partition; empty while nobody has said how many there are.
    owners: Vec<Option<CoreKey>>,
    heard: Millis,
    /// There was one at some time.
    pub(super) met: bool,
}

impl Cores {
    pub(super) fn beat(
        &mut self,
        now: Millis,
        silent_ms: Millis,
        beat: &CoreBeat,
        subject: impl FnOnce() -> Subject,
    ) -> Change {
        let known = self.cores.iter().find(|(_, core)| core.id == beat.core).map(|(key, _)| *key);
        if known.is_some() && now.saturating_sub(self.heard) >= silent_ms {
            // Nobody was heard for long, and it was not they who were silent.
            self.cores.values_mut().for_each(|core| core.heard = now);
        }
        self.heard = now;
        let Some(key) = known else {
            if beat.phase != CorePhase::Serving || self.cores.len() >= MOST {
                return Change::Nothing;
            }
            let core = Core {
                id: beat.core.clone(),
                hash: fnv1a(beat.core.as_str().as_bytes()),
                heard: now,
                leaving: false,
                link: Link::new(subject()),
            };
            self.cores.insert(self.next_key, core);
            self.claim(self.next_key, beat);
            self.next_key += 1;
            self.met = true;
            return Change::Joined;
        };
        if beat.phase == CorePhase::Gone {
            return Change::Gone(key);
        }
        self.claim(key, beat);
        let Some(core) = self.cores.get_mut(&key) else { return Change::Nothing };
        core.heard = now;
        let leaving = beat.phase == CorePhase::Leaving;
        let changed = std::mem::replace(&mut core.leaving, leaving) != leaving;
        if changed { Change::Leaving } else { Change::Nothing }
    }

    /// What a core says it owns is its own, and nothing else is.
    fn claim(&mut self, key: CoreKey, beat: &CoreBeat) {
        let partitions = beat.partitions as usize;
        if (1..=MOST_PARTITIONS).contains(&partitions) {
            self.owners.resize(partitions, None);
        }
        for owner in &mut self.owners {
            owner.take_if(|owner| *owner == key);
        }
        for partition in &beat.owned {
            if let Some(owner) = self.owners.get_mut(*partition as usize) {
                *owner = Some(key);
            }
        }
    }

    /// Those that are silent while another is not.
    pub(super) fn silent(&self, now: Millis, silent_ms: Millis) -> Vec<CoreKey> {
        let is_silent = |core: &Core| now.saturating_sub(core.heard) >= silent_ms;
        if self.cores.values().all(is_silent) {
            return Vec::new();
        }
        self.cores.iter().filter(|(_, core)| is_silent(core)).map(|(key, _)| *key).collect()
    }

    pub(super) fn remove(&mut self, key: CoreKey) {
        self.cores.remove(&key);
    }

    pub(super) fn get(&self, key: CoreKey) -> Option<&Core> {
        self.cores.get(&key)
    }

    pub(super) fn get_mut(&mut self, key: CoreKey) -> Option<&mut Core> {
        self.cores.get_mut(&key)
    }

    pub(super) fn links(&mut self) -> impl Iterator<Item = &mut Link> {
        self.cores.values_mut().map(|core| &mut core.link)
    }

    pub(super) fn len(&self) -> usize {
        self.cores.len()
    }

    /// The channel's among those that take something new: the owner of its partition. If that is not known, or leaves, the
    /// highest of a hash of both (rendezvous hashing), so a core that comes or goes moves no channel but its own. Workers that
    /// know the same cores choose the same.
    pub(super) fn choose(&self, channel: &ChannelName) -> Option<CoreKey> {
        // Of no partitions none is found.
        let partition = partition::of(channel, self.owners.len() as u32);
        let owner = self.owners.get(partition as usize).copied().flatten();
        if let Some(owner) = owner.filter(|key| self.cores.get(key).is_some_and(|core| !core.leaving)) {
            return Some(owner);
        }
        let channel = fnv1a(channel.as_str().as_bytes());
        let open = self.cores.iter().filter(|(_, core)| !core.leaving);
        open.max_by_key(|(key, core)| (mixed(channel ^ core.hash.rotate_left(32)), **key))
            .map(|(key, _)| *key)
    }
}

/// The finisher of splitmix64.
fn mixed(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}
