//! A core process: ingest, sequencer per owned partition, persister, history, head announcements.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use skywave_engine::{DedupRecord, Sequenced, Sequencer, SequencerConfig};
use skywave_protocol::inner::{CoreAnswer, CoreReply, CoreRequest, HistoryAnswer, Live, LogRecord, ReplyTo};
use skywave_protocol::message::HistoryQuery;
use skywave_protocol::{ChannelName, Epoch, ErrorCode, MessageId, Position, Publication, WireError};

use super::store::{Batch, CheckpointMoved};
use super::{CoreStep, Event, Message, Node, Time, World};
use crate::history::Fact;
use crate::sabotage::Sabotage;

const PERSIST_EVERY: Time = 100;
const ANNOUNCE_EVERY: Time = 250;
/// A core that has not read from the log for so long serves no history: it may no longer be the owner.
const FRESH_FOR: Time = 400;

#[derive(Debug, Default)]
pub(super) struct Core {
    pub(super) incarnation: u32,
    pub(super) down: bool,
    pub(super) paused: bool,
    pub(super) deferred: Vec<Event>,
    pub(super) owned: BTreeMap<u32, Owner>,
    /// Partitions whose persister is running.
    persisting: BTreeSet<u32>,
    /// Crashes as soon as it has sequenced something, and stays down for so long.
    pub(super) doomed: Option<Time>,
    /// The same, as soon as it is to read a page for somebody who recovers.
    pub(super) doomed_in_read: Option<Time>,
}

/// A partition this core believes to own.
#[derive(Debug)]
pub(super) struct Owner {
    sequencer: Sequencer,
    /// Sequenced and not yet in the store, oldest first.
    tail: Vec<(ChannelName, Arc<Publication>)>,
    dedup: Vec<DedupRecord>,
    checkpoint: u64,
    /// A commit whose outcome is unknown; it is repeated as it was.
    unsure: Option<Batch>,
    /// History is served once the log has been read up to here.
    serve_from: u64,
    read_at: Time,
}

impl Core {
    pub(super) fn accepts(&self, incarnation: u32) -> bool {
        !self.down && self.incarnation == incarnation
    }

    pub(super) fn crash(&mut self) {
        self.down = true;
        self.paused = false;
        self.incarnation += 1;
        self.deferred.clear();
        self.owned.clear();
        self.persisting.clear();
        self.doomed = None;
        self.doomed_in_read = None;
    }

    pub(super) fn has_unpersisted(&self) -> bool {
        self.owned.values().any(|owner| !owner.tail.is_empty())
    }
}

pub(super) fn epoch() -> Epoch {
    Epoch::parse("e1").expect("the epoch is legal")
}

impl World {
    pub(super) fn assign(&mut self, core: usize, partition: u32) {
        if self.assigned[partition as usize].insert(core) {
            let incarnation = self.cores[core].incarnation;
            self.after(1, Event::Core(core, incarnation, CoreStep::Load(partition)));
        }
    }

    pub(super) fn revoke(&mut self, core: usize, partition: u32) {
        if self.assigned[partition as usize].len() > 1 {
            self.assigned[partition as usize].remove(&core);
            self.cores[core].owned.remove(&partition);
            self.record(Fact::Mended);
        }
    }

    pub(super) fn rebalance(&mut self) {
        for partition in 0..super::PARTITIONS {
            let cores = &self.cores;
            self.assigned[partition as usize].retain(|core| !cores[*core].down);
            if self.assigned[partition as usize].is_empty() {
                let alive: Vec<usize> =
                    (0..self.cores.len()).filter(|core| !self.cores[*core].down).collect();
                if let Some(core) = self.random.pick(&alive).copied() {
                    self.assign(core, partition);
                }
            }
        }
    }

    pub(super) fn core_step(&mut self, core: usize, incarnation: u32, step: CoreStep) {
        if let CoreStep::Start = step {
            // Healing may have started it before its time.
            if !self.cores[core].down || self.cores[core].incarnation != incarnation {
                return;
            }
            self.cores[core].down = false;
            self.after(1, Event::Core(core, incarnation, CoreStep::Announce));
            // It may be back before anybody noticed, and still own what it owned.
            for partition in 0..super::PARTITIONS {
                if self.assigned[partition as usize].contains(&core) {
                    self.after(1, Event::Core(core, incarnation, CoreStep::Load(partition)));
                }
            }
            return self.rebalance();
        }
        if !self.cores[core].accepts(incarnation) {
            return;
        }
        if let CoreStep::Resume = step {
            self.cores[core].paused = false;
            for event in std::mem::take(&mut self.cores[core].deferred) {
                self.after(0, event);
            }
            return;
        }
        if self.cores[core].paused {
            return self.cores[core].deferred.push(Event::Core(core, incarnation, step));
        }
        match step {
            CoreStep::Load(partition) => self.core_load(core, partition),
            CoreStep::Feed(partition) => self.core_feed(core, partition),
            CoreStep::Persist(partition) => self.core_persist(core, partition),
            CoreStep::Announce => self.core_announce(core),
            CoreStep::Start | CoreStep::Resume => {}
        }
    }

    /// Becomes owner from what the store holds.
    fn core_load(&mut self, core: usize, partition: u32) {
        if !self.assigned[partition as usize].contains(&core) {
            return;
        }
        let incarnation = self.cores[core].incarnation;
        if !self.store.up || !self.log.up {
            return self.after(100, Event::Core(core, incarnation, CoreStep::Load(partition)));
        }
        let stored = self.store.partitions[partition as usize].clone();
        let of_partition = |channel: &&super::ChannelSpec| channel.partition == partition;
        let heads: Vec<_> = self
            .channels
            .iter()
            .filter(of_partition)
            .map(|channel| (channel.name.clone(), self.store.head(&channel.name)))
            .collect();
        let forget = self.sabotaged(Sabotage::DedupForgottenOnRestore);
        let dedup = if forget { Vec::new() } else { stored.dedup };
        let config = SequencerConfig::default();
        let owner = Owner {
            sequencer: Sequencer::restore(epoch(), stored.checkpoint, heads, dedup, config),
            tail: Vec::new(),
            dedup: Vec::new(),
            checkpoint: stored.checkpoint,
            unsure: None,
            serve_from: self.log.end(partition, false),
            read_at: self.now,
        };
        self.cores[core].owned.insert(partition, owner);
        self.after(1, Event::Core(core, incarnation, CoreStep::Feed(partition)));
        if self.cores[core].persisting.insert(partition) {
            self.after(PERSIST_EVERY, Event::Core(core, incarnation, CoreStep::Persist(partition)));
        }
    }

    /// Reads what the log shows and sequences it.
    fn core_feed(&mut self, core: usize, partition: u32) {
        if !self.log.up {
            return;
        }
        let undurable = self.sabotaged(Sabotage::AckBeforeDurable);
        let strip = self.sabotaged(Sabotage::DedupOff);
        let end = self.log.end(partition, undurable);
        let Some(owner) = self.cores[core].owned.get_mut(&partition) else { return };
        owner.read_at = self.now;
        let mut news: Vec<(LogRecord, Sequenced)> = Vec::new();
        while owner.sequencer.next_position() < end {
            let position = owner.sequencer.next_position();
            let record = self.log.record(partition, position);
            let mut sequenced = if strip {
                // The sequencer sees another id; the publication keeps its own.
                let id = MessageId::parse(&format!("attempt-{position}")).ok();
                owner.sequencer.apply(position, &LogRecord { id, ..record.clone() })
            } else {
                owner.sequencer.apply(position, record)
            };
            if let Sequenced::New { publication, dedup } = &mut sequenced {
                if strip {
                    *publication = Arc::new(Publication { id: record.id.clone(), ..(**publication).clone() });
                }
                owner.tail.push((record.channel.clone(), publication.clone()));
                owner.dedup.extend(*dedup);
            }
            news.push((record.clone(), sequenced));
        }
        let doomed = if news.is_empty() { None } else { self.cores[core].doomed };
        if let Some(for_) = doomed
            && self.random.chance(500)
        {
            // Before anybody hears of it.
            return self.crash_core(core, for_);
        }
        for (record, sequenced) in news {
            let offset = sequenced.offset();
            let duplicate = matches!(sequenced, Sequenced::Duplicate { .. });
            if let Sequenced::New { publication, .. } = sequenced {
                let channel = record.channel.clone();
                let live = Live::Publication { channel, epoch: Some(epoch()), publication };
                self.publish_live(Node::Core(core), &record.channel, &live);
            } else {
                self.tally.count("duplicate publishes found");
            }
            if let Some(reply) = record.reply {
                let position = Position { epoch: epoch(), offset };
                self.core_reply(core, &reply, Ok(CoreAnswer::Published { position, duplicate }));
            }
        }
        if let Some(for_) = doomed {
            self.crash_core(core, for_);
        }
    }

    fn core_persist(&mut self, core: usize, partition: u32) {
        let Some(owner) = self.cores[core].owned.get_mut(&partition) else {
            self.cores[core].persisting.remove(&partition);
            return;
        };
        let batch = owner.unsure.take().unwrap_or_else(|| Batch {
            expected: owner.checkpoint,
            next: owner.sequencer.next_position(),
            rows: owner.tail.clone(),
            dedup: owner.dedup.clone(),
        });
        let incarnation = self.cores[core].incarnation;
        let step = CoreStep::Persist(partition);
        self.after(PERSIST_EVERY, Event::Core(core, incarnation, step));
        // A commit while the store goes down may have happened or not; nobody is told.
        let unsure = !self.healed && self.random.chance(15);
        let lost = unsure && self.random.chance(500);
        let torn = self.sabotaged(Sabotage::TornCommit) && self.random.chance(100);
        let result = (self.store.up && !lost).then(|| self.store.commit(partition, &batch, torn));
        self.record_retention();
        let Some(owner) = self.cores[core].owned.get_mut(&partition) else { return };
        let Some(result) = result.filter(|_| !unsure) else {
            owner.unsure = Some(batch);
            if unsure {
                self.tally.count("commits with unknown outcome");
            }
            return;
        };
        match result {
            Ok(()) => owner.committed(&batch),
            // The unknown commit was ours, or another owner's over the same records, which wrote the same.
            Err(CheckpointMoved { found }) if found == batch.next => owner.committed(&batch),
            Err(CheckpointMoved { .. }) => {
                self.tally.count("commits refused to a zombie");
                self.cores[core].owned.remove(&partition);
                self.after(1, Event::Core(core, incarnation, CoreStep::Load(partition)));
            }
        }
    }

    pub(super) fn record_retention(&mut self) {
        if self.store.retention == usize::MAX {
            return;
        }
        for index in 0..self.channels.len() {
            let first = self.store.retained(&self.channels[index].name).first().map(|row| row.offset);
            if let Some(first) = first.filter(|first| *first > 1) {
                self.record(Fact::Retained { channel: index, first });
            }
        }
    }

    fn core_announce(&mut self, core: usize) {
        let incarnation = self.cores[core].incarnation;
        self.after(ANNOUNCE_EVERY, Event::Core(core, incarnation, CoreStep::Announce));
        let partitions: Vec<u32> = self.cores[core].owned.keys().copied().collect();
        for partition in partitions {
            // Also how a reader that missed its wake-up gets on.
            self.core_feed(core, partition);
            if self.sabotaged(Sabotage::HeadsSilent) {
                continue;
            }
            let Some(owner) = self.cores[core].owned.get(&partition) else { continue };
            let heads: Vec<_> = self
                .channels
                .iter()
                .map(|channel| (channel.name.clone(), owner.sequencer.head(&channel.name)))
                .filter(|(_, offset)| *offset > 0)
                .collect();
            for (channel, offset) in heads {
                let position = Position { epoch: epoch(), offset };
                let live = Live::Head { channel: channel.clone(), position };
                self.publish_live(Node::Core(core), &channel, &live);
            }
        }
    }

    pub(super) fn core_request(&mut self, core: usize, request: CoreRequest) {
        match request {
            CoreRequest::Publish(record) => self.ingest(core, record),
            CoreRequest::Numbered { .. } | CoreRequest::Check { .. } => {
                unreachable!("cores announce nothing here")
            }
            CoreRequest::History { query, reply } => {
                let partition = self.channels[self.channel_index(&query.channel)].partition;
                let owners = &self.assigned[partition as usize];
                if !owners.contains(&core) {
                    // To all who may think that they own it, as the bus would.
                    self.tally.count("history reads passed on to the owner");
                    let request = CoreRequest::History { query, reply };
                    for owner in owners.clone() {
                        self.send(Node::Core(core), Node::Core(owner), Message::Request(request.clone()));
                    }
                    return;
                }
                if let Some(for_) = self.cores[core].doomed_in_read
                    && self.page_is_awaited()
                {
                    return self.crash_core(core, for_);
                }
                let answer = self.core_history(core, &query);
                self.core_reply(core, &reply, answer.map(CoreAnswer::History));
            }
        }
    }

    fn ingest(&mut self, core: usize, record: LogRecord) {
        if !self.log.up {
            self.tally.count("publishes refused without a log");
            if let Some(reply) = record.reply {
                let error = WireError::new(ErrorCode::LogUnavailable, "the log is down");
                self.core_reply(core, &reply, Err(error.retry_after_ms(200)));
            }
            return;
        }
        let partition = self.channels[self.channel_index(&record.channel)].partition;
        self.log.append(partition, record);
        if self.sabotaged(Sabotage::AckBeforeDurable) {
            self.wake_owners(partition);
        }
        if let Some(doom) = self.log.doomed.take() {
            self.log.sync_at = Some(Time::MAX);
            return self.after(5, Event::Fault(doom));
        }
        if self.log.sync_at.is_none() {
            let slow = self.random.chance(30);
            let delay = if slow { self.random.between(10, 80) } else { self.random.between(1, 3) };
            self.log.sync_at = Some(self.now + delay);
            let incarnation = self.log.incarnation;
            self.after(delay, Event::LogSync(incarnation));
        }
    }

    pub(super) fn log_sync(&mut self, incarnation: u32) {
        if !self.log.up || self.log.incarnation != incarnation {
            return;
        }
        self.log.sync();
        self.log.sync_at = None;
        for partition in 0..super::PARTITIONS {
            self.wake_owners(partition);
        }
    }

    fn wake_owners(&mut self, partition: u32) {
        for core in self.assigned[partition as usize].clone() {
            let incarnation = self.cores[core].incarnation;
            let delay = self.random.between(0, 2);
            self.after(delay, Event::Core(core, incarnation, CoreStep::Feed(partition)));
        }
    }

    /// History from the store and, behind it, from what is not persisted yet.
    fn core_history(&mut self, core: usize, query: &HistoryQuery) -> Result<HistoryAnswer, WireError> {
        let unavailable = |why: &str| Err(WireError::new(ErrorCode::StoreUnavailable, why));
        let partition = self.channels[self.channel_index(&query.channel)].partition;
        let Some(owner) = self.cores[core].owned.get(&partition) else {
            return unavailable("not the owner");
        };
        let behind = owner.sequencer.next_position() < owner.serve_from;
        if behind || owner.read_at + FRESH_FOR < self.now {
            return unavailable("catching up");
        }
        let tail = owner.tail.iter().filter(|(channel, _)| *channel == query.channel).map(|(_, row)| row);
        let tail: Vec<Arc<Publication>> = tail.cloned().collect();
        let head = owner.sequencer.head(&query.channel);
        let first_in_tail = tail.first().map_or(head + 1, |row| row.offset);
        let (mut rows, mut first) = (Vec::new(), first_in_tail);
        if self.store.up {
            let kept = self.store.retained(&query.channel);
            first = kept.first().map_or(first_in_tail, |row| row.offset.min(first_in_tail));
            rows.extend(kept.iter().filter(|row| row.offset < first_in_tail && row.offset <= head).cloned());
        } else if query.reverse || query.after + 1 < first_in_tail {
            // The head alone is known without the store.
            let head_only = query.reverse && query.limit == 1;
            if !head_only {
                return unavailable("the store is down");
            }
        }
        rows.extend(tail);
        let wanted = |row: &Arc<Publication>| {
            row.offset > query.after && (query.before == 0 || row.offset < query.before)
        };
        let limit = (query.limit as usize).min(20);
        let publications: Vec<_> = if query.reverse {
            rows.into_iter().rev().filter(wanted).take(limit).collect()
        } else {
            rows.into_iter().filter(wanted).take(limit).collect()
        };
        let head = Position { epoch: epoch(), offset: head };
        Ok(HistoryAnswer { channel: query.channel.clone(), head, first, publications, gap: None })
    }

    pub(super) fn core_reply(&mut self, core: usize, reply: &ReplyTo, result: Result<CoreAnswer, WireError>) {
        let Some(edge) = self.edges.iter().position(|edge| edge.reply == reply.subject) else { return };
        let message = CoreReply { correlation: reply.correlation, result };
        self.send(Node::Core(core), Node::Edge(edge), Message::Reply(message));
    }
}

impl Owner {
    fn committed(&mut self, batch: &Batch) {
        self.checkpoint = batch.next;
        self.tail.drain(..batch.rows.len());
        self.dedup.drain(..batch.dedup.len());
    }
}
