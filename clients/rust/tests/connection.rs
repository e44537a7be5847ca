//! The whole client over a real socket, against a server whose every word is scripted.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use skywave_client::*;
use skywave_protocol::message::{Connect, Connected, Subscribed};
use skywave_protocol::{
    ClientId, ClientMessage, Epoch, NodeId, Position, Push, Reply, Request, ServerMessage, json,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{Request as Upgrade, Response};

const PATIENCE: Duration = Duration::from_secs(60);

async fn in_time<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, what).await.expect("not in time")
}

fn channel(name: &str) -> ChannelName {
    ChannelName::parse(name).unwrap()
}

fn epoch() -> Epoch {
    Epoch::parse("e").unwrap()
}

/// The server's side of one connection.
struct Peer {
    socket: WebSocketStream<TcpStream>,
    waiting: std::collections::VecDeque<ClientMessage>,
    /// How the client introduced itself.
    connect: Connect,
}

impl Peer {
    async fn accept(listener: &TcpListener) -> Self {
        let (stream, _) = in_time(listener.accept()).await.unwrap();
        #[allow(clippy::result_large_err, reason = "the library's own signature")]
        let agree = |request: &Upgrade, mut response: Response| {
            assert_eq!(request.uri().path(), "/v1/ws");
            let offered = request.headers()["sec-websocket-protocol"].clone();
            assert_eq!(offered, "skywave.json.v1");
            response.headers_mut().insert("sec-websocket-protocol", offered);
            Ok(response)
        };
        let socket = tokio_tungstenite::accept_hdr_async(stream, agree).await.unwrap();
        let mut peer = Self { socket, waiting: Default::default(), connect: Connect::default() };
        let connect = peer.next().await;
        let Request::Connect(introduction) = connect.request else { panic!("{connect:?}") };
        peer.connect = introduction;
        let connected = Connected {
            client: ClientId::parse("c").unwrap(),
            user: None,
            region: "r".into(),
            node: NodeId::parse("n").unwrap(),
            ping_seconds: 25,
            pong_timeout_seconds: 10,
            expires_in_seconds: None,
            message_bytes: 65_536,
        };
        peer.reply(connect.id, Reply::Connected(connected)).await;
        peer
    }

    async fn next(&mut self) -> ClientMessage {
        loop {
            if let Some(message) = self.waiting.pop_front() {
                return message;
            }
            if let Message::Text(text) = in_time(self.socket.next()).await.unwrap().unwrap() {
                self.waiting.extend(json::decode_client_batch(text.as_bytes()).map(Result::unwrap));
            }
        }
    }

    async fn say(&mut self, message: ServerMessage) {
        let mut text = Vec::new();
        json::encode_server(&message, &mut text);
        self.socket.send(Message::text(String::from_utf8(text).unwrap())).await.unwrap();
    }

    async fn reply(&mut self, id: u32, reply: Reply) {
        self.say(ServerMessage::Reply { id, reply }).await;
    }

    /// Answers the next request, which must be a subscribe; returns its channel and where it recovers from.
    async fn accept_subscribe(&mut self) -> (ChannelName, Option<u64>) {
        let message = self.next().await;
        let Request::Subscribe(subscribe) = message.request else { panic!("{message:?}") };
        let recovery = subscribe.recover.as_ref().map(|_| Recovery::Exact);
        let after = subscribe.recover.as_ref().map(|position| position.offset);
        let position = Some(Position { epoch: epoch(), offset: after.unwrap_or(0) });
        let subscribed = Subscribed { channel: subscribe.channel.clone(), position, recovery };
        self.reply(message.id, Reply::Subscribed(subscribed)).await;
        (subscribe.channel, after)
    }

    async fn push(&mut self, name: &str, offset: u64) {
        let publication = Arc::new(Publication {
            offset,
            id: None,
            from: None,
            time_ms: 0,
            data: Payload::from_json(b"1").unwrap(),
        });
        self.say(ServerMessage::Push(Push::Publication { channel: channel(name), epoch: None, publication }))
            .await;
    }
}

async fn listen() -> (TcpListener, ClientConfig) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let config = config(listener.local_addr().unwrap());
    (listener, config)
}

fn config(address: SocketAddr) -> ClientConfig {
    let mut config = ClientConfig::new(format!("http://{address}")).encoding(Encoding::Json);
    config.backoff = Backoff { first: Duration::from_millis(10), most: Duration::from_millis(50) };
    config
}

async fn next_offset(subscription: &mut Subscription) -> u64 {
    loop {
        match in_time(subscription.next()).await.unwrap() {
            SubscriptionEvent::Publication { publication, .. } => return publication.offset,
            SubscriptionEvent::Subscribed { .. } => {}
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_slow_application_gets_everything_in_order() {
    let (listener, mut config) = listen().await;
    config.event_queue = 2;
    let client = Client::start(config).unwrap();
    let mut peer = Peer::accept(&listener).await;
    let mut subscription = client.subscribe(&channel("a"), SubscribeOptions::default()).await.unwrap();
    peer.accept_subscribe().await;
    let pushing = tokio::spawn(async move {
        for offset in 1..=3_000 {
            peer.push("a", offset).await;
        }
        peer
    });
    for expected in 1..=3_000 {
        assert_eq!(next_offset(&mut subscription).await, expected);
    }
    in_time(pushing).await.unwrap();
}

#[tokio::test]
async fn a_subscription_dropped_with_a_full_queue_does_not_hold_up_the_others() {
    let (listener, mut config) = listen().await;
    config.event_queue = 1;
    let client = Client::start(config).unwrap();
    let mut peer = Peer::accept(&listener).await;
    let mut kept = client.subscribe(&channel("kept"), SubscribeOptions::default()).await.unwrap();
    peer.accept_subscribe().await;
    let dropped = client.subscribe(&channel("dropped"), SubscribeOptions::default()).await.unwrap();
    peer.accept_subscribe().await;
    assert!(matches!(in_time(kept.next()).await, Some(SubscriptionEvent::Subscribed { .. })));
    for offset in 1..=100 {
        peer.push("dropped", offset).await;
    }
    peer.push("kept", 1).await;
    drop(dropped);
    assert_eq!(next_offset(&mut kept).await, 1);
    loop {
        if let Request::Unsubscribe { channel } = peer.next().await.request {
            assert_eq!(channel.as_str(), "dropped");
            break;
        }
    }
}

#[tokio::test]
async fn a_cut_connection_is_resumed_where_it_was_and_publishes_go_out_once_more() {
    let (listener, config) = listen().await;
    let client = Client::start(config).unwrap();
    let mut peer = Peer::accept(&listener).await;
    let mut subscription = client.subscribe(&channel("a"), SubscribeOptions::default()).await.unwrap();
    peer.accept_subscribe().await;
    peer.push("a", 1).await;
    assert_eq!(next_offset(&mut subscription).await, 1);
    let pending =
        client.enqueue(Publish::new(channel("a"), Payload::from_json(b"2").unwrap())).await.unwrap();
    let Request::Publish(first) = peer.next().await.request else { panic!("no publish") };
    drop(peer);

    let mut peer = Peer::accept(&listener).await;
    let (mut recovered, mut again) = (None, None);
    while recovered.is_none() || again.is_none() {
        let message = peer.next().await;
        match message.request {
            Request::Subscribe(ref subscribe) => {
                recovered = subscribe.recover.clone();
                peer.waiting.push_front(message);
                assert_eq!(peer.accept_subscribe().await.1, Some(1));
            }
            Request::Publish(publish) => {
                let position = Some(Position { epoch: epoch(), offset: 2 });
                peer.reply(message.id, Reply::Published(Published { position, duplicate: true })).await;
                again = Some(publish);
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(again.unwrap(), first, "the same id, the same data");
    let published = in_time(pending).await.unwrap();
    assert_eq!((published.position.unwrap().offset, published.duplicate), (2, true));
    peer.push("a", 1).await;
    peer.push("a", 2).await;
    assert_eq!(next_offset(&mut subscription).await, 2);
}

#[tokio::test]
async fn a_full_outbox_waits_or_says_so() {
    let (listener, mut config) = listen().await;
    config.outbox_bytes = 1_000;
    let client = Client::start(config).unwrap();
    let publish = || Publish::new(channel("a"), Payload::from_json(b"1").unwrap());
    let mut pending = Vec::new();
    for _ in 0..3 {
        pending.push(client.try_enqueue(publish()).unwrap());
    }
    assert_eq!(client.try_enqueue(publish()).unwrap_err(), PublishError::OutboxFull);
    let large = Payload::from_json(format!("\"{}\"", "x".repeat(2_000)).as_bytes()).unwrap();
    let error = client.enqueue(Publish::new(channel("a"), large)).await.unwrap_err();
    assert!(matches!(error, PublishError::TooLarge { limit: 1_000, .. }), "{error}");

    let waiting = tokio::spawn({
        let client = client.clone();
        async move { client.enqueue(publish()).await.unwrap().await }
    });
    let mut peer = Peer::accept(&listener).await;
    for _ in 0..4 {
        let message = peer.next().await;
        peer.reply(message.id, Reply::Published(Published { position: None, duplicate: false })).await;
    }
    for answer in pending {
        in_time(answer).await.unwrap();
    }
    in_time(waiting).await.unwrap().unwrap();
    in_time(client.flush()).await;
    client.close().await;
    assert_eq!(client.state(), State::Closed(ClosedError::Closed));
    assert!(matches!(
        client.publish(&channel("a"), Payload::from_json(b"1").unwrap()).await,
        Err(PublishError::Closed(_))
    ));
}

#[tokio::test]
async fn a_refused_handshake_is_waited_out_or_believed() {
    let (listener, config) = listen().await;
    let client = Client::start(config.clone()).unwrap();
    let mut state = client.watch_state();
    let (mut stream, _) = in_time(listener.accept()).await.unwrap();
    stream
        .write_all(b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 7\r\nContent-Length: 0\r\n\r\n")
        .await
        .unwrap();
    let disconnected = |state: &State| matches!(state, State::Disconnected { .. });
    let State::Disconnected { retry_in, reason } =
        in_time(state.wait_for(disconnected)).await.unwrap().clone()
    else {
        unreachable!()
    };
    assert!(retry_in >= Duration::from_secs(7) && reason.contains("503"), "{retry_in:?} {reason}");

    let connecting = tokio::spawn(Client::connect(config));
    let (mut stream, _) = in_time(listener.accept()).await.unwrap();
    stream.write_all(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n").await.unwrap();
    let error = in_time(connecting).await.unwrap().unwrap_err();
    assert!(
        matches!(&error, ConnectError::Closed(ClosedError::Address(reason)) if reason.contains("403")),
        "{error}"
    );
}

#[tokio::test]
async fn configurations_that_cannot_work_are_refused_at_once() {
    for (url, transport) in
        [("relay", Transport::WebSocket), ("http://relay.example", Transport::WebTransport)]
    {
        let error = Client::start(ClientConfig::new(url).transport(transport)).unwrap_err();
        assert!(matches!(error, ConnectError::Configuration(_)), "{error}");
    }
}

/// Answers one request over HTTP with a body, and gives the request.
async fn answer_http(listener: &TcpListener, status: &str, body: &str) -> String {
    let (mut stream, _) = in_time(listener.accept()).await.unwrap();
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        request.push(in_time(stream.read_u8()).await.unwrap());
    }
    let answer = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    stream.write_all(answer.as_bytes()).await.unwrap();
    String::from_utf8(request).unwrap()
}

async fn listener() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    (listener, url)
}

#[tokio::test]
async fn a_routed_client_asks_where_to_go_and_passes_a_dead_node_over() {
    let ((common, url), (node, alternate)) = (listener().await, listener().await);
    // Bound and not listening: refuses, and nobody else gets the port.
    let dead = TcpSocket::new_v4().unwrap();
    dead.bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    let nobody = format!("http://{}", dead.local_addr().unwrap());
    let mut config = ClientConfig::new(url).encoding(Encoding::Json).route(Route::Key("room 1".into()));
    config.token = TokenSource::Fixed("tok".into());
    let _client = Client::start(config).unwrap();
    let body = format!(
        r#"{{"region":"r","node":"a","url":"{nobody}","alternates":[{{"node":"b","url":"{alternate}"}}]}}"#
    );
    let asked = answer_http(&common, "200 OK", &body).await;
    assert!(asked.starts_with("GET /v1/route?key=room%201 HTTP/1.1\r\n"), "{asked}");
    assert!(asked.contains("Authorization: Bearer tok\r\n"), "{asked}");
    let peer = Peer::accept(&node).await;
    let key = peer.connect.key.map(|key| key.to_string());
    assert_eq!((key.as_deref(), peer.connect.placed), (Some("room 1"), true));
}

#[tokio::test]
async fn a_relay_that_names_no_node_is_used_as_it_is() {
    let (common, url) = listener().await;
    let config = ClientConfig::new(url).encoding(Encoding::Json).route(Route::User);
    let _client = Client::start(config).unwrap();
    let asked = answer_http(&common, "404 Not Found", "").await;
    assert!(asked.starts_with("GET /v1/route HTTP/1.1\r\n"), "{asked}");
    let peer = Peer::accept(&common).await;
    assert!(peer.connect.key.is_none() && !peer.connect.placed);
}

#[tokio::test]
async fn a_key_that_is_none_is_refused_before_anything_else() {
    let config = ClientConfig::new("http://127.0.0.1:1").route(Route::Key("a\nb".into()));
    assert!(matches!(Client::start(config), Err(ConnectError::Configuration(_))));
}
