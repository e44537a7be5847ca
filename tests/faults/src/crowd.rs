//! Thousands of clients on few threads, each a WebSocket by hand (RFC 6455): they follow one channel, and when their edge dies they go
//! to the other one with their position, each at its own moment within two seconds, as client libraries do.
//!
//! Never: repairs anything. A hole or a repetition is a complaint.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::Context;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio::sync::Semaphore;

/// Connections that are being made at one time.
const AT_ONCE: usize = 256;
/// An attempt that takes longer is given up.
const ATTEMPT: Duration = Duration::from_secs(60);
/// Clients spread their coming back over so many milliseconds.
const SPREAD: u64 = 2_000;

pub struct Crowd {
    shared: Arc<Shared>,
    /// Ends every client when dropped.
    _runtime: Runtime,
}

/// What the clients note.
pub struct Shared {
    begin: Instant,
    channel: String,
    edges: [SocketAddr; 2],
    /// Subscribed now, at either edge.
    at: [AtomicUsize; 2],
    /// By client: the newest offset it has.
    seen: Vec<AtomicU64>,
    pub exact: AtomicUsize,
    /// Milliseconds since the beginning.
    pub lost_at: AtomicU64,
    back: Mutex<Vec<u64>>,
    pub complaints: Mutex<Vec<String>>,
    door: Semaphore,
}

impl Shared {
    pub fn now(&self) -> u64 {
        u64::try_from(self.begin.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// How long it took from the loss until half of them were back.
    pub fn half_back(&self, count: usize) -> Option<Duration> {
        let mut back = self.back.lock().ok()?.clone();
        back.sort_unstable();
        let half = back.get(count / 2)?;
        Some(Duration::from_millis(half.saturating_sub(self.lost_at.load(Ordering::Relaxed))))
    }
}

impl Crowd {
    /// Lets them all come to the first edge.
    pub fn gather(count: usize, edges: [SocketAddr; 2], channel: &str) -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        let shared = Arc::new(Shared {
            begin: Instant::now(),
            channel: channel.to_owned(),
            edges,
            at: Default::default(),
            seen: (0..count).map(|_| AtomicU64::new(0)).collect(),
            exact: AtomicUsize::new(0),
            lost_at: AtomicU64::new(0),
            back: Mutex::default(),
            complaints: Mutex::default(),
            door: Semaphore::new(AT_ONCE),
        });
        for number in 0..count {
            runtime.spawn(Client { number, shared: shared.clone(), position: None, edge: 0 }.run());
        }
        Ok(Self { shared, _runtime: runtime })
    }

    pub fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Subscribed at this edge.
    pub fn at(&self, edge: usize) -> usize {
        self.shared.at[edge].load(Ordering::Relaxed)
    }

    pub fn seen(&self) -> impl Iterator<Item = u64> {
        self.shared.seen.iter().map(|seen| seen.load(Ordering::Relaxed))
    }

    pub fn furthest(&self) -> u64 {
        self.seen().max().unwrap_or(0)
    }
}

struct Client {
    number: usize,
    shared: Arc<Shared>,
    position: Option<(String, u64)>,
    edge: usize,
}

impl Client {
    async fn run(mut self) {
        let shared = self.shared.clone();
        loop {
            let attempt = {
                // The semaphore is never closed.
                let _door = shared.door.acquire().await;
                tokio::time::timeout(ATTEMPT, self.subscribe()).await
            };
            if let Ok(Ok(mut line)) = attempt {
                shared.at[self.edge].fetch_add(1, Ordering::Relaxed);
                // How it ended does not matter: it goes on elsewhere.
                let _ = self.follow(&mut line).await;
                shared.at[self.edge].fetch_sub(1, Ordering::Relaxed);
            }
            self.edge = 1 - self.edge;
            let wait = self.number as u64 * 7_919 % SPREAD;
            tokio::time::sleep(Duration::from_millis(wait)).await;
        }
    }

    async fn subscribe(&mut self) -> anyhow::Result<Line> {
        let mut line = Line::open(self.shared.edges[self.edge]).await?;
        line.say(&json!({ "id": 1, "connect": {} })).await?;
        let answer = self.answer(&mut line, 1).await?;
        anyhow::ensure!(answer.get("connected").is_some(), "not connected: {answer}");
        let mut body = json!({ "channel": self.shared.channel });
        if let Some((epoch, offset)) = &self.position {
            body["recover"] = json!({ "epoch": epoch, "offset": offset });
        }
        line.say(&json!({ "id": 2, "subscribe": body })).await?;
        let answer = self.answer(&mut line, 2).await?;
        let subscribed = answer.get("subscribed").with_context(|| format!("not subscribed: {answer}"))?;
        if self.position.is_some() {
            if subscribed["recovery"] == "exact" {
                self.shared.exact.fetch_add(1, Ordering::Relaxed);
            } else {
                self.complain(format!("recovery was not exact: {subscribed}"));
            }
            if let Ok(mut back) = self.shared.back.lock() {
                back.push(self.shared.now());
            }
        } else {
            let epoch = subscribed["epoch"].as_str().context("no epoch")?.to_owned();
            self.at(epoch, subscribed["offset"].as_u64().context("no offset")?);
        }
        Ok(line)
    }

    async fn answer(&mut self, line: &mut Line, id: u64) -> anyhow::Result<Value> {
        loop {
            let message = line.hear().await?;
            if message["id"] == id {
                return Ok(message);
            }
            self.push(&message)?;
        }
    }

    async fn follow(&mut self, line: &mut Line) -> anyhow::Result<()> {
        loop {
            let message = line.hear().await?;
            self.push(&message)?;
        }
    }

    fn push(&mut self, message: &Value) -> anyhow::Result<()> {
        if let Some(gap) = message.get("gap") {
            self.complain(format!("a gap: {gap}"));
        }
        let Some(publication) = message.get("pub") else { return Ok(()) };
        let offset = publication["offset"].as_u64().context("a publication without offset")?;
        let (epoch, last) = self.position.clone().context("a publication before the subscription")?;
        if offset != last + 1 {
            self.complain(format!("{offset} after {last}"));
        }
        self.at(epoch, offset);
        Ok(())
    }

    fn at(&mut self, epoch: String, offset: u64) {
        self.shared.seen[self.number].store(offset, Ordering::Relaxed);
        self.position = Some((epoch, offset));
    }

    fn complain(&self, what: String) {
        if let Ok(mut complaints) = self.shared.complaints.lock() {
            complaints.push(format!("client {}: {what}", self.number));
        }
    }
}

/// One connection after the upgrade.
struct Line {
    stream: TcpStream,
    buffer: Vec<u8>,
    /// Messages of a batch that were not taken yet, the last first.
    ready: Vec<Value>,
}

impl Line {
    async fn open(address: SocketAddr) -> anyhow::Result<Self> {
        let mut stream = TcpStream::connect(address).await?;
        let request = format!(
            "GET /v1/ws HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await?;
        let mut line = Self { stream, buffer: Vec::new(), ready: Vec::new() };
        let end = loop {
            if let Some(end) = line.buffer.windows(4).position(|four| four == b"\r\n\r\n") {
                break end + 4;
            }
            line.read().await?;
        };
        anyhow::ensure!(line.buffer.starts_with(b"HTTP/1.1 101"), "refused");
        line.buffer.drain(..end);
        Ok(line)
    }

    async fn say(&mut self, message: &Value) -> anyhow::Result<()> {
        self.frame(1, message.to_string().as_bytes()).await
    }

    /// Masked with zeros, which leave the bytes as they are. Short ones only.
    async fn frame(&mut self, opcode: u8, payload: &[u8]) -> anyhow::Result<()> {
        let mut frame = vec![0x80 | opcode];
        match u8::try_from(payload.len()) {
            Ok(length) if length < 126 => frame.push(0x80 | length),
            _ => {
                frame.push(0x80 | 126);
                frame.extend(u16::try_from(payload.len())?.to_be_bytes());
            }
        }
        frame.extend([0; 4]);
        frame.extend(payload);
        Ok(self.stream.write_all(&frame).await?)
    }

    /// The next message; pings are answered.
    async fn hear(&mut self) -> anyhow::Result<Value> {
        loop {
            if let Some(message) = self.ready.pop() {
                return Ok(message);
            }
            let Some((opcode, payload)) = self.take()? else {
                self.read().await?;
                continue;
            };
            match opcode {
                1 if payload == b"{}" => self.frame(1, b"{}").await?,
                1 => {
                    let text = std::str::from_utf8(&payload)?;
                    self.ready = text.lines().rev().map(serde_json::from_str).collect::<Result<_, _>>()?;
                }
                9 => self.frame(10, &payload).await?,
                _ => anyhow::bail!("closed"),
            }
        }
    }

    /// A whole frame, if one is there.
    fn take(&mut self) -> anyhow::Result<Option<(u8, Vec<u8>)>> {
        let [first, second, ..] = self.buffer[..] else { return Ok(None) };
        let (head, length) = match second & 0x7f {
            126 => match self.buffer.get(2..4) {
                Some(bytes) => (4, usize::from(u16::from_be_bytes(bytes.try_into()?))),
                None => return Ok(None),
            },
            127 => match self.buffer.get(2..10) {
                Some(bytes) => (10, usize::try_from(u64::from_be_bytes(bytes.try_into()?))?),
                None => return Ok(None),
            },
            short => (2, usize::from(short)),
        };
        if self.buffer.len() < head + length {
            return Ok(None);
        }
        let payload = self.buffer[head..head + length].to_vec();
        self.buffer.drain(..head + length);
        Ok(Some((first & 0x0f, payload)))
    }

    async fn read(&mut self) -> anyhow::Result<()> {
        // On the heap for a moment only: ten thousand of these wait at a time.
        self.stream.readable().await?;
        let mut chunk = vec![0; 4096];
        match self.stream.try_read(&mut chunk) {
            Ok(0) => anyhow::bail!("the connection ended"),
            Ok(count) => self.buffer.extend_from_slice(&chunk[..count]),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }
}
