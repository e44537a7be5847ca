//! Connections that are made, lost, refused and made again, and what a close answers.

use super::*;

#[test]
fn a_lost_connection_is_made_again_after_a_growing_random_wait() {
    let mut script = Script::new(settings());
    let mut waits = Vec::new();
    for _ in 0..6 {
        let link = script.opened();
        script.lose(link, None);
        let Some(Output::State(State::Disconnected { retry_in, .. })) = script.outputs.last().cloned() else {
            panic!("{:?}", script.outputs.last());
        };
        waits.push(retry_in.as_millis());
        script.wait();
    }
    for (attempt, wait) in waits.iter().enumerate() {
        assert!(*wait <= 1_000 << attempt.min(5), "{waits:?}");
    }
    assert!(waits.windows(2).any(|pair| pair[0] != pair[1]));
    let urls: Vec<String> = script.opens().into_iter().map(|(_, url)| url).collect();
    assert_eq!(
        &urls[..3],
        ["http://a", "http://b", "http://a"],
        "addresses that do not answer are tried in turn"
    );
}

#[test]
fn what_the_server_asks_to_wait_is_waited() {
    let mut script = Script::new(settings());
    let link = script.opened();
    let broken = Broken { retry_after_ms: Some(60_000), ..Broken::default() };
    script.machine.handle_broken(0, link, broken);
    assert!(script.machine.poll_timeout().unwrap() >= 60_000);
}

#[test]
fn the_close_code_decides_about_coming_back() {
    for (code, url) in
        [(CloseCode::Drain, "http://b"), (CloseCode::Slow, "http://a"), (CloseCode::PingTimeout, "http://a")]
    {
        let (mut script, link) = Script::connected();
        script.lose(link, Some(code));
        script.wait();
        assert_eq!(script.opens().last().unwrap().1, url, "{code:?}");
    }
    for code in [CloseCode::Revoked, CloseCode::Forbidden, CloseCode::ProtocolError, CloseCode::TokenExpired]
    {
        let (mut script, link) = Script::connected();
        script.lose(link, Some(code));
        assert!(script.machine.is_closed(), "{code:?}");
        assert_eq!(script.machine.poll_timeout(), None);
    }
}

#[test]
fn an_expired_token_is_replaced_where_one_can_be_had() {
    let mut script = Script::new(Settings { can_fetch_tokens: true, ..settings() });
    assert_eq!(script.outputs.last(), Some(&Output::FetchToken));
    script.machine.handle_token(0, Ok("t1".into()));
    script.drain();
    let link = script.opened();
    script.accept(link);
    script.say(link, ServerMessage::Push(Push::Expiring { seconds: 60 }));
    assert_eq!(script.outputs.last(), Some(&Output::FetchToken));
    script.machine.handle_token(script.now, Ok("t2".into()));
    assert_eq!(script.request(link).request, Request::Refresh { token: "t2".into() });

    script.lose(link, Some(CloseCode::TokenExpired));
    script.wait();
    assert_eq!(script.outputs.last(), Some(&Output::FetchToken), "a new one is asked for before connecting");
    script.machine.handle_token(script.now, Ok("t3".into()));
    script.drain();
    let link = script.opened();
    script.machine.handle_opened(script.now, link);
    let Request::Connect(connect) = script.request(link).request else { panic!("no connect") };
    assert_eq!(connect.token.as_deref(), Some("t3"));
}

#[test]
fn a_silent_server_is_left() {
    let (mut script, link) = Script::connected();
    let quiet_since = script.now;
    script.wait();
    assert_eq!(script.now - quiet_since, 36_000, "ping, pong and a second");
    assert!(script.outputs.contains(&Output::Shut(link)));
    let (mut script, link) = Script::connected();
    script.now += 30_000;
    script.say(link, ServerMessage::Ping);
    assert_eq!(script.request(link), ClientMessage { id: 0, request: Request::Ping });
    assert_eq!(script.machine.poll_timeout(), Some(script.now + 36_000));
}

#[test]
fn closing_answers_everything() {
    let (mut script, link) = Script::connected();
    script.publish(1);
    script.machine.request(0, 2, Request::Presence { channel: channel("c") });
    script.machine.close(ClosedError::Closed);
    script.drain();
    assert!(script.outputs.contains(&Output::Shut(link)));
    assert!(
        script.outputs.contains(&Output::Published { ticket: 1, result: Err(ClosedError::Closed.into()) })
    );
    assert!(
        script.outputs.contains(&Output::Answered { ticket: 2, result: Err(ClosedError::Closed.into()) })
    );
    assert_eq!(script.outputs.last(), Some(&Output::Closed(ClosedError::Closed)));
    script.outputs.clear();
    script.publish(3);
    script.drain();
    assert!(matches!(script.outputs[..], [Output::Published { ticket: 3, result: Err(_) }]));
}

#[test]
fn a_request_is_asked_again_on_the_next_connection() {
    let (mut script, link) = Script::connected();
    script.machine.request(0, 9, Request::Presence { channel: channel("c") });
    assert_eq!(script.sent(link).len(), 1);
    script.lose(link, None);
    let link = script.reconnect();
    let request = script.request(link);
    script.reply(link, request.id, Reply::Presence { channel: channel("c"), members: vec![] });
    assert!(script.outputs.contains(&Output::Answered { ticket: 9, result: Ok(Answer::Presence(vec![])) }));
}
