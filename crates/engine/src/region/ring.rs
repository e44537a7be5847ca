//! The ring: which addresses come first for a key, and what changes hands when addresses come and go.

use std::ops::RangeInclusive;
use std::sync::Arc;

use consistent_hash_ring::{Ring as HashRing, RingBuilder, migrated_ranges};

use super::hash::{KeyDigest, Mix};
use super::output::MovedRanges;

#[derive(Clone)]
pub(super) struct Ring {
    ring: HashRing<Arc<str>, Mix>,
    /// What is on it, in order.
    urls: Vec<Arc<str>>,
}

impl std::fmt::Debug for Ring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Ring").field(&self.urls).finish()
    }
}

impl Ring {
    pub(super) fn new(virtual_nodes: usize) -> Self {
        Self { ring: RingBuilder::new(Mix).vnodes(virtual_nodes).build(), urls: Vec::new() }
    }

    pub(super) fn insert(&mut self, url: &Arc<str>) {
        let mut urls = self.urls.clone();
        urls.push(url.clone());
        urls.sort_unstable();
        urls.dedup();
        self.replace(&urls);
    }

    /// Makes it hold just these, which are in order. `false`: it did already.
    pub(super) fn replace(&mut self, urls: &[Arc<str>]) -> bool {
        if self.urls == urls {
            return false;
        }
        for gone in self.urls.iter().filter(|url| urls.binary_search(url).is_err()) {
            self.ring.remove(gone);
        }
        for new in urls.iter().filter(|url| self.urls.binary_search(url).is_err()) {
            self.ring.insert(new.clone());
        }
        self.urls = urls.to_vec();
        true
    }

    /// The first so many addresses for a key.
    pub(super) fn candidates(&self, key: KeyDigest, count: usize) -> impl Iterator<Item = &str> {
        self.ring.replicas(key.number()).take(count).map(|url| &**url)
    }

    /// What was `url`'s here, and is another's in `now`.
    pub(super) fn moved_from(&self, url: &str, now: &Self) -> MovedRanges {
        if self.urls.is_empty() || now.urls.is_empty() {
            return MovedRanges::default();
        }
        let moved = migrated_ranges(&self.ring, &now.ring).filter(|range| **range.src() == *url);
        let mut ranges: Vec<RangeInclusive<u64>> = moved.map(|range| range.keys().clone()).collect();
        ranges.sort_unstable_by_key(|range| *range.start());
        MovedRanges(ranges)
    }
}
