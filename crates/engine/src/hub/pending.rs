//! Publications that arrived before the hole in front of them was filled.

use std::collections::BTreeMap;
use std::sync::Arc;

use skywave_protocol::{Offset, Publication};

use super::HubConfig;

/// Bounded by count and payload bytes. When full, what comes is dropped: it is read from history afterwards, because the
/// follower remembers the highest offset it has heard of.
#[derive(Debug, Default)]
pub(super) struct Pending {
    publications: BTreeMap<Offset, Arc<Publication>>,
    bytes: usize,
}

impl Pending {
    pub(super) fn insert(&mut self, publication: Arc<Publication>, config: &HubConfig) {
        let bytes = self.bytes + publication.data.len();
        let full = self.publications.len() >= config.pending_publications || bytes > config.pending_bytes;
        if full || self.publications.contains_key(&publication.offset) {
            return;
        }
        self.bytes = bytes;
        self.publications.insert(publication.offset, publication);
    }

    /// Takes out the publication after `head`, and forgets everything before it.
    pub(super) fn next_after(&mut self, head: Offset) -> Option<Arc<Publication>> {
        while let Some(first) = self.publications.first_entry() {
            if *first.key() > head + 1 {
                return None;
            }
            let publication = first.remove();
            self.bytes -= publication.data.len();
            if publication.offset == head + 1 {
                return Some(publication);
            }
        }
        None
    }

    pub(super) fn first(&self) -> Option<Offset> {
        self.publications.first_key_value().map(|(offset, _)| *offset)
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use skywave_protocol::Payload;

    use super::*;

    fn publication(offset: Offset) -> Arc<Publication> {
        let data = Payload::Binary(Bytes::from_static(b"four"));
        Arc::new(Publication { offset, id: None, from: None, time_ms: 0, data })
    }

    #[test]
    fn bounded_by_count_and_by_bytes() {
        for (pending_publications, pending_bytes) in [(3, 100), (100, 15)] {
            let config = HubConfig { pending_publications, pending_bytes, ..HubConfig::default() };
            let mut pending = Pending::default();
            for offset in [7, 9, 8, 8, 10, 11] {
                pending.insert(publication(offset), &config);
            }
            let taken: Vec<_> = (5..15).filter_map(|head| pending.next_after(head)).collect();
            assert_eq!(taken.iter().map(|publication| publication.offset).collect::<Vec<_>>(), [7, 8, 9]);
            assert_eq!((pending.first(), pending.bytes), (None, 0));
        }
    }
}
