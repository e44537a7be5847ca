//! The recent publications of a channel, without a hole, ending at its head.

use std::collections::VecDeque;
use std::sync::Arc;

use skywave_protocol::{Offset, Publication};

use super::HubConfig;

/// Bounded by count and payload bytes; the oldest go first.
#[derive(Debug)]
pub(super) struct Ring {
    /// `None` until something comes: most channels are silent.
    recent: Option<Box<Recent>>,
    head: Offset,
}

#[derive(Debug, Default)]
struct Recent {
    publications: VecDeque<Arc<Publication>>,
    bytes: usize,
}

impl Ring {
    /// Nothing kept, next is `head + 1`.
    pub(super) fn starting_after(head: Offset) -> Self {
        Self { recent: None, head }
    }

    pub(super) fn head(&self) -> Offset {
        self.head
    }

    /// Everything after this offset, up to the head, is kept.
    pub(super) fn floor(&self) -> Offset {
        self.head - self.len() as Offset
    }

    /// Takes the next publication.
    pub(super) fn push(&mut self, publication: Arc<Publication>, config: &HubConfig) {
        assert_eq!(publication.offset, self.head + 1, "a ring has no holes");
        self.head += 1;
        let recent = self.recent.get_or_insert_default();
        recent.bytes += publication.data.len();
        recent.publications.push_back(publication);
        while recent.publications.len() > config.ring_publications || recent.bytes > config.ring_bytes {
            let Some(oldest) = recent.publications.pop_front() else { break };
            recent.bytes -= oldest.data.len();
        }
    }

    /// Takes an older publication, if it is the one just before the kept ones and there is room.
    pub(super) fn push_older(&mut self, publication: &Arc<Publication>, config: &HubConfig) -> bool {
        let bytes = self.recent.as_ref().map_or(0, |recent| recent.bytes) + publication.data.len();
        let fits = self.len() < config.ring_publications && bytes <= config.ring_bytes;
        if publication.offset != self.floor() || !fits {
            return false;
        }
        let recent = self.recent.get_or_insert_default();
        recent.bytes = bytes;
        recent.publications.push_front(publication.clone());
        true
    }

    /// The kept publications after `offset`, oldest first.
    pub(super) fn after(&self, offset: Offset) -> impl Iterator<Item = &Arc<Publication>> {
        // Invariant: the difference is at most the ring's length, or the whole ring is wanted.
        let skip = offset.saturating_sub(self.floor()).min(self.len() as Offset) as usize;
        self.recent.iter().flat_map(move |recent| recent.publications.range(skip..))
    }

    fn len(&self) -> usize {
        self.recent.as_ref().map_or(0, |recent| recent.publications.len())
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use skywave_protocol::Payload;

    use super::*;

    fn publication(offset: Offset, bytes: usize) -> Arc<Publication> {
        let data = Payload::Binary(Bytes::from(vec![0; bytes]));
        Arc::new(Publication { offset, id: None, from: None, time_ms: 0, data })
    }

    fn offsets(ring: &Ring, after: Offset) -> Vec<Offset> {
        ring.after(after).map(|publication| publication.offset).collect()
    }

    #[test]
    fn bounded_by_count_and_by_bytes() {
        let config = HubConfig { ring_publications: 3, ring_bytes: 10, ..HubConfig::default() };
        let mut ring = Ring::starting_after(7);
        for offset in 8..=12 {
            ring.push(publication(offset, 2), &config);
        }
        assert_eq!((ring.floor(), ring.head()), (9, 12));
        ring.push(publication(13, 7), &config);
        assert_eq!(offsets(&ring, 0), [12, 13]);
        ring.push(publication(14, 11), &config);
        assert_eq!((ring.floor(), ring.head()), (14, 14), "one too large for the ring empties it");
        assert_eq!(offsets(&ring, 3), [0; 0]);
    }

    #[test]
    fn grows_downwards_only_where_it_connects() {
        let config = HubConfig { ring_publications: 3, ..HubConfig::default() };
        let mut ring = Ring::starting_after(5);
        ring.push(publication(6, 1), &config);
        assert!(!ring.push_older(&publication(4, 1), &config));
        assert!(ring.push_older(&publication(5, 1), &config));
        assert!(ring.push_older(&publication(4, 1), &config));
        assert!(!ring.push_older(&publication(3, 1), &config), "full");
        assert_eq!(offsets(&ring, 4), [5, 6]);
    }
}
