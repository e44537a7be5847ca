//! Who takes part in a run: publishers that retry under the same id, subscribers that recover from their last position.
//! Both speak through raw sockets, so that no client library hides what the server does, and record everything.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context;
use serde_json::{Value, json};

use crate::history::{Kind, Message, Pen, Position, Recorder, hash};
use crate::socket::{Received, Socket};

/// Between two attempts to connect while the server is away.
const RETRY: Duration = Duration::from_millis(10);
/// Publishes one publisher has in flight.
const WINDOW: usize = 16;

/// Publishes to one channel until it is told to finish.
pub struct Publisher {
    thread: JoinHandle<anyhow::Result<()>>,
    finish: Arc<AtomicBool>,
    acknowledged: Arc<AtomicU64>,
}

impl Publisher {
    /// Starts publishing `{"n":…,"by":…}` under ids that no other publisher uses.
    pub fn start(
        address: SocketAddr,
        recorder: &Recorder,
        name: &str,
        channel: &str,
        token: Option<String>,
    ) -> Self {
        let user = token.as_deref().map(|_| name.to_owned());
        let finish = Arc::new(AtomicBool::new(false));
        let acknowledged = Arc::new(AtomicU64::new(0));
        let mut work = Publishing {
            address,
            token,
            pen: recorder.process(name),
            name: name.to_owned(),
            user,
            channel: channel.to_owned(),
            next: 0,
            outbox: VecDeque::new(),
            finish: finish.clone(),
            acknowledged: acknowledged.clone(),
        };
        Self { thread: std::thread::spawn(move || work.run()), finish, acknowledged }
    }

    /// Publishes acknowledged so far.
    pub fn acknowledged(&self) -> u64 {
        self.acknowledged.load(Ordering::Relaxed)
    }

    /// Lets it get its outstanding acknowledgements, and ends it.
    pub fn finish(self) -> anyhow::Result<()> {
        self.finish.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| anyhow::anyhow!("a publisher panicked"))?
    }
}

struct Publishing {
    address: SocketAddr,
    token: Option<String>,
    pen: Pen,
    name: String,
    user: Option<String>,
    channel: String,
    next: u64,
    /// Sent and not acknowledged, oldest first; bounded by [`WINDOW`].
    outbox: VecDeque<(Message, Value)>,
    finish: Arc<AtomicBool>,
    acknowledged: Arc<AtomicU64>,
}

impl Publishing {
    fn run(&mut self) -> anyhow::Result<()> {
        while !self.done() {
            // A broken connection is what the run is about: whatever it was, connect again and send the rest again.
            if self.converse().is_err() {
                std::thread::sleep(RETRY);
            }
        }
        Ok(())
    }

    fn done(&self) -> bool {
        self.finish.load(Ordering::Relaxed) && self.outbox.is_empty()
    }

    fn converse(&mut self) -> anyhow::Result<()> {
        let mut socket = Socket::connect(self.address, self.token.as_deref())?;
        let mut awaited = VecDeque::new();
        for (message, data) in &self.outbox {
            awaited.push_back((send(&mut socket, message, data)?, message.clone()));
        }
        while !self.done() {
            while self.outbox.len() < WINDOW && !self.finish.load(Ordering::Relaxed) {
                let (message, data) = self.compose();
                self.pen.record(Kind::Published { message: message.clone() });
                // Into the outbox first: what was perhaps sent must be sent again.
                self.outbox.push_back((message.clone(), data.clone()));
                awaited.push_back((send(&mut socket, &message, &data)?, message));
            }
            let Some((id, message)) = awaited.pop_front() else { return Ok(()) };
            let answer = socket.answer(id)?;
            self.settle(message, &answer)?;
        }
        Ok(())
    }

    fn compose(&mut self) -> (Message, Value) {
        let data = json!({ "n": self.next, "by": self.name });
        let message = Message {
            channel: self.channel.clone(),
            publisher: self.user.clone(),
            id: format!("{}-{}", self.name, self.next),
            hash: hash(&data),
        };
        self.next += 1;
        (message, data)
    }

    fn settle(&mut self, message: Message, answer: &Value) -> anyhow::Result<()> {
        if let Some(published) = answer.get("published") {
            self.outbox.retain(|(other, _)| other.id != message.id);
            let position = position(published)?;
            let duplicate = published["duplicate"].as_bool().unwrap_or(false);
            self.acknowledged.fetch_add(1, Ordering::Relaxed);
            self.pen.record(Kind::Acknowledged { message, position, duplicate });
            return Ok(());
        }
        let code = answer["error"]["code"].as_str().unwrap_or("?").to_owned();
        self.pen.record(Kind::Refused { message, code: code.clone() });
        // Refused with a retryable error, or unknown: it stays in the outbox, and the next conversation sends it again.
        let wait = answer["error"]["retry_after_ms"].as_u64().unwrap_or(20);
        std::thread::sleep(Duration::from_millis(wait.min(200)));
        anyhow::bail!("refused: {code}")
    }
}

fn send(socket: &mut Socket, message: &Message, data: &Value) -> anyhow::Result<u32> {
    socket.start("publish", json!({ "channel": message.channel, "id": message.id, "data": data }))
}

/// Follows one channel until it has seen a given offset.
pub struct Subscriber {
    thread: JoinHandle<anyhow::Result<()>>,
    /// Offset to stop at; `u64::MAX` while unknown.
    until: Arc<AtomicU64>,
    seen: Arc<AtomicU64>,
    ready: Arc<AtomicBool>,
}

impl Subscriber {
    /// Subscribes, and recovers after every loss of the connection.
    pub fn start(
        address: SocketAddr,
        recorder: &Recorder,
        name: &str,
        channel: &str,
        token: Option<String>,
    ) -> Self {
        let until = Arc::new(AtomicU64::new(u64::MAX));
        let (seen, ready) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let mut work = Subscribing {
            address,
            token,
            pen: recorder.process(name),
            channel: channel.to_owned(),
            position: None,
            until: until.clone(),
            seen: seen.clone(),
            ready: ready.clone(),
        };
        Self { thread: std::thread::spawn(move || work.run()), until, seen, ready }
    }

    /// Whether the first subscription stands.
    pub fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Relaxed)
    }

    /// Newest offset seen.
    pub fn seen(&self) -> u64 {
        self.seen.load(Ordering::Relaxed)
    }

    /// Lets it read up to `head` and ends it; fails when that takes too long.
    pub fn finish(self, head: u64) -> anyhow::Result<()> {
        self.until.store(head, Ordering::Relaxed);
        crate::wait::until("a subscriber to reach the head", || self.thread.is_finished().then_some(()))
            .with_context(|| format!("it has seen {} of {head}", self.seen()))?;
        self.thread.join().map_err(|_| anyhow::anyhow!("a subscriber panicked"))?
    }
}

struct Subscribing {
    address: SocketAddr,
    token: Option<String>,
    pen: Pen,
    channel: String,
    position: Option<Position>,
    until: Arc<AtomicU64>,
    seen: Arc<AtomicU64>,
    ready: Arc<AtomicBool>,
}

impl Subscribing {
    fn run(&mut self) -> anyhow::Result<()> {
        while !self.done() {
            if self.converse().is_err() && !self.done() {
                std::thread::sleep(RETRY);
            }
        }
        let position = self.position.clone().context("never subscribed")?;
        self.pen.record(Kind::Settled { channel: self.channel.clone(), position });
        Ok(())
    }

    fn done(&self) -> bool {
        self.position.as_ref().is_some_and(|position| position.offset >= self.until.load(Ordering::Relaxed))
    }

    fn converse(&mut self) -> anyhow::Result<()> {
        let mut socket = Socket::connect(self.address, self.token.as_deref())?;
        let asked = self.position.clone();
        let mut body = json!({ "channel": self.channel });
        if let Some(position) = &asked {
            body["recover"] = json!(position);
        }
        let answer = socket.request("subscribe", body)?;
        let subscribed = answer.get("subscribed").with_context(|| format!("not subscribed: {answer}"))?;
        let at = position(subscribed)?;
        let exact = subscribed["recovery"] == "exact";
        let (channel, epoch) = (self.channel.clone(), at.epoch.clone());
        self.pen.record(Kind::Subscribed { channel, position: at.clone(), asked: asked.clone(), exact });
        let gap = &subscribed["gap"];
        self.position.get_or_insert(at);
        if gap.is_object() {
            self.gap(gap)?;
        }
        self.ready.store(true, Ordering::Relaxed);
        while !self.done() {
            match socket.receive_within(Duration::from_millis(50))? {
                None => {}
                Some(Received::Message(message)) => self.push(&message, &epoch)?,
                Some(Received::Close { code, .. }) => {
                    self.pen.record(Kind::Closed { code: Some(code) });
                    return Ok(());
                }
                Some(Received::End) => {
                    self.pen.record(Kind::Closed { code: None });
                    return Ok(());
                }
                Some(other) => anyhow::bail!("unexpected: {other:?}"),
            }
        }
        Ok(())
    }

    fn push(&mut self, push: &Value, epoch: &str) -> anyhow::Result<()> {
        if let Some(publication) = push.get("pub") {
            let message = message(publication, &self.channel);
            let epoch = publication["epoch"].as_str().unwrap_or(epoch).to_owned();
            let offset = publication["offset"].as_u64().context("a durable publication without offset")?;
            let position = Position { epoch, offset };
            self.pen.record(Kind::Delivered { message, position: position.clone() });
            self.seen.store(offset, Ordering::Relaxed);
            self.position = Some(position);
        } else if let Some(gap) = push.get("gap") {
            self.gap(gap)?;
        }
        Ok(())
    }

    fn gap(&mut self, gap: &Value) -> anyhow::Result<()> {
        let (from, to) = (gap["from"].as_u64().context("gap")?, gap["to"].as_u64().context("gap")?);
        let reason = gap["reason"].as_str().unwrap_or("?").to_owned();
        self.pen.record(Kind::Gap { channel: self.channel.clone(), from, to, reason });
        if let Some(position) = &mut self.position {
            position.offset = position.offset.max(to);
        }
        Ok(())
    }
}

/// Reads a channel's whole history, page by page, into the record. Answers the newest offset (0: nothing).
pub fn read_history(
    address: SocketAddr,
    recorder: &Recorder,
    channel: &str,
    token: Option<&str>,
) -> anyhow::Result<u64> {
    let pen = recorder.process("reader");
    let mut socket = Socket::connect(address, token)?;
    let mut after = 0;
    loop {
        let answer =
            socket.request("history", json!({ "channel": channel, "after": after, "limit": 1000 }))?;
        let page = answer.get("history").with_context(|| format!("no history: {answer}"))?;
        let epoch = page["epoch"].as_str().context("history without epoch")?;
        let publications = page["publications"].as_array().context("history without publications")?;
        for publication in publications {
            let offset = publication["offset"].as_u64().context("stored without offset")?;
            let position = Position { epoch: epoch.to_owned(), offset };
            pen.record(Kind::Stored { message: message(publication, channel), position });
            after = offset;
        }
        if publications.is_empty() || after >= page["offset"].as_u64().unwrap_or(0) {
            return Ok(after);
        }
    }
}

fn position(value: &Value) -> anyhow::Result<Position> {
    let epoch = value["epoch"].as_str().with_context(|| format!("no epoch: {value}"))?.to_owned();
    let offset = value["offset"].as_u64().with_context(|| format!("no offset: {value}"))?;
    Ok(Position { epoch, offset })
}

fn message(publication: &Value, channel: &str) -> Message {
    Message {
        channel: channel.to_owned(),
        publisher: publication["from"].as_str().map(str::to_owned),
        id: publication["id"].as_str().unwrap_or_default().to_owned(),
        hash: hash(&publication["data"]),
    }
}
