//! The nodes of a region, and which of them serves a key best.
//!
//! - Every node says now and then that it is there ([`NodeBeat`]): who, where clients reach it, how full it is, whether it is
//!   leaving. A node that is silent for its lease is gone; one that is leaving takes no further keys at once.
//! - The nodes stand on a consistent-hash ring by their addresses, so that a node that was restarted takes back what it had. A
//!   key belongs to the first of its [candidates](RegionConfig::candidates), as long as that one has not much more than its
//!   share of the connections ([`RegionConfig::bound_percent`]); else to the candidate with the fewest.
//! - When the nodes have not changed for a while, what has moved since the last time is told, so that connections can follow.
//!
//! Nodes may for a moment disagree about all of this. Placement is for efficiency: any node serves any key.
//!
//! Owns: who is a member, the ring, the beats of this node. Never: sends, moves a connection, or refuses one.

mod config;
mod hash;
mod output;
mod ring;

use std::collections::BTreeMap;
use std::sync::Arc;

use skywave_protocol::NodeId;
use skywave_protocol::inner::NodeBeat;

pub use config::RegionConfig;
pub use hash::KeyDigest;
pub use output::{MovedRanges, RegionOutput};

use crate::time::{Millis, earlier};
use output::Outputs;
use ring::Ring;

/// One node's view of its region. Call `poll_output` until it is empty after every `handle_*`.
#[derive(Debug)]
pub struct Region {
    config: RegionConfig,
    me: Node,
    /// The others, also those that are leaving: an older beat must not bring them back.
    nodes: BTreeMap<NodeId, Node>,
    ring: Ring,
    /// The ring when it last rested (not since this node began), and when the present one will have.
    settled: Option<Ring>,
    settle_at: Option<Millis>,
    beat_at: Millis,
    out: Outputs,
}

#[derive(Debug)]
struct Node {
    beat: NodeBeat,
    heard_at: Millis,
    /// Clients sent there since it last said how many it has.
    sent: u32,
}

/// A node that serves a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    pub node: NodeId,
    /// Base URL to connect to.
    pub url: Arc<str>,
}

impl Region {
    /// This node begins to take part; its first beat is due at once. `node` must be new with every start of the process,
    /// `url` should be the same after a restart.
    pub fn new(now: Millis, node: NodeId, url: Arc<str>, capacity: u32, config: RegionConfig) -> Self {
        let beat = NodeBeat { node, url, sequence: 0, connections: 0, capacity, draining: false };
        let mut ring = Ring::new(config.virtual_nodes);
        ring.insert(&beat.url);
        Self {
            me: Node { beat, heard_at: now, sent: 0 },
            nodes: BTreeMap::new(),
            settled: None,
            // Those who were here before have not been heard of yet.
            settle_at: Some(now + config.settle_ms),
            ring,
            beat_at: now,
            config,
            out: Outputs::default(),
        }
    }

    /// A beat of any node of the region; this node's own are ignored.
    pub fn handle_beat(&mut self, now: Millis, beat: NodeBeat) {
        if beat.node == self.me.beat.node {
            return;
        }
        let full = self.nodes.len() >= self.config.nodes;
        match self.nodes.get_mut(&beat.node) {
            // Late, or twice: it proves nothing.
            Some(known) if beat.sequence <= known.beat.sequence => return,
            Some(known) => {
                known.heard_at = now;
                known.sent = 0;
                known.beat = beat;
            }
            None if full => return,
            None => {
                // It should not have to wait for what there is to know.
                let spread = hash::between(&self.me.beat.node, &beat.node) % (self.config.beat_ms / 4).max(1);
                self.beat_at = self.beat_at.min(now + spread);
                self.nodes.insert(beat.node.clone(), Node { beat, heard_at: now, sent: 0 });
            }
        }
        self.review(now);
    }

    /// Time passes. `connections`: how many this node has, for its next beat.
    pub fn handle_timeout(&mut self, now: Millis, connections: u32) {
        let lease = self.config.lease_ms;
        let before = self.nodes.len();
        let gone: Vec<Node> =
            self.nodes.extract_if(.., |_, node| now >= node.heard_at + lease).map(|(_, node)| node).collect();
        let speaks = self.nodes.keys().all(|other| self.me.beat.node < *other);
        for Node { beat, .. } in gone {
            if speaks && !beat.draining {
                self.out.push(RegionOutput::Lost(beat.node));
            }
        }
        if self.nodes.len() < before {
            self.review(now);
        }
        if self.settle_at.take_if(|at| *at <= now).is_some() {
            self.settle();
        }
        if self.beat_at <= now {
            self.me.beat.connections = connections;
            self.beat(now);
        }
    }

    /// When `handle_timeout` wants to be called next.
    pub fn poll_timeout(&self) -> Millis {
        let expiry = self.nodes.values().map(|node| node.heard_at + self.config.lease_ms).min();
        earlier(Some(self.beat_at), earlier(self.settle_at, expiry)).unwrap_or(self.beat_at)
    }

    pub fn poll_output(&mut self) -> Option<RegionOutput> {
        self.out.poll()
    }

    /// This node takes no further keys, and says so at once.
    pub fn leave(&mut self, now: Millis) {
        if !self.me.beat.draining {
            self.me.beat.draining = true;
            self.review(now);
            self.beat(now);
        }
    }

    /// The nodes for a key, best first, at most [`RegionConfig::candidates`]. Empty when every node is leaving. Who is
    /// sent to the first one is to be told of with [`Region::sent`].
    pub fn route(&self, key: KeyDigest) -> Vec<Place> {
        let mut candidates: Vec<&Node> =
            self.ring.candidates(key, self.config.candidates).filter_map(|url| self.serving(url)).collect();
        let bound = self.bound();
        let fits = |node: &&Node| node.load() < bound && node.load() < node.beat.capacity;
        // The first one keeps its place while it fits; the others stand by how much is on them.
        let keeps = candidates.first().is_some_and(fits);
        let from = usize::from(keeps).min(candidates.len());
        candidates[from..].sort_by_key(|node| (node.load() >= node.beat.capacity, node.load()));
        candidates
            .into_iter()
            .map(|Node { beat, .. }| Place { node: beat.node.clone(), url: beat.url.clone() })
            .collect()
    }

    /// A client was sent to this node: it counts there until the node says how many it has.
    pub fn sent(&mut self, node: &NodeId) {
        if let Some(node) = self.nodes.get_mut(node) {
            node.sent = node.sent.saturating_add(1);
        } else if *node == self.me.beat.node {
            self.me.sent = self.me.sent.saturating_add(1);
        }
    }

    /// Whether the key belongs to this node, or to nobody else.
    pub fn is_mine(&self, key: KeyDigest) -> bool {
        self.route(key).first().is_none_or(|place| place.url == self.me.beat.url)
    }

    /// Whether the nodes have not changed for a while: then they agree, as far as they hear each other.
    pub fn is_settled(&self) -> bool {
        self.settle_at.is_none()
    }

    /// Nodes that take clients, this one included.
    pub fn serving_nodes(&self) -> usize {
        self.all().filter(|node| !node.beat.draining).count()
    }

    fn all(&self) -> impl Iterator<Item = &Node> {
        self.nodes.values().chain([&self.me])
    }

    /// The node behind an address. Of several (a new process while the old one is not forgotten) the one heard of last.
    fn serving(&self, url: &str) -> Option<&Node> {
        let here = |node: &&Node| !node.beat.draining && *node.beat.url == *url;
        if here(&&self.me) {
            return Some(&self.me);
        }
        self.nodes.values().filter(here).max_by_key(|node| node.heard_at)
    }

    /// Connections beyond which a node is passed over for a key of its own.
    fn bound(&self) -> u32 {
        let (mut nodes, mut load) = (0u64, 0u64);
        for node in self.all().filter(|node| !node.beat.draining) {
            nodes += 1;
            load += u64::from(node.load());
        }
        let share = ((load + 1) * u64::from(self.config.bound_percent)).div_ceil(100 * nodes.max(1));
        u32::try_from(share).unwrap_or(u32::MAX).max(self.config.bound_least)
    }

    fn beat(&mut self, now: Millis) {
        self.me.beat.sequence += 1;
        self.me.sent = 0;
        self.beat_at = now + self.config.beat_ms;
        self.out.push(RegionOutput::Publish(self.me.beat.clone()));
    }

    /// Puts the ring in order after nodes have come, gone or begun to leave.
    fn review(&mut self, now: Millis) {
        let mut present: Vec<Arc<str>> =
            self.all().filter(|node| !node.beat.draining).map(|node| node.beat.url.clone()).collect();
        present.sort_unstable();
        present.dedup();
        if self.ring.replace(&present) {
            self.settle_at = Some(now + self.config.settle_ms);
        }
    }

    fn settle(&mut self) {
        let Some(before) = self.settled.replace(self.ring.clone()) else { return };
        let moved = before.moved_from(&self.me.beat.url, &self.ring);
        if !moved.is_empty() && !self.me.beat.draining {
            self.out.push(RegionOutput::Moved(moved));
        }
    }
}

impl Node {
    fn load(&self) -> u32 {
        self.beat.connections.saturating_add(self.sent)
    }
}

#[cfg(test)]
mod tests;
