//! Publishing, history, presence, limits.

use skywave_protocol::message::{HistoryQuery, Reply, Request};
use skywave_protocol::{CloseCode, ErrorCode, WireError};

use super::super::Authorization;
use super::support::{Out, World, channel, user};
use crate::capability::Capabilities;

fn history(name: &str, limit: u32) -> Request {
    let channel = channel(name);
    Request::History(HistoryQuery { channel, after: 0, before: 0, limit, reverse: false })
}

fn allowed(claims: &[(&str, &[&str])]) -> Authorization {
    let claims = claims.iter().map(|(pattern, operations)| (*pattern, operations.iter()));
    Authorization { capabilities: Capabilities::from_claims(claims).unwrap(), ..user("ann") }
}

#[test]
fn a_publication_is_handed_out_and_answered_once() {
    let mut world = World::open(user("ann"));
    world.publish(5, "chat:1", 10);
    world.publish(6, "live:1", 10);
    assert_eq!(world.take(), [Out::Publish(5, true), Out::Publish(6, false)]);
    world.published(6);
    world.published(5);
    world.published(5);
    assert_eq!(world.take(), [Out::Published(6), Out::Published(5)]);
}

#[test]
fn without_an_id_nothing_is_answered() {
    let mut world = World::open(user("ann"));
    world.publish(0, "chat:1", 10);
    world.publish(0, "nowhere:1", 10);
    world.published(0);
    world.subscribe(0, "chat:1");
    world.joined("chat:1");
    world.unsubscribe(0, "chat:1");
    let outs = world.take();
    assert_eq!(outs, [Out::Publish(0, true), Out::Join("durable", None), Out::Leave("chat:1".into())]);
}

#[test]
fn too_large_too_fast_too_many() {
    let mut world = World::open(user("ann"));
    world.publish(2, "members:1", 5);
    assert_eq!(world.take(), [Out::Error(2, ErrorCode::TooLarge)]);
    world.publish(3, "chat:1", 1);
    world.publish(4, "chat:1", 1);
    world.publish(5, "chat:1", 1);
    assert_eq!(world.take()[2..], [Out::Error(5, ErrorCode::RateLimited)]);
    assert_eq!(world.retry_after_ms, Some(100), "ten a second");
    world.now += 99;
    world.publish(6, "chat:1", 1);
    assert_eq!((world.take(), world.retry_after_ms), (vec![Out::Error(6, ErrorCode::RateLimited)], Some(1)));
    world.now += 1;
    world.publish(7, "chat:1", 1);
    assert_eq!(world.take(), [Out::Error(7, ErrorCode::RateLimited)], "two requests are unanswered");
    world.published(3);
    world.now += 100;
    world.publish(8, "chat:1", 1);
    assert_eq!(world.take(), [Out::Published(3), Out::Publish(8, true)]);
}

#[test]
fn an_id_that_is_unanswered_cannot_be_used_again() {
    let mut world = World::open(user("ann"));
    world.publish(2, "chat:1", 1);
    world.publish(2, "chat:1", 1);
    assert_eq!(world.take()[1..], [Out::Error(2, ErrorCode::BadRequest)]);
}

#[test]
fn other_requests_have_a_rate_of_their_own() {
    let mut world = World::open(user("ann"));
    for id in 0..50 {
        world.request(id, Request::Ping);
    }
    assert_eq!(world.take().len(), 49);
    world.request(50, Request::Ping);
    assert_eq!(
        (world.take(), world.retry_after_ms),
        (vec![Out::Error(50, ErrorCode::RateLimited)], Some(10))
    );
    world.publish(51, "chat:1", 1);
    assert_eq!(world.take(), [Out::Publish(51, true)]);
}

#[test]
fn no_answer_in_time_is_an_answer() {
    let mut world = World::open(user("ann"));
    world.publish(2, "chat:1", 1);
    world.now += 10;
    world.publish(3, "chat:1", 1);
    world.take();
    world.wait();
    assert_eq!((world.now, world.take()), (11_000, vec![Out::Error(2, ErrorCode::Timeout)]));
    assert_eq!(world.retry_after_ms, Some(1_000), "nothing is refused for good");
    world.wait();
    assert_eq!((world.now, world.take()), (11_010, vec![Out::Error(3, ErrorCode::Timeout)]));
    world.published(2);
    assert_eq!(world.take(), [], "too late");
}

#[test]
fn history_and_presence_where_there_are_any() {
    let mut world = World::open(user("42"));
    world.request(2, history("chat:1", 0));
    world.request(3, history("chat:1", 9_999));
    assert_eq!(world.take(), [Out::History(2, 1), Out::History(3, 1_000)]);
    for id in [2, 3] {
        let error = WireError::new(ErrorCode::StoreUnavailable, "no");
        world.session.handle_answer(world.now, id, Reply::Error(error));
    }
    world.take();
    world.request(4, Request::Presence { channel: channel("chat:1") });
    assert_eq!(world.take(), [Out::Presence(4)]);
    for (request, code) in [
        (history("live:1", 5), ErrorCode::NotAvailable),
        (history("user:1", 5), ErrorCode::Forbidden),
        (history("x:1", 5), ErrorCode::UnknownNamespace),
        (Request::Presence { channel: channel("live:1") }, ErrorCode::NotAvailable),
        (Request::Presence { channel: channel("user:1") }, ErrorCode::Forbidden),
    ] {
        world.request(9, request.clone());
        assert_eq!(world.take(), [Out::Error(9, code)], "{request:?}");
    }
}

#[test]
fn a_token_with_capabilities_allows_what_it_names_and_nothing_else() {
    let mut world = World::open(allowed(&[("chat:a*", &["subscribe"]), ("user:7", &["publish", "history"])]));
    world.publish(2, "user:7", 1);
    world.request(3, history("user:7", 5));
    world.subscribe(4, "chat:a1");
    assert_eq!(world.take(), [Out::Publish(2, true), Out::History(3, 5), Out::Join("durable", None)]);
    world.publish(5, "chat:a1", 1);
    world.subscribe(6, "user:7");
    world.subscribe(7, "chat:b");
    world.subscribe_with(8, "chat:a2", None, true);
    world.request(9, Request::Presence { channel: channel("chat:a1") });
    let refused: Vec<Out> = (5..=9).map(|id| Out::Error(id, ErrorCode::Forbidden)).collect();
    assert_eq!(world.take(), refused);
}

#[test]
fn draining_tells_where_to_go_and_then_closes() {
    let mut world = World::open(user("ann"));
    world.session.drain(world.now, Some("https://n2".into()), 5_000);
    world.session.drain(world.now, None, 5_000);
    assert_eq!(world.take(), [Out::Move]);
    world.publish(2, "chat:1", 1);
    assert_eq!(world.take(), [Out::Publish(2, true)], "what is asked meanwhile is done");
    world.wait();
    assert_eq!((world.now, world.take()), (6_000, vec![Out::Close(CloseCode::Drain)]));
    let mut unconnected = World::new();
    unconnected.session.drain(unconnected.now, None, 5_000);
    assert_eq!(unconnected.take(), [Out::Close(CloseCode::Drain)]);
}

#[test]
fn who_may_take_his_time_is_hurried_when_the_node_leaves() {
    let mut world = World::open(user("ann"));
    world.session.drain(world.now, Some("https://n2".into()), 30_000);
    world.session.drain(world.now, Some("https://n3".into()), 2_000);
    assert_eq!(world.take(), [Out::Move, Out::Move]);
    world.now += 2_000;
    world.session.handle_timeout(world.now);
    assert_eq!(world.take(), [Out::Close(CloseCode::Drain)]);
}
