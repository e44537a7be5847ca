//! Members that are further behind than the ring: page by page, at their own pace, exact whatever the distance.

use std::ops::RangeInclusive;

use skywave_protocol::message::{GapReason, Recovery};

use super::super::HubConfig;
use super::support::{Out, World, behind, caught_up, page, position};

/// Lets a member read until it is live, and answers what it got.
fn catch_up(world: &mut World, who: u64) -> Vec<u64> {
    let mut got = Vec::new();
    for _ in 0..10_000 {
        world.more(who);
        world.answer();
        for out in world.take() {
            match out {
                Out::CatchUp { who: of, gap: None, missed, live } if of == who => {
                    got.extend(missed);
                    if live {
                        return got;
                    }
                }
                Out::Deliver(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }
    panic!("it got {} and is not live", got.len());
}

fn offsets(range: RangeInclusive<u64>) -> Vec<u64> {
    range.collect()
}

#[test]
fn whatever_the_distance_everything_comes_page_by_page() {
    for known in [false, true] {
        let mut world = if known { World::short_live(50_000) } else { World::short(50_000) };
        world.join(2, Some(position(7)));
        world.interest();
        world.answer();
        assert_eq!(world.take().last(), Some(&behind(2, 50_000)), "it is told before all is read");
        assert_eq!(catch_up(&mut world, 2), offsets(8..=50_000));
        world.publish(50_001);
        assert_eq!(world.take(), [Out::Deliver(50_001)]);
        assert_eq!(world.hub.poll_timeout(), None, "no page is kept for nobody");
    }
}

#[test]
fn nothing_comes_that_was_not_asked_for() {
    let mut world = World::short_live(100);
    world.join(2, Some(position(0)));
    world.answer();
    assert_eq!(world.take(), [behind(2, 100)]);
    for offset in 101..=130 {
        world.publish(offset);
    }
    assert_eq!(world.take(), offsets(101..=130).into_iter().map(Out::Deliver).collect::<Vec<_>>());
    assert_eq!((world.reads.len(), world.read_count), (0, 2), "nor is it read");
    world.wait();
    world.more(2);
    world.more(2);
    world.answer();
    assert_eq!(world.take(), [page(2, 1..=20)], "asking twice is asking once");
    world.more(1);
    world.more(7);
    assert_eq!(world.take(), [], "who is live or unknown gets nothing");
}

#[test]
fn those_in_the_same_place_share_pages() {
    let mut world = World::short(200);
    for who in 1..=1_000 {
        world.join(who, Some(position(0)));
    }
    world.interest();
    world.answer();
    assert_eq!(world.take().len(), 1 + 1_000);
    let mut caught_up = 0;
    while caught_up < 1_000 {
        (1..=1_000).for_each(|who| world.more(who));
        world.answer();
        let outs = world.take();
        assert_eq!(outs.len(), 1_000);
        caught_up += outs.iter().filter(|out| matches!(out, Out::CatchUp { live: true, .. })).count();
    }
    assert_eq!(world.read_count, 10, "as many as there are pages");
}

#[test]
fn a_page_serves_those_who_come_a_moment_later_too() {
    let mut world = World::short_live(100);
    world.join(2, Some(position(40)));
    world.answer();
    world.join(3, Some(position(50)));
    assert_eq!(world.take(), [behind(2, 100), behind(3, 100)], "the page proves that it is kept");
    world.more(3);
    world.more(2);
    assert_eq!(world.take(), [page(3, 51..=60), page(2, 41..=60)]);
    assert_eq!(world.read_count, 2);
    world.wait();
    world.join(4, Some(position(50)));
    world.answer();
    assert_eq!((world.take(), world.read_count), (vec![behind(4, 100)], 3), "but not for ever");
}

#[test]
fn one_that_does_not_read_holds_up_nobody() {
    let mut world = World::short_live(100);
    for who in [2, 3] {
        world.join(who, Some(position(0)));
    }
    world.answer();
    world.take();
    assert_eq!(catch_up(&mut world, 3), offsets(1..=100));
    world.publish(101);
    assert_eq!(world.take(), [Out::Deliver(101)]);
    assert_eq!(catch_up(&mut world, 2), offsets(1..=101), "and loses nothing itself");
}

#[test]
fn those_who_ask_take_turns() {
    let mut world = World::short_live(1_000);
    for (who, offset) in [(2, 500), (3, 100), (4, 300)] {
        world.join(who, Some(position(offset)));
        world.answer();
    }
    world.take();
    world.wait();
    for who in [2, 3, 4] {
        world.more(who);
    }
    let mut first = Vec::new();
    for _ in 0..3 {
        let (id, query) = world.read();
        first.push(query.after);
        let answer = world.history(&query);
        world.hub.handle_history(world.now, id, Ok(answer));
    }
    first.sort_unstable();
    assert_eq!(first, [100, 300, 500]);
}

#[test]
fn a_joiner_is_not_held_up_by_those_who_catch_up_nor_they_by_joiners() {
    let mut world = World::short_live(10_000);
    world.join(2, Some(position(0)));
    world.answer();
    world.take();
    let (mut joined, mut pages) = (0, 0);
    for round in 0..30 {
        world.more(2);
        // Somebody new, each time somewhere else.
        world.join(100 + round, Some(position(5_000 + 100 * round)));
        let (id, query) = world.read();
        let answer = world.history(&query);
        world.hub.handle_history(world.now, id, Ok(answer));
        for out in world.take() {
            joined += u32::from(matches!(out, Out::Behind { .. }));
            pages += u32::from(matches!(out, Out::CatchUp { who: 2, .. }));
        }
    }
    assert!(joined >= 25 && pages >= 10, "{joined} joined, {pages} pages");
}

#[test]
fn what_retention_takes_meanwhile_is_announced() {
    let mut world = World::short_live(100);
    world.join(2, Some(position(0)));
    world.answer();
    world.more(2);
    world.answer();
    assert_eq!(world.take(), [behind(2, 100), page(2, 1..=20)]);
    world.first = 61;
    world.more(2);
    world.answer();
    let gap = Some((21, 60, GapReason::Retention));
    assert_eq!(world.take(), [Out::CatchUp { who: 2, gap, missed: offsets(61..=80), live: false }]);
    assert_eq!(catch_up(&mut world, 2), offsets(81..=100));
}

#[test]
fn what_the_ring_still_has_is_not_lost_when_retention_takes_everything() {
    let mut world = World::short_live(100);
    world.join(2, Some(position(50)));
    world.answer();
    for offset in 101..=110 {
        world.publish(offset);
    }
    world.take();
    (world.first, world.now) = (111, world.now + 5_000);
    world.hub.handle_timeout(world.now);
    world.more(2);
    world.answer();
    let gap = Some((51, 100, GapReason::Retention));
    assert_eq!(world.take(), [Out::CatchUp { who: 2, gap, missed: offsets(101..=110), live: true }]);
}

#[test]
fn a_position_that_retention_has_passed_goes_on_behind_a_gap() {
    let mut world = World::short_live(100);
    world.first = 41;
    world.join(2, Some(position(5)));
    world.answer();
    let recovery = Some(Recovery::Gap { from: 6, to: 40, reason: GapReason::Retention });
    assert_eq!(world.take(), [Out::Behind { who: 2, at: 100, recovery }]);
    assert_eq!(catch_up(&mut world, 2), offsets(41..=100));
}

#[test]
fn a_hole_in_the_store_is_looked_at_again_and_then_announced() {
    let mut world = World::short_live(100);
    world.lost.extend([31, 32]);
    world.join(2, Some(position(10)));
    world.answer();
    world.more(2);
    assert_eq!(world.take(), [behind(2, 100), page(2, 11..=30)]);
    world.more(2);
    for attempt in 1..=HubConfig::default().attempts {
        assert_eq!(world.take(), [], "attempt {attempt}");
        let (id, query) = world.read();
        let answer = world.history(&query);
        world.hub.handle_history(world.now, id, Ok(answer));
        if attempt < HubConfig::default().attempts {
            world.wait_for_retry();
        }
    }
    let gap = Some((31, 32, GapReason::Unavailable));
    assert_eq!(world.take(), [Out::CatchUp { who: 2, gap, missed: vec![], live: false }]);
    assert_eq!(catch_up(&mut world, 2), offsets(33..=100));
}

#[test]
fn when_history_cannot_be_read_it_goes_on_where_the_ring_begins() {
    let mut world = World::short_live(100);
    world.join(2, Some(position(10)));
    world.answer();
    for offset in 101..=105 {
        world.publish(offset);
    }
    world.take();
    world.wait();
    world.more(2);
    for attempt in 1..=HubConfig::default().attempts {
        world.fail_read();
        if attempt < HubConfig::default().attempts {
            world.wait_for_retry();
        }
    }
    let gap = Some((11, 100, GapReason::Unavailable));
    assert_eq!(world.take(), [Out::CatchUp { who: 2, gap, missed: offsets(101..=105), live: true }]);
}

#[test]
fn a_read_that_fails_once_is_repeated() {
    let mut world = World::short_live(100);
    world.join(2, Some(position(10)));
    world.answer();
    world.wait();
    world.more(2);
    world.fail_read();
    world.wait_for_retry();
    assert_eq!(world.take(), [behind(2, 100)]);
    assert_eq!(catch_up(&mut world, 2), offsets(11..=100));
}

#[test]
fn a_page_that_cannot_be_read_holds_up_nobody_else() {
    let mut world = World::short_live(100);
    world.join(2, Some(position(10)));
    world.answer();
    world.wait();
    world.more(2);
    world.fail_read();
    world.publish(102);
    world.answer();
    assert_eq!(world.take(), [behind(2, 100), Out::Deliver(101), Out::Deliver(102)]);
    world.wait_for_retry();
    assert_eq!(catch_up(&mut world, 2), offsets(11..=102));
}

#[test]
fn another_epoch_ends_the_catching_up() {
    let mut world = World::short_live(100);
    world.join(2, Some(position(0)));
    world.answer();
    world.take();
    (world.epoch, world.head) = (super::support::epoch("e2"), 30);
    world.publish_in("e2", 30);
    world.answer();
    let gap = Some((1, 29, GapReason::Epoch));
    let end = Out::CatchUp { who: 2, gap, missed: vec![], live: true };
    assert_eq!(world.take(), [Out::Gap(1, 29, GapReason::Epoch), end, Out::Deliver(30)]);
}

#[test]
fn who_leaves_while_catching_up_is_forgotten() {
    let mut world = World::short(100);
    world.join(1, Some(position(0)));
    world.interest();
    world.answer();
    world.take();
    assert_eq!((world.hub.member_count(&super::support::channel()), world.hub.channel_count()), (1, 1));
    world.wait();
    world.more(1);
    world.leave(1);
    assert_eq!(world.hub.member_count(&super::support::channel()), 0);
    while world.hub.poll_timeout().is_some() {
        world.wait();
    }
    assert_eq!((world.take(), world.hub.channel_count()), (vec![Out::Drop], 0));
}

#[test]
fn joining_again_starts_again() {
    let mut world = World::short_live(100);
    world.join(2, Some(position(0)));
    world.answer();
    world.more(2);
    world.join(2, Some(position(50)));
    world.answer();
    assert_eq!(world.take(), [behind(2, 100), page(2, 1..=20), behind(2, 100)]);
    assert_eq!(catch_up(&mut world, 2), offsets(51..=100));
}

#[test]
fn kept_pages_are_bounded_over_all_channels() {
    // Seven bytes each, 140 a page: none fits.
    let mut world = World::with(HubConfig {
        ring_publications: 10,
        recovery_margin: 0,
        page: 20,
        pages_bytes: 100,
        ..HubConfig::default()
    });
    world.head = 100;
    world.join(2, Some(position(10)));
    world.interest();
    world.answer();
    world.more(2);
    assert_eq!(world.take(), [Out::Add, behind(2, 100)], "the first page was not kept");
    world.answer();
    assert_eq!(world.take(), [page(2, 11..=30)], "it is read again for who has asked");
}

#[test]
fn the_ring_that_has_moved_on_is_met_all_the_same() {
    let mut world = World::short_live(100);
    world.join(2, Some(position(70)));
    world.answer();
    world.more(2);
    assert_eq!(world.take(), [behind(2, 100), page(2, 71..=90)]);
    for offset in 101..=105 {
        world.publish(offset);
    }
    world.more(2);
    world.answer();
    let outs = world.take();
    assert_eq!(outs[5..], [caught_up(2, 91..=105)]);
}
