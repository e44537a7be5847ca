//! Publishes what was read of one partition for one channel: one record after the other, each under its own message id.
//!
//! - A record is appended again and again until the log has acknowledged it, or refuses it for good. What an append without
//!   an answer may have brought all the same is dropped by its id.
//! - Before, it is looked up whether a *doubtful* record was published already, if that may be longer ago than the log
//!   remembers ids for.
//! - While the store is behind or the log takes nothing, nothing goes on: no record overtakes another.

use std::time::{Duration, Instant};

use bytes::Bytes;
use skywave_ports::{Event, LogError};
use skywave_protocol::inner::LogRecord;
use skywave_protocol::{ChannelName, NamespaceOptions};

use super::Consumer;
use super::found::{self, Found, Verdict};
use super::mapping::{Mapped, Refusal};
use crate::backoff::Backoff;
use crate::ingest::unix_now_ms;

/// How long what was found out is believed: meanwhile somebody else may have the partition.
const BELIEVED: Duration = Duration::from_secs(60);
/// How often it is looked whether the store has caught up.
const STALLED: Duration = Duration::from_millis(100);

/// A record that is to be published.
pub(super) struct Pending {
    pub(super) event: Event,
    pub(super) record: Mapped,
    pub(super) doubtful: bool,
}

impl Consumer {
    /// Returns when every record is published or a dead letter.
    pub(super) async fn publish(&self, channel: &ChannelName, mut records: Vec<Pending>) {
        let mut done = 0;
        while done < records.len() {
            let believed = Instant::now();
            let found = self.find(channel, &records[done..]).await;
            while done < records.len() && believed.elapsed() < BELIEVED {
                let Pending { event, record, doubtful } = &records[done];
                match found.as_ref().filter(|_| *doubtful).map(|found| found.verdict(record, event.time_ms)) {
                    Some(Verdict::Published) => self.metrics.known(&event.topic),
                    Some(Verdict::Forgotten) => self.bury(event, &Refusal::new("unknown", FORGOTTEN)).await,
                    None | Some(Verdict::NotPublished) => match self.append(record, believed).await {
                        Appended::Done => self.metrics.published(&event.topic),
                        Appended::Never(error) => {
                            self.bury(event, &Refusal::new("size", error.to_string())).await;
                        }
                        Appended::NotYet => break,
                    },
                }
                done += 1;
            }
            // This one took so long that somebody else may have published it.
            records.iter_mut().skip(done).for_each(|pending| pending.doubtful = true);
        }
    }

    /// Looks the doubtful records up, as far as that is necessary; returns when it is known.
    async fn find(&self, channel: &ChannelName, records: &[Pending]) -> Option<Found> {
        let doubtful = || records.iter().filter(|pending| pending.doubtful);
        let oldest_ms = doubtful().map(|pending| pending.event.time_ms).min()?;
        let wanted = doubtful().map(|pending| pending.record.name()).collect();
        // As long as that, appends of the same record find each other by their id.
        if unix_now_ms().saturating_sub(oldest_ms) < self.config.dedup_window_ms / 2 {
            return None;
        }
        let default = NamespaceOptions::default();
        let options = self.config.namespaces.get(channel.namespace()).unwrap_or(&default);
        let mut backoff = Backoff::default();
        loop {
            let (log, store) = (&*self.ports.log, &*self.ports.store);
            match found::find(log, store, (channel, options), &wanted, oldest_ms, unix_now_ms()).await {
                Ok(found) => {
                    self.trouble.over();
                    return Some(found);
                }
                Err(error) => {
                    self.trouble.met(&error);
                    self.metrics.retries.inc();
                    backoff.wait().await;
                }
            }
        }
    }

    /// Tries until the log has it, for as long as what was found out is believed.
    async fn append(&self, record: &Mapped, believed: Instant) -> Appended {
        let Mapped { channel, id, from, data } = record;
        let partition = skywave_engine::partition::of(channel, self.ports.log.partitions());
        let key = Bytes::copy_from_slice(channel.as_str().as_bytes());
        let record = LogRecord {
            channel: channel.clone(),
            time_ms: unix_now_ms(),
            from: from.clone(),
            id: Some(id.clone()),
            region: self.config.region.clone(),
            data: data.clone(),
            // The log's acknowledgement is all that is waited for.
            reply: None,
        };
        let record = record.encode();
        let mut backoff = Backoff::default();
        while believed.elapsed() < BELIEVED {
            if (self.ports.stalled)(partition) {
                self.trouble.met(&"the store takes nothing and too much waits for it");
                tokio::time::sleep(STALLED).await;
                continue;
            }
            match self.ports.log.append(partition, key.clone(), record.clone()).await {
                Ok(_) => {
                    self.trouble.over();
                    return Appended::Done;
                }
                Err(error @ LogError::TooLarge { .. }) => return Appended::Never(error),
                Err(error) => {
                    self.trouble.met(&error);
                    self.metrics.retries.inc();
                    backoff.wait().await;
                }
            }
        }
        Appended::NotYet
    }
}

enum Appended {
    Done,
    Never(LogError),
    /// Perhaps it is.
    NotYet,
}

const FORGOTTEN: &str =
    "it is not known whether it was published before: the channel's history does not reach back";
