//! One subscription: nothing twice, nothing missing unannounced, over reconnects.

use super::*;

#[test]
fn nothing_is_delivered_twice_and_recovery_begins_after_the_last() {
    let (mut script, link) = Script::connected();
    script.subscribe(link, 5);
    for offset in [6, 7, 7, 6, 8] {
        script.say(link, pushed(offset));
    }
    assert_eq!(script.heard(), ["6", "7", "8"]);
    script.lose(link, None);
    let link = script.reconnect();
    let request = script.request(link);
    assert_eq!(recover_of(&request), Some(8));
    script.reply(link, request.id, subscribed(10, Some(Recovery::Exact)));
    for offset in [9, 10, 11] {
        script.say(link, pushed(offset));
    }
    assert_eq!(script.heard(), ["subscribed", "9", "10", "11"]);
}

#[test]
fn a_hole_is_recovered_before_anything_newer() {
    let (mut script, link) = Script::connected();
    script.subscribe(link, 5);
    script.say(link, pushed(8));
    assert!(script.heard().is_empty());
    let (from, request) = rejoins(&mut script, link);
    assert_eq!(from, Some(5));
    script.say(link, pushed(9));
    script.reply(link, request, subscribed(9, Some(Recovery::Exact)));
    for offset in [6, 7, 8, 9] {
        script.say(link, pushed(offset));
    }
    assert_eq!(script.heard(), ["subscribed", "6", "7", "8", "9"]);
}

#[test]
fn what_retention_has_taken_is_announced() {
    let (mut script, link) = Script::connected();
    script.subscribe(link, 5);
    script.lose(link, None);
    let link = script.reconnect();
    let request = script.request(link);
    let gap = Recovery::Gap { from: 6, to: 20, reason: GapReason::Retention };
    script.reply(link, request.id, subscribed(50_000, Some(gap)));
    for offset in [21, 22] {
        script.say(link, pushed(offset));
    }
    let overtaken = Push::Gap {
        channel: channel("c"),
        epoch: epoch("e"),
        from: 23,
        to: 30,
        reason: GapReason::Retention,
    };
    script.say(link, ServerMessage::Push(overtaken));
    script.say(link, pushed(31));
    let heard = ["gap 6-20 Retention", "subscribed", "21", "22", "gap 23-30 Retention", "31"];
    assert_eq!(script.heard(), heard);
}

#[test]
fn what_the_server_could_not_read_is_asked_for_again_and_then_believed() {
    let (mut script, link) = Script::connected();
    script.subscribe(link, 5);
    let gap = || {
        ServerMessage::Push(Push::Gap {
            channel: channel("c"),
            epoch: epoch("e"),
            from: 6,
            to: 7,
            reason: GapReason::Unavailable,
        })
    };
    for _ in 0..3 {
        script.say(link, gap());
        let (from, request) = rejoins(&mut script, link);
        assert_eq!(from, Some(5));
        script.reply(link, request, subscribed(8, Some(Recovery::Exact)));
    }
    script.say(link, gap());
    script.say(link, pushed(8));
    let heard = ["subscribed", "subscribed", "subscribed", "gap 6-7 Unavailable", "8"];
    assert_eq!(script.heard(), heard);
}

#[test]
fn a_new_epoch_and_a_failover_are_announced() {
    let (mut script, link) = Script::connected();
    script.subscribe(link, 5);
    let gap = |epoch_name: &str, from, to, reason| {
        ServerMessage::Push(Push::Gap { channel: channel("c"), epoch: epoch(epoch_name), from, to, reason })
    };
    script.say(link, gap("f", 1, 2, GapReason::Epoch));
    script.say(link, pushed(3));
    assert_eq!(script.heard(), ["gap 1-2 Epoch", "3"]);
    // The log was cut behind 1: 2 and 3 are other publications now.
    script.say(link, gap("f", 2, 3, GapReason::Failover));
    script.say(link, pushed(2));
    assert_eq!(script.heard(), ["gap 2-3 Failover", "2"]);
}

#[test]
fn of_a_gap_only_what_was_not_seen_is_told_and_a_hole_before_it_is_recovered() {
    let (mut script, link) = Script::connected();
    script.subscribe(link, 5);
    script.say(link, gap_push("e", 4, 7, GapReason::Retention));
    assert_eq!(script.heard(), ["gap 6-7 Retention"]);
    script.say(link, gap_push("e", 10, 11, GapReason::Retention));
    assert_eq!(rejoins(&mut script, link).0, Some(7));
    assert!(script.heard().is_empty());
}

#[test]
fn after_an_exact_recovery_into_a_new_epoch_nothing_is_announced() {
    let (mut script, link) = Script::connected();
    script.subscribe(link, 5);
    script.lose(link, None);
    let link = script.reconnect();
    let request = script.request(link);
    let answer = Subscribed {
        channel: channel("c"),
        position: Some(Position { epoch: epoch("f"), offset: 6 }),
        recovery: Some(Recovery::Exact),
    };
    script.reply(link, request.id, Reply::Subscribed(answer));
    for offset in [5, 6] {
        let (epoch, publication) = (Some(epoch("f")), publication(offset));
        script
            .say(link, ServerMessage::Push(Push::Publication { channel: channel("c"), epoch, publication }));
    }
    assert_eq!(script.heard(), ["subscribed", "6"]);
}

#[test]
fn a_log_that_began_anew_is_announced_though_nothing_of_it_is_missing() {
    let (mut script, link) = Script::connected();
    script.subscribe(link, 5);
    script.say(link, gap_push("f", 1, 0, GapReason::Epoch));
    script.say(link, pushed(1));
    assert_eq!(script.heard(), ["gap 1-0 Epoch", "1"]);
}

#[test]
fn an_end_that_is_said_before_the_answer_is_of_what_stood_before() {
    let (mut script, link) = Script::connected();
    script.subscribe(link, 5);
    script.say(link, pushed(8));
    let (_, request) = rejoins(&mut script, link);
    script.say(link, unsubscribed_push());
    script.reply(link, request, subscribed(8, Some(Recovery::Exact)));
    script.say(link, pushed(6));
    assert_eq!(script.heard(), ["subscribed", "6"]);
    script.say(link, unsubscribed_push());
    assert_eq!(script.heard(), ["ended forbidden"]);
}

#[test]
fn a_publication_that_overtakes_the_answer_waits_for_it() {
    let (mut script, link) = Script::connected();
    script.machine.subscribe(0, channel("c"), Start::Now, true);
    let request = script.request(link);
    script.say(link, pushed(6));
    script.say(link, pushed(7));
    assert!(script.heard().is_empty());
    script.reply(link, request.id, subscribed(5, None));
    assert_eq!(script.heard(), ["subscribed", "6", "7"]);
    let member = Member { client: ClientId::parse("x").unwrap(), user: None };
    script.say(link, ServerMessage::Push(Push::Join { channel: channel("c"), member }));
    assert_eq!(script.heard(), ["join"]);
}

#[test]
fn a_wanted_offset_becomes_a_position_once_the_epoch_is_known() {
    for (start, position) in [(Start::Beginning, 0), (Start::Offset(1), 0), (Start::Offset(41), 40)] {
        let (mut script, link) = Script::connected();
        script.machine.subscribe(0, channel("c"), start, false);
        let request = script.request(link);
        assert_eq!(recover_of(&request), None);
        script.reply(link, request.id, subscribed(50_000, None));
        let (from, request) = rejoins(&mut script, link);
        assert_eq!(from, Some(position));
        // Published before the server has taken the second request: it comes again.
        script.say(link, pushed(50_001));
        script.reply(link, request, subscribed(50_001, Some(Recovery::Exact)));
        script.say(link, pushed(position + 1));
        assert_eq!(script.heard(), ["subscribed".to_owned(), (position + 1).to_string()]);
    }
}

#[test]
fn an_offset_that_is_not_there_yet_is_the_end() {
    let (mut script, link) = Script::connected();
    script.machine.subscribe(0, channel("c"), Start::Offset(90), false);
    let request = script.request(link);
    script.reply(link, request.id, subscribed(7, None));
    script.say(link, pushed(8));
    assert_eq!(script.heard(), ["subscribed", "8"]);
}

#[test]
fn the_beginning_is_what_is_kept() {
    let (mut script, link) = Script::connected();
    script.machine.subscribe(0, channel("c"), Start::Beginning, false);
    let request = script.request(link);
    script.reply(link, request.id, subscribed(50, None));
    let (_, request) = rejoins(&mut script, link);
    let gap = Recovery::Gap { from: 1, to: 30, reason: GapReason::Retention };
    script.reply(link, request, subscribed(50, Some(gap)));
    script.say(link, pushed(31));
    assert_eq!(script.heard(), ["subscribed", "31"], "nothing of it is missing");
}

#[test]
fn a_refused_subscription_ends_or_is_tried_again() {
    let (mut script, link) = Script::connected();
    script.machine.subscribe(0, channel("c"), Start::Now, false);
    let request = script.request(link);
    let later = WireError::new(ErrorCode::StoreUnavailable, "later").retry_after_ms(700);
    script.reply(link, request.id, Reply::Error(later));
    assert!(script.heard().is_empty());
    script.wait();
    assert!(script.now >= 700);
    let request = script.request(link);
    script.reply(link, request.id, Reply::Error(WireError::new(ErrorCode::Forbidden, "never")));
    assert_eq!(script.heard(), ["ended forbidden"]);
    assert!(script.machine.subscribe(0, channel("c"), Start::Now, false), "the channel is free again");
}
