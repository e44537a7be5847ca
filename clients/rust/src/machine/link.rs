//! One connection as the machine sees it: its phase, what awaits an answer on it, and when it counts as dead.

use std::collections::{HashMap, VecDeque};

use skywave_protocol::message::Connected;
use skywave_protocol::{ChannelName, ClientMessage, Request};

use super::{LinkId, Millis, Ticket};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// The transport is being opened.
    Opening,
    /// `connect` was sent.
    Greeting,
    Ready,
}

/// What an answer belongs to.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Awaiting {
    Connect,
    Refresh,
    Subscribe(ChannelName),
    Publish(u64),
    Application(Ticket),
    /// Nobody asks; the answer is dropped.
    Nothing,
}

#[derive(Debug)]
pub(super) struct Link {
    pub(super) id: LinkId,
    pub(super) phase: Phase,
    /// The relay has sent us there.
    pub(super) placed: bool,
    /// Requests other than publishes, not yet handed to the transport. Bounded by what exists: a few per channel and
    /// per request of the application.
    pub(super) control: VecDeque<ClientMessage>,
    awaiting: HashMap<u32, (Awaiting, Millis)>,
    next_request: u32,
    pub(super) since: Millis,
    pub(super) last_received: Millis,
    pub(super) connected: Option<Connected>,
}

impl Link {
    pub(super) fn new(id: LinkId, placed: bool, now: Millis) -> Self {
        Self {
            id,
            phase: Phase::Opening,
            placed,
            control: VecDeque::new(),
            awaiting: HashMap::new(),
            next_request: 1,
            since: now,
            last_received: now,
            connected: None,
        }
    }

    pub(super) fn is_ready(&self) -> bool {
        self.phase == Phase::Ready
    }

    /// Queues a request whose answer is awaited.
    pub(super) fn ask(&mut self, now: Millis, request: Request, awaiting: Awaiting) {
        let id = self.number(now, awaiting);
        self.control.push_back(ClientMessage { id, request });
    }

    /// Queues a message that has no answer.
    pub(super) fn tell(&mut self, request: Request) {
        self.control.push_back(ClientMessage { id: 0, request });
    }

    /// A number for a request that is about to be sent.
    pub(super) fn number(&mut self, now: Millis, awaiting: Awaiting) -> u32 {
        loop {
            let id = self.next_request;
            self.next_request = self.next_request.checked_add(1).unwrap_or(1);
            if let std::collections::hash_map::Entry::Vacant(slot) = self.awaiting.entry(id) {
                slot.insert((awaiting, now));
                return id;
            }
        }
    }

    pub(super) fn answered(&mut self, id: u32) -> Option<Awaiting> {
        self.awaiting.remove(&id).map(|(awaiting, _)| awaiting)
    }

    /// When the connection counts as dead unless a byte comes; while it is being made, when the attempt is given up.
    pub(super) fn dead_at(&self, connect_timeout_ms: u64) -> Millis {
        match &self.connected {
            None => self.since + connect_timeout_ms,
            // One second for the road.
            Some(connected) => {
                let quiet = u64::from(connected.ping_seconds) + u64::from(connected.pong_timeout_seconds) + 1;
                self.last_received + quiet * 1_000
            }
        }
    }

    /// When the oldest request other than a publish was sent.
    pub(super) fn oldest_request(&self) -> Option<Millis> {
        let asked = self.awaiting.values().filter(|(awaiting, _)| !matches!(awaiting, Awaiting::Publish(_)));
        asked.map(|(_, at)| *at).min()
    }

    /// Largest message the server takes, in bytes.
    pub(super) fn message_bytes(&self) -> usize {
        let limit = self.connected.as_ref().map(|connected| connected.message_bytes as usize);
        limit.filter(|limit| *limit > 0).unwrap_or(skywave_protocol::limits::MESSAGE_BYTES_DEFAULT)
    }
}
