//! One round of a turn: mark, verify, append, settle.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::stream::{self, StreamExt};
use hashbrown::HashSet;
use skywave_ports::log::Partition;
use skywave_ports::{LogError, Mark, OutboxError, OutboxRow, OutboxTurn, RowId, Settlement, StoreError};
use skywave_protocol::ChannelName;
use skywave_protocol::message::HistoryQuery;

use super::Relay;
use super::row::Outgoing;
use super::verify::{self, Verdict};

/// Channels that are worked on at a time.
const CHANNELS_IN_FLIGHT: usize = 64;
/// A round appends nothing more when it has taken this long: meanwhile somebody else may have been given the turn.
const ROUND_MAX: Duration = Duration::from_secs(20);
const FORGOTTEN: &str =
    "publishing was begun and it is not known whether it was done: the channel's history does not reach back";

/// What became of a row in a round.
enum Outcome {
    Settled(Settlement),
    /// Certainly not in the log: it may simply be tried again.
    NotSent,
    /// Perhaps in the log: it must be verified.
    Unknown,
}

/// One round of a turn.
struct Round {
    began: Instant,
    /// Rows that certainly are not in the log although they are marked.
    unsent: HashSet<RowId>,
    /// Partitions whose store had everything that their log held when the round began.
    drained: HashSet<Partition>,
}

impl Round {
    /// Whether the turn can be taken to be ours still. A process that was frozen right after it had asked is the one case
    /// that this cannot see; then the dedup window has to catch the second copy.
    fn is_current(&self) -> bool {
        self.began.elapsed() < ROUND_MAX
    }
}

impl Relay {
    /// Returns whether any row was settled.
    pub(super) async fn round(
        &self,
        turn: &mut dyn OutboxTurn,
        rows: Vec<OutboxRow>,
        unsent: &mut HashSet<RowId>,
    ) -> Result<bool, OutboxError> {
        let began = Instant::now();
        let mut settled = Vec::new();
        let mut channels = BTreeMap::<ChannelName, Vec<(Outgoing, Option<Mark>)>>::new();
        for row in rows {
            let (id, mark) = (row.id, row.mark.clone());
            match Outgoing::parse(row, &self.config.namespaces, self.ports.log.record_bytes()) {
                Ok(outgoing) => {
                    channels.entry(outgoing.channel.clone()).or_default().push((outgoing, mark));
                }
                Err(reason) => settled.push((id, Settlement::Refused(reason))),
            }
        }
        let channels = self.mark(turn, channels, unsent).await?;
        let doubtful = channels
            .iter()
            .flatten()
            .filter(|(outgoing, _)| !unsent.contains(&outgoing.id))
            .map(|(outgoing, _)| self.partition_of(&outgoing.channel));
        let drained = self.drained(doubtful.collect()).await;
        let round = Round { began, unsent: std::mem::take(unsent), drained };
        let outcomes: Vec<Vec<(RowId, Outcome)>> = stream::iter(channels)
            .map(|rows| self.channel(&round, rows))
            .buffer_unordered(CHANNELS_IN_FLIGHT)
            .collect()
            .await;
        *unsent = round.unsent;
        for (id, outcome) in outcomes.into_iter().flatten() {
            match outcome {
                Outcome::Settled(settlement) => {
                    unsent.remove(&id);
                    settled.push((id, settlement));
                }
                Outcome::NotSent => {}
                Outcome::Unknown => _ = unsent.remove(&id),
            }
        }
        let any = !settled.is_empty();
        self.metrics.settled(&settled);
        if any {
            turn.settle(settled).await?;
        }
        Ok(any)
    }

    /// Marks the rows that have no mark; returns the channels that can go on.
    async fn mark(
        &self,
        turn: &mut dyn OutboxTurn,
        channels: BTreeMap<ChannelName, Vec<(Outgoing, Option<Mark>)>>,
        unsent: &mut HashSet<RowId>,
    ) -> Result<Vec<Vec<(Outgoing, Mark)>>, OutboxError> {
        let marked: Vec<_> = stream::iter(channels)
            .map(async |(channel, rows)| {
                let new = match rows.iter().any(|(_, mark)| mark.is_none()) {
                    true => Some(self.newest(&channel).await?),
                    false => None,
                };
                Ok::<_, StoreError>((rows, new))
            })
            .buffer_unordered(CHANNELS_IN_FLIGHT)
            .collect()
            .await;
        let (mut ready, mut marks) = (Vec::new(), Vec::new());
        for channel in marked {
            let (rows, new) = match channel {
                Ok(marked) => marked,
                Err(error) => {
                    tracing::debug!(%error, "a channel's rows have to wait for the store");
                    continue;
                }
            };
            let mut channel = Vec::with_capacity(rows.len());
            for (outgoing, mark) in rows {
                let mark = match (mark, &new) {
                    (Some(mark), _) => mark,
                    (None, Some(mark)) => {
                        marks.push((outgoing.id, mark.clone()));
                        mark.clone()
                    }
                    (None, None) => unreachable!("a channel with a row that has no mark was asked for"),
                };
                channel.push((outgoing, mark));
            }
            ready.push(channel);
        }
        let new: Vec<RowId> = marks.iter().map(|(id, _)| *id).collect();
        if !marks.is_empty() {
            turn.mark(marks).await?;
        }
        unsent.extend(new);
        Ok(ready)
    }

    /// The channel's newest stored position.
    async fn newest(&self, channel: &ChannelName) -> Result<Mark, StoreError> {
        let (channel, after) = (channel.clone(), u64::MAX);
        let query = HistoryQuery { channel, after, before: 0, limit: 1, reverse: false };
        let rows = self.ports.store.history(&query).await?;
        Ok(Mark { epoch: rows.epoch, after: rows.head })
    }

    /// Publishes a channel's rows one after the other, up to the first that cannot be published now.
    async fn channel(&self, round: &Round, rows: Vec<(Outgoing, Mark)>) -> Vec<(RowId, Outcome)> {
        let mut outcomes = Vec::with_capacity(rows.len());
        for (outgoing, mark) in rows {
            let outcome = self.publish(round, &outgoing, &mark).await;
            let goes_on = matches!(outcome, Outcome::Settled(_));
            outcomes.push((outgoing.id, outcome));
            if !goes_on {
                break;
            }
        }
        outcomes
    }

    async fn publish(&self, round: &Round, outgoing: &Outgoing, mark: &Mark) -> Outcome {
        let partition = self.partition_of(&outgoing.channel);
        if !round.unsent.contains(&outgoing.id) {
            if !round.drained.contains(&partition) {
                return Outcome::Unknown;
            }
            let verdict = verify::verify(&*self.ports.store, outgoing, mark).await;
            self.metrics.verified(&verdict);
            match verdict {
                Ok(Verdict::Published) => return Outcome::Settled(Settlement::Published),
                Ok(Verdict::Forgotten) => return Outcome::Settled(Settlement::Refused(FORGOTTEN.into())),
                Ok(Verdict::NotPublished) => {}
                Err(error) => {
                    tracing::debug!(%error, "a row cannot be verified now");
                    return Outcome::Unknown;
                }
            }
        }
        // What it can be taken for when nothing is appended now.
        let unsent = if round.unsent.contains(&outgoing.id) { Outcome::NotSent } else { Outcome::Unknown };
        if !round.is_current() {
            return unsent;
        }
        let key = Bytes::copy_from_slice(outgoing.channel.as_str().as_bytes());
        let record = outgoing.record(&self.config.region);
        match self.ports.log.append(partition, key, record.encode()).await {
            Ok(_) => Outcome::Settled(Settlement::Published),
            Err(error @ LogError::TooLarge { .. }) => {
                Outcome::Settled(Settlement::Refused(error.to_string()))
            }
            Err(error) => {
                tracing::debug!(%error, "a row was not appended");
                if matches!(error, LogError::Full(_)) { unsent } else { Outcome::Unknown }
            }
        }
    }

    fn partition_of(&self, channel: &ChannelName) -> Partition {
        skywave_engine::partition::of(channel, self.ports.log.partitions())
    }
}
