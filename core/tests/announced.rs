//! A core that is a process of its own: it says that it is there, takes numbered publishes in order on a subject of its own, and
//! says when it leaves and when it has gone.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod cell;

use cell::{Cell, soon};
use skywave_core::CoreConfig;
use skywave_ports::{Bus, Inbox};
use skywave_protocol::inner::{CoreAnswer, CoreBeat, CorePhase, CoreRequest};
use skywave_protocol::{NodeId, Subject};

fn own() -> NodeId {
    NodeId::parse("core-1").unwrap()
}

fn announced() -> CoreConfig {
    CoreConfig { announced: Some(own()), ..CoreConfig::default() }
}

#[tokio::test]
async fn numbered_publishes_are_taken_in_order_and_what_is_missing_is_told() {
    let cell = Cell::new();
    let core = cell.start_ready(announced()).await;
    let mut client = cell.client("edge").await;
    client.send_numbered(&own(), 1, 1, "a");
    client.send_numbered(&own(), 1, 3, "c");
    client.send_numbered(&own(), 1, 4, "d");
    let (mut published, mut missing) = (0, Vec::new());
    for _ in 0..2 {
        match client.answer().await.result.unwrap() {
            CoreAnswer::Missing { link, number } => missing.push((link, number)),
            other => published += usize::from(matches!(other, CoreAnswer::Published { .. })),
        }
    }
    assert_eq!((published, missing), (1, vec![(1, 2)]));
    // Asked what it misses of a link that it has never heard of, the core says that as well.
    client.check(&own(), 2, 4);
    let answer = client.answer().await;
    assert_eq!((answer.correlation, answer.result), (0, Ok(CoreAnswer::Missing { link: 2, number: 1 })));
    for (number, data) in [(1, "b"), (2, "c"), (3, "d")] {
        client.send_numbered(&own(), 3, number, data);
    }
    for _ in 0..3 {
        assert!(matches!(client.answer().await.result, Ok(CoreAnswer::Published { .. })));
    }
    let history = client.history("chat:1", 0).await.unwrap();
    let data: Vec<_> = history.publications.iter().map(|it| it.data.bytes().clone()).collect();
    assert_eq!(data, [r#""a""#, r#""b""#, r#""c""#, r#""d""#]);
    assert_eq!(core.metric("skywave_core_holes_total"), 2.0);
    core.stop().await;
}

#[tokio::test]
async fn a_core_says_that_it_is_there_then_that_it_leaves_and_takes_what_is_on_its_way_until_it_has_gone() {
    let cell = Cell::new();
    let (inbox, mut beats) = Inbox::new(100);
    let _listening = cell.bus.subscribe(&Subject::cores("main"), None, &inbox).await.unwrap();
    let core = cell.start_ready(announced()).await;
    let mut client = cell.client("edge").await;
    let mut beat = async || {
        let message = soon("a beat", beats.recv()).await.unwrap();
        let beat = CoreBeat::decode(message.payload).unwrap();
        assert_eq!(beat.core, own());
        (beat.phase, beat.partitions, beat.owned)
    };
    assert_eq!(beat().await, (CorePhase::Serving, 1, vec![0]), "it owns what there is");
    core.trigger.graceful();
    while beat().await.0 == CorePhase::Serving {}
    client.send_numbered(&own(), 1, 1, "late");
    assert!(matches!(client.answer().await.result, Ok(CoreAnswer::Published { .. })));
    assert_eq!(beat().await.0, CorePhase::Gone);
    core.stop().await;
}

#[tokio::test]
async fn a_core_that_is_alone_announces_nothing() {
    let cell = Cell::new();
    let (inbox, mut beats) = Inbox::new(100);
    let _listening = cell.bus.subscribe(&Subject::cores("main"), None, &inbox).await.unwrap();
    let core = cell.start_ready(CoreConfig::default()).await;
    assert_eq!(cell.client("edge").await.publish_offset("chat:1", None, "1").await, 1);
    core.stop().await;
    assert!(beats.try_recv().is_err());
}

impl cell::Client {
    fn send_numbered(&mut self, core: &NodeId, link: u64, number: u64, data: &str) {
        let reply = Some(self.reply_to());
        let record = cell::record("chat:1", None, &format!("{data:?}"), reply);
        let request = CoreRequest::Numbered { link, number, record };
        self.bus.publish(&Subject::core_ingest("main", core), request.encode()).unwrap();
    }

    fn check(&self, core: &NodeId, link: u64, next: u64) {
        let reply = skywave_protocol::inner::ReplyTo { subject: self.reply.clone(), correlation: 0 };
        let request = CoreRequest::Check { link, next, reply };
        self.bus.publish(&Subject::core_ingest("main", core), request.encode()).unwrap();
    }
}
