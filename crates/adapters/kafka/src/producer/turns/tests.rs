//! Turns of numbers: what is sent when, and that nothing waits for ever, overtakes or goes twice.

use std::collections::VecDeque;

use super::*;

/// A connection, and what was sent and is not answered.
struct Road {
    turns: Turns<u32>,
    now: u64,
    sent: Vec<(Partition, Vec<u32>)>,
}

impl Road {
    /// Partitions, each led by the broker that is named, or by nobody knows whom.
    fn new(leaders: &[Option<i32>]) -> Self {
        let turns = Turns::new(leaders.len());
        for (partition, leader) in leaders.iter().enumerate() {
            turns.led(partition as Partition, *leader);
        }
        Self { turns, now: 0, sent: Vec::new() }
    }

    fn send(&mut self, batch: Option<Batch<u32>>) {
        self.sent.extend(batch.map(|Batch { partition, appends }| (partition, appends)));
    }

    fn enter(&mut self, partition: Partition, append: u32) {
        let batch = self.turns.enter(self.now, partition, 1, append);
        self.send(batch);
    }

    /// The oldest request of a partition is answered, record by record.
    fn answered(&mut self, partition: Partition) -> Vec<u32> {
        let at = self.sent.iter().position(|(sent, _)| *sent == partition).expect("nothing was sent");
        let (_, appends) = self.sent.remove(at);
        for _ in &appends {
            let batch = self.turns.answered(self.now, partition, 1);
            self.send(batch);
        }
        appends
    }

    fn overdue(&mut self) {
        while let Some(batch) = self.turns.overdue(self.now) {
            self.send(Some(batch));
        }
    }

    fn sent(&self) -> Vec<(Partition, &[u32])> {
        self.sent.iter().map(|(partition, appends)| (*partition, &appends[..])).collect()
    }
}

#[test]
fn one_goes_at_once_and_the_others_of_its_partition_together_behind_it() {
    let mut road = Road::new(&[Some(1)]);
    (1..=4).for_each(|append| road.enter(0, append));
    assert_eq!(road.sent(), [(0, &[1][..])]);
    assert_eq!(road.answered(0), [1]);
    assert_eq!(road.sent(), [(0, &[2, 3, 4][..])]);
    road.enter(0, 5);
    assert_eq!(road.turns.answered(0, 0, 2).map(|batch| batch.appends), None, "one is still under way");
    assert_eq!(road.turns.answered(0, 0, 1).map(|batch| batch.appends), Some(vec![5]));
    assert!(road.turns.answered(0, 0, 1).is_none());
    road.sent.clear();
    road.enter(0, 6);
    assert_eq!(road.sent(), [(0, &[6][..])], "nothing is under way any more");
}

#[test]
fn partitions_of_one_leader_take_turns_and_gather_company() {
    let mut road = Road::new(&[Some(1), Some(1), Some(1)]);
    for append in 0..9 {
        road.enter(append % 3, append);
    }
    assert_eq!(road.sent(), [(0, &[0][..])]);
    road.answered(0);
    assert_eq!(road.sent(), [(1, &[1, 4, 7][..])]);
    road.enter(2, 9);
    road.answered(1);
    assert_eq!(road.sent(), [(2, &[2, 5, 8, 9][..])]);
    road.answered(2);
    assert_eq!(road.sent(), [(0, &[3, 6][..])], "whoever was served waits behind the others");
}

#[test]
fn partitions_of_different_leaders_do_not_wait_for_each_other() {
    let mut road = Road::new(&[Some(1), Some(2), None, None]);
    (0..4).for_each(|partition| road.enter(partition, partition));
    assert_eq!(road.sent.len(), 4);
}

#[test]
fn a_turn_that_takes_too_long_is_gone_past() {
    let mut road = Road::new(&[Some(1), Some(1), Some(1)]);
    (0..3).for_each(|partition| road.enter(partition, partition));
    road.now = TURN - 1;
    road.overdue();
    road.enter(1, 11);
    assert_eq!(road.sent.len(), 1);
    road.now = TURN;
    // By the next append, whosesoever it is, or when somebody looks.
    road.enter(2, 12);
    assert_eq!(road.sent(), [(0, &[0][..]), (1, &[1, 11][..])]);
    road.now = 2 * TURN;
    road.overdue();
    assert_eq!(road.sent().last(), Some(&(2, &[2, 12][..])));
    // The stuck one is answered at last: the turn is another's, and its own next append waits for that.
    road.answered(0);
    road.enter(0, 10);
    assert_eq!(road.sent.len(), 2);
    road.answered(1);
    assert_eq!(road.sent.len(), 1, "nor does the one that was overtaken end the turn");
    road.answered(2);
    assert_eq!(road.sent(), [(0, &[10][..])]);
}

#[test]
fn what_does_not_go_with_one_request_goes_with_the_next() {
    let road = Road::new(&[Some(1)]);
    let enter = |bytes, append| road.turns.enter(0, 0, bytes, append).map(|batch| batch.appends);
    assert_eq!(enter(2 * REQUEST_BYTES, 1), Some(vec![1]), "one is never too large");
    for append in 2..=4 {
        assert_eq!(enter(REQUEST_BYTES / 2, append), None);
    }
    (5..=REQUEST_RECORDS as u32 + 6).for_each(|append| assert_eq!(enter(0, append), None));
    let next = |count| road.turns.answered(0, 0, count).map(|batch| batch.appends);
    assert_eq!(next(1), Some(vec![2, 3]), "by their bytes");
    assert_eq!(next(2).map(|batch| batch.len()), Some(REQUEST_RECORDS), "by their number");
    assert_eq!(next(REQUEST_RECORDS), Some((5_004..=5_006).collect()));
    assert_eq!(next(3), None);
}

#[test]
fn what_was_not_sent_holds_up_nobody() {
    let road = Road::new(&[Some(1), Some(1)]);
    assert!(road.turns.enter(0, 0, 1, 1).is_some());
    assert!(road.turns.enter(0, 0, 1, 2).is_none());
    assert!(road.turns.enter(0, 1, 1, 3).is_none());
    // All of it is refused by the library, batch by batch.
    for expected in [(1, vec![3]), (0, vec![2])] {
        let before = 1 - expected.0;
        let batch = road.turns.answered(0, before, 1).expect("the next one's turn");
        assert_eq!((batch.partition, batch.appends), expected);
    }
    assert!(road.turns.answered(0, 0, 1).is_none());
    assert!(road.turns.enter(0, 1, 1, 4).is_some());
}

#[test]
fn whoever_gets_another_leader_waits_for_that_one() {
    let mut road = Road::new(&[Some(1), Some(1), Some(2), Some(1)]);
    (0..4).for_each(|partition| road.enter(partition, partition));
    assert_eq!(road.sent(), [(0, &[0][..]), (2, &[2][..])]);
    // It waits elsewhere, and the one under way has left: its turn is over.
    road.turns.led(1, Some(2));
    road.turns.led(0, Some(3));
    road.overdue();
    assert_eq!(road.sent(), [(0, &[0][..]), (2, &[2][..]), (3, &[3][..])]);
    road.answered(2);
    assert_eq!(road.sent().last(), Some(&(1, &[1][..])));
    road.enter(0, 10);
    road.answered(0);
    assert_eq!(road.sent().last(), Some(&(0, &[10][..])), "with the new leader nobody is in its way");
}

/// The same from a seed, at length: every partition's appends come in their order and once, at most one request of a partition is
/// under way, one of a leader unless a turn took too long, and in the end nothing waits.
#[test]
fn the_law_holds_whatever_happens() {
    for seed in 0..300 {
        law(seed);
    }
}

fn law(seed: u64) {
    const PARTITIONS: u32 = 6;
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut random = move |below: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % below
    };
    let mut leaders: Vec<Option<i32>> = (0..PARTITIONS).map(|_| Some(random(2) as i32)).collect();
    let mut road = Road::new(&leaders);
    let mut expected = vec![VecDeque::new(); PARTITIONS as usize];
    let mut next = 0;
    let check = |road: &mut Road, partition, expected: &mut Vec<VecDeque<u32>>| {
        for append in road.answered(partition) {
            assert_eq!(expected[partition as usize].pop_front(), Some(append), "seed {seed}");
        }
    };
    let (mut moved, mut late) = (false, false);
    for _ in 0..400 {
        match random(20) {
            0..=11 => {
                let partition = random(PARTITIONS.into()) as Partition;
                expected[partition as usize].push_back(next);
                road.enter(partition, next);
                next += 1;
            }
            12..=16 if !road.sent.is_empty() => {
                let partition = road.sent[random(road.sent.len() as u64) as usize].0;
                check(&mut road, partition, &mut expected);
            }
            17 if seed % 3 == 1 => {
                road.now += random(2 * TURN);
                late = true;
                road.overdue();
            }
            18 if seed % 3 == 2 => {
                let partition = random(PARTITIONS.into()) as usize;
                leaders[partition] = [None, Some(0), Some(1)][random(3) as usize];
                road.turns.led(partition as Partition, leaders[partition]);
                moved = true;
                road.overdue();
            }
            _ => {}
        }
        let mut under_way: Vec<_> = road.sent.iter().map(|(partition, _)| *partition).collect();
        under_way.sort_unstable();
        assert!(under_way.windows(2).all(|pair| pair[0] != pair[1]), "seed {seed}: {under_way:?}");
        if !moved && !late {
            let of = |broker| under_way.iter().filter(|it| leaders[**it as usize] == Some(broker)).count();
            assert!(of(0) <= 1 && of(1) <= 1, "seed {seed}: {under_way:?}");
        }
    }
    while let Some((partition, _)) = road.sent.first() {
        let partition = *partition;
        check(&mut road, partition, &mut expected);
    }
    assert!(expected.iter().all(VecDeque::is_empty), "seed {seed}: {expected:?} still wait");
}
