//! Pages of the past that the nodes of the region keep for each other, in the state they share.
//!
//! - A read of the past is looked up there first. What is found is offered to the hub; else core is asked.
//! - What core answers is cut into blocks (`engine::past`), and each is kept for a while.
//!
//! Bounded: so many lookups at a time, beyond which core is asked; so many writes at a time and so many bytes within a lifetime,
//! beyond which nothing is kept. Never: lets anything depend on it. What is lost there is read from core.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use hashbrown::HashMap;
use skywave_engine::hub::FetchId;
use skywave_engine::storm::GiveBack;
use skywave_engine::time::Millis;
use skywave_engine::{Blocks, Rate, TokenBucket};
use skywave_ports::SharedState;
use skywave_ports::state::KEPT_BYTES;
use skywave_protocol::inner::{Excerpt, HistoryAnswer};
use skywave_protocol::message::HistoryQuery;
use skywave_protocol::{ChannelName, Epoch, Position};
use tokio::sync::mpsc;

use crate::config::HistoryCache;
use crate::metrics::WorkerMetrics;
use crate::shared::Shared;

/// Lookups under way at a time. Their results wait in a queue of this size, so that it is never full.
const LOOKUPS: usize = 256;
/// Values being written at a time.
const WRITES: usize = 64;
/// Reads whose answer is to be kept, at most, and for how long their answer is waited for.
const AWAITED: usize = 4_096;
const AWAITED_MS: Millis = 10_000;

/// A lookup has ended.
pub(super) struct Looked {
    pub(super) id: FetchId,
    pub(super) query: HistoryQuery,
    pub(super) found: Option<Excerpt>,
    block: u64,
}

/// One shard's use of what the region keeps. Off without a [`HistoryCache`].
pub(super) struct Copies(Option<Shelf>);

struct Shelf {
    state: Arc<dyn SharedState>,
    cell: String,
    cache: HistoryCache,
    blocks: Blocks,
    /// In KiB.
    rate: Rate,
    room: TokenBucket,
    looking: usize,
    writing: Rc<Cell<usize>>,
    awaited: HashMap<FetchId, Awaited>,
    results: mpsc::Sender<Looked>,
    metrics: Arc<WorkerMetrics>,
}

/// A read that core is asked for, because what was kept did not serve.
struct Awaited {
    block: u64,
    found: Option<Excerpt>,
    since: Millis,
}

impl Copies {
    pub(super) fn new(shared: &Shared, metrics: Arc<WorkerMetrics>) -> (Self, mpsc::Receiver<Looked>) {
        let (results, looked) = mpsc::channel(LOOKUPS);
        let shelf = shared.config.history_cache.map(|cache| {
            let rate = rate(cache, shared.workers.len());
            Shelf {
                state: shared.ports.state.clone(),
                cell: shared.config.cell.clone(),
                cache,
                blocks: Blocks::default(),
                rate,
                room: TokenBucket::full(shared.now_ms(), rate),
                looking: 0,
                writing: Rc::default(),
                awaited: HashMap::new(),
                results,
                metrics,
            }
        });
        (Self(shelf), looked)
    }

    /// Begins to look for what a read asks for, or gives the read back: core is to be asked. `past`: where the past ends.
    pub(super) fn look(
        &mut self,
        id: FetchId,
        query: HistoryQuery,
        past: Option<Position>,
    ) -> Option<HistoryQuery> {
        let (Some(shelf), Some(past)) = (&mut self.0, past) else { return Some(query) };
        let Some(block) = shelf.blocks.find(query.after, past.offset) else { return Some(query) };
        if shelf.looking >= LOOKUPS {
            return Some(query);
        }
        shelf.looking += 1;
        let (state, results) = (shelf.state.clone(), shelf.results.clone());
        let key = key(&shelf.cell, &query.channel, &past.epoch, block);
        tokio::task::spawn_local(async move {
            // A state that is away is asked in vain for a moment, and then refuses at once.
            let value = state.kept(&key).await.ok().flatten();
            let found = value.and_then(|value| Excerpt::decode(value).ok());
            // A name of the same digest would be another channel's.
            let found = found.filter(|it| *it.channel() == query.channel && *it.epoch() == past.epoch);
            // The shard may be gone.
            let _ = results.try_send(Looked { id, query, found, block });
        });
        None
    }

    /// A lookup has ended; `served`: the hub has taken what was found. Else what core is to be asked.
    pub(super) fn looked(
        &mut self,
        now: Millis,
        looked: Looked,
        served: bool,
    ) -> Option<(FetchId, HistoryQuery)> {
        let Looked { id, query, found, block } = looked;
        let shelf = self.0.as_mut()?;
        shelf.looking -= 1;
        if served {
            shelf.metrics.copies_served.add(1);
            return None;
        }
        shelf.metrics.copies_missed.add(1);
        if shelf.awaited.len() < AWAITED {
            shelf.awaited.insert(id, Awaited { block, found, since: now });
        }
        Some((id, query))
    }

    /// Core has answered a read, or refused it.
    pub(super) fn answered(&mut self, now: Millis, id: FetchId, answer: Option<&HistoryAnswer>) {
        let Some(shelf) = &mut self.0 else { return };
        let Some(Awaited { block, found, .. }) = shelf.awaited.remove(&id) else { return };
        let Some(answer) = answer else { return };
        for (block, piece) in shelf.blocks.pieces(answer, block, found.as_ref()) {
            shelf.keep(now, block, &piece);
        }
    }

    /// Forgets reads that were never answered.
    pub(super) fn tidy(&mut self, now: Millis) {
        let Some(shelf) = &mut self.0 else { return };
        shelf.awaited.retain(|_, awaited| now.saturating_sub(awaited.since) < AWAITED_MS);
        shelf.awaited.give_back();
    }
}

impl Shelf {
    fn keep(&mut self, now: Millis, block: u64, piece: &Excerpt) {
        let value = piece.encode();
        let cost = u32::try_from(value.len().div_ceil(1024)).unwrap_or(u32::MAX);
        if value.len() > KEPT_BYTES
            || self.writing.get() >= WRITES
            || self.room.take(now, self.rate, cost).is_err()
        {
            self.metrics.copies_left.add(1);
            return;
        }
        self.metrics.copies_kept.add(1);
        self.writing.set(self.writing.get() + 1);
        let key = key(&self.cell, piece.channel(), piece.epoch(), block);
        let (state, lifetime, writing) = (self.state.clone(), self.cache.lifetime, self.writing.clone());
        tokio::task::spawn_local(async move {
            if let Err(error) = state.keep(&key, value, lifetime).await {
                tracing::debug!(%error, "a page of history was not kept");
            }
            writing.set(writing.get() - 1);
        });
    }
}

/// What one of `workers` may write: all of its bytes at once, and as many again in each lifetime.
fn rate(cache: HistoryCache, workers: usize) -> Rate {
    let share = cache.bytes / 1024 / workers.max(1);
    let burst = u32::try_from(share).unwrap_or(u32::MAX);
    let minutes = (cache.lifetime.as_secs_f64() / 60.0).max(1.0 / 60.0);
    Rate::per_minute((f64::from(burst) / minutes) as u32, burst)
}

fn key(cell: &str, channel: &ChannelName, epoch: &Epoch, block: u64) -> String {
    format!("past:{cell}:{epoch}:{block}:{channel}")
}
