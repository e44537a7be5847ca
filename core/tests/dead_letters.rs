//! Records of the log that nobody can read: kept as dead letters, at least once, and nobody waits for it.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod cell;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use cell::{Cell, Running, record};
use skywave_core::CoreConfig;
use skywave_ports::events::{DEAD_LETTER, NewEvent};
use skywave_ports::memory::MemoryEvents;
use skywave_ports::{EventStream, Events, EventsError, Log};

/// Takes letters when it is told to.
#[derive(Clone, Default)]
struct Letters {
    kept: MemoryEvents,
    refuses: Arc<AtomicBool>,
}

impl Letters {
    fn refusing() -> Self {
        let letters = Self::default();
        letters.refuses.store(true, Ordering::SeqCst);
        letters
    }
}

#[async_trait]
impl Events for Letters {
    async fn publish(&self, event: NewEvent) -> Result<(), EventsError> {
        if self.refuses.load(Ordering::SeqCst) {
            return Err(EventsError::Refused("closed today".into()));
        }
        self.kept.publish(event).await
    }

    fn event_bytes(&self) -> usize {
        self.kept.event_bytes()
    }

    async fn subscribe(&self, group: &str, topics: &[&str]) -> Result<Box<dyn EventStream>, EventsError> {
        self.kept.subscribe(group, topics).await
    }
}

async fn start(cell: &Cell, config: CoreConfig, letters: &Letters) -> Running {
    let (log, store) = (Arc::new(cell.log.clone()), Arc::new(cell.store.clone()));
    let core = cell.start_keeping(config, log, store, Some(Arc::new(letters.clone()))).await;
    core.ready().await;
    core
}

fn header(event: &skywave_ports::Event, name: &str) -> String {
    let found = event.headers.iter().find(|(header, _)| header == name);
    String::from_utf8(found.unwrap().1.to_vec()).unwrap()
}

#[tokio::test]
async fn a_record_that_cannot_be_read_is_a_letter_with_its_place_reason_and_bytes() {
    let (cell, letters) = (Cell::new(), Letters::default());
    let append = async |value: Bytes| cell.log.append(0, Bytes::new(), value).await.unwrap();
    append(record("chat:1", Some("a"), "1", None).encode()).await;
    append(Bytes::from_static(&[255, 1, 2, 3])).await;
    append(Bytes::new()).await;
    append(record("chat:1", Some("b"), "2", None).encode()).await;
    let core = start(&cell, CoreConfig::default(), &letters).await;
    core.metric_reaches("skywave_core_dead_letters_total", 2.0).await;
    core.stop().await;
    let mut kept = letters.kept.published(DEAD_LETTER);
    kept.sort_by_key(|letter| header(letter, "source"));
    let places: Vec<_> = kept.iter().map(|letter| header(letter, "source")).collect();
    assert_eq!(places, ["skywave.log.main 0@1", "skywave.log.main 0@2"]);
    assert_eq!((&kept[0].value[..], &kept[1].value[..]), (&[255, 1, 2, 3][..], &[][..]));
    assert!(kept.iter().all(|letter| !header(letter, "reason").is_empty()));
    assert_eq!(cell.store.checkpoint(0), 4);
    // What is stored is not looked at again.
    let core = start(&cell, CoreConfig::default(), &letters).await;
    core.stop().await;
    assert_eq!(letters.kept.published(DEAD_LETTER).len(), 2);
}

#[tokio::test]
async fn while_no_letter_is_taken_publishing_goes_on_and_only_the_store_waits() {
    let (cell, letters) = (Cell::new(), Letters::refusing());
    let config = CoreConfig { persist_ms: 2, ..CoreConfig::default() };
    let core = start(&cell, config.clone(), &letters).await;
    let mut client = cell.client("edge").await;
    client.publish("chat:1", Some("a"), "1").await.unwrap();
    cell.log.append(0, Bytes::new(), Bytes::from_static(&[255])).await.unwrap();
    for n in 0..100 {
        client.publish("chat:1", Some(&format!("b{n}")), "2").await.unwrap();
    }
    core.metric_reaches("skywave_core_position", 102.0).await;
    assert!(cell.store.checkpoint(0) <= 1, "it would be forgotten: {}", cell.store.checkpoint(0));
    let answer = client.history("chat:1", 0).await.unwrap();
    assert_eq!(answer.publications.len(), 101);
    // A core that is killed has forgotten nothing.
    core.kill().await;
    let core = start(&cell, config, &letters).await;
    letters.refuses.store(false, Ordering::SeqCst);
    core.metric_reaches("skywave_core_checkpoint", 102.0).await;
    assert_eq!(letters.kept.published(DEAD_LETTER).len(), 1);
    assert_eq!(core.metric("skywave_core_dead_letters_lost_total"), 0.0);
    core.stop().await;
}

#[tokio::test]
async fn a_letter_is_given_up_before_the_partition_would_have_to_wait() {
    let (cell, letters) = (Cell::new(), Letters::refusing());
    let config =
        CoreConfig { persist_ms: 2, persist_records: 10, unpersisted_records: 40, ..CoreConfig::default() };
    let core = start(&cell, config, &letters).await;
    let mut client = cell.client("edge").await;
    cell.log.append(0, Bytes::new(), Bytes::from_static(&[255])).await.unwrap();
    for n in 0..100 {
        client.publish("chat:1", Some(&format!("b{n}")), "2").await.unwrap();
    }
    core.metric_reaches("skywave_core_checkpoint", 101.0).await;
    assert_eq!(core.metric("skywave_core_dead_letters_lost_total"), 1.0);
    assert_eq!(letters.kept.published(DEAD_LETTER).len(), 0);
    core.stop().await;
}
