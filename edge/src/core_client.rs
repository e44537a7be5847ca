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

use crate::config::EdgeConfig;
use crate::metrics::{Count, PublishLatency, WorkerMetrics};
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
        Self::over(shared.ports.bus.clone(), &shared.config, worker)
    }

    fn over(bus: Arc<dyn Bus>, config: &EdgeConfig, worker: u16) -> Self {
        Self {
            bus,
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
        latency: &PublishLatency,
        metrics: &WorkerMetrics,
    ) -> Option<Answered> {
        let Pending { requester, since } = self.pending.remove(&reply.correlation)?;
        metrics.core_pending.set(self.pending.len() as u64);
        if let Ok(CoreAnswer::Published { .. }) = &reply.result {
            latency.0.observe(since.elapsed().as_secs_f64());
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

#[cfg(test)]
mod tests {
    use skywave_ports::memory::MemoryBus;
    use skywave_ports::{BusMessage, Inbox};
    use skywave_protocol::{Epoch, NodeId, Position};
    use tokio::sync::mpsc;

    use super::*;

    struct Fixture {
        client: CoreClient,
        metrics: WorkerMetrics,
        asked: mpsc::Receiver<BusMessage>,
        _listening: skywave_ports::Subscription,
    }

    async fn fixture(limit: usize) -> Fixture {
        let bus = MemoryBus::default();
        let mut config =
            EdgeConfig::new(NodeId::parse("n").unwrap(), std::net::SocketAddr::from(([127, 0, 0, 1], 0)));
        config.limits.core_requests = limit;
        let (inbox, asked) = Inbox::new(16);
        let listening = bus.subscribe(&Subject::ingest("main"), None, &inbox).await.unwrap();
        let client = CoreClient::over(Arc::new(bus), &config, 3);
        Fixture { client, metrics: WorkerMetrics::default(), asked, _listening: listening }
    }

    impl Fixture {
        fn publish(&mut self, now: Millis, request_id: u32) -> Result<(), Answered> {
            let publish = DurablePublish {
                channel: ChannelName::parse("chat:1").unwrap(),
                id: None,
                from: None,
                data: Payload::from_json(b"1").unwrap(),
                time_ms: 0,
            };
            self.client.publish(now, Requester::Connection { key: 1, request_id }, publish, &self.metrics)
        }

        /// The number of the request that went out.
        fn asked(&mut self) -> u64 {
            match CoreRequest::decode(self.asked.try_recv().unwrap().payload).unwrap() {
                CoreRequest::Publish(record) => {
                    let reply = record.reply.unwrap();
                    assert_eq!(reply.subject, *self.client.reply_subject());
                    reply.correlation
                }
                other => panic!("{other:?}"),
            }
        }

        fn answer(&mut self, correlation: u64) -> Option<u32> {
            let position = Position { epoch: Epoch::parse("e").unwrap(), offset: 1 };
            let reply =
                CoreReply { correlation, result: Ok(CoreAnswer::Published { position, duplicate: false }) };
            self.client
                .answered(reply, &PublishLatency::default(), &self.metrics)
                .map(|answered| request(&answered))
        }
    }

    fn request(answered: &Answered) -> u32 {
        match answered.requester {
            Requester::Connection { request_id, .. } => request_id,
            _ => panic!("{answered:?}"),
        }
    }

    #[tokio::test]
    async fn answers_find_their_requests_once_and_in_any_order() {
        let mut fixture = fixture(10).await;
        fixture.publish(0, 1).unwrap();
        fixture.publish(0, 2).unwrap();
        let (first, second) = (fixture.asked(), fixture.asked());
        assert_eq!(fixture.answer(second), Some(2));
        assert_eq!(fixture.answer(first), Some(1));
        assert_eq!(fixture.answer(first), None, "answered again after a replay");
        assert_eq!(fixture.metrics.core_pending.get(), 0);
    }

    #[tokio::test]
    async fn what_is_not_answered_in_time_is_unknown_and_a_late_answer_is_nobodys() {
        let mut fixture = fixture(10).await;
        fixture.publish(0, 1).unwrap();
        fixture.publish(2_000, 2).unwrap();
        let late = fixture.asked();
        assert!(fixture.client.expire(4_999, &fixture.metrics).is_empty());
        let expired = fixture.client.expire(5_000, &fixture.metrics);
        assert_eq!(expired.iter().map(request).collect::<Vec<_>>(), [1]);
        assert_eq!(expired[0].result.as_ref().unwrap_err().code, ErrorCode::Timeout);
        assert_eq!(fixture.answer(late), None);
        assert_eq!(fixture.metrics.core_timeouts.get(), 1);
    }

    #[tokio::test]
    async fn beyond_the_limit_a_publish_is_refused_and_nothing_is_sent() {
        let mut fixture = fixture(1).await;
        fixture.publish(0, 1).unwrap();
        let first = fixture.asked();
        let refused = fixture.publish(0, 2).unwrap_err();
        assert_eq!(request(&refused), 2);
        assert_eq!(refused.result.unwrap_err().code, ErrorCode::LogUnavailable);
        assert!(fixture.asked.try_recv().is_err());
        assert_eq!(fixture.answer(first), Some(1));
        fixture.publish(0, 3).unwrap();
    }
}
