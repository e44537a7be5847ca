//! The law of the hub, for any interleaving: every member gets a dense run of offsets from its position on, holes only
//! where they were announced, and in the end everything.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use skywave_protocol::message::{GapReason, Recovery};

use super::super::HubConfig;
use super::support::{Out, World, position};

#[derive(Debug, Clone)]
enum Step {
    /// A new publication reaches the log, and the bus (or not).
    Append {
        lost: bool,
    },
    /// Many at once, all of them lost by the bus.
    Flood {
        count: u64,
    },
    /// The bus brings an old publication (again).
    Late {
        back: u64,
    },
    Announce,
    Join {
        who: u64,
        back: Option<u64>,
    },
    Leave {
        who: u64,
    },
    /// A connection has room for a page.
    More {
        who: u64,
    },
    /// The read under way is answered, refused, or answered by a core that is behind.
    Answer,
    Refuse,
    AnswerStale,
    /// Somebody has kept what is read, and a little of what stands before it.
    Copy {
        before: u64,
        length: u64,
    },
    /// The next deadline comes.
    Wait,
    /// Retention takes the oldest half.
    Forget,
    /// The store loses one of the newest publications.
    Lose {
        back: u64,
    },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => any::<bool>().prop_map(|lost| Step::Append { lost }),
        1 => (1u64..30).prop_map(|count| Step::Flood { count }),
        2 => (0u64..8).prop_map(|back| Step::Late { back }),
        1 => Just(Step::Announce),
        3 => (1u64..6, prop::option::of(0u64..80)).prop_map(|(who, back)| Step::Join { who, back }),
        1 => (1u64..6).prop_map(|who| Step::Leave { who }),
        5 => (1u64..6).prop_map(|who| Step::More { who }),
        4 => Just(Step::Answer),
        1 => Just(Step::Refuse),
        1 => Just(Step::AnswerStale),
        2 => (0u64..6, 1u64..12).prop_map(|(before, length)| Step::Copy { before, length }),
        1 => Just(Step::Wait),
        1 => Just(Step::Forget),
        1 => (0u64..40).prop_map(|back| Step::Lose { back }),
    ]
}

#[derive(Default)]
struct Members {
    /// What each member has: everything up to here, or told that it is missing.
    seen: BTreeMap<u64, u64>,
    /// Where those who wait want to go on.
    asked: BTreeMap<u64, u64>,
    /// Who is catching up, and whether it has room for a page.
    behind: BTreeMap<u64, bool>,
    /// Publications the store has lost.
    lost: BTreeSet<u64>,
    /// Answers of a core that was behind.
    stale: u32,
    /// Reads were refused, or not answered in time.
    refused: bool,
}

impl Members {
    fn asked(&mut self, who: u64, from: Option<u64>) {
        self.seen.remove(&who);
        self.behind.remove(&who);
        match from {
            Some(from) => self.asked.insert(who, from),
            None => self.asked.remove(&who),
        };
    }

    fn more(&mut self, who: u64) {
        if let Some(room) = self.behind.get_mut(&who) {
            *room = true;
        }
    }

    /// What is announced as lost really cannot be had; `first` is the oldest publication that retention has left.
    fn assert_gone(&self, from: u64, to: u64, reason: GapReason, first: u64) {
        let gone = match reason {
            GapReason::Retention => to < first,
            GapReason::Unavailable => {
                self.refused || (from..=to).all(|offset| offset < first || self.lost.contains(&offset))
            }
            GapReason::Epoch | GapReason::Failover => false,
        };
        assert!(gone, "{from} to {to} could be had: {reason:?}");
    }

    fn live(&mut self) -> impl Iterator<Item = &mut u64> {
        let Self { seen, behind, .. } = self;
        seen.iter_mut().filter(|(who, _)| !behind.contains_key(who)).map(|(_, seen)| seen)
    }

    /// Where a member stands after the answer to its join.
    fn joined(&mut self, who: u64, at: u64, recovery: Option<Recovery>, first: u64) -> u64 {
        match (self.asked.remove(&who), recovery) {
            (None, None) => at,
            (Some(asked), Some(Recovery::Exact)) => asked,
            // A core that is behind time and again cannot be told from a log that was cut.
            (Some(asked), Some(Recovery::Gap { from, to, reason: GapReason::Failover })) => {
                assert!(self.stale >= 5 && from == at + 1 && to == asked);
                at
            }
            (Some(asked), Some(Recovery::Gap { from, to, reason })) => {
                assert_eq!(from, asked + 1);
                self.assert_gone(from, to, reason, first);
                to
            }
            (asked, recovery) => panic!("asked from {asked:?}, got {recovery:?}"),
        }
    }

    fn see(&mut self, outs: Vec<Out>, first: u64) {
        for out in outs {
            match out {
                Out::Joined { who, at, recovery, missed } => {
                    let at = at.expect("the channel is durable");
                    let mut seen = self.joined(who, at, recovery, first);
                    for offset in missed {
                        assert_eq!(offset, seen + 1);
                        seen = offset;
                    }
                    assert_eq!(seen, at);
                    self.seen.insert(who, at);
                }
                Out::Behind { who, at, recovery } => {
                    let seen = self.joined(who, at, recovery, first);
                    assert!(seen < at);
                    self.seen.insert(who, seen);
                    self.behind.insert(who, false);
                }
                Out::CatchUp { who, gap, missed, live } => {
                    let room = self.behind.get_mut(&who).expect("it is catching up");
                    assert!(std::mem::take(room), "nothing comes that was not asked for");
                    assert!(live || gap.is_some() || !missed.is_empty(), "something comes");
                    let mut seen = self.seen[&who];
                    if let Some((from, to, reason)) = gap {
                        assert!(from == seen + 1 && to >= from, "{from} to {to} after {seen}");
                        self.assert_gone(from, to, reason, first);
                        seen = to;
                    }
                    for offset in missed {
                        assert_eq!(offset, seen + 1);
                        seen = offset;
                    }
                    self.seen.insert(who, seen);
                    if live {
                        self.behind.remove(&who);
                    }
                }
                Out::Deliver(offset) => self.live().for_each(|seen| {
                    assert_eq!(offset, *seen + 1);
                    *seen = offset;
                }),
                Out::Gap(from, to, reason) => {
                    self.assert_gone(from, to, reason, first);
                    self.live().for_each(|seen| {
                        assert!(from == *seen + 1 && to >= from, "{from} to {to} after {seen}");
                        *seen = to;
                    });
                }
                Out::Failed(who) => drop(self.asked.remove(&who)),
                Out::Add | Out::Drop => {}
            }
        }
    }
}

fn apply(world: &mut World, members: &mut Members, step: Step) {
    match step {
        Step::Append { lost: true } => world.head += 1,
        Step::Flood { count } => world.head += count,
        Step::Lose { back } => {
            let offset = world.head.saturating_sub(back);
            world.lost.insert(offset);
            members.lost.insert(offset);
        }
        Step::More { who } => {
            members.more(who);
            world.more(who);
        }
        Step::Append { lost: false } => world.publish(world.head + 1),
        Step::Late { back } if world.head > back => world.publish(world.head - back),
        Step::Late { .. } => {}
        Step::Announce => world.announce(world.head),
        Step::Join { who, back } => {
            let from = back.map(|back| world.head.saturating_sub(back));
            members.asked(who, from);
            world.join(who, from.map(position));
            world.interest();
        }
        Step::Leave { who } => {
            members.asked(who, None);
            world.leave(who);
        }
        Step::Answer | Step::AnswerStale | Step::Refuse => {
            let outs = world.take();
            members.see(outs, world.first);
            let Some((id, query)) = world.reads.pop() else { return };
            let error = || skywave_protocol::WireError::new(skywave_protocol::ErrorCode::Timeout, "slow");
            let head = world.head;
            if matches!(step, Step::AnswerStale) {
                members.stale += 1;
                members.refused = true;
                world.head = head.saturating_sub(3);
            }
            let answer = match step {
                Step::Refuse => {
                    members.refused = true;
                    Err(error())
                }
                _ => Ok(world.history(&query)),
            };
            world.head = head;
            world.hub.handle_history(world.now, id, answer);
        }
        Step::Copy { before, length } => {
            let outs = world.take();
            members.see(outs, world.first);
            let Some((_, query)) = world.reads.last() else { return };
            let (after, end) = (query.after.saturating_sub(before), world.head.min(query.after + length));
            if let Some(past) = world.past.clone().filter(|_| after < end) {
                assert!(query.after < past.offset && past.offset <= world.head);
                let serves = query.after < end;
                assert_eq!(world.copy("e1", after, end), serves);
            }
        }
        Step::Wait => {
            if world.hub.poll_timeout().is_some() {
                members.refused |= !world.reads.is_empty();
                world.wait();
                // A read that has timed out is not answered any more.
                if world.hub.fetches() == 0 {
                    world.reads.clear();
                }
            }
        }
        Step::Forget => world.first = world.first.max(world.head / 2),
    }
    let outs = world.take();
    members.see(outs, world.first);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, ..ProptestConfig::default() })]

    #[test]
    fn members_get_everything_in_order(
        steps in prop::collection::vec(step(), 1..120),
        ring in 1usize..12,
        page in 1u32..8,
        pending in 1usize..6,
        margin in 0u32..4,
    ) {
        let mut world = World::with(HubConfig {
            ring_publications: ring,
            page,
            pending_publications: pending,
            recovery_margin: margin,
            attempts: 3,
            ..HubConfig::default()
        });
        let mut members = Members::default();
        for step in steps {
            apply(&mut world, &mut members, step);
        }
        // All is well again: the interest stands, core answers, announces its head, and everybody reads.
        for _ in 0..3_000 {
            if members.seen.contains_key(&9) && members.seen.values().all(|seen| *seen == world.head) {
                break;
            }
            if !members.seen.contains_key(&9) && !members.asked.contains_key(&9) {
                apply(&mut world, &mut members, Step::Join { who: 9, back: Some(2) });
            }
            apply(&mut world, &mut members, Step::Answer);
            if world.hub.poll_timeout().is_some_and(|at| at < world.now + 60_000) && world.reads.is_empty() {
                world.interest();
                apply(&mut world, &mut members, Step::Wait);
            }
            apply(&mut world, &mut members, Step::Announce);
            for who in 1..=9 {
                apply(&mut world, &mut members, Step::More { who });
            }
        }
        prop_assert_eq!(members.seen.get(&9), Some(&world.head));
        for (who, seen) in &members.seen {
            prop_assert_eq!(seen, &world.head, "member {}", who);
        }
        (1..=9).for_each(|who| apply(&mut world, &mut members, Step::More { who }));
        prop_assert!(members.behind.is_empty(), "who has everything is live");
    }
}
