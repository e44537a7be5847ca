//! Which records may have been published before, by somebody who died before saying so.
//!
//! A consumer is given at most [`READ`] records of a partition before it confirms them. So when a partition comes to a new
//! consumer, its first [`READ`] records are the only ones that a former one may have published.

use hashbrown::HashMap;
use skywave_ports::Event;

/// Records that are read, published and confirmed together.
pub(super) const READ: usize = 512;

/// What this consumer has been given of each partition.
#[derive(Default)]
pub(super) struct Doubts {
    partitions: HashMap<(String, u32), Standing>,
}

struct Standing {
    next: u64,
    /// How many of the next records are doubtful.
    left: usize,
}

impl Doubts {
    /// To be asked once about each record, in order.
    pub(super) fn holds(&mut self, event: &Event) -> bool {
        let standing = self.partitions.entry((event.topic.clone(), event.partition));
        let standing = standing.or_insert(Standing { next: u64::MAX, left: 0 });
        // A hole, or a step back: the partition may have been somebody else's in between.
        if event.offset != standing.next {
            standing.left = READ;
        }
        standing.next = event.offset + 1;
        let doubtful = standing.left > 0;
        standing.left = standing.left.saturating_sub(1);
        doubtful
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(partition: u32, offset: u64) -> Event {
        let (key, value) = Default::default();
        Event { topic: "orders".into(), partition, offset, time_ms: 0, key, value, headers: Vec::new() }
    }

    #[test]
    fn the_first_records_of_a_partition_are_doubtful() {
        let mut doubts = Doubts::default();
        let held: Vec<bool> = (100..100 + READ as u64 + 50).map(|n| doubts.holds(&event(0, n))).collect();
        assert_eq!(held.iter().filter(|held| **held).count(), READ);
        assert!(held[READ - 1] && !held[READ]);
        assert!(doubts.holds(&event(1, 0)), "another partition");
        assert!(!doubts.holds(&event(0, 100 + READ as u64 + 50)), "goes on");
        assert!(doubts.holds(&event(0, 3)), "given again");
    }
}
