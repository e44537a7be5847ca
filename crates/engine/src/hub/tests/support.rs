//! A hub with a model log behind it: what it asks for is answered when the test says so.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use skywave_protocol::inner::{Excerpt, HistoryAnswer, Live};
use skywave_protocol::message::{GapReason, HistoryQuery, Recovery};
use skywave_protocol::{ChannelName, Epoch, ErrorCode, Offset, Payload, Position, Publication, WireError};

use super::super::{CatchUp, FetchId, Hub, HubConfig, HubOutput, Join, Subscriber};
use crate::time::Millis;

pub(super) fn channel() -> ChannelName {
    ChannelName::parse("chat:1").unwrap()
}

pub(super) fn epoch(name: &str) -> Epoch {
    Epoch::parse(name).unwrap()
}

pub(super) fn position(offset: Offset) -> Position {
    Position { epoch: epoch("e1"), offset }
}

pub(super) fn publication(offset: Offset) -> Arc<Publication> {
    let data = Payload::Binary(Bytes::from(format!("data {offset}")));
    Arc::new(Publication { offset, id: None, from: None, time_ms: offset, data })
}

pub(super) fn subscriber(connection: u64) -> Subscriber {
    Subscriber { worker: (connection % 2) as u16, connection }
}

/// What came out, in short.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Out {
    Add,
    Drop,
    Joined {
        who: u64,
        at: Option<Offset>,
        recovery: Option<Recovery>,
        missed: Vec<Offset>,
    },
    /// A member now, with the head at `at`, and catching up.
    Behind {
        who: u64,
        at: Offset,
        recovery: Option<Recovery>,
    },
    CatchUp {
        who: u64,
        gap: Option<(Offset, Offset, GapReason)>,
        missed: Vec<Offset>,
        live: bool,
    },
    Failed(u64),
    Deliver(Offset),
    Gap(Offset, Offset, GapReason),
}

pub(super) fn joined(who: u64, at: Offset) -> Out {
    Out::Joined { who, at: Some(at), recovery: None, missed: vec![] }
}

pub(super) fn recovered(who: u64, at: Offset, missed: std::ops::RangeInclusive<Offset>) -> Out {
    Out::Joined { who, at: Some(at), recovery: Some(Recovery::Exact), missed: missed.collect() }
}

pub(super) fn behind(who: u64, at: Offset) -> Out {
    Out::Behind { who, at, recovery: Some(Recovery::Exact) }
}

/// A page, and the member is still behind.
pub(super) fn page(who: u64, missed: std::ops::RangeInclusive<Offset>) -> Out {
    Out::CatchUp { who, gap: None, missed: missed.collect(), live: false }
}

/// The rest, and the member is live.
pub(super) fn caught_up(who: u64, missed: std::ops::RangeInclusive<Offset>) -> Out {
    Out::CatchUp { who, gap: None, missed: missed.collect(), live: true }
}

pub(super) struct World {
    pub(super) hub: Hub,
    pub(super) now: Millis,
    pub(super) epoch: Epoch,
    /// Newest offset of the model log, and the oldest it still serves.
    pub(super) head: Offset,
    pub(super) first: Offset,
    /// What the store has lost.
    pub(super) lost: BTreeSet<Offset>,
    /// Most publications in one answer, whatever was asked for.
    pub(super) page: usize,
    pub(super) reads: Vec<(FetchId, HistoryQuery)>,
    pub(super) read_count: usize,
    /// Where the past ends that the read under way is of.
    pub(super) past: Option<Position>,
    outs: Vec<Out>,
}

impl World {
    pub(super) fn new() -> Self {
        Self::with(HubConfig { recovery_margin: 0, ..HubConfig::default() })
    }

    pub(super) fn with(config: HubConfig) -> Self {
        Self {
            hub: Hub::new(config),
            now: 1_000,
            epoch: epoch("e1"),
            head: 0,
            first: 1,
            lost: BTreeSet::new(),
            page: usize::MAX,
            reads: Vec::new(),
            read_count: 0,
            past: None,
            outs: Vec::new(),
        }
    }

    /// A ring of ten publications, pages of twenty, and a log up to `head`.
    pub(super) fn short(head: Offset) -> Self {
        let config =
            HubConfig { ring_publications: 10, recovery_margin: 0, page: 20, ..HubConfig::default() };
        Self { head, ..Self::with(config) }
    }

    /// The same with a live member (1).
    pub(super) fn short_live(head: Offset) -> Self {
        Self::short(head).with_member()
    }

    /// A world whose channel has one member (1) at the given head.
    pub(super) fn live_at(head: Offset) -> Self {
        Self { head, ..Self::new() }.with_member()
    }

    fn with_member(mut self) -> Self {
        self.join(1, None);
        self.interest();
        self.answer();
        assert_eq!(self.take(), [Out::Add, joined(1, self.head)]);
        self
    }

    pub(super) fn join(&mut self, who: u64, recover: Option<Position>) {
        let join = Join { subscriber: subscriber(who), channel: channel(), durable: true, recover };
        self.hub.join(self.now, join);
    }

    pub(super) fn leave(&mut self, who: u64) {
        self.hub.leave(self.now, subscriber(who), &channel());
    }

    /// The member's connection has room for a page.
    pub(super) fn more(&mut self, who: u64) {
        self.hub.more(self.now, subscriber(who), &channel());
    }

    pub(super) fn interest(&mut self) {
        self.hub.handle_interest(self.now, &channel(), Ok(()));
    }

    pub(super) fn publish(&mut self, offset: Offset) {
        self.publish_in("e1", offset);
    }

    pub(super) fn publish_in(&mut self, name: &str, offset: Offset) {
        self.head = self.head.max(offset);
        let (channel, epoch, publication) = (channel(), Some(epoch(name)), publication(offset));
        self.hub.handle_live(self.now, Live::Publication { channel, epoch, publication });
    }

    pub(super) fn announce(&mut self, offset: Offset) {
        self.hub.handle_live(self.now, Live::Head { channel: channel(), position: position(offset) });
    }

    /// What the hub decided since the last time; reads are put aside.
    pub(super) fn take(&mut self) -> Vec<Out> {
        self.drain();
        std::mem::take(&mut self.outs)
    }

    fn drain(&mut self) {
        while let Some(output) = self.hub.poll_output() {
            let out = match output {
                HubOutput::AddInterest(_) => Out::Add,
                HubOutput::DropInterest(_) => Out::Drop,
                HubOutput::Fetch { id, query, past } => {
                    self.read_count += 1;
                    self.past = past;
                    // One that was there has timed out, and is not answered any more.
                    self.reads = vec![(id, query)];
                    assert!(self.hub.fetches() <= 1, "one read at a time");
                    continue;
                }
                HubOutput::Joined { subscriber, position, recovery, missed, behind: true, .. } => {
                    assert!(missed.is_empty(), "who is behind gets it page by page");
                    let at = position.expect("only a durable channel has a past").offset;
                    Out::Behind { who: subscriber.connection, at, recovery }
                }
                HubOutput::CatchUp(step) => {
                    let CatchUp { subscriber, gap, page, recent, live, .. } = *step;
                    let page = page.iter().flat_map(|part| &part.page[part.from..part.to]);
                    Out::CatchUp {
                        who: subscriber.connection,
                        gap: gap.map(|gap| (gap.from, gap.to, gap.reason)),
                        missed: page.chain(&recent).map(|publication| publication.offset).collect(),
                        live,
                    }
                }
                HubOutput::Joined { subscriber, position, recovery, missed, .. } => Out::Joined {
                    who: subscriber.connection,
                    at: position.map(|position| position.offset),
                    recovery,
                    missed: missed.iter().map(|publication| publication.offset).collect(),
                },
                HubOutput::JoinFailed { subscriber, error, .. } => {
                    assert!(error.retry_after_ms.is_some(), "a failed join says when to come back");
                    Out::Failed(subscriber.connection)
                }
                HubOutput::Deliver { publication, .. } => Out::Deliver(publication.offset),
                HubOutput::Gap { from, to, reason, .. } => Out::Gap(from, to, reason),
            };
            self.outs.push(out);
        }
    }

    /// The read under way, which is then no longer under way.
    pub(super) fn read(&mut self) -> (FetchId, HistoryQuery) {
        self.drain();
        self.reads.pop().expect("a read is under way")
    }

    /// Answers reads from the model log until none is left; what came out meanwhile is kept for `take`.
    pub(super) fn answer(&mut self) {
        self.drain();
        while let Some((id, query)) = self.reads.pop() {
            let answer = self.history(&query);
            self.hub.handle_history(self.now, id, Ok(answer));
            self.drain();
        }
    }

    pub(super) fn history(&self, query: &HistoryQuery) -> HistoryAnswer {
        let wanted = |offset: &Offset| {
            let inside = *offset > query.after && (query.before == 0 || *offset < query.before);
            inside && !self.lost.contains(offset)
        };
        let limit = (query.limit as usize).min(self.page);
        let offsets = self.first..=self.head;
        let offsets: Vec<Offset> = match query.reverse {
            true => offsets.rev().filter(wanted).take(limit).collect(),
            false => offsets.filter(wanted).take(limit).collect(),
        };
        HistoryAnswer {
            channel: query.channel.clone(),
            head: Position { epoch: self.epoch.clone(), offset: self.head },
            first: self.first,
            publications: offsets.into_iter().map(publication).collect(),
            gap: None,
        }
    }

    /// Offers a copy of `after + 1 ..= end` for the read under way. Whether it was used.
    pub(super) fn copy(&mut self, name: &str, after: Offset, end: Offset) -> bool {
        self.drain();
        let (id, _) = self.reads.last().expect("a read is under way");
        let publications = (after + 1..=end).map(publication).collect();
        let copy = Excerpt::new(channel(), epoch(name), publications).expect("something");
        let used = self.hub.handle_copy(self.now, *id, &copy);
        if used {
            self.reads.pop();
        }
        used
    }

    pub(super) fn fail_read(&mut self) {
        let (id, _) = self.read();
        let error = WireError::new(ErrorCode::StoreUnavailable, "down");
        self.hub.handle_history(self.now, id, Err(error));
    }

    /// Lets deadlines come until a read is under way again.
    pub(super) fn wait_for_retry(&mut self) {
        self.drain();
        while self.reads.is_empty() {
            self.wait();
            self.drain();
        }
    }

    /// Lets the hub's next deadline come.
    pub(super) fn wait(&mut self) {
        let next = self.hub.poll_timeout().expect("something is to happen");
        assert!(next >= self.now, "deadlines lie ahead");
        self.now = next;
        self.hub.handle_timeout(self.now);
    }
}
