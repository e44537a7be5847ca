//! What the bus does to messages: loses, doubles, delays (and so reorders) them, and is cut between nodes.

use std::collections::BTreeSet;

use super::Time;
use crate::random::Random;

/// What is not delayed on purpose arrives within this.
pub(super) const IN_TIME: Time = 4;

/// A process on the bus.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Node {
    Edge(usize),
    Core(usize),
}

#[derive(Debug)]
pub(super) struct Network {
    /// In per mille.
    pub(super) loss: u64,
    pub(super) duplication: u64,
    pub(super) straggling: u64,
    /// From → to.
    pub(super) cuts: BTreeSet<(Node, Node)>,
    pub(super) dropped: u64,
    pub(super) doubled: u64,
    pub(super) delayed: u64,
}

impl Network {
    pub(super) fn quiet() -> Self {
        let (dropped, doubled, delayed) = (0, 0, 0);
        Self { loss: 0, duplication: 0, straggling: 0, cuts: BTreeSet::new(), dropped, doubled, delayed }
    }

    pub(super) fn calm(&mut self) {
        (self.loss, self.duplication, self.straggling) = (0, 0, 0);
        self.cuts.clear();
    }

    /// The delays after which copies of a message arrive: none, one or two.
    pub(super) fn copies(&mut self, random: &mut Random, from: Node, to: Node) -> ([Option<Time>; 2], bool) {
        if from == to {
            return ([Some(0), None], false);
        }
        if self.cuts.contains(&(from, to)) || random.chance(self.loss) {
            self.dropped += 1;
            return ([None, None], true);
        }
        let second = random.chance(self.duplication);
        self.doubled += u64::from(second);
        let first = self.delay(random);
        ([Some(first), second.then(|| self.delay(random))], false)
    }

    fn delay(&mut self, random: &mut Random) -> Time {
        if random.chance(self.straggling) {
            self.delayed += 1;
            return random.between(50, 1_500);
        }
        random.between(1, IN_TIME)
    }
}
