//! The history of a run: every publish, acknowledgement and delivery, by whom and when, for the checkers to judge.
//!
//! A publish that was neither acknowledged nor refused is *unknown*: it may appear once or not at all.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde::Serialize;
use serde_json::Value;
use sha2::{Digest, Sha256};

/// Where a publication stands.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct Position {
    pub epoch: String,
    pub offset: u64,
}

/// One publication as somebody saw it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct Message {
    pub channel: String,
    /// The publishing user; all anonymous publishers count as one.
    pub publisher: Option<String>,
    pub id: String,
    /// Of the data, see [`hash`].
    pub hash: String,
}

/// What publishing and following lean on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// Kafka.
    Log,
    /// Postgres.
    Store,
    /// Redis.
    State,
    /// The home region's NATS.
    Bus,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A publisher sent it for the first time.
    Published { message: Message },
    /// The publisher was told its position.
    Acknowledged { message: Message, position: Position, duplicate: bool },
    /// The publisher was told that it was not published.
    Refused { message: Message, code: String },
    /// A subscription stands. `asked`: the position to recover from; `exact`: whether the server promised all of it.
    Subscribed { channel: String, position: Position, asked: Option<Position>, exact: bool },
    /// A subscriber received it.
    Delivered { message: Message, position: Position },
    /// A subscriber was told that `from ..= to` will not come.
    Gap { channel: String, from: u64, to: u64, reason: String },
    /// A subscriber's connection ended, with the server's close code if it sent one.
    Closed { code: Option<u16> },
    /// A subscriber has waited for everything up to this position, which the test knows to be the channel's head.
    Settled { channel: String, position: Position },
    /// An intruder's try was turned down.
    Denied { what: String, code: String },
    /// An intruder's try was not turned down.
    Admitted { what: String },
    /// From here on this part does nothing …
    Away { part: Part },
    /// … and from here on it may.
    Back { part: Part },
    /// Read from the channel's history at the end of the run.
    Stored { message: Message, position: Position },
}

/// One line of the history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Event {
    /// Monotonic time since the run began.
    pub at: Duration,
    /// The publisher, subscriber or reader.
    pub process: Arc<str>,
    pub kind: Kind,
}

/// A finished run, in the order of recording.
#[derive(Debug, Clone, Default)]
pub struct History {
    pub events: Vec<Event>,
}

impl History {
    /// One JSON object a line, for a report.
    pub fn to_lines(&self) -> String {
        self.events
            .iter()
            .filter_map(|event| serde_json::to_string(event).ok())
            .map(|line| line + "\n")
            .collect()
    }
}

/// Records from any thread.
#[derive(Debug, Clone)]
pub struct Recorder {
    begin: Instant,
    events: Arc<Mutex<Vec<Event>>>,
}

impl Default for Recorder {
    fn default() -> Self {
        Self { begin: Instant::now(), events: Arc::default() }
    }
}

impl Recorder {
    /// A recorder that writes under one process name.
    pub fn process(&self, name: &str) -> Pen {
        Pen { process: name.into(), recorder: self.clone() }
    }

    /// Everything so far.
    pub fn history(&self) -> History {
        History { events: self.events.lock().clone() }
    }
}

/// A recorder bound to one process of the run.
#[derive(Debug, Clone)]
pub struct Pen {
    process: Arc<str>,
    recorder: Recorder,
}

impl Pen {
    pub fn record(&self, kind: Kind) {
        // The time is taken under the lock, so that times never run backwards in a history.
        let mut events = self.recorder.events.lock();
        events.push(Event { at: self.recorder.begin.elapsed(), process: self.process.clone(), kind });
    }
}

/// First 16 hexadecimal digits of SHA-256 over the compact JSON text (keys sorted).
pub fn hash(data: &Value) -> String {
    let digest = Sha256::digest(data.to_string().as_bytes());
    digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}
