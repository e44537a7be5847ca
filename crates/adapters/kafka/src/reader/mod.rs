//! Reads a partition in order, from an exact position.
//!
//! Records come through the partition's own queue in a shared consumer (see [`pool`]). A reader gives out the position it
//! expects and no other: it begins anew where it stands when something else comes, and fails when that does not help. A
//! position that is gone, or a log that ends before it or was cut, is an error, never silently another position.
//!
//! What this process has appended itself comes with its acknowledgement too ([`own`]). While nobody else appends, the reader
//! takes it from there, and the partition is fetched at leisure only. What comes a second time is compared ([`recent`]): another
//! record at a position means that the log was cut meanwhile, which is an error too.

pub(crate) mod own;
pub(crate) mod pool;
mod recent;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use rdkafka::error::{KafkaError as ClientError, RDKafkaErrorCode};
use rdkafka::message::Message;
use skywave_ports::log::{LogEntry, LogError, LogPosition, LogReader, Partition};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use crate::admin::{Admin, reason};
use crate::client::is_out_of_sight;
use crate::metrics::KafkaMetrics;
use own::{Listening, Own, WentBack};
use pool::{Fetch, Pace, Pool};
use recent::{Again, RECENT, Recent};

/// After so long without a record it is looked whether there are any. A consumer may have lost every broker: an answer that
/// names none, as that of a lone broker which is just being let back in, makes the library forget all it knows.
const SILENCE: Duration = Duration::from_secs(5);
/// Attempts to begin anew without a record in between, before a reader gives up.
const ATTEMPTS: u32 = 3;
/// So many records that somebody else has appended, without one of our own, end the leisure. A record that is fetched while
/// appends of ours are under way may be one of them: on a busy machine its acknowledgement comes later.
const OTHERS: u64 = 8;

/// What readers are made of.
#[derive(Clone)]
pub(crate) struct Sources {
    pub(crate) pool: Pool,
    pub(crate) own: Own,
    pub(crate) admin: Admin,
    pub(crate) metrics: KafkaMetrics,
}

pub(crate) struct Reader {
    sources: Sources,
    partition: Partition,
    recent: Recent,
    own: Listening,
    /// Records that were fetched since the last one of our own, less those that turned out to be ours.
    others: u64,
    pace: Pace,
    /// Our own records that were given out and that the fetch has still to bring. While they are as many as are remembered,
    /// the reader waits for the fetch.
    unseen: usize,
    /// `None` while it is made, see `beginning`.
    fetch: Option<Fetch>,
    beginning: Option<JoinHandle<Result<Fetch, LogError>>>,
    arrived: Arc<Notify>,
    /// Something was met that has still to be looked into, or that ended the reader.
    trouble: Option<Trouble>,
    attempts: u32,
    /// When the last record was fetched, or it was looked whether there are any.
    heard_at: Instant,
    /// There was something when it was looked, and it has not come yet.
    is_owed: bool,
}

#[derive(Debug, Clone)]
enum Trouble {
    /// The position is in the log no more: trimmed, or cut off with what stood behind it.
    Gone,
    /// Another position has come.
    Astray { found: LogPosition },
    /// The library takes the topic for gone: so it does when a broker that comes back does not know it yet.
    OutOfSight,
    /// Nothing has come for long.
    Silence,
    /// For good.
    Failed(LogError),
}

impl Reader {
    /// `own_bytes`: of our own records, kept for it.
    pub(crate) async fn open(
        sources: Sources,
        own_bytes: usize,
        partition: Partition,
        from: LogPosition,
    ) -> Result<Self, LogError> {
        let arrived = Arc::new(Notify::new());
        let own = sources.own.listen(partition, own_bytes, Arc::clone(&arrived));
        let mut reader = Self {
            sources,
            partition,
            recent: Recent::new(from),
            own,
            others: 0,
            pace: Pace::Prompt,
            unseen: 0,
            fetch: None,
            beginning: None,
            arrived,
            trouble: None,
            attempts: 0,
            heard_at: Instant::now(),
            is_owed: false,
        };
        reader.locate().await?;
        reader.begin().await?;
        Ok(reader)
    }

    /// Whether the next position is in the log, or just behind its end; answers where the log begins and ends.
    async fn locate(&self) -> Result<(LogPosition, LogPosition), LogError> {
        let (first, end) = self.sources.admin.bounds(self.partition).await?;
        let asked = self.position();
        if asked < first {
            return Err(LogError::Trimmed { asked, first });
        }
        if asked > end {
            return Err(LogError::Unavailable(format!(
                "the log ends at {end}, before {asked}: records that were read are there no more"
            )));
        }
        Ok((first, end))
    }

    /// What is given out next.
    fn position(&self) -> LogPosition {
        self.recent.next()
    }

    /// What the fetch brings next: the same, or before it.
    fn fetched(&self) -> LogPosition {
        self.position() - self.unseen as u64
    }

    /// Starts to fetch what was not fetched yet, unless that was started already.
    fn start(&mut self) {
        if self.beginning.is_some() {
            return;
        }
        let (pool, partition, pace, from) =
            (self.sources.pool.clone(), self.partition, self.pace, self.fetched());
        let (arrived, old) = (Arc::clone(&self.arrived), self.fetch.take());
        self.beginning = Some(tokio::task::spawn_blocking(move || {
            // Its place is needed again.
            if let Some(old) = old {
                old.end();
            }
            pool.fetch(partition, from, pace, arrived)
        }));
    }

    /// Waits until what was started fetches. Goes on where it was when it is cancelled and called again.
    async fn started(&mut self) -> Result<(), LogError> {
        let Some(beginning) = &mut self.beginning else { return Ok(()) };
        let fetch = beginning.await;
        self.beginning = None;
        self.fetch = Some(fetch.map_err(|error| LogError::Unavailable(error.to_string()))??);
        Ok(())
    }

    async fn begin(&mut self) -> Result<(), LogError> {
        self.start();
        self.started().await
    }

    /// Fetches at leisure while nobody else appends, and promptly otherwise. Our own records come in the meantime.
    ///
    /// `all_known`: of everything that was taken so far it is known whether it is ours.
    fn keep_pace(&mut self, all_known: bool) {
        if self.beginning.is_some() {
            return;
        }
        let at_leisure = &self.sources.metrics.readers_at_leisure;
        self.pace = match self.pace {
            Pace::Prompt if self.own.is_alone() => {
                at_leisure.inc();
                Pace::Leisurely
            }
            Pace::Leisurely if self.own.is_broken() || (all_known && self.others >= OTHERS) => {
                at_leisure.dec();
                Pace::Prompt
            }
            _ => return,
        };
        tracing::debug!(partition = self.partition, next = self.position(), pace = ?self.pace, "a reader changes its pace");
        self.own.doubt();
        // A new fetch would not notice that the log was cut: so it brings something again that can be compared.
        if self.fetched().checked_sub(1).is_some_and(|last| self.recent.remembers(last)) {
            self.unseen += 1;
        }
        self.start();
    }

    /// Looks into what was met. Afterwards the reader can go on, or the error says why not.
    async fn recover(&mut self) -> Result<(), LogError> {
        let trouble = match &self.trouble {
            None => return Ok(()),
            Some(Trouble::Failed(error)) => return Err(error.clone()),
            Some(trouble) => trouble.clone(),
        };
        if matches!(trouble, Trouble::Silence) {
            return self.look().await;
        }
        let (first, _) = self.locate().await?;
        let next = self.position();
        let failure = match trouble {
            // Trimmed, when it was about to be fetched for comparison only.
            Trouble::Gone if self.fetched() < first => {
                self.unseen = (next - first) as usize;
                None
            }
            // Other records may stand there by now.
            Trouble::Gone => Some(format!("the log was cut before {next}: its leader has lost records")),
            Trouble::Astray { found } if self.attempts >= ATTEMPTS => {
                Some(format!("the log has no positions between {next} and {found}"))
            }
            _ => None,
        };
        if let Some(reason) = failure {
            let error = LogError::Unavailable(reason);
            self.trouble = Some(Trouble::Failed(error.clone()));
            return Err(error);
        }
        tracing::debug!(partition = self.partition, next = self.position(), ?trouble, "a reader begins anew");
        self.begin().await?;
        self.attempts += 1;
        self.trouble = None;
        Ok(())
    }

    /// Nothing has come for long. If there is something, and nothing comes for as long again, it begins anew with another
    /// consumer. While nobody can be asked it goes on waiting: what is wrong then is told by an error of its own.
    async fn look(&mut self) -> Result<(), LogError> {
        let end = self.locate().await;
        let is_owed = end.as_ref().is_ok_and(|(_, end)| *end > self.fetched());
        // What has only just been appended may be on its way.
        if is_owed && std::mem::replace(&mut self.is_owed, is_owed) {
            if let Some(fetch) = &self.fetch {
                let (partition, next) = (self.partition, self.fetched());
                tracing::warn!(partition, next, ?end, "a consumer brings nothing; another one is made");
                self.sources.metrics.readers_stalled.inc();
                fetch.is_stalled();
            }
            self.begin().await?;
            self.is_owed = false;
        } else {
            self.is_owed = is_owed;
        }
        self.heard_at = Instant::now();
        self.trouble = None;
        Ok(())
    }

    /// What is there, at most `max`. Stops at trouble.
    fn take(&mut self, max: usize) -> Vec<LogEntry> {
        let mut entries = Vec::new();
        while entries.len() < max && self.trouble.is_none() {
            if !self.take_own(&mut entries) && !self.take_fetched(&mut entries) {
                break;
            }
        }
        if !entries.is_empty() {
            self.attempts = 0;
            if let Some(fetch) = &self.fetch {
                fetch.stands_at(self.position());
            }
            self.sources.metrics.records_read.inc_by(entries.len() as u64);
        }
        entries
    }

    /// Whether there was something.
    fn take_own(&mut self, entries: &mut Vec<LogEntry>) -> bool {
        let next = self.position();
        let before = match self.pace {
            _ if self.unseen >= RECENT => 0,
            Pace::Leisurely => next + 1,
            // Where others append too, only the fetch knows what stands between.
            Pace::Prompt => next,
        };
        let entry = match self.own.take(before) {
            Ok(Some(entry)) => entry,
            Ok(None) => return false,
            Err(WentBack) => {
                self.trouble = Some(Trouble::Failed(replaced(next)));
                return true;
            }
        };
        if entry.position < next {
            self.others = self.others.saturating_sub(1);
            if self.recent.check(entry.position, &entry.value) != Again::Same {
                self.trouble = Some(Trouble::Failed(replaced(entry.position + 1)));
            }
        } else {
            self.recent.give_out(&entry.value);
            self.unseen += 1;
            self.others = 0;
            self.sources.metrics.records_own.inc();
            entries.push(entry);
        }
        true
    }

    /// Whether there was something.
    fn take_fetched(&mut self, entries: &mut Vec<LogEntry>) -> bool {
        let message = match self.fetch.as_ref().and_then(|fetch| fetch.poll()) {
            None => return false,
            Some(Ok(message)) => message,
            Some(Err(error)) => {
                self.trouble = trouble(&error);
                return true;
            }
        };
        self.heard_at = Instant::now();
        self.is_owed = false;
        let (position, expected) = (message.offset().cast_unsigned(), self.fetched());
        let value = message.payload().unwrap_or_default();
        if position > expected {
            self.trouble = Some(Trouble::Astray { found: position });
        } else if position == expected && self.unseen > 0 {
            self.unseen -= 1;
            if self.recent.check(position, value) != Again::Same {
                self.trouble = Some(Trouble::Failed(replaced(position + 1)));
            }
        } else if position == expected {
            entries.push(LogEntry { position, value: Bytes::copy_from_slice(value) });
            self.recent.give_out(value);
            self.others += 1;
        }
        true
    }
}

/// The log was cut, and has grown again.
fn replaced(position: LogPosition) -> LogError {
    LogError::Unavailable(format!(
        "other records stand before {position} than were there: the log's leader has lost records"
    ))
}

impl Drop for Reader {
    fn drop(&mut self) {
        if self.pace == Pace::Leisurely {
            self.sources.metrics.readers_at_leisure.dec();
        }
    }
}

/// What an error means to a reader; most of them the library gets over by itself.
fn trouble(error: &ClientError) -> Option<Trouble> {
    use RDKafkaErrorCode as Code;
    match error.rdkafka_error_code() {
        // The library follows the leader's epochs (KIP-320), so it also notices what was lost and written anew.
        Some(Code::AutoOffsetReset | Code::OffsetOutOfRange | Code::LogTruncation) => Some(Trouble::Gone),
        Some(Code::TopicAuthorizationFailed | Code::GroupAuthorizationFailed) => {
            Some(Trouble::Failed(LogError::Unavailable(reason(error))))
        }
        code if is_out_of_sight(code) => Some(Trouble::OutOfSight),
        _ => None,
    }
}

#[async_trait]
impl LogReader for Reader {
    async fn next(&mut self, max: usize) -> Result<Vec<LogEntry>, LogError> {
        loop {
            self.recover().await?;
            // Asked before: what is acknowledged by now is taken now.
            let all_known = !self.own.is_appending();
            let entries = self.take(max.max(1));
            self.keep_pace(all_known);
            if !entries.is_empty() {
                return Ok(entries);
            }
            if self.trouble.is_some() {
                continue;
            }
            let arrived = Arc::clone(&self.arrived);
            // By the clock, because whoever waits may do so in many small pieces.
            let silence = self.heard_at + SILENCE;
            tokio::select! {
                () = arrived.notified() => {}
                started = self.started(), if self.beginning.is_some() => {
                    if let Err(error) = started {
                        self.trouble = Some(Trouble::Failed(error));
                    }
                }
                () = tokio::time::sleep_until(silence.into()) => self.trouble = Some(Trouble::Silence),
            }
        }
    }
}
