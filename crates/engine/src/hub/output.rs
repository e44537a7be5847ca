//! What the hub is asked and what it decides.

use std::collections::VecDeque;
use std::sync::Arc;

use hashbrown::HashMap;
use skywave_protocol::message::{GapReason, HistoryQuery, Recovery};
use skywave_protocol::{ChannelName, Epoch, Offset, Position, Publication, WireError};

use crate::storm::GiveBack;

/// One connection as the hub knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Subscriber {
    /// The worker thread that owns the socket.
    pub worker: u16,
    pub connection: u64,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Join {
    pub subscriber: Subscriber,
    pub channel: ChannelName,
    pub durable: bool,
    /// Everything after this position is wanted.
    pub recover: Option<Position>,
}

/// Names one history read; an answer under another name is ignored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FetchId(pub u64);

#[derive(Debug, Clone, PartialEq)]
pub enum HubOutput {
    /// Subscribe to the channel's live subject and answer with `handle_interest`.
    AddInterest(ChannelName),
    DropInterest(ChannelName),
    /// Read history and answer with `handle_history`. One at a time per channel. The hub has its own timeout.
    Fetch {
        id: FetchId,
        query: HistoryQuery,
        /// What is asked for is past: it lies before this position, which is known to stand in the log. A copy of it that
        /// somebody kept is as good as history's own (`handle_copy`).
        past: Option<Position>,
    },
    /// The subscriber is a member from here on. All it has to get up to `position` is in `missed` (oldest first), and
    /// everything newer follows as [`HubOutput::Deliver`]; unless it is `behind`.
    Joined {
        subscriber: Subscriber,
        channel: ChannelName,
        /// `None` for ephemeral channels.
        position: Option<Position>,
        /// `None` when no recovery was asked for.
        recovery: Option<Recovery>,
        missed: Vec<Arc<Publication>>,
        epoch: Option<Epoch>,
        /// Too much to be handed over at once. What it missed comes as [`HubOutput::CatchUp`], a page for each
        /// [`Hub::more`](super::Hub::more), and nothing meant for every member is meant for it before one says `live`.
        behind: bool,
    },
    /// To one member that is catching up.
    CatchUp(Box<CatchUp>),
    /// The subscriber is no member; it may try again.
    JoinFailed {
        subscriber: Subscriber,
        channel: ChannelName,
        error: WireError,
    },
    /// To every live member. `epoch` is given for durable publications; it only changes behind a `Gap`.
    Deliver {
        channel: ChannelName,
        epoch: Option<Epoch>,
        publication: Arc<Publication>,
    },
    /// To every live member: `from ..= to` will not come; delivery goes on after `to`, in `epoch`.
    Gap {
        channel: ChannelName,
        epoch: Epoch,
        from: Offset,
        to: Offset,
        reason: GapReason,
    },
}

/// What a member that is catching up gets next, in this order: news of a gap, publications of a page, recent ones.
#[derive(Debug, Clone, PartialEq)]
pub struct CatchUp {
    pub subscriber: Subscriber,
    pub channel: ChannelName,
    pub epoch: Epoch,
    /// This will not come.
    pub gap: Option<Missing>,
    pub page: Option<PagePart>,
    pub recent: Vec<Arc<Publication>>,
    /// It has caught up and is a live member from here on. Otherwise it is to ask for more.
    pub live: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Missing {
    pub from: Offset,
    pub to: Offset,
    pub reason: GapReason,
}

/// `page[from..to]`, oldest first. Members in the same place get parts of the same page, which is worth encoding once.
#[derive(Debug, Clone, PartialEq)]
pub struct PagePart {
    pub page: Arc<[Arc<Publication>]>,
    pub from: usize,
    pub to: usize,
}

/// Subscribers whose joins are decided. They share what they missed; each one's `Joined` is made when it is polled, so
/// that ten thousand recoveries of one channel do not stand in memory ten thousand times.
#[derive(Debug)]
pub(super) struct Joins {
    pub(super) channel: ChannelName,
    /// `None` for an ephemeral channel.
    pub(super) position: Option<Position>,
    /// Publications up to the position, without a hole.
    pub(super) window: Arc<[Arc<Publication>]>,
    pub(super) subscribers: VecDeque<Decided>,
}

#[derive(Debug)]
pub(super) struct Decided {
    pub(super) subscriber: Subscriber,
    pub(super) recovery: Option<Recovery>,
    /// How many of the newest publications of the window it missed.
    pub(super) missed: usize,
    pub(super) behind: bool,
}

#[derive(Debug)]
enum Queued {
    One(HubOutput),
    Joins(Joins),
}

/// Decisions in order, and the names of the reads under way. Bounded by what one event can cause, as long as the driver
/// polls everything after each event.
#[derive(Debug, Default)]
pub(super) struct Outputs {
    /// Payload bytes of the pages that channels keep.
    pub(super) pages_bytes: usize,
    queue: VecDeque<Queued>,
    fetches: HashMap<FetchId, ChannelName>,
    last_fetch: u64,
    /// The epoch learned last.
    epoch: Option<Epoch>,
}

impl Outputs {
    pub(super) fn push(&mut self, output: HubOutput) {
        self.queue.push_back(Queued::One(output));
    }

    pub(super) fn join(&mut self, joins: Joins) {
        self.queue.push_back(Queued::Joins(joins));
    }

    pub(super) fn fetch(&mut self, query: HistoryQuery, past: Option<Position>) -> FetchId {
        self.last_fetch += 1;
        let id = FetchId(self.last_fetch);
        self.fetches.insert(id, query.channel.clone());
        self.push(HubOutput::Fetch { id, query, past });
        id
    }

    /// The channel of a read that is under way.
    pub(super) fn fetched(&self, id: FetchId) -> Option<&ChannelName> {
        self.fetches.get(&id)
    }

    /// The channel a read was for; the read is over.
    pub(super) fn end_fetch(&mut self, id: FetchId) -> Option<ChannelName> {
        let channel = self.fetches.remove(&id);
        self.fetches.give_back();
        channel
    }

    /// The same epoch, in the memory it has already: nearly all channels are of one.
    pub(super) fn shared(&mut self, epoch: &Epoch) -> Epoch {
        match &self.epoch {
            Some(known) if known == epoch => known.clone(),
            _ => self.epoch.insert(epoch.clone()).clone(),
        }
    }

    pub(super) fn fetches(&self) -> usize {
        self.fetches.len()
    }

    pub(super) fn poll(&mut self) -> Option<HubOutput> {
        loop {
            match self.queue.pop_front()? {
                Queued::One(output) => return Some(output),
                Queued::Joins(mut joins) => {
                    if let Some(decided) = joins.subscribers.pop_front() {
                        let joined = joins.joined(decided);
                        self.queue.push_front(Queued::Joins(joins));
                        return Some(joined);
                    }
                }
            }
        }
    }
}

impl Joins {
    fn joined(&self, decided: Decided) -> HubOutput {
        let first = self.window.len() - decided.missed;
        HubOutput::Joined {
            subscriber: decided.subscriber,
            channel: self.channel.clone(),
            position: self.position.clone(),
            recovery: decided.recovery,
            missed: self.window[first..].to_vec(),
            behind: decided.behind,
            epoch: self.position.as_ref().map(|position| position.epoch.clone()),
        }
    }
}
