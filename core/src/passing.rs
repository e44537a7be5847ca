//! Passes history reads on to the owner of their partition, which alone knows what is sequenced and not yet stored.
//!
//! A partition may have no owner for a moment (a rebalance, a crash, a replay). What was passed on lately is therefore
//! remembered, and passed on once more when an owner says that it serves; a read that is answered twice finds nobody
//! waiting the second time. Bounded: the oldest is forgotten, and the edge that asked tries again by itself.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::Mutex;
use skywave_ports::log::Partition;

/// As long as an edge waits for an answer.
const REMEMBERED: Duration = Duration::from_secs(3);
/// Reads remembered; each is a channel name and a reply address.
const MOST: usize = 2_048;

#[derive(Default)]
pub(crate) struct Passed {
    /// Oldest first.
    reads: Mutex<VecDeque<(Instant, Partition, Bytes)>>,
}

impl Passed {
    pub(crate) fn remember(&self, partition: Partition, request: Bytes) {
        let now = Instant::now();
        let mut reads = self.reads.lock();
        while reads.pop_front_if(|(at, ..)| *at + REMEMBERED < now).is_some() {}
        if reads.len() >= MOST {
            reads.pop_front();
        }
        reads.push_back((now, partition, request));
    }

    /// The reads of a partition that may still be waited for; they are forgotten.
    pub(crate) fn take(&self, partition: Partition) -> Vec<Bytes> {
        let now = Instant::now();
        let mut taken = Vec::new();
        self.reads.lock().retain(|(at, of, request)| {
            let hit = *of == partition;
            if hit && *at + REMEMBERED >= now {
                taken.push(request.clone());
            }
            !hit
        });
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_are_given_back_once_and_by_partition_and_the_oldest_go_first() {
        let passed = Passed::default();
        let request = |n: usize| Bytes::from(n.to_string());
        for n in 0..MOST + 2 {
            passed.remember((n % 2) as u32, request(n));
        }
        let even = passed.take(0);
        assert_eq!((even.len(), &even[0]), (MOST / 2, &request(2)));
        assert!(passed.take(0).is_empty());
        assert_eq!(passed.take(1).last(), Some(&request(MOST + 1)));
    }
}
