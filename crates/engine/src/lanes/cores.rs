//! The cores of the cell as a worker knows them from their beats, and which of them is a channel's.
//!
//! A core that fell silent is given up only while another one is heard: who hears nobody may be deaf itself.

use std::collections::BTreeMap;

use skywave_protocol::hash::fnv1a;
use skywave_protocol::inner::{CoreBeat, CorePhase};
use skywave_protocol::{ChannelName, NodeId, Subject};

use super::link::Link;
use crate::time::Millis;

/// Cores that are known at a time. Beats of more are not listened to.
const MOST: usize = 256;

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
            self.next_key += 1;
            self.met = true;
            return Change::Joined;
        };
        if beat.phase == CorePhase::Gone {
            return Change::Gone(key);
        }
        let Some(core) = self.cores.get_mut(&key) else { return Change::Nothing };
        core.heard = now;
        let leaving = beat.phase == CorePhase::Leaving;
        let changed = std::mem::replace(&mut core.leaving, leaving) != leaving;
        if changed { Change::Leaving } else { Change::Nothing }
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

    /// The channel's among those that take something new: the highest of a hash of both (rendezvous hashing), so a core that
    /// comes or goes moves no channel but its own. Workers that know the same cores choose the same.
    pub(super) fn choose(&self, channel: &ChannelName) -> Option<CoreKey> {
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
