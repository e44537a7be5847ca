//! Channels without positions, interest, lingering, membership.

use std::sync::Arc;

use bytes::Bytes;
use skywave_protocol::inner::Live;
use skywave_protocol::{ChannelName, ErrorCode, Payload, Publication, WireError};

use super::super::{Hub, HubConfig, HubOutput, Join};
use super::support::{Out, World, channel, joined, subscriber};

fn join_ephemeral(world: &mut World, who: u64) {
    let join = Join { subscriber: subscriber(who), channel: channel(), durable: false, recover: None };
    world.hub.join(world.now, join);
}

fn live(offset: u64) -> Live {
    let data = Payload::Binary(Bytes::from_static(b"x"));
    let publication = Arc::new(Publication { offset, id: None, from: None, time_ms: 0, data });
    Live::Publication { channel: channel(), epoch: None, publication }
}

#[test]
fn ephemeral_publications_pass_without_position() {
    let mut world = World::new();
    join_ephemeral(&mut world, 1);
    assert_eq!(world.take(), [Out::Add]);
    world.hub.handle_live(world.now, live(0));
    assert_eq!(world.take(), [], "nobody is a member yet");
    world.interest();
    assert_eq!(world.take(), [Out::Joined { who: 1, at: None, recovery: None, missed: vec![] }]);
    world.hub.handle_live(world.now, live(0));
    world.hub.handle_live(world.now, live(0));
    assert_eq!(world.take(), [Out::Deliver(0), Out::Deliver(0)]);
    assert_eq!(world.read_count, 0);
}

#[test]
fn a_durable_channel_carries_ephemeral_publications_too() {
    let mut world = World::live_at(3);
    world.hub.handle_live(world.now, live(0));
    world.publish(4);
    assert_eq!(world.take(), [Out::Deliver(0), Out::Deliver(4)]);
}

#[test]
fn members_are_counted_by_worker() {
    let mut world = World::new();
    for who in 1..=3 {
        join_ephemeral(&mut world, who);
    }
    assert_eq!(world.hub.workers(&channel()), [], "the waiting are no members");
    world.interest();
    let mut workers = world.hub.workers(&channel()).to_vec();
    workers.sort_unstable();
    assert_eq!(workers, [(0, 1), (1, 2)]);
    world.leave(1);
    world.leave(1);
    world.leave(2);
    assert_eq!(world.hub.workers(&channel()), [(1, 1)]);
}

#[test]
fn the_channel_lingers_stays_live_and_goes() {
    let mut world = World::live_at(5);
    world.leave(1);
    assert_eq!(world.take(), []);
    world.publish(6);
    assert_eq!(world.take(), [], "nobody is there to deliver to");
    world.join(2, Some(super::support::position(5)));
    assert_eq!(world.take(), [super::support::recovered(2, 6, 6..=6)], "no interest, no read");
    world.leave(2);
    world.wait();
    assert_eq!(world.take(), [Out::Drop]);
    assert_eq!((world.hub.channel_count(), world.hub.poll_timeout()), (0, None));
    world.join(3, None);
    assert_eq!(world.take(), [Out::Add]);
}

#[test]
fn coming_back_ends_the_lingering() {
    let mut world = World::live_at(5);
    world.leave(1);
    world.now += 1;
    world.join(2, None);
    assert_eq!(world.take(), [joined(2, 5)]);
    assert_eq!(world.hub.poll_timeout(), None);
}

#[test]
fn who_leaves_before_the_join_is_decided_gets_nothing() {
    let mut world = World::new();
    world.join(1, None);
    world.leave(1);
    world.interest();
    assert_eq!(world.take(), [Out::Add]);
    world.wait();
    assert_eq!(world.take(), [Out::Drop]);
    assert_eq!(world.hub.channel_count(), 0);
}

#[test]
fn interest_that_is_being_asked_for_is_waited_for_before_it_is_dropped() {
    let mut world = World::new();
    world.join(1, None);
    world.leave(1);
    assert_eq!(world.hub.poll_timeout(), None);
    world.now += 60_000;
    world.interest();
    assert_eq!(world.take(), [Out::Add, Out::Drop]);
    assert_eq!(world.hub.channel_count(), 0);
}

#[test]
fn interest_that_fails_is_asked_for_again_and_then_the_join_fails() {
    let mut world = World::new();
    world.join(1, None);
    let attempts = HubConfig::default().attempts;
    for attempt in 1..=attempts {
        assert_eq!(world.take(), [Out::Add], "attempt {attempt}");
        let error = WireError::new(ErrorCode::Internal, "no bus").retry_after_ms(5);
        world.hub.handle_interest(world.now, &channel(), Err(error));
        if attempt < attempts {
            world.wait();
        }
    }
    assert_eq!(world.take(), [Out::Failed(1)]);
    while world.hub.poll_timeout().is_some() {
        world.wait();
        let again = world.take();
        assert!(again.is_empty() || again == [Out::Add]);
        let error = WireError::new(ErrorCode::Internal, "no bus");
        world.hub.handle_interest(world.now, &channel(), Err(error));
    }
    assert_eq!(world.hub.channel_count(), 0, "nobody is left to wait for it");
}

#[test]
fn lost_interest_is_renewed_and_what_was_missed_is_read() {
    let mut world = World::live_at(5);
    let error = WireError::new(ErrorCode::Internal, "the bus went away");
    world.hub.handle_interest(world.now, &channel(), Err(error));
    world.head = 7;
    world.wait();
    assert_eq!(world.take(), [Out::Add]);
    world.interest();
    world.answer();
    assert_eq!(world.take(), [Out::Deliver(6), Out::Deliver(7)]);
}

#[test]
fn news_of_channels_nobody_joined_is_ignored() {
    let mut hub = Hub::new(HubConfig::default());
    hub.handle_live(0, live(0));
    hub.leave(0, subscriber(1), &channel());
    hub.handle_interest(0, &channel(), Ok(()));
    assert_eq!(hub.poll_output(), None);
    assert_eq!(hub.channel_count(), 0);
}

#[test]
fn ten_thousand_joins_are_handed_out_one_by_one() {
    let mut world = World::new();
    world.head = 3;
    for who in 0..10_000 {
        world.join(who, Some(super::support::position(0)));
    }
    world.interest();
    world.answer();
    assert_eq!(world.read_count, 1);
    let outs = world.take();
    assert_eq!(outs.len(), 10_001);
    assert!(outs[1..].iter().all(|out| matches!(out, Out::Joined { missed, .. } if missed == &[1, 2, 3])));
}

#[test]
fn an_idle_channel_is_small() {
    use super::super::channel::Channel;
    use super::super::follower::Follower;
    // The map's entry and the follower; members and ring come on top, by what is in them.
    let entry = size_of::<ChannelName>() + size_of::<Channel>() + size_of::<Follower>();
    assert!(entry <= 320, "{entry} bytes");
    assert!(size_of::<HubOutput>() <= 160, "{} bytes", size_of::<HubOutput>());
}
