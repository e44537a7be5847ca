//! Which appends a connection sends next, and which wait.
//!
//! The library sends one request for each partition, and a broker serves one request of a connection at a time: a second one
//! waits in the broker's socket, where it can take no more records along. And an idempotent producer of the library that is given
//! records of a partition which has a request under way goes round its loop until the answer is there: with a few thousand
//! appends a second that was half of a core's processor time. So the library is given nothing that could not be served now:
//!
//! - a partition's appends wait while some of that partition are under way;
//! - partitions with one leader take turns on its *way*: one of them is under way, the others gather company meanwhile.
//!
//! What waits goes together, as much as one request takes, when its turn comes. Nothing waits for the clock, but for one rule: a
//! turn that takes longer than [`TURN`] is waited for no more by the other partitions. It may be stuck for a reason of its own
//! (too few replicas, a leader that has gone).
//!
//! Sources: `rd_kafka_toppar_producer_serve` and `rd_kafka_msgq_allow_wakeup_at` of librdkafka 2.12; of the broker,
//! `SocketServer`, which mutes a connection until its request is answered (KIP-283 tells of it in passing).
//!
//! Never: changes the order of a partition's appends; knows what an append is, or how it is sent.

use std::collections::VecDeque;

use hashbrown::HashMap;
use parking_lot::Mutex;
use skywave_ports::log::Partition;

/// How long other partitions wait for the one whose turn it is, in milliseconds. Longer than a busy broker takes to answer:
/// going past it sends more to a broker that is behind.
const TURN: u64 = 50;

/// What is sent at a time: it fits into one request of the library (`batch.size` and `batch.num.messages`), with room for what
/// it adds to a record.
const REQUEST_BYTES: usize = 500_000;
const REQUEST_RECORDS: usize = 5_000;

/// Appends of one partition that are to be sent now, in their order, at least one. Each of them is to be answered once.
#[derive(Debug)]
pub(super) struct Batch<T> {
    pub(super) partition: Partition,
    pub(super) appends: Vec<T>,
}

/// The turns of one connection. Times are milliseconds that never go back.
#[derive(Debug)]
pub(super) struct Turns<T>(Mutex<State<T>>);

#[derive(Debug)]
struct State<T> {
    partitions: Vec<Standing<T>>,
    ways: HashMap<Leader, Way>,
}

#[derive(Debug)]
struct Standing<T> {
    leader: Leader,
    under_way: usize,
    /// With their bytes. Not empty only while some are under way, or while it stands in its way's queue.
    waiting: VecDeque<(usize, T)>,
}

/// Who serves a partition's requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Leader {
    Broker(i32),
    /// It waits for no other partition.
    Unknown(Partition),
}

#[derive(Debug, Default)]
struct Way {
    /// Whose turn it is, and since when.
    turn: Option<(Partition, u64)>,
    /// Partitions that wait for their turn, each once. Not empty only while it is somebody's turn.
    queue: VecDeque<Partition>,
}

impl Way {
    fn is_free(&self, now: u64) -> bool {
        self.turn.is_none_or(|(_, since)| now.saturating_sub(since) >= TURN)
    }
}

impl<T> Turns<T> {
    /// Nobody knows yet who leads the partitions.
    pub(super) fn new(partitions: usize) -> Self {
        let standing = |partition| Standing {
            leader: Leader::Unknown(partition as Partition),
            under_way: 0,
            waiting: VecDeque::new(),
        };
        Self(Mutex::new(State { partitions: (0..partitions).map(standing).collect(), ways: HashMap::new() }))
    }

    /// An append of so many bytes waits for its turn. What is to be sent now: mostly this one alone, or nothing.
    pub(super) fn enter(&self, now: u64, partition: Partition, bytes: usize, append: T) -> Option<Batch<T>> {
        let mut state = self.0.lock();
        let standing = &mut state.partitions[partition as usize];
        let (leader, is_first) = (standing.leader, standing.under_way == 0 && standing.waiting.is_empty());
        standing.waiting.push_back((bytes, append));
        if is_first {
            state.ways.entry(leader).or_default().queue.push_back(partition);
        }
        state.next(leader, now)
    }

    /// So many that were to be sent are answered, or were not sent after all. What is to be sent now.
    pub(super) fn answered(&self, now: u64, partition: Partition, count: usize) -> Option<Batch<T>> {
        let mut state = self.0.lock();
        let standing = &mut state.partitions[partition as usize];
        debug_assert!(standing.under_way >= count, "more answers than questions");
        standing.under_way -= count;
        if standing.under_way > 0 || count == 0 {
            return None;
        }
        let (leader, waits) = (standing.leader, !standing.waiting.is_empty());
        let way = state.ways.entry(leader).or_default();
        if way.turn.is_some_and(|(whose, _)| whose == partition) {
            way.turn = None;
        }
        if waits {
            way.queue.push_back(partition);
        }
        state.next(leader, now)
    }

    /// What is to be sent now because a turn has taken too long; to be called again until there is nothing.
    pub(super) fn overdue(&self, now: u64) -> Option<Batch<T>> {
        let mut state = self.0.lock();
        let leaders: Vec<Leader> = state.ways.keys().copied().collect();
        leaders.into_iter().find_map(|leader| state.next(leader, now))
    }

    /// Who leads a partition, as far as is known. What has to wait no longer is found by [`Turns::overdue`].
    pub(super) fn led(&self, partition: Partition, broker: Option<i32>) {
        let State { partitions, ways } = &mut *self.0.lock();
        let standing = &mut partitions[partition as usize];
        let leader = broker.map_or(Leader::Unknown(partition), Leader::Broker);
        if standing.leader == leader {
            return;
        }
        if let Some(way) = ways.get_mut(&standing.leader) {
            if way.turn.is_some_and(|(whose, _)| whose == partition) {
                way.turn = None;
            }
            way.queue.retain(|other| *other != partition);
            if way.turn.is_none() && way.queue.is_empty() {
                ways.remove(&standing.leader);
            }
        }
        standing.leader = leader;
        if standing.under_way == 0 && !standing.waiting.is_empty() {
            ways.entry(leader).or_default().queue.push_back(partition);
        }
    }
}

impl<T> State<T> {
    /// Gives the next partition its turn, if the way is free.
    fn next(&mut self, leader: Leader, now: u64) -> Option<Batch<T>> {
        let way = self.ways.get_mut(&leader)?;
        if !way.is_free(now) {
            return None;
        }
        let partition = way.queue.pop_front()?;
        way.turn = Some((partition, now));
        let standing = &mut self.partitions[partition as usize];
        debug_assert!(standing.under_way == 0, "its answers give it its next turn");
        let appends = standing.take();
        debug_assert!(!appends.is_empty(), "whoever waits for a turn has something to send");
        standing.under_way = appends.len();
        Some(Batch { partition, appends })
    }
}

impl<T> Standing<T> {
    /// As many as go with one request.
    fn take(&mut self) -> Vec<T> {
        let mut taken = 0;
        let fits = |(bytes, _): &&(usize, T)| {
            taken += bytes;
            taken <= REQUEST_BYTES
        };
        let count = self.waiting.iter().take(REQUEST_RECORDS).take_while(fits).count().max(1);
        self.waiting.drain(..count.min(self.waiting.len())).map(|(_, append)| append).collect()
    }
}

#[cfg(test)]
mod tests;
