//! The topic of dead letters, opened when the first one comes: a core that never meets an unreadable record needs no right to it.

use std::sync::Arc;

use async_trait::async_trait;
use skywave_kafka::{EventTopics, KafkaEvents, KafkaLog};
use skywave_ports::events::{DEAD_LETTER, NewEvent};
use skywave_ports::{EventStream, Events, EventsError, Log};
use tokio::sync::OnceCell;

pub(super) struct DeadLetters {
    /// Ends before the log, which it is of.
    events: OnceCell<KafkaEvents>,
    log: Arc<KafkaLog>,
}

impl DeadLetters {
    pub(super) fn on(log: Arc<KafkaLog>) -> Self {
        Self { log, events: OnceCell::new() }
    }

    async fn events(&self) -> Result<&KafkaEvents, EventsError> {
        let open = async {
            let topics = EventTopics { names: vec![DEAD_LETTER.into()], ..EventTopics::default() };
            self.log.events(&topics).await.map_err(|error| EventsError::Refused(error.to_string()))
        };
        self.events.get_or_try_init(|| open).await
    }
}

#[async_trait]
impl Events for DeadLetters {
    async fn publish(&self, event: NewEvent) -> Result<(), EventsError> {
        self.events().await?.publish(event).await
    }

    fn event_bytes(&self) -> usize {
        self.log.record_bytes()
    }

    async fn subscribe(&self, group: &str, topics: &[&str]) -> Result<Box<dyn EventStream>, EventsError> {
        self.events().await?.subscribe(group, topics).await
    }
}
