//! Requests of one worker to the core of its cell, and the answers' way back.
//!
//! Answers come to one subject a worker and are matched by number. Bounded: beyond `core_requests` outstanding ones a
//! request is refused with a retryable error; one without an answer in time ends in `timeout` (for a publish: unknown,
//! retry under the same id). Never: retries by itself, because only the publisher knows whether it still wants to.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use hashbrown::HashMap;
use skywave_engine::hub::FetchId;
use skywave_engine::time::Millis;
use skywave_ports::Bus;
use skywave_protocol::inner::{CoreAnswer, CoreReply, CoreRequest, LogRecord, ReplyTo};
use skywave_protocol::message::HistoryQuery;
use skywave_protocol::{ChannelName, ErrorCode, MessageId, Payload, Subject, UserId, WireError};
use tokio::sync::oneshot;

use crate::metrics::{Count, WorkerMetrics};
use crate::shared::Shared;

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
}

pub(crate) struct CoreClient {
    bus: Arc<dyn Bus>,
    ingest: Subject,
    history: Subject,
    reply: Subject,
    region: Arc<str>,
    timeout_ms: Millis,
    limit: usize,
    next: u64,
    pending: HashMap<u64, Pending>,
    /// Requests in the order of their deadlines, answered ones included until they come up.
    deadlines: VecDeque<(Millis, u64)>,
}

impl CoreClient {
    pub(crate) fn new(shared: &Shared, worker: u16) -> Self {
        let config = &shared.config;
        Self {
            bus: shared.ports.bus.clone(),
            ingest: Subject::ingest(&config.cell),
            history: Subject::history(&config.cell),
            reply: Subject::reply(&config.node, u32::from(worker)),
            region: config.region.as_str().into(),
            timeout_ms: config.timing.core.as_millis() as Millis,
            limit: config.limits.core_requests,
            next: 1,
            pending: HashMap::new(),
            deadlines: VecDeque::new(),
        }
    }

    /// Where the answers come.
    pub(crate) fn reply_subject(&self) -> &Subject {
        &self.reply
    }

    /// Asks for a durable publication. On `Err` nothing was sent, and the requester gets the error back.
    pub(crate) fn publish(
        &mut self,
        now: Millis,
        requester: Requester,
        publish: DurablePublish,
        metrics: &WorkerMetrics,
    ) -> Result<(), Answered> {
        let DurablePublish { channel, id, from, data, time_ms } = publish;
        let region = self.region.clone();
        self.send(now, requester, &metrics.core_pending, |reply| {
            CoreRequest::Publish(LogRecord { channel, time_ms, from, id, region, data, reply: Some(reply) })
        })
    }

    /// Asks for a page of history.
    pub(crate) fn history(
        &mut self,
        now: Millis,
        requester: Requester,
        query: HistoryQuery,
        metrics: &WorkerMetrics,
    ) -> Result<(), Answered> {
        self.send(now, requester, &metrics.core_pending, |reply| CoreRequest::History { query, reply })
    }

    fn send(
        &mut self,
        now: Millis,
        requester: Requester,
        pending: &Count,
        request: impl FnOnce(ReplyTo) -> CoreRequest,
    ) -> Result<(), Answered> {
        let correlation = self.next;
        let request = request(ReplyTo { subject: self.reply.clone(), correlation });
        let (subject, unavailable) = match &request {
            CoreRequest::Publish(_) => (&self.ingest, ErrorCode::LogUnavailable),
            CoreRequest::History { .. } => (&self.history, ErrorCode::StoreUnavailable),
        };
        if self.pending.len() >= self.limit {
            let error =
                WireError::new(unavailable, "too many requests await an answer").retry_after_ms(1_000);
            return Err(Answered { requester, result: Err(error) });
        }
        if let Err(error) = self.bus.publish(subject, request.encode()) {
            let code = match error {
                skywave_ports::BusError::TooLarge(_) => ErrorCode::TooLarge,
                skywave_ports::BusError::Disconnected => unavailable,
            };
            let error = WireError::new(code, error.to_string());
            return Err(Answered { requester, result: Err(error) });
        }
        self.next += 1;
        self.pending.insert(correlation, Pending { requester, since: Instant::now() });
        self.deadlines.push_back((now + self.timeout_ms, correlation));
        pending.set(self.pending.len() as u64);
        Ok(())
    }

    /// Matches an answer; `None`: nobody waits for it any more.
    pub(crate) fn answered(
        &mut self,
        reply: CoreReply,
        shared: &Shared,
        metrics: &WorkerMetrics,
    ) -> Option<Answered> {
        let Pending { requester, since } = self.pending.remove(&reply.correlation)?;
        metrics.core_pending.set(self.pending.len() as u64);
        if let Ok(CoreAnswer::Published { .. }) = &reply.result {
            shared.latency.0.observe(since.elapsed().as_secs_f64());
        }
        Some(Answered { requester, result: reply.result })
    }

    /// Ends the requests whose time is over.
    pub(crate) fn expire(&mut self, now: Millis, metrics: &WorkerMetrics) -> Vec<Answered> {
        let mut expired = Vec::new();
        while let Some((deadline, correlation)) = self.deadlines.front().copied() {
            if deadline > now && self.pending.contains_key(&correlation) {
                break;
            }
            self.deadlines.pop_front();
            if let Some(Pending { requester, .. }) = self.pending.remove(&correlation) {
                let error = WireError::new(
                    ErrorCode::Timeout,
                    "no answer in time; it may or may not have happened: retry under the same id",
                );
                expired.push(Answered { requester, result: Err(error.retry_after_ms(1_000)) });
            }
        }
        metrics.core_timeouts.add(expired.len() as u64);
        metrics.core_pending.set(self.pending.len() as u64);
        expired
    }
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
