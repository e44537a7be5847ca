//! An outbox that lives as long as any clone of it does. For tests.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::Mutex;
use skywave_protocol::Payload;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::outbox::{Mark, Outbox, OutboxError, OutboxRow, OutboxTurn, RowId, Settlement};

/// An in-memory outbox; clones share it.
#[derive(Clone)]
pub struct MemoryOutbox {
    contents: Arc<Mutex<Contents>>,
    turns: Arc<Semaphore>,
}

#[derive(Default)]
struct Contents {
    next: RowId,
    rows: BTreeMap<RowId, OutboxRow>,
    refused: Vec<(OutboxRow, String)>,
}

impl Default for MemoryOutbox {
    fn default() -> Self {
        Self { contents: Arc::default(), turns: Arc::new(Semaphore::new(1)) }
    }
}

impl MemoryOutbox {
    /// What an application does. Returns the row's id.
    pub fn write(&self, channel: &str, message_id: &str, publisher: Option<&str>, data: Payload) -> RowId {
        let mut contents = self.contents.lock();
        contents.next += 1;
        let id = contents.next;
        let row = OutboxRow {
            id,
            channel: channel.to_owned(),
            message_id: message_id.to_owned(),
            publisher: publisher.map(str::to_owned),
            data,
            waited_ms: 0,
            mark: None,
        };
        contents.rows.insert(id, row);
        id
    }

    /// Rows that wait.
    pub fn len(&self) -> usize {
        self.contents.lock().rows.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Rows that were refused, with the reasons.
    pub fn refused(&self) -> Vec<(OutboxRow, String)> {
        self.contents.lock().refused.clone()
    }
}

struct Turn {
    contents: Arc<Mutex<Contents>>,
    _permit: OwnedSemaphorePermit,
}

#[async_trait]
impl Outbox for MemoryOutbox {
    async fn turn(&self) -> Result<Box<dyn OutboxTurn>, OutboxError> {
        let permit = Arc::clone(&self.turns).acquire_owned().await;
        let permit = permit.map_err(|error| OutboxError::Unavailable(error.to_string()))?;
        Ok(Box::new(Turn { contents: Arc::clone(&self.contents), _permit: permit }))
    }
}

#[async_trait]
impl OutboxTurn for Turn {
    async fn rows(&mut self, max: usize) -> Result<Vec<OutboxRow>, OutboxError> {
        Ok(self.contents.lock().rows.values().take(max).cloned().collect())
    }

    async fn mark(&mut self, marks: Vec<(RowId, Mark)>) -> Result<(), OutboxError> {
        let mut contents = self.contents.lock();
        for (id, mark) in marks {
            if let Some(row) = contents.rows.get_mut(&id) {
                row.mark.get_or_insert(mark);
            }
        }
        Ok(())
    }

    async fn settle(&mut self, settled: Vec<(RowId, Settlement)>) -> Result<(), OutboxError> {
        let mut contents = self.contents.lock();
        for (id, settlement) in settled {
            if let (Some(row), Settlement::Refused(reason)) = (contents.rows.remove(&id), settlement) {
                contents.refused.push((row, reason));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use hashbrown::HashMap;

    use super::*;
    use crate::conformance::outbox::Tested;

    #[async_trait]
    impl Tested for MemoryOutbox {
        async fn write(&self, rows: &[(&str, &str, Option<&str>, Payload)]) {
            for (channel, id, publisher, data) in rows {
                MemoryOutbox::write(self, channel, id, *publisher, data.clone());
            }
        }

        async fn refused(&self) -> Vec<(String, String)> {
            let refused = MemoryOutbox::refused(self).into_iter();
            refused.map(|(row, reason)| (row.message_id, reason)).collect()
        }
    }

    #[tokio::test]
    async fn conforms() {
        let outboxes = Mutex::new(HashMap::<String, MemoryOutbox>::new());
        let open = async |name: &str| outboxes.lock().entry(name.into()).or_default().clone();
        crate::conformance::outbox::suite(open).await;
    }
}
