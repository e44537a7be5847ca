//! Decides which shards are followed with a wildcard. Pure: counts in, decisions out.
//!
//! A shard with `n` subjects costs `n` subscriptions, or one with a wildcard. While the sum is within the limit nothing is
//! widened. Beyond it the fullest shard goes first: that saves most, and brings in no more unwanted messages than any other
//! shard would. With clear room again the emptiest wide shard goes back first.
//!
//! When more than half of the shards are wide, most of all messages come in any case: the others are widened too, and the
//! node keeps no more subscriptions than there are shards. It goes back when everything fits one by one.

use std::collections::BTreeSet;

use hashbrown::HashMap;
use skywave_protocol::subject::LIVE_SHARDS;

/// Most subjects that a shard has one by one while the limit is not reached, unless the limit means more for each: a
/// feed looks at each of them whenever one has a message, and whoever may choose channel names can choose them all in
/// one shard.
const SHARD_MAX: usize = 32;

#[derive(Debug)]
pub(super) struct Planner {
    limit: usize,
    shard_max: usize,
    cost: usize,
    subjects: usize,
    shards: HashMap<u16, Shard>,
    /// By number of subjects.
    exact: BTreeSet<(u32, u16)>,
    wide: BTreeSet<(u32, u16)>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Shard {
    subjects: u32,
    wide: bool,
}

impl Shard {
    fn cost(self) -> usize {
        if self.wide { 1 } else { self.subjects as usize }
    }
}

impl Planner {
    pub(super) fn new(limit: usize) -> Self {
        let shard_max = SHARD_MAX.max(limit / usize::from(LIVE_SHARDS) * 4);
        Self {
            limit,
            shard_max,
            cost: 0,
            subjects: 0,
            shards: HashMap::new(),
            exact: BTreeSet::new(),
            wide: BTreeSet::new(),
        }
    }

    /// Takes in the number of subjects of a shard; with none it is forgotten.
    pub(super) fn count(&mut self, number: u16, subjects: u32) {
        self.change(number, |shard| shard.subjects = subjects);
    }

    /// Takes in how a shard is followed from now on.
    pub(super) fn switched(&mut self, number: u16, wide: bool) {
        self.change(number, |shard| shard.wide = wide);
    }

    /// A shard that should be followed with a wildcard now.
    pub(super) fn to_widen(&self) -> Option<u16> {
        let (subjects, fullest) = self.exact.last().copied()?;
        let too_full = subjects as usize > self.shard_max;
        let saves = subjects > 1;
        let too_many = self.cost > self.limit || (self.is_flooded() && self.subjects > self.limit);
        (too_full || (saves && too_many)).then_some(fullest)
    }

    /// A shard that may be followed one by one again. With room to spare, so that it does not go to and fro.
    pub(super) fn to_narrow(&self) -> Option<u16> {
        let (subjects, emptiest) = self.wide.first().copied()?;
        let then = if self.is_flooded() { self.subjects } else { self.cost + subjects as usize - 1 };
        (subjects as usize <= self.shard_max / 2 && then <= self.limit - self.limit / 4).then_some(emptiest)
    }

    fn is_flooded(&self) -> bool {
        self.wide.len() > self.shards.len() / 2
    }

    fn change(&mut self, number: u16, change: impl FnOnce(&mut Shard)) {
        let before = self.shards.remove(&number).unwrap_or_default();
        let mut after = before;
        change(&mut after);
        self.subjects = self.subjects - before.subjects as usize + after.subjects as usize;
        self.cost -= if before.subjects > 0 { before.cost() } else { 0 };
        self.set(before).remove(&(before.subjects, number));
        if after.subjects > 0 {
            self.cost += after.cost();
            self.set(after).insert((after.subjects, number));
            self.shards.insert(number, after);
        }
    }

    fn set(&mut self, shard: Shard) -> &mut BTreeSet<(u32, u16)> {
        if shard.wide { &mut self.wide } else { &mut self.exact }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn widen_all(planner: &mut Planner) -> Vec<u16> {
        let mut widened = Vec::new();
        while let Some(shard) = planner.to_widen() {
            planner.switched(shard, true);
            widened.push(shard);
        }
        widened
    }

    #[test]
    fn within_the_limit_nothing_is_widened_and_beyond_it_the_fullest_goes_first() {
        let mut planner = Planner::new(10);
        planner.count(1, 3);
        planner.count(2, 5);
        planner.count(3, 2);
        assert_eq!(widen_all(&mut planner), [0u16; 0]);
        planner.count(4, 1);
        assert_eq!(widen_all(&mut planner), [2], "eleven become seven");
        assert_eq!(planner.cost, 7);
    }

    #[test]
    fn a_shard_that_is_too_full_is_widened_whatever_the_limit() {
        for (limit, most) in [(1_000, 32), (100_000, 780)] {
            let mut planner = Planner::new(limit);
            planner.count(1, most);
            assert_eq!(planner.to_widen(), None);
            planner.count(1, most + 1);
            assert_eq!(planner.to_widen(), Some(1));
        }
    }

    #[test]
    fn single_subjects_are_never_widened() {
        let mut planner = Planner::new(0);
        planner.count(1, 1);
        planner.count(2, 1);
        assert_eq!(planner.to_widen(), None);
    }

    #[test]
    fn with_room_to_spare_the_emptiest_wide_shard_goes_back() {
        let mut planner = Planner::new(10);
        planner.count(1, 8);
        planner.count(2, 6);
        assert_eq!(widen_all(&mut planner), [1]);
        assert_eq!(planner.to_narrow(), None, "one and six: no room for eight");
        planner.count(2, 2);
        assert_eq!(planner.to_narrow(), None, "ten would fill it");
        planner.count(1, 4);
        assert_eq!(planner.to_narrow(), Some(1));
        planner.switched(1, false);
        assert_eq!((planner.cost, planner.to_narrow(), planner.to_widen()), (6, None, None));
    }

    #[test]
    fn a_flood_takes_the_rest_with_it_and_ends_when_all_fits() {
        let mut planner = Planner::new(20);
        (0..6).for_each(|shard| planner.count(shard, 5));
        assert_eq!(widen_all(&mut planner), [5, 4, 3], "thirty become eighteen");
        (0..6).for_each(|shard| planner.count(shard, 6));
        assert_eq!(widen_all(&mut planner), [2, 1, 0], "beyond a half, all");
        assert_eq!(planner.cost, 6);
        (0..6).for_each(|shard| planner.count(shard, 3));
        assert_eq!((planner.to_narrow(), planner.to_widen()), (None, None), "eighteen would nearly fill it");
        planner.count(5, 0);
        let mut narrowed = Vec::new();
        while let Some(shard) = planner.to_narrow() {
            planner.switched(shard, false);
            assert_eq!(planner.to_widen(), None, "not to and fro");
            narrowed.push(shard);
        }
        assert_eq!((narrowed, planner.cost), (vec![0, 1, 2, 3, 4], 15));
    }

    #[test]
    fn an_empty_shard_is_forgotten() {
        let mut planner = Planner::new(1);
        planner.count(1, 2);
        assert_eq!(widen_all(&mut planner), [1]);
        planner.count(1, 0);
        assert_eq!((planner.cost, planner.shards.len(), planner.wide.len()), (0, 0, 0));
    }
}
