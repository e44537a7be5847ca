//! Several cores of one cell: who answers what, who refuses what, and what happens while partitions move between them.

mod cell;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use cell::scripted::{Hand, ScriptedLog};
use cell::{Cell, Running, contents, soon};
use skywave_core::CoreConfig;
use skywave_ports::Log;
use skywave_ports::memory::Failure;
use skywave_protocol::ErrorCode;

/// Nothing is stored unless the test waits for it: the tail holds what counts.
fn slow_to_store() -> CoreConfig {
    CoreConfig { persist_ms: 3_600_000, ..CoreConfig::default() }
}

fn quick() -> CoreConfig {
    CoreConfig { persist_ms: 2, ..CoreConfig::default() }
}

async fn scripted(cell: &Cell, config: CoreConfig) -> (Running, Hand) {
    let (log, hand) = ScriptedLog::over(&cell.log);
    (cell.start_with(config, log, Arc::new(cell.store.clone())).await, hand)
}

#[tokio::test]
async fn a_read_is_answered_with_the_unstored_tail_whichever_core_it_reaches() {
    let cell = Cell::new();
    let owner = cell.start_ready(slow_to_store()).await;
    let other = cell.start_ready(slow_to_store()).await;
    let mut client = cell.client("edge").await;
    for n in 1..=5 {
        assert_eq!(client.publish_offset("chat:1", None, &n.to_string()).await, n);
        // Twice, so that each of the two cores is asked.
        for _ in 0..2 {
            let answer = client.history("chat:1", 0).await.unwrap();
            assert_eq!((answer.head.offset, answer.publications.len() as u64), (n, n));
        }
    }
    assert_eq!(other.metric("skywave_core_history_passed_on_total"), 5.0);
    assert_eq!(owner.metric("skywave_core_history_reads_total"), 10.0);
    assert_eq!(cell.store.checkpoint(0), 0, "nothing of it was stored");
    owner.stop().await;
    other.stop().await;
}

#[tokio::test]
async fn a_core_that_owns_nothing_is_a_ready_standby_once_it_knows_that() {
    let cell = Cell::new();
    let (core, hand) = scripted(&cell, quick()).await;
    soon("the core to look twice", async {
        while hand.looked() < 2 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
    assert!(!*core.core.ready().borrow(), "the group has not said anything yet");
    let standing = core.core.standing();
    assert_eq!(standing().to_string(), "waits for its share of the partitions");
    hand.settle();
    core.ready().await;
    assert_eq!(standing().to_string(), "standby: owns none of 1 partitions");
    hand.assign(0);
    let mut client = cell.client("edge").await;
    assert_eq!(client.publish_offset("chat:1", None, "1").await, 1);
    core.ready().await;
    assert_eq!(standing().to_string(), "serves 0 of 1");
    core.stop().await;
}

#[tokio::test]
async fn a_read_that_finds_no_owner_is_answered_by_the_next_one() {
    let cell = Cell::new();
    let (core, hand) = scripted(&cell, quick()).await;
    hand.settle();
    core.ready().await;
    let mut client = cell.client("edge").await;
    let reading = tokio::spawn(async move { client.history("chat:1", 0).await });
    core.metric_reaches("skywave_core_history_passed_on_total", 1.0).await;
    hand.assign(0);
    let answer = soon("the answer of the next owner", reading).await.unwrap().unwrap();
    assert_eq!(answer.head.offset, 0);
    core.stop().await;
}

/// The first owner is paused in the middle of things; the second one takes over, sequences more, and is not asked.
#[tokio::test]
async fn a_zombie_never_answers_with_an_old_head() {
    let cell = Cell::new();
    // Its proof is always too old: what a pause longer than `history_fresh_ms` comes to.
    let config = CoreConfig { history_fresh_ms: 0, ..slow_to_store() };
    let (zombie, zombie_hand) = scripted(&cell, config).await;
    zombie_hand.assign(0);
    zombie.ready().await;
    let mut client = cell.client("edge").await;
    for n in 1..=3 {
        assert_eq!(client.publish_offset("chat:1", None, "1").await, n);
    }
    zombie_hand.freeze(true);

    let (owner, owner_hand) = scripted(&cell, quick()).await;
    owner_hand.assign(0);
    owner.ready().await;
    for n in 4..=6 {
        assert_eq!(client.publish_offset("chat:1", None, "1").await, n);
    }
    let mut refused = 0;
    for _ in 0..4 {
        match client.history("chat:1", 0).await {
            Ok(answer) => assert_eq!((answer.head.offset, answer.publications.len()), (6, 6)),
            Err(error) => {
                assert_eq!(error.code, ErrorCode::StoreUnavailable);
                assert!(error.retry_after_ms.is_some());
                refused += 1;
            }
        }
    }
    assert_eq!(refused, 2, "every second read reached the zombie, which could not know");
    assert_eq!(zombie.metric("skywave_core_history_stale_total"), 2.0);

    // Awake again and still unaware that it is no owner, it knows what the log says.
    zombie_hand.freeze(false);
    for _ in 0..4 {
        assert_eq!(client.history("chat:1", 0).await.unwrap().head.offset, 6);
    }
    zombie_hand.revoke(0);
    owner.stop().await;
    zombie.stop().await;
    assert_eq!(cell.store.checkpoint(0), 6);
}

#[tokio::test]
async fn a_stall_of_the_owner_is_refused_by_every_core_and_ends_by_itself() {
    let cell = Cell::new();
    let config = CoreConfig { unpersisted_records: 20, persist_records: 10, stall_ms: 20, ..quick() };
    let owner = cell.start_ready(config.clone()).await;
    let other = cell.start_ready(config).await;
    cell.store.fail(Some(Failure::Down));
    let mut client = cell.client("edge").await;
    soon("a refusal by the core that is not the owner", async {
        while other.metric("skywave_core_refused_total") == 0.0 {
            client.send("chat:1", None, "1");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
    let end = cell.log.bounds(0).await.unwrap().1;
    // Numbered from 1 on.
    let sent = (0..10).fold(0, |_, _| client.send("chat:1", None, "1"));
    let refused = |core: &Running| core.metric("skywave_core_refused_total") as u64;
    soon("everything that is not in the log to be refused", async {
        while refused(&owner) + refused(&other) + end < sent {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
    assert!(refused(&owner) > 0, "the owner refuses as well");
    assert_eq!(cell.log.bounds(0).await.unwrap().1, end, "nothing more goes into the log");

    cell.store.fail(None);
    let head = soon("publishing to go on at both", async {
        let mut in_a_row = 0;
        loop {
            match client.publish("chat:1", None, "2").await {
                Ok((position, _)) if in_a_row == 3 => return position.offset,
                Ok(_) => in_a_row += 1,
                Err(error) => {
                    assert_eq!(error.code, ErrorCode::LogUnavailable);
                    in_a_row = 0;
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            }
        }
    })
    .await;
    assert_eq!(head, cell.log.bounds(0).await.unwrap().1, "every record of the log was sequenced");
    owner.stop().await;
    other.stop().await;
}

#[tokio::test]
async fn publishes_to_a_partition_whose_owner_cannot_load_are_refused_everywhere() {
    let cell = Cell::new();
    cell.store.fail(Some(Failure::Down));
    let config = CoreConfig { stall_ms: 20, ..quick() };
    let (owner, hand) = scripted(&cell, config.clone()).await;
    hand.assign(0);
    let (other, other_hand) = scripted(&cell, config).await;
    other_hand.settle();
    other.ready().await;
    let mut client = cell.client("edge").await;
    soon("refusals by both", async {
        while [&owner, &other].iter().any(|core| core.metric("skywave_core_refused_total") == 0.0) {
            client.send("chat:1", None, "1");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    assert!(owner.core.standing()().to_string().starts_with("0 fails: the store is unavailable"));
    cell.store.fail(None);
    owner.ready().await;
    soon("a publish to be taken", async {
        while client.publish("chat:1", None, "1").await.is_err() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    owner.stop().await;
    other.stop().await;
}

#[tokio::test]
async fn a_graceful_end_hands_over_everything_stored() {
    let cell = Cell::new();
    let first = cell.start_ready(slow_to_store()).await;
    let second = cell.start_ready(slow_to_store()).await;
    let mut client = cell.client("edge").await;
    for n in 1..=50 {
        assert_eq!(client.publish_offset("chat:1", None, "1").await, n);
    }
    first.stop().await;
    assert_eq!(cell.store.checkpoint(0), 50, "stored before the group was left");
    assert_eq!(client.publish_offset("chat:1", None, "1").await, 51);
    second.metric_reaches("skywave_core_sequenced_total", 1.0).await;
    assert_eq!(second.metric("skywave_core_sequenced_total"), 1.0, "nothing was replayed");
    assert_eq!(second.metric("skywave_core_checkpoint_conflicts_total"), 0.0);
    second.stop().await;
}

/// Two partitions go to and fro between two cores every few milliseconds, sometimes owned by both, sometimes by none.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn partitions_that_move_all_the_time_lose_and_double_nothing() {
    const MOVES: u64 = 120;
    let cell = Cell::with_partitions(2);
    let config = CoreConfig { history_fresh_ms: 0, ..quick() };
    let (one, one_hand) = scripted(&cell, config.clone()).await;
    let (two, two_hand) = scripted(&cell, config).await;
    let hands = [&one_hand, &two_hand];
    for (core, hand) in [(&one, &one_hand), (&two, &two_hand)] {
        hand.settle();
        core.ready().await;
    }
    let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let stopped = || stop.load(std::sync::atomic::Ordering::Relaxed);
    let publish = async |name: &str| {
        let mut client = cell.client(&format!("publisher-{name}")).await;
        let channel = format!("chat:{name}");
        let mut acknowledged = BTreeMap::new();
        for n in 0.. {
            if stopped() {
                break;
            }
            let (id, data) = (format!("{name}-{n}"), n.to_string());
            let position = client.publish(&channel, Some(&id), &data).await.unwrap().0;
            assert_eq!(acknowledged.insert(position.offset, data), None);
        }
        acknowledged
    };
    let read = async |name: &str| {
        let mut client = cell.client(&format!("reader-{name}")).await;
        let (channel, mut head) = (format!("chat:{name}"), 0);
        while !stopped() {
            let asked = client.history(&channel, head);
            // A read under way while nobody owns the partition may be lost: then it is asked again.
            let Ok(answer) = tokio::time::timeout(Duration::from_millis(200), asked).await else { continue };
            let Ok(answer) = answer else { continue };
            assert!(answer.head.offset >= head, "{} after {head}", answer.head.offset);
            head = answer.head.offset;
        }
    };
    let shuffle = async {
        for round in 0..MOVES {
            let partition = (round % 2) as u32;
            let (to, from) = (hands[(round / 2 % 2) as usize], hands[((round / 2 + 1) % 2) as usize]);
            if round % 3 == 0 {
                // Both for a moment.
                to.assign(partition);
                tokio::time::sleep(Duration::from_millis(round % 7)).await;
                from.revoke(partition);
            } else {
                from.revoke(partition);
                tokio::time::sleep(Duration::from_millis(round % 5)).await;
                to.assign(partition);
            }
            tokio::time::sleep(Duration::from_millis(2 + round % 11)).await;
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
    };
    let (a, b, c, ..) = soon("the run", async {
        tokio::join!(publish("a"), publish("b"), publish("c"), read("a"), read("b"), shuffle)
    })
    .await;
    let mut client = cell.client("checker").await;
    for (name, acknowledged) in [("a", a), ("b", b), ("c", c)] {
        let mut stored = Vec::new();
        loop {
            let page = client.history(&format!("chat:{name}"), stored.len() as u64).await.unwrap();
            if page.publications.is_empty() {
                break;
            }
            stored.extend(contents(&page));
        }
        assert!(stored.len() > 10, "{name}: {}", stored.len());
        assert_eq!(stored, acknowledged.into_iter().collect::<Vec<_>>(), "{name}");
    }
    one.stop().await;
    two.stop().await;
}
