//! Values that are kept for a while, bounded by their bytes.

use std::time::Duration;

use bytes::Bytes;
use hashbrown::HashMap;

/// What an entry costs beside key and value.
const ENTRY_BYTES: usize = 64;

#[derive(Debug)]
pub(super) struct Kept {
    entries: HashMap<Box<str>, Entry>,
    bytes: usize,
    /// When full, what has expired goes, and if that is not enough, everything.
    most: usize,
}

#[derive(Debug)]
struct Entry {
    value: Bytes,
    ends: Duration,
}

impl Kept {
    pub(super) fn new(most: usize) -> Self {
        Self { entries: HashMap::new(), bytes: 0, most }
    }

    pub(super) fn keep(&mut self, now: Duration, key: &str, value: Bytes, lifetime: Duration) {
        let size = size(key, &value);
        self.remove(key);
        if self.bytes + size > self.most {
            self.retain(|entry| entry.ends > now);
        }
        if self.bytes + size > self.most {
            self.retain(|_| false);
        }
        if size <= self.most {
            self.bytes += size;
            self.entries.insert(key.into(), Entry { value, ends: now.saturating_add(lifetime) });
        }
    }

    pub(super) fn get(&self, now: Duration, key: &str) -> Option<Bytes> {
        let entry = self.entries.get(key).filter(|entry| entry.ends > now)?;
        Some(entry.value.clone())
    }

    fn remove(&mut self, key: &str) {
        if let Some(entry) = self.entries.remove(key) {
            self.bytes -= size(key, &entry.value);
        }
    }

    fn retain(&mut self, wanted: impl Fn(&Entry) -> bool) {
        self.entries.retain(|key, entry| {
            let stays = wanted(entry);
            if !stays {
                self.bytes -= size(key, &entry.value);
            }
            stays
        });
    }
}

fn size(key: &str, value: &Bytes) -> usize {
    key.len() + value.len() + ENTRY_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOST: usize = 10 * (100 + ENTRY_BYTES);

    fn second(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    fn value(byte: u8) -> Bytes {
        vec![byte; 97].into()
    }

    #[test]
    fn it_stays_within_its_bytes() {
        let mut kept = Kept::new(MOST);
        for n in 0..10_000 {
            kept.keep(second(0), &format!("{:03}", n % 1_000), value(1), second(60));
            assert!(kept.bytes <= MOST && kept.entries.len() <= 10);
        }
        kept.keep(second(0), "large", vec![0; MOST].into(), second(60));
        assert_eq!(kept.get(second(0), "large"), None);
        let bytes: usize = kept.entries.iter().map(|(key, entry)| size(key, &entry.value)).sum();
        assert_eq!(kept.bytes, bytes);
    }

    #[test]
    fn what_has_expired_makes_room_first() {
        let mut kept = Kept::new(MOST);
        for n in 0..10 {
            kept.keep(second(0), &format!("{n:03}"), value(n), second(if n == 7 { 60 } else { 1 }));
        }
        kept.keep(second(2), "new", value(0), second(60));
        assert_eq!(kept.get(second(2), "007"), Some(value(7)));
        assert_eq!(kept.entries.len(), 2);
    }
}
