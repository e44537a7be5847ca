//! Expiry and refresh.

use skywave_protocol::message::Request;
use skywave_protocol::{CloseCode, ErrorCode, WireError};

use super::super::Authorization;
use super::support::{Out, UNIX_NOW, World, config, user};
use crate::capability::Capabilities;

fn for_seconds(seconds: u64) -> Authorization {
    Authorization { expires_at_s: Some(UNIX_NOW + seconds), ..user("ann") }
}

fn subscribe_only(pattern: &str, operations: &[&str]) -> Authorization {
    let capabilities = Capabilities::from_claims([(pattern, operations)]).unwrap();
    Authorization { capabilities, ..user("ann") }
}

#[test]
fn an_expiring_token_is_announced_and_then_closes() {
    let mut world = World::open(for_seconds(70));
    world.wait();
    assert_eq!((world.now, world.take()), (11_000, vec![Out::Expiring(60)]));
    world.session.handle_received(world.now + 15_000);
    loop {
        world.wait();
        match world.take()[..] {
            [Out::Ping] => world.session.handle_received(world.now),
            ref outs => break assert_eq!(outs, [Out::Close(CloseCode::TokenExpired)]),
        }
    }
    assert_eq!(world.now, 71_000);
}

#[test]
fn a_short_lived_token_is_announced_at_once() {
    let mut world = World::open(for_seconds(3));
    world.wait();
    assert_eq!((world.now, world.take()), (1_000, vec![Out::Expiring(3)]));
    world.wait();
    assert_eq!((world.now, world.take()), (4_000, vec![Out::Close(CloseCode::TokenExpired)]));
}

#[test]
fn a_node_that_slept_closes_an_expired_token_first() {
    let mut world = World::open(for_seconds(70));
    world.session.handle_timeout(500_000);
    assert_eq!(world.take(), [Out::Close(CloseCode::TokenExpired)]);
}

#[test]
fn a_fresh_token_goes_on() {
    let mut world = World::open(for_seconds(3));
    world.wait();
    world.take();
    world.refresh(2, for_seconds(1_000));
    assert_eq!(world.take(), [Out::Authenticate(Some("fresh".into())), Out::Refreshed(2)]);
    world.wait();
    assert_eq!(world.take(), [Out::Ping], "no close at the old expiry");
    world.refresh(3, user("ann"));
    world.session.handle_received(2_000_000);
    world.session.handle_timeout(2_000_000);
    assert_eq!(world.take()[1..], [Out::Refreshed(3)], "a token without expiry does not expire");
}

#[test]
fn a_token_of_another_user_and_a_bad_one_change_nothing() {
    let mut world = World::open(for_seconds(70));
    world.refresh(2, user("bob"));
    world.refresh(3, Authorization::default());
    world.refresh(4, Authorization { expires_at_s: Some(UNIX_NOW), ..user("ann") });
    world.request(5, Request::Refresh { token: "bad".into() });
    let error = WireError::new(ErrorCode::Unauthorized, "bad");
    world.session.handle_authorized(world.now, UNIX_NOW, Err(error));
    let errors: Vec<Out> = world.take().into_iter().filter(|out| matches!(out, Out::Error(..))).collect();
    let expected = [
        (2, ErrorCode::Forbidden),
        (3, ErrorCode::Forbidden),
        (4, ErrorCode::TokenExpired),
        (5, ErrorCode::Unauthorized),
    ];
    assert_eq!(errors, expected.map(|(id, code)| Out::Error(id, code)));
    assert_eq!(world.session.poll_timeout(), Some(11_000), "the old expiry stands");
}

#[test]
fn one_refresh_at_a_time() {
    let mut world = World::open(user("ann"));
    world.request(2, Request::Refresh { token: "a".into() });
    world.request(3, Request::Refresh { token: "b".into() });
    assert_eq!(world.take()[1..], [Out::Error(3, ErrorCode::RateLimited)]);
    world.session.handle_authorized(world.now, UNIX_NOW, Ok(user("ann")));
    world.session.handle_authorized(world.now, UNIX_NOW, Ok(user("ann")));
    assert_eq!(world.take(), [Out::Refreshed(2)]);
}

#[test]
fn a_refresh_ends_what_the_token_no_longer_allows() {
    let mut world =
        World::open_with(super::super::SessionConfig { subscriptions: 9, ..config() }, user("ann"));
    for (id, name, presence) in [(2, "chat:1", true), (3, "chat:2", false), (4, "members:1", false)] {
        world.subscribe_with(id, name, None, presence);
        assert!(world.joined(name));
    }
    world.subscribe(5, "members:2");
    world.take();
    world.refresh(6, subscribe_only("chat:*", &["subscribe"]));
    let expected = [
        Out::Refreshed(6),
        // It watched, and may not any more.
        Out::Leave("chat:1".into()),
        Out::Ended("chat:1".into()),
        Out::Leave("members:1".into()),
        Out::Ended("members:1".into()),
        Out::Error(5, ErrorCode::Forbidden),
    ];
    assert_eq!(world.take()[1..], expected);
    assert!(!world.joined("members:2"));
    assert_eq!(world.take(), [Out::Leave("members:2".into())]);
    world.publish(7, "chat:2", 1);
    assert_eq!(world.take(), [Out::Error(7, ErrorCode::Forbidden)]);
}
