//! Who takes part in a run: publishers that retry under the same id, subscribers that recover from their last position.
//! Both speak through raw sockets, so that no client library hides what the server does, and record everything.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Context;
use serde_json::{Value, json};

use crate::history::{Kind, Message, Pen, Position, Recorder, hash};
use crate::socket::{Received, Socket};

/// Between two attempts to connect while the server is away.
const RETRY: Duration = Duration::from_millis(10);
/// Publishes one publisher has in flight.
const WINDOW: usize = 16;
/// Longest wait for outstanding acknowledgements, several tries of each; only a failure waits so long.
const OUTSTANDING: Duration = Duration::from_secs(120);

/// Where a participant may connect: the first to begin with, the next one whenever a connection fails.
#[derive(Debug, Clone)]
pub struct Places {
    addresses: Vec<SocketAddr>,
    at: usize,
}

impl From<SocketAddr> for Places {
    fn from(address: SocketAddr) -> Self {
        Self { addresses: vec![address], at: 0 }
    }
}

impl Places {
    /// `addresses` holds at least one.
    pub fn new(addresses: Vec<SocketAddr>) -> Self {
        assert!(!addresses.is_empty(), "a participant needs a place to connect to");
        Self { addresses, at: 0 }
    }

    pub(crate) fn here(&self) -> SocketAddr {
        self.addresses[self.at]
    }

    pub(crate) fn move_on(&mut self) {
        self.at = (self.at + 1) % self.addresses.len();
    }
}

/// Publishes to one channel until it is told to finish. Dropped before, it leaves whatever is outstanding.
pub struct Publisher {
    thread: Option<JoinHandle<anyhow::Result<()>>>,
    finish: Arc<AtomicBool>,
    abandoned: Arc<AtomicBool>,
    acknowledged: Arc<AtomicU64>,
}

impl Publisher {
    /// Starts publishing `{"n":…,"by":…}` under ids that no other publisher uses.
    pub fn start(
        places: impl Into<Places>,
        recorder: &Recorder,
        name: &str,
        channel: &str,
        token: Option<String>,
    ) -> Self {
        Self::start_paced(places, recorder, name, channel, token, Duration::ZERO)
    }

    /// As [`Self::start`], with at least `pause` between two publishes.
    pub fn start_paced(
        places: impl Into<Places>,
        recorder: &Recorder,
        name: &str,
        channel: &str,
        token: Option<String>,
        pause: Duration,
    ) -> Self {
        let user = token.as_deref().map(|_| name.to_owned());
        let (finish, abandoned) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let acknowledged = Arc::new(AtomicU64::new(0));
        let mut work = Publishing {
            places: places.into(),
            pause,
            due: Instant::now(),
            token,
            pen: recorder.process(name),
            name: name.to_owned(),
            user,
            channel: channel.to_owned(),
            next: 0,
            outbox: VecDeque::new(),
            finish: finish.clone(),
            abandoned: abandoned.clone(),
            acknowledged: acknowledged.clone(),
        };
        Self { thread: Some(std::thread::spawn(move || work.run())), finish, abandoned, acknowledged }
    }

    /// Publishes acknowledged so far.
    pub fn acknowledged(&self) -> u64 {
        self.acknowledged.load(Ordering::Relaxed)
    }

    /// Lets it get its outstanding acknowledgements, and ends it; fails when that takes too long.
    pub fn finish(mut self) -> anyhow::Result<()> {
        self.finish.store(true, Ordering::Relaxed);
        let thread = self.thread.take().context("it is finished once")?;
        let deadline = Instant::now() + OUTSTANDING;
        while !thread.is_finished() {
            anyhow::ensure!(
                Instant::now() < deadline,
                "a publisher with {} acknowledgements got the last ones not within {OUTSTANDING:?}",
                self.acknowledged()
            );
            std::thread::sleep(RETRY);
        }
        thread.join().map_err(|_| anyhow::anyhow!("a publisher panicked"))?
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        // Not joined: it may wait for an answer that does not come.
        self.abandoned.store(true, Ordering::Relaxed);
    }
}

struct Publishing {
    places: Places,
    pause: Duration,
    /// When the next publication may go out.
    due: Instant,
    token: Option<String>,
    pen: Pen,
    name: String,
    user: Option<String>,
    channel: String,
    next: u64,
    /// Sent and not acknowledged, oldest first; bounded by [`WINDOW`].
    outbox: VecDeque<(Message, Value)>,
    finish: Arc<AtomicBool>,
    abandoned: Arc<AtomicBool>,
    acknowledged: Arc<AtomicU64>,
}

impl Publishing {
    fn run(&mut self) -> anyhow::Result<()> {
        while !self.done() {
            // A broken connection is what the run is about: whatever it was, connect again and send the rest again.
            if self.converse().is_err() {
                self.places.move_on();
                std::thread::sleep(RETRY);
            }
        }
        Ok(())
    }

    fn done(&self) -> bool {
        let finished = self.finish.load(Ordering::Relaxed) && self.outbox.is_empty();
        finished || self.abandoned.load(Ordering::Relaxed)
    }

    fn converse(&mut self) -> anyhow::Result<()> {
        let mut socket = Socket::connect(self.places.here(), self.token.as_deref())?;
        let mut awaited = HashMap::new();
        for (message, data) in &self.outbox {
            awaited.insert(send(&mut socket, message, data)?, message.clone());
        }
        while !self.done() {
            while self.may_compose() {
                let (message, data) = self.compose();
                self.pen.record(Kind::Published { message: message.clone() });
                // Into the outbox first: what was perhaps sent must be sent again.
                self.outbox.push_back((message.clone(), data.clone()));
                awaited.insert(send(&mut socket, &message, &data)?, message);
            }
            if awaited.is_empty() {
                std::thread::sleep(self.due.saturating_duration_since(Instant::now()));
                continue;
            }
            // In any order: requests of one connection may be served by several cores.
            let (id, answer) = socket.any_answer()?;
            let message = awaited.remove(&id).with_context(|| format!("nobody asked: {answer}"))?;
            self.settle(message, &answer)?;
        }
        Ok(())
    }

    fn may_compose(&self) -> bool {
        let due = self.pause.is_zero() || Instant::now() >= self.due;
        due && self.outbox.len() < WINDOW && !self.finish.load(Ordering::Relaxed)
    }

    fn compose(&mut self) -> (Message, Value) {
        self.due = Instant::now() + self.pause;
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

/// Follows one channel until it has seen a given offset, or is dropped.
pub struct Subscriber {
    thread: Option<JoinHandle<anyhow::Result<()>>>,
    /// Offset to stop at; `u64::MAX` while unknown.
    until: Arc<AtomicU64>,
    abandoned: Arc<AtomicBool>,
    seen: Arc<AtomicU64>,
    ready: Arc<AtomicBool>,
}

impl Subscriber {
    /// Subscribes, and recovers after every loss of the connection.
    pub fn start(
        places: impl Into<Places>,
        recorder: &Recorder,
        name: &str,
        channel: &str,
        token: Option<String>,
    ) -> Self {
        Self::start_after(places, recorder, name, channel, token, None)
    }

    /// The same from a position on, as somebody who has been there before.
    pub fn start_after(
        places: impl Into<Places>,
        recorder: &Recorder,
        name: &str,
        channel: &str,
        token: Option<String>,
        position: Option<Position>,
    ) -> Self {
        let until = Arc::new(AtomicU64::new(u64::MAX));
        let (seen, ready) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let abandoned = Arc::new(AtomicBool::new(false));
        let mut work = Subscribing {
            places: places.into(),
            token,
            pen: recorder.process(name),
            channel: channel.to_owned(),
            position,
            until: until.clone(),
            abandoned: abandoned.clone(),
            seen: seen.clone(),
            ready: ready.clone(),
        };
        Self { thread: Some(std::thread::spawn(move || work.run())), until, abandoned, seen, ready }
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
    pub fn finish(mut self, head: u64) -> anyhow::Result<()> {
        self.until.store(head, Ordering::Relaxed);
        let thread = self.thread.take().context("it is finished once")?;
        crate::wait::until("a subscriber to reach the head", || thread.is_finished().then_some(()))
            .with_context(|| format!("it has seen {} of {head}", self.seen()))?;
        thread.join().map_err(|_| anyhow::anyhow!("a subscriber panicked"))?
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        self.abandoned.store(true, Ordering::Relaxed);
    }
}

struct Subscribing {
    places: Places,
    token: Option<String>,
    pen: Pen,
    channel: String,
    position: Option<Position>,
    until: Arc<AtomicU64>,
    abandoned: Arc<AtomicBool>,
    seen: Arc<AtomicU64>,
    ready: Arc<AtomicBool>,
}

impl Subscribing {
    fn run(&mut self) -> anyhow::Result<()> {
        while !self.done() {
            if self.converse().is_err() && !self.done() {
                self.places.move_on();
                std::thread::sleep(RETRY);
            }
        }
        let position = self.position.clone().context("never subscribed")?;
        self.pen.record(Kind::Settled { channel: self.channel.clone(), position });
        Ok(())
    }

    fn done(&self) -> bool {
        let until = self.until.load(Ordering::Relaxed);
        self.position.as_ref().is_some_and(|position| position.offset >= until)
            || self.abandoned.load(Ordering::Relaxed)
    }

    fn converse(&mut self) -> anyhow::Result<()> {
        let mut socket = Socket::connect(self.places.here(), self.token.as_deref())?;
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

/// Publishes `count` messages to a channel as fast as they are taken, and gives back the position before the first one.
pub fn fill(address: SocketAddr, recorder: &Recorder, channel: &str, count: u64) -> anyhow::Result<Position> {
    const WINDOW: usize = 128;
    let pen = recorder.process("filler");
    let mut socket = Socket::connect(address, None)?;
    let subscribed = socket.request("subscribe", json!({ "channel": channel }))?;
    let begin = self::position(&subscribed["subscribed"])?;
    socket.request("unsubscribe", json!({ "channel": channel }))?;
    let mut awaited = VecDeque::new();
    for n in 0..count {
        let data = json!({ "n": n });
        let message = Message {
            channel: channel.to_owned(),
            publisher: None,
            id: format!("filler-{n}"),
            hash: hash(&data),
        };
        pen.record(Kind::Published { message: message.clone() });
        awaited.push_back((send(&mut socket, &message, &data)?, message));
        let last = n + 1 == count;
        while awaited.len() >= WINDOW || (last && !awaited.is_empty()) {
            let Some((id, message)) = awaited.pop_front() else { break };
            let answer = socket.answer(id)?;
            let published = answer.get("published").with_context(|| format!("not published: {answer}"))?;
            let position = self::position(published)?;
            pen.record(Kind::Acknowledged { message, position, duplicate: false });
        }
    }
    Ok(begin)
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
        let answer = history_page(&mut socket, channel, after)?;
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

/// Asks again while the server says "later": right after the store has come back, it may not know yet.
fn history_page(socket: &mut Socket, channel: &str, after: u64) -> anyhow::Result<Value> {
    let deadline = Instant::now() + OUTSTANDING;
    loop {
        let answer =
            socket.request("history", json!({ "channel": channel, "after": after, "limit": 1000 }))?;
        let code = answer["error"]["code"].as_str().unwrap_or_default();
        if !matches!(code, "store_unavailable" | "timeout" | "rate_limited") || Instant::now() >= deadline {
            return Ok(answer);
        }
        std::thread::sleep(Duration::from_millis(answer["error"]["retry_after_ms"].as_u64().unwrap_or(100)));
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
