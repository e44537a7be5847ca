//! Drives the engine's sequencer of one partition: log entries in, live publications and answers out.
//!
//! - decodes each record, applies it, and prepares the live publication and the answer to the publisher;
//! - gives back what history and the persister need, and emits only when that has been put into the tail: whoever hears
//!   of a publication must find it in history;
//! - announces heads;
//! - tells backends the same as JSON, of the namespaces that want it (`backends`).
//!
//! Everything it emits is at most once and may be emitted again after a restart (the log is replayed from the
//! checkpoint): edges drop what they have by offset, and a repeated answer finds nobody waiting.
//! Never: looks at a clock to decide what a record becomes.

use std::sync::Arc;

use bytes::Bytes;
use skywave_engine::sequencer::{DedupRecord, Sequenced, Sequencer};
use skywave_engine::time::Millis;
use skywave_ports::{Bus, DedupEntry, LogEntry, StoredPublication};
use skywave_protocol::inner::{CoreAnswer, CoreReply, Live, LogRecord, ReplyTo};
use skywave_protocol::{ChannelName, Offset, Position, Subject};

use crate::backends::Backends;
use crate::dead_letters::Unreadable;
use crate::heads::Heads;
use crate::metrics::CoreMetrics;
use crate::tail::Applied;

pub(crate) struct Driver {
    sequencer: Sequencer,
    bus: Arc<dyn Bus>,
    heads: Heads,
    backends: Backends,
    metrics: CoreMetrics,
    /// Prepared and not yet emitted: at most three messages per record of one read.
    prepared: Vec<(Subject, Bytes)>,
}

impl Driver {
    pub(crate) fn new(
        sequencer: Sequencer,
        bus: Arc<dyn Bus>,
        heads: Heads,
        backends: Backends,
        metrics: CoreMetrics,
    ) -> Self {
        Self { sequencer, bus, heads, backends, metrics, prepared: Vec::new() }
    }

    /// Position of the next record to apply.
    pub(crate) fn next_position(&self) -> u64 {
        self.sequencer.next_position()
    }

    /// Applies one entry. Nobody hears of it before [`Driver::emit`]. `now` only times the announcement of heads.
    pub(crate) fn apply(&mut self, now: Millis, entry: LogEntry) -> Applied {
        let LogEntry { position, value } = entry;
        let record = match LogRecord::decode(value.clone()) {
            Ok(record) => record,
            Err(error) => {
                // Every owner passes over the same records, so offsets agree all the same.
                tracing::error!(position, %error, "a log record cannot be read and is passed over");
                self.metrics.records_unreadable.inc();
                let unreadable = Box::new(Unreadable { position, record: value, reason: error.to_string() });
                return Applied { position, publication: None, dedup: None, unreadable: Some(unreadable) };
            }
        };
        let sequenced = self.sequencer.apply(position, &record);
        let LogRecord { channel, reply, .. } = record;
        let duplicate = matches!(sequenced, Sequenced::Duplicate { .. });
        let offset = sequenced.offset();
        let applied = match sequenced {
            Sequenced::New { publication, dedup } => {
                self.metrics.sequenced.inc();
                let live = Live::Publication {
                    channel: channel.clone(),
                    epoch: Some(self.sequencer.epoch().clone()),
                    publication: Arc::clone(&publication),
                };
                self.prepared.push((Subject::live(&channel), live.encode()));
                self.prepared.extend(self.backends.publication(
                    &channel,
                    self.sequencer.epoch(),
                    &publication,
                ));
                self.heads.published(now, &channel, offset);
                let publication = StoredPublication { channel, publication };
                Applied {
                    position,
                    publication: Some(publication),
                    dedup: dedup.map(stored),
                    unreadable: None,
                }
            }
            Sequenced::Duplicate { .. } => {
                self.metrics.duplicates.inc();
                Applied { position, publication: None, dedup: None, unreadable: None }
            }
        };
        if let Some(reply) = reply {
            self.answer(reply, offset, duplicate);
        }
        applied
    }

    /// Emits what the applied entries came to.
    pub(crate) fn emit(&mut self) {
        for (subject, payload) in std::mem::take(&mut self.prepared) {
            self.publish(&subject, payload);
        }
    }

    fn answer(&mut self, to: ReplyTo, offset: Offset, duplicate: bool) {
        let position = Position { epoch: self.sequencer.epoch().clone(), offset };
        let result = Ok(CoreAnswer::Published { position, duplicate });
        self.prepared.push((to.subject, CoreReply { correlation: to.correlation, result }.encode()));
    }

    /// Announces the heads that are due.
    pub(crate) fn announce_heads(&mut self, now: Millis) {
        while let Some((channel, offset)) = self.heads.poll(now) {
            self.announce(channel, offset);
        }
    }

    fn announce(&self, channel: ChannelName, offset: Offset) {
        self.metrics.heads_announced.inc();
        let subject = Subject::live(&channel);
        let position = Position { epoch: self.sequencer.epoch().clone(), offset };
        let for_backends = self.backends.head(&channel, &position);
        self.publish(&subject, Live::Head { channel, position }.encode());
        if let Some((subject, head)) = for_backends {
            self.publish(&subject, head);
        }
    }

    pub(crate) fn heads_due(&self) -> Option<Millis> {
        self.heads.next_due()
    }

    /// A bus that cannot take it loses it, as it may: edges find the hole by the next offset or head.
    fn publish(&self, subject: &Subject, payload: Bytes) {
        if let Err(error) = self.bus.publish(subject, payload) {
            self.metrics.not_emitted.inc();
            tracing::debug!(%subject, %error, "not emitted");
        }
    }
}

fn stored(record: DedupRecord) -> DedupEntry {
    DedupEntry { key: record.key, offset: record.offset, time_ms: record.time_ms }
}
