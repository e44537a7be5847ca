//! Laws of the session, for any sequence of events: one reply per request id; joins and leaves match; no channel is
//! joined that the token does not allow; nothing comes after the close.

use std::collections::BTreeSet;

use proptest::prelude::*;
use skywave_protocol::message::Request;
use skywave_protocol::{CloseCode, ErrorCode, ServerMessage, WireError};

use super::super::{SessionConfig, SessionOutput};
use super::support::{UNIX_NOW, World, channel, config, user};
use crate::bucket::Rate;

#[derive(Debug, Clone)]
enum Step {
    Subscribe(u8),
    Unsubscribe(u8),
    Publish,
    Ping,
    Refresh,
    Joined(u8),
    JoinFailed(u8),
    Answer(u32),
    Authorized(bool),
    Wait,
    Drain,
    Close,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0u8..3).prop_map(Step::Subscribe),
        6 => (0u8..3).prop_map(Step::Unsubscribe),
        3 => Just(Step::Publish),
        1 => Just(Step::Ping),
        1 => Just(Step::Refresh),
        6 => (0u8..3).prop_map(Step::Joined),
        2 => (0u8..3).prop_map(Step::JoinFailed),
        3 => (0u32..30).prop_map(Step::Answer),
        1 => any::<bool>().prop_map(Step::Authorized),
        1 => Just(Step::Wait),
        1 => Just(Step::Drain),
        1 => Just(Step::Close),
    ]
}

/// The hub's side: at most one join per channel is unanswered, and none is asked for where one stands.
#[derive(Default)]
struct Hub {
    joining: BTreeSet<String>,
    standing: BTreeSet<String>,
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    #[test]
    fn every_request_is_answered_once_and_the_hub_is_never_confused(
        steps in prop::collection::vec(step(), 1..120),
    ) {
        let many = Rate::per_second(1_000, 1_000);
        let config =
            SessionConfig { requests: 100, publish_rate: many, request_rate: many, ..config() };
        let mut world = World::open_with(config, user("ann"));
        let (mut next, mut unanswered) = (1u32, BTreeSet::new());
        let (mut hub, mut closed) = (Hub::default(), false);
        for step in steps {
            world.now += 1;
            let name = |n: u8| format!("chat:{n}");
            next += 1;
            let mut requested = true;
            match step {
                Step::Subscribe(n) => world.subscribe(next, &name(n)),
                Step::Unsubscribe(n) => world.unsubscribe(next, &name(n)),
                Step::Publish => world.publish(next, "chat:1", 1),
                Step::Ping => world.request(next, Request::Ping),
                Step::Refresh => world.request(next, Request::Refresh { token: "t".into() }),
                _ => requested = false,
            }
            if requested && !closed {
                unanswered.insert(next);
            }
            match step {
                Step::Joined(n) if hub.joining.remove(&name(n)) => {
                    hub.standing.insert(name(n));
                    let stands = world.joined(&name(n));
                    prop_assert!(!(stands && closed));
                }
                Step::JoinFailed(n) if hub.joining.remove(&name(n)) => {
                    let error = WireError::new(ErrorCode::Internal, "no");
                    world.session.handle_join_failed(world.now, &channel(&name(n)), error);
                }
                Step::Answer(back) => world.published(next.saturating_sub(back)),
                Step::Authorized(ok) => {
                    let error = WireError::new(ErrorCode::Unauthorized, "no");
                    let result = if ok { Ok(user("ann")) } else { Err(error) };
                    world.session.handle_authorized(world.now, UNIX_NOW, result);
                }
                Step::Wait if world.session.poll_timeout().is_some() => world.wait(),
                Step::Drain => world.session.drain(world.now, None, 100),
                Step::Close => world.session.close(CloseCode::Normal, "bye"),
                _ => {}
            }
            while let Some(output) = world.session.poll_output() {
                prop_assert!(!closed, "{output:?} after the close");
                match output {
                    SessionOutput::Join { channel, .. } => {
                        let name = channel.to_string();
                        prop_assert!(!hub.standing.contains(&name) && hub.joining.insert(name));
                    }
                    // Closing leaves what is being joined too; otherwise the hub's answer is waited for.
                    SessionOutput::Leave { channel } => {
                        let name = channel.to_string();
                        let closing = world.session.is_closed();
                        prop_assert!(hub.standing.remove(&name) || (closing && hub.joining.remove(&name)));
                    }
                    SessionOutput::Close { .. } => {
                        closed = true;
                        unanswered.clear();
                        prop_assert!(hub.standing.is_empty() && hub.joining.is_empty());
                    }
                    SessionOutput::Send(ServerMessage::Reply { id, .. }) => {
                        prop_assert!(unanswered.remove(&id), "{id} was answered twice");
                    }
                    _ => {}
                }
            }
        }
        if closed {
            return Ok(());
        }
        // Everything outside has its say: nothing stays unanswered.
        world.now += 1;
        world.session.handle_authorized(world.now, UNIX_NOW, Ok(user("ann")));
        while let Some(name) = hub.joining.pop_first() {
            hub.standing.insert(name.clone());
            let _ = world.joined(&name);
            while let Some(output) = world.session.poll_output() {
                match output {
                    SessionOutput::Join { channel, .. } => drop(hub.joining.insert(channel.to_string())),
                    SessionOutput::Leave { channel } => drop(hub.standing.remove(channel.as_str())),
                    SessionOutput::Send(ServerMessage::Reply { id, .. }) => drop(unanswered.remove(&id)),
                    _ => {}
                }
            }
        }
        for id in unanswered.clone() {
            world.published(id);
        }
        while let Some(output) = world.session.poll_output() {
            if let SessionOutput::Send(ServerMessage::Reply { id, .. }) = output {
                unanswered.remove(&id);
            }
        }
        prop_assert!(unanswered.is_empty(), "{unanswered:?}");
        let standing: Vec<String> = world.session.subscriptions().map(ToString::to_string).collect();
        prop_assert_eq!(standing, hub.standing.into_iter().collect::<Vec<_>>());
    }
}
