//! An application that shares Kafka with the cell: what it writes to its topic is published, and what the relay does is told
//! to it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use prometheus_client::registry::Registry;
use serde_json::{Value, json};
use skywave_cluster::Cluster;
use skywave_harness::wait;
use skywave_kafka::{EventTopics, KafkaConfig, KafkaEvents, KafkaLog};
use skywave_ports::events::{DEAD_LETTER, Event, NewEvent, SYSTEM_EVENTS, USER_ACTIVITY};
use skywave_ports::{Events, Log};
use tokio::runtime::Runtime;

use crate::cell::{CORES, Cell, EDGES, PARTITIONS};

/// Settings of the cores.
pub(crate) const TOPICS: &str = r#"
[[events.topics]]
topic = "cell-orders"
channel = "chat:{key}"
"#;
const TOPIC: &str = "cell-orders";
const CHANNELS: u64 = 4;
const RECORDS: u64 = 2_400;
const PATIENCE: Duration = Duration::from_secs(60);

/// The application's own clients.
pub(crate) struct Backend {
    events: Arc<KafkaEvents>,
    /// The events are of it.
    _log: KafkaLog,
    /// Ends last.
    runtime: Runtime,
}

impl Backend {
    /// Makes the application's topic if it is missing.
    pub(crate) fn open(cluster: &Cluster) -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let config = KafkaConfig {
            brokers: vec![cluster.member("eu-kafka-1")?.address("url")?.to_string()],
            cell: "application".into(),
            partitions: 1,
            replication: 1,
            min_insync: 1,
            ..KafkaConfig::default()
        };
        let topics = EventTopics { names: vec![TOPIC.into()], partitions: 3, ..EventTopics::default() };
        let (log, events) = runtime.block_on(async {
            let log = KafkaLog::connect(config, &mut Registry::default()).await?;
            let events = log.events(&topics).await?;
            anyhow::Ok((log, events))
        })?;
        Ok(Self { runtime, events: Arc::new(events), _log: log })
    }

    /// Reads a topic from its beginning until `enough` says so.
    fn read(
        &self,
        topic: &str,
        group: &str,
        mut enough: impl FnMut(&[Event]) -> bool,
    ) -> anyhow::Result<Vec<Event>> {
        self.runtime.block_on(async {
            let mut stream = self.events.subscribe(group, &[topic]).await?;
            let mut read = Vec::new();
            let reading = tokio::time::timeout(PATIENCE, async {
                while !enough(&read) {
                    read.extend(stream.next(500).await?);
                }
                anyhow::Ok(())
            });
            match reading.await {
                Ok(done) => done?,
                Err(_) => anyhow::bail!("{topic} holds only {} events: {:?}", read.len(), read.last()),
            }
            Ok(read)
        })
    }
}

fn is_bad(number: u64) -> bool {
    number.is_multiple_of(50)
}

/// Writes the records, one after the other.
async fn write(events: &KafkaEvents, numbers: std::ops::Range<u64>) -> anyhow::Result<()> {
    for number in numbers {
        // Broken JSON, or a key that makes no channel's name.
        let (key, value) = match (is_bad(number), number.is_multiple_of(100)) {
            (true, true) => ("no channel".to_owned(), number.to_string()),
            (true, false) => (format!("orders-{}", number % CHANNELS), format!("{{{number}")),
            _ => (format!("orders-{}", number % CHANNELS), number.to_string()),
        };
        let event =
            NewEvent { topic: TOPIC.into(), key: key.into(), value: value.into(), headers: Vec::new() };
        events.publish(event).await?;
    }
    Ok(())
}

/// All that a channel holds, as an edge reads it.
fn stored(cell: &Cell, channel: &str) -> anyhow::Result<Vec<u64>> {
    let mut socket = cell.connect(EDGES[0], "reader")?;
    let mut found = Vec::new();
    loop {
        let question = json!({ "channel": channel, "after": found.len(), "limit": 500 });
        let answer = socket.request("history", question)?;
        let page = answer["history"]["publications"].as_array().context("no page")?.clone();
        if page.is_empty() {
            return Ok(found);
        }
        found.extend(page.iter().filter_map(|publication| publication["data"].as_u64()));
    }
}

pub(crate) fn topics(cell: &Cell) -> anyhow::Result<()> {
    let backend = Backend::open(&cell.cluster)?;
    let published = || {
        let sum = |core: &&str| cell.metric(core, "skywave_topics_published_total").unwrap_or(0.0);
        CORES.iter().map(sum).sum::<f64>()
    };
    // Each core is killed while it has records to publish: writing goes on all the time.
    let events = Arc::clone(&backend.events);
    let writing = backend.runtime.spawn(async move { write(&events, 1..RECORDS + 1).await });
    for core in CORES {
        wait::until("records to be published", || (published() > 0.0).then_some(()))?;
        cell.cluster.kill9(core)?;
        cell.cluster.restart(core)?;
    }
    backend.runtime.block_on(writing)??;
    let expected: BTreeMap<String, Vec<u64>> = (0..CHANNELS)
        .map(|channel| {
            let mine = (1..=RECORDS).filter(|number| number % CHANNELS == channel && !is_bad(*number));
            (format!("chat:orders-{channel}"), mine.collect())
        })
        .collect();
    for (channel, expected) in &expected {
        let mut found = Vec::new();
        wait::until(&format!("all records in {channel}"), || {
            found = stored(cell, channel).ok()?;
            (found.len() >= expected.len()).then_some(())
        })?;
        anyhow::ensure!(found == *expected, "{channel} holds {found:?}");
    }

    let bad: BTreeSet<Bytes> = (1..=RECORDS)
        .filter(|number| is_bad(*number))
        .map(|number| if number.is_multiple_of(100) { number.to_string() } else { format!("{{{number}") })
        .map(Bytes::from)
        .collect();
    let values =
        |letters: &[Event]| letters.iter().map(|letter| letter.value.clone()).collect::<BTreeSet<_>>();
    let letters = backend.read(DEAD_LETTER, "letters", |letters| values(letters).len() >= bad.len())?;
    anyhow::ensure!(values(&letters) == bad, "{letters:?}");
    for letter in &letters {
        let header = |name: &str| {
            let found = letter.headers.iter().find(|(header, _)| header == name);
            found.map(|(_, value)| String::from_utf8_lossy(value).into_owned()).unwrap_or_default()
        };
        anyhow::ensure!(header("source").starts_with("cell-orders "), "{letter:?}");
        let why = if letter.value.starts_with(b"{") { "not JSON" } else { "channel name" };
        anyhow::ensure!(header("reason").contains(why), "{letter:?}");
    }

    // Nothing is left to do: each partition has one consumer that says so.
    wait::until("the lag to be told and to be gone", || {
        let lags = |core: &&str| lags(cell, core).unwrap_or_default();
        let lags: Vec<f64> = CORES.iter().flat_map(lags).collect();
        (lags.len() == 3 && lags.iter().all(|lag| *lag == 0.0)).then_some(())
    })
}

/// Somebody writes into the log itself what is no record, one into each partition, and a core is killed while that is read.
pub(crate) fn unreadable(cell: &Cell) -> anyhow::Result<()> {
    let backend = Backend::open(&cell.cluster)?;
    let config = KafkaConfig {
        brokers: vec![cell.cluster.member("eu-kafka-1")?.address("url")?.to_string()],
        cell: "main".into(),
        partitions: PARTITIONS as u32,
        replication: 1,
        min_insync: 1,
        ..KafkaConfig::default()
    };
    let channels: Vec<String> = (0..64).map(|number| format!("chat:unreadable-{number}")).collect();
    let mut reader = cell.connect(EDGES[1], "bob")?;
    for channel in &channels {
        wait::until(&format!("a subscription of {channel}"), || reader.subscribe(channel).ok())?;
    }
    let garbage = |partition: u32| Bytes::from(format!("\u{0}garbage of {partition}"));
    let places: BTreeMap<String, Bytes> = backend.runtime.block_on(async {
        let log = KafkaLog::connect(config, &mut Registry::default()).await?;
        let mut places = BTreeMap::new();
        for partition in 0..PARTITIONS as u32 {
            let offset = log.append(partition, Bytes::from_static(b"x"), garbage(partition)).await?;
            places.insert(format!("skywave.log.main {partition}@{offset}"), garbage(partition));
        }
        log.close().await;
        anyhow::Ok(places)
    })?;
    cell.cluster.kill9(CORES[0])?;
    // Behind each of them it goes on.
    let mut publisher = cell.connect(EDGES[0], "ada")?;
    for (number, channel) in channels.iter().enumerate() {
        let body = json!({ "channel": channel, "id": "m-1", "data": number });
        wait::until(&format!("an acknowledgement in {channel}"), || {
            publisher.request("publish", body.clone()).ok()?.get("published").map(|_| ())
        })?;
        let publication = reader.push()?["pub"].clone();
        anyhow::ensure!(publication["offset"] == 1 && publication["data"] == number, "{publication}");
    }
    cell.cluster.restart(CORES[0])?;

    let header = |letter: &Event, name: &str| {
        let found = letter.headers.iter().find(|(header, _)| header == name);
        found.map(|(_, value)| String::from_utf8_lossy(value).into_owned()).unwrap_or_default()
    };
    let of_log = |letters: &[Event]| -> BTreeMap<String, Bytes> {
        let all = letters.iter().map(|letter| (header(letter, "source"), letter.value.clone()));
        all.filter(|(source, _)| source.starts_with("skywave.log.")).collect()
    };
    let letters =
        backend.read(DEAD_LETTER, "log-letters", |letters| of_log(letters).len() >= places.len())?;
    // At least once: copies have the same place.
    anyhow::ensure!(of_log(&letters) == places, "{:?} instead of {places:?}", of_log(&letters));
    for letter in letters.iter().filter(|letter| header(letter, "source").starts_with("skywave.log.")) {
        anyhow::ensure!(!header(letter, "reason").is_empty(), "{letter:?}");
    }
    let lost: f64 = CORES
        .iter()
        .map(|core| cell.metric(core, "skywave_core_dead_letters_lost_total").unwrap_or(1.0))
        .sum();
    anyhow::ensure!(lost == 0.0, "{lost} lost");
    Ok(())
}

fn lags(cell: &Cell, core: &str) -> anyhow::Result<Vec<f64>> {
    let text = skywave_harness::http::get(cell.address(core)?, "/metrics")?.text();
    let mine = text.lines().filter(|line| {
        line.starts_with("skywave_kafka_consumer_lag{") && line.contains("topic=\"cell-orders\"")
    });
    Ok(mine.filter_map(|line| line.rsplit_once(' ')?.1.parse().ok()).collect())
}

pub(crate) fn relay_events(cell: &Cell) -> anyhow::Result<()> {
    let backend = Backend::open(&cell.cluster)?;
    let mut somebody = cell.connect(EDGES[0], "told-of")?;
    somebody.subscribe("chat:told")?;
    somebody.request("unsubscribe", json!({ "channel": "chat:told" }))?;
    drop(somebody);
    let kinds = |events: &[Event], of: &dyn Fn(&Value) -> bool| {
        let values = events.iter().filter_map(|event| serde_json::from_slice::<Value>(&event.value).ok());
        let mine = values.filter(|value| of(value));
        mine.filter_map(|value| value["type"].as_str().map(str::to_owned)).collect::<Vec<_>>()
    };
    let told_of = |events: &[Event]| kinds(events, &|value| value["userId"] == "told-of");
    let activity = backend.read(USER_ACTIVITY, "activity", |events| told_of(events).len() >= 4)?;
    let expected = ["user.connected", "user.subscribed", "user.unsubscribed", "user.disconnected"];
    anyhow::ensure!(told_of(&activity) == expected, "{:?}", told_of(&activity));

    // A node leaves and comes back; cores have taken their shares.
    cell.cluster.restart(EDGES[1])?;
    let system = |events: &[Event]| kinds(events, &|_| true).into_iter().collect::<BTreeSet<_>>();
    let wanted = ["node.up", "node.draining", "node.down", "partition.taken"];
    let has_all = |events: &[Event]| wanted.iter().all(|kind| system(events).contains(*kind));
    backend.read(SYSTEM_EVENTS, "system", has_all).map(drop)
}
