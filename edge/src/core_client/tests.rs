//! Requests to cores that answer, fall silent, leave and lose, over a bus in memory.

use skywave_ports::memory::MemoryBus;
use skywave_ports::{BusMessage, Inbox};
use skywave_protocol::inner::CorePhase;
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
    fixture_with(limit, false).await
}

/// A client that has heard of the core `a` alone, whose subject is the one that is listened to.
async fn announced() -> Fixture {
    let mut fixture = fixture_with(10, true).await;
    fixture.beat(0, "a");
    fixture
}

async fn fixture_with(limit: usize, announced_cores: bool) -> Fixture {
    let bus = MemoryBus::default();
    let mut config =
        EdgeConfig::new(NodeId::parse("n").unwrap(), std::net::SocketAddr::from(([127, 0, 0, 1], 0)));
    config.limits.core_requests = limit;
    config.announced_cores = announced_cores;
    let (inbox, asked) = Inbox::new(16);
    let own = Subject::core_ingest("main", &NodeId::parse("a").unwrap());
    let subject = if announced_cores { own } else { Subject::ingest("main") };
    let listening = bus.subscribe(&subject, None, &inbox).await.unwrap();
    let client = CoreClient::over(Arc::new(bus), &config, 0, 3);
    Fixture { client, metrics: WorkerMetrics::default(), asked, _listening: listening }
}

impl Fixture {
    fn publish(&mut self, now: Millis, request_id: u32) -> Result<(), Answered> {
        self.publish_as(now, request_id, None)
    }

    fn publish_as(&mut self, now: Millis, request_id: u32, id: Option<&str>) -> Result<(), Answered> {
        let publish = DurablePublish {
            channel: ChannelName::parse("chat:1").unwrap(),
            id: id.map(|id| MessageId::parse(id).unwrap()),
            from: None,
            data: Payload::from_json(b"1").unwrap(),
            time_ms: 0,
        };
        self.client.publish(now, Requester::Connection { key: 1, request_id }, publish, &self.metrics)
    }

    /// The number of the request that went out.
    fn asked(&mut self) -> u64 {
        match CoreRequest::decode(self.asked.try_recv().unwrap().payload).unwrap() {
            CoreRequest::Publish(record) | CoreRequest::Numbered { record, .. } => {
                let reply = record.reply.unwrap();
                assert_eq!(Some(reply.subject), self.client.subjects().next());
                reply.correlation
            }
            other => panic!("{other:?}"),
        }
    }

    fn beat(&mut self, now: Millis, core: &str) {
        let beat = CoreBeat {
            core: NodeId::parse(core).unwrap(),
            phase: CorePhase::Serving,
            partitions: 0,
            owned: vec![],
        };
        self.client.beat(now, &beat, &self.metrics);
    }

    fn refuse(&mut self, correlation: u64) -> Option<u32> {
        let reply = CoreReply { correlation, result: Err(WireError::new(ErrorCode::LogUnavailable, "")) };
        self.client
            .answered(0, reply, &PublishLatency::default(), &self.metrics)
            .map(|answered| request(&answered))
    }

    fn answer(&mut self, correlation: u64) -> Option<u32> {
        let position = Position { epoch: Epoch::parse("e").unwrap(), offset: 1 };
        let reply =
            CoreReply { correlation, result: Ok(CoreAnswer::Published { position, duplicate: false }) };
        self.client
            .answered(0, reply, &PublishLatency::default(), &self.metrics)
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
    assert!(fixture.client.tick(4_999, &fixture.metrics).is_empty());
    let expired = fixture.client.tick(5_000, &fixture.metrics);
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

#[tokio::test]
async fn what_has_an_id_is_sent_again_until_it_is_answered() {
    let mut it = announced().await;
    it.publish_as(0, 1, Some("m-1")).unwrap();
    it.publish_as(0, 2, None).unwrap();
    let (first, _) = (it.asked(), it.asked());
    it.client.tick(999, &it.metrics);
    // The core is asked whether something is missing.
    assert!(matches!(
        CoreRequest::decode(it.asked.try_recv().unwrap().payload).unwrap(),
        CoreRequest::Check { next: 3, .. }
    ));
    it.client.tick(1_000, &it.metrics);
    let again = it.asked();
    assert_eq!(again, first + 1, "another attempt at the same request");
    assert!(it.asked.try_recv().is_err(), "the other one might be published twice");
    assert_eq!(it.answer(first), Some(1));
    assert_eq!(it.answer(again), None);
    assert_eq!(it.metrics.core_resends.get(), 1);
}

#[tokio::test]
async fn a_refusal_of_an_earlier_attempt_is_not_the_last_word() {
    let mut it = announced().await;
    it.publish_as(0, 1, Some("m-1")).unwrap();
    let first = it.asked();
    it.client.tick(400, &it.metrics);
    it.client.answered(
        400,
        CoreReply { correlation: 0, result: Ok(CoreAnswer::Missing { link: 1, number: 1 }) },
        &PublishLatency::default(),
        &it.metrics,
    );
    let second = it.asked();
    assert_eq!(it.refuse(first), None);
    assert_eq!(it.refuse(second), Some(1));
}

#[tokio::test]
async fn what_nobody_took_was_not_published() {
    let mut it = announced().await;
    let gone =
        CoreBeat { core: NodeId::parse("a").unwrap(), phase: CorePhase::Gone, partitions: 0, owned: vec![] };
    it.client.beat(0, &gone, &it.metrics);
    it.publish(0, 1).unwrap();
    assert!(it.client.tick(4_999, &it.metrics).is_empty());
    let ended = it.client.tick(5_000, &it.metrics);
    assert_eq!(ended.iter().map(request).collect::<Vec<_>>(), [1]);
    assert_eq!(ended[0].result.as_ref().unwrap_err().code, ErrorCode::LogUnavailable);
}

#[tokio::test]
async fn no_more_payload_is_kept_than_is_allowed() {
    let mut it = announced().await;
    it.publish_as(0, 1, Some("m-1")).unwrap();
    assert_eq!(it.client.kept_bytes, 1);
    it.client.kept_bytes = KEPT_BYTES;
    let refused = it.publish_as(0, 2, Some("m-2")).unwrap_err();
    assert_eq!(refused.result.unwrap_err().code, ErrorCode::LogUnavailable);
    it.client.kept_bytes = 1;
    let first = it.asked();
    it.answer(first);
    assert_eq!(it.client.kept_bytes, 0);
}

#[tokio::test]
async fn a_bus_that_is_not_connected_refuses_at_once() {
    let mut it = announced().await;
    it.client.bus = Arc::new(Away);
    let refused = it.publish_as(0, 1, Some("m-1")).unwrap_err();
    assert_eq!((request(&refused), refused.result.unwrap_err().code), (1, ErrorCode::LogUnavailable));
    assert_eq!(it.metrics.core_pending.get(), 0);
}

struct Away;

#[async_trait::async_trait]
impl Bus for Away {
    fn publish(&self, _: &Subject, _: Bytes) -> Result<(), BusError> {
        Err(BusError::Disconnected)
    }

    async fn subscribe(
        &self,
        _: &Subject,
        _: Option<&str>,
        _: &Inbox,
    ) -> Result<skywave_ports::Subscription, BusError> {
        Err(BusError::Disconnected)
    }
}
