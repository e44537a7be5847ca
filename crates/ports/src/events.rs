//! Events: what services tell each other and the application's backends, durably and apart from the channels of clients.

use async_trait::async_trait;
use bytes::Bytes;

/// What users did, as far as the relay sees it.
pub const USER_ACTIVITY: &str = "user-activity";
/// What somebody should be told who is not connected.
pub const NOTIFICATIONS: &str = "notifications";
/// What happened to the system: nodes, failovers, refusals worth a look.
pub const SYSTEM_EVENTS: &str = "system-events";
/// What could not be processed, see [`dead_letter`].
pub const DEAD_LETTER: &str = "dead-letter";

/// The topics that are the product's own.
pub const OWN: [&str; 4] = [USER_ACTIVITY, NOTIFICATIONS, SYSTEM_EVENTS, DEAD_LETTER];

/// Topics of events.
///
/// Contract:
/// - *Durability*: when [`Events::publish`] returns `Ok` the event survives `kill -9` of everything. After `Unavailable` it
///   is unknown whether it was or will be kept, so a retry may keep it twice; after the other errors it certainly was not.
/// - *Order*: events of one topic and key that were published one after the other are given out in that order.
/// - *Groups*: every group is given every event. Among the members of a group each event goes to one, and again to
///   whoever has its place after a restart or a change of members, unless it was confirmed: at least once.
/// - A group that is new begins with the oldest event that is kept.
#[async_trait]
pub trait Events: Send + Sync + 'static {
    async fn publish(&self, event: NewEvent) -> Result<(), EventsError>;

    /// Largest value [`Events::publish`] takes, in bytes.
    fn event_bytes(&self) -> usize;

    /// Becomes a member of `group`, until dropped. Topics may be those of an application.
    async fn subscribe(&self, group: &str, topics: &[&str]) -> Result<Box<dyn EventStream>, EventsError>;
}

#[async_trait]
pub trait EventStream: Send {
    /// The next events, at least one and at most `max`, and no more than memory is set aside for; waits when there are none.
    /// Those of one partition are given out in order. Cancel-safe. After an error it may be called again: it goes on when it
    /// can.
    async fn next(&mut self, max: usize) -> Result<Vec<Event>, EventsError>;

    /// Whether events can come at all: every topic is there. For whoever waits in `next` after an error, and would hear nothing
    /// of its end until there is an event.
    async fn check(&mut self) -> Result<(), EventsError>;

    /// Everything that `next` has given out was dealt with and need not come again. After an error it may.
    async fn confirm(&mut self) -> Result<(), EventsError>;
}

/// An event that is to be published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewEvent {
    pub topic: String,
    /// What keeps its order.
    pub key: Bytes,
    pub value: Bytes,
    pub headers: Vec<(String, Bytes)>,
}

/// An event that was published. Topic, partition and offset name it, for as long as the topic is the same one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    pub topic: String,
    /// Events of one partition are in order, by offset.
    pub partition: u32,
    pub offset: u64,
    /// When it was published, as the topic has it (milliseconds since the Unix epoch); 0: it does not say.
    pub time_ms: u64,
    pub key: Bytes,
    pub value: Bytes,
    pub headers: Vec<(String, Bytes)>,
}

impl Event {
    /// Names it for people and for logs.
    pub fn place(&self) -> String {
        let Self { topic, partition, offset, .. } = self;
        format!("{topic} {partition}@{offset}")
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EventsError {
    /// Certainly not published.
    #[error("no events are taken at present: {0}")]
    Refused(String),
    #[error("an event has at most {limit} bytes; this one has {got}")]
    TooLarge { limit: usize, got: usize },
    /// For a publish: unknown.
    #[error("events are unavailable: {0}")]
    Unavailable(String),
}

/// What could not be processed, whole, for people to look at: `source` names where it stood, `reason` why it was passed over.
pub fn dead_letter(source: &str, reason: &str, key: Bytes, value: Bytes) -> NewEvent {
    let headers =
        [("source", source), ("reason", reason)].map(|(name, text)| (name.into(), text.to_owned().into()));
    NewEvent { topic: DEAD_LETTER.into(), key, value, headers: headers.into() }
}
