//! Silence.

use skywave_protocol::CloseCode;
use skywave_protocol::message::Request;

use super::support::{Out, World, user};

#[test]
fn silence_is_answered_with_a_ping_and_then_with_a_close() {
    let mut world = World::open(user("ann"));
    world.wait();
    assert_eq!((world.now, world.take()), (26_000, vec![Out::Ping]));
    world.wait();
    assert_eq!((world.now, world.take()), (36_000, vec![Out::Close(CloseCode::PingTimeout)]));
}

#[test]
fn any_byte_is_a_sign_of_life() {
    let mut world = World::open(user("ann"));
    world.session.handle_received(20_000);
    assert_eq!(world.session.poll_timeout(), Some(45_000));
    // The timer that was set before fires for nothing.
    world.session.handle_timeout(26_000);
    assert_eq!(world.take(), []);
    world.wait();
    assert_eq!(world.take(), [Out::Ping]);
    world.now += 3_000;
    world.request(0, Request::Ping);
    assert_eq!((world.take(), world.session.poll_timeout()), (vec![], Some(world.now + 25_000)));
    world.request(4, Request::Ping);
    assert_eq!(world.take(), [Out::Pong(4)]);
}

#[test]
fn a_node_that_slept_pings_before_it_closes() {
    let mut world = World::open(user("ann"));
    world.now = 1_000_000;
    world.session.handle_timeout(world.now);
    assert_eq!(world.take(), [Out::Ping], "the client had no chance to answer yet");
}
