//! A durable publication's way: publish, answer, live, history; dedup and order across restarts.

mod cell;

use std::time::Duration;

use bytes::Bytes;
use cell::{Cell, OddLog, channel, contents, record, soon};
use skywave_core::CoreConfig;
use skywave_ports::{Log, LogError, Store};
use skywave_protocol::inner::{CoreAnswer, Live};
use skywave_protocol::message::{GapReason, HistoryQuery};
use skywave_protocol::{Epoch, ErrorCode, Position};

#[tokio::test]
async fn a_publish_is_answered_and_reaches_live_and_history() {
    let cell = Cell::new();
    let core = cell.start_ready(CoreConfig::default()).await;
    let mut live = cell.listen("chat:1").await;
    let mut client = cell.client("edge").await;
    let position = Position { epoch: Epoch::parse("first").unwrap(), offset: 1 };
    assert_eq!(client.publish("chat:1", None, "\"hi\"").await, Ok((position.clone(), false)));
    let Live::Publication { channel: name, epoch, publication } = live.next().await else { panic!() };
    assert_eq!((name, epoch, publication.offset), (channel("chat:1"), Some(position.epoch.clone()), 1));
    assert!(publication.time_ms > 1_600_000_000_000, "ingest stamps the record time");
    let answer = client.history("chat:1", 0).await.unwrap();
    assert_eq!((answer.head, answer.first, answer.gap), (position, 1, None));
    assert_eq!(answer.publications, [publication]);
    core.stop().await;
}

#[tokio::test]
async fn pipelined_publishes_keep_their_order() {
    let cell = Cell::new();
    let core = cell.start_ready(CoreConfig::default()).await;
    let mut client = cell.client("edge").await;
    for n in 0..3_000 {
        client.send(&format!("chat:{}", n % 3), None, &n.to_string());
    }
    for _ in 0..3_000 {
        assert!(client.answer().await.result.is_ok());
    }
    for c in 0..3 {
        let answer = client.history(&format!("chat:{c}"), 0).await.unwrap();
        let expected: Vec<_> = (0..1_000u64).map(|n| (n + 1, (n * 3 + c).to_string())).collect();
        assert_eq!(contents(&answer), expected);
    }
    core.stop().await;
}

#[tokio::test]
async fn the_same_id_is_published_once_also_across_kills_and_stops() {
    let cell = Cell::new();
    let mut first = Vec::new();
    for round in 0..4 {
        // Commits are slow enough that kills leave records unstored.
        let core = cell.start_ready(CoreConfig { persist_ms: 30, ..CoreConfig::default() }).await;
        let mut client = cell.client(&format!("edge{round}")).await;
        for n in 0..20 {
            let answer = client.publish("chat:1", Some(&format!("id{n}")), "1").await.unwrap();
            match round {
                0 => first.push(answer.0),
                _ => assert_eq!(answer, (first[n].clone(), true), "the first position"),
            }
            let fresh = client.publish("chat:1", Some(&format!("r{round}-{n}")), "2").await.unwrap();
            assert!(!fresh.1);
        }
        if round % 2 == 0 { core.kill().await } else { core.stop().await }
    }
    let core = cell.start_ready(CoreConfig::default()).await;
    let answer = cell.client("reader").await.history("chat:1", 0).await.unwrap();
    let offsets: Vec<_> = answer.publications.iter().map(|p| p.offset).collect();
    assert_eq!(offsets, (1..=20 + 4 * 20).collect::<Vec<_>>());
    core.stop().await;
}

#[tokio::test]
async fn another_publisher_may_use_the_same_id() {
    let cell = Cell::new();
    let core = cell.start_ready(CoreConfig::default()).await;
    let mut client = cell.client("edge").await;
    assert_eq!(client.publish_offset("chat:1", Some("x"), "1").await, 1);
    let mut other = record("chat:1", Some("x"), "1", None);
    other.from = None;
    cell.log.append(0, Bytes::new(), other.encode()).await.unwrap();
    assert_eq!(client.publish_offset("chat:1", None, "3").await, 3);
    core.stop().await;
}

#[tokio::test]
async fn a_graceful_stop_leaves_nothing_to_replay() {
    let cell = Cell::new();
    let core = cell.start_ready(CoreConfig { persist_ms: 60_000, ..CoreConfig::default() }).await;
    let mut client = cell.client("edge").await;
    for n in 0..50 {
        client.send("chat:1", None, &n.to_string());
    }
    for _ in 0..50 {
        assert!(client.answer().await.result.is_ok());
    }
    core.stop().await;
    assert_eq!(cell.store.checkpoint(0), 50);
    assert_eq!(cell.log.bounds(0).await, Ok((50, 50)), "and the log is trimmed behind it");
}

#[tokio::test]
async fn records_of_vanished_namespaces_and_unreadable_ones_disturb_nothing() {
    let cell = Cell::new();
    let append = async |value: Bytes| cell.log.append(0, Bytes::new(), value).await.unwrap();
    append(record("gone:1", Some("a"), "1", None).encode()).await;
    append(Bytes::from_static(&[255, 1, 2, 3])).await;
    append(Bytes::new()).await;
    append(record("gone:1", Some("b"), "2", None).encode()).await;
    let core = cell.start_ready(CoreConfig::default()).await;
    let answer = cell.client("edge").await.history("gone:1", 0).await.unwrap();
    assert_eq!(contents(&answer), [(1, "1".into()), (2, "2".into())]);
    assert_eq!(core.metric("skywave_core_records_unreadable_total"), 2.0);
    core.stop().await;
    assert_eq!(cell.store.checkpoint(0), 4);
}

#[tokio::test]
async fn a_log_that_refuses_is_reported_with_a_time_to_retry() {
    let cell = Cell::new();
    let core = cell.start_ready(CoreConfig::default()).await;
    let mut client = cell.client("edge").await;
    cell.log.refuse_appends(Some(LogError::Full("no space".into())));
    let refused = client.publish("chat:1", Some("a"), "1").await.unwrap_err();
    assert_eq!((refused.code, refused.retry_after_ms), (ErrorCode::LogUnavailable, Some(500)));
    cell.log.refuse_appends(Some(LogError::Unavailable("i/o".into())));
    let unknown = client.publish("chat:1", Some("a"), "1").await.unwrap_err();
    assert_eq!(unknown.code, ErrorCode::Timeout, "it may or may not have happened");
    cell.log.refuse_appends(None);
    assert_eq!(client.publish_offset("chat:1", Some("a"), "1").await, 1);
    let large = format!("\"{}\"", "x".repeat(cell.log.record_bytes()));
    assert_eq!(client.publish("chat:1", None, &large).await.unwrap_err().code, ErrorCode::TooLarge);
    assert_eq!(core.metric("skywave_core_refused_total"), 3.0);
    core.stop().await;
}

#[tokio::test]
async fn publishes_that_wait_for_company_are_all_taken_soon_and_in_order() {
    let cell = Cell::new();
    let log = std::sync::Arc::new(OddLog { gathers: true, ..OddLog::new(&cell.log) });
    let core = cell.start_with(CoreConfig::default(), log, std::sync::Arc::new(cell.store.clone())).await;
    core.ready().await;
    let mut client = cell.client("edge").await;
    for _ in 0..3 {
        let sent: Vec<_> = (0..300).map(|_| client.send("chat:1", None, "1")).collect();
        for correlation in sent {
            let reply = client.answer().await;
            assert_eq!(reply.correlation, correlation);
            assert!(reply.result.is_ok(), "{reply:?}");
        }
    }
    core.stop().await;
}

#[tokio::test]
async fn too_many_waiting_publishes_are_refused_not_queued() {
    let cell = Cell::new();
    let log = std::sync::Arc::new(OddLog { appends_end: false, ..OddLog::new(&cell.log) });
    let config = CoreConfig { appends_in_flight: 3, ..CoreConfig::default() };
    let core = cell.start_with(config, log, std::sync::Arc::new(cell.store.clone())).await;
    let mut client = cell.client("edge").await;
    let sent: Vec<_> = (0..5).map(|_| client.send("chat:1", None, "1")).collect();
    for correlation in &sent[3..] {
        let reply = client.answer().await;
        assert_eq!(reply.correlation, *correlation);
        assert_eq!(reply.result.unwrap_err().code, ErrorCode::LogUnavailable);
    }
    core.kill().await;
}

#[tokio::test]
async fn history_says_when_the_asked_range_begins_before_what_is_kept() {
    let cell = Cell::new();
    let core = cell.start_ready(CoreConfig { persist_ms: 1, ..CoreConfig::default() }).await;
    let mut client = cell.client("edge").await;
    for n in 0..10 {
        client.publish_offset("chat:1", None, &n.to_string()).await;
    }
    soon("commits", async {
        while cell.store.checkpoint(0) < 10 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
    cell.store.retain("chat", skywave_ports::Retention { size: 4, not_before_ms: 0 }).await.unwrap();
    let answer = client.history("chat:1", 2).await.unwrap();
    assert_eq!((answer.gap, answer.first), (Some(GapReason::Retention), 7));
    assert_eq!(answer.publications.len(), 4);
    assert_eq!(client.history("chat:1", 6).await.unwrap().gap, None);
    let page = HistoryQuery { channel: channel("chat:1"), after: 0, before: 9, limit: 1, reverse: true };
    assert_eq!(contents(&client.history_of(page).await.unwrap()), [(8, "7".into())]);
    core.stop().await;
}

#[tokio::test]
async fn a_quiet_channels_head_is_announced() {
    let cell = Cell::new();
    let core = cell.start_ready(CoreConfig { head_announce_ms: 20, ..CoreConfig::default() }).await;
    let mut live = cell.listen("chat:1").await;
    let mut client = cell.client("edge").await;
    for _ in 0..3 {
        client.publish_offset("chat:1", None, "1").await;
    }
    let head = soon("a head", async {
        loop {
            if let Live::Head { position, .. } = live.next().await
                && position.offset == 3
            {
                return position;
            }
        }
    });
    assert_eq!(head.await.epoch, Epoch::parse("first").unwrap());
    core.stop().await;
}

#[tokio::test]
async fn a_replay_repeats_live_publications_and_answers_at_the_same_positions() {
    let cell = Cell::new();
    let core = cell.start_ready(CoreConfig { persist_ms: 60_000, ..CoreConfig::default() }).await;
    let mut client = cell.client("edge").await;
    let mut live = cell.listen("chat:1").await;
    for n in 1..=5 {
        assert_eq!(client.publish_offset("chat:1", None, "1").await, n);
    }
    core.kill().await;
    assert_eq!(cell.store.commits(), 0, "nothing was stored");
    let core = cell.start_ready(CoreConfig::default()).await;
    for expected in (1..=5).chain(1..=5) {
        assert_eq!(live.next_offset().await, expected);
    }
    for n in 1..=5 {
        let reply = client.answer().await;
        let Ok(CoreAnswer::Published { position, duplicate }) = reply.result else { panic!() };
        assert_eq!((reply.correlation, position.offset, duplicate), (n, n, false));
    }
    core.stop().await;
}
