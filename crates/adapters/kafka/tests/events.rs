//! The contract of events, against a real broker.

mod kafka;

use std::time::Duration;

use skywave_kafka::{EventTopics, KafkaConfig};
use skywave_ports::events::{DEAD_LETTER, EventsError, NewEvent, SYSTEM_EVENTS};
use skywave_ports::{Event, EventStream, Events};
use skywave_servers::Kafka;

/// Events of one name, in topics of their own; the suite knows them without the name.
struct Named {
    name: String,
    events: skywave_kafka::KafkaEvents,
}

struct NamedStream(Box<dyn EventStream>, String);

#[async_trait::async_trait]
impl Events for Named {
    async fn publish(&self, event: NewEvent) -> Result<(), EventsError> {
        self.events.publish(NewEvent { topic: format!("{}.{}", self.name, event.topic), ..event }).await
    }

    fn event_bytes(&self) -> usize {
        self.events.event_bytes()
    }

    async fn subscribe(&self, group: &str, topics: &[&str]) -> Result<Box<dyn EventStream>, EventsError> {
        let topics: Vec<String> = topics.iter().map(|topic| format!("{}.{topic}", self.name)).collect();
        let topics: Vec<&str> = topics.iter().map(String::as_str).collect();
        Ok(Box::new(NamedStream(self.events.subscribe(group, &topics).await?, format!("{}.", self.name))))
    }
}

#[async_trait::async_trait]
impl EventStream for NamedStream {
    async fn next(&mut self, max: usize) -> Result<Vec<Event>, EventsError> {
        let mut events = self.0.next(max).await?;
        for event in &mut events {
            event.topic = event.topic.trim_start_matches(&self.1).to_owned();
        }
        Ok(events)
    }

    async fn check(&mut self) -> Result<(), EventsError> {
        self.0.check().await
    }

    async fn confirm(&mut self) -> Result<(), EventsError> {
        self.0.confirm().await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn conforms() {
    let broker = Kafka::start().expect("a broker");
    let open = async |name: &str| {
        let config = KafkaConfig { record_bytes: 100_000, ..kafka::config(&broker, name) };
        let log = kafka::open(config).await;
        let names = [SYSTEM_EVENTS, DEAD_LETTER].map(|topic| format!("{name}.{topic}"));
        let topics = EventTopics { names: names.into(), partitions: 2, ..EventTopics::default() };
        Named { name: name.into(), events: log.events(&topics).await.expect("events") }
    };
    skywave_ports::conformance::events::suite(open).await;
}

#[tokio::test]
async fn a_missing_topic_is_an_error_and_not_made() {
    let broker = Kafka::start().expect("a broker");
    let log = kafka::open(kafka::config(&broker, "missing")).await;
    let events = log.events(&EventTopics::default()).await.expect("events");
    let mut stream = events.subscribe("backend", &["orders"]).await.expect("a subscription");
    assert!(matches!(stream.next(1).await, Err(EventsError::Unavailable(_))));
    drop((stream, events));
    log.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_that_is_made_later_is_noticed_before_anything_is_in_it() {
    let broker = Kafka::start().expect("a broker");
    let log = kafka::open(kafka::config(&broker, "late")).await;
    let topics =
        |name: &str| EventTopics { names: vec![name.into()], partitions: 1, ..EventTopics::default() };
    let events = log.events(&topics("late.early")).await.expect("events");
    let mut stream = events.subscribe("late", &["late.topic"]).await.expect("a member");
    let missing = stream.check().await.expect_err("nobody has made it");
    assert!(missing.to_string().contains("late.topic"), "{missing}");
    log.events(&topics("late.topic")).await.expect("the topic");
    let known = async {
        while stream.check().await.is_err() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(skywave_servers::wait::PATIENCE, known).await.expect("the topic is known");
}
