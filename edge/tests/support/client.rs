//! A WebSocket client that can be polite, and otherwise. Speaks JSON as text, so that tests show what is on the wire.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Value, json};
use skywave_protocol::websocket::{Decoder, Event, FrameHeader, Opcode, Role, put_masked_frame, unmask};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Long enough for a busy machine; nothing waits for it to pass.
const PATIENCE: Duration = Duration::from_secs(60);

/// TCP, or TLS over it.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

pub struct Client {
    pub tcp: Box<dyn Stream>,
    decoder: Decoder,
    received: VecDeque<Received>,
    /// The head of the server's answer to the handshake.
    pub head: String,
    next_id: u32,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Received {
    Json(Value),
    Binary(Vec<u8>),
    Compressed(Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<(u16, String)>),
    /// The TCP stream has ended.
    End,
}

impl Client {
    /// Opens a WebSocket with further header lines.
    pub async fn open(address: SocketAddr, headers: &[&str]) -> Self {
        let client = Self::handshake(address, headers).await;
        assert!(client.head.starts_with("HTTP/1.1 101"), "{}", client.head);
        client
    }

    /// The same, whatever the answer is.
    pub async fn handshake(address: SocketAddr, headers: &[&str]) -> Self {
        Self::handshake_over(TcpStream::connect(address).await.unwrap(), address, headers).await
    }

    /// The same over a stream that stands already.
    pub async fn handshake_over(
        mut tcp: impl Stream + 'static,
        address: SocketAddr,
        headers: &[&str],
    ) -> Self {
        let mut request = format!(
            "GET /v1/ws HTTP/1.1\r\nhost: {address}\r\nupgrade: websocket\r\nconnection: Upgrade\r\n\
             sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        );
        for header in headers {
            request.push_str(header);
            request.push_str("\r\n");
        }
        request.push_str("\r\n");
        tcp.write_all(request.as_bytes()).await.unwrap();
        Self::answered(tcp).await
    }

    /// Reads the answer to a request that was written by hand.
    pub async fn answered(mut tcp: impl Stream + 'static) -> Self {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            match timeout(PATIENCE, tcp.read_u8()).await.expect("an answer to the handshake") {
                Ok(byte) => head.push(byte),
                Err(_) => break,
            }
        }
        let decoder = Decoder::new(Role::Client, 16 * 1024 * 1024, true);
        let head = String::from_utf8(head).unwrap();
        Self { tcp: Box::new(tcp), decoder, received: VecDeque::new(), head, next_id: 1 }
    }

    pub async fn raw(&mut self, bytes: &[u8]) {
        self.tcp.write_all(bytes).await.unwrap();
    }

    pub async fn frame(&mut self, opcode: Opcode, payload: &[u8]) {
        let mut out = Vec::new();
        put_masked_frame(&mut out, opcode, payload, [1, 2, 3, 4]);
        self.raw(&out).await;
    }

    /// One frame of a fragmented or compressed message.
    pub async fn fragment(&mut self, opcode: Opcode, fin: bool, rsv1: bool, payload: &[u8]) {
        let mut out = Vec::new();
        let key = [9, 8, 7, 6];
        let length = payload.len() as u64;
        FrameHeader { fin, rsv1, opcode, mask: Some(key), length }.encode(&mut out);
        let start = out.len();
        out.extend_from_slice(payload);
        unmask(&mut out[start..], key);
        self.raw(&out).await;
    }

    pub async fn text(&mut self, text: &str) {
        self.frame(Opcode::Text, text.as_bytes()).await;
    }

    pub async fn send(&mut self, message: Value) {
        self.text(&message.to_string()).await;
    }

    /// The next thing the server says.
    pub async fn next(&mut self) -> Received {
        let next = async {
            loop {
                if let Some(received) = self.received.pop_front() {
                    return received;
                }
                let mut buffer = vec![0; 64 * 1024];
                let n = self.tcp.read(&mut buffer).await.unwrap_or(0);
                if n == 0 {
                    return Received::End;
                }
                let mut events = self.decoder.feed(&mut buffer[..n]);
                while let Some(event) = events.next() {
                    match event.expect("the server's frames are well-formed") {
                        Event::Text { data, compressed: false } => {
                            for line in skywave_protocol::json::split(data) {
                                self.received
                                    .push_back(Received::Json(serde_json::from_slice(line).unwrap()));
                            }
                        }
                        Event::Binary { data, compressed: false } => {
                            self.received.push_back(Received::Binary(data.to_vec()));
                        }
                        Event::Text { data, .. } | Event::Binary { data, .. } => {
                            self.received.push_back(Received::Compressed(data.to_vec()));
                        }
                        Event::Ping(data) => self.received.push_back(Received::Ping(data.to_vec())),
                        Event::Pong(data) => self.received.push_back(Received::Pong(data.to_vec())),
                        Event::Close(frame) => self.received.push_back(Received::Close(
                            frame.map(|frame| (frame.code, frame.reason.to_owned())),
                        )),
                    }
                }
            }
        };
        timeout(PATIENCE, next).await.expect("the server says something")
    }

    pub async fn json(&mut self) -> Value {
        match self.next().await {
            Received::Json(value) => value,
            other => panic!("not JSON: {other:?}"),
        }
    }

    /// The close frame, skipping what comes before it.
    pub async fn close_code(&mut self) -> u16 {
        loop {
            match self.next().await {
                Received::Close(Some((code, _))) => return code,
                Received::Close(None) => panic!("a close without a code"),
                Received::End => panic!("the end without a close"),
                _ => {}
            }
        }
    }

    /// The end of the stream, skipping what comes before it.
    pub async fn end(&mut self) {
        while self.next().await != Received::End {}
    }

    /// Sends a request and returns what is answered under its id; pushes in between are kept back, in order.
    pub async fn request(&mut self, request: Value) -> Value {
        let id = self.next_id;
        self.next_id += 1;
        let mut message = json!({ "id": id });
        message.as_object_mut().unwrap().extend(request.as_object().unwrap().clone());
        self.send(message).await;
        let mut aside = VecDeque::new();
        let reply = loop {
            match self.next().await {
                Received::Json(value) if value["id"] == id => break value,
                other => {
                    assert_ne!(other, Received::End, "no answer to {request}");
                    aside.push_back(other);
                }
            }
        };
        aside.append(&mut self.received);
        self.received = aside;
        reply
    }

    /// Drops the messages that came while an answer was awaited.
    pub fn forget(&mut self) {
        self.received.clear();
    }

    /// The id of the last request.
    pub fn last_id(&self) -> u32 {
        self.next_id - 1
    }

    /// Messages that came while an answer was awaited.
    pub fn kept_back(&self) -> usize {
        self.received.len()
    }

    pub async fn connect(&mut self) -> Value {
        let reply = self.request(json!({"connect": {}})).await;
        assert!(reply["connected"].is_object(), "{reply}");
        reply
    }

    pub async fn subscribe(&mut self, channel: &str) -> Value {
        let reply = self.request(json!({"subscribe": {"channel": channel}})).await;
        assert!(reply["subscribed"].is_object(), "{reply}");
        reply
    }

    pub async fn publish(&mut self, channel: &str, data: Value) -> Value {
        let reply = self.request(json!({"publish": {"channel": channel, "data": data}})).await;
        assert!(reply["published"].is_object(), "{reply}");
        reply
    }

    /// The next publication, skipping other pushes. Answers pings: it may be long in coming.
    pub async fn publication(&mut self) -> Value {
        loop {
            let message = self.json().await;
            if message == json!({}) {
                self.send(message).await;
                continue;
            }
            if message["pub"].is_object() {
                return message["pub"].clone();
            }
        }
    }
}
