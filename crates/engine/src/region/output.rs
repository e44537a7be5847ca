//! What a node of a region decides.

use std::collections::VecDeque;
use std::ops::RangeInclusive;

use skywave_protocol::NodeId;
use skywave_protocol::inner::NodeBeat;

use super::hash::KeyDigest;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RegionOutput {
    /// To every node of the region.
    Publish(NodeBeat),
    /// A node is not heard of any more and had not said that it leaves. Of those that remain, one says so, as far as they agree.
    Lost(NodeId),
    /// Keys that were this node's and are another's now.
    Moved(MovedRanges),
}

/// Parts of the ring.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MovedRanges(pub(super) Vec<RangeInclusive<u64>>);

impl MovedRanges {
    pub fn contains(&self, key: KeyDigest) -> bool {
        let position = key.position();
        // The ranges are in order and do not overlap.
        let at = self.0.partition_point(|range| *range.end() < position);
        self.0.get(at).is_some_and(|range| range.contains(&position))
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Decisions in order. Bounded by what one event can cause, as long as the driver polls everything after each event.
#[derive(Debug, Default)]
pub(super) struct Outputs(VecDeque<RegionOutput>);

impl Outputs {
    pub(super) fn push(&mut self, output: RegionOutput) {
        self.0.push_back(output);
    }

    pub(super) fn poll(&mut self) -> Option<RegionOutput> {
        self.0.pop_front()
    }
}
