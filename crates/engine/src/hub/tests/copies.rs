//! Pages that somebody in the region has kept, instead of reads of history.

use skywave_protocol::message::{GapReason, Recovery};

use super::support::{Out, World, behind, caught_up, page, position};

#[test]
fn a_copy_serves_as_history_does() {
    let mut world = World::short_live(100);
    world.join(2, Some(position(40)));
    assert!(world.take().is_empty());
    assert_eq!(world.past, Some(position(100)));
    assert!(world.copy("e1", 38, 70));
    assert_eq!(world.take(), [behind(2, 100)], "the copy proves that it is kept");
    world.more(2);
    assert_eq!(world.take(), [page(2, 41..=70)]);
    world.more(2);
    assert!(world.take().is_empty());
    assert!(world.copy("e1", 64, 100));
    assert_eq!(world.take(), [caught_up(2, 71..=100)]);
    assert_eq!((world.reads.len(), world.read_count), (0, 3));
}

#[test]
fn a_copy_that_does_not_follow_or_is_of_another_epoch_is_of_no_use() {
    let mut world = World::short_live(100);
    world.join(2, Some(position(40)));
    assert!(!world.copy("e1", 41, 60), "one is missing");
    assert!(!world.copy("e1", 20, 40), "nothing follows");
    assert!(!world.copy("e2", 40, 60));
    assert_eq!(world.take(), []);
    world.answer();
    assert_eq!(world.take(), [behind(2, 100)], "history is still waited for");
}

#[test]
fn what_only_history_can_tell_is_not_asked_of_a_copy() {
    let mut world = World::new();
    world.head = 100;
    world.join(1, Some(position(40)));
    world.interest();
    assert!(world.take().contains(&Out::Add));
    assert_eq!(world.past, None, "nobody knows the epoch");
    assert!(!world.copy("e1", 30, 100));
    let mut world = World::short_live(100);
    world.announce(105);
    world.head = 105;
    assert!(world.take().is_empty());
    assert_eq!(world.past, None, "what live members lack");
    assert!(!world.copy("e1", 99, 105));
}

/// A member asks for a position beyond the head; copies that others get meanwhile say nothing about it.
#[test]
fn copies_are_no_evidence_that_a_log_was_cut() {
    let mut world = World::short_live(100);
    world.join(2, Some(position(40)));
    world.join(3, Some(position(103)));
    let mut copies = 0;
    while copies < 20 {
        world.take();
        match world.reads.last() {
            Some((_, query)) if world.past.is_some() => {
                let after = query.after;
                assert!(world.copy("e1", after, after + 2));
                copies += 1;
                world.more(2);
            }
            Some(_) => break,
            None => world.wait(),
        }
    }
    let outs = world.take();
    let told =
        |out: &Out| matches!(out, Out::Joined { who: 3, .. } | Out::Behind { who: 3, .. } | Out::Failed(3));
    assert!(!outs.iter().any(told), "{outs:?}");
    world.head = 103;
    world.answer();
    while !world
        .take()
        .iter()
        .any(|out| matches!(out, Out::Joined { who: 3, recovery: Some(Recovery::Exact), .. }))
    {
        world.wait();
        world.answer();
    }
}

#[test]
fn what_retention_has_taken_may_still_be_copied() {
    let mut world = World::short_live(100);
    world.first = 60;
    world.join(2, Some(position(40)));
    assert!(world.copy("e1", 40, 50));
    assert_eq!(world.take(), [behind(2, 100)]);
    world.more(2);
    assert_eq!(world.take(), [page(2, 41..=50)]);
    world.more(2);
    world.answer();
    let gap = Some((51, 59, GapReason::Retention));
    assert_eq!(world.take(), [Out::CatchUp { who: 2, gap, missed: (60..=79).collect(), live: false }]);
}
