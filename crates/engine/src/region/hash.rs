//! Where keys and nodes stand on the ring. Every node computes the same, on every machine, in every version.
//!
//! FNV-1a for the bytes, and a finisher behind it (of splitmix64): FNV alone puts keys that differ in their last letter next to
//! each other, all on one node.

use std::hash::{BuildHasher, Hasher};

use skywave_protocol::NodeId;

/// What is kept of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeyDigest(u64);

impl KeyDigest {
    pub fn of(key: &str) -> Self {
        let mut hasher = Mixed::new();
        hasher.write(key.as_bytes());
        Self(hasher.finish())
    }

    pub(super) fn number(self) -> u64 {
        self.0
    }

    /// Where the ring puts it.
    pub(super) fn position(self) -> u64 {
        Mix.hash_one(self.0)
    }
}

/// A number that two nodes have together, for spreading what all would else do at once.
pub(super) fn between(a: &NodeId, b: &NodeId) -> u64 {
    let mut hasher = Mixed::new();
    hasher.write(a.as_str().as_bytes());
    hasher.write_u64(0);
    hasher.write(b.as_str().as_bytes());
    hasher.finish()
}

#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Mix;

impl BuildHasher for Mix {
    type Hasher = Mixed;

    fn build_hasher(&self) -> Mixed {
        Mixed::new()
    }
}

#[derive(Debug)]
pub(super) struct Mixed(u64);

impl Mixed {
    fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Hasher for Mixed {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }

    fn write_u64(&mut self, number: u64) {
        // Not in the machine's order of bytes, which differs.
        self.write(&number.to_le_bytes());
    }

    fn finish(&self) -> u64 {
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_the_same_everywhere_and_for_ever() {
        assert_eq!(KeyDigest::of("ada").number(), 0x7d3c_4ad3_72fc_321d);
        assert_eq!(KeyDigest::of("ada").position(), 0x4b4d_e2bb_6197_6294);
    }

    #[test]
    fn neighbours_by_name_are_none_on_the_ring() {
        let mut quarters = [0; 4];
        for n in 0..1_000 {
            quarters[(KeyDigest::of(&format!("user-{n}")).position() >> 62) as usize] += 1;
        }
        assert!(quarters.iter().all(|count| (200..300).contains(count)), "{quarters:?}");
    }
}
