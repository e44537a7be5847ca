//! Subscribing and unsubscribing, and the two crossing each other.

use skywave_protocol::{ErrorCode, WireError};

use super::support::{Out, World, channel, config, user};
use crate::capability::Capabilities;
use crate::session::{Authorization, SessionConfig};

fn leave(name: &str) -> Out {
    Out::Leave(name.into())
}

#[test]
fn subscribing_joins_and_unsubscribing_leaves() {
    let mut world = World::open(user("ann"));
    world.subscribe_with(2, "chat:1", Some(7), true);
    assert_eq!(world.take(), [Out::Join("durable", Some(7))]);
    assert!(world.joined("chat:1"));
    assert_eq!(world.take(), [Out::Subscribed(2)]);
    assert_eq!(world.session.subscriptions().collect::<Vec<_>>(), [&channel("chat:1")]);
    world.unsubscribe(3, "chat:1");
    assert_eq!(world.take(), [leave("chat:1"), Out::Unsubscribed(3)]);
    world.unsubscribe(4, "chat:1");
    assert_eq!(world.take(), [Out::Error(4, ErrorCode::NotSubscribed)]);
}

#[test]
fn an_ephemeral_channel_has_nothing_to_recover() {
    let mut world = World::open(user("ann"));
    world.subscribe_with(2, "live:1", Some(7), false);
    assert_eq!(world.take(), [Out::Join("ephemeral", None)]);
}

#[test]
fn subscribing_twice_is_an_error() {
    let mut world = World::open(user("ann"));
    world.subscribe(2, "chat:1");
    world.subscribe(3, "chat:1");
    assert!(world.joined("chat:1"));
    world.subscribe(4, "chat:1");
    let twice = |id| Out::Error(id, ErrorCode::AlreadySubscribed);
    assert_eq!(world.take()[1..], [twice(3), Out::Subscribed(2), twice(4)]);
}

#[test]
fn a_failed_join_is_answered_and_may_be_tried_again() {
    let mut world = World::open(user("ann"));
    world.subscribe(2, "chat:1");
    let error = WireError::new(ErrorCode::StoreUnavailable, "no");
    world.session.handle_join_failed(world.now, &channel("chat:1"), error);
    world.subscribe(3, "chat:1");
    let outs = world.take();
    assert_eq!(outs[1..], [Out::Error(2, ErrorCode::StoreUnavailable), Out::Join("durable", None)]);
}

#[test]
fn unsubscribing_during_the_join_waits_for_the_hub_before_it_leaves() {
    let mut world = World::open(user("ann"));
    world.subscribe(2, "chat:1");
    world.unsubscribe(3, "chat:1");
    assert_eq!(world.take()[1..], [Out::Error(2, ErrorCode::NotSubscribed), Out::Unsubscribed(3)]);
    world.unsubscribe(4, "chat:1");
    assert_eq!(world.take(), [Out::Error(4, ErrorCode::NotSubscribed)]);
    assert!(!world.joined("chat:1"), "nothing may be sent to the client");
    assert_eq!(world.take(), [leave("chat:1")]);
    world.subscribe(5, "chat:1");
    assert!(world.joined("chat:1"));
    assert_eq!(world.take(), [Out::Join("durable", None), Out::Subscribed(5)]);
}

#[test]
fn subscribing_again_during_that_wait_joins_again_after_it() {
    let mut world = World::open(user("ann"));
    world.subscribe(2, "chat:1");
    world.unsubscribe(3, "chat:1");
    world.subscribe_with(4, "chat:1", Some(9), false);
    world.subscribe(5, "chat:1");
    let outs = world.take();
    assert_eq!(outs[3..], [Out::Error(5, ErrorCode::AlreadySubscribed)]);
    assert!(!world.joined("chat:1"));
    assert_eq!(world.take(), [leave("chat:1"), Out::Join("durable", Some(9))]);
    assert!(world.joined("chat:1"));
    assert_eq!(world.take(), [Out::Subscribed(4)]);
}

#[test]
fn the_second_thought_too_can_be_taken_back() {
    let mut world = World::open(user("ann"));
    world.subscribe(2, "chat:1");
    world.unsubscribe(3, "chat:1");
    world.subscribe(4, "chat:1");
    world.unsubscribe(5, "chat:1");
    let outs = world.take();
    assert_eq!(outs[3..], [Out::Error(4, ErrorCode::NotSubscribed), Out::Unsubscribed(5)]);
    let error = WireError::new(ErrorCode::Internal, "no");
    world.session.handle_join_failed(world.now, &channel("chat:1"), error);
    assert_eq!(world.take(), [], "a failed join needs no leave");
}

#[test]
fn a_join_that_fails_during_that_wait_is_tried_for_the_second_request() {
    let mut world = World::open(user("ann"));
    world.subscribe(2, "chat:1");
    world.unsubscribe(3, "chat:1");
    world.subscribe(4, "chat:1");
    world.take();
    world.session.handle_join_failed(
        world.now,
        &channel("chat:1"),
        WireError::new(ErrorCode::Internal, "no"),
    );
    assert_eq!(world.take(), [Out::Join("durable", None)]);
    assert!(world.joined("chat:1"));
    assert_eq!(world.take(), [Out::Subscribed(4)]);
}

#[test]
fn a_connection_has_only_so_many_subscriptions() {
    let mut world = World::open(user("ann"));
    for n in 0..100 {
        world.subscribe_with(10 + n, &format!("chat:{n}"), None, false);
        world.now += 100;
    }
    let outs = world.take();
    let refused = outs.iter().filter(|out| matches!(out, Out::Error(_, ErrorCode::TooManySubscriptions)));
    assert_eq!(refused.count(), 97);
    world.joined("chat:0");
    world.unsubscribe(2, "chat:0");
    world.subscribe(3, "chat:100");
    assert_eq!(world.take().last(), Some(&Out::Join("durable", None)));
}

#[test]
fn what_may_not_be_joined_is_refused() {
    let mut world = World::open(user("42"));
    for (name, presence, code) in [
        ("nowhere:1", false, ErrorCode::UnknownNamespace),
        ("bare", false, ErrorCode::UnknownNamespace),
        ("user:43", false, ErrorCode::Forbidden),
        ("user:42:x", false, ErrorCode::Forbidden),
        ("live:1", true, ErrorCode::NotAvailable),
    ] {
        world.subscribe_with(2, name, None, presence);
        assert_eq!(world.take(), [Out::Error(2, code)], "{name}");
    }
    world.subscribe(3, "user:42");
    assert_eq!(world.take(), [Out::Join("durable", None)]);
    let mut anonymous = World::open(super::super::Authorization::default());
    for name in ["user:42", "members:1"] {
        anonymous.subscribe(2, name);
        assert_eq!(anonymous.take(), [Out::Error(2, ErrorCode::Forbidden)], "{name}");
    }
}

#[test]
fn a_backend_puts_a_connection_into_a_channel_its_token_does_not_allow() {
    let nothing: [(&str, [&str; 0]); 0] = [];
    let restricted =
        Authorization { capabilities: Capabilities::from_claims(nothing).unwrap(), ..user("ann") };
    let mut world = World::open(restricted.clone());
    world.subscribe(2, "chat:1");
    assert_eq!(world.take(), [Out::Error(2, ErrorCode::Forbidden)]);
    world.session.grant(channel("chat:1"));
    assert_eq!(world.take(), [Out::Join("durable", None)]);
    assert!(world.joined("chat:1"));
    assert_eq!(world.take(), [Out::Put("chat:1".into())]);
    world.session.grant(channel("chat:1"));
    assert_eq!(world.take(), [], "it is there already");
    world.refresh(3, restricted);
    assert_eq!(
        world.take(),
        [Out::Authenticate(Some("fresh".into())), Out::Refreshed(3)],
        "a refresh does not end it"
    );
    world.session.withdraw(&channel("chat:1"));
    assert_eq!(world.take(), [leave("chat:1"), Out::Ended("chat:1".into())]);
}

#[test]
fn a_grant_that_crosses_an_unsubscribe_leaves_nothing_behind() {
    let mut world = World::open(user("ann"));
    world.session.grant(channel("chat:1"));
    world.unsubscribe(2, "chat:1");
    assert_eq!(world.take(), [Out::Join("durable", None), Out::Unsubscribed(2)]);
    assert!(!world.joined("chat:1"));
    assert_eq!(world.take(), [leave("chat:1")]);
    assert_eq!(world.session.subscriptions().count(), 0);
}

#[test]
fn a_backend_takes_back_what_is_still_being_joined() {
    let mut world = World::open(user("ann"));
    world.session.grant(channel("chat:1"));
    world.subscribe(2, "chat:2");
    world.session.withdraw(&channel("chat:1"));
    world.session.withdraw(&channel("chat:2"));
    world.session.withdraw(&channel("chat:3"));
    let joins = [Out::Join("durable", None), Out::Join("durable", None)];
    assert_eq!(world.take(), [&joins[..], &[Out::Error(2, ErrorCode::Forbidden)]].concat());
    assert!(!world.joined("chat:1") && !world.joined("chat:2"));
    assert_eq!(world.take(), [leave("chat:1"), leave("chat:2")]);
}

#[test]
fn a_connection_that_is_full_or_not_open_is_not_put_anywhere() {
    let mut world = World::new();
    world.session.grant(channel("chat:1"));
    assert_eq!(world.take(), []);
    let config = SessionConfig { subscriptions: 1, ..config() };
    let mut world = World::open_with(config, user("ann"));
    world.session.grant(channel("no:such"));
    world.session.grant(channel("chat:1"));
    world.session.grant(channel("chat:2"));
    assert_eq!(world.take(), [Out::Join("durable", None)]);
}
