//! Events that live as long as any clone of this does. For tests: a clone stands for the topics after a restart.

use std::sync::Arc;

use async_trait::async_trait;
use hashbrown::{HashMap, HashSet};
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::events::{Event, EventStream, Events, EventsError, NewEvent};

/// Largest event, in bytes.
const EVENT_BYTES: usize = 1024 * 1024;

/// In-memory topics; clones share them. Of a group's members the oldest is given everything.
#[derive(Clone)]
pub struct MemoryEvents(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    /// Counts changes of any kind.
    changes: watch::Sender<u64>,
}

#[derive(Default)]
struct State {
    events: Vec<Event>,
    groups: HashMap<String, Group>,
    members: u64,
}

#[derive(Default)]
struct Group {
    members: Vec<u64>,
    /// By place in `State::events`.
    confirmed: HashSet<usize>,
}

impl Default for MemoryEvents {
    fn default() -> Self {
        Self(Arc::new(Shared { state: Mutex::default(), changes: watch::Sender::new(0) }))
    }
}

impl MemoryEvents {
    /// Everything that was published to `topic`.
    pub fn published(&self, topic: &str) -> Vec<Event> {
        self.0.state.lock().events.iter().filter(|event| event.topic == topic).cloned().collect()
    }
}

#[async_trait]
impl Events for MemoryEvents {
    async fn publish(&self, event: NewEvent) -> Result<(), EventsError> {
        let (limit, got) = (EVENT_BYTES, event.value.len());
        if got > limit {
            return Err(EventsError::TooLarge { limit, got });
        }
        let NewEvent { topic, key, value, headers } = event;
        let mut state = self.0.state.lock();
        let offset = state.events.iter().filter(|event| event.topic == topic).count() as u64;
        state.events.push(Event { topic, partition: 0, offset, time_ms: 0, key, value, headers });
        self.0.changes.send_modify(|count| *count += 1);
        Ok(())
    }

    fn event_bytes(&self) -> usize {
        EVENT_BYTES
    }

    async fn subscribe(&self, group: &str, topics: &[&str]) -> Result<Box<dyn EventStream>, EventsError> {
        let mut state = self.0.state.lock();
        state.members += 1;
        let number = state.members;
        state.groups.entry_ref(group).or_default().members.push(number);
        Ok(Box::new(Stream {
            events: self.clone(),
            group: group.into(),
            topics: topics.iter().map(|topic| (*topic).to_owned()).collect(),
            number,
            changes: self.0.changes.subscribe(),
            given: HashSet::new(),
        }))
    }
}

struct Stream {
    events: MemoryEvents,
    group: String,
    topics: HashSet<String>,
    number: u64,
    changes: watch::Receiver<u64>,
    given: HashSet<usize>,
}

impl Stream {
    fn take(&mut self, max: usize) -> Vec<Event> {
        let state = self.events.0.state.lock();
        let Some(group) = state.groups.get(&self.group) else { return Vec::new() };
        if group.members.first() != Some(&self.number) {
            return Vec::new();
        }
        let mut taken = Vec::new();
        for (at, event) in state.events.iter().enumerate() {
            if taken.len() == max {
                break;
            }
            let is_due = self.topics.contains(&event.topic) && !group.confirmed.contains(&at);
            if is_due && self.given.insert(at) {
                taken.push(event.clone());
            }
        }
        taken
    }
}

#[async_trait]
impl EventStream for Stream {
    async fn next(&mut self, max: usize) -> Result<Vec<Event>, EventsError> {
        loop {
            self.changes.mark_unchanged();
            let taken = self.take(max.max(1));
            if !taken.is_empty() {
                return Ok(taken);
            }
            // The sending side lives in `self.events`.
            let _ = self.changes.changed().await;
        }
    }

    async fn check(&mut self) -> Result<(), EventsError> {
        Ok(())
    }

    async fn confirm(&mut self) -> Result<(), EventsError> {
        let mut state = self.events.0.state.lock();
        state.groups.entry_ref(self.group.as_str()).or_default().confirmed.extend(self.given.iter());
        Ok(())
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let mut state = self.events.0.state.lock();
        if let Some(group) = state.groups.get_mut(&self.group) {
            group.members.retain(|member| *member != self.number);
        }
        self.events.0.changes.send_modify(|count| *count += 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn conforms() {
        let places = Mutex::new(HashMap::<String, MemoryEvents>::new());
        let open = async |name: &str| places.lock().entry_ref(name).or_default().clone();
        crate::conformance::events::suite(open).await;
    }
}
