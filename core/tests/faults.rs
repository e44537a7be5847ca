//! What goes on while the store is away, answers get lost, or two owners believe in themselves.

mod cell;

use std::collections::BTreeMap;
use std::sync::Arc;

use cell::{Cell, OddLog, contents, soon};
use skywave_core::CoreConfig;
use skywave_ports::memory::{Failure, MemoryLog};
use skywave_ports::{Log, Store};
use skywave_protocol::ErrorCode;
use skywave_protocol::inner::Live;
use skywave_protocol::message::HistoryQuery;

fn quick() -> CoreConfig {
    CoreConfig { persist_ms: 2, ..CoreConfig::default() }
}

#[tokio::test]
async fn while_the_store_is_away_publishing_goes_on_until_the_tail_is_full() {
    let cell = Cell::new();
    let limits = CoreConfig { unpersisted_records: 20, persist_records: 10, stall_ms: 20, ..quick() };
    let core = cell.start_ready(limits).await;
    let mut client = cell.client("edge").await;
    assert_eq!(client.publish_offset("chat:1", Some("0"), "0").await, 1);
    core.metric_reaches("skywave_core_persisted_total", 1.0).await;
    cell.store.fail(Some(Failure::Down));

    for n in 2..=21 {
        assert_eq!(client.publish_offset("chat:1", Some(&n.to_string()), "1").await, n);
    }
    // As many as the tail holds. What comes now waits, and then is refused.
    let (waiting, refused) = loop {
        client.send("chat:2", None, "1");
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        if let Some(reply) = client.answer_at_once() {
            break (reply.correlation - 1, reply.result.unwrap_err());
        }
    };
    assert_eq!((refused.code, refused.retry_after_ms), (ErrorCode::LogUnavailable, Some(500)));
    let end = cell.log.bounds(0).await.unwrap().1;
    assert_eq!(end, waiting, "every request before the refused one is in the log");
    assert!(client.publish("chat:2", None, "1").await.is_err());
    assert_eq!(cell.log.bounds(0).await.unwrap().1, end, "what is refused is not in the log");

    // History that lies in the tail is served without the store; what lies in the store is not.
    let recent = client.history("chat:1", 1).await.unwrap();
    assert_eq!((recent.head.offset, recent.publications.len()), (21, 20));
    assert_eq!(client.history("chat:1", 0).await.unwrap_err().code, ErrorCode::StoreUnavailable);

    cell.store.fail(None);
    core.metric_reaches("skywave_core_persisted_total", end as f64).await;
    assert_eq!(client.publish_offset("chat:1", Some("after"), "2").await, 22);
    assert_eq!(client.history("chat:1", 0).await.unwrap().publications.len(), 22);
    assert_eq!(client.history("chat:2", 0).await.unwrap().publications.len() as u64, end - 21);
    assert!(core.metric("skywave_core_commit_failures_total") >= 1.0);
    core.stop().await;
    assert_eq!(cell.store.checkpoint(0), end + 1);
}

#[tokio::test]
async fn what_the_log_took_while_sequencing_paused_is_sequenced_later() {
    let cell = Cell::new();
    let limits = CoreConfig { unpersisted_records: 5, persist_records: 5, stall_ms: 5, ..quick() };
    let core = cell.start_ready(limits).await;
    cell.store.fail(Some(Failure::Down));
    let mut client = cell.client("edge").await;
    // All at once: ingest takes them before it can know.
    for n in 0..2_000 {
        client.send("chat:1", None, &n.to_string());
    }
    core.metric_reaches("skywave_core_pauses_total", 1.0).await;
    cell.store.fail(None);
    let mut taken = Vec::new();
    for _ in 0..2_000 {
        let reply = client.answer().await;
        match reply.result {
            Ok(_) => taken.push((reply.correlation - 1).to_string()),
            Err(error) => assert_eq!(error.code, ErrorCode::LogUnavailable),
        }
    }
    let mut stored = Vec::new();
    loop {
        let page = contents(&client.history("chat:1", stored.len() as u64).await.unwrap());
        if page.is_empty() {
            break;
        }
        stored.extend(page);
    }
    let stored: Vec<_> = stored.into_iter().map(|(_, data)| data).collect();
    assert_eq!(
        stored, taken,
        "what was acknowledged, in the order of the acknowledgements, and nothing else"
    );
    core.stop().await;
}

#[tokio::test]
async fn a_commit_whose_answer_was_lost_is_recognised() {
    let cell = Cell::new();
    let core = cell.start_ready(quick()).await;
    cell.store.fail(Some(Failure::AnswerLost));
    let mut client = cell.client("edge").await;
    for n in 1..=30 {
        assert_eq!(client.publish_offset("chat:1", None, "1").await, n);
    }
    core.metric_reaches("skywave_core_persisted_total", 1.0).await;
    cell.store.fail(None);
    core.metric_reaches("skywave_core_persisted_total", 30.0).await;
    assert_eq!(core.metric("skywave_core_checkpoint_conflicts_total"), 0.0);
    assert_eq!(client.history("chat:1", 0).await.unwrap().publications.len(), 30);
    core.stop().await;
}

#[tokio::test]
async fn a_core_is_ready_only_when_the_store_has_been_read() {
    let cell = Cell::new();
    cell.store.fail(Some(Failure::Down));
    let core = cell.start(quick()).await;
    core.metric_reaches("skywave_core_owner_failures_total", 1.0).await;
    assert!(!*core.core.ready().borrow());
    let mut client = cell.client("edge").await;
    assert_eq!(client.history("chat:1", 0).await.unwrap_err().code, ErrorCode::StoreUnavailable);
    let early = client.send("chat:1", None, "1");
    cell.store.fail(None);
    core.ready().await;
    assert_eq!(client.answer().await.correlation, early, "taken by the log, sequenced when possible");
    core.stop().await;
}

#[tokio::test]
async fn another_log_under_the_same_store_is_not_sequenced() {
    let cell = Cell::new();
    let core = cell.start_ready(quick()).await;
    cell.client("edge").await.publish_offset("chat:1", None, "1").await;
    core.stop().await;
    let other = Arc::new(MemoryLog::new(1));
    let core = cell.start_with(quick(), other, Arc::new(cell.store.clone())).await;
    core.metric_reaches("skywave_core_owner_failures_total", 2.0).await;
    assert!(!*core.core.ready().borrow());
    core.kill().await;
}

#[tokio::test]
async fn two_owners_compute_the_same_and_only_one_writes() {
    let cell = Cell::new();
    let log = Arc::new(OddLog { owned_by_all: true, ..OddLog::new(&cell.log) });
    let mut live = cell.listen("chat:1").await;
    let start = async || {
        let core = cell.start_with(quick(), log.clone(), Arc::new(cell.store.clone())).await;
        core.ready().await;
        core
    };
    let (one, two) = (start().await, start().await);
    let mut client = cell.client("edge").await;
    for n in 1..=200 {
        assert_eq!(client.publish_offset("chat:1", Some(&n.to_string()), &n.to_string()).await, n);
    }
    let conflicts = || {
        one.metric("skywave_core_checkpoint_conflicts_total")
            + two.metric("skywave_core_checkpoint_conflicts_total")
    };
    soon("a conflict", async {
        while conflicts() < 1.0 {
            client.publish("chat:2", None, "1").await.unwrap();
        }
    })
    .await;
    // Whoever emitted it, one offset carries one publication.
    let mut seen = BTreeMap::new();
    while seen.len() < 200 {
        let Live::Publication { publication, .. } = live.next().await else { continue };
        let data = publication.data.clone();
        assert_eq!(*seen.entry(publication.offset).or_insert_with(|| data.clone()), data);
    }
    one.stop().await;
    two.stop().await;
    let query =
        HistoryQuery { channel: cell::channel("chat:1"), after: 0, before: 0, limit: 1_000, reverse: false };
    let stored = cell.store.history(&query).await.unwrap().publications;
    let stored: Vec<_> = stored.iter().map(|p| (p.offset, p.data.clone())).collect();
    assert_eq!(stored, seen.into_iter().collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn history_has_no_hole_at_the_seam() {
    let cell = Cell::new();
    let config = CoreConfig { persist_ms: 1, persist_records: 7, unpersisted_records: 1_000, ..quick() };
    let core = cell.start_ready(config).await;
    let mut publisher = cell.client("publisher").await;
    let reading = tokio::spawn({
        let cell = cell.clone();
        async move {
            let mut reader = cell.client("reader").await;
            let mut reads = 0;
            loop {
                let answer = reader.history("chat:1", 0).await.unwrap();
                let offsets: Vec<_> = answer.publications.iter().map(|p| p.offset).collect();
                assert_eq!(offsets, (1..=answer.head.offset).collect::<Vec<_>>());
                reads += 1;
                if answer.head.offset == 900 {
                    return reads;
                }
            }
        }
    });
    for n in 1..=900 {
        assert_eq!(publisher.publish_offset("chat:1", None, "1").await, n);
        if n % 10 == 0 {
            let mine = publisher.history("chat:1", n - 1).await.unwrap();
            assert_eq!(mine.publications[0].offset, n, "what is acknowledged can be read");
        }
    }
    assert!(soon("the reader", reading).await.unwrap() > 1);
    core.stop().await;
}

#[tokio::test]
async fn partitions_are_owned_and_served_each_for_itself() {
    let cell = Cell::with_partitions(4);
    let core = cell.start_ready(quick()).await;
    let mut client = cell.client("edge").await;
    for round in 1..=5 {
        for n in 0..40 {
            assert_eq!(client.publish_offset(&format!("chat:{n}"), None, "1").await, round);
        }
    }
    core.stop().await;
    let mut ends = Vec::new();
    for partition in 0..4 {
        ends.push(cell.log.bounds(partition).await.unwrap().1);
        assert_eq!(cell.store.checkpoint(partition), ends[partition as usize]);
    }
    assert!(ends.iter().all(|end| *end > 0) && ends.iter().sum::<u64>() == 200, "{ends:?}");
    let core = cell.start_ready(quick()).await;
    assert_eq!(cell.client("again").await.publish_offset("chat:7", None, "1").await, 6);
    core.stop().await;
}
