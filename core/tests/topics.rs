//! Topics of backends: each record once and in order, whatever dies between which two steps; the bad ones become dead letters.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod cell;

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use cell::crash::{Crash, CrashingLog};
use cell::{Cell, contents, soon};
use prometheus_client::registry::Registry;
use skywave_core::{
    BackendTopics, CoreConfig, Mapping, TopicFormat, TopicSettings, TopicsConfig, TopicsPorts,
};
use skywave_ports::events::{DEAD_LETTER, EventsError, NewEvent};
use skywave_ports::memory::MemoryEvents;
use skywave_ports::{Event, EventStream, Events, Log, LogError, Store};
use skywave_protocol::NamespaceOptions;
use skywave_runtime::{ShutdownTrigger, shutdown};

const RECORDS: u64 = 30;
/// Every seventh record is no JSON.
const BAD_EVERY: u64 = 7;

/// Topics whose records were all written at one time, and that give a few at a time.
#[derive(Clone)]
struct Topics {
    events: MemoryEvents,
    written_ms: u64,
    crash: Arc<Crash>,
}

struct TopicsStream(Box<dyn EventStream>, u64, Arc<Crash>);

#[async_trait]
impl Events for Topics {
    async fn publish(&self, event: NewEvent) -> Result<(), EventsError> {
        self.crash.call(self.events.publish(event)).await
    }

    fn event_bytes(&self) -> usize {
        self.events.event_bytes()
    }

    async fn subscribe(&self, group: &str, topics: &[&str]) -> Result<Box<dyn EventStream>, EventsError> {
        let stream = self.events.subscribe(group, topics).await?;
        Ok(Box::new(TopicsStream(stream, self.written_ms, self.crash.clone())))
    }
}

#[async_trait]
impl EventStream for TopicsStream {
    async fn next(&mut self, max: usize) -> Result<Vec<Event>, EventsError> {
        let mut events = self.0.next(max.min(8)).await?;
        events.iter_mut().for_each(|event| event.time_ms = self.1);
        Ok(events)
    }

    async fn check(&mut self) -> Result<(), EventsError> {
        self.0.check().await
    }

    async fn confirm(&mut self) -> Result<(), EventsError> {
        self.2.call(self.0.confirm()).await
    }
}

struct Consumer {
    topics: BackendTopics,
    trigger: ShutdownTrigger,
    registry: Registry,
}

impl Consumer {
    fn start(cell: &Cell, events: Topics, log: impl Log, core: &CoreConfig) -> Self {
        let (trigger, shutdown) = shutdown::channel();
        let mut registry = Registry::default();
        let namespaces = [("user".to_owned(), NamespaceOptions::default())].into();
        let mapping = TopicSettings {
            topic: "orders".into(),
            channel: "user:{key}".into(),
            id: None,
            from: None,
            format: TopicFormat::Json,
        };
        let config = TopicsConfig {
            topics: vec![Mapping::new(&mapping, &namespaces).unwrap()],
            region: "eu".into(),
            namespaces,
            dedup_window_ms: core.dedup_window_seconds * 1_000,
        };
        let ports = TopicsPorts {
            events: Arc::new(events),
            log: Arc::new(log),
            store: Arc::new(cell.store.clone()),
            stalled: Arc::new(|_| false),
        };
        let topics = BackendTopics::start(config, ports, &mut registry, shutdown);
        Self { topics, trigger, registry }
    }

    async fn kill(mut self) {
        self.trigger.immediate();
        soon("the end", self.topics.ended()).await.unwrap();
    }

    fn metric(&self, name: &str) -> f64 {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry).unwrap();
        let lines = text.lines().filter(|line| line.starts_with(name));
        lines.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum()
    }
}

fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64
}

async fn write(events: &MemoryEvents, n: u64) {
    let value = if n.is_multiple_of(BAD_EVERY) { format!("{{{n}") } else { n.to_string() };
    let key = if n.is_multiple_of(3) { "bob" } else { "ada" };
    let record =
        NewEvent { topic: "orders".into(), key: key.into(), value: value.into(), headers: Vec::new() };
    events.publish(record).await.unwrap();
}

/// What a channel holds once the store has all of the log.
async fn stored(cell: &Cell, channel: &str) -> Vec<u64> {
    let (_, end) = cell.log.bounds(0).await.unwrap();
    soon("the store", async {
        while Store::checkpoint(&cell.store, 0).await.unwrap() < end {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
    let answer = cell.client("reader").await.history(channel, 0).await.unwrap();
    contents(&answer).into_iter().map(|(_, data)| data.parse().unwrap()).collect()
}

async fn until(what: &str, holds: impl Fn() -> bool) {
    soon(what, async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
}

/// Kills the consumer at one call after the other; its successor goes on. Returns how many calls there were to die at.
async fn dies_everywhere(core: CoreConfig, written_ms: u64) -> i64 {
    for call in 0.. {
        let mut crashed = false;
        for after in [false, true] {
            let cell = Cell::new();
            let running = cell.start_ready(core.clone()).await;
            let events = MemoryEvents::default();
            for n in 1..=RECORDS {
                write(&events, n).await;
            }
            let crash = Crash::at(call, after);
            let topics = Topics { events: events.clone(), written_ms, crash: Arc::clone(&crash) };
            let log = CrashingLog(cell.log.clone(), Arc::clone(&crash));
            let first = Consumer::start(&cell, topics.clone(), log, &core);
            let letters = || events.published(DEAD_LETTER).len() as u64;
            let (bad, good) = (RECORDS / BAD_EVERY, RECORDS - RECORDS / BAD_EVERY);
            until("a crash, or the end of the work", || {
                let done = first.metric("skywave_topics_published_total") >= good as f64;
                crash.crashed() || (done && letters() >= bad)
            })
            .await;
            crashed |= crash.crashed();
            first.kill().await;
            let topics = Topics { crash: Crash::never(), ..topics };
            let second = Consumer::start(&cell, topics.clone(), cell.log.clone(), &core);
            write(&events, RECORDS + 1).await;
            let last =
                || second.metric("skywave_topics_published_total") + second.metric("skywave_topics_known");
            until("the last record", || last() >= 1.0 && letters() >= bad).await;
            soon("all of it", async {
                loop {
                    let (ada, bob) = (stored(&cell, "user:ada").await, stored(&cell, "user:bob").await);
                    if ada.len() + bob.len() > good as usize {
                        let of = |bob: bool| {
                            let mine =
                                move |n: &u64| n.is_multiple_of(3) == bob && !n.is_multiple_of(BAD_EVERY);
                            (1..=RECORDS + 1).filter(mine).collect::<Vec<_>>()
                        };
                        assert_eq!((ada, bob), (of(false), of(true)), "call {call}, after: {after}");
                        return;
                    }
                }
            })
            .await;
            second.kill().await;
            running.stop().await;
        }
        if !crashed {
            return call;
        }
    }
    unreachable!("a loop without end")
}

#[tokio::test]
async fn young_records_are_published_once_by_their_ids() {
    let core = CoreConfig { persist_ms: 2, ..CoreConfig::default() };
    let calls = dies_everywhere(core, now_ms()).await;
    assert!(calls > 30, "{calls}");
}

#[tokio::test]
async fn old_records_are_published_once_although_no_id_is_remembered() {
    let core = CoreConfig { dedup_entries: 0, persist_ms: 2, ..CoreConfig::default() };
    let calls = dies_everywhere(core, now_ms() - 5 * 3_600_000).await;
    assert!(calls > 30, "{calls}");
}

#[tokio::test]
async fn without_the_log_it_waits_and_says_so_and_goes_on() {
    let (cell, core) = (Cell::new(), CoreConfig { persist_ms: 2, ..CoreConfig::default() });
    let running = cell.start_ready(core.clone()).await;
    let events = MemoryEvents::default();
    let topics = Topics { events: events.clone(), written_ms: now_ms(), crash: Crash::never() };
    cell.log.refuse_appends(Some(LogError::Full("no room".into())));
    let consumer = Consumer::start(&cell, topics, cell.log.clone(), &core);
    let trouble = consumer.topics.trouble();
    for n in 1..=6 {
        write(&events, n).await;
    }
    until("trouble", || trouble().is_some_and(|trouble| trouble.contains("no room"))).await;
    assert_eq!(stored(&cell, "user:ada").await, Vec::<u64>::new());
    cell.log.refuse_appends(None);
    until("all", || consumer.metric("skywave_topics_published_total") >= 6.0).await;
    assert_eq!(stored(&cell, "user:ada").await, [1, 2, 4, 5]);
    assert_eq!(stored(&cell, "user:bob").await, [3, 6]);
    until("no trouble", || trouble().is_none()).await;
    consumer.kill().await;
    running.stop().await;
}

#[tokio::test]
async fn a_dead_letter_says_why_and_from_where_and_holds_the_record() {
    let (cell, core) = (Cell::new(), CoreConfig::default());
    let running = cell.start_ready(core.clone()).await;
    let events = MemoryEvents::default();
    let topics = Topics { events: events.clone(), written_ms: now_ms(), crash: Crash::never() };
    let consumer = Consumer::start(&cell, topics, cell.log.clone(), &core);
    let record = NewEvent {
        topic: "orders".into(),
        key: "a b".into(),
        value: "{\"n\":1}".into(),
        headers: vec![("trace".into(), "t-1".into())],
    };
    events.publish(record).await.unwrap();
    until("a letter", || consumer.metric("skywave_topics_dead_letters_total") >= 1.0).await;
    let letters = events.published(DEAD_LETTER);
    assert_eq!((&letters[0].key[..], &letters[0].value[..]), (&b"a b"[..], &b"{\"n\":1}"[..]));
    let header = |name: &str| {
        let found = letters[0].headers.iter().find(|(header, _)| header == name);
        String::from_utf8(found.unwrap().1.to_vec()).unwrap()
    };
    assert_eq!(header("source"), "orders 0@0");
    assert!(header("reason").contains("channel name"), "{}", header("reason"));
    assert_eq!(header("original.trace"), "t-1");
    consumer.kill().await;
    running.stop().await;
}
