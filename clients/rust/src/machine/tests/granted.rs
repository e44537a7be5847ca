//! Channels that a backend grants, and what becomes of them when the application subscribes to one or the client moves.

use super::*;

fn granted(at: u64) -> ServerMessage {
    let subscribed = Subscribed { channel: channel("c"), position: Some(position(at)), recovery: None };
    ServerMessage::Push(Push::Subscribed(subscribed))
}

fn refused(code: ErrorCode) -> Reply {
    Reply::Error(WireError::new(code, "no"))
}

fn subscribes(script: &mut Script, start: Start) {
    assert!(script.machine.subscribe(script.now, channel("c"), start, false));
    script.drain();
}

/// Put into the channel at 5, of which 6 has come.
fn in_a_granted_channel() -> (Script, LinkId) {
    let (mut script, link) = Script::connected();
    script.say(link, granted(5));
    script.say(link, pushed(6));
    assert_eq!(script.grants(), ["granted at 5", "6"]);
    (script, link)
}

/// The same on the way to another node; both connections stand, because a publication is not answered on the old one.
fn moving() -> (Script, LinkId, LinkId) {
    let (mut script, old) = in_a_granted_channel();
    script.publish(1);
    script.sent(old);
    let new = script.begin_move(old, 10_000);
    assert!(script.sent(new).is_empty(), "nothing is asked for");
    (script, old, new)
}

#[test]
fn a_grant_is_told_of_until_the_connection_ends() {
    let (mut script, link) = in_a_granted_channel();
    script.lose(link, None);
    let link = script.reconnect();
    script.say(link, pushed(7));
    assert_eq!(script.grants(), ["ended"]);
    assert!(script.sent(link).is_empty(), "it is not asked for again");
}

#[test]
fn a_subscription_follows_the_grant_without_a_copy_or_a_hole() {
    let (mut script, link) = in_a_granted_channel();
    subscribes(&mut script, Start::Now);
    let first = script.request(link);
    assert_eq!(recover_of(&first), Some(6));
    script.say(link, pushed(7));
    assert_eq!(script.grants(), ["7"], "the grant serves until it is taken over");
    script.reply(link, first.id, refused(ErrorCode::AlreadySubscribed));
    assert_eq!(script.grants(), ["ended"]);
    let (from, request) = rejoins(&mut script, link);
    assert_eq!(from, Some(7), "at once, from where the grant stood");
    // On its way when the grant ended.
    script.say(link, pushed(8));
    script.reply(link, request, subscribed(9, Some(Recovery::Exact)));
    for offset in [8, 9, 10] {
        script.say(link, pushed(offset));
    }
    assert_eq!(script.heard(), ["subscribed", "8", "9", "10"]);
    assert!(script.grants().is_empty());
}

#[test]
fn a_subscription_that_the_server_takes_at_once_follows_too() {
    let (mut script, link) = in_a_granted_channel();
    subscribes(&mut script, Start::Now);
    let request = script.request(link);
    script.say(link, pushed(7));
    // The backend has ended the grant a moment ago.
    script.say(link, unsubscribed_push());
    script.say(link, pushed(8));
    script.reply(link, request.id, subscribed(8, Some(Recovery::Exact)));
    for offset in [7, 8, 9] {
        script.say(link, pushed(offset));
    }
    assert_eq!(script.grants(), ["7", "forbidden"]);
    assert_eq!(script.heard(), ["subscribed", "8", "9"]);
}

#[test]
fn what_the_grant_has_delivered_is_not_announced_as_missing() {
    let (mut script, link) = in_a_granted_channel();
    subscribes(&mut script, Start::Now);
    let request = script.request(link);
    script.say(link, pushed(7));
    let gap = Recovery::Gap { from: 7, to: 8, reason: GapReason::Retention };
    script.reply(link, request.id, subscribed(9, Some(gap)));
    for offset in [8, 9] {
        script.say(link, pushed(offset));
    }
    assert_eq!(script.grants(), ["7", "ended"]);
    assert_eq!(script.heard(), ["gap 8-8 Retention", "subscribed", "9"]);
}

#[test]
fn a_start_that_the_application_names_decides() {
    for (start, from) in [(Start::After(position(2)), Some(2)), (Start::Offset(3), None)] {
        let (mut script, link) = in_a_granted_channel();
        subscribes(&mut script, start);
        let request = script.request(link);
        assert_eq!(recover_of(&request), from);
        script.reply(link, request.id, refused(ErrorCode::AlreadySubscribed));
        let (again, mut request) = rejoins(&mut script, link);
        assert_eq!(again, from);
        if from.is_none() {
            script.reply(link, request, subscribed(6, None));
            let (wanted, next) = rejoins(&mut script, link);
            assert_eq!(wanted, Some(2));
            request = next;
        }
        script.reply(link, request, subscribed(6, Some(Recovery::Exact)));
        script.say(link, pushed(3));
        assert_eq!(script.heard(), ["subscribed", "3"]);
    }
}

#[test]
fn a_grant_outlives_a_subscription_that_is_refused() {
    let (mut script, link) = in_a_granted_channel();
    subscribes(&mut script, Start::Now);
    let request = script.request(link);
    script.say(link, pushed(7));
    script.reply(link, request.id, refused(ErrorCode::Forbidden));
    script.say(link, pushed(8));
    assert_eq!(script.grants(), ["7", "8"]);
    assert_eq!(script.heard(), ["ended forbidden"]);
}

#[test]
fn a_grant_that_comes_before_a_refusal_is_told_of_after_it() {
    let (mut script, link) = Script::connected();
    subscribes(&mut script, Start::Now);
    let request = script.request(link);
    script.say(link, granted(5));
    script.say(link, pushed(6));
    assert!(script.grants().is_empty());
    script.reply(link, request.id, refused(ErrorCode::Forbidden));
    script.say(link, pushed(7));
    assert_eq!(script.grants(), ["granted at 5", "6", "7"]);
}

#[test]
fn a_grant_that_was_faster_is_left_at_once_but_not_for_ever() {
    let (mut script, link) = Script::connected();
    subscribes(&mut script, Start::Now);
    let request = script.request(link);
    script.reply(link, request.id, refused(ErrorCode::AlreadySubscribed));
    let (_, request) = rejoins(&mut script, link);
    script.reply(link, request, refused(ErrorCode::AlreadySubscribed));
    let sent = script.sent(link);
    assert!(matches!(sent[..], [ClientMessage { request: Request::Unsubscribe { .. }, .. }]), "{sent:?}");
    script.wait();
    let request = script.request(link);
    script.reply(link, request.id, subscribed(5, None));
    assert_eq!(script.heard(), ["subscribed"]);
}

#[test]
fn a_grant_goes_on_while_the_subscription_waits() {
    let (mut script, link) = in_a_granted_channel();
    subscribes(&mut script, Start::Now);
    let request = script.request(link);
    script.reply(link, request.id, refused(ErrorCode::ChannelFull));
    script.say(link, pushed(7));
    assert_eq!(script.grants(), ["7"]);
    script.wait();
    let request = script.request(link);
    assert_eq!(recover_of(&request), Some(7));
    script.reply(link, request.id, refused(ErrorCode::AlreadySubscribed));
    assert_eq!(rejoins(&mut script, link).0, Some(7), "at once, though it has failed before");
}

#[test]
fn a_grant_that_ends_while_it_is_taken_over_does_not_end_the_subscription_that_follows_it() {
    let (mut script, link) = in_a_granted_channel();
    subscribes(&mut script, Start::Now);
    let request = script.request(link);
    script.reply(link, request.id, refused(ErrorCode::AlreadySubscribed));
    let (_, request) = rejoins(&mut script, link);
    script.say(link, unsubscribed_push());
    script.reply(link, request, subscribed(6, Some(Recovery::Exact)));
    script.say(link, pushed(7));
    assert_eq!(script.heard(), ["subscribed", "7"]);
}

#[test]
fn a_connection_lost_while_a_granted_channel_is_subscribed_to_leaves_no_hole() {
    let (mut script, link) = in_a_granted_channel();
    subscribes(&mut script, Start::Now);
    script.sent(link);
    script.say(link, pushed(7));
    script.lose(link, None);
    assert_eq!(script.grants(), ["7", "ended"]);
    let link = script.reconnect();
    let request = script.request(link);
    assert_eq!(recover_of(&request), Some(7));
    script.reply(link, request.id, subscribed(8, Some(Recovery::Exact)));
    script.say(link, pushed(8));
    assert_eq!(script.heard(), ["subscribed", "8"]);
}

#[test]
fn unsubscribing_ends_the_grant_too() {
    let (mut script, link) = in_a_granted_channel();
    subscribes(&mut script, Start::Now);
    script.sent(link);
    script.machine.unsubscribe(&channel("c"));
    assert!(matches!(script.request(link).request, Request::Unsubscribe { .. }));
    script.say(link, pushed(7));
    assert_eq!(script.grants(), ["ended"]);
}

#[test]
fn while_the_client_moves_both_grants_are_one() {
    let (mut script, old, new) = moving();
    script.say(old, pushed(7));
    script.say(new, granted(8));
    script.say(new, pushed(9));
    assert_eq!(script.grants(), ["7", "gap 8-8 Unavailable", "9"]);
    script.say(old, pushed(9));
    script.lose(old, None);
    script.say(new, pushed(10));
    assert_eq!(script.grants(), ["10"]);
}

#[test]
fn subscribing_on_the_new_connection_takes_over_what_was_granted_on_the_old_one() {
    let (mut script, old) = in_a_granted_channel();
    script.publish(1);
    script.sent(old);
    script.say(old, ServerMessage::Push(Push::Move { target: None, within_ms: 10_000 }));
    subscribes(&mut script, Start::Now);
    script.sent(old);
    script.wait();
    let new = script.opened();
    script.accept(new);
    let request = script.request(new);
    assert_eq!(recover_of(&request), Some(6));
    // Streams are independent: this one overtakes the answer.
    script.say(new, pushed(8));
    script.say(old, pushed(7));
    assert_eq!(script.grants(), ["7"]);
    script.reply(new, request.id, subscribed(8, Some(Recovery::Exact)));
    script.say(old, pushed(8));
    for offset in [7, 8, 9] {
        script.say(new, pushed(offset));
    }
    assert_eq!(script.grants(), ["ended"]);
    assert_eq!(script.heard(), ["subscribed", "8", "9"]);
}

/// Subscribed on the way to a node on which a backend grants the channel at 9; then the old node, which had brought 6, is lost.
/// What was asked for before that.
fn subscribed_on_the_way() -> (Script, LinkId, ClientMessage) {
    let (mut script, old, new) = moving();
    script.say(new, granted(9));
    script.machine.subscribe(script.now, channel("c"), Start::Now, false);
    let request = script.request(new);
    assert_eq!(recover_of(&request), Some(6));
    script.lose(old, None);
    assert_eq!(script.grants(), ["gap 7-9 Unavailable"]);
    (script, new, request)
}

#[test]
fn a_subscription_goes_on_after_what_was_announced_when_the_old_node_was_left() {
    let (mut script, new, request) = subscribed_on_the_way();
    script.sent(new);
    script.reply(new, request.id, refused(ErrorCode::AlreadySubscribed));
    assert_eq!(rejoins(&mut script, new).0, Some(9));
}

#[test]
fn what_was_announced_as_missing_does_not_come_after_all() {
    let (mut script, new, request) = subscribed_on_the_way();
    script.reply(new, request.id, subscribed(9, Some(Recovery::Exact)));
    for offset in 7..=10 {
        script.say(new, pushed(offset));
    }
    assert_eq!(script.heard(), ["subscribed", "10"]);
}

#[test]
fn a_grant_on_the_node_moved_to_does_not_keep_the_subscription_from_moving() {
    let (mut script, old) = Script::connected();
    script.subscribe(old, 5);
    let new = script.begin_move(old, 10_000);
    let request = script.request(new);
    script.say(new, granted(5));
    script.reply(new, request.id, refused(ErrorCode::AlreadySubscribed));
    let (from, request) = rejoins(&mut script, new);
    script.say(old, pushed(6));
    assert_eq!(from, Some(5));
    script.reply(new, request, subscribed(6, Some(Recovery::Exact)));
    assert!(script.outputs.contains(&Output::Shut(old)));
    for offset in [6, 7] {
        script.say(new, pushed(offset));
    }
    assert_eq!(script.heard(), ["6", "subscribed", "7"]);
    assert!(script.grants().is_empty());
}
