//! Requests of one worker to the cores of its cell, and the answers' way back.
//!
//! Answers come to one subject a worker and are matched by number. Bounded: beyond `core_requests` outstanding ones, or
//! [`KEPT_BYTES`] of payload, a request is refused with a retryable error; one without an answer in time ends in `timeout` (for a
//! publish: unknown, retry under the same id).
//!
//! Where the cores are processes of their own, `engine::lanes` decides which of them gets a publish, and what is sent again when
//! one dies or the bus loses something; until it is answered, a publish is kept for that. What may arrive twice is repeated now and
//! then (`repeats`). Never: retries after a timeout, because only the publisher knows whether it still wants to.

mod repeats;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use hashbrown::HashMap;
use skywave_engine::hub::FetchId;
use skywave_engine::lanes::{Lanes, LanesConfig, LanesOutput, Way};
use skywave_engine::storm::GiveBack;
use skywave_engine::time::Millis;
use skywave_ports::{Bus, BusError};
use skywave_protocol::inner::{CoreAnswer, CoreBeat, CoreReply, CoreRequest, LogRecord, ReplyTo};
use skywave_protocol::message::HistoryQuery;
use skywave_protocol::{ChannelName, ErrorCode, MessageId, Payload, Subject, UserId, WireError};
use tokio::sync::oneshot;

use self::repeats::Repeats;
use crate::config::EdgeConfig;
use crate::metrics::{PublishLatency, WorkerMetrics};
use crate::shared::Shared;

/// Payload that may be kept until it is answered.
const KEPT_BYTES: usize = 64 * 1024 * 1024;
/// What an answer says of the request it is for: the number, and the attempt in the lowest bits.
const ATTEMPT_BITS: u32 = 8;

pub(crate) type CoreResult = Result<CoreAnswer, WireError>;

/// Who awaits an answer.
#[derive(Debug)]
pub(crate) enum Requester {
    Connection {
        key: u64,
        request_id: u32,
    },
    /// The worker's own hub shard.
    Hub(FetchId),
    Caller(oneshot::Sender<CoreResult>),
}

/// An answer and whom it is for.
#[derive(Debug)]
pub(crate) struct Answered {
    pub(crate) requester: Requester,
    pub(crate) result: CoreResult,
}

#[derive(Debug)]
struct Pending {
    requester: Requester,
    since: Instant,
    /// How often it was sent, modulo 256.
    attempts: u8,
    kept: Kept,
}

/// What is needed to send a request again.
#[derive(Debug)]
enum Kept {
    Nothing,
    Read(Bytes),
    Publish(Box<LogRecord>),
}

impl Kept {
    fn bytes(&self) -> usize {
        if let Self::Publish(record) = self { record.data.len() } else { 0 }
    }
}

pub(crate) struct CoreClient {
    bus: Arc<dyn Bus>,
    ingest: Subject,
    history: Subject,
    reply: Subject,
    cores: Subject,
    region: Arc<str>,
    timeout_ms: Millis,
    limit: usize,
    next: u64,
    pending: HashMap<u64, Pending>,
    kept_bytes: usize,
    /// Requests in the order of their deadlines, answered ones included until they come up.
    deadlines: VecDeque<(Millis, u64)>,
    repeats: Repeats,
    /// `None`: the core is in this process, and there is no other.
    lanes: Option<Lanes>,
    /// Publishes that the bus refused when their turn had come. Bounded as `pending` is: they were there.
    refused: Vec<Answered>,
}

impl CoreClient {
    pub(crate) fn new(shared: &Shared, worker: u16) -> Self {
        let now = shared.now_ms();
        Self::over(shared.ports.bus.clone(), &shared.config, now, worker)
    }

    fn over(bus: Arc<dyn Bus>, config: &EdgeConfig, now: Millis, worker: u16) -> Self {
        let lanes = || Lanes::new(now, &config.cell, LanesConfig::default());
        Self {
            bus,
            ingest: Subject::ingest(&config.cell),
            history: Subject::history(&config.cell),
            reply: Subject::reply(&config.node, u32::from(worker)),
            cores: Subject::cores(&config.cell),
            region: config.region.as_str().into(),
            timeout_ms: config.timing.core.as_millis() as Millis,
            limit: config.limits.core_requests,
            next: 1,
            pending: HashMap::new(),
            kept_bytes: 0,
            deadlines: VecDeque::new(),
            repeats: Repeats::new(),
            lanes: config.announced_cores.then(lanes),
            refused: Vec::new(),
        }
    }

    /// Where the answers come, and, if anybody is to be heard there, the beats of the cores.
    pub(crate) fn subjects(&self) -> impl Iterator<Item = Subject> + use<> {
        let cores = self.lanes.is_some().then(|| self.cores.clone());
        [self.reply.clone()].into_iter().chain(cores)
    }

    pub(crate) fn is_beat(&self, subject: &Subject) -> bool {
        *subject == self.cores
    }

    /// Asks for a durable publication. On `Err` nothing was sent, and the requester gets the error back.
    pub(crate) fn publish(
        &mut self,
        now: Millis,
        requester: Requester,
        publish: DurablePublish,
        metrics: &WorkerMetrics,
    ) -> Result<(), Answered> {
        let kept_bytes = if self.lanes.is_some() { self.kept_bytes + publish.data.len() } else { 0 };
        if self.pending.len() >= self.limit || kept_bytes > KEPT_BYTES {
            return Err(refused(requester, ErrorCode::LogUnavailable, TOO_MANY));
        }
        let DurablePublish { channel, id, from, data, time_ms } = publish;
        let number = self.next;
        let reply = Some(ReplyTo { subject: self.reply.clone(), correlation: number << ATTEMPT_BITS });
        let repeatable = id.is_some();
        let record = LogRecord { channel, time_ms, from, id, region: self.region.clone(), data, reply };
        let Some(lanes) = &mut self.lanes else {
            if let Err(error) = self.bus.publish(&self.ingest, CoreRequest::Publish(record).encode()) {
                return Err(not_sent(requester, ErrorCode::LogUnavailable, error));
            }
            self.add(now, requester, 1, Kept::Nothing, metrics);
            return Ok(());
        };
        let channel = record.channel.clone();
        lanes.publish(now, number, &channel, repeatable);
        self.add(now, requester, 0, Kept::Publish(Box::new(record)), metrics);
        if repeatable {
            self.repeats.sent(now, number);
        }
        self.act(now, metrics);
        // What was sent last is this one.
        match self.refused.pop() {
            Some(refused) if !self.pending.contains_key(&number) => Err(refused),
            other => {
                self.refused.extend(other);
                Ok(())
            }
        }
    }

    /// Asks for a page of history. On `Err` nothing was sent, and the requester gets the error back.
    pub(crate) fn history(
        &mut self,
        now: Millis,
        requester: Requester,
        query: HistoryQuery,
        metrics: &WorkerMetrics,
    ) -> Result<(), Answered> {
        if self.pending.len() >= self.limit {
            return Err(refused(requester, ErrorCode::StoreUnavailable, TOO_MANY));
        }
        let number = self.next;
        let reply = ReplyTo { subject: self.reply.clone(), correlation: number << ATTEMPT_BITS };
        let request = CoreRequest::History { query, reply }.encode();
        if let Err(error) = self.bus.publish(&self.history, request.clone()) {
            return Err(not_sent(requester, ErrorCode::StoreUnavailable, error));
        }
        let kept = if self.lanes.is_some() { Kept::Read(request) } else { Kept::Nothing };
        if self.lanes.is_some() {
            self.repeats.sent(now, number);
        }
        self.add(now, requester, 1, kept, metrics);
        Ok(())
    }

    fn add(&mut self, now: Millis, requester: Requester, attempts: u8, kept: Kept, metrics: &WorkerMetrics) {
        self.kept_bytes += kept.bytes();
        self.deadlines.push_back((now + self.timeout_ms, self.next));
        self.pending.insert(self.next, Pending { requester, since: Instant::now(), attempts, kept });
        self.next += 1;
        metrics.core_pending.set(self.pending.len() as u64);
    }

    fn remove(&mut self, now: Millis, number: u64) -> Option<Pending> {
        let pending = self.pending.remove(&number)?;
        if self.pending.is_empty() {
            self.deadlines.clear();
        }
        self.pending.give_back();
        self.deadlines.give_back();
        self.kept_bytes -= pending.kept.bytes();
        if let (Some(lanes), Kept::Publish(_)) = (&mut self.lanes, &pending.kept) {
            lanes.ended(now, number);
        }
        Some(pending)
    }

    /// Matches an answer; `None`: nobody waits for it any more, or it is for this client itself.
    pub(crate) fn answered(
        &mut self,
        now: Millis,
        reply: CoreReply,
        latency: &PublishLatency,
        metrics: &WorkerMetrics,
    ) -> Option<Answered> {
        let CoreReply { correlation, result } = reply;
        if let Ok(CoreAnswer::Missing { link, number }) = result {
            let count = self.lanes.as_mut().map_or(0, |lanes| lanes.missing(now, link, number));
            metrics.core_resends.add(count as u64);
            self.act(now, metrics);
            return None;
        }
        let number = correlation >> ATTEMPT_BITS;
        let pending = self.pending.get(&number)?;
        // Where one attempt failed, a later one may succeed; its own answer says so.
        if let (Err(_), Kept::Publish(record)) = (&result, &pending.kept)
            && record.reply.as_ref().is_some_and(|reply| reply.correlation != correlation)
        {
            return None;
        }
        let Pending { requester, since, .. } = self.remove(now, number)?;
        self.repeats.answered();
        self.act(now, metrics);
        metrics.core_pending.set(self.pending.len() as u64);
        if let Ok(CoreAnswer::Published { .. }) = &result {
            latency.0.observe(since.elapsed().as_secs_f64());
        }
        Some(Answered { requester, result })
    }

    /// A core has said how it is.
    pub(crate) fn beat(&mut self, now: Millis, beat: &CoreBeat, metrics: &WorkerMetrics) {
        let Some(lanes) = &mut self.lanes else { return };
        metrics.core_resends.add(lanes.beat(now, beat) as u64);
        metrics.cores.set(lanes.cores() as u64);
        self.act(now, metrics);
    }

    /// Lets time pass: sends again what is to be, and ends the requests whose time is over.
    pub(crate) fn tick(&mut self, now: Millis, metrics: &WorkerMetrics) -> Vec<Answered> {
        if let Some(lanes) = &mut self.lanes {
            metrics.core_resends.add(lanes.tick(now) as u64);
            metrics.cores.set(lanes.cores() as u64);
        }
        self.act(now, metrics);
        self.repeat(now, metrics);
        let mut over = self.expire(now, metrics);
        over.append(&mut self.refused);
        metrics.core_pending.set(self.pending.len() as u64);
        over
    }

    fn repeat(&mut self, now: Millis, metrics: &WorkerMetrics) {
        while let Some(number) = self.repeats.next_due(now) {
            let Some(pending) = self.pending.get(&number) else { continue };
            self.repeats.sent(now, number);
            match (&pending.kept, &mut self.lanes) {
                (Kept::Read(request), _) if self.repeats.may_repeat() => {
                    // A bus that cannot take it now gets it next time.
                    let _ = self.bus.publish(&self.history, request.clone());
                    metrics.core_resends.add(1);
                }
                (Kept::Publish(_), Some(lanes)) if self.repeats.may_repeat() => {
                    metrics.core_resends.add(u64::from(lanes.repeat(now, number)));
                    self.act(now, metrics);
                }
                _ => {}
            }
        }
    }

    fn expire(&mut self, now: Millis, metrics: &WorkerMetrics) -> Vec<Answered> {
        let mut expired = Vec::new();
        while let Some((deadline, number)) = self.deadlines.front().copied() {
            if deadline > now && self.pending.contains_key(&number) {
                break;
            }
            self.deadlines.pop_front();
            let Some(Pending { requester, attempts, kept, .. }) = self.remove(now, number) else { continue };
            self.act(now, metrics);
            let error = match (attempts, kept) {
                (0, Kept::Publish(_)) => WireError::new(ErrorCode::LogUnavailable, "no core takes publishes"),
                _ => WireError::new(
                    ErrorCode::Timeout,
                    "no answer in time; it may or may not have happened: retry under the same id",
                ),
            };
            expired.push(Answered { requester, result: Err(error.retry_after_ms(1_000)) });
        }
        metrics.core_timeouts.add(expired.len() as u64);
        expired
    }

    /// Does what the lanes have decided.
    fn act(&mut self, now: Millis, metrics: &WorkerMetrics) {
        while let Some(output) = self.lanes.as_mut().and_then(Lanes::poll_output) {
            match output {
                LanesOutput::Send { request, way } => self.send(now, request, way, metrics),
                LanesOutput::Check { subject, link, next } => {
                    let reply = ReplyTo { subject: self.reply.clone(), correlation: 0 };
                    // It is asked again.
                    let _ = self.bus.publish(&subject, CoreRequest::Check { link, next, reply }.encode());
                }
            }
        }
    }

    fn send(&mut self, now: Millis, number: u64, way: Way, metrics: &WorkerMetrics) {
        let Some(pending) = self.pending.get_mut(&number) else { return };
        let Kept::Publish(record) = &mut pending.kept else { return };
        if let Some(reply) = &mut record.reply {
            reply.correlation = number << ATTEMPT_BITS | u64::from(pending.attempts);
        }
        let outcome = match way {
            Way::Anyone => {
                let request = CoreRequest::encode_publish(record, None);
                self.bus.publish(&self.ingest, request)
            }
            Way::Link { subject, link, number } => {
                let request = CoreRequest::encode_publish(record, Some((link, number)));
                self.bus.publish(&subject, request)
            }
        };
        let first = pending.attempts == 0;
        match outcome {
            // One that was sent before may have arrived; the hole that this leaves is found.
            Err(_) if !first => {}
            Err(error) => {
                if let Some(Pending { requester, .. }) = self.remove(now, number) {
                    metrics.core_pending.set(self.pending.len() as u64);
                    self.refused.push(not_sent(requester, ErrorCode::LogUnavailable, error));
                }
                return;
            }
            Ok(()) => {}
        }
        if let Some(pending) = self.pending.get_mut(&number) {
            // Never 0 again: it was sent.
            pending.attempts = pending.attempts.wrapping_add(1).max(1);
        }
    }
}

const TOO_MANY: &str = "too many requests await an answer";

fn refused(requester: Requester, code: ErrorCode, why: &str) -> Answered {
    Answered { requester, result: Err(WireError::new(code, why).retry_after_ms(1_000)) }
}

fn not_sent(requester: Requester, unavailable: ErrorCode, error: BusError) -> Answered {
    let code = match error {
        BusError::TooLarge(_) => ErrorCode::TooLarge,
        BusError::Disconnected => unavailable,
    };
    Answered { requester, result: Err(WireError::new(code, error.to_string())) }
}

/// A durable publish on its way to the log.
#[derive(Debug)]
pub(crate) struct DurablePublish {
    pub(crate) channel: ChannelName,
    pub(crate) id: Option<MessageId>,
    pub(crate) from: Option<UserId>,
    pub(crate) data: Payload,
    /// Stamp of this edge; ingest sets its own.
    pub(crate) time_ms: u64,
}
