//! A machine, a server that says what the test wants, and time.

use super::*;

/// A machine, its clock, and what it has asked for.
pub(super) struct Script {
    pub(super) machine: Machine,
    pub(super) now: Millis,
    pub(super) outputs: Vec<Output>,
}

pub(super) fn settings() -> Settings {
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

pub(super) fn channel(name: &str) -> ChannelName {
    ChannelName::parse(name).unwrap()
}

pub(super) fn epoch(text: &str) -> Epoch {
    Epoch::parse(text).unwrap()
}

pub(super) fn position(offset: u64) -> Position {
    Position { epoch: epoch("e"), offset }
}

pub(super) fn publication(offset: u64) -> Arc<Publication> {
    Arc::new(Publication {
        offset,
        id: None,
        from: None,
        time_ms: 0,
        data: Payload::Json(bytes::Bytes::from(offset.to_string())),
    })
}

pub(super) fn pushed(offset: u64) -> ServerMessage {
    ServerMessage::Push(Push::Publication {
        channel: channel("c"),
        epoch: None,
        publication: publication(offset),
    })
}

pub(super) fn subscribed(at: u64, recovery: Option<Recovery>) -> Reply {
    Reply::Subscribed(Subscribed { channel: channel("c"), position: Some(position(at)), recovery })
}

impl Script {
    pub(super) fn new(settings: Settings) -> Self {
        let mut script = Self { machine: Machine::new(settings, 7, 0), now: 0, outputs: Vec::new() };
        script.drain();
        script
    }

    /// A script whose first connection is ready.
    pub(super) fn connected() -> (Self, LinkId) {
        let mut script = Self::new(settings());
        let link = script.opened();
        script.accept(link);
        script.outputs.clear();
        (script, link)
    }

    pub(super) fn drain(&mut self) {
        while let Some(output) = self.machine.poll_output() {
            self.outputs.push(output);
        }
    }

    /// The connection that was asked for last.
    pub(super) fn opened(&self) -> LinkId {
        self.opens().last().expect("a connection was asked for").0
    }

    pub(super) fn opens(&self) -> Vec<(LinkId, String)> {
        let opens = self.outputs.iter().filter_map(|output| match output {
            Output::Open { link, url } => Some((*link, url.clone())),
            _ => None,
        });
        opens.collect()
    }

    /// What the client sends on a connection now.
    pub(super) fn sent(&mut self, link: LinkId) -> Vec<ClientMessage> {
        let mut messages = Vec::new();
        while let Some(frame) = self.machine.transmit(self.now, link) {
            messages.extend(json::decode_client_batch(&frame).map(Result::unwrap));
        }
        self.drain();
        messages
    }

    /// The only request on its way.
    pub(super) fn request(&mut self, link: LinkId) -> ClientMessage {
        let mut sent = self.sent(link);
        assert_eq!(sent.len(), 1, "{sent:?}");
        sent.remove(0)
    }

    pub(super) fn say(&mut self, link: LinkId, message: ServerMessage) {
        let mut frame = Vec::new();
        json::encode_server(&message, &mut frame);
        self.machine.handle_frame(self.now, link, &frame);
        self.drain();
    }

    pub(super) fn reply(&mut self, link: LinkId, id: u32, reply: Reply) {
        self.say(link, ServerMessage::Reply { id, reply });
    }

    /// Lets the connection stand and answers its `connect`.
    pub(super) fn accept(&mut self, link: LinkId) {
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

    pub(super) fn lose(&mut self, link: LinkId, code: Option<CloseCode>) {
        let broken = Broken { code: code.map(CloseCode::number), reason: "gone".into(), ..Broken::default() };
        self.machine.handle_broken(self.now, link, broken);
        self.drain();
    }

    /// Moves the clock to the next thing due.
    pub(super) fn wait(&mut self) {
        self.now = self.machine.poll_timeout().expect("something is due").max(self.now);
        self.machine.handle_timeout(self.now);
        self.drain();
    }

    /// Told to move within a while, it is connected to another node too, which it is not told. That one's connection.
    pub(super) fn begin_move(&mut self, old: LinkId, within_ms: u32) -> LinkId {
        self.say(old, ServerMessage::Push(Push::Move { target: None, within_ms }));
        self.wait();
        let new = self.opened();
        self.accept(new);
        new
    }

    /// Waits until a new connection is asked for, and accepts it.
    pub(super) fn reconnect(&mut self) -> LinkId {
        let before = self.opens().len();
        while self.opens().len() == before {
            self.wait();
        }
        let link = self.opened();
        self.accept(link);
        link
    }

    pub(super) fn publish(&mut self, ticket: Ticket) {
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
    pub(super) fn heard(&mut self) -> Vec<String> {
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
    pub(super) fn grants(&mut self) -> Vec<String> {
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
    pub(super) fn subscribe(&mut self, link: LinkId, at: u64) {
        assert!(self.machine.subscribe(self.now, channel("c"), Start::Now, false));
        let request = self.request(link);
        self.reply(link, request.id, subscribed(at, None));
        assert_eq!(self.heard(), ["subscribed"]);
    }
}

pub(super) fn recover_of(message: &ClientMessage) -> Option<u64> {
    match &message.request {
        Request::Subscribe(subscribe) => subscribe.recover.as_ref().map(|position| position.offset),
        other => panic!("not a subscribe: {other:?}"),
    }
}

pub(super) fn published_ids(messages: &[ClientMessage]) -> Vec<String> {
    let ids = messages.iter().filter_map(|message| match &message.request {
        Request::Publish(publish) => publish.id.as_ref().map(|id| id.as_str().to_owned()),
        _ => None,
    });
    ids.collect()
}

/// The client has left the channel and joins it again: from where, and the id of the request.
pub(super) fn rejoins(script: &mut Script, link: LinkId) -> (Option<u64>, u32) {
    let sent = script.sent(link);
    assert!(matches!(sent[0].request, Request::Unsubscribe { .. }), "{sent:?}");
    (recover_of(&sent[1]), sent[1].id)
}

pub(super) fn gap_push(epoch_name: &str, from: u64, to: u64, reason: GapReason) -> ServerMessage {
    ServerMessage::Push(Push::Gap { channel: channel("c"), epoch: epoch(epoch_name), from, to, reason })
}

pub(super) fn unsubscribed_push() -> ServerMessage {
    let error = WireError::new(ErrorCode::Forbidden, "out");
    ServerMessage::Push(Push::Unsubscribed { channel: channel("c"), error })
}
