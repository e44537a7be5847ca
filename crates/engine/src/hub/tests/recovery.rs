//! Joining with a position: from the ring, from history, shared, truncated, beyond the log, of another epoch.

use skywave_protocol::message::{GapReason, Recovery};
use skywave_protocol::{Epoch, Position};

use super::super::HubConfig;
use super::support::{Out, World, behind, joined, position, recovered};

fn gap(who: u64, at: u64, (from, to, reason): (u64, u64, GapReason), missed: Vec<u64>) -> Out {
    Out::Joined { who, at: Some(at), recovery: Some(Recovery::Gap { from, to, reason }), missed }
}

fn of_epoch(name: &str, offset: u64) -> Option<Position> {
    Some(Position { epoch: Epoch::parse(name).unwrap(), offset })
}

#[test]
fn the_ring_answers_without_a_read() {
    let mut world = World::live_at(5);
    for offset in 6..=9 {
        world.publish(offset);
    }
    world.take();
    world.join(2, Some(position(7)));
    world.join(3, Some(position(9)));
    world.join(4, None);
    let nothing_missed = Out::Joined { who: 3, at: Some(9), recovery: Some(Recovery::Exact), missed: vec![] };
    assert_eq!(world.take(), [recovered(2, 9, 8..=9), nothing_missed, joined(4, 9)]);
    assert_eq!(world.read_count, 1);
}

#[test]
fn ten_thousand_reconnects_cost_one_read() {
    let mut world = World::new();
    world.head = 500;
    for who in 0..10_000 {
        world.join(who, Some(position(490)));
    }
    world.interest();
    for who in 10_000..20_000 {
        world.join(who, Some(position(490)));
    }
    world.answer();
    for who in 20_000..20_100 {
        world.join(who, Some(position(490)));
    }
    let outs = world.take();
    assert_eq!(
        outs.iter().filter(|out| matches!(out, Out::Joined { missed, .. } if missed.len() == 10)).count(),
        20_100
    );
    assert_eq!(world.read_count, 1);
}

#[test]
fn the_margin_serves_those_a_little_further_behind() {
    let mut world = World::with(HubConfig { recovery_margin: 16, ..HubConfig::default() });
    world.head = 500;
    world.join(1, Some(position(495)));
    world.interest();
    world.answer();
    world.join(2, Some(position(482)));
    assert_eq!(world.take(), [Out::Add, recovered(1, 500, 496..=500), recovered(2, 500, 483..=500)]);
    assert_eq!(world.read_count, 1);
}

#[test]
fn the_many_who_missed_little_are_served_by_the_first_page_whoever_else_comes() {
    let mut world = World::with(HubConfig { page: 40, recovery_margin: 0, ..HubConfig::default() });
    world.head = 500;
    for (who, offset) in [(1, 480), (2, 20), (3, 499)] {
        world.join(who, Some(position(offset)));
    }
    world.interest();
    world.answer();
    let outs = world.take();
    assert_eq!(outs[1..], [recovered(1, 500, 481..=500), behind(2, 500), recovered(3, 500, 500..=500)]);
    assert_eq!(world.read_count, 1, "and it says that what the other one missed is kept");
}

#[test]
fn one_who_comes_later_from_further_back_is_served_by_a_second_recovery() {
    let mut world = World::new();
    world.head = 50;
    world.join(1, Some(position(40)));
    world.interest();
    let (id, query) = world.read();
    world.join(2, Some(position(10)));
    let answer = world.history(&query);
    world.hub.handle_history(world.now, id, Ok(answer));
    world.answer();
    assert_eq!(world.take()[1..], [recovered(1, 50, 41..=50), recovered(2, 50, 11..=50)]);
    assert_eq!(world.read_count, 2);
}

#[test]
fn publications_that_arrive_during_a_recovery_are_in_it_once() {
    let mut world = World::live_at(50);
    world.join(2, Some(position(45)));
    let (id, query) = world.read();
    assert_eq!((query.after, query.before), (45, 0));
    let answer = world.history(&query);
    world.publish(51);
    world.publish(52);
    assert_eq!(world.take(), [Out::Deliver(51), Out::Deliver(52)]);
    world.hub.handle_history(world.now, id, Ok(answer));
    assert_eq!(world.take(), [recovered(2, 52, 46..=52)]);
    world.publish(53);
    assert_eq!(world.take(), [Out::Deliver(53)]);
}

#[test]
fn members_are_not_held_up_by_a_recovery_nor_a_recovery_by_a_hole() {
    let mut world = World::live_at(50);
    world.join(2, Some(position(40)));
    let (id, query) = world.read();
    let answer = world.history(&query);
    world.publish(53);
    world.join(3, None);
    assert_eq!(world.take(), [joined(3, 50)]);
    world.hub.handle_history(world.now, id, Ok(answer));
    world.answer();
    let outs = world.take();
    assert_eq!(outs, [recovered(2, 50, 41..=50), Out::Deliver(51), Out::Deliver(52), Out::Deliver(53)]);
}

#[test]
fn beyond_retention_the_rest_is_replayed_behind_a_gap() {
    let mut world = World::new();
    (world.head, world.first) = (50, 46);
    for (who, offset) in [(1, 20), (2, 45), (3, 47)] {
        world.join(who, Some(position(offset)));
    }
    world.interest();
    world.answer();
    let lost = gap(1, 50, (21, 45, GapReason::Retention), (46..=50).collect());
    assert_eq!(world.take()[1..], [lost, recovered(2, 50, 46..=50), recovered(3, 50, 48..=50)]);
}

#[test]
fn when_nothing_is_kept_everything_missed_is_a_gap() {
    let mut world = World::new();
    (world.head, world.first) = (50, 51);
    world.join(1, Some(position(20)));
    world.interest();
    world.answer();
    assert_eq!(world.take()[1..], [gap(1, 50, (21, 50, GapReason::Retention), vec![])]);
}

#[test]
fn a_position_of_another_epoch_is_a_gap() {
    let mut world = World::new();
    world.head = 7;
    world.join(1, of_epoch("e0", 3));
    world.interest();
    world.answer();
    assert_eq!(world.take()[1..], [gap(1, 7, (1, 7, GapReason::Epoch), vec![])]);
    world.join(2, of_epoch("e0", 3));
    assert_eq!(world.take(), [], "core must confirm it first");
    world.answer();
    assert_eq!(world.take(), [gap(2, 7, (1, 7, GapReason::Epoch), vec![])]);
}

#[test]
fn a_client_that_knows_the_new_epoch_first_brings_it_along() {
    let mut world = World::live_at(50);
    world.epoch = super::support::epoch("e2");
    world.head = 9;
    world.join(2, of_epoch("e2", 8));
    world.answer();
    let outs = world.take();
    assert!(matches!(outs[0], Out::Gap(1, _, GapReason::Epoch)), "{outs:?}");
    assert_eq!(outs.last(), Some(&recovered(2, 9, 9..=9)));
}

#[test]
fn a_position_beyond_the_log_is_looked_for_before_it_is_denied() {
    let mut world = World::live_at(10);
    world.join(2, Some(position(15)));
    for _ in 0..5 {
        assert_eq!(world.take(), []);
        let (id, query) = world.read();
        let answer = world.history(&query);
        world.hub.handle_history(world.now, id, Ok(answer));
        if world.hub.poll_timeout().is_some() {
            world.wait();
        }
    }
    assert_eq!(world.take(), [gap(2, 10, (11, 15, GapReason::Failover), vec![])]);
}

#[test]
fn a_position_beyond_what_this_edge_has_is_exact_once_it_has_caught_up() {
    let mut world = World::live_at(10);
    world.head = 17;
    world.join(2, Some(position(15)));
    world.answer();
    let outs = world.take();
    let delivered: Vec<Out> = (11..=17).map(Out::Deliver).collect();
    assert_eq!(outs[..7], delivered);
    assert_eq!(outs[7..], [recovered(2, 17, 16..=17)]);
}

#[test]
fn when_history_is_unavailable_the_ring_is_replayed_behind_a_gap() {
    let mut world = World::live_at(50);
    world.publish(51);
    world.take();
    world.join(2, Some(position(40)));
    let attempts = HubConfig::default().attempts;
    for attempt in 1..=attempts {
        world.fail_read();
        if attempt < attempts {
            world.wait();
        }
    }
    assert_eq!(world.take(), [gap(2, 51, (41, 50, GapReason::Unavailable), vec![51])]);
    assert_eq!(world.hub.channel_count(), 1);
}

#[test]
fn when_not_even_the_head_can_be_read_the_join_fails_and_the_channel_goes() {
    let mut world = World::new();
    world.head = 50;
    world.join(1, Some(position(40)));
    world.join(2, None);
    world.interest();
    let attempts = HubConfig::default().attempts;
    for attempt in 1..=attempts {
        world.fail_read();
        if attempt < attempts {
            world.wait();
        }
    }
    assert_eq!(world.take(), [Out::Add, Out::Failed(1), Out::Failed(2)]);
    while world.hub.poll_timeout().is_some() {
        world.wait();
    }
    assert_eq!((world.take(), world.hub.channel_count()), (vec![Out::Drop], 0));
}

#[test]
fn what_is_heard_live_stands_in_for_a_head_that_cannot_be_read() {
    let mut world = World::new();
    world.head = 50;
    world.join(1, Some(position(40)));
    world.join(2, None);
    world.interest();
    world.publish(51);
    let attempts = HubConfig::default().attempts;
    for attempt in 1..=attempts {
        world.fail_read();
        if attempt < attempts {
            world.wait();
        }
    }
    let outs = world.take();
    assert_eq!(outs[1..], [gap(1, 51, (41, 50, GapReason::Unavailable), vec![51]), joined(2, 51)]);
    world.publish(52);
    assert_eq!(world.take(), [Out::Deliver(52)]);
}

#[test]
fn publications_heard_before_the_head_is_known_are_not_lost() {
    let mut world = World::new();
    world.head = 5;
    world.join(1, None);
    world.interest();
    let (id, query) = world.read();
    let answer = world.history(&query);
    world.publish(6);
    world.publish(7);
    world.hub.handle_history(world.now, id, Ok(answer));
    assert_eq!(world.take(), [Out::Add, joined(1, 7)]);
    world.publish(8);
    assert_eq!(world.take(), [Out::Deliver(8)]);
}
