//! Before the connection is open, and the end of it.

use skywave_protocol::message::{Connect, Request};
use skywave_protocol::{CloseCode, ErrorCode, WireError};

use super::super::{Authorization, Session};
use super::support::{Out, UNIX_NOW, World, user};

fn connect() -> Request {
    Request::Connect(Connect::default())
}

#[test]
fn a_request_before_connect_is_refused_and_ends_the_connection() {
    let mut world = World::new();
    world.subscribe(7, "chat:1");
    assert_eq!(
        world.take(),
        [Out::Error(7, ErrorCode::Unauthorized), Out::Close(CloseCode::ConnectRequired)]
    );
    world.request(8, connect());
    assert_eq!(world.take(), [], "closed is closed");
    assert_eq!(world.session.poll_timeout(), None);
}

#[test]
fn without_connect_the_connection_ends_in_time() {
    let mut world = World::new();
    world.session.handle_received(9_000);
    world.wait();
    assert_eq!((world.now, world.take()), (11_000, vec![Out::Close(CloseCode::ConnectRequired)]));
}

#[test]
fn a_token_that_nobody_checks_ends_the_connection_in_time() {
    let mut world = World::new();
    world.request(1, connect());
    world.wait();
    let outs = world.take();
    assert_eq!(outs[1..], [Out::Error(1, ErrorCode::Timeout), Out::Close(CloseCode::InternalError)]);
}

#[test]
fn requests_sent_along_with_connect_are_done_after_it() {
    let mut world = World::new();
    world.request(1, connect());
    world.subscribe_with(2, "chat:1", Some(5), false);
    world.publish(3, "chat:1", 1);
    assert_eq!(world.take(), [Out::Authenticate(None)]);
    world.session.handle_authorized(world.now, UNIX_NOW, Ok(Authorization::default()));
    assert_eq!(world.take(), [Out::Connected(1), Out::Join("durable", Some(5)), Out::Publish(3, true)]);
}

#[test]
fn where_a_client_belongs_is_said_before_its_token_is_checked() {
    let mut world = World::new();
    let key = Some(skywave_protocol::PlacementKey::parse("room 7").unwrap());
    world.request(1, Request::Connect(Connect { key, placed: true, ..Connect::default() }));
    assert_eq!(world.take(), [Out::Place(Some("room 7".into()), true), Out::Authenticate(None)]);
}

#[test]
fn only_so_many_requests_are_held() {
    let mut world = World::new();
    world.request(1, connect());
    for id in 2..=65 {
        world.request(id, Request::Ping);
    }
    assert_eq!(world.take().len(), 1);
    world.request(66, Request::Ping);
    assert_eq!(world.take(), [Out::Error(66, ErrorCode::RateLimited)]);
}

#[test]
fn a_refused_token_says_why_and_closes() {
    for (code, close) in [
        (ErrorCode::Unauthorized, CloseCode::Unauthorized),
        (ErrorCode::TokenExpired, CloseCode::TokenExpired),
        (ErrorCode::ServerFull, CloseCode::ServerFull),
        (ErrorCode::RateLimited, CloseCode::RateLimited),
        (ErrorCode::Draining, CloseCode::Drain),
        (ErrorCode::Internal, CloseCode::InternalError),
    ] {
        let mut world = World::new();
        world.request(1, connect());
        world.session.handle_authorized(world.now, UNIX_NOW, Err(WireError::new(code, "no")));
        assert_eq!(world.take()[1..], [Out::Error(1, code), Out::Close(close)]);
    }
}

#[test]
fn a_token_that_has_expired_is_no_token() {
    let mut world = World::new();
    world.request(1, connect());
    let expired = Authorization { expires_at_s: Some(UNIX_NOW), ..user("ann") };
    world.session.handle_authorized(world.now, UNIX_NOW, Ok(expired));
    assert_eq!(
        world.take()[1..],
        [Out::Error(1, ErrorCode::TokenExpired), Out::Close(CloseCode::TokenExpired)]
    );
}

#[test]
fn a_second_connect_is_refused() {
    let mut world = World::open(user("ann"));
    world.request(2, connect());
    assert_eq!(world.take(), [Out::Error(2, ErrorCode::BadRequest)]);
}

#[test]
fn what_is_no_message_is_answered_and_counted() {
    let bad = || WireError::new(ErrorCode::BadRequest, "no JSON");
    let mut world = World::new();
    world.session.handle_invalid(world.now, 0, bad());
    assert_eq!(world.take(), [Out::Error(0, ErrorCode::BadRequest), Out::Close(CloseCode::ProtocolError)]);
    let mut world = World::open(user("ann"));
    for id in 1..16 {
        world.session.handle_invalid(world.now, id, bad());
        assert_eq!(world.take(), [Out::Error(id, ErrorCode::BadRequest)]);
    }
    world.session.handle_invalid(world.now, 16, bad());
    assert_eq!(world.take()[1], Out::Close(CloseCode::ProtocolError));
}

#[test]
fn closing_leaves_every_channel_once() {
    let mut world = World::open(user("ann"));
    world.subscribe(2, "chat:1");
    world.subscribe(3, "chat:2");
    assert!(world.joined("chat:1"));
    world.take();
    world.session.close(CloseCode::Slow, "too slow");
    world.session.close(CloseCode::Normal, "gone");
    let leaves = [Out::Leave("chat:1".into()), Out::Leave("chat:2".into()), Out::Close(CloseCode::Slow)];
    assert_eq!(world.take(), leaves);
    assert!(!world.joined("chat:2"), "the hub's answer comes too late");
    world.published(9);
    world.session.handle_timeout(u64::MAX / 2);
    assert_eq!((world.take(), world.session.poll_timeout()), (vec![], None));
}

#[test]
fn revocation_closes_at_once() {
    let mut world = World::open(user("ann"));
    world.session.revoke(world.now);
    assert_eq!(world.take(), [Out::Close(CloseCode::Revoked)]);
    assert_eq!(world.session.user(), None);
}

#[test]
fn a_session_is_small() {
    assert!(size_of::<Session>() <= 280, "{} bytes", size_of::<Session>());
    assert!(size_of::<super::super::subscriptions::Subscription>() <= 40);
}
