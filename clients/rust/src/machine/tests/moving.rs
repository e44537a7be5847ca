//! A server that asks to be left.

use super::*;

#[test]
fn a_move_connects_to_the_new_node_before_it_leaves_the_old_one() {
    let (mut script, old) = Script::connected();
    script.subscribe(old, 5);
    script.publish(1);
    let in_flight = script.sent(old);
    let target = Some("http://c".to_owned());
    script.say(old, ServerMessage::Push(Push::Move { target, within_ms: 10_000 }));
    let new = script.opens().len();
    assert_eq!(new, 0, "a slot of its own comes first");
    script.wait();
    assert!(script.now < 5_000);
    assert_eq!(script.opens().last().unwrap().1, "http://c");
    let new = script.opened();
    script.accept(new);
    let request = script.request(new);
    assert_eq!(recover_of(&request), Some(5));

    // Both connections serve the channel for a while; nothing comes twice.
    script.say(old, pushed(6));
    script.reply(new, request.id, subscribed(6, Some(Recovery::Exact)));
    script.say(new, pushed(6));
    script.say(old, pushed(7));
    script.say(new, pushed(7));
    assert_eq!(script.heard(), ["6", "subscribed", "7"]);

    // New publishes wait until the old connection has answered what it has.
    script.publish(2);
    assert!(script.sent(new).is_empty() && script.sent(old).is_empty());
    assert!(!script.outputs.contains(&Output::Shut(old)));
    let published = Published { position: Some(position(8)), duplicate: false };
    script.reply(old, in_flight[0].id, Reply::Published(published));
    assert!(script.outputs.contains(&Output::Shut(old)));
    assert_eq!(published_ids(&script.sent(new)), ["m2"]);
    script.say(new, pushed(8));
    assert_eq!(script.heard(), ["8"]);
}

#[test]
fn a_node_that_dies_during_a_move_costs_nothing() {
    let (mut script, old) = Script::connected();
    script.subscribe(old, 5);
    script.publish(1);
    script.sent(old);
    let new = script.begin_move(old, 1_000);
    let request = script.request(new);
    script.lose(old, None);
    assert_eq!(published_ids(&script.sent(new)), ["m1"], "what was unanswered goes to the new node");
    script.reply(new, request.id, subscribed(6, Some(Recovery::Exact)));
    script.say(new, pushed(6));
    assert_eq!(script.heard(), ["subscribed", "6"]);
}

#[test]
fn a_move_to_nowhere_does_not_lengthen_the_wait_that_follows() {
    let (mut script, old) = Script::connected();
    script.say(old, ServerMessage::Push(Push::Move { target: None, within_ms: 100_000 }));
    for _ in 0..5 {
        let before = script.opens().len();
        while script.opens().len() == before {
            script.wait();
        }
        let refused = script.opened();
        script.lose(refused, None);
        // The server is there, only not for newcomers.
        script.machine.handle_received(script.now, old);
    }
    script.lose(old, Some(CloseCode::Drain));
    let Some(Output::State(State::Disconnected { retry_in, .. })) = script.outputs.last() else {
        panic!("{:?}", script.outputs.last());
    };
    assert!(retry_in.as_millis() <= 1_000, "{retry_in:?}");
}

#[test]
fn a_subscription_that_ends_on_the_node_moved_to_has_ended() {
    let (mut script, old) = Script::connected();
    script.subscribe(old, 5);
    script.publish(1);
    script.sent(old);
    let new = script.begin_move(old, 10_000);
    let request = script.request(new);
    script.reply(new, request.id, subscribed(5, Some(Recovery::Exact)));
    script.say(new, unsubscribed_push());
    assert_eq!(script.heard(), ["subscribed", "ended forbidden"]);
}

/// On the way to another node; both connections stand, because a publish is not answered on the old one.
fn under_way() -> (Script, LinkId, LinkId, u32) {
    let (mut script, old) = Script::connected();
    script.publish(1);
    let publish = script.request(old).id;
    let new = script.begin_move(old, 10_000);
    (script, old, new, publish)
}

#[test]
fn a_channel_that_is_subscribed_during_a_move_begins_where_it_will_stay() {
    let (mut script, old, new, publish) = under_way();
    script.subscribe(new, 5);
    assert!(script.sent(old).is_empty());
    script.reply(old, publish, Reply::Published(Published { position: Some(position(6)), duplicate: false }));
    assert!(script.outputs.contains(&Output::Shut(old)), "the move does not wait for its time to be over");
    script.say(new, pushed(6));
    assert_eq!(script.heard(), ["6"]);
    assert!(script.sent(new).is_empty(), "nothing is asked for again");
}

#[test]
fn a_channel_that_began_on_a_node_which_then_breaks_begins_again_on_the_one_that_stands() {
    let (mut script, old, new, _) = under_way();
    script.subscribe(new, 5);
    script.lose(new, None);
    let request = script.request(old);
    assert_eq!(recover_of(&request), Some(5));
    script.reply(old, request.id, subscribed(6, Some(Recovery::Exact)));
    script.say(old, pushed(6));
    assert_eq!(script.heard(), ["subscribed", "6"]);
}
