//! One owned partition: its owner's life.
//!
//! Load the snapshot → read the log from the checkpoint → (caught up with the log's end as it was) serve → stop when the
//! partition goes to another core, when another owner has written, or when the process ends. An owner that failed begins
//! again after a backoff, from the store.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use skywave_engine::sequencer::{DedupRecord, Sequencer, SequencerConfig};
use skywave_engine::time::Millis;
use skywave_ports::log::{LogPosition, Partition};
use skywave_ports::{LogEntry, LogError, LogReader, Snapshot, StoreError};
use tokio::task::JoinHandle;

use crate::backends::Backends;
use crate::backoff::Backoff;
use crate::dead_letters::LogLetters;
use crate::freshness::Freshness;
use crate::heads::Heads;
use crate::history;
use crate::metrics::PartitionLabel;
use crate::owned::Serving;
use crate::persister::{Conflict, Persister};
use crate::sequencer::Driver;
use crate::service::Shared;
use crate::stop::{Stop, StopSignal};
use crate::tail::{Tail, TailLimits};

/// Records applied between two looks at the clock, at stop requests and at the tail.
const READ_RECORDS: usize = 512;
/// How long the next owner is kept waiting for the store to take what this one has sequenced. What it has not taken by then
/// is replayed by the next one.
const HAND_OVER: Duration = Duration::from_millis(500);

/// Why an owner stopped before it was told to.
#[derive(Debug, thiserror::Error)]
enum OwnerError {
    #[error("{0}")]
    Store(#[from] StoreError),
    #[error("{0}")]
    Log(#[from] LogError),
    #[error("another owner has written: the checkpoint is {}, not {}", .0.found, .0.expected)]
    Conflict(Conflict),
    #[error(
        "the log ends at {end}, but the store has everything before {checkpoint}: it is another log, or an older copy of it"
    )]
    LogBehindStore { end: LogPosition, checkpoint: LogPosition },
    #[error(
        "the log begins at {first}, but the store has only what stands before {checkpoint}: the store was removed, or is an older copy"
    )]
    LogAheadOfStore { first: LogPosition, checkpoint: LogPosition },
    #[error("it panicked")]
    Panicked,
    #[error("the persister ended unexpectedly")]
    Persister,
}

/// Owns a partition until told to stop, beginning again after failures.
pub(crate) async fn own(shared: Arc<Shared>, partition: Partition, mut stop: StopSignal) {
    let mut backoff = Backoff::default();
    loop {
        let started = Instant::now();
        // A bug met in one record must not leave a core that looks alive and sequences nothing.
        let ended = AssertUnwindSafe(own_once(&shared, partition, &mut stop)).catch_unwind().await;
        let ended = ended.unwrap_or(Err(OwnerError::Panicked));
        match ended {
            Ok(()) => return,
            Err(error) => {
                shared.owned.fail(partition, &error.to_string());
                shared.update_ready();
                shared.metrics.owner_failures.inc();
                tracing::error!(partition, %error, "a partition's owner stopped; it begins again");
            }
        }
        if started.elapsed() > Duration::from_secs(60) {
            backoff = Backoff::default();
        }
        tokio::select! {
            () = backoff.wait() => {}
            _ = stop.requested() => return,
        }
    }
}

async fn own_once(
    shared: &Arc<Shared>,
    partition: Partition,
    stop: &mut StopSignal,
) -> Result<(), OwnerError> {
    // Everything that is kept: the window ends at the newest entry, which only the store knows.
    let snapshot = shared.store.load(partition, 0).await?;
    let asked = Instant::now();
    let (first, end) = shared.log.bounds(partition).await?;
    if snapshot.checkpoint < first {
        return Err(OwnerError::LogAheadOfStore { first, checkpoint: snapshot.checkpoint });
    }
    if snapshot.checkpoint > end {
        return Err(OwnerError::LogBehindStore { end, checkpoint: snapshot.checkpoint });
    }
    let reader = shared.log.read(partition, snapshot.checkpoint).await?;
    shared.remember_epoch(&snapshot.epoch);
    tracing::info!(
        partition,
        epoch = %snapshot.epoch,
        checkpoint = snapshot.checkpoint,
        replay = end - snapshot.checkpoint,
        channels = snapshot.heads.len(),
        "owning a partition"
    );
    let tail = Arc::new(Tail::new(TailLimits {
        records: shared.config.unpersisted_records,
        bytes: shared.config.unpersisted_bytes,
        stall_after: shared.config.stall_after(),
    }));
    let persister = Persister {
        partition,
        checkpoint: snapshot.checkpoint,
        newest_dedup_ms: snapshot.dedup.last().map_or(0, |entry| entry.time_ms),
        tail: Arc::clone(&tail),
        log: Arc::clone(&shared.log),
        store: Arc::clone(&shared.store),
        config: Arc::clone(&shared.config),
        letters: LogLetters::new(
            &shared.config.cell,
            partition,
            shared.dead_letters.clone(),
            shared.metrics.clone(),
        ),
        metrics: shared.metrics.clone(),
    };
    let snapshot_end = snapshot.checkpoint;
    let mut owner = Owner {
        shared,
        partition,
        label: PartitionLabel { partition },
        driver: driver(shared, snapshot),
        reader,
        persister: Aborting(tokio::spawn(persister.run())),
        serving: Arc::new(Serving { tail, freshness: Freshness::new(snapshot_end, asked) }),
        listening: None,
    };
    owner.run(end, stop).await
}

fn driver(shared: &Shared, snapshot: Snapshot) -> Driver {
    let dedup = snapshot.dedup.into_iter().map(|entry| DedupRecord {
        key: entry.key,
        offset: entry.offset,
        time_ms: entry.time_ms,
    });
    let config = SequencerConfig {
        dedup_window_ms: shared.config.dedup_window_ms(),
        dedup_entries: shared.config.dedup_entries,
    };
    let sequencer = Sequencer::restore(snapshot.epoch, snapshot.checkpoint, snapshot.heads, dedup, config);
    let heads = Heads::new(shared.config.head_announce_ms, shared.config.head_channels);
    let backends = Backends::new(&shared.config, shared.metrics.clone());
    Driver::new(sequencer, Arc::clone(&shared.bus), heads, backends, shared.metrics.clone())
}

/// Ends the task with its owner.
struct Aborting<T>(JoinHandle<T>);

impl<T> Drop for Aborting<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

struct Owner<'a> {
    shared: &'a Arc<Shared>,
    partition: Partition,
    label: PartitionLabel,
    driver: Driver,
    reader: Box<dyn LogReader>,
    persister: Aborting<Result<(), Conflict>>,
    serving: Arc<Serving>,
    /// Takes history reads; there once the log as it stood at the start has been replayed.
    listening: Option<Aborting<()>>,
}

/// What an owner does next.
enum Step {
    Read(Result<Vec<LogEntry>, LogError>),
    Heads,
    Stop(Stop),
    PersisterEnded(Result<(), OwnerError>),
}

impl Owner<'_> {
    async fn run(&mut self, replay_until: LogPosition, stop: &mut StopSignal) -> Result<(), OwnerError> {
        loop {
            if self.listening.is_none() && self.driver.next_position() >= replay_until {
                self.caught_up();
            }
            match self.step(stop).await {
                Step::Read(entries) => self.apply(entries?),
                Step::Heads => self.driver.announce_heads(self.shared.now()),
                Step::PersisterEnded(ended) => return ended,
                Step::Stop(Stop::Finish) => return self.finish(stop).await,
                Step::Stop(Stop::HandOver) => return self.hand_over(stop).await,
                Step::Stop(_) => return Ok(()),
            }
        }
    }

    /// Waits for the next thing to do. While the tail is full nothing is read: sequencing pauses.
    async fn step(&mut self, stop: &mut StopSignal) -> Step {
        let heads_due = self.driver.heads_due().map(|due| due.saturating_sub(self.shared.now()));
        let Self { shared, serving, reader, persister, .. } = self;
        let tail = &serving.tail;
        let read = async {
            if tail.is_full() {
                shared.metrics.pauses.inc();
                tail.room().await;
            }
            reader.next(READ_RECORDS).await
        };
        tokio::select! {
            biased;
            how = stop.requested() => Step::Stop(how),
            ended = &mut persister.0 => Step::PersisterEnded(persister_ended(ended)),
            () = sleep_for(heads_due) => Step::Heads,
            entries = read => Step::Read(entries),
        }
    }

    fn apply(&mut self, entries: Vec<LogEntry>) {
        let now = self.shared.now();
        let tail = &self.serving.tail;
        tail.add(entries.into_iter().map(|entry| self.driver.apply(now, entry)).collect());
        self.serving.freshness.applied(self.driver.next_position());
        self.driver.emit();
        let metrics = &self.shared.metrics;
        metrics.position.get_or_create(&self.label).set(self.driver.next_position() as i64);
        metrics.unpersisted.get_or_create(&self.label).set(tail.len() as i64);
    }

    fn caught_up(&mut self) {
        let listening = history::listen_for_owner(Arc::clone(self.shared), self.partition);
        self.shared.owned.serve(self.partition, Arc::clone(&self.serving));
        self.listening = Some(Aborting(tokio::spawn(listening)));
        self.shared.update_ready();
        tracing::info!(partition = self.partition, position = self.driver.next_position(), "caught up");
    }

    /// A graceful end: what the log holds by now is sequenced and stored.
    async fn finish(&mut self, stop: &mut StopSignal) -> Result<(), OwnerError> {
        let (_, end) = self.shared.log.bounds(self.partition).await?;
        while self.driver.next_position() < end {
            let serving = Arc::clone(&self.serving);
            let read = async {
                serving.tail.room().await;
                self.reader.next(READ_RECORDS).await
            };
            let entries = tokio::select! {
                entries = read => entries?,
                () = stop.now() => return Ok(()),
            };
            self.apply(entries);
        }
        self.store_tail(stop, Duration::MAX).await
    }

    /// The partition goes to another core. Nothing more is sequenced; what is, is stored, so that the next owner has little
    /// to replay and no commit of this one meets it.
    async fn hand_over(&mut self, stop: &mut StopSignal) -> Result<(), OwnerError> {
        self.listening = None;
        self.store_tail(stop, HAND_OVER).await
    }

    async fn store_tail(&mut self, stop: &mut StopSignal, within: Duration) -> Result<(), OwnerError> {
        self.serving.tail.close();
        tokio::select! {
            ended = &mut self.persister.0 => persister_ended(ended).or(Ok(())),
            () = tokio::time::sleep(within) => Ok(()),
            () = stop.now() => Ok(()),
        }
    }
}

fn persister_ended(ended: Result<Result<(), Conflict>, tokio::task::JoinError>) -> Result<(), OwnerError> {
    match ended {
        Ok(Ok(())) => Ok(()),
        Ok(Err(conflict)) => Err(OwnerError::Conflict(conflict)),
        Err(_) => Err(OwnerError::Persister),
    }
}

async fn sleep_for(wait: Option<Millis>) {
    match wait {
        Some(wait) => tokio::time::sleep(Duration::from_millis(wait)).await,
        None => std::future::pending().await,
    }
}
