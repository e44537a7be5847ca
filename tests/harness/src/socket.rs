//! A WebSocket client made by hand (RFC 6455, client side), for honest conversations in JSON and for every way to be
//! wrong: any frame, any bytes, any pace.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::Context;
use serde_json::{Value, json};

use crate::wait::PATIENCE;

pub const CONTINUATION: u8 = 0;
pub const TEXT: u8 = 1;
pub const BINARY: u8 = 2;
pub const CLOSE: u8 = 8;
pub const PING: u8 = 9;
pub const PONG: u8 = 10;

const MASK: [u8; 4] = [0x12, 0x34, 0x56, 0x78];

/// What the server sent.
#[derive(Debug, Clone, PartialEq)]
pub enum Received {
    /// One JSON object (a batch arrives object by object). Pings of the server are answered and not shown.
    Message(Value),
    Binary(Vec<u8>),
    Pong(Vec<u8>),
    Close {
        code: u16,
        reason: String,
    },
    /// The connection ended without a close frame.
    End,
}

/// One connection. Reads block for at most [`PATIENCE`].
pub struct Socket {
    stream: TcpStream,
    buffer: Vec<u8>,
    messages: VecDeque<Value>,
    /// Status of the answer to the upgrade.
    pub status: u16,
    next_id: u32,
    /// Pushes that came while an answer was awaited.
    pushes: VecDeque<Value>,
}

impl Socket {
    /// Connects and upgrades; fails when the server refuses.
    pub fn open(address: SocketAddr) -> anyhow::Result<Self> {
        let socket = Self::upgrade(address, &[])?;
        let text = String::from_utf8_lossy(&socket.buffer);
        anyhow::ensure!(socket.status == 101, "the server refuses: {} {text}", socket.status);
        Ok(socket)
    }

    /// Connects and asks for the upgrade with further headers; `status` says how it went.
    pub fn upgrade(address: SocketAddr, headers: &[(&str, &str)]) -> anyhow::Result<Self> {
        let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(5))?;
        stream.set_nodelay(true)?;
        let mut request = format!(
            "GET /v1/ws HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        );
        for (name, value) in headers {
            request.push_str(&format!("{name}: {value}\r\n"));
        }
        request.push_str("\r\n");
        stream.write_all(request.as_bytes())?;
        let mut socket = Self {
            stream,
            buffer: Vec::new(),
            messages: VecDeque::new(),
            status: 0,
            next_id: 1,
            pushes: VecDeque::new(),
        };
        let deadline = Instant::now() + PATIENCE;
        let end = loop {
            if let Some(end) = socket.buffer.windows(4).position(|four| four == b"\r\n\r\n") {
                break end + 4;
            }
            anyhow::ensure!(socket.read(deadline)?, "closed before an answer to the upgrade");
        };
        let head = String::from_utf8_lossy(&socket.buffer[..end]).into_owned();
        socket.status = head.split(' ').nth(1).context("no status")?.parse()?;
        if socket.status == 101 {
            // The key above is RFC 6455's own example, so the right answer is known.
            let accepted =
                head.to_ascii_lowercase().contains("sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo=");
            anyhow::ensure!(accepted, "wrong Sec-WebSocket-Accept: {head}");
            socket.buffer.drain(..end);
        }
        Ok(socket)
    }

    /// Opens and connects, anonymously or with a token.
    pub fn connect(address: SocketAddr, token: Option<&str>) -> anyhow::Result<Self> {
        let mut socket = Self::open(address)?;
        let connect = token.map_or_else(|| json!({}), |token| json!({ "token": token }));
        let answer = socket.request("connect", connect)?;
        anyhow::ensure!(answer.get("connected").is_some(), "not connected: {answer}");
        Ok(socket)
    }

    /// Sends a request under a new id and waits for its answer; pushes that come before it are kept.
    pub fn request(&mut self, verb: &str, body: Value) -> anyhow::Result<Value> {
        let id = self.start(verb, body)?;
        self.answer(id)
    }

    /// Sends a request and answers its id.
    pub fn start(&mut self, verb: &str, body: Value) -> anyhow::Result<u32> {
        let id = self.next_id;
        self.next_id += 1;
        self.text(&json!({ "id": id, verb: body }).to_string())?;
        Ok(id)
    }

    /// Waits for the answer to a request.
    pub fn answer(&mut self, id: u32) -> anyhow::Result<Value> {
        loop {
            match self.receive()? {
                Received::Message(message) if message["id"] == id => return Ok(message),
                Received::Message(message) => self.pushes.push_back(message),
                Received::Pong(_) => {}
                other => anyhow::bail!("instead of an answer to request {id}: {other:?}"),
            }
        }
    }

    /// Waits for the next answer to whatever request; several may be under way, and be answered in any order.
    pub fn any_answer(&mut self) -> anyhow::Result<(u32, Value)> {
        loop {
            match self.receive()? {
                Received::Message(message) => match message["id"].as_u64() {
                    Some(id) => return Ok((u32::try_from(id)?, message)),
                    None => self.pushes.push_back(message),
                },
                Received::Pong(_) => {}
                other => anyhow::bail!("instead of an answer: {other:?}"),
            }
        }
    }

    /// The next push (or answer nobody waited for).
    pub fn push(&mut self) -> anyhow::Result<Value> {
        if let Some(push) = self.pushes.pop_front() {
            return Ok(push);
        }
        match self.receive()? {
            Received::Message(message) => Ok(message),
            other => anyhow::bail!("instead of a push: {other:?}"),
        }
    }

    /// Subscribes and answers the reply's `subscribed`.
    pub fn subscribe(&mut self, channel: &str) -> anyhow::Result<Value> {
        let answer = self.request("subscribe", json!({ "channel": channel }))?;
        answer.get("subscribed").cloned().with_context(|| format!("not subscribed: {answer}"))
    }

    /// Publishes and answers the reply's `published`.
    pub fn publish(&mut self, channel: &str, id: &str, data: Value) -> anyhow::Result<Value> {
        let answer = self.request("publish", json!({ "channel": channel, "id": id, "data": data }))?;
        answer.get("published").cloned().with_context(|| format!("not published: {answer}"))
    }

    /// Waits for whatever comes next.
    pub fn receive(&mut self) -> anyhow::Result<Received> {
        let received = self.receive_until(Instant::now() + PATIENCE)?;
        received.with_context(|| format!("nothing came for {PATIENCE:?}"))
    }

    /// What comes within `time`; `None` when nothing does.
    pub fn receive_within(&mut self, time: Duration) -> anyhow::Result<Option<Received>> {
        self.receive_until(Instant::now() + time)
    }

    /// Reads on until the server closes; the code, or `None` when it just ends the connection.
    pub fn wait_close(&mut self) -> anyhow::Result<Option<u16>> {
        loop {
            match self.receive()? {
                Received::Close { code, .. } => return Ok(Some(code)),
                Received::End => return Ok(None),
                _ => {}
            }
        }
    }

    fn receive_until(&mut self, deadline: Instant) -> anyhow::Result<Option<Received>> {
        loop {
            if let Some(message) = self.messages.pop_front() {
                return Ok(Some(Received::Message(message)));
            }
            if let Some((opcode, payload)) = self.frame()? {
                match opcode {
                    TEXT if payload == b"{}" => self.text("{}")?,
                    TEXT => {
                        for line in payload.split(|byte| *byte == b'\n') {
                            self.messages
                                .push_back(serde_json::from_slice(line).context("the server sent no JSON")?);
                        }
                    }
                    BINARY => return Ok(Some(Received::Binary(payload))),
                    PING => self.frame_out(true, PONG, &payload)?,
                    PONG => return Ok(Some(Received::Pong(payload))),
                    CLOSE => {
                        let code = payload.get(..2).map_or(1005, |two| u16::from_be_bytes([two[0], two[1]]));
                        let reason =
                            String::from_utf8_lossy(payload.get(2..).unwrap_or_default()).into_owned();
                        return Ok(Some(Received::Close { code, reason }));
                    }
                    other => anyhow::bail!("the server sent opcode {other}"),
                }
                continue;
            }
            if Instant::now() >= deadline {
                return Ok(None);
            }
            match self.read(deadline) {
                Ok(true) => {}
                Ok(false) => return Ok(Some(Received::End)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
                // A signal, or a stop of this very process: a read with a timeout is not taken up again by itself.
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => {
                    eprintln!("a connection broke: {error}");
                    return Ok(Some(Received::End));
                }
            }
        }
    }

    /// The next whole frame in the buffer.
    fn frame(&mut self) -> anyhow::Result<Option<(u8, Vec<u8>)>> {
        let [first, second, ..] = self.buffer[..] else { return Ok(None) };
        anyhow::ensure!(second & 0x80 == 0, "a server must not mask");
        let (start, length) = match (second, self.buffer.len()) {
            (126, 4..) => (4, usize::from(u16::from_be_bytes([self.buffer[2], self.buffer[3]]))),
            (127, 10..) => (10, u64::from_be_bytes(self.buffer[2..10].try_into()?) as usize),
            (126 | 127, _) => return Ok(None),
            (short, _) => (2, usize::from(short)),
        };
        if self.buffer.len() < start + length {
            return Ok(None);
        }
        anyhow::ensure!(first & 0x80 != 0, "the server sent a fragment");
        let payload = self.buffer[start..start + length].to_vec();
        self.buffer.drain(..start + length);
        Ok(Some((first & 0x0f, payload)))
    }

    /// Reads once; false at the end of the connection.
    fn read(&mut self, deadline: Instant) -> std::io::Result<bool> {
        let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        self.stream.set_read_timeout(Some(left))?;
        let mut chunk = [0; 64 * 1024];
        let length = self.stream.read(&mut chunk)?;
        self.buffer.extend_from_slice(&chunk[..length]);
        Ok(length > 0)
    }

    /// Sends a text frame.
    pub fn text(&mut self, text: &str) -> anyhow::Result<()> {
        self.frame_out(true, TEXT, text.as_bytes())
    }

    /// Sends one masked frame.
    pub fn frame_out(&mut self, last: bool, opcode: u8, payload: &[u8]) -> anyhow::Result<()> {
        self.raw(&frame(last, opcode, payload))
    }

    /// Sends any bytes.
    pub fn raw(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        self.stream.write_all(bytes).context("sending")
    }

    /// The socket itself.
    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }
}

/// A masked client frame.
pub fn frame(last: bool, opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![u8::from(last) << 7 | opcode];
    match payload.len() {
        length @ 0..126 => bytes.push(0x80 | length as u8),
        length @ 126..0x1_0000 => {
            bytes.push(0x80 | 126);
            bytes.extend_from_slice(&(length as u16).to_be_bytes());
        }
        length => {
            bytes.push(0x80 | 127);
            bytes.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    bytes.extend_from_slice(&MASK);
    bytes.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    bytes
}
