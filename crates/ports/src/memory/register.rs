//! A register that lives as long as any clone of it does. For tests.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use hashbrown::HashMap;
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::register::{Follow, Held, Register, RegisterError, RegisterKey, Revision, VALUE_BYTES};

/// An in-memory register; clones share it.
#[derive(Debug, Clone, Default)]
pub struct MemoryRegister(Arc<Mutex<Contents>>);

#[derive(Debug, Default)]
struct Contents {
    last: Revision,
    keys: HashMap<RegisterKey, watch::Sender<Option<Held>>>,
}

impl Contents {
    fn of(&mut self, key: &RegisterKey) -> &mut watch::Sender<Option<Held>> {
        self.keys.entry(key.clone()).or_insert_with(|| watch::Sender::new(Some(Held::default())))
    }
}

#[async_trait]
impl Register for MemoryRegister {
    async fn read(&self, key: &RegisterKey) -> Result<Held, RegisterError> {
        Ok(self.0.lock().of(key).borrow().clone().unwrap_or_default())
    }

    async fn write(
        &self,
        key: &RegisterKey,
        value: Bytes,
        after: Revision,
    ) -> Result<Revision, RegisterError> {
        if value.len() > VALUE_BYTES {
            return Err(RegisterError::TooLarge(value.len()));
        }
        let mut contents = self.0.lock();
        let revision = contents.last + 1;
        let held = contents.of(key);
        if held.borrow().as_ref().is_some_and(|held| held.revision != after) {
            return Err(RegisterError::Conflict);
        }
        held.send_replace(Some(Held { revision, value: Some(value) }));
        contents.last = revision;
        Ok(revision)
    }

    fn follow(&self, key: &RegisterKey) -> Follow {
        Follow::new(self.0.lock().of(key).subscribe())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn conforms() {
        let registers = Mutex::new(HashMap::<String, MemoryRegister>::new());
        let open = async |name: &str| registers.lock().entry(name.into()).or_default().clone();
        crate::conformance::register::suite(open).await;
    }
}
