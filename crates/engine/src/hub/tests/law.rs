//! The law of the hub, for any interleaving: every member gets a dense run of offsets from its position on, holes only
//! where they were announced, and in the end everything.

use std::collections::BTreeMap;

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
    /// The read under way is answered, refused, or answered by a core that is behind.
    Answer,
    Refuse,
    AnswerStale,
    /// The next deadline comes.
    Wait,
    /// Retention takes the oldest half.
    Forget,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => any::<bool>().prop_map(|lost| Step::Append { lost }),
        2 => (0u64..8).prop_map(|back| Step::Late { back }),
        1 => Just(Step::Announce),
        3 => (1u64..6, prop::option::of(0u64..30)).prop_map(|(who, back)| Step::Join { who, back }),
        1 => (1u64..6).prop_map(|who| Step::Leave { who }),
        4 => Just(Step::Answer),
        1 => Just(Step::Refuse),
        1 => Just(Step::AnswerStale),
        1 => Just(Step::Wait),
        1 => Just(Step::Forget),
    ]
}

#[derive(Default)]
struct Members {
    /// What each member has: everything up to here, or told that it is missing.
    seen: BTreeMap<u64, u64>,
    /// Where those who wait want to go on.
    asked: BTreeMap<u64, u64>,
    /// Answers of a core that was behind.
    stale: u32,
}

impl Members {
    fn asked(&mut self, who: u64, from: Option<u64>) {
        self.seen.remove(&who);
        match from {
            Some(from) => self.asked.insert(who, from),
            None => self.asked.remove(&who),
        };
    }

    fn see(&mut self, outs: Vec<Out>) {
        for out in outs {
            match out {
                Out::Joined { who, at, recovery, missed } => {
                    let at = at.expect("the channel is durable");
                    let mut seen = match (self.asked.remove(&who), recovery) {
                        (None, None) => at,
                        (Some(asked), Some(Recovery::Exact)) => asked,
                        // A core that is behind time and again cannot be told from a log that was cut.
                        (Some(asked), Some(Recovery::Gap { from, to, reason: GapReason::Failover })) => {
                            assert!(self.stale >= 5 && from == at + 1 && to == asked);
                            at
                        }
                        (Some(asked), Some(Recovery::Gap { from, to, reason })) => {
                            assert_eq!(from, asked + 1);
                            assert!(matches!(reason, GapReason::Retention | GapReason::Unavailable));
                            to
                        }
                        (asked, recovery) => panic!("asked from {asked:?}, got {recovery:?}"),
                    };
                    for offset in missed {
                        assert_eq!(offset, seen + 1);
                        seen = offset;
                    }
                    assert_eq!(seen, at);
                    self.seen.insert(who, at);
                }
                Out::Deliver(offset) => self.seen.values_mut().for_each(|seen| {
                    assert_eq!(offset, *seen + 1);
                    *seen = offset;
                }),
                Out::Gap(from, to, _) => self.seen.values_mut().for_each(|seen| {
                    assert!(from == *seen + 1 && to >= from, "{from} to {to} after {seen}");
                    *seen = to;
                }),
                Out::Add | Out::Drop | Out::Failed(_) => {}
            }
        }
    }
}

fn apply(world: &mut World, members: &mut Members, step: Step) {
    match step {
        Step::Append { lost: true } => world.head += 1,
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
            members.see(outs);
            let Some((id, query)) = world.reads.pop() else { return };
            let error = || skywave_protocol::WireError::new(skywave_protocol::ErrorCode::Timeout, "slow");
            let head = world.head;
            if matches!(step, Step::AnswerStale) {
                members.stale += 1;
                world.head = head.saturating_sub(3);
            }
            let answer = match step {
                Step::Refuse => Err(error()),
                _ => Ok(world.history(&query)),
            };
            world.head = head;
            world.hub.handle_history(world.now, id, answer);
        }
        Step::Wait => {
            if world.hub.poll_timeout().is_some() {
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
    members.see(outs);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, ..ProptestConfig::default() })]

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
        // All is well again: the interest stands, core answers, and announces its head.
        apply(&mut world, &mut members, Step::Join { who: 9, back: Some(2) });
        for _ in 0..200 {
            apply(&mut world, &mut members, Step::Answer);
            if world.hub.poll_timeout().is_some_and(|at| at < world.now + 60_000) && world.reads.is_empty() {
                world.interest();
                apply(&mut world, &mut members, Step::Wait);
            }
            apply(&mut world, &mut members, Step::Announce);
        }
        prop_assert_eq!(members.seen.get(&9), Some(&world.head));
        for (who, seen) in &members.seen {
            prop_assert_eq!(seen, &world.head, "member {}", who);
        }
    }
}
