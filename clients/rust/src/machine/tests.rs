//! The machine against a scripted server over virtual time.

use std::sync::Arc;

use skywave_protocol::message::GapReason;
use skywave_protocol::message::{Connected, Member, Published, Recovery, Subscribed};
use skywave_protocol::{
    ClientId, ClientMessage, CloseCode, Epoch, ErrorCode, MessageId, NodeId, Payload, Position, Publication,
    Push, Reply, ServerMessage, WireError, json,
};

use super::*;
use crate::error::PublishError;
use crate::event::{GrantEvent, State, SubscriptionEvent};

mod granted;

/// A machine, its clock, and what it has asked for.
struct Script {
    machine: Machine,
    now: Millis,
    outputs: Vec<Output>,
}

fn settings() -> Settings {
    Settings {
        urls: vec!["http://a".into(), "http://b".into()],
        routed: false,
        key: None,
        encoding: Encoding::Json,
        backoff: Backoff::default(),
        connect_timeout_ms: 10_000,
        request_timeout_ms: 20_000,
        window: 8,
        name: "test".into(),
        can_fetch_tokens: false,
        token: None,
    }
}

fn channel(name: &str) -> ChannelName {
    ChannelName::parse(name).unwrap()
}

fn epoch(text: &str) -> Epoch {
    Epoch::parse(text).unwrap()
}

fn position(offset: u64) -> Position {
    Position { epoch: epoch("e"), offset }
}

fn publication(offset: u64) -> Arc<Publication> {
    Arc::new(Publication {
        offset,
        id: None,
        from: None,
        time_ms: 0,
        data: Payload::Json(bytes::Bytes::from(offset.to_string())),
    })
}

fn pushed(offset: u64) -> ServerMessage {
    ServerMessage::Push(Push::Publication {
        channel: channel("c"),
        epoch: None,
        publication: publication(offset),
    })
}

fn subscribed(at: u64, recovery: Option<Recovery>) -> Reply {
    Reply::Subscribed(Subscribed { channel: channel("c"), position: Some(position(at)), recovery })
}

impl Script {
    fn new(settings: Settings) -> Self {
        let mut script = Self { machine: Machine::new(settings, 7, 0), now: 0, outputs: Vec::new() };
        script.drain();
        script
    }

    /// A script whose first connection is ready.
    fn connected() -> (Self, LinkId) {
        let mut script = Self::new(settings());
        let link = script.opened();
        script.accept(link);
        script.outputs.clear();
        (script, link)
    }

    fn drain(&mut self) {
        while let Some(output) = self.machine.poll_output() {
            self.outputs.push(output);
        }
    }

    /// The connection that was asked for last.
    fn opened(&self) -> LinkId {
        self.opens().last().expect("a connection was asked for").0
    }

    fn opens(&self) -> Vec<(LinkId, String)> {
        let opens = self.outputs.iter().filter_map(|output| match output {
            Output::Open { link, url } => Some((*link, url.clone())),
            _ => None,
        });
        opens.collect()
    }

    /// What the client sends on a connection now.
    fn sent(&mut self, link: LinkId) -> Vec<ClientMessage> {
        let mut messages = Vec::new();
        while let Some(frame) = self.machine.transmit(self.now, link) {
            messages.extend(json::decode_client_batch(&frame).map(Result::unwrap));
        }
        self.drain();
        messages
    }

    /// The only request on its way.
    fn request(&mut self, link: LinkId) -> ClientMessage {
        let mut sent = self.sent(link);
        assert_eq!(sent.len(), 1, "{sent:?}");
        sent.remove(0)
    }

    fn say(&mut self, link: LinkId, message: ServerMessage) {
        let mut frame = Vec::new();
        json::encode_server(&message, &mut frame);
        self.machine.handle_frame(self.now, link, &frame);
        self.drain();
    }

    fn reply(&mut self, link: LinkId, id: u32, reply: Reply) {
        self.say(link, ServerMessage::Reply { id, reply });
    }

    /// Lets the connection stand and answers its `connect`.
    fn accept(&mut self, link: LinkId) {
        self.machine.handle_opened(self.now, link);
        let request = self.request(link);
        assert!(matches!(request.request, Request::Connect(_)));
        let connected = Connected {
            client: ClientId::parse("c1").unwrap(),
            user: None,
            region: "r".into(),
            node: NodeId::parse(&format!("n{}", link.0)).unwrap(),
            ping_seconds: 25,
            pong_timeout_seconds: 10,
            expires_in_seconds: None,
            message_bytes: 65_536,
        };
        self.reply(link, request.id, Reply::Connected(connected));
    }

    fn lose(&mut self, link: LinkId, code: Option<CloseCode>) {
        let broken = Broken { code: code.map(CloseCode::number), reason: "gone".into(), ..Broken::default() };
        self.machine.handle_broken(self.now, link, broken);
        self.drain();
    }

    /// Moves the clock to the next thing due.
    fn wait(&mut self) {
        self.now = self.machine.poll_timeout().expect("something is due").max(self.now);
        self.machine.handle_timeout(self.now);
        self.drain();
    }

    /// Waits until a new connection is asked for, and accepts it.
    fn reconnect(&mut self) -> LinkId {
        let before = self.opens().len();
        while self.opens().len() == before {
            self.wait();
        }
        let link = self.opened();
        self.accept(link);
        link
    }

    fn publish(&mut self, ticket: Ticket) {
        self.machine.publish(Outgoing {
            ticket,
            channel: channel("c"),
            id: MessageId::parse(&format!("m{ticket}")).ok(),
            data: Payload::Json(bytes::Bytes::from_static(b"1")),
            durable: true,
            deadline: None,
        });
    }

    /// Offsets delivered and gaps announced, in order, since the last call.
    fn heard(&mut self) -> Vec<String> {
        self.drain();
        let heard = self.outputs.iter().filter_map(|output| match output {
            Output::Event { event, .. } => match event {
                SubscriptionEvent::Publication { publication, .. } => Some(publication.offset.to_string()),
                SubscriptionEvent::Gap { from, to, reason, .. } => {
                    Some(format!("gap {from}-{to} {reason:?}"))
                }
                SubscriptionEvent::Ended(error) => Some(format!("ended {}", error.code.name())),
                SubscriptionEvent::Subscribed { .. } => Some("subscribed".into()),
                SubscriptionEvent::Join(_) => Some("join".into()),
                SubscriptionEvent::Leave(_) => Some("leave".into()),
            },
            _ => None,
        });
        let heard = heard.collect();
        self.outputs.retain(|output| !matches!(output, Output::Event { .. }));
        heard
    }

    /// What is told of granted channels, in short, since the last call.
    fn grants(&mut self) -> Vec<String> {
        self.drain();
        let told = self.outputs.iter().filter_map(|output| match output {
            Output::Granted(event) => Some(match event {
                GrantEvent::Granted { position, .. } => {
                    format!("granted at {}", position.as_ref().map_or(0, |position| position.offset))
                }
                GrantEvent::Publication { publication, .. } => publication.offset.to_string(),
                GrantEvent::Gap { from, to, reason, .. } => format!("gap {from}-{to} {reason:?}"),
                GrantEvent::Withdrawn { error: None, .. } => "ended".into(),
                GrantEvent::Withdrawn { error: Some(error), .. } => error.code.name().into(),
            }),
            _ => None,
        });
        let told = told.collect();
        self.outputs.retain(|output| !matches!(output, Output::Granted(_)));
        told
    }

    /// Subscribes and is joined at an offset.
    fn subscribe(&mut self, link: LinkId, at: u64) {
        assert!(self.machine.subscribe(self.now, channel("c"), Start::Now, false));
        let request = self.request(link);
        self.reply(link, request.id, subscribed(at, None));
        assert_eq!(self.heard(), ["subscribed"]);
    }
}

fn recover_of(message: &ClientMessage) -> Option<u64> {
    match &message.request {
        Request::Subscribe(subscribe) => subscribe.recover.as_ref().map(|position| position.offset),
        other => panic!("not a subscribe: {other:?}"),
    }
}

fn published_ids(messages: &[ClientMessage]) -> Vec<String> {
    let ids = messages.iter().filter_map(|message| match &message.request {
        Request::Publish(publish) => publish.id.as_ref().map(|id| id.as_str().to_owned()),
        _ => None,
    });
    ids.collect()
}

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

/// The client has left the channel and joins it again: from where, and the id of the request.
fn rejoins(script: &mut Script, link: LinkId) -> (Option<u64>, u32) {
    let sent = script.sent(link);
    assert!(matches!(sent[0].request, Request::Unsubscribe { .. }), "{sent:?}");
    (recover_of(&sent[1]), sent[1].id)
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

fn gap_push(epoch_name: &str, from: u64, to: u64, reason: GapReason) -> ServerMessage {
    ServerMessage::Push(Push::Gap { channel: channel("c"), epoch: epoch(epoch_name), from, to, reason })
}

fn unsubscribed_push() -> ServerMessage {
    let error = WireError::new(ErrorCode::Forbidden, "out");
    ServerMessage::Push(Push::Unsubscribed { channel: channel("c"), error })
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
fn a_subscription_that_ends_on_the_node_moved_to_has_ended() {
    let (mut script, old) = Script::connected();
    script.subscribe(old, 5);
    script.publish(1);
    script.sent(old);
    script.say(old, ServerMessage::Push(Push::Move { target: None, within_ms: 10_000 }));
    script.wait();
    let new = script.opened();
    script.accept(new);
    let request = script.request(new);
    script.reply(new, request.id, subscribed(5, Some(Recovery::Exact)));
    script.say(new, unsubscribed_push());
    assert_eq!(script.heard(), ["subscribed", "ended forbidden"]);
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

#[test]
fn unanswered_publishes_go_out_again_in_order_under_their_ids() {
    let (mut script, link) = Script::connected();
    for ticket in 1..=5 {
        script.publish(ticket);
    }
    let sent = script.sent(link);
    assert_eq!(published_ids(&sent), ["m1", "m2", "m3", "m4", "m5"]);
    let published = Published { position: Some(position(1)), duplicate: false };
    script.reply(link, sent[0].id, Reply::Published(published.clone()));
    assert!(script.outputs.contains(&Output::Published { ticket: 1, result: Ok(published) }));
    script.lose(link, None);
    let link = script.reconnect();
    assert_eq!(published_ids(&script.sent(link)), ["m2", "m3", "m4", "m5"]);
}

#[test]
fn a_publish_that_gets_no_answer_costs_the_connection() {
    let (mut script, link) = Script::connected();
    script.publish(1);
    script.sent(link);
    script.wait();
    assert_eq!(script.now, 20_000);
    assert!(script.outputs.contains(&Output::Shut(link)));
    let link = script.reconnect();
    assert_eq!(published_ids(&script.sent(link)), ["m1"]);
}

#[test]
fn what_is_too_large_for_the_server_is_not_sent() {
    let (mut script, link) = Script::connected();
    script.machine.publish(Outgoing {
        ticket: 1,
        channel: channel("c"),
        id: None,
        data: Payload::Json(bytes::Bytes::from(format!("\"{}\"", "x".repeat(70_000)))),
        durable: true,
        deadline: None,
    });
    script.publish(2);
    assert_eq!(published_ids(&script.sent(link)), ["m2"]);
    let refused = script.outputs.iter().any(|output| {
        matches!(output, Output::Published { ticket: 1, result: Err(PublishError::Refused(error)) }
            if error.code == ErrorCode::TooLarge)
    });
    assert!(refused, "{:?}", script.outputs);
}

#[test]
fn a_batch_holds_no_more_requests_than_the_server_takes() {
    let mut script = Script::new(Settings { window: 1_000, ..settings() });
    let link = script.opened();
    script.accept(link);
    for ticket in 0..200 {
        script.publish(ticket);
    }
    let mut sizes = Vec::new();
    while let Some(frame) = script.machine.transmit(0, link) {
        sizes.push(json::split(&frame).count());
    }
    assert_eq!(sizes, [64, 64, 64, 8]);
}

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
    script.say(old, ServerMessage::Push(Push::Move { target: None, within_ms: 1_000 }));
    script.wait();
    let new = script.opened();
    script.accept(new);
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

/// Addresses asked for a route, and for whom.
fn questions(script: &Script) -> Vec<(String, Option<String>)> {
    let asked = script.outputs.iter().filter_map(|output| match output {
        Output::Route { url, key, .. } => Some((url.clone(), key.as_ref().map(|key| key.to_string()))),
        _ => None,
    });
    asked.collect()
}

fn routed() -> Settings {
    let key = Some(PlacementKey::parse("room").unwrap());
    Settings { urls: vec!["http://common".into()], routed: true, key, ..settings() }
}

/// The last `connect`: its key, and whether it says that the client was sent.
fn greeting(script: &mut Script) -> (Option<String>, bool) {
    let link = script.opened();
    script.machine.handle_opened(script.now, link);
    let Request::Connect(connect) = script.request(link).request else { panic!("connect comes first") };
    (connect.key.map(|key| key.to_string()), connect.placed)
}

fn name(script: &mut Script, urls: &[&str]) {
    script.machine.handle_route(script.now, Ok(urls.iter().map(|url| (*url).to_owned()).collect()));
    script.drain();
}

#[test]
fn a_routed_client_goes_where_it_is_sent_and_says_so() {
    let mut script = Script::new(routed());
    assert_eq!(questions(&script), [("http://common".to_owned(), Some("room".to_owned()))]);
    assert!(script.opens().is_empty());
    name(&mut script, &["http://n1", "http://n2"]);
    assert_eq!(script.opens().last().unwrap().1, "http://n1");
    assert_eq!(greeting(&mut script), (Some("room".into()), true));
    // An answer that comes twice is one too many.
    name(&mut script, &["http://n3"]);
    assert_eq!(script.opens().len(), 1);
}

#[test]
fn nodes_that_do_not_answer_are_passed_over_at_once_and_the_common_address_comes_last() {
    let mut script = Script::new(routed());
    name(&mut script, &["http://n1", "http://n2"]);
    for expected in ["http://n2", "http://common"] {
        let link = script.opened();
        let hopeless = Broken { reason: "404".into(), hopeless: true, ..Broken::default() };
        script.machine.handle_broken(script.now, link, hopeless);
        script.drain();
        assert_eq!((script.opens().last().unwrap().1.as_str(), script.now), (expected, 0));
        assert!(greeting(&mut script).1, "it was sent elsewhere in vain: it must not be sent again");
    }
    let link = script.opened();
    script.lose(link, None);
    assert!(script.machine.poll_timeout().unwrap() > 0, "now it waits");
    while questions(&script).len() == 1 {
        script.wait();
    }
    assert_eq!(script.opens().len(), 3, "and then asks anew");
}

#[test]
fn without_an_answer_the_client_connects_as_if_it_had_not_asked() {
    let mut script = Script::new(routed());
    script.machine.handle_route(0, Err("404".into()));
    script.drain();
    assert_eq!(script.opens().last().unwrap().1, "http://common");
    assert_eq!(greeting(&mut script), (Some("room".into()), false));
}

#[test]
fn after_a_loss_the_client_asks_again() {
    let mut script = Script::new(routed());
    name(&mut script, &["http://n1", "http://n2"]);
    let link = script.opened();
    script.accept(link);
    script.now = 60_000;
    script.lose(link, None);
    while questions(&script).len() == 1 {
        script.wait();
    }
    name(&mut script, &["http://n2"]);
    assert_eq!(script.opens().last().unwrap().1, "http://n2");
}

#[test]
fn a_client_that_is_moved_says_that_it_was_sent() {
    let (mut script, link) = Script::connected();
    script.say(link, ServerMessage::Push(Push::Move { target: Some("http://n2".into()), within_ms: 1_000 }));
    script.wait();
    assert_eq!(script.opens().last().unwrap().1, "http://n2");
    assert_eq!(greeting(&mut script), (None, true));
}

#[test]
fn a_refused_client_does_not_go_from_node_to_node() {
    let mut script = Script::new(routed());
    name(&mut script, &["http://n1", "http://n2"]);
    let link = script.opened();
    script.lose(link, Some(CloseCode::Forbidden));
    assert!(script.machine.is_closed());
    assert_eq!(script.opens().len(), 1);
}
