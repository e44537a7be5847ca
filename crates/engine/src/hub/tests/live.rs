//! Members of a durable channel: order, duplicates, holes, heads, failing reads, epochs.

use skywave_protocol::message::GapReason;

use super::super::HubConfig;
use super::support::{Out, World, joined, publication};

#[test]
fn the_next_one_is_delivered_and_a_duplicate_dropped() {
    let mut world = World::live_at(5);
    for offset in [6, 6, 5, 7, 6, 1] {
        world.publish(offset);
    }
    assert_eq!(world.take(), [Out::Deliver(6), Out::Deliver(7)]);
    assert_eq!(world.read_count, 1, "only the head was read");
}

#[test]
fn a_hole_is_read_before_what_follows_it() {
    let mut world = World::live_at(5);
    world.publish(8);
    world.publish(9);
    assert_eq!(world.take(), []);
    let (id, query) = world.read();
    assert_eq!((query.after, query.reverse), (5, false));
    let answer = world.history(&query);
    world.publish(10);
    world.hub.handle_history(world.now, id, Ok(answer));
    let expected: Vec<Out> = (6..=10).map(Out::Deliver).collect();
    assert_eq!(world.take(), expected);
    assert_eq!(world.hub.poll_timeout(), None, "nothing is left to do");
}

#[test]
fn a_hole_that_fills_itself_makes_the_answer_superfluous() {
    let mut world = World::live_at(5);
    world.publish(7);
    world.publish(6);
    assert_eq!(world.take(), [Out::Deliver(6), Out::Deliver(7)]);
    world.answer();
    assert_eq!(world.take(), []);
    assert_eq!(world.hub.poll_timeout(), None);
}

#[test]
fn an_announced_head_reveals_a_lost_last_publication() {
    let mut world = World::live_at(5);
    world.head = 7;
    world.announce(7);
    world.answer();
    assert_eq!(world.take(), [Out::Deliver(6), Out::Deliver(7)]);
    world.announce(7);
    world.announce(3);
    assert_eq!(world.read_count, 2);
}

#[test]
fn a_long_hole_is_read_page_by_page() {
    let mut world = World::live_at(0);
    world.page = 3;
    world.publish(11);
    world.answer();
    let expected: Vec<Out> = (1..=11).map(Out::Deliver).collect();
    assert_eq!(world.take(), expected);
    assert_eq!(world.read_count, 1 + 4);
}

#[test]
fn what_does_not_fit_behind_a_hole_is_read_afterwards() {
    let config = HubConfig { pending_publications: 2, recovery_margin: 0, ..HubConfig::default() };
    let mut world = World::with(config);
    world.join(1, None);
    world.interest();
    world.answer();
    world.take();
    for offset in 3..=9 {
        world.publish(offset);
    }
    world.answer();
    let expected: Vec<Out> = (1..=9).map(Out::Deliver).collect();
    assert_eq!(world.take(), expected);
}

#[test]
fn what_retention_took_is_announced() {
    let mut world = World::live_at(5);
    world.first = 9;
    world.publish(10);
    world.answer();
    assert_eq!(world.take(), [Out::Gap(6, 8, GapReason::Retention), Out::Deliver(9), Out::Deliver(10)]);
}

#[test]
fn when_nothing_is_kept_the_whole_hole_is_announced() {
    let mut world = World::live_at(5);
    world.head = 8;
    world.first = 9;
    world.announce(8);
    world.answer();
    assert_eq!(world.take(), [Out::Gap(6, 8, GapReason::Retention)]);
    world.publish(9);
    assert_eq!(world.take(), [Out::Deliver(9)]);
}

#[test]
fn a_read_that_fails_is_repeated_and_then_given_up() {
    let mut world = World::live_at(5);
    world.publish(8);
    let attempts = HubConfig::default().attempts;
    let mut waits = Vec::new();
    for attempt in 1..=attempts {
        world.fail_read();
        if attempt < attempts {
            assert_eq!(world.take(), [], "attempt {attempt}");
            let before = world.now;
            world.wait();
            waits.push(world.now - before);
        }
    }
    assert_eq!(world.take(), [Out::Gap(6, 7, GapReason::Unavailable), Out::Deliver(8)]);
    assert!(waits.windows(2).all(|pair| pair[1] > pair[0]), "{waits:?}");
    world.publish(9);
    assert_eq!(world.take(), [Out::Deliver(9)]);
}

#[test]
fn a_page_that_live_publications_have_overtaken_has_not_failed() {
    let mut world = World::live_at(5);
    world.page = 2;
    world.publish(9);
    let (id, query) = world.read();
    let page = world.history(&query);
    world.publish(6);
    world.publish(7);
    world.hub.handle_history(world.now, id, Ok(page));
    // The next read does not wait, as it would after a failure.
    world.answer();
    assert_eq!(world.take(), (6..=9).map(Out::Deliver).collect::<Vec<_>>());
}

#[test]
fn a_read_without_an_answer_fails_by_itself_and_a_late_answer_is_ignored() {
    let mut world = World::live_at(5);
    world.publish(7);
    let (late, query) = world.read();
    let answer = world.history(&query);
    world.wait();
    assert_eq!(world.take(), []);
    world.wait();
    let (id, query) = world.read();
    assert_ne!(id, late);
    world.hub.handle_history(world.now, late, Ok(answer));
    assert_eq!(world.take(), []);
    let answer = world.history(&query);
    world.hub.handle_history(world.now, id, Ok(answer));
    assert_eq!(world.take(), [Out::Deliver(6), Out::Deliver(7)]);
    assert_eq!((world.hub.fetches(), world.hub.poll_timeout()), (0, None));
}

#[test]
fn a_core_that_is_behind_is_asked_again() {
    let mut world = World::live_at(5);
    world.publish(7);
    world.head = 5;
    let (id, query) = world.read();
    let stale = world.history(&query);
    world.hub.handle_history(world.now, id, Ok(stale));
    assert_eq!(world.take(), []);
    world.head = 7;
    world.wait();
    world.answer();
    assert_eq!(world.take(), [Out::Deliver(6), Out::Deliver(7)]);
}

#[test]
fn an_answer_with_a_hole_it_does_not_explain_counts_as_failed() {
    let mut world = World::live_at(5);
    world.publish(9);
    let (id, query) = world.read();
    let mut answer = world.history(&query);
    answer.publications = vec![publication(8)];
    world.hub.handle_history(world.now, id, Ok(answer));
    assert_eq!(world.take(), []);
    world.wait();
    world.answer();
    assert_eq!(world.take(), (6..=9).map(Out::Deliver).collect::<Vec<_>>());
}

#[test]
fn a_new_epoch_is_confirmed_announced_and_followed() {
    let mut world = World::live_at(50);
    world.epoch = super::support::epoch("e2");
    world.head = 0;
    world.publish_in("e2", 1);
    world.publish_in("e2", 2);
    assert_eq!(world.take(), [], "not before core confirms it");
    world.answer();
    assert_eq!(world.take(), [Out::Gap(1, 0, GapReason::Epoch), Out::Deliver(1), Out::Deliver(2)]);
    world.publish_in("e2", 3);
    assert_eq!(world.take(), [Out::Deliver(3)]);
}

#[test]
fn what_waited_in_the_old_epoch_is_not_delivered_in_the_new_one() {
    let mut world = World::live_at(50);
    world.publish(53);
    (world.epoch, world.head) = (super::support::epoch("e2"), 52);
    world.answer();
    let expected = [Out::Gap(1, 50, GapReason::Epoch), Out::Deliver(51), Out::Deliver(52)];
    assert_eq!(world.take(), expected);
    world.publish_in("e2", 53);
    assert_eq!(world.take(), [Out::Deliver(53)]);
}

#[test]
fn a_straggler_of_another_epoch_changes_nothing() {
    let mut world = World::live_at(5);
    world.publish_in("e0", 9);
    world.head = 5;
    world.answer();
    assert_eq!(world.take(), []);
    world.publish(6);
    assert_eq!(world.take(), [Out::Deliver(6)]);
    assert_eq!(world.hub.poll_timeout(), None);
}

#[test]
fn with_nobody_there_a_hole_is_not_read() {
    let mut world = World::live_at(5);
    world.leave(1);
    world.publish(9);
    world.announce(20);
    assert_eq!((world.take(), world.read_count), (vec![], 1));
    world.head = 20;
    world.join(2, None);
    assert_eq!(world.take(), [joined(2, 20)]);
}

#[test]
fn when_the_last_member_leaves_the_read_under_way_is_for_nobody() {
    let mut world = World::live_at(5);
    world.publish(9);
    let (id, query) = world.read();
    let answer = world.history(&query);
    world.leave(1);
    world.hub.handle_history(world.now, id, Ok(answer));
    world.join(2, None);
    assert_eq!(world.take(), [joined(2, 9)]);
    world.publish(10);
    assert_eq!(world.take(), [Out::Deliver(10)]);
}
