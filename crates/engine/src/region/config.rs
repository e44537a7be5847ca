//! How often nodes speak, when silence means that one is gone, and how keys are spread.

use crate::time::Millis;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RegionConfig {
    /// A node says at least this often that it is there.
    pub beat_ms: Millis,
    /// A node not heard of for so long is gone. At least three beats, so that two lost ones do no harm.
    pub lease_ms: Millis,
    /// The nodes must not have changed for so long before connections follow their keys: nodes that come one after the
    /// other, or one that comes back at once, are one change.
    pub settle_ms: Millis,
    /// Places of one node on the ring: the more, the more even are the shares.
    pub virtual_nodes: usize,
    /// Nodes among which a key's one is chosen.
    pub candidates: usize,
    /// A node may have so much of the average number of connections before its keys go to other candidates …
    pub bound_percent: u32,
    /// … but so many in any case.
    pub bound_least: u32,
    /// Other nodes kept at most; further ones are not seen.
    pub nodes: usize,
}

impl Default for RegionConfig {
    fn default() -> Self {
        Self {
            beat_ms: 1_000,
            lease_ms: 4_000,
            settle_ms: 5_000,
            virtual_nodes: 100,
            candidates: 3,
            bound_percent: 125,
            bound_least: 32,
            nodes: 1_000,
        }
    }
}
